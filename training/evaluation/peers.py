"""Real codecs found on the system, run on the same clips as ours."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, assert_never

import numpy as np
import soundfile
import soxr
from pydantic import Field

from grove.codec.arrays import F32
from grove.codec.config import Frozen
from grove.codec.errors import AudioError, CodecError
from grove.training.evaluation.alignment import AlignBy, align, cut
from grove.training.evaluation.metrics import SCORING_RATE_HZ
from grove.training.evaluation.ogg import OPUS_RATE_HZ, lose, packets, read_opus, write_opus

COMMAND_TIMEOUT_S = 120
PACKET_MS = 20
LONGEST_DELAY_MS = 100
CODEC2_RATE_HZ = 8_000
SPEEX_WIDE_RATE_HZ = 16_000
_SPEEX_EXTRA_HEADERS_AT = 68


class PeerError(CodecError):
    """A peer's program failed."""


class OpusPeer(Frozen):
    """opusenc and opusdec, variable bit rate, packets of 20 ms."""

    kind: Literal["opus"] = "opus"
    bitrate_kbps: float = Field(gt=0)

    @property
    def name(self) -> str:
        return f"Opus {self.bitrate_kbps:g}k"


class Codec2Peer(Frozen):
    """c2enc and c2dec: a vocoder at 8 kHz."""

    kind: Literal["codec2"] = "codec2"
    bitrate_bps: Literal[3200, 2400, 1600, 1400, 1300, 1200]

    @property
    def name(self) -> str:
        return f"Codec2 {self.bitrate_bps}"


class SpeexPeer(Frozen):
    """speexenc and speexdec, wide-band."""

    kind: Literal["speex"] = "speex"
    quality: int = Field(5, ge=0, le=10)

    @property
    def name(self) -> str:
        return f"Speex-WB q{self.quality}"


Peer = Annotated[OpusPeer | Codec2Peer | SpeexPeer, Field(discriminator="kind")]

DEFAULT_PEERS: tuple[Peer, ...] = (
    OpusPeer(bitrate_kbps=6),
    OpusPeer(bitrate_kbps=8),
    OpusPeer(bitrate_kbps=12),
    OpusPeer(bitrate_kbps=16),
    Codec2Peer(bitrate_bps=3200),
    Codec2Peer(bitrate_bps=1200),
    SpeexPeer(),
)


class Transcoded(NamedTuple):
    """A clip after a peer: as long as the original and in time with it, and what it cost."""

    samples: F32
    kbps: float


class Packed(NamedTuple):
    """What a peer's programs gave back: samples at 24 kHz with its delay, and the bits sent."""

    samples: F32
    payload_bytes: int


def programs(peer: Peer) -> tuple[str, str]:
    match peer:
        case OpusPeer():
            return "opusenc", "opusdec"
        case Codec2Peer():
            return "c2enc", "c2dec"
        case SpeexPeer():
            return "speexenc", "speexdec"
        case _:
            assert_never(peer)


def missing_programs(peer: Peer) -> tuple[str, ...]:
    return tuple(name for name in programs(peer) if shutil.which(name) is None)


def conceals_loss(peer: Peer) -> bool:
    """Only Opus lets single packets be lost from its file; the others' tools do not."""
    return isinstance(peer, OpusPeer)


def program_identity(peer: Peer) -> str:
    """Return what tells one build of the peer's programs from another: their sizes and times."""
    found = [shutil.which(name) for name in programs(peer)]
    stats = [Path(path).stat() for path in found if path is not None]
    return " ".join(f"{stat.st_size}.{stat.st_mtime_ns}" for stat in stats)


def transcode(peer: Peer, samples: F32, lost: Sequence[bool] = ()) -> Transcoded:
    """Return `samples` [N] at 24 kHz after the peer; `lost` marks packets of 20 ms."""
    if lost and not conceals_loss(peer):
        raise PeerError(f"{peer.name} cannot lose packets, asked to lose {sum(lost)}")
    padded = np.pad(samples, (0, _tail_samples(peer)))
    with tempfile.TemporaryDirectory(prefix="grove-peer-") as folder:
        match peer:
            case OpusPeer():
                packed = _run_opus(peer, padded, lost, Path(folder))
            case Codec2Peer():
                packed = _run_codec2(peer, padded, Path(folder))
            case SpeexPeer():
                packed = _run_speex(peer, padded, Path(folder))
            case _:
                assert_never(peer)
    within_scale = np.clip(packed.samples, -1, 1)
    kbps = packed.payload_bytes * 8 / len(padded) * SCORING_RATE_HZ / 1000
    return Transcoded(_aligned(peer, samples, within_scale, bool(lost)), kbps)


def _aligned(peer: Peer, samples: F32, decoded: F32, has_losses: bool) -> F32:
    if has_losses:
        # opusdec has removed the delay already, and a hole must not be taken for a shift.
        return cut(decoded, 0, len(samples))
    by: AlignBy = "envelope" if isinstance(peer, Codec2Peer) else "waveform"
    return align(samples, decoded, LONGEST_DELAY_MS * SCORING_RATE_HZ // 1000, by)


def _tail_samples(peer: Peer) -> int:
    """Codec2 and Speex keep what their delay holds at the end, unless silence pushes it out."""
    return 0 if isinstance(peer, OpusPeer) else LONGEST_DELAY_MS * SCORING_RATE_HZ // 1000


def _run_opus(peer: OpusPeer, samples: F32, lost: Sequence[bool], folder: Path) -> Packed:
    wav, coded, decoded = folder / "in.wav", folder / "coded.opus", folder / "out.wav"
    soundfile.write(wav, samples, SCORING_RATE_HZ, subtype="PCM_16")
    rate = ("--bitrate", f"{peer.bitrate_kbps:g}", "--framesize", str(PACKET_MS))
    _run("opusenc", "--quiet", *rate, str(wav), str(coded))
    stream = read_opus(coded.read_bytes())
    if any(lost):
        packet_samples = PACKET_MS * OPUS_RATE_HZ // 1000
        coded.write_bytes(write_opus(lose(stream, lost), packet_samples))
    form = ("--rate", str(SCORING_RATE_HZ), "--float")
    _run("opusdec", "--quiet", *form, str(coded), str(decoded))
    return Packed(_read_wav(decoded), sum(map(len, stream.audio)))


def _run_codec2(peer: Codec2Peer, samples: F32, folder: Path) -> Packed:
    raw, coded, decoded = folder / "in.raw", folder / "coded.bit", folder / "out.raw"
    narrow = soxr.resample(samples, SCORING_RATE_HZ, CODEC2_RATE_HZ)
    (np.clip(narrow, -1, 1) * 32767).round().astype("<i2").tofile(raw)
    _run("c2enc", str(peer.bitrate_bps), str(raw), str(coded))
    _run("c2dec", str(peer.bitrate_bps), str(coded), str(decoded))
    out = np.fromfile(decoded, "<i2").astype(np.float32) / 32768
    return Packed(soxr.resample(out, CODEC2_RATE_HZ, SCORING_RATE_HZ), coded.stat().st_size)


def _run_speex(peer: SpeexPeer, samples: F32, folder: Path) -> Packed:
    wav, coded, decoded = folder / "in.wav", folder / "coded.spx", folder / "out.wav"
    wide = soxr.resample(samples, SCORING_RATE_HZ, SPEEX_WIDE_RATE_HZ)
    soundfile.write(wav, np.clip(wide, -1, 1), SPEEX_WIDE_RATE_HZ, subtype="PCM_16")
    _run("speexenc", "--wideband", "--quality", str(peer.quality), str(wav), str(coded))
    _run("speexdec", str(coded), str(decoded))
    return Packed(_read_wav(decoded), speex_payload_bytes(coded.read_bytes()))


def speex_payload_bytes(data: bytes) -> int:
    """Return the bytes of an Ogg Speex file's audio packets."""
    found = packets(data)
    if not found[0].startswith(b"Speex   "):
        raise AudioError(f"the Ogg file's first packet is {found[0][:8]!r}, expected b'Speex   '")
    at = _SPEEX_EXTRA_HEADERS_AT
    headers = 2 + int.from_bytes(found[0][at : at + 4], "little")
    return sum(map(len, found[headers:]))


def _read_wav(path: Path) -> F32:
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    mono: F32 = soxr.resample(samples[:, 0], rate_hz, SCORING_RATE_HZ)
    return mono


def _run(program: str, *arguments: str) -> None:
    try:
        done = subprocess.run(
            [program, *arguments], capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
    except FileNotFoundError as error:
        raise PeerError(
            f"{program} is not on this system", hint="install it, or leave the peer out"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"{program} ran for more than {COMMAND_TIMEOUT_S} s") from error
    if done.returncode != 0:
        tail = done.stderr.decode(errors="replace").strip()[-300:]
        raise PeerError(f"{program} ended with status {done.returncode}, expected 0: {tail}")
