"""An index's map -> JSON that a page draws a hundred thousand dots from."""

from __future__ import annotations

import base64
from shlex import quote
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import UsageError
from lookalike.index.map import map_version, open_map

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lookalike.index.reader import IndexReader

_MAX_LABELS = 2**16


class NoMapError(UsageError):
    """The index has no map of what it holds now."""


class StaleMapError(UsageError):
    """A row was asked for of a map that the index has outgrown."""


def map_json(index: IndexReader) -> dict[str, Any]:
    """Return the map of an index.

    Parameters
    ----------
    index : IndexReader
        Looked at through one of its encoders.

    Returns
    -------
    dict
        As :class:`lookalike.server.schemas.MapModel`.

    Raises
    ------
    NoMapError
        If there is none, or the collection has changed since it was made.
    """
    layout = open_map(index)
    column = index.manifest.view.column
    if layout is None:
        raise NoMapError(
            f"no map by {column} of the index as it is now; create one with: lookalike map -i {quote(str(index.path))} -e {quote(column)}"
        )
    names, codes = _labels(index)
    return {
        "version": map_version(index),
        "encoder": column,
        "count": len(index),
        "positions": _packed(layout.positions.astype("<f4")),
        "clusters": _packed(layout.clusters.astype("<u2")),
        "labels": None if codes is None else _packed(codes),
        "label_names": names,
    }


def ids_of_rows(index: IndexReader, version: str, rows: Sequence[int]) -> list[str]:
    """Return which images some rows of a map are.

    Parameters
    ----------
    index : IndexReader
        As it is now.
    version : str
        The map's.
    rows : sequence of int
        Places in its arrays.

    Returns
    -------
    list of str
        In the order asked.

    Raises
    ------
    StaleMapError
        If the map was of another state of the index.
    UsageError
        If there is no such row.
    """
    if version != map_version(index):
        raise StaleMapError("the index has changed since this map was loaded; load it again")
    if max(rows) >= len(index):
        raise UsageError(f"row {max(rows):,} of a map of {len(index):,} images; expected 0 to {len(index) - 1:,}")
    return index.ids_of(rows)


def _labels(index: IndexReader) -> tuple[list[str], NDArray[np.uint16] | None]:
    if index.labels is None:
        return [], None
    names, codes = np.unique(index.labels, return_inverse=True)
    if len(names) > _MAX_LABELS:
        return [], None
    return names.tolist(), codes.astype("<u2")


def _packed(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


__all__ = ["NoMapError", "StaleMapError", "ids_of_rows", "map_json"]
