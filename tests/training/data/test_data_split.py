"""The validation split: whole speakers, a share of each kind, the same every time."""

from pathlib import Path

import numpy as np
import pytest

from grove.training.data.cache import AudioCache, CacheHeader
from grove.training.data.clips import held_out_clips
from grove.training.data.config import KindWeights
from grove.training.data.index import AudioIndex
from grove.training.data.manifest import DataError
from grove.training.data.split import hold_out

RATE_HZ = 24_000


def index_of(rows: list[tuple[str, str, str, int]]) -> AudioIndex:
    """Return an index of (kind, source, speaker, samples) rows."""
    length = np.array([row[3] for row in rows], dtype=np.int64)
    return AudioIndex(
        file=np.array([f"{number}.wav" for number in range(len(rows))]),
        source=np.array([row[1] for row in rows]),
        speaker=np.array([row[2] for row in rows]),
        kind=np.array([row[0] for row in rows]),
        native_rate=np.full(len(rows), 16_000, dtype=np.int64),
        offset=np.cumsum(length) - length,
        length=length,
    )


def many_speakers(seed: int = 0) -> AudioIndex:
    rng = np.random.default_rng(seed)
    speech = [
        ("speech", f"source{rng.integers(3)}", f"speaker{rng.integers(400)}", int(n))
        for n in rng.integers(24_000, 240_000, 2_000)
    ]
    music = [("music", "band", "band", int(n)) for n in rng.integers(24_000, 240_000, 200)]
    noise = [("noise", "yard", f"class{n % 5}", 48_000) for n in range(100)]
    return index_of(speech + music + noise)


@pytest.mark.parametrize("seed", range(5))
def test_three_percent_of_each_kind_is_held_out(seed: int) -> None:
    index = many_speakers(seed)
    mask = hold_out(index, 0.03)
    for kind in ("speech", "music", "noise"):
        of_kind = index.kind == kind
        share = index.length[of_kind & mask].sum() / index.length[of_kind].sum()
        assert 0.02 <= share <= 0.04, kind


def test_three_percent_of_the_speakers_are_held_out_whole() -> None:
    index = many_speakers()
    mask = hold_out(index, 0.03)
    keys = [key for key in index.speaker_keys() if key[0] == "speech"]
    held = {key for key, out in zip(index.speaker_keys(), mask, strict=True) if out}
    trained = {key for key, out in zip(index.speaker_keys(), mask, strict=True) if not out}
    assert not {key for key in held & trained if key[0] == "speech"}
    held_speakers = {key for key in held if key[0] == "speech"}
    assert 0.02 <= len(held_speakers) / len(set(keys)) <= 0.045


@pytest.mark.parametrize("exact", [True, False])
def test_the_split_does_not_depend_on_the_order_of_the_listing(exact: bool) -> None:
    rows = [("speech", "s", f"speaker{n % 150}", 24_000 + n) for n in range(600)]
    index = index_of(rows)
    flipped = index_of(rows[::-1])
    mask, mask_of_flipped = (hold_out(i, 0.1, exact=exact) for i in (index, flipped))
    assert mask.any()
    held = {key for key, out in zip(index.speaker_keys(), mask, strict=True) if out}
    again = {k for k, out in zip(flipped.speaker_keys(), mask_of_flipped, strict=True) if out}
    assert held == again


def test_ranks_agree_on_a_speaker_whatever_shards_they_hold() -> None:
    index = many_speakers()
    mask = hold_out(index, 0.03, exact=False)
    half = np.arange(len(index)) % 2 == 0
    keys = index.speaker_keys()
    part = index_of([(*keys[row], int(index.length[row])) for row in np.flatnonzero(half).tolist()])
    assert mask.any()
    assert np.array_equal(hold_out(part, 0.03, exact=False), mask[half])


def test_a_few_files_still_leave_one_for_validation() -> None:
    index = index_of([("speech", "s", "s", 24_000)] * 3)
    assert hold_out(index, 0.03).sum() == 1
    assert not hold_out(index, 0.0).any()
    assert not hold_out(index_of([("speech", "s", "s", 24_000)] * 2), 0.03).any()


def cache_of(index: AudioIndex, held_out: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> AudioCache:
    total = int(index.length.sum())
    rng = np.random.default_rng(0)
    samples = rng.integers(-1_000, 1_000, total, dtype=np.int16)
    header = CacheHeader(
        key="x", sample_rate_hz=RATE_HZ, world=1, files=len(index), bad_files=0, samples=total
    )
    return AudioCache(Path("cache"), header, index, held_out, samples)


def test_clips_are_held_out_and_speakers_take_turns() -> None:
    rows = [("speech", "s", f"speaker{n % 3}", 30_000) for n in range(9)]
    rows += [("music", "m", "m", 30_000)] * 3 + [("speech", "s", "trained", 30_000)] * 5
    index = index_of(rows)
    cache = cache_of(index, np.array([row[2] != "trained" for row in rows]))
    clips = held_out_clips(cache, 4, 1.0, KindWeights(speech=0.75, music=0.25, noise=9))
    assert [clip.kind for clip in clips] == ["speech", "speech", "speech", "music"]
    speaker_of = dict(zip(index.file.tolist(), index.speaker.tolist(), strict=True))
    assert {speaker_of[clip.file] for clip in clips[:3]} == {"speaker0", "speaker1", "speaker2"}
    assert {len(clip.samples) for clip in clips} == {RATE_HZ}
    again = held_out_clips(cache, 4, 1.0, KindWeights(speech=0.75, music=0.25, noise=9))
    assert [clip.file for clip in again] == [clip.file for clip in clips]


def test_a_clip_is_the_loudest_stretch_and_short_recordings_are_whole() -> None:
    index = index_of([("speech", "s", "a", 3 * RATE_HZ), ("speech", "s", "b", 1_000)])
    cache = cache_of(index, np.array([True, True]))
    cache.samples[RATE_HZ : 2 * RATE_HZ] *= 10
    by_file = {clip.file: clip.samples for clip in held_out_clips(cache, 2, 1.0, KindWeights())}
    assert np.array_equal(by_file["0.wav"], cache.read(0, RATE_HZ, RATE_HZ))
    assert np.array_equal(by_file["1.wav"], cache.read(1, 0, 1_000))


def test_data_without_held_out_clips_is_refused() -> None:
    index = index_of([("speech", "s", "a", 30_000)])
    with pytest.raises(DataError, match="none of a drawn kind held out"):
        held_out_clips(cache_of(index, np.array([False])), 2, 1.0, KindWeights())
