from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from grove.codec.arrays import F32
from grove.codec.framer import Framer, FramerState


def _cut(samples: F32, sizes: list[int]) -> list[F32]:
    edges = np.minimum(np.cumsum([0, *sizes, len(samples)]), len(samples))
    return [samples[a:b] for a, b in pairwise(edges)]


@given(
    hop_samples=st.integers(1, 50),
    samples=st.integers(0, 400),
    sizes=st.lists(st.integers(0, 120), max_size=40),
)
def test_frames_do_not_depend_on_how_the_audio_was_chunked(
    hop_samples: int, samples: int, sizes: list[int]
) -> None:
    audio = np.arange(1, samples + 1, dtype=np.float32)
    framer = Framer(hop_samples)
    state, frames = framer.start(), []
    for chunk in _cut(audio, sizes):
        whole, state = framer.push(chunk, state)
        assert whole.shape[1] == hop_samples
        assert state.samples < hop_samples
        frames.append(whole)
    tail, real_samples = framer.finish(state)
    together = np.concatenate((*frames, tail)).ravel()
    assert len(together) == -(-samples // hop_samples) * hop_samples
    assert real_samples == samples % hop_samples
    np.testing.assert_array_equal(together[:samples], audio)
    assert not together[samples:].any()


def test_a_state_is_a_value_and_can_be_pushed_twice() -> None:
    framer = Framer(4)
    _, state = framer.push(np.array([1, 2, 3], np.float32), framer.start())
    first, _ = framer.push(np.array([4, 5], np.float32), state)
    second, after = framer.push(np.array([6], np.float32), state)
    np.testing.assert_array_equal(first, [[1, 2, 3, 4]])
    np.testing.assert_array_equal(second, [[1, 2, 3, 6]])
    assert after.samples == 0


def test_a_chunk_may_be_overwritten_after_it_was_pushed() -> None:
    framer = Framer(4)
    buffer = np.array([1, 2], np.float32)
    _, state = framer.push(buffer, framer.start())
    buffer[:] = 9
    frames, state = framer.push(buffer, state)
    buffer[:] = 7
    np.testing.assert_array_equal(frames, [[1, 2, 9, 9]])


@settings(max_examples=20)
@given(sizes=st.lists(st.integers(1, 60), max_size=2_000))
def test_a_state_keeps_few_pieces_whatever_the_chunks(sizes: list[int]) -> None:
    framer = Framer(4_000)
    state: FramerState = framer.start()
    for size in sizes:
        _, state = framer.push(np.zeros(size, np.float32), state)
        # Falling sizes 1 + 2 + … + k fit into the hop: k(k+1)/2 < 4000.
        assert len(state.pieces) <= 89


def test_single_samples_are_copied_a_logarithmic_number_of_times() -> None:
    hop_samples = 2**14
    framer = Framer(hop_samples)
    state, copied = framer.start(), 0
    for _ in range(hop_samples - 1):
        before = state.pieces
        _, state = framer.push(np.zeros(1, np.float32), state)
        copied += sum(len(p) for p in state.pieces if not any(p is q for q in before))
    assert copied <= hop_samples * 15


def test_a_stream_without_samples_ends_without_a_frame() -> None:
    frames, real_samples = Framer(480).finish(Framer(480).start())
    assert frames.shape == (0, 480)
    assert real_samples == 0
