"""The codec of clients/js/local in a real Node.js, fed with files and read back from files."""

import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
from client_cases import ROOT

from grove.codec.bundle import find_bundle
from grove.codec.runtime import Codec

F32 = npt.NDArray[np.float32]
U16 = npt.NDArray[np.uint16]

CLIENT = ROOT / "clients" / "js"
LOCAL = CLIENT / "local" / "index.js"
FIXTURES = ROOT / "tests" / "fixtures"
RATE_HZ = 24_000
_PRELUDE = """
import { readFile, writeFile } from "node:fs/promises";
import { GroveCodec, GroveCodecError } from %(local)s;

const folder = %(folder)s;
const bundle = {};
for (const name of ["manifest.json", "encoder.onnx", "decoder.onnx"]) {
  bundle[name] = await readFile(%(bundle)s + "/" + name);
}
const file = async (name) => {
  const bytes = await readFile(`${folder}/${name}`);
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
};
const save = (name, array) => writeFile(`${folder}/${name}`, new Uint8Array(array.buffer));
const floats = async (name) => new Float32Array(await file(name));
const codeOf = (promise) => promise.then(() => "none", (error) =>
  error instanceof GroveCodecError ? error.code : `not ours: ${error.stack}`);
"""


def run_local(
    program: str, folder: Path, *flags: str, seconds: float = 300, bundle: Path | None = None
) -> str:
    """Run a module with the codec, the bundle's files and a folder at hand; return its output."""
    script = folder / "check.mjs"
    names = {
        "local": json.dumps(LOCAL.as_uri()),
        "folder": json.dumps(str(folder)),
        "bundle": json.dumps(str(bundle or find_bundle())),
    }
    script.write_text(_PRELUDE % names + program)
    ran = subprocess.run(
        ["node", "--no-warnings", *flags, str(script)],
        timeout=seconds,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def fixture_speech() -> F32:
    """Return the speech of the fixtures at the codec's rate, one clip after the other."""
    return np.concatenate([_mono(path.read_bytes()) for path in _speech_files()])


def speech_of(frames: int, hop: int) -> F32:
    """Return so many frames of real speech: of the folder that GROVE_AUDIO names if it has them.

    Without it, or where it has less, the fixtures come again and again, each time more quietly.
    """
    wanted, parts, have = frames * hop, list[F32](), 0
    for clip in _archived_speech():
        if have >= wanted:
            break
        parts.append(clip)
        have += len(clip)
    once, gain = fixture_speech(), np.float32(1)
    while have < wanted:
        parts.append(once * gain)
        have += len(once)
        gain *= np.float32(0.8)
    return np.concatenate(parts)[:wanted]


def python_codes(codec: Codec, pcm: F32) -> U16:
    codes, _ = codec.encode_step(pcm[None], codec.encoder_state(1))
    first: U16 = codes[0]
    return first


def python_pcm(codec: Codec, codes: U16, levels: npt.NDArray[np.int64]) -> F32:
    pcm, _ = codec.decode_step(codes[None], levels[None], codec.decoder_state(1))
    first: F32 = pcm[0]
    return first


def _speech_files() -> list[Path]:
    return sorted(FIXTURES.glob("speech-*.flac"))


def _archived_speech() -> Iterator[F32]:
    folder = os.environ.get("GROVE_AUDIO")
    for archive in sorted(Path(folder).glob("clean-*.tar")) if folder else []:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isfile() and member.name.startswith("speech/"):
                    stored = tar.extractfile(member)
                    assert stored
                    yield _mono(stored.read())


def _mono(stored: bytes) -> F32:
    pcm, rate_hz = soundfile.read(BytesIO(stored), dtype="float32", always_2d=True)
    assert rate_hz == RATE_HZ
    mono: F32 = np.clip(pcm.mean(axis=1, dtype=np.float32), -1, 1)
    return mono
