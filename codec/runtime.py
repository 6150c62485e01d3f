"""The exported codec, stepped: batches of streams in, batches of streams out, memory as values.

One graph serves a single live frame and a thousand file frames. Each row of each matrix product is
computed alone and in one fixed order, so the results do not depend on how frames are grouped; the
tests hold this bit for bit.
"""

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from grove.codec.arrays import F32, I64, U16
from grove.codec.bundle import Bundle
from grove.codec.config import CodecSpec
from grove.codec.errors import BundleError, StreamError

# Its wheels hold a telemetry client; a codec has nothing to tell anyone.
ort.disable_telemetry_events()

# Beyond this many rows nothing is gained by sharing a pass over the weights, and caches overflow.
_ROWS_PER_CALL = 128
_SMALLEST = np.float32(1e-20)


class Codec:
    """Encoder and decoder of one bundle. Stateless: safe to share between threads."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self.bundle = bundle
        self.spec: CodecSpec = bundle.spec
        self._threads = threads
        self._encoder = open_session(bundle.encoder, "encoder", bundle, threads)
        self._decoder = open_session(bundle.decoder, "decoder", bundle, threads)

    def __reduce__(self) -> tuple[type["Codec"], tuple[Bundle, int]]:
        """Travel to other processes as the bundle's folder: sessions cannot be copied."""
        return Codec, (self.bundle, self._threads)

    def __deepcopy__(self, memo: dict[int, object]) -> "Codec":
        return self  # stateless: a copy could only cost memory

    def encoder_state(self, batch: int) -> F32:
        """Return the memory [B, S] of streams that have not begun."""
        return np.zeros((batch, self.bundle.manifest.encoder_state), np.float32)

    def decoder_state(self, batch: int) -> F32:
        """Return the memory [B, S] of streams that have not begun."""
        return np.zeros((batch, self.bundle.manifest.decoder_state), np.float32)

    def encode_step(self, pcm: F32, state: F32) -> tuple[U16, F32]:
        """Return codes [B, T, K] and the new memory for pcm [B, T*hop]."""
        batch, samples = pcm.shape
        if samples % self.spec.hop_samples:
            raise StreamError(
                f"got {samples} samples, expected a multiple of {self.spec.hop_samples}"
            )
        frames = without_denormals(pcm).reshape(batch, -1, self.spec.hop_samples)
        parts: list[NDArray[np.int64]] = []
        for block in row_blocks(frames.shape):
            feed = {"pcm": frames[:, block], "state": state}
            codes, state = self._encoder.run(["codes", "new_state"], feed)
            parts.append(codes)
        if not parts:
            return np.zeros((batch, 0, len(self.spec.code_sizes)), np.uint16), state
        return np.concatenate(parts, axis=1).astype(np.uint16), state

    def decode_step(self, codes: U16, levels: I64, state: F32) -> tuple[F32, F32]:
        """Return pcm [B, T*hop] and the new memory for codes [B, T, K] at levels [B, T]."""
        self._check_codes(codes, levels)
        wide, counts = codes.astype(np.int64), levels.astype(np.int64)
        parts: list[F32] = []
        for block in row_blocks(codes.shape):
            feed = {"codes": wide[:, block], "levels": counts[:, block], "state": state}
            pcm, state = self._decoder.run(["pcm", "new_state"], feed)
            parts.append(pcm)
        if not parts:
            return np.zeros((codes.shape[0], 0), np.float32), state
        joined = np.concatenate(parts, axis=1)
        return joined.reshape(codes.shape[0], -1), state

    def _check_codes(self, codes: U16, levels: I64) -> None:
        if codes.shape[2] != len(self.spec.code_sizes):
            raise StreamError(
                f"frames have {codes.shape[2]} codes, expected {len(self.spec.code_sizes)}"
            )
        if levels.size and not 0 <= int(levels.min()) <= int(levels.max()) <= self.spec.levels:
            raise StreamError(
                f"levels reach from {levels.min()} to {levels.max()}, "
                f"expected 0 to {self.spec.levels}"
            )
        largest = codes.max(axis=(0, 1), initial=0)
        for index, size in enumerate(self.spec.code_sizes):
            if largest[index] >= size:
                raise StreamError(f"code {largest[index]} in book {index}, expected below {size}")


def row_blocks(shape: tuple[int, ...]) -> list[slice]:
    """Cut T frames of B streams into calls of bounded size."""
    step = max(1, _ROWS_PER_CALL // max(1, shape[0]))
    return [slice(start, start + step) for start in range(0, shape[1], step)]


def without_denormals(pcm: F32) -> F32:
    """Return pcm with zero for what lies 400 dB below full scale: some processors crawl there.

    ONNX Runtime's own switch against denormals would change the floating-point mode of the thread
    that opens the first session, for all of Python in it, and of no other thread.
    """
    flushed: F32 = np.where(np.abs(pcm) < _SMALLEST, np.float32(0), pcm)
    return flushed


def open_session(graph: bytes, name: str, bundle: Bundle, threads: int) -> ort.InferenceSession:
    """Return a session that takes no more than its threads, and only while it runs."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A spinning pool burns the cores that other streams need between two frames.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises types of its own for each cause
        raise BundleError(f"the {name} graph of {bundle.path} does not load: {error}") from error
