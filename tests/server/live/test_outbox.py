"""What a client missed comes again, in order and once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grove.server.live.outbox import Outbox
from grove.server.protocol import SessionError


def filled(count: int, max_replay_bytes: int = 1000) -> Outbox:
    outbox = Outbox(max_replay_bytes)
    for sequence in range(count):
        outbox.put_numbered(b"%03d" % sequence)
    return outbox


@given(st.integers(0, 20), st.data())
def test_a_rewind_repeats_just_what_is_missing(count: int, data: st.DataObject) -> None:
    outbox = filled(count)
    popped = data.draw(st.integers(0, count))
    received = data.draw(st.integers(0, popped))
    outbox.put('{"type":"pong"}')
    for _ in range(popped):
        outbox.pop()
    outbox.rewind(received)
    assert [outbox.pop() for _ in range(len(outbox))] == [
        b"%03d" % sequence for sequence in range(received, count)
    ]
    assert outbox.queued_bytes == 0


def test_a_client_cannot_have_more_than_was_sent() -> None:
    with pytest.raises(SessionError, match="received is 4, expected 0 to 3"):
        filled(3).rewind(4)


def test_what_is_no_longer_kept_cannot_be_repeated() -> None:
    outbox = filled(10, max_replay_bytes=9)
    for _ in range(10):
        outbox.pop()
    with pytest.raises(SessionError, match="received is 6, expected 7 to 10"):
        outbox.rewind(6)


def test_unsent_messages_are_kept_whatever_the_limit() -> None:
    outbox = filled(10, max_replay_bytes=0)
    outbox.rewind(0)
    assert len(outbox) == 10


def test_acknowledged_messages_are_let_go() -> None:
    outbox = filled(4)
    for _ in range(4):
        outbox.pop()
    outbox.acknowledge(3)
    with pytest.raises(SessionError, match="received is 2, expected 3 to 4"):
        outbox.rewind(2)


def test_urgent_messages_go_first() -> None:
    outbox = filled(2)
    outbox.put_first("now")
    assert outbox.pop() == "now"
