"""Canonical codes: those of exact arithmetic, whatever the processor and the runtime's version.

Rounding moves a code only where the two best vectors of a search are nearly as good. Such a frame
is computed once more, in float64 from the samples behind it, and that answer counts.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from grove.codec.arrays import F32, U16
from grove.codec.bundle import Bundle
from grove.codec.errors import BundleError
from grove.codec.exact.graph import ExactGraph
from grove.codec.exact.onnx_file import read_graph, with_best_two
from grove.codec.runtime import open_session, row_blocks, without_denormals

CANONICAL_VERSION: Final = 1
"""What a card states; another one may give other codes."""

# Measured between three versions of ONNX Runtime, relative to score and book: 4e-7 is the root mean
# square of what rounding does to the lead of the best vector, 7.5e-6 the most in 278,016 searches.
_MARGIN: Final = 4e-6
_NEAR: Final = "grove.near"
_PROBE_FRAMES: Final = 256

Past: TypeAlias = tuple[F32, ...]
"""Samples of one stream before a step, the latest last: all of them, or as many as it needs."""


class CanonicalEncoder:
    """The encoder of a bundle, for streams whose last samples are at hand. Stateless."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self._bundle = bundle
        self._spec = bundle.spec
        self._session = open_session(
            with_best_two(bundle.encoder, _NEAR), "encoder", bundle, threads
        )
        self._scales = _book_scales(bundle)
        self.past_samples = self._remembered_frames() * self._spec.hop_samples
        self.settled_frames = 0
        """How many frames were computed again so far."""

    def encode_step(self, pcm: F32, state: F32, pasts: Sequence[Past]) -> tuple[U16, F32]:
        """Return codes [B, T, K] and the new memory for pcm [B, T*hop] behind its pasts."""
        clean = without_denormals(pcm)
        frames = clean.reshape(len(pcm), -1, self._spec.hop_samples)
        codes, nears = [], []
        for block in row_blocks(frames.shape):
            feed = {"pcm": frames[:, block], "state": state}
            found, scores, state = self._session.run(["codes", _NEAR, "new_state"], feed)
            codes.append(found)
            nears.append(self._is_near(scores).reshape(found.shape[:2]))
        settled = np.concatenate(codes, axis=1).astype(np.uint16)
        for row in np.flatnonzero(np.concatenate(nears, axis=1).any(axis=1)).tolist():
            near = np.concatenate([part[row] for part in nears])
            self._settle(settled[row], near, clean[row], pasts[row])
        return settled, state

    def onward(self, past: Past, pcm: F32) -> Past:
        """Return the past of the step after the one that takes pcm [n]."""
        kept = [pcm]
        missing = self.past_samples - len(pcm)
        for piece in reversed(past):
            if missing <= 0:
                break
            kept.append(piece)
            missing -= len(piece)
        return tuple(reversed(kept))

    def _is_near(self, scores: F32) -> NDArray[np.bool_]:
        """Tell of scores [N, 2 K], best and second by book, which rows another kernel may tip."""
        best, second = scores[:, ::2], scores[:, 1::2]
        is_close = best - second < _MARGIN * (np.abs(best) + self._scales)
        near: NDArray[np.bool_] = np.any(is_close, axis=1)
        return near

    def _settle(self, codes: U16, near: NDArray[np.bool_], pcm: F32, past: Past) -> None:
        """Put the exact codes of the near frames of one row into codes [T, K]."""
        hop = self._spec.hop_samples
        behind = without_denormals(np.concatenate((np.zeros(0, np.float32), *past)))
        known = np.concatenate((behind, pcm)).reshape(-1, hop)
        first = len(behind) // hop
        state = np.zeros((1, self._bundle.manifest.encoder_state))
        for start, stop in _runs(np.flatnonzero(near)):
            # Before a stream is silence; behind its start, what the first frames remember is past.
            begin = max(0, first + start - self.past_samples // hop)
            exact = self._exact.run(pcm=known[None, begin : first + stop], state=state)[0]
            wanted = near[start:stop]
            codes[start:stop][wanted] = exact[start - stop :][wanted]
            self.settled_frames += int(wanted.sum())

    @cached_property
    def _exact(self) -> ExactGraph:
        return ExactGraph(read_graph(self._bundle.encoder), "codes")

    def _remembered_frames(self) -> int:
        """Return how many frames before a frame can move its scores, found by trying."""
        shape = (1, _PROBE_FRAMES, self._spec.hop_samples)
        rng = np.random.default_rng(0)
        pcm = rng.normal(0, 0.1, shape).astype(np.float32)
        silence = np.zeros((1, self._bundle.manifest.encoder_state), np.float32)
        noise = rng.normal(0, 1, silence.shape).astype(np.float32)
        first, other = (
            self._session.run([_NEAR], {"pcm": pcm, "state": state})[0]
            for state in (silence, noise)
        )
        moved = np.flatnonzero((first != other).any(axis=1))
        count = int(moved[-1]) + 1 if len(moved) else 0
        if count > _PROBE_FRAMES // 2:
            raise BundleError(
                f"{self._bundle.path} remembers more than {_PROBE_FRAMES // 2} frames, "
                "too many for canonical codes"
            )
        return count


def _book_scales(bundle: Bundle) -> F32:
    """Return for each book half the mean squared length of its vectors, which its scores hold."""
    graph = read_graph(bundle.encoder)
    makers = {name: node for node in graph.nodes for name in node.outputs}
    scales = []
    for node in graph.nodes:
        if node.kind == "ArgMax":
            scored = makers[node.inputs[0]]
            halves = graph.constants.get(scored.inputs[-1])
            if scored.kind != "Sub" or halves is None:
                raise BundleError(f"{bundle.path} searches its books in a way that is not known")
            scales.append(float(halves.astype(np.float64).mean()))
    return np.array(scales, np.float32)


def _runs(frames: NDArray[np.intp]) -> list[tuple[int, int]]:
    """Return the stretches that frames lie in; those that are near each other share one."""
    edges = np.flatnonzero(np.diff(frames) > _SHARED_FRAMES) + 1
    return [(int(part[0]), int(part[-1]) + 1) for part in np.split(frames, edges)]


_SHARED_FRAMES: Final = 24
"""Computing so many frames costs less than to begin again with all that the first remembers."""
