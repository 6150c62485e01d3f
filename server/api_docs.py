"""What the OpenAPI document says beyond what the signatures do."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from grove.server.files.formats import AUDIO_MEDIA_TYPES, TOKEN_MEDIA_TYPES
from grove.server.problems import MEDIA_TYPE, ProblemCode

# FastAPI takes these as plain dictionaries, whose shape OpenAPI defines.
Document = dict[str, Any]

_BINARY: Final[Document] = {"schema": {"type": "string", "format": "binary"}}
_MULTIPART: Final[Document] = {
    "schema": {
        "type": "object",
        "required": ["file"],
        "properties": {"file": {"type": "string", "format": "binary"}},
    }
}
_PROBLEM_EXAMPLE: Final[Document] = {
    "type": "urn:grove:problem:invalid_parameter",
    "title": "Invalid parameter",
    "status": 422,
    "detail": "levels is 9, expected 1 to 6",
    "code": "invalid_parameter",
    "request_id": "5f2b1c9e7d3a4b60",
    "pointer": "#/query/levels",
}
_PROBLEM: Final[Document] = {
    "schema": {"$ref": "#/components/schemas/ProblemDocument"},
    "example": _PROBLEM_EXAMPLE,
}
_GET_STATUSES: Final = (400, 401, 404, 405, 409, 416, 422, 500, 503)
_POST_STATUSES: Final = (400, 401, 404, 405, 406, 408, 409, 411, 413, 415, 422, 429, 500, 503, 507)


_REF: Final = "#/components/schemas/{name}"
_SECURITY_SCHEMES: Final[Document] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "an API key, or a token of /v1/tokens",
    },
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def json_reply(
    what: str, kind: type[msgspec.Struct], *, is_list: bool = False, example: Document | None = None
) -> Document:
    """Return a reply that is one of our structures, or a list of them."""
    schema: Document = {"$ref": _REF.format(name=kind.__name__)}
    if is_list:
        schema = {"type": "array", "items": schema}
    content: Document = {"schema": schema} | ({} if example is None else {"example": example})
    return {"description": what, "content": {"application/json": content}}


def complete(document: Document, kinds: Sequence[type[msgspec.Struct]]) -> Document:
    """Add the structures that replies refer to, and how callers say who they are."""
    _, structures = msgspec.json.schema_components(kinds, ref_template=_REF)
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(structures)
    components["securitySchemes"] = _SECURITY_SCHEMES
    for path, operations in document["paths"].items():
        if path.startswith("/v1/"):
            for operation in operations.values():
                # The last one: a server without keys asks for none.
                operation["security"] = [*({name: []} for name in _SECURITY_SCHEMES), {}]
    return document


def _body(what: str, media_types: tuple[str, ...]) -> Document:
    content = dict.fromkeys(media_types, _BINARY)
    content["multipart/form-data"] = _MULTIPART
    return {"requestBody": {"required": True, "description": what, "content": content}}


def _reply(what: str, media_types: tuple[str, ...]) -> Document:
    return {"description": what, "content": dict.fromkeys(media_types, _BINARY)}


def problem_replies(method: str) -> dict[int | str, Document]:
    """Return the error replies that a route of this method may give."""
    statuses = _POST_STATUSES if method == "post" else _GET_STATUSES
    return {
        status: {
            "description": ", ".join(code.value for code in ProblemCode if code.status == status),
            "content": {MEDIA_TYPE: _PROBLEM},
        }
        for status in statuses
    }


_OCTETS: Final = "application/octet-stream"
AUDIO_BODY: Final = _body(
    "A WAV, FLAC, Ogg (Opus or Vorbis), MP3 or AIFF file; M4A and WebM where the server has PyAV",
    ("audio/wav", _OCTETS),
)
TOKENS_BODY: Final = _body(
    "Tokens, in any of the forms that /v1/encode gives",
    (_OCTETS, *TOKEN_MEDIA_TYPES.values()),
)
ANY_BODY: Final = _body("Audio, or tokens for operation=decode", (_OCTETS, "audio/wav"))
AUDIO_REPLY: Final = _reply("The audio", tuple(AUDIO_MEDIA_TYPES.values()))
TOKENS_REPLY: Final = _reply("The tokens", tuple(TOKEN_MEDIA_TYPES.values()))
