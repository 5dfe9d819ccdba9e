"""Paths of the page's Map tab."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response

from lookalike.server.map_points import ids_of_rows, map_json
from lookalike.server.schemas import ERRORS, MapModel, RowIdsModel, RowsModel, json_of
from lookalike.server.service import ServiceOf

router = APIRouter(tags=["map"], responses=ERRORS)


@router.get("/api/map", response_model=MapModel)
async def collection_map(
    service: ServiceOf,
    encoder: Annotated[str | None, Query(max_length=200, description="One of the index's; else its default.")] = None,
) -> Response:
    """Return the 2-D position of every image, if ``lookalike map`` has been run."""
    # Not validated: going through a hundred thousand entries a second time would only cost.
    return await service.pools.run("costly", lambda: JSONResponse(service.ask_index(map_json, encoder)))


@router.post("/api/map/ids", response_model=RowIdsModel)
async def map_ids(service: ServiceOf, body: RowsModel) -> Response:
    """Return the ids of some images of a map; 409 where the index has changed since."""

    def ids() -> Response:
        image_ids = service.ask_index(lambda index: ids_of_rows(index, body.version, body.rows), body.encoder)
        return json_of(RowIdsModel, {"ids": image_ids})

    return await service.pools.run("queries", ids)
