"""Two images + an index -> which parts of each account for their similarity, and each encoder's share in it.

Where a descriptor is a sum over places, the cosine of two is as well, and each place's part in it is exact
(:mod:`lookalike.encoders.attribution`). Elsewhere places are hidden in turn (:mod:`lookalike.search.occlusion`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array, Float64Array
from lookalike.collections.ids import id_of
from lookalike.encoders.attribution import WHOLE, Contribution
from lookalike.encoders.base import Encoder
from lookalike.encoders.keypoints import compare_details, detect_keypoints
from lookalike.errors import CollectionError, EncoderError, UsageError
from lookalike.imaging.resize import fit_to
from lookalike.index.reopen import collection_now
from lookalike.neighbors.distances import DISTANCES
from lookalike.neighbors.exact import Database
from lookalike.search.compose import read_whole, show_example
from lookalike.search.engine import similarity as to_similarity
from lookalike.search.occlusion import falls
from lookalike.search.request import Example

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader


EXACT, HIDING = "exact", "hiding"
#: Side of the maps of encoders that don't share a grid: a multiple of the usual 4 and 7 cells.
SIDE = 28
#: A similarity that is no more than this has no shares.
NOTHING = 1e-6
#: Colours that are named, at most.
MAX_COLOURS = 8


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why two images are alike.

    Attributes
    ----------
    encoder, distance : str
        What they were compared by.
    similarity : float
        As of a match.
    method : {"exact", "hiding"}
        How the maps were made.
    query_map, match_map : ndarray of float32, shape (rows, columns)
        What each place of the image accounts for; row 0 is at the top. ``exact``: each map adds up to the similarity.
        ``hiding``: how far the similarity falls where the place is hidden. Values below 0 speak against it.
    shares : dict of str to float
        Each encoder's share in the similarity; they add up to 1. Empty where there is no similarity to share.
    colours : list of ((int, int, int), float)
        The colours (red, green, blue) that account for most, and their share, where the encoder tells colours apart.
    points : (ndarray, ndarray) or None
        Places of the details that lie in the same arrangement in both, float32 of shape (m, 2): x and y as shares of the
        image's width and height. Only for local features.
    message : str
        In words.
    """

    encoder: str
    distance: str
    similarity: float
    method: str
    query_map: Float32Array
    match_map: Float32Array
    shares: dict[str, float]
    colours: list[tuple[tuple[int, int, int], float]]
    points: tuple[Float32Array, Float32Array] | None
    message: str

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON form."""
        return {
            "encoder": self.encoder,
            "distance": self.distance,
            "similarity": self.similarity,
            "method": self.method,
            "shares": self.shares,
            "colours": [{"rgb": list(colour), "share": share} for colour, share in self.colours],
            "points": None if self.points is None else [side.tolist() for side in self.points],
            "message": self.message,
            "query_map": self.query_map.tolist(),
            "match_map": self.match_map.tolist(),
        }


def explain(index: IndexReader, query: NDArray[np.uint8], match: NDArray[np.uint8]) -> Explanation:
    """Say which parts of two images account for their similarity.

    Parameters
    ----------
    index : IndexReader
        Looked at through the encoder that is asked.
    query, match : ndarray of uint8, shape (h, w) or (h, w, 3)
        The two images, of any sizes.

    Returns
    -------
    Explanation
        Its similarity is that of these pixels, brought to the encoder's size.

    Raises
    ------
    EncoderError
        If the encoder finds nothing in one of them, as in a blank image.
    """
    encoder, distance = index.encoder, index.manifest.distance
    images = [fit_to(image, tuple(encoder.shape_)) for image in (query, match)]
    described = encoder.encode(np.stack(images))
    for what, descriptor in zip(("query", "match"), described, strict=True):
        if not np.isfinite(descriptor).all() or (DISTANCES[distance].directional and not descriptor.any()):
            raise EncoderError(
                f"the {what}: {encoder.name} finds nothing in it, as in a blank image, so there is nothing to explain; "
                "ask by another image or another --encoder"
            )
    database = Database(described[1][None], distance)
    far = float(database.distances(described[0][None])[0, 0])
    alike = to_similarity(far, database.distance, 8 * database.dimension)
    parts = _parts(encoder, images, described) if DISTANCES[distance].directional else None
    exact = parts is not None and all(part.placed for part in parts[0])
    if parts is not None and exact:
        maps = [_together(side) for side in parts]
    else:
        maps = [falls(encoder, images[i], described[1 - i], distance) for i in (0, 1)]
    shares = _shares(encoder, parts, images, alike)
    colours = [] if parts is None or alike <= NOTHING else _colours(parts, alike)
    points = _points(query, match) if _has_keypoints(encoder) else None
    return Explanation(
        index.manifest.view.column,
        distance,
        alike,
        EXACT if exact else HIDING,
        maps[0].astype(np.float32),
        maps[1].astype(np.float32),
        shares,
        colours,
        points,
        _gap_message(alike, distance, exact, maps, shares, points),
    )


def picture_of(index: IndexReader, row: int) -> NDArray[np.uint8]:
    """Read an image of an index: whole where its file is still there, else its thumbnail.

    Parameters
    ----------
    index : IndexReader
        Any.
    row : int
        Of ``index.descriptors``.

    Returns
    -------
    ndarray of uint8, shape (h, w) or (h, w, 3)
    """
    (facts,), (thumbnail,) = index.facts([row]), index.thumbnails([row])
    size = facts["width"], facts["height"]
    if thumbnail.shape[1::-1] == size:
        return thumbnail
    try:
        whole: NDArray[np.uint8] = read_whole(collection_now(index), facts["id"], thumbnail, size, facts["hash"] or "")
    except CollectionError:  # gone, or can't be read any more
        return thumbnail
    return whole


def read_pair(index: IndexReader, query: str, match: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read a query and one of its answers, as a person names them.

    Parameters
    ----------
    index : IndexReader
        Any.
    query : str
        An id of the index; or a file, perhaps with a crop, as :meth:`lookalike.search.request.Example.parse` reads it.
    match : str
        An id of the index.

    Returns
    -------
    query, match : ndarray of uint8, shape (h, w) or (h, w, 3)
        As :func:`picture_of` gives them; of a file the part that is meant.

    Raises
    ------
    UsageError
        If the match isn't in the index, or the query is neither there nor a file with one image.
    CollectionError
        If the file can't be read.
    """

    def row_of(name: str) -> int:
        row = index.row_of(name)
        if row is None:
            raise UsageError(f"{id_of(name)}: no image of {index.path} has that id; lookalike files lists all")
        return row

    answer = picture_of(index, row_of(match))
    if index.row_of(query) is not None:
        return picture_of(index, row_of(query)), answer
    return show_example(index, Example.parse(query), row_of), answer


# What accounts for it -------------------------------------------------------------------------------------------------


def _parts(encoder: Encoder, images: list[NDArray[np.uint8]], described: Any) -> list[list[Contribution]] | None:
    """Return what each encoder's places add to the cosine: of the query, and of the match."""
    units, lengths = _unit(described), np.linalg.norm(described.astype(np.float64), axis=1)
    both = [encoder.contributions(images[i], units[1 - i] / lengths[i]) for i in (0, 1)]
    return None if both[0] is None or both[1] is None else [both[0], both[1]]


def _together(parts: list[Contribution]) -> Float64Array:
    if len(parts) == 1 and parts[0].box == WHOLE:
        return parts[0].values
    rows, columns = (max(SIDE, *(part.values.shape[axis] for part in parts)) for axis in (0, 1))
    laid: Float64Array = np.sum([part.on(rows, columns) for part in parts], axis=0)
    return laid


def _shares(
    encoder: Encoder, parts: list[list[Contribution]] | None, images: list[NDArray[np.uint8]], alike: float
) -> dict[str, float]:
    if alike <= NOTHING:
        return {}
    if parts is not None:
        names = _numbered([part.name for part in parts[0]])
        # A centred cosine is split a little differently when it is seen from the other image: the mean of both.
        totals = np.mean([[part.total for part in side] for side in parts], axis=0)
        return dict(zip(names, (totals / totals.sum()).tolist(), strict=True))
    members = getattr(encoder, "members_", None)
    if members is None or encoder.post_ is None:
        return {encoder.name: 1.0}
    return _shares_by_leaving_out(encoder, members, images, alike)


def _shares_by_leaving_out(
    encoder: Encoder, members: list[Encoder], images: list[NDArray[np.uint8]], alike: float
) -> dict[str, float]:
    """Share out by how far the similarity falls where a member sees nothing in one of the images: the kernel form is no sum."""
    assert encoder.post_ is not None  # else its descriptors are sums
    raw = encoder.with_post(None).encode(np.stack(images))
    fallen, start = [], 0
    for member in members:
        without = raw.copy()
        without[:, start : start + member.dimension_] = 0
        start += member.dimension_
        one, other = _unit(encoder.post_.apply(raw))
        one_less, other_less = _unit(encoder.post_.apply(without))
        fallen.append(max(0.0, alike - float(one_less @ other + one @ other_less) / 2))
    if not sum(fallen):
        return {}
    return dict(zip(_numbered([m.name for m in members]), (f / sum(fallen) for f in fallen), strict=True))


def _unit(table: NDArray[Any]) -> Float64Array:
    wide = table.astype(np.float64)
    unit: Float64Array = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return unit


def _numbered(names: list[str]) -> list[str]:
    """Tell members of one name apart."""
    seen: Counter[str] = Counter()
    out = []
    for name in names:
        seen[name] += 1
        out.append(name if seen[name] == 1 else f"{name} {seen[name]}")
    return out


def _colours(parts: list[list[Contribution]], alike: float) -> list[tuple[tuple[int, int, int], float]]:
    """Return the colours that account for most, by what they add, of all that the encoder of colours adds."""
    found = []
    for query, match in zip(*parts, strict=True):
        if query.colours is None or query.by_colour is None or match.by_colour is None:
            continue
        added = (query.by_colour + match.by_colour) / 2
        for bin_ in np.argsort(-added, kind="stable")[:MAX_COLOURS]:
            if added[bin_] > 0:
                red, green, blue = (int(value) for value in query.colours[bin_])
                found.append(((red, green, blue), float(added[bin_]) / alike))
    return sorted(found, key=lambda one: -one[1])[:MAX_COLOURS]


# Local features -------------------------------------------------------------------------------------------------------


def _has_keypoints(encoder: Encoder) -> bool:
    return any(hasattr(one, "keypoints") for one in (encoder, *getattr(encoder, "members_", ())))


def _points(query: NDArray[np.uint8], match: NDArray[np.uint8]) -> tuple[Float32Array, Float32Array] | None:
    """Return the details that lie in the same arrangement in both images."""
    agreement = compare_details(detect_keypoints(query), detect_keypoints(match))
    sides = []
    for image, places in ((query, agreement.first), (match, agreement.second)):
        height, width = image.shape[:2]
        sides.append((places * (max(height, width) / np.array([width, height]))).astype(np.float32))
    return sides[0], sides[1]


# What is said ---------------------------------------------------------------------------------------------------------


def _gap_message(
    alike: float,
    distance: str,
    exact: bool,
    maps: list[Float64Array],
    shares: dict[str, float],
    points: tuple[Float32Array, Float32Array] | None,
) -> str:
    said = [f"Similarity {alike:.3f} ({distance})"]
    areas = [_area_of_half(values) for values in maps]
    if alike <= NOTHING:
        said.append("these two aren't alike, and nothing accounts for it")
    else:
        known = [
            f"{area:.0%} of the {name}"
            for area, name in zip(areas, ("query", "answer"), strict=True)
            if area is not None
        ]
        what = "half of it comes from" if exact else "hiding place after place, half of its fall comes from"
        said += [f"{what} {' and '.join(known)}"] if known else []
    if len(shares) > 1:
        said.append(", ".join(f"{name} {share:.0%}" for name, share in sorted(shares.items(), key=lambda s: -s[1])))
    if points is not None:
        said.append(f"{len(points[0]):,} details lie in the same arrangement")
    return "; ".join(said) + "."


def _area_of_half(values: Float64Array) -> float | None:
    """Return the smallest share of the image that makes up half of what speaks for the similarity."""
    heat = np.sort(np.maximum(values, 0).ravel())[::-1]
    if heat.sum() <= NOTHING**2:
        return None
    return float(np.searchsorted(heat.cumsum(), heat.sum() / 2) + 1) / heat.size


__all__ = ["Explanation", "explain", "picture_of", "read_pair"]
