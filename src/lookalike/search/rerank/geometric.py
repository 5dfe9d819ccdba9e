"""Re-ranking by a geometric check: of the first answers, those that show the same thing as the query come first.

Which two pictures show the same thing is found by :mod:`lookalike.encoders.keypoints`. The first answers of every encoder of the
index are looked at: a global descriptor loses a picture that is turned or part of another, local features don't. Where
none of them is verified, more are looked at, in a small collection all.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array
from lookalike.cores import one_thread_of_blas, usable_cores
from lookalike.encoders.keypoints import POINTS, SIDE, VERIFIED, compare_details, detect_keypoints
from lookalike.encoders.local import detect_sift
from lookalike.errors import UsageError
from lookalike.imaging.resize import fit_to
from lookalike.index.artifacts import GEOMETRIC
from lookalike.index.originals import originals_of
from lookalike.neighbors.distances import DISTANCES
from lookalike.neighbors.sampling import draw_rows
from lookalike.search.rerank.base import Reranker, RerankRequest, check_range
from lookalike.transforms.views import scene

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader


#: First answers of each encoder that are looked at, and own images that are shown in a scene to see what that is worth.
DEPTH, SHOWN = 100, 20
#: Where nothing was verified among the first, so many times as many are looked at.
WIDER = 4
#: Longer side that a query is brought to: larger than the index's pictures, as what is looked for may be a part of it.
QUERY_SIDE = 640


class Geometric(Reranker):
    """Geometric check of the first answers.

    Parameters
    ----------
    index, **options
        As of :class:`lookalike.search.rerank.base.Reranker`.
    depth : int
        First answers of each encoder that are looked at; four times as many where none of them is verified.
    """

    name = "geometric"
    needs_picture = True
    needs_keypoints = True

    def __init__(self, index: IndexReader, *, depth: int = DEPTH, **options: Any) -> None:
        super().__init__(index, **options)
        check_range(self.name, "depth", depth, 1, 100_000)
        detect_sift(np.zeros((32, 32), np.uint8), 1)  # says at once if OpenCV is missing
        self.depth = depth
        self.pictures = originals_of(index)
        views = index.manifest
        self.others = [
            other
            for other in (index.with_encoder(c.column) for c in views.columns if c.complete and c != views.view)
            if other.manifest.count
        ]

    @property
    def queries_at_once(self) -> int:
        """A few, as each takes a while."""
        return 8

    def values(self, asked: RerankRequest) -> tuple[Float32Array, list[dict[int, int]]]:
        """Count for each query the details that it shares with its first answers."""
        if asked.picture is None:
            raise UsageError("a geometric check is of pictures, and this query has none")
        out = self.database.distances(asked.descriptors)
        inliers = []
        for i in range(len(asked)):
            picture = asked.picture(i)
            counts = self._checked(picture, self._shortlists(out[i], picture, asked.among))
            inliers.append(counts)
            # What is verified comes before all others, the more inliers the sooner; the rest as without.
            if self.database.measure.signed:  # it has no least value; what comes first stays first
                out[i] -= out[i].min()
            out[i] += 1
            for row, count in counts.items():
                if count >= VERIFIED:
                    out[i, row] = 1 / np.float32(count)
        return out, inliers

    def _checked(self, picture: NDArray[np.uint8], lists: list[NDArray[np.int64]]) -> dict[int, int]:
        """Return the inliers of the pictures that were looked at."""
        query = detect_keypoints(picture, QUERY_SIDE)
        counts: dict[int, int] = {}
        for start, stop in ((0, self.depth), (self.depth, WIDER * self.depth)):
            first = dict.fromkeys(np.concatenate([rows[start:stop] for rows in lists]).tolist())
            rows = [row for row in first if row not in counts]
            found = self.pictures.details(rows)
            with one_thread_of_blas(), ThreadPoolExecutor(usable_cores()) as pool:
                agreed = pool.map(partial(compare_details, query), found)
                counts.update((row, item.inliers) for row, item in zip(rows, agreed, strict=True))
            if max(counts.values(), default=0) >= VERIFIED:
                break
        return counts

    def _shortlists(
        self, plain: Float32Array, picture: NDArray[np.uint8], among: NDArray[np.integer[Any]] | None = None
    ) -> list[NDArray[np.int64]]:
        """Return the rows of the first answers by each encoder, the nearest first."""
        most = WIDER * self.depth
        allowed = None if among is None else np.zeros(len(plain), np.bool_)
        if allowed is not None:
            allowed[among] = True
        lists = [_first(plain, most, allowed)]
        for other in self.others:
            descriptor = other.encoder.encode(fit_to(picture, tuple(other.manifest.shape))[None])
            if DISTANCES[other.manifest.distance].directional and not descriptor.any():
                continue
            theirs = other.database().distances(descriptor)[0]
            rows = np.array([self._own_rows.get(name, -1) for name in other.ids], np.int64)
            usable = rows >= 0 if allowed is None else (rows >= 0) & allowed[rows]
            lists.append(rows[_first(theirs, most, usable)])
        return lists

    @cached_property
    def _own_rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.index.ids)}


def _first(values: Float32Array, k: int, allowed: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    """Return the positions of the smallest values, ascending; of those allowed, all if there are no more than ``k``."""
    at = np.arange(len(values)) if allowed is None else np.flatnonzero(allowed)
    if k < len(at):
        at = at[np.argpartition(values[at], k - 1)[:k]]
    return at[np.lexsort((at, values[at]))].astype(np.int64)


def recognised(index: IndexReader, *, on_note: Callable[[str], None] | None = None) -> float:
    """Tell which share of an index's own images a geometric check recognises when they are shown in a scene.

    Parameters
    ----------
    index : IndexReader
        Looked at through the encoder whose first answers are checked.
    on_note : callable, optional
        Called with a sentence before it is learnt, which takes seconds.

    Returns
    -------
    float
        Of at most ``SHOWN`` images, those that are among the pictures looked at and are verified. Kept in the index.
    """

    def learn() -> tuple[dict[str, float], dict[str, NDArray[np.int64]]]:
        if on_note is not None:
            on_note("checking, once, how many images here are known again by their details in a scene")
        rows = draw_rows(np.random.default_rng([0, 9]), len(index), SHOWN)
        check = Geometric(index)
        inliers = []
        for row, whole in zip(rows.tolist(), check.pictures.read(rows.tolist()), strict=True):
            height, width = (
                max(1, round(side * min(1.0, QUERY_SIDE / max(whole.shape[:2])))) for side in whole.shape[:2]
            )
            shown = scene(fit_to(whole, (height, width, *whole.shape[2:]))[None], seed=row)[0]
            descriptor = index.encoder.encode(fit_to(shown, tuple(index.manifest.shape))[None])
            plain = index.database().distances(descriptor)[0]
            if any(row in shortlist for shortlist in check._shortlists(plain, shown)):
                (details,) = check.pictures.details([row])
                inliers.append(compare_details(detect_keypoints(shown, QUERY_SIDE), details).inliers)
            else:
                inliers.append(0)
        return {}, {"inliers": np.array(inliers, np.int64)}

    terms = {"shown": SHOWN, "side": [SIDE, QUERY_SIDE], "points": POINTS, "depth": DEPTH}
    learnt = index.cached("recognised", lambda: GEOMETRIC.cached(index.path, index.manifest, terms, learn))
    return float((learnt[1]["inliers"] >= VERIFIED).mean())


__all__ = ["Geometric", "recognised"]
