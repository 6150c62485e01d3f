"""What a codec takes, counted while it runs: layers at a higher rate count as often as they do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from grove.codec.model.codec import CodecNetwork
from grove.codec.model.layers import DepthwiseTaps

_FRAMES = 8


class Cost(NamedTuple):
    """Multiply-adds for one second of audio."""

    encoder_macs_per_second: int
    decoder_macs_per_second: int


@torch.no_grad()
def count_cost(codec: CodecNetwork) -> Cost:
    """Count matrix products and depthwise taps, the search of the books included."""
    frames_per_second = codec.config.sample_rate_hz / codec.hop
    pcm = torch.zeros(1, _FRAMES * codec.hop)
    codes = torch.zeros(1, _FRAMES, len(codec.quantizer.code_sizes), dtype=torch.int64)
    levels = torch.full((1, _FRAMES), codec.quantizer.levels)

    def encode() -> None:
        latent, _ = codec.encoder(pcm, torch.zeros(1, codec.encoder.state_size))
        codec.quantizer.encode(latent)

    def decode() -> None:
        latent = codec.quantizer.decode(codes, levels)
        codec.decoder(latent, levels, torch.zeros(1, codec.decoder.state_size))

    per_frame = [_macs(codec, run) / _FRAMES for run in (encode, decode)]
    return Cost(*(round(macs * frames_per_second) for macs in per_frame))


def _macs(codec: CodecNetwork, run: Callable[[], None]) -> int:
    with _depthwise_macs(codec) as depthwise, FlopCounterMode(display=False) as products:
        run()
    return int(products.get_total_flops()) // 2 + sum(depthwise)


@contextmanager
def _depthwise_macs(codec: CodecNetwork) -> Iterator[list[int]]:
    """Collect what the counter of products does not see: taps written as shifted adds."""
    seen: list[int] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], _output: object) -> None:
        assert isinstance(layer, DepthwiseTaps)
        seen.append(layer.taps * inputs[0].numel())

    layers = [layer for layer in codec.modules() if isinstance(layer, DepthwiseTaps)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
