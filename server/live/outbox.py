"""Messages on their way to one client: numbered, and kept for a while to be repeated."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from grove.server.protocol import ErrorCode, SessionError

Message = bytes | str


@dataclass(frozen=True, slots=True)
class _Numbered:
    sequence: int
    message: Message


class Outbox:
    """A queue whose numbered messages can be sent again to a client that lost its line."""

    def __init__(self, max_replay_bytes: int) -> None:
        self._max_replay_bytes = max_replay_bytes
        self._queue: deque[_Numbered | Message] = deque()
        self._sent: deque[_Numbered] = deque()
        self._sent_bytes = 0
        self.queued_bytes = 0
        self.next_sequence = 0

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, message: Message) -> None:
        self.queued_bytes += len(message)
        self._queue.append(message)

    def put_first(self, message: Message) -> None:
        """Queue a message ahead of all others."""
        self.queued_bytes += len(message)
        self._queue.appendleft(message)

    def put_numbered(self, message: Message) -> None:
        """Queue the message that carries `next_sequence`."""
        self.queued_bytes += len(message)
        self._queue.append(_Numbered(self.next_sequence, message))
        self.next_sequence += 1

    def pop(self) -> Message:
        """Return the next message to send."""
        item = self._queue.popleft()
        if not isinstance(item, _Numbered):
            self.queued_bytes -= len(item)
            return item
        self.queued_bytes -= len(item.message)
        self._sent.append(item)
        self._sent_bytes += len(item.message)
        while self._sent_bytes > self._max_replay_bytes:
            self._sent_bytes -= len(self._sent.popleft().message)
        return item.message

    def acknowledge(self, sequence: int) -> None:
        """Let go of what the client has: everything numbered below `sequence`."""
        while self._sent and self._sent[0].sequence < sequence:
            self._sent_bytes -= len(self._sent.popleft().message)

    def rewind(self, received: int) -> None:
        """Queue again what a client lacks that has the first `received` numbered messages."""
        self.acknowledge(received)
        kept = list(chain(self._sent, _numbered(self._queue)))
        oldest = kept[0].sequence if kept else self.next_sequence
        if not oldest <= received <= self.next_sequence:
            raise SessionError(
                ErrorCode.RESUME_FAILED,
                f"received is {received}, expected {oldest} to {self.next_sequence}",
            )
        missing = [item for item in kept if item.sequence >= received]
        self._sent.clear()
        self._sent_bytes = 0
        self._queue = deque(missing)
        self.queued_bytes = sum(len(item.message) for item in missing)


def _numbered(items: Iterable[_Numbered | Message]) -> Iterable[_Numbered]:
    return (item for item in items if isinstance(item, _Numbered))
