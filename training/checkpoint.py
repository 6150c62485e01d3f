"""Checkpoints that appear whole or not at all: the last few, and the best."""

from pathlib import Path
from typing import Any

import torch

from grove.codec.atomic import atomic_file
from grove.codec.errors import ConfigError

_PATTERN = "step-*.pt"
BEST = "best.pt"


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write `content` so that a kill at any moment leaves the old file or the new one."""
    with atomic_file(path, overwrite=True) as file:
        torch.save(content, file)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of tensors and plain values; nothing in it is executed."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise ConfigError(f"cannot read checkpoint {path}: {error}") from error
    if not isinstance(content, dict) or "step" not in content:
        raise ConfigError(f"{path} is no training checkpoint: it has no step")
    return content


def checkpoint_path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}.pt"


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint with the highest step."""
    found = sorted(folder.glob(_PATTERN))
    return found[-1] if found else None


def prune_checkpoints(folder: Path, keep: int) -> None:
    """Delete all but the `keep` newest; the best one has its own name and stays."""
    for old in sorted(folder.glob(_PATTERN))[:-keep]:
        old.unlink()
