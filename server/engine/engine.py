"""The one model thread of a process: gathers ready frames, steps them together, hands them back."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from grove.codec.errors import StreamError
from grove.server.engine.batch import Batcher, CodecRows, Step
from grove.server.engine.work import (
    Failed,
    Mark,
    Outcome,
    Reset,
    Work,
    drop_frames,
    frames_ahead,
    take_frames,
)
from grove.server.metrics import EngineMetrics

_log = structlog.get_logger("engine")

_MAX_LIVE_FRAMES = 4


@dataclass(eq=False)
class EngineStream:
    """One stream in the engine. Outcomes come in order, on the event loop."""

    codec: str
    live: bool
    to_audio: bool
    deliver: Callable[[Outcome], None]
    rows: CodecRows
    pending: deque[Work] = field(default_factory=deque)
    listed: bool = False
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Ticks:
    """How long to gather frames for the next batch: the longer, the fuller the last one was.

    A batch costs a pass over the weights and a little for each stream, so wide batches are what
    makes many streams fit; with few streams there is time to answer sooner.
    """

    least_s: float
    most_s: float
    share: float = 2.0

    def after(self, step_s: float) -> float:
        """Return the time from the start of a batch that took `step_s` to the next one's."""
        return min(self.most_s, max(self.least_s, self.share * step_s))


@dataclass(frozen=True)
class _Taken:
    stream: EngineStream
    step: Step


class Engine:
    """Live streams run in ticks, oldest first; file work runs in slices in between."""

    def __init__(
        self,
        batchers: Mapping[str, Batcher],
        metrics: EngineMetrics,
        ticks: "Ticks",
        max_batch: int,
        slice_frames: int,
    ) -> None:
        self._batchers = batchers
        self._metrics = metrics
        self._ticks = ticks
        self._max_batch = max_batch
        self.slice_frames = slice_frames
        self._live: list[EngineStream] = []
        self._bulk: deque[EngineStream] = deque()
        self._awake = threading.Condition()
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    # --- called on the event loop ---------------------------------------------------------

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        with self._awake:
            self._stopping = True
            self._awake.notify()
        self._thread.join()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def open(
        self, codec: str, live: bool, to_audio: bool, deliver: Callable[[Outcome], None]
    ) -> EngineStream:
        """Return a stream that starts in silence; with `to_audio` its tokens are decoded too."""
        return EngineStream(codec, live, to_audio, deliver, self._batchers[codec].start())

    def submit(self, stream: EngineStream, works: list[Work]) -> None:
        """Queue work. A block holds one frame or more, of which a step takes what fits it."""
        if not works:
            return
        if not self.alive:
            raise StreamError("the model thread has stopped")
        with self._awake:
            for work in works:
                if isinstance(work, Reset):
                    drop_frames(stream.pending)
                stream.pending.append(work)
            if not stream.listed:
                stream.listed = True
                # While live frames gather for the next tick, one more need not wake the thread.
                if not (stream.live and self._live):
                    self._awake.notify()
                (self._live if stream.live else self._bulk).append(stream)

    def close(self, stream: EngineStream) -> None:
        """Forget a stream; nothing more is delivered."""
        with self._awake:
            stream.closed = True
            stream.pending.clear()

    # --- the model thread -----------------------------------------------------------------

    def _run(self) -> None:
        last_tick_s = next_tick_s = 0.0
        while (taken := self._next_batch(last_tick_s, next_tick_s)) is not None:
            outcomes, batch, is_live = taken
            started_s = time.monotonic()
            outcomes.extend(self._stepped(batch, is_live, started_s))
            self._deliver(outcomes)
            if is_live:
                last_tick_s = started_s
                next_tick_s = started_s + self._ticks.after(time.monotonic() - started_s)

    def _next_batch(
        self, last_tick_s: float, next_tick_s: float
    ) -> tuple[list[tuple[EngineStream, Outcome]], list[_Taken], bool] | None:
        """Wait for work; return marks that came out, steps to make and whether they are live."""
        with self._awake:
            while not self._stopping:
                wait_s = next_tick_s - time.monotonic()
                if self._live and (wait_s <= 0 or self._behind(last_tick_s)):
                    return (*self._take_live(), True)
                if self._bulk:
                    return (*self._take_bulk(), False)
                self._awake.wait(wait_s if self._live else None)
        return None

    def _behind(self, last_tick_s: float) -> bool:
        """Tell whether a live frame was already waiting when the last tick began."""
        return any(
            stream.pending and stream.pending[0].arrived_s < last_tick_s for stream in self._live
        )

    def _take_live(self) -> tuple[list[tuple[EngineStream, Outcome]], list[_Taken]]:
        """Take the next frame of each live stream, those that waited longest first."""
        ready = sorted(
            (stream for stream in self._live if stream.pending),
            key=lambda stream: stream.pending[0].arrived_s,
        )[: self._max_batch]
        passed: list[tuple[EngineStream, Outcome]] = []
        for stream in ready:
            passed.extend((stream, mark) for mark in self._pass_marks(stream))
        ready = [stream for stream in ready if stream.pending]
        # Where all have fallen behind, several frames of each share one pass over the weights.
        ahead = (frames_ahead(stream.pending, _MAX_LIVE_FRAMES) for stream in ready)
        frames = min(ahead, default=0)
        batch = [_taken(stream, frames) for stream in ready]
        self._live = [stream for stream in self._live if _still_listed(stream)]
        return passed, batch

    def _take_bulk(self) -> tuple[list[tuple[EngineStream, Outcome]], list[_Taken]]:
        """Take up to `slice_frames` frames of the file stream whose turn it is."""
        stream = self._bulk.popleft()
        passed: list[tuple[EngineStream, Outcome]] = [
            (stream, mark) for mark in self._pass_marks(stream)
        ]
        batch = []
        if stream.pending:
            batch.append(_taken(stream, self.slice_frames))
        if _still_listed(stream):
            self._bulk.append(stream)
        return passed, batch

    def _pass_marks(self, stream: EngineStream) -> list[Outcome]:
        passed: list[Outcome] = []
        while stream.pending and isinstance(head := stream.pending[0], Mark | Reset):
            stream.pending.popleft()
            passed.append(head)
            if isinstance(head, Reset):
                stream.rows = self._batchers[stream.codec].start()
        return passed

    def _stepped(
        self, batch: list[_Taken], is_live: bool, started_s: float
    ) -> list[tuple[EngineStream, Outcome]]:
        by_codec: dict[str, list[_Taken]] = {}
        for taken in batch:
            by_codec.setdefault(taken.stream.codec, []).append(taken)
        outcomes: list[tuple[EngineStream, Outcome]] = []
        for codec, mates in by_codec.items():
            made = self._run_steps(codec, [taken.step for taken in mates])
            outcomes.extend((taken.stream, one) for taken, one in zip(mates, made, strict=True))
        if batch:
            waits_s = [started_s - taken.step.work.arrived_s for taken in batch]
            frames = sum(taken.step.frames for taken in batch)
            self._metrics.batch(is_live, len(batch), frames, time.monotonic() - started_s, waits_s)
        return outcomes

    def _run_steps(self, codec: str, steps: list[Step]) -> Sequence[Outcome]:
        try:
            return self._batchers[codec].run(steps)
        except Exception as error:  # a fault of the runtime must not end the other batches
            self._metrics.failure()
            _log.exception("step_failed", codec=codec, streams=len(steps))
            return [Failed(type(error).__name__)] * len(steps)

    def _deliver(self, outcomes: list[tuple[EngineStream, Outcome]]) -> None:
        assert self._loop is not None, "the engine runs only after start()"
        if outcomes and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_hand_over, outcomes)


def _hand_over(outcomes: list[tuple[EngineStream, Outcome]]) -> None:
    for stream, outcome in outcomes:
        if stream.closed:
            continue
        try:
            stream.deliver(outcome)
        except Exception:  # one session's fault must not keep the rest of the batch waiting
            _log.exception("delivery_failed")


def _still_listed(stream: EngineStream) -> bool:
    stream.listed = bool(stream.pending)
    return stream.listed


def _taken(stream: EngineStream, most_frames: int) -> _Taken:
    block = take_frames(stream.pending, most_frames)
    return _Taken(stream, Step(stream.rows, block, stream.to_audio))
