"""How far ahead of the clock a client may be, and what an outage changes about that."""

import pytest

from grove.server.live.pacing import Pacing
from grove.server.protocol import SessionError
from grove.server.settings import Settings

LIMITS = Settings(max_ahead_ms=1000, resume_seconds=30)


def test_audio_at_the_pace_of_speech_is_never_warned_of() -> None:
    pacing = Pacing(LIMITS, "realtime", 0.0)
    assert all(pacing.advance(0.02, 0.02 * n) is None for n in range(1, 500))


def test_audio_far_ahead_is_warned_of_once_and_then_refused() -> None:
    pacing = Pacing(LIMITS, "realtime", 0.0)
    warnings = [pacing.advance(0.1, 0.0) for _ in range(9)]
    assert sum(warning is not None for warning in warnings) == 1
    with pytest.raises(SessionError, match="ahead of the clock"):
        pacing.advance(0.2, 0.0)


def test_an_outage_may_be_made_up_for_at_once() -> None:
    pacing = Pacing(LIMITS, "realtime", 0.0)
    pacing.advance(0.02, 0.02)
    pacing.resume(8.0)
    assert all(pacing.advance(0.02, 8.02) is None for _ in range(400))


def test_an_outage_gives_credit_for_its_own_length_only() -> None:
    pacing = Pacing(LIMITS, "realtime", 0.0)
    pacing.resume(8.0)
    with pytest.raises(SessionError, match="ahead of the clock"):
        pacing.advance(9.5, 8.0)


def test_a_client_cannot_collect_credit_beyond_one_resume() -> None:
    pacing = Pacing(LIMITS, "realtime", 0.0)
    for _ in range(10):
        pacing.resume(30.0)
    with pytest.raises(SessionError, match="ahead of the clock"):
        pacing.advance(32.0, 300.0)


def test_file_pace_knows_no_clock() -> None:
    assert Pacing(LIMITS, "file", 0.0).advance(3600.0, 0.0) is None
