"""A load generator: realtime duplex streams against a server; run `python -m grove.tools.load`."""

import asyncio
import gc
import json
import random
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Final, cast
from urllib.parse import urlsplit

import msgspec
import numpy as np
import typer
import uvloop

from grove.codec.sound.pcm import encode_pcm
from grove.server.protocol import LEAST_HEAD_BYTES, ModelInfo, audio_head

_LATE_MS: Final = 100.0
_PATIENCE_SECONDS: Final = 30
_LOOP_SECONDS: Final = 10
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10


class Percentiles(msgspec.Struct, frozen=True):
    p50: float
    p99: float
    p999: float
    max: float


class Report(msgspec.Struct, frozen=True):
    """What a run found; times in milliseconds."""

    streams: int
    completed: int
    refused: dict[str, int]
    failed: dict[str, int]
    seconds: float
    frames: int
    missing_frames: int
    late_frames: int
    added_latency_ms: Percentiles
    generator_lateness_ms: Percentiles
    server_rss_bytes_before: int
    server_rss_bytes_after: int


@dataclass
class Findings:
    """Collected over all streams."""

    latencies_ms: list[float] = field(default_factory=list)
    lateness_ms: list[float] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    completed: int = 0
    missing_frames: int = 0


class _Said(msgspec.Struct, frozen=True):
    """What matters of the server's text messages."""

    type: str
    code: str = ""
    model: ModelInfo | None = None


class _LoadStream(asyncio.Protocol):
    """One client that talks in real time and listens, in as little work as will do.

    The generator shares the machine with what it measures. So it speaks WebSocket by hand: the
    key that masks its frames is zero, which is allowed and leaves the payload as it is.
    """

    def __init__(self, path: str, seconds: float, audio: bytes, findings: Findings) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._path = path
        self._seconds = seconds
        self._audio = audio
        self._findings = findings
        self._buffer = bytearray()
        self._is_open = False
        self._sent_s: list[float] = []
        self._heard = 0
        self._samples = 0
        self._frames = 0
        self._hop = 0
        self._hop_s = 0.0
        self._start_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)
        host, port = self._transport.get_extra_info("peername")[:2]
        named = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: {named}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._finish(self._findings.failed, "line lost")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._is_open:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._finish(self._findings.failed, head[9:12].decode())
                return
            self._is_open, self._buffer = True, rest
        while (message := self._next_message()) is not None:
            opcode, payload = message
            if opcode == _BINARY:
                self._on_audio(payload)
            elif opcode == _TEXT:
                self._on_text(payload)
            elif opcode == _PING:
                self._send(_PONG, payload)
            elif opcode == _CLOSE:
                code = int.from_bytes(payload[:2], "big")
                self._finish(self._findings.failed, f"closed {code}")

    def _next_message(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, start = buffer[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(buffer[2:start], "big")
        if len(buffer) < start + size:
            return None
        opcode, payload = buffer[0] & 0x0F, bytes(buffer[start : start + size])
        del buffer[: start + size]
        return opcode, payload

    def _on_text(self, payload: bytes) -> None:
        said = msgspec.json.decode(payload, type=_Said)
        if said.type == "session.created" and said.model is not None:
            self._hop = said.model.hop_samples
            self._hop_s = self._hop / said.model.sample_rate_hz
            self._frames = int(self._seconds / self._hop_s)
            self._start_s = time.perf_counter()
            self._talk()
        elif said.type == "error":
            self._finish(self._findings.refused, said.code)
        elif said.type == "session.closed":
            self._findings.missing_frames += self._frames - self._heard
            self._findings.completed += 1
            self._finish({}, "")

    def _talk(self) -> None:
        """Send the frames that are due, and come again for the next."""
        if self.done.done():
            return
        now_s = time.perf_counter()
        due_s = self._start_s + len(self._sent_s) * self._hop_s
        while due_s <= now_s and len(self._sent_s) < self._frames:
            self._send_frame(due_s)
            due_s += self._hop_s
        if len(self._sent_s) < self._frames:
            asyncio.get_running_loop().call_later(due_s - time.perf_counter(), self._talk)
        else:
            self._send(_TEXT, b'{"type":"finalize"}')

    def _send_frame(self, due_s: float) -> None:
        frame, size = len(self._sent_s), 2 * self._hop
        offset = frame * size % len(self._audio)
        header = audio_head(frame)
        now_s = time.perf_counter()
        self._sent_s.append(now_s)
        self._findings.lateness_ms.append((now_s - due_s) * 1000)
        self._send(_BINARY, header + self._audio[offset : offset + size])

    def _on_audio(self, packet: bytes) -> None:
        now_s = time.perf_counter()
        self._samples += (len(packet) - LEAST_HEAD_BYTES) // 2
        # The delay makes a frame's output end before the frame's own end.
        done = -(-self._samples // self._hop)
        while self._heard < min(done, len(self._sent_s)):
            self._findings.latencies_ms.append((now_s - self._sent_s[self._heard]) * 1000)
            self._heard += 1

    def _send(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        self._transport.write(bytes((0x80 | opcode,)) + length + bytes(4) + payload)

    def _finish(self, counts: dict[str, int], what: str) -> None:
        if self.done.done():
            return
        if what:
            counts[what] = counts.get(what, 0) + 1
        self.done.set_result(None)
        self._send(_CLOSE, (1000).to_bytes(2, "big"))
        self._transport.close()


async def _run_stream(
    address: tuple[str, int],
    delay_s: float,
    patience_s: float,
    make: Callable[[], _LoadStream],
    findings: Findings,
) -> None:
    await asyncio.sleep(delay_s)
    try:
        _, stream = await asyncio.get_running_loop().create_connection(make, *address)
        async with asyncio.timeout(patience_s):
            await stream.done
    except (OSError, TimeoutError) as error:
        name = type(error).__name__
        findings.failed[name] = findings.failed.get(name, 0) + 1


async def run_load(
    server: str, streams: int, seconds: float, levels: int | None, ramp_seconds: float
) -> Report:
    """Run all streams and return what they found."""
    path = "/v1/stream?mode=transcode" + (f"&levels={levels}" if levels else "")
    parts = urlsplit(server)
    address = (parts.hostname or "127.0.0.1", parts.port or 80)
    findings = Findings()
    audio = _audio()
    before = await asyncio.to_thread(resident_bytes, server)
    delays = random.Random(0)
    start_s = time.perf_counter()
    await asyncio.gather(
        *(
            _run_stream(
                address,
                delays.uniform(0, ramp_seconds),
                seconds + _PATIENCE_SECONDS,
                lambda: _LoadStream(path, seconds, audio, findings),
                findings,
            )
            for _ in range(streams)
        )
    )
    after = await asyncio.to_thread(resident_bytes, server)
    late = sum(1 for latency in findings.latencies_ms if latency > _LATE_MS)
    return Report(
        streams=streams,
        completed=findings.completed,
        refused=findings.refused,
        failed=findings.failed,
        seconds=round(time.perf_counter() - start_s, 2),
        frames=len(findings.latencies_ms),
        missing_frames=findings.missing_frames,
        late_frames=late,
        added_latency_ms=_percentiles(findings.latencies_ms),
        generator_lateness_ms=_percentiles(findings.lateness_ms),
        server_rss_bytes_before=before,
        server_rss_bytes_after=after,
    )


async def run_churn(server: str, sessions: int, at_once: int, seconds: float) -> list[Report]:
    """Open and close many short sessions, some at a time; report before, middle and end."""
    reports = []
    for _ in range(sessions // at_once):
        reports.append(await run_load(server, at_once, seconds, None, seconds / 2))
    return reports


def resident_bytes(server: str) -> int:
    """Return the server's resident memory, as its metrics say."""
    with urllib.request.urlopen(f"{server}/metrics", timeout=10) as reply:
        for line in reply.read().decode().splitlines():
            if line.startswith("process_resident_memory_bytes "):
                return int(float(line.split()[1]))
    return 0


def _percentiles(values: list[float]) -> Percentiles:
    if not values:
        return Percentiles(0, 0, 0, 0)
    p50, p99, p999, largest = np.percentile(values, (50, 99, 99.9, 100)).round(2).tolist()
    return Percentiles(p50, p99, p999, largest)


def _audio() -> bytes:
    """Return a few seconds of voice-like noise as 16-bit samples."""
    rate_hz = 24_000
    samples = _LOOP_SECONDS * rate_hz
    loudness = np.sin(np.arange(samples) * 2 * np.pi * 3 / rate_hz) ** 2
    noise = np.random.default_rng(0).normal(0, 0.1, samples)
    return encode_pcm((noise * loudness).astype(np.float32), "s16le")


def main(
    url: Annotated[str, typer.Option(help="the server")] = "http://127.0.0.1:8000",
    *,
    streams: Annotated[int, typer.Option(help="duplex streams at once")] = 40,
    seconds: Annotated[float, typer.Option(help="how long each talks")] = 60,
    levels: Annotated[int | None, typer.Option(help="bitrate")] = None,
    ramp: Annotated[float, typer.Option(help="seconds over which they start")] = 2,
    churn: Annotated[int, typer.Option(help="open this many sessions in all, by turns")] = 0,
) -> None:
    """Measure the latency that a running server adds to realtime duplex streams."""
    gc.freeze()
    if churn:
        reports = uvloop.run(run_churn(url, churn, streams, seconds))
        for report in reports:
            typer.echo(json.dumps(msgspec.to_builtins(report)))
    else:
        report = uvloop.run(run_load(url, streams, seconds, levels, ramp))
        typer.echo(json.dumps(msgspec.to_builtins(report), indent=2))


if __name__ == "__main__":
    typer.run(main)
