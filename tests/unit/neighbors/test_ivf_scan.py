"""Visits against a full sort of what each query's lists hold."""

import numpy as np
import pytest

from lookalike.neighbors import ivf_scan as module
from lookalike.neighbors.ivf_scan import visit


def check(x, starts, left, chosen, k):
    def complete(start, stop, values):
        assert values.shape[1] == stop - start
        values += np.arange(start, stop, dtype=np.float32) % 7  # what a row adds to its products

    values = left @ x.T + np.arange(len(x), dtype=np.float32) % 7
    queries, places = visit(
        left, np.zeros(len(left)), k, chosen, starts, lambda one: x[starts[one] : starts[one + 1]], complete
    )
    assert (np.diff(queries) >= 0).all()
    for q, lists in enumerate(chosen):
        held = np.concatenate([np.arange(starts[one], starts[one + 1]) for one in lists])
        nearest = held[values[q, held] <= np.sort(values[q, held])[k - 1]]
        assert sorted(places[queries == q]) == sorted(nearest.tolist())


def made(count, seed=0):
    """Whole numbers, whose products are exact; lists of many sizes, some empty."""
    rng = np.random.default_rng(seed)
    sizes = np.array([0, 1, 3, 900, 40, 0, 200, 7, 5, 64])
    starts = np.concatenate([[0], np.cumsum(sizes)])
    x, left = (rng.integers(-9, 10, (rows, 6)).astype(np.float32) for rows in (starts[-1], count))
    chosen = [rng.permutation(len(sizes))[: rng.integers(1, 9)] for _ in range(count)]
    chosen = [lists if sizes[lists].sum() >= 5 else np.array([3, 0]) for lists in chosen]
    return x, starts, left, chosen


@pytest.mark.parametrize("count", [1, 2, 17, 200])
@pytest.mark.parametrize("k", [1, 5])
def test_the_nearest_of_what_the_lists_hold(count, k):
    check(*made(count), k)


def test_values_and_pairs_that_do_not_fit_are_taken_in_parts(monkeypatch):
    monkeypatch.setattr(module, "VALUES_AT_ONCE", 100)
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 10)
    check(*made(60), 5)
    monkeypatch.setattr(module, "MAX_PAIRS", 50)
    check(*made(60, seed=1), 5)


def test_where_all_is_alike_all_is_returned(monkeypatch):
    monkeypatch.setattr(module, "MAX_PAIRS", 4000)
    starts = np.array([0, 700, 1400])
    x, left = np.ones((1400, 3), np.float32), np.ones((9, 3), np.float32)
    queries, places = visit(
        left,
        np.zeros(9),
        4,
        [np.array([1, 0])] * 9,
        starts,
        lambda one: x[700 * one : 700 * one + 700],
        lambda *_: None,
    )
    assert np.bincount(queries).tolist() == [1400] * 9
    assert sorted(places[:1400].tolist()) == list(range(1400))
