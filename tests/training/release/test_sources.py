"""A card names what the model was trained on."""

from pathlib import Path

import pytest
from training_cases import tiny_recipe

from grove.codec.bundle import load_bundle
from grove.training.data.manifest import DataError
from grove.training.release.card import model_card
from grove.training.release.sources import list_sources

ROWS = """file,seconds,source,speaker,licence,kind,shard
a/1.opus,1800,books,anna,Public Domain,speech,train-1.tar
a/2.opus,5400,books,bert,Public Domain,speech,train-2.tar
b/1.opus,3600,drums,,CC0-1.0,music,train-1.tar
c/1.opus,36000,folk,carl,GPL-3.0,speech,other-1.tar
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    (tmp_path / "list.csv").write_text(ROWS)
    return tmp_path / "list.csv"


def test_only_the_shards_trained_on_are_counted_largest_source_first(manifest: Path) -> None:
    found = list_sources(manifest, ["train-*"])
    assert [(s.name, s.kind, s.files, s.hours) for s in found] == [
        ("books", "speech", 2, 2.0),
        ("drums", "music", 1, 1.0),
    ]


def test_the_card_carries_hours_and_licences(manifest: Path) -> None:
    sources = list_sources(manifest, ["train-*"])
    text = model_card(load_bundle().manifest, tiny_recipe(), sources)
    assert "3.00 hours, 3% of them held out for validation." in text
    assert "| books | speech | 2 | 2.00 | Public Domain |" in text
    assert "GPL" not in text


def test_a_card_without_a_manifest_claims_no_sources() -> None:
    assert "### Audio" not in model_card(load_bundle().manifest, tiny_recipe())


def test_a_folder_names_no_sources(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        list_sources(tmp_path, ())
