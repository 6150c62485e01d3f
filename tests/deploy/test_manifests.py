"""What the manifests promise: drains that have time, locked-down pods, no secrets, real files."""

import json
import re
from pathlib import Path

import pytest
import yaml
from deploy_files import (
    ADAPTER_RULES,
    ALERTS,
    COMPOSE,
    DASHBOARD,
    GUIDE,
    KUBERNETES,
    ROOT,
    TEXT_FILES,
    load,
    manifest,
    pod,
)

SECRET = re.compile(
    r"(?i)(?:password|secret|token|api[_-]?key)\w*['\"]?\s*[:=]\s*['\"]?[\w+/-]{12,}"
    r"|-----BEGIN|\bgt_[\w.]{10,}|\bAKIA[0-9A-Z]{16}"
)


def environment() -> dict[str, str | None]:
    return {entry["name"]: entry.get("value") for entry in pod()["containers"][0]["env"]}


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


@pytest.mark.parametrize("path", TEXT_FILES, ids=lambda path: path.name)
def test_no_file_holds_a_secret(path: Path) -> None:
    assert SECRET.findall(path.read_text(encoding="utf-8")) == []


def test_the_search_for_secrets_finds_one() -> None:
    assert SECRET.search("GROVE_TOKEN_SECRET: 0123456789abcdef")


def test_the_kustomization_lists_every_manifest() -> None:
    listed = set(manifest("kustomization")["resources"])
    there = {path.name for path in KUBERNETES.glob("*.yaml")}
    assert listed == there - {"kustomization.yaml", ADAPTER_RULES.name}
    for name in listed:
        assert {"apiVersion", "kind", "metadata"} <= set(load(KUBERNETES / name))


def test_a_pod_has_time_to_drain() -> None:
    container = pod()["containers"][0]
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    drain = int(environment()["GROVE_DRAIN_SECONDS"] or 0)
    assert pod()["terminationGracePeriodSeconds"] >= pause + drain + 10


def test_a_compose_service_has_time_to_drain() -> None:
    service = load(COMPOSE)["services"]["grove"]
    drain = int(service["environment"]["GROVE_DRAIN_SECONDS"])
    assert seconds(service["stop_grace_period"]) >= drain + 10


def test_a_service_called_grove_does_not_set_our_settings() -> None:
    # Service links would set GROVE_PORT=tcp://…, which is no port.
    assert manifest("service")["metadata"]["name"] == "grove"
    assert pod()["enableServiceLinks"] is False


def test_the_pod_is_locked_down() -> None:
    context, container = pod()["securityContext"], pod()["containers"][0]["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert context["runAsUser"] == context["fsGroup"] == 10_001
    assert container["readOnlyRootFilesystem"] is True
    assert container["allowPrivilegeEscalation"] is False
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert pod()["automountServiceAccountToken"] is False


def test_only_what_is_written_to_is_writable() -> None:
    mounts = {mount["mountPath"] for mount in pod()["containers"][0]["volumeMounts"]}
    assert mounts == {"/tmp", "/var/lib/grove"}
    service = load(COMPOSE)["services"]["grove"]
    assert service["read_only"] is True
    written = {entry.split(":")[0] for entry in service["tmpfs"]}
    assert written | {entry.split(":")[1] for entry in service["volumes"]} == mounts


def test_selectors_find_the_pods() -> None:
    labels = manifest("deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        manifest("deployment")["spec"]["selector"]["matchLabels"],
        manifest("service")["spec"]["selector"],
        manifest("disruption-budget")["spec"]["selector"]["matchLabels"],
        manifest("network-policy")["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector == labels for selector in selectors)


def test_the_autoscaler_scales_on_a_metric_that_the_rules_make() -> None:
    spec = manifest("autoscaler")["spec"]
    assert spec["scaleTargetRef"]["name"] == manifest("deployment")["metadata"]["name"]
    made = {rule["name"]["as"] for rule in load(ADAPTER_RULES)["rules"]["custom"]}
    assert {metric["pods"]["metric"]["name"] for metric in spec["metrics"]} == made
    assert "replicas" not in manifest("deployment")["spec"]


def test_secrets_come_from_secrets() -> None:
    assert [name for name, value in environment().items() if value is None] == [
        "GROVE_API_KEYS",
        "GROVE_TOKEN_SECRET",
    ]


def test_everything_that_compose_mounts_exists() -> None:
    services = load(COMPOSE)["services"].values()
    mounts = [entry.split(":")[0] for service in services for entry in service["volumes"]]
    files = [mount for mount in mounts if mount.startswith("./")]
    assert len(files) == 3
    assert [mount for mount in files if not (ROOT / mount).exists()] == []
    named = {mount for mount in mounts if not mount.startswith("./")}
    assert named == set(load(COMPOSE)["volumes"])


def test_every_port_is_bound_to_this_machine() -> None:
    services = load(COMPOSE)["services"].values()
    ports = [port for service in services for port in service["ports"]]
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_prometheus_and_grafana_find_each_other() -> None:
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    (source,) = load(provisioning / "datasources" / "prometheus.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (scrape,) = load(ROOT / "deploy" / "prometheus" / "prometheus.yml")["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": ["grove:8000"]}]
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}
    (provider,) = load(provisioning / "dashboards" / "grove.yml")["providers"]
    mounts = load(COMPOSE)["services"]["grafana"]["volumes"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in mounts


def test_the_guide_explains_every_alert() -> None:
    alerts = [rule["alert"] for group in load(ALERTS)["groups"] for rule in group["rules"]]
    assert (
        re.findall(r"^\| `(Grove\w+)` \|", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
        == alerts
    )


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells


def test_yaml_keys_are_not_given_twice() -> None:
    for path in [COMPOSE, *KUBERNETES.glob("*.yaml")]:
        node = yaml.compose(path.read_text(encoding="utf-8"))
        stack = [node]
        while stack:
            current = stack.pop()
            if isinstance(current, yaml.MappingNode):
                keys = [key.value for key, _ in current.value]
                assert len(keys) == len(set(keys)), path
                stack += [value for _, value in current.value]
            elif isinstance(current, yaml.SequenceNode):
                stack += current.value
