"""Whole clips through a codec's steps, at any level, with frames lost on the way."""

from typing import Protocol

import numpy as np
import soxr

from grove.codec.arrays import F32, I64, U16
from grove.codec.config import CodecSpec
from grove.training.evaluation.metrics import SCORING_RATE_HZ
from grove.training.evaluation.packet_loss import Bool, Concealment

BLOCK_FRAMES = 250


class SteppedCodec(Protocol):
    """What an evaluation asks of a codec: the runtime has it, and so has a model in training."""

    @property
    def spec(self) -> CodecSpec: ...

    def encoder_state(self, batch: int) -> F32:
        """Return zeros [B, S]."""
        ...

    def decoder_state(self, batch: int) -> F32:
        """Return zeros [B, S]."""
        ...

    def encode_step(self, pcm: F32, state: F32) -> tuple[U16, F32]:
        """Return codes [B, T, K] of pcm [B, T * hop], and the next state."""
        ...

    def decode_step(self, codes: U16, levels: I64, state: F32) -> tuple[F32, F32]:
        """Return pcm [B, T * hop] of codes [B, T, K] at levels [B, T], and the next state."""
        ...


def frames_of(spec: CodecSpec, samples: int) -> int:
    """Return how many frames `samples` at 24 kHz take, with those that flush the codec's delay."""
    at_codec_rate = _length_at(samples, SCORING_RATE_HZ, spec.sample_rate_hz)
    hop = spec.hop_samples
    return -(-at_codec_rate // hop) + max(-(-spec.delay_samples // hop), 1)


def encode_clip(codec: SteppedCodec, samples: F32) -> U16:
    """Return the codes [T, K] of `samples` [N] at 24 kHz."""
    spec = codec.spec
    pcm = soxr.resample(samples, SCORING_RATE_HZ, spec.sample_rate_hz)
    padded = np.zeros(frames_of(spec, len(samples)) * spec.hop_samples, np.float32)
    kept = min(len(pcm), len(padded))
    padded[:kept] = pcm[:kept]
    state, blocks = codec.encoder_state(1), []
    for start in range(0, len(padded), BLOCK_FRAMES * spec.hop_samples):
        block = padded[None, start : start + BLOCK_FRAMES * spec.hop_samples]
        codes, state = codec.encode_step(block, state)
        blocks.append(codes[0])
    return np.concatenate(blocks)


def decode_clip(
    codec: SteppedCodec,
    codes: U16,
    level: int,
    samples: int,
    *,
    lost: Bool | None = None,
    concealment: Concealment = "zero-level",
) -> F32:
    """Return `samples` of sound at 24 kHz from codes [T, K] at `level`, without the `lost` [T]."""
    gone = np.zeros(len(codes), np.bool_) if lost is None else lost
    match concealment:
        case "zero-level":
            pcm = _decode(codec, codes, np.where(gone, 0, level))
        case "repeat":
            pcm = _decode(codec, *_repeated(codes, gone, level))
        case "silence":
            pcm = _decode_with_gaps(codec, codes, gone, level)
        case "own":
            raise AssertionError("only a peer conceals by means of its own")
    return _trimmed(codec.spec, pcm, samples)


def _repeated(codes: U16, lost: Bool, level: int) -> tuple[U16, I64]:
    """Give each lost frame the codes of the last one that came, or zero levels before the first."""
    came = np.where(lost, -1, np.arange(len(codes)))
    last = np.maximum.accumulate(came)
    return codes[np.maximum(last, 0)], np.where(last < 0, 0, level)


def _decode_with_gaps(codec: SteppedCodec, codes: U16, lost: Bool, level: int) -> F32:
    """Decode only what came; where nothing came, the samples are zeros."""
    frames = np.zeros((len(codes), codec.spec.hop_samples), np.float32)
    came = codes[~lost]
    if len(came):
        pcm = _decode(codec, came, np.full(len(came), level))
        frames[~lost] = pcm.reshape(len(came), -1)
    return frames.reshape(-1)


def _decode(codec: SteppedCodec, codes: U16, levels: I64) -> F32:
    """Return pcm [T * hop] of codes [T, K], those beyond a frame's level being zeros."""
    carried = np.array([0, *np.cumsum(codec.spec.codes_per_level)])[levels]
    sent = np.where(np.arange(codes.shape[1]) < carried[:, None], codes, 0).astype(np.uint16)
    state, blocks = codec.decoder_state(1), []
    for start in range(0, len(sent), BLOCK_FRAMES):
        part = slice(start, start + BLOCK_FRAMES)
        pcm, state = codec.decode_step(sent[None, part], levels[None, part], state)
        blocks.append(pcm[0])
    return np.concatenate(blocks)


def _trimmed(spec: CodecSpec, pcm: F32, samples: int) -> F32:
    """Drop the delay, and return exactly `samples` at 24 kHz, within full scale."""
    wanted = _length_at(samples, SCORING_RATE_HZ, spec.sample_rate_hz)
    aligned = pcm[spec.delay_samples :][:wanted]
    out = np.zeros(samples, np.float32)
    at_24k = soxr.resample(aligned, spec.sample_rate_hz, SCORING_RATE_HZ)[:samples]
    out[: len(at_24k)] = np.clip(at_24k, -1, 1)
    return out


def _length_at(samples: int, from_hz: int, to_hz: int) -> int:
    return -(-samples * to_hz // from_hz)
