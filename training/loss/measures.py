"""The interface of loss terms: built from these settings, they compare this and return scalars."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from pydantic import Field
from torch import Tensor, nn

from grove.codec.config import Frozen
from grove.codec.model.subframes import Parts
from grove.training.data.config import Share

SpectralScale = tuple[Annotated[int, Field(ge=16)], Annotated[int, Field(ge=4)]]
"""Window in samples (the hop is a quarter of it) and mel bands."""


class MeasureConfig(Frozen):
    """How terms are measured."""

    repulsion: Share = 1.0
    """How much two draws shall differ: 1 makes the energy distance proper."""
    level_normalised: bool = True
    stft_exponent: float = Field(1.0, gt=0, le=1)
    scales: tuple[SpectralScale, ...] = Field(
        ((256, 40), (512, 64), (1024, 100), (2048, 160)), min_length=1
    )
    follow_by_level: tuple[Share, ...] = ()
    """Share of `stft` and `wave` from level 1 up; the last holds above; empty: all of both.

    A few bits cannot carry phase, and a decoder punished for that learns to be quiet.
    """
    scales_per_step: int = Field(2, ge=1)
    """How many of the scales a step draws; more than there are: all."""


class Heard(NamedTuple):
    """What came out of a decoder [B, N]."""

    pcm: Tensor
    twin: Tensor  # with other draws of its chance
    low: Tensor  # what of it is meant to be the waveform


class Compared(NamedTuple):
    """All that a term may look at."""

    heard: Heard
    """In float32, at the original's level or at one for all."""
    original: Tensor
    """Like `heard` [B, N]."""
    scales: Sequence[int]
    """The spectral scales drawn for this step."""
    follow: Tensor
    """How much each clip shall follow the waveform [B]."""
    parts: Parts | None
    """What a head with chance says of a decoding, at its own level."""
    reference: Tensor
    """The original [B, N] at its own level."""


class Setting(NamedTuple):
    """What measures are built from."""

    config: MeasureConfig
    sample_rate_hz: int
    head: nn.Module | None
    """The decoder's: some terms ask for what only one kind says."""


class Measure(nn.Module):
    """Finds one term, or several that share their work."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.config = setting.config

    def forward(self, compared: Compared) -> dict[str, Tensor]:
        """Return scalars by the names they have in `LossConfig`; none that cannot be had here."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class FoundBy:
    """Stands beside a term's weight in `LossConfig`."""

    measure: type[Measure]
