"""One residual level: the books that together quantize a latent once."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from grove.codec.model.quantizers.book import Book, BookStep, FitRows, row_error
from grove.codec.model.quantizers.ema import EmaBook
from grove.codec.model.quantizers.gain import ResidualGain


class LevelStep(NamedTuple):
    """codes int64 [N, k], values [N, D] (detached) and the loss of each row [N]."""

    codes: Tensor
    values: Tensor
    loss: Tensor


class Level(nn.Module, ABC):
    """Books side by side, each with one code in the frame.

    With a gain, the residual comes in as large, and goes out again, as is to be expected: after a
    loud level 0 much is left over, after a quiet one little, and books that have to hold both
    spend their codes on sizes that the decoder could have guessed.
    """

    def __init__(self, books: list[Book], gain: ResidualGain | None = None, first: int = 0) -> None:
        super().__init__()
        self.books = nn.ModuleList(books)
        self.gain = gain
        self.first = first

    def all_books(self) -> list[Book]:
        return [book for book in self.books if isinstance(book, Book)]

    @property
    def ready(self) -> bool:
        return all(book.ready for book in self.all_books())

    def freeze(self) -> None:
        self.books = nn.ModuleList([book.fold() for book in self.all_books()])

    def forward(self, residual: Tensor, before: Tensor, fit: FitRows | None) -> LevelStep:
        """Quantize residual [N, D], where the levels below add up to `before` [N, D]."""
        if self.gain is None:
            return self._quantize(residual, fit)
        if fit is not None and fit.may_start and not self.ready:
            self.gain.start(residual, fit)
        log_gain = self.gain(before)
        scale = self.gain.spread(log_gain.detach())
        shape = self._quantize(residual / scale, fit)
        values = shape.values * scale
        # In the latent's own units, or quiet frames would pull the encoder as hard as loud ones.
        loss = shape.loss
        if self.ready:
            loss = row_error(residual[:, self.first :], values[:, self.first :])
        return LevelStep(shape.codes, values, loss + self.gain.surprise(log_gain, residual))

    def encode(self, residual: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes [N, k] and values [N, D] for residual [N, D]."""
        scale = None if self.gain is None else self.gain.spread(self.gain(before))
        shape = residual if scale is None else residual / scale
        pairs = zip(self.all_books(), self.split(shape), strict=True)
        codes = torch.stack([book.encode(part) for book, part in pairs], dim=-1)
        values = self._values(codes)
        return codes, values if scale is None else values * scale

    def decode(self, codes: Tensor, before: Tensor) -> Tensor:
        """Return values [N, D] for codes [N, k]."""
        values = self._values(codes)
        return values if self.gain is None else values * self.gain.spread(self.gain(before))

    def _quantize(self, residual: Tensor, fit: FitRows | None) -> LevelStep:
        pairs = zip(self.all_books(), self.split(residual), strict=True)
        steps = [_step(book, part, fit) for book, part in pairs]
        codes = torch.stack([step.codes for step in steps], dim=-1)
        values = self.merge([step.values.detach() for step in steps])
        return LevelStep(codes, values, self.merge_losses([step.loss for step in steps]))

    def _values(self, codes: Tensor) -> Tensor:
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
    """Every book has its own contiguous group of channels; one group is plain residual VQ.

    Channels before `first` are none of this level's business: it adds nothing to them.
    """

    def split(self, residual: Tensor) -> list[Tensor]:
        return list(residual[:, self.first :].chunk(len(self.books), dim=-1))

    def merge(self, values: list[Tensor]) -> Tensor:
        if self.first:
            values = [values[0].new_zeros(values[0].shape[0], self.first), *values]
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
