"""Paths that search by images, words and filters, and that explain an answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, File, Form, Query, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from numpy.typing import NDArray
from pydantic import ValidationError

from lookalike.errors import ImageError
from lookalike.imaging.encode import to_png
from lookalike.imaging.resize import fit_to
from lookalike.reports.heatmap import overlay
from lookalike.search.explain import explain as explain_pair
from lookalike.search.request import MAX_EXAMPLES
from lookalike.server.pictures import picture_response, png_url
from lookalike.server.pools import still_wanted
from lookalike.server.schemas import (
    ERRORS,
    DescriptorModel,
    EncodeModel,
    ExplainModel,
    ExplanationModel,
    ImageModel,
    QueryModel,
    ResponseModel,
    UploadModel,
    json_of,
)
from lookalike.server.service import Service, ServiceOf
from lookalike.server.uploads import Allowance

router = APIRouter(tags=["search"], responses=ERRORS)
Thumbnails = Annotated[int, Query(ge=0, le=100, description="How many of the first matches include their thumbnails.")]


@router.post("/api/search", response_model=ResponseModel)
async def search(service: ServiceOf, query: QueryModel, pictures: Thumbnails = 0) -> Response:
    """Answer one query: images, likes and dislikes, words, a filter, all at once."""
    images = (lambda: query.images) if query.images else None
    return await service.answered(
        query, images is not None, lambda: json_of(ResponseModel, service.ask(query, images, pictures))
    )


@router.post("/api/search/upload", response_model=ResponseModel)
async def search_upload(
    service: ServiceOf,
    images: Annotated[list[UploadFile], File(description="Image files to search by.", max_length=MAX_EXAMPLES)],
    query: Annotated[str, Form(description="The rest of the query, as JSON.", examples=['{"k": 20}'])] = "{}",
    pictures: Thumbnails = 0,
) -> Response:
    """Answer one query whose images are sent as files; they are kept for a while, as by /api/uploads."""
    try:
        model = QueryModel.model_validate_json(query)
    except ValidationError as e:
        raise RequestValidationError([{**item, "loc": ("query", *item["loc"])} for item in e.errors()]) from e

    def work() -> Response:
        allowance = Allowance()
        uploads: list[str] = []

        def decoded() -> Iterable[ImageModel | NDArray[np.uint8]]:
            uploads.clear()
            for image in images:
                with service.metrics.stage("upload"):
                    image.file.seek(0)
                    data = image.file.read()
                upload = service.decode(data, allowance=allowance)
                uploads.append(service.uploads.add(data, upload))
                yield upload.pixels
            yield from model.images

        return json_of(ResponseModel, service.ask(model, decoded, pictures, allowance) | {"uploads": uploads})

    return await service.answered(model, True, work)


@router.post("/api/uploads", response_model=UploadModel)
async def uploads(
    service: ServiceOf, image: Annotated[UploadFile, File(description="An image file.")]
) -> dict[str, Any]:
    """Keep an image for a while, in memory only, to search by it any number of times."""

    def work() -> dict[str, Any]:
        with service.metrics.stage("upload"):
            data = image.file.read()
        upload = service.decode(data)
        return {"upload": service.uploads.add(data, upload), "width": upload.width, "height": upload.height}

    return await service.pools.run("queries", work)


@router.get("/api/upload", response_class=Response)
def upload(
    service: ServiceOf, request: Request, identity: Annotated[str, Query(alias="id", max_length=64)]
) -> Response:
    """Show an image that was sent."""
    data = service.uploads.get(identity)
    shown = service.uploads.decoded(identity) or service.decode(data)
    response = picture_response(request, to_png(shown.pixels))
    response.headers["x-image-size"] = f"{shown.width}x{shown.height}"
    return response


@router.post("/api/encode", response_model=DescriptorModel)
async def encode(service: ServiceOf, body: EncodeModel) -> Response:
    """Return an image's descriptor by one of the index's encoders."""

    def work() -> Response:
        index = service.live.current(body.encoder)
        view = index.manifest.view
        pixels = service.pixels(body.image, Allowance())
        descriptor = index.encoder.encode(fit_to(pixels, tuple(view.shape))[None])[0]
        content = {
            "encoder": view.column,
            "dimension": view.dimension,
            "dtype": view.dtype,
            "distance": view.distance,
            "descriptor": descriptor.tolist(),
        }
        return json_of(DescriptorModel, content)

    return await service.pools.run("queries", work)


@router.post("/api/explain", response_model=ExplanationModel)
async def explain(service: ServiceOf, body: ExplainModel) -> Response:
    """Say which parts of two images account for their similarity."""

    def work() -> Response:
        with service.metrics.stage("explain"):
            return json_of(ExplanationModel, _explanation(service, body))

    return await service.pools.run("costly", work)


def _explanation(service: Service, body: ExplainModel) -> dict[str, Any]:
    allowance = Allowance()
    query, match = (
        _pixels_or_thumbnail(service, image, allowance)
        for image in (body.image, ImageModel.model_validate({"id": body.match}))
    )
    still_wanted()
    explanation = service.ask_index(lambda index: explain_pair(index, query, match), body.encoder)
    content = explanation.to_json()
    sides = (("query", query, explanation.query_map), ("match", match, explanation.match_map))
    for name, image, values in sides:
        if not body.maps:
            del content[f"{name}_map"]
        content[name] = png_url(overlay(image, values))
    return content


def _pixels_or_thumbnail(service: Service, image: ImageModel, allowance: Allowance) -> NDArray[np.uint8]:
    """Return what :meth:`Service.pixels` does; of an image of the index that is gone or changed, the stored thumbnail."""
    try:
        return service.pixels(image, allowance)
    except ImageError as e:
        if image.id is None or image.crop is not None or e.outcome not in ("gone", "changed"):
            raise
        row = service.row(image.id)
        return service.ask_index(lambda index: index.thumbnails([row])[0])
