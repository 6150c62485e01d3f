"""Versions of the runtime and kinds of kernels: where they differ, a code may differ."""

import platform
from functools import lru_cache
from pathlib import Path

import onnxruntime as ort

_CPU_INFO = Path("/proc/cpuinfo")
# From the widest: which of them ONNX Runtime takes its matrix products by.
_CLASSES = (
    ("AVX-512", frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"})),
    ("AVX2", frozenset({"avx2", "fma"})),
    ("AVX", frozenset({"avx"})),
)


def runtime_version() -> str:
    """Return the library that runs the graphs, and its version."""
    return f"onnxruntime {ort.__version__}"


@lru_cache(maxsize=1)
def kernel_class() -> str:
    """Return the processor's kind and the widest instructions that its kernels are chosen by."""
    machine = platform.machine() or "unknown"
    try:
        info = _CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return machine
    return f"{machine} {class_of(info)}".strip()


def class_of(info: str) -> str:
    """Return the class that the flags of a /proc/cpuinfo stand for; empty where it has none."""
    for line in info.splitlines():
        name, _, flags = line.partition(":")
        if name.strip() == "flags":
            found = set(flags.split())
            return next((name for name, needed in _CLASSES if needed <= found), "SSE")
    return ""
