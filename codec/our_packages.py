"""Packages of this project beside `codec`, found where they are and nowhere else."""

from importlib.util import find_spec
from pathlib import Path

from codec.errors import CodecError


class ShadowedError(CodecError):
    """A module of somebody else that has the name of one of our packages."""


def refuse_shadowed(name: str) -> None:
    """Refuse to go on where `import name` would find another module, and say which."""
    spec = find_spec(name)
    ours = Path(__file__).resolve().parent.parent / name
    if spec is None or spec.origin is None:
        raise ShadowedError(f"the package {name} is not installed beside codec")
    if Path(spec.origin).resolve().parent != ours:
        raise ShadowedError(
            f"{spec.origin} stands in the way of grove's package {name}",
            hint="run elsewhere, rename it, or take its folder off PYTHONPATH",
        )
