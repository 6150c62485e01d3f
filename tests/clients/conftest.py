"""One real server for all clients."""

import hashlib
import json
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from client_cases import KEY, ROOT, Line, ServerProcess

sys.path.insert(0, str(ROOT / "clients" / "python"))


@pytest.fixture(scope="session")
def grove_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("state")) as server:
        yield server


@pytest.fixture(scope="session")
def locked_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that wants KEY and has one slot."""
    keys = json.dumps([f"tests:{hashlib.sha256(KEY.encode()).hexdigest()}"])
    state_dir = tmp_path_factory.mktemp("locked")
    with ServerProcess(state_dir, api_keys=keys, slots="1") as server:
        yield server


@pytest.fixture
def line(grove_server: ServerProcess) -> Iterator[Line]:
    line = Line(grove_server.port)
    yield line
    line.close()


@pytest.fixture(scope="session")
def speech_wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 1.5 seconds of a recording, as a plain 16-bit WAV file of 24 kHz."""
    flac = ROOT / "tests" / "fixtures" / "speech-033.flac"
    samples, rate_hz = soundfile.read(flac, frames=36_000, dtype="int16")
    path = tmp_path_factory.mktemp("audio") / "speech.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return path


@pytest.fixture(scope="session")
def speech_pcm(speech_wav: Path) -> bytes:
    with wave.open(str(speech_wav)) as file:
        frames: bytes = file.readframes(file.getnframes())
    return frames
