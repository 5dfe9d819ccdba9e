"""Paths that list the index's images and show them."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from lookalike.errors import ImageError
from lookalike.imaging.encode import to_png, to_thumbnail
from lookalike.search.learnt import tags_of
from lookalike.server.pictures import picture_response
from lookalike.server.schemas import ERRORS, PageModel, SeenModel
from lookalike.server.service import ServiceOf
from lookalike.server.shared_index import SharedIndex

router = APIRouter(tags=["images"], responses=ERRORS)
#: Images or files of one page of a listing.
MAX_PAGE = 1000
#: Images of fewer pixels are sent as a PNG, as they are.
_SMALL_IMAGE = 10_000
Identity = Annotated[str, Query(alias="id", description="As in search results.", examples=["cats/tom.jpg"])]
Offset = Annotated[int, Query(ge=0, le=2**62)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]


@router.get("/api/images", response_model=PageModel)
def images(
    service: ServiceOf,
    offset: Offset = 0,
    limit: Limit = 100,
    spread: Annotated[bool, Query(description="Evenly from the whole collection instead of from offset on.")] = False,
) -> dict[str, Any]:
    """List the index's images in its order."""

    def page(index: SharedIndex) -> dict[str, Any]:
        total = len(index)
        rows = range(min(offset, total), min(offset + limit, total))
        evenly = spread and total
        chosen = np.linspace(0, total - 1, min(limit, total)).astype(int).tolist() if evenly else list(rows)
        after = None if spread or rows.stop >= total else rows.stop
        return {"total": total, "offset": offset, "next": after, "images": index.facts(chosen)}

    return service.ask_index(page)


@router.get("/api/image", response_model=SeenModel)
def image(service: ServiceOf, identity: Identity) -> dict[str, Any]:
    """Return what is stored of one image, and what the networks see in it."""

    def facts(index: SharedIndex) -> dict[str, Any]:
        row = service.row(identity)
        tags = tags_of(index)
        seen = [] if tags is None else tags.of([row])[0]
        return index.facts([row])[0] | {"tags": [{"word": word, "share": share} for word, share in seen]}

    return service.ask_index(facts)


@router.get("/api/thumbnail", response_class=Response)
def thumbnail(service: ServiceOf, request: Request, identity: Identity) -> Response:
    """Return an image's thumbnail, from the index: a PNG or a JPEG, no side over 128 pixels."""
    file = service.ask_index(lambda index: index.thumbnail_bytes([service.row(identity)])[0])
    return picture_response(request, file)


@router.get("/api/picture", response_class=Response)
def picture(
    service: ServiceOf, request: Request, identity: Identity, side: Annotated[int, Query(ge=16, le=1024)] = 1024
) -> Response:
    """Return an image as browsers show it: decoded here, upright, without its file's metadata."""

    def work(index: SharedIndex) -> bytes:
        try:
            data, name = service.originals().read(identity)
            pixels = service.decode(data, where=name).pixels
        except ImageError as e:
            if e.outcome not in ("gone", "changed"):
                raise
            return index.thumbnail_bytes([service.row(identity)])[0]
        is_small = pixels.shape[0] * pixels.shape[1] < _SMALL_IMAGE
        return to_png(pixels, side) if is_small else to_thumbnail(pixels, side)

    return picture_response(request, service.ask_index(work))
