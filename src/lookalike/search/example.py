"""An image that a query asks by, whole or in part <-> the documented JSON of it."""

from __future__ import annotations

import base64
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.ids import as_text
from lookalike.collections.in_memory import STANDARD_INPUT, content_of, from_base64, pixels_of, read_standard_input
from lookalike.errors import UsageError
from lookalike.imaging.encode import to_png
from lookalike.search.json_values import in_short, json_object, number, text, whole_number

Crop: TypeAlias = tuple[int, int, int, int]

_MEANT_AS_CROP = re.compile(r"(?P<path>.+)\[[^\[\]]*,[^\[\]]*\]", re.DOTALL)
_CROPPED = re.compile(r"(?P<path>.+)\[(?P<crop>\s*-?\d+\s*(,\s*-?\d+\s*){3})\]", re.DOTALL)
_SOURCES = ("path", "id", "data")
_KEYS = (*_SOURCES, "crop", "weight")


@dataclass(frozen=True)
class Example:
    """An image that a query asks by; exactly one of ``path``, ``id``, ``data`` and ``pixels`` is given.

    Attributes
    ----------
    path : str or None
        A file, or what else :func:`lookalike.open_collection` opens as one image: ``mnist:test[7]``. A ``Path`` becomes text.
    id : str or None
        An image of the index.
    data : bytes or None
        A file's content, which may be given as any bytes, an open file, a Pillow image, or base64. In JSON it is base64.
    pixels : ndarray of uint8, shape (h, w) or (h, w, 3), or None
        An image in memory, as the server has it when it was decoded; not part of the JSON.
    crop : (int, int, int, int) or None
        x, y, width and height, in pixels of the upright image: only this part is looked at.
    weight : float
        Its share in the query; below 0 the query moves away from it.
    described : ndarray of shape (d,) or None
        Its descriptor, where it was made already: the server keeps no picture for longer. Not part of the JSON.
    """

    path: str | None = None
    id: str | None = None
    data: bytes | None = field(default=None, repr=False)
    pixels: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)
    crop: Crop | None = None
    weight: float = 1.0
    described: NDArray[Any] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        given = [name for name in (*_SOURCES, "pixels") if getattr(self, name) is not None]
        if len(given) != 1:
            named = " and ".join(given) or "none of them"
            raise UsageError(f"an image of a query needs exactly one of path, id and data; this one has {named}")
        values = {
            "path": text(self.path, "path", raw=True),
            "id": text(self.id, "id"),
            "data": None if self.data is None else _bytes(self.data),
            "crop": None if self.crop is None else _crop(self.crop),
            "weight": number(self.weight, "weight"),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        if self.crop is not None and (min(self.crop[:2]) < 0 or min(self.crop[2:]) < 1):
            raise UsageError(
                f"{self.title}: a crop is x, y, width, height in pixels, with x and y of 0 or more and at least 1 pixel of each"
            )
        if not math.isfinite(self.weight):
            raise UsageError(f"{self.title}: its weight is {self.weight}; give a number such as 1 or 0.5")

    @property
    def title(self) -> str:
        """What a person calls it."""
        name = as_text(self.path or (f"id {self.id}" if self.id is not None else "an image"))
        return name if self.crop is None else f"{name}[{','.join(map(str, self.crop))}]"

    @classmethod
    def parse(cls, typed: str, weight: float = 1.0) -> Example:
        """Read what stands on a command line: a path, and perhaps a crop behind it.

        Parameters
        ----------
        typed : str
            ``photo.jpg``, or ``photo.jpg[10,20,100,80]``: x, y, width, height. A file of exactly that name wins. ``-`` is
            standard input.
        weight : float
            Its share in the query.

        Returns
        -------
        Example
            With that path.

        Raises
        ------
        UsageError
            If the crop is empty, begins outside the image, or isn't four whole numbers.

        Examples
        --------
        >>> Example.parse("photo.jpg[10,20,100,80]").crop
        (10, 20, 100, 80)
        """
        is_file = Path(typed).exists()
        cropped = None if is_file else _CROPPED.fullmatch(typed)
        path = typed if cropped is None else cropped["path"]
        crop = None if cropped is None else _crop([int(side) for side in cropped["crop"].split(",")])
        if path == STANDARD_INPUT and not is_file:
            return cls(data=read_standard_input(), crop=crop, weight=weight)
        meant = None if is_file or cropped is not None else _MEANT_AS_CROP.fullmatch(typed)
        if meant is not None and Path(meant["path"]).exists():
            raise UsageError(f"{typed}: a crop is four whole numbers in pixels: {meant['path']}[x,y,width,height]")
        return cls(path=path, crop=crop, weight=weight)

    @classmethod
    def from_json(cls, value: object) -> Example:
        """Read one entry of ``images``; in Python also a path, an array, a Pillow image, bytes or an open file."""
        if isinstance(value, cls):
            return value
        if isinstance(value, str | os.PathLike):
            return cls(path=os.fspath(value))
        entry: Mapping[str, Any] = value if isinstance(value, Mapping) else {"data": value}
        data = entry.get("data")
        pixels = None if data is None or isinstance(data, str) else pixels_of(data, "an image of a query")
        if pixels is None:
            content = content_of(value)  # an open file is read once
            entry = json_object(value if content is None else {"data": content}, "an entry of images", _KEYS)
        elif len(pixels) != 1:
            raise UsageError(
                f"an array of a query holds {len(pixels):,} images, and here one is meant; give them one by one"
            )
        else:
            entry = {**json_object(entry, "an entry of images", _KEYS), "data": None, "pixels": pixels[0]}
        return cls(**{name: item for name, item in entry.items() if item is not None})

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON form, without what is at its default."""
        content = to_png(self.pixels) if self.pixels is not None else self.data
        data = None if content is None else base64.b64encode(content).decode("ascii")
        crop = None if self.crop is None else list(self.crop)
        weight = None if self.weight == 1 else self.weight
        entry = {"path": self.path, "id": self.id, "data": data, "crop": crop, "weight": weight}
        return {name: value for name, value in entry.items() if value is not None}


def _bytes(value: object) -> bytes:
    """Take a file's content: bytes, an open file, a Pillow image, or base64, also wrapped, URL-safe or as a ``data:`` address."""
    if isinstance(value, str):
        return from_base64(value)
    content = content_of(value)
    if content is None:
        raise UsageError(f"data must be a file's bytes in base64; got {in_short(value)}")
    return content


def _crop(value: object) -> Crop:
    sides = value.tolist() if isinstance(value, np.ndarray) else value
    try:
        x, y, width, height = (whole_number(n, "crop") for n in (sides if isinstance(sides, list | tuple) else ()))
    except (ValueError, UsageError) as e:
        raise UsageError(
            f"crop must be four whole numbers, [x, y, width, height] in pixels; got {in_short(value)}"
        ) from e
    return x, y, width, height
