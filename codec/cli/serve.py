"""`grove serve`: the service with what the command line says above the environment."""

from dataclasses import dataclass

from pydantic import ValidationError

from grove.codec.bundle import find_bundle
from grove.codec.errors import CodecError, ConfigError
from grove.server.launch import serve
from grove.server.settings import Settings


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What is None stays as the environment, or else the service's own default, has it."""

    host: str | None = None
    port: int | None = None
    workers: int | None = None
    bundles: tuple[str, ...] = ()


def run_serve(options: ServeOptions) -> int:
    """Serve until told to stop; return the exit code."""
    settings = settings_from(options)
    for name in settings.bundles:
        find_bundle(name)  # said here in one line, and not by every worker in a traceback
    try:
        return serve(settings)
    except OSError as error:
        raise CodecError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}",
            hint="choose another --port",
        ) from error


def settings_from(options: ServeOptions) -> Settings:
    """Return the environment's settings with the given ones in their place."""
    given: dict[str, object] = {
        "host": options.host,
        "port": options.port,
        "workers": options.workers,
        "bundles": options.bundles or None,
    }
    try:
        return Settings.model_validate(
            {key: value for key, value in given.items() if value is not None}
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"setting {where}: {message}" if where else message) from error
