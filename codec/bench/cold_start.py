"""One step in a fresh process: `python -m grove.codec.bench.cold_start BUNDLE`."""

import sys
import time
from pathlib import Path

import numpy as np

from grove.codec.bundle import load_bundle
from grove.codec.runtime import Codec


def step_once(bundle: Path) -> float:
    """Load, encode and decode one frame; return the time on the system's steady clock."""
    codec = Codec(load_bundle(bundle), threads=1)
    pcm = np.zeros((1, codec.spec.hop_samples), np.float32)
    codes, _ = codec.encode_step(pcm, codec.encoder_state(1))
    levels = np.full((1, 1), codec.spec.levels, np.int64)
    codec.decode_step(codes, levels, codec.decoder_state(1))
    return time.monotonic()


if __name__ == "__main__":
    done_s = step_once(Path(sys.argv[1]))
    from grove.codec.bench.timing import peak_rss_bytes

    sys.stdout.write(f"{done_s!r} {peak_rss_bytes()}")
