"""Query images and words -> descriptors, by an index's encoder; and why those that can't be asked can't."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.open import Collection
from lookalike.errors import CollectionError, EncoderError, LookalikeError, UsageError
from lookalike.imaging.resize import fit_to
from lookalike.neighbors.distances import DISTANCES
from lookalike.search.restore import restore_queries

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader
    from lookalike.transforms.restorer import RestoredImages


@dataclass(frozen=True, eq=False)
class Readable:
    """The queries of a collection that can be asked, and why others can't.

    Attributes
    ----------
    positions : list of int
        Their positions in the collection.
    descriptors : ndarray, shape (n, d)
        One row each.
    errors : dict of int to str
        Position of each other query -> why it can't be asked.
    restored : RestoredImages or None
        What was searched with, where noise was taken out.
    """

    positions: list[int]
    descriptors: NDArray[Any]
    errors: dict[int, str]
    restored: RestoredImages | None = None


def readable_queries(
    index: IndexReader,
    collection: Collection,
    distance: str,
    *,
    resize: bool = False,
    denoise: str | Path | None = None,
) -> Readable:
    """Read and encode queries; one that can't be costs itself and no other.

    Parameters
    ----------
    index : IndexReader
        What is asked.
    collection : Collection
        The queries.
    distance : str
        What they are to be compared by.
    resize : bool
        Bring images of another size to the index's.
    denoise : str or Path, optional
        As of :func:`lookalike.search.restore.restore_queries`.

    Returns
    -------
    Readable
        At least one.

    Raises
    ------
    LookalikeError
        If none can be asked: what the first one says.
    """
    errors: dict[int, LookalikeError] = {}
    if collection.array_ is not None and collection.shape == tuple(index.manifest.shape):
        positions, images = np.arange(len(collection)), collection.array_
    else:
        read: dict[int, NDArray[np.uint8]] = {}
        for position in range(len(collection)):
            try:
                read[position] = query_image(index, collection, position, resize=resize)
            except (CollectionError, EncoderError) as e:
                errors[position] = e
        if not read:
            raise next(iter(errors.values()), CollectionError(f"{collection.name}: holds no image"))
        positions, images = np.array(list(read)), np.stack(list(read.values()))
    restored = None if denoise is None else restore_queries(index, images, denoise)
    descriptors: NDArray[Any] = index.encoder.encode(images if restored is None else restored.images)
    blank = _is_blank(descriptors, distance)
    for position in positions[blank].tolist():
        errors[position] = _blank_error(index, query_title(collection, position))
    if blank.all():
        raise next(iter(errors.values()), CollectionError(f"{collection.name}: holds no image"))
    if restored is not None and blank.any():
        restored = restored.take(np.flatnonzero(~blank))
    messages = {position: str(error) for position, error in errors.items()}
    return Readable(positions[~blank].tolist(), descriptors[~blank], messages, restored)


def query_image(
    index: IndexReader, collection: Collection, position: int, *, resize: bool = False
) -> NDArray[np.uint8]:
    """Read one query image in the shape an index's encoder takes.

    Parameters
    ----------
    index : IndexReader
        The index to be asked.
    collection : Collection
        The query images.
    position : int
        Which.
    resize : bool
        Bring an image of another size to the index's.

    Returns
    -------
    ndarray of uint8, shape ``index.manifest.shape``
        Grey or colour as the index is.

    Raises
    ------
    CollectionError
        If it can't be read.
    EncoderError
        If it is of another size, and neither ``resize`` nor the index says to resize.
    """
    shape = tuple(index.manifest.shape)
    if resize or index.manifest.view.resized:
        return collection.fitted(position, shape)
    image = collection.read(position)
    if image.shape[:2] != shape[:2]:
        raise EncoderError(
            f"{query_title(collection, position)}: {image.shape[1]} x {image.shape[0]} pixels, but {index.path} "
            f"holds images of {shape[1]} x {shape[0]}; add --resize (in Python resize=True) to scale it"
        )
    return fit_to(image, shape)


def query_title(collection: Collection, position: int) -> str:
    """Name a query as a person would: by its file, or its position in an array.

    Parameters
    ----------
    collection : Collection
        The queries.
    position : int
        Which.

    Returns
    -------
    str
    """
    identity = collection.ids[position]
    if collection.array_ is None:
        return f"{collection.whole}/{identity}"
    is_alone = identity == PurePath(collection.whole).name
    return collection.whole if is_alone else f"{collection.whole}[{identity}]"


def describe(index: IndexReader, images: NDArray[np.uint8], titles: Sequence[str], distance: str) -> NDArray[Any]:
    """Encode query images, and refuse those that can't be compared.

    Parameters
    ----------
    index : IndexReader
        Whose encoder is used.
    images : ndarray of uint8, shape (n, *shape)
        As :func:`query_image` returns each.
    titles : sequence of str
        What they are called in errors.
    distance : str
        What they are to be compared by.

    Returns
    -------
    ndarray, shape (n, d)
        Descriptors.

    Raises
    ------
    UsageError
        If one is blank where cosine is asked for.
    """
    descriptors: NDArray[Any] = index.encoder.encode(images)
    blank = _is_blank(descriptors, distance)
    if blank.any():
        raise _blank_error(index, titles[int(blank.argmax())])
    return descriptors


def _is_blank(descriptors: NDArray[Any], distance: str) -> NDArray[np.bool_]:
    """Tell which descriptors have no direction, where the distance is one between directions."""
    if DISTANCES[distance].directional:
        return np.asarray(~descriptors.any(axis=1))
    return np.zeros(len(descriptors), np.bool_)


def _blank_error(index: IndexReader, title: str) -> UsageError:
    return UsageError(
        f"{title}: blank for the encoder {index.manifest.encoder} (its descriptor is all zeros), so it has no angle to "
        "others; use another image, or the distance euclidean"
    )


def describe_text(index: IndexReader, texts: Sequence[str]) -> NDArray[np.float32]:
    """Encode words, where the index's encoder can read.

    Parameters
    ----------
    index : IndexReader
        Whose encoder is used.
    texts : sequence of str
        One or more.

    Returns
    -------
    ndarray of float32, shape (n, d)
        In the space of the index's descriptors.

    Raises
    ------
    UsageError
        If the encoder can't read: its model has no text tower.
    """
    encode_text = getattr(index.encoder, "encode_text", None)
    if encode_text is None or not getattr(index.encoder, "can_read", False):
        raise UsageError(
            f"{index.path}: the encoder {index.manifest.encoder} can't read words; index with a model that has a text "
            "tower: --encoder hf:owner/name, or a folder with text_model.onnx and tokenizer.json"
        )
    descriptors: NDArray[np.float32] = encode_text(list(texts))
    return descriptors
