"""`/` and `/demo/...`: the demo page. It is a client of the service like any other."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from grove.server.problems import Problem, ProblemCode

_FOLDER: Final = Path(__file__).parent.parent / "demo"
_PAGE: Final = "index.html"
_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".flac": "audio/flac",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Nothing from elsewhere, nothing inline; 'self' covers the WebSocket too.
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "worker-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = {
    # The files change with the server, and an ETag makes asking cheap.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": _POLICY,
    # With the next line the page is isolated, and a codec in it may use several threads.
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True, slots=True)
class _Asset:
    body: bytes
    media_type: str
    etag: str


def _read_assets() -> dict[str, _Asset]:
    """Return the files by name: what is not among them has no path that leads to it."""
    assets = {}
    for path in sorted(_FOLDER.iterdir()):
        if path.suffix not in _MEDIA_TYPES:
            continue  # what an editor or the system leaves there
        body = path.read_bytes()
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        assets[path.name] = _Asset(body, _MEDIA_TYPES[path.suffix], etag)
    return assets


_ASSETS: Final = _read_assets()
router = APIRouter(include_in_schema=False)


async def page(request: Request) -> Response:
    return _reply(request, _ASSETS[_PAGE])


async def file(request: Request) -> Response:
    name = request.path_params["name"]
    asset = _ASSETS.get(name)
    if asset is None:
        raise Problem(ProblemCode.NOT_FOUND, f"the demo page has no file {name[:100]!r}")
    return _reply(request, asset)


def _reply(request: Request, asset: _Asset) -> Response:
    headers = {**_HEADERS, "ETag": asset.etag}
    known = {
        tag.strip().removeprefix("W/")
        for tag in request.headers.get("if-none-match", "").split(",")
    }
    if asset.etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(asset.body, headers={**headers, "Content-Type": asset.media_type})


# Plain routes and not part of the API's schema: these are no operations of the service.
router.add_route("/", page, methods=["GET"])
router.add_route("/demo/{name}", file, methods=["GET"])
