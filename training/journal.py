"""The journal of a run: progress, a log, TensorBoard, a summary file."""

import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Self, TextIO

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from grove.codec.atomic import atomic_file
from grove.codec.books import book_use, histograms
from grove.codec.model.codec import CodecNetwork
from grove.training.config import Recipe
from grove.training.data.clips import Clip
from grove.training.evaluation.plots import spectrogram_comparison
from grove.training.trainer import Report
from grove.training.validation import LevelScores, borrowed_weights, decoded

_LINES_PER_LOG_ENTRY = 10
_KEPT_CODES = 100


class Journal:
    """Written by the first rank only; the others hold none."""

    def __init__(self, recipe: Recipe, folder: Path, start_step: int) -> None:
        self.recipe, self.folder, self.start_step = recipe, folder, start_step
        self.started = time.monotonic()
        self.sums: dict[str, float] = defaultdict(float)
        self.count = 0
        self.codes: list[Tensor] = []
        self.log = (folder / "log.txt").open("a", encoding="utf-8")
        self.scalars = _continued(folder / "scalars.jsonl", start_step)
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=start_step)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        total = recipe.total_steps
        self.task = self.bar.add_task(recipe.name, total=total, completed=start_step, rate="")

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.bar.stop()
        self.board.close()
        self.scalars.close()
        self.log.close()

    def step(self, report: Report, code_sizes: tuple[int, ...]) -> None:
        """Take in one step; every so many, write what they were on average."""
        for name, value in report.terms.items():
            self.sums[name] += value
        self.count += 1
        self.codes = [*self.codes[-_KEPT_CODES + 1 :], report.codes.detach().cpu()]
        done = report.step + 1
        rate = (done - self.start_step) / (time.monotonic() - self.started)
        self.bar.update(self.task, completed=done, rate=f"{rate:.2f} steps/s")
        if done % self.recipe.logging.every_steps == 0:
            self._write_scalars(report, rate, code_sizes)

    def validation(self, step: int, scores: list[LevelScores]) -> None:
        for at in scores:
            for name, value in at._asdict().items():
                if name != "level":
                    self.board.add_scalar(f"validation/{name}/level-{at.level}", value, step)
        levels = "  ".join(
            f"L{s.level} pesq {s.pesq_wb:.3f} stoi {s.stoi:.3f} mel {s.log_mel:.3f}" for s in scores
        )
        self._write_line(f"validation {step}  {levels}")
        summary = {
            "step": step,
            "of_steps": self.recipe.total_steps,
            "seconds": round(time.monotonic() - self.started, 1),
            "since_step": self.start_step,
            "scores": [s._asdict() for s in scores],
        }
        text = json.dumps(summary, indent=1)
        (self.folder / "summary.json").write_text(text + "\n", encoding="utf-8")

    def media(
        self, step: int, codec: CodecNetwork, weights: dict[str, Tensor], clips: tuple[Clip, ...]
    ) -> None:
        """Write pictures and audio of fixed clips, original and decoded with all levels."""
        rate_hz = codec.config.sample_rate_hz
        with borrowed_weights(codec, weights):
            for index, clip in enumerate(clips[: self.recipe.logging.media_clips]):
                output = decoded(codec, clip.samples, codec.quantizer.levels)
                picture = spectrogram_comparison({"original": clip.samples, "decoded": output})
                self.board.add_figure(f"spectrogram/{index}", picture, step)
                self.board.add_audio(f"audio/{index}", output[None], step, rate_hz)

    def _write_scalars(self, report: Report, rate: float, code_sizes: tuple[int, ...]) -> None:
        done = report.step + 1
        means = {name: total / self.count for name, total in self.sums.items()}
        entry = {"step": done, "stage": report.stage, "rate_factor": report.rate, **means}
        self.scalars.write(json.dumps(entry) + "\n")
        self.scalars.flush()
        for name, value in means.items():
            self.board.add_scalar(f"train/{name}", value, done)
        if done % (_LINES_PER_LOG_ENTRY * self.recipe.logging.every_steps) == 0:
            shown = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
            books = self._write_books(done, code_sizes)
            self._write_line(f"{report.stage} {done}  {rate:.2f} steps/s  {shown}  books {books}")
        self.sums.clear()
        self.count = 0

    def _write_books(self, step: int, code_sizes: tuple[int, ...]) -> str:
        """Chart the books of the last steps; return use and entropy of the weakest, as text."""
        flat = torch.cat([codes.reshape(-1, codes.shape[-1]) for codes in self.codes])
        books = book_use(histograms(flat.numpy(), code_sizes))
        for index, book in enumerate(books):
            self.board.add_scalar(f"books/used/{index}", book.used_share, step)
            self.board.add_scalar(f"books/entropy/{index}", book.entropy, step)
        used = min(book.used_share for book in books)
        entropy = min(book.entropy for book in books)
        return f"≥ {used:.1%} used, entropy ≥ {entropy:.3f}"

    def _write_line(self, line: str) -> None:
        self.log.write(line + "\n")
        self.log.flush()


def _continued(path: Path, start_step: int) -> TextIO:
    """Open the scalars for appending, without what a killed run wrote past its checkpoint."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= start_step]
    with atomic_file(path, overwrite=True) as file:
        file.write("".join(f"{line}\n" for line in kept).encode())
    return path.open("a", encoding="utf-8")
