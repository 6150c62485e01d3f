"""Who may import whom, read from the source; and what a serving process has loaded."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def roots(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


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
    [("server", "training"), ("server", "torch"), ("training", "server"), ("codec", "server")],
)
def test_no_module_imports_across_a_border(folder: str, forbidden: str) -> None:
    allowed = {ROOT / "codec" / "cli_serve.py"} if folder == "codec" else set()
    offenders = [path for path in modules(folder) if forbidden in roots(path)]
    assert [path for path in offenders if path not in allowed] == []


def test_torch_is_imported_under_the_model_and_its_transformers_class_only() -> None:
    offenders = [path for path in modules("codec") if "torch" in loaded_at_import(path)]
    assert [
        path for path in offenders if path.parts[-2] not in {"model", "quantizers", "pretrained"}
    ] == []


def test_the_model_knows_nothing_of_files_or_the_runtime() -> None:
    allowed = {"codec.config", "codec.errors"}
    for path in modules("codec/model"):
        ours = {name for name in imported(path) if name.startswith("codec")}
        assert {name for name in ours if not name.startswith("codec.model")} <= allowed, path


@pytest.mark.parametrize("module", ["errors", "config", "framer", "resample", "bitstream"])
def test_the_foundation_does_not_import_the_runtime(module: str) -> None:
    above = {"codec.runtime", "codec.stream", "codec.cli"}
    assert not imported(ROOT / "codec" / f"{module}.py") & above


@pytest.mark.parametrize("module", ["server.app", "codec.cli", "codec.stream"])
def test_a_serving_process_has_not_loaded_torch(module: str) -> None:
    program = f"import {module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
