"""The locks hold all that is installed, once, in the versions that the project asks for."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires

import pytest
import yaml
from deploy_files import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
NAMES = ("core", "bench", "browser", "media", "docs", "dev")
LOCKS = ("build", "torch", *NAMES)
# locks/make.py leaves these out, and says why; torch has a lock of its own.
LEFT_OUT = re.compile(r"nvidia-|cuda-|triton$|torch$")
WITHOUT_ITS_NEEDS = "resemblyzer"


def entries(name: str) -> list[tuple[Requirement, list[str]]]:
    """Return the packages of a lock with the hashes of each, as far as they are for here."""
    text = (ROOT / "locks" / f"{name}.txt").read_text(encoding="utf-8")
    joined = re.sub(r" \\\n +", " ", text)
    lines = [line for line in joined.splitlines() if not line.startswith("#")]
    split = [re.split(r" (?=--hash=)", line) for line in lines]
    found = [(Requirement(head), hashes) for head, *hashes in split]
    return [(wanted, hashes) for wanted, hashes in found if applies(wanted)]


def applies(requirement: Requirement, extra: str = "") -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def direct(name: str) -> list[Requirement]:
    wanted = PROJECT["dependencies"] + (EXTRAS[name] if name != "core" else [])
    return [Requirement(line) for line in wanted]


def needs(requirement: Requirement) -> Iterator[Requirement]:
    """Yield what an installed package asks for; nothing where it is not installed."""
    if requirement.name == PROJECT["name"]:
        for extra in requirement.extras:
            yield from direct(extra)
        return
    try:
        lines = requires(requirement.name) or []
    except PackageNotFoundError:
        return
    for wanted in map(Requirement, lines):
        if any(applies(wanted, extra) for extra in ("", *requirement.extras)):
            yield wanted


def all_needs(name: str) -> list[Requirement]:
    """Return the requirements of an extra, and theirs, to the end."""
    seen: dict[str, Requirement] = {}
    stack = direct(name)
    while stack:
        wanted = stack.pop()
        if not applies(wanted) or str(wanted) in seen or LEFT_OUT.match(wanted.name):
            continue
        seen[str(wanted)] = wanted
        stack += needs(wanted)
    return [wanted for wanted in seen.values() if wanted.name != PROJECT["name"]]


@pytest.mark.parametrize("name", NAMES)
def test_every_need_is_locked_in_a_version_that_will_do(name: str) -> None:
    locked = {canonicalize_name(entry.name): str(entry.specifier) for entry, _ in entries(name)}
    wanted = all_needs(name)
    assert len(wanted) >= len(direct(name))
    for need in wanted:
        version = locked.get(canonicalize_name(need.name), "").removeprefix("==")
        assert need.specifier.contains(version or "0", prereleases=True), (need, version)
        assert version, need


@pytest.mark.parametrize("name", [*LOCKS, "torch-cpu"])
def test_every_entry_is_exact_and_hashed(name: str) -> None:
    found = entries(name)
    assert found
    for entry, hashes in found:
        assert re.fullmatch(r"==[^*,]+", str(entry.specifier)), entry
        assert hashes, entry
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes), entry
    names = [entry.name for entry, _ in found]
    assert sorted(names) == sorted(set(names))


def test_constraints_are_the_locks_without_hashes() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[1:]
    constraints = {str(entry) for entry in map(Requirement, lines) if applies(entry)}
    pins = {re.split(" ;|;", text)[0] for text in constraints}
    locked = {f"{entry.name}{entry.specifier}" for lock in LOCKS for entry, _ in entries(lock)}
    assert pins == locked


def test_the_image_gets_neither_torch_nor_a_tool() -> None:
    names = {entry.name for entry, _ in entries("media")}
    assert "av" in names
    assert not names & {"torch", "transformers", "ray", "pytest", "mypy", "mkdocs"}


def test_a_judge_is_locked_without_what_needs_a_compiler() -> None:
    names = {entry.name for entry, _ in entries("dev")}
    assert WITHOUT_ITS_NEEDS in names
    assert not names & {"webrtcvad", "librosa", "typing"}


def test_both_builds_of_torch_are_one_version() -> None:
    (index_build,), (cpu_build,) = entries("torch"), entries("torch-cpu")
    assert f"{index_build[0]}+cpu" == str(cpu_build[0])


def test_no_lock_names_a_host() -> None:
    for path in [*(ROOT / "locks").iterdir(), ROOT / "constraints.txt"]:
        if path.is_file():
            assert "://" not in path.read_text(encoding="utf-8"), path


def test_every_dependency_has_a_lower_bound() -> None:
    groups = [PROJECT["dependencies"], EXTRAS["docs"]]
    unbound = [line for group in groups for line in group if ">=" not in line]
    assert unbound == []


def test_hosted_ci_runs_what_ci_runs_from_the_lowest_python_on() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    (job,) = yaml.safe_load(text)["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]
    lowest, *_ = job["strategy"]["matrix"]["python"]
    assert PROJECT["requires-python"] == f">={lowest}"


def test_hooks_run_what_lint_runs_and_fetch_nothing() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert {repository["repo"] for repository in hooks} == {"local"}
    entries_of = [hook["entry"] for repository in hooks for hook in repository["hooks"]]
    programs = {entry.split()[0].removeprefix(".venv/bin/") for entry in entries_of}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (lint,) = re.findall(r"\nlint:.*\n((?:\t.*\n)+)", makefile)
    assert {"ruff", "mypy"} == set(re.findall(r"\$\(BIN\)/(\w+)", lint)) <= programs
