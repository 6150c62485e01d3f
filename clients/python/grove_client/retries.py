"""When a call is made again, and how long to wait before: policy without I/O."""

import random
import time
from dataclasses import dataclass
from typing import Final

import httpx

from grove_client.calls import Call
from grove_client.errors import GroveError

TIMEOUT_SECONDS: Final = 120
# Refused for now: too many requests, or nobody behind the proxy who could answer.
PASSING_STATUSES: Final = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class Retries:
    """How often a call is made, and how patiently; `Retries(attempts=1)` makes it once."""

    attempts: int = 4
    first_wait_seconds: float = 0.25
    longest_wait_seconds: float = 20

    def wait_seconds(self, failed: int) -> float:
        """Return how long to wait after so many failures, the longer the more there were."""
        # Drawn by chance, so that clients that were refused together do not come back together.
        longest = min(self.longest_wait_seconds, self.first_wait_seconds * 2 ** (failed - 1))
        return random.uniform(0, longest)


# After a dropped line: soon at first, for there are seconds to be heard in.
RESUMING: Final = Retries(longest_wait_seconds=3)


class Deadline:
    """Until when something is waited for; without seconds, for ever."""

    def __init__(self, what: str, seconds: float | None = None) -> None:
        self._what, self._seconds = what, seconds
        self._end_s = None if seconds is None else time.monotonic() + seconds

    def check(self) -> None:
        if self._end_s is not None and time.monotonic() >= self._end_s:
            raise TimeoutError(f"{self._what} has not ended after {self._seconds:g} s")

    def at_most(self, seconds: float) -> float:
        """Return a time to wait that does not reach beyond the deadline."""
        if self._end_s is None:
            return seconds
        return max(0.001, min(seconds, self._end_s - time.monotonic()))


class Attempts:
    """The attempts at one call."""

    def __init__(self, retries: Retries, call: Call) -> None:
        self._retries, self._call = retries, call
        self._failed = 0

    def wait_seconds(self, error: GroveError | httpx.TransportError) -> float:
        """Return how long to wait after a failure, or raise it where waiting does not help."""
        self._failed += 1
        failure = _failure_of(error)
        asked_seconds = failure.retry_after_seconds or 0
        is_over = self._failed >= self._retries.attempts
        if is_over or asked_seconds > self._retries.longest_wait_seconds:
            raise failure from error
        if not self._may_pass(error):
            raise failure from error
        return asked_seconds + self._retries.wait_seconds(self._failed)

    def _may_pass(self, error: GroveError | httpx.TransportError) -> bool:
        match error:
            case GroveError():
                return error.status in PASSING_STATUSES
            case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout():
                return True
            case _:
                return self._call.is_repeatable


def _failure_of(error: GroveError | httpx.TransportError) -> GroveError:
    if isinstance(error, GroveError):
        return error
    return GroveError("unreachable", str(error) or type(error).__name__)
