"""No answer stands out -> whether to reject the query ("nothing like it here"), tested on views of the collection's own images.

Some encoders overlook a picture that hangs on a wall, so their answers never stand out, whether the picture is there or not.
For them a rejection carries no information. Which encoders do so, in which collection, is measured without labels: some images
are shown in a scene (:mod:`lookalike.transforms.views`) or cut to a part, and each view is a query twice, with its original in
the collection and with it taken away.

A query is rejected if no gap sets the nearest apart, and if the nearest is no nearer than the best of so many draws from the bulk
of the query's own distances. Rejection is trusted if at most ``WRONG`` of the views of either way are rejected while their
originals are there, and at least ``RIGHT`` of them once these are taken away. docs/searching.md gives how often it is right and
wrong on real queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.neighbors.exact import Database
from lookalike.search.calibration import (
    DEPTH,
    FAR,
    SEED,
    SHALLOWEST,
    DistanceCalibration,
    Learnt,
    Once,
    gap_after,
    within_background,
)
from lookalike.transforms.augmentations import augment
from lookalike.transforms.views import scene

#: The ways that images are shown in, and how many images are.
WAYS, VIEWS = ("in a scene", "in part"), 32
#: Most of a view's side that is cut away.
CUT = 0.5
#: Largest share of the views of a way that may be rejected wrongly, and smallest share that must be rejected rightly.
WRONG, RIGHT = 0.1, 0.5
#: Share of the views of a way that must be found, set apart by a gap, for it to be worth telling that the others aren't.
SEEN = 0.25
#: For a gap to be told, as many views of either way stand out by one, and so many times as many as have a gap with their
#: originals taken away: where images come in categories, a gap says nothing, or the opposite.
MORE_OFTEN = 2
_TOGETHER_BYTES = 2**26  # of the distances of queries to all images


@dataclass(frozen=True, eq=False)
class RejectionRates:
    """How often views of a collection's own images are rejected.

    Attributes
    ----------
    wrong, right : ndarray of bool, shape (ways, n)
        Whether each view was rejected, with its original there and taken away.
    seen : ndarray of bool, shape (ways, n)
        Whether its original came first, set apart by a gap.
    astray : ndarray of bool, shape (ways, n)
        Whether there was a gap with its original taken away.
    """

    wrong: NDArray[np.bool_]
    right: NDArray[np.bool_]
    seen: NDArray[np.bool_]
    astray: NDArray[np.bool_]

    @property
    def is_trusted(self) -> bool:
        """Whether a rejection can be trusted; not where there are no views."""
        return bool(
            self.wrong.size and self.wrong.mean(axis=1).max() <= WRONG and self.right.mean(axis=1).min() >= RIGHT
        )

    @property
    def shows_gaps(self) -> bool:
        """Whether a gap says something here: views of either way stand out by one, and not as often without their originals."""
        if not self.seen.size:
            return False
        needed = np.maximum(SEEN, MORE_OFTEN * self.astray.mean(axis=1))
        return bool((self.seen.mean(axis=1) >= needed).all())

    def doubt(self) -> str:
        """Say in a clause why it can't; empty where hardly any view stands out, as in collections of categories."""
        seen = self.seen.mean(axis=1) if self.seen.size else np.zeros(len(WAYS))
        if seen.max() < SEEN:
            return ""
        worst = int(seen.argmin())
        return f"whether it is here can't be told: of images here shown {WAYS[worst]}, only {seen[worst]:.0%} stand out"


@dataclass(frozen=True)
class MatchConfidence:
    """What the nearest answers say about whether there is anything like the query.

    Attributes
    ----------
    nothing : bool
        Whether there seems to be nothing.
    message : str
        A sentence's beginning if so; else a clause on why that can't be told, or nothing.
    """

    nothing: bool = False
    message: str = ""


def assess_match(
    nearest: NDArray[Any],
    distances: Callable[[], NDArray[Any]],
    count: int,
    calibration: DistanceCalibration,
    rates: Callable[[], RejectionRates],
) -> MatchConfidence:
    """Say whether there seems to be nothing like a query.

    Parameters
    ----------
    nearest : ndarray of float, shape (m,)
        The nearest distances, ascending, at least one.
    distances : callable
        Returns those to all images of the collection, ndarray of float, shape (n,), in any order; only called where the
        nearest alone don't tell.
    count : int
        How many the nearest were picked from.
    calibration : DistanceCalibration
        Of the collection.
    rates : callable
        Returns the collection's; only called where nothing stands out.

    Returns
    -------
    MatchConfidence
    """
    if nearest[0] > calibration.far:
        return MatchConfidence(
            True, f"Nothing like it here: the nearest is farther than {FAR:.0%} of the images here are from theirs"
        )
    # The bulk is worked out only where it counts.
    if gap_after(nearest) or not _has_no_outlier(nearest, distances(), count):
        return MatchConfidence()
    measured = rates()
    if not measured.is_trusted:
        return MatchConfidence(False, measured.doubt())
    least = 1 - float(measured.wrong.mean(axis=1).max())
    shown = " or ".join(WAYS)
    return MatchConfidence(
        True, f"Probably not here: no answer stands out, as one does for {least:.0%} of images here, shown {shown}"
    )


def estimate_rejection_rates(
    views: Callable[[list[int], str], NDArray[Any]],
    descriptors: Callable[[], NDArray[Any]],
    database: Database,
    once: Once = lambda _terms, learn: learn(),
) -> RejectionRates:
    """Ask for views of a collection's own images.

    Parameters
    ----------
    views : callable
        Rows, and one of ``WAYS`` -> descriptors of these images shown so; a row of zeros for a view that shows nothing.
    descriptors : callable
        Returns those of the collection, ndarray of shape (n, d); only called where there is something to learn.
    database : Database
        Of the same.
    once : callable, optional
        What is learnt goes through it, so that it may be kept.

    Returns
    -------
    RejectionRates
        Of no views where the collection has too few images for a gap.
    """
    size = database.size

    def learn() -> Learnt:
        rows = np.random.default_rng([SEED, 3]).choice(size, min(VIEWS, size), replace=False)
        met = np.zeros((4, len(WAYS), len(rows)), np.uint8)
        for way, name in enumerate(WAYS):
            asked = views(rows.tolist(), name)
            blank = ~asked.any(axis=1)
            asked[blank] = descriptors()[rows[blank]]  # of nothing nothing can be said
            neighbours, distances = database.nearest(asked, min(DEPTH + 1, size))
            everything_of = _distances_in_parts(database, asked)
            for i, row in enumerate(rows.tolist()):
                near, others = distances[i][:DEPTH], distances[i][neighbours[i] != row][:DEPTH]
                everything = next(everything_of)
                met[0, way, i] = _has_no_outlier(near, everything, size)
                met[1, way, i] = _has_no_outlier(others, np.delete(everything, row), size - 1)
                met[2, way, i] = neighbours[i][0] == row and gap_after(near) == 1
                met[3, way, i] = gap_after(others) is not None
        return {}, {"met": met}

    if size <= SHALLOWEST:
        none = np.zeros((len(WAYS), 0), np.bool_)
        return RejectionRates(none, none, none, none)
    terms = {"ways": list(WAYS), "asked": 4, "views": VIEWS, "cut": CUT, "depth": DEPTH, "seed": SEED}
    _, arrays = once(terms, learn)
    return RejectionRates(*(arrays["met"] != 0))


def _distances_in_parts(database: Database, asked: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
    """Yield each query's distances to all images; as many queries go through the collection together as memory allows."""
    together = max(1, _TOGETHER_BYTES // (4 * database.size))
    for start in range(0, len(asked), together):
        yield from database.distances(asked[start : start + together])


def _has_no_outlier(nearest: NDArray[Any], distances: NDArray[Any], count: int) -> bool:
    return not gap_after(nearest) and within_background(float(nearest[0]), distances, count)


def show(images: NDArray[np.uint8], way: str) -> NDArray[np.uint8]:
    """Show images in one of ``WAYS``.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        Images.
    way : str
        ``in a scene`` or ``in part``.

    Returns
    -------
    ndarray of uint8, same shape
    """
    return scene(images) if way == WAYS[0] else augment(images, {"crop": CUT})


__all__ = ["MatchConfidence", "RejectionRates", "assess_match", "estimate_rejection_rates", "show"]
