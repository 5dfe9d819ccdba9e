"""The number of bits that differ between packed codes, uint8 of shape ``(m, bytes)``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.array_types import Float32Array, Float64Array, Int64Array
from lookalike.neighbors.distances.base import NOTHING, Distance, read_in_parts
from lookalike.neighbors.hamming_scan import nearest_codes
from lookalike.neighbors.shortlist import Shortlist

#: Codes, and words of 64 bits of each, whose bits are counted at a time: more leave the processor's cache, fewer cost
#: calls (1,000,000 x 256 bits on two cores: 2.4 ms; 4.2 ms with 2**16 codes and a word at a time).
CODES_AT_ONCE, WORDS_AT_ONCE = 2**15, 4
#: Pairs of a query and a code's word after which compiled code would have saved the quarter of a second of its import.
WORTH_FAISS = 2**26
#: Parts of the codes that faiss is given, one a thread, at most; pairs that make a part worth while; queries at a time; and the
#: most answers that it is asked for: it keeps them in a heap.
FAISS_PARTS, FAISS_PAIRS, FAISS_QUERIES, FAISS_ANSWERS = 8, 2**19, 4096, 256


class Hamming(Distance):
    """The number of bits that differ; ranked by that very number.

    Codes are kept a word at a time, ``(words, m)`` of uint64, which copies them: each step of counting then runs over
    contiguous memory. Where faiss is installed (J. Johnson et al., "Billion-scale similarity search with GPUs", 2017), it
    counts once that pays; the answers are the same.
    """

    name = "hamming"
    packed = True
    kind = np.uint16
    lengths_count = False
    of_vectors = "cosine"

    def __init__(self, descriptors: NDArray[np.uint8], lengths: Float64Array) -> None:
        self.lengths = lengths
        self.codes = descriptors
        self._counted = 0
        self.words = np.ascontiguousarray(_to_words(descriptors).T)
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

    def resolution(self, lengths: Float64Array) -> Float64Array:
        """Return zeros as well."""
        return self.errors(lengths)

    def count(self, query: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Count the bits in which each code, (m,), differs from one query of shape (bytes,)."""
        words = _to_words(query[None])[0][:, None]
        size = self.words.shape[1]
        counts = np.empty(size, np.uint16)

        def count(starts: Iterator[int]) -> None:
            differ = np.empty((WORDS_AT_ONCE, min(size, CODES_AT_ONCE)), np.uint64)
            bits = np.empty(differ.shape, np.uint8)
            for start in starts:
                out = counts[start : start + CODES_AT_ONCE]
                for word in range(0, len(words), WORDS_AT_ONCE):
                    codes = self.words[word : word + WORDS_AT_ONCE, start : start + CODES_AT_ONCE]
                    unlike, differing = (a[: len(codes), : len(out)] for a in (differ, bits))
                    np.bitwise_xor(codes, words[word : word + WORDS_AT_ONCE], out=unlike)
                    np.bitwise_count(unlike, out=differing)
                    # Three words of 64 bits fit a byte, and bytes are quicker to add.
                    for more in differing[1:3]:
                        np.add(differing[0], more, out=differing[0])
                    np.add(differing[0], out if word else 0, out=out, dtype=np.uint16)
                    if len(codes) > 3:
                        np.add(out, differing[3], out=out)

        read_in_parts(range(0, size, CODES_AT_ONCE), 4, count)
        return counts

    def read(self, left: Any, lists: Sequence[Shortlist]) -> None:
        """Show counts to the lists."""
        if lists[0].k <= FAISS_ANSWERS and (faiss := self._faiss(len(left))):
            for shortlist, near, far in zip(lists, *self._by_faiss(faiss, left, lists[0].k), strict=True):
                shortlist.take_some(near, far.astype(np.uint16))
            return
        for query, shortlist in zip(left, lists, strict=True):
            shortlist.take(0, self.count(query))

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
        query_word = int(_to_words(query[None])[0, 0])
        # Bits that no stored code has set differ wherever the query has them.
        outside = query_word & ~sum(flips)
        radius -= outside.bit_count()
        if sum(comb(len(flips), r) for r in range(radius + 1)) > max(len(codes) // 256, 1):
            return None
        inside = query_word & sum(flips)
        ball = np.array([inside ^ sum(c) for r in range(radius + 1) for c in combinations(flips, r)], np.uint64)
        starts, ends = np.searchsorted(codes, ball, "left"), np.searchsorted(codes, ball, "right")
        within = [positions[start:end] for start, end in zip(starts, ends, strict=True) if end > start]
        return np.sort(np.concatenate(within)) if within else np.empty(0, np.int64)

    def all_nearest(self, queries: Any, k: int) -> tuple[Int64Array, NDArray[Any]]:
        """Count tile by tile, or by faiss: it answers in the same order."""
        if faiss := self._faiss(len(queries)):
            parts = [
                self._by_faiss(faiss, queries[i : i + FAISS_QUERIES], k) for i in range(0, len(queries), FAISS_QUERIES)
            ]
            return np.concatenate([near for near, _ in parts]), np.concatenate([far for _, far in parts])
        return nearest_codes(self.words, _to_words(queries), k)

    def _faiss(self, queries: int) -> Any:
        """Return faiss where it is installed and would have saved, by now, the time of its import; else None."""
        self._counted += queries * self.words.size
        worth = "faiss" in sys.modules or (self._counted >= WORTH_FAISS and find_spec("faiss"))
        return importlib.import_module("faiss") if worth else None

    def _by_faiss(self, faiss: Any, queries: Any, k: int) -> tuple[Int64Array, NDArray[Any]]:
        """Find the ``k`` nearest of each part of the codes, and of these the ``k`` nearest."""
        size = len(self.codes)
        step = max(-(-size // FAISS_PARTS), FAISS_PAIRS // len(queries))
        found: list[tuple[Int64Array, NDArray[Any]]] = []

        def look(starts: Iterator[int]) -> None:
            threads = faiss.omp_get_max_threads()  # of this thread: more than one would wait for each other by spinning
            faiss.omp_set_num_threads(1)
            try:
                for start in starts:
                    codes = self.codes[start : start + step]
                    far, near = faiss.knn_hamming(queries, codes, min(k, len(codes)))
                    found.append((start + near, far))
            finally:
                faiss.omp_set_num_threads(threads)

        read_in_parts(range(0, size, step), 1, look)
        near, far = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
        first = np.lexsort((near, far))[:, :k]
        return np.take_along_axis(near, first, 1), np.take_along_axis(far, first, 1)

    def all_within(self, queries: Any, radius: float) -> list[tuple[Int64Array, Float32Array]] | None:
        """Look codes up where that is quicker for every query."""
        answers = []
        for query in queries:
            positions = self.lookup(query, int(min(radius, 64)))
            if positions is None:
                return None
            differ = self.words[0, positions] ^ _to_words(query[None])[0, 0]
            answers.append((positions, np.bitwise_count(differ).astype(np.float32)))
        return answers

    @classmethod
    def similarity(cls, far: float, bits: int) -> float:
        """Return the share of bits that agree."""
        return 1 - far / bits

    @classmethod
    def grouping_radius(cls, far: float, radius: float) -> float:
        """Add the two, by the triangle inequality."""
        return (far + radius) * (1 + 1e-6)

    @classmethod
    def vectors(cls, descriptors: NDArray[Any]) -> Float32Array:
        """Make each bit -1 or 1.

        Examples
        --------
        >>> Hamming.vectors(np.array([[0b10000001]], np.uint8))[0, :2].tolist()
        [1.0, -1.0]
        """
        return np.unpackbits(descriptors, axis=1).astype(np.float32) * 2 - 1

    @classmethod
    def closeness(cls, squares: Float32Array, last: Float32Array, dimension: int) -> NDArray[Any]:  # noqa: ARG003
        """Return the cosine of the bits as -1 and 1, halfway to 1."""
        return 1 - squares / (4 * dimension)

    @classmethod
    def pair_squares(cls, one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
        """Count the bits that differ."""
        counts: NDArray[Any] = np.bitwise_count(one ^ other).sum(axis=1)
        return counts

    @classmethod
    def mean(cls, descriptors: Sequence[NDArray[Any]], share: Float64Array) -> NDArray[Any]:
        """Let each bit be voted on; the first of the heaviest settles ties."""
        bits = np.stack([np.unpackbits(code) for code in descriptors]).astype(np.float64) * 2 - 1
        votes = share @ bits
        first = bits[int(share.argmax())] > 0
        return np.packbits(np.where(np.abs(votes) < NOTHING, first, votes > 0))

    @classmethod
    def product_scale(cls, descriptors: NDArray[Any]) -> float:  # noqa: ARG003
        """Return 0: bits are counted, and a count is exact."""
        return 0.0


def _to_words(codes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return codes, (n, bytes), as words of 64 bits, the last one filled up with zeros: (n, words)."""
    padded = np.zeros((len(codes), -(-codes.shape[1] // 8) * 8), np.uint8)
    padded[:, : codes.shape[1]] = codes
    return padded.view(np.uint64)
