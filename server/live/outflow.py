"""The output of frames, gathered into packets of as many as the client asked for."""

import numpy as np

from grove.codec.arrays import F32, U16
from grove.codec.config import CodecSpec
from grove.codec.sound.pcm import OutputEncoding, encode_pcm
from grove.server.live.outbox import Outbox
from grove.server.live.packets import audio_message, tokens_message
from grove.server.protocol import KIND_TOKENS, MAX_PACKET_FRAMES, AudioOut, PacketHeader


class Outflow:
    """Counts what goes out: frames of tokens, samples of audio."""

    def __init__(
        self,
        spec: CodecSpec,
        pcm: OutputEncoding,
        outbox: Outbox,
        *,
        is_json: bool,
        frames_per_packet: int,
    ) -> None:
        self.samples_out = 0
        self._spec = spec
        self._pcm = pcm
        self._outbox = outbox
        self._is_json = is_json
        self._wanted_frames = frames_per_packet
        self._tokens_out = 0
        self._levels = 0
        self._codes: list[U16] = []
        self._audio: list[F32] = []
        self._frames = 0

    def add_codes(self, codes: U16, levels: int) -> None:
        """Take codes [n, K], all of them at `levels`: a packet holds frames of one level."""
        if levels != self._levels:
            self.flush()
            self._levels = levels
        self._codes.append(codes)

    def add_audio(self, samples: F32) -> None:
        self._audio.append(samples)

    def step(self, frames: int) -> None:
        """Count frames whose output was added, and send what is enough for a packet."""
        self._frames += frames
        if self._frames >= self._wanted_frames:
            self.flush()

    def flush(self) -> None:
        """Send all that waits for company."""
        codes, audio = self._codes, self._audio
        self._codes, self._audio, self._frames = [], [], 0
        if codes:
            self._send_codes(codes[0] if len(codes) == 1 else np.concatenate(codes))
        if audio:
            self._send_audio(audio[0] if len(audio) == 1 else np.concatenate(audio))

    def _send_codes(self, codes: U16) -> None:
        for start in range(0, len(codes), MAX_PACKET_FRAMES):
            part = codes[start : start + MAX_PACKET_FRAMES]
            sequence = self._outbox.next_sequence
            header = PacketHeader(sequence, self._tokens_out, len(part), self._levels, KIND_TOKENS)
            self._outbox.put_numbered(tokens_message(self._spec, self._is_json, header, part))
            self._tokens_out += len(part)

    def _send_audio(self, samples: F32) -> None:
        if len(samples) == 0:
            return
        data = encode_pcm(samples, self._pcm)
        message = AudioOut(self._outbox.next_sequence, self.samples_out, len(samples), data)
        self._outbox.put_numbered(audio_message(self._is_json, message))
        self.samples_out += len(samples)
