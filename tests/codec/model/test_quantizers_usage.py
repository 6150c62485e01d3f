"""Usage figures against codes whose figures are known."""

import math

import pytest
import torch

from grove.codec.model.quantizers import book_statistics


def test_even_use_is_a_perplexity_of_all_codes() -> None:
    (usage,) = book_statistics(torch.arange(8).reshape(2, 4, 1), (8,))
    assert usage == pytest.approx((1.0, 8.0, 1.0))


def test_a_collapsed_book_has_a_perplexity_of_one() -> None:
    (usage,) = book_statistics(torch.full((5, 1), 3), (4,))
    assert usage == pytest.approx((0.25, 1.0, 0.0))


def test_books_of_different_sizes_are_counted_apart() -> None:
    codes = torch.tensor([[0, 5], [0, 5], [1, 0], [1, 1]])
    first, second = book_statistics(codes, (2, 8))
    assert first == pytest.approx((1.0, 2.0, 1.0))
    assert second.used_share == pytest.approx(3 / 8)
    assert second.normalised_entropy == pytest.approx(1.5 * math.log(2) / math.log(8))
