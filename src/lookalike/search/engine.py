"""Query + index -> ranked matches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.open import Source, open_collection
from lookalike.index.schema import OF_MATCH
from lookalike.neighbors.distances import DISTANCES
from lookalike.search.calibration import PValue
from lookalike.search.json_values import positive_count
from lookalike.search.query_descriptors import query_title, readable_queries
from lookalike.search.rerank.registry import rerank as reranked

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
        What the collection says the image shows.
    row : int
        Its row in the index's descriptors.
    inliers : int or None
        Details that it shares with the query in the same arrangement, where a geometric check looked at it.
    p_value : PValue or None
        How rare so small a distance is in this collection, where one query was asked by :meth:`lookalike.Index.ask`.
    group : tuple of str
        Ids of near-duplicates that this one stands for.
    score : float or None
        How well it fits words, where nothing else was asked; distance and similarity are NaN then.
    likeness : str or None
        How alike it is, in a word of :data:`lookalike.search.likeness.LEVELS`, where that can be told.
    facts : mapping
        What is known of the image; of it the JSON has the columns that :data:`lookalike.index.schema.OF_MATCH` names.
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
    likeness: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON form."""
        is_near = not math.isnan(self.distance)
        always = {
            "rank": self.rank,
            "id": self.id,
            "distance": self.distance if is_near else None,
            "similarity": self.similarity if is_near else None,
        }
        known = {
            "label": self.label,
            "inliers": self.inliers,
            "p_value": None if self.p_value is None else self.p_value.share,
            "p_value_is_bound": True if self.p_value is not None and self.p_value.is_bound else None,
            "group": list(self.group) or None,
            "score": self.score,
            "likeness": self.likeness,
        } | {name: self.facts.get(name) for name in OF_MATCH}
        return always | {name: value for name, value in known.items() if value is not None}

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
        known = {name: item for name, item in value.items() if item is not None}
        share = known.get("p_value")
        return cls(
            rank=known["rank"],
            id=known["id"],
            distance=known.get("distance", math.nan),
            similarity=known.get("similarity", math.nan),
            label=known.get("label"),
            row=-1,
            inliers=known.get("inliers"),
            p_value=None if share is None else PValue(share, bool(known.get("p_value_is_bound"))),
            group=tuple(known.get("group", ())),
            score=known.get("score"),
            likeness=known.get("likeness"),
            facts={name: known.get(name) for name in OF_MATCH},
        )


def match_of(
    facts: Mapping[str, Any], rank: int, row: int, distance: float = math.nan, close: float = math.nan, **rest: Any
) -> Match:
    """Return a match of an indexed image.

    Parameters
    ----------
    facts : mapping
        What is known of the image, as :meth:`lookalike.Index.facts` returns it.
    rank, row, distance, close
        Of the match; ``close`` is its similarity.
    **rest
        The other fields of :class:`Match`.

    Returns
    -------
    Match
    """
    return Match(rank, facts["id"], distance, close, facts["label"], row, facts=facts, **rest)


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
        error = {} if self.error is None else {"error": self.error}
        denoised = {} if self.denoised is None else {"denoised": self.denoised.to_json()}
        return {
            "query": self.query,
            "search": self.how,
            "matches": [match.to_json() for match in self.matches],
            **error,
            **denoised,
        }


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
    k = min(positive_count(k, "k"), max(1, len(index)))
    collection = open_collection(queries, limits=index.limits)
    by = distance or index.manifest.distance
    asked = readable_queries(index, collection, by, resize=resize, denoise=denoise)
    inliers: list[dict[int, int]] = [{}] * len(asked.positions)
    if rerank is None:
        rows, distances, how = index.nearest(asked.descriptors, k, distance=by, how=how)
    else:

        def picture(i: int) -> NDArray[np.uint8]:
            return collection.read(asked.positions[i])

        rankings = reranked(index, rerank, asked.descriptors, k, picture=picture, distance=distance, on_note=on_note)
        rows, distances = np.stack([r.rows for r in rankings]), np.stack([r.distances for r in rankings])
        inliers, how = [r.inliers for r in rankings], "exact"
    used = np.unique(rows).tolist()
    facts_of = dict(zip(used, index.facts(used), strict=True))
    measure, bits = DISTANCES[by], 8 * index.manifest.dimension
    results = {}
    for i, position in enumerate(asked.positions):
        matches = [
            match_of(
                facts_of[row],
                rank,
                row,
                far,
                measure.similarity(far, bits),
                inliers=inliers[i].get(row),
            )
            for rank, (row, far) in enumerate(zip(rows[i].tolist(), distances[i].tolist(), strict=True), 1)
        ]
        denoised = None if asked.restored is None else asked.restored.image(i)
        results[position] = Result(query_title(collection, position), matches, how, denoised)
    for position, error in asked.errors.items():
        results[position] = Result(query_title(collection, position), [], error=error)
    return [results[position] for position in range(len(collection))]
