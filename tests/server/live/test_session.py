"""The session by itself: no socket, no thread, no clock."""

import base64
import json
from collections import deque
from itertools import chain

import numpy as np
import pytest
from fake_codec import SPEC, FakeCodec
from hypothesis import given, settings
from hypothesis import strategies as st
from running import audio_packet, codes_of, noise, payload_of, tokens_packet

from grove.codec.sound.pcm import encode_pcm
from grove.server.engine.batch import Batcher, Step
from grove.server.engine.work import Audio, Mark, Reset, Tokens, take_frames
from grove.server.live.session import Session, StreamSettings
from grove.server.protocol import ErrorCode, tokens_head, unpack_head
from grove.server.settings import Settings

LIMITS = Settings(max_ahead_ms=1000, idle_seconds=60, session_seconds=100)


class Loop:
    """A session and a codec, joined without an engine."""

    def __init__(
        self, *, limits: Settings = LIMITS, step_frames: int = 1, **changes: object
    ) -> None:
        values = {
            "mode": "transcode",
            "encoding": "pcm_s16le",
            "sample_rate_hz": 24_000,
            "channels": 1,
            "levels": 3,
            "pace": "file",
            "heartbeat_ms": 0,
            "is_json": False,
            **changes,
        }
        self.step_frames = step_frames
        self.told: list[ErrorCode] = []
        self.session = Session(StreamSettings(**values), SPEC, limits, 0.0, self.told.append)  # type: ignore[arg-type]
        self.batcher = Batcher(FakeCodec())
        self.rows = self.batcher.start()
        self.packets: list[bytes] = []
        self.controls: list[dict[str, object]] = []

    def send(self, message: bytes | str | dict[str, object], now_s: float = 0.0) -> "Loop":
        """Hand a message in, do the work at once, and collect what comes out."""
        text = json.dumps(message) if isinstance(message, dict) else message
        self.session.receive(text, now_s)
        self.step()
        return self

    def step(self) -> None:
        pending = deque(self.session.take_work())
        while pending:
            match pending[0]:
                case Audio() | Tokens():
                    block = take_frames(pending, self.step_frames)
                    to_audio = self.session.settings.mode != "encode"
                    self.session.on_outcome(self.batcher.run([Step(self.rows, block, to_audio)])[0])
                case Reset() as reset:
                    pending.popleft()
                    self.rows = self.batcher.start()
                    self.session.on_outcome(reset)
                case Mark() as mark:
                    pending.popleft()
                    self.session.on_outcome(mark)
        while self.session.outbox:
            message = self.session.outbox.pop()
            if isinstance(message, bytes):
                self.packets.append(message)
            else:
                self.controls.append(json.loads(message))

    @property
    def errors(self) -> list[object]:
        assert [code.value for code in self.told] == self.told_codes()
        return self.told_codes()

    def told_codes(self) -> list[object]:
        return [one["code"] for one in self.controls if one["type"] == "error"]

    @property
    def audio(self) -> bytes:
        return b"".join(map(payload_of, self.packets))


def pcm(samples: int, seed: int = 0) -> bytes:
    return encode_pcm(noise(samples, seed), "s16le")


def test_a_packet_may_end_within_a_sample() -> None:
    data = pcm(960)
    whole, split = Loop(mode="encode"), Loop(mode="encode")
    whole.send(audio_packet(0, data))
    split.send(audio_packet(0, data[:961])).send(audio_packet(1, data[961:]))
    assert whole.packets == split.packets


def test_frames_that_are_ready_together_travel_as_one_block() -> None:
    session = Loop(mode="encode").session
    session.receive(audio_packet(0, pcm(480 * 7 + 100)), 0.0)
    session.receive('{"type":"levels","levels":1}', 0.0)
    session.receive(audio_packet(1, pcm(480 * 2)), 0.0)
    session.receive(audio_packet(2, pcm(100)), 0.0)
    blocks = [work for work in session.take_work() if isinstance(work, Audio)]
    assert [(block.frames.shape, set(block.levels)) for block in blocks] == [
        ((7, 480), {3}),
        ((2, 480), {1}),
    ]
    assert session.queued_frames == 9


@pytest.mark.parametrize("mode", ["encode", "transcode"])
def test_what_comes_out_does_not_depend_on_how_many_frames_a_step_takes(mode: str) -> None:
    def heard(step_frames: int) -> tuple[list[list[int]], bytes, object]:
        loop = Loop(mode=mode, step_frames=step_frames)
        loop.session.receive(audio_packet(0, pcm(5_000)), 0.0)
        loop.session.receive('{"type":"levels","levels":2}', 0.0)
        loop.send(audio_packet(1, pcm(4_321, 1))).send({"type": "finalize"})
        codes = [codes_of(packet) for packet in loop.packets] if mode == "encode" else []
        audio = loop.audio if mode == "transcode" else b""
        return list(chain.from_iterable(codes)), audio, loop.controls[-1]

    alone = heard(1)
    assert alone[2]["type"] == "session.closed"  # type: ignore[index]
    for step_frames in (2, 3, 100):
        codes, audio, closed = heard(step_frames)
        assert (codes, audio) == alone[:2]
        assert {**closed, "sequence": 0} == {**alone[2], "sequence": 0}  # type: ignore[dict-item]


def test_two_channels_are_averaged() -> None:
    mono = noise(960)
    stereo = np.repeat(mono[:, None], 2, axis=1).reshape(-1)
    one, two = Loop(mode="encode"), Loop(mode="encode", channels=2)
    one.send(audio_packet(0, encode_pcm(mono, "s16le")))
    two.send(audio_packet(0, encode_pcm(stereo, "s16le")))
    assert one.packets == two.packets


@pytest.mark.parametrize("encoding", ["pcm_f32le", "mulaw", "alaw"])
def test_all_encodings_come_back_in_kind(encoding: str) -> None:
    kind = {"pcm_f32le": "f32le"}.get(encoding, encoding)
    loop = Loop(encoding=encoding)
    loop.send(audio_packet(0, encode_pcm(noise(1000), kind)))  # type: ignore[arg-type]
    loop.send({"type": "finalize"})
    assert len(loop.audio) == 1000 * (4 if encoding == "pcm_f32le" else 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_a_number_is_refused(bad: float) -> None:
    samples = noise(100)
    samples[50] = bad
    loop = Loop(encoding="pcm_f32le").send(audio_packet(0, samples.tobytes()))
    assert loop.errors == ["bad_audio"]
    assert loop.session.close_code == 4005


def test_levels_hold_for_frames_completed_later() -> None:
    loop = Loop(mode="encode")
    loop.send(audio_packet(0, pcm(480 + 100)))
    loop.send({"type": "levels", "levels": 1})
    loop.send(audio_packet(1, pcm(480)))
    assert loop.controls == [{"type": "levels.changed", "levels": 1, "index": 1}]
    assert [unpack_head(packet).levels for packet in loop.packets] == [3, 1]
    assert [len(packet) for packet in loop.packets] == [3 + 7, 3 + 3]


def test_flush_answers_behind_complete_frames_and_pads_nothing() -> None:
    loop = Loop(mode="encode").send(audio_packet(0, pcm(1000)))
    loop.send({"type": "flush", "id": "a"})
    assert loop.controls == [
        {"type": "flushed", "sequence": 2, "frames": 2, "pending_samples": 40, "id": "a"}
    ]


def test_clear_starts_from_silence_and_numbers_go_on() -> None:
    fresh = Loop(mode="encode").send(audio_packet(0, pcm(960, 1)))
    loop = Loop(mode="encode").send(audio_packet(0, pcm(700)))
    loop.send({"type": "clear"}).send(audio_packet(1, pcm(960, 1)))
    assert loop.controls == [{"type": "cleared", "index": 1}]
    assert list(map(payload_of, loop.packets[1:])) == list(map(payload_of, fresh.packets))
    assert [unpack_head(packet).low_sequence for packet in loop.packets] == [0, 1, 2]


def test_clear_then_finalize_still_cuts_the_padding() -> None:
    loop = Loop().send(audio_packet(0, pcm(3000)))
    loop.send({"type": "clear"})
    before = len(loop.audio)
    loop.send(audio_packet(1, pcm(1001))).send({"type": "finalize"})
    assert len(loop.audio) - before == 2 * 1001


def test_lost_frames_are_decoded_as_level_zero() -> None:
    codes = [[5, 6], [7, 8]]
    told = Loop(mode="decode").send(tokens_packet(0, codes, 1))
    told.send({"type": "lost", "from": 2, "count": 3})
    sent = Loop(mode="decode").send(tokens_packet(0, codes, 1))
    sent.send(tokens_head(1, 0, 3))
    assert told.audio == sent.audio
    assert len(told.audio) == 2 * (5 * 480 - 240)


def test_lost_frames_must_be_the_next_ones() -> None:
    loop = Loop(mode="decode").send({"type": "lost", "from": 4, "count": 1})
    assert loop.errors == ["bad_sequence"]


def test_a_few_bytes_cannot_lose_hours() -> None:
    loop = Loop(mode="decode").send({"type": "lost", "from": 0, "count": 10**9})
    assert loop.errors == ["bad_packet"]
    loop = Loop(mode="decode").send(tokens_head(0, 0, 2**14 - 1))
    assert loop.errors == ["bad_packet"]


@pytest.mark.parametrize(
    ("packet", "code"),
    [
        (b"short", "bad_packet"),
        (b"\x00", "bad_packet"),
        (b"\x81\x00", "bad_packet"),
        (b"\x81\x00\x80", "bad_packet"),
        (b"\x81\x00\x80\x80", "bad_packet"),
        (audio_packet(0, b""), "bad_packet"),
        (tokens_packet(1, [[1, 2]], 1), "bad_sequence"),
        (tokens_packet(0, [[1, 2]], 1) + b"\x00", "bad_packet"),
        (tokens_packet(0, [[1, 2]], 1)[:-1], "bad_packet"),
        (tokens_packet(0, [[1, 2]], 1)[:-1] + b"\x01", "bad_tokens"),
        (tokens_head(0, 9, 1) + bytes(3), "bad_tokens"),
    ],
)
def test_malformed_token_packets_end_the_session(packet: bytes, code: str) -> None:
    loop = Loop(mode="decode").send(packet)
    assert loop.errors == [code]
    assert loop.controls[-1]["fatal"] is True
    assert loop.session.close_code is not None


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "bad_message"),
        ("[]", "bad_message"),
        ('{"type":"levels"}', "bad_message"),
        ('{"type":"jump"}', "unknown_message"),
        ('{"type":"lost","from":0,"count":1}', "unknown_message"),
        ('{"type":"audio","sequence":0,"data":""}', "unknown_message"),
        ('{"type":"levels","levels":7}', "bad_levels"),
        ("[" * 100_000, "bad_message"),
    ],
)
def test_wrong_control_messages_are_not_fatal(message: str, code: str) -> None:
    loop = Loop().send(message).send(audio_packet(0, pcm(480)))
    assert loop.errors == [code]
    assert loop.controls[0]["fatal"] is False
    assert len(loop.packets) == 1


def test_repeated_packets_are_dropped_and_gaps_refused() -> None:
    loop = Loop(mode="encode").send(audio_packet(0, pcm(480)))
    loop.send(audio_packet(0, pcm(480)))
    assert len(loop.packets) == 1
    loop.send(audio_packet(2, pcm(480)))
    assert loop.errors == ["bad_sequence"]


def test_input_after_finalize_is_refused_but_pings_are_answered() -> None:
    session = Loop().session
    session.receive(audio_packet(0, pcm(480)), 0.0)
    session.receive('{"type":"finalize"}', 0.0)
    session.receive('{"type":"ping","id":"x"}', 0.0)
    assert json.loads(str(session.outbox.pop())) == {"type": "pong", "id": "x"}
    session.receive(audio_packet(1, pcm(480)), 0.0)
    assert session.close_code == 4014


def test_an_empty_session_closes_with_nothing() -> None:
    loop = Loop().send({"type": "finalize"})
    assert loop.controls[-1]["frames"] == loop.controls[-1]["samples"] == 0
    assert loop.session.close_code == 1000


def test_realtime_input_is_warned_and_then_refused() -> None:
    loop = Loop(pace="realtime", mode="encode")
    loop.send(audio_packet(0, pcm(480 * 12)))
    assert [one["type"] for one in loop.controls] == ["session.warning"]
    for sequence in range(1, 5):
        loop.send(audio_packet(sequence, pcm(480 * 12)))
    assert loop.errors == ["too_fast"]
    assert loop.session.close_code == 4007


def test_realtime_input_at_the_pace_of_the_clock_goes_on_for_ever() -> None:
    loop = Loop(pace="realtime", mode="encode")
    for sequence in range(200):
        loop.send(audio_packet(sequence, pcm(480)), now_s=sequence * 0.02)
    assert loop.controls == []


def test_silence_and_age_have_limits() -> None:
    pacing = Loop().session.pacing
    assert pacing.overrun(59.0) is None
    assert str(pacing.overrun(61.0)).startswith("nothing came for 61 s")
    pacing.heard_s = 101.0
    assert str(pacing.overrun(101.0)).startswith("the session lasted 101 s")


def test_heartbeat_tells_what_is_received_done_and_waiting() -> None:
    loop = Loop()
    loop.session.receive(audio_packet(0, pcm(960)), 0.0)
    loop.session.heartbeat()
    loop.step()
    loop.session.heartbeat()
    loop.step()
    assert loop.controls == [
        {"type": "heartbeat", "received_ms": 40.0, "processed_ms": 0.0, "buffered_ms": 40.0},
        {"type": "heartbeat", "received_ms": 40.0, "processed_ms": 40.0, "buffered_ms": 0.0},
    ]


def test_json_sessions_say_the_same_in_base64() -> None:
    binary = Loop(mode="encode").send(audio_packet(0, pcm(480)))
    text = Loop(mode="encode", is_json=True)
    data = base64.b64encode(pcm(480)).decode()
    text.send({"type": "audio", "sequence": 0, "data": data})
    made = text.controls[0]
    assert (made["type"], made["levels"], made["count"]) == ("tokens", 3, 1)
    (frame,) = codes_of(binary.packets[0])
    assert base64.b64decode(str(made["data"])) == np.array(frame, "<u2").tobytes()
    text.send(audio_packet(1, b""))
    assert text.errors == ["bad_packet"]


_MESSAGES = st.one_of(
    st.binary(max_size=80),
    st.text(max_size=60),
    st.builds(
        lambda sequence, count, levels, data: tokens_head(sequence, levels, count) + data,
        st.integers(0, 4),
        st.sampled_from([0, 1, 2, 1500, 2**14 - 1]),
        st.integers(0, 5),
        st.binary(max_size=1200),
    ),
    st.sampled_from(
        [
            '{"type":"flush"}',
            '{"type":"clear"}',
            '{"type":"finalize"}',
            '{"type":"levels","levels":2}',
            '{"type":"lost","from":0,"count":2}',
            '{"type":"ack","sequence":9}',
            '{"type":"ping"}',
        ]
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["encode", "decode", "transcode"]),
    st.booleans(),
    st.sampled_from([8_000, 24_000]),
    st.lists(_MESSAGES, max_size=12),
)
def test_no_messages_crash_a_session(
    mode: str, is_json: bool, rate_hz: int, messages: list[bytes | str]
) -> None:
    loop = Loop(mode=mode, is_json=is_json, sample_rate_hz=rate_hz)
    for message in messages:
        loop.send(message)
    fatal = [one for one in loop.controls if one["type"] == "error" and one["fatal"]]
    assert len(fatal) <= 1
    assert bool(fatal) == (loop.session.close_code not in (None, 1000))


def test_a_repeated_finalize_counts_once() -> None:
    once = Loop(mode="encode").send(audio_packet(0, pcm(700))).send('{"type":"finalize"}')
    twice = Loop(mode="encode").send(audio_packet(0, pcm(700))).send('{"type":"finalize"}')
    twice.send('{"type":"finalize"}')
    assert twice.errors == once.errors == []
    assert twice.controls == once.controls


@pytest.mark.parametrize("frames_per_packet", [1, 3, 50])
def test_packets_of_several_frames_hold_the_same_frames(frames_per_packet: int) -> None:
    one = Loop(mode="encode").send(audio_packet(0, pcm(480 * 10))).send({"type": "finalize"})
    several = Loop(mode="encode", frames_per_packet=frames_per_packet)
    several.send(audio_packet(0, pcm(480 * 10))).send({"type": "finalize"})
    assert sum(map(codes_of, several.packets), []) == sum(map(codes_of, one.packets), [])  # noqa: RUF017
    counts = [len(codes_of(packet)) for packet in several.packets]
    assert set(counts[:-1]) <= {frames_per_packet}
    assert several.controls[-1]["sha256"] == one.controls[-1]["sha256"]


def test_frames_that_wait_for_company_leave_at_a_flush_a_clear_and_another_level() -> None:
    loop = Loop(mode="encode", frames_per_packet=10).send(audio_packet(0, pcm(480 * 2)))
    assert loop.packets == []
    loop.send({"type": "flush"})
    assert [len(codes_of(packet)) for packet in loop.packets] == [2]
    loop.send(audio_packet(1, pcm(480 * 3))).send({"type": "levels", "levels": 1})
    loop.send(audio_packet(2, pcm(480)))
    assert [len(codes_of(packet)) for packet in loop.packets] == [2, 3]
    loop.send({"type": "clear"})
    assert [unpack_head(packet).levels for packet in loop.packets] == [3, 3, 1]


def test_several_frames_of_audio_share_a_packet_too() -> None:
    loop = Loop(frames_per_packet=4).send(audio_packet(0, pcm(480 * 8)))
    loop.send({"type": "finalize"})
    # The delay is cut from the first, and the padding's frame makes up for it at the end.
    assert [len(payload_of(packet)) // 2 for packet in loop.packets] == [1680, 1920, 240]


def test_a_level_of_the_lowest_rate_takes_few_bytes() -> None:
    loop = Loop(mode="encode", levels=1, frames_per_packet=3)
    loop.send(audio_packet(0, pcm(480 * 3)))
    # Codes of 8 and 9 bits: 51 bits, and three bytes of head.
    assert [len(packet) for packet in loop.packets] == [3 + 7]


def test_sequences_are_told_apart_beyond_their_eight_bits() -> None:
    loop = Loop(mode="encode")
    for sequence in range(600):
        loop.send(audio_packet(sequence, pcm(48)))
    loop.send(audio_packet(599, pcm(48)))
    assert (loop.errors, loop.session.next_sequence) == ([], 600)
    loop.send(audio_packet(601, pcm(48)))
    assert loop.errors == ["bad_sequence"]
