"""One query, whatever it is made of: images, crops, likes, dislikes, words, a filter <-> the documented JSON.

The same JSON is taken by Python, the command line, REST and the page; it can be saved and replayed. What each key means:
docs/searching.md. Here a query is only read and checked as far as that needs no index; :mod:`lookalike.search.page` answers it.
"""

from __future__ import annotations

import json
import math
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lookalike.atomic import new_file
from lookalike.collections.in_memory import STANDARD_INPUT, read_standard_input
from lookalike.errors import LookalikeError, UsageError, first_line
from lookalike.search.example import Example
from lookalike.search.json_values import (
    id_list,
    in_short,
    json_object,
    listed,
    number,
    positive_count,
    text,
    whole_number,
)

#: Most answers of one page.
MAX_K = 100_000
#: Most images, likes and dislikes of one query.
MAX_EXAMPLES = 1_000
#: Most bytes of a saved query.
MAX_BYTES = 2**26
_TEXTS = ("text", "words", "where", "encoder", "distance", "rerank", "denoise")


@dataclass(frozen=True)
class Query:
    """All that is asked at once. At least one image, like, text, words or filter is given.

    Attributes
    ----------
    images : tuple of Example
        Looked for together: their descriptors' weighted mean.
    likes, dislikes : tuple of str
        Ids in the index to come nearer to and to go away from; what is disliked is not among the answers.
    without : tuple of str
        Ids that are not among the answers, such as that of the image that is asked by.
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
        An answer at most this far from a better one joins it.
    encoder, distance, rerank, denoise : str or None
        Names; by default the index's encoder, its distance, and neither of the two others.
    resize : bool
        Bring images of another size to the index's; an index of a folder always does, and a crop always is.
    """

    images: tuple[Example, ...] = ()
    likes: tuple[str, ...] = ()
    dislikes: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
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
        values: dict[str, Any] = {name: text(getattr(self, name), name) for name in _TEXTS}
        for name in ("within", "group"):
            distance = getattr(self, name)
            values[name] = None if distance is None else number(distance, name)
        values |= {"k": positive_count(self.k, "k"), "offset": whole_number(self.offset, "offset")}
        values |= {name: id_list(getattr(self, name), name) for name in ("likes", "dislikes", "without")}
        if not isinstance(self.resize, bool | np.bool_):
            raise UsageError(f"resize is {in_short(self.resize)}; it must be true or false")
        values["resize"] = bool(self.resize)
        values["images"] = tuple(Example.from_json(item) for item in listed(self.images, "images"))
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._check_what_is_asked()
        self._check_numbers()

    def _check_what_is_asked(self) -> None:
        for name in ("text", "words", "where"):
            value = getattr(self, name)
            if value is not None and not value.strip():
                raise UsageError(f"{name} is empty; leave it out, or say what to look for")
        if self.dislikes and not self.by_image:
            if self.words or self.where:
                raise UsageError("dislikes need something to be weighed against; add an image, a like or text")
            raise UsageError(
                "only dislikes say what is not wanted, and not what is; add an image, a like, text, words or a filter"
            )
        if not (self.by_image or self.words or self.where):
            raise UsageError("an empty query; give at least one of images, likes, text, words and where")
        if len(self.images) + len(self.likes) + len(self.dislikes) > MAX_EXAMPLES or len(self.without) > MAX_EXAMPLES:
            raise UsageError(f"more than {MAX_EXAMPLES:,} images, likes and dislikes in one query; give fewer")
        if both := set(self.likes) & set(self.dislikes):
            raise UsageError(f"{min(both)} is both liked and disliked; leave it in one of the two")

    def _check_numbers(self) -> None:
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
        entry = json_object(value, "a query", tuple(cls.__dataclass_fields__))
        return cls(**{name: item for name, item in entry.items() if item is not None})

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON form, without what is at its default."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        fields["images"] = tuple(image.to_json() for image in self.images)
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in fields.items()
            if value != self.__dataclass_fields__[name].default
        }

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
        value = self.to_json()
        try:
            content = (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
        except UnicodeEncodeError:  # the name of a file whose bytes are no UTF-8
            content = (json.dumps(value, indent=2) + "\n").encode()
        if os.path.lexists(path) and not os.path.isfile(path):
            raise UsageError(f"{path}: the query can't be saved: there is something else of that name; give another")
        try:
            with new_file(Path(path), overwrite=overwrite) as f:
                f.write(content)
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
