"""Retrieval measured without labels: other views of the collection's own images must find their originals.

Held-out images are shown in three ways: by a copy with every augmentation family; in a scene, smaller and seen from a side,
with half of the augmentations; and as their left and right halves (``lookalike.transforms.augmentations``, ``lookalike.transforms.views``). From each view a
list is taken of the collection. No label is read. A high figure says that a search overlooks what it should; what each
figure says of a labelled score, and how surely, was measured over collections with labels (``benchmarks/verdict.py``,
``docs/adapt.md``).

``first hit``, ``reciprocal rank``
    Share of augmented copies whose original comes first, and the mean of 1 / (rank of the original).
``found``
    The mean reciprocal rank over the three ways: how surely an image is found again. The one augmentation that an encoder
    happens to be made for counts for a third.
``agreement@k``, ``agreement@5%``
    Share of the ``k`` nearest images of the original, itself left out, that are among the ``k`` nearest of its augmented
    copy; ``k`` is a number of images, or a share of the collection.
``kin@k``, ``kin@5%``
    The same between the original and its nearest other image: high where images come in kinds that see each other.
``kind@k``, ``kind@5%``
    The mean product of kin with the agreement of all three ways: of the original with its augmented copy, with its
    scene, and of its left half with its right. Alone, agreement overlooks whether there are kinds, and kin is high for
    descriptors that tell nothing apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.base import Encoder
from lookalike.encoders.postprocess import Projection
from lookalike.errors import UsageError
from lookalike.neighbors.exact import Database
from lookalike.transforms.augmentations import augment, check_families, families_for
from lookalike.transforms.views import halves, scene

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]

#: Fewest images that can be tested: with fewer, each would nearly always be found.
FEWEST = 8
#: Most images that the copies are compared with, and most held-out images.
MOST_DATABASE, MOST_QUERIES = 20_000, 300
#: Lengths of the compared lists: as they are, and as shares of the collection.
LISTS, SHARES = (10, 100, 1000), (0.01, 0.05, 0.1)
#: The names of copies: augmented by all families at once, in a scene, and halves.
ALL, SCENE, LEFT, RIGHT = "all", "scene", "left", "right"


@dataclass(frozen=True, eq=False)
class Trial:
    """What a self-test looks at: descriptors before any post-processing, so that several can be tried on them.

    Attributes
    ----------
    database : ndarray, shape (m, d)
        Descriptors of the collection, or of a sample of it; no row of zeros.
    originals : ndarray of int64, shape (q,)
        Rows of the held-out images.
    copies : dict of str to ndarray, shape (q, d)
        Descriptors of their copies: augmented by all families at once under ``"all"``, in a scene under ``"scene"``,
        halves under ``"left"`` and ``"right"``, and augmented by each family alone.
    distance : str
        What the encoder's own descriptors are compared by.
    families : dict of str to float
        The augmentations, with its amounts.
    """

    database: NDArray[Any]
    originals: Int64Array
    copies: dict[str, NDArray[Any]]
    distance: str
    families: dict[str, float]


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
    queries: int = MOST_QUERIES,
    each: bool = True,
    seed: int = 0,
) -> Trial:
    """Encode a collection and augmented copies of held-out images of it.

    Parameters
    ----------
    encoder : Encoder
        Fitted; its post-processing is left aside.
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The collection; of more than ``MOST_DATABASE`` a sample is taken.
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
    images = images[sample_rows(len(images), MOST_DATABASE, seed)]
    named = families_for(images) if families is None else check_families(families, images)
    plain = encoder.with_post(None)
    database = plain.encode(images)
    seen = np.flatnonzero(database.any(axis=1))
    if len(seen) < FEWEST:
        raise UsageError(
            f"a self-test needs at least {FEWEST} images that aren't blank to {encoder.name}, here are {len(seen)}; "
            "give more images, or choose the encoder yourself"
        )
    images, database = images[seen], database[seen]
    rng = np.random.default_rng([seed, 1])
    originals = np.sort(rng.permutation(len(seen))[: max(1, min(queries, len(seen) // 4))]).astype(np.int64)
    shown = images[originals]
    left, right = halves(shown)
    shown_as = {
        ALL: augment(shown, named, seed=seed + 1000),
        SCENE: augment(scene(shown, seed=seed), {f: a / 2 for f, a in named.items()}, seed=seed + 1000),
        LEFT: left,
        RIGHT: right,
    }
    copies = {name: plain.encode(made) for name, made in shown_as.items()}
    if each and len(named) > 1:
        copies |= {f: plain.encode(augment(shown, {f: a}, seed=seed + 1000)) for f, a in named.items()}
    return Trial(database, originals, copies, plain.distance, named)


def sample_rows(number: int, most: int, seed: int) -> Int64Array:
    """Return ascending positions of at most ``most`` of ``number`` images, drawn by the seed.

    Parameters
    ----------
    number, most : int
        How many there are, how many are wanted.
    seed : int
        The same seed draws the same.

    Returns
    -------
    ndarray of int64

    Examples
    --------
    >>> sample_rows(3, 5, seed=0).tolist()
    [0, 1, 2]
    """
    if number <= most:
        return np.arange(number)
    return np.sort(np.random.default_rng([seed, 0]).permutation(number)[:most]).astype(np.int64)


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
    distance = trial.distance if post is None else "cosine"
    table = trial.database if post is None else _nonzero(post.apply(trial.database))
    size = len(table)
    lengths = {str(k): k for k in (LISTS if lists is None else lists) if 1 <= k <= max(1, size // 2)}
    if lists is None:
        lengths |= {f"{share:.0%}": max(1, round(share * size)) for share in SHARES}
    database = Database(table, distance)
    own = database.distances(table[trial.originals])
    rows = np.arange(len(own))
    per_query: dict[str, Float64Array] = {}
    first_hits: dict[str, float] = {}
    mine = own.copy()
    mine[rows, trial.originals] = np.inf
    nearest = mine.argmin(axis=1)
    kin = database.distances(table[nearest])
    kin[rows, trial.originals] = np.inf
    kin[rows, nearest] = np.inf
    found: dict[str, Float64Array] = {}
    lists_of: dict[tuple[str, str], NDArray[np.bool_]] = {}
    for name, copies in trial.copies.items():
        theirs, rank = _asked(database, copies, post, trial.originals)
        if name not in (ALL, SCENE, LEFT, RIGHT):
            first_hits[name] = float((rank == 1).mean())
            continue
        if name == ALL:
            per_query["first hit"] = (rank == 1).astype(np.float64)
            per_query["reciprocal rank"] = 1 / rank
        found[name] = 1 / rank
        blank = np.asarray(np.isinf(theirs).all(axis=1), np.bool_)
        lists_of |= {(name, end): listed & ~blank[:, None] for end, listed in _members(theirs, lengths).items()}
    ways = [way for way in ([ALL], [SCENE], [LEFT, RIGHT]) if set(way) <= set(trial.copies)]
    per_query["found"] = np.mean([np.mean([found[name] for name in way], axis=0) for way in ways], axis=0)
    first_of, kin_of = _members(mine, lengths), _members(kin, lengths)
    for end, k in lengths.items():
        first = first_of[end]
        agreed = []
        for way in ways:
            one = first if len(way) == 1 else lists_of[LEFT, end]
            agreed.append((one & lists_of[way[-1], end]).sum(axis=1) / k)
        per_query[f"agreement@{end}"] = agreed[0]
        first[rows, nearest] = False
        per_query[f"kin@{end}"] = (first & kin_of[end]).sum(axis=1) / k
        per_query[f"kind@{end}"] = np.mean(agreed, axis=0) * per_query[f"kin@{end}"]
    if not first_hits:
        first_hits = {name: float(per_query["first hit"].mean()) for name in list(trial.families)[:1]}
    figures = {name: float(values.mean()) for name, values in per_query.items()}
    intervals = {name: bootstrap_interval(values) for name, values in per_query.items()}
    return SelfTest(len(own), size, figures, intervals, first_hits, per_query)


def self_test(
    encoder: Encoder,
    images: NDArray[np.uint8],
    families: Mapping[str, float] | Iterable[str] | None = None,
    *,
    queries: int = MOST_QUERIES,
    seed: int = 0,
) -> SelfTest:
    """Test an encoder, with its post-processing, on a collection without labels.

    Parameters
    ----------
    encoder : Encoder
        Fitted.
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The collection; of more than ``MOST_DATABASE`` a sample is taken.
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


def _asked(
    database: Database, copies: NDArray[Any], post: Projection | None, originals: Int64Array
) -> tuple[NDArray[np.float32], Int64Array]:
    """Return the distances of copies, those to their own originals infinite, and these originals' ranks.

    A blank copy finds nothing: all its distances are infinite, and its original is last.
    """
    asked = np.asarray(copies.any(axis=1), np.bool_)
    theirs = np.full((len(copies), database.size), np.inf, np.float32)
    rank = np.full(len(copies), database.size, np.int64)
    if asked.any():
        some = copies[asked]
        theirs[asked] = database.distances(some if post is None else _nonzero(post.apply(some)))
        own = theirs[np.arange(len(copies)), originals]
        rank[asked] = 1 + (theirs < own[:, None]).sum(axis=1)[asked]
    theirs[np.arange(len(copies)), originals] = np.inf
    return theirs, rank


def _nonzero(table: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give rows that a projection sent to its very centre some direction, as cosine needs one."""
    lost = ~table.any(axis=1)
    if lost.any():
        table[lost, 0] = np.finfo(np.float32).tiny * 2**100
    return table


def _members(distances: NDArray[np.float32], lengths: Mapping[str, int]) -> dict[str, NDArray[np.bool_]]:
    """Mark the nearest of each row, so many for each name; of equally near ones any."""
    # One partial sort for all lengths costs little more than that for one.
    order = np.argpartition(distances, sorted({k - 1 for k in lengths.values()}), axis=1)
    marked = {name: np.zeros(distances.shape, np.bool_) for name in lengths}
    for name, k in lengths.items():
        np.put_along_axis(marked[name], order[:, :k], True, axis=1)
    return marked


def bootstrap_interval(values: Float64Array, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a mean.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        What the mean is of.
    seed : int
        The same seed gives the same interval.

    Returns
    -------
    (float, float)

    Examples
    --------
    >>> bootstrap_interval(np.ones(5))
    (1.0, 1.0)
    """
    drawn = np.random.default_rng(seed).integers(len(values), size=(1000, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5]).tolist()
    return low, high


def beats(one: SelfTest, other: SelfTest, figure: str, seed: int = 0) -> bool:
    """Tell whether a figure of one self-test is above another's beyond chance, on the same held-out images.

    Parameters
    ----------
    one, other : SelfTest
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
    a, b = one.per_query[figure], other.per_query[figure]
    if len(a) != len(b):
        return one.intervals[figure][0] > other.intervals[figure][1]
    return bootstrap_interval(a - b, seed)[0] > 0
