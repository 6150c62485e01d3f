"""What pip installs of `clients/python` in an empty environment: the client, its types, no codec.

Run by `make test-package`, since it asks an index for what the client needs.
"""

import shutil
import sys
import wave
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from package_cases import ROOT, environment_of, run, sdist_of, wheel_of

sys.path.insert(0, str(ROOT / "tests" / "clients"))

from client_cases import ServerProcess

CLIENT = ROOT / "clients" / "python"
FILES_SYNC = """
import sys
from pathlib import Path

from grove_client import FileSettings, Grove, GroveError, Job, Model

with Grove(sys.argv[1]) as grove:
    models: list[Model] = grove.models()
    job: Job = grove.jobs.start("encode", Path(sys.argv[2]), FileSettings(levels=2))
    state: str = grove.jobs.wait(job.id, 60).state
    grove.jobs.download(job.id, Path("job.grv"))
    try:
        grove.encode(b"none")
    except GroveError as error:
        code: str = error.code
    print(models[0].name, state, code)
"""
FILES_ASYNC = """
import asyncio
import sys
from pathlib import Path

from grove_client import AsyncGrove


async def main() -> bytes:
    async with AsyncGrove(sys.argv[1]) as grove:
        return await grove.encode(Path(sys.argv[2]), levels=2)


print(asyncio.run(main()) == Path("job.grv").read_bytes())
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, since building leaves folders behind."""
    copy = tmp_path_factory.mktemp("source") / "python"
    shutil.copytree(CLIENT, copy, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel_of(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sdist_of(source, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module", params=["wheel", "sdist"])
def environment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with nothing but the client and what it asks for."""
    package: Path = request.getfixturevalue(request.param)
    return environment_of(package, tmp_path_factory.mktemp("environment"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("state")) as started:
        yield started


@pytest.fixture(scope="module")
def speech_wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clip = ROOT / "tests" / "fixtures" / "speech-033.flac"
    samples, rate_hz = soundfile.read(clip, frames=36_000, dtype="int16")
    path = tmp_path_factory.mktemp("audio") / "speech.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return path


def test_the_wheel_has_one_name_its_types_and_its_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (licence,) = [name for name in names if name.endswith("LICENSE")]
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
    modules = {path.name for path in (CLIENT / "grove_client").iterdir() if path.is_file()}
    assert {f"grove_client/{name}" for name in modules} == {
        name for name in names if not name.partition("/")[0].endswith(".dist-info")
    }
    assert "py.typed" in modules


def test_the_client_comes_without_the_codec(environment: Path, tmp_path: Path) -> None:
    program = (
        "from importlib.util import find_spec\n"
        "from importlib.metadata import version\n"
        "import grove_client\n"
        "assert not any(map(find_spec, ('grove', 'numpy', 'onnxruntime')))\n"
        "assert grove_client.__version__ == version('grove-codec-client')\n"
        "print(grove_client.__version__)\n"
    )
    said = run(environment / "python", "-W", "error", "-c", program, cwd=tmp_path)
    assert f'version = "{said.strip()}"' in (CLIENT / "pyproject.toml").read_text(encoding="utf-8")


def test_files_jobs_and_models_of_a_real_server(
    environment: Path, server: ServerProcess, speech_wav: Path, tmp_path: Path
) -> None:
    python = [environment / "python", "-W", "error", "-c"]
    said = run(*python, FILES_SYNC, server.url, speech_wav, cwd=tmp_path)
    assert said == "grove-24k done unsupported_media\n"
    assert run(*python, FILES_ASYNC, server.url, speech_wav, cwd=tmp_path) == "True\n"


def test_the_examples_stream_sync_and_async(
    environment: Path, server: ServerProcess, speech_wav: Path, tmp_path: Path
) -> None:
    examples = shutil.copytree(CLIENT / "examples", tmp_path / "examples")
    python = environment / "python"
    rows = run(python, examples / "stream_tokens.py", server.url, speech_wav, cwd=tmp_path)
    assert len(rows.splitlines()) >= 75
    run(python, examples / "stream_async.py", server.url, speech_wav, "out.wav", cwd=tmp_path)
    assert (tmp_path / "out.wav").stat().st_size == speech_wav.stat().st_size


def test_a_type_checker_reads_the_types(environment: Path, tmp_path: Path) -> None:
    for name, program in (("one.py", FILES_SYNC), ("other.py", FILES_ASYNC)):
        (tmp_path / name).write_text(program)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-incremental"]
    of_environment = f"--python-executable={environment / 'python'}"
    run(*mypy, of_environment, "one.py", "other.py", cwd=tmp_path)
    (tmp_path / "wrong.py").write_text(FILES_SYNC.replace("models: list[Model]", "models: int"))
    with pytest.raises(AssertionError, match="list\\[Model\\]"):
        run(*mypy, of_environment, "wrong.py", cwd=tmp_path)
