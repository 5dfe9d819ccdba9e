"""An encoder and images -> how often augmented copies still find their originals, by family and amount.

Two figures need no label. ``first hit``: the original comes first. ``LRAP@10``: how well the first ten answers stay, where
the right ones are the ten that the unchanged image finds, itself among them; it is the article's score (label ranking
average precision of the first ten, divided by the right ones found there, 0 if none is) with the encoder's own unchanged
answers in the place of a label. It says that the answers stay, not that they were good. With the original as the one
right answer it would be the reciprocal rank, which the first-hit rate tells nearly as well. Images that rounding can't tell
apart count as in a random order (:mod:`lookalike.metrics.ties`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lookalike.encoders.base import Encoder
from lookalike.errors import UsageError
from lookalike.metrics.bootstrap import bootstrap_interval
from lookalike.metrics.ranking import per_query
from lookalike.metrics.ranks import rank_relevant
from lookalike.metrics.ties import random_among_equal, reciprocal_and_first
from lookalike.neighbors.exact import Database
from lookalike.neighbors.sampling import sample_rows
from lookalike.selection.held_out import MAX_DATABASE, MAX_QUERIES, MIN_IMAGES
from lookalike.selection.selftest import not_blank
from lookalike.transforms.augmentations import FAMILIES, augment, check_families


@dataclass(frozen=True)
class Point:
    """One amount of an augmentation.

    Attributes
    ----------
    amount : float
        In the family's unit; 0 is the unchanged image.
    first_hit : float
        Share of augmented images whose original comes first.
    first_hit_interval : (float, float)
        Its 95 % percentile bootstrap interval over images.
    lrap_10_own : float
        LRAP@10 without labels: the right answers are the ten that the unchanged image finds, itself among them.
    lrap_10_own_interval : (float, float)
        Its interval.
    lrap_10 : float or None
        LRAP@10 by the labels, the original left out; None without labels.
    lrap_10_interval : (float, float) or None
        Its interval.
    """

    amount: float
    first_hit: float
    first_hit_interval: tuple[float, float]
    lrap_10_own: float
    lrap_10_own_interval: tuple[float, float]
    lrap_10: float | None = None
    lrap_10_interval: tuple[float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain numbers and lists."""
        return asdict(self)


def robustness(
    encoder: Encoder,
    images: NDArray[np.uint8],
    families: Iterable[str] | None = None,
    *,
    labels: ArrayLike | None = None,
    queries: int = MAX_QUERIES,
    seed: int = 0,
) -> dict[str, list[Point]]:
    """Augment images more and more, one family at a time, and see whether they still find their originals.

    Parameters
    ----------
    encoder : Encoder
        Fitted.
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The collection; of more than ``MAX_DATABASE`` a sample is taken.
    families : iterable of str, optional
        Names of augmentation families; by default all that can change such images.
    labels : array of numbers or text, shape (n,), optional
        For LRAP@10; nothing is chosen or learnt by them.
    queries : int
        How many images are augmented.
    seed : int
        Of the sample and the augmentations.

    Returns
    -------
    dict of str to list of Point
        For each family the unchanged images first, then the amounts of its ``curve``, rising.

    Raises
    ------
    UsageError
        If a family isn't known, there are too few images that aren't blank, or not one label an image.

    Examples
    --------
    >>> from lookalike.encoders.registry import create
    >>> images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8)
    >>> curve = robustness(create("pixels").fit(images), images, ["mirror"])["mirror"]
    >>> [(point.amount, point.first_hit) for point in curve][0]
    (0.0, 1.0)
    """
    grey = {"colour", "grey"} if images.ndim == 3 else set()
    names = [name for name in FAMILIES if name not in grey] if families is None else list(families)
    check_families(names, images)
    of = None if labels is None else np.asarray(labels)
    if of is not None and of.shape != (len(images),):
        raise UsageError(f"labels have shape {of.shape}; give one for each of the {len(images):,} images")
    rows = sample_rows(len(images), MAX_DATABASE, seed)
    table = encoder.encode(images[rows])
    seen = not_blank(table, encoder.distance)
    rows, table = rows[seen], table[seen]
    if len(rows) < MIN_IMAGES:
        raise UsageError(
            f"robustness needs at least {MIN_IMAGES} images that aren't blank to {encoder.name}, here are {len(rows)}; "
            "give more images"
        )
    database = Database(table, encoder.distance)
    originals = sample_rows(len(rows), queries, seed + 1)
    shown = images[rows[originals]]
    cut = min(10, len(rows))
    kept = np.zeros((len(originals), len(rows)), bool)  # what the unchanged image finds
    unchanged_first = database.distances(table[originals], resolved=True)
    order = np.argpartition(random_among_equal(unchanged_first, np.random.default_rng([seed, 2])), cut - 1, axis=1)
    np.put_along_axis(kept, order[:, :cut], values=True, axis=1)

    def measured(copies: NDArray[np.uint8], amount: float) -> Point:
        asked = encoder.encode(copies)
        usable = np.flatnonzero(not_blank(asked, encoder.distance))  # a blank one finds nothing
        first, lrap, stay = (np.zeros(len(asked)) for _ in range(3))
        if len(usable):
            distances = database.distances(asked[usable], resolved=True)
            own = originals[usable]
            here = np.arange(len(usable))
            first[usable] = reciprocal_and_first(distances, own)[1]
            stay[usable] = [per_query(ranks, [cut])[-1] for ranks in rank_relevant(distances, kept[usable])]
            if of is not None:
                relevant = of[rows][None] == of[rows[own]][:, None]
                relevant[here, own] = False
                distances[here, own] = np.inf
                lrap[usable] = [per_query(ranks, [cut])[-1] for ranks in rank_relevant(distances, relevant)]
        by_labels = (None, None) if of is None else (float(lrap.mean()), bootstrap_interval(lrap))
        own_figures = (float(stay.mean()), bootstrap_interval(stay))
        return Point(amount, float(first.mean()), bootstrap_interval(first), *own_figures, *by_labels)

    unchanged = measured(shown, 0.0)
    return {
        name: [unchanged]
        + [measured(augment(shown, {name: amount}, seed=seed, exact=True), amount) for amount in FAMILIES[name].curve]
        for name in names
    }
