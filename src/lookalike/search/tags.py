"""What the shipped networks see in each photo -> words that find it: its tags.

Each image has the shares of a few classes (:mod:`lookalike.encoders.class_head`), half its own and half the mean of its nearest
images': neighbours mostly show the same, and what a network sees in one of them only is mostly wrong. A word is looked for in
all classes below its concept (:mod:`lookalike.encoders.concepts`). Tags are guesses, and weigh less than what people wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float64Array
from lookalike.encoders.class_head import CLASSES, ClassHead
from lookalike.encoders.concepts import Concept, Meaning, concepts
from lookalike.neighbors.others import others_than

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader

#: Classes kept of an image, and its nearest images whose classes count half.
KEPT, NEIGHBOURS = 32, 10
#: In larger collections to look for the nearest images of all takes too long: there its own classes count alone.
MAX_SMOOTHED = 20_000
#: Share from which on a word fits an image: in a list that is ordered by it, and as a filter beside an image.
FITS, FITS_BESIDE = 0.002, 0.1
#: How much a class counts that a word means, but not mostly: a lion for a cat.
RARER = 0.5
#: What a guess counts beside a word that somebody wrote.
GUESSED = 0.5
#: Share from which on a word that must not be there is there.
SEEN = 0.5
#: Share from which on a tag is shown, and how many an image has at most.
SURE, MOST = 0.7, 3
#: Shown are concepts of so few classes, and of wider ones those that people have a word for in daily life.
SPECIAL = 3
EVERYDAY = frozenset((
    "aircraft", "amphibian", "ape", "arachnid", "bag", "ball", "bear", "beetle", "beverage", "big cat", "bird", "boat",
    "bottle", "bread", "building", "butterfly", "car", "cat", "chair", "clothing", "computer", "crab", "crustacean", "dish",
    "dog", "edible fruit", "electronic equipment", "fabric", "fence", "finch", "fish", "food", "footwear", "fox", "fungus",
    "furniture", "gun", "hat", "home appliance", "hound", "insect", "kitchen utensil", "lizard", "monkey", "motor vehicle",
    "musical instrument", "parrot", "percussion instrument", "primate", "public transport", "reptile", "retriever",
    "rodent", "salamander", "shepherd dog", "ship", "shop", "skirt", "snake", "spaniel", "spider", "squash",
    "stringed instrument", "terrier", "timepiece", "tool", "truck", "turtle", "vegetable", "vehicle", "weapon",
    "wind instrument", "wolf",
))  # fmt: skip
#: A class that has more than this share of a whole collection says nothing of one image, so it is not shown.
COMMON, LEAST_IMAGES = 0.3, 60
#: Shares are kept as whole numbers of this.
_UNIT = 65535


def index_tags(head: ClassHead, index: IndexReader) -> dict[str, NDArray[Any]]:
    """Work out the classes of all images.

    Parameters
    ----------
    head : ClassHead
        Of the encoder that the index is looked at through.
    index : IndexReader
        Any.

    Returns
    -------
    dict of ndarray
        ``classes``, uint16 of shape (n, ``KEPT``), and ``shares``, uint16 of the same shape, in 65,535ths, the greatest first.
    """
    descriptors = index.descriptors
    classes = np.empty((len(descriptors), KEPT), np.uint16)
    shares = np.empty((len(descriptors), KEPT), np.uint16)
    done = 0
    for part in head.shares(descriptors):
        stop = done + len(part)
        classes[done:stop], shares[done:stop] = _greatest(part)
        done = stop
    if not 2 <= len(descriptors) <= MAX_SMOOTHED:
        return {"classes": classes, "shares": shares}
    count = min(NEIGHBOURS, len(descriptors) - 1)
    smooth = np.empty_like(classes), np.empty_like(shares)
    for start in range(0, len(descriptors), 1024):
        rows = np.arange(start, min(start + 1024, len(descriptors)))
        near = index.database().nearest(descriptors[rows], count + 1)[0]
        others = near[others_than(rows, near)].reshape(-1, count)
        total = (
            _dense(classes[others], shares[others]) / (2 * count) + _dense(classes[rows, None], shares[rows, None]) / 2
        )
        smooth[0][rows], smooth[1][rows] = _greatest(total)
    return {"classes": smooth[0], "shares": smooth[1]}


def _greatest(shares: NDArray[np.floating[Any]]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Return the classes with the greatest shares, and these."""
    first = np.argpartition(-shares, KEPT, axis=1)[:, :KEPT]
    order = np.take_along_axis(
        first, np.argsort(-np.take_along_axis(shares, first, axis=1), axis=1, kind="stable"), axis=1
    )
    values = np.rint(np.take_along_axis(shares, order, axis=1) * _UNIT)
    return order.astype(np.uint16), np.minimum(values, _UNIT).astype(np.uint16)


def _dense(classes: NDArray[np.uint16], shares: NDArray[np.uint16]) -> Float64Array:
    """Sum shares of several images each into all classes; shapes (r, several, KEPT) -> (r, 1000)."""
    places = np.arange(len(classes))[:, None, None] * CLASSES + classes
    total = np.bincount(places.ravel(), shares.ravel() / _UNIT, len(classes) * CLASSES)
    return np.asarray(total.reshape(-1, CLASSES), np.float64)


class Tags:
    """The tags of all images of an index.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        What :func:`index_tags` returns, in memory or mapped.
    rows : ndarray of int64, shape (m,), optional
        Row of these arrays of each image of the index, -1 where it has none; by default they are in its order.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], rows: NDArray[np.int64] | None = None) -> None:
        self._classes, self._shares = arrays["classes"], arrays["shares"]
        self._rows = rows

    def shares(self, word: str) -> tuple[Float64Array, Meaning] | None:
        """Say how sure it is that images show what a word means.

        Parameters
        ----------
        word : str
            In small letters, or several with blanks between.

        Returns
        -------
        (ndarray of float64, shape (n,), Meaning) or None
            0 to 1; None where the networks know nothing like it.
        """
        meaning = concepts().meaning(word)
        if meaning is None:
            return None
        shares = self._of_classes(meaning.usual)
        if rarer := meaning.classes - meaning.usual:
            shares += RARER * self._of_classes(rarer)
        return shares, meaning

    def _of_classes(self, classes: frozenset[int], rows: NDArray[np.int64] | None = None) -> Float64Array:
        wanted = np.zeros(CLASSES, np.bool_)
        wanted[list(classes)] = True
        kept = slice(None) if rows is None else rows
        total = np.where(wanted[self._classes[kept]], self._shares[kept], 0).sum(axis=1, dtype=np.int64) / _UNIT
        if rows is not None or self._rows is None:
            return np.asarray(total, np.float64)
        return np.where(self._rows >= 0, total[self._rows], 0.0)

    def of(self, rows: Sequence[int]) -> list[list[tuple[str, float]]]:
        """Return the tags of some images.

        Parameters
        ----------
        rows : sequence of int
            Of the index.

        Returns
        -------
        list of list of (str, float)
            Of each image the most special words that are sure enough, the surest first, each with its share, 0 to 1.
        """
        at = np.array(rows, np.int64) if self._rows is None else self._rows[list(rows)]
        common = self._common
        found: list[list[tuple[str, float]]] = []
        for row in at.tolist():
            tags: list[tuple[float, Concept]] = []
            here = set(self._classes[row, self._shares[row] > 0].tolist()) - common if row >= 0 else set()
            for concept in shown_concepts():
                if here & concept.classes and not any(kept.classes <= concept.classes for _, kept in tags):
                    share = float(self._of_classes(concept.classes - common, np.array([row]))[0])
                    if share >= SURE:
                        tags.append((share, concept))
            tags.sort(key=lambda tag: (-tag[0], tag[1].words[0]))
            found.append([(concept.words[0], share) for share, concept in tags[:MOST]])
        return found

    @cached_property
    def _common(self) -> set[int]:
        """Return the classes that a large part of the collection has."""
        if len(self._classes) < LEAST_IMAGES:
            return set()
        means = np.bincount(self._classes.ravel(), self._shares.ravel() / _UNIT, CLASSES) / len(self._classes)
        return set(np.flatnonzero(means > COMMON).tolist())


@cache
def shown_concepts() -> list[Concept]:
    """Return the concepts that are shown as tags, the most special first."""
    return [c for c in concepts().all if c.words[0] in EVERYDAY or (len(c.classes) <= SPECIAL and not c.is_abstract)]


def rarity(shares: Float64Array) -> float:
    """Return the weight of a word that is seen: BM25's inverse document frequency.

    Parameters
    ----------
    shares : ndarray of float64, shape (n,)
        How sure it is that each image shows it; their sum counts as the number of those that do.

    Returns
    -------
    float
        0 or more.
    """
    holding = float(shares.sum())
    return float(np.log(1 + (len(shares) - holding + 0.5) / (holding + 0.5)))


def note_on(names: Sequence[str]) -> str:
    """Say how words were looked for in what is seen.

    Parameters
    ----------
    names : sequence of str
        Words, or names of several.

    Returns
    -------
    str
        Empty where the networks know none of them.
    """
    known = {name: meaning for name in names if (meaning := concepts().meaning(name)) is not None}
    if not known:
        return ""
    parts = ["looked for in what the network sees in the images, too, which is a guess"]
    for name, meaning in known.items():
        if meaning.instead:
            others = f" ({', '.join(meaning.instead[1:])} is known, too)" if len(meaning.instead) > 1 else ""
            parts.append(f"it has no class {name!r}, and took {meaning.instead[0]!r}{others}")
    return "; ".join(parts)
