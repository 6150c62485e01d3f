"""Measures EnCodec or Mimi: `python -m grove.codec.bench.neural NAME SECONDS STARTED_AT`.

The published configurations with random weights, since speed does not depend on the weights. It is
a process of its own, because torch must not get into ours, and for its start and memory.
"""

# ruff: noqa: PLC0415

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from grove.codec.bench.figures import ColdStart, PeerFigures, Speed, StepTimes
from grove.codec.bench.material import voice
from grove.codec.bench.timing import cpu_seconds, peak_rss_bytes, percentiles

if TYPE_CHECKING:
    import torch

NAMES = ("encodec", "mimi")
_RATE_HZ = 24_000
_MIMI_STEP_SAMPLES = 1_920
_MIMI_BOOKS = 8
_ENCODEC_KBPS = 6.0
_REPEATS = 3
_WARM_UP_STEPS = 3


class Peer(Protocol):
    """A model from transformers, as far as we use it."""

    system: str

    def encode(self, pcm: "torch.Tensor") -> "torch.Tensor": ...

    def decode(self, codes: "torch.Tensor") -> None: ...

    def steps(self, pcm: "torch.Tensor") -> StepTimes | None: ...


class EncodecPeer:
    """EnCodec at 6 kbit/s; transformers has no streaming for it."""

    system = "EnCodec 24k, 6 kbit/s"

    def __init__(self) -> None:
        from transformers import EncodecConfig, EncodecModel

        self._model = EncodecModel(EncodecConfig()).train(False)

    def encode(self, pcm: "torch.Tensor") -> "torch.Tensor":
        codes: torch.Tensor = self._model.encode(pcm, bandwidth=_ENCODEC_KBPS).audio_codes
        return codes

    def decode(self, codes: "torch.Tensor") -> None:
        self._model.decode(codes, [None])

    def steps(self, pcm: "torch.Tensor") -> StepTimes | None:  # noqa: ARG002 - it has none
        return None


class MimiPeer:
    """Mimi with 8 of its books, 1.1 kbit/s, in steps of 80 ms.

    Its decoder in transformers keeps the attention's memory between calls, but not that of the
    convolutions: a step takes as long as a right one, and its sound would click.
    """

    system = "Mimi, 8 books"

    def __init__(self) -> None:
        from transformers import MimiConfig, MimiModel

        self._model = MimiModel(MimiConfig()).train(False)

    def encode(self, pcm: "torch.Tensor") -> "torch.Tensor":
        codes: torch.Tensor = self._model.encode(pcm, num_quantizers=_MIMI_BOOKS).audio_codes
        return codes

    def decode(self, codes: "torch.Tensor") -> None:
        self._model.decode(codes)

    def steps(self, pcm: "torch.Tensor") -> StepTimes | None:
        encode_s, decode_s = [], []
        attention, padding, decoder_attention = None, None, None
        for start in range(0, pcm.shape[-1] - _MIMI_STEP_SAMPLES + 1, _MIMI_STEP_SAMPLES):
            began_s = time.perf_counter()
            coded = self._model.encode(
                pcm[..., start : start + _MIMI_STEP_SAMPLES],
                num_quantizers=_MIMI_BOOKS,
                encoder_past_key_values=attention,
                padding_cache=padding,
                use_streaming=True,
            )
            attention, padding = coded.encoder_past_key_values, coded.padding_cache
            middle_s = time.perf_counter()
            made = self._model.decode(coded.audio_codes, decoder_past_key_values=decoder_attention)
            decoder_attention = made.decoder_past_key_values
            encode_s.append(middle_s - began_s)
            decode_s.append(time.perf_counter() - middle_s)
        warm = min(_WARM_UP_STEPS, len(encode_s) // 2)
        both_s = [sum(pair) for pair in zip(encode_s, decode_s, strict=True)]
        return StepTimes(
            step_ms=_MIMI_STEP_SAMPLES / _RATE_HZ * 1000,
            encode=percentiles(encode_s[warm:]),
            decode=percentiles(decode_s[warm:]),
            both=percentiles(both_s[warm:]),
        )


_PEERS: dict[str, Callable[[], Peer]] = {"encodec": EncodecPeer, "mimi": MimiPeer}


def measure(name: str, seconds: float, started_at_s: float) -> PeerFigures:
    """Return the figures of a peer in this process, which was started at `started_at_s`."""
    # Its optional extension wants CUDA even beside a torch without; transformers can do without.
    sys.modules["torchaudio"] = None  # type: ignore[assignment]
    import torch

    torch.set_num_threads(1)
    with torch.inference_mode():
        peer = _PEERS[name]()
        first = torch.from_numpy(voice(_MIMI_STEP_SAMPLES / _RATE_HZ, _RATE_HZ))[None, None]
        peer.decode(peer.encode(first))
        start = ColdStart(seconds=time.monotonic() - started_at_s, peak_rss_bytes=peak_rss_bytes())
        pcm = torch.from_numpy(voice(seconds, _RATE_HZ))[None, None]
        codes = peer.encode(pcm)
        speed = Speed(
            encode_rtf=cpu_seconds(lambda: peer.encode(pcm), _REPEATS) / seconds,
            decode_rtf=cpu_seconds(lambda: peer.decode(codes), _REPEATS) / seconds,
        )
        peak = peak_rss_bytes()
        return PeerFigures(
            system=peer.system,
            how="transformers, random weights",
            whole_file=speed,
            steps=peer.steps(pcm),
            cold_start=start,
            peak_rss_bytes=peak,
        )


if __name__ == "__main__":
    found = measure(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
    sys.stdout.write(found.model_dump_json())
