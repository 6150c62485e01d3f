"""Links of the documents lead somewhere, and the site has every document."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from grove import __version__

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs"))

from gather import broken_links, documents, gather  # noqa: E402 - found by the line above


def written(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def pages(entry: Any) -> list[str]:  # noqa: ANN401 - as the file has it
    """Return the documents that a part of the navigation leads to."""
    match entry:
        case str():
            return [entry]
        case dict():
            return [page for value in entry.values() for page in pages(value)]
        case _:
            return [page for value in entry for page in pages(value)]


def navigation() -> list[str]:
    return pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])


def test_no_link_of_a_document_leads_nowhere() -> None:
    assert len(documents(ROOT)) > 20
    assert broken_links(ROOT) == []


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("[a](b.md)", []),
        ("[a](b.md#two-words)", []),
        ("[a](#here)\n\n## Here", []),
        ("[a](https://example.org/nothing)", []),
        ("`[a](gone.md)`", []),
        ("```\n[a](gone.md)\n```", []),
        ("[a](gone.md)", ["d/a.md: gone.md"]),
        ("![a](../d/gone.png)", ["d/a.md: gone.png"]),
        ("[a](b.md#three-words)", ["d/a.md: b.md#three-words"]),
        ("[a](#nowhere)", ["d/a.md: a.md#nowhere"]),
        ('[a](gone.md "with a title")', ["d/a.md: gone.md"]),
    ],
)
def test_a_link_that_leads_nowhere_is_named(text: str, lost: list[str], tmp_path: Path) -> None:
    written(tmp_path, "d/b.md", "# Two words\n")
    written(tmp_path, "d/a.md", text)
    assert broken_links(tmp_path) == lost


def test_what_a_document_links_to_is_gathered_and_what_none_links_to_is_not(tmp_path: Path) -> None:
    written(tmp_path, "tree/README.md", "[a](deploy/a.conf)")
    written(tmp_path, "tree/deploy/a.conf", "a")
    written(tmp_path, "tree/deploy/b.conf", "b")
    gather(tmp_path / "tree", tmp_path / "out")
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    assert found == {"README.md", "deploy/a.conf"}


def test_the_navigation_lists_documents_that_are_there_once() -> None:
    listed = navigation()
    assert [name for name in listed if not (ROOT / name).is_file()] == []
    assert len(listed) == len(set(listed))


def test_every_document_is_listed_or_a_decision() -> None:
    names = {str(path.relative_to(ROOT)) for path in documents(ROOT)}
    unlisted = names - set(navigation())
    others = {name for name in unlisted if not name.startswith("docs/decisions/")}
    assert others == {"tests/fixtures/ATTRIBUTION.md"}


def test_the_index_of_decisions_lists_each() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")
    names = {path.name for path in folder.glob("*.md")} - {"README.md"}
    assert names
    assert [name for name in sorted(names) if f"]({name})" not in index] == []


@pytest.mark.parametrize("part", ["## Decision", "## What was measured", "## What would change"])
def test_every_decision_says_what_was_measured_and_what_would_change_it(part: str) -> None:
    folder = ROOT / "docs" / "decisions"
    pages_of = [path for path in folder.glob("*.md") if path.name != "README.md"]
    without = [path.name for path in pages_of if part not in path.read_text(encoding="utf-8")]
    assert without == []


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    gather(ROOT, tmp_path / "docs")
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").replace("build/", "")
    (tmp_path / "mkdocs.yml").write_text(config, encoding="utf-8")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    index = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "1 to 6 kbps" in index
    assert 'src="https://' not in index
    assert 'rel="stylesheet" href="https://' not in index


def test_the_changelog_has_its_versions_in_order_up_to_this_one() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", text, re.MULTILINE)
    assert len(headings) == text.count("\n## ")
    (first, no_date), *released = headings
    assert (first, no_date) == ("Unreleased", "")
    versions = [tuple(int(part) for part in version.split(".")) for version, _ in released]
    assert versions == sorted(versions, reverse=True)
    assert released[0][0] == __version__
    assert all(date for _, date in released)
