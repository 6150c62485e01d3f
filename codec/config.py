"""Every choice that makes a codec, as frozen values. Once built, nobody re-checks them."""

from math import isqrt, prod
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Frozen(BaseModel):
    """A config is a value: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --- quantizers -------------------------------------------------------------------------

MOST_CODES = 64
"""A frame holds at most so many codes."""


class EmaBookConfig(Frozen):
    """Codes follow a moving average of their use; unused ones restart from the batch."""

    kind: Literal["ema"] = "ema"
    decay: float = Field(0.99, gt=0, lt=1)
    dead_ratio: float = Field(0.1, ge=0, lt=1)
    check_every_steps: int = Field(5, ge=1)
    kmeans_iterations: int = Field(10, ge=1)


class SimBookConfig(Frozen):
    """SimVQ: a frozen random table behind one trainable linear layer."""

    kind: Literal["sim"] = "sim"


class BridgeBookConfig(Frozen):
    """VQBridge: the table passes through a small transformer over its code grid."""

    kind: Literal["bridge"] = "bridge"
    width: int = Field(128, ge=8)
    blocks: int = Field(2, ge=1)
    patch: int = Field(4, ge=1)

    def refuse_size(self, book_size: int) -> None:
        """Raise unless `book_size` codes make a square grid of whole patches."""
        side = isqrt(book_size)
        if side**2 != book_size or side % self.patch:
            raise ValueError(
                f"a bridge book needs a square number of codes with a side that is a multiple "
                f"of its patch {self.patch}, got {book_size} codes"
            )


class LookupBookConfig(Frozen):
    """DAC: search in a few L2-normalised dimensions, codebook trained by gradient."""

    kind: Literal["lookup"] = "lookup"
    dim: int = Field(8, ge=1)


BookConfig = Annotated[
    EmaBookConfig | SimBookConfig | BridgeBookConfig | LookupBookConfig, Field(discriminator="kind")
]


class BookedConfig(Frozen):
    """What the quantizers with books of any kind share."""

    book_size: int = Field(1024, ge=2, le=65536)
    book: BookConfig = EmaBookConfig()

    @model_validator(mode="after")
    def _book_takes_the_size(self) -> Self:
        if isinstance(self.book, BridgeBookConfig):
            self.book.refuse_size(self.book_size)
        return self


class RvqConfig(BookedConfig):
    """Each level quantizes what the levels before it left over."""

    kind: Literal["rvq"] = "rvq"
    levels: int = Field(6, ge=1, le=MOST_CODES)


class GrvqConfig(BookedConfig):
    """HiFi-Codec: residual levels, each with one book per group of latent channels."""

    kind: Literal["grvq"] = "grvq"
    groups: int = Field(2, ge=1)
    levels: int = Field(6, ge=1)
    adaptive: bool = False
    """Levels above the first scale their books by what the levels below them said."""
    shape_levels: int | None = Field(None, ge=1)
    """So many levels code the first group; those above leave it, and share out the other channels.

    A spectrum's shape is known after a few levels, and a waveform never is.
    """

    @model_validator(mode="after")
    def _something_is_left_above_the_shape(self) -> Self:
        if self.shape_levels is not None and self.groups < 2:
            raise ValueError("shape_levels leaves the first of several groups, got one group")
        return self

    @model_validator(mode="after")
    def _only_averaged_books_adapt(self) -> Self:
        if self.adaptive and not isinstance(self.book, EmaBookConfig):
            raise ValueError(f"adaptive levels need books of kind 'ema', got {self.book.kind!r}")
        return self

    @model_validator(mode="after")
    def _codes_fit_a_frame(self) -> Self:
        if self.groups * self.levels > MOST_CODES:
            raise ValueError(
                f"{self.groups} groups of {self.levels} levels make {self.groups * self.levels} "
                f"codes, a frame holds at most {MOST_CODES}"
            )
        return self


class McrvqConfig(BookedConfig):
    """Language-Codec: the first books each see one slice of the channels, the rest are residual.

    The masked books together are level 1, since one of them alone codes a part of the channels.
    """

    kind: Literal["mcrvq"] = "mcrvq"
    masked_books: int = Field(3, ge=2)
    books: int = Field(8, ge=2, le=MOST_CODES)

    @model_validator(mode="after")
    def _masked_books_are_among_the_books(self) -> Self:
        if self.masked_books > self.books:
            raise ValueError(f"{self.masked_books} of {self.books} books cannot be masked")
        return self


class VqConfig(Frozen):
    """One book with k-means start and restarts (WavTokenizer)."""

    kind: Literal["vq"] = "vq"
    book_size: int = Field(4096, ge=2, le=65536)
    book: EmaBookConfig = EmaBookConfig(kmeans_iterations=200)


class SimVqConfig(Frozen):
    """One SimVQ book."""

    kind: Literal["simvq"] = "simvq"
    book_size: int = Field(4096, ge=2, le=65536)
    book: SimBookConfig = SimBookConfig()


class VqBridgeConfig(Frozen):
    """One VQBridge book; the book size is a square."""

    kind: Literal["vqbridge"] = "vqbridge"
    book_size: int = Field(4096, ge=4, le=65536)
    book: BridgeBookConfig = BridgeBookConfig()

    @model_validator(mode="after")
    def _book_takes_the_size(self) -> Self:
        self.book.refuse_size(self.book_size)
        return self


class ScalarConfig(Frozen):
    """Each level is one code, made of a few numbers that each round to their own count of steps."""

    levels: int = Field(1, ge=1, le=MOST_CODES)
    steps: tuple[Annotated[int, Field(ge=2)], ...] = Field((8, 5, 5, 5), min_length=1)

    @model_validator(mode="after")
    def _code_fits_16_bits(self) -> Self:
        if prod(self.steps) > 65_536:
            raise ValueError(f"steps {self.steps} make {prod(self.steps)} codes, at most 65536 fit")
        return self


class FsqConfig(ScalarConfig):
    """Finite scalar quantization: a tanh, then rounding."""

    kind: Literal["fsq"] = "fsq"


class IfsqConfig(ScalarConfig):
    """iFSQ: odd steps under a sigmoid; a normal number uses the inner ones evenly."""

    kind: Literal["ifsq"] = "ifsq"
    steps: tuple[Annotated[int, Field(ge=3)], ...] = Field((7, 5, 5, 5), min_length=1)

    @model_validator(mode="after")
    def _steps_are_odd(self) -> Self:
        if any(count % 2 == 0 for count in self.steps):
            raise ValueError(f"iFSQ steps must be odd, got {self.steps}")
        return self


QuantizerConfig = Annotated[
    RvqConfig
    | GrvqConfig
    | McrvqConfig
    | VqConfig
    | SimVqConfig
    | VqBridgeConfig
    | FsqConfig
    | IfsqConfig,
    Field(discriminator="kind"),
]


# --- front ends, trunks and heads -------------------------------------------------------


class MdctConfig(Frozen):
    """MDCT with a low-overlap window; with it goes a linear path around the network."""

    kind: Literal["mdct"] = "mdct"
    overlap_samples: int = Field(240, ge=2, multiple_of=2)
    companding: float = Field(0.5, gt=0, le=1)

    def refuse_hop(self, hop_samples: int) -> None:
        """Raise unless the window overlaps its next neighbours only."""
        if self.overlap_samples > hop_samples:
            raise ValueError(
                f"the MDCT windows overlap by {self.overlap_samples} samples, "
                f"at most the hop of {hop_samples} is possible"
            )


class MdctFrontendConfig(MdctConfig):
    """Front end: it; the network may also see `subframes` short transforms of each frame.

    One long transform hides in its signs where in a frame a sound begins or a pulse lies.
    """

    subframes: int = Field(0, ge=0)

    def refuse_hop(self, hop_samples: int) -> None:
        """Raise unless a frame is a whole number of subframes, each with a middle."""
        super().refuse_hop(hop_samples)
        if self.subframes and hop_samples % (2 * self.subframes):
            raise ValueError(_not_whole(self.subframes, hop_samples))


class MdctHeadConfig(MdctConfig):
    """Head: its inverse. From `scatter_from_hz` up, where no bits go, chance draws the signs."""

    scatter_from_hz: int | None = Field(None, ge=0)


class StftConfig(Frozen):
    """Front end: log-magnitude and phase of a causal STFT."""

    kind: Literal["stft"] = "stft"
    window_samples: int = Field(960, ge=4, multiple_of=2)

    def refuse_hop(self, hop_samples: int) -> None:
        """Raise unless each window overlaps its next neighbours, and only those."""
        _refuse_window(self.window_samples, hop_samples)


class SeanetConfig(Frozen):
    """Strided causal convolutions on the waveform (EnCodec, HiFi-Codec)."""

    kind: Literal["seanet"] = "seanet"
    channels: int = Field(32, ge=4, multiple_of=2)
    strides: tuple[Annotated[int, Field(ge=2)], ...] = Field((3, 4, 5, 8), min_length=1)
    residual_blocks: int = Field(1, ge=1, le=8)

    def refuse_hop(self, hop_samples: int) -> None:
        """Raise unless the strides lead from samples to frames."""
        if prod(self.strides) != hop_samples:
            raise ValueError(
                f"SEANet strides multiply to {prod(self.strides)}, the hop is {hop_samples}"
            )


class MagPhaseConfig(Frozen):
    """Head: magnitude and phase of an STFT, then overlap-add."""

    kind: Literal["magphase"] = "magphase"
    window_samples: int = Field(960, ge=4, multiple_of=2)

    def refuse_hop(self, hop_samples: int) -> None:
        """Raise unless each window overlaps its next neighbours, and only those."""
        _refuse_window(self.window_samples, hop_samples)


class SubframeConfig(Frozen):
    """Head: a linear path below `low_hz`; a net at a higher rate makes the rest, and its noise."""

    kind: Literal["subframe"] = "subframe"
    low: MdctConfig = MdctConfig(overlap_samples=120)
    """The transform of the frame, which carries the waveform."""
    low_hz: int = Field(1400, gt=0)
    subframes: int = Field(4, ge=1)
    net: "TrunkConfig" = Field(
        default_factory=lambda: TrunkConfig(width=152, blocks=3, taps=5, expansion=2)
    )

    def refuse_hop(self, hop_samples: int) -> None:
        """Raise unless a frame is a whole number of subframes, each with a middle."""
        self.low.refuse_hop(hop_samples)
        if hop_samples % (2 * self.subframes):
            raise ValueError(_not_whole(self.subframes, hop_samples))


def _not_whole(subframes: int, hop_samples: int) -> str:
    return f"{subframes} subframes of an even length do not make a hop of {hop_samples}"


def _refuse_window(window_samples: int, hop_samples: int) -> None:
    if not hop_samples < window_samples <= 2 * hop_samples:
        raise ValueError(
            f"the STFT window must be longer than the hop of {hop_samples} and at most twice "
            f"as long, got {window_samples}"
        )


FrontendConfig = Annotated[
    MdctFrontendConfig | StftConfig | SeanetConfig, Field(discriminator="kind")
]
HeadConfig = Annotated[
    MdctHeadConfig | SubframeConfig | MagPhaseConfig | SeanetConfig,
    Field(discriminator="kind"),
]


class TrunkConfig(Frozen):
    """Causal ConvNeXt blocks at the frame rate."""

    width: int = Field(256, ge=8)
    blocks: int = Field(6, ge=0)
    taps: int = Field(7, ge=1)
    expansion: int = Field(3, ge=1)


class CodecConfig(Frozen):
    """A whole codec. The defaults are `grove-24k`."""

    sample_rate_hz: int = Field(24_000, ge=8_000, le=96_000)
    hop_samples: int = Field(480, ge=16)
    latent: int = Field(128, ge=2)
    shape: int = Field(0, ge=0)
    """So many of the latent's channels begin as the spectrum's shape, the others as the waveform.

    A group of books for each: else all bits go where the energy is, to the waveform's lowest part.
    """
    frontend: FrontendConfig = MdctFrontendConfig()
    encoder: TrunkConfig = TrunkConfig()
    quantizer: QuantizerConfig = GrvqConfig(adaptive=True)
    decoder: TrunkConfig = TrunkConfig()
    head: HeadConfig = MdctHeadConfig(scatter_from_hz=3000)

    @model_validator(mode="after")
    def _parts_take_the_hop(self) -> Self:
        self.frontend.refuse_hop(self.hop_samples)
        self.head.refuse_hop(self.hop_samples)
        return self

    @model_validator(mode="after")
    def _shape_leaves_room(self) -> Self:
        if self.shape and not isinstance(self.frontend, MdctFrontendConfig):
            raise ValueError("channels for the shape need the front end 'mdct'")
        if self.shape >= self.latent:
            raise ValueError(f"shape takes {self.shape} of {self.latent} channels, none is left")
        return self


# --- what a served codec looks like from outside ----------------------------------------


class CodecSpec(Frozen):
    """The numbers that tokens, packets and files depend on."""

    name: str
    version: str
    model_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    sample_rate_hz: int = Field(ge=8_000, le=96_000)
    hop_samples: int = Field(ge=16, le=96_000)
    delay_samples: int = Field(ge=0, le=96_000)
    code_sizes: tuple[int, ...] = Field(min_length=1, max_length=64)
    codes_per_level: tuple[int, ...] = Field(min_length=1, max_length=64)

    @model_validator(mode="after")
    def _levels_cover_the_codes(self) -> Self:
        if sum(self.codes_per_level) != len(self.code_sizes):
            raise ValueError(
                f"codes_per_level sums to {sum(self.codes_per_level)}, "
                f"there are {len(self.code_sizes)} code sizes"
            )
        if not all(2 <= size <= 65_536 for size in self.code_sizes):
            raise ValueError(f"code sizes must lie in 2..65536, got {self.code_sizes}")
        if not all(count >= 1 for count in self.codes_per_level):
            raise ValueError(f"every level needs at least one code, got {self.codes_per_level}")
        return self

    @property
    def levels(self) -> int:
        return len(self.codes_per_level)

    @property
    def frame_rate_hz(self) -> float:
        return self.sample_rate_hz / self.hop_samples

    @property
    def latency_ms(self) -> float:
        """How long after a sample came what it sounds like can be heard: a frame and the delay."""
        return 1000 * (self.hop_samples + self.delay_samples) / self.sample_rate_hz

    def frames_for(self, samples: int) -> int:
        """Return how many frames carry `samples` samples, with what flushes the delay."""
        return -(-(samples + self.delay_samples) // self.hop_samples) if samples else 0

    def decodable_samples(self, frames: int) -> int:
        """Return how many samples `frames` frames decode to, once the delay is dropped."""
        return max(0, frames * self.hop_samples - self.delay_samples)

    def codes_at(self, level: int) -> int:
        """Return how many codes a frame of `level` levels carries."""
        return sum(self.codes_per_level[:level])

    def bits_at(self, level: int) -> int:
        """Return how many bits a frame of `level` levels takes, each code packed to its size."""
        return sum((size - 1).bit_length() for size in self.code_sizes[: self.codes_at(level)])

    def bitrate_bps(self, level: int) -> float:
        return self.bits_at(level) * self.frame_rate_hz
