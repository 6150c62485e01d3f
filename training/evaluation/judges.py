"""Models that predict listeners' ratings, and likeness of voices. Nothing here may train a codec.

P808 (DNSMOS) and PLCMOS hear a signal without its original and answer on a scale from 1 to 5; their
graphs come inside the package `speechmos`. Speaker similarity is the cosine of two embeddings by
Resemblyzer's network, whose weights come inside the package of that name. Both packages serve as
carriers of their models: the few lines around those are written here, so that neither librosa nor
a voice detector is needed, and every figure is made on one thread, the same each time.
"""

from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from grove.codec.arrays import F32
from grove.codec.errors import ConfigError
from grove.training.evaluation.mel import slaney_bank

_SIGNAL_RATE_HZ, _RATE_HZ = 24_000, 16_000
# What the P.808 model was trained to hear at once; a shorter clip is repeated.
_P808_SECONDS = 9.01
_P808_SAMPLES = int(_P808_SECONDS * _RATE_HZ)
_P808_WINDOW, _P808_HOP, _P808_BANDS = 321, 160, 120
_PLCMOS_WINDOW = 512
# The model answers for one listener of many; these are drawn once.
_LISTENERS, _LISTENER_SIZE = 15, 64
_VOICE_WINDOW, _VOICE_HOP, _VOICE_BANDS, _VOICE_WIDTH = 400, 160, 40, 256
_VOICE_FRAMES, _VOICE_STEP, _VOICE_COVERAGE = 160, 77, 0.75
_VOICE_LEVEL = 10 ** (-30 / 20)

F64 = NDArray[np.float64]


def p808(signal: F32) -> float:
    """Return what listeners after ITU-T P.808 would say of signal [N] at 24 kHz."""
    x = _at_16k(signal)
    while len(x) < _P808_SAMPLES:
        x = np.concatenate([x, x])
    answers = []
    for second in range(int(len(x) // _RATE_HZ - _P808_SECONDS) + 1):
        piece = x[second * _RATE_HZ :][: _P808_SAMPLES - _P808_HOP]
        power = _mel_power(piece, _P808_WINDOW, _P808_HOP, _P808_BANDS)
        features = _decibels(power) / 40 + 1
        fed = {"input_1": features[None].astype(np.float32)}
        answers.append(float(_session("dnsmos_models/model_v8.onnx").run(None, fed)[0][0, 0]))
    return float(np.mean(answers))


def plcmos(signal: F32) -> float:
    """Return what listeners to calls with lost packets would say of signal [N] at 24 kHz."""
    x = np.pad(_at_16k(signal).astype(np.float64), (_PLCMOS_WINDOW // 2, _PLCMOS_WINDOW))
    frames = np.lib.stride_tricks.sliding_window_view(x, _PLCMOS_WINDOW)[:: _PLCMOS_WINDOW // 2]
    frames = frames[: -(-(len(x) - _PLCMOS_WINDOW) // (_PLCMOS_WINDOW // 2))]
    power = np.abs(np.fft.rfft(frames * np.hamming(_PLCMOS_WINDOW + 1)[:-1])) ** 2
    quiet = power[power > 0].min() * 1e-12 if (power > 0).any() else 1e-8
    features = np.log(np.where(power > 0, power, quiet)) / 20
    session = _session("plcmos_models/plcmos_v2.onnx")
    listeners = np.random.default_rng(0).standard_normal((_LISTENERS, 1, _LISTENER_SIZE))
    heard = features[None, None].astype(np.float32)
    answers = [
        float(session.run(None, {"degraded_audio": heard, "rater_embed": who})[0].squeeze())
        for who in listeners.astype(np.float32)
    ]
    return float(np.mean(answers))


def speaker_similarity(reference: F32, decoded: F32) -> float:
    """Return the cosine of the speakers' embeddings of two signals [N] at 24 kHz."""
    return float(speaker_embedding(reference) @ speaker_embedding(decoded))


def speaker_embedding(signal: F32) -> F64:
    """Return who speaks in signal [N] at 24 kHz as a vector [256] of length 1."""
    return _embedding(signal.astype(np.float32).tobytes())


# An original comes back with each of its decodings.
@lru_cache(maxsize=8)
@torch.no_grad()
def _embedding(samples: bytes) -> F64:
    x = _at_16k(np.frombuffer(samples, np.float32))
    level = float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))
    x = x * np.float32(max(1.0, _VOICE_LEVEL / max(level, 1e-9)))
    starts = _voice_starts(len(x))
    x = np.pad(x, (0, max(0, (starts[-1] + _VOICE_FRAMES) * _VOICE_HOP - len(x))))
    mels = _mel_power(x, _VOICE_WINDOW, _VOICE_HOP, _VOICE_BANDS).astype(np.float32)
    parts = np.stack([mels[start : start + _VOICE_FRAMES] for start in starts])
    mean: F64 = _voice()(torch.from_numpy(parts)).double().mean(0).numpy()
    found: F64 = mean / np.linalg.norm(mean)
    return found


def _voice_starts(samples: int) -> list[int]:
    """Return the first frames of pieces of 1.6 s; a last one with too little sound is left out."""
    frames = -(-(samples + 1) // _VOICE_HOP)
    starts = list(range(0, max(1, frames - _VOICE_FRAMES + _VOICE_STEP + 1), _VOICE_STEP))
    sound = samples / _VOICE_HOP - starts[-1]
    if len(starts) > 1 and sound < _VOICE_COVERAGE * _VOICE_FRAMES:
        starts.pop()
    return starts


class VoiceEncoder(nn.Module):
    """Resemblyzer's network (after Wan et al. 2018): mels [B, T, 40] to embeddings [B, 256]."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(_VOICE_BANDS, _VOICE_WIDTH, 3, batch_first=True)
        self.linear = nn.Linear(_VOICE_WIDTH, _VOICE_WIDTH)

    def forward(self, mels: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(mels)
        raw: Tensor = torch.relu(self.linear(hidden[-1]))
        embeddings: Tensor = raw / raw.norm(dim=1, keepdim=True)
        return embeddings


@cache
def _voice() -> VoiceEncoder:
    content = torch.load(_inside("resemblyzer") / "pretrained.pt", "cpu", weights_only=True)
    encoder = VoiceEncoder()
    known = encoder.state_dict()
    encoder.load_state_dict({name: content["model_state"][name] for name in known})
    return encoder.eval()


@cache
def _session(name: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = str(_inside("speechmos") / name)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _inside(package: str) -> Path:
    """Return the folder of an installed package without importing it."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise ConfigError(
            f"the package {package} is not installed, and its model judges the sound",
            hint="pip install 'grove-codec[train]', then pip install --no-deps Resemblyzer",
        )
    return Path(found.origin).parent


def _at_16k(signal: F32) -> F32:
    resampled: F32 = soxr.resample(signal, _SIGNAL_RATE_HZ, _RATE_HZ)
    return np.clip(resampled, -1, 1)


def _mel_power(signal: F32, window: int, hop: int, bands: int) -> F64:
    """Return Slaney's mel power spectrum [T, bands], zeros beyond the signal's ends."""
    padded = np.pad(signal.astype(np.float64), window // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    power = np.abs(np.fft.rfft(frames * hann)) ** 2
    mel: F64 = power @ slaney_bank(_RATE_HZ, window, bands)
    return mel


def _decibels(power: F64) -> F64:
    """Return decibels [T, bands] under the loudest, at most 80 of them."""
    floor = 1e-10
    levels = 10 * np.log10(np.maximum(power, floor) / max(float(power.max()), floor))
    found: F64 = np.maximum(levels, -80)
    return found
