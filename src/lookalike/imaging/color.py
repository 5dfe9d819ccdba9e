"""A loaded picture -> the same as it is meant to be seen: upright, on white, grey or sRGB."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from lookalike.imaging.formats import pillow
from lookalike.imaging.resize import to_uint8

if TYPE_CHECKING:
    from PIL.Image import Image

_ORIENTATION = 0x0112  # EXIF's tag
_ORIENTED = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")  # where Pillow looks for it
_GREY = ("1", "L", "LA", "La")
_SAME_COLOUR = 3  # levels by which a profile may differ from sRGB and be taken for it


def orientation_of(image: Image) -> int:
    """Return a picture's orientation by its EXIF; a block that can't be read doesn't spoil the picture.

    Parameters
    ----------
    image : PIL.Image.Image
        As opened or loaded from a file.

    Returns
    -------
    int
        1 to 8; 1 where it is stored upright, from 5 on where its sides change places.
    """
    import PIL.Image

    if image.format == "TIFF" or not any(key in image.info for key in _ORIENTED):  # Pillow turns a TIFF itself
        return 1
    try:
        value = PIL.Image.Image.getexif(image).get(_ORIENTATION)  # a PNG's own would decode all of it first
    except Exception:  # as many kinds as a damaged picture has
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def set_upright(picture: Image, orientation: int) -> Image:
    """Set upright what EXIF says is stored otherwise: 2 mirrored, 3 upside down, 6 and 8 on its side, ...

    Parameters
    ----------
    picture : PIL.Image.Image
        In any mode.
    orientation : int
        As :func:`orientation_of` gives it.

    Returns
    -------
    PIL.Image.Image
        The picture itself where it is upright already.
    """
    if orientation == 1:
        return picture
    turn = pillow().Transpose
    return picture.transpose(
        {
            2: turn.FLIP_LEFT_RIGHT,
            3: turn.ROTATE_180,
            4: turn.FLIP_TOP_BOTTOM,
            5: turn.TRANSPOSE,
            6: turn.ROTATE_270,
            7: turn.TRANSVERSE,
            8: turn.ROTATE_90,
        }[orientation]
    )


def is_grey(image: Image) -> bool:
    """Tell whether :func:`to_plain` gives a grey picture.

    Parameters
    ----------
    image : PIL.Image.Image
        As opened or loaded from a file.

    Returns
    -------
    bool
        Whether the file holds shades of grey alone.
    """
    return image.mode in _GREY or image.mode[0] in "FI" or "grey" in image.info


def to_plain(image: Image, where: str) -> Image:
    """Bring a loaded image to mode L or RGB, in sRGB, on white.

    Parameters
    ----------
    image : PIL.Image.Image
        In any mode.
    where : str
        Its name in errors.

    Returns
    -------
    PIL.Image.Image
        The image itself where it is so already.

    Raises
    ------
    ImageError
        If its values are NaN, infinite, or out of range.
    """
    pil = pillow()
    profile = image.info.get("icc_profile") or b""
    if image.mode in ("CMYK", "LAB"):
        transform = _to_srgb(profile if image.mode == "CMYK" else b"", image.mode)
        return transform.apply(image) if transform else image.convert("RGB")
    plain = image
    kind = "L" if is_grey(image) else "RGB"
    if image.mode[0] in "FI":  # grey in 16 or 32 bits
        values = np.asarray(image)
        # Mode I holds integers of any depth. A PPM's run to 65,535; otherwise what fits into 8 bits is taken as it is.
        deep = image.mode == "I" and values.min() >= 0 and (image.format == "PPM" or 255 < values.max() <= 65535)
        grey = to_uint8(values.astype(np.uint16) if deep else values, where)
        if isinstance(clear := image.info.get("transparency"), int):
            grey = np.where(values == clear, np.uint8(255), grey)
        plain = pil.fromarray(grey)
    elif (seen := image.info.get("seen")) is not None:  # see png.py
        plain = pil.new("RGB", image.size, "white")
        plain.paste(image, mask=seen)
    elif image.has_transparency_data:
        if image.mode in ("La", "RGBa"):  # premultiplied, which converts to its plain form only
            image = image.convert(image.mode.upper())
        if image.mode != "RGBA":
            image = image.convert("RGBA")
        plain = pil.new("RGB", image.size, "white")
        plain.paste(image, mask=image)
    if plain.mode != kind:
        plain = plain.convert(kind)
    transform = _to_srgb(profile, kind) if profile else None
    if transform is None:
        return plain
    return plain.point(transform) if kind == "L" else transform.apply(plain)


@lru_cache(maxsize=16)
def _to_srgb(profile: bytes, mode: str) -> Any:
    """Make what brings an image from a profile's colours to sRGB.

    Returns
    -------
    ImageCmsTransform, list of int or None
        For grey a table of its 256 levels; None where nothing needs to be done, or the profile is of no use.
    """
    from PIL import ImageCms

    pil = pillow()
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile)) if profile else None
        if source is None and mode == "CMYK":
            return None
        wanted = {"L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK", "LAB": "Lab "}[mode]
        if source is not None and source.profile.xcolor_space != wanted:
            return None
        transform = ImageCms.buildTransform(
            source or ImageCms.createProfile("LAB"),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if mode in ("CMYK", "LAB"):
            return transform
        levels = np.arange(256) if mode == "L" else np.arange(0, 256, 15)
        colours = levels[None] if mode == "L" else np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
        colours = colours.astype(np.uint8)
        result = np.asarray(transform.apply(pil.fromarray(colours)))
    except Exception:  # a damaged profile doesn't spoil the picture; littleCMS and Pillow say so in several kinds
        return None
    before = colours if mode == "RGB" else colours[..., None]
    if np.abs(result.astype(int) - before).max() <= _SAME_COLOUR:
        return None
    return result[0, :, 1].tolist() if mode == "L" else transform
