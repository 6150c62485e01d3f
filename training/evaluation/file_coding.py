"""Whole clips through a codec, coded as they are served, with frames lost on the way."""

import numpy as np

from grove.codec.arrays import F32, I64, U16
from grove.codec.resample import resampled_samples
from grove.codec.stream import FrameCodec, SampleDrain, carried_codes, encode
from grove.training.evaluation.metrics import SCORING_RATE_HZ
from grove.training.evaluation.packet_loss import Bool, Concealment


def encode_clip(codec: FrameCodec, samples: F32) -> U16:
    """Return the codes [T, K] of `samples` [N] at 24 kHz."""
    return encode(codec, samples, SCORING_RATE_HZ)


def decode_clip(
    codec: FrameCodec,
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
    rate_hz = codec.spec.sample_rate_hz
    drain = SampleDrain(
        codec.spec, SCORING_RATE_HZ, end=resampled_samples(samples, SCORING_RATE_HZ, rate_hz)
    )
    sound = np.concatenate((drain.push(pcm), drain.finish(samples)))[:, 0]
    # Judges take what a file of 16 bits could hold.
    return np.clip(sound, -1, 1)


def _repeated(codes: U16, lost: Bool, level: int) -> tuple[U16, I64]:
    """Give each lost frame the codes of the last one that came, or zero levels before the first."""
    came = np.where(lost, -1, np.arange(len(codes)))
    last = np.maximum.accumulate(came)
    return codes[np.maximum(last, 0)], np.where(last < 0, 0, level)


def _decode_with_gaps(codec: FrameCodec, codes: U16, lost: Bool, level: int) -> F32:
    """Decode only what came [1, T * hop]; where nothing came, the samples are zeros."""
    frames = np.zeros((len(codes), codec.spec.hop_samples), np.float32)
    came = codes[~lost]
    if len(came):
        pcm = _decode(codec, came, np.full(len(came), level))
        frames[~lost] = pcm.reshape(len(came), -1)
    return frames.reshape(1, -1)


def _decode(codec: FrameCodec, codes: U16, levels: I64) -> F32:
    """Return pcm [1, T * hop] of codes [T, K], those beyond a frame's level being zeros."""
    sent: U16 = codes * carried_codes(codec.spec)[levels]
    pcm, _ = codec.decode_step(sent[None], levels[None], codec.decoder_state(1))
    return pcm
