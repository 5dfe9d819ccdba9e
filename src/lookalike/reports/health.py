"""An index -> what a person should look at: images that answer everything, near-equal ones, blank ones, odd ones.

Hubness after M. Radovanovic, A. Nanopoulos and M. Ivanovic, "Hubs in Space: Popular Nearest Neighbors in
High-Dimensional Data", JMLR 11, 2010: how often each image is among the ``K`` nearest of others, and how skewed that is.
What lies far out is judged by J. Tukey's outer fence (*Exploratory Data Analysis*, 1977). No labels are looked at.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float64Array, Int64Array
from lookalike.imaging.resize import fit_to
from lookalike.neighbors.exact import Database
from lookalike.neighbors.grouping import group_near_duplicates
from lookalike.neighbors.others import others_than
from lookalike.neighbors.sampling import draw_rows

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader


#: Neighbours that are looked at.
K = 10
#: Up to as many images all are compared with all; of more a sample is, so that no more pairs are looked at.
MAX_IMAGES = 20_000
#: Images that are looked at pixel by pixel.
MAX_PICTURES = 2_000
#: Hubs are images whose count is so many deviations above the mean (Radovanovic et al., section 4).
HUB = 2.0
#: Deviations that a sample's count must be above that.
SURE = 2.0
#: An image is blank where all but its most extreme pixels lie within as many of 255 levels.
BLANK = 8
#: Images whose copies, saved anew, tell how near near-equal ones are.
COPIES = 48
#: Quality of such a JPEG, 1 to 95: what most programs take where nobody says otherwise.
QUALITY = 75
#: Ids that are listed of each kind.
LISTED = 20


@dataclass(frozen=True)
class Finding:
    """Images of one kind.

    Attributes
    ----------
    name : str
        ``hubs``, ``duplicates``, ``blank``, ``oddities`` or ``hard to rebuild``.
    count : int
        How many there are, of those that were looked at.
    looked_at : int
        How many were looked at.
    rows : list of int
        Of the index: the most marked first, at most ``LISTED``, those of oddities and what is hard to rebuild whether they
        lie far out or not; of each cluster of duplicates its first.
    ids : list of str
        Of these images.
    values : list of float
        What they were found by: how often they are neighbours, a distance, the size of a cluster.
    message : str
        In words.
    clusters : list of list of int, or None
        Of duplicates: all rows of each cluster that is listed.
    cluster_ids : list of list of str, or None
        Their ids.
    """

    name: str
    count: int
    looked_at: int
    rows: list[int]
    ids: list[str]
    values: list[float]
    message: str
    clusters: list[list[int]] | None = None
    cluster_ids: list[list[str]] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON form."""
        facts = {"count": self.count, "looked_at": self.looked_at, "ids": self.ids, "values": self.values}
        return {**facts, "message": self.message} | ({} if self.cluster_ids is None else {"clusters": self.cluster_ids})


@dataclass(frozen=True)
class Health:
    """What was found in an index.

    Attributes
    ----------
    images, sampled : int
        Images of the index, and how many of them were asked for their neighbours.
    skewness : float
        Of the number of times an image is among the ten nearest of others: 0 where none is preferred, above about 1.4
        strong hubness (Radovanovic et al., table 1). NaN where all are equal.
    never : int
        Images that are among the ten nearest of no other that was asked: with a sample, of those alone.
    findings : list of Finding
        One a kind.
    """

    images: int
    sampled: int
    skewness: float
    never: int
    findings: list[Finding]

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON form."""
        return {
            "images": self.images,
            "sampled": self.sampled,
            "hubness": {
                "neighbours": K,
                "skewness": None if np.isnan(self.skewness) else self.skewness,
                "never": self.never,
            },
            **{finding.name.replace(" ", "_"): finding.to_json() for finding in self.findings},
        }

    def lines(self) -> list[str]:
        """Return the lines of a terminal."""
        sample = "" if self.sampled == self.images else f"; neighbours of a sample of {self.sampled:,}"
        skew = "not defined" if np.isnan(self.skewness) else f"{self.skewness:.2f}"
        never = f"{self.never:,} never are" if not sample else f"{self.never:,} are so of none in the sample"
        lines = [
            f"{self.images:,} {'image' if self.images == 1 else 'images'}{sample}",
            f"hubness: skewness {skew} of how often an image is among the {K} nearest of others; {never}",
        ]
        for finding in self.findings:
            lines.append(f"{finding.name}: {finding.message}")
            listed = zip(finding.ids[:5], finding.values[:5], strict=True)
            lines += ["  " + "  ".join(f"{name} ({value:.4g})" for name, value in listed)] if finding.ids else []
        return lines


def check_health(index: IndexReader, *, most: int = MAX_IMAGES) -> Health:
    """Look an index over.

    Parameters
    ----------
    index : IndexReader
        Looked at through its encoder, by its distance.
    most : int
        Images up to which all are compared with all.

    Returns
    -------
    Health
        Empty kinds are in it as well, with a count of 0.
    """
    rng = np.random.default_rng(0)
    database = index.database()
    asked = _sample(len(index), max(1, min(len(index), most * most // max(1, len(index)))), rng)
    neighbours, distances = _neighbours(index.descriptors, database, asked)
    counts = np.bincount(neighbours[neighbours >= 0], minlength=len(index))
    looked_at = _sample(len(asked), min(len(asked), MAX_PICTURES), rng)
    pictures = index.thumbnails(asked[looked_at].tolist()) if len(index) else []
    reach = _reach_of_copies(index, database, asked[looked_at][:COPIES], pictures[:COPIES])
    findings = [
        _hubs(index, counts, len(asked)),
        _duplicates(index, asked, neighbours, distances, reach),
        _blank(index, asked[looked_at], pictures),
        _oddities(index, asked, distances, reach),
    ]
    if index.encoder.can_denoise and len(index):
        findings.append(_hard_to_rebuild(index, asked[looked_at], pictures))
    skewness = skewness_of_counts(counts, len(asked), len(index))
    return Health(len(index), len(asked), skewness, int((counts == 0).sum()), findings)


# Neighbours -----------------------------------------------------------------------------------------------------------


def _sample(count: int, wanted: int, rng: np.random.Generator) -> Int64Array:
    if wanted >= count:
        return np.arange(count)
    chosen: Int64Array = draw_rows(rng, count, wanted)
    return chosen


def _neighbours(descriptors: NDArray[Any], database: Database, asked: Int64Array) -> tuple[Int64Array, Float64Array]:
    """Return the rows and the distances of the ``K`` nearest of each image that is asked, itself left out; -1 for none."""
    rows = np.full((len(asked), K), -1, np.int64)
    distances = np.full((len(asked), K), np.inf)
    k = min(K + 1, database.size)
    for start in range(0, len(asked), 1000):
        part = asked[start : start + 1000]
        nearest, near = database.nearest(descriptors[part], k)
        others = others_than(part, nearest)
        rows[start : start + len(part), : k - 1] = nearest[others].reshape(len(part), k - 1)
        distances[start : start + len(part), : k - 1] = near[others].reshape(len(part), k - 1)
    return rows, distances


def skewness_of_counts(counts: Int64Array, asked: int, images: int) -> float:
    """Return the skewness of how often each image is a neighbour, from counts by all images or by a sample of them.

    Parameters
    ----------
    counts : ndarray of int64, shape (n,)
        By how many of those asked each image is named.
    asked : int
        Drawn without putting back.
    images : int
        From as many.

    Returns
    -------
    float
        The third central moment by the deviation's cube. A count by a sample has a hypergeometric distribution, so the
        factorial moments of the counts by all follow from its own without bias. NaN where they leave no deviation.

    Examples
    --------
    >>> round(skewness_of_counts(np.array([0, 0, 0, 4]), 4, 4), 4)
    1.1547
    """
    mean, second, third = _moments(counts, asked, images)
    variance = second - mean**2
    if not variance > 1e-12:
        return float("nan")
    return float((third - 3 * mean * second + 2 * mean**3) / variance**1.5)


def _moments(counts: Int64Array, asked: int, images: int) -> tuple[float, float, float]:
    """Return the mean of the counts by all, of their squares and of their cubes; NaN where too few were asked."""
    factorials = []
    falling, share = np.ones(len(counts)), 1.0
    for r in range(3):
        falling = falling * (counts - r)
        share *= (asked - r) / (images - r) if asked > r else float("nan")
        factorials.append(float(falling.mean()) / share if len(counts) else float("nan"))
    first, second, third = factorials
    return first, second + first, third + 3 * second + first


def _finding(
    index: IndexReader, name: str, count: int, looked_at: int, rows: NDArray[Any], values: NDArray[Any], message: str
) -> Finding:
    rows = rows[:LISTED]
    return Finding(
        name, count, looked_at, rows.tolist(), index.ids_of(rows), [float(v) for v in values[:LISTED]], message
    )


def _hubs(index: IndexReader, counts: Int64Array, asked: int) -> Finding:
    mean, second, _ = _moments(counts, asked, len(index))
    edge = mean + HUB * np.sqrt(max(0.0, second - mean**2)) if np.isfinite(second) else np.inf
    # By a sample a count is that share of the whole, give or take its deviation: only what is surely a hub is called one.
    share = asked / max(1, len(index))
    surely = share * edge + SURE * np.sqrt(edge * share * (1 - share)) if np.isfinite(edge) else np.inf
    order = np.argsort(-counts, kind="stable")
    rows = order[counts[order] > surely]
    if not np.isfinite(edge):
        return _finding(index, "hubs", 0, len(counts), rows, counts[rows], "too few images to tell")
    message = f"{len(rows):,} are among the {K} nearest of over {edge:,.0f} others"
    message += f" (counted by {asked:,} of {len(index):,})" if share < 1 else ""
    return _finding(index, "hubs", len(rows), len(counts), rows, counts[rows], message)


# Near-equal and odd ---------------------------------------------------------------------------------------------------


def _reach_of_copies(
    index: IndexReader, database: Database, rows: Int64Array, pictures: list[NDArray[np.uint8]]
) -> float:
    """Return the distance from images to themselves saved anew, which near-equal ones don't exceed: the median."""
    if not len(rows):
        return 0.0
    shape = tuple(index.manifest.shape)
    both = np.stack([fit_to(p, shape) for p in pictures] + [fit_to(_saved_anew(p), shape) for p in pictures])
    described = index.encoder.encode(both)
    something: NDArray[np.bool_] = np.any(described != 0, axis=1)
    pairs = [i for i in range(len(rows)) if something[i] and something[len(rows) + i]]
    if not pairs:
        return 0.0
    away = [
        float(Database(described[i][None], database.distance).distances(described[len(rows) + i][None])[0, 0])
        for i in pairs
    ]
    return float(np.median(away))


def _saved_anew(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=QUALITY)
    return np.asarray(Image.open(file))


def _duplicates(
    index: IndexReader, asked: Int64Array, neighbours: Int64Array, distances: Float64Array, reach: float
) -> Finding:
    near: NDArray[np.bool_] = np.asarray(distances <= reach) & (neighbours >= 0)
    rows = np.unique(np.concatenate([asked[near.any(axis=1)], neighbours[near]]))
    _, owner = group_near_duplicates(index.descriptors[rows], index.manifest.distance, reach, len(rows))
    clusters: dict[int, list[int]] = {}
    for row, leader in zip(rows.tolist(), owner.tolist(), strict=True):
        clusters.setdefault(leader, []).append(row)
    listed = sorted((c for c in clusters.values() if len(c) > 1), key=lambda cluster: (-len(cluster), cluster[0]))
    sizes = [len(cluster) for cluster in listed]
    same = index.manifest.outcomes.get("duplicate", 0)
    bytes_ = f"; {same:,} more files have the same bytes as another" if same else ""
    message = (
        f"{len(listed):,} clusters of {sum(sizes):,} images that differ no more than by saving as JPEG "
        f"(distance {reach:.4g}){bytes_}"
    )
    first = np.array([cluster[0] for cluster in listed], np.int64)
    finding = _finding(index, "duplicates", len(listed), len(asked), first, np.array(sizes), message)
    listed = listed[:LISTED]
    return replace(finding, clusters=listed, cluster_ids=[index.ids_of(cluster) for cluster in listed])


def _far_out(values: Float64Array) -> float:
    """Return Tukey's outer fence: three quartile ranges above the upper quartile."""
    low, high = np.percentile(values, [25, 75])
    return float(high + 3 * (high - low))


def _oddities(index: IndexReader, asked: Int64Array, distances: Float64Array, reach: float) -> Finding:
    # Two odd images that are equal are odd all the same: the nearest that isn't a copy counts.
    beyond = np.where(distances > reach, distances, np.inf)
    nearest = beyond.min(axis=1) if len(asked) else np.empty(0)
    known = np.flatnonzero(np.isfinite(nearest))
    if not len(known):
        return _finding(
            index, "oddities", 0, len(asked), known, nearest[known], "none, as no image has a neighbour but copies"
        )
    fence = _far_out(nearest[known])
    order = known[np.argsort(-nearest[known], kind="stable")]
    odd = int((nearest[order] > fence).sum())
    half = float(np.median(nearest[known]))
    message = (
        f"{odd:,} lie far out, with no neighbour within {fence:.4g} (half have one within {half:.4g}); the farthest"
    )
    return _finding(index, "oddities", odd, len(asked), asked[order], nearest[order], message)


# Pixels ---------------------------------------------------------------------------------------------------------------


def _blank(index: IndexReader, rows: Int64Array, pictures: list[NDArray[np.uint8]]) -> Finding:
    spans = np.array([_span(picture) for picture in pictures])
    order = np.argsort(spans, kind="stable")
    blank = order[spans[order] < BLANK]
    left_out = index.manifest.outcomes.get("blank", 0)
    more = f"; {left_out:,} more were left out of the index as blank" if left_out else ""
    message = f"{len(blank):,} of {len(rows):,} looked at hold next to nothing (levels within {BLANK} of 255){more}"
    return _finding(index, "blank", len(blank), len(rows), rows[blank], spans[blank], message)


def _span(picture: NDArray[np.uint8]) -> float:
    """Return the range of levels of a picture in grey, without the hundredth that is darkest and the one that is brightest."""
    grey = picture if picture.ndim == 2 else picture.mean(axis=2)
    low, high = np.percentile(grey, [1, 99])
    return float(high - low)


def _hard_to_rebuild(index: IndexReader, rows: Int64Array, pictures: list[NDArray[np.uint8]]) -> Finding:
    """Find the images that an autoencoder can't rebuild: such as it hasn't learnt from."""
    from lookalike.search.restore import denoise

    shape = tuple(index.manifest.shape)
    given = np.stack([fit_to(picture, shape) for picture in pictures])
    rebuilt = denoise(index.encoder, given)
    errors = ((given.astype(np.float64) - rebuilt) ** 2).reshape(len(given), -1).mean(axis=1) / 255**2
    fence = _far_out(errors)
    order = np.argsort(-errors, kind="stable")
    hard = int((errors > fence).sum())
    message = (
        f"{hard:,} of {len(rows):,} looked at lie far out, with a mean squared error over {fence:.4g} (half have less than "
        f"{np.median(errors):.4g}); the largest"
    )
    return _finding(index, "hard to rebuild", hard, len(rows), rows[order], errors[order], message)


__all__ = ["Finding", "Health", "check_health", "skewness_of_counts"]
