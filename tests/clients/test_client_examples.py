"""The examples and the one-liners of clients/README.md run as they stand."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from client_cases import ROOT, ServerProcess

PYTHON = ROOT / "clients" / "python" / "examples"
README = (ROOT / "clients" / "README.md").read_text(encoding="utf-8")
FIRST_README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL_BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
CURL_BLOCKS = [block for block in SHELL_BLOCKS if "curl" in block]

# What websocat does with these options: lines of stdin are messages, messages are lines of stdout.
WEBSOCAT = f"""#!{sys.executable}
import sys, threading
from websockets.sync.client import connect

assert sys.argv[1:3] == ["-n", "--protocol"]
with connect(sys.argv[4], subprotocols=[sys.argv[3]]) as socket:
    def send():
        for line in sys.stdin:
            socket.send(line.rstrip())
    threading.Thread(target=send).start()
    for message in socket:
        print(message)
"""


def run_example(name: str, *arguments: object, folder: Path) -> str:
    command = [sys.executable, str(PYTHON / name), *map(str, arguments)]
    ran = subprocess.run(
        command,
        cwd=folder,
        # As an installed client would be found.
        env={**os.environ, "PYTHONPATH": str(ROOT / "clients" / "python")},
        timeout=30,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_files(grove_server: ServerProcess, speech_wav: Path, tmp_path: Path) -> None:
    said = run_example("files.py", grove_server.url, speech_wav, folder=tmp_path)
    assert said == f"{(tmp_path / 'speech.grv').stat().st_size} bytes of tokens\n"
    assert (tmp_path / "speech-coded.wav").stat().st_size == speech_wav.stat().st_size


def test_stream_tokens(grove_server: ServerProcess, speech_wav: Path, tmp_path: Path) -> None:
    said = run_example("stream_tokens.py", grove_server.url, speech_wav, folder=tmp_path)
    rows = [line.split() for line in said.splitlines()]
    assert [int(row[0]) for row in rows] == list(range(len(rows)))
    assert {len(row) for row in rows} == {1 + 2 * 2}
    assert len(rows) >= 75


def test_stream_async(grove_server: ServerProcess, speech_wav: Path, tmp_path: Path) -> None:
    run_example("stream_async.py", grove_server.url, speech_wav, "out.wav", folder=tmp_path)
    assert (tmp_path / "out.wav").stat().st_size == speech_wav.stat().st_size


def test_there_are_one_liners_to_run() -> None:
    assert len(CURL_BLOCKS) >= 1


@pytest.mark.parametrize("block", CURL_BLOCKS)
def test_curl_one_liners_run(
    block: str, grove_server: ServerProcess, speech_wav: Path, tmp_path: Path
) -> None:
    shutil.copy(speech_wav, tmp_path)
    script = block.replace("http://127.0.0.1:8000", grove_server.url)
    assert script != block
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        timeout=30,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    made = [path for path in tmp_path.iterdir() if path.name != "speech.wav"]
    assert made
    assert all(path.stat().st_size > 100 for path in made)


@pytest.mark.parametrize("document", [README, FIRST_README], ids=["clients", "first"])
def test_the_lines_for_websocat_are_messages_that_the_server_takes(
    document: str, grove_server: ServerProcess, speech_pcm: bytes, tmp_path: Path
) -> None:
    (tmp_path / "speech.raw").write_bytes(speech_pcm)
    stand_ins = {"sox": "#!/bin/sh\ncat speech.raw\n", "websocat": WEBSOCAT}
    for name, program in stand_ins.items():
        (tmp_path / name).write_text(program)
        (tmp_path / name).chmod(0o755)
    (block,) = re.findall(r"^```sh\n(sox .*?)^```$", document, re.DOTALL | re.MULTILINE)
    script = block.replace("127.0.0.1:8000", f"127.0.0.1:{grove_server.port}")
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        timeout=30,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    said = [json.loads(line) for line in ran.stdout.splitlines()]
    assert (said[0]["type"], said[-1]["type"]) == ("session.created", "session.closed")
    frames = sum(message["count"] for message in said if message["type"] == "tokens")
    assert frames == said[-1]["frames"] > len(speech_pcm) // 960


def test_every_path_that_it_names_exists() -> None:
    named = set(re.findall(r"(?<![\w/-])(?:clients|server|codec|docs|tests)/[\w./-]+\w", README))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
