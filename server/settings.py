"""Settings of the service, by `GROVE_*` in the environment."""

import difflib
import ipaddress
import json
import os
import secrets
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from grove.codec.errors import ConfigError

# Read by clients and tests, not by the server.
_OTHER_NAMES: Final = {"GROVE_KEY", "GROVE_AUDIO"}


def _state_dir() -> Path:
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "grove"


class Settings(BaseSettings):
    """Frozen once read; lists are written as JSON."""

    model_config = SettingsConfigDict(env_prefix="GROVE_", frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="address to bind")
    port: int = Field(8000, ge=0, le=65_535, description="port to bind")
    workers: int = Field(1, ge=1, le=64, description="processes behind the one port")
    bundles: tuple[str, ...] = Field(
        ("grove-24k",), min_length=1, description="bundles to serve, the default one first"
    )
    state_dir: Path = Field(default_factory=_state_dir, description="where jobs are kept")
    run_dir: Path | None = Field(
        None, description="where workers reach each other; drawn at start when unset"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least level logged"
    )

    threads: int = Field(1, ge=1, le=64, description="threads of one model step")
    slots: int | None = Field(
        None, ge=1, le=10_000, description="live sessions at once; measured at start when unset"
    )
    max_slots: int = Field(128, ge=1, le=10_000, description="most slots a measurement may give")
    utilization: float = Field(
        0.75, gt=0, le=0.95, description="share of the time that live sessions may take"
    )
    packet_overhead_us: float = Field(
        150, ge=0, description="cost of one packet outside the model, for the slots"
    )
    tick_ms: float = Field(
        10, ge=0, le=20, description="least time between the starts of two live batches"
    )
    max_batch: int = Field(64, ge=1, le=1024, description="most streams in one model step")
    slice_frames: int = Field(
        16, ge=1, le=512, description="frames of file work between two looks at live work"
    )

    api_keys: tuple[str, ...] = Field(
        (), description="callers as name:sha256-of-key; empty means that no key is needed"
    )
    api_keys_file: Path | None = Field(
        None, description="more of them, one a line; read again on SIGHUP"
    )
    allow_anonymous: bool = Field(
        False, description="start without keys although bound beyond loopback"
    )
    token_secret: SecretStr = Field(
        default_factory=lambda: SecretStr(secrets.token_hex(32)),
        description="signs short-lived tokens; drawn at start when unset",
    )
    allowed_origins: tuple[str, ...] = Field(
        (), description="origins of browsers besides the server's own"
    )

    max_head_bytes: int = Field(32_768, ge=1024, description="headers of a request")
    max_url_bytes: int = Field(8192, ge=256, description="URL of a request")
    head_deadline_seconds: float = Field(10, gt=0, description="time for a head to arrive")
    waiting_connections: int = Field(
        512, ge=1, description="connections without a request; the oldest is closed"
    )
    reply_stall_seconds: float = Field(
        120, gt=0, description="a REST reply of which nothing is read"
    )
    max_body_bytes: int = Field(256 * 2**20, ge=1, description="bytes of a body")
    max_audio_seconds: float = Field(3600, gt=0, description="decoded seconds of a body")
    max_job_seconds: float = Field(21_600, gt=0, description="decoded seconds of a job")
    max_channels: int = Field(8, ge=1, le=255, description="channels of a file")
    body_deadline_seconds: float = Field(120, gt=0, description="time for a body to arrive")
    sandbox_memory_mb: int = Field(1024, ge=128, description="memory of one file decoder")
    max_message_bytes: int = Field(262_144, ge=1024, description="one WebSocket message")
    idle_seconds: float = Field(60, gt=0, description="silence of a client")
    session_seconds: float = Field(14_400, gt=0, le=21_600, description="one session")
    max_ahead_ms: float = Field(5000, gt=0, description="realtime input ahead of the clock")
    slow_reader_seconds: float = Field(
        10, gt=0, description="a connection that takes no output is closed"
    )
    max_outbox_bytes: int = Field(2**20, ge=4096, description="output not yet read by the client")
    max_replay_bytes: int = Field(2**19, ge=0, description="output kept for a resume")
    resume_seconds: float = Field(30, ge=0, description="a session without a connection")
    sessions_per_key: int = Field(128, ge=1, description="sessions of one key")
    sessions_per_address: int = Field(128, ge=1, description="sessions of one address")
    file_sessions: int = Field(8, ge=1, description="sessions with pace=file")
    bytes_per_minute: float | None = Field(
        None, gt=0, description="sent in by one caller; no limit when unset"
    )
    seconds_per_minute: float | None = Field(
        None, gt=0, description="audio of one caller; no limit when unset"
    )
    requests_at_once: int = Field(8, ge=1, description="REST requests being worked on")
    requests_per_caller: int = Field(4, ge=1, description="REST requests of one caller")
    jobs_at_once: int = Field(1, ge=1, description="jobs being worked on")
    jobs_per_caller: int = Field(100, ge=1, description="jobs kept for one caller")
    job_bytes: int = Field(2**33, ge=1, description="inputs and results of all jobs")
    job_bytes_per_caller: int = Field(2**31, ge=1, description="of the jobs of one caller")
    job_disk_reserve_bytes: int = Field(
        2**28, ge=0, description="left free on the disk that jobs are kept on"
    )
    job_expiry_seconds: float = Field(86_400, gt=0, description="a finished job and its result")
    token_seconds: int = Field(300, ge=1, le=86_400, description="a short-lived token")
    drain_seconds: float = Field(30, ge=0, description="draining after SIGTERM")

    allowed_hosts: tuple[str, ...] = Field(
        (), description="names that a keyless server on loopback answers to besides its own"
    )

    @model_validator(mode="before")
    @classmethod
    def _names_are_known(cls, values: object) -> object:
        known = {f"GROVE_{name.upper()}" for name in cls.model_fields} | _OTHER_NAMES
        for name in os.environ:
            # Kubernetes adds such names for a service called grove.
            if not name.startswith("GROVE_") or name.startswith(("GROVE_SERVICE_", "GROVE_PORT_")):
                continue
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = (
                    f", expected {near[0]}" if near else ", expected a name of docs/deployment.md"
                )
                raise ValueError(f"there is no setting {name}{hint}")
        return values

    @property
    def guards_hosts(self) -> bool:
        """Whether only the name stands between a page elsewhere and this server."""
        return not self.needs_keys and not self.allow_anonymous and is_loopback(self.host)

    @property
    def needs_keys(self) -> bool:
        return bool(self.api_keys) or self.api_keys_file is not None

    def read_keys(self) -> tuple[str, ...]:
        """Return all keys: those of the environment, and those that the file has by now."""
        if self.api_keys_file is None:
            return self.api_keys
        try:
            lines = self.api_keys_file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"{self.api_keys_file}: cannot be read: {error}") from error
        entries = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        for number, entry in enumerate(entries, 1):
            if not _is_key(entry):
                raise ConfigError(
                    f"{self.api_keys_file}: key {number} is not written as name:sha256"
                )
        return (*self.api_keys, *entries)

    @model_validator(mode="after")
    def _strangers_need_a_key(self) -> Self:
        if not self.needs_keys and not self.allow_anonymous and not is_loopback(self.host):
            raise ValueError(
                f"bound to {self.host} without API keys, expected GROVE_API_KEYS "
                "(or GROVE_ALLOW_ANONYMOUS=true, or a loopback address)"
            )
        return self

    @model_validator(mode="after")
    def _keys_are_hashed(self) -> Self:
        for entry in self.api_keys:
            if not _is_key(entry):
                raise ValueError("an API key must be written as name:sha256 in lower-case hex")
        return self


def _is_key(entry: str) -> bool:
    name, _, digest = entry.partition(":")
    return bool(name) and len(digest) == 64 and not set(digest) - set("0123456789abcdef")


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def environment_help() -> str:
    """Return one line for each variable: its name, default and meaning."""
    lines = []
    for name, field in Settings.model_fields.items():
        is_open = field.default_factory is not None or field.default is None
        default = "" if is_open else f"={_shown(field.default)}"
        lines.append(f"GROVE_{name.upper()}{default}  {field.description}")
    return "\n".join(lines)


def _shown(default: object) -> str:
    match default:
        case tuple():
            return json.dumps(default)
        case bool():
            return str(default).lower()
        case _:
            return str(default)
