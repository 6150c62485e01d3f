"""`/local/...`: the codec for browsers, its runtime where one is set up, and the bundles served."""

from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, JSONResponse, Response

from grove.codec.bundle import DECODER, ENCODER, MANIFEST, Bundle
from grove.server.problems import Problem, ProblemCode
from grove.server.service import caller_of, service_of

_CLIENT: Final = Path(__file__).parents[2] / "web"
_CODEC: Final = _CLIENT / "local"
_RUNTIME: Final = _CLIENT / "node_modules" / "onnxruntime-web" / "dist"
_RUNTIME_FILES: Final = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
_MEDIA_TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".onnx": "application/octet-stream",
    ".wasm": "application/wasm",
}
# A worker goes by the policy of its own file: here alone WebAssembly may be compiled.
_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
    "connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": _POLICY,
    # Several threads share memory, which browsers allow to isolated pages only.
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
router = APIRouter(include_in_schema=False)


async def status(request: Request) -> Response:  # noqa: ARG001 - the route's form
    """Tell a page whether the codec can run in it."""
    missing = [name for name in _RUNTIME_FILES if not (_RUNTIME / name).is_file()]
    is_here = _CODEC.is_dir() and not missing
    return JSONResponse({"available": is_here}, headers=_HEADERS)


async def codec_file(request: Request) -> Response:
    """Return a module of the client's codec."""
    name = request.path_params["name"]
    known = {path.name for path in _CODEC.glob("*.js")}
    return _file(request, _CODEC, name, known)


async def runtime_file(request: Request) -> Response:
    """Return a file of ONNX Runtime Web."""
    return _file(request, _RUNTIME, request.path_params["name"], set(_RUNTIME_FILES))


async def bundle_file(request: Request) -> Response:
    """Return a file of a bundle that this process serves, to whoever may use it."""
    caller_of(request)
    model = service_of(request).shelf.find(request.path_params["model"])
    name = request.path_params["name"]
    content = _of_bundle(model.bundle, name) if model and model.bundle else None
    if content is None:
        raise Problem(ProblemCode.NOT_FOUND, "no such bundle, or no such file in it")
    # Its address names its hash, so it is the same for ever.
    headers = {**_HEADERS, "Cache-Control": "private, max-age=31536000, immutable"}
    return Response(content, media_type=_MEDIA_TYPES[Path(name).suffix], headers=headers)


def _of_bundle(bundle: Bundle, name: str) -> bytes | None:
    match name:
        case "manifest.json":
            return (bundle.path / MANIFEST).read_bytes()
        case "encoder.onnx":
            return bundle.read(ENCODER)
        case "decoder.onnx":
            return bundle.read(DECODER)
        case _:
            return None


def _file(request: Request, folder: Path, name: str, known: set[str]) -> Response:
    path = folder / name
    if name not in known or not path.is_file():
        raise Problem(ProblemCode.NOT_FOUND, f"there is no file {name[:100]!r} here")
    headers = {**_HEADERS, "Vary": "Accept-Encoding"}
    media_type = _MEDIA_TYPES[path.suffix]
    packed = folder / f"{name}.gz"
    if packed.is_file() and "gzip" in request.headers.get("accept-encoding", ""):
        path, headers = packed, {**headers, "Content-Encoding": "gzip"}
    found = path.stat()
    headers["ETag"] = f'"{found.st_mtime_ns:x}-{found.st_size:x}"'
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return FileResponse(path, media_type=media_type, headers=headers)


router.add_route("/local/status", status, methods=["GET"])
router.add_route("/local/codec/{name}", codec_file, methods=["GET"])
router.add_route("/local/runtime/{name}", runtime_file, methods=["GET"])
router.add_route("/local/bundles/{model}/{name}", bundle_file, methods=["GET"])
