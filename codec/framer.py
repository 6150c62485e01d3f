"""Chunks of any size into whole frames of one hop."""

from dataclasses import dataclass

import numpy as np

from grove.codec.arrays import F32


@dataclass(frozen=True, slots=True, eq=False)
class FramerState:
    """Samples that do not fill a frame yet, in order, as pieces of falling size."""

    pieces: tuple[F32, ...] = ()
    samples: int = 0


class Framer:
    """Cuts a stream into frames; the state is passed in and handed back."""

    def __init__(self, hop_samples: int) -> None:
        assert hop_samples >= 1, f"a hop of {hop_samples} samples"
        self.hop_samples = hop_samples

    def start(self) -> FramerState:
        """Return the state of a stream that has not begun."""
        return FramerState()

    def push(self, chunk: F32, state: FramerState) -> tuple[F32, FramerState]:
        """Return the frames [k, hop] that `chunk` [n] completes, and the new state."""
        assert chunk.ndim == 1, f"a chunk of shape {chunk.shape}, expected [n]"
        total = state.samples + len(chunk)
        whole = total - total % self.hop_samples
        if whole == 0:
            return self._frames(np.empty(0, np.float32)), _grown(state, chunk)
        # Copies throughout: the caller may reuse its buffer, and a state must not pin a large one.
        used = whole - state.samples
        frames = self._frames(np.concatenate((*state.pieces, chunk[:used])))
        return frames, _grown(FramerState(), chunk[used:])

    def finish(self, state: FramerState) -> tuple[F32, int]:
        """Return the last frame padded with zeros, [0 or 1, hop], and its real samples."""
        if state.samples == 0:
            return self._frames(np.empty(0, np.float32)), 0
        frame = np.zeros(self.hop_samples, np.float32)
        frame[: state.samples] = np.concatenate(state.pieces)
        return self._frames(frame), state.samples

    def _frames(self, samples: F32) -> F32:
        return samples.reshape(-1, self.hop_samples)


def _grown(state: FramerState, chunk: F32) -> FramerState:
    """Return `state` with `chunk` behind it, in time that does not grow with the hop."""
    if len(chunk) == 0:
        return state
    # Pieces no longer than what follows are joined to it: sizes keep falling, so there are few
    # of them, and a sample is copied about log2(hop) times even where chunks hold one sample.
    keep, size = len(state.pieces), len(chunk)
    while keep and len(state.pieces[keep - 1]) <= size:
        keep -= 1
        size += len(state.pieces[keep])
    joined = np.concatenate((*state.pieces[keep:], chunk))
    return FramerState((*state.pieces[:keep], joined), state.samples + len(chunk))
