"""Content negotiation: which format a reply has; `?format=` outranks `Accept`."""

from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from grove.server.problems import Problem, ProblemCode

AudioFormat = Literal["wav", "flac", "ogg", "raw", "l16"]
TokenFormat = Literal["grv", "json", "npy"]

AUDIO_MEDIA_TYPES: Final[dict[AudioFormat, str]] = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "raw": "audio/pcm",
    "l16": "audio/L16",
}
TOKEN_MEDIA_TYPES: Final[dict[TokenFormat, str]] = {
    "grv": "application/vnd.grove.grv",
    "json": "application/json",
    "npy": "application/x-npy",
}
# Nothing in the bytes says their rate (RFC 2586).
_HEADERLESS: Final[tuple[AudioFormat, ...]] = ("raw", "l16")
_ALIASES: Final = {
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/opus": "audio/ogg",
    "application/ogg": "audio/ogg",
    "audio/l16": "audio/L16",
}

_Name = TypeVar("_Name", bound=str)


@dataclass(frozen=True, slots=True)
class _Range:
    media_type: str
    quality: float


def audio_format(asked: AudioFormat | None, accept: str | None) -> AudioFormat:
    return asked or _negotiated(AUDIO_MEDIA_TYPES, accept)


def token_format(asked: TokenFormat | None, accept: str | None) -> TokenFormat:
    return asked or _negotiated(TOKEN_MEDIA_TYPES, accept)


def audio_media_type(name: AudioFormat, sample_rate_hz: int) -> str:
    """Return the media type of a mono reply."""
    media_type = AUDIO_MEDIA_TYPES[name]
    if name in _HEADERLESS:
        return f"{media_type};rate={sample_rate_hz};channels=1"
    return media_type


def _negotiated(offered: dict[_Name, str], accept: str | None) -> _Name:
    """Return the offered format that `Accept` likes best; the first one wins a tie."""
    if not accept:
        return next(iter(offered))
    ranges = [_parsed(part) for part in accept.split(",")]
    rated = {name: _quality(media_type, ranges) for name, media_type in offered.items()}
    best = max(rated, key=lambda name: rated[name])
    if rated[best] == 0:
        raise Problem(
            ProblemCode.NOT_ACCEPTABLE,
            f"Accept is {accept[:100]!r}, expected one of {', '.join(offered.values())}",
        )
    return best


def _quality(media_type: str, ranges: list[_Range]) -> float:
    """Return the quality of the most specific range that covers a media type."""
    major = media_type.partition("/")[0]
    for pattern in (media_type, f"{major}/*", "*/*"):
        qualities = [one.quality for one in ranges if one.media_type.lower() == pattern.lower()]
        if qualities:
            return max(qualities)
    return 0


def _parsed(part: str) -> _Range:
    media_type, *parameters = (piece.strip() for piece in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                quality = min(1.0, max(0.0, float(value)))
            except ValueError:
                quality = 0.0
    return _Range(_ALIASES.get(media_type.lower(), media_type), quality)
