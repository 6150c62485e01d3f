"""`grove` run in this process, and the files it is run on."""

import io
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from grove.codec.arrays import F32
from grove.codec.cli import commands as cli
from grove.codec.cli import files as cli_files
from grove.codec.runtime import Codec

FIXTURES = Path(__file__).parent.parent / "fixtures"
SPEECH = FIXTURES / "speech-078.flac"


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: bytes
    err: str

    @property
    def document(self) -> Any:  # noqa: ANN401 - JSON
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def error_lines(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


class Grove:
    """Runs commands as a user types them; the model is loaded once for all."""

    def __init__(
        self, capture: pytest.CaptureFixture[bytes], patch: pytest.MonkeyPatch, codec: Codec
    ) -> None:
        self._capture = capture
        self._patch = patch
        patch.setattr(cli_files, "open_codec", lambda *_: codec)

    def __call__(self, *arguments: str | int | Path, stdin: bytes = b"") -> Ran:
        self._patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        self._capture.readouterr()
        code = cli.main([str(argument) for argument in arguments])
        out, err = self._capture.readouterr()
        return Ran(code, out, err.decode())


def read_audio(source: Path | bytes) -> tuple[F32, int]:
    """Return samples [n, C] and their rate."""
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    samples, rate_hz = soundfile.read(file, dtype="float32", always_2d=True)
    return samples, rate_hz


def write_audio(
    path: Path, samples: F32, rate_hz: int = 24_000, subtype: str | None = None
) -> Path:
    soundfile.write(path, samples, rate_hz, subtype=subtype)
    return path


def flac_claiming(total_samples: int) -> bytes:
    """Return a real FLAC file whose header states another number of samples."""
    out = io.BytesIO()
    soundfile.write(out, np.zeros(2_400, np.float32), 24_000, format="FLAC", subtype="PCM_16")
    data = bytearray(out.getvalue())
    start = data.index(b"fLaC") + 8
    word = int.from_bytes(data[start + 10 : start + 18], "big")
    word = word >> 36 << 36 | total_samples
    data[start + 10 : start + 18] = struct.pack(">Q", word)
    return bytes(data)
