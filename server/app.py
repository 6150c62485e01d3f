"""The application: routes, and the service that they share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from grove import __version__
from grove.server.api_docs import Document, complete
from grove.server.models import LoadModel, load_model
from grove.server.problems import ProblemDocument
from grove.server.request_frame import RequestFrame, add_problem_handlers
from grove.server.routes import demo, files, jobs, local, operations, reference, stream
from grove.server.routes.jobs import JobView
from grove.server.routes.operations import Health, Liveness, ModelList, TokenView, Version
from grove.server.service import running_service
from grove.server.settings import Settings

# What a page of another origin may read of a reply.
EXPOSED_HEADERS: Final = (
    "Codec-Damage",
    "Codec-Model",
    "Content-Disposition",
    "Content-Range",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "X-Request-Id",
)


_STRUCTURES: Final = (
    Health,
    JobView,
    Liveness,
    ModelList,
    ProblemDocument,
    TokenView,
    Version,
)


def create_app(settings: Settings | None = None, load: LoadModel = load_model) -> FastAPI:
    """Return the application; the models load when it starts."""
    chosen = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running_service(chosen, load) as service:
            app.state.service = service
            yield

    app = FastAPI(
        title="Grove",
        version=__version__,
        description="A neural audio codec as a service. The WebSocket is described in PROTOCOL.md.",
        lifespan=lifespan,
        redirect_slashes=False,
        # Their pages load scripts from elsewhere; ours is routes/reference.py.
        docs_url=None,
        redoc_url=None,
    )
    add_problem_handlers(app)
    app.add_middleware(RequestFrame)
    if chosen.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=chosen.allowed_origins,
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=[
                "Authorization",
                "Idempotency-Key",
                "Range",
                "X-API-Key",
                "X-Request-Id",
            ],
            expose_headers=EXPOSED_HEADERS,
            max_age=600,
        )
    describe = app.openapi

    def described() -> Document:
        if app.openapi_schema is None:
            app.openapi_schema = complete(describe(), _STRUCTURES)
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]  # FastAPI's own way to extend it
    for routes in (
        local,
        operations,
        files,
        jobs,
        stream,
        demo,
        reference,
    ):
        app.include_router(routes.router)
    return app
