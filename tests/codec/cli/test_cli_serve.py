"""`grove serve`: the command line goes before the environment, and what is wrong is one line."""

import pytest

from grove.codec.cli import commands as cli
from grove.codec.cli import serve as cli_serve
from grove.codec.cli.serve import ServeOptions, settings_from
from grove.codec.errors import ConfigError


def test_what_is_given_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROVE_PORT", "9001")
    monkeypatch.setenv("GROVE_WORKERS", "3")
    settings = settings_from(ServeOptions(port=9002, bundles=("mine", "grove-24k")))
    assert (settings.port, settings.workers) == (9002, 3)
    assert settings.bundles == ("mine", "grove-24k")
    assert settings_from(ServeOptions()).port == 9001


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ServeOptions(port=99_999), "setting port: Input should be less than or equal to 65535"),
        (ServeOptions(host="0.0.0.0"), "bound to 0.0.0.0 without API keys"),
        (ServeOptions(workers=0), "setting workers: "),
    ],
)
def test_a_setting_that_cannot_be_is_named(options: ServeOptions, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        settings_from(options)


def test_a_port_in_use_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> int:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(cli_serve, "serve", refuse)
    assert cli.main(["serve", "--port", "18000"]) == 2
    assert capsys.readouterr().err == (
        "error: cannot listen on 127.0.0.1:18000: Address already in use\n"
        "hint: choose another --port\n"
    )


def test_the_exit_code_is_the_service_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_serve, "serve", lambda settings: settings.port % 7)
    assert cli.main(["serve", "--port", "18000"]) == 18_000 % 7


def test_a_model_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--model", "no-such-model"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("error: no bundle no-such-model")
    assert [line.partition(":")[0] for line in lines] == ["error", "hint"]
