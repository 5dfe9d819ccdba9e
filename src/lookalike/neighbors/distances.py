"""Descriptors -> distances: the nearest images to a query, exactly, in a stated order.

A :class:`Database` is prepared once from ``(m, d)`` descriptors and then answers any number of queries.

- ``cosine`` is ``1 - cos(q, x)``: 0 for the same direction, 1 at a right angle, 2 for the opposite one.
- ``euclidean`` is ``|q - x|``, 0 or more.
- ``inner product`` is ``-q.x``, of any sign: the larger the product, the nearer. It is no distance in the strict sense: a
  long descriptor may be nearer to a query than the query to itself.
- ``hamming`` is the number of bits that differ between packed codes, uint8 of shape ``(m, bytes)``.

**Order.** Answers come by (distance, position): of two images at the same distance, the one stored first wins, also
where the cut at ``k`` falls between them. With short codes most answers are such ties.

**Half precision.** float16 descriptors stay so in memory, half as large, and are widened tile by tile; answers are exact
for the values stored. Queries may be of any float type.

**Exactness.** One matrix product finds candidates, and float32 rounding makes its values wrong in the last digits. So
:meth:`Database.nearest` keeps every image that could still belong to the first ``k`` by the worst-case error of a dot
product (Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd edition, section 3.1), recomputes the distances
of these few in float64, and only then cuts. The answer doesn't depend on the batch or the thread count, and an
identical image is at exactly 0. :meth:`Database.distances` and the scores use the plain float32 values. Bits are
counted, so ``hamming`` is exact from the start.

A new distance is a subclass of :class:`Distance` and one line in :data:`DISTANCES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lookalike.cores import usable_cores
from lookalike.errors import UsageError, unknown_name
from lookalike.neighbors.hamming import nearest_codes
from lookalike.neighbors.tiling import MOST_ANSWERS, candidates

Float32Array = NDArray[np.float32]
FloatArray = NDArray[np.float32] | NDArray[np.float16]
Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]

#: Most bytes a block of queries x database may take; one query's row is always allowed.
BLOCK_BYTES = 64 * 2**20
#: Rows turned into float64 at a time: they stay in the processor's cache, and no wider copy of the database is made.
ROWS_AT_ONCE = 128
#: Numbers whose distances are computed again in float64 at a time.
NUMBERS_AT_ONCE = 2**18
#: Rows of float16 turned into float32 at a time.
WIDENED_AT_ONCE = 2048
#: Rows shorter than this are copied to be scaled; of longer ones the products with some hundred queries are.
SHORT_ROWS = 256
#: From this many on, queries are multiplied tile by tile, on all cores; one alone is limited by the memory's speed.
MANY_QUERIES = 8
#: Rows of this length and more are multiplied with few queries one row after the other, so many numbers at a time. A matrix
#: product of OpenBLAS reads four rows at once, and the processor fetches ahead within one page only: of 60,000 x 1,568 it
#: gets 14 GB/s, one row after the other 33, all that the memory gives. Of shorter rows the calls would count. For one
#: query, which needs no row twice, more at a time spare calls.
LONG_ROWS, NUMBERS_IN_CACHE, NUMBERS_ONCE = 64, 2**17, 2**21
#: Relative error of one float32 operation.
ROUNDING = float(np.finfo(np.float32).eps) / 2
#: Lengths beyond these leave float32's range once squared, or once inverted.
LONGEST, SHORTEST = 1e18, 1e-30
#: Codes, and words of 64 bits of each, whose bits are counted at a time: more leave the processor's cache, fewer cost
#: calls (1,000,000 x 256 bits on two cores: 2.4 ms; 4.2 ms with 2**16 codes and a word at a time).
CODES_AT_ONCE, WORDS_AT_ONCE = 2**15, 4
#: Longest code; more bits don't fit the 16-bit counts.
MOST_CODE_BYTES = 8191
#: Threads that read the database; memory, not arithmetic, is the limit beyond these.
READING_THREADS = 4


class Distance:
    """One way to compare descriptors, prepared for a database; the base of every distance.

    A query's *ranking values* are float32, 0 or more, and rise with the distance. They are made in two steps:
    ``multiply`` for a whole block of queries at once, and ``finish`` row by row, while the row is still in the
    processor's cache and on whichever thread goes on with it. Products that ``complete`` has seen are in the same order
    already: what is left to ``finish`` is the query's own.

    Parameters
    ----------
    descriptors : ndarray of float32 or float16, shape (m, d)
        The database, C-contiguous; kept, not copied.
    lengths : ndarray of float64, shape (m,)
        Euclidean length of each row.
    """

    #: Whether descriptors are packed bits, and counted, so that ranking values are the exact distances.
    packed: ClassVar[bool] = False

    def __init__(self, descriptors: FloatArray, lengths: Float64Array) -> None:
        self.descriptors = descriptors
        self.lengths = lengths

    @staticmethod
    def check(what: str, lengths: Float64Array) -> None:
        """Refuse rows that this distance can't compare, by their lengths; nothing to refuse by default."""

    def prepare(self, queries: Float32Array, lengths: Float64Array) -> tuple[Float32Array, Float32Array]:
        """Return the left side of the product, shape (b, d), and what ``finish`` adds to each row, shape (b,)."""
        raise NotImplementedError

    def multiply(self, left: Float32Array, out: Float32Array) -> None:
        """Write the product of ``left`` with the database into ``out``, shape (b, m)."""
        if len(left) < MANY_QUERIES and self.descriptors.shape[1] >= LONG_ROWS:
            self._multiply_in_turn(left, out)
            return
        if self.descriptors.dtype == np.float32:
            np.matmul(left, self.descriptors.T, out=out)
            return
        wide = np.empty((min(WIDENED_AT_ONCE, len(self.descriptors)), self.descriptors.shape[1]), np.float32)
        for start in range(0, len(self.descriptors), WIDENED_AT_ONCE):
            some = self.descriptors[start : start + WIDENED_AT_ONCE]
            to_float32(some, wide[: len(some)])
            np.matmul(left, wide[: len(some)].T, out=out[:, start : start + len(some)])

    def _multiply_in_turn(self, left: Float32Array, out: Float32Array) -> None:
        """Do so for few queries, row by row, some rows at a time that stay in the cache until all queries had them."""
        size, depth = self.descriptors.shape
        # Some 8 MiB of work, for one query 16, take a core as long as starting a thread.
        numbers, least = (NUMBERS_IN_CACHE, 16) if len(left) > 1 else (NUMBERS_ONCE, 2)
        most = max(1, numbers // depth)

        def multiply(starts: Iterator[int]) -> None:
            wide = np.empty((0 if self.descriptors.dtype == np.float32 else min(most, size), depth), np.float32)
            for start in starts:
                rows = self.descriptors[start : start + most]
                if rows.dtype != np.float32:
                    to_float32(rows, wide[: len(rows)])
                    rows = wide[: len(rows)]
                for query, line in zip(left, out, strict=True):
                    np.vecdot(rows, query, out=line[start : start + most])

        _read_in_parts(range(0, size, most), least, multiply)

    def extend(self, left: Float32Array) -> Float32Array:
        """Return the left side of a product with :meth:`widen`'s rows whose values order as ranking values do."""
        return left

    def widen(self, start: int, stop: int, out: Float32Array) -> None:
        """Write rows of the right side of that product."""
        to_float32(self.descriptors[start:stop], out)

    def multiply_rows(self, start: int, stop: int, across: Float32Array, out: Float32Array) -> None:
        """Write that product of some rows, (r, d), and some queries, transposed, (d, b), into ``out``, shape (r, b)."""
        right = np.empty((stop - start, len(across)), np.float32)
        self.widen(start, stop, right)
        np.matmul(right, across, out=out)

    def complete(self, start: int, stop: int, values: Float32Array) -> None:
        """Bring products with the rows ``start`` to ``stop``, (..., stop - start), in place into the ranking values' order."""

    def finish(self, row: Float32Array, offset: np.float32) -> None:
        """Turn one row of products, shape (m,), into ranking values, in place."""
        self.complete(0, len(row), row)
        np.add(row, offset, out=row)
        np.maximum(row, 0, out=row)

    def to_distances(self, values: Float32Array, offset: np.float32) -> None:
        """Turn a row of ranking values into distances, in place; nothing to do where they are the same."""

    def to_value(self, distance: float, offset: float) -> float:  # noqa: ARG002
        """Turn a distance into a ranking value of a row; nothing to do where they are the same."""
        return distance

    def errors(self, lengths: Float64Array) -> Float64Array:
        """Return the most that ranking values can be wrong by, for queries of these lengths, shape (b,)."""
        raise NotImplementedError

    def apart(
        self, queries: Float32Array, lengths: Float64Array, pairs: Int64Array, positions: Int64Array
    ) -> Float64Array:
        """Return the distance of each pair in float64: of query ``pairs[i]`` and the image at ``positions[i]``."""
        raise NotImplementedError


class Cosine(Distance):
    """``1 - cos(q, x)``; ranked by that very value."""

    def __init__(self, descriptors: FloatArray, lengths: Float64Array) -> None:
        super().__init__(descriptors, lengths)
        # Scaling the products, not the descriptors, spares a normalised copy of the database.
        self.scale = (1.0 / lengths).astype(np.float32)

    @staticmethod
    def check(what: str, lengths: Float64Array) -> None:
        """Refuse rows of zeros."""
        zero = np.flatnonzero(lengths < SHORTEST)
        if len(zero):
            raise UsageError(
                f"{what} {zero[0]:,} (counted from 0) is all zeros, so it has no angle to others; "
                "leave that image out or use the distance euclidean"
            )

    def prepare(self, queries: Float32Array, lengths: Float64Array) -> tuple[Float32Array, Float32Array]:
        """Return ``-q / |q|`` and 1."""
        return (queries / -lengths[:, None]).astype(np.float32), np.ones(len(queries), np.float32)

    def complete(self, start: int, stop: int, values: Float32Array) -> None:
        """Make them cosines, with their sign turned."""
        np.multiply(values, self.scale[start:stop], out=values)

    def errors(self, lengths: Float64Array) -> Float64Array:
        """Bound by the dot product of two unit vectors, and a few roundings more."""
        return np.full(len(lengths), 1.01 * ROUNDING * (self.descriptors.shape[1] + 16))

    def widen(self, start: int, stop: int, out: Float32Array) -> None:
        """Write rows brought to length 1."""
        super().widen(start, stop, out)
        out *= self.scale[start:stop, None]

    def multiply_rows(self, start: int, stop: int, across: Float32Array, out: Float32Array) -> None:
        """Scale what is smaller, the rows or their products."""
        rows = self.descriptors[start:stop]
        if rows.dtype != np.float32 or rows.shape[1] < SHORT_ROWS:
            super().multiply_rows(start, stop, across, out)
            return
        np.matmul(rows, across, out=out)
        out *= self.scale[start:stop, None]

    def apart(
        self, queries: Float32Array, lengths: Float64Array, pairs: Int64Array, positions: Int64Array
    ) -> Float64Array:
        """Return ``|u - v|^2 / 2`` for unit vectors: no digits cancel, and equal rows give exactly 0."""
        wide = self.descriptors[positions].astype(np.float64)
        wide /= self.lengths[positions, None]
        wide -= queries[pairs].astype(np.float64) / lengths[pairs, None]
        return 0.5 * _squares(wide)


class Euclidean(Distance):
    """``|q - x|``; ranked by its square, ``|q|^2 - 2 q.x + |x|^2``."""

    def __init__(self, descriptors: FloatArray, lengths: Float64Array) -> None:
        super().__init__(descriptors, lengths)
        self.squares = (lengths**2).astype(np.float32)
        self.longest = float(lengths.max())

    def prepare(self, queries: Float32Array, lengths: Float64Array) -> tuple[Float32Array, Float32Array]:
        """Return ``-2 q`` and ``|q|^2``."""
        return queries * np.float32(-2), (lengths**2).astype(np.float32)

    def complete(self, start: int, stop: int, values: Float32Array) -> None:
        """Add the square of each row."""
        np.add(values, self.squares[start:stop], out=values)

    def to_distances(self, values: Float32Array, offset: np.float32) -> None:  # noqa: ARG002
        """Take the root."""
        np.sqrt(values, out=values)

    def to_value(self, distance: float, offset: float) -> float:  # noqa: ARG002
        """Take the square."""
        return distance * distance

    def extend(self, left: Float32Array) -> Float32Array:
        """Add the 1 that takes in the square of each row."""
        return np.concatenate([left, np.ones((len(left), 1), np.float32)], axis=1)

    def widen(self, start: int, stop: int, out: Float32Array) -> None:
        """Write rows, and behind each its square: a query's own square changes no order."""
        super().widen(start, stop, out[:, :-1])
        out[:, -1] = self.squares[start:stop]

    def multiply_rows(self, start: int, stop: int, across: Float32Array, out: Float32Array) -> None:
        """Add the squares where less is to be written: behind the rows, or to their products."""
        rows = self.descriptors[start:stop]
        if rows.dtype != np.float32 or rows.shape[1] < SHORT_ROWS:
            super().multiply_rows(start, stop, across, out)
            return
        np.matmul(rows, across[:-1], out=out)
        out += self.squares[start:stop, None]

    def errors(self, lengths: Float64Array) -> Float64Array:
        """Bound by the dot product with the longest row and its square, and the roundings of two squares and three sums."""
        terms = int(self.descriptors.shape[1]) + 1
        underflow = terms * float(np.finfo(np.float32).tiny)
        both = (lengths + self.longest) ** 2
        return ROUNDING * (1.01 * terms * (2 * lengths + self.longest) * self.longest + 8 * both) + underflow

    def apart(
        self,
        queries: Float32Array,
        lengths: Float64Array,  # noqa: ARG002
        pairs: Int64Array,
        positions: Int64Array,
    ) -> Float64Array:
        """Return the length of the difference."""
        wide = self.descriptors[positions].astype(np.float64)
        wide -= queries[pairs]
        return np.sqrt(_squares(wide))


class InnerProduct(Distance):
    """``-q.x``; ranked by how much it is above the least it can be, ``-|q| |x|`` with the longest row."""

    def __init__(self, descriptors: FloatArray, lengths: Float64Array) -> None:
        super().__init__(descriptors, lengths)
        self.longest = float(lengths.max())

    def prepare(self, queries: Float32Array, lengths: Float64Array) -> tuple[Float32Array, Float32Array]:
        """Return ``-q`` and the greatest product there can be."""
        return -queries, (lengths * self.longest).astype(np.float32)

    def multiply_rows(self, start: int, stop: int, across: Float32Array, out: Float32Array) -> None:
        """Multiply rows as they are where they can be."""
        rows = self.descriptors[start:stop]
        if rows.dtype == np.float32:
            np.matmul(rows, across, out=out)
        else:
            super().multiply_rows(start, stop, across, out)

    def to_distances(self, values: Float32Array, offset: np.float32) -> None:
        """Take the offset away."""
        np.subtract(values, offset, out=values)

    def to_value(self, distance: float, offset: float) -> float:
        """Add the offset."""
        return distance + offset

    def errors(self, lengths: Float64Array) -> Float64Array:
        """Bound by the dot product with the longest row, and the roundings of the offset and one sum."""
        terms = int(self.descriptors.shape[1])
        return 1.01 * ROUNDING * (terms + 6) * lengths * self.longest + terms * float(np.finfo(np.float32).tiny)

    def apart(
        self,
        queries: Float32Array,
        lengths: Float64Array,  # noqa: ARG002
        pairs: Int64Array,
        positions: Int64Array,
    ) -> Float64Array:
        """Return the product with its sign turned; 0 is never -0."""
        wide = self.descriptors[positions].astype(np.float64)
        products: Float64Array = np.einsum("ij,ij->i", wide, queries[pairs].astype(np.float64))
        return 0.0 - products


class Hamming(Distance):
    """The number of bits that differ; ranked by that very number.

    Codes are kept a word at a time, ``(words, m)`` of uint64, which copies them: each step of counting then runs over
    contiguous memory.
    """

    packed = True

    def __init__(self, descriptors: NDArray[np.uint8], lengths: Float64Array) -> None:
        self.lengths = lengths
        self.words = np.ascontiguousarray(_words(descriptors).T)
        self._sorted: tuple[NDArray[np.uint64], Int64Array, list[int]] | None = None

    def prepare(self, queries: Any, lengths: Float64Array) -> tuple[Any, Float32Array]:  # noqa: ARG002
        """Return the codes as they are, and nothing to add."""
        return queries, np.zeros(len(queries), np.float32)

    def multiply(self, left: Any, out: Float32Array) -> None:
        """Count for one query after the other."""
        for query, row in zip(left, out, strict=True):
            row[:] = self.count(query)

    def finish(self, row: Float32Array, offset: np.float32) -> None:
        """Leave it: the counts are the distances."""

    def errors(self, lengths: Float64Array) -> Float64Array:
        """Return zeros: a count is exact."""
        return np.zeros(len(lengths))

    def count(self, query: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Count the bits in which each code, (m,), differs from one query of shape (bytes,)."""
        words = _words(query[None])[0][:, None]
        size = self.words.shape[1]
        counts = np.empty(size, np.uint16)

        def count(starts: Iterator[int]) -> None:
            differ = np.empty((WORDS_AT_ONCE, min(size, CODES_AT_ONCE)), np.uint64)
            bits = np.empty(differ.shape, np.uint8)
            for start in starts:
                out = counts[start : start + CODES_AT_ONCE]
                for word in range(0, len(words), WORDS_AT_ONCE):
                    codes = self.words[word : word + WORDS_AT_ONCE, start : start + CODES_AT_ONCE]
                    unlike, some = (a[: len(codes), : len(out)] for a in (differ, bits))
                    np.bitwise_xor(codes, words[word : word + WORDS_AT_ONCE], out=unlike)
                    np.bitwise_count(unlike, out=some)
                    # Three words of 64 bits fit a byte, and bytes are quicker to add.
                    for more in some[1:3]:
                        np.add(some[0], more, out=some[0])
                    np.add(some[0], out if word else 0, out=out, dtype=np.uint16)
                    if len(codes) > 3:
                        np.add(out, some[3], out=out)

        _read_in_parts(range(0, size, CODES_AT_ONCE), 4, count)
        return counts

    def lookup(self, query: NDArray[np.uint8], radius: int) -> Int64Array | None:
        """Return the positions, ascending, of codes within a radius by looking up every code that lies within it.

        This is semantic hashing (R. Salakhutdinov and G. Hinton, 2009): its cost hardly depends on how many codes are
        stored, but rises steeply with radius and length. None where counting is quicker.
        """
        if len(self.words) > 1:
            return None
        if self._sorted is None:
            order = np.argsort(self.words[0], kind="stable")
            used = int(np.bitwise_or.reduce(self.words[0]))
            self._sorted = self.words[0][order], order, [1 << b for b in range(64) if used >> b & 1]
        codes, positions, flips = self._sorted
        query_word = int(_words(query[None])[0, 0])
        # Bits that no stored code has set differ wherever the query has them.
        outside = query_word & ~sum(flips)
        radius -= outside.bit_count()
        if sum(comb(len(flips), r) for r in range(radius + 1)) > max(len(codes) // 256, 1):
            return None
        inside = query_word & sum(flips)
        ball = np.array([inside ^ sum(c) for r in range(radius + 1) for c in combinations(flips, r)], np.uint64)
        starts, ends = np.searchsorted(codes, ball, "left"), np.searchsorted(codes, ball, "right")
        found = [positions[start:end] for start, end in zip(starts, ends, strict=True) if end > start]
        return np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)


#: name -> class
DISTANCES: dict[str, type[Distance]] = {
    "cosine": Cosine,
    "euclidean": Euclidean,
    "inner product": InnerProduct,
    "hamming": Hamming,
}


@dataclass(frozen=True)
class Block:
    """Consecutive queries against the whole database; valid until the next block is asked for.

    Attributes
    ----------
    start : int
        Position of the block's first query.
    products : ndarray of float32, shape (b, m)
        What :meth:`row` finishes, in place.
    offsets : ndarray of float32, shape (b,)
        What finishing adds to each row.
    measure : Distance
        What finishes.
    """

    start: int
    products: Float32Array
    offsets: Float32Array
    measure: Distance

    def __len__(self) -> int:
        return len(self.products)

    def row(self, i: int) -> Float32Array:
        """Return the ranking values of the block's query ``i``; ask once a row. Safe on several threads at a time.

        Parameters
        ----------
        i : int
            Row within the block.

        Returns
        -------
        ndarray of float32, shape (m,)
            0 or more, rising with the distance (``euclidean``: its square); a view into the block.
        """
        row: Float32Array = self.products[i]
        self.measure.finish(row, self.offsets[i])
        return row


class Database:
    """Descriptors made ready to be searched by one distance.

    The array is kept, not copied, if it is C-contiguous float32 or float16; it may be read-only or memory-mapped.
    Preparing adds 12 bytes an image. Answering takes ``BLOCK_BYTES`` (64 MiB), or 4 bytes an image if that is more, and
    the answer. Packed codes are copied, a word at a time.

    Parameters
    ----------
    descriptors : ndarray of float32 or float16, shape (m, d), or of uint8, shape (m, bytes), for ``hamming``
        One row an image; float64 is converted, which copies.
    distance : str
        A name in :data:`DISTANCES`.
    lengths : ndarray of float64, shape (m,), optional
        The rows' Euclidean lengths, as :func:`lengths_of` gives them; computed by default.

    Raises
    ------
    UsageError
        If the distance isn't known, the array isn't such a table or is empty, a row holds NaN or infinity, or, for
        ``cosine``, only zeros.

    Examples
    --------
    >>> database = Database(np.array([[0, 2], [3, 0], [0, 2]], np.float32), "euclidean")
    >>> positions, distances = database.nearest(np.array([[0, 1]], np.float32), 2)
    >>> positions.tolist(), distances.tolist()
    ([[0, 2]], [[1.0, 1.0]])
    """

    def __init__(
        self, descriptors: NDArray[Any], distance: str = "cosine", lengths: Float64Array | None = None
    ) -> None:
        if distance not in DISTANCES:
            raise unknown_name("distance", distance, DISTANCES)
        packed = DISTANCES[distance].packed
        table = _table("descriptors", descriptors, packed, halves=True)
        if not table.size:
            raise UsageError(f"descriptors of shape {table.shape} leave nothing to search; index some images first")
        if packed and table.shape[1] > MOST_CODE_BYTES:
            raise UsageError(f"codes of {table.shape[1]:,} bytes are too long; hamming takes up to {MOST_CODE_BYTES:,}")
        if lengths is None:
            lengths = np.zeros(len(table)) if packed else lengths_of(table)
        _check_lengths("descriptor", lengths)
        DISTANCES[distance].check("descriptor", lengths)
        self.distance = distance
        self._descriptors = table
        self._measure = DISTANCES[distance](table, lengths)

    def __repr__(self) -> str:
        return f"Database({self.size:,} x {self.dimension:,}, {self.distance!r})"

    @property
    def size(self) -> int:
        """Number of images, m."""
        return len(self._descriptors)

    @property
    def dimension(self) -> int:
        """Length of one descriptor, d; of a packed code, its bytes."""
        return int(self._descriptors.shape[1])

    @property
    def lengths(self) -> Float64Array:
        """Euclidean length of each descriptor, float64, shape (m,); zeros of packed codes."""
        return self._measure.lengths

    def distances(self, queries: NDArray[Any]) -> Float32Array:
        """Return the distance from every query to every image.

        Parameters
        ----------
        queries : ndarray of float32, shape (n, d)
            One row a query.

        Returns
        -------
        ndarray of float32, shape (n, m)
            In float32 arithmetic: ``cosine`` is right to about ``d * 6e-8``; ``euclidean`` loses digits near 0, where
            its square is right to about ``d * 1e-7`` of the two lengths' product. :meth:`nearest` is exact.

        Raises
        ------
        UsageError
            If the queries are of another dimension, or one holds NaN, infinity or, for ``cosine``, only zeros.
        """
        table, lengths = self.checked(queries)
        out = np.empty((len(table), self.size), np.float32)
        for block in self._blocks(table, lengths):
            for i in range(len(block)):
                out[block.start + i] = block.row(i)
                self._measure.to_distances(out[block.start + i], block.offsets[i])
        return out

    def nearest(
        self, queries: NDArray[Any], k: int, rows: NDArray[Any] | None = None
    ) -> tuple[Int64Array, Float32Array]:
        """Return the ``k`` nearest images of every query, exactly.

        Parameters
        ----------
        queries : ndarray of float32, shape (n, d)
            One row a query.
        k : int
            How many, 1 to m, or to the number of ``rows``.
        rows : ndarray of bool, shape (m,), or of int, shape (r,), optional
            The only rows that may be answered, as a mask or as positions; all by default.

        Returns
        -------
        positions : ndarray of int64, shape (n, k)
            Rows of the database, by (distance, position).
        distances : ndarray of float32, shape (n, k)
            Computed in float64 and rounded; exactly 0 for an identical descriptor.

        Raises
        ------
        UsageError
            If ``k`` is below 1 or above what there is, ``rows`` isn't such a selection, or the queries can't be used
            (see :meth:`distances`).
        """
        if k < 1:
            raise UsageError(f"k is {k:,}; ask for at least 1")
        if k > self.size:
            raise UsageError(f"k is {k:,} but the index holds {self.size:,} images; ask for at most {self.size:,}")
        if rows is not None:
            some = _selected(rows, self.size)
            if k > len(some):
                raise UsageError(
                    f"k is {k:,} but only {len(some):,} images are selected; ask for at most {len(some):,}"
                )
            if len(some) < self.size:
                positions, distances = Database(self._descriptors[some], self.distance).nearest(queries, k)
                return some[positions], distances
        table, lengths = self.checked(queries)
        positions = np.empty((len(table), k), np.int64)
        distances = np.empty((len(table), k), np.float32)

        def pick(values: NDArray[Any], error: float, _: float) -> Int64Array:
            return _candidates(values, k, error)

        if len(table) >= MANY_QUERIES and k <= MOST_ANSWERS:
            done = 0
            for near, far in self._picked_together(table, lengths, k):
                positions[done : done + len(near)], distances[done : done + len(near)] = near, far
                done += len(near)
            return positions, distances
        for q, (found, exact) in enumerate(self._picked(table, lengths, pick)):
            order = np.lexsort((found, exact))[:k]
            positions[q], distances[q] = found[order], exact[order]
        return positions, distances

    def within(self, queries: NDArray[Any], radius: float) -> list[tuple[Int64Array, Float32Array]]:
        """Return all images within a radius of every query, exactly.

        For ``hamming``, codes of up to 64 bits and a small radius are looked up rather than compared (semantic hashing).

        Parameters
        ----------
        queries : ndarray of float32, shape (n, d), or of uint8, shape (n, bytes)
            One row a query.
        radius : float
            The largest distance that counts, 0 or more; for ``inner product`` of any sign.

        Returns
        -------
        list of (positions, distances), one a query
            Rows of the database as int64 and their distances as float32, by (distance, position); empty where nothing
            is that near.

        Raises
        ------
        UsageError
            If the radius is negative or NaN, or the queries can't be used (see :meth:`distances`).

        Examples
        --------
        >>> database = Database(np.array([[0b0111], [0b0100], [0b1000]], np.uint8), "hamming")
        >>> [(p.tolist(), d.tolist()) for p, d in database.within(np.array([[0b0110]], np.uint8), 1)]
        [([0, 1], [1.0, 1.0])]
        """
        if not radius >= (-np.inf if isinstance(self._measure, InnerProduct) else 0):
            raise UsageError(f"the radius is {radius}; it must be 0 or more")
        table, lengths = self.checked(queries)

        def pick(values: NDArray[Any], error: float, offset: float) -> Int64Array:
            value = self._measure.to_value(radius, offset)
            return np.flatnonzero(values <= value + abs(value) * 4 * ROUNDING + error)

        answers = []
        for found, exact in self._looked_up(table, radius) or self._picked(table, lengths, pick):
            order = np.lexsort((found, exact))
            order = order[exact[order] <= radius]
            answers.append((found[order], exact[order]))
        return answers

    def blocks(self, queries: NDArray[Any], rows: int | None = None) -> Iterator[Block]:
        """Multiply the queries with the database, a block at a time, in one buffer.

        Parameters
        ----------
        queries : ndarray of float32, shape (n, d)
            One row a query.
        rows : int, optional
            Queries in a block; by default as many as fit ``BLOCK_BYTES``, at least 1. The values may differ in their
            last digit from one size to another, as the matrix product adds in another order.

        Returns
        -------
        iterator of Block
            In the order of the queries.

        Raises
        ------
        UsageError
            If the queries can't be used (see :meth:`distances`).
        """
        return self._blocks(*self.checked(queries), rows)

    def _blocks(self, queries: Float32Array, lengths: Float64Array, rows: int | None = None) -> Iterator[Block]:
        rows = rows or max(1, BLOCK_BYTES // (4 * self.size))
        buffer = np.empty((min(rows, len(queries)), self.size), np.float32)
        for start in range(0, len(queries), rows):
            left, offsets = self._measure.prepare(queries[start : start + rows], lengths[start : start + rows])
            products = buffer[: len(left)]
            self._measure.multiply(left, products)
            yield Block(start, products, offsets, self._measure)

    def _picked(
        self, queries: Any, lengths: Float64Array, pick: Callable[[NDArray[Any], float, float], Int64Array]
    ) -> Iterator[tuple[Int64Array, Float32Array]]:
        """Yield, query by query, the positions that ``pick`` takes by ranking values, and their exact distances."""
        if isinstance(self._measure, Hamming):
            for query in queries:
                counts = self._measure.count(query)
                found = pick(counts, 0, 0)
                yield found, counts[found].astype(np.float32)
            return
        errors = self._measure.errors(lengths)
        for block in self._blocks(queries, lengths):
            for i in range(len(block)):
                q = block.start + i
                found = pick(block.row(i), float(errors[q]), float(block.offsets[i]))
                yield found, self._apart(queries, lengths, np.full(len(found), q), found)

    def _picked_together(
        self, queries: Any, lengths: Float64Array, k: int
    ) -> Iterator[tuple[Int64Array, Float32Array]]:
        """Yield, for some queries at a time, the positions and distances of the ``k`` nearest of each."""
        measure = self._measure
        if isinstance(measure, Hamming):
            positions, counts = nearest_codes(measure.words, _words(queries), k)
            yield positions, counts.astype(np.float32)
            return

        def settle(who: Int64Array, rows: Int64Array) -> tuple[Int64Array, Float32Array]:
            exact = self._apart(queries, lengths, who, rows)
            order = np.lexsort((rows, exact, who))
            starts = np.flatnonzero(np.diff(who, prepend=-1))
            first = order[starts[:, None] + np.arange(k)]
            return rows[first], exact[first]

        left = measure.extend(measure.prepare(queries, lengths)[0])
        yield from candidates(left, measure.errors(lengths), k, self.size, measure.multiply_rows, settle)

    def _looked_up(self, queries: Any, radius: float) -> list[tuple[Int64Array, Float32Array]]:
        """Return what is within a radius by looking codes up; nothing where that isn't quicker for every query."""
        measure, found = self._measure, []
        if not isinstance(measure, Hamming):
            return []
        for query in queries:
            positions = measure.lookup(query, int(min(radius, 64)))
            if positions is None:
                return []
            differ = measure.words[0, positions] ^ _words(query[None])[0, 0]
            found.append((positions, np.bitwise_count(differ).astype(np.float32)))
        return found

    def checked(self, queries: NDArray[Any]) -> tuple[Float32Array, Float64Array]:
        """Return queries in the form that is searched with.

        Parameters
        ----------
        queries : ndarray of float32, shape (n, d)
            One row a query.

        Returns
        -------
        (ndarray of float32, shape (n, d), ndarray of float64, shape (n,))
            The queries and their lengths; packed codes as they are, and zeros.

        Raises
        ------
        UsageError
            If they are of another dimension, or one holds NaN, infinity or, for ``cosine``, only zeros.
        """
        packed = self._measure.packed
        table = _table("queries", queries, packed)
        if table.shape[1] != self.dimension:
            raise UsageError(
                f"the queries have {table.shape[1]:,} {'bytes' if packed else 'numbers'} each, the index {self.dimension:,}; "
                "encode them with the encoder that made the index"
            )
        lengths = np.zeros(len(table)) if packed else lengths_of(table)
        _check_lengths("query", lengths)
        self._measure.check("query", lengths)
        return table, lengths

    def _apart(
        self, queries: Float32Array, lengths: Float64Array, pairs: Int64Array, positions: Int64Array
    ) -> Float32Array:
        """Return the distance of each pair, computed in float64 and rounded."""
        exact = np.empty(len(positions), np.float32)
        at_once = max(1, NUMBERS_AT_ONCE // self.dimension)
        for start in range(0, len(positions), at_once):
            part = slice(start, start + at_once)
            exact[part] = self._measure.apart(queries, lengths, pairs[part], positions[part])
        return exact


def to_float32(rows: FloatArray, out: Float32Array) -> None:
    """Widen rows, in place of ``out``.

    Parameters
    ----------
    rows : ndarray of float16 or float32, shape (r, d)
        Finite.
    out : ndarray of float32, shape (r, d)
        What is written.

    Examples
    --------
    >>> wide = np.empty((1, 4), np.float32)
    >>> to_float32(np.array([[1.5, -2, 6e-8, 65504]], np.float16), wide)
    >>> wide.tolist()
    [[1.5, -2.0, 5.960464477539063e-08, 65504.0]]
    """
    if rows.dtype == np.float32:
        np.copyto(out, rows)
        return
    # NumPy widens halves one by one. With sign and exponent put in their place by whole vectors, only the exponent's
    # bias is missing, which is a factor; that goes for subnormal numbers, too.
    bits = out.view(np.int32)
    np.copyto(bits, rows.view(np.int16))
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, np.int32(0x8FFFE000 - 2**32), out=bits)
    np.multiply(out, np.float32(2.0**112), out=out)


def _read_in_parts(starts: range, least: int, read: Callable[[Iterator[int]], None]) -> None:
    """Let threads read the parts that begin at ``starts``, one thread for every ``least`` of them."""
    shared = iter(starts)  # by all: a thread that is held up leaves more to the others
    others = min(usable_cores(), READING_THREADS, len(starts) // least) - 1
    if others < 1:
        read(shared)
        return
    with ThreadPoolExecutor(others) as pool:
        started = [pool.submit(read, shared) for _ in range(others)]
        read(shared)
        for one in started:
            one.result()


def _candidates(values: NDArray[Any], k: int, error: float) -> Int64Array:
    """Return the positions, ascending, of all that may be among the first ``k`` when values are wrong by ``error``."""
    # The k-th smallest of the minima of any groups is no less than the k-th smallest of all. Groups that lie across
    # the row are reduced with vector instructions, about 8 times as fast as a selection from the whole row.
    groups = 1024
    whole = k > groups // 4 or len(values) < 8 * groups
    some = values if whole else values[: len(values) // groups * groups].reshape(-1, groups).min(axis=0)
    found = np.flatnonzero(values <= _reach(some, k, error))
    return found if whole else found[values[found] <= _reach(values[found], k, error)]


def _selected(rows: NDArray[Any], size: int) -> Int64Array:
    """Return the positions, ascending, that a mask or a list of positions picks."""
    rows = np.asarray(rows)
    if rows.dtype == np.bool_ and rows.shape == (size,):
        return np.flatnonzero(rows)
    if (rows.dtype.kind not in "iu" and rows.size) or rows.ndim != 1:
        raise UsageError(
            f"rows of {rows.dtype} and shape {rows.shape} pick none of {size:,} images; give positions or a mask of all"
        )
    found = np.unique(rows.astype(np.int64))
    if len(found) and not 0 <= found[0] <= found[-1] < size:
        raise UsageError(
            f"rows run from {found[0]:,} to {found[-1]:,}, the index from 0 to {size - 1:,}; take rows of it"
        )
    return found


def _reach(values: NDArray[Any], k: int, error: float) -> Any:
    if values.dtype.kind == "u":
        return np.partition(values, k - 1)[k - 1]
    # Twice the error: the k-th may be too low by it, and another value too high. Rounded up.
    bound = float(np.partition(values, k - 1)[k - 1]) + 2 * error
    return np.float32(np.nextafter(np.float32(bound), np.float32(np.inf)))


def _table(what: str, array: NDArray[Any], packed: bool, *, halves: bool = False) -> Any:
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


def _words(codes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return codes, (n, bytes), as words of 64 bits, the last one filled up with zeros: (n, words)."""
    padded = np.zeros((len(codes), -(-codes.shape[1] // 8) * 8), np.uint8)
    padded[:, : codes.shape[1]] = codes
    return padded.view(np.uint64)


def lengths_of(table: FloatArray) -> Float64Array:
    """Return the Euclidean length of each row.

    Parameters
    ----------
    table : ndarray of float32 or float16, shape (n, d)
        Any values.

    Returns
    -------
    ndarray of float64, shape (n,)
        NaN or infinite where a value is: no second pass finds them.
    """
    lengths = np.empty(len(table))
    for start in range(0, len(table), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        lengths[part] = np.sqrt(_squares(table[part].astype(np.float64)))
    return lengths


def _check_lengths(what: str, lengths: Float64Array) -> None:
    bad = np.flatnonzero(~(lengths <= LONGEST))
    if len(bad):
        length = lengths[bad[0]]
        found = f"values too large (length {length:.2g})" if np.isfinite(length) else "NaN or infinity"
        raise UsageError(f"{what} {bad[0]:,} (counted from 0) holds {found}; encode that image again or leave it out")


def _squares(table: Float64Array) -> Float64Array:
    """Return the squared length of each row."""
    squares: Float64Array = np.einsum("ij,ij->i", table, table)
    return squares
