"""Which re-ranking for this collection? Augmented copies of its own images say so, without a label.

Held-out images are augmented, and shown in a scene (:mod:`lookalike.transforms.views`); each copy is asked for by every re-ranking.
Slight augmentations alone are no test of what a geometric check is for: the plain search finds it too. Two figures count, both 0 to 1:

``first hit``
    Share of copies, augmented and in a scene, whose original comes first.
``category precision@5%``
    How alike the lists are that belong together, against lists that don't: the first 5 % found by an image and by its copy,
    times those by the image and by its nearest other, as in :mod:`lookalike.selection.selftest`; less the overlap of two images
    drawn at random, as a share of what is left. Without that, a re-ranking that gives everybody the same answers would
    look best of all.

Of images that can't be told apart, each is as likely to come first as another (:mod:`lookalike.metrics.ties`).
A geometric check takes its time, so that it is tried on fewer of them, and compared with the plain search on just those.
A re-ranking by which copies find their originals less often, beyond chance, is out. Where images come in categories,
the highest ``category precision@5%`` wins; where they don't, the highest ``first hit``. One that isn't better than none beyond chance
(paired bootstrap over the held-out images, 95 %) isn't taken.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float64Array
from lookalike.errors import UsageError
from lookalike.imaging.resize import fit_to
from lookalike.index.artifacts import RERANK_AUTO, UNSOUND
from lookalike.index.originals import originals_of
from lookalike.metrics.bootstrap import bootstrap_interval
from lookalike.metrics.ties import random_among_equal, reciprocal_and_first
from lookalike.neighbors.distances import DISTANCES
from lookalike.search.rerank import RERANKERS
from lookalike.search.rerank.base import Reranker, RerankRequest
from lookalike.search.rerank.registry import NONE, create_reranker
from lookalike.selection.held_out import MIN_IMAGES
from lookalike.transforms.augmentations import augment, families_for
from lookalike.transforms.views import scene

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader

_log = logging.getLogger(__name__)


#: The figures, as of :mod:`lookalike.selection.selftest`.
FIRST_HIT, CATEGORY = "first hit", "category precision@5%"
#: What is tried. Views cost too much to be chosen for somebody who didn't ask for them.
TRIED = (
    "alpha-query-expansion", "diffusion", "diffusion:alpha=0.99", "diffusion:alpha=0.998", "k-reciprocal", "geometric",
)  # fmt: skip
#: Held-out images; of a geometric check, which takes longer, fewer.
HELD_OUT, LOOKED_AT = 100, 60
#: Images come in categories where the category precision is at least this for one that is tried.
CATEGORIES_FROM = 0.3
#: Smaller pictures have too few details to check. Larger ones are augmented at this size.
SMALLEST, SIDE = 64, 320
#: What a re-ranking's values must differ by to be told apart, as a share of the greatest: they are sums in float32.
ROUNDED = np.float32(2e-6)
#: Length of the compared lists, as a share of the collection.
SHARE = 0.05


@dataclass(frozen=True)
class AutoSelection:
    """What the self-test chose.

    Attributes
    ----------
    method : str
        As :func:`lookalike.search.rerank.registry.create_reranker` takes it; ``none`` where none is better.
    figures : dict of str to dict
        Method -> ``first hit`` and ``category precision@5%``; ``none`` is the plain search.
    held_out : int
        Images that were augmented.
    images : int
        In the index then.
    """

    method: str
    figures: dict[str, dict[str, float]]
    held_out: int
    images: int

    def sentence(self) -> str:
        """Say what was chosen, and by what."""
        plain, chosen = self.figures[NONE], self.figures[self.method]
        choice = f"re-ranking chosen by {self.held_out} augmented copies, without labels: {self.method}"
        if self.method == NONE:
            return f"{choice}; nothing that was tried is better beyond chance"
        gains = ", ".join(f"{name} {plain[name]:.2f} to {chosen[name]:.2f}" for name in (FIRST_HIT, CATEGORY))
        return f"{choice} ({gains})"


class Auto(Reranker):
    """The re-ranking that augmented copies of the collection's own images choose."""

    name = "auto"

    @classmethod
    def create(
        cls,
        index: IndexReader,
        *,
        distance: str | None = None,
        on_note: Callable[[str], None] | None = None,
        **params: Any,
    ) -> Reranker | None:
        """Make the one that is chosen; None where nothing that was tried is better beyond chance."""
        chosen = select_rerank(index, on_note=on_note, **params).method
        return create_reranker(chosen, index, distance=distance, on_note=on_note)


def select_rerank(
    index: IndexReader, *, on_note: Callable[[str], None] | None = None, seed: int = 0, tried: tuple[str, ...] = TRIED
) -> AutoSelection:
    """Choose a re-ranking by augmented copies of the index's own images.

    Parameters
    ----------
    index : IndexReader
        Looked at through the encoder that answers.
    on_note : callable, optional
        Called with sentences: before it begins, and with what was chosen.
    seed : int
        Of the images held out and the augmentations.
    tried : tuple of str
        What to try.

    Returns
    -------
    AutoSelection
        Kept in the index, until its encoder changes or its size by a fifth.

    Raises
    ------
    UsageError
        If there are too few images.
    """
    note = on_note or _log.info
    kept = RERANK_AUTO.read(index.path, index.manifest)
    with suppress(*UNSOUND):
        if kept is not None:
            stored = AutoSelection(**kept.facts)
            if abs(stored.images - len(index)) <= stored.images // 5:
                note(stored.sentence())
                return stored
    choice = index.cached(f"choice by {seed} of {tried}", lambda: _chosen(index, note, seed, tried))
    RERANK_AUTO.keep(index.path, index.manifest, asdict(choice), {})
    note(choice.sentence())
    return choice


def _chosen(index: IndexReader, note: Callable[[str], None], seed: int, tried: tuple[str, ...]) -> AutoSelection:
    note("choosing a re-ranking by augmented copies of these images, once; it may take a minute or two")
    test = _Test(index, seed)
    results = {NONE: test.run(None)}
    for method in tried:
        if RERANKERS[method.partition(":")[0]].needs_keypoints and not test.has_details:
            continue
        results[method] = test.run(create_reranker(method, index, on_note=note))
    return AutoSelection(
        significant_winner(results),
        {
            name: {figure: float(values.mean()) for figure, values in per_image.items()}
            for name, per_image in results.items()
        },
        len(test.rows),
        len(index),
    )


def significant_winner(results: dict[str, dict[str, Float64Array]]) -> str:
    """Pick the re-ranking by the figures of each held-out image.

    Parameters
    ----------
    results : dict of str to dict of str to ndarray, shape (q,)
        Method -> ``first hit`` and ``category precision@5%`` of each; ``none`` among them. One tried on fewer has shorter ones, of the first.

    Returns
    -------
    str
        A key of ``results``.

    Examples
    --------
    >>> low, high = np.zeros(50), np.ones(50)
    >>> plain = {"first hit": high, "category precision@5%": low}
    >>> significant_winner({"none": plain, "a": {"first hit": low, "category precision@5%": high}})
    'none'
    >>> significant_winner({"none": plain, "a": {"first hit": high, "category precision@5%": high}})
    'a'
    """
    plain = results[NONE]

    def gain(name: str, figure: str) -> Float64Array:
        values = results[name][figure]
        return values - plain[figure][: len(values)]

    fair = [name for name in results if bootstrap_interval(gain(name, FIRST_HIT))[1] >= 0]
    has_categories = max(results[name][CATEGORY].mean() for name in fair) >= CATEGORIES_FROM
    figure = CATEGORY if has_categories else FIRST_HIT
    best = max(fair, key=lambda name: float(gain(name, figure).mean()))
    return best if bootstrap_interval(gain(best, figure))[0] > 0 else NONE


class _Test:
    """Held-out images of an index, and their augmented copies."""

    def __init__(self, index: IndexReader, seed: int) -> None:
        if len(index) < MIN_IMAGES * 4:
            raise UsageError(
                f"a re-ranking is chosen by augmented copies, for which {len(index)} images are too few; index at least "
                f"{MIN_IMAGES * 4}, or name one yourself"
            )
        self.index, self.seed = index, seed
        rows = np.random.default_rng([seed, 7]).permutation(len(index))[: min(HELD_OUT, len(index) // 4)]
        pictures = originals_of(index).read(rows.tolist())
        shape = tuple(index.manifest.shape)
        large = min(min(p.shape[:2]) for p in pictures) >= SMALLEST
        self.has_details = large and importlib.util.find_spec("cv2") is not None
        size = (max(SIDE, shape[0]), max(SIDE, shape[1]), *shape[2:]) if large else shape
        shown = np.stack([fit_to(p, size) for p in pictures])
        ways = augment(shown, families_for(shown), seed=seed + 1000), scene(shown, seed=seed)
        encoded = [index.encoder.encode(np.stack([fit_to(c, shape) for c in copies])) for copies in ways]
        seen = np.ones(len(rows), np.bool_)
        if DISTANCES[index.manifest.distance].directional:
            seen = np.all([table.any(axis=1) for table in encoded], axis=0)
        if not seen.any():
            raise UsageError(
                f"{index.path}: every augmented copy is blank to {index.manifest.encoder}; name a re-ranking yourself"
            )
        self.rows = rows[seen]
        self.asked = [
            RerankRequest(table[seen], copies[seen].__getitem__) for copies, table in zip(ways, encoded, strict=True)
        ]
        # The nearest other image of each, by the plain distance.
        plain = index.database().distances(index.descriptors[self.rows], resolved=True)
        plain[np.arange(len(self.rows)), self.rows] = np.inf
        self.nearest = random_among_equal(plain, np.random.default_rng([seed, 8])).argmin(axis=1)
        self.length = max(1, round(SHARE * len(index)))
        self.partner = np.roll(np.arange(len(self.rows)), 1 + len(self.rows) // 3)

    def run(self, reranker: Reranker | None) -> dict[str, Float64Array]:
        """Return the figures of each held-out image; of one that looks at pictures, of the first few."""
        table, count = self.index.descriptors, len(self.rows)
        looks = reranker is not None and reranker.needs_picture
        tried = min(count, LOOKED_AT) if looks else count
        augmented, in_scene = (asked.part(0, tried) for asked in self.asked)
        rng = np.random.default_rng([self.seed, 9])
        first, theirs = self._lists(reranker, augmented, rng)
        first = (first + self._lists(reranker, in_scene, rng)[0]) / 2
        if looks:  # it puts the same picture first, and leaves the others as they were
            reranker, theirs = None, self._lists(None, self.asked[0], rng)[1]
        mine = self._lists(reranker, RerankRequest(table[self.rows]), rng)[1]
        kin = self._lists(reranker, RerankRequest(table[self.nearest]), rng)[1]
        own = np.arange(count), self.rows
        theirs[own] = False
        # Less one image as below, not two, or a list that everybody gets would be above chance.
        chance = float((theirs & mine[self.partner]).sum(axis=1).mean() / self.length)
        mine[own] = kin[own] = False
        agreement = (mine & theirs).sum(axis=1) / self.length
        related = (mine & kin).sum(axis=1) / self.length
        return {FIRST_HIT: first, CATEGORY: ((agreement * related - chance) / max(1 - chance, 1e-9))[:tried]}

    def _lists(
        self, reranker: Reranker | None, asked: RerankRequest, rng: np.random.Generator
    ) -> tuple[Float64Array, NDArray[np.bool_]]:
        """Return for each query the chance that its original comes first, and which images are on its list."""
        marked = np.zeros((len(asked), len(self.index)), np.bool_)
        first = np.zeros(len(asked))
        step = 16 if reranker is None else min(16, reranker.queries_at_once)
        cut = min(self.length, len(self.index) - 1)
        for start in range(0, len(asked), step):
            part = asked.part(start, start + step)
            here = slice(start, start + len(part))
            if reranker is None:
                values = self.index.database().distances(part.descriptors, resolved=True)
            else:
                values = reranker.values(part)[0]
                steps = np.maximum(ROUNDED * np.abs(values).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
                values = (np.rint(values / steps) * steps).astype(np.float32)
            first[here] = reciprocal_and_first(values, self.rows[here])[1]
            order = np.argpartition(random_among_equal(values, rng), cut, axis=1)
            np.put_along_axis(marked[here], order[:, : self.length], values=True, axis=1)
        return first, marked


__all__ = ["AutoSelection", "select_rerank", "significant_winner"]
