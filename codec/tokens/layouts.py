"""Frames of codes as the sequences that language models read, and exactly back.

Whole and streamed are one code path: a whole sequence is one push and a finish.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal, assert_never

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from grove.codec.config import Frozen
from grove.codec.errors import CodecError
from grove.codec.tokens.vocab import VocabSpec

Ids = NDArray[np.int64]
Turn = Callable[[Ids], Ids]


class LayoutError(CodecError):
    """Tokens that no frames could have made, or frames that do not fit the vocabulary."""


class FlattenLayout(Frozen):
    """One row of tokens: frame after frame, or within `chunk_frames` frames book after book."""

    kind: Literal["flatten"] = "flatten"
    order: Literal["frame", "book"] = "frame"
    chunk_frames: int | None = Field(None, ge=1)
    """Only for the order by books; None is the whole sequence, which a stream must wait for."""


class CoarseFirstLayout(Frozen):
    """One row of tokens: the first books of all frames, then the other books; each frame-major."""

    kind: Literal["coarse-first"] = "coarse-first"
    coarse_books: int = Field(2, ge=1)
    chunk_frames: int | None = Field(None, ge=1)


class DelayLayout(Frozen):
    """Rows of K tokens: book k comes k steps late, padding fills the corners (MusicGen)."""

    kind: Literal["delay"] = "delay"


class ParallelLayout(Frozen):
    """Rows of K tokens: the frames as they are."""

    kind: Literal["parallel"] = "parallel"


Layout = Annotated[
    FlattenLayout | CoarseFirstLayout | DelayLayout | ParallelLayout, Field(discriminator="kind")
]


def arrange(layout: Layout, vocab: VocabSpec, codes: NDArray[np.integer]) -> Ids:
    """Return ids [n], or [n, K] for delay and parallel, of codes [T, K]."""
    stream = ArrangeStream(layout, vocab)
    return np.concatenate((stream.push(codes), stream.finish()))


def restore(layout: Layout, vocab: VocabSpec, ids: NDArray[np.integer]) -> NDArray[np.uint16]:
    """Return the codes [T, K] that `arrange` made `ids` of."""
    stream = RestoreStream(layout, vocab)
    return np.concatenate((stream.push(ids), stream.finish()))


class ArrangeStream:
    """Frames of codes as they come -> tokens as they are complete."""

    def __init__(self, layout: Layout, vocab: VocabSpec) -> None:
        self._vocab = vocab
        self._machine = _arranger(layout, vocab)

    def push(self, codes: NDArray[np.integer]) -> Ids:
        """Return the ids that frames [t, K] complete."""
        return self._machine.push(self._vocab.ids_of(codes))

    def finish(self) -> Ids:
        """Return the last ids."""
        return self._machine.finish()


class RestoreStream:
    """Tokens as they come -> frames of codes as they are complete."""

    def __init__(self, layout: Layout, vocab: VocabSpec) -> None:
        self._vocab = vocab
        self._machine = _restorer(layout, vocab)

    def push(self, ids: NDArray[np.integer]) -> NDArray[np.uint16]:
        """Return the codes [t, K] that ids [n] or [n, K] complete."""
        return self._vocab.codes_of(self._machine.push(np.asarray(ids, np.int64)))

    def finish(self) -> NDArray[np.uint16]:
        """Return the last codes [t, K]; refuse what ends inside a frame."""
        return self._vocab.codes_of(self._machine.finish())


def _arranger(layout: Layout, vocab: VocabSpec) -> "_Chunks | _Delay | _Parallel":
    books = vocab.books
    match layout:
        case FlattenLayout(order="frame"):
            return _Chunks(books, None, 1, _by_frames, flat=False)
        case FlattenLayout():
            return _Chunks(books, layout.chunk_frames, None, _by_books, flat=False)
        case CoarseFirstLayout():
            split = _split(layout, books)
            return _Chunks(
                books,
                layout.chunk_frames,
                None,
                lambda chunk: np.concatenate((chunk[:, :split].ravel(), chunk[:, split:].ravel())),
                flat=False,
            )
        case DelayLayout():
            return _Delay(books, vocab.pad_id)
        case ParallelLayout():
            return _Parallel(books)
        case _:
            assert_never(layout)


def _restorer(layout: Layout, vocab: VocabSpec) -> "_Chunks | _Undelay | _Parallel":
    books = vocab.books
    match layout:
        case FlattenLayout(order="frame"):
            return _Chunks(books, None, 1, lambda part: part.reshape(-1, books), flat=True)
        case FlattenLayout():
            turn: Turn = lambda chunk: chunk.reshape(books, -1).T  # noqa: E731 - as its neighbours
            return _Chunks(books, layout.chunk_frames, None, turn, flat=True)
        case CoarseFirstLayout():
            split = _split(layout, books)
            turn = partial(_joined, books=books, split=split)
            return _Chunks(books, layout.chunk_frames, None, turn, flat=True)
        case DelayLayout():
            return _Undelay(books, vocab.pad_id)
        case ParallelLayout():
            return _Parallel(books)
        case _:
            assert_never(layout)


def _by_frames(chunk: Ids) -> Ids:
    return chunk.ravel()


def _by_books(chunk: Ids) -> Ids:
    return chunk.T.ravel()


def _joined(chunk: Ids, books: int, split: int) -> Ids:
    """Return [t, K] for the coarse books of t frames, and then their other books."""
    cut = len(chunk) // books * split
    return np.concatenate(
        (chunk[:cut].reshape(-1, split), chunk[cut:].reshape(-1, books - split)), axis=1
    )


class _Chunks:
    """Turns chunks of frames, [t, K] or flat [t * K], into the other form.

    All chunks but the last hold `chunk_frames` frames; or, where any number of frames may be turned
    together, a multiple of `unit_frames`.
    """

    def __init__(
        self,
        books: int,
        chunk_frames: int | None,
        unit_frames: int | None,
        turn: Turn,
        flat: bool,
    ) -> None:
        self._books = books
        self._flat = flat
        self._turn = turn
        per_frame = books if flat else 1
        self._chunk = None if chunk_frames is None else chunk_frames * per_frame
        self._unit = self._chunk if unit_frames is None else unit_frames * per_frame
        self._held: list[Ids] = []
        self._held_size = 0

    def push(self, part: Ids) -> Ids:
        _refuse_shape(part, () if self._flat else (self._books,))
        self._held.append(part.copy())
        self._held_size += len(part)
        if self._unit is None or self._held_size < self._unit:
            return self._empty()
        held = np.concatenate(self._held)
        whole = len(held) - len(held) % self._unit
        self._held, self._held_size = [held[whole:].copy()], len(held) - whole
        size = self._chunk or whole
        chunks = (held[start : start + size] for start in range(0, whole, size))
        return np.concatenate([self._turn(chunk) for chunk in chunks])

    def finish(self) -> Ids:
        if self._held_size == 0:
            return self._empty()
        rest, self._held, self._held_size = np.concatenate(self._held), [], 0
        if self._flat and len(rest) % self._books:
            raise LayoutError(
                f"the tokens end {len(rest) % self._books} books into a frame, "
                f"expected a multiple of {self._books}"
            )
        return self._turn(rest)

    def _empty(self) -> Ids:
        return np.zeros((0, self._books) if self._flat else 0, np.int64)


class _Delay:
    """Frames to rows in which book k is k rows late."""

    def __init__(self, books: int, pad_id: int) -> None:
        self._books = books
        self._pad_id = pad_id
        self._recent = np.full((books - 1, books), pad_id, np.int64)
        self._any = False

    def push(self, frames: Ids) -> Ids:
        _refuse_shape(frames, (self._books,))
        self._any = self._any or len(frames) > 0
        known = np.concatenate((self._recent, frames))
        self._recent = known[len(frames) :].copy()
        return _shifted(known, len(frames))

    def finish(self) -> Ids:
        if not self._any:
            return np.zeros((0, self._books), np.int64)
        return self.push(np.full((self._books - 1, self._books), self._pad_id, np.int64))


class _Undelay:
    """Rows in which book k is k rows late to frames; refuses corners that are not padding."""

    def __init__(self, books: int, pad_id: int) -> None:
        self._books = books
        self._pad_id = pad_id
        self._recent = np.zeros((0, books), np.int64)
        self._rows = 0

    def push(self, rows: Ids) -> Ids:
        _refuse_shape(rows, (self._books,))
        for index in range(max(0, min(len(rows), self._books - 1 - self._rows))):
            self._refuse_unpadded(rows[index, self._rows + index + 1 :], self._rows + index)
        self._rows += len(rows)
        known = np.concatenate((self._recent, rows))
        whole = max(0, len(known) - self._books + 1)
        self._recent = known[whole:].copy()
        return _unshifted(known, whole)

    def finish(self) -> Ids:
        if self._rows and self._rows < self._books:
            raise LayoutError(
                f"got {self._rows} rows of the delay pattern, a frame needs {self._books}"
            )
        for index, row in enumerate(self._recent):
            self._refuse_unpadded(row[: index + 1], self._rows - len(self._recent) + index)
        return np.zeros((0, self._books), np.int64)

    def _refuse_unpadded(self, corner: Ids, row: int) -> None:
        if (corner != self._pad_id).any():
            found = corner[corner != self._pad_id][0]
            raise LayoutError(
                f"row {row} of the delay pattern holds {found} in its corner, "
                f"expected padding, {self._pad_id}"
            )


class _Parallel:
    """Frames as they are."""

    def __init__(self, books: int) -> None:
        self._books = books

    def push(self, frames: Ids) -> Ids:
        _refuse_shape(frames, (self._books,))
        return frames

    def finish(self) -> Ids:
        return np.zeros((0, self._books), np.int64)


def _shifted(known: Ids, count: int) -> Ids:
    """Return the last `count` rows, book k taken k rows earlier."""
    books = known.shape[1]
    rows = np.empty((count, books), np.int64)
    for book in range(books):
        first = books - 1 - book
        rows[:, book] = known[first : first + count, book]
    return rows


def _unshifted(known: Ids, count: int) -> Ids:
    """Return `count` frames, book k taken k rows later."""
    books = known.shape[1]
    frames = np.empty((count, books), np.int64)
    for book in range(books):
        frames[:, book] = known[book : book + count, book]
    return frames


def _split(layout: CoarseFirstLayout, books: int) -> int:
    if layout.coarse_books >= books:
        raise LayoutError(
            f"coarse_books is {layout.coarse_books}, expected fewer than the {books} books"
        )
    return layout.coarse_books


def _refuse_shape(part: Ids, row: tuple[int, ...]) -> None:
    if part.shape[1:] != row:
        wanted = ", ".join(("n", *map(str, row)))
        raise LayoutError(f"got an array of the shape {part.shape}, expected [{wanted}]")
