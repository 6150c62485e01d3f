"""Validation borrows the codec, and gives it back as it was."""

from pathlib import Path

import numpy as np
import pytest
import torch
from training_cases import ToneBatches, tiny_recipe, write_corpus

from grove.training.data.cache import build_cache
from grove.training.ranks import Ranks
from grove.training.train import RunOptions, merit, train
from grove.training.trainer import Trainer
from grove.training.validation import LevelScores, Validator, borrowed_weights, decoded


def test_borrowed_weights_are_given_back_even_after_an_error(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    trainer = Trainer(recipe, ToneBatches(recipe), tmp_path, Ranks(0, 1, torch.device("cpu")))
    trainer.run(4, lambda _report: None)
    codec = trainer.codec
    own = {name: value.clone() for name, value in codec.named_parameters()}
    name, weight = next(iter(trainer.average.weights.items()))

    def fail_while_borrowing() -> None:
        with borrowed_weights(codec, trainer.average.weights):
            assert not codec.training
            assert torch.equal(dict(codec.named_parameters())[name], weight)
            assert not torch.equal(weight, own[name])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_while_borrowing()
    assert codec.training
    assert codec.quantizer.training
    assert all(torch.equal(own[name], value) for name, value in codec.named_parameters())


def test_decoding_keeps_length_and_learns_nothing(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    trainer = Trainer(recipe, ToneBatches(recipe), tmp_path, Ranks(0, 1, torch.device("cpu")))
    trainer.run(4, lambda _report: None)
    codec = trainer.codec.eval()
    before = {k: v.clone() for k, v in codec.state_dict().items() if torch.is_tensor(v)}
    clip = ToneBatches(recipe).batch(0)[0][:4_001]
    assert decoded(codec, clip, 1).shape == clip.shape
    assert all(torch.equal(before[name], codec.state_dict()[name]) for name in before)


def test_levels_from_lowest_to_highest_are_scored_on_held_out_clips(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    recipe = tiny_recipe(data={"validation_share": 0.3})
    cache = build_cache(corpus, tmp_path / "cache", 24_000, validation_share=0.3)
    trainer = Trainer(recipe, ToneBatches(recipe), tmp_path, Ranks(0, 1, torch.device("cpu")))
    trainer.run(4, lambda _report: None)
    validator = Validator(cache, recipe)
    held_out = {str(cache.index.file[row]) for row in cache.rows(held_out=True)}
    assert {clip.file for clip in validator.clips} <= held_out
    scores = validator.scores(trainer.codec, trainer.average.weights)
    assert [at.level for at in scores] == [1, 2]
    assert all(np.isfinite(at.log_mel) for at in scores)


def test_merit_weighs_quality_and_intelligibility() -> None:
    assert merit([LevelScores(1, 2.0, 0.9, 1.0), LevelScores(6, 3.0, 0.7, 1.0)]) == 10.5


def test_a_whole_run_leaves_its_folder_complete(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    stages = [{"kind": "reconstruction", "steps": 6, "unquantized_steps": 2}]
    logging = {"every_steps": 2, "media_every_steps": 6, "media_clips": 1}
    validation = {"every_steps": 6, "clips": 1, "clip_seconds": 1.0}
    recipe = tiny_recipe(stages=stages, logging=logging, validation=validation)
    (tmp_path / "tiny.yaml").write_text(recipe.model_dump_json())
    train(tmp_path / "tiny.yaml", RunOptions(corpus, tmp_path / "run", tmp_path / "cache"))
    found = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"recipe.json", "revisions.txt", "log.txt", "scalars.jsonl", "summary.json"} <= found
    assert {"best.pt", "step-00000006.pt", "tensorboard"} <= found
