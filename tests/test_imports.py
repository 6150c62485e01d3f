"""Who may import whom, read from the source; and what a serving process has loaded."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# The command line is the composition root: its commands reach what they start.
CLI = "codec/cli"
# Foundations, which nothing under `codec/` may pull up into a wing.
CORE = sorted(path.stem for path in (ROOT / "codec").glob("*.py") if path.stem != "__init__")


def modules(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, f"no modules under {folder}"
    return found


def imported(path: Path) -> set[str]:
    """Return the dotted names that a module imports anywhere, without `grove.` before them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("grove.") for name in found}


def is_under(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def loaded_at_import(path: Path) -> set[str]:
    """Return the packages that importing the module loads, not those that its functions may."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("server", "training"),
        ("server", "torch"),
        ("server", "codec.cli"),
        ("training", "server"),
        ("training", "codec.cli"),
        ("codec", "server"),
        ("codec", "training"),
        ("codec/sound", "codec.container"),
        ("codec/sound", "codec.tokens"),
        ("codec/container", "codec.tokens"),
        ("codec/container", "codec.cli"),
        ("codec/tokens", "codec.cli"),
        ("codec/tokens", "codec.bench"),
        ("codec/auto", "codec.cli"),
        ("codec/bench", "codec.cli"),
        ("codec/exact", "codec.tokens"),
        ("server/engine", "server.live"),
        ("server/engine", "server.files"),
        ("server/live", "server.files"),
        ("server/files", "server.live"),
        ("server/sandbox", "server.files"),
        ("server/files", "server.jobs"),
        ("training/loss", "training.evaluation"),
        ("training/loss", "training.release"),
        ("training/evaluation", "training.release"),
    ],
)
def test_no_module_imports_across_a_border(folder: str, forbidden: str) -> None:
    offenders = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(folder)
        if folder != "codec" or not path.is_relative_to(ROOT / CLI)
        for name in sorted(imported(path))
        if is_under(name, forbidden)
    ]
    assert offenders == []


def test_every_import_of_ours_is_spelled_with_the_package() -> None:
    folders = ("codec", "server", "training", "tools", "tests", "examples", "clients/python")
    for path in [path for folder in folders for path in modules(folder)]:
        assert not loaded_at_import(path) & {"codec", "server", "training", "tools"}, path


def test_torch_is_imported_under_the_model_and_its_transformers_class_only() -> None:
    offenders = [path for path in modules("codec") if "torch" in loaded_at_import(path)]
    assert [
        path for path in offenders if path.parts[-2] not in {"model", "quantizers", "pretrained"}
    ] == []


def test_the_model_knows_nothing_of_files_or_the_runtime() -> None:
    allowed = ("codec.config", "codec.errors", "codec.model")
    for path in modules("codec/model"):
        ours = {name for name in imported(path) if is_under(name, "codec")}
        assert not [name for name in ours if not any(is_under(name, a) for a in allowed)], path


@pytest.mark.parametrize("module", CORE)
def test_the_foundation_does_not_import_a_wing(module: str) -> None:
    wings = {path.parent.name for path in (ROOT / "codec").glob("*/__init__.py")}
    assert {"cli", "sound", "tokens"} <= wings
    names = imported(ROOT / "codec" / f"{module}.py")
    assert not {name for name in names if any(is_under(name, f"codec.{w}") for w in wings)}


@pytest.mark.parametrize("module", ["errors", "config", "framer", "resample", "bitstream", "books"])
def test_the_foundation_does_not_import_the_runtime(module: str) -> None:
    names = imported(ROOT / "codec" / f"{module}.py")
    assert not [name for name in names if is_under(name, "codec.runtime")]
    assert not [name for name in names if is_under(name, "codec.stream")]


def test_a_stream_asks_for_the_steps_of_a_codec_and_not_for_the_runtime() -> None:
    names = imported(ROOT / "codec" / "stream.py")
    assert not [name for name in names if is_under(name, "codec.runtime")]


def test_only_the_coding_core_trims_by_the_delay_or_counts_frames() -> None:
    """Others ask the spec, a feed or a drain; the network and its loss have torch's own."""
    core = {"codec/config.py", "codec/stream.py"}
    # These write the number down, for readers or for other programs.
    tell = {"codec/auto/outputs.py", "codec/container/header.py", "tools/triton.py"}
    tell |= {"training/release/export.py", "training/release/card.py"}
    network = ("codec/model/", "codec/pretrained/", "training/loss/")
    named = {
        path.relative_to(ROOT).as_posix()
        for folder in ("codec", "server", "training", "tools")
        for path in modules(folder)
        if "delay_samples" in path.read_text(encoding="utf-8")
    }
    assert {name for name in named if not name.startswith(network)} == core | tell


@pytest.mark.parametrize("module", ["server.app", "codec.cli.commands", "codec.stream"])
def test_a_serving_process_has_not_loaded_torch(module: str) -> None:
    program = f"import grove.{module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
