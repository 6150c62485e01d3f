"""What a benchmark finds, as values that survive in JSON. RTF: processing time ÷ audio time."""

from grove.codec.config import Frozen


class Speed(Frozen):
    """CPU time of whole files, per second of audio, on one thread."""

    encode_rtf: float
    decode_rtf: float

    @property
    def total_rtf(self) -> float:
        return self.encode_rtf + self.decode_rtf

    @property
    def duplex_streams(self) -> float:
        """How many streams a core could encode and decode, as far as time alone goes."""
        return 1 / self.total_rtf


class Percentiles(Frozen):
    """Times of single steps, by the clock on the wall."""

    p50_ms: float
    p99_ms: float


class StepTimes(Frozen):
    """One live stream, stepped; `both` is an encode and a decode in a row."""

    step_ms: float
    """How much audio a step holds."""
    encode: Percentiles
    decode: Percentiles
    both: Percentiles


class CallSpeed(Frozen):
    """One file, with so many frames in each call of the graphs."""

    frames_per_call: int
    speed: Speed


class BatchSpeed(Frozen):
    """Live streams stepped together, one frame each; medians of CPU time."""

    streams: int
    encode_ms: float
    decode_ms: float
    duplex_streams: float
    """How many streams one core sustains at this width: their audio ÷ the time it takes."""


class WeightBound(Frozen):
    """The least time of a one-stream step: every weight it multiplies by must come from memory."""

    weight_bytes: int
    """4 bytes for each multiply-add of a frame, encoder and decoder."""
    read_bytes_per_second: float
    """Measured: an array of so many bytes, read over and over."""
    copy_bytes_per_second: float
    """Measured: bytes copied, far more than caches hold; each is read once and written once."""

    @property
    def bound_ms(self) -> float:
        return self.weight_bytes / self.read_bytes_per_second * 1000


class ColdStart(Frozen):
    """From the start of a process to the end of its first step, imports and loading included."""

    seconds: float
    peak_rss_bytes: int


class GroveFigures(Frozen):
    """Everything measured of our codec."""

    system: str
    whole_file: Speed
    peak_rss_bytes: int
    """Of the process that coded the whole file."""
    calls: tuple[CallSpeed, ...]
    steps: StepTimes
    batches: tuple[BatchSpeed, ...]
    weights: WeightBound


class PeerFigures(Frozen):
    """What could be measured of a peer; None is what its programs do not offer."""

    system: str
    how: str
    whole_file: Speed
    steps: StepTimes | None = None
    cold_start: ColdStart | None = None
    peak_rss_bytes: int | None = None


class AbsentPeer(Frozen):
    """A peer that could not be measured here."""

    system: str
    reason: str


class Machine(Frozen):
    """Where it was measured."""

    cpu: str
    cores: int
    """Those that this process may use."""
    python: str
    onnxruntime: str
    numpy: str


class BenchReport(Frozen):
    """One run on one machine."""

    machine: Machine
    model_sha256: str
    seconds: float
    grove: GroveFigures
    cold_start: ColdStart
    peers: tuple[PeerFigures, ...]
    absent_peers: tuple[AbsentPeer, ...]
