"""`grove tokens stats`: how the codes of each book are used."""

from pathlib import Path

import numpy as np

from grove.codec.arrays import I64
from grove.codec.books import BookUse, book_use, histograms
from grove.codec.config import Frozen
from grove.codec.tokens.extras import pyplot
from grove.codec.tokens.reading import TokenFolder


class TokenStats(Frozen):
    """The use of all books, and how much there is."""

    rows: int
    failed_rows: int
    frames: int
    hours: float
    books: tuple[BookUse, ...]


def count_codes(folder: TokenFolder) -> tuple[TokenStats, tuple[I64, ...]]:
    """Return the figures, and a histogram for each book."""
    card = folder.run.card
    sizes = card.codec.code_sizes[: card.books]
    counts = tuple(np.zeros(size, np.int64) for size in sizes)
    rows = failed = frames = samples = 0
    for row in folder.rows():
        rows, failed = rows + 1, failed + (row.meta.error is not None)
        frames, samples = frames + row.meta.n_frames, samples + row.meta.num_samples
        counts = tuple(map(np.add, counts, histograms(row.codes, sizes)))
    stats = TokenStats(
        rows=rows,
        failed_rows=failed,
        frames=frames,
        hours=samples / card.codec.sample_rate_hz / 3600,
        books=book_use(counts),
    )
    return stats, counts


def plot(counts: tuple[I64, ...], stats: TokenStats, path: Path) -> None:
    """Draw each book's codes from the most used to the least, against even use."""
    figure, axes = pyplot().subplots(figsize=(9, 5), layout="constrained")
    for book, count in enumerate(counts):
        if count.sum():
            share = np.sort(count)[::-1] / count.sum() * len(count)
            axes.plot(
                np.arange(1, len(count) + 1) / len(count),
                np.maximum(share, 1e-4),
                label=f"book {book}: {stats.books[book].entropy_bits:.2f} bits",
            )
    axes.axhline(1, color="black", linewidth=0.5)
    axes.set(
        yscale="log",
        xlabel="share of the book, most used first",
        ylabel="use, 1 is even",
        title=f"{stats.frames:,} frames, {stats.hours:.2f} h",
    )
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(path, dpi=120)
    pyplot().close(figure)
