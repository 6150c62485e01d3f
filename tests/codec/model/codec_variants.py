"""Small codecs with every front end and head, none of whose parameters is still at its start."""

import torch
from torch import Tensor

from grove.codec.config import (
    CodecConfig,
    FrontendConfig,
    GrvqConfig,
    HeadConfig,
    MagPhaseConfig,
    MdctConfig,
    MdctFrontendConfig,
    MdctHeadConfig,
    SeanetConfig,
    StftConfig,
    SubframeConfig,
    TrunkConfig,
)
from grove.codec.model.codec import CodecNetwork

HOP = 48
MDCT = MdctFrontendConfig(overlap_samples=24)
MDCT_HEAD = MdctHeadConfig(overlap_samples=24)
SCATTERED = MdctHeadConfig(overlap_samples=24, scatter_from_hz=3000)
SUBFRAME = SubframeConfig(
    low=MdctConfig(overlap_samples=24),
    low_hz=3000,
    subframes=4,
    net=TrunkConfig(width=12, blocks=2, taps=3, expansion=2),
)
SEANET = SeanetConfig(channels=4, strides=(2, 4, 6), residual_blocks=2)


def small(frontend: FrontendConfig, head: HeadConfig, blocks: int = 2) -> CodecConfig:
    trunk = TrunkConfig(width=16, blocks=blocks, taps=3, expansion=2)
    return CodecConfig(
        hop_samples=HOP,
        latent=12,
        frontend=frontend,
        encoder=trunk,
        quantizer=GrvqConfig(groups=2, levels=3, book_size=16),
        decoder=trunk,
        head=head,
    )


VARIANTS: dict[str, CodecConfig] = {
    "mdct": small(MDCT, MDCT_HEAD),
    "mdct-scattered": small(MDCT, SCATTERED),
    "mdct-subframe": small(MDCT, SUBFRAME),
    "mdct-that-sees-subframes": small(
        MdctFrontendConfig(overlap_samples=24, subframes=4), SUBFRAME
    ).model_copy(update={"shape": 6}),
    "stft-subframe-of-one": small(
        StftConfig(window_samples=72), SUBFRAME.model_copy(update={"subframes": 1})
    ),
    "mdct-full-overlap": small(
        MdctFrontendConfig(overlap_samples=HOP, companding=0.7),
        MdctHeadConfig(overlap_samples=HOP, companding=0.7),
    ),
    "stft": small(StftConfig(window_samples=2 * HOP), MagPhaseConfig(window_samples=2 * HOP)),
    "stft-short-window": small(StftConfig(window_samples=72), MagPhaseConfig(window_samples=72)),
    "seanet": small(SEANET, SEANET, blocks=0),
    "seanet-with-trunk": small(SEANET, SEANET),
    "seanet-mdct": small(SEANET, MDCT_HEAD),
}


def lived_in(config: CodecConfig) -> CodecNetwork:
    """Return a codec as training leaves one: no zeros where it began with zeros, books filled."""
    torch.manual_seed(1)
    codec = CodecNetwork(config).train()
    with torch.no_grad():
        for parameter in codec.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        for step in range(8):
            codec(noise(step, batch=4, samples=40 * config.hop_samples))
    codec.eval()
    assert codec.quantizer.ready
    return codec


def noise(seed: int, batch: int, samples: int) -> Tensor:
    return torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed)) * 0.2
