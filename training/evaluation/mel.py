"""Mel filter banks after Slaney, as librosa has them: what log-mel figures and judges hear with."""

from functools import cache

import numpy as np
from numpy.typing import NDArray


@cache
def slaney_bank(rate_hz: int, window_samples: int, bands: int) -> NDArray[np.float64]:
    """Return Slaney's mel triangles [bins, bands]: linear below 1 kHz, logarithmic above."""
    edges_hz = _mel_to_hertz(np.linspace(0, _hertz_to_mel(rate_hz / 2), bands + 2))
    bins_hz = np.fft.rfftfreq(window_samples, 1 / rate_hz)[:, None]
    low, centre, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    triangles = np.minimum((bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre))
    bank: NDArray[np.float64] = np.maximum(triangles, 0) * (2 / (high - low))
    bank.flags.writeable = False
    return bank


_MEL_PER_HZ = 3 / 200
_LOG_STEP = np.log(6.4) / 27


def _hertz_to_mel(hertz: float) -> float:
    return float(15 + np.log(hertz / 1000) / _LOG_STEP) if hertz >= 1000 else hertz * _MEL_PER_HZ


def _mel_to_hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < 15, mel / _MEL_PER_HZ, 1000 * np.exp((mel - 15) * _LOG_STEP))
