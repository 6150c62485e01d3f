"""A run continues as if it had never stopped, and many ranks train as one would."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from training_cases import (
    ADVERSARY,
    RECONSTRUCTION,
    TINY,
    ToneBatches,
    tiny_recipe,
    write_corpus,
)

from grove.codec.errors import ConfigError
from grove.training.checkpoint import checkpoint_path, latest_checkpoint, load_checkpoint
from grove.training.config import Recipe
from grove.training.ranks import Ranks
from grove.training.trainer import Report, Trainer

ALONE = Ranks(0, 1, torch.device("cpu"))
STAGES = [
    RECONSTRUCTION,
    {"kind": "adversarial", "steps": 4, "adversary": ADVERSARY},
    {"kind": "refine", "steps": 4, "adversary": ADVERSARY},
]


def losses_of(trainer: Trainer, until: int) -> list[dict[str, float]]:
    found: list[dict[str, float]] = []
    trainer.run(until, lambda report: found.append(report.terms))
    return found


@pytest.mark.parametrize("balance", ["fixed", "gradient"])
@pytest.mark.parametrize("stop", [1, 3, 8, 10, 13])
def test_a_resumed_run_has_the_losses_of_the_unbroken_one(
    tmp_path: Path, stop: int, balance: str
) -> None:
    losses = {"scales": [[256, 16], [512, 24]], "loudness": 0.5, "balance": {"kind": balance}}
    recipe = tiny_recipe(stages=STAGES, losses=losses)
    batches = ToneBatches(recipe)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    unbroken = losses_of(Trainer(recipe, batches, tmp_path / "a", ALONE), recipe.total_steps)
    first = losses_of(Trainer(recipe, batches, tmp_path / "b", ALONE), stop)
    resumed = Trainer(recipe, batches, tmp_path / "b", ALONE)
    resumed.resume(checkpoint_path(tmp_path / "b", stop))
    assert first + losses_of(resumed, recipe.total_steps) == unbroken


def test_a_run_that_begins_by_refining_resumes(tmp_path: Path) -> None:
    recipe = tiny_recipe(stages=[{"kind": "refine", "steps": 4, "adversary": None}])
    batches = ToneBatches(recipe)
    first = losses_of(Trainer(recipe, batches, tmp_path, ALONE), 2)
    resumed = Trainer(recipe, batches, tmp_path, ALONE)
    resumed.resume(checkpoint_path(tmp_path, 2))
    assert len(first + losses_of(resumed, 4)) == 4


def test_a_decoder_with_chance_resumes_to_the_losses_of_the_unbroken_run(tmp_path: Path) -> None:
    losses = {"mel": 0, "stft": 0, "wave": 0, "energy": 1.0, "low_band": 0.5, "colour": 0.3}
    scales = [[256, 16], [512, 24]]
    recipe = tiny_recipe(
        losses={**losses, "likelihood": 0.5, "scales": scales},
        codec={**TINY["codec"], "shape": 4, "head": {"kind": "subframe", "net": {"width": 12}}},
    )
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    batches = ToneBatches(recipe)
    unbroken = losses_of(Trainer(recipe, batches, tmp_path / "a", ALONE), 8)
    assert {"energy", "low_band", "colour", "likelihood"} < set(unbroken[0])
    first = losses_of(Trainer(recipe, batches, tmp_path / "b", ALONE), 5)
    resumed = Trainer(recipe, batches, tmp_path / "b", ALONE)
    resumed.resume(checkpoint_path(tmp_path / "b", 5))
    assert first + losses_of(resumed, 8) == unbroken


def test_a_run_of_minutes_goes_through_all_its_stages_and_ends_annealed(tmp_path: Path) -> None:
    recipe = tiny_recipe(stages=STAGES, checkpoint={"every_steps": 1000})
    trainer = Trainer(recipe, ToneBatches(recipe), tmp_path, ALONE, minutes=0.05)
    reports: list[Report] = []
    trainer.run(sys.maxsize, reports.append)
    assert trainer.finished
    assert list(dict.fromkeys(report.stage for report in reports)) == [
        "reconstruction",
        "adversarial",
        "refine",
    ]
    assert reports[-1].rate < 0.5


def test_the_minutes_spent_survive_a_stop(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    trainer = Trainer(recipe, ToneBatches(recipe), tmp_path, ALONE, minutes=60)
    trainer.run(2, lambda _report: None)
    resumed = Trainer(recipe, ToneBatches(recipe), tmp_path, ALONE, minutes=60)
    resumed.resume(checkpoint_path(tmp_path, 2))
    assert resumed.spent_seconds == trainer.spent_seconds > 0


def test_losses_fall_and_books_are_used(tmp_path: Path) -> None:
    stages = [{"kind": "reconstruction", "steps": 120, "unquantized_steps": 10}]
    recipe = tiny_recipe(stages=stages, checkpoint={"every_steps": 1000})
    reports: list[Report] = []
    trainer = Trainer(recipe, ToneBatches(recipe), tmp_path, ALONE)
    trainer.run(recipe.total_steps, reports.append)
    early = sum(report.terms["mel"] for report in reports[12:32])
    late = sum(report.terms["mel"] for report in reports[-20:])
    assert late < 0.8 * early
    codes = torch.cat([report.codes.reshape(-1, 4) for report in reports[-20:]])
    assert all(len(torch.unique(codes[:, book])) >= 12 for book in range(4))


def test_refining_changes_no_token(tmp_path: Path) -> None:
    recipe = tiny_recipe(stages=STAGES)
    trainer = Trainer(recipe, ToneBatches(recipe), tmp_path, ALONE)
    trainer.run(12, lambda _report: None)
    before = {k: v.clone() for k, v in trainer.codec.state_dict().items() if torch.is_tensor(v)}
    trainer.run(16, lambda _report: None)
    after = trainer.codec.state_dict()
    changed = {name.split(".")[0] for name, value in before.items() if not value.equal(after[name])}
    assert changed == {"decoder"}


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    Trainer(recipe, ToneBatches(recipe), tmp_path, ALONE).run(8, lambda _report: None)
    assert sorted(p.name for p in tmp_path.glob("*.pt")) == ["step-00000006.pt", "step-00000008.pt"]


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "step-00000001.pt"
    path.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ConfigError, match="cannot read checkpoint"):
        load_checkpoint(path)


# --- a real process, killed -------------------------------------------------------------


def start_run(folder: Path, recipe: Path, corpus: Path) -> subprocess.Popen[bytes]:
    program = (
        "import sys; from pathlib import Path; from grove.training.train import RunOptions, train\n"
        "train(Path(sys.argv[1]), RunOptions(*map(Path, sys.argv[2:5])))"
    )
    arguments = [str(recipe), str(corpus), str(folder), str(folder.parent / "cache")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", program, *arguments], env=environment)


def scalars(folder: Path) -> list[dict[str, float]]:
    text = (folder / "scalars.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_resumes_to_the_losses_of_the_unbroken_run(
    tmp_path: Path, kill: signal.Signals
) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    recipe = tmp_path / "tiny.yaml"
    stages = [{"kind": "reconstruction", "steps": 60, "unquantized_steps": 2}]
    recipe.write_text(tiny_recipe(stages=stages).model_dump_json())  # JSON is YAML
    assert start_run(tmp_path / "whole", recipe, corpus).wait(120) == 0
    killed = start_run(tmp_path / "killed", recipe, corpus)
    deadline = time.monotonic() + 60
    while latest_checkpoint(tmp_path / "killed") is None and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.send_signal(kill)
    assert killed.wait(60) == (0 if kill == signal.SIGTERM else -signal.SIGKILL)
    stopped_at = latest_checkpoint(tmp_path / "killed")
    assert stopped_at is not None
    assert load_checkpoint(stopped_at)["step"] < 60
    assert start_run(tmp_path / "killed", recipe, corpus).wait(120) == 0
    assert scalars(tmp_path / "killed") == scalars(tmp_path / "whole")


# --- two ranks --------------------------------------------------------------------------


def _rank_main(rank: int, port: int, folder: str, recipe: Recipe) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    ranks = Ranks(rank, 2, torch.device("cpu"))
    trainer = Trainer(recipe, ToneBatches(recipe, rank, 2), Path(folder), ranks)
    # The books start alike from one process's checkpoint: k-means draws differ between worlds.
    trainer.resume(checkpoint_path(Path(folder), 4))
    losses = losses_of(trainer, recipe.total_steps)
    if rank == 0:
        (Path(folder) / "losses.json").write_text(json.dumps(losses))
    dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.slow
def test_two_ranks_train_as_one_process_with_the_same_global_batch(tmp_path: Path) -> None:
    stages = [RECONSTRUCTION, {"kind": "adversarial", "steps": 4, "adversary": ADVERSARY}]
    recipe = tiny_recipe(stages=stages, checkpoint={"every_steps": 4, "keep_last": 9})
    alone = losses_of(Trainer(recipe, ToneBatches(recipe), tmp_path, ALONE), recipe.total_steps)
    spawned = mp.spawn(_rank_main, (_free_port(), str(tmp_path), recipe), nprocs=2, join=False)
    while not spawned.join(60):
        pass
    together = json.loads((tmp_path / "losses.json").read_text())
    assert len(together) == len(alone[4:]) == 8
    for expected, found in zip(alone[4:], together, strict=True):
        for name in ("mel", "stft", "wave", "commitment"):
            assert found[name] == pytest.approx(expected[name], rel=1e-3), name
