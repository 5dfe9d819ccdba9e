"""Descriptors -> distances: the nearest images to a query, exactly, in a stated order.

**Order.** Answers come by (distance, position): of two images at the same distance, the one stored first wins, also
where the cut at ``k`` falls between them. With short codes most answers are such ties.

**Half precision.** float16 descriptors stay so in memory and are widened tile by tile; answers are exact for the values
stored. Queries may be of any float type.

**Exactness.** One matrix product finds candidates, and float32 rounding makes its values wrong in the last digits. So
:meth:`Database.nearest` keeps every image that could still belong to the first ``k`` by the worst-case error of a dot
product (Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd edition, section 3.1), recomputes the distances
of these few in float64, and only then cuts. The answer doesn't depend on the batch or the thread count, and an identical
image is at exactly 0. :meth:`Database.distances` uses the plain float32 values, and so do the scores, which take for
equal what rounding can't tell apart. ``hamming`` counts bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array, Float64Array, Int64Array
from lookalike.errors import UsageError, unknown_name
from lookalike.neighbors.distances import DISTANCES
from lookalike.neighbors.distances.base import MANY_QUERIES, ROUNDING, Distance, lengths_of
from lookalike.neighbors.shortlist import Shortlist
from lookalike.neighbors.tables import as_table, check_lengths, selected_rows
from lookalike.neighbors.tiling import MAX_ANSWERS, candidates

#: Most bytes a block of queries x database may take; one query's row is always allowed.
BLOCK_BYTES = 64 * 2**20
#: Numbers whose distances are computed again in float64 at a time.
NUMBERS_AT_ONCE = 2**18
#: Longest code; more bits don't fit the 16-bit counts.
MAX_CODE_BYTES = 8191


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
    steps : ndarray of float32, shape (b,)
        What values of each row must differ by to be told apart; 0 where they are exact.
    measure : Distance
        What finishes.
    """

    start: int
    products: Float32Array
    offsets: Float32Array
    steps: Float32Array
    measure: Distance

    def __len__(self) -> int:
        return len(self.products)

    def row(self, i: int, *, resolved: bool = False) -> Float32Array:
        """Return the ranking values of the block's query ``i``; ask once a row. Safe on several threads at a time.

        Parameters
        ----------
        i : int
            Row within the block.
        resolved : bool
            Make those equal that rounding can't tell apart: whole steps of :meth:`Distance.resolution`.

        Returns
        -------
        ndarray of float32, shape (m,)
            0 or more, rising with the distance (``euclidean``: its square); a view into the block.
        """
        row: Float32Array = self.products[i]
        self.measure.finish(row, self.offsets[i])
        if resolved and (step := self.steps[i]) > 0:
            np.divide(row, step, out=row)
            np.rint(row, out=row)
            np.multiply(row, step, out=row)
        return row


class Database:
    """Descriptors made ready to be searched by one distance.

    The array is kept, not copied, if it is C-contiguous float32 or float16; it may be read-only or memory-mapped.
    Preparing adds 12 bytes an image. Answering takes ``BLOCK_BYTES``, or 4 bytes an image if that is more, and the answer.
    Packed codes are copied, a word at a time.

    Parameters
    ----------
    descriptors : ndarray of float32 or float16, shape (m, d), or of uint8, shape (m, bytes), for ``hamming``
        One row an image; float64 is copied.
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
        table = as_table("descriptors", descriptors, packed, halves=True)
        if not table.size:
            raise UsageError(f"descriptors of shape {table.shape} leave nothing to search; index some images first")
        if packed and table.shape[1] > MAX_CODE_BYTES:
            raise UsageError(f"codes of {table.shape[1]:,} bytes are too long; hamming takes up to {MAX_CODE_BYTES:,}")
        if lengths is None:
            lengths = np.zeros(len(table)) if packed else lengths_of(table)
        check_lengths("descriptor", lengths)
        DISTANCES[distance].check("descriptor", lengths)
        self.distance = distance
        self._descriptors = table
        self.measure = DISTANCES[distance](table, lengths)

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
        return self.measure.lengths

    def resolution(self, queries: NDArray[Any]) -> Float64Array:
        """Return what ranking values of each query must differ by to be told apart, float64, shape (n,)."""
        return self.measure.resolution(self.checked(queries)[1])

    def distances(self, queries: NDArray[Any], *, resolved: bool = False) -> Float32Array:
        """Return the distance from every query to every image.

        Parameters
        ----------
        queries : ndarray of float32, shape (n, d)
            One row a query.
        resolved : bool
            Make those equal that rounding can't tell apart: whole steps of :meth:`Distance.resolution`, and of
            ``euclidean`` the squares.

        Returns
        -------
        ndarray of float32, shape (n, m)
            In float32 arithmetic: ``cosine`` is right to about ``d * 6e-8``; ``euclidean`` loses digits near 0, where
            its square is right to about ``d * 1e-7`` of the two lengths' product. :meth:`nearest` is exact.

        Raises
        ------
        UsageError
            If the queries are of another dimension, or one holds NaN, infinity or, for ``cosine``, only zeros.

        Examples
        --------
        >>> database = Database(np.array([[1, 0], [1, 1e-6], [0, 1]], np.float32))
        >>> database.distances(np.array([[1, 2e-6]], np.float32), resolved=True).round(3).tolist()
        [[0.0, 0.0, 1.0]]
        """
        table, lengths = self.checked(queries)
        out = np.empty((len(table), self.size), np.float32)
        for block in self._blocks(table, lengths):
            for i in range(len(block)):
                at = block.start + i
                out[at] = block.row(i, resolved=resolved)
                if not resolved:
                    self.measure.to_distances(out[at], block.offsets[i])
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
            The only rows that may be answered, as a mask or as positions.

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
            selected = selected_rows(rows, self.size)
            if k > len(selected):
                raise UsageError(
                    f"k is {k:,} but only {len(selected):,} images are selected; ask for at most {len(selected):,}"
                )
            if len(selected) < self.size:
                positions, distances = Database(self._descriptors[selected], self.distance).nearest(queries, k)
                return selected[positions], distances
        table, lengths = self.checked(queries)
        if len(table) >= MANY_QUERIES and k <= MAX_ANSWERS:
            parts = list(self._picked_together(table, lengths, k))
            return np.concatenate([near for near, _ in parts]), np.concatenate([far for _, far in parts])
        positions = np.empty((len(table), k), np.int64)
        distances = np.empty((len(table), k), np.float32)
        for q, (rows_found, exact) in enumerate(self._shortlisted(table, lengths, k)):
            order = np.lexsort((rows_found, exact))[:k]
            positions[q], distances[q] = rows_found[order], exact[order]
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
            int64 and float32, by (distance, position); empty where nothing is that near.

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
        if not radius >= (-np.inf if self.measure.signed else 0):
            raise UsageError(f"the radius is {radius}; it must be 0 or more")
        table, lengths = self.checked(queries)

        def pick(values: NDArray[Any], error: float, offset: float) -> Int64Array:
            value = self.measure.to_value(radius, offset)
            return np.flatnonzero(values <= value + abs(value) * 4 * ROUNDING + error)

        answers = []
        for positions, exact in self.measure.all_within(table, radius) or self._picked(table, lengths, pick):
            order = np.lexsort((positions, exact))
            order = order[exact[order] <= radius]
            answers.append((positions[order], exact[order]))
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

        Yields
        ------
        Block
            In the order of the queries.

        Raises
        ------
        UsageError
            As of :meth:`distances`.
        """
        return self._blocks(*self.checked(queries), rows)

    def _blocks(self, queries: Float32Array, lengths: Float64Array, rows: int | None = None) -> Iterator[Block]:
        rows = rows or max(1, BLOCK_BYTES // (4 * self.size))
        buffer = np.empty((min(rows, len(queries)), self.size), np.float32)
        for start in range(0, len(queries), rows):
            asked = lengths[start : start + rows]
            left, offsets = self.measure.prepare(queries[start : start + rows], asked)
            products = buffer[: len(left)]
            self.measure.multiply(left, products)
            steps = self.measure.resolution(asked).astype(np.float32)
            yield Block(start, products, offsets, steps, self.measure)

    def _picked(
        self, queries: Any, lengths: Float64Array, pick: Callable[[NDArray[Any], float, float], Int64Array]
    ) -> Iterator[tuple[Int64Array, Float32Array]]:
        """Yield, query by query, the positions that ``pick`` takes by ranking values, and their exact distances."""
        if self.measure.packed:
            for query in queries:
                counts = self.measure.count(query)
                positions = pick(counts, 0, 0)
                yield positions, counts[positions].astype(np.float32)
            return
        errors = self.measure.errors(lengths)
        for block in self._blocks(queries, lengths):
            for i in range(len(block)):
                q = block.start + i
                positions = pick(block.row(i), float(errors[q]), float(block.offsets[i]))
                yield positions, self._apart(queries, lengths, np.full(len(positions), q), positions)

    def _shortlisted(self, queries: Any, lengths: Float64Array, k: int) -> Iterator[tuple[Int64Array, Float32Array]]:
        """Yield, query by query, the positions that may be among the ``k`` nearest, and their exact distances."""
        errors, measure = self.measure.errors(lengths).tolist(), self.measure
        for q, shortlist in enumerate(
            self._shortlists(queries, lengths, [Shortlist(k, e, measure.kind) for e in errors])
        ):
            positions, values = shortlist.found()
            if not measure.packed:
                values = self._apart(queries, lengths, np.full(len(positions), q), positions)
            yield positions, values.astype(np.float32, copy=False)

    def _shortlists(self, queries: Any, lengths: Float64Array, lists: list[Shortlist]) -> Iterator[Shortlist]:
        if self.measure.packed or (len(queries) == 1 and self.measure.in_parts()):
            for start in range(0, len(queries), MANY_QUERIES):
                part = slice(start, start + MANY_QUERIES)
                self.measure.read(self.measure.prepare(queries[part], lengths[part])[0], lists[part])
                yield from lists[part]
            return
        for block in self._blocks(queries, lengths):
            for i in range(len(block)):
                lists[block.start + i].take(0, block.row(i))
                yield lists[block.start + i]

    def _picked_together(
        self, queries: Any, lengths: Float64Array, k: int
    ) -> Iterator[tuple[Int64Array, Float32Array]]:
        """Yield, some queries at a time, the positions and distances of the ``k`` nearest of each."""
        measure = self.measure
        if (answers := measure.all_nearest(queries, k)) is not None:
            yield answers[0], answers[1].astype(np.float32)
            return

        def settle(who: Int64Array, rows: Int64Array) -> tuple[Int64Array, Float32Array]:
            exact = self._apart(queries, lengths, who, rows)
            order = np.lexsort((rows, exact, who))
            starts = np.flatnonzero(np.diff(who, prepend=-1))
            first = order[starts[:, None] + np.arange(k)]
            return rows[first], exact[first]

        left = measure.extend(measure.prepare(queries, lengths)[0])
        yield from candidates(left, measure.errors(lengths), k, self.size, measure.multiply_rows, settle)

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
        packed = self.measure.packed
        table = as_table("queries", queries, packed)
        if table.shape[1] != self.dimension:
            raise UsageError(
                f"the queries have {table.shape[1]:,} {'bytes' if packed else 'numbers'} each, the index {self.dimension:,}; "
                "encode them with the encoder that made the index"
            )
        lengths = np.zeros(len(table)) if packed else lengths_of(table)
        check_lengths("query", lengths)
        self.measure.check("query", lengths)
        return table, lengths

    def _apart(
        self, queries: Float32Array, lengths: Float64Array, pairs: Int64Array, positions: Int64Array
    ) -> Float32Array:
        """Return the distance of each pair, computed in float64 and rounded."""
        exact = np.empty(len(positions), np.float32)
        at_once = max(1, NUMBERS_AT_ONCE // self.dimension)
        for start in range(0, len(positions), at_once):
            part = slice(start, start + at_once)
            exact[part] = self.measure.apart(queries, lengths, pairs[part], positions[part])
        return exact
