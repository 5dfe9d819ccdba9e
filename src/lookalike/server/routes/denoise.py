"""The path of the page's Denoise tab: an image with noise, the same without it again, and the nearest of both."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter
from fastapi.responses import Response
from numpy.typing import NDArray
from pydantic import Field, StrictInt

from lookalike.imaging.resize import fit_to
from lookalike.search.restore import AUTO, denoise, restore_queries
from lookalike.server.pictures import png_url
from lookalike.server.schemas import ERRORS, DenoisedModel, ImageModel, Name, QueryModel, Strict, json_of
from lookalike.server.service import ServiceOf
from lookalike.server.shared_index import SharedIndex
from lookalike.server.uploads import Allowance
from lookalike.transforms.noise import add_noise
from lookalike.transforms.restorer import RestoredImages

router = APIRouter(tags=["search"], responses=ERRORS)


class NoiseModel(Strict):
    """An image, and how much noise to add to it before it is taken away again."""

    image: ImageModel
    noise: Annotated[float, Field(ge=0, le=1, description="Standard deviation, where black to white is 1.")] = 0.5
    k: Annotated[StrictInt, Field(ge=1, le=100, description="Matches of each.")] = 10
    seed: Annotated[StrictInt, Field(ge=0, lt=2**32, description="The same gives the same noise.")] = 0
    encoder: Name | None = None


@router.post("/api/denoise", response_model=DenoisedModel)
async def denoised(service: ServiceOf, body: NoiseModel) -> Response:
    """Add noise to an image, remove it again, and find the nearest to both."""
    index = await service.index(body.encoder)

    def work() -> Response:
        shape = tuple(index.manifest.view.shape)
        noisy = add_noise(fit_to(service.pixels(body.image, Allowance()), shape)[None], body.noise, body.seed)
        with service.metrics.stage("denoise"):
            restored = service.ask_index(lambda index: restored_by(index, noisy), body.encoder)

        def with_matches(image: NDArray[np.uint8]) -> dict[str, Any]:
            query = QueryModel.model_validate({"k": body.k, "encoder": body.encoder})
            return {"picture": png_url(image), "matches": service.ask(query, lambda: [image])["matches"]}

        content = {
            "noisy": with_matches(noisy[0]),
            "denoised": with_matches(restored.images[0]),
            "message": _sentence(restored),
        }
        return json_of(DenoisedModel, content)

    return await service.pools.learnt(index, "denoise", work, first="learning", pool="costly")


def restored_by(index: SharedIndex, noisy: NDArray[np.uint8]) -> RestoredImages:
    """Denoise by the index's own encoder if it can, else by what the index's images look like.

    Parameters
    ----------
    index : SharedIndex
        What answers.
    noisy : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        Of its images' shape.

    Returns
    -------
    RestoredImages
        In the same order.

    Raises
    ------
    UsageError
        If the index holds too few images to learn from.
    """
    encoder = index.encoder
    if encoder.can_denoise:
        return RestoredImages(
            denoise(encoder, noisy), (None,) * len(noisy), f"the encoder {index.manifest.view.column}"
        )
    return restore_queries(index, noisy, AUTO)


def _sentence(restored: RestoredImages) -> str:
    text = restored.to_text()
    return f"{text[:1].upper()}{text[1:]}."
