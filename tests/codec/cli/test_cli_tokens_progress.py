"""The line that says how far a run is."""

import re
from pathlib import Path

import pytest
from corpus_cases import BUNDLE, make_corpus, request

from grove.codec.arrays import F32
from grove.codec.cli.tokens_progress import ProgressLine
from grove.codec.tokens.records import Row, ShardRecord
from grove.codec.tokens.run import Outlook, tokenize


class Recorded(ProgressLine):
    """Keeps every line that could have been shown."""

    def __init__(self) -> None:
        super().__init__(BUNDLE.spec, is_shown=False)
        self.lines: list[str] = []

    def row(self, row: Row) -> None:
        super().row(row)
        self.lines.append(self._line())

    def shard(self, record: ShardRecord) -> None:
        super().shard(record)
        self.lines.append(self._line())


@pytest.mark.parametrize("items_per_shard", [2, 100])
def test_rows_audio_speed_and_the_time_left_are_told_from_the_first_row_on(
    clips: list[F32], tmp_path: Path, items_per_shard: int
) -> None:
    progress = Recorded()
    corpus = make_corpus(tmp_path / "corpus", clips, count=5)
    tokenize(request(corpus, tmp_path / "t", items_per_shard=items_per_shard), progress)
    *before, last = progress.lines
    assert [int(re.findall(r"(\d+) rows", line)[0]) for line in before] == sorted(
        int(re.findall(r"(\d+) rows", line)[0]) for line in before
    )
    for line in before:
        assert re.search(r"h of audio, \d+x real time, \d errors, \d+:\d\d:\d\d left$", line), line
    shards = -(-8 // items_per_shard)
    assert re.match(rf"{shards}/{shards} shards, 8 rows, .* 3 errors$", last)


def test_nothing_is_foretold_before_anything_is_done() -> None:
    progress = Recorded()
    progress.begin(Outlook(items=10, shards=1, shards_here=1, shards_done=0))
    assert "left" not in progress._line()
