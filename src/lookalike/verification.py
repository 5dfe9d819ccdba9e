"""Re-ranking by a geometric check: of the first answers, those that show the same thing as the query come first.

Which two pictures show the same thing is found by :mod:`lookalike.geometry`. The first answers of every encoder of the
index are looked at: a global descriptor loses a picture that is turned or part of another, local features don't. Where
none of them is verified, more are looked at, in a small collection all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.local import detect_sift
from lookalike.errors import UsageError
from lookalike.geometry import VERIFIED, compare_details, details_of
from lookalike.pictures import pictures_of
from lookalike.raster import fit_to
from lookalike.rerank import Asked, Reranking, check_range

if TYPE_CHECKING:
    from lookalike.index import Index

Float32Array = NDArray[np.float32]

#: Where nothing was verified among the first, so many times as many are looked at.
WIDER = 4
#: Longer side that a query is brought to: larger than the index's pictures, as what is looked for may be a part of it.
QUERY_SIDE = 640


class Verification(Reranking):
    """Geometric check of the first answers.

    Parameters
    ----------
    index, distance, on_note
        As of :class:`lookalike.rerank.Reranking`.
    depth : int
        First answers of each encoder that are looked at; four times as many where none of them is verified.
    """

    name = "geometric"
    looks = True

    def __init__(
        self,
        index: Index,
        *,
        distance: str | None = None,
        on_note: Callable[[str], None] | None = None,
        depth: int = 100,
    ) -> None:
        super().__init__(index, distance=distance, on_note=on_note)
        check_range(self.name, "depth", depth, 1, 100_000)
        detect_sift(np.zeros((32, 32), np.uint8), 1)  # says at once if OpenCV is missing
        self.depth = depth
        self.pictures = pictures_of(index)
        views = index.passport
        self.others = [
            other
            for other in (index.through(c.column) for c in views.columns if c.complete and c != views.view)
            if other.passport.count
        ]
        self._own_rows: dict[str, int] = {}

    @property
    def queries_at_once(self) -> int:
        """A few, as each takes a while."""
        return 8

    def values(self, asked: Asked) -> tuple[Float32Array, list[dict[int, int]]]:
        """Count for each query the details that it shares with its first answers."""
        if asked.picture is None:
            raise UsageError("a geometric check is of pictures, and this query has none")
        out = self.database.distances(asked.descriptors)
        inliers = []
        for i in range(len(asked)):
            picture = asked.picture(i)
            found = self._checked(picture, self._shortlists(out[i], picture))
            inliers.append(found)
            # What is verified comes before all others, the more inliers the sooner; the rest as without.
            order = [row for row, count in found.items() if count >= VERIFIED]
            out[i] += 1
            for row in order:
                out[i, row] = 1 / np.float32(found[row])
        return out, inliers

    def _checked(self, picture: NDArray[np.uint8], lists: list[NDArray[np.int64]]) -> dict[int, int]:
        """Return the inliers of the pictures that were looked at."""
        query = details_of(picture, QUERY_SIDE)
        found: dict[int, int] = {}
        for start, stop in ((0, self.depth), (self.depth, WIDER * self.depth)):
            rows = [row for row in dict.fromkeys(np.concatenate([one[start:stop] for one in lists]).tolist())
                    if row not in found]  # fmt: skip
            for row, details in zip(rows, self.pictures.details(rows), strict=True):
                found[row] = compare_details(query, details).inliers
            if max(found.values(), default=0) >= VERIFIED:
                break
        return found

    def _shortlists(self, plain: Float32Array, picture: NDArray[np.uint8]) -> list[NDArray[np.int64]]:
        """Return the rows of the first answers by each encoder, the nearest first."""
        most = min(WIDER * self.depth, len(plain))
        lists = [_first(plain, most)]
        for other in self.others:
            descriptor = other.encoder.encode(fit_to(picture, tuple(other.passport.shape))[None])
            if other.passport.distance == "cosine" and not descriptor.any():
                continue
            theirs = _first(other.database().distances(descriptor)[0], most)
            own = self._rows_by_id()
            found = [own.get(other.ids[row], -1) for row in theirs.tolist()]
            lists.append(np.array([row for row in found if row >= 0], np.int64))
        return lists

    def _rows_by_id(self) -> dict[str, int]:
        if not self._own_rows:
            self._own_rows = {name: row for row, name in enumerate(self.index.ids)}
        return self._own_rows


def _first(values: Float32Array, k: int) -> NDArray[np.int64]:
    """Return the positions of the smallest values, ascending."""
    some = np.argpartition(values, k - 1)[:k]
    return some[np.lexsort((some, values[some]))].astype(np.int64)
