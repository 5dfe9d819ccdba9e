"""A query's shortlist against a full sort of its values, in whatever parts they come."""

from threading import Thread

import numpy as np
import pytest

from lookalike.neighbors.shortlist import GROUPS, LEAST_IN_A_GROUP, Shortlist

SIZES = [1, GROUPS * LEAST_IN_A_GROUP - 1, GROUPS * LEAST_IN_A_GROUP, GROUPS * LEAST_IN_A_GROUP + 300, 30_000]


def values_of(kind, size, seed=0):
    rng = np.random.default_rng(seed)
    if kind == "float32":
        return rng.standard_normal(size).astype(np.float32)
    return rng.integers(0, np.iinfo(kind).max, size, endpoint=True).astype(kind)


@pytest.mark.parametrize("kind", ["float32", "uint8", "uint16"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("part", [700, 9000, 10**6])
def test_the_first_k_are_kept_and_nothing_beyond_the_kth(kind, size, part):
    values = values_of(kind, size)
    for k in sorted({1, min(10, size), min(GROUPS, size), size}):
        few = Shortlist(k, 0.0, kind)
        for start in range(0, size, part):
            few.take(start, values[start : start + part])
        positions, found = few.found()
        np.testing.assert_array_equal(positions, np.flatnonzero(values <= np.sort(values)[k - 1]))
        np.testing.assert_array_equal(found, values[positions])


@pytest.mark.parametrize("size", SIZES)
def test_what_errors_may_hide_is_kept(size):
    values = values_of("float32", size)
    k = min(10, size)
    few = Shortlist(k, 0.25, np.float32)
    few.take(0, values)
    kth = float(np.sort(values)[k - 1])
    assert set(np.flatnonzero(values <= kth + 0.5)) <= set(few.found()[0].tolist())
    assert (few.found()[1] <= kth + 0.5 + 1e-6).all()


@pytest.mark.parametrize("order", [1, -1])  # the nearest come first; each part is nearer than all before it
def test_parts_may_come_from_several_threads(order):
    values = np.sort(values_of("float32", 40_000))[::order].copy()
    few = Shortlist(10, 0.0, np.float32)
    starts = iter(range(0, len(values), 9000))

    def look():
        for start in starts:
            few.take(start, values[start : start + 9000])

    threads = [Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(few.found()[0], np.flatnonzero(values <= np.sort(values)[9]))


def test_what_waits_stays_few():
    few = Shortlist(10, 0.0, np.float32)
    for start in range(0, 100_000, 500):  # parts too small to say much by themselves, each nearer than those before
        few.take(start, np.arange(100_000 - start, 100_000 - start - 500, -1, dtype=np.float32))
        assert sum(len(part) for part, _ in few._found) <= 8 * 10 + 500
