"""Noisy images -> clean ones, by what the images of a collection look like: closed form, no labels, no training.

How an image is restored at a known level of noise: :mod:`lookalike.transforms.wiener`.

Two forms, the better of which is chosen by restoring held-out images of the collection that noise was added to:

``whole``
    An image's kin are whole images. For small pictures of one size that are alike, such as digits.
``patches``
    Patches of 8 x 8 pixels, overlapping; their kin are the group of patches they belong to. For photos.

The level ``s`` is estimated: the median of Immerkaer's Laplacian difference (J. Immerkaer, "Fast noise variance
estimation", 1996), a median after D. Donoho so that edges count less, read off the same figure of the collection's own
images with known noise: so clipping and the collection's own texture are accounted for. An image no rougher than 99 of
100 of the collection is left as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import UsageError
from lookalike.transforms.noise import add_noise
from lookalike.transforms.wiener import GROUPS, MAX_WHOLE, NEIGHBORS, PATCH, SEED, GlobalWiener, PatchWiener

Images = NDArray[np.uint8]

#: Levels that images are restored at, as shares of black to white; an estimate takes the nearest.
LEVELS = (0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 1.0)
#: Images that the level's scale, and that the choice between the forms, is measured on.
MEASURED, TRIED = 64, 24
#: The level at which the forms are compared.
TRIED_LEVEL = 0.3
#: Fewest images to learn from.
MIN_IMAGES = 8
FORMS: dict[str, type[GlobalWiener | PatchWiener]] = {"whole": GlobalWiener, "patches": PatchWiener}


@dataclass(frozen=True)
class RestoredImages:
    """Images without their noise.

    Attributes
    ----------
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The clean ones; those without noise unchanged.
    levels : tuple of float or None, one an image
        The noise found, as a standard deviation for pixels in 0..1: 0 for none, None where it wasn't estimated.
    by : str
        What was done, for a person.
    """

    images: Images
    levels: tuple[float | None, ...]
    by: str

    def image(self, i: int) -> RestoredImages:
        """Return one of the images alone."""
        return RestoredImages(self.images[i : i + 1], self.levels[i : i + 1], self.by)

    def take(self, which: Sequence[int] | NDArray[np.int64]) -> RestoredImages:
        """Return some of the images."""
        return RestoredImages(self.images[which], tuple(self.levels[i] for i in which), self.by)

    def to_json(self) -> dict[str, Any]:
        """Return what was done to a single image: ``by``, and ``noise`` as in ``levels``."""
        return {"by": self.by, "noise": self.levels[0]}

    def to_text(self) -> str:
        """Say what was done to a single image."""
        if self.levels[0] == 0:
            return "not noisier than the collection's own images, so left as it is"
        level = "" if self.levels[0] is None else f", noise about {self.levels[0]:g} of black to white"
        return f"denoised by {self.by}{level}"


class Restorer:
    """Learns from clean images how to restore noisy ones like them.

    Parameters
    ----------
    form : {"whole", "patches"}, optional
        By default whichever restores held-out images better.

    Attributes
    ----------
    form_ : str
        The form in use.
    """

    def __init__(self, *, form: str | None = None) -> None:
        self.form = form

    def fit(self, images: Images | Sequence[Images]) -> Restorer:
        """Learn what clean images look like.

        Parameters
        ----------
        images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3), or a sequence of such images of several sizes
            The collection, or a sample of it; taken as free of noise.

        Returns
        -------
        Restorer
            Itself.

        Raises
        ------
        UsageError
            If there are fewer than ``MIN_IMAGES`` images, or the form asked for doesn't suit their sizes.
        """
        if self.form is not None and self.form not in FORMS:
            raise UsageError(f"unknown form '{self.form}'; known: whole, patches")
        if len(images) < MIN_IMAGES:
            raise UsageError(
                f"denoising by the collection needs at least {MIN_IMAGES} images, here are {len(images)}; "
                "denoise by a trained autoencoder, or give more images"
            )
        suitable = {
            "whole": len({image.shape for image in images}) == 1 and images[0].size <= MAX_WHOLE,
            "patches": min(min(image.shape[:2]) for image in images) >= PATCH,
        }
        if not any(suitable.values()) or (self.form == "whole" and not suitable["whole"]):
            raise UsageError(
                f"denoising by the collection needs images of one size with at most {MAX_WHOLE} values, "
                f"or sides of at least {PATCH} pixels"
            )
        rng = np.random.default_rng(SEED)
        self._measure([images[i] for i in rng.permutation(len(images))[:MEASURED]])
        forms = [form for form, is_suitable in suitable.items() if is_suitable and self.form in (None, form)]
        if len(forms) == 2:
            order = rng.permutation(len(images))
            held = min(TRIED, len(images) // 4)
            tried, rest = np.stack([images[i] for i in order[:held]]), np.stack([images[i] for i in order[held:]])
            noisy = add_noise(tried, TRIED_LEVEL, SEED)
            errors = {
                form: np.mean((FORMS[form].learn(rest)(noisy, TRIED_LEVEL).astype(np.float32) - tried) ** 2)
                for form in forms
            }
            forms = [min(forms, key=errors.__getitem__)]
        self.form_ = forms[0]
        self._filter: GlobalWiener | PatchWiener = FORMS[self.form_].learn(images)
        return self

    def to_arrays(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return what was learnt: facts, as JSON takes them, and arrays."""
        facts = {"form": self.form_, "usual": self._usual}
        return facts, {"scale": self._scale, **self._filter.arrays}

    @classmethod
    def from_arrays(cls, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Restorer:
        """Return one that has learnt what :meth:`to_arrays` returned."""
        restorer = cls(form=facts["form"])
        restorer.form_ = facts["form"]
        restorer._scale, restorer._usual = arrays["scale"], facts["usual"]
        restorer._filter = FORMS[restorer.form_](arrays)
        return restorer

    def _measure(self, images: Sequence[Images]) -> None:
        """Learn how rough images are at each level of noise."""
        clean = np.array([roughness(image) for image in images])
        at = [float(np.median(clean))]
        for level in LEVELS:
            noisy = [roughness(add_noise(image[None], level, SEED + i)[0]) for i, image in enumerate(images)]
            at.append(max(float(np.median(noisy)), at[-1] + 1e-9))
        self._scale = np.array(at)
        self._usual = float(np.quantile(clean, 0.99))

    def levels(self, images: Images) -> list[float]:
        """Estimate the noise of images.

        Parameters
        ----------
        images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
            Of the kind learnt from.

        Returns
        -------
        list of float
            One of ``LEVELS`` an image, or 0 where it is no rougher than the collection's own.
        """
        steps = np.array([0.0, *LEVELS])
        levels = []
        for image in images:
            rough = roughness(image)
            level = float(np.interp(rough, self._scale, steps))
            nearest = float(steps[np.argmin(np.abs(steps - level))])
            levels.append(nearest if rough > self._usual else 0.0)
        return levels

    def restore(self, images: Images, level: float | None = None) -> RestoredImages:
        """Take the noise out of images.

        Parameters
        ----------
        images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
            Of the kind learnt from; of the same size for the form ``whole``.
        level : float, optional
            Standard deviation of the noise, for pixels in 0..1; by default estimated for each image.

        Returns
        -------
        RestoredImages
            In the same order.

        Raises
        ------
        UsageError
            If the level is negative.
        EncoderError
            If the images have another shape than those learnt from.
        """
        if level is not None and not level >= 0:
            raise UsageError(
                f"the level of noise is {level}; give a standard deviation of 0 or more, 1 is black to white"
            )
        self._filter.check(images)
        levels = self.levels(images) if level is None else [float(level)] * len(images)
        out = images.copy()
        for level_of_group in sorted(set(levels) - {0.0}):
            rows = [i for i, of_image in enumerate(levels) if of_image == level_of_group]
            out[rows] = self._filter(images[rows], level_of_group)
        how = (
            f"{NEIGHBORS} neighbours in the collection"
            if self.form_ == "whole"
            else f"patches of the collection in {GROUPS} groups"
        )
        return RestoredImages(out, tuple(levels), how)


def roughness(image: Images) -> float:
    """Tell how rough an image is at the scale of single pixels.

    Parameters
    ----------
    image : ndarray of uint8, shape (h, w) or (h, w, 3)
        Sides of at least 3 pixels.

    Returns
    -------
    float
        For a flat image, with noise that isn't clipped, the noise's standard deviation for pixels in 0..1.

    Examples
    --------
    >>> roughness(np.full((9, 9), 7, np.uint8))
    0.0
    """
    if min(image.shape[:2]) < 3:
        return 0.0
    x = image.astype(np.float32) / 255
    down = x[:-2] - 2 * x[1:-1] + x[2:]
    both = down[:, :-2] - 2 * down[:, 1:-1] + down[:, 2:]
    # The mask's weights have a sum of squares of 36; 0.6745 is the median of |n|.
    return float(np.median(np.abs(both)) / (6 * 0.6745))
