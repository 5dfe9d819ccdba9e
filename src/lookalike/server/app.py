"""The ASGI application over one index: the routes, the page's files, and the guard before both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from lookalike.server.error_responses import add_error_handlers
from lookalike.server.fetching import Fetcher
from lookalike.server.guard import Guard
from lookalike.server.live import LiveIndex
from lookalike.server.pools import LIGHT_THREADS
from lookalike.server.prometheus import Metrics
from lookalike.server.routes import denoise, files, images, index, search, unknown
from lookalike.server.routes import map as map_routes
from lookalike.server.rules import Rules
from lookalike.server.service import Service
from lookalike.server.uploads import Decoder
from lookalike.version import __version__

WEB = Path(__file__).parent.parent / "web"


def make_app(live: LiveIndex, rules: Rules, *, allow_urls: bool = False, metrics: Metrics | None = None) -> Guard:
    """Make the ASGI application over one index.

    Parameters
    ----------
    live : LiveIndex
        What answers.
    rules : Rules
        Who may ask, and how much.
    allow_urls : bool
        Whether images may be fetched by their addresses.
    metrics : Metrics, optional
        Where to count.

    Returns
    -------
    Guard
        The application.
    """
    service = Service(live, Decoder(), metrics or Metrics(), fetcher=Fetcher() if allow_urls else None)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = LIGHT_THREADS
        service.begin()
        yield
        service.close()

    app = FastAPI(
        title="lookalike",
        version=__version__,
        description="Find images like this one: search of one index by image, words and filters.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=lifespan,
    )
    app.state.service = service
    add_error_handlers(app, service)
    for topic in (search, denoise, images, files, map_routes, index):
        app.router.routes.extend(topic.router.routes)  # flat, so that each request is matched against one list
    unknown.add_unknown(app)  # after all others
    app.mount("/", StaticFiles(directory=WEB, html=True), name="page")
    return Guard(_Counted(app, service.metrics), rules, on_stop=service.stopping.set, on_close=service.close)


class _Counted:
    """Counts requests by their route and status."""

    def __init__(self, app: FastAPI, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 500

        async def note_status(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self.metrics.in_flight.track_inprogress():
            try:
                await self.app(scope, receive, note_status)
            finally:
                route = scope.get("route")
                self.metrics.answered(getattr(route, "path", "") or "other", status)
