"""An encoder and images without labels -> figures of how well other views of an image find it and its like.

Held-out images are shown in three ways: as an augmented copy (:mod:`lookalike.transforms.augmentations`); in a scene, smaller
and seen from a side, with half of the augmentations (:mod:`lookalike.transforms.views`); and as their left and right halves.
Each view is a query against the collection. No label is read. What each figure says of a labelled score, and how surely, was
measured over collections with labels (``benchmarks/candidates.py``, ``docs/adapt.md``).

``first hit``, ``reciprocal rank``
    Share of augmented copies whose original comes first, and the mean of 1 / (rank of the original); the latter for scenes,
    halves and each group of families, too (``reciprocal rank, moved``).
``self-retrieval MRR``
    The mean reciprocal rank of the original over the three ways. Each way counts a third, so that an encoder gains little
    from being made for one augmentation.
``agreement@k``, ``agreement@5%``
    Share of the ``k`` nearest images of the original, without itself, that are among the ``k`` nearest of its augmented
    copy; ``k`` is a number of images, or a share of the collection. ``agreement in a scene@k`` and ``agreement of
    halves@k`` are the same of scenes, and between the two halves.
``neighbour agreement@k``, ``neighbour agreement@5%``
    The same between the original and its nearest other image. It is high where images fall into categories.
``category precision@k``, ``category precision@5%``
    The mean product of neighbour agreement with the agreement of all three ways: of the original with its augmented copy,
    with its scene, and of its left half with its right. Agreement alone doesn't see whether there are categories;
    neighbour agreement alone is high for descriptors that tell nothing apart.

Images that rounding can't tell apart count as in a random order (:mod:`lookalike.metrics.ties`), so an encoder that tells
nothing apart has what chance gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import BoolArray, Float32Array, Float64Array, Int64Array
from lookalike.encoders.base import Encoder
from lookalike.encoders.postprocess import Projection
from lookalike.metrics.bootstrap import bootstrap_interval, bootstrap_percentiles
from lookalike.metrics.ties import random_among_equal, reciprocal_and_first
from lookalike.neighbors.distances import DISTANCES
from lookalike.neighbors.exact import Database
from lookalike.selection.held_out import (
    ALL,
    GROUPS,
    LEFT,
    MAX_QUERIES,
    MIN_IMAGES,
    RIGHT,
    SCENE,
    Views,
    make_views,
    too_few,
)  # fmt: skip

#: Lengths of the compared lists: as they are, and as shares of the collection.
LISTS, SHARES = (10, 100, 1000), (0.01, 0.05, 0.1)
#: The copies that each way of showing an image consists of, and what their figures are called.
WAYS = {"": (ALL,), " in a scene": (SCENE,), " of halves": (LEFT, RIGHT)}


@dataclass(frozen=True, eq=False)
class Trial:
    """What a self-test looks at: descriptors before any post-processing, so that several can be tried on them.

    Attributes
    ----------
    database : ndarray, shape (m, d)
        Descriptors of the collection, or of a sample of it; none is blank (:func:`not_blank`).
    originals : ndarray of int64, shape (q,)
        Rows of the held-out images.
    copies : dict of str to ndarray, shape (q, d)
        Descriptors of their views, as of :class:`Views`.
    distance : str
        What the encoder's own descriptors are compared by.
    families : dict of str to float
        The augmentations, with their amounts.
    seed : int
        Of the order of images that can't be told apart.
    places : ndarray of int64, shape (m,), optional
        Which images of the views the rows are.
    """

    database: NDArray[Any]
    originals: Int64Array
    copies: dict[str, NDArray[Any]]
    distance: str
    families: dict[str, float]
    seed: int = 0
    places: Int64Array | None = None


@dataclass(frozen=True)
class SelfTest:
    """Figures of one self-test, each 0..1.

    Attributes
    ----------
    queries, database : int
        How many held-out images, against how many.
    figures : dict of str to float
        Means over the held-out images by name; see the top of this module.
    intervals : dict of str to (float, float)
        95 % percentile bootstrap intervals of them.
    first_hits : dict of str to float
        First-hit rate for each group of families alone.
    per_query : dict of str to ndarray
        What the means are of; not part of the JSON.
    """

    queries: int
    database: int
    figures: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    first_hits: dict[str, float]
    per_query: dict[str, Float64Array] = field(repr=False, compare=False, default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain numbers, lists and dictionaries."""
        return {
            "queries": self.queries,
            "database": self.database,
            "figures": self.figures,
            "intervals": {name: list(pair) for name, pair in self.intervals.items()},
            "first_hits": self.first_hits,
        }


def trial_of(
    encoder: Encoder, views: Views, encode: Callable[[Encoder, NDArray[np.uint8]], NDArray[Any]] | None = None
) -> Trial:
    """Encode a collection and other views of some of its images.

    Parameters
    ----------
    encoder : Encoder
        Fitted; its post-processing is left aside.
    views : Views
        Of the size that it takes.
    encode : callable, optional
        What encodes, by default the encoder.

    Returns
    -------
    Trial

    Raises
    ------
    UsageError
        If too few images aren't blank to the encoder.
    """
    plain = encoder.with_post(None)
    encode = encode or Encoder.encode
    database = encode(plain, views.images)
    seen = not_blank(database, plain.distance)
    if seen.sum() < MIN_IMAGES:
        raise too_few(int(seen.sum()), encoder.name)
    held = seen[views.originals]
    originals = (np.cumsum(seen) - 1)[views.originals[held]].astype(np.int64)
    copies = {name: encode(plain, view)[held] for name, view in views.shown_as.items()}
    if not len(originals):
        raise too_few(0, encoder.name)
    places = np.flatnonzero(seen)
    return Trial(database[seen], originals, copies, plain.distance, views.families, views.seed, places)


def run_trial(trial: Trial, post: Projection | None = None, *, lists: Sequence[int] | None = None) -> SelfTest:
    """Measure how well augmented copies find what their originals find.

    Parameters
    ----------
    trial : Trial
        What :func:`trial_of` returned.
    post : Projection, optional
        Post-processing of the descriptors; cosine is the distance then.
    lists : sequence of int, optional
        Lengths of the compared lists; by default ``LISTS`` up to half of the collection, and ``SHARES`` of it.

    Returns
    -------
    SelfTest
    """
    table = trial.database if post is None else nonzero(post.apply(trial.database))
    database = Database(table, trial.distance if post is None else "cosine")
    lengths = _list_lengths(len(table), lists)
    rng = np.random.default_rng([trial.seed, 2])
    reciprocals: dict[str, Float64Array] = {}
    firsts: dict[str, Float64Array] = {}
    listed: dict[str, dict[str, BoolArray]] = {}
    for name, copies in trial.copies.items():
        distances, reciprocals[name], firsts[name] = _answers(database, trial, copies, post)
        if name in (ALL, SCENE, LEFT, RIGHT):
            blank = np.asarray(np.isinf(distances).all(axis=1), np.bool_)
            near = _members(random_among_equal(distances, rng), lengths)
            listed[name] = {end: marked & ~blank[:, None] for end, marked in near.items()}
    ways = {title: way for title, way in WAYS.items() if set(way) <= set(listed)}
    per_query: dict[str, Float64Array] = {
        "first hit": firsts[ALL],
        "reciprocal rank": reciprocals[ALL],
    }
    by_way = {title: np.mean([reciprocals[name] for name in way], axis=0) for title, way in ways.items()}
    per_query["self-retrieval MRR"] = np.mean(list(by_way.values()), axis=0)
    per_query |= {f"reciprocal rank{title}": values for title, values in by_way.items()}
    per_query |= {f"reciprocal rank, {name}": reciprocals[name] for name in GROUPS if name in reciprocals}
    shown = {title: [listed[name] for name in way] for title, way in ways.items()}
    per_query |= _list_figures(database, table, trial.originals, lengths, shown, rng)
    first_hits = {name: float(firsts[name].mean()) for name in GROUPS if name in firsts}
    figures = {name: float(values.mean()) for name, values in per_query.items()}
    low, high = bootstrap_percentiles(np.stack(list(per_query.values()), axis=1), 0).tolist()
    intervals = dict(zip(per_query, zip(low, high, strict=True), strict=True))
    return SelfTest(len(trial.originals), len(table), figures, intervals, first_hits, per_query)


def _list_lengths(size: int, lists: Sequence[int] | None) -> dict[str, int]:
    """Return the lengths of the compared lists by the names that figures end in."""
    lengths = {str(k): k for k in (LISTS if lists is None else lists) if 1 <= k <= max(1, size // 2)}
    if lists is None:
        lengths |= {f"{share:.0%}": max(1, round(share * size)) for share in SHARES}
    return lengths


def _list_figures(
    database: Database,
    table: NDArray[Any],
    originals: Int64Array,
    lengths: Mapping[str, int],
    ways: Mapping[str, Sequence[Mapping[str, BoolArray]]],
    rng: np.random.Generator,
) -> dict[str, Float64Array]:
    """Compare the lists of originals with those of their views, and with those of their nearest images."""
    rows = np.arange(len(originals))
    own = database.distances(table[originals], resolved=True)
    own[rows, originals] = np.inf
    own_order = random_among_equal(own, rng)
    nearest = own_order.argmin(axis=1)
    of_nearest = database.distances(table[nearest], resolved=True)
    of_nearest[rows, originals] = np.inf
    of_nearest[rows, nearest] = np.inf
    own_lists, nearest_lists = _members(own_order, lengths), _members(random_among_equal(of_nearest, rng), lengths)
    figures: dict[str, Float64Array] = {}
    for end, k in lengths.items():
        original = own_lists[end]
        # One view is compared with the original; of two halves, the left with the right.
        agreed = {
            title: ((original if len(way) == 1 else way[0][end]) & way[-1][end]).sum(axis=1) / k
            for title, way in ways.items()
        }
        original[rows, nearest] = False
        figures |= {f"agreement{title}@{end}": values for title, values in agreed.items()}
        figures[f"neighbour agreement@{end}"] = (original & nearest_lists[end]).sum(axis=1) / k
        figures[f"category precision@{end}"] = (
            np.mean(list(agreed.values()), axis=0) * figures[f"neighbour agreement@{end}"]
        )
    return figures


def self_test(
    encoder: Encoder,
    images: NDArray[np.uint8],
    families: Mapping[str, float] | Iterable[str] | None = None,
    *,
    queries: int = MAX_QUERIES,
    seed: int = 0,
) -> SelfTest:
    """Test an encoder, with its post-processing, on a collection without labels.

    Parameters
    ----------
    encoder : Encoder
        Fitted.
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The collection; of more than ``MAX_DATABASE`` a sample is taken.
    families : mapping of str to float, or iterable of str, optional
        The augmentations; by default what suits the images.
    queries : int
        How many images are held out, at most a quarter of the collection.
    seed : int
        Of the sample and the augmentations.

    Returns
    -------
    SelfTest

    Raises
    ------
    UsageError
        If there are too few images, or a family isn't known.
    """
    return run_trial(trial_of(encoder, make_views(images, families, queries=queries, seed=seed)), encoder.post_)


def not_blank(table: NDArray[Any], distance: str) -> BoolArray:
    """Mark the descriptors of images in which the encoder saw something.

    Parameters
    ----------
    table : ndarray, shape (n, d)
        Descriptors without a post-processing.
    distance : str
        What they are compared by.

    Returns
    -------
    ndarray of bool, shape (n,)
        False for rows of zeros, but for packed codes, of which zeros are one like any other.
    """
    if DISTANCES[distance].packed:
        return np.ones(len(table), np.bool_)
    return np.asarray(table.any(axis=1), np.bool_)


def _answers(
    database: Database, trial: Trial, copies: NDArray[Any], post: Projection | None
) -> tuple[Float32Array, Float64Array, Float64Array]:
    """Return the distances of copies, those to their own originals infinite, and what is expected of these originals' ranks.

    That is their reciprocal and the chance to be first. A blank copy finds nothing: all its distances are infinite, and its
    original is last.
    """
    usable = not_blank(copies, trial.distance)
    distances = np.full((len(copies), database.size), np.inf, np.float32)
    reciprocal, first = np.full(len(copies), 1 / database.size), np.zeros(len(copies))
    if usable.any():
        queries = copies[usable] if post is None else nonzero(post.apply(copies[usable]))
        distances[usable] = database.distances(queries, resolved=True)
        reciprocal[usable], first[usable] = reciprocal_and_first(distances[usable], trial.originals[usable])
    distances[np.arange(len(copies)), trial.originals] = np.inf
    return distances, reciprocal, first


def nonzero(table: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give rows that a projection sent to its very centre some direction, as cosine needs one.

    Parameters
    ----------
    table : ndarray of float32, shape (n, d)
        Changed in place.

    Returns
    -------
    ndarray of float32, shape (n, d)
        The same.
    """
    lost = ~table.any(axis=1)
    if lost.any():
        table[lost, 0] = np.finfo(np.float32).tiny * 2**100
    return table


def _members(order: Int64Array, lengths: Mapping[str, int]) -> dict[str, BoolArray]:
    """Mark the first of each row, so many for each name."""
    # One partial sort for all lengths costs little more than that for one.
    places = np.argpartition(order, sorted({k - 1 for k in lengths.values()}), axis=1)
    marked: dict[str, BoolArray] = {name: np.zeros(order.shape, np.bool_) for name in lengths}
    for name, k in lengths.items():
        np.put_along_axis(marked[name], places[:, :k], True, axis=1)
    return marked


def paired_difference(
    candidate: SelfTest, baseline: SelfTest, figure: str, seed: int = 0
) -> tuple[float, float, float]:
    """Return how much higher a figure is in one self-test than in another, on the same held-out images.

    Parameters
    ----------
    candidate, baseline : SelfTest
        Of one collection, one seed and the same augmentations.
    figure : str
        The figure's name.
    seed : int
        Of the bootstrap.

    Returns
    -------
    mean, low, high : float
        The mean difference and its 95 % interval by paired bootstrap over images. Where an encoder found some images blank,
        so that the images differ, from the ends of the two figures' own intervals.

    Examples
    --------
    >>> test = SelfTest(2, 9, {"first hit": 1.0}, {}, {}, {"first hit": np.ones(2)})
    >>> paired_difference(test, test, "first hit")
    (0.0, 0.0, 0.0)
    """
    a, b = candidate.per_query[figure], baseline.per_query[figure]
    if len(a) == len(b):
        return float((a - b).mean()), *bootstrap_interval(a - b, seed)
    first, second = candidate.intervals[figure], baseline.intervals[figure]
    return float(a.mean() - b.mean()), first[0] - second[1], first[1] - second[0]
