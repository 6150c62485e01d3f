"""`grove tokens decode`: rows back to WAV files."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from grove.codec.bundle import maker_hint
from grove.codec.errors import ModelMismatchError
from grove.codec.runtime import Codec
from grove.codec.sound.sniff import AUDIO_SUFFIXES
from grove.codec.sound.writer import AudioWriter, WavOutput, open_writer
from grove.codec.stream import DecodeStream, Tail, check_levels, widened
from grove.codec.tokens.reading import TokenFolder
from grove.codec.tokens.records import Row, TokensError


def decode_rows(
    folder: TokenFolder, codec: Codec, out: Path, ids: frozenset[str], levels: int | None = None
) -> Iterator[Path]:
    """Write a WAV for each source, or for those of `ids`; yield each one when it is whole."""
    made_by = folder.run.card.codec.model_sha256
    if made_by not in codec.bundle.accepted_models:
        raise ModelMismatchError(
            f"{folder.path} was made by model {made_by[:12]}, "
            f"this is {codec.spec.name} {codec.spec.version} ({codec.spec.model_sha256[:12]})",
            hint=maker_hint(made_by, "name the bundle that made it with --model"),
        )
    kept = folder.run.card.levels if levels is None else min(levels, folder.run.card.levels)
    check_levels(codec.spec, kept)
    left = set(ids)
    with ExitStack() as resources:
        source: _Source | None = None
        for row in folder.rows():
            if (ids and row.meta.id not in ids) or (not len(row.codes) and row.meta.part == 0):
                continue
            left.discard(row.meta.id)
            if row.meta.part == 0:
                if source is not None:
                    source.finish()
                    resources.pop_all().close()
                    yield source.path
                source = _Source(codec, out / _relative(row), kept, resources)
            elif source is None:
                raise TokensError(f"{row.key} comes before part 0 of its source")
            source.write(row)
        if source is not None:
            source.finish()
            resources.pop_all().close()
            yield source.path
    if left:
        raise TokensError(f"{folder.path} holds no row {', '.join(sorted(left)[:3])}")


class _Source:
    """One source being decoded, part after part."""

    def __init__(self, codec: Codec, path: Path, levels: int, resources: ExitStack) -> None:
        self.path = path
        self._codec = codec
        self._levels = levels
        self._samples = 0
        self._stream = DecodeStream(codec, end=Tail.of_frame(codec.spec))
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer: AudioWriter = resources.enter_context(
            open_writer(path, WavOutput(), codec.spec.sample_rate_hz)
        )

    def write(self, row: Row) -> None:
        codes = widened(self._codec.spec, row.codes)
        self._samples += row.meta.num_samples
        self._writer.write(self._stream.push(codes[None], self._levels))

    def finish(self) -> None:
        self._writer.write(self._stream.finish(self._samples))


def _relative(row: Row) -> Path:
    """Return where a row's audio goes below the output folder, whatever its id says."""
    parts = [part for part in PurePosixPath(row.meta.id).parts if part not in ("/", "..", ".")]
    if not parts:
        raise TokensError(f"the id {row.meta.id!r} makes no file name")
    path = Path(*parts)
    plain = path.with_suffix("") if path.suffix.lower() in AUDIO_SUFFIXES else path
    return plain.with_name(f"{plain.name}.wav")
