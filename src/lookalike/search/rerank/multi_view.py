"""Several views of a query: as it is, turned, mirrored and cut, each asked for; the nearest view counts, or all.

For a query that shows more than is looked for, or lies on its side. It costs as many searches as there are views.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import UsageError, unknown_name
from lookalike.imaging.resize import fit_to
from lookalike.search.rerank.base import Reranker, RerankRequest

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader

Images = NDArray[np.uint8]

#: Sides of the centre crops, and of the crops in the four corners, as shares of the picture's.
CENTRES, CORNER = (0.75, 0.5), 0.6
#: Views by the kind that is asked for.
KINDS = ("turns", "mirror", "crops")


class MultiView(Reranker):
    """Several views of each query.

    Parameters
    ----------
    index, **options
        As of :class:`lookalike.search.rerank.base.Reranker`.
    kinds : str
        Joined by ``+``: ``turns`` (by 90, 180, 270 degrees), ``mirror``, ``crops`` (two of the centre, four corners).
    by : {"min", "mean"}
        The nearest view counts, or the mean of all.
    """

    name = "multi-view"
    needs_picture = True

    def __init__(
        self,
        index: IndexReader,
        *,
        kinds: str = "turns+mirror+crops",
        by: str = "min",
        **options: Any,
    ) -> None:
        super().__init__(index, **options)
        if by not in ("min", "mean"):
            raise unknown_name("way to join views", by, ["min", "mean"])
        for kind in kinds.split("+"):
            if kind not in KINDS:
                raise unknown_name("kind of views", kind, KINDS)
        self.kinds, self.by = kinds.split("+"), by

    def values(self, asked: RerankRequest) -> tuple[NDArray[np.float32], list[dict[int, int]]]:
        """Ask for each view of each query."""
        if asked.picture is None:
            raise UsageError("views are of pictures, and this query has none")
        out = self.database.distances(asked.descriptors)
        for i in range(len(asked)):
            views = self.encoded(asked.picture(i))
            if len(views):
                others = self.database.distances(views)
                joined = np.concatenate([out[i : i + 1], others])
                out[i] = joined.min(axis=0) if self.by == "min" else joined.mean(axis=0)
        return out, [{}] * len(asked)

    def encoded(self, picture: Images) -> NDArray[np.float32]:
        """Return descriptors of the views of one picture, without those that are blank to the encoder."""
        shape = tuple(self.index.manifest.shape)
        descriptors = self.index.encoder.encode(np.stack([fit_to(v, shape) for v in views_of(picture, self.kinds)]))
        if not self.database.measure.directional:
            return descriptors
        return descriptors[descriptors.any(axis=1)]


def views_of(picture: Images, kinds: list[str]) -> list[Images]:
    """Turn, mirror and cut a picture.

    Parameters
    ----------
    picture : ndarray of uint8, shape (h, w) or (h, w, 3)
        Any.
    kinds : list of str
        Of :data:`KINDS`.

    Returns
    -------
    list of ndarray of uint8
        Without the picture as it is.

    Examples
    --------
    >>> [v.tolist() for v in views_of(np.array([[1, 2]], np.uint8), ["mirror"])]
    [[[2, 1]]]
    """
    views = []
    if "turns" in kinds:
        views += [np.rot90(picture, turns) for turns in (1, 2, 3)]
    if "mirror" in kinds:
        views.append(picture[:, ::-1])
    if "crops" in kinds:
        height, width = picture.shape[:2]
        places = [((1 - side) / 2, (1 - side) / 2, side) for side in CENTRES]
        places += [(y, x, CORNER) for y in (0, 1 - CORNER) for x in (0, 1 - CORNER)]
        for y, x, side in places:
            top, left = int(y * height), int(x * width)
            views.append(picture[top : top + max(1, round(side * height)), left : left + max(1, round(side * width))])
    return [np.ascontiguousarray(view) for view in views]
