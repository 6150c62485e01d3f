"""`/docs`: the API to read and to try, made by the browser from the OpenAPI document alone."""

from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from grove.server.routes.assets import Assets

_SERVER: Final = Path(__file__).parent.parent
# Nothing from elsewhere, nothing inline. A reply that is audio is heard from memory.
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "media-src blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        # Its forms are sent by the script.
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
}
_ASSETS: Final = Assets(_HEADERS, _SERVER / "reference", _SERVER / "PROTOCOL.md")
router = APIRouter(include_in_schema=False)


async def page(request: Request) -> Response:
    return _ASSETS.reply(request, "index.html")


async def file(request: Request) -> Response:
    return _ASSETS.reply(request, request.path_params["name"])


router.add_route("/docs", page, methods=["GET"])
router.add_route("/docs/{name}", file, methods=["GET"])
