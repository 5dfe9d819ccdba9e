"""Descriptors of images and of augmented copies -> projections that reduce the differences between the two, without labels.

Two scatters are compared. *Within*: how descriptors differ between an image and its augmented copies, and, for the forms
that use them, between an image and its nearest neighbours in the space so found. *Total*: how they vary over the
collection. Directions that vary over the collection more than within are kept, and weighed by how much more:
``St v = w (Sw + r tr(Sw)/d I) v``, ``w > 1``, scaled by ``sqrt((w - 1) / w)``; then cosine. This is linear discriminant
analysis with each image as a class of its own (R. A. Fisher, 1936; the weights are those of a Gaussian model's
likelihood ratio, S. Ioffe, "Probabilistic Linear Discriminant Analysis", ECCV 2006); with neighbours it is near to
locality preserving projections (X. He and P. Niyogi, NIPS 2003). The kernel form does the same on random Fourier
features of the leading principal components.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array, Float64Array
from lookalike.encoders.base import Encoder
from lookalike.encoders.postprocess import Projection
from lookalike.errors import UsageError, unknown_name
from lookalike.neighbors.linalg import unit_rows
from lookalike.neighbors.sampling import sample_rows
from lookalike.selection.scatter import LONGEST, leading_directions, nearest_others, neighbour_scatter, solve
from lookalike.selection.selftest import MAX_DATABASE, MAX_QUERIES, MIN_IMAGES, Trial, prepare_trial
from lookalike.transforms.augmentations import augment, check_families, families_for

#: Augmented copies of an image, and most images that get them.
COPIES, MAX_ANCHORS = 4, 3000
#: Most values of augmented images (their pixels times channels): bounds the time on large pictures.
MAX_VALUES = 2.5e8
#: Descriptors longer than ``LONGEST`` are first reduced to so many principal components.
REDUCED = 512
#: The kernel form: principal components that it looks at, and random features.
KERNEL_COMPONENTS, KERNEL_FEATURES = 100, 2000
#: Components of the candidate ``pca``.
PCA_DIMENSION = 64


@dataclass(frozen=True)
class Recipe:
    """How a projection is learnt.

    Attributes
    ----------
    name : str
        ``unchanged``, ``centred``, ``pca``, ``adapted``, ``neighbours`` or ``kernel``.
    shrink : float
        ``r``: how far the within scatter is drawn towards a multiple of the identity.
    neighbours : int
        How many nearest neighbours are taken for the same kind; 0 for none.
    """

    name: str
    shrink: float = 0.3
    neighbours: int = 0

    def __str__(self) -> str:
        if self.name in ("unchanged", "centred", "pca"):
            return self.name
        with_neighbours = f", {self.neighbours} neighbours" if self.neighbours else ""
        return f"{self.name} (r {self.shrink:g}{with_neighbours})"


UNCHANGED = Recipe("unchanged")
#: What ``adapt`` tries.
RECIPES = (
    UNCHANGED,
    Recipe("centred"),
    Recipe("pca"),
    *(Recipe("adapted", r) for r in (0.1, 1, 5)),
    *(Recipe("neighbours", r, k) for r, k in ((0.3, 5), (0.3, 20), (0.3, 50), (3, 20))),
    *(Recipe("kernel", 0.03, k) for k in (5, 20, 50)),
)
NAMES = tuple(dict.fromkeys(recipe.name for recipe in RECIPES))


@dataclass(frozen=True, eq=False)
class Material:
    """Descriptors that recipes learn from, and the trial that judges them; no post-processing in any.

    Attributes
    ----------
    anchors : ndarray of int64, shape (a,)
        Rows of the trial's database that were augmented; none of them is held out.
    copies : ndarray of float32, shape (c, a, d)
        Their augmented copies.
    trial : Trial
        The collection's descriptors, and the copies of held-out images.
    unit : bool
        Whether the descriptors are to be brought to length 1: where they are compared by cosine.
    """

    anchors: NDArray[np.int64]
    copies: Float32Array
    trial: Trial
    unit: bool


def prepare_material(
    encoder: Encoder,
    images: NDArray[np.uint8],
    families: Mapping[str, float] | Iterable[str] | None = None,
    *,
    queries: int = MAX_QUERIES,
    each: bool = False,
    seed: int = 0,
) -> Material:
    """Encode a collection and augmented copies: some to learn from, those of other images to be judged by.

    Parameters
    ----------
    encoder : Encoder
        Fitted, with float descriptors; its post-processing is left aside.
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The collection; of more than ``MAX_DATABASE`` a sample is taken.
    families : mapping of str to float, or iterable of str, optional
        The augmentations; by default what suits the images.
    queries : int
        How many images are held out to judge by, at most a quarter of the collection.
    each : bool
        Judge by each family alone, too.
    seed : int
        Of the sample and the augmentations.

    Returns
    -------
    Material

    Raises
    ------
    UsageError
        If there are too few images, or the encoder gives packed codes.
    """
    if np.dtype(encoder.dtype) != np.float32:
        raise UsageError(f"{encoder.name} gives packed codes, which can't be adapted; adapt its base encoder instead")
    plain = encoder.with_post(None)
    images = images[sample_rows(len(images), MAX_DATABASE, seed)]
    named = families_for(images) if families is None else check_families(families, images)
    trial = prepare_trial(plain, images, named, queries=queries, each=each, seed=seed)
    # The trial left blank images out: find the others' places the same way.
    shown = images if len(trial.database) == len(images) else images[plain.encode(images).any(axis=1)]
    free = np.setdiff1d(np.arange(len(trial.database)), trial.originals)
    most = min(MAX_ANCHORS, max(MIN_IMAGES, int(MAX_VALUES / COPIES / np.prod(images.shape[1:]))))
    anchors = free[sample_rows(len(free), most, seed + 1)]
    copies = np.stack([plain.encode(augment(shown[anchors], named, seed=seed + i)) for i in range(COPIES)])
    return Material(anchors, copies, trial, plain.distance == "cosine")


def learn(material: Material, recipe: Recipe, *, seed: int = 0) -> Projection | None:
    """Learn a projection by one recipe.

    Parameters
    ----------
    material : Material
        What :func:`prepare_material` returned.
    recipe : Recipe
        How; ``unchanged`` gives None.
    seed : int
        Of the random features of the kernel form.

    Returns
    -------
    Projection or None
        None, too, where fewer than two directions vary over the collection more than within.

    Raises
    ------
    UsageError
        If the recipe's name isn't known.
    """
    if recipe.name not in NAMES:
        raise unknown_name("recipe", recipe.name, NAMES)
    return Learner(material, seed=seed).learn(recipe)


def centred(mean: Float32Array, unit: bool) -> Projection:
    """Return what takes a mean off, and leaves the directions as they are.

    Parameters
    ----------
    mean : ndarray of float32, shape (d,)
        Of the collection's descriptors, or of a sample of them.
    unit : bool
        Whether descriptors are brought to length 1 first, as those were that the mean is of.

    Returns
    -------
    Projection
    """
    return Projection("centred", mean, np.empty((len(mean), 0), np.float32), unit, params={})


class Learner:
    """Learns by several recipes from one material; what they share is worked out once.

    Parameters
    ----------
    material : Material
        What to learn from.
    seed : int
        Of the random features.
    """

    def __init__(self, material: Material, *, seed: int = 0) -> None:
        self.material = material
        self.seed = seed
        self.table = self._scaled(material.trial.database)
        self.mean = self.table.mean(axis=0)
        self.reduction = leading_directions(self.table - self.mean, REDUCED) if self.table.shape[1] > LONGEST else None
        self.total: dict[str, Float64Array] = {}
        self.augmentations: dict[str, Float64Array] = {}
        self.near: NDArray[np.int64] | None = None

    def learn(self, recipe: Recipe) -> Projection | None:
        """Learn a projection; see :func:`learn`."""
        if recipe.name == "unchanged":
            return None
        facts: dict[str, Any] = {}
        if recipe.name == "centred":
            return centred(self.mean, self.material.unit)
        if recipe.name == "pca":
            basis = leading_directions(self.table - self.mean, PCA_DIMENSION)
            return Projection("pca", self.mean, basis, self.material.unit, params={"dimension": basis.shape[1]})
        facts = {"shrink": recipe.shrink, "neighbours": recipe.neighbours, "families": self.material.trial.families}
        if recipe.name == "kernel":
            first, waves, phases = self._waves()
            base = Projection(
                "waves",
                self.mean,
                first,
                False,
                waves,
                phases,
                np.zeros(len(phases), np.float32),
                np.eye(len(phases), dtype=np.float32),
            )

            def features(rows: Float32Array) -> Float32Array:
                return np.asarray(np.cos((rows - self.mean) @ first @ waves + phases), np.float32)
        else:
            start = self.reduction

            def features(rows: Float32Array) -> Float32Array:
                return np.asarray(rows - self.mean if start is None else (rows - self.mean) @ start, np.float32)

        space = "kernel" if recipe.name == "kernel" else "linear"
        centre, matrix = self._solve(space, features, recipe)
        if matrix.shape[1] < 2:
            return None
        facts["dimension"] = matrix.shape[1]
        unit = self.material.unit
        if recipe.name == "kernel":
            return Projection(
                "kernel", self.mean, base.matrix, unit, base.waves, base.phases, centre, matrix, params=facts
            )
        # The mean goes first, so that what the reduction drops is dropped of the mean as well.
        whole = matrix if self.reduction is None else self.reduction @ matrix
        return Projection(recipe.name, self.mean, whole, unit, params=facts)

    def _scaled(self, rows: Float32Array) -> Float32Array:
        if not self.material.unit:
            return rows
        return np.asarray(unit_rows(rows), np.float32)

    def _solve(
        self, space: str, features: Callable[[Float32Array], Float32Array], recipe: Recipe
    ) -> tuple[Float32Array, Float32Array]:
        anchors, copies = self.material.anchors, self.material.copies
        rows = features(self.table)
        centre = rows.mean(axis=0)
        rows -= centre
        if space not in self.total:
            self.total[space] = (rows.T @ rows / len(rows)).astype(np.float64)
            within = np.zeros_like(self.total[space])
            for some in copies:
                away = features(self._scaled(some)) - centre - rows[anchors]
                within += away.T @ away
            self.augmentations[space] = within / (len(copies) * len(anchors))
        within = self.augmentations[space]
        if recipe.neighbours:
            within = neighbour_scatter(rows, self.neighbours()[:, : recipe.neighbours])
        return centre, solve(self.total[space], within, recipe.shrink)

    def neighbours(self) -> NDArray[np.int64]:
        """Find each image's nearest others, in the space that augmented copies alone give."""
        if self.near is None:
            post = self.learn(Recipe("adapted", 0.3)) or self.learn(Recipe("centred"))
            assert post is not None
            rows = unit_rows(post.apply(self.material.trial.database))
            most = min(max(r.neighbours for r in RECIPES), max(1, len(rows) // 4))
            self.near, _ = nearest_others(rows, most)
        return self.near

    def _waves(self) -> tuple[Float32Array, Float32Array, Float32Array]:
        rng = np.random.default_rng([self.seed, 2])
        first = leading_directions(self.table - self.mean, KERNEL_COMPONENTS)
        rows = (self.table - self.mean) @ first
        pairs = rng.integers(len(rows), size=(2, 2000))
        width = float(np.median(np.linalg.norm(rows[pairs[0]] - rows[pairs[1]], axis=1))) or 1.0
        number = min(KERNEL_FEATURES, 2 * len(rows))
        waves = rng.standard_normal((first.shape[1], number)) / width
        phases = rng.uniform(0, 2 * np.pi, number)
        return first, waves.astype(np.float32), phases.astype(np.float32)
