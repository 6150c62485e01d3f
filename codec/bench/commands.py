"""Measures codecs that are programs: the CPU time of whole processes, their start included."""

import resource
import shutil
import statistics
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from grove.codec.bench.figures import AbsentPeer, PeerFigures, Speed
from grove.codec.bench.material import voice
from grove.codec.bench.timing import REPEATS
from grove.codec.errors import CodecError
from grove.codec.sound.writer import RawOutput, WavOutput, open_writer

_TIMEOUT_S = 120


class PeerProgramError(CodecError):
    """A peer's program failed."""


@dataclass(frozen=True, slots=True)
class CommandPeer:
    """Two programs; `{source}` and `{target}` in their arguments are file names."""

    system: str
    rate_hz: int
    has_header: bool
    encode: tuple[str, ...]
    decode: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        programs = (self.encode[0], self.decode[0])
        return tuple(program for program in programs if shutil.which(program) is None)


COMMAND_PEERS = (
    CommandPeer(
        system="Opus 12 kbit/s",
        rate_hz=24_000,
        has_header=True,
        encode=("opusenc", "--quiet", "--bitrate", "12", "{source}", "{target}"),
        decode=("opusdec", "--quiet", "{source}", "{target}"),
    ),
    CommandPeer(
        system="Codec2 3200 bit/s",
        rate_hz=8_000,
        has_header=False,
        encode=("c2enc", "3200", "{source}", "{target}"),
        decode=("c2dec", "3200", "{source}", "{target}"),
    ),
)


def measure(peer: CommandPeer, seconds: float) -> PeerFigures | AbsentPeer:
    """Return a peer's figures, or what it lacks."""
    if peer.missing:
        return AbsentPeer(system=peer.system, reason=f"{' and '.join(peer.missing)} not installed")
    with tempfile.TemporaryDirectory(prefix="grove-bench-") as name:
        folder = Path(name)
        source, coded, decoded = folder / "in.wav", folder / "coded", folder / "out.wav"
        output = WavOutput() if peer.has_header else RawOutput()
        with open_writer(source, output, peer.rate_hz) as writer:
            writer.write(voice(seconds, peer.rate_hz)[:, None])
        return PeerFigures(
            system=peer.system,
            how=f"{peer.encode[0]}, {peer.decode[0]}: whole processes",
            whole_file=Speed(
                encode_rtf=_cpu_seconds(peer.encode, source, coded) / seconds,
                decode_rtf=_cpu_seconds(peer.decode, coded, decoded) / seconds,
            ),
        )


def _cpu_seconds(command: tuple[str, ...], source: Path, target: Path) -> float:
    """Return the median CPU time of a program, after one run to warm up."""
    arguments = [part.format(source=source, target=target) for part in command]
    times = []
    for _ in range(REPEATS + 1):
        before = _children_seconds()
        done = subprocess.run(arguments, capture_output=True, timeout=_TIMEOUT_S, check=False)
        times.append(_children_seconds() - before)
        if done.returncode != 0:
            tail = done.stderr.decode(errors="replace").strip()[-200:]
            raise PeerProgramError(f"{command[0]} ended with {done.returncode}, expected 0: {tail}")
    return statistics.median(times[1:])


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
