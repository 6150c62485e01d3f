"""Files of a page, read once: with an ETag, and with the headers that the page wants."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from grove.server.problems import Problem, ProblemCode

_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".flac": "audio/flac",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class _Asset:
    body: bytes
    media_type: str
    etag: str


class Assets:
    """The files by name: what is not among them has no path that leads to it."""

    def __init__(self, headers: Mapping[str, str], folder: Path, *others: Path) -> None:
        self._headers = headers
        # What an editor or the system leaves in the folder has another suffix.
        paths = [path for path in sorted(folder.iterdir()) if path.suffix in _MEDIA_TYPES]
        self._files = {path.name: _read(path) for path in [*paths, *others]}

    def reply(self, request: Request, name: str) -> Response:
        """Return a file, or that the caller has it already."""
        asset = self._files.get(name)
        if asset is None:
            raise Problem(ProblemCode.NOT_FOUND, f"the page has no file {name[:100]!r}")
        headers = {**self._headers, "ETag": asset.etag}
        known = {
            tag.strip().removeprefix("W/")
            for tag in request.headers.get("if-none-match", "").split(",")
        }
        if asset.etag in known or "*" in known:
            return Response(status_code=304, headers=headers)
        return Response(asset.body, headers={**headers, "Content-Type": asset.media_type})


def _read(path: Path) -> _Asset:
    body = path.read_bytes()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return _Asset(body, _MEDIA_TYPES[path.suffix], etag)
