"""Packages that only some formats need, asked for when they are needed."""

from importlib import import_module
from types import ModuleType

from grove.codec.tokens.records import TokensError


def pyarrow() -> ModuleType:
    return _required("pyarrow", "tokens")


def pyarrow_parquet() -> ModuleType:
    return _required("pyarrow.parquet", "tokens")


def fsspec() -> ModuleType:
    """Return what opens URLs; each kind of store needs its own package beside it."""
    _required("fsspec.core", "tokens")
    return _required("fsspec", "tokens")


def ray() -> ModuleType:
    return _required("ray", "ray")


def ray_data() -> ModuleType:
    return _required("ray.data", "ray")


def pyplot() -> ModuleType:
    """Return matplotlib's pyplot, set to draw into files."""
    _required("matplotlib", "train").use("Agg")
    return _required("matplotlib.pyplot", "train")


def _required(name: str, extra: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise TokensError(
            f"{name.partition('.')[0]} is not installed",
            hint=f"pip install 'grove-codec[{extra}]'",
        ) from error
