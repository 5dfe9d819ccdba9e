"""A re-ranking by its name and parameters, made for an index and applied to queries."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import UsageError, unknown_name
from lookalike.search.rerank import RERANKERS
from lookalike.search.rerank.base import Ranking, Reranker, RerankRequest, ranking_values

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader

#: The name that leaves the order as it is.
NONE = "none"


def create_reranker(
    method: str, index: IndexReader, *, distance: str | None = None, on_note: Callable[[str], None] | None = None
) -> Reranker | None:
    """Make a re-ranking of an index by its name.

    Parameters
    ----------
    method : str
        A name in :data:`RERANKERS`, with parameters if wanted: ``diffusion:alpha=0.9``; ``auto`` or ``none``.
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
    if name == NONE:
        return None
    if name not in RERANKERS:
        raise unknown_name("re-ranking", name, [*RERANKERS, NONE])
    kind = RERANKERS[name]
    return kind.create(index, distance=distance, on_note=on_note, **_parsed(name, rest, kind))


def _parsed(name: str, rest: str, kind: type[Reranker]) -> dict[str, Any]:
    """Read ``k=10,alpha=3``; each is of the kind that its default is, a number where the default goes by the collection."""
    defaults = {
        p.name: 0.5 if p.default is None else p.default
        for p in inspect.signature(kind).parameters.values()
        if p.kind is not p.VAR_KEYWORD and p.name not in ("index", "distance", "on_note")
    }
    if rest and not defaults:
        raise UsageError(f"{name} takes no parameters; leave ':{rest}' out")
    params: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        if key not in defaults:
            raise unknown_name(f"parameter of {name}", key, defaults)
        try:
            params[key] = type(defaults[key])(value)
        except ValueError:
            expected = {int: "a whole number", float: "a number"}.get(type(defaults[key]), "text")
            raise UsageError(f"{name}: {key} is '{value}'; give {expected}, such as {key}={defaults[key]}") from None
    return params


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
    list of Ranking
        One a query; equal values by distance, then by row.

    Raises
    ------
    UsageError
        If the method, a parameter or ``k`` is wrong, or the picture is needed and there is none.
    """
    reranker = (
        method if isinstance(method, Reranker) else create_reranker(method, index, distance=distance, on_note=on_note)
    )
    database = index.database(distance) if reranker is None else reranker.database
    rows = np.arange(database.size) if among is None else np.unique(np.asarray(among, np.int64))
    if not 1 <= k <= len(rows):
        raise UsageError(f"k is {k:,}; it must be 1 to {len(rows):,}, the images there are to choose from")
    answers = []
    for values, plain, inliers in ranking_values(reranker, database, RerankRequest(descriptors, picture, among)):
        for i, of_query in enumerate(inliers):
            mine, far = values[i, rows], plain[i, rows]
            nearest = np.flatnonzero(mine <= np.partition(mine, k - 1)[k - 1])
            first = nearest[np.lexsort((nearest, far[nearest], mine[nearest]))[:k]]
            answers.append(Ranking(rows[first], far[first], of_query))
    return answers
