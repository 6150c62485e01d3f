"""The use of books, against codes whose figures are known."""

import math

import numpy as np
import pytest

from grove.codec.books import BookUse, book_use, histograms


def used(codes: list[list[int]], sizes: tuple[int, ...]) -> tuple[BookUse, ...]:
    return book_use(histograms(np.array(codes, np.uint16), sizes))


def test_even_use_is_a_perplexity_of_all_codes() -> None:
    (even,) = used([[code] for code in range(8)] * 8, (8,))
    assert (even.frames, even.used, even.dead, even.used_share) == (64, 8, 0, 1.0)
    assert (even.entropy_bits, even.most_bits) == (3.0, 3.0)
    assert (even.entropy, even.perplexity) == (1.0, 8.0)


def test_a_collapsed_book_has_a_perplexity_of_one() -> None:
    (single,) = used([[3]] * 5, (4,))
    assert (single.used, single.dead, single.used_share) == (1, 3, 0.25)
    assert (single.top_code, single.top_share) == (3, 1.0)
    assert (single.entropy, single.perplexity) == (0.0, 1.0)
    assert math.copysign(1, single.entropy) == 1


def test_books_of_different_sizes_are_counted_apart() -> None:
    first, second = used([[0, 5], [0, 5], [1, 0], [1, 1]], (2, 8))
    assert (first.book, first.entropy, first.perplexity) == (0, 1.0, 2.0)
    assert (second.book, second.used_share) == (1, 3 / 8)
    assert second.entropy == pytest.approx(1.5 / 3)
    assert (second.top_code, second.top_share) == (5, 0.5)


def test_no_frames_use_nothing() -> None:
    (empty,) = book_use(histograms(np.zeros((0, 1), np.uint16), (4,)))
    assert (empty.frames, empty.used, empty.entropy, empty.top_share) == (0, 0, 0.0, 0.0)
