"""A small codec that keeps the contract of `grove.codec.runtime.Codec`; a slip in a state shows."""

import numpy as np

from grove.codec.arrays import F32, I64, U16
from grove.codec.config import CodecSpec
from grove.server.models import Model

SPEC = CodecSpec(
    name="fake-24k",
    version="1.0.0",
    model_sha256="0f" * 32,
    sample_rate_hz=24_000,
    hop_samples=480,
    delay_samples=240,
    code_sizes=(256, 512) * 3,
    codes_per_level=(2, 2, 2),
)
_BOOKS = len(SPEC.code_sizes)
_SIZES = np.array(SPEC.code_sizes, np.int64)


class FakeCodec:
    """Each code depends on its frame and on all frames before; exact in whole numbers."""

    def __init__(self, spec: CodecSpec = SPEC) -> None:
        self.spec = spec
        self.fails = False

    def encoder_state(self, batch: int) -> F32:
        return np.zeros((batch, 8), np.float32)

    def decoder_state(self, batch: int) -> F32:
        return np.zeros((batch, 8), np.float32)

    def encode_step(self, pcm: F32, state: F32) -> tuple[U16, F32]:
        if self.fails:
            raise RuntimeError("told to fail")
        frames = np.rint(pcm.reshape(len(pcm), -1, self.spec.hop_samples) * 32_767).astype(np.int64)
        memory = state.astype(np.int64)
        codes = np.empty((*frames.shape[:2], _BOOKS), np.uint16)
        for time in range(frames.shape[1]):
            parts = frames[:, time].reshape(len(pcm), _BOOKS, -1).sum(axis=2)
            codes[:, time] = (parts + memory[:, :_BOOKS]) % _SIZES
            memory[:, :_BOOKS] = (memory[:, :_BOOKS] * 3 + parts) % 251
        return codes, memory.astype(np.float32)

    def decode_step(self, codes: U16, levels: I64, state: F32) -> tuple[F32, F32]:
        memory = state.astype(np.int64)
        places = np.arange(_BOOKS)
        pcm = np.empty((*codes.shape[:2], self.spec.hop_samples), np.float32)
        used_codes = np.array([self.spec.codes_at(level) for level in range(self.spec.levels + 1)])
        for time in range(codes.shape[1]):
            used = places < used_codes[levels[:, time]][:, None]
            value = (codes[:, time] * used).sum(axis=1) + memory[:, 0]
            ramp = np.arange(self.spec.hop_samples)
            pcm[:, time] = ((value[:, None] * 7 + ramp) % 2001 - 1000) / 2048
            memory[:, 0] = (memory[:, 0] * 5 + value + 1) % 1009
        return pcm.reshape(len(codes), -1), memory.astype(np.float32)


def load_fake(name: str, threads: int) -> Model:
    """Stand in for `grove.server.models.load_model`; the name chooses the hash."""
    assert threads >= 1
    if name == "fake-24k":
        return Model(FakeCodec(), frozenset({SPEC.model_sha256}))
    other = SPEC.model_copy(update={"name": name, "model_sha256": name[0] * 64})
    return Model(FakeCodec(other), frozenset({other.model_sha256}))
