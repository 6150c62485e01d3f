"""The application: routes, and the service that they share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from codec import __version__
from server import (
    routes_demo,
    routes_files,
    routes_jobs,
    routes_local,
    routes_operations,
    routes_stream,
)
from server.models import LoadModel, load_model
from server.request_frame import RequestFrame, add_problem_handlers
from server.service import running_service
from server.settings import Settings


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
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    add_problem_handlers(app)
    app.add_middleware(RequestFrame)
    app.include_router(routes_local.router)
    for routes in (routes_operations, routes_files, routes_jobs, routes_stream, routes_demo):
        app.include_router(routes.router)
    return app
