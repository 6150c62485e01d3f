"""The figures in docs/model.md are those of the code."""

from pathlib import Path

import pytest

from grove.codec.config import CodecConfig, MagPhaseConfig, SeanetConfig, StftConfig, TrunkConfig
from grove.codec.model.codec import CodecNetwork
from grove.codec.model.cost import count_cost
from grove.training.config import load_recipe

DOCUMENT = Path(__file__).parents[3] / "docs" / "model.md"
RECIPE = DOCUMENT.parents[1] / "training" / "recipes" / "grove-24k.yaml"
BARE = TrunkConfig(blocks=0)
CODECS = {
    "default": CodecConfig(),
    "grove-24k recipe": load_recipe(RECIPE).codec,
    "stft-magphase": CodecConfig(frontend=StftConfig(), head=MagPhaseConfig()),
    "stft-magphase-720": CodecConfig(
        frontend=StftConfig(window_samples=720), head=MagPhaseConfig(window_samples=720)
    ),
    "seanet": CodecConfig(frontend=SeanetConfig(), head=SeanetConfig(), encoder=BARE, decoder=BARE),
}


def documented() -> dict[str, list[str]]:
    table = DOCUMENT.read_text(encoding="utf-8").split("| codec |")[1].split("\n\n")[0]
    lines = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    return {cells[0]: cells[1:] for cells in lines}


def counted(codec: CodecNetwork) -> list[str]:
    cost = count_cost(codec)
    latency_ms = 1000 * (codec.hop + codec.delay_samples) / codec.config.sample_rate_hz
    return [
        str(sum(parameter.numel() for parameter in codec.encoder.parameters())),
        str(sum(parameter.numel() for parameter in codec.decoder.parameters())),
        f"{cost.encoder_macs_per_second / 1e6:.1f}",
        f"{cost.decoder_macs_per_second / 1e6:.1f}",
        str(codec.encoder.state_size),
        str(codec.decoder.state_size),
        str(codec.delay_samples),
        f"{latency_ms:g}",
    ]


def test_every_row_is_checked() -> None:
    assert set(documented()) == set(CODECS)


@pytest.mark.parametrize("name", CODECS)
def test_the_figures_are_those_of_the_model(name: str) -> None:
    assert documented()[name] == counted(CodecNetwork(CODECS[name]))
