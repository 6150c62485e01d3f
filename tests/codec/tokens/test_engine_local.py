"""A pool of processes gets over the loss of one, and not over one that dies each time."""

import multiprocessing
import os
import signal
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import pytest
from corpus_cases import contents, make_corpus, request

from grove.codec.arrays import F32
from grove.codec.tokens import engine_local
from grove.codec.tokens.records import ShardRecord, TokensError
from grove.codec.tokens.run import Watcher, tokenize
from grove.codec.tokens.shards import ShardTask


class Killer(Watcher):
    """Kills a worker when the first shard is there."""

    killed = 0

    def shard(self, record: ShardRecord) -> None:  # noqa: ARG002 - any will do
        if not self.killed and (child := next(iter(multiprocessing.active_children()), None)):
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
            self.killed += 1


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_no_results(clips: list[F32], tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", clips, count=40)
    killer = Killer()
    plain = request(corpus, tmp_path / "pool", items_per_shard=2)
    assert tokenize(replace(plain, workers=2), killer) is not None
    assert killer.killed == 1
    tokenize(request(corpus, tmp_path / "alone", items_per_shard=2))
    assert contents(tmp_path / "pool") == contents(tmp_path / "alone")


def test_workers_that_keep_dying_are_reported_with_the_shard(
    clips: list[F32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def dies(tasks: Sequence[ShardTask], workers: int) -> None:
        calls.append(len(tasks))
        raise BrokenProcessPool(f"{workers} workers are gone")

    monkeypatch.setattr(engine_local, "_pooled", dies)
    corpus = make_corpus(tmp_path / "corpus", clips, count=2)
    with pytest.raises(TokensError, match="died 4 times in a row, the next shard is 0"):
        tokenize(replace(request(corpus, tmp_path / "t"), workers=2))
    assert calls == [2, 2, 2, 2]
