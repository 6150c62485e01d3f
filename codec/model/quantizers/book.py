"""A book: vectors with numbers. How its vectors come about is what the kinds differ in."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn


class FitRows(NamedTuple):
    """The rows of a training batch that books may learn from."""

    keep: Tensor | None
    """Their indices int64 [M]; None: all rows."""
    rank_rows: tuple[int, ...]
    """How many of them each rank holds."""
    may_start: bool
    """Whether the level before was already initialised on an earlier batch."""

    def of(self, rows: Tensor) -> Tensor:
        return rows if self.keep is None else rows[self.keep]

    @property
    def any(self) -> bool:
        return sum(self.rank_rows) > 0


class BookStep(NamedTuple):
    """codes int64 [N], values [N, d] (detached) and the loss of each row [N]."""

    codes: Tensor
    values: Tensor
    loss: Tensor


class Book(nn.Module, ABC):
    """`size` vectors of `dim` numbers."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.size = size
        self.dim = dim

    @property
    def ready(self) -> bool:
        """Say whether the vectors mean something yet."""
        return True

    @abstractmethod
    def table(self) -> Tensor:
        """Return what each code decodes to: [K, d]."""

    @abstractmethod
    def forward(self, latent: Tensor) -> BookStep:
        """Quantize latent [N, d]; the book itself stays as it is."""

    def encode(self, latent: Tensor) -> Tensor:
        """Return the code [N] of each row of latent [N, d]."""
        return nearest(latent, self.table())

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors [N, d] of codes [N]."""
        return vectors_of(self.table(), codes)

    def fold(self) -> "Book":
        """Return the book with its tables computed once and stored."""
        table = self.table().detach()
        return TableBook(table, table, None)


class LearnedBook(Book):
    """A book whose table is computed from parameters, and trained by gradient."""

    def forward(self, latent: Tensor) -> BookStep:
        table = self.table()
        codes = nearest(latent.detach(), table.detach())
        values = vectors_of(table, codes)
        return BookStep(codes, values.detach(), two_sided_loss(latent, values))


class TableBook(Book):
    """A finished book: searched by MatMul and ArgMax, decoded by Gather."""

    search_table: Tensor
    half_norms: Tensor
    values: Tensor

    def __init__(self, values: Tensor, search_table: Tensor, project: nn.Linear | None) -> None:
        super().__init__(values.shape[0], values.shape[1])
        self.project = project
        self.register_buffer("values", values.clone())
        self.register_buffer("search_table", search_table.t().contiguous())
        self.register_buffer("half_norms", half_norms(search_table))

    def table(self) -> Tensor:
        return self.values

    def encode(self, latent: Tensor) -> Tensor:
        searched: Tensor = latent if self.project is None else self.project(latent)
        return search(searched, self.search_table, self.half_norms)

    def forward(self, latent: Tensor) -> BookStep:
        codes = self.encode(latent.detach())
        values = vectors_of(self.values, codes)
        return BookStep(codes, values, row_error(latent, values))


def half_norms(table: Tensor) -> Tensor:
    """Return half of the squared length of each vector of [K, d]: [K]."""
    return 0.5 * table.square().sum(-1)


def search(latent: Tensor, table_t: Tensor, norms: Tensor) -> Tensor:
    """Return the nearest code [N] to latent [N, d] by the transposed table [d, K]."""
    # |x - c|^2 without |x|^2, which is the same for all codes, and without the rounding of
    # cdist; the exported graph does the same three operations.
    return (latent @ table_t - norms).argmax(-1)


def nearest(latent: Tensor, table: Tensor) -> Tensor:
    """Return the nearest code [N] to latent [N, d] in table [K, d]."""
    return search(latent, table.t(), half_norms(table))


def vectors_of(table: Tensor, codes: Tensor) -> Tensor:
    """Return the vectors [N, d] of codes [N] in table [K, d]."""
    # Not table[codes], which is slower and exports as GatherND with its shape arithmetic.
    return table.index_select(0, codes)


def row_error(left: Tensor, right: Tensor) -> Tensor:
    """Return the mean squared difference of each row: [N]."""
    return (left - right).square().mean(-1)


def two_sided_loss(latent: Tensor, values: Tensor) -> Tensor:
    """Return the loss [N] that draws learned values to the latent, and a little the other way."""
    return row_error(values, latent.detach()) + 0.25 * row_error(latent, values.detach())
