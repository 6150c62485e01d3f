"""The OpenAPI document holds against the running server."""

import re
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from running import RunningServer
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from grove.server.app import create_app
from grove.server.settings import Settings

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
DOCUMENT = create_app(Settings(state_dir=Path("unused"))).openapi()
OPERATIONS = {
    operation.ok().label: operation.ok()
    for operation in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()
}


@pytest.mark.parametrize("label", list(OPERATIONS))
def test_replies_are_those_of_the_schema(label: str, server: RunningServer) -> None:
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(OPERATIONS[label].as_strategy())
    def replies_conform(case: schemathesis.Case) -> None:
        case.call_and_validate(base_url=server.url, checks=CHECKS, timeout=10)

    replies_conform()


def test_every_route_has_a_summary_and_examples_where_there_are_bodies() -> None:
    assert len(OPERATIONS) == 16
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            if method == "post" and path != "/v1/tokens":
                assert operation["requestBody"]["content"]
    assert str(DOCUMENT).count("'example'") > 5


def test_every_reply_has_a_schema_and_every_call_says_how_it_is_let_in() -> None:
    schemes = set(DOCUMENT["components"]["securitySchemes"])
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            if path.startswith("/v1/"):
                assert {name for one in operation["security"] for name in one} == schemes
            for status, reply in operation["responses"].items():
                for content in reply.get("content", {}).values():
                    assert content["schema"], (method, path, status)


def test_every_structure_that_is_named_is_described() -> None:
    named = set(re.findall(r"#/components/schemas/(\w+)", str(DOCUMENT)))
    assert named <= set(DOCUMENT["components"]["schemas"])
    assert {"JobView", "ProblemDocument", "ModelList"} <= named
