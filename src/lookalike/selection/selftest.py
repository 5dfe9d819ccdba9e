"""An encoder and images without labels -> figures of how well other views of an image find it and its like.

Held-out images are shown in three ways: as an augmented copy (:mod:`lookalike.transforms.augmentations`); in a scene, smaller
and seen from a side, with half of the augmentations (:mod:`lookalike.transforms.views`); and as their left and right halves.
Each view is a query against the collection. No label is read. What each figure says of a labelled score, and how surely, was
measured over collections with labels (``benchmarks/verdict.py``, ``docs/adapt.md``).

``first hit``, ``reciprocal rank``
    Share of augmented copies whose original comes first, and the mean of 1 / (rank of the original).
``self-retrieval MRR``
    The mean reciprocal rank of the original over the three ways. Each way counts a third, so that an encoder gains little
    from being made for one augmentation.
``agreement@k``, ``agreement@5%``
    Share of the ``k`` nearest images of the original, without itself, that are among the ``k`` nearest of its augmented
    copy; ``k`` is a number of images, or a share of the collection.
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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import BoolArray, Float32Array, Float64Array, Int64Array
from lookalike.encoders.base import Encoder
from lookalike.encoders.postprocess import Projection
from lookalike.errors import UsageError
from lookalike.metrics.bootstrap import bootstrap_interval
from lookalike.metrics.ties import random_among_equal, reciprocal_and_first
from lookalike.neighbors.distances import DISTANCES
from lookalike.neighbors.exact import Database
from lookalike.neighbors.sampling import draw_rows, sample_rows
from lookalike.transforms.augmentations import augment, check_families, families_for
from lookalike.transforms.views import halves, scene

#: Fewest images that can be tested: with fewer, each would nearly always be found.
MIN_IMAGES = 8
#: Most images that the copies are compared with, and most held-out images.
MAX_DATABASE, MAX_QUERIES = 20_000, 300
#: Lengths of the compared lists: as they are, and as shares of the collection.
LISTS, SHARES = (10, 100, 1000), (0.01, 0.05, 0.1)
#: The names of copies: augmented by all families at once, in a scene, and halves.
ALL, SCENE, LEFT, RIGHT = "all", "scene", "left", "right"
#: The copies that each way of showing an image consists of.
WAYS = ((ALL,), (SCENE,), (LEFT, RIGHT))


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
        Descriptors of their copies: augmented by all families at once under ``"all"``, in a scene under ``"scene"``,
        halves under ``"left"`` and ``"right"``, and augmented by each family alone.
    distance : str
        What the encoder's own descriptors are compared by.
    families : dict of str to float
        The augmentations, with its amounts.
    seed : int
        Of the order of images that can't be told apart.
    """

    database: NDArray[Any]
    originals: Int64Array
    copies: dict[str, NDArray[Any]]
    distance: str
    families: dict[str, float]
    seed: int = 0


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
        First-hit rate for each augmentation family alone.
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


def prepare_trial(
    encoder: Encoder,
    images: NDArray[np.uint8],
    families: Mapping[str, float] | Iterable[str] | None = None,
    *,
    queries: int = MAX_QUERIES,
    each: bool = True,
    seed: int = 0,
) -> Trial:
    """Encode a collection and augmented copies of held-out images of it.

    Parameters
    ----------
    encoder : Encoder
        Fitted; its post-processing is left aside.
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The collection; of more than ``MAX_DATABASE`` a sample is taken.
    families : mapping of str to float, or iterable of str, optional
        The augmentations; by default what suits the images.
    queries : int
        How many images are held out, at most a quarter of the collection.
    each : bool
        Augment by each family alone, too.
    seed : int
        Of the sample and the augmentations.

    Returns
    -------
    Trial

    Raises
    ------
    UsageError
        If there are too few images, or too few that aren't blank to the encoder.
    """
    images = images[sample_rows(len(images), MAX_DATABASE, seed)]
    named = families_for(images) if families is None else check_families(families, images)
    plain = encoder.with_post(None)
    database = plain.encode(images)
    seen = np.flatnonzero(not_blank(database, plain.distance))
    if len(seen) < MIN_IMAGES:
        raise UsageError(
            f"a self-test needs at least {MIN_IMAGES} images that aren't blank to {encoder.name}, here are {len(seen)}; "
            "give more images, or choose the encoder yourself"
        )
    images, database = images[seen], database[seen]
    rng = np.random.default_rng([seed, 1])
    originals = draw_rows(rng, len(seen), max(1, min(queries, len(seen) // 4)))
    shown = images[originals]
    left, right = halves(shown)
    shown_as = {
        ALL: augment(shown, named, seed=seed + 1000),
        SCENE: augment(scene(shown, seed=seed), {f: a / 2 for f, a in named.items()}, seed=seed + 1000),
        LEFT: left,
        RIGHT: right,
    }
    copies = {name: plain.encode(view) for name, view in shown_as.items()}
    if each and len(named) > 1:
        copies |= {f: plain.encode(augment(shown, {f: a}, seed=seed + 1000)) for f, a in named.items()}
    return Trial(database, originals, copies, plain.distance, named, seed)


def run_trial(trial: Trial, post: Projection | None = None, *, lists: Sequence[int] | None = None) -> SelfTest:
    """Measure how well augmented copies find what their originals find.

    Parameters
    ----------
    trial : Trial
        What :func:`prepare_trial` returned.
    post : Projection, optional
        Post-processing of the descriptors; cosine is the distance then.
    lists : sequence of int, optional
        Lengths of the compared lists; by default ``LISTS`` up to half of the collection, and ``SHARES`` of it.

    Returns
    -------
    SelfTest
    """
    table = trial.database if post is None else _nonzero(post.apply(trial.database))
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
    ways = [way for way in WAYS if set(way) <= set(listed)]
    per_query: dict[str, Float64Array] = {
        "first hit": firsts[ALL],
        "reciprocal rank": reciprocals[ALL],
        "self-retrieval MRR": np.mean([np.mean([reciprocals[name] for name in way], axis=0) for way in ways], axis=0),
    }
    per_query |= _list_figures(
        database, table, trial.originals, lengths, [[listed[name] for name in way] for way in ways], rng
    )
    first_hits = {name: float(first.mean()) for name, first in firsts.items() if name not in listed}
    if not first_hits:
        first_hits = {name: float(per_query["first hit"].mean()) for name in list(trial.families)[:1]}
    figures = {name: float(values.mean()) for name, values in per_query.items()}
    intervals = {name: bootstrap_interval(values) for name, values in per_query.items()}
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
    ways: Sequence[Sequence[Mapping[str, BoolArray]]],
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
        pairs = [(original if len(way) == 1 else way[0][end], way[-1][end]) for way in ways]
        agreed = [(first & second).sum(axis=1) / k for first, second in pairs]
        original[rows, nearest] = False
        figures[f"agreement@{end}"] = agreed[0]
        figures[f"neighbour agreement@{end}"] = (original & nearest_lists[end]).sum(axis=1) / k
        figures[f"category precision@{end}"] = np.mean(agreed, axis=0) * figures[f"neighbour agreement@{end}"]
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
    return run_trial(prepare_trial(encoder, images, families, queries=queries, seed=seed), encoder.post_)


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
        queries = copies[usable] if post is None else _nonzero(post.apply(copies[usable]))
        distances[usable] = database.distances(queries, resolved=True)
        reciprocal[usable], first[usable] = reciprocal_and_first(distances[usable], trial.originals[usable])
    distances[np.arange(len(copies)), trial.originals] = np.inf
    return distances, reciprocal, first


def _nonzero(table: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give rows that a projection sent to its very centre some direction, as cosine needs one."""
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


def beats(candidate: SelfTest, baseline: SelfTest, figure: str, seed: int = 0) -> bool:
    """Tell whether a figure is higher in one self-test than in another beyond chance, on the same held-out images.

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
    bool
        Whether the 2.5 % percentile of the mean paired difference, by bootstrap over images, is above 0. Where an
        encoder found some images blank, so that the images differ, the two intervals must not meet.

    Examples
    --------
    >>> test = SelfTest(2, 9, {"first hit": 1.0}, {}, {}, {"first hit": np.ones(2)})
    >>> beats(test, test, "first hit")
    False
    """
    a, b = candidate.per_query[figure], baseline.per_query[figure]
    if len(a) != len(b):
        return candidate.intervals[figure][0] > baseline.intervals[figure][1]
    return bootstrap_interval(a - b, seed)[0] > 0
