"""Mixing and splitting channels: several into one, or each for itself."""

import numpy as np

from grove.codec.arrays import F32


def down_mix(block: F32) -> F32:
    """Return the mean [n] over the channels of `block` [n, C]."""
    # Channel by channel: numpy's mean picks its order of summing by the block's shape, and so
    # the last bit of a sample would depend on how the audio was cut into blocks.
    total = block[:, 0].astype(np.float64)
    for channel in range(1, block.shape[1]):
        total += block[:, channel]
    mean: F32 = (total / block.shape[1]).astype(np.float32)
    return mean


def split_channels(block: F32) -> tuple[F32, ...]:
    """Return each channel of `block` [n, C] as its own [n]."""
    return tuple(block[:, channel].copy() for channel in range(block.shape[1]))


def join_channels(channels: tuple[F32, ...]) -> F32:
    """Return [n, C] from C channels of n samples; the inverse of `split_channels`."""
    lengths = {len(channel) for channel in channels}
    assert len(lengths) == 1, f"channels differ in length: {sorted(lengths)}"
    block: F32 = np.stack(channels, axis=1)
    return block
