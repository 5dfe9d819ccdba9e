"""The contract of a distance: how descriptors are compared, and what others may ask of it."""

from __future__ import annotations

from _thread import start_new_thread
from collections.abc import Callable, Iterator, Sequence
from threading import Event, Lock
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array, Float64Array, Int64Array
from lookalike.cores import one_thread_of_blas, usable_cores
from lookalike.errors import UsageError
from lookalike.neighbors.shortlist import Shortlist

FloatArray = NDArray[np.float32] | NDArray[np.float16]

#: Rows turned into float64 at a time: they stay in the processor's cache, and no wider copy of the database is made.
ROWS_AT_ONCE = 128
#: Rows of float16 turned into float32 at a time.
WIDENED_AT_ONCE = 2048
#: Rows shorter than this are copied to be scaled; of longer ones the products with some hundred queries are.
SHORT_ROWS = 256
#: From this many on, queries are multiplied tile by tile, on all cores; one alone is limited by the memory's speed.
MANY_QUERIES = 8
#: Rows of this length and more are multiplied with few queries so many numbers at a time, which stay in the cache; of shorter
#: ones the calls would count. For one query, which needs no row twice, more at a time spare calls.
LONG_ROWS, NUMBERS_IN_CACHE, NUMBERS_ONCE = 64, 2**17, 2**21
#: NumPy lets other threads run only while it goes through more than 500 rows.
LEAST_ROWS = 512
#: Relative error of one float32 operation.
ROUNDING = float(np.finfo(np.float32).eps) / 2
#: Lengths beyond these leave float32's range once squared, or once inverted.
LONGEST, SHORTEST = 1e18, 1e-30
#: Weights and lengths whose share of the whole is below this cancel out.
NOTHING = 1e-6
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

    #: The name that it is asked for by.
    name: ClassVar[str]
    #: Whether descriptors are packed bits, and counted, so that ranking values are the exact distances.
    packed: ClassVar[bool] = False
    #: The type of ranking values.
    kind: ClassVar[type[np.generic]] = np.float32
    #: Whether it may be negative: then it has no least value, and the distance of a thing to itself says nothing.
    signed: ClassVar[bool] = False
    #: Whether it compares directions alone. A descriptor of zeros has none, so such an image can't be compared.
    directional: ClassVar[bool] = False
    #: Whether the weighted mean of descriptors is taken of the vectors as they are, their lengths counting.
    lengths_count: ClassVar[bool] = True
    #: The distance by which an inverted file chooses its lists; None where there is no approximate search.
    by_centre: ClassVar[str | None] = None
    #: The distance that compares what :meth:`vectors` returns; itself unless it says another.
    of_vectors: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in vars(cls) and "of_vectors" not in vars(cls):
            cls.of_vectors = cls.name

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
            part = self.descriptors[start : start + WIDENED_AT_ONCE]
            to_float32(part, wide[: len(part)])
            np.matmul(left, wide[: len(part)].T, out=out[:, start : start + len(part)])

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

        read_in_parts(range(0, size, most), least, multiply)

    @classmethod
    def in_parts(cls) -> bool:
        """Tell whether :meth:`read` may stand for ``multiply`` and ``finish``: not where somebody else's ``multiply`` does."""
        return cls.multiply is Distance.multiply

    def read(self, left: Float32Array, lists: Sequence[Shortlist]) -> None:
        """Show the values of a query, in the ranking values' order, to its list: part by part, on several threads."""
        size, depth = self.descriptors.shape
        most = max(LEAST_ROWS, NUMBERS_ONCE // depth)

        def look(starts: Iterator[int]) -> None:
            wide = np.empty((0 if self.descriptors.dtype == np.float32 else min(most, size), depth), np.float32)
            out = np.empty(len(left) * min(most, size), np.float32)
            for start in starts:
                rows = self.descriptors[start : start + most]
                if rows.dtype != np.float32:
                    to_float32(rows, wide[: len(rows)])
                    rows = wide[: len(rows)]
                values = out[: len(left) * len(rows)].reshape(len(left), len(rows))
                np.matmul(left, rows.T, out=values)
                self.complete(start, start + len(rows), values)
                for line, shortlist in zip(values, lists, strict=True):
                    shortlist.take(start, line)

        with one_thread_of_blas():
            read_in_parts(range(0, size, most), 1, look)

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

    def count(self, query: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Return the distance of each packed code, (m,), from one of shape (bytes,); only where ``packed``."""
        raise NotImplementedError

    def all_nearest(self, queries: Any, k: int) -> tuple[Int64Array, NDArray[Any]] | None:  # noqa: ARG002
        """Return the ``k`` nearest of each query where this distance has a way of its own; None for the general one."""
        return None

    def all_within(self, queries: Any, radius: float) -> list[tuple[Int64Array, Float32Array]] | None:  # noqa: ARG002
        """Return what is within a radius of each query where this distance has a quicker way; None for the general one."""
        return None

    def errors(self, lengths: Float64Array) -> Float64Array:
        """Return the most that ranking values can be wrong by, for queries of these lengths, shape (b,)."""
        raise NotImplementedError

    def resolution(self, lengths: Float64Array) -> Float64Array:
        """Return what ranking values must differ by to be told apart, for queries of these lengths, shape (b,).

        Twice the error that is to be expected: those of a sum's terms mostly cancel, so it grows with the root of their
        number, and :meth:`errors` with the number. N. Higham and T. Mary, "A new approach to probabilistic rounding
        error analysis", SIAM Journal on Scientific Computing 41(5), 2019.
        """
        return np.asarray(2 * self.errors(lengths) / np.sqrt(self.descriptors.shape[1]))

    def apart(
        self, queries: Float32Array, lengths: Float64Array, pairs: Int64Array, positions: Int64Array
    ) -> Float64Array:
        """Return the distance of each pair in float64: of query ``pairs[i]`` and the image at ``positions[i]``."""
        raise NotImplementedError

    # What others than a search need to know of it: no descriptors are prepared for these --------------------------------

    @classmethod
    def similarity(cls, far: float, bits: int) -> float:  # noqa: ARG003
        """Turn a distance into a similarity, 1 for identical images; ``bits`` is the length of a packed code."""
        return 1 / (1 + far)

    @classmethod
    def to_squares(cls, distances: Float32Array) -> Float32Array:
        """Turn distances into squares of Euclidean ones, or into what is proportional to them."""
        return distances

    @classmethod
    def grouping_radius(cls, far: float, radius: float) -> float:  # noqa: ARG003
        """Return how far from a query an answer can be that lies within ``radius`` of an answer at ``far``.

        Raises
        ------
        UsageError
            If the triangle inequality doesn't hold, so that there is no such bound.
        """
        raise UsageError(f"answers can't be grouped by the distance {cls.name}; use cosine or euclidean")

    @classmethod
    def placed(cls, descriptors: Float32Array, lengths: Float64Array) -> Float32Array:  # noqa: ARG003
        """Return what decides the list of an inverted file that each descriptor belongs to."""
        return np.asarray(descriptors, np.float32)

    @classmethod
    def vectors(cls, descriptors: NDArray[Any]) -> Float32Array:
        """Return descriptors, (n, d), as vectors that can be added up."""
        return np.asarray(descriptors, np.float32)

    @classmethod
    def closeness(cls, squares: Float32Array, last: Float32Array, dimension: int) -> NDArray[Any]:  # noqa: ARG003
        """Turn :meth:`to_squares`' values, (..., k), into weights up to 1 for query expansion; may be negative.

        ``last`` holds those of the farthest answer, ``dimension`` is the length of a descriptor.
        """
        return 1 - 0.5 * squares / np.maximum(last, np.finfo(np.float32).tiny)

    @classmethod
    def pair_squares(cls, one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
        """Return :meth:`to_squares`' value of each pair of rows, shape (n,)."""
        table, left = np.ascontiguousarray(other), np.asarray(one, np.float32)
        pairs = np.arange(len(table))
        far = cls(table, lengths_of(table)).apart(left, lengths_of(left), pairs, pairs)
        return cls.to_squares(far.astype(np.float32))

    @classmethod
    def mean(cls, descriptors: Sequence[NDArray[Any]], share: Float64Array) -> NDArray[Any]:
        """Return the weighted mean of descriptors, each of shape (d,); the weights add up to 1."""
        return np.asarray(share @ finite_table(descriptors), np.float32)

    @classmethod
    def product_scale(cls, descriptors: NDArray[Any]) -> float:
        """Return the size of the products of such descriptors, which their rounding error is a share of."""
        return float(np.square(descriptors, dtype=np.float32).sum(axis=1).mean())

    @classmethod
    def widened(cls, distance: float, error: float) -> float:
        """Return a distance made larger by an error of the products that it was computed from."""
        return distance + error


def finite_table(descriptors: Sequence[NDArray[Any]]) -> Float64Array:
    """Stack descriptors in float64.

    Parameters
    ----------
    descriptors : sequence of ndarray, each of shape (d,)
        Of one length.

    Returns
    -------
    ndarray of float64, shape (n, d)

    Raises
    ------
    UsageError
        If one holds NaN or infinity.
    """
    table: Float64Array = np.stack(descriptors).astype(np.float64)
    if not np.isfinite(table).all():
        raise UsageError("a descriptor of the query holds NaN or infinity; leave that image out")
    return table


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


def read_in_parts(starts: range, least: int, read: Callable[[Iterator[int]], None]) -> None:
    """Let threads read the parts of an array.

    Parameters
    ----------
    starts : range
        Where the parts begin.
    least : int
        Parts for which it is worth to start a thread.
    read : callable
        Given an iterator of starts that all threads share, reads these parts.
    """
    shared = iter(starts)  # by all: a thread that is held up leaves more to the others
    others = min(usable_cores(), READING_THREADS, len(starts) // least) - 1
    if others < 1:
        read(shared)
        return
    lock, over = Lock(), False
    begun: list[Event] = []
    failed: list[BaseException] = []

    def help_out() -> None:
        with lock:
            if over:
                return
            done = Event()
            begun.append(done)
        try:
            read(shared)
        except BaseException as error:
            failed.append(error)
        finally:
            done.set()

    # Where all cores are busy, a thread may begin late, when nothing is left to do. So nobody waits for one that hasn't
    # begun, as `Thread.start` and a pool do.
    for _ in range(others):
        start_new_thread(help_out, ())
    try:
        read(shared)
    finally:
        with lock:
            over = True
        for done in begun:
            done.wait()
    if failed:
        raise failed[0]


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
        lengths[part] = np.sqrt(squared_lengths(table[part].astype(np.float64)))
    return lengths


def squared_lengths(table: Float64Array) -> Float64Array:
    """Return the squared length of each row.

    Parameters
    ----------
    table : ndarray of float64, shape (n, d)
        Any values.

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    squares: Float64Array = np.einsum("ij,ij->i", table, table)
    return squares
