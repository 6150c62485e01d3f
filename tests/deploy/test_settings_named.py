"""Every setting, metric, port and path that a deployment names is one that the service has."""

import ast
import json
import re
from pathlib import Path

import pytest
from deploy_files import (
    COMPOSE,
    GUIDE,
    ROOT,
    TEXT_FILES,
    YAML_FILES,
    dockerfile_steps,
    env_names,
    load,
    manifest,
    pod,
    queries,
)

from grove.server.app import create_app
from grove.server.metrics import ServiceMetrics
from grove.server.settings import Settings

SETTINGS = {f"GROVE_{name.upper()}" for name in Settings.model_fields}


def metric_names() -> set[str]:
    """Return the names that queries may use: what a scrape has, and the parts of histograms."""
    names: set[str] = set()
    for family in ServiceMetrics().registry.collect():
        match family.type:
            case "counter":
                names.add(f"{family.name}_total")
            case "histogram":
                names |= {f"{family.name}{part}" for part in ("_bucket", "_sum", "_count")}
            case _:
                names.add(family.name)
    return names


def routes() -> set[str]:
    return set(create_app(Settings()).openapi()["paths"])


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.name)
def test_the_file_is_yaml(path: Path) -> None:
    assert isinstance(load(path), dict)


@pytest.mark.parametrize("path", TEXT_FILES, ids=lambda path: path.name)
def test_every_setting_that_is_named_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert env_names(text) <= SETTINGS


@pytest.mark.parametrize("query", queries())
def test_every_metric_that_is_asked_for_exists(query: str) -> None:
    named = set(re.findall(r"\b(?:grove_\w+|process_\w+|up\b)", query))
    assert named
    assert named - {"up"} <= metric_names()  # Prometheus makes that one itself


def metric_labels() -> dict[str, set[str]]:
    """Return the labels of each metric, as the source declares them."""
    labels: dict[str, set[str]] = {}
    source = (ROOT / "server" / "metrics.py").read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                args=[ast.Constant(value=str(name)), ast.Constant(), ast.List() as names]
            ):
                labels[name] = set(ast.literal_eval(names))
            case ast.Call(args=[ast.Constant(value=str(name)), ast.Constant()]):
                labels[name] = set()
    return labels


@pytest.mark.parametrize("query", queries())
def test_labels_in_queries_are_labels_of_their_metric(query: str) -> None:
    declared, of_scrape = metric_labels(), {"instance", "job", "pod", "namespace"}
    allowed = {"le"} | of_scrape
    for name in re.findall(r"\bgrove_\w+", query):
        base = re.sub(r"_(?:bucket|sum|count)$", "", name)
        allowed |= declared[base]
        for selector in re.findall(rf"\b{name}{{([^}}]*)}}", query):
            named = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
            assert named <= declared[base] | of_scrape
    for group in re.findall(r"by \(([\w, ]+)\)", query):
        assert {label.strip() for label in group.split(",")} <= allowed


def test_the_routes_that_are_asked_exist() -> None:
    container = pod()["containers"][0]
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    assert [probe["path"] for probe in probes] == ["/live", "/ready", "/live"]
    assert {probe["path"] for probe in probes} | {"/metrics"} <= routes()
    script = (ROOT / "deploy" / "docker" / "healthcheck.py").read_text(encoding="utf-8")
    assert set(re.findall(r"\{PORT\}(/\w+)", script)) <= routes()
    scrape = load(ROOT / "deploy" / "prometheus" / "prometheus.yml")["scrape_configs"][0]
    assert scrape["metrics_path"] == "/metrics"


def test_there_is_one_port() -> None:
    (default,) = {Settings.model_fields["port"].default}
    assert [step.rest for step in dockerfile_steps() if step.word == "EXPOSE"] == [str(default)]
    container = pod()["containers"][0]
    assert container["ports"] == [{"name": "http", "containerPort": default}]
    assert manifest("service")["spec"]["ports"][0]["targetPort"] == "http"
    assert load(COMPOSE)["services"]["grove"]["ports"] == [f"127.0.0.1:{default}:{default}"]


def test_the_guide_tells_of_every_setting() -> None:
    assert env_names(GUIDE.read_text(encoding="utf-8")) == SETTINGS


def test_the_guide_has_every_default() -> None:
    rows = re.findall(
        r"^\| `GROVE_(\w+)` \| (\S*)", GUIDE.read_text(encoding="utf-8"), re.MULTILINE
    )
    told = {name.lower(): default.strip("`;") for name, default in rows}
    drawn = {"state_dir", "token_secret"}
    for name, field in Settings.model_fields.items():
        match field.default:
            case _ if name in drawn:
                continue
            case None:
                expected = "unset"
            case tuple() as values:
                expected = json.dumps(values)
            case bool() as flag:
                expected = str(flag).lower()
            case value:
                expected = str(value)
        assert told[name] == expected, name


def test_the_proxy_lets_through_what_the_server_takes() -> None:
    text = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    (size_mb,) = re.findall(r"client_max_body_size (\d+)m;", text)
    assert int(size_mb) * 2**20 > Settings.model_fields["max_body_bytes"].default
    launch = (ROOT / "server" / "launch.py").read_text(encoding="utf-8")
    (ping_seconds,) = re.findall(r"ws_ping_interval=(\d+)", launch)
    assert all(
        int(seconds) > 2 * int(ping_seconds)
        for seconds in re.findall(r"proxy_(?:read|send)_timeout (\d+)s;", text)
    )
