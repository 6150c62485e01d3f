"""Admission control: slots for live sessions, and counts per caller."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from grove.server.auth import Caller
from grove.server.problems import Problem, ProblemCode
from grove.server.protocol import ErrorCode, Pace, SessionError
from grove.server.settings import Settings

RETRY_AFTER_SECONDS = 5


class Admission:
    """Counts what is open; says no at once instead of letting all get slow."""

    def __init__(self, settings: Settings, slots: int) -> None:
        self._settings = settings
        self.slots = slots
        self.is_draining = False
        self.live = 0
        self.files = 0
        self.requests = 0
        self._sessions: Counter[str] = Counter()
        self._requests: Counter[str] = Counter()

    @property
    def has_room(self) -> bool:
        return self.live < self.slots and not self.is_draining

    def open_session(self, caller: Caller, pace: Pace) -> None:
        """Take a slot; `close_session` must give it back."""
        if self.is_draining:
            raise SessionError(
                ErrorCode.OVERLOADED, "the server is going down", None, RETRY_AFTER_SECONDS
            )
        self._check_caller(caller)
        taken, limit = (
            (self.live, self.slots)
            if pace == "realtime"
            else (self.files, self._settings.file_sessions)
        )
        if taken >= limit:
            raise SessionError(
                ErrorCode.OVERLOADED,
                f"all {limit} slots for pace={pace} are taken",
                "try again later, or another server",
                RETRY_AFTER_SECONDS,
            )
        self._count(caller, pace, 1)

    def close_session(self, caller: Caller, pace: Pace) -> None:
        self._count(caller, pace, -1)

    @contextmanager
    def request(self, caller: Caller) -> Iterator[None]:
        """Hold one of the places for REST work."""
        if self.is_draining:
            raise Problem(
                ProblemCode.OVERLOADED,
                "the server is going down",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        mine = self._settings.requests_per_caller
        if self._requests[caller.identity] >= mine:
            raise Problem(
                ProblemCode.TOO_MANY_REQUESTS,
                f"{mine} requests of this caller are being worked on already",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        if self.requests >= self._settings.requests_at_once:
            raise Problem(
                ProblemCode.OVERLOADED,
                f"{self.requests} requests are being worked on already",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        self.requests += 1
        self._requests[caller.identity] += 1
        try:
            yield
        finally:
            self.requests -= 1
            _release(self._requests, caller.identity)

    def _check_caller(self, caller: Caller) -> None:
        limits = {f"address:{caller.address}": self._settings.sessions_per_address}
        if caller.has_key:
            limits[caller.identity] = self._settings.sessions_per_key
        for who, limit in limits.items():
            if self._sessions[who] >= limit:
                raise SessionError(
                    ErrorCode.TOO_MANY_SESSIONS,
                    f"{who} has {self._sessions[who]} sessions open, at most {limit} may be",
                )

    def _count(self, caller: Caller, pace: Pace, change: int) -> None:
        if pace == "realtime":
            self.live += change
        else:
            self.files += change
        for who in {f"address:{caller.address}", caller.identity}:
            if change > 0:
                self._sessions[who] += 1
            else:
                _release(self._sessions, who)


def _release(counts: Counter[str], who: str) -> None:
    counts[who] -= 1
    if counts[who] <= 0:
        del counts[who]
