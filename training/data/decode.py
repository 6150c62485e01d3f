"""From a recording to mono int16 at the codec's rate."""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import soundfile as sf
import soxr

from grove.codec.arrays import F32
from grove.training.data.manifest import (
    AUDIO_SUFFIXES,
    DataError,
    Entry,
    Listing,
    Shard,
    entry_of_path,
)

I16 = npt.NDArray[np.int16]

FULL_SCALE = 32_768
_BLOCK_FRAMES = 1 << 18
_MEMBER_LIMIT_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Recording:
    """An entry and where its encoded bytes are; or why they are missing."""

    entry: Entry
    content: Path | bytes | DataError


@dataclass(frozen=True, slots=True)
class Decoded:
    """A recording ready for the cache; `samples` is emptied once they are written."""

    entry: Entry
    samples: I16
    native_rate: int
    length: int

    def without_samples(self) -> "Decoded":
        return replace(self, samples=self.samples[:0].copy())


@dataclass(frozen=True, slots=True)
class BadFile:
    """A recording that is left out, and why."""

    file: str
    reason: str


def read_recordings(listing: Listing) -> Iterator[Recording]:
    """Yield every recording of the listing, tar members one at a time from memory."""
    for shard in listing.shards:
        if shard.tar is not None:
            yield from _read_tar(shard, shard.tar)
        else:
            for entry in shard.entries or ():
                yield Recording(entry, listing.root / entry.file)


def _read_tar(shard: Shard, tar: Path) -> Iterator[Recording]:
    wanted = None if shard.entries is None else {e.file: e for e in shard.entries}
    damage = "is not in the tar"
    try:
        with tarfile.open(tar, "r|*") as stream:
            for member in stream:
                entry = _entry_of_member(member, wanted)
                if entry is not None:
                    yield Recording(entry, _read_member(stream, member))
    except (OSError, EOFError, tarfile.TarError) as error:
        damage = f"the tar is damaged or missing: {error}"
        if wanted is None:
            whole = Entry(file=shard.name, source=shard.name, speaker=shard.name)
            yield Recording(whole, DataError(damage))
    for entry in (wanted or {}).values():
        yield Recording(entry, DataError(f"{shard.name}: {damage}"))


def _entry_of_member(member: tarfile.TarInfo, wanted: dict[str, Entry] | None) -> Entry | None:
    """Take a member's entry off the wanted ones; without a manifest, guess it from the path."""
    name = member.name.removeprefix("./")
    if not member.isfile():
        return None
    if wanted is not None:
        return wanted.pop(name, None)
    return entry_of_path(name) if PurePosixPath(name).suffix.lower() in AUDIO_SUFFIXES else None


def _read_member(stream: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | DataError:
    if member.size > _MEMBER_LIMIT_BYTES:
        return DataError(f"has {member.size} bytes, expected at most {_MEMBER_LIMIT_BYTES}")
    file = stream.extractfile(member)
    assert file is not None, "regular files only"
    return file.read()


def decode(recording: Recording, sample_rate_hz: int) -> Decoded | BadFile:
    """Decode one recording; what is wrong with it becomes a line of the bad files."""
    entry, content = recording.entry, recording.content
    try:
        if isinstance(content, DataError):
            raise content
        with sf.SoundFile(io.BytesIO(content) if isinstance(content, bytes) else content) as file:
            samples = _read_mono(file, sample_rate_hz)
            rate = int(file.samplerate)
        _check_samples(samples, entry, sample_rate_hz)
    except (DataError, sf.SoundFileError, OSError, ValueError, MemoryError) as error:
        # libsndfile names the in-memory file by its address, which would differ at each build.
        reason = error.error_string if isinstance(error, sf.LibsndfileError) else str(error)
        return BadFile(entry.file, reason)
    return Decoded(entry, samples, entry.native_rate or rate, len(samples))


def _read_mono(file: sf.SoundFile, sample_rate_hz: int) -> I16:
    """Read in blocks, so that a long recording needs memory for its int16 samples only."""
    resampler = None
    if file.samplerate != sample_rate_hz:
        resampler = soxr.ResampleStream(
            file.samplerate, sample_rate_hz, 1, dtype="float32", quality="HQ"
        )
    parts: list[I16] = []
    read = 0
    while True:
        block: F32 = file.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)
        read += len(block)
        last = len(block) < _BLOCK_FRAMES
        mono = block.mean(axis=1, dtype=np.float32)
        if not np.isfinite(mono).all():
            raise DataError("holds samples that are not finite")
        parts.append(to_int16(mono if resampler is None else resampler.resample_chunk(mono, last)))
        if last:
            break
    if read < file.frames:
        raise DataError(f"ends after {read} frames, its header says {file.frames}")
    return np.concatenate(parts)


def to_int16(samples: F32) -> I16:
    """Clip on load: a lossy decoder overshoots full scale."""
    scaled = np.rint(samples * FULL_SCALE)
    return np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def _check_samples(samples: I16, entry: Entry, sample_rate_hz: int) -> None:
    seconds = len(samples) / sample_rate_hz
    if not len(samples):
        raise DataError("holds no samples")
    if not samples.any():
        raise DataError(f"holds {seconds:.2f} s of digital silence")
    tolerance = 0.1 + 0.05 * entry.seconds
    if entry.seconds and abs(seconds - entry.seconds) > tolerance:
        raise DataError(f"has {seconds:.2f} s, the manifest says {entry.seconds:.2f} s")
