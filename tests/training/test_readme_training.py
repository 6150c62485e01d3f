"""The README's command to train takes anybody's folder of audio."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from grove.training.checkpoint import latest_checkpoint
from grove.training.config import load_recipe
from grove.training.data.manifest import list_audio

ROOT = Path(__file__).parent.parent.parent
RECIPES = sorted((ROOT / "training" / "recipes").glob("*.yaml"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 recordings of speech, named as nobody else names them."""
    source = tmp_path_factory.mktemp("my-audio")
    clips = sorted((ROOT / "tests" / "fixtures").glob("speech-*.flac"))
    for number in range(60):
        pcm, rate_hz = soundfile.read(clips[number % len(clips)], dtype="float32")
        start = number // len(clips) * rate_hz
        soundfile.write(source / f"take {number}.wav", pcm[start : start + 2 * rate_hz], rate_hz)
    return source


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_finds_all_files_of_a_folder(recipe: Path, folder: Path) -> None:
    listing = list_audio(folder, load_recipe(recipe).data.shards)
    assert sum(len(shard.entries or ()) for shard in listing.shards) == 60


@pytest.mark.slow
def test_the_readmes_command_trains_on_60_files(folder: Path, tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    line = re.search(r"^make train RECIPE=(\S+) DATA=(\S+) OUT=(\S+)$", text, re.MULTILINE)
    target = re.search(
        r"^train:.*\n\t\$\(BIN\)/grove (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert line
    assert target
    said = target[1].replace("$(RECIPE)", str(ROOT / line[1]))
    said = said.replace("$(DATA)", shlex.quote(str(folder))).replace("$(OUT)", line[3])
    done = subprocess.run(
        [f"{sys.prefix}/bin/grove", *shlex.split(said), "--steps", "2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert latest_checkpoint(tmp_path / line[3])
