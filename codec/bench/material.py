"""Synthetic audio to measure with: harmonics under noise. Speed does not depend on it."""

import numpy as np

from grove.codec.arrays import F32


def voice(seconds: float, rate_hz: int, seed: int = 0) -> F32:
    """Return samples [n] of a gliding, pulsing harmonic tone with noise; the same every time."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    pitch_hz = 140 + 40 * np.sin(2 * np.pi * 0.7 * time_s) + 10 * seed
    phase = 2 * np.pi * np.cumsum(pitch_hz) / rate_hz
    tone = sum(np.sin(n * phase) / n for n in range(1, 20))
    pulse = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * time_s)
    samples: F32 = (0.1 * tone * pulse + 0.01 * rng.standard_normal(len(time_s))).astype(np.float32)
    return samples
