"""What docs/tokens.md shows runs, and its tables are complete."""

import re
from pathlib import Path

import numpy as np
import pytest
from corpus_cases import make_corpus

from grove.codec.arrays import F32
from grove.codec.cli import commands as cli
from grove.codec.tokens.records import FORMATS, RowMeta

TEXT = (Path(__file__).parents[3] / "docs" / "tokens.md").read_text()


def test_the_python_blocks_run_one_after_the_other(clips: list[F32]) -> None:
    # What datasets and lhotse read is tested in test_other_readers.
    blocks = [
        block
        for block in re.findall(r"```python\n(.*?)```", TEXT, re.S)
        if not re.match("from (datasets|lhotse) ", block)
    ]
    assert len(blocks) == 4
    names: dict[str, object] = {
        "waveforms": np.stack([clips[0][:16_000], clips[1][:16_000]]),
        "mask": np.ones((2, 16_000), np.int64),
        "chunk": clips[0][:8_000],
        "codes": np.zeros((5, 4), np.uint16),
    }
    for index in (0, 1, 3, 2):
        exec(blocks[index], names)


def test_the_first_commands_run_as_written(
    clips: list[F32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_corpus(tmp_path / "recordings", clips, count=3)
    (tmp_path / "recordings" / "speaker 0").rename(tmp_path / "recordings" / "speaker-1")
    (tmp_path / "recordings" / "speaker-1" / "clip-000.flac").rename(
        tmp_path / "recordings" / "speaker-1" / "hello.flac"
    )
    monkeypatch.chdir(tmp_path)
    block = TEXT.partition("```sh\n")[2].partition("```")[0]
    codes = [cli.main(line.split()[1:]) for line in block.strip().splitlines()]
    assert codes == [3, 0, 0, 0]
    assert [path.name for path in (tmp_path / "heard").rglob("*.wav")] == ["hello.wav"]
    assert (tmp_path / "books.png").is_file()


def test_every_column_and_format_is_described() -> None:
    described = set(re.findall(r"`([a-z0-9_]+)`", TEXT))
    assert set(RowMeta.model_fields) <= described
    assert set(FORMATS) <= described
