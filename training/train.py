"""`grove train`: sets a run up, runs it, and keeps its folder."""

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from grove.codec.errors import ConfigError
from grove.training.checkpoint import BEST, latest_checkpoint, load_checkpoint, save_checkpoint
from grove.training.config import Recipe, load_recipe
from grove.training.data.cache import AudioCache, build_cache
from grove.training.data.sampler import BatchSampler, Prefetcher
from grove.training.journal import Journal
from grove.training.linear_path import start_linear_path
from grove.training.memory import keep_freed_memory
from grove.training.ranks import Ranks, join_ranks
from grove.training.trainer import Report, Trainer
from grove.training.validation import LevelScores, Validator

_LINEAR_PATH_BATCHES = 24


class RunOptions(NamedTuple):
    """What the command line adds to a recipe."""

    data: Path
    folder: Path
    cache: Path
    warm_start: Path | None = None
    steps: int | None = None
    """Stop after this step, without touching the schedule."""
    minutes: float | None = None
    """Lay the schedule over this much time in steps, however many steps that makes."""


def train(recipe_path: Path, options: RunOptions) -> None:
    """Start the run in `options.folder`, or continue it from its last checkpoint."""
    keep_freed_memory()
    recipe = load_recipe(recipe_path)
    ranks = join_ranks()
    options.folder.mkdir(parents=True, exist_ok=True)
    if ranks.first:
        write_run_facts(recipe, options.folder)
    cache = open_data(recipe, options, ranks)
    sampler = BatchSampler(cache, recipe, recipe.seed, ranks.rank, ranks.world)
    until = options.steps or sys.maxsize
    with ExitStack() as stack:
        batches = stack.enter_context(Prefetcher(sampler)) if recipe.data.prefetch else sampler
        trainer = Trainer(recipe, batches, options.folder, ranks, options.minutes)
        begin(trainer, options)
        if not ranks.first:
            trainer.run(until, lambda _report: None)
            return
        journal = stack.enter_context(Journal(recipe, options.folder, trainer.step))
        trainer.run(until, Watcher(trainer, Validator(cache, recipe), journal))


def open_data(recipe: Recipe, options: RunOptions, ranks: Ranks) -> AudioCache:
    """Open the cache of the run's audio, decoding it first where it is new."""
    own = recipe.data.shards_per_rank and ranks.world > 1
    return build_cache(
        options.data,
        options.cache / f"rank-{ranks.rank}-of-{ranks.world}" if own else options.cache,
        recipe.codec.sample_rate_hz,
        shards=recipe.data.shards,
        rank=ranks.rank if own else 0,
        world=ranks.world if own else 1,
        validation_share=recipe.data.validation_share,
    )


def begin(trainer: Trainer, options: RunOptions) -> None:
    """Resume, warm-start, or start from principal axes."""
    last = latest_checkpoint(options.folder)
    if last is not None:
        trainer.resume(last)
    elif options.warm_start is not None:
        content = load_checkpoint(options.warm_start)
        trainer.warm_start(content["codec"], content.get("discriminators"))
    else:
        crops = [trainer.crops(trainer.recipe.total_steps + n) for n in range(_LINEAR_PATH_BATCHES)]
        start_linear_path(trainer.codec, crops)


class Watcher:
    """Logs steps, validates at intervals, keeps the best weights."""

    def __init__(self, trainer: Trainer, validator: Validator, journal: Journal) -> None:
        self.trainer, self.validator, self.journal = trainer, validator, journal
        self.best = best_merit(trainer.folder)

    def __call__(self, report: Report) -> None:
        recipe, done = self.trainer.recipe, self.trainer.step
        self.journal.step(report, self.trainer.codec.quantizer.code_sizes)
        is_last = self.trainer.finished
        if done % recipe.validation.every_steps == 0 or is_last:
            self.validate(done)
        if done % recipe.logging.media_every_steps == 0 or is_last:
            weights = self.trainer.average.weights
            self.journal.media(done, self.trainer.codec, weights, self.validator.clips)

    def validate(self, step: int) -> None:
        codec, weights = self.trainer.codec, self.trainer.average.weights
        scores = self.validator.scores(codec, weights)
        self.journal.validation(step, scores)
        if merit(scores) > self.best:
            self.best = merit(scores)
            state = self.trainer.average.model_state(codec)
            content = {"step": step, "merit": self.best, "codec": state}
            recipe = self.trainer.recipe.model_dump_json()
            save_checkpoint(self.trainer.folder / BEST, {**content, "recipe": recipe})


def merit(scores: list[LevelScores]) -> float:
    """Return one number to choose the best checkpoint by: PESQ and ten times STOI, over levels."""
    return sum(s.pesq_wb + 10 * s.stoi for s in scores) / len(scores)


def best_merit(folder: Path) -> float:
    path = folder / BEST
    return float(load_checkpoint(path)["merit"]) if path.exists() else float("-inf")


def write_run_facts(recipe: Recipe, folder: Path) -> None:
    """Keep the resolved recipe and the revision; refuse to continue another recipe's run."""
    path = folder / "recipe.json"
    facts = json.loads(recipe.model_dump_json())
    # As values: another version of the code may list the same settings in another order.
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != facts:
        raise ConfigError(
            f"{folder} holds a run of another recipe",
            hint="choose another --out folder, or restore the recipe to continue",
        )
    path.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    with (folder / "revisions.txt").open("a", encoding="utf-8") as file:
        file.write(git_revision() + "\n")


def git_revision() -> str:
    """Return the commit that runs, marked where the tree differs from it."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()
