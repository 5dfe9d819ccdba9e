"""Two pictures -> how many of their keypoints lie in the same places of one flat scene.

A global descriptor says that two pictures look alike. That they show the *same* thing is seen in their details: the
keypoints of one are found in the other, and one map takes all their places from here to there. Such a map isn't found
by chance, whatever was turned, scaled, cut off, covered or seen at an angle.

A match is mutual, and much nearer than the next best (D. Lowe, "Distinctive image features from scale-invariant
keypoints", IJCV 60(2), 2004, the ratio test). Each match alone says how one picture lies in the other, by its place,
scale and angle; of all these guesses that on which most others agree is kept (J. Philbin et al., "Object retrieval with
large vocabularies and fast spatial matching", CVPR 2007). As all are tried, nothing is random. It is then fitted to its
inliers: an affine map, and a homography where more matches agree on that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array, Float64Array
from lookalike.encoders.local import detect_sift
from lookalike.neighbors.linalg import unit_rows
from lookalike.transforms.homography import fit_homography

#: Longer side, in pixels, that pictures are brought to; keypoints of each, at most; their least contrast.
SIDE, POINTS, CONTRAST = 512, 1000, 0.02
#: Nearest against next nearest descriptor.
RATIO = 0.85
#: How far from where it should be an inlier may be, as a share of the side: by a guess from one match, and in the end.
GUESSED_WITHIN, FITTED_WITHIN = 0.05, 0.012
#: Inliers nearer to each other than this share of the side are counted once: one detail gives several keypoints.
APART = 0.008
#: With as many inliers a picture is taken to show the same thing.
VERIFIED = 7
#: A map that magnifies more than this, or mirrors, isn't that of a picture.
MAX_SCALE = 10.0


@dataclass(frozen=True, eq=False)
class Keypoints:
    """The keypoints of one picture.

    Attributes
    ----------
    places : ndarray of float32, shape (k, 4)
        x and y as shares of the longer side, logarithm of the diameter, and angle in radians.
    descriptors : ndarray of uint8, shape (k, 128)
        RootSIFT.
    """

    places: Float32Array
    descriptors: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.places)

    @property
    def vectors(self) -> Float32Array:
        """The descriptors with length 1."""
        return unit_rows(self.descriptors.astype(np.float32))


@dataclass(frozen=True, eq=False)
class Agreement:
    """What two pictures agree on.

    Attributes
    ----------
    inliers : int
        Matched details that one map takes from one picture to the other, each counted once.
    matches : int
        All matches, right or wrong.
    first, second : ndarray of float32, shape (m, 2)
        The inliers' places in each picture, as shares of its longer side.
    """

    inliers: int
    matches: int
    first: Float32Array
    second: Float32Array


def detect_keypoints(picture: NDArray[np.uint8], side: int = SIDE, points: int = POINTS) -> Keypoints:
    """Find the keypoints of a picture.

    Parameters
    ----------
    picture : ndarray of uint8, shape (h, w) or (h, w, 3)
        Of any size.
    side : int
        What its longer side is brought to first.
    points : int
        How many keypoints, at most.

    Returns
    -------
    Keypoints
        None at all of a picture that is blank.

    Raises
    ------
    UsageError
        If the extra ``local`` isn't installed.
    """
    from PIL import Image

    grey = Image.fromarray(picture).convert("L")
    factor = side / max(grey.size)
    size = max(1, round(grey.width * factor)), max(1, round(grey.height * factor))
    scaled = np.asarray(grey.resize(size, Image.Resampling.BICUBIC if factor > 1 else Image.Resampling.BOX))
    detected, descriptors = detect_sift(scaled, points, CONTRAST)
    places = np.empty_like(detected)
    places[:, :2] = detected[:, :2] / side
    places[:, 2] = np.log(np.maximum(detected[:, 2], 0.1) / side)
    places[:, 3] = np.radians(detected[:, 3])
    return Keypoints(places.astype(np.float16).astype(np.float32), descriptors)  # as they are stored


def compare_details(left: Keypoints, right: Keypoints) -> Agreement:
    """Count the details that two pictures share, in the same arrangement.

    Parameters
    ----------
    left, right : Keypoints
        Of two pictures.

    Returns
    -------
    Agreement
    """
    none = np.empty((0, 2), np.float32)
    if min(len(left), len(right)) < 2:
        return Agreement(0, 0, none, none)
    a, b = _matches(left.vectors, right.vectors)
    if len(a) < 3:
        return Agreement(0, len(a), none, none)
    first, second = left.places[a].astype(np.float64), right.places[b].astype(np.float64)
    inside = _best_guess(first, second)
    for degree, within in (("affine", GUESSED_WITHIN / 2), ("affine", FITTED_WITHIN), ("homography", FITTED_WITHIN)):
        refined = _refit(first[:, :2], second[:, :2], inside, degree, within)
        if degree == "affine" or refined.sum() > inside.sum():
            inside = refined
    counted = min(_apart(first[inside, :2]), _apart(second[inside, :2]))
    places = first[inside, :2].astype(np.float32), second[inside, :2].astype(np.float32)
    return Agreement(counted, len(a), *places)


def _matches(left: Float32Array, right: Float32Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs of rows that are each other's nearest, and pass the ratio test."""
    cosines = left @ right.T
    rows = np.arange(len(left))
    best = cosines.argmax(axis=1)
    nearest = cosines[rows, best]
    cosines[rows, best] = -1
    second = cosines.max(axis=1)
    cosines[rows, best] = nearest
    kept = np.flatnonzero(1 - nearest <= RATIO**2 * (1 - second))
    kept = kept[
        cosines[:, best[kept]].argmax(axis=0) == kept
    ]  # of few columns: down all of them it takes as long as the product
    return kept, best[kept]


def _best_guess(first: Float64Array, second: Float64Array) -> NDArray[np.bool_]:
    """Mark the matches that agree with the one on whose map from the first to the second most agree."""
    log_scale = second[:, 2] - first[:, 2]
    scale = np.exp(log_scale)
    turn = second[:, 3] - first[:, 3]
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    x, y = first[:, 0], first[:, 1]
    moved_x = cos[:, None] * (x[None] - x[:, None]) - sin[:, None] * (y[None] - y[:, None]) + second[:, 0][:, None]
    moved_y = sin[:, None] * (x[None] - x[:, None]) + cos[:, None] * (y[None] - y[:, None]) + second[:, 1][:, None]
    off = np.hypot(moved_x - second[:, 0], moved_y - second[:, 1])
    # Each also says how far it is scaled and turned itself.
    turned = np.abs((turn[None] - turn[:, None] + np.pi) % (2 * np.pi) - np.pi)
    agree = (off < GUESSED_WITHIN) & (np.abs(log_scale[None] - log_scale[:, None]) < np.log(2)) & (turned < np.pi / 5)
    agree[np.abs(log_scale) > np.log(MAX_SCALE)] = False
    best: NDArray[np.bool_] = agree[agree.sum(axis=1).argmax()]
    return best


def _refit(
    first: Float64Array, second: Float64Array, inside: NDArray[np.bool_], degree: str, within: float
) -> NDArray[np.bool_]:
    """Fit a map to the inliers by least squares, and mark all that lie where it takes them."""
    x, y = first[inside], second[inside]
    if len(x) < (3 if degree == "affine" else 8):
        return np.zeros(len(first), np.bool_) if degree == "affine" else inside
    if degree == "affine":
        ones = np.ones((len(x), 1))
        fitted = np.linalg.lstsq(np.hstack([x, ones]), y, rcond=None)[0]
        matrix = np.vstack([fitted.T, [0, 0, 1]])
    else:
        matrix = fit_homography(x, y)
    ahead = np.hstack([first, np.ones((len(first), 1))]) @ matrix.T
    depth = ahead[:, 2]
    moved = ahead[:, :2] / np.where(np.abs(depth) < 1e-9, 1e-9, depth)[:, None]
    size = np.linalg.det(matrix[:2, :2])
    if not MAX_SCALE**-2 < size < MAX_SCALE**2:  # mirrored, or nearly a line
        return np.zeros(len(first), np.bool_)
    fits: NDArray[np.bool_] = (np.hypot(*(moved - second).T) < within) & (depth > 0)
    return fits


def _apart(places: Float64Array) -> int:
    """Count places, those that are as good as one once."""
    return len(np.unique((places / APART).astype(np.int64), axis=0))


__all__ = ["Agreement", "Keypoints", "compare_details", "detect_keypoints"]
