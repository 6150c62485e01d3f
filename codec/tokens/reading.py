"""A folder of tokens, read back: its shards, and their rows in order."""

from collections.abc import Iterator
from pathlib import Path

from grove.codec.tokens.records import Row, RunFile, ShardRecord, TokensError, shard_stem
from grove.codec.tokens.run import read_run
from grove.codec.tokens.shard_files import read_shard
from grove.codec.tokens.shards import read_record


class TokenFolder:
    """What `grove tokenize` wrote."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run: RunFile = read_run(path)

    def record(self, number: int) -> ShardRecord:
        """Return the record of a shard that must be there."""
        record = read_record(self.path, number)
        if record is None:
            raise TokensError(
                f"{self.path} lacks shard {number} of {self.run.shards}",
                hint="complete it with grove tokenize --resume",
            )
        return record

    def shard_rows(self, number: int) -> Iterator[Row]:
        """Yield the rows of one shard; refuse one that ends early."""
        run, expected, count = self.run, self.record(number).rows, 0
        for row in read_shard(run.settings.format, self.path, shard_stem(number), run.card):
            count += 1
            yield row
        if count != expected:
            raise TokensError(
                f"{self.path / shard_stem(number)} has {count} rows, its record says {expected}"
            )

    def rows(self) -> Iterator[Row]:
        """Yield all rows."""
        for number in range(self.run.shards):
            yield from self.shard_rows(number)
