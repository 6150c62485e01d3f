"""The header of a container: which model made the codes, and from what."""

import json
import re
from collections.abc import Collection
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from grove.codec.bundle import maker_hint
from grove.codec.config import CodecSpec, Frozen
from grove.codec.errors import BitstreamError, ModelMismatchError

MAX_HEADER_BYTES = 65_536
MAX_TAGS = 32
MAX_TAG_VALUE_CHARS = 512
MAX_SOURCE_RATE_HZ = 768_000
MAX_SOURCE_CHANNELS = 255
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_TAG_KEY = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class ContainerHeader(Frozen):
    """What every reader must know before the first frame."""

    codec: CodecSpec
    channels: Literal[1, 2] = 1
    source_sample_rate_hz: int = Field(ge=1, le=MAX_SOURCE_RATE_HZ)
    source_channels: int = Field(ge=1, le=MAX_SOURCE_CHANNELS)
    tags: dict[str, str] = Field(default_factory=dict, max_length=MAX_TAGS)

    @model_validator(mode="after")
    def _text_is_safe_to_print(self) -> Self:
        for name in (self.codec.name, self.codec.version):
            if not _NAME.fullmatch(name):
                raise ValueError(f"codec name or version {name!r} must match {_NAME.pattern}")
        for key, value in self.tags.items():
            if not _TAG_KEY.fullmatch(key):
                raise ValueError(f"tag key {key!r} must match {_TAG_KEY.pattern}")
            if len(value) > MAX_TAG_VALUE_CHARS or not value.isprintable():
                raise ValueError(
                    f"tag {key!r} must have at most {MAX_TAG_VALUE_CHARS} printable characters"
                )
        return self

    def to_json(self) -> bytes:
        """Return the one canonical spelling: sorted keys, no spaces, ASCII."""
        text = json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":"))
        if len(text) > MAX_HEADER_BYTES:
            raise BitstreamError(
                f"the header takes {len(text)} bytes, at most {MAX_HEADER_BYTES} fit",
                hint="use fewer or shorter tags",
            )
        return text.encode("ascii")

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read a header; anything but the canonical spelling is refused."""
        try:
            # Repeated keys and numbers such as 1e3 need no check of their own: they parse, but
            # do not come out of to_json again as the same bytes.
            header = cls.model_validate(json.loads(data.decode("ascii")))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "header"
            raise BitstreamError(f"container header, {place}: {first['msg']}") from error
        except (ValueError, RecursionError) as error:
            raise BitstreamError(f"the container header is not valid JSON: {error}") from error
        if header.to_json() != data:
            raise BitstreamError("the container header is not in canonical form")
        return header

    def check_model(self, spec: CodecSpec, accepted_sha256: Collection[str] = ()) -> None:
        """Refuse codes that the model of `spec` cannot decode.

        `accepted_sha256` lists further models whose codes mean the same, as a bundle may do.
        """
        made_by = self.codec.model_sha256
        if made_by != spec.model_sha256 and made_by not in accepted_sha256:
            raise ModelMismatchError(
                f"the file was made by {self.codec.name} {self.codec.version} "
                f"(model {made_by[:12]}), this is {spec.name} {spec.version} "
                f"(model {spec.model_sha256[:12]})",
                hint=maker_hint(made_by, "use the bundle that encoded the file"),
            )
        check_same_frames(self.codec, spec)


def check_same_frames(made_by: CodecSpec, spec: CodecSpec) -> None:
    """Refuse codes whose frames are laid out in another way, whatever the hash says."""
    if _layout(made_by) != _layout(spec):
        raise ModelMismatchError(
            f"the file's frames are laid out as {_layout(made_by)}, the model's as {_layout(spec)}"
        )


def _layout(spec: CodecSpec) -> str:
    return (
        f"{spec.sample_rate_hz} Hz, hop {spec.hop_samples}, delay {spec.delay_samples}, "
        f"books {spec.code_sizes}, codes per level {spec.codes_per_level}"
    )
