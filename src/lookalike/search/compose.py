"""All that a query shows, likes, dislikes and says -> one descriptor to search by.

Rocchio's formula (J. Rocchio, "Relevance feedback in information retrieval", 1971) with the weights of G. Salton and C.
Buckley's comparison (1990): what is shown counts ``SHOWN``, the mean of the likes ``LIKED``, the mean of the dislikes
``-DISLIKED``. It is a weighted mean, so that the weights add up to 1: of unit vectors where the distance is cosine; of the
descriptors as they are where it is not; for packed codes of each bit, by majority. One image alone gives its own descriptor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.entries import fitted
from lookalike.collections.open import Collection, open_collection
from lookalike.errors import CollectionError, UsageError
from lookalike.imaging.decode import decode
from lookalike.imaging.resize import fit_to
from lookalike.neighbors.distances import DISTANCES
from lookalike.neighbors.distances.base import NOTHING
from lookalike.search.engine import describe, describe_text, query_images
from lookalike.search.request import Example, Query

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader

SHOWN, LIKED, DISLIKED = 1.0, 0.75, 0.15
#: A length, of a sum of unit vectors, or a sum of weights below this is nothing but rounding.

#: Finds an image of the index: its id, and who asks for it -> its row.
FindRow = Callable[[str], int]


def blend(
    index: IndexReader,
    query: Query,
    distance: str,
    find_row: FindRow,
    read_stored: Callable[[int], Any],
    restore: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
) -> NDArray[Any]:
    """Return the one descriptor that a query asks by.

    Parameters
    ----------
    index : IndexReader
        What is asked.
    query : Query
        With at least one image, like or text.
    distance : str
        What descriptors are to be compared by.
    find_row : callable
        An id -> its row.
    read_stored : callable
        A row -> the whole image as it was indexed, for a crop of it.
    restore : callable, optional
        Takes the noise out of images, (n, *shape) as the encoder takes them; an image of the index is left as it is.

    Returns
    -------
    ndarray, shape (d,)
        float32, or packed bits where the index holds such.

    Raises
    ------
    UsageError
        If an id isn't there, a crop lies outside its image, or the weights leave nothing to look for.
    CollectionError, EncoderError
        If an image can't be read, or is of another size.
    """
    images, image_titles, image_weights = [], [], []
    vectors: list[NDArray[Any]] = []
    weights: list[float] = []
    for example in query.images:
        if example.described is not None:
            vectors.append(example.described)
            weights.append(SHOWN * example.weight)
            continue
        if example.id is not None and example.crop is None:
            vectors.append(index.descriptors_of([find_row(example.id)])[0])
            weights.append(SHOWN * example.weight)
            continue
        stored = example.pixels if example.id is None else read_stored(find_row(example.id))
        images.append(read_example(index, example, resize=query.resize, stored=stored))
        image_titles.append(example.title)
        image_weights.append(SHOWN * example.weight)
    if images:
        shown = np.stack(images) if restore is None else restore(np.stack(images))
        vectors = [*describe(index, shown, image_titles, distance), *vectors]
        weights = image_weights + weights
    if query.text is not None:
        vectors.append(describe_text(index, [query.text])[0])
        weights.append(SHOWN)
    for ids, weight in ((query.likes, LIKED), (query.dislikes, -DISLIKED)):
        for name in ids:
            vectors.append(index.descriptors_of([find_row(name)])[0])
            weights.append(weight / len(ids))
    return weighted(vectors, weights, distance)


def read_example(
    index: IndexReader, example: Example, *, resize: bool = False, stored: Any = None
) -> NDArray[np.uint8]:
    """Read an image of a query, or the part of it that is meant, in the shape an index's encoder takes.

    Parameters
    ----------
    index : IndexReader
        What is asked.
    example : Example
        By path or by data.
    resize : bool
        Bring an image of another size to the index's; a crop always is.
    stored : ndarray of uint8, optional
        The whole image, where it is one of the index.

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
    if example.data is not None:
        whole = f"an image of {len(example.data):,} bytes"
        if example.crop is None and (resize or index.manifest.view.resized):
            return fitted(example.data, whole, shape, index.limits)
        stored = decode(example.data, whole, index.limits)
    if example.crop is None:
        collection = _one(index, example) if stored is None else open_collection(stored[None])
        fit: NDArray[np.uint8] = query_images(index, collection, resize=resize)[0]
        return fit
    return fit_to(_cropped(example, _one(index, example).read(0) if stored is None else stored), shape)


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


def show_example(index: IndexReader, example: Example, find_row: FindRow) -> NDArray[np.uint8]:
    """Return an image of a query as a person would see it: the part that is meant; of an indexed one its thumbnail.

    Parameters
    ----------
    index : IndexReader
        What is asked.
    example : Example
        Any.
    find_row : callable
        An id -> its row.

    Returns
    -------
    ndarray of uint8, shape (h, w) or (h, w, 3)
        Of any size.
    """
    if example.id is not None:
        (thumbnail,) = index.thumbnails([find_row(example.id)])
        return thumbnail
    if example.pixels is not None:
        return _cropped(example, example.pixels)
    if example.data is not None:
        return _cropped(example, decode(example.data, f"an image of {len(example.data):,} bytes", index.limits))
    return _cropped(example, _one(index, example).read(0))


def _one(index: IndexReader, example: Example) -> Collection:
    collection = open_collection(example.path or "", limits=index.limits)
    if len(collection) != 1:
        raise UsageError(
            f"{example.path}: holds {len(collection):,} images, and here one is meant; pick it as in {example.path}[0]"
        )
    return collection


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


def read_whole(
    collection: Collection | None, identity: str, thumbnail: NDArray[np.uint8], size: tuple[int, int], digest: str
) -> Any:
    """Read an indexed image in full size.

    Parameters
    ----------
    collection : Collection or None
        The index's collection as it is now, if it can be opened.
    identity : str
        The image's id.
    thumbnail : ndarray of uint8
        What the index stores of it.
    size : (int, int)
        Width and height of the image.
    digest : str
        Its hash as the index has it.

    Returns
    -------
    ndarray of uint8, shape (h, w) or (h, w, 3)

    Raises
    ------
    CollectionError
        If it isn't there any more, or has changed; a picture no larger than a thumbnail always is there.
    """
    if (thumbnail.shape[1], thumbnail.shape[0]) == size:
        return thumbnail
    ids = [] if collection is None else list(collection.ids)
    if collection is None or identity not in ids:
        raise CollectionError(
            f"{identity}: can't be cropped, as its file isn't there any more; index the collection again"
        )
    same = collection.read_same(ids.index(identity), digest)
    if same is None:
        raise CollectionError(f"{identity}: has changed since it was indexed; index the collection again")
    return same
