"""One training run: the loop, and everything a checkpoint has to hold to continue it exactly."""

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from grove.codec.model.codec import CodecNetwork
from grove.codec.model.layers import Trunk
from grove.training.average import WeightAverage
from grove.training.checkpoint import (
    checkpoint_path,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)
from grove.training.config import Recipe, ReconstructionStage
from grove.training.data.sampler import BatchSource
from grove.training.draws import generator
from grove.training.dropout import draw_carried
from grove.training.objective import Objective, Pair, freeze_tokens, start_books
from grove.training.optimizers import rate_factor, set_rate_factor
from grove.training.ranks import Ranks
from grove.training.schedule import Position, locate

_log = logging.getLogger(__name__)

_BOOK_START_BATCHES = 24
_DRAW_LEVELS, _DRAW_SCALES, _DRAW_TORCH = 1, 2, 3


class Report(NamedTuple):
    """One step as numbers."""

    step: int
    stage: str
    rate: float
    terms: dict[str, float]
    codes: Tensor  # [B, T, K]


class Trainer:
    """Holds the run's state; `run` moves it forward."""

    def __init__(
        self,
        recipe: Recipe,
        batches: BatchSource,
        folder: Path,
        ranks: Ranks,
        minutes: float | None = None,
    ) -> None:
        self.recipe = recipe
        self.minutes = minutes
        self.spent_seconds = 0.0
        self.batches = batches
        self.folder = folder
        self.ranks = ranks
        self.step = 0
        self.stop_asked = False
        torch.set_num_threads(recipe.threads)
        torch.manual_seed(recipe.seed)
        self.codec = CodecNetwork(recipe.codec).to(ranks.device)
        half_precision_trunks(self.codec, recipe.precision == "bf16", ranks.device)
        self.average = WeightAverage(self.codec, recipe.ema_decay)
        self.position = locate(recipe, 0)
        self.objective = self._enter(self.position)

    def run(self, until: int, after_step: Callable[[Report], None]) -> None:
        """Train up to step `until`, or until asked to stop; save at intervals and at the end.

        A run of minutes ends when they are spent, however many steps that makes.
        """
        with self._stopping_on_signals():
            while not (self.finished or self.step >= until or self.stop_asked):
                begun = time.monotonic()
                report = self.train_step()
                self.step += 1
                self.spent_seconds += time.monotonic() - begun
                after_step(report)
                if self.step % self.recipe.checkpoint.every_steps == 0:
                    self.save()
        self.save()

    @property
    def finished(self) -> bool:
        """Whether the schedule has come to its end, by steps or by the clock."""
        if self.minutes is None:
            return self.step >= self.recipe.total_steps
        return self.spent_seconds >= 60 * self.minutes

    def _scheduled(self) -> int:
        """Return the step of the recipe's schedule that it is time for."""
        total = self.recipe.total_steps
        if self.minutes is None:
            return min(self.step, total - 1)
        return min(int(self.spent_seconds / (60 * self.minutes) * total), total - 1)

    def train_step(self) -> Report:
        """Learn from the batch of the current step."""
        position = locate(self.recipe, self._scheduled())
        # Also what a new stage's discriminators start from depends on the step alone.
        torch.manual_seed(int(self._draws(_DRAW_TORCH).integers(2**62)))
        if position.number != self.position.number:
            self.objective = self._enter(position)
        self.position = position
        factor = rate_factor(position.stage.optimizer, position.step, position.stage.steps)
        self._start_books_in_time(position)
        reference = self.crops(self.step)
        output, terms = self._learn(reference, position, factor)
        self.average.update(self.codec)
        numbers = {name: float(term) for name, term in self.ranks.mean(terms).items()}
        return Report(self.step, position.stage.name, factor, numbers, output)

    def _learn(
        self, reference: Tensor, position: Position, factor: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        objective = self.objective
        levels, unquantized = self._carried(reference, position)
        output = self.codec(reference, levels, unquantized)
        terms: dict[str, Tensor] = {}
        adversary = objective.adversary
        if adversary is not None and self.step % adversary.config.every_steps == 0:
            rate = rate_factor(adversary.config.optimizer, position.step, position.stage.steps)
            terms |= adversary.learn(output.pcm.detach(), reference, self.ranks, rate)
        heard = adversary is not None and position.step >= adversary.config.head_start_steps
        pair = Pair(reference, levels)
        losses = objective.codec_losses(output, pair, self._scales(), heard, self.ranks)
        for optimizer in objective.optimizers:
            optimizer.zero_grad(set_to_none=True)
        losses.total.backward()  # type: ignore[no-untyped-call]
        trainable = [p for p in self.codec.parameters() if p.requires_grad]
        self.ranks.average_gradients(trainable)
        norm = torch.nn.utils.clip_grad_norm_(trainable, position.stage.optimizer.grad_clip)
        set_rate_factor(objective.optimizers, factor)
        if bool(torch.isfinite(norm)):
            for optimizer in objective.optimizers:
                optimizer.step()
        return output.codes, {**losses.terms, **terms, "gradient_norm": norm}

    def _carried(self, reference: Tensor, position: Position) -> tuple[Tensor, Tensor]:
        """Return levels [B, T] and unquantized [B] of this rank's share of the batch."""
        frames = self.codec.frames(reference.shape[1])
        drawn = draw_carried(
            self.recipe.dropout,
            self.codec.quantizer.levels,
            (self.recipe.batch, frames),
            self._draws(_DRAW_LEVELS),
        )
        mine = self.ranks.share(self.recipe.batch)
        unquantized = drawn.unquantized[mine]
        if _before_books(position):
            unquantized = torch.ones_like(unquantized)
        device = reference.device
        return drawn.levels[mine].to(device), unquantized.to(device)

    def _scales(self) -> list[int]:
        losses = self.objective.losses
        drawn = self._draws(_DRAW_SCALES).permutation(len(losses.scales))
        return [int(index) for index in drawn[: losses.scales_per_step]]

    def _draws(self, purpose: int) -> Any:  # noqa: ANN401 - a numpy Generator
        return generator(self.recipe.seed, purpose, self.step)

    def crops(self, step: int) -> Tensor:
        return torch.from_numpy(self.batches.batch(step)).to(self.ranks.device)

    def _start_books_in_time(self, position: Position) -> None:
        if self.codec.quantizer.ready or _before_books(position):
            return
        crops = [self.crops(self.recipe.total_steps + n) for n in range(_BOOK_START_BATCHES)]
        start_books(self.codec, crops)

    def _enter(self, position: Position) -> Objective:
        self.codec.train()
        # First: the optimizers take what may learn.
        freeze_tokens(self.codec, position.stage)
        return Objective(self.codec, position.stage).to(self.ranks.device)

    # --- saving and resuming ------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint of the current step, on the first rank only."""
        if not self.ranks.first:
            return
        save_checkpoint(checkpoint_path(self.folder, self.step), self.content())
        prune_checkpoints(self.folder, self.recipe.checkpoint.keep_last)

    def content(self) -> dict[str, Any]:
        """Return all that the next step depends on, as tensors and plain values."""
        return {
            "step": self.step,
            "spent_seconds": self.spent_seconds,
            "stage": self.position.number,
            "recipe": self.recipe.model_dump_json(),
            "codec": self.codec.state_dict(),
            "average": self.average.weights,
            "average_steps": self.average.steps,
            "optimizers": [optimizer.state_dict() for optimizer in self.objective.optimizers],
            "adversary": self.objective.adversary and self.objective.adversary.content(),
            "balance": [self.objective.balancer.norms, self.objective.balancer.steps],
        }

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint as if the run had never stopped."""
        content = load_checkpoint(path)
        self.step = content["step"]
        self.spent_seconds = content["spent_seconds"]
        self.codec.load_state_dict(content["codec"])
        # A checkpoint of a stage's last step belongs to that stage; the next one starts anew.
        first = sum(stage.steps for stage in self.recipe.stages[: content["stage"]])
        self.position = locate(self.recipe, first)
        self.objective = self._enter(self.position)
        device = self.ranks.device
        self.average.weights = {k: v.to(device) for k, v in content["average"].items()}
        self.average.steps = content["average_steps"]
        for optimizer, state in zip(self.objective.optimizers, content["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        if self.objective.adversary is not None:
            self.objective.adversary.load(content["adversary"])
        self.objective.balancer.norms, self.objective.balancer.steps = content["balance"]

    def warm_start(
        self, weights: dict[str, Tensor], discriminators: dict[str, Tensor] | None = None
    ) -> None:
        """Take the weights of another run, at step zero, as far as they fit."""
        self.codec.load_state_dict(fitting(weights, self.codec), strict=False)
        if self.objective.adversary is not None and discriminators is not None:
            self.objective.adversary.take(discriminators)
        self.average = WeightAverage(self.codec, self.recipe.ema_decay)

    @contextmanager
    def _stopping_on_signals(self) -> Iterator[None]:
        """Let SIGTERM and Ctrl-C end the run after the step in hand, with a checkpoint."""

        def ask(_signal: int, _frame: FrameType | None) -> None:
            self.stop_asked = True

        old = [(number, signal.signal(number, ask)) for number in (signal.SIGTERM, signal.SIGINT)]
        try:
            yield
        finally:
            for number, handler in old:
                signal.signal(number, handler)


def _before_books(position: Position) -> bool:
    stage = position.stage
    return isinstance(stage, ReconstructionStage) and position.step < stage.unquantized_steps


def fitting(weights: dict[str, Tensor], codec: CodecNetwork) -> dict[str, Tensor]:
    """Return those of `weights` that have a place in `codec`; its books only if all of them have.

    Books of another layout would be nonsense with the rest of theirs missing: they start anew.
    """
    own = codec.state_dict()
    found = {
        name: value
        for name, value in weights.items()
        if name in own and own[name].shape == value.shape
    }
    lost = sorted(set(own) - set(found))
    if any(name.startswith("quantizer.") for name in lost):
        found = {name: value for name, value in found.items() if not name.startswith("quantizer.")}
    if lost:
        _log.info("starting anew, not warm: %s", ", ".join(lost))
    return found


def half_precision_trunks(codec: CodecNetwork, enabled: bool, device: torch.device) -> None:
    """Run the trunks, where the arithmetic is, in bfloat16; all else stays in float32."""
    if not enabled:
        return
    trunks = [module for module in codec.modules() if isinstance(module, Trunk)]
    for trunk in trunks:
        autocast = torch.autocast(device.type, dtype=torch.bfloat16)
        trunk.forward = autocast(trunk.forward)  # type: ignore[method-assign]
