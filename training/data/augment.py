"""Augmentation of crops before training: the codec must code what it hears, so input = target."""

import logging

import numpy as np
from scipy import signal

from grove.codec.arrays import F32
from grove.training.data.cache import AudioCache
from grove.training.data.config import AugmentConfig

_FILTER_ORDER = 6
_LEVEL_FLOOR = 1e-5
_log = logging.getLogger(__name__)


class Augmenter:
    """Applies a recipe's augmentations to crops of one length."""

    def __init__(self, config: AugmentConfig, cache: AudioCache, crop_samples: int) -> None:
        self.config, self.cache, self.crop_samples = config, cache, crop_samples
        self.sample_rate_hz = cache.sample_rate_hz
        rows = cache.rows(held_out=False)
        self.noise_rows = rows[cache.index.kind[rows] == "noise"]
        self.noise_probability = config.noise.probability
        if self.noise_probability and not len(self.noise_rows):
            _log.warning("no noise will be added: the data holds no recording of kind noise")
            self.noise_probability = 0.0

    def augment(self, crop: F32, rng: np.random.Generator, *, is_noise: bool = False) -> F32:
        """Return the crop [N] as a room, a noise, a line and a microphone would leave it."""
        config = self.config
        # All chances are drawn first: one probability does not shift the others' numbers.
        reverb, noise, band, gain, clip = rng.random(5)
        if reverb < config.reverb.probability:
            crop = self._reverberate(crop, rng)
        if noise < self.noise_probability and not is_noise:
            crop = add_noise(crop, self._draw_noise(rng), rng.uniform(*config.noise.snr_db))
        if band < config.band_limit.probability:
            crop = limit_band(crop, rng.uniform(*config.band_limit.cutoff_hz), self.sample_rate_hz)
        if gain < config.gain.probability:
            crop = change_level(crop, rng.uniform(*config.gain.range_db))
        if clip < config.clipping.probability:
            crop = clip_peaks(crop, rng.uniform(*config.clipping.depth_db))
        return np.clip(crop, -1.0, 1.0).astype(np.float32, copy=False)

    def _reverberate(self, crop: F32, rng: np.random.Generator) -> F32:
        config = self.config.reverb
        decay_seconds = rng.uniform(*config.decay_seconds)
        direct_db = rng.uniform(*config.direct_db)
        room = room_response(decay_seconds, direct_db, self.sample_rate_hz, rng)
        return reverberate(crop, room)

    def _draw_noise(self, rng: np.random.Generator) -> F32:
        """Return a stretch of a noise recording, repeated where it is short."""
        lengths = self.cache.index.length[self.noise_rows]
        place = int(rng.integers(0, int(lengths.sum())))
        which = int(np.searchsorted(np.cumsum(lengths), place, side="right"))
        row, length = int(self.noise_rows[which]), int(lengths[which])
        start = int(rng.integers(0, max(length - self.crop_samples, 0) + 1))
        noise = self.cache.read(row, start, self.crop_samples)
        return np.resize(noise, self.crop_samples)


def level(crop: F32) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(np.square(crop, dtype=np.float64))))


def add_noise(crop: F32, noise: F32, snr_db: float) -> F32:
    """Add noise at a level relative to the crop's; silence on either side changes nothing."""
    crop_level, noise_level = level(crop), level(noise)
    if crop_level < _LEVEL_FLOOR or noise_level < _LEVEL_FLOOR:
        return crop
    factor = crop_level / noise_level * 10 ** (-snr_db / 20)
    return crop + noise * np.float32(factor)


def room_response(
    decay_seconds: float, direct_db: float, sample_rate_hz: int, rng: np.random.Generator
) -> F32:
    """Return an impulse response: a direct pulse of 1, then noise falling 60 dB in the decay."""
    count = max(round(decay_seconds * sample_rate_hz), 1)
    envelope = 10 ** (-3.0 * np.arange(count) / count)
    tail = rng.standard_normal(count) * envelope
    tail *= 10 ** (-direct_db / 20) / np.sqrt(np.sum(tail**2))
    return np.concatenate(([1.0], tail)).astype(np.float32)


def reverberate(crop: F32, room: F32) -> F32:
    """Convolve with a room, keeping length, alignment and level."""
    wet: F32 = signal.oaconvolve(crop, room)[: len(crop)].astype(np.float32)
    wet_level = level(wet)
    if wet_level < _LEVEL_FLOOR:
        return crop
    return wet * np.float32(level(crop) / wet_level)


def limit_band(crop: F32, cutoff_hz: float, sample_rate_hz: int) -> F32:
    """Low-pass; a cut-off at the Nyquist frequency or above changes nothing."""
    if cutoff_hz >= 0.49 * sample_rate_hz:
        return crop
    sections = signal.butter(_FILTER_ORDER, cutoff_hz, fs=sample_rate_hz, output="sos")
    filtered: F32 = signal.sosfilt(sections.astype(np.float32), crop).astype(np.float32)
    return filtered


def change_level(crop: F32, gain_db: float) -> F32:
    """Scale, upward no further than to full scale: clipping is an augmentation of its own."""
    peak = float(np.abs(crop).max())
    gain = min(10 ** (gain_db / 20), max(1.0 / peak, 1.0) if peak > 0 else 1.0)
    return crop * np.float32(gain)


def clip_peaks(crop: F32, depth_db: float) -> F32:
    """Cut everything less than `depth_db` below the peak."""
    ceiling = float(np.abs(crop).max()) * 10 ** (-depth_db / 20)
    return np.clip(crop, -ceiling, ceiling)
