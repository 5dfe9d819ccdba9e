"""Paths that list the collection's files and send the files themselves."""

from __future__ import annotations

import mimetypes
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from lookalike.errors import ImageError
from lookalike.server.downloads import MAX_BYTES, zip_stream
from lookalike.server.pools import still_wanted
from lookalike.server.routes.images import Identity, Limit, Offset
from lookalike.server.schemas import ERRORS, FilesModel, IdsModel, json_of
from lookalike.server.service import ServiceOf
from lookalike.server.shared_index import SharedIndex

router = APIRouter(responses=ERRORS)


@router.get("/api/files", response_model=FilesModel, tags=["index"])
async def files(
    service: ServiceOf,
    request: Request,
    outcome: Annotated[str | None, Query(description="Only these; 'left out' for all that have no descriptor.")] = None,
    offset: Offset = 0,
    limit: Limit = 100,
) -> Response:
    """List the collection's files and the outcome of each."""
    index = await service.index(None)

    def page() -> Response:
        def part(index: SharedIndex) -> tuple[int, list[dict[str, Any]]]:
            rows = index.rows_with(outcome)
            return len(rows), index.files(rows[offset : offset + limit])

        total, listed = service.ask_index(part)
        after = offset + limit if offset + limit < total else None
        shown = [row | {"reason": service.public_text(request, row["reason"])} for row in listed]
        content = {"total": total, "offset": offset, "next": after, "outcomes": index.manifest.outcomes}
        return json_of(FilesModel, content | {"files": shown})

    return await service.pools.learnt(index, "files", page, first="costly")


@router.get("/api/original", response_class=Response, tags=["images"])
def original(service: ServiceOf, identity: Identity) -> Response:
    """Return the very file that was indexed, to be saved and not shown; 409 if it has changed since."""
    data, name = service.original(identity)
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    safe = kind if kind.startswith("image/") and "svg" not in kind else "application/octet-stream"
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{quote(name, errors='replace')}"}
    return Response(data, media_type=safe, headers=headers)


@router.post("/api/download", response_class=Response, tags=["images"])
async def download(service: ServiceOf, body: IdsModel) -> Response:
    """Return the files of some images in one ZIP archive."""
    ids = list(dict.fromkeys(body.ids))

    def read(identity: str) -> bytes:
        still_wanted()
        return service.original(identity)[0]

    def check() -> None:
        size = 0
        for identity in ids:
            size += len(read(identity))
            if size > MAX_BYTES:
                raise ImageError(f"these files are over {MAX_BYTES / 2**20:g} MB; choose fewer", "too large")

    # All are read once before the first is sent, so that an error can still be answered; then each when it is its turn.
    await service.pools.run("costly", check)
    headers = {"content-disposition": 'attachment; filename="selection.zip"'}
    return StreamingResponse(zip_stream(ids, read), media_type="application/zip", headers=headers)
