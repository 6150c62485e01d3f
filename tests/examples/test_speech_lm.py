"""The language-model example runs as its documentation says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.slow
def test_the_example_trains_samples_and_decodes_as_written(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "tokens.md").read_text()
    (block,) = re.findall(r"```sh\n(grove tokenize CORPUS[^`]*speech_lm[^`]*)```", text)
    for line in block.strip().splitlines():
        words = [word.replace("CORPUS", str(ROOT / "tests/fixtures")) for word in shlex.split(line)]
        if words[0] == "grove":
            words = [sys.executable, "-m", "grove", *words[1:]]
        else:
            small = ["--steps", "12", "--width", "32", "--layers", "1", "--context", "40"]
            script = str(ROOT / words[1])
            words = [sys.executable, script, *words[2:], *small, "--seconds", "0.5"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    first, last = re.findall(r"after 12 steps, ([\d.]+) to ([\d.]+) bits", done.stdout)[0]
    assert float(last) < float(first)
    audio, rate_hz = soundfile.read(tmp_path / "said.wav")
    assert (len(audio), rate_hz) == (4 * (25 * 480 - 240), 24_000)
    assert np.abs(audio).max() > 0
