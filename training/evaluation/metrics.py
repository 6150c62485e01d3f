"""How near decoded audio is to its original. Signals are float32 [N], mono, at 24 kHz.

Every definition here is fixed, so that figures made at different times can be compared: whoever
changes one raises METRICS_VERSION, and says so where figures are kept.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import soxr
from numpy.typing import ArrayLike, NDArray
from pesq import PesqError, pesq
from pystoi import stoi as pystoi

from grove.codec.arrays import F32
from grove.codec.config import Frozen
from grove.codec.errors import AudioError
from grove.training.evaluation import judges
from grove.training.evaluation.mel import slaney_bank

METRICS_VERSION = 3
SCORING_RATE_HZ = 24_000
PESQ_RATE_HZ = 16_000
# The PESQ library writes past its tables beyond 50 utterances (with their pauses at least 0.4 s
# each) and takes the process with it, so a long clip is scored in pieces.
PESQ_PIECE_SECONDS = 15.0
SI_SDR_LIMIT_DB = 100.0
SILENCE_RMS = 1e-6
LOG_MEL_BANDS = 80
LOG_MEL_WINDOW_SAMPLES = 1024
LOG_MEL_HOP_SAMPLES = 240
MAGNITUDE_FLOOR = 1e-5
STFT_WINDOWS_SAMPLES = (256, 512, 1024, 2048)
BANDS_HZ = (
    (0, 300),
    (300, 600),
    (600, 1000),
    (1000, 2000),
    (2000, 4000),
    (4000, 8000),
    (8000, 12000),
)
BAND_BLOCK_SAMPLES = 120
BAND_SNR_LIMIT_DB = 40.0
BUZZ_LAG_SAMPLES = 480
BUZZ_BANDS_HZ = ((1000, 2000), (2000, 4000), (4000, 8000))

Kind = Literal["speech", "music", "noise"]


class BandError(Frozen):
    """What is wrong in one of `BANDS_HZ`: with its envelope, and with its waveform."""

    envelope_db: float
    """Mean |difference| of the band's level, a quarter of 20 ms at a time."""
    snr_db: float
    """Signal over error, within ±40 dB."""


class Scores(Frozen):
    """One decoded clip's figures; None where a metric does not apply or cannot be computed."""

    p808: float | None
    plcmos: float | None
    speaker: float | None
    stoi: float | None
    estoi: float | None
    pesq_wb: float | None
    level_db: float | None
    si_sdr_db: float | None
    log_mel: float
    stft_distance: float
    buzz: float
    bands: tuple[BandError, ...]


def score(reference: ArrayLike, decoded: ArrayLike, kind: Kind = "speech") -> Scores:
    """Compare `decoded` with `reference` [N]; the speech metrics apply to speech only."""
    x, y = _checked_pair(reference, decoded)
    is_speech = kind == "speech"
    # Models that judge speech have no opinion of silence.
    heard = is_speech and not (is_silent(x) or is_silent(y))
    return Scores(
        p808=judges.p808(y) if heard else None,
        plcmos=judges.plcmos(y) if heard else None,
        speaker=judges.speaker_similarity(x, y) if heard else None,
        stoi=stoi(x, y, extended=False) if is_speech else None,
        estoi=stoi(x, y, extended=True) if is_speech else None,
        pesq_wb=pesq_wb(x, y) if is_speech else None,
        level_db=level_db(x, y),
        si_sdr_db=si_sdr_db(x, y),
        log_mel=log_mel_distance(x, y),
        stft_distance=stft_distance(x, y),
        buzz=buzz(x, y),
        bands=band_errors(x, y),
    )


def _checked_pair(reference: ArrayLike, decoded: ArrayLike) -> tuple[F32, F32]:
    x, y = np.asarray(reference, np.float32), np.asarray(decoded, np.float32)
    if x.ndim != 1 or x.shape != y.shape or x.size == 0:
        raise AudioError(f"cannot compare shapes {x.shape} and {y.shape}, expected two equal [N]")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise AudioError("cannot compare audio with samples that are not finite")
    return x, y


def is_silent(signal: F32) -> bool:
    return float(np.sqrt(np.mean(np.square(signal, dtype=np.float64)))) < SILENCE_RMS


# --- speech -----------------------------------------------------------------------------


def pesq_wb(reference: F32, decoded: F32) -> float | None:
    """Return wide-band PESQ (ITU-T P.862.2), or None where the standard finds no speech."""
    x = soxr.resample(reference, SCORING_RATE_HZ, PESQ_RATE_HZ)
    y = soxr.resample(decoded, SCORING_RATE_HZ, PESQ_RATE_HZ)
    pieces = int(np.ceil(len(x) / (PESQ_PIECE_SECONDS * PESQ_RATE_HZ)))
    pairs = zip(np.array_split(x, pieces), np.array_split(y, pieces), strict=True)
    found = [value for value in (_pesq_of_piece(a, b) for a, b in pairs) if value is not None]
    return float(np.mean(found)) if found else None


def _pesq_of_piece(reference: F32, decoded: F32) -> float | None:
    if is_silent(reference) or is_silent(decoded):
        return None
    try:
        return float(pesq(PESQ_RATE_HZ, reference, decoded, "wb"))
    except PesqError:
        return None


def stoi(reference: F32, decoded: F32, *, extended: bool) -> float | None:
    """Return STOI or ESTOI, or None for a reference with less than 0.4 s of sound."""
    if is_silent(reference):
        return None
    if is_silent(decoded):
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            with _numpy_seeded():
                return float(pystoi(reference, decoded, SCORING_RATE_HZ, extended=extended))
        except RuntimeWarning:
            # The library warns, and returns 1e-5 as if it were a figure.
            return None


@contextmanager
def _numpy_seeded() -> Iterator[None]:
    """ESTOI draws its dither from numpy's global generator, which a run in training may rely on."""
    state = np.random.get_state()
    np.random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(state)


# --- any audio --------------------------------------------------------------------------


def si_sdr_db(reference: F32, decoded: F32) -> float | None:
    """Return the scale-invariant signal-to-distortion ratio within ±100 dB; None for silence."""
    if is_silent(reference):
        return None
    x, y = reference.astype(np.float64), decoded.astype(np.float64)
    x, y = x - x.mean(), y - y.mean()
    target = x * (x @ y) / max(x @ x, np.finfo(np.float64).tiny)
    noise = y - target
    limit = 10 ** (-SI_SDR_LIMIT_DB / 10)
    signal_power, noise_power = float(target @ target), float(noise @ noise)
    if signal_power <= limit * noise_power or signal_power == 0:
        return -SI_SDR_LIMIT_DB
    return float(-10 * np.log10(max(noise_power / signal_power, limit)))


def level_db(reference: F32, decoded: F32) -> float | None:
    """Return how much louder `decoded` is, in dB; None where either is silent."""
    if is_silent(reference) or is_silent(decoded):
        return None
    x, y = (float(np.mean(np.square(s, dtype=np.float64))) for s in (reference, decoded))
    return 10 * float(np.log10(y / x))


def band_errors(reference: F32, decoded: F32) -> tuple[BandError, ...]:
    """Return for each of `BANDS_HZ` where the bits went: its envelope error and its SNR."""
    spectra = [np.fft.rfft(s.astype(np.float64)) for s in (reference, decoded)]
    hertz = np.fft.rfftfreq(len(reference), 1 / SCORING_RATE_HZ)
    found = []
    for low, high in BANDS_HZ:
        inside = (hertz >= low) & (hertz < high)
        x, y = (np.fft.irfft(np.where(inside, s, 0), len(reference)) for s in spectra)
        found.append(BandError(envelope_db=_envelope_error(x, y), snr_db=_limited_snr(x, y)))
    return tuple(found)


def _envelope_error(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Compare levels in blocks of 5 ms, but for those 60 dB under the loudest."""
    blocks = max(1, len(x) // BAND_BLOCK_SAMPLES)
    powers = [
        np.array([np.mean(part**2) for part in np.array_split(s, blocks)]) + 1e-12 for s in (x, y)
    ]
    heard = powers[0] > 1e-6 * powers[0].max()
    return float(np.abs(10 * np.log10(powers[1] / powers[0]))[heard].mean())


def _limited_snr(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    error, signal = float(np.sum((x - y) ** 2)), float(np.sum(x**2))
    ratio = 10 * np.log10((signal + 1e-12) / (error + 1e-12))
    return float(np.clip(ratio, -BAND_SNR_LIMIT_DB, BAND_SNR_LIMIT_DB))


def log_mel_distance(reference: F32, decoded: F32) -> float:
    """Return the mean |ln mel(x) - ln mel(y)| over frames and bands.

    Magnitudes of a 1024-sample Hann window every 240 samples, 80 Slaney triangles of unit area from
    0 to 12 kHz, floor 1e-5: HiFi-GAN's features. Two signals that differ by 6 dB are 0.69 apart.
    """
    bank = mel_bank()
    return float(np.abs(_log_mel(reference, bank) - _log_mel(decoded, bank)).mean())


def _log_mel(signal: F32, bank: NDArray[np.float64]) -> NDArray[np.float64]:
    magnitudes = stft_magnitudes(signal, LOG_MEL_WINDOW_SAMPLES, LOG_MEL_HOP_SAMPLES)
    floored: NDArray[np.float64] = np.maximum(magnitudes @ bank, MAGNITUDE_FLOOR)
    return np.log(floored)


def stft_distance(reference: F32, decoded: F32) -> float:
    """Return spectral convergence + mean |ln|X| - ln|Y||, averaged over windows of 256 to 2048.

    The hop is a quarter of the window. Magnitudes are relative to the window's sum, with a floor of
    1e-5 (-100 dB), which lies above the rounding of 16-bit files.
    """
    return float(np.mean([_stft_distance_at(reference, decoded, n) for n in STFT_WINDOWS_SAMPLES]))


def _stft_distance_at(reference: F32, decoded: F32, window_samples: int) -> float:
    scale = window_samples / 2  # the sum of a periodic Hann window
    x = stft_magnitudes(reference, window_samples, window_samples // 4) / scale
    y = stft_magnitudes(decoded, window_samples, window_samples // 4) / scale
    floor = MAGNITUDE_FLOOR
    convergence = np.linalg.norm(x - y) / max(float(np.linalg.norm(x)), floor)
    ratio = np.abs(np.log(np.maximum(x, floor)) - np.log(np.maximum(y, floor)))
    return float(convergence + ratio.mean())


def buzz(reference: F32, decoded: F32) -> float:
    """Return how much more `decoded` repeats itself every 20 ms than `reference` does: 0 to 1.

    The mean, over the octaves from 1 to 8 kHz, of a signal's correlation with itself 20 ms before.
    A codec with frames of 20 ms that repeats a pattern in each has it; no other figure hears it.
    """
    pairs = zip(_repetitions(reference), _repetitions(decoded), strict=True)
    return float(np.mean([max(0.0, y - max(0.0, x)) for x, y in pairs]))


def _repetitions(signal: F32) -> list[float]:
    spectrum = np.fft.rfft(signal.astype(np.float64))
    hertz = np.fft.rfftfreq(len(signal), 1 / SCORING_RATE_HZ)
    found = []
    for low, high in BUZZ_BANDS_HZ:
        band = np.fft.irfft(np.where((hertz >= low) & (hertz < high), spectrum, 0), len(signal))
        now, before = band[BUZZ_LAG_SAMPLES:], band[:-BUZZ_LAG_SAMPLES]
        energy = float(np.sqrt((now @ now) * (before @ before)))
        found.append(float(now @ before) / energy if energy > SILENCE_RMS else 0.0)
    return found


def stft_magnitudes(signal: F32, window_samples: int, hop_samples: int) -> NDArray[np.float64]:
    """Return |STFT| [T, bins] with a periodic Hann window, zeros beyond the signal's ends."""
    padded = np.pad(signal.astype(np.float64), window_samples // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window_samples)[::hop_samples]
    window = np.hanning(window_samples + 1)[:-1]
    magnitudes: NDArray[np.float64] = np.abs(np.fft.rfft(frames * window, axis=1))
    return magnitudes


def mel_bank() -> NDArray[np.float64]:
    """Return the triangles of the log-mel distance [bins, bands]."""
    return slaney_bank(SCORING_RATE_HZ, LOG_MEL_WINDOW_SAMPLES, LOG_MEL_BANDS)
