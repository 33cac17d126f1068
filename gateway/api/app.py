"""The HTTP application: every route of the contract, the pages, and what stands around them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from gateway.api import clerk, operator, pages, platform, problems, reads, stream
from gateway.api.answers import with_problems
from gateway.api.guard import Guard
from gateway.api.limits import Limits
from gateway.api.live import Live
from gateway.api.services import Services

_DESCRIPTION = """The store's own API. Every command carries an id; repeating it gives the first receipt.
Errors are RFC 9457 problem documents with a stable `reason`."""


class _Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The document, in which every error is the problem document that it really is."""
        if self.openapi_schema is None:
            self.openapi_schema = with_problems(super().openapi())
        return self.openapi_schema


def build(services: Services) -> FastAPI:
    """The application over `services`. Start it with `gateway.api.server.serve`."""
    app = _Application(
        title="Soglia",
        version=version("soglia"),
        description=_DESCRIPTION,
        openapi_url="/openapi.json",
        docs_url=None,  # FastAPI's own pages load their scripts from the internet
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    app.state.services = services
    app.state.live = Live(services.engine.on_commit)
    problems.install(app)
    for module in (reads, clerk, stream, platform, operator):
        app.include_router(module.router)
    pages.install(app)
    app.add_middleware(Limits)
    app.add_middleware(Guard, allowed_hosts=services.allowed_hosts)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    live: Live = app.state.live
    live.start()
    try:
        yield
    finally:
        live.stop()
