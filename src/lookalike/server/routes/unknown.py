"""Answers for addresses below ``/api/`` that no route has."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Match

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def add_unknown(app: FastAPI) -> None:
    """Answer for what no path before has; without it the page's files would be looked through.

    Parameters
    ----------
    app : FastAPI
        With all its routes.
    """

    @app.api_route("/api/{rest:path}", methods=_METHODS, include_in_schema=False)
    async def unknown(request: Request) -> Response:
        scope = {**request.scope, "path": request.url.path}
        others = [
            route for route in app.routes if isinstance(route, APIRoute) and "{rest" not in route.path
            and route.matches(scope)[0] == Match.PARTIAL
        ]  # fmt: skip
        if others:
            allowed = ", ".join(sorted({method for route in others for method in route.methods or ()}))
            raise HTTPException(405, f"{request.method} isn't answered here; use {allowed}", {"allow": allowed})
        raise HTTPException(404, "there is no such path; /api/openapi.json lists all paths")
