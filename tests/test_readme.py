"""What the README shows runs as it stands."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "clients"))

from client_cases import ServerProcess  # noqa: E402 - found by the line above

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
# Where the README has the server. The tests' own is elsewhere, and this is all that they replace.
ADDRESS = "127.0.0.1:8000"
# What a block may read of a clone; all else in its folder it has to make itself.
CLONE = ("tests/fixtures", "clients", "constraints.txt")
# Blocks that do not run here, by how they begin, and why.
NOT_RUN = {
    "make serve": "fills .venv from a package index and never ends; the other blocks need what it "
    "starts, and have it from the fixture",
    ".venv/bin/pip install -q -c constraints.txt ./clients/python": "would install into the tests' "
    "own environment, where the client is on the path; tests/package/check_clients.py installs it",
    "import { Grove, framesOf }": "needs a browser or Node.js: tests/demo/test_readme_script.py "
    "and tests/clients/check_javascript_client.py run it",
    "make web": "fetches from npm, and the relay never ends: tests/demo/test_call.py starts it",
    "sox -qd": "needs a microphone and websocat: tests/clients/test_client_examples.py runs it "
    "with stand-ins for both",
    "docker compose": "needs a Docker engine; tests/deploy holds what it would start",
    ".venv/bin/pip install -q -c constraints.txt -e '.[train]'": "installs torch and trains "
    "for five minutes; tests/examples trains for seconds",
    "make train": "trains for hours on the reader's own audio; tests/training runs its first steps",
}


class Block(NamedTuple):
    language: str
    code: str


BLOCKS = [Block(*found) for found in re.findall(r"^```(.*)\n([^`]*)^```$", TEXT, re.MULTILINE)]
NAMED = [block for block in BLOCKS if block.code.startswith(tuple(NOT_RUN))]
RUN = [block for block in BLOCKS if block not in NAMED]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ServerProcess(tmp_path_factory.mktemp("state")) as server:
        yield f"127.0.0.1:{server.port}"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with what a reader's clone has, and nothing that another block made."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    for name in CLONE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def run(command: list[str], folder: Path) -> str:
    inherited = {name: value for name, value in os.environ.items() if "GROVE" not in name}
    ran = subprocess.run(
        command,
        cwd=folder,
        # What a block installs is there, as a dependency of the tests: pip asks nobody.
        env={
            **inherited,
            "PATH": f"{folder}/.venv/bin:{os.environ['PATH']}",
            "PIP_NO_INDEX": "1",
            # What the README has installed by then.
            "PYTHONPATH": str(ROOT / "clients" / "python"),
        },
        timeout=120,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def command_of(block: Block, address: str) -> list[str]:
    code = block.code.replace(ADDRESS, address)
    if block.language == "python":
        return [".venv/bin/python", "-W", "error", "-c", code]
    assert block.language == "sh", f"a block of {block.language!r} is neither run nor named"
    return ["bash", "-euo", "pipefail", "-c", code]


def made_by(block: Block) -> list[str]:
    """Return the files and folders that a block's commands say they write."""
    if block.language != "sh":
        return []
    redirected = re.findall(r"(?:^|\s)(?:-o|--out|>) (\S+)", block.code)
    return redirected + re.findall(r"grove (?:encode|decode) [^-\s]\S* (\S+)", block.code)


@pytest.mark.parametrize("block", RUN, ids=lambda block: block.code.splitlines()[0][:40])
def test_a_block_runs_and_makes_what_it_names(block: Block, address: str, clone: Path) -> None:
    said = run(command_of(block, address), clone)
    if "print(" in block.code:
        assert said != ""
    for made in (clone / name for name in made_by(block)):
        assert list(made.iterdir()) if made.is_dir() else made.stat().st_size > 1000


def test_every_fence_is_read_and_no_command_hides_outside_one() -> None:
    assert len(BLOCKS) * 2 == TEXT.count("```")
    prose = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"^(?: {4}|\t).*", prose, re.MULTILINE) == []


@pytest.mark.parametrize("start", NOT_RUN)
def test_what_is_named_as_not_run_is_one_block(start: str) -> None:
    assert [block.code.startswith(start) for block in BLOCKS].count(True) == 1


def test_commands_that_do_not_run_here_have_their_options() -> None:
    lines = [line for block in NAMED for line in block.code.splitlines()]
    commands = [line.split() for line in lines if line.startswith(".venv/bin/grove ")]
    assert commands
    for _, name, *words in commands:
        known = re.findall(r"--[\w-]+", run([f"{sys.prefix}/bin/grove", name, "--help"], ROOT))
        assert {word for word in words if word.startswith("--")} <= set(known)


def test_targets_of_make_are_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"\bmake ([a-z][\w-]*)", "".join(block.code for block in NAMED)))
    assert targets
    assert {name for name in targets if f"\n{name}:" not in makefile} == set()


def test_sections_come_in_the_order_that_a_stranger_needs() -> None:
    picture = TEXT.index("docs/demo.png")
    headings = re.findall(r"^## (.*)", TEXT, re.MULTILINE)
    assert picture < TEXT.index("\n## ")
    assert headings == [
        "Two commands",
        "Hear it",
        "Figures",
        "Which way in",
        "What it does not do",
        "More",
    ]


def test_every_path_that_it_names_exists() -> None:
    folders = "codec|server|training|tools|tests|docs|exports|clients|examples|deploy"
    named = re.findall(rf"(?<![\w/])(?:{folders})/[\w./*-]+\w", TEXT)
    shipped = {name for name in named if not name.startswith("exports/mine")}
    missing = [name for name in sorted(shipped) if not list(ROOT.glob(name))]
    assert missing == []
