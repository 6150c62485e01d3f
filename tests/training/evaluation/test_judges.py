"""The judges say what the packages say that carry them, and tell good sound from bad."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from evaluation_cases import speech_like

from grove.codec.arrays import F32
from grove.codec.errors import ConfigError
from grove.training.evaluation import judges

SPEECH = speech_like(3.0)
FIXTURE = Path(__file__).parent.parent.parent / "fixtures" / "speech-033.flac"
RECORDING: F32 = soundfile.read(FIXTURE, dtype="float32")[0]


def hiss(samples: int) -> F32:
    return np.random.default_rng(0).standard_normal(samples).astype(np.float32)


def test_figures_are_those_of_the_packages_themselves() -> None:
    # Measured once with speechmos 0.0.1.1 (librosa 0.11) and Resemblyzer 0.1.4.
    assert judges.p808(SPEECH) == pytest.approx(2.6692, abs=2e-3)
    likeness = judges.speaker_similarity(SPEECH, speech_like(3.0, seed=4))
    assert likeness == pytest.approx(0.99679, abs=5e-5)


def test_listeners_dislike_hiss() -> None:
    assert (
        judges.p808(RECORDING)
        > judges.p808(np.clip(RECORDING + 0.01 * hiss(len(RECORDING)), -1, 1)) + 0.1
    )


def test_listeners_dislike_lost_packets() -> None:
    holed = RECORDING.copy()
    for start in range(2400, len(holed) - 960, 4800):
        holed[start : start + 960] = 0
    assert judges.plcmos(RECORDING) > judges.plcmos(holed) + 0.5


def test_a_speaker_is_like_himself_and_less_like_noise() -> None:
    assert judges.speaker_similarity(SPEECH, SPEECH) == pytest.approx(1, abs=1e-6)
    assert judges.speaker_similarity(SPEECH, 0.1 * hiss(len(SPEECH))) < 0.95


@pytest.mark.parametrize("seconds", [0.1, 1.0, 9.5])
def test_any_length_is_judged(seconds: float) -> None:
    signal = speech_like(seconds)
    figures = (
        judges.p808(signal),
        judges.plcmos(signal),
        judges.speaker_similarity(signal, signal),
    )
    assert np.isfinite(figures).all()


def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judges, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match="resemblyzer is not installed"):
        judges._inside("resemblyzer")
