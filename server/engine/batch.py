"""One model step for many streams: stack their states, encode, decode, hand the rows back."""

from dataclasses import dataclass, field

import numpy as np

from grove.codec.arrays import F32, I64, U16
from grove.codec.stream import FrameCodec, carried_codes
from grove.server.engine.work import Audio, Block, Stepped, Tokens


@dataclass(slots=True, eq=False)
class CodecRows:
    """The states of one stream; a value that only the engine touches."""

    encoder: F32
    decoder: F32


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """T frames of one stream. All steps of a batch have the same T."""

    rows: CodecRows
    work: Block
    to_audio: bool

    @property
    def frames(self) -> int:
        return len(self.work.levels)


@dataclass(eq=False)
class Batcher:
    """Runs batches of one codec."""

    codec: FrameCodec
    _carried: U16 = field(init=False)

    def __post_init__(self) -> None:
        self._carried = carried_codes(self.codec.spec)

    def start(self) -> CodecRows:
        """Return the states of a stream that begins in silence."""
        return CodecRows(self.codec.encoder_state(1)[0], self.codec.decoder_state(1)[0])

    def run(self, steps: list[Step]) -> list[Stepped]:
        """Return what each step gives, in the order of `steps`; their rows move on."""
        codes: list[U16] = [np.empty(0, np.uint16)] * len(steps)
        heard = [place for place, step in enumerate(steps) if isinstance(step.work, Audio)]
        if heard:
            for place, made in zip(heard, self._encode([steps[i] for i in heard]), strict=True):
                codes[place] = made
        for place, step in enumerate(steps):
            if isinstance(step.work, Tokens):
                codes[place] = step.work.codes
        sound: list[F32 | None] = [None] * len(steps)
        said = [place for place, step in enumerate(steps) if step.to_audio]
        if said:
            pcm = self._decode([steps[i] for i in said], [codes[i] for i in said])
            for place, made_pcm in zip(said, pcm, strict=True):
                sound[place] = made_pcm
        return [
            Stepped(codes[place], step.work.levels, sound[place], step.work.arrived_s)
            for place, step in enumerate(steps)
        ]

    def _encode(self, steps: list[Step]) -> U16:
        """Return codes [B, T, K], zero above each frame's level."""
        frames = np.stack([step.work.frames for step in steps if isinstance(step.work, Audio)])
        state = np.stack([step.rows.encoder for step in steps])
        codes, state = self.codec.encode_step(frames.reshape(len(steps), -1), state)
        for step, row in zip(steps, state, strict=True):
            # A copy, or one idle stream would keep the states of its whole batch in memory.
            step.rows.encoder = row.copy()
        levels = np.stack([step.work.levels for step in steps])
        kept: U16 = codes * self._carried[levels]
        return kept

    def _decode(self, steps: list[Step], codes: list[U16]) -> F32:
        """Return samples [B, T * hop]."""
        levels: I64 = np.stack([step.work.levels for step in steps])
        state = np.stack([step.rows.decoder for step in steps])
        pcm, state = self.codec.decode_step(np.stack(codes), levels, state)
        for step, row in zip(steps, state, strict=True):
            step.rows.decoder = row.copy()
        return pcm
