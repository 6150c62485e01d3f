"""Rate limits: bytes sent in and seconds of audio worked on, of each caller, a minute."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from grove.server.problems import Problem, ProblemCode
from grove.server.settings import Settings

_WINDOW_SECONDS = 60.0
_FEW_CALLERS = 1024


@dataclass(slots=True)
class _Bucket:
    """Fills steadily up to a minute's worth; one large request may leave it in debt."""

    quota: float
    left: float
    at_s: float

    def refill(self, now_s: float) -> None:
        gained = self.quota * (now_s - self.at_s) / _WINDOW_SECONDS
        self.left = min(self.quota, self.left + gained)
        self.at_s = now_s

    @property
    def wait_seconds(self) -> int:
        """Return the time until there is something again."""
        return max(0, ceil(-self.left / self.quota * _WINDOW_SECONDS)) + (self.left <= 0)

    @property
    def full_seconds(self) -> int:
        return ceil((self.quota - self.left) / self.quota * _WINDOW_SECONDS)


class Allowances:
    """Counts per caller, where the operator has set a limit."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def check(self, who: str) -> None:
        """Refuse a caller who has nothing left."""
        for kind, bucket in self._of(who).items():
            if bucket.left <= 0:
                raise Problem(
                    ProblemCode.TOO_MANY_REQUESTS,
                    f"the {bucket.quota:g} {kind} a minute of this caller are used up",
                    retry_after_seconds=bucket.wait_seconds,
                )

    def use(self, who: str, size_bytes: float = 0, seconds: float = 0) -> None:
        """Count what was used; more than there was is paid for by waiting."""
        for kind, bucket in self._of(who).items():
            bucket.left -= size_bytes if kind == "bytes" else seconds

    def headers(self, who: str) -> dict[str, str]:
        """Return the headers that tell a caller where it stands; none without a limit."""
        buckets = self._of(who)
        if not buckets:
            return {}
        return {
            "RateLimit-Policy": ", ".join(
                f'"{kind}";q={int(one.quota)};w={int(_WINDOW_SECONDS)}'
                for kind, one in buckets.items()
            ),
            "RateLimit": ", ".join(
                f'"{kind}";r={max(0, int(one.left))};t={one.full_seconds}'
                for kind, one in buckets.items()
            ),
        }

    def _of(self, who: str) -> dict[str, _Bucket]:
        now_s = self._clock()
        if len(self._buckets) > _FEW_CALLERS:
            self._forget(now_s)
        quotas = {
            "bytes": self._settings.bytes_per_minute,
            "seconds": self._settings.seconds_per_minute,
        }
        found = {}
        for kind, quota in quotas.items():
            if quota is None:
                continue
            bucket = self._buckets.setdefault((who, kind), _Bucket(quota, quota, now_s))
            bucket.refill(now_s)
            found[kind] = bucket
        return found

    def _forget(self, now_s: float) -> None:
        """Let go of callers who have their full allowance again."""
        for key, bucket in list(self._buckets.items()):
            bucket.refill(now_s)
            if bucket.left >= bucket.quota:
                del self._buckets[key]
