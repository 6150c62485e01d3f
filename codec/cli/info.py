"""`grove info`: what a container, a bundle or an audio file is."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

from grove.codec.bundle import Bundle, Cost, load_bundle
from grove.codec.cli.pipes import container_in
from grove.codec.cli.report import EXIT_DAMAGED, EXIT_DONE, emit
from grove.codec.cli.selection import CONTAINER_SUFFIXES, STANDARD, Task
from grove.codec.config import CodecSpec, Frozen
from grove.codec.container.assembler import Block, SegmentEnd
from grove.codec.container.file import ContainerFile, ContainerReader
from grove.codec.container.records import MAGIC
from grove.codec.errors import BitstreamError
from grove.codec.sound.sniff import AUDIO_SUFFIXES
from grove.codec.sound.source import open_audio


class ContainerInfo(Frozen):
    """A `.grv` file that was read from end to end."""

    kind: Literal["container"] = "container"
    input: str
    model: str
    version: str
    model_sha256: str
    channels: int
    source_sample_rate_hz: int
    source_channels: int
    source_samples: int
    seconds: float
    frames: int
    segments: int
    frames_at_level: tuple[int, ...]
    """How many frames (of all channels) have 0, 1, 2 … levels."""
    payload_kbps: float
    tags: dict[str, str]
    damage: tuple[str, ...]
    omitted_damage_count: int


class BundleInfo(Frozen):
    """A model, all of whose files were checked."""

    kind: Literal["bundle"] = "bundle"
    path: str
    codec: CodecSpec
    frame_rate_hz: float
    bitrates_bps: tuple[float, ...]
    delay_ms: float
    cost: Cost
    size_bytes: int
    licence: str
    description: str
    training: dict[str, str | int | float]


class AudioInfo(Frozen):
    """An audio file, as far as its header says."""

    kind: Literal["audio"] = "audio"
    input: str
    container: str
    sample_rate_hz: int
    channels: int
    declared_samples: int | None


Info = ContainerInfo | BundleInfo | AudioInfo


def run_info(name: str, as_json: bool) -> int:
    """Print what `name` is; return the exit code."""
    info = info_of(name)
    emit(info.model_dump_json() if as_json else "\n".join(_lines(info)))
    return EXIT_DAMAGED if isinstance(info, ContainerInfo) and info.damage else EXIT_DONE


def info_of(name: str) -> Info:
    """Tell by what is there: a folder or a model's name, a container, or audio."""
    path = Path(name)
    if name == STANDARD:
        return container_info(Task(None, None))
    if path.is_dir() or _is_model_name(path):
        return bundle_info(load_bundle(name))
    with _opened(path) as file:
        is_container = file.read(len(MAGIC)) == MAGIC
    if is_container or path.suffix == ".grv":
        return container_info(Task(path, None))
    with open_audio(path) as source:
        return AudioInfo(
            input=name,
            container=source.container,
            sample_rate_hz=source.sample_rate_hz,
            channels=source.channels,
            declared_samples=source.declared_samples,
        )


def container_info(task: Task) -> ContainerInfo:
    """Read a container from end to end."""
    with container_in(task) as container:
        header, spec = container.header, container.header.codec
        frames_at_level = [0] * (spec.levels + 1)
        frames, segments, samples, source_samples = 0, 0, 0, 0
        for event in container.events():
            match event:
                case Block():
                    frames += event.levels.shape[1]
                    for level in event.levels.ravel().tolist():
                        frames_at_level[level] += 1
                case SegmentEnd():
                    segments += 1
                    samples += event.segment.sample_count
                    source_samples += event.segment.source_sample_count
                case _:
                    pass
        bits = sum(count * spec.bits_at(level) for level, count in enumerate(frames_at_level))
        seconds = samples / spec.sample_rate_hz
        return ContainerInfo(
            input=task.source_name,
            model=spec.name,
            version=spec.version,
            model_sha256=spec.model_sha256,
            channels=header.channels,
            source_sample_rate_hz=header.source_sample_rate_hz,
            source_channels=header.source_channels,
            source_samples=source_samples,
            seconds=seconds,
            frames=frames,
            segments=segments,
            frames_at_level=tuple(frames_at_level),
            payload_kbps=bits / seconds / 1000 if seconds else 0.0,
            tags=header.tags,
            damage=_damage(container),
            omitted_damage_count=container.omitted_damage_count,
        )


def bundle_info(bundle: Bundle) -> BundleInfo:
    spec, manifest = bundle.spec, bundle.manifest
    return BundleInfo(
        path=str(bundle.path),
        codec=spec,
        frame_rate_hz=spec.frame_rate_hz,
        bitrates_bps=tuple(spec.bitrate_bps(level) for level in range(1, spec.levels + 1)),
        delay_ms=spec.latency_ms,
        cost=manifest.cost,
        size_bytes=sum(record.size_bytes for record in manifest.files.values()),
        licence=manifest.licence,
        description=manifest.description,
        training=manifest.training,
    )


def _is_model_name(path: Path) -> bool:
    is_file_name = path.suffix.lower() in (*CONTAINER_SUFFIXES, *AUDIO_SUFFIXES)
    return not path.exists() and len(path.parts) == 1 and not is_file_name


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BitstreamError(
            f"{path}: cannot be opened: {reason}, expected a .grv file, a bundle or audio"
        ) from error
    with file:
        yield file


def _damage(container: ContainerReader | ContainerFile) -> tuple[str, ...]:
    return tuple(str(damage) for damage in container.damage)


# --- for people ---------------------------------------------------------------------------


def _lines(info: Info) -> list[str]:
    match info:
        case ContainerInfo():
            return _container_lines(info)
        case BundleInfo():
            return _bundle_lines(info)
        case AudioInfo():
            return _audio_lines(info)


def _container_lines(info: ContainerInfo) -> list[str]:
    used = [f"{n}: {count}" for n, count in enumerate(info.frames_at_level) if count]
    lines = [
        f"{info.input}: Grove container",
        f"  model      {info.model} {info.version}, sha256 {info.model_sha256[:16]}…",
        f"  original   {info.source_sample_rate_hz} Hz, {info.source_channels} channels, "
        f"{info.source_samples} samples",
        f"  streams    {info.channels}",
        f"  length     {info.seconds:.3f} s, {info.frames} frames, {info.segments} segments",
        f"  payload    {info.payload_kbps:.2f} kbit/s",
        f"  levels     {', '.join(used) or 'none'} (level: frames)",
    ]
    lines += [f"  tag        {key}: {value}" for key, value in sorted(info.tags.items())]
    lines += [f"  damage     {line}" for line in info.damage]
    if info.omitted_damage_count:
        lines.append(f"  damage     {info.omitted_damage_count} more places")
    return lines


def _bundle_lines(info: BundleInfo) -> list[str]:
    spec, cost = info.codec, info.cost
    rates = ", ".join(f"{rate / 1000:g}" for rate in info.bitrates_bps)
    macs = (cost.encoder_macs_per_second, cost.decoder_macs_per_second)
    parameters = (cost.encoder_parameters, cost.decoder_parameters)
    return [
        f"{info.path}: Grove bundle, every file intact",
        f"  model      {spec.name} {spec.version}, sha256 {spec.model_sha256[:16]}…",
        f"  audio      {spec.sample_rate_hz} Hz, {info.frame_rate_hz:g} frames a second",
        f"  levels     {spec.levels}: {rates} kbit/s",
        f"  books      {len(spec.code_sizes)} of {min(spec.code_sizes)} to "
        f"{max(spec.code_sizes)} codes",
        f"  delay      {info.delay_ms:g} ms",
        f"  cost       {macs[0] / 1e6:.1f} + {macs[1] / 1e6:.1f} million multiply-adds a second",
        f"  parameters {parameters[0] / 1e6:.2f} + {parameters[1] / 1e6:.2f} million",
        f"  size       {info.size_bytes / 2**20:.1f} MiB",
        f"  licence    {info.licence}",
        f"  about      {info.description}",
        *(f"  training   {key}: {value}" for key, value in info.training.items()),
    ]


def _audio_lines(info: AudioInfo) -> list[str]:
    samples = info.declared_samples
    length = "unknown" if samples is None else f"{samples / info.sample_rate_hz:.3f} s declared"
    return [
        f"{info.input}: {info.container} audio",
        f"  audio      {info.sample_rate_hz} Hz, {info.channels} channels",
        f"  length     {length}",
    ]
