"""Every layout gives back exactly the frames it was given, whole and streamed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from grove.codec.tokens.layouts import (
    ArrangeStream,
    CoarseFirstLayout,
    DelayLayout,
    FlattenLayout,
    Layout,
    LayoutError,
    ParallelLayout,
    RestoreStream,
    arrange,
    restore,
)
from grove.codec.tokens.vocab import VocabError, VocabSpec

PROPERTY = settings(max_examples=150, deadline=None)
LAYOUTS: list[Layout] = [
    FlattenLayout(),
    FlattenLayout(order="book"),
    FlattenLayout(order="book", chunk_frames=3),
    CoarseFirstLayout(coarse_books=1),
    CoarseFirstLayout(coarse_books=1, chunk_frames=4),
    DelayLayout(),
    ParallelLayout(),
]
layouts = st.sampled_from(LAYOUTS)


@st.composite
def vocabularies(draw: st.DrawFn) -> VocabSpec:
    sizes = draw(st.lists(st.integers(2, 40), min_size=2, max_size=5))
    shared = draw(st.booleans())
    first_id = 0 if shared else draw(st.integers(0, 1000))
    return VocabSpec(code_sizes=tuple(sizes), first_id=first_id, shared_ids=shared)


def codes_for(vocab: VocabSpec, frames: int, seed: int) -> NDArray[np.uint16]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, vocab.code_sizes, (frames, vocab.books)).astype(np.uint16)


def cut(values: NDArray[np.integer], seed: int) -> list[NDArray[np.integer]]:
    """Cut into pieces at random places, some of them empty."""
    places = np.sort(np.random.default_rng(seed).integers(0, len(values) + 1, 4))
    return np.split(values, places)


@PROPERTY
@given(layouts, vocabularies(), st.integers(0, 30), st.integers(0, 2**32 - 1))
def test_restore_is_the_inverse_of_arrange(
    layout: Layout, vocab: VocabSpec, frames: int, seed: int
) -> None:
    codes = codes_for(vocab, frames, seed)
    assert np.array_equal(restore(layout, vocab, arrange(layout, vocab, codes)), codes)


@PROPERTY
@given(layouts, vocabularies(), st.integers(0, 30), st.integers(0, 2**32 - 1))
def test_streams_give_the_same_however_they_are_cut(
    layout: Layout, vocab: VocabSpec, frames: int, seed: int
) -> None:
    codes = codes_for(vocab, frames, seed)
    ids = arrange(layout, vocab, codes)
    forth, back = ArrangeStream(layout, vocab), RestoreStream(layout, vocab)
    streamed = [forth.push(part) for part in cut(codes, seed)]
    assert np.array_equal(np.concatenate([*streamed, forth.finish()]), ids)
    restored = [back.push(part) for part in cut(ids, seed + 1)]
    assert np.array_equal(np.concatenate([*restored, back.finish()]), codes)


@PROPERTY
@given(layouts, vocabularies(), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_every_id_lies_in_the_vocabulary_and_has_one_spelling(
    layout: Layout, vocab: VocabSpec, frames: int, seed: int
) -> None:
    spelled = dict(vocab.tokens())
    assert len(set(spelled.values())) == len(spelled) == vocab.size - vocab.first_id
    ids = arrange(layout, vocab, codes_for(vocab, frames, seed))
    assert set(ids.ravel().tolist()) <= spelled.keys()


VOCAB = VocabSpec(code_sizes=(10, 10, 10), first_id=100)
CODES = np.array([[0, 1, 2], [3, 4, 5]], np.uint16)


def test_the_layouts_are_what_their_names_say() -> None:
    assert VOCAB.pad_id == 100
    base = np.array([[103, 114, 125], [106, 117, 128]])
    assert arrange(FlattenLayout(), VOCAB, CODES).tolist() == [103, 114, 125, 106, 117, 128]
    by_book = arrange(FlattenLayout(order="book"), VOCAB, CODES)
    assert by_book.tolist() == [103, 106, 114, 117, 125, 128]
    coarse = arrange(CoarseFirstLayout(coarse_books=1), VOCAB, CODES)
    assert coarse.tolist() == [103, 106, 114, 125, 117, 128]
    assert np.array_equal(arrange(ParallelLayout(), VOCAB, CODES), base)
    assert arrange(DelayLayout(), VOCAB, CODES).tolist() == [
        [103, 100, 100],
        [106, 114, 100],
        [100, 117, 125],
        [100, 100, 128],
    ]


def test_delayed_rows_come_as_soon_as_their_frames() -> None:
    stream = ArrangeStream(DelayLayout(), VOCAB)
    assert [len(stream.push(CODES[:1])), len(stream.push(CODES[1:])), len(stream.finish())] == [
        1,
        1,
        2,
    ]


@pytest.mark.parametrize(
    ("layout", "ids", "message"),
    [
        (FlattenLayout(), [103, 114], "end 2 books into a frame, expected a multiple of 3"),
        (FlattenLayout(), [103, 103, 125], "frame 0 has 103 in book 1, expected 113 to 122"),
        (FlattenLayout(), [[103, 114, 125]], r"shape \(1, 3\), expected \[n\]"),
        (DelayLayout(), [[103, 103, 100]], "row 0 of the delay pattern holds 103 in its corner"),
        (DelayLayout(), [[103, 100, 100]], "got 1 rows of the delay pattern, a frame needs 3"),
        (ParallelLayout(), [[103, 114]], r"expected \[n, 3\]"),
        (CoarseFirstLayout(coarse_books=3), [], "expected fewer than the 3 books"),
    ],
)
def test_what_no_frames_could_have_made_is_refused(
    layout: Layout, ids: list[int], message: str
) -> None:
    with pytest.raises((LayoutError, VocabError), match=message):
        restore(layout, VOCAB, np.array(ids, np.int64))


def test_a_delay_pattern_that_ends_early_is_refused() -> None:
    ids = arrange(DelayLayout(), VOCAB, CODES)
    with pytest.raises(LayoutError, match="expected padding, 100"):
        restore(DelayLayout(), VOCAB, ids[:-1])
