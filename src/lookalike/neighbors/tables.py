"""Arrays that callers hand over as descriptors, queries or rows -> tables that can be searched; or an error that says why not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float64Array, Int64Array
from lookalike.errors import UsageError
from lookalike.neighbors.distances.base import LONGEST


def as_table(what: str, array: NDArray[Any], packed: bool, *, halves: bool = False) -> Any:
    """Return descriptors or queries, C-contiguous, of a type that is searched.

    Parameters
    ----------
    what : str
        What they are called in errors.
    array : ndarray, shape (n, d)
        One row an image.
    packed : bool
        Whether they must be packed bits.
    halves : bool
        Whether float16 may stay so.

    Returns
    -------
    ndarray of float32, float16 or uint8, shape (n, d)

    Raises
    ------
    UsageError
        If the array isn't such a table.
    """
    array = np.asarray(array)
    if array.ndim != 2:
        raise UsageError(f"{what} must have shape (n, d), these have {array.shape}; put one row an image")
    if packed:
        if array.dtype != np.uint8:
            raise UsageError(
                f"{what} must be packed bits (uint8) for hamming, these are {array.dtype}; use the distance cosine or "
                "euclidean, or an encoder that gives codes"
            )
        return np.ascontiguousarray(array)
    if array.dtype == np.uint8:
        raise UsageError(f"{what} must be float32, these are uint8; packed codes are compared by the distance hamming")
    if array.dtype.kind != "f":
        raise UsageError(f"{what} must be float32, these are {array.dtype}; take what an encoder's encode returns")
    if halves and array.dtype == np.float16:
        return np.ascontiguousarray(array)
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinity, which is refused by name
        return np.ascontiguousarray(array, np.float32)


def check_lengths(what: str, lengths: Float64Array) -> None:
    """Refuse rows that hold NaN, infinity or numbers too large to be squared, by their lengths.

    Parameters
    ----------
    what : str
        What one is called in the error.
    lengths : ndarray of float64, shape (n,)
        Of the rows.

    Raises
    ------
    UsageError
        If there is one.
    """
    bad = np.flatnonzero(~(lengths <= LONGEST))
    if len(bad):
        length = lengths[bad[0]]
        problem = f"values too large (length {length:.2g})" if np.isfinite(length) else "NaN or infinity"
        raise UsageError(f"{what} {bad[0]:,} (counted from 0) holds {problem}; encode that image again or leave it out")


def selected_rows(rows: NDArray[Any], size: int) -> Int64Array:
    """Return the positions, ascending, that a mask or a list of positions picks.

    Parameters
    ----------
    rows : ndarray of bool, shape (size,), or of int, shape (r,)
        A mask, or positions in any order.
    size : int
        Rows of the database.

    Returns
    -------
    ndarray of int64

    Raises
    ------
    UsageError
        If it is no such selection.
    """
    rows = np.asarray(rows)
    if rows.dtype == np.bool_ and rows.shape == (size,):
        return np.flatnonzero(rows)
    if (rows.dtype.kind not in "iu" and rows.size) or rows.ndim != 1:
        raise UsageError(
            f"rows of {rows.dtype} and shape {rows.shape} pick none of {size:,} images; give positions or a mask of all"
        )
    positions = np.unique(rows.astype(np.int64))
    if len(positions) and not 0 <= positions[0] <= positions[-1] < size:
        raise UsageError(
            f"rows run from {positions[0]:,} to {positions[-1]:,}, the index from 0 to {size - 1:,}; take rows of it"
        )
    return positions
