"""The table of loss terms: each one's name in a recipe, its weight, and what finds it."""

from typing import Annotated

import torch
from torch import Tensor, nn

from grove.codec.model.subframes import SubframeHead
from grove.training.data.config import Weight
from grove.training.loss.balance import BalanceConfig, FixedBalance
from grove.training.loss.disturbance import DisturbanceDistance
from grove.training.loss.energy_distance import EnergyDistance
from grove.training.loss.likelihood import LikelihoodDistance
from grove.training.loss.measures import Compared, FoundBy, Measure, MeasureConfig, Setting
from grove.training.loss.perceptual import LoudnessDistance, NoiseDistance
from grove.training.loss.scales import ScaleDistance


class Scales(Measure):
    """Distances of spectra, averaged over the drawn scales."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        rate_hz, exponent = setting.sample_rate_hz, self.config.stft_exponent
        self.scales = nn.ModuleList(
            ScaleDistance(rate_hz, scale, exponent) for scale in self.config.scales
        )

    def forward(self, compared: Compared) -> dict[str, Tensor]:
        y, x = compared.heard.pcm, compared.original
        pairs = [self.scales[index](y, x) for index in compared.scales]
        distances = torch.stack([pair[1] for pair in pairs])
        return {
            "mel": torch.stack([pair[0] for pair in pairs]).mean(),
            "stft": (distances * compared.follow).mean(),
        }


class Wave(Measure):
    """Of the samples themselves."""

    def forward(self, compared: Compared) -> dict[str, Tensor]:
        apart = (compared.heard.pcm - compared.original).abs().mean(1)
        return {"wave": (apart * compared.follow).mean()}


class Loudness(Measure):
    """Of specific loudness."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.distance = LoudnessDistance(setting.sample_rate_hz)

    def forward(self, compared: Compared) -> dict[str, Tensor]:
        return {"loudness": self.distance(compared.heard.pcm, compared.original)}


class Noise(Measure):
    """Of noise against the signal, by critical bands."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.distance = NoiseDistance(setting.sample_rate_hz)

    def forward(self, compared: Compared) -> dict[str, Tensor]:
        distance = self.distance(compared.heard.pcm, compared.original)
        return {"noise": (distance * compared.follow).mean()}


class Disturbance(Measure):
    """As PESQ counts it."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.distance = DisturbanceDistance(setting.sample_rate_hz)

    def forward(self, compared: Compared) -> dict[str, Tensor]:
        return {"disturbance": self.distance(compared.heard.pcm, compared.original)}


class Spectrograms(Measure):
    """Of two draws of a decoder from the original."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        config = self.config
        self.distance = EnergyDistance(setting.sample_rate_hz, config.scales, config.repulsion)

    def forward(self, compared: Compared) -> dict[str, Tensor]:
        heard, original = compared.heard, compared.original
        found = self.distance(heard, original, compared.scales, compared.follow)
        return {"energy": found.distance, "low_band": found.low_band, "colour": found.colour}


class Likelihood(Measure):
    """Of the original, under what a head with chance says of it; other heads say nothing."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        head = setting.head
        self.distance = (
            LikelihoodDistance(head, setting.sample_rate_hz)
            if isinstance(head, SubframeHead)
            else None
        )

    def forward(self, compared: Compared) -> dict[str, Tensor]:
        if self.distance is None or compared.parts is None:
            return {}
        return {"likelihood": self.distance(compared.parts, compared.reference)}


class LossConfig(MeasureConfig):
    """The training loss: a weight per term (0: not computed), and how the terms are measured.

    A new term is one line here, and the measure that it names.
    """

    mel: Annotated[Weight, FoundBy(Scales)] = 5.0
    stft: Annotated[Weight, FoundBy(Scales)] = 3.0
    wave: Annotated[Weight, FoundBy(Wave)] = 2.0
    loudness: Annotated[Weight, FoundBy(Loudness)] = 0.0
    noise: Annotated[Weight, FoundBy(Noise)] = 0.0
    disturbance: Annotated[Weight, FoundBy(Disturbance)] = 0.0
    energy: Annotated[Weight, FoundBy(Spectrograms)] = 0.0
    """The energy distance of spectrograms, over two draws of the decoder's chance."""
    low_band: Annotated[Weight, FoundBy(Spectrograms)] = 0.0
    """Complex distance below 1.4 kHz, each band relative to itself, by `follow_by_level`."""
    colour: Annotated[Weight, FoundBy(Spectrograms)] = 0.0
    """Distance of the energy over a whole crop by bands, so that nothing comes out too quiet."""
    likelihood: Annotated[Weight, FoundBy(Likelihood)] = 0.0
    """Of the original under a decoder with chance, in nats a coefficient."""

    # What the quantizer and the discriminators say for themselves.
    commitment: Weight = 1.0
    adversarial: Weight = 1.0
    feature_matching: Weight = 2.0
    balance: BalanceConfig = FixedBalance()

    def measured(self) -> dict[str, type[Measure]]:
        """Return the terms that weigh anything, in the table's order, and what finds each."""
        return {
            name: mark.measure
            for name, field in type(self).model_fields.items()
            for mark in field.metadata
            if isinstance(mark, FoundBy) and self.weight(name)
        }

    def weight(self, term: str) -> float:
        weight: float = getattr(self, term)
        return weight
