"""The laws of the runtime: how frames are grouped is nobody's business."""

import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grove.codec.arrays import F32, I64, U16
from grove.codec.bundle import load_bundle
from grove.codec.errors import StreamError
from grove.codec.runtime import Codec

PROPERTY = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def law_codes(codec: Codec, law_pcm: F32) -> U16:
    """The reference: every row alone, the whole row in one go."""
    rows = [codec.encode_step(row[None], codec.encoder_state(1))[0] for row in law_pcm]
    return np.concatenate(rows)


@pytest.fixture(scope="module")
def law_levels(codec: Codec, law_codes: U16) -> I64:
    """Every number of levels, lost frames included."""
    rng = np.random.default_rng(5)
    return rng.integers(0, codec.spec.levels + 1, law_codes.shape[:2])


@pytest.fixture(scope="module")
def law_output(codec: Codec, law_codes: U16, law_levels: I64) -> F32:
    rows = [
        codec.decode_step(codes[None], levels[None], codec.decoder_state(1))[0]
        for codes, levels in zip(law_codes, law_levels, strict=True)
    ]
    return np.concatenate(rows)


class Law(NamedTuple):
    """Input, and what it must become however it is stepped."""

    pcm: F32
    codes: U16
    levels: I64
    output: F32


@pytest.fixture(scope="module")
def law(law_pcm: F32, law_codes: U16, law_levels: I64, law_output: F32) -> Law:
    return Law(law_pcm, law_codes, law_levels, law_output)


def encode_in(codec: Codec, pcm: F32, step_frames: int) -> U16:
    hop = codec.spec.hop_samples
    state, parts = codec.encoder_state(len(pcm)), []
    for start in range(0, pcm.shape[1], step_frames * hop):
        codes, state = codec.encode_step(pcm[:, start : start + step_frames * hop], state)
        parts.append(codes)
    return np.concatenate(parts, axis=1)


def decode_in(codec: Codec, codes: U16, levels: I64, step_frames: int) -> F32:
    state, parts = codec.decoder_state(len(codes)), []
    for start in range(0, codes.shape[1], step_frames):
        part = slice(start, start + step_frames)
        pcm, state = codec.decode_step(codes[:, part], levels[:, part], state)
        parts.append(pcm)
    return np.concatenate(parts, axis=1)


def test_the_laws_are_held_on_at_least_20000_frames_of_speech(law_codes: U16) -> None:
    assert law_codes.shape[0] * law_codes.shape[1] >= 20_000
    assert all(len(np.unique(law_codes[..., book])) > 100 for book in range(law_codes.shape[2]))


@pytest.mark.parametrize("step_frames", [1, 2, 7, 50])
def test_tokens_do_not_depend_on_frames_per_step(
    codec: Codec, law_pcm: F32, law_codes: U16, step_frames: int
) -> None:
    assert np.array_equal(encode_in(codec, law_pcm, step_frames), law_codes)


@pytest.mark.parametrize("step_frames", [1, 3, 50])
def test_pcm_does_not_depend_on_frames_per_step(
    codec: Codec, law_codes: U16, law_levels: I64, law_output: F32, step_frames: int
) -> None:
    assert np.array_equal(decode_in(codec, law_codes, law_levels, step_frames), law_output)


def test_two_threads_give_the_same_tokens_and_pcm(
    law_pcm: F32, law_codes: U16, law_levels: I64, law_output: F32
) -> None:
    two = Codec(load_bundle(), threads=2)
    assert np.array_equal(encode_in(two, law_pcm, 3), law_codes)
    assert np.array_equal(decode_in(two, law_codes, law_levels, 3), law_output)


@PROPERTY
@given(streams=st.integers(1, 64), seed=st.integers(0, 2**32 - 1))
def test_streams_may_join_leave_and_share_batches_in_any_order(
    codec: Codec, law: Law, streams: int, seed: int
) -> None:
    law_pcm, law_codes, law_levels, law_output = law
    rng = np.random.default_rng(seed)
    hop, length = codec.spec.hop_samples, law_codes.shape[1]
    rows = rng.integers(len(law_pcm), size=streams)
    ends = rng.integers(1, min(40, length), size=streams)
    at = np.zeros(streams, np.int64)
    encoders, decoders = codec.encoder_state(streams), codec.decoder_state(streams)
    while (alive := np.flatnonzero(at < ends)).size:
        batch = rng.permutation(alive)[: rng.integers(1, alive.size + 1)]
        pcm = np.stack([law_pcm[rows[i], at[i] * hop : (at[i] + 1) * hop] for i in batch])
        codes, encoders[batch] = codec.encode_step(pcm, encoders[batch])
        levels = law_levels[rows[batch], at[batch], None]
        out, decoders[batch] = codec.decode_step(codes, levels, decoders[batch])
        for index, stream in enumerate(batch):
            row, frame = rows[stream], at[stream]
            assert np.array_equal(codes[index, 0], law_codes[row, frame])
            assert np.array_equal(out[index], law_output[row, frame * hop : (frame + 1) * hop])
        at[batch] += 1


def test_codes_lie_within_their_books(codec: Codec, law_codes: U16) -> None:
    assert (law_codes.max(axis=(0, 1)) < np.array(codec.spec.code_sizes)).all()


def test_codes_of_dropped_levels_are_not_read(codec: Codec, law_codes: U16) -> None:
    codes = law_codes[:1, :200]
    levels = np.full((1, 200), 2)
    kept = codes.copy()
    kept[..., codec.spec.codes_at(2) :] = 0
    state = codec.decoder_state(1)
    whole, _ = codec.decode_step(codes, levels, state)
    assert np.array_equal(codec.decode_step(kept, levels, state)[0], whole)


def test_output_never_depends_on_input_after_it(codec: Codec, law_pcm: F32) -> None:
    hop = codec.spec.hop_samples
    pcm = law_pcm[:1, : 100 * hop]
    changed = pcm.copy()
    changed[:, 60 * hop :] = 0.5
    before, after = (encode_in(codec, x, 100) for x in (pcm, changed))
    assert np.array_equal(before[:, :60], after[:, :60])
    assert not np.array_equal(before[:, 60:], after[:, 60:])
    levels = np.full(before.shape[:2], codec.spec.levels)
    one, other = (decode_in(codec, codes, levels, 100) for codes in (before, after))
    # Frame 59 is the last that may not have heard of the change.
    assert np.array_equal(one[:, : 60 * hop], other[:, : 60 * hop])


def test_silence_in_is_near_silence_out(codec: Codec) -> None:
    silence = np.zeros((1, 100 * codec.spec.hop_samples), np.float32)
    codes = encode_in(codec, silence, 100)
    levels = np.full(codes.shape[:2], codec.spec.levels)
    output = decode_in(codec, codes, levels, 100)
    assert np.abs(output[:, 10 * codec.spec.hop_samples :]).max() < 10 ** (-40 / 20)


def test_a_reset_state_forgets_the_stream_before(codec: Codec, law_pcm: F32) -> None:
    hop = codec.spec.hop_samples
    first, _ = codec.encode_step(law_pcm[:1, : 20 * hop], codec.encoder_state(1))
    again, _ = codec.encode_step(law_pcm[:1, : 20 * hop], codec.encoder_state(1))
    assert np.array_equal(first, again)


def test_no_frames_give_no_codes_and_no_pcm(codec: Codec) -> None:
    codes, _ = codec.encode_step(np.zeros((2, 0), np.float32), codec.encoder_state(2))
    assert codes.shape == (2, 0, len(codec.spec.code_sizes))
    pcm, _ = codec.decode_step(codes, np.zeros((2, 0), np.int64), codec.decoder_state(2))
    assert pcm.shape == (2, 0)


def test_part_of_a_frame_is_refused(codec: Codec) -> None:
    with pytest.raises(StreamError, match="expected a multiple of 480"):
        codec.encode_step(np.zeros((1, 481), np.float32), codec.encoder_state(1))


def test_a_code_outside_its_book_is_refused(codec: Codec) -> None:
    codes = np.zeros((1, 1, len(codec.spec.code_sizes)), np.uint16)
    codes[0, 0, 3] = codec.spec.code_sizes[3]
    with pytest.raises(StreamError, match="in book 3"):
        codec.decode_step(codes, np.ones((1, 1), np.int64), codec.decoder_state(1))


def test_more_levels_than_the_model_has_are_refused(codec: Codec) -> None:
    codes = np.zeros((1, 1, len(codec.spec.code_sizes)), np.uint16)
    levels = np.full((1, 1), codec.spec.levels + 1)
    with pytest.raises(StreamError, match="expected 0 to"):
        codec.decode_step(codes, levels, codec.decoder_state(1))


def test_denormal_samples_are_silence_to_the_model(codec: Codec) -> None:
    quiet = np.full((1, 50 * codec.spec.hop_samples), 1e-40, np.float32)
    assert quiet.any()
    silence = np.zeros_like(quiet)
    assert np.array_equal(encode_in(codec, quiet, 50), encode_in(codec, silence, 50))


def test_opening_a_codec_leaves_the_floating_point_mode_alone() -> None:
    program = (
        "import numpy as np; from grove.codec.bundle import load_bundle; "
        "from grove.codec.runtime import Codec; "
        "codec = Codec(load_bundle()); codec.encode_step(np.zeros((1, 480), np.float32), "
        "codec.encoder_state(1)); assert (np.float32(1e-40) * np.ones(8, np.float32)).all()"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
