"""A distance -> what it means in this collection: how rare it is, whether it stands out, whether it is too far.

**Chance.** The share of pairs of the collection's images that are at least this close: counted over all pairs of at most
``SAMPLE`` images, drawn by a seed. Below ``MIN_PAIRS`` counted pairs only a bound is given.

**Gap.** Among unrelated images the nearest distances follow a power law, the number within ``d`` growing as ``d ** D`` with a
local dimension ``D`` (E. Levina and P. Bickel, "Maximum likelihood estimation of intrinsic dimension", 2004). Then the
spacings ``i * log(d[i+1] / d[i])`` are independent and exponential with one mean, whatever ``D`` is (A. Renyi, "On the theory
of order statistics", 1953), so that one of them over the mean of the others follows F(2, 2m). A spacing too wide for that,
at a level of ``LEVEL / (i (i + 1))`` which adds up to ``LEVEL`` over all ranks, is a gap: the answers before it stand out. Real
images keep that level only roughly; where a gap is told, :attr:`lookalike.search.rejection.RejectionRates.shows_gaps` says.

**Far.** What is farther than ``FAR`` of the collection's own images are from their nearest has nothing like it here; by
exchangeability a query drawn like them is refused so once in a hundred (V. Vovk et al., "Algorithmic Learning in a Random
World", 2005). What it means that nothing stands out: :mod:`lookalike.search.rejection`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.neighbors.exact import Database

#: Facts and arrays, as :func:`lookalike.index.artifacts.Artifact.cached` keeps them.
Learnt = tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]
#: Given a kind, terms and a function that learns, returns what that does, or what it did before.
Once = Callable[[Mapping[str, Any], Callable[[], Learnt]], Learnt]

#: Images whose pairs are counted; of 2,048 these are 2.1 million.
SAMPLE = 2048
#: Fewest counted pairs for a share of a sample to be given as such: its relative error is about a third then.
MIN_PAIRS = 10
#: Distances of pairs that differ by no more may be one and the same, as they are worked out in float32: by this share of
#: the median; and by this share of what a product of descriptors is of, times the root of their dimension.
ROUNDING, ROUNDING_OF_PRODUCTS = 1e-5, 2.5e-7
#: So many of the closest pairs are kept one by one; beyond, every one that is this much further in their order.
ONE_BY_ONE, FURTHER = 4096, 1.001
#: Of all samples.
SEED = 0
#: Images whose own nearest is looked up.
OWN = 200
#: Answers that a gap is looked for in, and fewest to look at all.
DEPTH, SHALLOWEST = 50, 8
#: What is nearer than this share of the last distance is a copy, and as near as any other copy.
COPY = 1e-3
#: Chance that a gap is claimed among unrelated images.
LEVEL = 0.05
#: Chance that the bulk is said not to explain the nearest, where it does.
BULK_LEVEL = 0.001
#: Share of the collection's own images that are nearer to their nearest than one that has nothing like it.
FAR = 0.99


@dataclass(frozen=True)
class PValue:
    """How rare a distance is.

    Attributes
    ----------
    share : float
        Of pairs that are at least this close, 0..1.
    is_bound : bool
        Whether the share is below that; it is too small to be told.
    """

    share: float
    is_bound: bool

    @property
    def in_short(self) -> str:
        """The share in few words: ``1 in 41,000 pairs``."""
        if self.share > 0.095:
            return f"{self.share:.0%} of pairs"
        return f"{'< ' if self.is_bound else ''}1 in {_round(1 / self.share):,} pairs"

    def clause(self, than: str) -> str:
        """Return ``about 1 in 41,000 random pairs here is``, followed by what is compared."""
        if self.share > 0.095:
            return f"about {self.share:.0%} of random pairs here are {than}"
        return (
            f"{'fewer than' if self.is_bound else 'about'} 1 in {_round(1 / self.share):,} random pairs here is {than}"
        )


class DistanceCalibration:
    """What distances mean in a collection; learnt when it is first asked for.

    Parameters
    ----------
    descriptors : ndarray, shape (n, d), or callable
        Of the whole collection; or what returns them, and is called and let go when there is something to learn.
    database : Database
        Of the same.
    once : callable, optional
        What is learnt goes through it, so that it may be kept.
    """

    def __init__(
        self,
        descriptors: NDArray[Any] | Callable[[], NDArray[Any]],
        database: Database,
        once: Once = lambda _terms, learn: learn(),
    ) -> None:
        self._descriptors = descriptors
        self._database = database
        self._once = once

    def p_value(self, distance: float) -> PValue | None:
        """Tell how rare a distance is among random pairs; None where there are no two images."""
        facts, arrays = self._learnt
        if not facts["pairs"]:
            return None
        # Pairs are compared in float32, so that a copy of an image is not exactly at 0.
        reach = self._database.measure.widened(distance, facts["products"])
        # Of the pairs' own type: for a double all of them would be converted, at each call.
        bound = np.float32(reach + ROUNDING * abs(facts["median"]))
        place = int(np.searchsorted(arrays["distances"], bound, "right"))
        count = int(arrays["ranks"][place - 1]) if place else 0
        complete = self._database.size <= SAMPLE
        fewest = 1 if complete else MIN_PAIRS
        return PValue(max(count, fewest) / facts["pairs"], count < fewest)

    @property
    def median(self) -> float:
        """The distance of a pair in the middle of all."""
        median: float = self._learnt[0]["median"]
        return median

    @property
    def far(self) -> float:
        """The distance to the nearest other that ``FAR`` of the collection's own images do not exceed."""
        far: float = self._learnt[0]["far"]
        return far

    @cached_property
    def _learnt(self) -> Learnt:
        terms = {
            "sample": SAMPLE,
            "rounding": [ROUNDING, ROUNDING_OF_PRODUCTS],
            "one by one": ONE_BY_ONE,
            "further": FURTHER,
            "own": OWN,
            "far": FAR,
            "seed": SEED,
        }
        learnt = self._once(terms, self._learn)
        self._descriptors = np.empty((0, 0))
        return learnt

    def _learn(self) -> Learnt:
        """Return how many pairs there are, their median and ``far``; and pairs with their ranks from 1, ascending."""
        rng = np.random.default_rng([SEED, 1])
        size = self._database.size
        rows = np.arange(size) if size <= SAMPLE else np.sort(rng.choice(size, SAMPLE, replace=False))
        descriptors = self._descriptors() if callable(self._descriptors) else self._descriptors
        sample = descriptors[rows]
        between = Database(sample, self._database.distance).distances(sample)
        pairs = between[np.triu_indices(len(rows), 1)]
        pairs.sort()
        ranks = np.arange(1, min(len(pairs), ONE_BY_ONE) + 1)
        if len(pairs) > ONE_BY_ONE:
            steps = math.ceil(math.log(len(pairs) / ONE_BY_ONE) / math.log(FURTHER))
            ranks = np.unique(np.concatenate([ranks, np.geomspace(ONE_BY_ONE, len(pairs), steps + 1).round()])).astype(
                int
            )
        facts = {
            "pairs": len(pairs),
            "median": float(pairs[len(pairs) // 2]) if len(pairs) else 0.0,
            "products": self._rounding(sample),
            "far": self._farthest(descriptors),
        }
        return facts, {"distances": pairs[ranks - 1], "ranks": ranks}

    def _rounding(self, descriptors: NDArray[Any]) -> float:
        """Return by how much products of descriptors may be wrong: not at all of codes, whose bits are counted."""
        return (
            ROUNDING_OF_PRODUCTS * math.sqrt(descriptors.shape[1]) * self._database.measure.product_scale(descriptors)
        )

    def _farthest(self, descriptors: NDArray[Any]) -> float:
        size = self._database.size
        if size < 2:
            return math.inf
        rng = np.random.default_rng([SEED, 2])
        rows = rng.choice(size, min(OWN, size), replace=False)
        neighbours, distances = self._database.nearest(descriptors[rows], 2)
        nearest = np.where(neighbours[:, 0] == rows, distances[:, 1], distances[:, 0])
        # As many own images may be farther that a new one like them is as likely to be: its place among n is any of n + 1.
        place = math.ceil(FAR * (len(nearest) + 1))
        return math.inf if place > len(nearest) else float(np.partition(nearest, place - 1)[place - 1])


def gap_after(distances: NDArray[Any]) -> int | None:
    """Find the rank after which the answers are set apart from the rest.

    Parameters
    ----------
    distances : ndarray of float, shape (m,)
        The nearest, ascending; the first ``DEPTH`` count, and fewer than ``SHALLOWEST`` tell nothing.

    Returns
    -------
    int or None
        The last rank before the gap, from 1; None if no spacing is wider than chance makes them.

    Examples
    --------
    >>> gap_after(np.array([0.1, 0.11, 0.4, 0.41, 0.43, 0.45, 0.46, 0.47, 0.48, 0.5]))
    2
    """
    odds = gap_odds(distances)
    if not len(odds):
        return None
    best = int(np.argmin(odds))
    return best + 1 if odds[best] < LEVEL else None


def gap_odds(distances: NDArray[Any]) -> NDArray[np.float64]:
    """Tell for each rank how likely so wide a spacing after it is by chance, corrected for looking at all ranks.

    Parameters
    ----------
    distances : ndarray of float, shape (m,)
        As of :func:`gap_after`.

    Returns
    -------
    ndarray of float64, shape (m - 1,)
        The chance times ``i (i + 1)``, so that among unrelated images any is below ``x`` with a chance of at most ``x``;
        empty where there are too few.
    """
    near = np.asarray(distances, np.float64)[:DEPTH]
    count = len(near) - 1
    if count + 1 < SHALLOWEST or near[-1] <= 0:
        return np.empty(0)
    near = np.maximum(near, COPY * near[-1])  # at 0 there is no logarithm
    ranks = np.arange(1, count + 1)
    spacings = ranks * np.log(near[1:] / near[:-1])
    others = (spacings.sum() - spacings) / (count - 1)
    ratio = np.divide(spacings, others, out=np.where(spacings > 0, np.inf, 0.0), where=others > 0)
    odds: NDArray[np.float64] = np.exp(-(count - 1) * np.log1p(ratio / (count - 1))) * ranks * (ranks + 1)
    return odds


def within_background(nearest: float, distances: NDArray[Any], count: int) -> bool:
    """Tell whether the bulk of a query's distances explains how near the nearest is.

    Parameters
    ----------
    nearest : float
        Distance of the nearest.
    distances : ndarray of float, shape (n,)
        To all images of the collection, in any order.
    count : int
        How many the nearest was picked from.

    Returns
    -------
    bool
        True also where there are too few to tell.
    """
    if len(distances) < SHALLOWEST:
        return True
    low, middle = np.quantile(distances, [0.1587, 0.5])
    spread = float(middle - low)  # one standard deviation of a normal one
    if spread <= 0:
        return bool(nearest >= low)
    beyond = 0.5 * math.erfc((float(middle) - nearest) / spread / math.sqrt(2))
    return -math.expm1(count * math.log1p(-min(beyond, 1 - 1e-12))) > BULK_LEVEL


def _round(number: float) -> int:
    """Keep two digits."""
    unit: int = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return max(1, round(number / unit) * unit)
