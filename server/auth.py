"""Authentication: API keys, short-lived tokens, and the origins of browsers."""

import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from grove.server.problems import Problem, ProblemCode
from grove.server.protocol import SUBPROTOCOL_KEY
from grove.server.settings import Settings, is_loopback

_TOKEN_PREFIX = "gt_"


@dataclass(frozen=True, slots=True)
class Caller:
    """Limits count per key, or per address where no key is needed."""

    name: str
    address: str
    has_key: bool

    @property
    def identity(self) -> str:
        return f"key:{self.name}" if self.has_key else f"address:{self.address}"


class Gate:
    """Lets callers in."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._needs_keys = settings.needs_keys
        self._names: dict[str, str] = {}
        self.read_keys()
        self._secret = settings.token_secret.get_secret_value().encode()
        self._token_seconds = settings.token_seconds
        self._origins = frozenset(settings.allowed_origins)
        self._guards_hosts = settings.guards_hosts
        self._hosts = {settings.host, "localhost", *settings.allowed_hosts}
        self._hosts |= {urlsplit(origin).hostname or "" for origin in settings.allowed_origins}

    def read_keys(self) -> int:
        """Take the keys as they are by now, and return how many; sessions that run go on."""
        parts = (key.partition(":") for key in self._settings.read_keys())
        self._names = {digest: name for name, _, digest in parts}
        return len(self._names)

    def caller(
        self, headers: Mapping[str, str], subprotocols: Iterable[str], address: str
    ) -> Caller:
        """Return who calls, by header or by WebSocket subprotocol."""
        if not self._needs_keys:
            return Caller("anonymous", address, has_key=False)
        credential = _credential(headers, subprotocols)
        name = self._name_of(credential) if credential else None
        if name is None:
            given = "a wrong or expired one" if credential else "none"
            raise Problem(ProblemCode.UNAUTHORIZED, f"an API key is needed, got {given}")
        return Caller(name, address, has_key=True)

    def key_name(self, headers: Mapping[str, str]) -> str:
        """Return whose key this is; a short-lived token is not enough."""
        credential = _credential(headers, ())
        name = self._names.get(_digest(credential)) if credential else None
        if name is None:
            raise Problem(ProblemCode.UNAUTHORIZED, "an API key is needed to ask for a token")
        return name

    def make_token(self, name: str) -> str:
        """Return a token that stands for the key `name` for a short time."""
        body = f"{name}.{int(time.time()) + self._token_seconds}"
        return f"{_TOKEN_PREFIX}{body}.{self._signature(body)}"

    def check_origin(self, headers: Mapping[str, str]) -> None:
        """Refuse browsers on other sites' pages; a client without an origin is no browser."""
        origin = headers.get("origin")
        if origin is None or origin in self._origins:
            return
        if origin.partition("://")[2] != headers.get("host"):
            raise Problem(
                ProblemCode.FORBIDDEN,
                f"origin {origin[:100]!r} is not allowed",
                hint="the operator can list it in GROVE_ALLOWED_ORIGINS",
            )

    def check_host(self, headers: Mapping[str, str]) -> None:
        """Refuse names that lead a browser here from a page elsewhere (DNS rebinding).

        Without keys, on loopback, the name is all that tells such a page from the user's own.
        """
        if not self._guards_hosts:
            return
        host = headers.get("host", "")
        name = _host_name(host)
        if name not in self._hosts and not is_loopback(name):
            raise Problem(
                ProblemCode.FORBIDDEN,
                f"host {host[:100]!r} is not one of this server's",
                hint="the operator can list it in GROVE_ALLOWED_HOSTS, or set GROVE_API_KEYS",
            )
        self.check_origin(headers)

    def _name_of(self, credential: str) -> str | None:
        if not credential.startswith(_TOKEN_PREFIX):
            return self._names.get(_digest(credential))
        body, _, signature = credential.removeprefix(_TOKEN_PREFIX).rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(body).encode()):
            return None
        name, _, expiry = body.rpartition(".")
        return name if int(expiry) >= time.time() and name in self._names.values() else None

    def _signature(self, body: str) -> str:
        return hmac.new(self._secret, body.encode(), hashlib.sha256).hexdigest()


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _credential(headers: Mapping[str, str], subprotocols: Iterable[str]) -> str | None:
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and bearer:
        return bearer.strip()
    if key := headers.get("x-api-key"):
        return key
    offered = (name for name in subprotocols if name.startswith(SUBPROTOCOL_KEY))
    return next((name.removeprefix(SUBPROTOCOL_KEY) for name in offered), None)


def _digest(key: str) -> str:
    # The look-up is by hash, so how long it takes says nothing about any key.
    return hashlib.sha256(key.encode()).hexdigest()
