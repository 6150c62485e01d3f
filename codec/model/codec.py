"""The codec: encoder, quantizer, decoder. One code path for training, whole files and streams."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from grove.codec.config import CodecConfig
from grove.codec.model.frontends import build_frontend
from grove.codec.model.heads import build_head
from grove.codec.model.layers import CausalLinear, Trunk, split_state
from grove.codec.model.quantizers import build_quantizer
from grove.codec.model.subframes import Parts, SubframeHead, Twins

_LATENT_TAPS = 2


class Encoder(nn.Module):
    """pcm [B, T*hop] -> latent [B, T, D]: a linear projection of the frame, plus the network."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.frontend = build_frontend(config)
        self.enter = nn.Linear(self.frontend.features, config.encoder.width)
        self.trunk = Trunk(config.encoder)
        self.leave = nn.Linear(config.encoder.width, config.latent)
        self.linear: nn.Linear | None = None
        self.shape: nn.Linear | None = None
        if self.frontend.linear_width:
            width = self.frontend.linear_width
            self.linear = nn.Linear(width, config.latent - config.shape, bias=False)
            if config.shape:
                self.shape = nn.Linear(self.frontend.shape_width, config.shape, bias=False)
            nn.init.zeros_(self.leave.weight)
            nn.init.zeros_(self.leave.bias)
        self.state_sizes = (self.frontend.state_size, self.trunk.state_size)
        self.state_size = sum(self.state_sizes)

    def forward(self, pcm: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        front_state, trunk_state = split_state(state, self.state_sizes)
        features = self.frontend(pcm, front_state)
        hidden, trunk_state = self.trunk(self.enter(features.network), trunk_state)
        latent = self.leave(hidden)
        if self.linear is not None:
            direct = self.linear(features.linear)
            if self.shape is not None:
                direct = torch.cat([self.shape(features.shape), direct], dim=2)
            latent = latent + direct
        return latent, torch.cat([features.state, trunk_state], dim=1)


class Decoder(nn.Module):
    """latent [B, T, D] and levels [B, T] -> pcm [B, T*hop], late by the head's delay."""

    def __init__(self, config: CodecConfig, levels: int) -> None:
        super().__init__()
        self.enter = CausalLinear(config.latent, config.decoder.width, _LATENT_TAPS)
        # Told how much of the frame arrived, the decoder knows when to follow and when to invent.
        self.level = nn.Embedding(levels + 1, config.decoder.width)
        nn.init.zeros_(self.level.weight)
        self.trunk = Trunk(config.decoder)
        self.head = build_head(config)
        self.state_sizes = (self.enter.state_size, self.trunk.state_size, self.head.state_size)
        self.state_size = sum(self.state_sizes)
        self.delay_samples = self.head.delay_samples

    def forward(self, latent: Tensor, levels: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        enter_state, trunk_state, head_state = split_state(state, self.state_sizes)
        hidden, enter_state = self.enter(latent, enter_state)
        hidden, trunk_state = self.trunk(hidden + self.level(levels), trunk_state)
        pcm, head_state = self.head(hidden, latent, head_state)
        return pcm, torch.cat([enter_state, trunk_state, head_state], dim=1)

    def twins(self, latent: Tensor, levels: Tensor) -> Twins:
        """Return the same whole sound twice, from silence, each with chance of its own.

        A head without chance gives one sound and itself.
        """
        state = latent.new_zeros(len(latent), self.state_size)
        enter_state, trunk_state, head_state = split_state(state, self.state_sizes)
        hidden, _ = self.enter(latent, enter_state)
        hidden, _ = self.trunk(hidden + self.level(levels), trunk_state)
        if isinstance(self.head, SubframeHead):
            return self.head.twins(hidden, latent)
        pcm, _ = self.head(hidden, latent, head_state)
        return Twins(pcm, pcm, None)


class CodecOutput(NamedTuple):
    """What training needs of one pass."""

    pcm: Tensor  # [B, N], aligned with the input
    twin: Tensor  # the same with other draws of the decoder's chance
    low: Tensor  # of `pcm` what is meant to be the waveform; all of it, of a head without chance
    parts: Parts | None  # what was drawn for, where the decoder has chance and is in training
    codes: Tensor  # [B, T, K]
    loss: Tensor  # the quantizer's own, a scalar


class CodecNetwork(nn.Module):
    """Audio in, the same audio as the tokens carry it out."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.quantizer = build_quantizer(config.quantizer, config.latent)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config, self.quantizer.levels)
        self.delay_samples = self.decoder.delay_samples

    def forward(
        self, pcm: Tensor, levels: Tensor | None = None, unquantized: Tensor | None = None
    ) -> CodecOutput:
        """Code pcm [B, N] at `levels` [B, frames(N)] and return it aligned; silence precedes it."""
        padded = self.pad(pcm)
        batch = pcm.shape[0]
        latent, _ = self.encoder(padded, padded.new_zeros(batch, self.encoder.state_size))
        if levels is None:
            levels = torch.full(latent.shape[:2], self.quantizer.levels, device=latent.device)
        quantized = self.quantizer(latent, levels, unquantized)
        late = slice(self.delay_samples, self.delay_samples + pcm.shape[1])
        if self.training:
            made = self.decoder.twins(quantized.latent, levels)
        else:
            zeros = padded.new_zeros(batch, self.decoder.state_size)
            decoded, _ = self.decoder(quantized.latent, levels, zeros)
            made = Twins(decoded, decoded, None)
        low = made.pcm if made.parts is None else made.parts.low
        return CodecOutput(
            pcm=made.pcm[:, late],
            twin=made.twin[:, late],
            low=low[:, late],
            parts=made.parts,
            codes=quantized.codes,
            loss=quantized.loss,
        )

    def pad(self, pcm: Tensor) -> Tensor:
        """Return pcm [B, T*hop]: whole frames, with room behind for the delay."""
        return nn.functional.pad(pcm, (0, self.frames(pcm.shape[1]) * self.hop - pcm.shape[1]))

    def frames(self, samples: int) -> int:
        """Return how many frames carry `samples` samples and the delay."""
        return -(-(samples + self.delay_samples) // self.hop)

    @property
    def hop(self) -> int:
        return self.config.hop_samples
