"""How far a run is: one line on the terminal, or one every half minute in a log."""

import sys
import time
from types import TracebackType
from typing import Self

from grove.codec.cli.report import log
from grove.codec.config import CodecSpec
from grove.codec.tokens.records import Manifest, Row, ShardRecord
from grove.codec.tokens.run import Outlook, Watcher

_TERMINAL_EVERY_S = 0.5
_LOG_EVERY_S = 30


class ProgressLine(Watcher):
    """Counts rows where they are made, and shards wherever they are."""

    def __init__(self, spec: CodecSpec, is_shown: bool) -> None:
        self.errors = 0
        self._rate_hz = spec.sample_rate_hz
        self._is_shown = is_shown
        self._is_terminal = sys.stderr.isatty()
        self._outlook = Outlook(0, 0, 0, 0)
        self._began_s = self._said_s = time.monotonic()
        self._shards = 0
        self._samples = 0
        """Of finished shards; `_samples_ahead` of the one at work in this process."""
        self._samples_ahead = 0
        self._rows = self._rows_ahead = 0

    def begin(self, outlook: Outlook) -> None:
        self._outlook = outlook
        self._began_s = time.monotonic()

    def row(self, row: Row) -> None:
        self._samples_ahead += row.meta.num_samples
        self._rows_ahead += 1
        self._say(is_due=False)

    def shard(self, record: ShardRecord) -> None:
        self._shards += 1
        self._rows += record.rows
        self._samples += record.samples
        self._samples_ahead = self._rows_ahead = 0
        self.errors += len(record.ledger)
        self._say(is_due=False)

    def summary(self, manifest: Manifest | None) -> str:
        """Return the last line."""
        state = "complete" if manifest is not None else "other runs have shards to make"
        return f"{self._line()}; {state}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_shown and self._is_terminal:
            sys.stderr.write("\r\x1b[K")

    def _say(self, is_due: bool) -> None:
        now_s = time.monotonic()
        every_s = _TERMINAL_EVERY_S if self._is_terminal else _LOG_EVERY_S
        if not self._is_shown or (not is_due and now_s - self._said_s < every_s):
            return
        self._said_s = now_s
        if self._is_terminal:
            sys.stderr.write(f"\r\x1b[K{self._line()}")
            sys.stderr.flush()
        else:
            log(self._line())

    def _line(self) -> str:
        outlook = self._outlook
        elapsed_s = max(time.monotonic() - self._began_s, 1e-3)
        audio_s = (self._samples + self._samples_ahead) / self._rate_hz
        to_do = outlook.shards_here - outlook.shards_done
        line = (
            f"{outlook.shards_done + self._shards}/{outlook.shards_here} shards, "
            f"{self._rows + self._rows_ahead} rows, {audio_s / 3600:.2f} h of audio, "
            f"{audio_s / elapsed_s:.0f}x real time, {self.errors} errors"
        )
        done = self._shards + self._share_ahead()
        if 0 < done < to_do:
            left_s = round(elapsed_s / done * (to_do - done))
            line += f", {left_s // 3600}:{left_s // 60 % 60:02d}:{left_s % 60:02d} left"
        return line

    def _share_ahead(self) -> float:
        """Return how much of the shard at work is done; 0 where shards are tars of any length."""
        items = self._outlook.items / max(1, self._outlook.shards)
        return min(0.99, self._rows_ahead / items) if items >= 2 else 0
