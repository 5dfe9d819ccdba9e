"""Hugging Face's ``preprocessor_config.json`` and an image -> the input of an ONNX model.

Both forms of the file's ``size`` are read, ``{"shortest_edge": 256}`` with a crop from the middle and
``{"height": 224, "width": 224}``, and the plain number of older files. Without the file an image is scaled to the graph's
size (224 where that is open), to values of 0..1, and by ImageNet's mean and deviation.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.onnx.settings import MAX_SIDE, Settings
from lookalike.errors import EncoderError, first_line

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
DEFAULT_SIDE = 224
_BICUBIC = 3  # Pillow's number, which Hugging Face's files use
_CONVNEXT_FROM = 384  # from this side on, transformers squashes where `crop_pct` would crop


def read_preprocessing(config: bytes | None, fixed: tuple[int, int], where: str, **graph: Any) -> Settings:
    """Read ``preprocessor_config.json``.

    Parameters
    ----------
    config : bytes or None
        The file's content; None where there is none.
    fixed : tuple of int
        Height and width that the graph asks for, 0 where it leaves them open.
    where : str
        Where the model came from, for the messages.
    **graph
        The fields of :class:`Settings` that the graph gives: ``input``, ``type``, ``layout`` and ``channels``.

    Returns
    -------
    Settings
        All but the output.

    Raises
    ------
    EncoderError
        If the file can't be understood, or asks for another size than the graph.
    """
    channels = graph["channels"]
    try:
        fields = json.loads(config) if config is not None else {}
        size, resize = _sizes(fields, fixed)
        rescale = float(fields.get("rescale_factor", 1 / 255)) if fields.get("do_rescale", True) else 1.0
        mean, std = _mean_and_std(fields, channels)
        resample = int(fields.get("resample", _BICUBIC))
        if not np.isfinite([rescale, *mean, *std]).all() or 0 in std or not 0 <= resample <= 5:
            raise ValueError(f"rescale_factor {rescale}, image_mean {mean}, image_std {std}, resample {resample}")
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as e:
        raise EncoderError(
            f"{where}: its preprocessor_config.json isn't understood ({type(e).__name__}: {first_line(e)}); "
            "correct it, or take it away to use ImageNet's mean and deviation"
        ) from e
    if any(f and f != s for f, s in zip(fixed, size, strict=True)):
        raise EncoderError(
            f"{where}: the model takes images of {fixed[1]} x {fixed[0]}, its preprocessor_config.json makes "
            f"{size[1]} x {size[0]}; correct the file"
        )
    return Settings(**graph, size=size, resize=resize, resample=resample, rescale=rescale, mean=mean, std=std)


def _sizes(fields: dict[str, Any], fixed: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int] | int]:
    """Return what is cut from the middle, and what an image is scaled to before: both sides, or its shorter."""
    given = fields.get("size")
    crop = fields.get("crop_size") if fields.get("do_center_crop") else None
    resize: tuple[int, int] | int
    if given is None:
        resize = (fixed[0] or DEFAULT_SIDE, fixed[1] or DEFAULT_SIDE) if crop is None else _both(crop)
    elif isinstance(given, dict) and "shortest_edge" in given:
        resize = _side(given["shortest_edge"])
    else:
        resize = _side(given) if isinstance(given, int) and crop is not None else _both(given)
    if crop is not None:
        size = _both(crop)
        least = (resize, resize) if isinstance(resize, int) else resize
        if fields.get("do_resize", True) and (least[0] < size[0] or least[1] < size[1]):
            raise ValueError(f"crop_size {crop} is larger than size {given}")
        return size, resize if fields.get("do_resize", True) else size
    if isinstance(resize, int):
        share = fields.get("crop_pct")
        if share is None or resize >= _CONVNEXT_FROM:
            return (resize, resize), (resize, resize)
        return (resize, resize), _side(int(resize / share))
    return resize, resize


def _mean_and_std(fields: dict[str, Any], channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if not fields.get("do_normalize", True):
        return (0.0,) * channels, (1.0,) * channels
    mean = _per_channel(fields.get("image_mean", _per_channel(IMAGENET_MEAN, channels)), channels)
    return mean, _per_channel(fields.get("image_std", _per_channel(IMAGENET_STD, channels)), channels)


def _both(given: Any) -> tuple[int, int]:
    if isinstance(given, dict):
        if "shortest_edge" in given:
            return (_side(given["shortest_edge"]),) * 2
        return _side(given["height"]), _side(given["width"])
    height, width = given if isinstance(given, list) else (given, given)
    return _side(height), _side(width)


def _side(given: Any) -> int:
    if not isinstance(given, int) or not 1 <= given <= MAX_SIDE:
        raise ValueError(f"a side of {given!r}, expected 1 to {MAX_SIDE}")
    return given


def _per_channel(given: Any, channels: int) -> tuple[float, ...]:
    values = tuple(float(v) for v in (given if isinstance(given, list | tuple) else [given]))
    if len(values) == channels:
        return values
    if channels == 1 or len(values) == 1:
        return (sum(values) / len(values),) * channels
    raise ValueError(f"{len(values)} values for {channels} channels")


def to_input(image: NDArray[np.uint8], settings: Settings) -> NDArray[Any]:
    """Make the model's input of one image.

    Parameters
    ----------
    image : ndarray of uint8, shape (h, w) or (h, w, 3)
        The image.
    settings : Settings
        What the model wants.

    Returns
    -------
    ndarray, shape (1, 3, h, w) or (1, h, w, 3)
        In the settings' type and layout.
    """
    colour = settings.channels == 3
    if image.shape[:2] != settings.size or (image.ndim == 3) != colour:
        import PIL.Image

        picture = PIL.Image.fromarray(image).convert("RGB" if colour else "L")
        if image.shape[:2] != settings.size:
            picture = picture.resize(
                settings.size[::-1], PIL.Image.Resampling(settings.resample), box=crop_window(image.shape[:2], settings)
            )
        image = np.asarray(picture)
    pixels: NDArray[Any] = image if colour else image[..., None]
    if settings.type != "uint8":
        std = np.array(settings.std, np.float32)
        pixels = pixels * (np.float32(settings.rescale) / std) - np.array(settings.mean, np.float32) / std
    if settings.layout == "NCHW":
        pixels = pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels, settings.type)[None]


def crop_window(shape: tuple[int, ...], settings: Settings) -> tuple[float, float, float, float]:
    """Return the part of an image that the crop keeps.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the image.
    settings : Settings
        What the model takes.

    Returns
    -------
    tuple of float
        Left, top, right and bottom, in pixels of the image.

    Notes
    -----
    Scaling only that part gives what scaling all and cropping would, and a strip of 1 x 10,000 pixels costs no more than
    any other image.
    """
    if isinstance(settings.resize, int):
        scales = [settings.resize / min(shape)] * 2
    else:
        scales = [to / side for to, side in zip(settings.resize, shape, strict=True)]
    kept = [min(side, size / scale) for side, size, scale in zip(shape, settings.size, scales, strict=True)]
    top, left = ((side - keep) / 2 for side, keep in zip(shape, kept, strict=True))
    return left, top, min(left + kept[1], shape[1]), min(top + kept[0], shape[0])  # Pillow refuses a rounding's excess
