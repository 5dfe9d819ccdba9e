"""All that a query shows, likes, dislikes and says -> one descriptor to search by.

Rocchio's formula (J. Rocchio, "Relevance feedback in information retrieval", 1971) with the weights of G. Salton and C.
Buckley's comparison (1990): what is shown counts ``SHOWN``, the mean of the likes ``LIKED``, the mean of the dislikes
``-DISLIKED``. It is a weighted mean, so that the weights add up to 1: of unit vectors where the distance is cosine; of the
descriptors as they are where it is not; for packed codes of each bit, by majority. One image alone gives its own descriptor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.entries import fitted
from lookalike.collections.ids import id_of
from lookalike.collections.open import Collection, open_collection
from lookalike.errors import CollectionError, UsageError
from lookalike.imaging.decode import decode
from lookalike.imaging.resize import fit_to
from lookalike.index.reopen import collection_now
from lookalike.neighbors.distances import DISTANCES
from lookalike.neighbors.distances.base import NOTHING
from lookalike.search.example import Example
from lookalike.search.query_descriptors import describe, describe_text, query_image
from lookalike.search.request import Query
from lookalike.search.restore import restore_queries

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader
    from lookalike.transforms.restorer import RestoredImages

SHOWN, LIKED, DISLIKED = 1.0, 0.75, 0.15


@dataclass(frozen=True, eq=False)
class ComposedQuery:
    """What a query asks by.

    Attributes
    ----------
    descriptor : ndarray, shape (d,)
        float32, or packed bits where the index holds such.
    rows : list of int
        Images of the index that it shows or likes: they are answers as well, but tell nothing of how near others are.
    restored : RestoredImages or None
        Its images as they were searched with, where noise was taken out.
    """

    descriptor: NDArray[Any]
    rows: list[int]
    restored: RestoredImages | None


def compose(index: IndexReader, query: Query, distance: str) -> ComposedQuery:
    """Put together what a query asks by.

    Parameters
    ----------
    index : IndexReader
        What is asked.
    query : Query
        With at least one image, like or text. Noise is taken out of its images, but not of those of the index.
    distance : str
        What descriptors are to be compared by.

    Returns
    -------
    ComposedQuery

    Raises
    ------
    UsageError
        If an id isn't there, a crop lies outside its image, or the weights leave nothing to look for.
    CollectionError, EncoderError
        If an image can't be read, or is of another size.
    """
    to_encode: list[Example] = []
    vectors: list[NDArray[Any]] = []
    weights: list[float] = []
    for example in query.images:
        if example.described is not None:
            vectors.append(example.described)
        elif example.id is not None and example.crop is None:
            vectors.append(index.descriptors_of([row_of(index, example.id)])[0])
        else:
            to_encode.append(example)
            continue
        weights.append(SHOWN * example.weight)
    restored = None
    if to_encode:
        images = np.stack([read_example(index, example, resize=query.resize) for example in to_encode])
        if query.denoise is not None:
            restored = restore_queries(index, images, query.denoise)
            images = restored.images
        titles = [example.title for example in to_encode]
        vectors = [*describe(index, images, titles, distance), *vectors]
        weights = [SHOWN * example.weight for example in to_encode] + weights
    if query.text is not None:
        vectors.append(describe_text(index, [query.text])[0])
        weights.append(SHOWN)
    for ids, weight in ((query.likes, LIKED), (query.dislikes, -DISLIKED)):
        for name in ids:
            vectors.append(index.descriptors_of([row_of(index, name)])[0])
            weights.append(weight / len(ids))
    named = [*(example.id for example in query.images if example.id is not None), *query.likes]
    return ComposedQuery(
        weighted(vectors, weights, distance), sorted({row_of(index, name) for name in named}), restored
    )


def row_of(index: IndexReader, name: str) -> int:
    """Return the row of an image.

    Parameters
    ----------
    index : IndexReader
        What is asked.
    name : str
        An id.

    Returns
    -------
    int
        Of the descriptors.

    Raises
    ------
    UsageError
        If no image has that id.
    """
    row = index.row_of(name)
    if row is None:
        raise UsageError(f"{id_of(name)}: no image of {index.path} has that id; lookalike files lists all")
    return row


def read_example(index: IndexReader, example: Example, *, resize: bool = False) -> NDArray[np.uint8]:
    """Read an image of a query, or the part of it that is meant, in the shape an index's encoder takes.

    Parameters
    ----------
    index : IndexReader
        What is asked.
    example : Example
        Any.
    resize : bool
        Bring an image of another size to the index's; a crop always is.

    Returns
    -------
    ndarray of uint8, shape ``index.manifest.shape``

    Raises
    ------
    UsageError
        If there is more than one image, or the crop lies outside it.
    CollectionError, EncoderError
        If it can't be read, or is of another size.
    """
    shape = tuple(index.manifest.shape)
    if example.crop is not None:
        return fit_to(_cropped(example, _whole(index, example)), shape)
    if example.data is not None and (resize or index.manifest.view.resized):
        return fitted(example.data, _content_title(example.data), shape, index.limits)
    single = _single(index, example) if example.path is not None else open_collection(_whole(index, example)[None])
    return query_image(index, single, 0, resize=resize)


def show_example(index: IndexReader, example: Example) -> NDArray[np.uint8]:
    """Return an image of a query as a person would see it: the part that is meant; of an indexed one its thumbnail.

    Parameters
    ----------
    index : IndexReader
        What is asked.
    example : Example
        Any.

    Returns
    -------
    ndarray of uint8, shape (h, w) or (h, w, 3)
        Of any size.
    """
    if example.id is not None:
        (thumbnail,) = index.thumbnails([row_of(index, example.id)])
        return thumbnail
    return _cropped(example, _whole(index, example))


def whole_picture(index: IndexReader, row: int) -> NDArray[np.uint8]:
    """Read an indexed image in full size.

    Parameters
    ----------
    index : IndexReader
        Any.
    row : int
        Of ``index.descriptors``.

    Returns
    -------
    ndarray of uint8, shape (h, w) or (h, w, 3)

    Raises
    ------
    CollectionError
        If it isn't there any more, or has changed; a picture no larger than its thumbnail always is there.
    """
    (facts,), (thumbnail,) = index.facts([row]), index.thumbnails([row])
    if thumbnail.shape[1::-1] == (facts["width"], facts["height"]):
        return thumbnail
    identity = facts["id"]
    collection = collection_now(index)
    ids = [] if collection is None else list(collection.ids)
    if collection is None or identity not in ids:
        raise CollectionError(
            f"{identity}: can't be cropped, as its file isn't there any more; index the collection again"
        )
    same = collection.read_same(ids.index(identity), facts["hash"] or "")
    if same is None:
        raise CollectionError(f"{identity}: has changed since it was indexed; index the collection again")
    return same


def _whole(index: IndexReader, example: Example) -> NDArray[np.uint8]:
    if example.id is not None:
        return whole_picture(index, row_of(index, example.id))
    if example.pixels is not None:
        return example.pixels
    if example.data is not None:
        return decode(example.data, _content_title(example.data), index.limits)
    return _single(index, example).read(0)


def _content_title(data: bytes) -> str:
    return f"an image of {len(data):,} bytes"


def _single(index: IndexReader, example: Example) -> Collection:
    collection = open_collection(example.path or "", limits=index.limits)
    if len(collection) != 1:
        raise UsageError(
            f"{example.path}: holds {len(collection):,} images, and here one is meant; pick it as in {example.path}[0]"
        )
    return collection


def _cropped(example: Example, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if example.crop is None:
        return image
    x, y, width, height = example.crop
    if x + width > image.shape[1] or y + height > image.shape[0]:
        raise UsageError(
            f"{example.title}: the crop reaches to {x + width}, {y + height}, but the image is {image.shape[1]} x "
            f"{image.shape[0]} pixels; give x, y, width and height inside it"
        )
    return np.ascontiguousarray(image[y : y + height, x : x + width])


def weighted(vectors: Sequence[NDArray[Any]], weights: Sequence[float], distance: str) -> NDArray[Any]:
    """Return the weighted mean of descriptors.

    Parameters
    ----------
    vectors : sequence of ndarray, each of shape (d,)
        At least one.
    weights : sequence of float
        Of any sign; they are divided by their sum.
    distance : str
        Says what is averaged: unit vectors for ``cosine``, bits for ``hamming``, else the descriptors.

    Returns
    -------
    ndarray, shape (d,)
        Packed bits for ``hamming``, the first of the heaviest settling ties; else float32.

    Raises
    ------
    UsageError
        If the weights, or what they weigh, cancel out.

    Examples
    --------
    >>> weighted([np.array([2, 0], np.float32), np.array([0, 1], np.float32)], [3, 1], "euclidean").tolist()
    [1.5, 0.25]
    """
    share = np.array(weights, np.float64)
    if share.sum() <= NOTHING * np.abs(share).sum():
        raise UsageError(
            f"the weights of the query add up to {share.sum():g}, so that nothing is left to look for; "
            "give what is wanted more weight than what is not"
        )
    if len(vectors) == 1:
        return vectors[0]
    share /= share.sum()
    return DISTANCES[distance].mean(vectors, share)
