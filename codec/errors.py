"""Exceptions for data from outside; a message names the value and the expectation."""


class CodecError(Exception):
    """An error that a user can act on; `hint` says how, in one line."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(CodecError):
    """A configuration that cannot be built."""


class AudioError(CodecError):
    """Audio that cannot be read, or is outside the limits."""


class TruncatedAudioError(AudioError):
    """Audio that holds less than it declares; a reader may be told to use what is there."""


class NotAudioError(AudioError):
    """A file that is no audio we read; `head` is how it starts."""

    def __init__(self, message: str, hint: str | None, head: bytes) -> None:
        super().__init__(message, hint)
        self.head = head


class BundleError(CodecError):
    """An exported model that is damaged, incomplete or foreign."""


class BitstreamError(CodecError):
    """A packet or container that does not follow BITSTREAM.md."""


class ModelMismatchError(BitstreamError):
    """Tokens made by another model than the one at hand."""


class StreamError(CodecError):
    """A stream used out of order, or fed what it cannot take."""
