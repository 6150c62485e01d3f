"""What the files of a deployment say, read as data."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
COMPOSE = ROOT / "compose.yaml"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "grove.json"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
ADAPTER_RULES = KUBERNETES / "prometheus-adapter-rules.yaml"
GUIDE = ROOT / "docs" / "deployment.md"
YAML_FILES = sorted(
    [COMPOSE, *(ROOT / "deploy").rglob("*.yaml"), *(ROOT / "deploy").rglob("*.yml")]
)
TEXT_FILES = sorted(
    [ROOT / "Dockerfile", ROOT / ".dockerignore", COMPOSE, GUIDE]
    + [path for path in (ROOT / "deploy").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    + [
        path
        for path in (ROOT / "clients").rglob("*")
        if path.is_file() and path.suffix != ".pyc" and "node_modules" not in path.parts
    ]
)


@dataclass(frozen=True)
class Step:
    """One instruction of a Dockerfile."""

    word: str
    rest: str


def dockerfile_steps() -> list[Step]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [Step(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def load(path: Path) -> Any:  # noqa: ANN401 - as the file has it
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def manifest(name: str) -> Any:  # noqa: ANN401 - as the file has it
    return load(KUBERNETES / f"{name}.yaml")


def pod() -> Any:  # noqa: ANN401 - as the file has it
    return manifest("deployment")["spec"]["template"]["spec"]


def queries() -> list[str]:
    """Return every PromQL expression of the dashboard, the alerts and the autoscaler's rules."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    of_panels = [target["expr"] for panel in panels for target in panel["targets"]]
    of_alerts = [rule["expr"] for group in load(ALERTS)["groups"] for rule in group["rules"]]
    of_scaling = [rule["metricsQuery"] for rule in load(ADAPTER_RULES)["rules"]["custom"]]
    return of_panels + of_alerts + of_scaling


def env_names(text: str) -> set[str]:
    return set(re.findall(r"\bGROVE_[A-Z_]*[A-Z]", text))
