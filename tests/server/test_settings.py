"""What the environment sets."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from grove.server.settings import Settings, environment_help

SERVER = Path(__file__).parents[2] / "server"


def test_every_setting_can_be_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROVE_PORT", "9001")
    monkeypatch.setenv("GROVE_BUNDLES", '["a", "b"]')
    monkeypatch.setenv("GROVE_STATE_DIR", "/var/lib/grove")
    settings = Settings()
    assert (settings.port, settings.bundles) == (9001, ("a", "b"))
    assert str(settings.state_dir) == "/var/lib/grove"


def test_the_help_names_every_variable_with_default_and_meaning() -> None:
    lines = environment_help().splitlines()
    assert len(lines) == len(Settings.model_fields)
    assert "GROVE_PORT=8000  port to bind" in lines
    assert 'GROVE_BUNDLES=["grove-24k"]  bundles to serve, the default one first' in lines
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize(
    "wrong", [{"port": 70_000}, {"workers": 0}, {"session_seconds": 1e6}, {"colour": "red"}]
)
def test_settings_that_cannot_hold_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(wrong)


def test_settings_do_not_show_the_secret() -> None:
    assert "hush" not in repr(Settings(token_secret="hush"))


def test_every_setting_is_read_by_the_service() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in SERVER.rglob("*.py"))
    unread = {name for name in Settings.model_fields if not re.search(rf"\.{name}\b", source)}
    assert unread == set()
