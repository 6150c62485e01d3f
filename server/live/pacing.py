"""How fast and how long a client may talk."""

from grove.server.protocol import ErrorCode, Pace, SessionError, SessionWarning
from grove.server.settings import Settings

_WARN_SHARE = 0.2


class Pacing:
    """A leaky bucket of audio ahead of the clock, and the limits on time."""

    def __init__(self, limits: Settings, pace: Pace, now_s: float) -> None:
        self._limits = limits
        self._is_realtime = pace == "realtime"
        self._opened_s = now_s
        self._filled_s = now_s
        self._ahead_s = 0.0
        self._credit_s = 0.0
        self._has_warned = False
        self.heard_s = now_s
        self.received_s = 0.0

    def advance(self, seconds: float, now_s: float) -> SessionWarning | None:
        """Count audio that came in; refuse it where it is too far ahead."""
        self.received_s += seconds
        if not self._is_realtime:
            return None
        credited_s = min(self._credit_s, seconds)
        self._credit_s -= credited_s
        self._ahead_s = max(0.0, self._ahead_s - (now_s - self._filled_s)) + seconds - credited_s
        self._filled_s = now_s
        limit_s = self._limits.max_ahead_ms / 1000
        if self._ahead_s > limit_s:
            raise SessionError(
                ErrorCode.TOO_FAST,
                f"input is {self._ahead_s:.2f} s ahead of the clock, at most {limit_s:g} s may be",
                hint="send at the pace of speech, or open the session with pace=file",
            )
        was_warned, self._has_warned = self._has_warned, self._ahead_s > limit_s * _WARN_SHARE
        if was_warned or not self._has_warned:
            return None
        return SessionWarning(
            ErrorCode.TOO_FAST.value,
            f"input is {self._ahead_s:.2f} s ahead of the clock, at most {limit_s:g} s may be",
        )

    def resume(self, away_s: float) -> None:
        """Let a client that was cut off for `away_s` send at once what it recorded meanwhile."""
        self._credit_s = min(self._credit_s + away_s, self._limits.resume_seconds)

    def overrun(self, now_s: float) -> SessionError | None:
        """Return the error of a session that is silent or old beyond its limit."""
        idle_s, age_s = now_s - self.heard_s, now_s - self._opened_s
        if idle_s > self._limits.idle_seconds:
            limit = self._limits.idle_seconds
            return SessionError(
                ErrorCode.IDLE, f"nothing came for {idle_s:.0f} s, the limit is {limit:g} s"
            )
        if age_s > self._limits.session_seconds:
            limit = self._limits.session_seconds
            return SessionError(
                ErrorCode.SESSION_LIMIT,
                f"the session lasted {age_s:.0f} s, the limit is {limit:g} s",
            )
        return None
