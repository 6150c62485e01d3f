"""BITSTREAM.md is law: its tables and the code say the same."""

import re
from pathlib import Path
from struct import Struct, calcsize

import pytest

import grove.codec.bitstream as bitstream_module
from grove.codec.config import CodecSpec
from grove.codec.container import damage as container_damage
from grove.codec.container import edit as container_edit
from grove.codec.container import header as container_header
from grove.codec.container import records as container_records
from grove.codec.container import writer as container_write
from grove.codec.container.header import ContainerHeader

TEXT = Path(bitstream_module.__file__).with_name("BITSTREAM.md").read_text(encoding="utf-8")
MODULES = (container_records, container_header, container_write, container_edit, container_damage)
FORMATS = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "bytes8": "8s"}
RECORDS = sorted(name for name, value in vars(container_records).items() if type(value) is Struct)


def table_after(heading: str, columns: int) -> list[list[str]]:
    """Return the rows of the first table behind a piece of text."""
    rows: list[list[str]] = []
    for line in TEXT[TEXT.index(heading) + len(heading) :].splitlines():
        if line.startswith("|"):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif rows:
            break
    assert all(len(row) == columns for row in rows)
    return rows[2:]


def code_constant(name: str) -> object:
    return next(vars(module)[name] for module in MODULES if name in vars(module))


def test_every_record_has_its_table() -> None:
    assert sorted(re.findall(r"^### `([A-Z_]+)`$", TEXT, re.MULTILINE)) == RECORDS


@pytest.mark.parametrize("name", RECORDS)
def test_records_have_the_documented_bytes(name: str) -> None:
    rows = table_after(f"### `{name}`", 4)
    layout = ">"
    for offset, kind, _, _ in rows:
        assert int(offset) == calcsize(layout)
        layout += FORMATS[kind]
    # A marker is compared as 4 bytes, and written down as the number they make.
    in_code = getattr(container_records, name).format.replace("4s", "I")
    assert in_code == layout


@pytest.mark.parametrize("heading", ["### Limits", "What a writer does by default"])
def test_constants_have_the_documented_values(heading: str) -> None:
    rows = table_after(heading, 3)
    assert len(rows) > 2
    for name, value, _ in rows:
        assert code_constant(name.strip("`")) == int(value), name


def test_every_limit_of_the_format_is_documented() -> None:
    documented = {row[0].strip("`") for row in table_after("### Limits", 3)}
    for module in (container_records, container_header):
        limits = {name for name in vars(module) if name.startswith("MAX_") or name == "VERSION"}
        assert limits <= documented


def test_markers_are_the_documented_bytes() -> None:
    rows = table_after("**Markers**", 2)
    assert len(rows) == 7
    for name, octets in rows:
        assert code_constant(name.strip("`")) == bytes.fromhex(octets.strip("`"))


def test_damage_reasons_are_the_documented_ones() -> None:
    documented = [row[0].strip("`") for row in table_after("## 4. Damage", 3)]
    assert documented == [reason.value for reason in container_damage.DamageReason]


def test_header_keys_are_the_documented_ones() -> None:
    documented = [row[0].strip("`") for row in table_after("### The header", 2)]
    spec = {f"codec.{name}" for name in CodecSpec.model_fields}
    assert documented == sorted(spec | (set(ContainerHeader.model_fields) - {"codec"}))


def test_packet_sizes_of_the_default_model_are_the_documented_ones() -> None:
    spec = CodecSpec(
        name="grove-24k",
        version="1",
        model_sha256="0" * 64,
        sample_rate_hz=24_000,
        hop_samples=480,
        delay_samples=240,
        code_sizes=(1024,) * 12,
        codes_per_level=(2,) * 6,
    )
    for level, bits, size, kilobits in table_after("For the default model", 4):
        assert spec.bits_at(int(level)) == int(bits)
        assert bitstream_module.packed_bytes(spec, 1, int(level)) == int(size)
        assert spec.bitrate_bps(int(level)) == 1000 * int(kilobits)
