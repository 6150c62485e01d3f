"""One stream of one client, without I/O: bytes and outcomes in, work and messages out."""

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from grove.codec.arrays import F32, U16
from grove.codec.config import CodecSpec
from grove.codec.errors import StreamError
from grove.codec.sound.pcm import SAMPLE_BYTES, decode_pcm
from grove.codec.stream import FrameFeed, SampleDrain
from grove.server.engine.work import Audio, Failed, Mark, Outcome, Reset, Stepped, Tokens, Work
from grove.server.live.outbox import Outbox
from grove.server.live.outflow import Outflow
from grove.server.live.pacing import Pacing
from grove.server.live.packets import PCM_ENCODINGS, check_lost, level_runs, unpack_codes
from grove.server.protocol import (
    CLOSE_DONE,
    KIND_AUDIO,
    KIND_TOKENS,
    Ack,
    AudioIn,
    Clear,
    Cleared,
    Encoding,
    ErrorCode,
    Finalize,
    Flush,
    Flushed,
    Heartbeat,
    LevelsChanged,
    Lost,
    Mode,
    Pace,
    PacketHeader,
    Ping,
    Pong,
    ServerMessage,
    SessionClosed,
    SessionError,
    SetLevels,
    TokensIn,
    decode_message,
    encode_message,
    error_message,
    full_sequence,
    unpack_head,
)
from grove.server.settings import Settings

_FLUSH = "flush"
_FINALIZE = "finalize"


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """What the client asked for, with every default filled in."""

    mode: Mode
    encoding: Encoding
    sample_rate_hz: int
    channels: int
    levels: int
    pace: Pace
    heartbeat_ms: int
    is_json: bool
    frames_per_packet: int = 1


class Session:
    """Call `receive` and `on_outcome`; then submit `take_work()` and send what `outbox` holds."""

    def __init__(
        self,
        settings: StreamSettings,
        spec: CodecSpec,
        limits: Settings,
        now_s: float,
        on_error: Callable[[ErrorCode], None],
    ) -> None:
        self.settings = settings
        self._on_error = on_error
        self.outbox = Outbox(limits.max_replay_bytes)
        self.pacing = Pacing(limits, settings.pace, now_s)
        self.close_code: int | None = None
        self.frames_out = 0
        self.next_sequence = 0
        self._spec = spec
        self._pcm = PCM_ENCODINGS[settings.encoding]
        self._feed = FrameFeed(spec, settings.sample_rate_hz)
        self._drain = SampleDrain(spec, settings.sample_rate_hz)
        self._outflow = Outflow(
            spec,
            self._pcm,
            self.outbox,
            is_json=settings.is_json,
            frames_per_packet=settings.frames_per_packet,
        )
        self._levels = settings.levels
        self._remainder = b""
        self._work: list[Work] = []
        self._flushes: deque[tuple[str | None, int]] = deque()
        self._clears: deque[int] = deque()
        self._frames_in = 0
        self._frames_dropped = 0
        self._source_samples = 0
        self._sha256 = hashlib.sha256()
        self._is_finalizing = False

    # --- what the shell asks --------------------------------------------------------------

    @property
    def queued_frames(self) -> int:
        """Frames that the engine has still to do."""
        return self._frames_in - self._frames_dropped - self.frames_out

    @property
    def is_done(self) -> bool:
        """Whether the session ended as it should."""
        return self.close_code == CLOSE_DONE

    def take_work(self) -> list[Work]:
        work, self._work = self._work, []
        return work

    def send(self, message: ServerMessage) -> None:
        self.outbox.put(encode_message(message))

    def fail(self, error: SessionError) -> None:
        """Tell the client; a fatal error ends the session."""
        if self.close_code is not None:
            return
        self._on_error(error.code)
        self.send(error_message(error))
        if error.fatal:
            self.close_code = error.close_code

    def heartbeat(self) -> None:
        received_ms = self.pacing.received_s * 1000
        processed_ms = self.frames_out * self._spec.hop_samples / self._spec.sample_rate_hz * 1000
        buffered_ms = self.queued_frames * self._spec.hop_samples / self._spec.sample_rate_hz * 1000
        self.send(Heartbeat(round(received_ms, 1), round(processed_ms, 1), round(buffered_ms, 1)))

    # --- from the client ------------------------------------------------------------------

    def receive(self, message: bytes | str, now_s: float) -> None:
        """Take one message; what is wrong with it becomes an `error` message."""
        if self.close_code is not None:
            return
        self.pacing.heard_s = now_s
        try:
            if isinstance(message, str):
                self._receive_text(message, now_s)
            else:
                self._receive_packet(message, now_s)
        except SessionError as error:
            self.fail(error)

    def _receive_packet(self, packet: bytes, now_s: float) -> None:
        if self.settings.is_json:
            raise SessionError(
                ErrorCode.BAD_PACKET, "a binary message, expected JSON in this subprotocol"
            )
        head = unpack_head(packet)
        header = PacketHeader(
            full_sequence(head.low_sequence, self.next_sequence),
            self._frames_in,  # implied: packets come in order
            head.count,
            head.levels,
            head.kind,
        )
        self._receive_data(header, memoryview(packet)[head.size_bytes :], now_s)

    def _receive_text(self, text: str, now_s: float) -> None:
        message = decode_message(text)
        match message:
            case Ping():
                self.outbox.put_first(encode_message(Pong(message.id)))
            case Ack():
                self.outbox.acknowledge(message.sequence)
            case AudioIn() | TokensIn() if not self.settings.is_json:
                raise SessionError(
                    ErrorCode.UNKNOWN_MESSAGE,
                    "data in JSON belongs to the subprotocol grove.v1.json",
                )
            case AudioIn():
                header = PacketHeader(message.sequence, 0, 0, 0, KIND_AUDIO)
                self._receive_data(header, message.data, now_s)
            case TokensIn():
                header = PacketHeader(
                    message.sequence, message.index, message.count, message.levels, KIND_TOKENS
                )
                self._receive_data(header, message.data, now_s)
            case _:
                self._receive_control(message, now_s)

    def _receive_control(
        self, message: SetLevels | Flush | Finalize | Clear | Lost, now_s: float
    ) -> None:
        if isinstance(message, Finalize) and self._is_finalizing:
            return  # sent again after a resume, since its answer had not come yet
        self._check_open()
        match message:
            case SetLevels():
                self._set_levels(message.levels)
            case Flush():
                self._flushes.append((message.id, self._feed.pending_samples))
                self._work.append(Mark(_FLUSH, now_s))
            case Finalize():
                self._finalize(now_s)
            case Clear():
                self._clear(now_s)
            case Lost():
                self._lose(message, now_s)

    def _receive_data(
        self, header: PacketHeader, payload: bytes | memoryview, now_s: float
    ) -> None:
        kind = KIND_TOKENS if self.settings.mode == "decode" else KIND_AUDIO
        if header.kind != kind:
            raise SessionError(
                ErrorCode.BAD_PACKET,
                f"a packet of kind {header.kind}, mode {self.settings.mode} takes kind {kind}",
            )
        if header.sequence < self.next_sequence:
            return  # repeated after a resume
        self._check_open()
        if header.sequence > self.next_sequence:
            raise SessionError(
                ErrorCode.BAD_SEQUENCE,
                f"sequence is {header.sequence}, expected {self.next_sequence}",
            )
        if kind == KIND_AUDIO:
            self._receive_audio(payload, now_s)
        else:
            self._receive_tokens(header, payload, now_s)
        self.next_sequence += 1

    def _receive_audio(self, payload: bytes | memoryview, now_s: float) -> None:
        channels = self.settings.channels
        if self._remainder:
            payload = self._remainder + bytes(payload)
        rest = len(payload) % (SAMPLE_BYTES[self._pcm] * channels)
        whole = len(payload) - rest
        samples = decode_pcm(memoryview(payload)[:whole], self._pcm)
        self._remainder = bytes(payload[whole:])
        if channels > 1:
            samples = samples.reshape(-1, channels)
        self._source_samples += len(samples)
        self._pace(len(samples) / self.settings.sample_rate_hz, now_s)
        try:
            frames = self._feed.push(samples)
        except StreamError as error:
            raise SessionError(ErrorCode.BAD_AUDIO, str(error), error.hint) from error
        self._submit_audio(frames, now_s)

    def _submit_audio(self, frames: F32, now_s: float) -> None:
        if len(frames):
            self._frames_in += len(frames)
            levels = np.full(len(frames), self._levels, np.int64)
            self._work.append(Audio(frames, levels, now_s))

    def _receive_tokens(
        self, header: PacketHeader, payload: bytes | memoryview, now_s: float
    ) -> None:
        self._check_index(header.index)
        codes = unpack_codes(self._spec, header, payload, self.settings.is_json)
        self._submit_tokens(codes, header.levels, now_s)

    def _submit_tokens(self, codes: U16, levels: int, now_s: float) -> None:
        self._pace(len(codes) / self._spec.frame_rate_hz, now_s)
        if len(codes):
            self._frames_in += len(codes)
            self._work.append(Tokens(codes, np.full(len(codes), levels, np.int64), now_s))

    def _lose(self, message: Lost, now_s: float) -> None:
        if self.settings.mode != "decode":
            raise SessionError(ErrorCode.UNKNOWN_MESSAGE, "`lost` belongs to mode decode")
        self._check_index(message.from_)
        check_lost(message.count)
        codes = np.zeros((message.count, len(self._spec.code_sizes)), np.uint16)
        self._submit_tokens(codes, 0, now_s)

    def _set_levels(self, levels: int) -> None:
        if self.settings.mode == "decode":
            raise SessionError(ErrorCode.UNKNOWN_MESSAGE, "`levels` belongs to audio input")
        if not 1 <= levels <= self._spec.levels:
            raise SessionError(
                ErrorCode.BAD_LEVELS, f"levels are {levels}, expected 1 to {self._spec.levels}"
            )
        self._levels = levels
        self.send(LevelsChanged(levels, self._frames_in - self._frames_dropped))

    def _finalize(self, now_s: float) -> None:
        self._is_finalizing = True
        if self.settings.mode != "decode":
            self._submit_audio(self._feed.finish(), now_s)
            self._cut_the_end()
        self._work.append(Mark(_FINALIZE, now_s))

    def _cut_the_end(self) -> None:
        """Once the input's length is known, and no older input is under way, let no padding out."""
        if self._is_finalizing and not self._clears and self.settings.mode == "transcode":
            self._drain.end_at(self._feed.samples)

    def _clear(self, now_s: float) -> None:
        self._feed = FrameFeed(self._spec, self.settings.sample_rate_hz)
        self._remainder = b""
        # Frames not even handed to the engine go too; marks have waiting clients.
        self._work = [work for work in self._work if isinstance(work, Mark | Reset)]
        self._clears.append(self._frames_in)
        self._work.append(Reset(now_s))

    def _pace(self, seconds: float, now_s: float) -> None:
        warning = self.pacing.advance(seconds, now_s)
        if warning is not None:
            self.send(warning)

    def _check_open(self) -> None:
        if self._is_finalizing:
            raise SessionError(ErrorCode.AFTER_FINALIZE, "input after finalize")

    def _check_index(self, index: int) -> None:
        if index != self._frames_in:
            raise SessionError(
                ErrorCode.BAD_SEQUENCE, f"frame index is {index}, expected {self._frames_in}"
            )

    # --- from the engine ------------------------------------------------------------------

    def on_outcome(self, outcome: Outcome) -> None:
        """Turn what the engine did into messages."""
        if self.close_code is not None:
            return
        match outcome:
            case Stepped():
                self._on_stepped(outcome)
            case Mark(label=label) if label == _FLUSH:
                self._outflow.flush()
                flush_id, pending = self._flushes.popleft()
                self._send_numbered(
                    Flushed(self.outbox.next_sequence, self.frames_out, pending, flush_id)
                )
            case Mark():
                self._on_finalized()
            case Reset():
                self._outflow.flush()
                self._frames_dropped = self._clears.popleft() - self.frames_out
                self._drain = SampleDrain(self._spec, self.settings.sample_rate_hz)
                self._cut_the_end()
                self.send(Cleared(self.frames_out))
            case Failed():
                self.fail(SessionError(ErrorCode.ENGINE_FAILED, "the model step failed"))

    def _on_stepped(self, stepped: Stepped) -> None:
        for start, stop in level_runs(stepped.levels):
            levels = int(stepped.levels[start])
            codes = stepped.codes[start:stop]
            self._sha256.update(codes[:, : self._spec.codes_at(levels)].tobytes())
            if self.settings.mode == "encode":
                self._outflow.add_codes(codes, levels)
            self.frames_out += stop - start
        if stepped.pcm is not None:
            self._outflow.add_audio(self._drain.push(stepped.pcm[None])[:, 0])
        self._outflow.step(len(stepped.levels))

    def _on_finalized(self) -> None:
        if self.settings.mode != "encode":
            transcoded = self._feed.samples_in if self.settings.mode == "transcode" else None
            self._outflow.add_audio(self._drain.finish(transcoded)[:, 0])
        self._outflow.flush()
        decoded = self.settings.mode == "decode"
        samples = self._outflow.samples_out if decoded else self._source_samples
        self._send_numbered(
            SessionClosed(
                self.outbox.next_sequence,
                self.frames_out,
                samples,
                samples / self.settings.sample_rate_hz,
                self._sha256.hexdigest(),
            )
        )
        self.close_code = CLOSE_DONE

    def _send_numbered(self, message: Flushed | SessionClosed) -> None:
        self.outbox.put_numbered(encode_message(message))
