"""What equal distances are worth, by all the orders there are, and that a random order is one."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from lookalike.metrics.ties import random_among_equal, reciprocal_and_first


def test_the_expectation_is_the_mean_over_all_orders_of_equal_images():
    row = np.float32([0.3, 0.1, 0.3, 0.7, 0.3, np.inf])
    for wanted in range(len(row)):
        ranks = []
        for order in permutations(range(len(row))):
            key = [(row[i], order[i]) for i in range(len(row))]
            ranks.append(1 + sum(other < key[wanted] for other in key))
        reciprocal, first = reciprocal_and_first(row[None], np.array([wanted]))
        assert reciprocal[0] == pytest.approx(np.mean(1 / np.array(ranks)))
        assert first[0] == pytest.approx(np.mean(np.array(ranks) == 1))


def test_without_ties_it_is_the_rank():
    rows = np.random.default_rng(0).permuted(np.tile(np.arange(50, dtype=np.float32), (20, 1)), axis=1)
    reciprocal, first = reciprocal_and_first(rows, np.arange(20))
    assert np.allclose(reciprocal, 1 / (1 + rows[np.arange(20), np.arange(20)]))
    assert first.tolist() == (rows[np.arange(20), np.arange(20)] == 0).tolist()


def test_keys_are_in_the_order_of_the_distances():
    row = np.float32([3, -2, 0.0, -0.0, np.inf, 1e-30, -1e-30, -np.inf, 5])
    keys = random_among_equal(np.tile(row, (40, 1)), np.random.default_rng(0))
    assert (row[keys.argsort(axis=1)] == np.sort(row)).all()
    assert len(set(keys[:, 2] < keys[:, 3])) == 2  # 0.0 and -0.0 are equal


def test_of_equal_images_each_is_as_likely_to_be_taken_in_every_row_anew():
    rng = np.random.default_rng(0)
    first = random_among_equal(np.ones((2000, 10), np.float32), rng).argmin(axis=1)
    assert np.abs(np.bincount(first, minlength=10) / 2000 - 0.1).max() < 0.03
    again = random_among_equal(np.ones((2000, 10), np.float32), rng).argmin(axis=1)
    assert abs((first == again).mean() - 0.1) < 0.03
