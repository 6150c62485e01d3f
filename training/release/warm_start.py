"""Keeps a run's weights, and only those, in half precision: a checkpoint to begin with.

`python -m grove.training.release.warm_start BEST.pt OUT.pt`. Optimizers and averages stay
behind; what remains begins a new run (`grove train --warm-start`).
"""

import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from grove.training.checkpoint import load_checkpoint, save_checkpoint


def halved(content: dict[str, Any]) -> dict[str, Any]:
    """Return the weights of a checkpoint in float16, its discriminators', its recipe and step."""
    kept = {
        "step": content["step"],
        "recipe": content["recipe"],
        "codec": _in_half(content["codec"]),
    }
    adversary = content.get("adversary")
    return kept | ({"discriminators": _in_half(adversary["nets"])} if adversary else {})


def _in_half(weights: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.half() if isinstance(value, Tensor) and value.is_floating_point() else value
        for name, value in weights.items()
    }


def main(source: str, target: str) -> None:
    save_checkpoint(Path(target), halved(load_checkpoint(Path(source))))


if __name__ == "__main__":
    main(*sys.argv[1:])
