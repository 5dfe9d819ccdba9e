"""Packed codes -> all pairs of them that differ in no more than some bits.

Of two codes that differ in ``radius`` bits, at least one of ``radius + 1`` parts is equal, or one of half as many differs in
one bit at most (the pigeonhole principle; M. Norouzi, A. Punjani and D. Fleet, *Fast Exact Search in Hamming Space with
Multi-Index Hashing*, 2014). So only codes that share a part are compared, and each pair is reported by the first that it shares.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lookalike.cores import usable_cores
from lookalike.errors import UsageError

Int64Array = NDArray[np.int64]

_ROWS, _COLUMNS = 64, 2048  # of a tile, whose words stay in the processor's cache
_WIDEST = 16  # bits of a part of reach 1, since there are as many groups as its bits can tell apart
_STEP = 2**15  # comparisons that take as long as the overhead of a group


def code_pairs(codes: NDArray[np.uint8], radius: int) -> tuple[Int64Array, Int64Array, NDArray[np.uint16]]:
    """Find all pairs of codes within a radius, exactly.

    Parameters
    ----------
    codes : ndarray of uint8, shape (m, bytes)
        Packed bits, one row an image.
    radius : int
        The most bits that may differ, 0 or more.

    Returns
    -------
    first, second : ndarray of int64, shape (pairs,)
        Rows, ``first < second``, sorted by (first, second).
    distance : ndarray of uint16, shape (pairs,)
        The number of bits that differ.

    Raises
    ------
    UsageError
        If these are no packed codes, or the radius is negative.

    Examples
    --------
    >>> first, second, distance = code_pairs(np.array([[0b0111], [0b1000], [0b0101]], np.uint8), 1)
    >>> first.tolist(), second.tolist(), distance.tolist()
    ([0], [2], [1])
    """
    codes = np.asarray(codes)
    if codes.dtype != np.uint8 or codes.ndim != 2:
        raise UsageError(
            f"codes must be packed bits, uint8 of shape (m, bytes); these are {codes.dtype}, {codes.shape}"
        )
    if radius < 0:
        raise UsageError(f"the radius is {radius}; it must be 0 or more")
    bits = _varying(codes)
    if not len(bits) or len(codes) < 2:
        bits = np.zeros(1, np.int64)
    parts = _parts(bits, radius, len(codes))
    size = -(-codes.shape[1] // 8) * 8
    padded = np.zeros((len(codes), size), np.uint8)
    padded[:, : codes.shape[1]] = codes
    words = padded.view(np.uint64)
    found = []
    for number, part in enumerate(parts):
        first, second, distance = _sharing(words, codes, part, radius)
        apart = words[first] ^ words[second]
        fresh = np.ones(len(first), np.bool_)
        for before in parts[:number]:
            fresh &= np.bitwise_count(apart & _mask(before.bits, size)).sum(axis=1) > before.reach
        found.append((first[fresh], second[fresh], distance[fresh]))
    first, second, distance = (np.concatenate(some) for some in zip(*found, strict=True))
    by = np.lexsort((second, first))
    return first[by], second[by], distance[by]


class _Part(NamedTuple):
    """Some of the bits, and how many of them may differ for a pair to be compared: 0 or 1."""

    bits: Int64Array
    reach: int


def _varying(codes: NDArray[np.uint8]) -> Int64Array:
    """Return the positions of the bits that aren't the same in all codes."""
    varies = np.bitwise_or.reduce(codes, axis=0) ^ np.bitwise_and.reduce(codes, axis=0)
    return np.flatnonzero(np.unpackbits(varies))


def _parts(bits: Int64Array, radius: int, size: int) -> list[_Part]:
    """Divide the bits so that codes within the radius agree in one part but for its reach, and few others do.

    Where r of all bits differ, one of several parts has no more than its reach if the reaches and 1 each add up to more
    than r: r + 1 parts of reach 0, or about half as many and twice as long of reach 1.
    """
    if len(bits) <= radius:
        return [_Part(bits[:0], 0)]
    reaches = [[0] * (radius + 1), [1] * ((radius + 1) // 2) + [0] * ((radius + 1) % 2)]

    def cost(reach: list[int]) -> float:
        width = len(bits) / len(reach)
        if reach[0] and width > _WIDEST:
            return float("inf")
        return len(reach) * (size * size / 2**width / 2 * (1 + width * reach[0]) + reach[0] * 2**width * _STEP)

    best = min(reaches, key=cost)
    return [_Part(*one) for one in zip(np.array_split(bits, len(best)), best, strict=True)]


def _mask(bits: Int64Array, size: int) -> NDArray[np.uint64]:
    flags = np.zeros(8 * size, np.uint8)
    flags[bits] = 1
    return np.packbits(flags).view(np.uint64)


def _sharing(
    words: NDArray[np.uint64], codes: NDArray[np.uint8], part: _Part, radius: int
) -> tuple[Int64Array, Int64Array, NDArray[np.uint16]]:
    """Find the pairs within the radius among codes that agree in a part but for its reach."""
    if part.reach:
        ones = np.stack([codes[:, bit // 8] >> np.uint8(7 - bit % 8) & 1 for bit in part.bits.tolist()], axis=1)
        keys = ones @ (1 << np.arange(len(part.bits)))
        order = np.argsort(keys, kind="stable")
        starts = np.searchsorted(keys[order], np.arange(2 ** len(part.bits) + 1))
    else:
        shared = words & _mask(part.bits, 8 * words.shape[1])
        order = np.lexsort(shared.T)
        ordered = shared[order]
        new = np.ones(len(order) + 1, np.bool_)
        new[1:-1] = (ordered[1:] != ordered[:-1]).any(axis=1)
        starts = np.flatnonzero(new)
    columns = [np.ascontiguousarray(words[order, w]) for w in range(words.shape[1])]
    groups = np.flatnonzero(np.diff(starts) > (0 if part.reach else 1))
    threads = max(1, min(usable_cores(), len(groups) // 16))

    def compare(thread: int) -> list[tuple[Any, Any, Any]]:
        found = []
        for group in groups[thread::threads].tolist():
            others = [group ^ (1 << b) for b in range(len(part.bits))] if part.reach else []
            spans = [(int(starts[g]), int(starts[g + 1])) for g in (group, *others) if g >= group]
            for places in _some_places(spans):
                values = [column[places] for column in columns]
                for row in range(*spans[0], _ROWS):
                    rows = slice(row, min(row + _ROWS, spans[0][1]))
                    found += _near(columns, rows, values, places, radius)
        return found

    if threads == 1:
        found = compare(0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            found = [one for some in pool.map(compare, range(threads)) for one in some]
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint16)
    a, b, distance = (np.concatenate(some) for some in zip(*found, strict=True))
    a, b = order[a], order[b]
    return np.minimum(a, b), np.maximum(a, b), distance


def _some_places(spans: list[tuple[int, int]]) -> Iterator[Any]:
    """Yield the places in the spans, so many at a time as a tile has columns; of one span a slice, which copies nothing."""
    if len(spans) == 1:
        start, stop = spans[0]
        for at in range(start, stop, _COLUMNS):
            yield slice(at, min(at + _COLUMNS, stop))
        return
    places = np.concatenate([np.arange(*span) for span in spans])
    for at in range(0, len(places), _COLUMNS):
        yield places[at : at + _COLUMNS]


def _near(
    columns: list[NDArray[np.uint64]], rows: slice, values: list[NDArray[np.uint64]], places: Any, radius: int
) -> list[tuple[Any, Any, Any]]:
    """Compare the codes of some rows with others, and return the pairs within the radius whose second comes later."""
    count: NDArray[Any] | None = None
    for column, value in zip(columns, values, strict=True):
        some = np.bitwise_count(column[rows, None] ^ value)
        count = some if count is None else count + some.astype(np.uint16)
    assert count is not None
    at = np.flatnonzero(count <= radius)
    a, b = np.divmod(at, count.shape[1])
    a += rows.start
    b = b + places.start if isinstance(places, slice) else places[b]
    later = b > a
    return [(a[later], b[later], count.reshape(-1)[at[later]].astype(np.uint16))] if later.any() else []


__all__ = ["code_pairs"]
