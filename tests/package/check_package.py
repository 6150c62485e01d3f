"""What pip installs in an empty environment: one name, its models, the commands, and no torch.

Run by `make test-package`, since it asks an index for the core dependencies.
"""

import json
import os
import socket
import subprocess
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest
from package_cases import ROOT, environment_of, run, sdist_of, wheel_of

CLIP = ROOT / "tests" / "fixtures" / "speech-052.flac"
MOST_WHEEL_BYTES = 60 << 20  # an index takes 100 MB


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel_of(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sdist_of(ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="session", params=["wheel", "sdist"])
def environment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with nothing but the package and what it asks for."""
    package: Path = request.getfixturevalue(request.param)
    return environment_of(package, tmp_path_factory.mktemp("environment"))


def test_the_wheel_has_one_name_and_the_models(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"grove"}
    for bundle in (ROOT / "exports").iterdir():
        for path in bundle.iterdir():
            assert f"grove/exports/{bundle.name}/{path.name}" in names
    assert wheel.stat().st_size < MOST_WHEEL_BYTES


def test_python_finds_the_interface_and_no_torch(environment: Path, tmp_path: Path) -> None:
    program = (
        "from importlib.util import find_spec\n"
        "from grove import AutoCodec\n"
        "import numpy\n"
        "codes = AutoCodec.from_pretrained().encode(numpy.zeros(960, numpy.float32)).audio_codes\n"
        "names = 'torch', 'codec', 'server', 'training', 'tools'\n"
        "assert not any(map(find_spec, names))\n"
        "print(codes.ndim)\n"
    )
    assert run(environment / "python", "-c", program, cwd=tmp_path) == "3\n"


def test_files_are_coded_and_tokens_made(environment: Path, tmp_path: Path) -> None:
    grove = environment / "grove"
    run(grove, "encode", CLIP, "clip.grv", cwd=tmp_path)
    run(grove, "decode", "clip.grv", "clip.wav", cwd=tmp_path)
    assert (tmp_path / "clip.wav").stat().st_size > (tmp_path / "clip.grv").stat().st_size > 1000
    run(grove, "transcode", CLIP, "heard.flac", cwd=tmp_path)
    run(grove, "tokenize", CLIP, "--out", "tokens", "--format", "npy", cwd=tmp_path)
    assert list((tmp_path / "tokens").rglob("*.npy"))


def test_the_service_serves(environment: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    settings = {"GROVE_STATE_DIR": str(tmp_path / "state"), "GROVE_SLOTS": "2"}
    server = subprocess.Popen(
        [environment / "grove", "serve", "--port", str(port)], cwd=tmp_path, env=kept | settings
    )
    address = f"http://127.0.0.1:{port}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        wait_until_ready(opener, f"{address}/ready")
        models = json.load(opener.open(f"{address}/v1/models", timeout=30))
        assert "grove-24k" in json.dumps(models)
        request = urllib.request.Request(f"{address}/v1/transcode?format=wav", CLIP.read_bytes())
        assert opener.open(request, timeout=120).read(4) == b"RIFF"
        assert b"<html" in opener.open(f"{address}/", timeout=30).read()
    finally:
        server.terminate()
        server.wait(60)


def wait_until_ready(opener: urllib.request.OpenerDirector, url: str) -> None:
    for _ in range(600):
        try:
            opener.open(url, timeout=5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"{url} did not answer")
