"""Paths that list the index's images and show them."""

from __future__ import annotations

import re
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from lookalike.errors import ImageError
from lookalike.imaging.encode import THUMBNAIL_SIDE, to_png, to_thumbnail
from lookalike.search.learnt import tags_of
from lookalike.server.pictures import picture_response, smaller
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
#: Images that are listed by name; more are in the index's order, as sorting them would keep the first page waiting.
MAX_SORTED = 200_000


def _by_value(name: str) -> list[tuple[int, int, str]]:
    """Return what sorts a name as people do: numbers by their value, letters without case."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(1, 0, part) if at % 2 == 0 else (0, int(part[:300]), part) for at, part in enumerate(parts) if part]


@router.get("/api/images", response_model=PageModel)
def images(
    service: ServiceOf,
    offset: Offset = 0,
    limit: Limit = 100,
    by_name: Annotated[bool, Query(description="By name, and numbers in names by their value: 2 before 10.")] = False,
    spread: Annotated[bool, Query(description="Evenly from the whole collection instead of from offset on.")] = False,
) -> dict[str, Any]:
    """List the index's images in its order, or by name."""

    def page(index: SharedIndex) -> dict[str, Any]:
        total = len(index)
        rows = range(min(offset, total), min(offset + limit, total))
        evenly = spread and total
        chosen = np.linspace(0, total - 1, min(limit, total)).astype(int).tolist() if evenly else list(rows)
        if by_name and not evenly and total <= MAX_SORTED:
            order = index.cached(
                "rows by name", lambda: sorted(range(total), key=lambda row: _by_value(index.ids[row]))
            )
            chosen = order[rows.start : rows.stop]
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
def thumbnail(
    service: ServiceOf,
    request: Request,
    identity: Identity,
    side: Annotated[
        int, Query(ge=16, le=THUMBNAIL_SIDE, description="No side is longer; nothing is enlarged.")
    ] = THUMBNAIL_SIDE,
    v: Annotated[
        str, Query(max_length=64, description="Begins the image's hash: the answer is then cached for good.")
    ] = "",
) -> Response:
    """Return an image's thumbnail, from the index: a PNG, a WebP or a JPEG, no side over 384 pixels."""

    def work(index: SharedIndex) -> tuple[bytes, bool]:
        row = service.row(identity)
        (file,), (facts,) = index.thumbnail_bytes([row]), index.facts([row])
        shown, longest = smaller(file, side)
        # One made by an older version is replaced by a sharper one when its index is made again.
        sharp = longest >= min(THUMBNAIL_SIDE, max(facts["width"] or 0, facts["height"] or 0))
        return shown, sharp and bool(v) and (facts["hash"] or "").startswith(v)

    file, for_good = service.ask_index(work)
    return picture_response(request, file, for_good=for_good)


@router.get("/api/picture", response_class=Response)
def picture(
    service: ServiceOf, request: Request, identity: Identity, side: Annotated[int, Query(ge=16, le=4096)] = 1024
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
