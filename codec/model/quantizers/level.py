"""One residual level: the books that together quantize a latent once."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from codec.model.quantizers.book import Book, BookStep, FitRows
from codec.model.quantizers.ema import EmaBook


class LevelStep(NamedTuple):
    """codes int64 [N, k], values [N, D] (detached) and the loss of each row [N]."""

    codes: Tensor
    values: Tensor
    loss: Tensor


class Level(nn.Module, ABC):
    """Books side by side, each with one code in the frame."""

    def __init__(self, books: list[Book]) -> None:
        super().__init__()
        self.books = nn.ModuleList(books)

    def all_books(self) -> list[Book]:
        return [book for book in self.books if isinstance(book, Book)]

    @property
    def ready(self) -> bool:
        return all(book.ready for book in self.all_books())

    def freeze(self) -> None:
        self.books = nn.ModuleList([book.fold() for book in self.all_books()])

    def forward(self, residual: Tensor, fit: FitRows | None) -> LevelStep:
        """Quantize residual [N, D]."""
        pairs = zip(self.all_books(), self.split(residual), strict=True)
        steps = [_step(book, part, fit) for book, part in pairs]
        codes = torch.stack([step.codes for step in steps], dim=-1)
        values = self.merge([step.values.detach() for step in steps])
        return LevelStep(codes, values, self.merge_losses([step.loss for step in steps]))

    def encode(self, residual: Tensor) -> Tensor:
        """Return codes [N, k] for residual [N, D]."""
        pairs = zip(self.all_books(), self.split(residual), strict=True)
        return torch.stack([book.encode(part) for book, part in pairs], dim=-1)

    def decode(self, codes: Tensor) -> Tensor:
        """Return values [N, D] for codes [N, k]."""
        books = enumerate(self.all_books())
        return self.merge([book.decode(codes[:, index]) for index, book in books])

    @abstractmethod
    def split(self, residual: Tensor) -> list[Tensor]:
        """Return what each book gets to see of residual [N, D]."""

    @abstractmethod
    def merge(self, values: list[Tensor]) -> Tensor:
        """Return the level's values [N, D] from those of its books."""

    @abstractmethod
    def merge_losses(self, losses: list[Tensor]) -> Tensor:
        """Return the level's loss [N], a mean over all D channels, from those of its books."""


def _step(book: Book, latent: Tensor, fit: FitRows | None) -> BookStep:
    """Quantize latent [N, d]; a book without gradient also learns from it, before and after."""
    learner = book if isinstance(book, EmaBook) else None
    if learner is not None and fit is not None:
        learner.start(latent.detach(), fit)
    step: BookStep = book(latent)
    if learner is not None and fit is not None:
        learner.learn(latent.detach(), step.codes, fit)
    return step


class GroupedLevel(Level):
    """Every book has its own contiguous group of channels; one group is plain residual VQ."""

    def split(self, residual: Tensor) -> list[Tensor]:
        return list(residual.chunk(len(self.books), dim=-1))

    def merge(self, values: list[Tensor]) -> Tensor:
        return values[0] if len(values) == 1 else torch.cat(values, dim=-1)

    def merge_losses(self, losses: list[Tensor]) -> Tensor:
        return torch.stack(losses).mean(0)


class MaskedLevel(Level):
    """Every book sees the whole width with all but its own slice set to zero (Language-Codec)."""

    masks: Tensor

    def __init__(self, books: list[Book]) -> None:
        super().__init__(books)
        dim, count = books[0].dim, len(books)
        edges = [index * dim // count for index in range(count + 1)]
        masks = torch.zeros(count, dim)
        for index in range(count):
            masks[index, edges[index] : edges[index + 1]] = 1.0
        self.register_buffer("masks", masks, persistent=False)

    def split(self, residual: Tensor) -> list[Tensor]:
        return [residual * mask for mask in self.masks]

    def merge(self, values: list[Tensor]) -> Tensor:
        total = values[0]
        for value in values[1:]:
            total = total + value
        return total

    def merge_losses(self, losses: list[Tensor]) -> Tensor:
        return torch.stack(losses).sum(0)
