"""The families of augmentations, and a seed -> how much of each family every image gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lookalike.array_types import Float64Array

#: Control points a side of an elastic field; between them it is smooth.
ELASTIC_POINTS = 5


@dataclass(frozen=True)
class Family:
    """One way to augment an image.

    Attributes
    ----------
    unit : str
        What its amount counts.
    glyphs, photos : float
        The greatest amount that leaves a glyph, or a photo, what it was; 0 where the family is off by default.
    curve : tuple of float
        Amounts for a curve of robustness, rising.
    most : float
        The greatest amount there is.
    """

    unit: str
    glyphs: float
    photos: float
    curve: tuple[float, ...]
    most: float = np.inf


GEOMETRIC = frozenset({"turn", "scale", "shear", "shift", "elastic", "crop", "mirror"})
FAMILIES: dict[str, Family] = {
    "turn": Family("degrees, to either side", 15, 10, (5, 10, 20, 30, 45, 60, 90, 180)),
    "scale": Family("share by which width and height grow or shrink", 0.2, 0.15, (0.1, 0.2, 0.3, 0.5, 1.0)),
    "shear": Family("sideways pixels a row, or part of one", 0.3, 0.1, (0.1, 0.2, 0.4, 0.6)),
    "shift": Family("share of the side", 0.07, 0.05, (0.02, 0.05, 0.1, 0.15, 0.2), 1),
    "elastic": Family("share of the side that a point moves", 0.08, 0.02, (0.02, 0.05, 0.1, 0.15), 1),
    "contrast": Family("logarithm of the exponent of the grey value", 0.5, 0.3, (0.25, 0.5, 1.0, 1.5)),
    "colour": Family("share by which each channel and the saturation change", 0, 0.3, (0.1, 0.3, 0.6, 1.0)),
    "grey": Family("share of the colour that is lost", 0, 0, (0.5, 0.9, 1.0), 1),
    "blur": Family("standard deviation as a share of the side", 0.03, 0.008, (0.005, 0.01, 0.02, 0.04, 0.08), 1),
    "noise": Family("standard deviation, 1 being black to white", 0.1, 0.05, (0.05, 0.1, 0.2, 0.3, 0.5)),
    "jpeg": Family("100 minus the quality", 0, 60, (25, 50, 75, 90, 95), 99),
    "crop": Family("share of the side that is cut away", 0, 0.3, (0.1, 0.2, 0.3, 0.5, 0.7), 0.95),
    "mirror": Family("chance to be flipped left to right", 0, 0, (1.0,), 1),
    "erase": Family("side of the grey patch, as a share of the image's", 0, 0.2, (0.1, 0.2, 0.3, 0.5, 0.7), 1),
}


class FamilyDraws:
    """What every image gets of every family.

    Attributes
    ----------
    amounts : dict of str to ndarray of float64, shape (n, k)
        In the family's unit; one an image, more where a family needs several.
    places : dict of str to ndarray of float64, shape (n, p)
        Numbers in -1..1 that are no amounts.
    """

    SIGNED = frozenset({"turn", "scale", "shear", "shift", "contrast", "colour"})
    AMOUNTS: ClassVar[dict[str, int]] = {"scale": 2, "shift": 2, "contrast": 2, "colour": 4}
    PLACES: ClassVar[dict[str, int]] = {"crop": 2, "elastic": 2 * ELASTIC_POINTS**2, "erase": 2}

    def __init__(self, families: Mapping[str, float], number: int, seed: int, exact: bool) -> None:
        self.number = number
        self.exact = exact
        self.amounts: dict[str, Float64Array] = {}
        self.places: dict[str, Float64Array] = {}
        for position, name in enumerate(FAMILIES):
            amount = families.get(name, 0)
            if not amount:
                continue
            rng = np.random.default_rng([seed, position])
            if name == "mirror":
                self.amounts[name] = (rng.random((number, 1)) < amount).astype(np.float64)
                continue
            drawn = rng.uniform(-1 if name in self.SIGNED else 0, 1, (self.AMOUNTS.get(name, 1), number)).T
            self.amounts[name] = amount * (np.where(drawn < 0, -1.0, 1.0) if exact else drawn)
            self.places[name] = rng.uniform(-1, 1, (number, self.PLACES.get(name, 0)))
            if name == "noise":
                self.noise = rng

    def __contains__(self, name: str) -> bool:
        return name in self.amounts

    def __getitem__(self, name: str) -> Float64Array:
        return self.amounts[name][:, 0]
