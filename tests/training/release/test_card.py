"""The card says what the manifest says, and takes the latest evaluation."""

from pathlib import Path

import pytest
from evaluation_cases import MuLawCodec, write_clips
from training_cases import tiny_recipe

from grove.codec.bundle import CARD, load_bundle
from grove.codec.errors import BundleError
from grove.training.evaluation.clips import find_clips
from grove.training.evaluation.evaluate import Settings, evaluate
from grove.training.evaluation.peer_scores import PeerCache
from grove.training.evaluation.results import Evaluation
from grove.training.release.card import model_card, put_evaluation


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    card = model_card(load_bundle().manifest, tiny_recipe())
    (tmp_path / CARD).write_text(card, encoding="utf-8")
    return tmp_path


def evaluated(folder: Path) -> Evaluation:
    clips = folder / "clips"
    if not clips.exists():
        clips.mkdir()
        write_clips(clips)
    settings = Settings(levels=(1,), loss_rates=(0.0,), peers=())
    return evaluate(MuLawCodec(), find_clips(clips, 1), settings, PeerCache(clips / "cache"))


def test_the_card_names_cost_delay_and_hash(folder: Path) -> None:
    spec = load_bundle().spec
    text = (folder / CARD).read_text()
    assert spec.model_sha256 in text
    assert "30 ms (480 + 240 samples)" in text
    assert "6: 1, 2, 3, 4, 5, 6 kbps" in text


def test_a_new_evaluation_replaces_the_old_one(folder: Path) -> None:
    evaluation = evaluated(folder)
    put_evaluation(folder, evaluation)
    once = (folder / CARD).read_text()
    put_evaluation(folder, evaluation)
    assert (folder / CARD).read_text() == once
    assert once.count("| system | kbps |") >= 1
    assert once.index("## Evaluation") < once.index("| system |") < once.index("## Files")


def test_a_card_without_a_place_for_it_is_refused(folder: Path) -> None:
    (folder / CARD).write_text("# Another card\n")
    with pytest.raises(BundleError, match="no place for an evaluation"):
        put_evaluation(folder, evaluated(folder))
