"""The header: one spelling, bounded, nothing in it that a terminal or a parser trips over."""

import json
import zlib
from io import BytesIO

import pytest
from container_cases import SPEC, make_header

from grove.codec.container.file import ContainerReader
from grove.codec.container.header import MAX_HEADER_BYTES, ContainerHeader
from grove.codec.container.records import CHECKSUM, MAGIC, PREAMBLE, header_bytes
from grove.codec.errors import BitstreamError

GOOD = make_header().to_json().decode()


def file_with(text: bytes, version: int = 1, flags: int = 0) -> BytesIO:
    data = PREAMBLE.pack(MAGIC, version, flags, len(text)) + text
    return BytesIO(data + CHECKSUM.pack(zlib.crc32(data)))


def test_a_header_reads_back_as_itself() -> None:
    assert ContainerReader(file_with(GOOD.encode())).header == make_header()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace(":", ": ", 1), "canonical"),
        (GOOD.replace("480", "480.0"), "canonical"),
        (GOOD.replace("480", '"480"'), "canonical"),
        (GOOD.replace('"channels":1', '"channels":true'), "canonical"),
        (GOOD.replace("480", "4.8e2"), "canonical"),
        (GOOD.replace("480", "NaN"), "hop_samples"),
        (GOOD.replace("480", "9" * 5000), "not valid JSON"),
        (GOOD.replace('"channels":1', '"channels":1,"channels":1'), "canonical"),
        (GOOD.replace('"channels":1', '"channels":3'), "channels"),
        (GOOD.replace('"channels":1', '"channels":1,"more":2'), "more"),
        (GOOD.replace('"title"', '"\\u0074itle"'), "canonical"),
        (GOOD.replace("Synthetic", "\\ud800"), "printable"),
        (GOOD.replace("Synthetic", "\\u001b[2J"), "printable"),
        (GOOD.replace("grove-24k", "../../etc"), "codec name"),
        (GOOD.replace("grove-24k", "x" * 65), "codec name"),
        (GOOD.replace("[2,2,2,2,2,2]", "[2,2,2,2,2,3]"), "codes_per_level sums to 13"),
        ("[" * 60_000, "not valid JSON"),
        ("[]", "header"),
        ("", "not valid JSON"),
        ("é", "not valid JSON"),
    ],
)
def test_any_other_spelling_is_refused(text: str, message: str) -> None:
    with pytest.raises(BitstreamError, match=message):
        ContainerReader(file_with(text.encode()))


def test_what_is_no_container_is_refused_in_one_line() -> None:
    for data in (b"", b"RIFF\0\0\0\0WAVEfmt ", MAGIC[:5], b"just text\n" * 9):
        with pytest.raises(BitstreamError, match=r"not a \.grv file: it starts with") as caught:
            ContainerReader(BytesIO(data))
        assert "\n" not in str(caught.value)


def test_a_header_cut_short_is_refused() -> None:
    whole = header_bytes(make_header())
    for size in range(len(MAGIC), len(whole)):
        with pytest.raises(BitstreamError, match="ends"):
            ContainerReader(BytesIO(whole[:size]))


def test_other_versions_and_flags_are_refused() -> None:
    with pytest.raises(BitstreamError, match="version 2, this reader knows 1"):
        ContainerReader(file_with(GOOD.encode(), version=2))
    with pytest.raises(BitstreamError, match="flags are 0x0100"):
        ContainerReader(file_with(GOOD.encode(), flags=256))


def test_a_claimed_length_is_refused_before_anything_is_read() -> None:
    data = PREAMBLE.pack(MAGIC, 1, 0, MAX_HEADER_BYTES + 1)
    with pytest.raises(BitstreamError, match="claims 65537 bytes, at most 65536"):
        ContainerReader(BytesIO(data))


def test_tags_are_bounded() -> None:
    fields = json.loads(GOOD)
    for tags in (
        {f"key{number}": "x" for number in range(33)},
        {"title": "x" * 513},
        {"Title": "x"},
        {"": "x"},
        {"k" * 65: "x"},
        {"title": "two\nlines"},
    ):
        with pytest.raises(ValueError, match="tag"):
            ContainerHeader.model_validate(fields | {"tags": tags})
    full = {f"key{number}": "\U0001f333" * 512 for number in range(32)}
    header = ContainerHeader.model_validate(fields | {"tags": full})
    with pytest.raises(BitstreamError, match="at most 65536 fit"):
        header.to_json()


def test_tags_may_be_in_any_language() -> None:
    header = make_header().model_copy(update={"tags": {"title": "森の中 Wäldchen"}})
    assert ContainerHeader.from_json(header.to_json()) == header


def test_the_spec_survives() -> None:
    assert ContainerHeader.from_json(GOOD.encode()).codec == SPEC
