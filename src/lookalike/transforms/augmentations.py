"""Images -> augmented copies of them: turned, cropped, re-toned, blurred and more, by named families, from a seed.

A person takes an augmented copy for the same picture, so a search should find it. Families, each with an amount in its own
unit, are in :data:`FAMILIES`. The picture moves once: all geometric families together are one map from each pixel to where
it is read (:mod:`lookalike.transforms.pixel_maps`). Beyond its border a picture with a plain ground goes on in that ground,
any other is mirrored. Then come tone and colour, blur, noise, JPEG and erasing, in that order.

A new family is a line in :data:`lookalike.transforms.families.FAMILIES` and a few in :func:`augment`, or in the map.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array, Float64Array
from lookalike.errors import UsageError, unknown_name
from lookalike.transforms.families import FAMILIES, GEOMETRIC, FamilyDraws
from lookalike.transforms.grounds import kind_of, plain_grounds
from lookalike.transforms.pixel_maps import PixelMaps, move

#: Values worked on at once: what is made of them on the way stays in a core's cache.
BLOCK_VALUES = 2**17
#: Weights of red, green and blue in a grey value (ITU-R BT.601).
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


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
    draws = FamilyDraws(families, len(images), seed, exact)
    maps = PixelMaps(draws, images.shape[1:3]) if GEOMETRIC & set(draws.amounts) else None
    out = np.empty_like(images)
    values = int(np.prod(images.shape[1:]))
    step = max(1, BLOCK_VALUES // values)
    for start in range(0, len(images), step):
        part = slice(start, start + step)
        pixels = images[part, ..., None] if images.ndim == 3 else images[part]
        plain, ground = plain_grounds(images[part])
        changed = pixels.astype(np.float32)
        if maps is not None:
            changed = move(changed, maps, part, plain, ground.astype(np.float32))
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


def _tone(pixels: Float32Array, draws: FamilyDraws, part: slice, plain: NDArray[np.bool_]) -> None:
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


def _blur(pixels: Float32Array, draws: FamilyDraws, part: slice) -> Float32Array:
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


def _compress(pixels: NDArray[np.uint8], draws: FamilyDraws, part: slice) -> None:
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
    pixels: NDArray[np.uint8], draws: FamilyDraws, part: slice, plain: NDArray[np.bool_], ground: NDArray[np.uint8]
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


__all__ = ["FAMILIES", "augment", "check_families", "families_for"]
