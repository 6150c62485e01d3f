"""Time alignment of a decoded signal with its original, for codecs whose delay is not known."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.signal import correlate

from grove.codec.arrays import F32

ENVELOPE_WINDOW_SAMPLES = 480

AlignBy = Literal["waveform", "envelope"]


def align(reference: F32, decoded: F32, max_shift_samples: int, by: AlignBy = "waveform") -> F32:
    """Return `decoded` moved to where it matches `reference` [N] best, cut or zero-padded to N.

    A vocoder keeps no waveform, so that only its envelope can be matched.
    """
    shift = find_shift(reference, decoded, max_shift_samples, by)
    return cut(decoded, shift, len(reference))


def find_shift(
    reference: F32, decoded: F32, max_shift_samples: int, by: AlignBy = "waveform"
) -> int:
    """Return by how many samples `decoded` lags `reference`, within ±max_shift_samples."""
    x, y = (_envelope(reference), _envelope(decoded)) if by == "envelope" else (reference, decoded)
    correlation = correlate(y.astype(np.float64), x.astype(np.float64), method="fft")
    lags = np.arange(1 - len(x), len(y))
    near = np.abs(lags) <= max_shift_samples
    correlation, lags = correlation[near], lags[near]
    best = int(np.argmax(correlation))
    # Rounding noise of a silent signal has a peak too.
    floor = 1e-9 * float(np.linalg.norm(x)) * float(np.linalg.norm(y))
    return int(lags[best]) if correlation[best] > floor else 0


def cut(signal: F32, start: int, length: int) -> F32:
    """Return signal[start:start + length], with zeros where the signal does not reach."""
    out = np.zeros(length, np.float32)
    first, last = max(start, 0), min(start + length, len(signal))
    if last > first:
        out[first - start : last - start] = signal[first:last]
    return out


def _envelope(signal: F32) -> NDArray[np.float64]:
    window = np.hanning(ENVELOPE_WINDOW_SAMPLES)
    smooth: NDArray[np.float64] = np.convolve(np.abs(signal), window / window.sum(), "same")
    smooth -= smooth.mean()
    return smooth
