"""The engine: batching changes nothing, live work comes first, a fault stays where it is."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

import numpy as np
import pytest
from fake_codec import SPEC, FakeCodec
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from grove.codec.arrays import F32, U16
from grove.server.engine.batch import Batcher
from grove.server.engine.engine import Engine, EngineStream, Ticks
from grove.server.engine.work import (
    Audio,
    Failed,
    Mark,
    Outcome,
    Reset,
    Stepped,
    Tokens,
    Work,
    frames_ahead,
    take_frames,
)
from grove.server.metrics import EngineMetrics

HOP = SPEC.hop_samples


class RecordingCodec(FakeCodec):
    """Remembers the shapes of its batches, and can be slow."""

    def __init__(self, step_s: float = 0.0) -> None:
        super().__init__()
        self.shapes: list[tuple[int, int]] = []
        self._step_s = step_s

    def encode_step(self, pcm: F32, state: F32) -> tuple[U16, F32]:
        self.shapes.append((len(pcm), pcm.shape[1] // HOP))
        time.sleep(self._step_s)
        return super().encode_step(pcm, state)


def frames(count: int, seed: int) -> F32:
    values = np.random.default_rng(seed).integers(-9_000, 9_000, (count, HOP))
    return (values / 32_768).astype(np.float32)


def audio(frame: F32, level: int = SPEC.levels) -> Audio:
    count = frame.size // HOP
    return Audio(frame.reshape(-1, HOP), np.full(count, level, np.int64), time.monotonic())


def alone(pcm: F32) -> tuple[U16, F32]:
    """Return codes [T, K] and samples of one stream by itself."""
    codec = FakeCodec()
    codes, _ = codec.encode_step(pcm.reshape(1, -1), codec.encoder_state(1))
    levels = np.full(codes.shape[:2], SPEC.levels, np.int64)
    sound, _ = codec.decode_step(codes, levels, codec.decoder_state(1))
    return codes[0], sound[0]


class Client:
    """Collects what comes out for one stream."""

    def __init__(self, engine: Engine, live: bool = True, to_audio: bool = True) -> None:
        self.outcomes: list[Outcome] = []
        self.engine = engine
        self.stream: EngineStream = engine.open("fake", live, to_audio, self.outcomes.append)

    def submit(self, *works: Work) -> None:
        self.engine.submit(self.stream, list(works))

    @property
    def stepped(self) -> list[Stepped]:
        return [outcome for outcome in self.outcomes if isinstance(outcome, Stepped)]

    @property
    def done(self) -> int:
        return sum(len(step.levels) for step in self.stepped)

    def codes(self) -> U16:
        return np.concatenate([step.codes for step in self.stepped])

    def pcm(self) -> F32:
        return np.concatenate([step.pcm for step in self.stepped if step.pcm is not None])


async def until(ready: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not ready():
            await asyncio.sleep(0.002)


def with_engine(
    scenario: Callable[[Engine], object], codec: FakeCodec, tick_s: float = 0.0
) -> None:
    """Run an async scenario against an engine that stops in the end."""

    async def main() -> None:
        metrics = EngineMetrics(CollectorRegistry())
        engine = Engine(
            {"fake": Batcher(codec)}, metrics, Ticks(tick_s, 0.02), max_batch=16, slice_frames=8
        )
        engine.start()
        try:
            await scenario(engine)  # type: ignore[misc]
        finally:
            engine.stop()

    asyncio.run(main())


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.data())
def test_batch_mates_do_not_change_a_stream(lengths: list[int], data: st.DataObject) -> None:
    sources = [frames(length, seed) for seed, length in enumerate(lengths)]
    lives = data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths)))

    async def scenario(engine: Engine) -> None:
        clients = [Client(engine, live) for live in lives]
        for index in range(max(lengths)):
            for client, source in zip(clients, sources, strict=True):
                if index < len(source):
                    client.submit(audio(source[index]))
        await until(
            lambda: all(
                client.done == len(source) for client, source in zip(clients, sources, strict=True)
            )
        )
        for client, source in zip(clients, sources, strict=True):
            codes, pcm = alone(source)
            np.testing.assert_array_equal(client.codes(), codes)
            np.testing.assert_array_equal(client.pcm(), pcm)

    with_engine(scenario, FakeCodec())


def test_ready_frames_of_all_streams_run_in_one_batch() -> None:
    codec = RecordingCodec()

    async def scenario(engine: Engine) -> None:
        clients = [Client(engine) for _ in range(6)]
        clients[0].submit(audio(frames(1, 0)))
        await until(lambda: len(clients[0].stepped) == 1)
        for seed, client in enumerate(clients):
            client.submit(audio(frames(1, seed)))
        await until(lambda: all(client.stepped for client in clients[1:]))

    with_engine(scenario, codec, tick_s=0.02)
    assert codec.shapes == [(1, 1), (6, 1)]


def test_the_batch_limit_takes_those_that_waited_longest() -> None:
    codec = RecordingCodec()
    order: list[int] = []

    async def scenario(engine: Engine) -> None:
        first = Client(engine)
        first.submit(audio(frames(1, 0)))
        await until(lambda: bool(first.stepped))
        streams = [
            engine.open("fake", True, True, lambda _, place=place: order.append(place))
            for place in range(20)
        ]
        now_s = time.monotonic()
        for place in reversed(range(20)):
            work = Audio(frames(1, 0), np.full(1, 3, np.int64), now_s + place * 1e-6)
            engine.submit(streams[place], [work])
        await until(lambda: len(order) == 20)

    with_engine(scenario, codec, tick_s=0.02)
    assert order == list(range(20))
    assert codec.shapes == [(1, 1), (16, 1), (4, 1)]


def test_streams_that_fell_behind_catch_up_several_frames_at_a_time() -> None:
    codec = RecordingCodec(step_s=0.02)

    async def scenario(engine: Engine) -> None:
        clients = [Client(engine) for _ in range(3)]
        for index in range(8):
            for seed, client in enumerate(clients):
                client.submit(audio(frames(8, seed)[index]))
        await until(lambda: all(client.done == 8 for client in clients))
        for seed, client in enumerate(clients):
            np.testing.assert_array_equal(client.codes(), alone(frames(8, seed))[0])

    with_engine(scenario, codec)
    assert max(count for _, count in codec.shapes) == 4


def test_a_live_frame_waits_for_one_slice_of_file_work_at_most() -> None:
    codec = RecordingCodec(step_s=0.01)
    order: list[str] = []

    async def scenario(engine: Engine) -> None:
        bulk = engine.open("fake", False, False, lambda _: order.append("file"))
        engine.submit(bulk, [audio(frames(8, 1)) for _ in range(6)])
        await until(lambda: len(order) == 1)
        live = engine.open("fake", True, False, lambda _: order.append("live"))
        engine.submit(live, [audio(frames(1, 2))])
        await until(lambda: len(order) == 7)

    with_engine(scenario, codec)
    assert order.index("live") <= 2


def test_small_pieces_of_file_work_are_joined_up_to_a_slice() -> None:
    codec = RecordingCodec(step_s=0.005)

    async def scenario(engine: Engine) -> None:
        client = Client(engine, live=False)
        client.submit(*(audio(frames(20, 3)[index]) for index in range(20)))
        await until(lambda: client.done == 20)
        np.testing.assert_array_equal(client.codes(), alone(frames(20, 3))[0])

    with_engine(scenario, codec)
    assert codec.shapes == [(1, 8), (1, 8), (1, 4)]


def test_a_live_block_is_stepped_in_pieces_beside_streams_of_single_frames() -> None:
    codec = RecordingCodec(step_s=0.005)

    async def scenario(engine: Engine) -> None:
        block, single = Client(engine), Client(engine)
        block.submit(audio(frames(11, 1)))
        single.submit(audio(frames(1, 2)))
        await until(lambda: block.done == 11 and single.done == 1)
        np.testing.assert_array_equal(block.codes(), alone(frames(11, 1))[0])
        np.testing.assert_array_equal(block.pcm(), alone(frames(11, 1))[1])
        np.testing.assert_array_equal(single.codes(), alone(frames(1, 2))[0])

    with_engine(scenario, codec)
    assert max(count for _, count in codec.shapes) == 4
    assert sum(streams * count for streams, count in codec.shapes) == 12


def test_a_block_larger_than_a_slice_lets_other_files_and_live_frames_in_between() -> None:
    order: list[tuple[str, int]] = []

    async def scenario(engine: Engine) -> None:
        def note(name: str) -> Callable[[Outcome], None]:
            return lambda one: order.append((name, len(one.levels)))  # type: ignore[union-attr]

        engine.submit(engine.open("fake", False, False, note("long")), [audio(frames(50, 1))])
        engine.submit(engine.open("fake", False, False, note("short")), [audio(frames(3, 2))])
        engine.submit(engine.open("fake", True, False, note("live")), [audio(frames(1, 3))])
        await until(lambda: len(order) == 9)

    with_engine(scenario, RecordingCodec(step_s=0.01))
    assert [count for name, count in order if name == "long"] == [8, 8, 8, 8, 8, 8, 2]
    assert order.index(("short", 3)) <= 4
    assert order.index(("live", 1)) <= 3


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 12))
def test_blocks_are_taken_apart_and_joined_without_a_frame_lost(
    sizes: list[int], most_frames: int
) -> None:
    source = frames(sum(sizes), 4)
    edges = np.cumsum(sizes)[:-1]
    pending: deque[Work] = deque(audio(part) for part in np.split(source, edges))
    taken = []
    while pending:
        ahead = frames_ahead(pending, most_frames)
        block = take_frames(pending, most_frames)
        assert isinstance(block, Audio)
        assert len(block.levels) == len(block.frames) == ahead <= most_frames
        assert ahead == most_frames or not pending
        taken.append(block.frames)
    np.testing.assert_array_equal(np.concatenate(taken), source)


def test_a_block_ends_before_a_mark_and_before_frames_of_another_kind() -> None:
    codes = np.zeros((2, len(SPEC.code_sizes)), np.uint16)
    tokens = Tokens(codes, np.full(2, 1, np.int64), 0.0)
    mark = Mark("here", 0.0)
    pending: deque[Work] = deque([audio(frames(2, 1)), mark, tokens, audio(frames(1, 2))])
    assert frames_ahead(pending, 9) == 2
    assert len(take_frames(pending, 9).levels) == 2
    assert pending.popleft() is mark
    assert take_frames(pending, 9) is tokens
    assert frames_ahead(pending, 9) == 1


def test_a_reset_starts_from_silence_and_drops_what_waits() -> None:
    async def scenario(engine: Engine) -> None:
        client = Client(engine)
        source = frames(3, 4)
        client.submit(*(audio(frame) for frame in source))
        await until(lambda: len(client.stepped) >= 1)
        client.submit(audio(source[0]), Reset(time.monotonic()))
        client.submit(*(audio(frame) for frame in source), Mark("end", time.monotonic()))
        await until(lambda: any(isinstance(outcome, Mark) for outcome in client.outcomes))
        at = next(i for i, outcome in enumerate(client.outcomes) if isinstance(outcome, Reset))
        after = [one for one in client.outcomes[at:] if isinstance(one, Stepped)]
        np.testing.assert_array_equal(
            np.concatenate([step.codes for step in after]), alone(source)[0]
        )

    with_engine(scenario, FakeCodec(), tick_s=0.01)


def test_marks_come_out_behind_the_frames_before_them() -> None:
    async def scenario(engine: Engine) -> None:
        client = Client(engine)
        works: list[Work] = []
        for index in range(5):
            works += [audio(frames(1, index)), Mark(str(index), time.monotonic())]
        client.submit(*works)
        await until(lambda: len(client.outcomes) == 10)
        kinds = ["mark" if isinstance(one, Mark) else "step" for one in client.outcomes]
        assert kinds == ["step", "mark"] * 5

    with_engine(scenario, FakeCodec())


def test_lower_levels_carry_zeros_above_and_decode_as_such() -> None:
    async def scenario(engine: Engine) -> None:
        low, same = Client(engine), Client(engine)
        low.submit(audio(frames(1, 5), level=1))
        await until(lambda: bool(low.stepped))
        assert (low.codes()[:, SPEC.codes_at(1) :] == 0).all()
        same.submit(Tokens(low.codes(), np.full(1, 1, np.int64), time.monotonic()))
        await until(lambda: bool(same.stepped))
        np.testing.assert_array_equal(same.pcm(), low.pcm())

    with_engine(scenario, FakeCodec())


def test_a_step_that_raises_fails_its_streams_and_the_engine_goes_on() -> None:
    codec = FakeCodec()

    async def scenario(engine: Engine) -> None:
        client = Client(engine)
        codec.fails = True
        client.submit(audio(frames(1, 6)))
        await until(lambda: client.outcomes == [Failed("RuntimeError")])
        codec.fails = False
        other = Client(engine)
        other.submit(audio(frames(1, 6)))
        await until(lambda: bool(other.stepped))
        assert engine.alive

    with_engine(scenario, codec)


def test_a_closed_stream_hears_nothing_more() -> None:
    async def scenario(engine: Engine) -> None:
        client, other = Client(engine), Client(engine)
        client.submit(audio(frames(1, 7)))
        engine.close(client.stream)
        other.submit(audio(frames(1, 7)))
        await until(lambda: bool(other.stepped))
        assert client.outcomes == []

    with_engine(scenario, FakeCodec())


@pytest.mark.parametrize(("step_s", "expected_s"), [(0.001, 0.01), (0.008, 0.016), (0.5, 0.02)])
def test_ticks_stretch_with_the_load_up_to_a_hop(step_s: float, expected_s: float) -> None:
    assert Ticks(0.01, 0.02).after(step_s) == pytest.approx(expected_s)
