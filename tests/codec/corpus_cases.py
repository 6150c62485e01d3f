"""Small corpora with everything that corpora have: other rates, short clips, broken files."""

import io
import tarfile
from pathlib import Path

import numpy as np
import soundfile

from grove.codec.arrays import F32
from grove.codec.bundle import load_bundle
from grove.codec.tokens.records import Format, TokenizeSettings
from grove.codec.tokens.run import Request

BUNDLE = load_bundle()


def speech(clips: list[F32], seconds: float, seed: int) -> F32:
    """Return a piece of real speech."""
    samples = np.concatenate(clips)
    length = max(1, round(seconds * 24_000))
    start = np.random.default_rng(seed).integers(len(samples) - length)
    return samples[start : start + length]


def make_corpus(folder: Path, clips: list[F32], count: int = 12) -> Path:
    """Write `count` good files in two folders and formats, and three that are not."""
    rng = np.random.default_rng(count)
    for index in range(count):
        path = (
            folder / f"speaker {index % 2}" / f"clip-{index:03d}.{'wav' if index % 3 else 'flac'}"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        pcm = speech(clips, float(rng.uniform(0.0, 1.5)), index)
        rate_hz = 24_000 if index % 4 else 16_000
        soundfile.write(path, np.stack([pcm, pcm], 1) if index % 5 == 0 else pcm, rate_hz)
    (folder / "noise.wav").write_bytes(b"this is no audio at all")
    (folder / "zero.wav").write_bytes(b"")
    whole = (folder / "speaker 1" / "clip-001.wav").read_bytes()
    (folder / "cut.wav").write_bytes(whole[: 44 + (len(whole) - 44) // 2 // 2 * 2])
    return folder


def make_tar(path: Path, clips: list[F32], count: int = 4) -> Path:
    """Write a WebDataset shard: audio beside texts, and one member that is no audio."""
    with tarfile.open(path, "w") as archive:
        for index in range(count):
            out = io.BytesIO()
            soundfile.write(out, speech(clips, 0.4, index), 24_000, format="FLAC")
            for name, data in (
                (f"utt{index}.flac", out.getvalue()),
                (f"utt{index}.txt", b"text"),
                *(((f"utt{index}b.wav", b"bad"),) if index == 1 else ()),
            ):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return path


def request(
    source: Path | str,
    out: Path,
    format: Format = "parquet",  # noqa: A002 - the option's name
    items_per_shard: int = 4,
) -> Request:
    """Return a run over one input with all levels."""
    settings = TokenizeSettings(
        format=format, levels=BUNDLE.spec.levels, items_per_shard=items_per_shard
    )
    return Request(inputs=(str(source),), out=out, bundle=BUNDLE, settings=settings)


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
