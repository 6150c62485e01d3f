"""Discriminators: each maps a signal [B, N] to logits, and shows its features on the way."""

from itertools import pairwise
from typing import Annotated, Literal, NamedTuple, Self, assert_never

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from grove.codec.config import Frozen
from grove.training.data.config import Share
from grove.training.loss.spectra import spectra

_SLOPE = 0.1
_MPD_CHANNELS = (32, 128, 512, 1024, 1024)


class MpdConfig(Frozen):
    """Multi-period discriminator; `channels_divisor` 4 costs a sixteenth of HiFi-GAN's."""

    kind: Literal["mpd"] = "mpd"
    periods: tuple[int, ...] = Field((2, 3, 5, 7, 11), min_length=1)
    channels_divisor: int = Field(4, ge=1, le=32)


class MsstftdConfig(Frozen):
    """Multi-scale STFT discriminator (EnCodec)."""

    kind: Literal["msstftd"] = "msstftd"
    filters: int = Field(16, ge=1)
    windows: tuple[int, ...] = Field((2048, 1024, 512), min_length=1)


class BandSplitConfig(Frozen):
    """Thin STFT discriminator with its own filters for each band of the spectrum (DAC)."""

    kind: Literal["band_split"] = "band_split"
    filters: int = Field(8, ge=1)
    windows: tuple[int, ...] = Field((1024, 512), min_length=1)
    bands: tuple[Share, ...] = Field((0.0, 0.1, 0.25, 0.5, 1.0), min_length=2)
    """Edges as shares of the spectrum."""

    @model_validator(mode="after")
    def _edges_ascend(self) -> Self:
        if list(self.bands) != sorted(set(self.bands)):
            raise ValueError(f"band edges must ascend, got {self.bands}")
        return self


class SpectrogramConfig(Frozen):
    """Convolutions over log-magnitudes, strided in time and frequency; the thinnest of all."""

    kind: Literal["spectrogram"] = "spectrogram"
    filters: int = Field(8, ge=1)
    """Of the first layer; CPU kernels want multiples of 8."""
    windows: tuple[int, ...] = Field((1024, 512, 256, 128), min_length=1)
    band_share: float = Field(1.0, gt=0, le=1)
    """So much of the spectrum is judged, from its foot; bins are of equal width and votes."""


DiscriminatorConfig = Annotated[
    MpdConfig | MsstftdConfig | BandSplitConfig | SpectrogramConfig, Field(discriminator="kind")
]


class Judgement(NamedTuple):
    """What one sub-discriminator says of a batch."""

    logits: Tensor
    features: list[Tensor]


class ConvStack(nn.Module):
    """Convolutions with leaky ReLU, features kept, and a last one to the logits."""

    def __init__(self, layers: list[nn.Conv2d], last: nn.Conv2d) -> None:
        super().__init__()
        self.layers = nn.ModuleList(weight_norm(layer) for layer in layers)
        self.last = weight_norm(last)

    def forward(self, x: Tensor) -> Judgement:
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), _SLOPE)
            features.append(x)
        return Judgement(self.last(x), features)


class PeriodDiscriminator(nn.Module):
    """HiFi-GAN: the signal folded at a period, convolved along time."""

    def __init__(self, period: int, divisor: int) -> None:
        super().__init__()
        self.period = period
        widths = [1, *(max(4, channels // divisor) for channels in _MPD_CHANNELS)]
        strides = (3, 3, 3, 3, 1)
        layers = [
            nn.Conv2d(narrow, wide, (5, 1), (stride, 1), (2, 0))
            for narrow, wide, stride in zip(widths[:-1], widths[1:], strides, strict=True)
        ]
        self.stack = ConvStack(layers, nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, signal: Tensor) -> list[Judgement]:
        padded = F.pad(signal, (0, -signal.shape[1] % self.period))
        folded = padded.reshape(signal.shape[0], 1, -1, self.period)
        return [self.stack(folded)]


class StftView(nn.Module):
    """Complex spectrum as two channels [B, 2, T, F], brought to a common level."""

    def __init__(self, window_samples: int) -> None:
        super().__init__()
        self.window_samples = window_samples
        self.register_buffer("window", torch.hann_window(window_samples), persistent=False)
        self.window: Tensor

    def forward(self, signal: Tensor) -> Tensor:
        n = self.window_samples
        spectrum = torch.stft(
            signal, n, n // 4, window=self.window, normalized=True, return_complex=True
        )
        return torch.view_as_real(spectrum).permute(0, 3, 2, 1)


class StftDiscriminator(nn.Module):
    """EnCodec: convolutions over the complex spectrum, dilated in time, strided in frequency."""

    def __init__(self, window_samples: int, filters: int) -> None:
        super().__init__()
        self.view = StftView(window_samples)
        layers = [nn.Conv2d(2, filters, (3, 9), padding=(1, 4))]
        layers += [
            nn.Conv2d(filters, filters, (3, 9), (1, 2), (dilation, 4), (dilation, 1))
            for dilation in (1, 2, 4)
        ]
        layers.append(nn.Conv2d(filters, filters, (3, 3), padding=(1, 1)))
        self.stack = ConvStack(layers, nn.Conv2d(filters, 1, (3, 3), padding=(1, 1)))

    def forward(self, signal: Tensor) -> list[Judgement]:
        return [self.stack(self.view(signal))]


class BandSplitDiscriminator(nn.Module):
    """DAC: like the STFT discriminator, with filters of its own for each band."""

    def __init__(self, window_samples: int, config: BandSplitConfig) -> None:
        super().__init__()
        self.view = StftView(window_samples)
        bins = window_samples // 2 + 1
        edges = [round(share * bins) for share in config.bands]
        self.bands = list(pairwise(edges))
        self.stacks = nn.ModuleList(self._stack(config.filters) for _ in self.bands)

    @staticmethod
    def _stack(filters: int) -> ConvStack:
        layers = [
            nn.Conv2d(2, filters, (3, 8), (1, 4), (1, 2)),
            nn.Conv2d(filters, 2 * filters, (3, 4), (2, 2), (1, 1)),
            nn.Conv2d(2 * filters, 4 * filters, (3, 3), (2, 1), (1, 1)),
            nn.Conv2d(4 * filters, 4 * filters, (3, 3), (1, 1), (1, 1)),
        ]
        return ConvStack(layers, nn.Conv2d(4 * filters, 1, (3, 3), padding=(1, 1)))

    def forward(self, signal: Tensor) -> list[Judgement]:
        spectrum = self.view(signal)
        pairs = zip(self.bands, self.stacks, strict=True)
        return [stack(spectrum[..., low:high]) for (low, high), stack in pairs]


class SpectrogramDiscriminator(nn.Module):
    """FARGAN's kind: strided convolutions over log-magnitudes, told which frequency is which."""

    def __init__(self, window_samples: int, filters: int, band_share: float) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(window_samples), persistent=False)
        bins = window_samples // 2 + 1
        position = torch.linspace(-1, 1, bins)[: round(band_share * bins)]
        self.register_buffer("position", position, persistent=False)
        self.window: Tensor
        self.position: Tensor
        layers = [
            nn.Conv2d(2, filters, (3, 9), (2, 4), (1, 4)),
            nn.Conv2d(filters, 2 * filters, (3, 5), (1, 2), (1, 2)),
            nn.Conv2d(2 * filters, 4 * filters, (3, 5), (2, 2), (1, 2)),
            nn.Conv2d(4 * filters, 4 * filters, (3, 3), (1, 1), (1, 1)),
        ]
        self.stack = ConvStack(layers, nn.Conv2d(4 * filters, 1, (3, 3), padding=(1, 1)))

    def forward(self, signal: Tensor) -> list[Judgement]:
        power = spectra(signal, self.window, 0).power[..., : len(self.position)]
        # Relative to the window's sum, as decibels; -100 dB is silence.
        scale = 4 / len(self.window) ** 2
        view = torch.log10(power * scale + 1e-10) / 2 + 2
        shown = torch.stack([view, self.position.expand_as(view)], dim=1)
        return [self.stack(shown.contiguous(memory_format=torch.channels_last))]


def build_discriminators(config: DiscriminatorConfig) -> list[nn.Module]:
    """Return the sub-discriminators of one config."""
    match config:
        case MpdConfig():
            return [
                PeriodDiscriminator(period, config.channels_divisor) for period in config.periods
            ]
        case MsstftdConfig():
            return [StftDiscriminator(window, config.filters) for window in config.windows]
        case SpectrogramConfig():
            return [
                SpectrogramDiscriminator(window, config.filters, config.band_share)
                for window in config.windows
            ]
        case BandSplitConfig():
            return [BandSplitDiscriminator(window, config) for window in config.windows]
        case _:
            assert_never(config)
