"""Batched encoding of many sources, one row of a batch each; rows come out in the plan's order.

A call of the graph costs least at about `ROWS_PER_CALL` rows. One long file fills that alone, short
files share it; which is chosen changes no token, since rows of a call do not know of each other.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from grove.codec.arrays import F32, U16
from grove.codec.exact.canonical import CanonicalEncoder, Past
from grove.codec.runtime import Codec
from grove.codec.tokens.records import CodecCard, Row, RowMeta, TokenizeSettings
from grove.codec.tokens.sources import Job, SegmentEnd, SegmentStart, frames_of

ROWS_PER_CALL: Final = 128
_LANES: Final = 16
_MOST_WAITING_FRAMES: Final = 1 << 19
"""Of finished rows that wait for an earlier one: then only that one goes on. 12 MiB at 12 books."""


@dataclass(frozen=True, slots=True)
class RowMaker:
    """What all rows of a run share."""

    card: CodecCard
    settings: TokenizeSettings

    def row(self, source: SegmentStart, end: SegmentEnd, codes: U16, part: int) -> Row:
        """Return the row of a segment, or of a part of one."""
        spec = self.card.codec
        meta = RowMeta(
            id=source.id,
            part=part,
            n_frames=len(codes),
            n_books=self.card.books,
            num_samples=end.samples,
            sample_rate_hz=source.sample_rate_hz,
            channels=source.channels,
            start_s=round(source.start_s, 9),
            duration_s=round(end.source_samples / (source.sample_rate_hz or 1), 9),
            source_uri=source.uri,
            source_sha256=source.sha256,
            codec=f"{spec.name}-{spec.version}",
            codec_sha256=spec.model_sha256,
            resampler=self.card.resampler,
            error=end.error,
        )
        return Row(meta, codes)


def encode_jobs(
    codec: Codec, jobs: Iterable[Job], maker: RowMaker, canonical: CanonicalEncoder | None = None
) -> Iterator[Row]:
    """Yield the rows of all jobs, in order; with canonical codes where there is who makes them."""
    waiting = iter(jobs)
    lanes: deque[_Lane] = deque()
    exhausted = False
    while True:
        buffered = sum(lane.buffered_frames for lane in lanes)
        while not exhausted and len(lanes) < _LANES and buffered < _MOST_WAITING_FRAMES:
            job = next(waiting, None)
            if job is None:
                exhausted = True
            else:
                lanes.append(_Lane(codec, job, maker))
        if not lanes:
            return
        running = list(lanes) if buffered < _MOST_WAITING_FRAMES else [lanes[0]]
        _step(codec, canonical, [lane for lane in running if lane.fill()])
        while lanes:
            yield from lanes[0].taken()
            if not lanes[0].is_done:
                break
            lanes.popleft()


def _step(codec: Codec, canonical: CanonicalEncoder | None, lanes: "list[_Lane]") -> None:
    """Encode what the lanes have, in the shape that fills a call best."""
    if not lanes:
        return
    by_ready = sorted(lanes, key=lambda lane: -lane.ready)
    shapes = [
        (count, min(lane.ready, ROWS_PER_CALL // count)) for count, lane in enumerate(by_ready, 1)
    ]
    count, frames = max(shapes, key=lambda shape: shape[0] * shape[1])
    chosen = by_ready[:count]
    pcm = np.stack([lane.take(frames) for lane in chosen])
    states = np.concatenate([lane.state for lane in chosen])
    if canonical is None:
        codes, states = codec.encode_step(pcm, states)
    else:
        codes, states = canonical.encode_step(pcm, states, [lane.past for lane in chosen])
        for lane, row in zip(chosen, pcm, strict=True):
            lane.past = canonical.onward(lane.past, row)
    for index, lane in enumerate(chosen):
        lane.put(codes[index], states[index : index + 1])


class _Lane:
    """One job on its way through the encoder."""

    def __init__(self, codec: Codec, job: Job, maker: RowMaker) -> None:
        self.is_done = False
        self.buffered_frames = 0
        self._codec = codec
        self._maker = maker
        self._feed = frames_of(job, codec.spec, maker.settings.level_gate)
        self._most_frames = maker.settings.row_frames(codec.spec)
        self._rows: list[Row] = []
        self._frames = np.zeros((0, codec.spec.hop_samples), np.float32)
        self._start: SegmentStart | None = None
        self._end: SegmentEnd | None = None
        self._gone = SegmentEnd(0, 0, None)
        """What earlier parts of the segment hold."""
        self._part = 0
        self._codes: list[U16] = []
        self._coded = 0
        self.state = codec.encoder_state(1)
        self.past: Past = ()

    @property
    def ready(self) -> int:
        """How many frames may be encoded now."""
        return min(len(self._frames), self._most_frames - self._coded)

    def fill(self) -> bool:
        """Read until a call can be filled; return False when there is nothing left to encode."""
        while True:
            while self._end is None and len(self._frames) < ROWS_PER_CALL:
                match next(self._feed, None):
                    case None:
                        self.is_done = True
                        return False
                    case SegmentStart() as start:
                        self._start = start
                    case SegmentEnd() as end:
                        self._end = end
                    case frames:
                        self._frames = np.concatenate((self._frames, frames))
            if len(self._frames):
                if self._coded == self._most_frames:
                    self._cut_part()
                return True
            assert self._end is not None
            self._finish_row(self._end)
            self._restart()

    def take(self, count: int) -> F32:
        """Return the samples [count * hop] of the next frames."""
        taken, self._frames = self._frames[:count], self._frames[count:]
        return taken.ravel()

    def put(self, codes: U16, state: F32) -> None:
        """Take the codes [t, K] of what was taken, and the memory after them."""
        self._codes.append(codes[:, : self._maker.card.books].copy())
        self._coded += len(codes)
        self.state = state

    def taken(self) -> list[Row]:
        """Return the rows that are finished."""
        rows, self._rows, self.buffered_frames = self._rows, [], 0
        return rows

    def _cut_part(self) -> None:
        """Make a row of what is coded, though the segment goes on."""
        assert self._start is not None
        spec = self._codec.spec
        # The decoder's delay takes its samples off the first part only.
        frames = self._part * self._most_frames + self._coded
        samples = spec.decodable_samples(frames) - self._gone.samples
        source_samples = round(samples * self._start.sample_rate_hz / spec.sample_rate_hz)
        self._add_row(SegmentEnd(source_samples, samples, None))
        self._start = replace(
            self._start, start_s=self._start.start_s + samples / spec.sample_rate_hz
        )
        self._gone = SegmentEnd(
            self._gone.source_samples + source_samples, self._gone.samples + samples, None
        )
        self._part, self._codes, self._coded = self._part + 1, [], 0

    def _finish_row(self, end: SegmentEnd) -> None:
        rest = SegmentEnd(
            end.source_samples - self._gone.source_samples,
            end.samples - self._gone.samples,
            end.error,
        )
        self._add_row(rest)

    def _add_row(self, end: SegmentEnd) -> None:
        assert self._start is not None
        codes = np.concatenate([np.zeros((0, self._maker.card.books), np.uint16), *self._codes])
        self._rows.append(self._maker.row(self._start, end, codes, self._part))
        self.buffered_frames += len(codes)

    def _restart(self) -> None:
        """Forget the segment: the next one begins in silence."""
        self.state = self._codec.encoder_state(1)
        self.past = ()
        self._start = self._end = None
        self._gone = SegmentEnd(0, 0, None)
        self._part, self._codes, self._coded = 0, [], 0
