"""How evenly frames of codes use their books: the figures of a corpus, a run, an evaluation."""

from collections.abc import Sequence

import numpy as np

from grove.codec.arrays import I64, U16
from grove.codec.config import Frozen


class BookUse(Frozen):
    """The use of one book over `frames` frames."""

    book: int
    size: int
    frames: int
    used: int
    dead: int
    """Codes that never came."""
    entropy_bits: float
    most_bits: float
    entropy: float
    """Of the most that the book could have: 1 is even use of every code."""
    perplexity: float
    top_code: int
    top_share: float

    @property
    def used_share(self) -> float:
        return self.used / self.size


def histograms(codes: U16 | I64, code_sizes: Sequence[int]) -> tuple[I64, ...]:
    """Return how often each code came in frames of codes [T, K], one [size] for each book."""
    return tuple(
        np.bincount(codes[:, book], minlength=size) for book, size in enumerate(code_sizes)
    )


def book_use(counts: Sequence[I64]) -> tuple[BookUse, ...]:
    """Return the use of each book from how often each of its codes came."""
    return tuple(_use_of(book, count) for book, count in enumerate(counts))


def _use_of(book: int, count: I64) -> BookUse:
    frames = int(count.sum())
    shares = count[count > 0] / max(frames, 1)
    # -0.0 for a book with one code in use reads badly in a table.
    entropy_bits = float(-(shares * np.log2(shares)).sum()) + 0.0
    most_bits = float(np.log2(len(count)))
    top = int(count.argmax())
    return BookUse(
        book=book,
        size=len(count),
        frames=frames,
        used=len(shares),
        dead=len(count) - len(shares),
        entropy_bits=entropy_bits,
        most_bits=most_bits,
        entropy=entropy_bits / most_bits,
        perplexity=2**entropy_bits,
        top_code=top,
        top_share=float(count[top] / max(frames, 1)),
    )
