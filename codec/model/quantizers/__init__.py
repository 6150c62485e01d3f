"""Quantizers: from latent frames to codes and back."""

from typing import assert_never

from grove.codec.config import (
    BookConfig,
    BridgeBookConfig,
    EmaBookConfig,
    FsqConfig,
    GrvqConfig,
    IfsqConfig,
    LookupBookConfig,
    McrvqConfig,
    QuantizerConfig,
    RvqConfig,
    SimBookConfig,
    SimVqConfig,
    VqBridgeConfig,
    VqConfig,
)
from grove.codec.errors import ConfigError
from grove.codec.model.quantizers.book import Book
from grove.codec.model.quantizers.bridge import BridgeBook
from grove.codec.model.quantizers.ema import EmaBook
from grove.codec.model.quantizers.gain import ResidualGain
from grove.codec.model.quantizers.level import GroupedLevel, Level, MaskedLevel
from grove.codec.model.quantizers.lookup import LookupBook
from grove.codec.model.quantizers.quantizer import Quantized, Quantizer
from grove.codec.model.quantizers.residual import ResidualQuantizer
from grove.codec.model.quantizers.scalar import EvenScalarQuantizer, FiniteScalarQuantizer
from grove.codec.model.quantizers.sim import SimBook

__all__ = ["Quantized", "Quantizer", "build_quantizer"]


def build_quantizer(config: QuantizerConfig, dim: int) -> Quantizer:
    """Build the quantizer of a config for latents of width `dim`."""
    match config:
        case RvqConfig():
            return _residual([1] * config.levels, config.book, config.book_size, dim)
        case GrvqConfig():
            return _grouped(config, dim)
        case McrvqConfig():
            return _masked(config, dim)
        case VqConfig() | SimVqConfig() | VqBridgeConfig():
            return _residual([1], config.book, config.book_size, dim)
        case FsqConfig():
            return FiniteScalarQuantizer(config.steps, config.levels, dim)
        case IfsqConfig():
            return EvenScalarQuantizer(config.steps, config.levels, dim)
        case _:
            assert_never(config)


def _book(config: BookConfig, size: int, dim: int) -> Book:
    match config:
        case EmaBookConfig():
            return EmaBook(config, size, dim)
        case SimBookConfig():
            return SimBook(size, dim)
        case BridgeBookConfig():
            return BridgeBook(config, size, dim)
        case LookupBookConfig():
            return LookupBook(config, size, dim)
        case _:
            assert_never(config)


def _residual(groups: list[int], book: BookConfig, size: int, dim: int) -> Quantizer:
    levels: list[Level] = [_grouped_level(count, book, size, dim) for count in groups]
    return ResidualQuantizer(levels, dim)


def _grouped(config: GrvqConfig, dim: int) -> Quantizer:
    levels: list[Level] = []
    for depth in range(config.levels):
        shaped = config.shape_levels is None or depth < config.shape_levels
        first = 0 if shaped else dim // config.groups
        gain = ResidualGain(dim, config.groups, first) if config.adaptive and depth else None
        levels.append(
            _grouped_level(
                config.groups, config.book, config.book_size, dim, first=first, gain=gain
            )
        )
    return ResidualQuantizer(levels, dim)


def _grouped_level(
    groups: int,
    book: BookConfig,
    size: int,
    dim: int,
    *,
    first: int = 0,
    gain: ResidualGain | None = None,
) -> Level:
    """Return a level whose books share out the channels from `first` on."""
    width = dim - first
    if width % groups:
        raise ConfigError(
            f"a latent of width {width} does not split into {groups} equal groups",
            hint="choose a latent width that is a multiple of the groups",
        )
    return GroupedLevel([_book(book, size, width // groups) for _ in range(groups)], gain, first)


def _masked(config: McrvqConfig, dim: int) -> Quantizer:
    if dim < config.masked_books:
        raise ConfigError(
            f"a latent of width {dim} has fewer channels than {config.masked_books} masked books",
            hint="choose a wider latent",
        )
    masked = [_book(config.book, config.book_size, dim) for _ in range(config.masked_books)]
    rest = [
        _grouped_level(1, config.book, config.book_size, dim)
        for _ in range(config.books - config.masked_books)
    ]
    return ResidualQuantizer([MaskedLevel(masked), *rest], dim)
