"""Calls that are made together: each gets its own rows back, and one's fault is no other's."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lookalike.server.batching import Batcher


class Held:
    """A function that waits in its first call, so that the next calls gather."""

    def __init__(self):
        self.begun, self.go = threading.Event(), threading.Event()
        self.sizes = []

    def __call__(self, rows, key):
        self.begun.set()
        assert self.go.wait(5)
        self.sizes.append(len(rows))
        if (rows == 13).any():
            raise ValueError("thirteen")
        return rows * 2, rows.sum(axis=1)


def together(calls):
    """Make the first call, and while it is held the others."""
    held = Held()
    batcher = Batcher(held, max_rows=8)
    with ThreadPoolExecutor(len(calls)) as pool:
        first = pool.submit(batcher, *calls[0])
        assert held.begun.wait(5)
        futures = [pool.submit(batcher, *call) for call in calls[1:]]
        while len(batcher._waiting) < len(calls) - 1:
            pass
        held.go.set()
        results = [future.exception(5) or future.result() for future in (first, *futures)]
    batcher.close()
    return results, held, batcher


def rows(*values):
    return np.array([[v, v] for v in values])


def test_each_call_gets_its_own_rows():
    results, held, batcher = together([(rows(1), 0), (rows(2, 3), 0), (rows(4), 0), (rows(5), 0)])
    for (doubled, sums), given in zip(results, ([1], [2, 3], [4], [5]), strict=True):
        assert doubled.tolist() == [[2 * v, 2 * v] for v in given]
        assert sums.tolist() == [2 * v for v in given]
    assert sorted(held.sizes) == [1, 4]
    assert (batcher.calls, batcher.batches) == (4, 2)


def test_other_keys_and_other_shapes_are_apart():
    results, held, _ = together([(rows(1), 0), (rows(2), 1), (np.ones((1, 3), int), 0), (rows(3), 1)])
    assert [r[0].tolist() for r in results] == [[[2, 2]], [[4, 4]], [[2, 2, 2]], [[6, 6]]]
    assert sorted(held.sizes) == [1, 1, 2]


def test_one_call_that_fails_fails_no_other():
    results, _, _ = together([(rows(1), 0), (rows(2), 0), (rows(13), 0), (rows(3), 0)])
    assert [r[0].tolist() for r in (results[0], results[1], results[3])] == [[[2, 2]], [[4, 4]], [[6, 6]]]
    assert isinstance(results[2], ValueError)


def test_no_batch_is_over_its_most():
    _, held, _ = together([(rows(1), 0), *[(rows(1, 2, 3), 0) for _ in range(5)]])
    assert max(held.sizes) <= 8
    assert sum(held.sizes) == 16


def test_closed_it_still_answers():
    batcher = Batcher(lambda rows, _: rows + 1)
    assert batcher(rows(1)).tolist() == [[2, 2]]
    batcher.close()
    assert batcher(rows(2)).tolist() == [[3, 3]]


def test_a_call_alone_raises_what_the_function_raises():
    def fail(rows, key):
        raise KeyError("no")

    with pytest.raises(KeyError):
        Batcher(fail)(rows(1))
