"""How fast a corpus becomes tokens here, beside the model alone and EnCodec on the same files.

`python -m grove.codec.bench.throughput CORPUS`: one core, one thread, CPU time; files and shards
are included. EnCodec (transformers, random weights, 6 kbit/s) reads the files as we do and writes
nothing; it runs in a process of its own because of torch.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

from grove.codec.arrays import F32
from grove.codec.bench.timing import cpu_seconds, peak_rss_bytes
from grove.codec.bundle import Bundle, load_bundle
from grove.codec.config import Frozen
from grove.codec.runtime import Codec
from grove.codec.sound.source import open_audio
from grove.codec.stream import FrameFeed
from grove.codec.tokens.inputs import list_items
from grove.codec.tokens.records import Format, TokenizeSettings
from grove.codec.tokens.run import Request, tokenize

_BATCH = 32
_STEPS = 50
_ROUNDS = 3


class Throughput(Frozen):
    """Seconds of audio per second of CPU time."""

    corpus_seconds: float
    batch_of_32: float
    """The encoder stepped with 32 streams, one frame each, no files."""
    tokenize: dict[Format, float]
    encodec: float
    peak_rss_bytes: int

    @property
    def of_batch(self) -> float:
        return self.tokenize["parquet"] / self.batch_of_32

    @property
    def over_encodec(self) -> float:
        return self.tokenize["parquet"] / self.encodec


def measure(corpus: str, formats: Sequence[Format]) -> Throughput:
    """Measure everything on one corpus."""
    bundle = load_bundle()
    # The first run loads the model and warms the page cache.
    seconds = _tokenized(corpus, bundle, "parquet")
    batch: list[float] = []
    rates: dict[Format, list[float]] = {name: [] for name in formats}
    for _ in range(_ROUNDS):  # in turns: how fast a shared machine is changes by the minute
        batch.append(_batch_rate(bundle))
        for name in formats:
            began_s = time.process_time()
            _tokenized(corpus, bundle, name)
            rates[name].append(seconds / (time.process_time() - began_s))
    peak = peak_rss_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "grove.codec.bench.throughput", "--encodec", corpus],
        capture_output=True,
        text=True,
        check=True,
    )
    return Throughput(
        corpus_seconds=seconds,
        batch_of_32=median(batch),
        tokenize={name: median(found) for name, found in rates.items()},
        encodec=float(done.stdout.split()[-1]),
        peak_rss_bytes=peak,
    )


def _tokenized(corpus: str, bundle: Bundle, name: Format) -> float:
    with tempfile.TemporaryDirectory(prefix="grove-throughput-") as folder:
        settings = TokenizeSettings(format=name, levels=bundle.spec.levels)
        manifest = tokenize(Request((corpus,), Path(folder) / "t", bundle, settings))
        assert manifest is not None, "one rank makes all shards"
        return manifest.seconds


def _batch_rate(bundle: Bundle) -> float:
    codec = Codec(bundle)
    hop, rate_hz = codec.spec.hop_samples, codec.spec.sample_rate_hz
    noise = np.random.default_rng(0).standard_normal((_BATCH, hop))
    pcm, state = (0.1 * noise).astype(np.float32), codec.encoder_state(_BATCH)

    def steps() -> None:
        for _ in range(_STEPS):
            codec.encode_step(pcm, state)

    return _STEPS * _BATCH * hop / rate_hz / cpu_seconds(steps)


def _files(corpus: str) -> list[F32]:
    """Return the audio of a corpus as the codec would see it."""
    spec = load_bundle().spec
    signals: list[F32] = []
    for item in list_items((corpus,)):
        with open_audio(item.uri, allow_truncated=True) as source:
            feed = FrameFeed(spec, source.sample_rate_hz)
            parts = [feed.push(block).ravel() for block in source]
            signals.append(np.concatenate([*parts, feed.finish().ravel()]))
    return signals


def _encodec_rate(corpus: str) -> float:
    # Its optional extension wants CUDA even beside a torch without; transformers can do without.
    sys.modules["torchaudio"] = None  # type: ignore[assignment]
    import torch  # noqa: PLC0415 - only in the process that measures the peer

    from grove.codec.bench.neural import EncodecPeer  # noqa: PLC0415

    torch.set_num_threads(1)
    with torch.inference_mode():
        peer = EncodecPeer()
        peer.encode(torch.zeros(1, 1, 24_000))
        began_s = time.process_time()
        samples = 0
        for signal in _files(corpus):
            samples += len(signal)
            peer.encode(torch.from_numpy(signal)[None, None])
        return samples / 24_000 / (time.process_time() - began_s)


if __name__ == "__main__":
    if sys.argv[1] == "--encodec":
        sys.stdout.write(f"{_encodec_rate(sys.argv[2])}\n")
    else:
        found = measure(sys.argv[1], ("parquet",))
        sys.stdout.write(found.model_dump_json(indent=1) + "\n")
        sys.stdout.write(
            f"parquet is {found.of_batch:.2f} of a batch of {_BATCH}, "
            f"{found.over_encodec:.1f} times EnCodec\n"
        )
