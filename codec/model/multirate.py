"""From frames to samples by thin causal layers at rising rates."""

from torch import Tensor, nn

from codec.config import MultirateConfig, TrunkConfig
from codec.model.layers import Chain, ConvNeXtBlock, StatefulLayer


class Rise(StatefulLayer):
    """Each row becomes `times` rows of another width, [B, T, W] -> [B, T*times, V]; then blocks."""

    def __init__(self, in_width: int, out_width: int, times: int, blocks: int) -> None:
        super().__init__()
        self.out_width = out_width
        self.spread = nn.Linear(in_width, times * out_width)
        trunk = TrunkConfig(width=out_width)
        self.blocks = Chain([ConvNeXtBlock(trunk) for _ in range(blocks)])
        self.state_size = self.blocks.state_size

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        rows = self.spread(x).reshape(x.shape[0], -1, self.out_width)
        y: tuple[Tensor, Tensor] = self.blocks(rows, state)
        return y


def rising_rates(width: int, config: MultirateConfig) -> Chain:
    """Return [B, T, width] -> [B, T*prod(upsampling), widths[-1]]."""
    widths = (width, *config.widths)
    return Chain(
        [
            Rise(before, after, times, config.blocks)
            for before, after, times in zip(widths, config.widths, config.upsampling, strict=False)
        ]
    )
