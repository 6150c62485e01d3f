"""What was found wrong in a container, for reports."""

from dataclasses import dataclass
from enum import StrEnum

MAX_DAMAGE_RECORDS = 1000


class DamageReason(StrEnum):
    """Why bytes or frames cannot be used as they are."""

    CHECKSUM = "checksum"
    CODES = "codes"
    MISSING = "missing"
    ORDER = "order"
    SEGMENT = "segment"
    GARBAGE = "garbage"
    UNFINISHED = "unfinished"
    INDEX = "index"
    TRAILING = "trailing"


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is wrong; `frame_count` frames were replaced by zero-level ones for it."""

    reason: DamageReason
    detail: str
    first_frame: int = 0
    frame_count: int = 0
    channel: int | None = None

    def __str__(self) -> str:
        text = f"{self.reason}: {self.detail}"
        if self.frame_count:
            last_frame = self.first_frame + self.frame_count - 1
            text += f" (frames {self.first_frame}..{last_frame} concealed"
            text += ")" if self.channel is None else f", channel {self.channel})"
        return text


class DamageLog:
    """Distinct damages in the order found; a bounded number of them, the rest counted."""

    def __init__(self) -> None:
        self._records: dict[Damage, None] = {}
        self.omitted = 0

    @property
    def records(self) -> tuple[Damage, ...]:
        return tuple(self._records)

    def add(self, damage: Damage) -> None:
        """Keep a damage, unless it is known already; reading twice finds the same ones again."""
        if damage in self._records:
            return
        if len(self._records) < MAX_DAMAGE_RECORDS:
            self._records[damage] = None
        else:
            self.omitted += 1
