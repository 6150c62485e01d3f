"""Items to jobs, and jobs to frames: one open file at a time, read forwards, in bounded memory.

Whatever is wrong with a source becomes the `error` of its row; it never stops the run.
"""

import hashlib
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, groupby
from typing import BinaryIO, Final

from grove.codec.arrays import F32
from grove.codec.channels import down_mix
from grove.codec.config import CodecSpec
from grove.codec.errors import AudioError, CodecError
from grove.codec.sound.sniff import AUDIO_SUFFIXES
from grove.codec.sound.source import AudioSource, open_audio
from grove.codec.stream import FrameFeed
from grove.codec.tokens.level_gate import Cut, LevelGate
from grove.codec.tokens.plan import FileItem, TarItem
from grove.codec.tokens.records import LevelGateConfig
from grove.codec.tokens.stores import open_bytes

_SPOOL_BYTES: Final = 8 << 20
_HASH_BYTES: Final = 1 << 20
_END_TOLERANCE_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of one source, in seconds."""

    id: str
    start_s: float = 0
    end_s: float | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """Segments of one source, in the order of their starts as far as the plan has them so."""

    uri: str
    segments: tuple[Segment, ...]
    open: Callable[[ExitStack], BinaryIO]
    failure: str | None = None
    """Why there is nothing to open."""
    close: Callable[[], None] = lambda: None
    """Lets go of what the job itself holds."""


@dataclass(frozen=True, slots=True)
class SegmentStart:
    """A segment whose frames come next; rate and channels are 0 where it cannot be opened."""

    id: str
    uri: str
    sha256: str
    sample_rate_hz: int
    channels: int
    start_s: float


@dataclass(frozen=True, slots=True)
class SegmentEnd:
    """What became of the segment."""

    source_samples: int
    samples: int
    """At the codec's rate."""
    error: str | None


Fed = F32 | SegmentStart | SegmentEnd


def jobs_of(items: Iterable[FileItem | TarItem]) -> Iterator[Job]:
    """Yield jobs in the order of the items; pieces of one file that follow each other share one."""
    for (kind, uri), group in groupby(items, key=lambda item: (item.kind, item.uri)):
        if kind == "tar":
            for item in group:
                yield from _members(item.id, item.uri)
            continue
        segments = tuple(
            Segment(item.id, item.start_s, item.end_s)
            for item in group
            if isinstance(item, FileItem)
        )
        yield Job(uri, segments, partial(open_bytes, uri))


def frames_of(
    job: Job, spec: CodecSpec, level_gate: LevelGateConfig | None = None
) -> Iterator[Fed]:
    """Yield the start of each segment, its frames [k, hop], and its end."""
    if job.failure is not None:
        yield from _nothing(job, job.segments, job.failure)
        return
    with ExitStack() as resources:
        resources.callback(job.close)
        try:
            digest = _sha256(job)
        except Exception as error:
            yield from _nothing(job, job.segments, _reason(error))
            return
        cursor = _Cursor(job)
        resources.callback(cursor.close)
        for segment in job.segments:
            try:
                opened = cursor.open_at(segment)
            except Exception as error:
                yield from _nothing(job, (segment,), _reason(error), digest)
                continue
            start = SegmentStart(
                segment.id,
                job.uri,
                digest,
                opened.sample_rate_hz,
                opened.channels,
                cursor.position / opened.sample_rate_hz,
            )
            if level_gate is None:
                yield from _whole(cursor, segment, start, spec)
            else:
                yield from _spoken(cursor, segment, start, spec, level_gate)


def _whole(
    cursor: "_Cursor", segment: Segment, start: SegmentStart, spec: CodecSpec
) -> Iterator[Fed]:
    yield start
    feed = FrameFeed(spec, start.sample_rate_hz)
    for block in _guarded(cursor, segment):
        yield feed.push(block)
    yield feed.finish()
    yield SegmentEnd(feed.samples_in, feed.samples, cursor.complaint(segment))


def _spoken(
    cursor: "_Cursor",
    segment: Segment,
    start: SegmentStart,
    spec: CodecSpec,
    level_gate: LevelGateConfig,
) -> Iterator[Fed]:
    """Yield each stretch of speech as a segment of its own; one without frames if there is none."""
    rate_hz = start.sample_rate_hz
    gate, feed, stretch = LevelGate(level_gate, rate_hz), FrameFeed(spec, rate_hz), 0
    cuts = chain.from_iterable(
        chain((gate.push(block) for block in _guarded(cursor, segment)), _lazily(gate.finish))
    )
    for cut in cuts:
        if cut.begins:
            if stretch:
                yield feed.finish()
                yield SegmentEnd(feed.samples_in, feed.samples, None)
                feed = FrameFeed(spec, rate_hz)
            start_s = start.start_s + cut.at / rate_hz
            yield replace(start, id=f"{segment.id}~{stretch:04d}", start_s=start_s)
            stretch += 1
        yield feed.push(cut.samples)
    if not stretch:
        yield start
    yield feed.finish()
    yield SegmentEnd(feed.samples_in, feed.samples, cursor.complaint(segment))


def _lazily(finish: Callable[[], Iterator[Cut]]) -> Iterator[Iterator[Cut]]:
    """Ask for the end only once everything before it was asked for."""
    yield finish()


def _guarded(cursor: "_Cursor", segment: Segment) -> Iterator[F32]:
    """Yield blocks up to the end, or to where there are no more; the cursor keeps the reason."""
    try:
        yield from cursor.blocks(segment)
    except Exception as error:
        cursor.failure = _reason(error)


class _Cursor:
    """A source read forwards; a segment that starts before its place makes it open again."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.position = 0
        self.failure: str | None = None
        """What broke the reading off."""
        self._source: AudioSource | None = None
        self._blocks: Iterator[F32] = iter(())
        self._rest: F32 | None = None
        self._resources = ExitStack()
        self._at_end = False

    def open_at(self, segment: Segment) -> AudioSource:
        """Go to the start of a segment."""
        source = self._source
        if (
            source is None
            or self.failure is not None
            or round(segment.start_s * source.sample_rate_hz) < self.position
        ):
            source = self._reopened()
        start = round(segment.start_s * source.sample_rate_hz)
        while self.position < start and (block := self._next()) is not None:
            skipped = min(len(block), start - self.position)
            self.position += skipped
            self._rest = block[skipped:]
        self._rest = self._next()
        if self._rest is None:
            seconds = self.position / source.sample_rate_hz
            raise AudioError(
                f"the piece starts at {segment.start_s:g} s, the audio has {seconds:.2f} s"
            )
        return source

    def blocks(self, segment: Segment) -> Iterator[F32]:
        """Yield mono blocks [n] up to the end of a segment."""
        assert self._source is not None
        end_s = segment.end_s
        stop = None if end_s is None else round(end_s * self._source.sample_rate_hz)
        while (stop is None or self.position < stop) and (block := self._next()) is not None:
            used = len(block) if stop is None else min(len(block), stop - self.position)
            self.position += used
            self._rest = block[used:]
            yield down_mix(block[:used])

    def complaint(self, segment: Segment) -> str | None:
        """Return what was wrong with a segment that was read as far as it goes."""
        assert self._source is not None
        if self.failure is not None:
            return self.failure
        if self._at_end and self._source.shortfall is not None:
            return f"{self._source.name}: is truncated: {self._source.shortfall}"
        seconds = self.position / self._source.sample_rate_hz
        if segment.end_s is not None and seconds < segment.end_s - _END_TOLERANCE_S:
            return f"the piece ends at {segment.end_s:g} s, the audio has {seconds:.2f} s"
        return None

    def close(self) -> None:
        self._resources.close()

    def _reopened(self) -> AudioSource:
        self._resources.close()
        self._source = None
        file = self.job.open(self._resources)
        source = open_audio(file, allow_truncated=True, name=self.job.uri)
        self._resources.callback(source.close)
        self._source, self._blocks = source, iter(source)
        self._rest, self.position = None, 0
        self.failure, self._at_end = None, False
        return source

    def _next(self) -> F32 | None:
        if self._rest is not None and len(self._rest):
            rest, self._rest = self._rest, None
            return rest
        block = next(self._blocks, None)
        self._at_end = block is None
        return block


def _members(tar_id: str, uri: str) -> Iterator[Job]:
    """Yield the audio files of a tar, each copied out when it is its turn."""
    with ExitStack() as resources:
        try:
            file = open_bytes(uri, resources)
            archive = resources.enter_context(tarfile.open(fileobj=file, mode="r|*"))
            for member in archive:
                if member.isfile() and member.name.lower().endswith(AUDIO_SUFFIXES):
                    yield _member_job(archive, member, tar_id, uri)
        except Exception as error:
            failed = Segment(f"{tar_id}/*")
            yield Job(uri, (failed,), _never, f"the rest of the tar: {_reason(error)}")


def _member_job(archive: tarfile.TarFile, member: tarfile.TarInfo, tar_id: str, uri: str) -> Job:
    spool = tempfile.SpooledTemporaryFile(_SPOOL_BYTES)  # noqa: SIM115 - closed with the job
    try:
        _copy_member(archive, member, spool)
    except BaseException:
        spool.close()
        raise

    def rewound(_: ExitStack) -> BinaryIO:
        spool.seek(0)
        return spool  # type: ignore[return-value]  # it is one in all but name

    segment = Segment(f"{tar_id}/{member.name}")
    return Job(f"{uri}#{member.name}", (segment,), rewound, close=spool.close)


def _copy_member(
    archive: tarfile.TarFile, member: tarfile.TarInfo, spool: "tempfile.SpooledTemporaryFile[bytes]"
) -> None:
    content = archive.extractfile(member)
    assert content is not None, f"{member.name} is a file"
    copied = 0
    while data := content.read(_HASH_BYTES):
        copied += spool.write(data)
    if copied != member.size:
        raise AudioError(f"{member.name} has {copied} bytes, its header says {member.size}")


def _never(_: ExitStack) -> BinaryIO:
    raise AssertionError("a job that failed is not opened")


def _sha256(job: Job) -> str:
    with ExitStack() as resources:
        file = job.open(resources)
        digest = hashlib.sha256()
        while data := file.read(_HASH_BYTES):
            digest.update(data)
        return digest.hexdigest()


def _nothing(job: Job, segments: Iterable[Segment], error: str, digest: str = "") -> Iterator[Fed]:
    for segment in segments:
        yield SegmentStart(segment.id, job.uri, digest, 0, 0, segment.start_s)
        yield SegmentEnd(0, 0, error)


def _reason(error: Exception) -> str:
    if isinstance(error, CodecError):
        return " ".join(str(error).split())
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or error}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
