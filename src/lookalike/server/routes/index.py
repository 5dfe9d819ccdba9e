"""Paths that say what the index and the server are, and how they are doing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import ValidationError
from pydantic_core import to_json

from lookalike.errors import LookalikeError
from lookalike.imaging.encode import THUMBNAIL_SIDE
from lookalike.index.schema import FILTERED
from lookalike.metrics.ranking import SHOWN
from lookalike.neighbors.distances import DISTANCES
from lookalike.reports.saved_scores import saved_reports
from lookalike.search.rerank import RERANKERS
from lookalike.server.pictures import longest_side
from lookalike.server.prometheus import CONTENT_TYPE
from lookalike.server.schemas import ERRORS, InfoModel, ReportModel, ReportsModel, StatusModel, SuggestModel
from lookalike.server.service import Service, ServiceOf
from lookalike.server.shared_index import SharedIndex
from lookalike.version import __version__

router = APIRouter(responses=ERRORS)
#: Seconds between two looks at the index's state for streams of events, and between two signs of life of a stream.
CHECK_SECONDS, HEARTBEAT_SECONDS = 0.5, 15.0
#: Columns or values of one suggestion, and images whose metadata is looked through for them.
_MAX_SUGGESTIONS, _MAX_SAMPLED = 12, 2000
#: Thumbnails that are looked at.
_LOOKED_AT = 4


@router.get("/api/info", response_model=InfoModel, tags=["index"])
def info(service: ServiceOf, request: Request) -> dict[str, Any]:
    """Return what the index holds and can do."""
    content = service.ask_index(lambda index: _info(service, index))
    remote = request.scope.get("lookalike.remote", True)  # another machine's user is told nothing of this one's folders
    return content | {
        "trouble": service.public_text(request, content["trouble"]),
        "folder": None if remote else content["folder"],
    }


@router.get("/api/reports", response_model=ReportsModel, tags=["index"])
def reports(service: ServiceOf, request: Request) -> dict[str, Any]:
    """Return the score reports that ``lookalike score --keep`` left with the index."""
    version = service.live.current().manifest.dataset_version
    models = []
    for report in saved_reports(service.live.path):
        with suppress(ValidationError):  # a file that lookalike didn't write: nothing to show
            public = {
                "current": report.get("version") == version,
                "title": service.public_text(request, report["title"]),
            }
            models.append(ReportModel.model_validate({**report, **public}))
    return {"reports": models, "shown": list(SHOWN)}


@router.get("/api/suggest", response_model=SuggestModel, tags=["index"])
def suggest(service: ServiceOf, q: Annotated[str, Query(max_length=200)] = "") -> dict[str, Any]:
    """Return column names and values of the metadata that contain some letters, for filters and words."""
    return service.ask_index(lambda index: _suggestions(index, q))


@router.get("/api/health", response_model=StatusModel, tags=["service"])
async def health() -> dict[str, str]:
    """Tell that the server lives."""
    return {"status": "ok"}


@router.get("/api/ready", response_model=StatusModel, tags=["service"])
def ready(service: ServiceOf) -> dict[str, str]:
    """Tell that the index can be read; 503 where it is gone or damaged, even while the opened version still answers."""
    service.live.current()
    service.live.check()
    return {"status": "ready"}


@router.get("/metrics", response_class=Response, tags=["service"])
def metrics(service: ServiceOf) -> Response:
    """Return counters and timings in the format of Prometheus."""
    service.metrics.images.set(len(service.live.current()))
    return Response(service.metrics.text(), media_type=CONTENT_TYPE)


@router.get("/api/events", response_class=StreamingResponse, tags=["service"])
async def events(service: ServiceOf, request: Request) -> StreamingResponse:
    """Send the index's state now and whenever it changes, as server-sent events named ``index``."""

    async def stream() -> AsyncIterator[str]:
        last, beat = "", time.monotonic()
        since = beat  # a new one begins with what is true now; later it is no more than half a look old
        while not service.stopping.is_set():
            state = await service.state(since)
            state = state | {"trouble": service.public_text(request, state["trouble"])}
            text = to_json(state, inf_nan_mode="null").decode()
            if text != last or time.monotonic() - beat > HEARTBEAT_SECONDS:
                yield f"event: index\ndata: {text}\n\n"
                last, beat = text, time.monotonic()
            with suppress(TimeoutError):
                await asyncio.wait_for(service.stopping.wait(), CHECK_SECONDS)
            since = time.monotonic() - CHECK_SECONDS / 2

    return StreamingResponse(stream(), media_type="text/event-stream")


def _info(service: Service, index: SharedIndex) -> dict[str, Any]:
    manifest = index.manifest
    columns, has_labels = service.abilities()
    return {
        "lookalike": __version__,
        "name": Path(manifest.collection).name or manifest.collection,
        "images": len(index),
        "complete": manifest.complete,
        "default": manifest.default,
        "encoders": columns,
        "distances": _distances(),
        "reranks": sorted(name for name in RERANKERS if name != "auto"),
        "labels": has_labels,
        "outcomes": manifest.outcomes,
        "version": manifest.dataset_version,
        "urls": service.fetcher is not None,
        "trouble": service.live.trouble,
        "folder": manifest.source if Path(manifest.source).is_dir() else None,
        "small_thumbnails": index.cached("small thumbnails", lambda: _are_small(index)),
    }


def _are_small(index: SharedIndex) -> bool:
    """Tell whether an older version made the thumbnails, smaller than they are now."""
    rows = np.unique(np.linspace(0, len(index) - 1, _LOOKED_AT).astype(int)).tolist() if len(index) else []
    for facts, file in zip(index.facts(rows), index.thumbnail_bytes(rows) if rows else [], strict=True):
        whole = max(facts["width"] or 0, facts["height"] or 0)
        if longest_side(file) < min(THUMBNAIL_SIDE, whole) - 1:
            return True
    return False


def _distances() -> list[str]:
    """Return the distances that any vectors can be compared by; one of another package that can't be used is left out."""
    names = []
    for name in sorted(DISTANCES):
        with suppress(LookalikeError):
            if not DISTANCES[name].packed:
                names.append(name)
    return names


def _suggestions(index: SharedIndex, text: str) -> dict[str, Any]:
    wanted = text.casefold()
    columns: dict[str, None] = dict.fromkeys(FILTERED)
    values: dict[str, None] = {}
    rows = np.linspace(0, len(index) - 1, min(len(index), _MAX_SAMPLED)).astype(int).tolist() if len(index) else []
    for facts in index.facts(rows):
        metadata = facts["metadata"] or {}
        columns.update(dict.fromkeys(metadata))
        for value in (facts["label"], *metadata.values()):
            if isinstance(value, str) and wanted in value.casefold():
                values[value] = None
    return {
        "columns": [name for name in columns if wanted in name.casefold()][:_MAX_SUGGESTIONS],
        "values": sorted(values, key=lambda v: (not v.casefold().startswith(wanted), v))[:_MAX_SUGGESTIONS],
    }
