"""Query + index -> ranked matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.collection import Collection, open_collection
from lookalike.errors import EncoderError, UsageError
from lookalike.raster import fit_to
from lookalike.restoration import restore_queries

if TYPE_CHECKING:
    from lookalike.distances import Database
    from lookalike.index import Index
    from lookalike.restoration import Restored


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
        0 is identical; cosine runs to 2, Euclidean has no end.
    similarity : float
        ``1 - distance`` for cosine (-1 to 1), ``1 / (1 + distance)`` for Euclidean (0 to 1), the share of equal bits for
        Hamming.
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
    """The answers to one query image.

    Attributes
    ----------
    query : str
        What a person calls it.
    matches : list of Match
        The nearest first.
    denoised : Restored or None
        The image that was searched with in its place, where that was asked for; it alone.
    """

    query: str
    matches: list[Match]
    denoised: Restored | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON form."""
        found: dict[str, Any] = {"query": self.query, "matches": [m.to_json() for m in self.matches]}
        return found if self.denoised is None else found | {"denoised": self.denoised.to_json()}


def search(
    index: Index,
    queries: str | Path | NDArray[np.generic] | Collection,
    k: int = 10,
    *,
    distance: str | None = None,
    resize: bool = False,
    denoise: str | Path | None = None,
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
    denoise : str or Path, optional
        Take the noise out of the queries first: ``"auto"`` by what the index's images look like, or by a trained
        autoencoder's folder; see :func:`lookalike.restoration.restore_queries`.

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
        If ``k`` or the distance is wrong, a query is blank where cosine is asked for, or what shall denoise can't.
    """
    collection = open_collection(queries)
    images = query_images(index, collection, resize=resize)
    restored = None if denoise is None else restore_queries(index, images, denoise)
    images = images if restored is None else restored.images
    database = index.database(distance)
    descriptors = index.encoder.encode(images)
    if database.distance == "cosine":
        for i in np.flatnonzero(~descriptors.any(axis=1)).tolist():
            raise UsageError(
                f"{_title(collection, collection.ids[i])}: blank for the encoder {index.passport.encoder} (its descriptor "
                "is all zeros), so it has no angle to others; use another image, or the distance euclidean"
            )
    results = _answers(index, [_title(collection, name) for name in collection.ids], database, descriptors, k)
    return results if restored is None else [replace(r, denoised=restored.of(i)) for i, r in enumerate(results)]


def search_text(index: Index, texts: Sequence[str], k: int = 10) -> list[Result]:
    """Find the images nearest to words; for an index whose encoder can read.

    Parameters
    ----------
    index : Index
        What to search.
    texts : sequence of str
        Such as ``"a red bus"``, one a query.
    k : int
        How many answers each, 1 to the number indexed.

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
    return _answers(index, list(texts), index.database(), encode_text(list(texts)), k)


def _answers(index: Index, titles: list[str], database: Database, descriptors: NDArray[Any], k: int) -> list[Result]:
    rows, distances = database.nearest(descriptors, k)
    used, places = np.unique(rows, return_inverse=True)
    facts = index.facts(used.tolist())
    results = []
    for i, title in enumerate(titles):
        answers = zip(rows[i].tolist(), distances[i].tolist(), places.reshape(rows.shape)[i].tolist(), strict=True)
        matches = [
            Match(rank, facts[at]["id"], far, _similarity(far, database), facts[at]["label"], row)
            for rank, (row, far, at) in enumerate(answers, 1)
        ]
        results.append(Result(title, matches))
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


def _similarity(distance: float, database: Database) -> float:
    if database.distance == "hamming":
        return 1 - distance / (8 * database.dimension)
    return 1 - distance if database.distance == "cosine" else 1 / (1 + distance)


def _title(collection: Collection, identity: str) -> str:
    """Name a query as a person would: by its file, or its place in an array."""
    if collection.array_ is None:
        return f"{collection.whole}/{identity}"
    alone = identity == PurePath(collection.whole).name
    return collection.whole if alone else f"{collection.whole}[{identity}]"
