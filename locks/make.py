"""Writes the locks: exact versions with hashes for every extra, and constraints.txt without hashes.

`make lock` runs it with uv. Versions in constraints.txt stay; delete lines there to renew them.
"""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCKS = ROOT / "locks"
PINS = ROOT / "constraints.txt"
EXTRAS: dict[str, list[str]] = {
    "core": [],
    "bench": ["--extra", "bench"],
    "browser": ["--extra", "browser"],
    "media": ["--extra", "media"],
    "docs": ["--extra", "docs"],
    "dev": ["--extra", "dev"],
}
BUILD = "setuptools>=77\n"
# Only its model is used; what it asks for besides needs a compiler.
JUDGE = "Resemblyzer\n"
# Torch has a lock of its own; no lock can name the libraries that its builds for CUDA ask for.
LEFT_OUT = re.compile(r"nvidia-|cuda-|triton==|torch==")
TORCH = "torch\n"
NEVER = "sys_platform == 'never'"
PINS_HEAD = "# Exact versions of everything in locks/, without hashes; made by 'make lock'.\n"
LOCK_HEAD = "# Made by 'make lock'; for pip install --require-hashes --no-deps.\n"


def compiled(requirements: str, *sources: str) -> list[str]:
    """Return the lock's entries: a package each, its hashes in further lines."""
    pinned = subprocess.run(
        [
            *("uv", "pip", "compile", "-", *sources),
            *("--universal", "--python-version", "3.11", "--generate-hashes"),
            *("--constraint", str(PINS), "--override", str(LOCKS / "overrides.txt")),
            *("--no-header", "--no-annotate", "--quiet"),
        ],
        input=requirements,
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    entries = re.split(r"\n(?=\S)", pinned.strip())
    return [entry for entry in entries if NEVER not in entry]


def main() -> None:
    locks = {
        "build": compiled(BUILD),
        "torch": [entry for entry in compiled(TORCH) if entry.startswith("torch==")],
    }
    for name, options in EXTRAS.items():
        entries = compiled(JUDGE if name == "dev" else "", "pyproject.toml", *options)
        locks[name] = [entry for entry in entries if not LEFT_OUT.match(entry)]
    for name, entries in locks.items():
        text = LOCK_HEAD + "\n".join(entries) + "\n"
        (LOCKS / f"{name}.txt").write_text(text, encoding="utf-8")
    everything = [entry for entries in locks.values() for entry in entries]
    pins = {entry.partition(" \\\n")[0].strip() for entry in everything}
    # Under a condition in one lock and without it in another: without it holds for both.
    listed = sorted(pin for pin in pins if ";" not in pin or pin.partition(" ;")[0] not in pins)
    PINS.write_text(PINS_HEAD + "\n".join(listed) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
