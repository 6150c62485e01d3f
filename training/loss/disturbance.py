"""The disturbance of ITU-T P.862.2 (wide-band PESQ), with its own bands, so that it can be trained.

What is left out is the search for delays, which a codec does not have, and what follows from it.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SAMPLE_RATE_HZ = 24_000
# At 24 kHz a window of 768 samples has the standard's bins: 31.25 Hz apart, 32 ms long.
_WINDOW_SAMPLES = 768
_STANDARD_WINDOW_SAMPLES = 512
_BIN_HZ = 31.25

# P.862.2 at 16 kHz, band by band: bins, weight of a bin in percent, threshold of hearing as power.
_BINS = (
    *(1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2),
    *(3, 3, 3, 3, 4, 3, 4, 5, 4, 5, 6, 6, 7, 8, 9, 9, 12, 12, 15, 16, 18, 21, 25, 20),
)
_BIN_PERCENT = (
    *(100, 100, 100, 100, 100, 100, 100, 100, 50, 100, 100, 100, 100, 100, 53.05, 110, 117.99),
    *(65, 68.76, 70, 71.43, 75, 76.84, 80.97, 88.65, 63.86, 68.16, 72.55, 75.58, 58.38, 80.95),
    *(64.14, 54.38, 73.82, 64.44, 59.18, 65.52, 61.4, 58.14, 57.0, 64.13, 54.31, 61.11, 55.08),
    *(56.85, 55.63, 53.14, 54.99, 79.55),
)
_THRESHOLDS = (
    *(5.1286e7, 2.4547e6, 7.0795e4, 4897.8, 1174.9, 389.05, 104.71, 45.709, 17.783, 9.7724),
    *(4.8978, 3.0903, 1.9055, 1.2589, 0.97724, 0.72444, 0.56234, 0.45709, 0.38905, 0.33113),
    *(0.29512, 0.26915, 0.25704, 0.25119, 0.25119, 0.25119, 0.25119, 0.26303, 0.28840, 0.30903),
    *(0.33884, 0.37154, 0.39811, 0.43652, 0.46774, 0.48978, 0.50119, 0.50119, 0.51286, 0.52481),
    *(0.52481, 0.52481, 0.51286, 0.47863, 0.42658, 0.37154, 0.36308, 0.41687, 0.53703),
)
_FIRST_WIDTH_BARK, _SECOND_WIDTH_BARK, _WIDENING = 0.157344, 0.317994, 1.01398
_POWER_SCALE, _LOUDNESS_SCALE = 6.910853e-6, 0.1866055
_ZWICKER_EXPONENT = 0.23
# The input filter of P.862.2, a high-pass of second order at 16 kHz.
_FILTER_RATE_HZ = 16_000
_FILTER_ABOVE = (2.6657628, -5.3315255, 2.6657628)
_FILTER_BELOW = (1.0, -1.8890331, 0.89487434)

_LEVEL_BAND_HZ = (325.0, 3400.0)
_LEVEL_POWER = 1e7
_AUDIBLE_ABOVE_THRESHOLD = 100.0
_SPEECH_POWER = 1e7
_MOST_COLOUR = 100.0
_GAIN_RANGE = (3e-4, 5.0)
_GAIN_MEMORY = 0.2
_GAIN_TAPS = 6
_MOST_PER_FRAME = 45.0
_SPAN_FRAMES, _SPAN_POWER = 20, 6
_SYMMETRIC_SHARE, _ASYMMETRIC_SHARE = 0.1, 0.0309
_BEST = 4.5
_TINY = 1e-9


class DisturbanceDistance(nn.Module):
    """How far below its best a PESQ score falls: 0 for equal signals, about 3.5 for unlike ones."""

    bank: Tensor
    level: Tensor
    threshold: Tensor
    exponent: Tensor
    width: Tensor
    window: Tensor

    def __init__(self, sample_rate_hz: int) -> None:
        super().__init__()
        if sample_rate_hz != _SAMPLE_RATE_HZ:
            raise ValueError(
                f"the disturbance is defined for {_SAMPLE_RATE_HZ} Hz, got {sample_rate_hz}"
            )
        hertz = torch.arange(_WINDOW_SAMPLES // 2 + 1) * _BIN_HZ
        lowest, highest = _LEVEL_BAND_HZ
        width = torch.tensor(_widths_bark())
        centre = width.cumsum(0) - width / 2
        steeper = (6 / (centre + 2)).clamp(1, 2).pow(0.15)
        for name, value in {
            "bank": _bank(hertz),
            "level": ((hertz > lowest) & (hertz < highest)).float(),
            "threshold": torch.tensor(_THRESHOLDS),
            "exponent": _ZWICKER_EXPONENT * steeper,
            "width": width,
            "window": torch.hann_window(_WINDOW_SAMPLES),
        }.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, decoded: Tensor, reference: Tensor) -> Tensor:
        """Return the mean over signals [B, N] of any level."""
        return self.each(decoded, reference).mean()

    def each(self, decoded: Tensor, reference: Tensor) -> Tensor:
        """Return the distance of every pair, [B]."""
        y, x = self.band_power(decoded), self.band_power(reference)
        # An error in a pause is heard more.
        speech = self._audible(x, _AUDIBLE_ABOVE_THRESHOLD)
        hearing = ((speech + 1e5) / 1e7).pow(0.04)
        x = x * self._colour(y, x, speech > _SPEECH_POWER)
        y = y * self._level(y, x)
        loud_y, loud_x = self.loudness(y), self.loudness(x)
        masked = 0.25 * torch.minimum(loud_y, loud_x)
        disturbance = F.relu((loud_y - loud_x).abs() - masked) * self.width
        # The lowest band counts in no sum of the standard.
        disturbance, width = disturbance[..., 1:], float(self.width[1:].sum())
        symmetric = (disturbance.square().sum(2) * width + _TINY).sqrt()
        ratio = ((y + 50) / (x + 50)).pow(1.2)[..., 1:]
        added = torch.where(ratio < 3, torch.zeros_like(ratio), ratio.clamp(max=12))
        asymmetric = (disturbance * added).sum(2)
        return _SYMMETRIC_SHARE * _pooled(symmetric / hearing) + _ASYMMETRIC_SHARE * _pooled(
            asymmetric / hearing
        )

    def band_power(self, signal: Tensor) -> Tensor:
        """Return the power [B, T, bands] of signals [B, N], brought to the listening level."""
        n = _WINDOW_SAMPLES
        spectrum = torch.stft(
            signal, n, n // 2, window=self.window, center=False, return_complex=True
        )
        power = torch.view_as_real(spectrum).square().sum(-1).transpose(1, 2)
        mean_square = (power @ self.level).mean(1) * 2 / (n * float(self.window.square().sum()))
        gain = _LEVEL_POWER / mean_square.clamp_min(_TINY)
        gain = gain * (_STANDARD_WINDOW_SAMPLES / n) ** 2
        return (power * gain[:, None, None]) @ self.bank

    def _audible(self, power: Tensor, above_threshold: float) -> Tensor:
        """Return the power [B, T] of the bands that can be heard."""
        heard = power > above_threshold * self.threshold
        return (power * heard)[..., 1:].sum(2)

    def _colour(self, y: Tensor, x: Tensor, speaking: Tensor) -> Tensor:
        """Return by how much speech [B, T] was coloured in each band, as gains [B, 1, bands]."""
        frames = speaking.sum(1)[:, None].clamp_min(1)

        def mean(power: Tensor) -> Tensor:
            heard = (power > _AUDIBLE_ABOVE_THRESHOLD * self.threshold) & speaking[:, :, None]
            return (power * heard).sum(1) / frames + 1000

        return (mean(y) / mean(x)).clamp(1 / _MOST_COLOUR, _MOST_COLOUR)[:, None]

    def _level(self, y: Tensor, x: Tensor) -> Tensor:
        """Return the gains [B, T, 1] that make up for slow changes of level."""
        gain = (self._audible(x, 1.0) + 5e3) / (self._audible(y, 1.0) + 5e3)
        weights = (1 - _GAIN_MEMORY) * _GAIN_MEMORY ** torch.arange(_GAIN_TAPS, device=gain.device)
        earlier = gain[:, :1].expand(-1, _GAIN_TAPS - 1)
        recent = torch.cat([earlier, gain], dim=1).unfold(1, _GAIN_TAPS, 1)
        return (recent @ weights.flip(0)).clamp(*_GAIN_RANGE)[..., None]

    def loudness(self, power: Tensor) -> Tensor:
        """Zwicker's law, band by band, zero below the threshold."""
        scale = _LOUDNESS_SCALE * (self.threshold / 0.5).pow(self.exponent)
        relative = (0.5 + 0.5 * power / self.threshold).clamp_min(1)
        return scale * (relative.pow(self.exponent) - 1)


def opinion(distance: Tensor) -> Tensor:
    """Return the PESQ-WB score (MOS-LQO) that a distance stands for."""
    return 0.999 + 4 / (1 + torch.exp(-1.3669 * (_BEST - distance) + 3.8224))


def _widths_bark() -> list[float]:
    wider = [_SECOND_WIDTH_BARK * _WIDENING**band for band in range(len(_BINS) - 1)]
    return [_FIRST_WIDTH_BARK, *wider]


def _bank(hertz: Tensor) -> Tensor:
    """Return what each bin adds to each band [bins, bands], the input filter included."""
    bank = torch.zeros(len(hertz), len(_BINS))
    first = 0
    for band, (bins, percent) in enumerate(zip(_BINS, _BIN_PERCENT, strict=True)):
        bank[first : first + bins, band] = percent * _POWER_SCALE
        first += bins
    bank[0] = 0
    step = torch.exp(-2j * math.pi * hertz / _FILTER_RATE_HZ)
    above, below = (
        sum(factor * step**power for power, factor in enumerate(side))
        for side in (_FILTER_ABOVE, _FILTER_BELOW)
    )
    response = torch.as_tensor(above / below).abs().square()
    return bank * response[:, None]


def _pooled(frames: Tensor) -> Tensor:
    """Pool disturbances [B, T]: the worst frames of each third of a second count most."""
    frames = frames.clamp(max=_MOST_PER_FRAME)
    spans = frames[:, None]
    if frames.shape[1] >= _SPAN_FRAMES:
        spans = frames.unfold(1, _SPAN_FRAMES, _SPAN_FRAMES // 2)
    worst = (spans.pow(_SPAN_POWER).mean(2) + _TINY).pow(1 / _SPAN_POWER)
    return (worst.square().mean(1) + _TINY).sqrt()
