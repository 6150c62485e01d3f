"""Memory does not grow with the corpus, nor with the length of a file."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from grove.codec.arrays import F32

SCRIPT = """
import sys
from pathlib import Path
from grove.codec.bench.timing import peak_rss_bytes
from grove.codec.bundle import load_bundle
from grove.codec.tokens.records import TokenizeSettings
from grove.codec.tokens.run import Request, tokenize

bundle = load_bundle()
settings = TokenizeSettings(levels=bundle.spec.levels, items_per_shard=64, row_seconds=60)
tokenize(Request((sys.argv[1],), Path(sys.argv[2]), bundle, settings))
print(peak_rss_bytes())
"""


def peak_bytes(source: Path, out: Path) -> int:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(source), str(out)],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def write_long(path: Path, pcm: F32, minutes: int) -> Path:
    with soundfile.SoundFile(path, "w", 24_000, 1, "PCM_16") as file:
        written = 0
        while written < minutes * 60 * 24_000:
            file.write(pcm)
            written += len(pcm)
    return path


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_file(clips: list[F32], tmp_path: Path) -> None:
    pcm = np.concatenate(clips)
    short = peak_bytes(write_long(tmp_path / "short.wav", pcm, 10), tmp_path / "a")
    long = peak_bytes(write_long(tmp_path / "long.wav", pcm, 30), tmp_path / "b")
    assert long < 1.05 * short, f"{long >> 20} MiB for 30 minutes, {short >> 20} MiB for 10"


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(clips: list[F32], tmp_path: Path) -> None:
    for index in range(100):
        soundfile.write(tmp_path / f"{index}.wav", clips[index % len(clips)][:24_000], 24_000)
    lists = {count: tmp_path / f"{count}.txt" for count in (100, 1_000)}
    for count, path in lists.items():
        path.write_text("".join(f"{index % 100}.wav\n" for index in range(count)))
    few, many = (peak_bytes(path, tmp_path / path.stem) for path in lists.values())
    assert many < 1.05 * few, f"{many >> 20} MiB for 1,000 sources, {few >> 20} MiB for 100"
