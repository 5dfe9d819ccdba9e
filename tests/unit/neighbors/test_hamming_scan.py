"""Codes counted tile by tile against a full sort of bits counted one by one."""

import numpy as np
import pytest

from lookalike.neighbors import hamming_scan as module
from lookalike.neighbors.hamming_scan import nearest_codes


def full_sort(codes, queries, k):
    exact = np.bitwise_count(queries[:, None] ^ codes).sum(axis=2, dtype=np.int64)
    order = np.argsort(exact, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(exact, order, axis=1)


def check(codes, queries, k):
    for found, expected in zip(
        nearest_codes(np.ascontiguousarray(codes.T), queries, k), full_sort(codes, queries, k), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 3, 4, 7, 16])
@pytest.mark.parametrize("size", [1, 5, 4096, 4097, 30_000])
def test_the_nearest_are_those_of_a_full_sort(width, size):
    rng = np.random.default_rng(width * size)
    centres = rng.integers(0, 2**64, (50, width), dtype=np.uint64)
    near = centres[rng.integers(0, 50, size)] ^ (np.uint64(1) << rng.integers(0, 64, (size, width), dtype=np.uint64))
    for codes in (near, rng.integers(0, 2**64, (size, width), dtype=np.uint64)):
        queries = np.concatenate([codes[:20], rng.integers(0, 2**64, (30, width), dtype=np.uint64)])
        for k in sorted({1, min(10, size), min(128, size)}):
            check(codes, queries[:1], k)
            check(codes, queries, k)


def test_among_equals_the_first_stored_win():
    codes = np.random.default_rng(0).integers(0, 4, (20_000, 1), dtype=np.uint64)
    for k in (1, 10, 128):
        check(codes, np.arange(9, dtype=np.uint64)[:, None], k)


@pytest.mark.parametrize("width", [1, 4, 5])
def test_each_code_nearer_than_all_before_it(width, monkeypatch):
    """Nothing is ever dismissed then; what waits is sorted in before it is much."""
    bits = np.arange(64 * width, -1, -1)
    flags = np.arange(64 * width)[None] < np.repeat(bits, 40)[:, None]
    codes = np.packbits(flags, axis=1).view(np.uint64)
    monkeypatch.setattr(module, "FIRST_CODES", 64)
    monkeypatch.setattr(module, "TILE_PAIRS", 1024)
    check(codes, np.zeros((40, width), np.uint64), 10)


@pytest.mark.parametrize("width", [1, 3, 4, 128])
def test_all_bits_may_differ(width):
    codes = np.full((5000, width), 2**64 - 1, np.uint64)
    codes[4999] = 0
    check(codes, np.zeros((8, width), np.uint64), 3)


def test_one_more_query_changes_no_answer():
    rng = np.random.default_rng(1)
    codes, queries = (rng.integers(0, 2**12, (rows, 4), dtype=np.uint64) for rows in (9000, 70))
    together = nearest_codes(np.ascontiguousarray(codes.T), queries, 10)
    for count in (1, 15, 16, 17, 69):
        for some, every in zip(
            nearest_codes(np.ascontiguousarray(codes.T), queries[:count], 10), together, strict=True
        ):
            np.testing.assert_array_equal(some, every[:count])
