"""PROTOCOL.md is law: its tables and the code say the same."""

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from fastapi.routing import APIRoute, APIWebSocketRoute

from grove.server import protocol
from grove.server.app import create_app
from grove.server.files.formats import AUDIO_MEDIA_TYPES, TOKEN_MEDIA_TYPES
from grove.server.jobs.records import JobState
from grove.server.problems import ProblemCode, ProblemDocument
from grove.server.protocol import (
    CLIENT_MESSAGES,
    MAX_LOST_FRAMES,
    MAX_PACKET_FRAMES,
    SERVER_MESSAGES,
    Delay,
    ErrorCode,
    ModelInfo,
    ResumeInfo,
    SessionLimits,
    audio_head,
    tokens_head,
)
from grove.server.routes.stream import StreamQuery
from grove.server.settings import Settings

TEXT = (Path(protocol.__file__).parent / "PROTOCOL.md").read_text()


def table(*columns: str) -> list[list[str]]:
    """Return the cells of all tables that have these columns."""
    rows: list[list[str]] = []
    lines = TEXT.splitlines()
    for place, line in enumerate(lines):
        if cells_of(line) != list(columns):
            continue
        for row in lines[place + 2 :]:
            if not row.startswith("|"):
                break
            rows.append(cells_of(row))
    assert rows, f"no table with the columns {columns}"
    return rows


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def fields_of(kind: type[msgspec.Struct]) -> set[str]:
    return {
        field.encode_name + ("" if field.required else "?")
        for field in msgspec.structs.fields(kind)
    }


def tag_of(kind: type[msgspec.Struct]) -> str:
    return str(kind.__struct_config__.tag)


def test_client_messages_are_those_of_the_document() -> None:
    documented = {names(row[0])[0]: set(names(row[1])) for row in table("type", "fields", "answer")}
    assert documented == {tag_of(kind): fields_of(kind) for kind in CLIENT_MESSAGES}


def test_server_messages_are_those_of_the_document() -> None:
    documented = {names(row[0])[0]: set(names(row[1])) for row in table("type", "fields", "when")}
    assert documented == {tag_of(kind): fields_of(kind) for kind in SERVER_MESSAGES}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("model", ModelInfo), ("delay", Delay), ("limits", SessionLimits), ("resume", ResumeInfo)],
)
def test_the_parts_of_session_created_are_described(name: str, kind: type[msgspec.Struct]) -> None:
    sentence = next(
        part
        for part in re.split(r"\.\s", TEXT.replace("\n", " "))
        if part.startswith(f"`{name}` has")
    )
    assert set(names(sentence)) - {name} == fields_of(kind)


def test_errors_and_their_close_codes_are_those_of_the_document() -> None:
    documented = {
        names(row[0])[0]: int(row[2]) if row[2].isdigit() else None
        for row in table("code", "fatal", "close", "when")
    }
    assert documented == {code.value: code.close_code for code in ErrorCode}
    assert all(
        (row[1] == "yes") == row[2].isdigit() for row in table("code", "fatal", "close", "when")
    )


def test_every_close_code_of_an_error_has_its_meaning() -> None:
    documented = {int(row[0]) for row in table("close", "meaning")}
    used = {code.close_code for code in ErrorCode if code.close_code is not None}
    assert documented == used | {1000, 1002, 1007, 1009, 1011}
    assert all(4000 <= code <= 4103 or code < 1014 for code in documented)


def test_limits_have_the_defaults_of_the_document() -> None:
    documented = {names(row[0])[0]: float(row[1]) for row in table("setting", "default", "limits")}
    fields = Settings.model_fields
    assert documented == {name: float(fields[name].default) for name in documented}
    assert len(documented) == 30


def test_problem_codes_have_the_statuses_of_the_document() -> None:
    documented = {names(row[0])[0]: int(row[1]) for row in table("code", "status", "when")}
    assert documented == {code.value: code.status for code in ProblemCode}


def test_problem_documents_have_the_fields_of_the_document() -> None:
    sentence = TEXT[TEXT.index("Errors are `application/problem+json`") :].split(":\n")[0]
    named = set(names(sentence)) - {"application/problem+json", "#/query/levels"}
    assert named == {field.rstrip("?") for field in fields_of(ProblemDocument)}


def test_formats_are_those_of_the_document() -> None:
    documented = {names(row[0])[0]: names(row[1])[0] for row in table("format", "media type", "of")}
    assert documented == {**AUDIO_MEDIA_TYPES, **TOKEN_MEDIA_TYPES}
    firsts = {row[2]: names(row[0])[0] for row in reversed(table("format", "media type", "of"))}
    assert firsts == {
        "audio": next(iter(AUDIO_MEDIA_TYPES)),
        "tokens": next(iter(TOKEN_MEDIA_TYPES)),
    }


def test_job_states_are_those_of_the_document() -> None:
    line = next(line for line in TEXT.splitlines() if line.startswith("States: "))
    assert tuple(names(line)) == get_args(JobState)


def test_routes_are_those_of_the_document(tmp_path: Path) -> None:
    documented = {names(row[0])[0] for row in table("route", "what")}
    app = create_app(Settings(state_dir=tmp_path))
    served = {
        f"{method} {route.path}"
        for route in all_routes(app)
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    assert documented == served
    sockets = [route.path for route in all_routes(app) if isinstance(route, APIWebSocketRoute)]
    assert sockets == ["/v1/stream"]


def all_routes(app: object) -> list[object]:
    """Return the routes of an application, those of included routers too."""
    found: list[object] = []
    for route in getattr(app, "routes", []):
        inner = getattr(route, "original_router", None)
        found.extend(all_routes(inner) if inner is not None else [route])
    return found


def test_query_parameters_of_the_socket_are_those_of_the_document() -> None:
    rows = table("parameter", "values", "default", "meaning")
    fields = StreamQuery.model_fields
    assert [names(row[0])[0] for row in rows] == list(fields)
    for row in rows:
        default = fields[names(row[0])[0]].default
        if names(row[2]):
            assert names(row[2]) == [default]
        elif row[2].isdigit():
            assert int(row[2]) == default
        choices = get_args(fields[names(row[0])[0]].annotation)
        if choices and all(isinstance(choice, str) for choice in choices):
            assert names(row[1])[: len(choices)] == list(choices)


def test_the_header_lies_in_bytes_as_the_document_says() -> None:
    rows = [
        (names(row[2])[0], row[0], row[1]) for row in table("offset", "size", "field", "meaning")
    ]
    assert rows == [("kind", "0", "1"), ("sequence", "1", "1"), ("count", "2", "1–2")]  # noqa: RUF001 - the document's dash
    assert audio_head(0x1234) == bytes((0, 0x34))
    assert tokens_head(0x1234, 5, 100) == bytes((0x85, 0x34, 100))
    assert tokens_head(0x1234, 5, 300) == bytes((0x85, 0x34, 0x80 | 300 & 0x7F, 300 >> 7))
    assert f"at most {MAX_PACKET_FRAMES}" in TEXT
    assert f"lose {MAX_LOST_FRAMES} frames" in TEXT
