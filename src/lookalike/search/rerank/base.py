"""First answers -> a second, better ordering of them, without labels.

A re-ranking is one class and one line in :data:`RERANKINGS`. It gives, for each query, a value for every image of the
index: the smaller, the nearer. So one and the same thing answers a search, which takes the first few, and a score, which
looks at all. A query never sees another query: each is ranked as if it were alone.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader
    from lookalike.neighbors.exact import Database

Float32Array = NDArray[np.float32]
Int64Array = NDArray[np.int64]

#: name -> "module:Class", and parameters that the name stands for.
RERANKINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "expansion": ("lookalike.search.rerank.query_expansion:Expansion", {"alpha": 0.0}),
    "alpha-expansion": ("lookalike.search.rerank.query_expansion:Expansion", {"alpha": 3.0}),
    "diffusion": ("lookalike.search.rerank.diffusion:DiffusionReranker", {}),
    "reciprocal": ("lookalike.search.rerank.k_reciprocal:KReciprocal", {}),
    "geometric": ("lookalike.search.rerank.geometric:GeometricCheck", {}),
    "views": ("lookalike.search.rerank.multi_view:MultiView", {}),
}
#: The self-test chooses one of them, or none.
AUTO, NONE = "auto", "none"
#: Most bytes of values worked out at a time.
BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class RerankRequest:
    """What is asked of an index.

    Attributes
    ----------
    descriptors : ndarray, shape (b, d)
        Of the queries.
    picture : callable or None
        Number of the query -> the picture, uint8 of any size; None where there is none, as of words.
    among : ndarray of int64 or None
        The only rows that may be answers; None for all.
    """

    descriptors: NDArray[Any]
    picture: Callable[[int], NDArray[np.uint8]] | None = None
    among: NDArray[np.integer[Any]] | None = None

    def __len__(self) -> int:
        return len(self.descriptors)

    def part(self, start: int, stop: int) -> RerankRequest:
        """Return some of the queries."""
        picture = self.picture
        moved = None if picture is None else lambda i: picture(start + i)
        return RerankRequest(self.descriptors[start:stop], moved, self.among)


@dataclass(frozen=True, eq=False)
class Ranking:
    """The answers to one query.

    Attributes
    ----------
    rows : ndarray of int64, shape (k,)
        Rows of the index's descriptors, the best first.
    distances : ndarray of float32, shape (k,)
        Their distances as without re-ranking, so that they need not rise.
    inliers : dict of int to int
        Row -> details found in the same arrangement; of the pictures that were looked at, none for other methods.
    """

    rows: Int64Array
    distances: Float32Array
    inliers: dict[int, int] = field(default_factory=dict)


class Reranker:
    """One way to re-rank; the base of all.

    Parameters
    ----------
    index : IndexReader
        What is searched.
    distance : str, optional
        By default the encoder's own.
    on_note : callable, optional
        Called with a sentence before something that takes long.
    """

    name: ClassVar[str]
    #: Whether it needs the query's picture, and whether only the encoder's own distance will do.
    looks: ClassVar[bool] = False
    own_distance: ClassVar[bool] = False

    def __init__(
        self, index: IndexReader, *, distance: str | None = None, on_note: Callable[[str], None] | None = None
    ) -> None:
        self.index = index
        self.database: Database = index.database(distance)
        self.note = on_note or (lambda _: None)
        if self.own_distance and self.database.distance != index.manifest.distance:
            raise UsageError(
                f"re-ranking by {self.name} goes by the encoder's own distance, {index.manifest.distance}; leave the "
                "distance out"
            )

    def values(self, asked: RerankRequest) -> tuple[Float32Array, list[dict[int, int]]]:
        """Return for each query a value for every image, (b, m), smaller is nearer, 0 or more; and its inliers."""
        raise NotImplementedError

    @property
    def queries_at_once(self) -> int:
        """How many queries to ask for at a time."""
        return max(1, BLOCK_BYTES // (4 * self.database.size))


def create_reranker(
    method: str, index: IndexReader, *, distance: str | None = None, on_note: Callable[[str], None] | None = None
) -> Reranker | None:
    """Make a re-ranking of an index by its name.

    Parameters
    ----------
    method : str
        A name in :data:`RERANKINGS`, with parameters if wanted: ``diffusion:alpha=0.9``; ``auto`` or ``none``.
    index : IndexReader
        What is searched.
    distance : str, optional
        By default the encoder's own.
    on_note : callable, optional
        Called with a sentence before something that takes long, and with what ``auto`` chose.

    Returns
    -------
    Reranker or None
        None for ``none``, also where that is what ``auto`` chose.

    Raises
    ------
    UsageError
        If the name or a parameter isn't known, or a parameter can't be used.
    """
    name, _, rest = method.partition(":")
    if name == AUTO:
        from lookalike.search.rerank.auto import choose

        chosen = choose(index, on_note=on_note).method
        return create_reranker(chosen, index, distance=distance, on_note=on_note)
    if name == NONE:
        return None
    if name not in RERANKINGS:
        raise unknown_name("re-ranking", name, [*RERANKINGS, AUTO, NONE])
    target, meant = RERANKINGS[name]
    module, _, attribute = target.partition(":")
    made: type[Reranker] = getattr(importlib.import_module(module), attribute)
    params = meant | _parsed(name, rest, made)
    return made(index, distance=distance, on_note=on_note, **params)


def _parsed(name: str, rest: str, made: type[Reranker]) -> dict[str, Any]:
    """Read ``k=10,alpha=3``; each is of the kind that its default is."""
    defaults = {
        p.name: p.default
        for p in inspect.signature(made).parameters.values()
        if p.name not in ("index", "distance", "on_note")
    }
    params: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        if key not in defaults:
            raise unknown_name(f"parameter of {name}", key, defaults)
        try:
            params[key] = type(defaults[key])(value)
        except ValueError:
            kind = {int: "a whole number", float: "a number"}.get(type(defaults[key]), "text")
            raise UsageError(f"{name}: {key} is '{value}'; give {kind}, such as {key}={defaults[key]}") from None
    return params


def check_range(name: str, key: str, value: float, least: float, most: float) -> None:
    """Refuse a parameter out of its range.

    Parameters
    ----------
    name, key : str
        Of the re-ranking and the parameter.
    value, least, most : float
        What is given, and what may be.

    Raises
    ------
    UsageError
        If it isn't within.
    """
    if not least <= value <= most:
        raise UsageError(f"{name}: {key} is {value:g}; it must be {least:g} to {most:g}")


def rerank(
    index: IndexReader,
    method: str | Reranker,
    descriptors: NDArray[Any],
    k: int,
    *,
    picture: Callable[[int], NDArray[np.uint8]] | None = None,
    distance: str | None = None,
    among: NDArray[np.integer[Any]] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> list[Ranking]:
    """Answer queries in a second, better order.

    Parameters
    ----------
    index : IndexReader
        What is searched.
    method : str or Reranker
        What :func:`create_reranker` takes, or what it made.
    descriptors : ndarray, shape (b, d)
        Of the queries, by the index's encoder.
    k : int
        How many answers each, 1 to the number of images.
    picture : callable, optional
        Number of the query -> its picture; for those that look at it.
    distance : str, optional
        By default the encoder's own.
    among : ndarray of int64, optional
        Only these rows may be answers.
    on_note : callable, optional
        Called with a sentence before something that takes long.

    Returns
    -------
    list of Ranked
        One a query; equal values by distance, then by row.

    Raises
    ------
    UsageError
        If the method, a parameter or ``k`` is wrong, or the picture is needed and there is none.
    """
    made = (
        method if isinstance(method, Reranker) else create_reranker(method, index, distance=distance, on_note=on_note)
    )
    database = index.database(distance) if made is None else made.database
    rows = np.arange(database.size) if among is None else np.unique(np.asarray(among, np.int64))
    if not 1 <= k <= len(rows):
        raise UsageError(f"k is {k:,}; it must be 1 to {len(rows):,}, the images there are to choose from")
    answers = []
    for values, plain, inliers in ranking_values(made, database, RerankRequest(descriptors, picture, among)):
        for i, of_query in enumerate(inliers):
            mine, far = values[i, rows], plain[i, rows]
            some = np.flatnonzero(mine <= np.partition(mine, k - 1)[k - 1])
            first = some[np.lexsort((some, far[some], mine[some]))[:k]]
            answers.append(Ranking(rows[first], far[first], of_query))
    return answers


def ranking_values(
    made: Reranker | None, database: Database, asked: RerankRequest
) -> Iterator[tuple[Float32Array, Float32Array, list[dict[int, int]]]]:
    """Rank all images for every query, some queries at a time.

    Parameters
    ----------
    made : Reranker or None
        None ranks by the plain distance.
    database : Database
        Of the index.
    asked : Asked
        The queries.

    Yields
    ------
    (values, distances, inliers)
        float32 (b, m), smaller is nearer and 0 or more; the plain distances; and what :class:`Ranking` says of inliers.

    Raises
    ------
    UsageError
        If it looks at pictures and there are none.
    """
    if made is not None and made.looks and asked.picture is None:
        raise UsageError(
            f"re-ranking by {made.name} looks at the query's picture, and there is none: text, likes and --leave-one-out bring "
            "descriptors alone; use another"
        )
    step = max(1, BLOCK_BYTES // (4 * database.size)) if made is None else made.queries_at_once
    for start in range(0, len(asked), step):
        part = asked.part(start, start + step)
        plain = database.distances(part.descriptors)
        values, inliers = (plain, [{}] * len(part)) if made is None else made.values(part)
        if database.measure.signed:  # it has no least value, and a ranking begins at 0
            values = values - np.minimum(values.min(axis=1, keepdims=True), 0)
        yield values, plain, inliers


__all__ = ["RERANKINGS", "Ranking", "RerankRequest", "Reranker", "create_reranker", "ranking_values", "rerank"]
