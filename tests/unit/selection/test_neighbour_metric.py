"""That mutual neighbours come nearer where there is structure, and nothing is done where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.neighbors.linalg import unit_rows
from lookalike.selection.neighbour_metric import (
    LEADING,
    MAX_LENGTH,
    MAX_ROWS,
    MIN_ROWS,
    NAME,
    NEIGHBOURS,
    mutual_scatter,
    neighbour_metric,
)
from lookalike.selection.scatter import nearest_by_cosine


def kinds(each, number, length, seed=0, spread=1.0):
    """Descriptors about one centre a kind, with as much noise in directions that all kinds share."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((number, length)).astype(np.float32)
    shared = rng.standard_normal((length // 4, length)).astype(np.float32)
    noise = rng.standard_normal((number * each, length // 4)).astype(np.float32) @ shared / np.sqrt(length / 4)
    return np.repeat(centres, each, axis=0) + spread * noise, np.repeat(np.arange(number), each)


def precision(rows, labels):
    rows = unit_rows(rows)
    near = rows @ rows.T
    np.fill_diagonal(near, -np.inf)
    order = np.argsort(-near, axis=1)[:, :-1]
    right = labels[order] == labels[:, None]
    found = np.cumsum(right, axis=1)
    return ((found / np.arange(1, right.shape[1] + 1) * right).sum(axis=1) / found[:, -1]).mean()


@pytest.mark.parametrize("length", [64, 1100])
def test_images_of_a_kind_come_nearer(length):
    rows, labels = kinds(12, 10, length, spread=1.2 if length == 64 else 2)
    learnt = neighbour_metric(rows)
    assert learnt.name == NAME
    before = precision(unit_rows(rows) - unit_rows(rows).mean(axis=0), labels)
    assert precision(learnt.apply(rows), labels) > before + 0.03


def test_it_holds_for_images_that_it_was_not_learnt_from():
    rows, labels = kinds(24, 10, 64, spread=1.2)
    learnt = neighbour_metric(rows[::2])
    others = rows[1::2]
    before = precision(unit_rows(others) - unit_rows(rows[::2]).mean(axis=0), labels[1::2])
    assert precision(learnt.apply(others), labels[1::2]) > before + 0.03


@pytest.mark.parametrize("number", [MIN_ROWS, 100, 400])
@pytest.mark.parametrize("length", [16, 392, 1100])
def test_without_structure_only_the_mean_is_taken_off(number, length):
    rows = np.random.default_rng(number).standard_normal((number, length)).astype(np.float32) + 1
    learnt = neighbour_metric(rows)
    assert (learnt.name, learnt.matrix.shape[1]) == ("centred", 0)
    np.testing.assert_allclose(learnt.mean, unit_rows(rows).mean(axis=0), atol=1e-6)


def test_two_images_a_kind_lose_nothing():
    rows, labels = kinds(2, 60, 64, spread=1.0)
    learnt = neighbour_metric(rows)
    assert precision(learnt.apply(rows), labels) >= precision(rows - rows.mean(axis=0), labels) - 0.01


def test_of_too_few_or_all_alike_nothing_is_learnt():
    rows, _ = kinds(10, 10, 32)
    assert neighbour_metric(rows[: MIN_ROWS - 1]) is None
    one = np.repeat(rows[:1], 100, axis=0)
    assert neighbour_metric(one) is None
    assert neighbour_metric(one + np.float32(1e-4) * rows) is None


@pytest.mark.slow
def test_long_descriptors_become_short_and_many_are_sampled():
    rows, _ = kinds(120, 20, MAX_LENGTH + 1)
    assert neighbour_metric(rows).dimension == LEADING
    assert neighbour_metric(rows[:: len(rows) // 100]).dimension < 110
    short, _ = kinds(400, 20, 32)
    assert neighbour_metric(short).dimension == 32
    assert neighbour_metric(short).params["images"] == MAX_ROWS < len(short)


@pytest.mark.slow
def test_the_same_collection_gives_the_same_map():
    rows, _ = kinds(60, 20, MAX_LENGTH + 1)
    np.testing.assert_array_equal(neighbour_metric(rows).matrix, neighbour_metric(rows.copy()).matrix)


def test_the_scatter_is_that_of_mutual_pairs():
    rows = np.random.default_rng(0).standard_normal((40, 5)).astype(np.float32)
    near, cosines = nearest_by_cosine(unit_rows(rows), 7)
    expected, mass = np.zeros((5, 5)), 0.0
    for i, (row, values) in enumerate(zip(near, cosines, strict=True)):
        for j, cosine in zip(row, values, strict=True):
            if i in near[j]:
                away = rows[i] - rows[j]
                expected += max(cosine, 0) ** 3 * np.outer(away, away)
                mass += max(cosine, 0) ** 3
    scatter, closeness = mutual_scatter(rows, rows, 7)
    assert closeness == pytest.approx(cosines.mean(), abs=1e-6)
    np.testing.assert_allclose(scatter, expected / mass, rtol=1e-4, atol=1e-6)


def test_where_no_two_are_alike_there_is_no_scatter():
    rows = np.vstack([np.eye(8), -np.eye(8)]).astype(np.float32)
    assert mutual_scatter(rows, rows, 7) == (None, 0.0)


def test_neighbours_are_found_by_what_is_seen_and_differ_by_what_they_are():
    rows, _ = kinds(10, 8, 16)
    seen = rows[:, :4].copy()
    near, cosines = nearest_by_cosine(unit_rows(seen), 5)
    expected, mass = np.zeros((16, 16)), 0.0
    for i, (row, values) in enumerate(zip(near, cosines, strict=True)):
        for j, cosine in zip(row, values, strict=True):
            if i in near[j]:
                expected += max(cosine, 0) ** 3 * np.outer(rows[i] - rows[j], rows[i] - rows[j])
                mass += max(cosine, 0) ** 3
    np.testing.assert_allclose(mutual_scatter(rows, seen, 5)[0], expected / mass, rtol=1e-3, atol=1e-4)


def test_a_second_round_looks_at_neighbours_under_the_first_map():
    rows, labels = kinds(10, 24, 64, spread=1.1)
    once, twice = (neighbour_metric(rows, rounds=rounds) for rounds in (1, 2))
    assert not np.allclose(once.matrix, twice.matrix, atol=1e-3)
    assert precision(twice.apply(rows), labels) > precision(once.apply(rows), labels) + 0.001


def test_more_neighbours_may_be_looked_at():
    rows, _ = kinds(12, 10, 64, spread=1.1)
    few, more = (neighbour_metric(rows, neighbours=number) for number in (NEIGHBOURS, 15))
    np.testing.assert_array_equal(few.matrix, neighbour_metric(rows).matrix)
    assert not np.allclose(few.matrix, more.matrix, atol=1e-3)
    # Of few images at most a quarter are looked at: else all would be everybody's neighbours.
    np.testing.assert_array_equal(
        neighbour_metric(rows[:MIN_ROWS], neighbours=500).matrix,
        neighbour_metric(rows[:MIN_ROWS], neighbours=MIN_ROWS // 4).matrix,
    )
