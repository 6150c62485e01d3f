"""`/` and `/demo/...`: the demo page. It is a client of the service like any other."""

from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from grove.server.routes.assets import Assets

_FOLDER: Final = Path(__file__).parent.parent / "demo"
_PAGE: Final = "index.html"
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
_ASSETS: Final = Assets(_HEADERS, _FOLDER)
router = APIRouter(include_in_schema=False)


async def page(request: Request) -> Response:
    return _ASSETS.reply(request, _PAGE)


async def file(request: Request) -> Response:
    return _ASSETS.reply(request, request.path_params["name"])


# Plain routes and not part of the API's schema: these are no operations of the service.
router.add_route("/", page, methods=["GET"])
router.add_route("/demo/{name}", file, methods=["GET"])
