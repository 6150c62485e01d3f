"""A server in a thread of the test process, on loopback, with the fake codec."""

import asyncio
import contextlib
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import numpy as np
from fake_codec import SPEC, load_fake
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from grove.codec.arrays import F32
from grove.codec.bitstream import pack_frames, unpack_frames
from grove.codec.config import CodecSpec
from grove.codec.sound.pcm import encode_pcm
from grove.codec.sound.wav import wav_header
from grove.server.launch import make_server
from grove.server.models import LoadModel
from grove.server.protocol import audio_head, tokens_head, unpack_head
from grove.server.service import Service
from grove.server.settings import Settings


def make_settings(state_dir: Path, **changes: object) -> Settings:
    """Return settings for a test: fixed slots, so that nothing is measured."""
    values = {"state_dir": state_dir, "bundles": ("fake-24k",), "slots": 8, **changes}
    return Settings.model_validate(values)


class RunningServer:
    """Use as a context manager; `url` and `stream_url` lead to it."""

    def __init__(self, settings: Settings, load: LoadModel = load_fake) -> None:
        self.settings = settings
        self.server = make_server(settings, load)
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=20)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def service(self) -> Service:
        service = self.server.config.app.state.service  # type: ignore[union-attr]
        assert isinstance(service, Service)
        return service

    def connect(self, query: str = "", *, json: bool = False, **kwargs: object) -> ClientConnection:
        """Open a WebSocket on `/v1/stream`."""
        protocols = [Subprotocol("grove.v1.json" if json else "grove.v1")]
        kwargs.setdefault("subprotocols", protocols)
        return connect(
            f"ws://127.0.0.1:{self.port}/v1/stream?{query}",
            compression=None,
            **kwargs,  # type: ignore[arg-type]
        )

    def drain(self) -> None:
        """What SIGTERM does; signals reach only the main thread."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self.server.handle_exit, 15, None)

    def join(self, seconds: float) -> bool:
        """Tell whether the server has ended within the time."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def __enter__(self) -> Self:
        self._thread.start()
        for _ in range(1000):
            if self.server.started or not self._thread.is_alive():
                break
            threading.Event().wait(0.01)
        assert self.server.started, "the server did not start"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.client.close()
        self.server.should_exit = True
        self.server.force_exit = False
        self._thread.join(20)
        assert not self._thread.is_alive(), "the server did not stop"

    def _run(self) -> None:
        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            await self.server.serve([self._socket])

        asyncio.run(main())


def texts_until_close(socket: ClientConnection) -> list[str]:
    """Return the text messages up to the close, whatever its code."""
    texts = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            message = socket.recv(timeout=10)
            texts += [message] if isinstance(message, str) else []
    return texts


def noise(samples: int, seed: int = 0) -> F32:
    """Return noise that survives 16 bits unchanged."""
    values = np.random.default_rng(seed).integers(-12_000, 12_000, samples)
    return (values / 32_768).astype(np.float32)


def wav_bytes(samples: F32, sample_rate_hz: int = 24_000) -> bytes:
    header = wav_header("s16le", sample_rate_hz, 1, len(samples))
    return header + encode_pcm(samples, "s16le")


def audio_packet(sequence: int, payload: bytes) -> bytes:
    return audio_head(sequence) + payload


def tokens_packet(sequence: int, codes: list[list[int]], levels: int) -> bytes:
    """Return frames of codes, each as many as the levels carry, as a client sends them."""
    wide = np.zeros((len(codes), len(SPEC.code_sizes)), np.uint16)
    wide[:, : SPEC.codes_at(levels)] = codes
    return tokens_head(sequence, levels, len(codes)) + pack_frames(SPEC, wide, levels)


def payload_of(packet: bytes) -> bytes:
    return packet[unpack_head(packet).size_bytes :]


def codes_of(packet: bytes, spec: CodecSpec = SPEC) -> list[list[int]]:
    """Return the frames of codes in a packet."""
    head = unpack_head(packet)
    codes = unpack_frames(spec, payload_of(packet), head.count, head.levels)
    return codes[:, : spec.codes_at(head.levels)].tolist()
