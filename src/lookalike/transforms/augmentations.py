"""Images -> augmented copies of them: turned, cropped, re-toned, blurred and more, by named families, from a seed.

A person takes an augmented copy for the same picture, so a search should find it. Families, each with an amount in its own
unit, are in :data:`FAMILIES`. The picture moves once: all geometric families together are one map
from each pixel to where it is read, bilinearly. Beyond its border a picture with a plain ground goes on in that ground,
any other is mirrored. Then come tone and colour, blur, noise, JPEG and erasing, in that order.

A new family is a line in :data:`FAMILIES` and a few in :func:`augment`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array, Float64Array
from lookalike.errors import UsageError, unknown_name
from lookalike.transforms.grounds import kind_of, plain_grounds
from lookalike.transforms.windows import smooth_windows

#: Values worked on at once: what is made of them on the way stays in a core's cache.
BLOCK_VALUES = 2**17
#: Control points a side of an elastic field; between them it is smooth.
ELASTIC_POINTS = 5
#: Weights of red, green and blue in a grey value (ITU-R BT.601).
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


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


def families_for(images: NDArray[np.uint8]) -> dict[str, float]:
    """Return the families that suit a collection, with their amounts.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The collection, or a sample of it.

    Returns
    -------
    dict of str to float
        Family to greatest amount; those that are off by default are left out, and colour where there is none.

    Examples
    --------
    >>> list(families_for(np.zeros((1, 8, 8), np.uint8)))
    ['turn', 'scale', 'shear', 'shift', 'elastic', 'contrast', 'blur', 'noise']
    """
    kind = kind_of(images)
    amounts = {name: float(getattr(family, kind)) for name, family in FAMILIES.items()}
    if images.ndim == 3:
        amounts["colour"] = 0.0
    elif kind == "glyphs":
        amounts["colour"] = FAMILIES["colour"].photos / 2
    return {name: amount for name, amount in amounts.items() if amount > 0}


def check_families(families: Mapping[str, float] | Iterable[str], images: NDArray[np.uint8]) -> dict[str, float]:
    """Return families with their amounts, or say what is wrong with them.

    Parameters
    ----------
    families : mapping of str to float, or iterable of str
        Amounts by name; or names, which get the amount that suits the images, or photos if it is off for them.
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        What shall be augmented.

    Returns
    -------
    dict of str to float

    Raises
    ------
    UsageError
        If a family isn't known, or an amount isn't a number from 0 to the most that the family allows.
    """
    for name in families:
        if name not in FAMILIES:
            raise unknown_name("augmentation family", name, FAMILIES)
    if not isinstance(families, Mapping):
        suited = families_for(images)
        return {name: suited.get(name) or FAMILIES[name].photos or FAMILIES[name].curve[-1] for name in families}
    for name, amount in families.items():
        family = FAMILIES[name]
        if not isinstance(amount, int | float) or not 0 <= amount <= family.most:
            most = "" if family.most == np.inf else f" to {family.most:g}"
            raise UsageError(f"augmentation {name}={amount!r}: the amount is a number from 0{most} ({family.unit})")
    return {name: float(amount) for name, amount in families.items()}


def augment(
    images: NDArray[np.uint8],
    families: Mapping[str, float] | Iterable[str] | None = None,
    *,
    seed: int = 0,
    exact: bool = False,
) -> NDArray[np.uint8]:
    """Return an augmented copy of every image.

    Each image gets a draw of its own from every family, between nothing and the amount. A family's draws depend on the
    seed, on its name and on the image's place, so switching another family on or off doesn't change them.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        The images; not changed.
    families : mapping of str to float, or iterable of str, optional
        Amounts by name, or names; by default :func:`families_for` the images.
    seed : int
        The same seed gives the same copies.
    exact : bool
        Give every image the whole amount, to one side or the other, as curves of robustness need.

    Returns
    -------
    ndarray of uint8, same shape

    Raises
    ------
    UsageError
        If a family isn't known or an amount is out of its range.

    Examples
    --------
    >>> image = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    >>> augment(image, {"mirror": 1}, exact=True).tolist()
    [[[2, 1, 0], [5, 4, 3]]]
    """
    families = families_for(images) if families is None else check_families(families, images)
    draws = _Draws(families, len(images), seed, exact)
    maps = _Maps(draws, images.shape[1:3]) if GEOMETRIC & set(draws.amounts) else None
    out = np.empty_like(images)
    values = int(np.prod(images.shape[1:]))
    step = max(1, BLOCK_VALUES // values)
    for start in range(0, len(images), step):
        part = slice(start, start + step)
        pixels = images[part, ..., None] if images.ndim == 3 else images[part]
        plain, ground = plain_grounds(images[part])
        changed = pixels.astype(np.float32)
        changed = _move(changed, maps, part, plain, ground.astype(np.float32))
        _tone(changed, draws, part, plain)
        changed = _blur(changed, draws, part)
        if "noise" in draws:
            noise = draws.noise.standard_normal(changed.shape, np.float32)  # block after block
            changed += noise * (255 * draws["noise"][part])[:, None, None, None].astype(np.float32)
        pixels_out = np.clip(np.rint(changed), 0, 255).astype(np.uint8)
        _compress(pixels_out, draws, part)
        _erase(pixels_out, draws, part, plain, ground)
        out[part] = pixels_out.reshape(out[part].shape)
    return out


class _Draws:
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


def _move(
    pixels: Float32Array, maps: _Maps | None, part: slice, plain: NDArray[np.bool_], ground: Float32Array
) -> Float32Array:
    """Read each pixel from where the geometric families say."""
    if maps is None:
        return pixels
    y, x = maps.sources(part)
    number, height, width = pixels.shape[:3]
    outside = (y < -0.5) | (y > height - 0.5) | (x < -0.5) | (x > width - 0.5)
    outside &= plain[:, None, None]
    y, x = _fold(y, height), _fold(x, width)
    top, left = y.astype(np.intp), x.astype(np.intp)
    down = np.minimum(top + 1, height - 1) - top
    right = np.minimum(left + 1, width - 1) - left
    at = np.arange(number)[:, None, None] * (height * width) + top * width + left
    flat = pixels.reshape(-1, pixels.shape[3])
    share_y, share_x = (y - top)[..., None].astype(np.float32), (x - left)[..., None].astype(np.float32)
    above: Float32Array = flat[at]
    above += (flat[at + right] - above) * share_x
    at += down * width
    below = flat[at]
    below += (flat[at + right] - below) * share_x
    below -= above
    below *= share_y
    above += below
    np.copyto(above, ground[:, None, None, :], where=outside[..., None])
    return above


def _fold(at: Float32Array, size: int) -> Float32Array:
    """Mirror coordinates beyond the border back into 0..size-1."""
    folded = at + np.float32(0.5)
    np.abs(folded, out=folded)
    if folded.max(initial=0) > 2 * size:  # a remainder costs as much as all the rest
        folded %= np.float32(2 * size)
    folded -= np.float32(size)
    np.abs(folded, out=folded)
    np.subtract(np.float32(size - 0.5), folded, out=folded)
    return np.clip(folded, 0, size - 1, out=folded)


class _Maps:
    """Where each pixel of each copy is read: an affine map, and a smooth field."""

    def __init__(self, draws: _Draws, shape: tuple[int, ...]) -> None:
        height, width = shape
        number = draws.number
        self.matrix = np.broadcast_to(np.eye(2), (number, 2, 2)).copy()
        self.offset = np.zeros((number, 2))
        if "turn" in draws:
            angle = np.deg2rad(draws["turn"])
            self._then([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        if "shear" in draws:
            self._then([[1, 0], [draws["shear"], 1]])
        if "scale" in draws:
            grow = np.sign(draws.amounts["scale"]) * np.log1p(np.abs(draws.amounts["scale"]))
            down, across = (0, 0) if draws.exact else (0, 1)  # exactly: both sides alike
            self._then([[np.exp(-grow[:, down]), 0], [0, np.exp(-grow[:, across])]])
        if "mirror" in draws:
            self._then([[1, 0], [0, 1 - 2 * draws["mirror"]]])
        if "crop" in draws:
            kept = 1 - draws["crop"]
            self._then([[kept, 0], [0, kept]])
            self.offset += draws.places["crop"] * ((1 - kept) / 2)[:, None] * [height, width]
        if "shift" in draws:
            self.offset += draws.amounts["shift"] * [height, width]
        self.field = None
        if "elastic" in draws:
            points = draws.places["elastic"].reshape(number, 2, ELASTIC_POINTS, ELASTIC_POINTS)
            points = points - points.mean(axis=(2, 3), keepdims=True)  # what moves as a whole is a shift
            points /= np.abs(points).max(axis=(1, 2, 3), keepdims=True)
            self.field = (
                points * draws["elastic"][:, None, None, None] * np.reshape([height, width], (1, 2, 1, 1))
            ).astype(np.float32)
        self.down, self.across = smooth_windows(ELASTIC_POINTS, height), smooth_windows(ELASTIC_POINTS, width)
        self.y, self.x = (a.astype(np.float32) for a in np.mgrid[:height, :width])
        self.centre = ((height - 1) / 2, (width - 1) / 2)

    def _then(self, rows: Sequence[Sequence[Float64Array | float]]) -> None:
        number = len(self.matrix)
        step = np.stack([np.stack([np.broadcast_to(v, (number,)) for v in row], axis=1) for row in rows], axis=1)
        self.matrix = self.matrix @ step

    def sources(self, part: slice) -> tuple[Float32Array, Float32Array]:
        """Return the row and the column that each pixel is read from, both (b, h, w)."""
        matrix, offset = self.matrix[part].astype(np.float32), self.offset[part].astype(np.float32)
        y, x = self.y - np.float32(self.centre[0]), self.x - np.float32(self.centre[1])
        places = []
        for axis in range(2):
            at = matrix[:, axis, 0, None, None] * y + matrix[:, axis, 1, None, None] * x
            at += (offset[:, axis] + np.float32(self.centre[axis]))[:, None, None]
            if self.field is not None:
                at += self.down.T @ self.field[part, axis] @ self.across
            places.append(at)
        return places[0], places[1]


def _tone(pixels: Float32Array, draws: _Draws, part: slice, plain: NDArray[np.bool_]) -> None:
    """Change contrast and colours, in place."""

    def each(values: Float64Array) -> Float32Array:
        return values.astype(np.float32)[:, None, None, None]

    if "contrast" in draws:
        pixels /= 255
        np.power(pixels, each(np.exp(draws["contrast"][part])), out=pixels)
        pixels *= 255
        # A plain ground stays what it is; in a photo the mean does.
        gain = each(np.where(plain, 1, np.exp(draws.amounts["contrast"][part, 1])))
        mean = pixels.mean(axis=(1, 2, 3), keepdims=True)
        pixels -= mean
        pixels *= gain
        pixels += mean
    if pixels.shape[3] == 3:
        if "colour" in draws:
            pixels *= np.exp(draws.amounts["colour"][part, 1:] / 2).astype(np.float32)[:, None, None, :]
            _saturate(pixels, each(np.exp(2 * draws["colour"][part])))
        if "grey" in draws:
            _saturate(pixels, each(1 - draws["grey"][part]))
    np.clip(pixels, 0, 255, out=pixels)


def _saturate(pixels: Float32Array, factor: Float32Array) -> None:
    grey = (pixels @ LUMINANCE)[..., None]
    pixels -= grey
    pixels *= factor
    pixels += grey


def _blur(pixels: Float32Array, draws: _Draws, part: slice) -> Float32Array:
    """Blur by a Gaussian of each image's own width; a matrix product a side."""
    if "blur" not in draws:
        return pixels
    number, height, width, channels = pixels.shape
    deviation = np.maximum(draws["blur"][part] * min(height, width), 1e-3)

    def windows(size: int) -> Float32Array:
        at = np.arange(size)
        weights = np.exp(-0.5 * (at / deviation[:, None]) ** 2).astype(np.float32)
        spread = weights[:, np.abs(np.subtract.outer(at, at))]
        spread /= spread.sum(axis=2, keepdims=True)
        return np.asarray(spread, np.float32)

    down = windows(height)
    across = down if width == height else windows(width)
    pixels = (down @ pixels.reshape(number, height, -1)).reshape(pixels.shape)
    rows = pixels.transpose(0, 3, 1, 2).reshape(number, channels * height, width)
    blurred = rows @ across.transpose(0, 2, 1)
    return np.ascontiguousarray(blurred.reshape(number, channels, height, width).transpose(0, 2, 3, 1))


def _compress(pixels: NDArray[np.uint8], draws: _Draws, part: slice) -> None:
    """Store as JPEG and read again, in place."""
    if "jpeg" not in draws:
        return
    from PIL import Image

    for i, loss in enumerate(draws["jpeg"][part]):
        file = io.BytesIO()
        Image.fromarray(pixels[i] if pixels.shape[3] == 3 else pixels[i, ..., 0]).save(
            file, "JPEG", quality=round(100 - loss)
        )
        pixels[i] = np.asarray(Image.open(file)).reshape(pixels[i].shape)


def _erase(
    pixels: NDArray[np.uint8], draws: _Draws, part: slice, plain: NDArray[np.bool_], ground: NDArray[np.uint8]
) -> None:
    """Put a patch somewhere, in the ground's colour or in the image's mean, in place."""
    if "erase" not in draws:
        return
    height, width = pixels.shape[1:3]
    for i, side in enumerate(draws["erase"][part]):
        h, w = round(side * height), round(side * width)
        top, left = ((draws.places["erase"][part][i] + 1) / 2 * [height - h, width - w]).round().astype(int)
        fill = ground[i] if plain[i] else pixels[i].mean(axis=(0, 1)).round()
        pixels[i, top : top + h, left : left + w] = fill
