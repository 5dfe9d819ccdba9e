"""Query + index -> ranked matches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.open import Collection, Source, open_collection
from lookalike.errors import CollectionError, EncoderError, LookalikeError, UsageError
from lookalike.imaging.resize import fit_to
from lookalike.neighbors.distances import DISTANCES
from lookalike.search.calibration import PValue
from lookalike.search.request import whole_number
from lookalike.search.rerank.registry import rerank as reranked
from lookalike.search.restore import restore_queries

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader
    from lookalike.transforms.restorer import RestoredImages


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
    inliers : int or None
        Details that it shares with the query in the same arrangement, where a geometric check looked at it.
    p_value : Chance or None
        How rare so small a distance is in this collection, where one query was asked by :meth:`lookalike.Index.ask`.
    group : tuple of str
        Ids of answers that were folded into this one.
    score : float or None
        How well it fits words, where nothing else was asked; distance and similarity are NaN then.
    """

    rank: int
    id: str
    distance: float
    similarity: float
    label: str | None
    row: int
    inliers: int | None = None
    p_value: PValue | None = None
    group: tuple[str, ...] = ()
    score: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON form."""
        known = not math.isnan(self.distance)
        found: dict[str, Any] = {
            "rank": self.rank,
            "id": self.id,
            "distance": self.distance if known else None,
            "similarity": self.similarity if known else None,
        }
        if self.label is not None:
            found["label"] = self.label
        if self.inliers is not None:
            found["inliers"] = self.inliers
        if self.p_value is not None:
            found["p_value"] = self.p_value.share
            if self.p_value.is_bound:
                found["p_value_is_bound"] = True
        if self.group:
            found["group"] = list(self.group)
        if self.score is not None:
            found["score"] = self.score
        return found

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Match:
        """Take back what :meth:`to_json` returned; the row isn't part of it.

        Parameters
        ----------
        value : mapping
            The documented JSON form; a key that is null is as good as absent.

        Returns
        -------
        Match
            With the row -1.
        """
        found = {name: one for name, one in value.items() if one is not None}
        share = found.get("p_value")
        return cls(
            rank=found["rank"],
            id=found["id"],
            distance=found.get("distance", math.nan),
            similarity=found.get("similarity", math.nan),
            label=found.get("label"),
            row=-1,
            inliers=found.get("inliers"),
            p_value=None if share is None else PValue(share, bool(found.get("p_value_is_bound"))),
            group=tuple(found.get("group", ())),
            score=found.get("score"),
        )


@dataclass(frozen=True)
class Result:
    """The answers to one query image.

    Attributes
    ----------
    query : str
        What a person calls it.
    matches : list of Match
        The nearest first.
    how : str
        Whether they were found by ``exact`` or ``approximate`` search.
    denoised : RestoredImages or None
        The image that was searched with in its place, where that was asked for; it alone.
    error : str or None
        Why this query has no answer, where others have: it can't be read, or can't be compared.
    """

    query: str
    matches: list[Match]
    how: str = "exact"
    denoised: RestoredImages | None = None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON form."""
        found: dict[str, Any] = {
            "query": self.query,
            "search": self.how,
            "matches": [m.to_json() for m in self.matches],
        }
        if self.error is not None:
            found["error"] = self.error
        return found if self.denoised is None else found | {"denoised": self.denoised.to_json()}


def search(
    index: IndexReader,
    queries: Source,
    k: int = 10,
    *,
    distance: str | None = None,
    resize: bool = False,
    rerank: str | None = None,
    on_note: Callable[[str], None] | None = None,
    denoise: str | Path | None = None,
    how: str = "auto",
) -> list[Result]:
    """Find the nearest images of each query image, all in one batch.

    Parameters
    ----------
    index : IndexReader
        What to search.
    queries : str, Path, ndarray, PIL.Image.Image, bytes, file object or Collection
        What :func:`lookalike.open_collection` takes: an image, a folder of them, ``mnist:test[0:100]``, an array.
    k : int
        How many answers each, at least 1; where there are fewer images, all of them.
    distance : {"cosine", "euclidean"}, optional
        By default the encoder's own.
    resize : bool
        Bring images of another size to the index's; an index of a folder always does.
    rerank : str, optional
        What :func:`lookalike.search.rerank.registry.create_reranker` takes: ``diffusion``, ``geometric``, ``auto``, ...
    on_note : callable, optional
        Called with a sentence before a step that takes long, and with what ``auto`` chose.
    denoise : str or Path, optional
        Take the noise out of the queries first: ``"auto"`` by what the index's images look like, or by a trained
        autoencoder's folder; see :func:`lookalike.search.restore.restore_queries`.
    how : {"auto", "exact", "approximate"}
        As of :meth:`lookalike.index.reader.IndexReader.nearest`.

    Returns
    -------
    list of Result
        In the order of the queries; in each the nearest first, equal distances by position in the index. Of several
        queries, one that has no answer says why in its ``error``, and the others are answered.

    Raises
    ------
    CollectionError
        If no query can be read.
    EncoderError
        If every query is of another size than the index's images, and ``resize`` is False.
    UsageError
        If ``k`` or the distance is wrong, all are blank where cosine is asked for, or what shall denoise can't.
    """
    k = min(at_least_one(k), max(1, len(index)))
    collection = open_collection(queries, limits=index.limits)
    by = distance or index.manifest.distance
    asked = readable_queries(index, collection, by, resize=resize, denoise=denoise)
    titles = [_title(collection, name) for name in collection.ids]
    answered = [titles[i] for i in asked.positions]
    if rerank is not None:

        def picture(i: int) -> NDArray[np.uint8]:
            return collection.read(asked.positions[i])

        ranked = reranked(index, rerank, asked.descriptors, k, picture=picture, distance=distance, on_note=on_note)
        rows, far = np.stack([r.rows for r in ranked]), np.stack([r.distances for r in ranked])
        results = _results(index, answered, by, rows, far, inliers=[r.inliers for r in ranked])
    else:
        results = _results(index, answered, by, *index.nearest(asked.descriptors, k, distance=by, how=how))
    if (restored := asked.restored) is not None:
        results = [replace(r, denoised=restored.image(i)) for i, r in enumerate(results)]
    good = dict(zip(asked.positions, results, strict=True))
    return [good.get(i) or Result(title, [], error=asked.failed[i]) for i, title in enumerate(titles)]


@dataclass(frozen=True, eq=False)
class Readable:
    """The queries of a collection that can be asked, and why others can't.

    Attributes
    ----------
    positions : list of int
        Their places in the collection.
    descriptors : ndarray, shape (n, d)
        One row each.
    failed : dict of int to str
        Place of each other query -> why it can't be asked.
    restored : RestoredImages or None
        What was searched with, where noise was taken out.
    """

    positions: list[int]
    descriptors: NDArray[Any]
    failed: dict[int, str]
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
    resize, denoise
        As of :func:`search`.

    Returns
    -------
    Readable
        At least one.

    Raises
    ------
    LookalikeError
        If none can be asked: what the first one says.
    """
    read: dict[int, NDArray[np.uint8]] = {}
    failed: dict[int, str] = {}
    first: LookalikeError | None = None
    if collection.array_ is not None and collection.shape == tuple(index.manifest.shape):
        read = dict(enumerate(collection.array_))
    else:
        for i in range(len(collection)):
            try:
                read[i] = query_image(index, collection, i, resize=resize)
            except (CollectionError, EncoderError) as e:
                first, failed[i] = first or e, str(e)
    if not read:
        raise first or CollectionError(f"{collection.name}: holds no image")
    images = np.stack(list(read.values()))
    restored = None if denoise is None else restore_queries(index, images, denoise)
    descriptors: NDArray[Any] = index.encoder.encode(images if restored is None else restored.images)
    positions, kept = list(read), np.ones(len(read), np.bool_)
    for at in np.flatnonzero(~descriptors.any(axis=1)).tolist() if DISTANCES[distance].directional else ():
        blank = _blank(index, _title(collection, collection.ids[positions[at]]))
        first, failed[positions[at]], kept[at] = first or blank, str(blank), False
    if not kept.any() and first is not None:
        raise first
    if restored is not None and not kept.all():
        restored = restored.take(np.flatnonzero(kept))
    return Readable([p for p, good in zip(positions, kept, strict=True) if good], descriptors[kept], failed, restored)


def describe(index: IndexReader, images: NDArray[np.uint8], titles: Sequence[str], distance: str) -> NDArray[Any]:
    """Encode query images, and refuse those that can't be compared.

    Parameters
    ----------
    index : IndexReader
        Whose encoder is used.
    images : ndarray of uint8, shape (n, *shape)
        As :func:`query_images` returns.
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
    if DISTANCES[distance].directional:
        for i in np.flatnonzero(~descriptors.any(axis=1)).tolist():
            raise _blank(index, titles[i])
    return descriptors


def _blank(index: IndexReader, title: str) -> UsageError:
    return UsageError(
        f"{title}: blank for the encoder {index.manifest.encoder} (its descriptor is all zeros), so it has no angle to "
        "others; use another image, or the distance euclidean"
    )


def at_least_one(k: Any) -> int:
    """Check how many answers are asked for; where there are fewer images, they are all of them.

    Parameters
    ----------
    k : int
        Of any kind of whole number.

    Returns
    -------
    int
        The same as Python's.

    Raises
    ------
    UsageError
        If it is no whole number, or below 1.
    """
    count = whole_number(k, "k")
    if count < 1:
        raise UsageError(f"k is {count:,}; ask for at least 1")
    return count


def search_text(index: IndexReader, texts: Sequence[str], k: int = 10, *, how: str = "auto") -> list[Result]:
    """Find the images nearest to words; for an index whose encoder can read.

    Parameters
    ----------
    index : IndexReader
        What to search.
    texts : sequence of str
        Such as ``"a red bus"``, one a query.
    k : int
        How many answers each, at least 1; where there are fewer images, all of them.
    how : {"auto", "exact", "approximate"}
        As of :meth:`lookalike.index.reader.IndexReader.nearest`.

    Returns
    -------
    list of Result
        In the order of the texts.

    Raises
    ------
    UsageError
        If ``k`` is out of range, or the encoder can't read: its model has no text tower.
    """
    k = min(at_least_one(k), max(1, len(index)))
    found = index.nearest(describe_text(index, texts), k, how=how)
    return _results(index, list(texts), index.manifest.distance, *found)


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
    found: NDArray[np.float32] = encode_text(list(texts))
    return found


def _results(
    index: IndexReader,
    titles: list[str],
    distance: str,
    rows: NDArray[np.int64],
    distances: NDArray[np.float32],
    how: str = "exact",
    inliers: list[dict[int, int]] | None = None,
) -> list[Result]:
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
                similarity(far, distance, 8 * index.manifest.dimension),
                facts[at]["label"],
                row,
                None if inliers is None else inliers[i].get(row),
            )
            for rank, (row, far, at) in enumerate(answers, 1)
        ]
        results.append(Result(title, matches, how))
    return results


def query_images(index: IndexReader, collection: Collection, *, resize: bool = False) -> NDArray[np.uint8]:
    """Read query images in the shape an index's encoder takes.

    Parameters
    ----------
    index : IndexReader
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
    shape = tuple(index.manifest.shape)
    if collection.array_ is not None and collection.shape == shape:
        return collection.array_
    return np.stack([query_image(index, collection, i, resize=resize) for i in range(len(collection))])


def query_image(
    index: IndexReader, collection: Collection, position: int, *, resize: bool = False
) -> NDArray[np.uint8]:
    """Read one query image in the shape an index's encoder takes, as :func:`query_images` does all.

    Parameters
    ----------
    index, collection, resize
        As of :func:`query_images`.
    position : int
        Which.

    Returns
    -------
    ndarray of uint8, shape ``index.manifest.shape``
    """
    shape = tuple(index.manifest.shape)
    if resize or index.manifest.view.resized:
        return collection.fitted(position, shape)
    image = collection.read(position)
    if image.shape[:2] != shape[:2]:
        raise EncoderError(
            f"{_title(collection, collection.ids[position])}: {image.shape[1]} x {image.shape[0]} pixels, but {index.path} "
            f"holds images of {shape[1]} x {shape[0]}; add --resize (in Python resize=True) to scale it"
        )
    return fit_to(image, shape)


def similarity(far: float, distance: str, bits: int) -> float:
    """Turn a distance into a similarity, as :class:`Match` describes it.

    Parameters
    ----------
    far : float
        The distance.
    distance : str
        Its name.
    bits : int
        Of a packed code; only ``hamming`` asks for it.

    Returns
    -------
    float
        1 for identical images; of ``inner product`` the product itself.
    """
    return DISTANCES[distance].similarity(far, bits)


def _title(collection: Collection, identity: str) -> str:
    """Name a query as a person would: by its file, or its place in an array."""
    if collection.array_ is None:
        return f"{collection.whole}/{identity}"
    alone = identity == PurePath(collection.whole).name
    return collection.whole if alone else f"{collection.whole}[{identity}]"
