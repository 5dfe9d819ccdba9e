"""Query + index -> ranked matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.collection import Collection, open_collection
from lookalike.errors import EncoderError, UsageError
from lookalike.raster import fit_to

if TYPE_CHECKING:
    from lookalike.index import Index


@dataclass(frozen=True)
class Match:
    """One ranked answer.

    Attributes
    ----------
    rank : int
        1 is the nearest.
    id : str
        Path relative to the collection, or position.
    distance : float
        0 is identical; cosine runs to 2, Euclidean has no end; inner product is the product with its sign turned.
    similarity : float
        ``1 - distance`` for cosine (-1 to 1), ``1 / (1 + distance)`` for Euclidean (0 to 1), the product itself for inner
        product, the share of equal bits for Hamming.
    label : str or None
        What the collection says it is, where it says so.
    row : int
        Its row in the index's descriptors.
    """

    rank: int
    id: str
    distance: float
    similarity: float
    label: str | None
    row: int

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON form."""
        found = {"rank": self.rank, "id": self.id, "distance": self.distance, "similarity": self.similarity}
        return found if self.label is None else found | {"label": self.label}


@dataclass(frozen=True)
class Result:
    """The answers to one query image, and whether they were found by ``exact`` or ``approximate`` search."""

    query: str
    matches: list[Match]
    how: str = "exact"

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON form."""
        return {"query": self.query, "search": self.how, "matches": [m.to_json() for m in self.matches]}


def search(
    index: Index,
    queries: str | Path | NDArray[np.generic] | Collection,
    k: int = 10,
    *,
    distance: str | None = None,
    resize: bool = False,
    how: str = "auto",
) -> list[Result]:
    """Find the nearest images of each query image, all in one batch.

    Parameters
    ----------
    index : Index
        What to search.
    queries : str, Path, ndarray or Collection
        What :func:`lookalike.open_collection` takes: an image, a folder of them, ``mnist:test[0:100]``, an array.
    k : int
        How many answers each, 1 to the number indexed.
    distance : {"cosine", "euclidean"}, optional
        By default the encoder's own.
    resize : bool
        Bring images of another size to the index's; an index of a folder always does.
    how : {"auto", "exact", "approximate"}
        As of :meth:`lookalike.index.Index.nearest`.

    Returns
    -------
    list of Result
        In the order of the queries; in each the nearest first, equal distances by position in the index.

    Raises
    ------
    CollectionError
        If a query can't be read.
    EncoderError
        If a query is of another size than the index's images, and ``resize`` is False.
    UsageError
        If ``k`` or the distance is wrong, or a query is blank where cosine is asked for.
    """
    collection = open_collection(queries)
    images = query_images(index, collection, resize=resize)
    distance = distance or index.passport.distance
    descriptors = index.encoder.encode(images)
    if distance == "cosine":
        for i in np.flatnonzero(~descriptors.any(axis=1)).tolist():
            raise UsageError(
                f"{_title(collection, collection.ids[i])}: blank for the encoder {index.passport.encoder} (its descriptor "
                "is all zeros), so it has no angle to others; use another image, or the distance euclidean"
            )
    return _answers(index, [_title(collection, name) for name in collection.ids], descriptors, k, distance, how)


def search_text(index: Index, texts: Sequence[str], k: int = 10, *, how: str = "auto") -> list[Result]:
    """Find the images nearest to words; for an index whose encoder can read.

    Parameters
    ----------
    index : Index
        What to search.
    texts : sequence of str
        Such as ``"a red bus"``, one a query.
    k : int
        How many answers each, 1 to the number indexed.
    how : {"auto", "exact", "approximate"}
        As of :meth:`lookalike.index.Index.nearest`.

    Returns
    -------
    list of Result
        In the order of the texts.

    Raises
    ------
    UsageError
        If ``k`` is out of range, or the encoder can't read: its model has no text tower.
    """
    encode_text = getattr(index.encoder, "encode_text", None)
    if encode_text is None or not getattr(index.encoder, "can_read", False):
        raise UsageError(
            f"{index.path}: the encoder {index.passport.encoder} can't read words; index with a model that has a text "
            "tower: --encoder hf:owner/name, or a folder with text_model.onnx and tokenizer.json"
        )
    return _answers(index, list(texts), encode_text(list(texts)), k, index.passport.distance, how)


def _answers(
    index: Index, titles: list[str], descriptors: NDArray[Any], k: int, distance: str, how: str
) -> list[Result]:
    rows, distances, how = index.nearest(descriptors, k, distance=distance, how=how)
    used, places = np.unique(rows, return_inverse=True)
    facts = index.facts(used.tolist())
    results = []
    for i, title in enumerate(titles):
        answers = zip(rows[i].tolist(), distances[i].tolist(), places.reshape(rows.shape)[i].tolist(), strict=True)
        matches = [
            Match(
                rank,
                facts[at]["id"],
                far,
                _similarity(far, distance, index.passport.dimension),
                facts[at]["label"],
                row,
            )
            for rank, (row, far, at) in enumerate(answers, 1)
        ]
        results.append(Result(title, matches, how))
    return results


def query_images(index: Index, collection: Collection, *, resize: bool = False) -> NDArray[np.uint8]:
    """Read query images in the shape an index's encoder takes.

    Parameters
    ----------
    index : Index
        The index to be asked.
    collection : Collection
        The query images.
    resize : bool
        Bring images of another size to the index's.

    Returns
    -------
    ndarray of uint8, shape (n, *shape)
        Grey or colour as the index is; sizes as they are only if they agree.

    Raises
    ------
    CollectionError
        If an image can't be read.
    EncoderError
        If an image is of another size, and neither ``resize`` nor the index says to resize.
    """
    shape = tuple(index.passport.shape)
    if collection.array_ is not None and collection.shape == shape:
        return collection.array_
    images = []
    for i, name in enumerate(collection.ids):
        if resize or index.passport.resized:
            images.append(collection.fitted(i, shape))
            continue
        image = collection.read(i)
        if image.shape[:2] != shape[:2]:
            raise EncoderError(
                f"{_title(collection, name)}: {image.shape[1]} x {image.shape[0]} pixels, but {index.path} holds images "
                f"of {shape[1]} x {shape[0]}; add --resize (in Python resize=True) to scale it"
            )
        images.append(fit_to(image, shape))
    return np.stack(images)


def _similarity(far: float, distance: str, dimension: int) -> float:
    if distance == "hamming":
        return 1 - far / (8 * dimension)
    if distance == "inner product":
        return -far
    return 1 - far if distance == "cosine" else 1 / (1 + far)


def _title(collection: Collection, identity: str) -> str:
    """Name a query as a person would: by its file, or its place in an array."""
    if collection.array_ is None:
        return f"{collection.whole}/{identity}"
    alone = identity == PurePath(collection.whole).name
    return collection.whole if alone else f"{collection.whole}[{identity}]"
