"""The Dockerfile's steps, as far as they can be held without an engine."""

import re
from pathlib import Path

from deploy_files import COMPOSE, ROOT, Step, dockerfile_steps

STEPS = dockerfile_steps()
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")


def stage(name: str) -> list[Step]:
    starts = [n for n, step in enumerate(STEPS) if step.word == "FROM"]
    (first,) = [n for n in starts if STEPS[n].rest.endswith(f" AS {name}")]
    return STEPS[first : min([n for n in starts if n > first], default=len(STEPS))]


def copies(steps: list[Step]) -> list[list[str]]:
    return [step.rest.split() for step in steps if step.word == "COPY"]


def local_sources() -> list[str]:
    found = [words[:-1] for words in copies(STEPS) if not words[0].startswith("--from")]
    return [source for sources in found for source in sources]


def index(steps: list[Step], word: str, containing: str = "") -> int:
    return next(n for n, step in enumerate(steps) if step.word == word and containing in step.rest)


def test_every_image_is_pinned_by_its_digest() -> None:
    (base,) = [step.rest.partition("=")[2] for step in STEPS if step.word == "ARG"]
    assert DIGEST.search(base)
    assert {step.rest.split()[0] for step in STEPS if step.word == "FROM"} == {"${PYTHON_IMAGE}"}
    images = re.findall(r"^ +image: (\S+)", COMPOSE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [image for image in images if not DIGEST.search(image)] == ["grove:local"]


def test_all_that_is_copied_exists_and_is_let_through() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = [line.removeprefix("!") for line in ignore if line.startswith("!")]
    assert "*" in ignore
    for source in local_sources():
        assert (ROOT / source).exists(), source
        assert any(source == path or source.startswith(f"{path}/") for path in let_in), source
    for path in let_in:
        assert any(source == path or source.startswith(f"{path}/") for source in local_sources())


def test_all_that_the_package_is_made_of_is_copied_before_the_wheel_is_built() -> None:
    build = stage("build")
    wheel = index(build, "RUN", "pip wheel")
    copied = {source for words in copies(build[:wheel]) for source in words[:-1]}
    parts = {path.resolve().relative_to(ROOT) for path in (ROOT / "grove").iterdir()}
    linked = {str(part) for part in parts if part.parts[0] != "grove"}
    assert {"codec", "exports", "server"} <= linked
    # Of the client for browsers, only the codec is served.
    assert {name if name != "clients/js" else "clients/js/local" for name in linked} <= copied
    assert {"grove", "pyproject.toml", "README.md", "LICENSE"} <= copied


def test_dependencies_are_installed_before_the_code_is_copied() -> None:
    build = stage("build")
    assert index(build, "RUN", "pip") < index(build, "COPY", "codec")
    install = build[index(build, "RUN", "pip")].rest
    assert "--only-binary=:all: --no-deps" in install
    assert "--require-hashes -r media.txt" in install


def test_the_process_is_nobody_and_owns_its_state_only() -> None:
    run = stage("run")
    user = index(run, "USER")
    assert run[user].rest == "10001:10001"
    assert index(run, "RUN", "useradd") < index(run, "COPY") < user < index(run, "CMD")
    assert not [step for step in run[user:] if step.word in {"RUN", "COPY", "ADD"}]
    assert not [step for step in run if "--chown" in step.rest]
    assert run[index(run, "VOLUME")].rest == '["/var/lib/grove"]'


def test_the_process_gets_its_signals_and_is_asked_without_curl() -> None:
    run = stage("run")
    assert run[index(run, "CMD")].rest == '["python", "-m", "grove.server"]'
    assert 'CMD ["python", "/app/healthcheck.py"]' in run[index(run, "HEALTHCHECK")].rest
    assert "curl" not in Path(ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert not [step for step in run if step.word == "ENTRYPOINT"]


def test_the_runtime_s_telemetry_is_off() -> None:
    assert "ORT_DISABLE_TELEMETRY=1" in stage("run")[index(stage("run"), "ENV")].rest.split()
