"""Wiener's filter for noise that is clipped, over whole images or over patches of a collection.

The model: a pixel ``x`` in 0..1 is seen as ``clip(x + s n)``, ``n`` standard normal. So its mean ``f(x)`` and variance
``v(x)`` are known for each of the 256 grey values, and the best affine guess of ``x`` from ``y`` over any set of clean
images follows without drawing any noise: ``x = m + C_xf (C_ff + diag(mean v))^-1 (y - mean f)``, Wiener's filter for
clipped noise (for noise that is drawn instead, "marginalised": M. Chen et al., "Marginalized Denoising Autoencoders",
ICML 2012). One set for all images blurs. So the set is made for each image: its *kin*, the nearest of the collection to
the first guess; the guess made from them finds better kin, and so on (for patches within one image: L. Zhang et al.,
"Two-stage image denoising by principal component analysis with local pixel grouping", 2010; a set for each of many
groups: G. Yu, G. Sapiro, S. Mallat, "Solving inverse problems with piecewise linear estimators", 2012).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array
from lookalike.errors import EncoderError
from lookalike.neighbors.linalg import falling_eigenvectors
from lookalike.neighbors.sampling import draw_rows

Images = NDArray[np.uint8]

#: Kin of an image, and how often they are looked for again.
NEIGHBORS, ITERATIONS = 200, 2
#: Principal components in which kin are looked for; most values of an image for the form ``whole``.
COMPONENTS, MAX_WHOLE = 100, 3072
#: Side of a patch, its step, groups of patches, and patches they are learnt from.
PATCH, STEP, GROUPS, MAX_PATCHES = 8, 3, 48, 40_000
#: Whole images that the first guess is learnt from.
MAX_LEARNT = 10_000
#: Of all samples.
SEED = 0
#: Contrast that is taken for what the noise left, as a share of its level.
FLAT = 0.2


@cache
def moments(level: float) -> tuple[Float32Array, Float32Array]:
    """Return the mean and variance of each grey value once noise is added and the sum clipped.

    Parameters
    ----------
    level : float
        Standard deviation of the noise, for pixels in 0..1.

    Returns
    -------
    mean, variance : ndarray of float32, shape (256,)
    """
    n = np.linspace(-6, 6, 2001)
    weights = np.exp(-n * n / 2)
    weights /= weights.sum()
    seen = np.clip(np.arange(256)[:, None] / 255 + level * n, 0, 1)
    mean = seen @ weights
    variance = (seen * seen) @ weights - mean**2
    return mean.astype(np.float32), np.maximum(variance, 1e-5).astype(np.float32)


def _as_grey(pixels: NDArray[np.floating]) -> Images:
    """Turn 0..1 into 0..255."""
    return np.asarray(np.clip(np.rint(pixels * 255), 0, 255), np.uint8)


def affine(values: Images, level: float) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Return Wiener's filter over clean rows.

    Parameters
    ----------
    values : ndarray of uint8, shape (n, d)
        Clean images or patches.
    level : float
        Standard deviation of the noise, for pixels in 0..1.

    Returns
    -------
    off, matrix, on : ndarray of float32, shapes (d,), (d, d) and (d,)
        ``(y - off) @ matrix + on`` is the guess for a noisy row ``y`` in 0..1.
    """
    f, v = moments(level)
    seen, clean = f[values], values * np.float32(1 / 255)
    mean_seen, mean_clean = seen.mean(axis=0), clean.mean(axis=0)
    seen -= mean_seen
    clean -= mean_clean
    within = seen.T @ seen / len(values)
    within[np.diag_indices(len(within))] += v[values].mean(axis=0)
    return mean_seen, np.linalg.solve(within, seen.T @ clean / len(values)).astype(np.float32), mean_clean


#: What of all that is in what was learnt and kept; not of the level, which comes with an image.
LEARNT_FORM = {"components": COMPONENTS, "patch": PATCH, "groups": GROUPS, "patches": MAX_PATCHES}


class GlobalWiener:
    """Restores images by whole images of the collection."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.arrays = arrays
        self.shape = arrays["images"].shape[1:]
        self.values = arrays["images"].reshape(len(arrays["images"]), -1)
        self.sample = _rows_learnt_from(self.values)
        self.centre, self.axes, self.codes = arrays["centre"], arrays["axes"], arrays["codes"]
        self.lengths = arrays["lengths"]
        self._first: dict[float, tuple[Float32Array, Float32Array, Float32Array]] = {}

    @classmethod
    def learn(cls, images: Images | Sequence[Images]) -> GlobalWiener:
        """Learn from images of one shape; :attr:`arrays` is what was learnt."""
        images = np.asarray(images)
        values = images.reshape(len(images), -1)
        sample = _rows_learnt_from(values) * np.float32(1 / 255)
        centre = sample.mean(axis=0)
        sample -= centre
        axes = falling_eigenvectors(sample.T @ sample)[1][:, :COMPONENTS].astype(np.float32)
        codes = np.concatenate(
            [(values[i : i + 4096] * np.float32(1 / 255) - centre) @ axes for i in range(0, len(images), 4096)]
        )
        lengths = (codes**2).sum(axis=1)
        return cls({"images": images, "centre": centre, "axes": axes, "codes": codes, "lengths": lengths})

    def check(self, images: Images) -> None:
        """Refuse images that this can't restore."""
        if images.shape[1:] != self.shape:
            raise EncoderError(
                f"images of shape {images.shape[1:]} can't be denoised by a collection of shape {self.shape}; resize them"
            )

    def __call__(self, images: Images, level: float) -> Images:
        """Return the images without noise of this level."""
        if level not in self._first:
            self._first[level] = affine(self.sample, level)
        off, matrix, on = self._first[level]
        seen = images.reshape(len(images), -1) * np.float32(1 / 255)
        out = np.empty_like(seen)
        for start in range(0, len(seen), 256):
            part = slice(start, start + 256)
            guess: Float32Array = np.asarray((seen[part] - off) @ matrix + on, np.float32)
            for _ in range(ITERATIONS):
                guess = self._by_kin(seen[part], guess, level)
            out[part] = guess
        return _as_grey(out).reshape(images.shape)

    def _by_kin(self, seen: Float32Array, guess: Float32Array, level: float) -> Float32Array:
        f, v = moments(level)
        number = min(NEIGHBORS, len(self.values))
        far = self.lengths - 2 * ((guess - self.centre) @ self.axes) @ self.codes.T
        kin = np.argpartition(far, number - 1, axis=1)[:, :number]
        out = np.empty_like(seen)
        for i, rows in enumerate(kin):
            values = self.values[rows]
            mean_f, clean = f[values], values * np.float32(1 / 255)
            centre = mean_f.mean(axis=0)
            mean_f -= centre
            weighed = mean_f / v[values].mean(axis=0)
            # Fewer kin than pixels: the same filter by a system of their number (Woodbury's identity).
            between = weighed @ mean_f.T
            between[np.diag_indices(number)] += number
            shares = np.linalg.solve(between, weighed @ (seen[i] - centre))
            middle = clean.mean(axis=0)
            out[i] = middle + shares @ clean - shares.sum() * middle
        return out


class PatchWiener:
    """Restores images by patches of the collection, each by its group."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.arrays = arrays
        patches = arrays["patches"]
        self.channels, self.values = patches.shape[3:], patches.reshape(len(patches), -1)
        self.centres, self.group = arrays["centres"], arrays["group"]
        self._filters: dict[float, list[tuple[Float32Array, Float32Array, Float32Array]]] = {}

    @classmethod
    def learn(cls, images: Images | Sequence[Images]) -> PatchWiener:
        """Learn from images of any sizes; :attr:`arrays` is what was learnt."""
        rng = np.random.default_rng(SEED)
        chosen = rng.permutation(len(images))[:1000]
        each = -(-MAX_PATCHES // len(chosen))
        patches = []
        for i in chosen:
            # A patch's position stands for it, so that only those that are drawn are copied.
            height, width = (side - PATCH + 1 for side in images[i].shape[:2])
            positions = rng.permutation(height * width)[:each]
            patches += [_patch(images[i], *divmod(int(position), width)) for position in positions]
        values = np.stack(patches)
        forms = _form(values * np.float32(1 / 255))
        centres = _groups(forms, rng)
        shaped = values.reshape(-1, PATCH, PATCH, *images[0].shape[2:])
        return cls({"patches": shaped, "centres": centres, "group": _nearest(forms, centres)})

    def check(self, images: Images) -> None:
        """Refuse images that this can't restore."""
        if images.shape[3:] != self.channels or min(images.shape[1:3]) < PATCH:
            raise EncoderError(
                f"images of shape {images.shape[1:]} can't be denoised by this collection's patches; they need sides of at "
                f"least {PATCH} pixels, and {'colour' if self.channels else 'grey'} as the collection"
            )

    def __call__(self, images: Images, level: float) -> Images:
        """Return the images without noise of this level."""
        return np.stack([self._restored(image, level) for image in images])

    def _learnt(self, level: float) -> list[tuple[Float32Array, Float32Array, Float32Array]]:
        if level not in self._filters:
            width = self.values.shape[1]
            whole = affine(self.values, level)
            members = [self.values[self.group == g] for g in range(len(self.centres))]
            # A group with fewer patches than values tells too little of how they vary.
            self._filters[level] = [whole] + [affine(m, level) if len(m) > width else whole for m in members]
        return self._filters[level]

    def _restored(self, image: Images, level: float) -> Images:
        first, *by_group = self._learnt(level)
        starts = (_starts(image.shape[0]), _starts(image.shape[1]))
        seen = np.stack([_patch(image, y, x) for y in starts[0] for x in starts[1]]) * np.float32(1 / 255)
        guess: Float32Array = np.asarray((seen - first[0]) @ first[1] + first[2], np.float32)
        for _ in range(2):
            group = _nearest(_form(guess, level), self.centres)
            for g in np.unique(group):
                off, matrix, on = by_group[g]
                guess[group == g] = (seen[group == g] - off) @ matrix + on
        total = np.zeros((*image.shape[:2], int(np.prod(self.channels, dtype=int))), np.float32)
        count = np.zeros((*image.shape[:2], 1), np.float32)
        tiles = iter(guess.reshape(-1, PATCH, PATCH, total.shape[2]))
        for y in starts[0]:
            for x in starts[1]:
                total[y : y + PATCH, x : x + PATCH] += next(tiles)
                count[y : y + PATCH, x : x + PATCH] += 1
        return _as_grey(total / count).reshape(image.shape)


def _rows_learnt_from(values: Images) -> Images:
    return values[draw_rows(np.random.default_rng(SEED), len(values), MAX_LEARNT)]


def _patch(image: Images, y: int, x: int) -> Images:
    return image[y : y + PATCH, x : x + PATCH].reshape(-1)


def _starts(side: int) -> list[int]:
    """Return where patches begin along a side: every step, and at the end."""
    return sorted({*range(0, side - PATCH + 1, STEP), side - PATCH})


def _form(patches: Float32Array, level: float = 0) -> Float32Array:
    """Return what a patch is grouped by: its form, without its brightness and nearly without its contrast.

    What noise has left in a flat patch must not look like a form: the noisier, the more contrast it takes to be one.
    """
    form = patches - patches.mean(axis=1, keepdims=True)
    contrast = np.sqrt((form**2).mean(axis=1, keepdims=True)) + np.float32(0.05 + FLAT * level)
    return np.asarray(form / contrast, np.float32)


def _nearest(rows: Float32Array, centres: Float32Array) -> NDArray[np.intp]:
    return np.asarray(np.argmax(rows @ centres.T - (centres**2).sum(axis=1) / 2, axis=1))


def _groups(rows: Float32Array, rng: np.random.Generator) -> Float32Array:
    """K-means (Lloyd, 1982), a few rounds from random rows."""
    rows = rows[rng.permutation(len(rows))[:10_000]]
    centres = rows[:GROUPS].copy()
    for _ in range(10):
        group = _nearest(rows, centres)
        for g in range(len(centres)):
            if (group == g).any():
                centres[g] = rows[group == g].mean(axis=0)
    return centres
