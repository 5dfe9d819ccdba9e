"""The graph of nearest neighbours, and its figures by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.selection.neighbourhood import NEIGHBOURS, agreement, nearest_others, neighbourhood_figures


def test_neighbours_are_the_nearest_others():
    table = np.array([[x, 1] for x in (0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 1023, 2047, 4095)], np.float32)
    near = nearest_others(table, "euclidean")
    assert near.shape == (13, NEIGHBOURS)
    for i, row in enumerate(near):
        others = sorted((abs(table[i, 0] - x), j) for j, (x, _) in enumerate(table) if j != i)
        assert set(row) == {j for _, j in others[:NEIGHBOURS]}
    assert nearest_others(table[:4], "euclidean").shape == (4, 3)  # of few, all others


def test_of_equally_near_ones_any_is_taken():
    near = nearest_others(np.ones((200, 3), np.float32), "cosine")
    assert len(set(near.ravel())) == 200
    assert (near != np.arange(200)[:, None]).all()
    np.testing.assert_array_equal(near, nearest_others(np.ones((200, 3), np.float32), "cosine"))
    assert (near != nearest_others(np.ones((200, 3), np.float32), "cosine", seed=1)).any()


def test_figures_by_hand():
    # 0 and 1 have each other; 2 has 0, 3 has 2; nobody has 3.
    figures = neighbourhood_figures(np.array([[1], [0], [0], [2]]))
    assert figures["reciprocity"] == 2 / 4
    assert figures["orphans"] == 1 / 4
    # Neighbours 0-1, 1-0 share none; 2-0: {0} and {1} none; 3-2: {2} and {0} none.
    assert figures["Jaccard index"] == 0
    counts = np.array([2, 1, 1, 0])
    assert figures["hubness"] == pytest.approx(((counts - 1) ** 3).mean() / counts.std() ** 3)
    # Of three images each has both others: two of them share the third, of three that either has.
    figures = neighbourhood_figures(np.array([[1, 2], [0, 2], [0, 1]]))
    assert figures == {"reciprocity": 1, "Jaccard index": pytest.approx(1 / 3), "orphans": 0, "hubness": 0}


def test_one_that_everybody_has_is_a_hub():
    star = np.array([[1], *([[0]] * 20)])
    assert neighbourhood_figures(star)["hubness"] > 3
    assert neighbourhood_figures(np.roll(np.arange(21), 1)[:, None])["hubness"] == 0


def test_agreement_is_the_share_in_common():
    near = np.array([[1, 2], [0, 2], [0, 1], [0, 1]])
    assert agreement(near, near) == 1
    others = np.array([[1, 3], [2, 3], [3, 1], [2, 1]])
    assert agreement(near, others) == pytest.approx((1 + 1 + 1 + 1) / 8)
    # One that is blank to either has no say.
    others[0] = -1
    assert agreement(near, others) == pytest.approx((1 + 1 + 1) / 6)
    assert agreement(others, near) == pytest.approx((1 + 1 + 1) / 6)
    assert agreement(near, np.full((4, 2), -1)) == 0
