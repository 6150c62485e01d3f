"""Wheels, source archives and environments as pip makes them, with nothing of ours around."""

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "constraints.txt"


def run(*words: str | Path, cwd: Path) -> str:
    # What surrounds the tests, a path or a virtual environment, must not lend its packages.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(words, cwd=cwd, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wheel_of(source: Path, out: Path) -> Path:
    words = ("-m", "pip", "--disable-pip-version-check", "-q", "wheel", "--no-deps")
    run(sys.executable, *words, "-w", out, source, cwd=out)
    (found,) = out.glob("*.whl")
    return found


def sdist_of(source: Path, out: Path) -> Path:
    tools = out / "tools"
    venv.create(tools, with_pip=True)
    run(tools / "bin/pip", "install", "-q", "build", cwd=out)
    run(tools / "bin/python", "-m", "build", "--sdist", "-o", out, source, cwd=out)
    (found,) = out.glob("*.tar.gz")
    return found


def environment_of(package: Path, folder: Path) -> Path:
    """Return the commands' folder of an environment with the package and what it asks for."""
    venv.create(folder, with_pip=True)
    run(folder / "bin/pip", "install", "-q", "-c", CONSTRAINTS, package, cwd=folder)
    return folder / "bin"
