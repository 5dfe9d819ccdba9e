"""Neighbour graphs, kept up to date, and diffusion on them against the closed form."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.errors import UsageError
from lookalike.neighbors.diffusion import (
    Neighbours,
    alpha_of,
    find_neighbours,
    normalised_weights,
    prepare_diffusion,
    scales,
)
from lookalike.neighbors.exact import Database


def points(n, seed=0, d=6):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def by_hand(table, k):
    """The k nearest others of each row, by cosine, in float64."""
    unit = table.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    away = 1 - unit @ unit.T
    np.fill_diagonal(away, np.inf)
    rows = np.argsort(away, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(away, rows, axis=1)


def test_neighbours_are_the_nearest_others():
    table = points(60)
    found = find_neighbours(Database(table, "cosine"), table, 7)
    rows, away = by_hand(table, 7)
    assert (found.rows == rows).all()
    assert np.allclose(found.squares, away, atol=1e-6)


def test_equal_images_are_neighbours_and_none_is_its_own():
    table = np.repeat(points(3), 4, axis=0)
    found = find_neighbours(Database(table, "euclidean"), table, 5)
    assert not (found.rows == np.arange(12)[:, None]).any()
    assert (found.squares[:, :3] == 0).all()
    graph = prepare_diffusion(found)  # scales of 0
    assert np.isfinite(graph.basis).all()


def test_packed_codes_have_neighbours_too():
    codes = np.random.default_rng(1).integers(0, 256, (40, 4), np.uint8)
    found = find_neighbours(Database(codes, "hamming"), codes, 3)
    bits = np.unpackbits(codes, axis=1).astype(int)
    away = np.abs(bits[:, None] - bits[None]).sum(axis=2)
    assert (found.squares == np.take_along_axis(away, found.rows.astype(int), axis=1)).all()


@pytest.mark.parametrize("n", [0, 1])
def test_a_graph_needs_two_images(n):
    table = points(2)
    with pytest.raises(UsageError, match=f"at least 2 images, here is {n}"):
        find_neighbours(Database(table, "cosine"), table[:n])


def test_two_images_make_a_graph():
    table = points(2)
    graph = prepare_diffusion(find_neighbours(Database(table, "cosine"), table))
    arrived = graph.spread(np.array([[0, 1]]), np.array([[1, 0.5]], np.float32))
    assert arrived[0, 0] > arrived[0, 1] > 0


def test_what_changed_is_all_that_is_worked_out_and_the_graph_is_as_if_made_anew():
    before = points(200)
    known = find_neighbours(Database(before, "cosine"), before, 8)
    # Rows 3 and 50 go, 7 changes, two come, and the order is another.
    kept = np.setdiff1d(np.arange(200), [3, 50])
    order = np.random.default_rng(2).permutation(len(kept) + 2)
    table = np.concatenate([before[kept], points(2, seed=9)])
    table[np.flatnonzero(kept == 7)] = points(1, seed=10)
    places = np.concatenate([np.where(kept == 7, -1, kept), [-1, -1]])
    table, places = table[order], places[order]
    asked = []

    class Watched(Database):
        def nearest(self, queries, k):
            asked.append(len(queries))
            return super().nearest(queries, k)

    found = find_neighbours(Watched(table, "cosine"), table, 8, known=known, positions=places)
    anew = find_neighbours(Database(table, "cosine"), table, 8)
    assert (found.rows == anew.rows).all()
    assert np.allclose(found.squares, anew.squares, atol=1e-6)
    assert 3 <= sum(asked) < 60


def test_weights_are_symmetric_with_eigenvalues_up_to_one():
    table = points(80)
    found = find_neighbours(Database(table, "cosine"), table, 6)
    weights, degree = normalised_weights(found)
    dense = weights.toarray().astype(np.float64)
    assert np.allclose(dense, dense.T, atol=1e-6)
    assert np.linalg.eigvalsh(dense)[-1] == pytest.approx(1, abs=1e-5)
    # By hand for one pair: both directions add up, then the roots of the degrees divide.
    scale = scales(found.squares)
    i, j = 0, int(found.rows[0, 0])
    one = np.exp(-found.squares[0, 0] / (scale[i] * scale[j]))
    raw = one * (1 + (found.rows[j] == i).any())
    assert dense[i, j] == pytest.approx(raw / np.sqrt(degree[i] * degree[j]), rel=1e-4)


def closed_form(graph, rows, seeds, alpha):
    """(I - a S)^-1 y, then the fourth root of the degree."""
    weights, degree = normalised_weights(graph.neighbours)
    dense = weights.toarray().astype(np.float64)
    y = np.zeros((len(dense), len(rows)))
    for q in range(len(rows)):
        y[rows[q], q] = seeds[q]
    return (np.linalg.solve(np.eye(len(dense)) - alpha * dense, y) / degree[:, None] ** 0.25).T


def test_with_all_eigenvectors_diffusion_is_the_closed_form():
    table = points(90)
    graph = prepare_diffusion(find_neighbours(Database(table, "cosine"), table, 6))
    rows = np.array([[0, 5, 9], [88, 4, 2]])
    seeds = np.array([[1, 0.5, 0.2], [0.9, 0.8, 0.1]], np.float32)
    assert np.allclose(graph.spread(rows, seeds, 0.9), closed_form(graph, rows, seeds, 0.9), atol=2e-4)


def test_with_few_eigenvectors_the_error_is_within_its_bound():
    table = points(700, d=3)
    graph = prepare_diffusion(find_neighbours(Database(table, "cosine"), table, 10), directions=40)
    rows, seeds, alpha = np.array([[0, 1, 2]]), np.ones((1, 3), np.float32), 0.9
    exact = closed_form(graph, rows, seeds, alpha)
    degree = normalised_weights(graph.neighbours)[1]
    left = alpha * float(graph.spectrum[-1])
    bound = left**3 / (1 - left) * np.sqrt(3)  # of the length of the difference, before the degrees
    difference = (graph.spread(rows, seeds, alpha) - exact) * degree**0.25
    assert 0 < np.linalg.norm(difference) <= bound * 1.05


def test_diffusion_follows_a_chain():
    # Two half moons: the far end of the query's own moon is farther away than the other moon.
    turn = np.linspace(0, np.pi, 120)
    one = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    other = np.stack([1 - np.cos(turn), 0.5 - np.sin(turn)], axis=1)
    table = np.concatenate([one, other]).astype(np.float32)
    database = Database(table, "euclidean")
    graph = prepare_diffusion(find_neighbours(database, table, 5))
    rows, far = database.nearest(table[:1], 5)
    arrived = graph.spread(rows, graph.seeds(rows, far**2), 0.99)[0]
    plain = database.distances(table[:1])[0]
    assert plain[119] > plain[120:].min()
    assert arrived[:120].min() > arrived[120:].max()


def test_an_isolated_image_is_reached_by_nothing_and_harms_nothing():
    table = np.concatenate([points(30, d=2) * 0.01, [[1000.0, 1000.0]]]).astype(np.float32)
    known = find_neighbours(Database(table, "euclidean"), table, 4)
    graph = prepare_diffusion(known)
    arrived = graph.spread(np.array([[0, 1]]), np.ones((1, 2), np.float32))
    assert np.isfinite(arrived).all()
    alone = graph.spread(np.array([[30]]), np.ones((1, 1), np.float32))
    assert np.isfinite(alone).all()
    assert alone[0].argmax() == 30


def test_a_graph_without_edges_is_no_error():
    squares = np.full((5, 2), 1e6, np.float32)
    squares[:, 1] = 1e-12  # weights that are 0 in float32
    graph = prepare_diffusion(Neighbours(np.array([[1, 2]] * 5, np.int32), squares))
    assert np.isfinite(graph.spread(np.array([[0]]), np.ones((1, 1), np.float32))).all()


@pytest.mark.parametrize(
    ("size", "alpha"), [(0, 0.95), (2, 0.95), (2000, 0.95), (8000, 0.975), (50_000, 0.99), (10**7, 0.99)]
)
def test_diffusion_goes_further_in_larger_collections(size, alpha):
    assert alpha_of(size) == pytest.approx(alpha)


@pytest.mark.parametrize("size", [60, 2500])
def test_where_nobody_says_how_far_the_size_of_the_graph_says_it(size):
    table = points(size)
    graph = prepare_diffusion(find_neighbours(Database(table, "cosine"), table, 5), 8)
    start, much = np.array([[0, 3]]), np.ones((1, 2), np.float32)
    assert (graph.spread(start, much) == graph.spread(start, much, alpha_of(size))).all()
    assert (graph.spread(start, much) != graph.spread(start, much, 0.95)).any() == (size > 2000)
