"""Our codec, measured in a fresh process: `python -m grove.codec.bench.grove BUNDLE SECONDS`."""

import statistics
import sys
import time
from pathlib import Path

import numpy as np

from grove.codec.arrays import F32, I64, U16
from grove.codec.bench.figures import (
    BatchSpeed,
    CallSpeed,
    GroveFigures,
    Percentiles,
    Speed,
    StepTimes,
    WeightBound,
)
from grove.codec.bench.material import voice
from grove.codec.bench.timing import copy_rate, cpu_seconds, peak_rss_bytes, percentiles, read_rate
from grove.codec.bundle import load_bundle
from grove.codec.runtime import Codec
from grove.codec.stream import decode, encode

FRAMES_PER_CALL = (1, 8, 32, 128)
BATCHES = (1, 8, 32, 64)
_WARM_UP_STEPS = 5


def measure(codec: Codec, seconds: float) -> GroveFigures:
    """Return all figures, each over `seconds` of audio where that is what is coded."""
    pcm = voice(seconds, codec.spec.sample_rate_hz)
    whole_file = _whole_file(codec, pcm)
    peak = peak_rss_bytes()
    return GroveFigures(
        system=f"{codec.spec.name} {codec.spec.version}",
        whole_file=whole_file,
        peak_rss_bytes=peak,
        calls=tuple(_calls(codec, pcm, frames) for frames in FRAMES_PER_CALL),
        steps=_steps(codec, pcm),
        batches=tuple(_batch(codec, streams, seconds) for streams in BATCHES),
        weights=_weights(codec),
    )


def _whole_file(codec: Codec, pcm: F32) -> Speed:
    codes = encode(codec, pcm)
    audio_s = len(pcm) / codec.spec.sample_rate_hz
    return Speed(
        encode_rtf=cpu_seconds(lambda: encode(codec, pcm)) / audio_s,
        decode_rtf=cpu_seconds(lambda: decode(codec, codes, len(pcm))) / audio_s,
    )


def _calls(codec: Codec, pcm: F32, frames_per_call: int) -> CallSpeed:
    blocks = _blocks(codec, pcm, frames_per_call)
    states = codec.encoder_state(1), codec.decoder_state(1)
    codes = [codec.encode_step(block, states[0])[0] for block in blocks]
    levels = _full_levels(codec, codes[0])
    audio_s = sum(block.size for block in blocks) / codec.spec.sample_rate_hz

    def encode_all() -> None:
        state = states[0]
        for block in blocks:
            _, state = codec.encode_step(block, state)

    def decode_all() -> None:
        state = states[1]
        for part in codes:
            _, state = codec.decode_step(part, levels, state)

    speed = Speed(
        encode_rtf=cpu_seconds(encode_all) / audio_s, decode_rtf=cpu_seconds(decode_all) / audio_s
    )
    return CallSpeed(frames_per_call=frames_per_call, speed=speed)


def _steps(codec: Codec, pcm: F32) -> StepTimes:
    """Step one stream frame by frame, an encode and a decode in turns as a live call does."""
    encoder, decoder = codec.encoder_state(1), codec.decoder_state(1)
    encode_s, decode_s = [], []
    for frame in _blocks(codec, pcm, 1):
        start = time.perf_counter()
        codes, encoder = codec.encode_step(frame, encoder)
        middle = time.perf_counter()
        _, decoder = codec.decode_step(codes, _full_levels(codec, codes), decoder)
        encode_s.append(middle - start)
        decode_s.append(time.perf_counter() - middle)
    both_s = [sum(pair) for pair in zip(encode_s, decode_s, strict=True)]
    warm = min(_WARM_UP_STEPS, len(both_s) // 2)
    spec = codec.spec
    return StepTimes(
        step_ms=spec.hop_samples / spec.sample_rate_hz * 1000,
        encode=_percentiles(encode_s, warm),
        decode=_percentiles(decode_s, warm),
        both=_percentiles(both_s, warm),
    )


def _batch(codec: Codec, streams: int, seconds: float) -> BatchSpeed:
    """Step `streams` streams together, whose audio differs."""
    rate_hz, hop_s = codec.spec.sample_rate_hz, codec.spec.hop_samples / codec.spec.sample_rate_hz
    pcm = np.stack([voice(hop_s, rate_hz, seed) for seed in range(streams)])
    encoder, decoder = codec.encoder_state(streams), codec.decoder_state(streams)
    encode_s, decode_s = [], []
    # In turns, as live streams need them: each pushes the other's weights out of the caches.
    for _ in range(_WARM_UP_STEPS + max(5, round(5 * seconds))):
        start = time.process_time()
        codes, encoder = codec.encode_step(pcm, encoder)
        middle = time.process_time()
        _, decoder = codec.decode_step(codes, _full_levels(codec, codes), decoder)
        encode_s.append(middle - start)
        decode_s.append(time.process_time() - middle)
    encode_ms = statistics.median(encode_s[_WARM_UP_STEPS:]) * 1000
    decode_ms = statistics.median(decode_s[_WARM_UP_STEPS:]) * 1000
    return BatchSpeed(
        streams=streams,
        encode_ms=encode_ms,
        decode_ms=decode_ms,
        duplex_streams=streams * hop_s * 1000 / (encode_ms + decode_ms),
    )


def _weights(codec: Codec) -> WeightBound:
    cost = codec.bundle.manifest.cost
    macs_per_second = cost.encoder_macs_per_second + cost.decoder_macs_per_second
    weight_bytes = round(4 * macs_per_second / codec.spec.frame_rate_hz)
    return WeightBound(
        weight_bytes=weight_bytes,
        read_bytes_per_second=read_rate(weight_bytes),
        copy_bytes_per_second=copy_rate(),
    )


def _blocks(codec: Codec, pcm: F32, frames: int) -> list[F32]:
    """Return whole blocks [1, frames*hop]; at least one, however short the audio."""
    size = frames * codec.spec.hop_samples
    padded = np.pad(pcm, (0, max(0, size - len(pcm))))
    return [padded[None, start : start + size] for start in range(0, len(padded) - size + 1, size)]


def _full_levels(codec: Codec, codes: U16) -> I64:
    return np.full(codes.shape[:2], codec.spec.levels, np.int64)


def _percentiles(seconds: list[float], warm: int) -> Percentiles:
    return percentiles(seconds[warm:])


if __name__ == "__main__":
    figures = measure(Codec(load_bundle(Path(sys.argv[1])), threads=1), float(sys.argv[2]))
    sys.stdout.write(figures.model_dump_json())
