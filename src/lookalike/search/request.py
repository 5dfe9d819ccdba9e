"""One query, whatever it is made of: images, crops, likes, dislikes, words, a filter <-> the documented JSON.

The same JSON is taken by Python, the command line, REST and the page; it can be saved and replayed. What each key means:
docs/searching.md. Here a query is only read and checked as far as that needs no index; :mod:`lookalike.search.page` answers it.
"""

from __future__ import annotations

import base64
import json
import math
import numbers
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lookalike.atomic import new_file
from lookalike.collections.ids import as_text
from lookalike.collections.in_memory import STANDARD_INPUT, content_of, from_base64, pixels_of, read_standard_input
from lookalike.errors import LookalikeError, UsageError, first_line, unknown_name
from lookalike.imaging.encode import to_png

Crop: TypeAlias = tuple[int, int, int, int]

#: Most answers of one page.
MAX_K = 100_000
#: Most images, likes and dislikes of one query.
MAX_EXAMPLES = 1_000
#: Most bytes of a saved query, and the largest number that is counted with.
MAX_BYTES, MAX_COUNTED = 2**26, 10**15
_MEANT_AS_CROP = re.compile(r"(?P<path>.+)\[[^\[\]]*,[^\[\]]*\]", re.DOTALL)
_CROPPED = re.compile(r"(?P<path>.+)\[(?P<crop>\s*-?\d+\s*(,\s*-?\d+\s*){3})\]", re.DOTALL)
_SOURCES = ("path", "id", "data")
_GIVEN = (*_SOURCES, "pixels")
_TEXTS = ("text", "words", "where", "encoder", "distance", "rerank")


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
        given = [name for name in _GIVEN if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise UsageError(f"an image of a query needs exactly one of path, id and data; this one has {found}")
        _set(
            self,
            path=_named("path", self.path, raw=True),
            id=_named("id", self.id),
            data=None if self.data is None else _bytes(self.data),
            crop=_crop(self.crop),
            weight=_number(self.weight, "weight"),
        )
        if self.crop is not None:
            _check_crop(self.crop, self.title)
        if not math.isfinite(self.weight):
            raise UsageError(f"{self.title}: its weight is {self.weight}; give a number such as 1 or 0.5")

    @property
    def title(self) -> str:
        """What a person calls it."""
        name = as_text(self.path or (f"id {self.id}" if self.id is not None else "an image"))
        return name if self.crop is None else f"{name}[{','.join(map(str, self.crop))}]"

    @classmethod
    def parse(cls, text: str, weight: float = 1.0) -> Example:
        """Read what stands on a command line: a path, and perhaps a crop behind it.

        Parameters
        ----------
        text : str
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
        cropped = _CROPPED.fullmatch(text)
        if (text if cropped is None else cropped["path"]) == STANDARD_INPUT and not Path(text).exists():
            crop = None if cropped is None else _crop([int(number) for number in cropped["crop"].split(",")])
            return cls(data=read_standard_input(), crop=crop, weight=weight)
        if cropped is None or Path(text).exists():
            meant = _MEANT_AS_CROP.fullmatch(text)
            if meant is not None and not Path(text).exists() and Path(meant["path"]).exists():
                raise UsageError(f"{text}: a crop is four whole numbers in pixels: {meant['path']}[x,y,width,height]")
            return cls(path=text, weight=weight)
        x, y, width, height = (int(number) for number in cropped["crop"].split(","))
        return cls(path=cropped["path"], crop=(x, y, width, height), weight=weight)

    @classmethod
    def from_json(cls, value: object) -> Example:
        """Read one entry of ``images``; in Python also a path, an array, a Pillow image, bytes or an open file."""
        if isinstance(value, cls):
            return value
        if isinstance(value, str | os.PathLike):
            return cls(path=os.fspath(value))
        given = value if isinstance(value, Mapping) else {"data": value}
        data = given.get("data")
        pixels = None if data is None or isinstance(data, str) else pixels_of(data, "an image of a query")
        if pixels is not None:
            if len(pixels) != 1:
                raise UsageError(
                    f"an array of a query holds {len(pixels):,} images, and here one is meant; give them one by one"
                )
            rest = {name: one for name, one in given.items() if name != "data"}
            value = _object(rest, "an entry of images", (*_SOURCES, "crop", "weight"))
        elif (content := content_of(value)) is not None:  # an open file is read once
            value = {"data": content}
        entry = _object(value, "an entry of images", (*_SOURCES, "crop", "weight"))
        return cls(
            path=entry.get("path"),
            id=entry.get("id"),
            data=entry.get("data"),
            pixels=None if pixels is None else pixels[0],
            crop=entry.get("crop"),
            weight=1.0 if entry.get("weight") is None else entry["weight"],
        )

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON form, without what is at its default."""
        content = to_png(self.pixels) if self.pixels is not None else self.data
        data = None if content is None else base64.b64encode(content).decode("ascii")
        crop = None if self.crop is None else list(self.crop)
        found = {"path": self.path, "id": self.id, "data": data, "crop": crop}
        found = {name: value for name, value in found.items() if value is not None}
        return found if self.weight == 1 else found | {"weight": self.weight}


@dataclass(frozen=True)
class Query:
    """All that is asked at once. At least one image, like, text, words or filter is given.

    Attributes
    ----------
    images : tuple of Example
        Looked for together: their descriptors' weighted mean.
    likes, dislikes : tuple of str
        Ids in the index to come nearer to and to go away from; what is disliked is not among the answers.
    text : str or None
        What the image shows, for an encoder that can read: ``"a red bus"``.
    words : str or None
        To be found in captions, file names, metadata and labels.
    where : str or None
        A filter on what is known of the images: ``width > 1000 and label = 'cat'``.
    k : int
        How many answers at most, 1 to ``MAX_K``; fewer where there are fewer.
    offset : int
        How many of the first answers to leave out: the pages before.
    within : float or None
        The largest distance that counts.
    group : float or None
        An answer at most this far from a better one is folded into it.
    encoder, distance, rerank, denoise : str or None
        Names; by default the index's encoder, its distance, and neither of the two others.
    resize : bool
        Bring images of another size to the index's; an index of a folder always does, and a crop always is.
    """

    images: tuple[Example, ...] = ()
    likes: tuple[str, ...] = ()
    dislikes: tuple[str, ...] = ()
    text: str | None = None
    words: str | None = None
    where: str | None = None
    k: int = 10
    offset: int = 0
    within: float | None = None
    group: float | None = None
    encoder: str | None = None
    distance: str | None = None
    rerank: str | None = None
    denoise: str | None = None
    resize: bool = False

    def __post_init__(self) -> None:
        # What came from elsewhere than JSON is brought to what JSON holds: NumPy's numbers, paths, lists.
        _set(self, **{name: _named(name, getattr(self, name)) for name in _TEXTS})
        _set(self, denoise=_named("denoise", self.denoise))
        _set(self, k=whole_number(self.k, "k"), offset=whole_number(self.offset, "offset"))
        for name in ("within", "group"):
            value = getattr(self, name)
            _set(self, **{name: None if value is None else _number(value, name)})
        for name in ("likes", "dislikes"):
            _set(self, **{name: tuple(_id(name, one) for one in _list(name, getattr(self, name)))})
        if not isinstance(self.resize, bool | np.bool_):
            raise UsageError(f"resize is {_shown(self.resize)}; it must be true or false")
        _set(self, resize=bool(self.resize))
        _set(self, images=tuple(Example.from_json(one) for one in _list("images", self.images)))
        for name in ("text", "words", "where"):
            value = getattr(self, name)
            if value is not None and not value.strip():
                raise UsageError(f"{name} is empty; leave it out, or say what to look for")
        asked = self.images or self.likes
        if not (asked or self.text or self.words or self.where):
            if self.dislikes:
                raise UsageError(
                    "only dislikes say what is not wanted, and not what is; add an image, a like, text, words or a filter"
                )
            raise UsageError("an empty query; give at least one of images, likes, text, words and where")
        if self.dislikes and not (asked or self.text):
            raise UsageError("dislikes need something to be weighed against; add an image, a like or text")
        if len(self.images) + len(self.likes) + len(self.dislikes) > MAX_EXAMPLES:
            raise UsageError(f"more than {MAX_EXAMPLES:,} images, likes and dislikes in one query; give fewer")
        if both := set(self.likes) & set(self.dislikes):
            raise UsageError(f"{min(both)} is both liked and disliked; leave it in one of the two")
        self._check_numbers()

    def _check_numbers(self) -> None:
        if self.k < 1:
            raise UsageError(f"k is {self.k:,}; ask for at least 1")
        if self.k > MAX_K:
            raise UsageError(f"k is {self.k:,}; ask for at most {MAX_K:,}, and for more by offset")
        if self.offset < 0:
            raise UsageError(f"offset is {self.offset:,}; it counts the answers to leave out, 0 or more")
        for name in ("within", "group"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{name} is {value}; give a distance of 0 or more")
            if value is not None and not self.by_image:
                raise UsageError(f"{name} is a distance, and only images, likes and text have one; leave it out")

    @property
    def by_image(self) -> bool:
        """Whether answers are ordered by a distance, and not only found by words or a filter."""
        return bool(self.images or self.likes or self.text)

    @property
    def title(self) -> str:
        """What a person calls it."""
        parts = [image.title for image in self.images]
        parts += [f"like {name}" for name in self.likes] + [f"not like {name}" for name in self.dislikes]
        parts += [f"{value}" for value in (self.text, self.words and f"words: {self.words}") if value]
        parts += [f"where {self.where}"] if self.where else []
        return ", ".join(parts)

    @classmethod
    def from_json(cls, value: object) -> Query:
        """Read and check the documented JSON.

        Parameters
        ----------
        value : object
            What ``json.loads`` returns; or a Query, which is returned as it is.

        Returns
        -------
        Query
            Checked as far as it can be without an index.

        Raises
        ------
        UsageError
            If a key is unknown, a value is of another kind or out of range, or nothing is asked for.

        Examples
        --------
        >>> Query.from_json({"images": [{"path": "a.jpg"}], "k": 3}).k
        3
        """
        if isinstance(value, cls):
            return value
        entry = _object(value, "a query", tuple(cls.__dataclass_fields__))
        return cls(**{name: one for name, one in entry.items() if one is not None})

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON form, without what is at its default."""
        found: dict[str, Any] = {}
        for name, spec in self.__dataclass_fields__.items():
            value = getattr(self, name)
            if value == spec.default:
                continue
            if name == "images":
                found[name] = [image.to_json() for image in value]
            else:
                found[name] = list(value) if isinstance(value, tuple) else value
        return found

    @classmethod
    def load(cls, path: str | Path) -> Query:
        """Read a saved query; paths in it stand as they are, relative to where one is.

        Parameters
        ----------
        path : str or Path
            A file that :meth:`save` wrote, or any with the documented JSON; ``-`` is standard input.

        Returns
        -------
        Query
            Checked.

        Raises
        ------
        UsageError
            If the file can't be read, is no JSON, or isn't a query; the message names it.
        """
        try:
            value = json.loads(_read_saved(path))
        except OSError as e:
            raise UsageError(f"{path}: the query can't be read: {e.strerror or e}") from e
        except (ValueError, RecursionError) as e:
            raise UsageError(f"{path}: isn't JSON ({first_line(e)}); save one with --save-query") from e
        try:
            return cls.from_json(value)
        except LookalikeError as e:
            raise UsageError(f"{path}: {e}") from e

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the query as JSON, whole or not at all.

        Parameters
        ----------
        path : str or Path
            Where to.
        overwrite : bool
            Whether a file that lies there may be replaced.

        Raises
        ------
        UsageError
            If it can't be written, or exists and may not be replaced.
        """
        stated = self.to_json()
        try:
            text = (json.dumps(stated, indent=2, ensure_ascii=False) + "\n").encode()
        except UnicodeEncodeError:  # the name of a file whose bytes are no UTF-8
            text = (json.dumps(stated, indent=2) + "\n").encode()
        if os.path.lexists(path) and not os.path.isfile(path):
            raise UsageError(f"{path}: the query can't be saved: there is something else of that name; give another")
        try:
            with new_file(Path(path), overwrite=overwrite) as f:
                f.write(text)
        except (OSError, ValueError) as e:
            raise UsageError(f"{path}: the query can't be saved: {getattr(e, 'strerror', None) or e}") from e

    def but(self, **changes: Any) -> Query:
        """Return the same query with some fields changed, checked again.

        Parameters
        ----------
        **changes
            The fields' new values.

        Returns
        -------
        Query
            Another query; this one stays as it is.
        """
        return replace(self, **changes)


def whole_number(value: object, name: str) -> int:
    """Take a whole number of any kind: of Python, of NumPy, or written as 10.0 as some programs do in JSON.

    Parameters
    ----------
    value : object
        Anything.
    name : str
        What it is called in the error.

    Returns
    -------
    int
        The same as Python's.

    Raises
    ------
    UsageError
        If it is something else, or beyond ``MAX_COUNTED``.
    """
    value = _plain(value)
    if isinstance(value, float | np.floating) and float(value).is_integer():  # as some write it in JSON: 10.0
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise UsageError(f"{name} must be a whole number; got {_shown(value)}")
    if abs(int(value)) > MAX_COUNTED:
        raise UsageError(f"{name} is beyond all counting; give a number of at most {MAX_COUNTED:,}")
    return int(value)


def _object(value: object, what: str, known: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{what} must be a JSON object with some of the keys {', '.join(known)}; got {_shown(value)}")
    for name in value:
        if name not in known:
            raise unknown_name(f"key of {what}", str(name), known)
    return value


def _list(name: str, value: object) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise UsageError(f"{name} must be a list; got {_shown(value)}")
    return list(value)


def _set(query: Query | Example, **values: Any) -> None:
    """Set fields of a frozen dataclass while it is made."""
    for name, value in values.items():
        object.__setattr__(query, name, value)


def _named(name: str, value: object, *, raw: bool = False) -> str | None:
    """Take text, or a path as text; a lone half of a character is spelt out as ids have it, but in the path of a file."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{name} must be a string; got {_shown(value)}")
    return None if value is None else str(value) if raw else as_text(str(value))


def _id(name: str, value: object) -> str:
    if not isinstance(value, str | os.PathLike):
        raise UsageError(f"{name} must hold ids, which are strings; got {_shown(value)}")
    return as_text(str(os.fspath(value)))


def _plain(value: object) -> object:
    """Take the one number out of an array of no dimension."""
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


def _number(value: object, name: str) -> float:
    value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise UsageError(f"{name} must be a number; got {_shown(value)}")
    try:
        return float(value)
    except OverflowError:
        raise UsageError(f"{name} is a number of more than 300 digits; give a smaller one") from None


def _bytes(value: object) -> bytes:
    """Take a file's content: bytes, an open file, a Pillow image, or base64, also wrapped, URL-safe or as a ``data:`` address."""
    if isinstance(value, str):
        return from_base64(value)
    found = content_of(value)
    if found is None:
        raise UsageError(f"data must be a file's bytes in base64; got {_shown(value)}")
    return found


def _read_saved(path: str | Path) -> bytes:
    """Read a saved query: a file of a person's size, and never a device or a pipe that nobody writes to."""
    if str(path) == STANDARD_INPUT:
        data = read_standard_input(MAX_BYTES)
    else:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UsageError(f"{path}: isn't a file; save the query in one, or hand it over with --query -")
        with open(path, "rb") as f:
            data = f.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path}: over {MAX_BYTES // 2**20} MiB, which is no query; name large images by path")
    return data


def _crop(value: object) -> Crop | None:
    if value is None:
        return None
    numbers_ = value.tolist() if isinstance(value, np.ndarray) else value
    try:
        x, y, width, height = (
            whole_number(n, "crop") for n in (numbers_ if isinstance(numbers_, list | tuple) else ())
        )
    except (ValueError, UsageError) as e:
        raise UsageError(
            f"crop must be four whole numbers, [x, y, width, height] in pixels; got {_shown(value)}"
        ) from e
    return x, y, width, height


def _check_crop(crop: Crop, title: str) -> None:
    x, y, width, height = crop
    if min(x, y) < 0 or min(width, height) < 1:
        raise UsageError(
            f"{title}: a crop is x, y, width, height in pixels, with x and y of 0 or more and at least 1 pixel of each"
        )


def _shown(value: object) -> str:
    """Show what was given, as JSON would, in a few words, however large it is."""
    if isinstance(value, str | bytes | bytearray):
        value = value[:80]
    elif isinstance(value, int) and value.bit_length() > 200:
        return "a number of very many digits"
    elif not isinstance(value, list | tuple | dict | float | int | None):
        return f"a {type(value).__name__}"
    try:
        text = json.dumps(value, default=lambda one: f"a {type(one).__name__}")
    except (ValueError, RecursionError, TypeError):
        return f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
