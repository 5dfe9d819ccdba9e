"""What every distance promises, run over all of ``DISTANCES`` and over one that another package brings.

A new distance needs nothing here.
"""

import subprocess
import sys

import numpy as np
import pytest

from lookalike import build_index
from lookalike.errors import UsageError
from lookalike.neighbors.distances import DISTANCES
from lookalike.neighbors.distances.base import Distance
from lookalike.neighbors.exact import Database
from lookalike.neighbors.grouping import group_near_duplicates
from strangers import EXAMPLES, install

NAMES = [*DISTANCES.table, "manhattan"]
every_distance = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def _manhattan(tmp_path, monkeypatch):
    install(
        tmp_path / "site",
        monkeypatch,
        "a_distance",
        "[lookalike.distances]\nmanhattan = MODULE:Manhattan\ncosine = MODULE:Manhattan\nother = MODULE:Manhattan\n",
    )


def rows(name, count, seed=0):
    rng = np.random.default_rng(seed)
    if DISTANCES[name].packed:
        return rng.integers(0, 256, (count, 4), dtype=np.uint8)
    return rng.standard_normal((count, 12)).astype(np.float32)


@every_distance
def test_it_is_found_by_its_name(name):
    assert name in DISTANCES
    assert issubclass(DISTANCES[name], Distance)
    assert DISTANCES[name].name == name


@every_distance
def test_the_nearest_are_those_of_all_distances(name):
    table, asked = rows(name, 300), rows(name, 20, seed=1)
    database = Database(table, name)
    far = database.distances(asked)
    for queries in (asked, asked[:2]):  # many are multiplied tile by tile, few row by row
        places, near = database.nearest(queries, 7)
        np.testing.assert_allclose(near, np.sort(far[: len(queries)], axis=1)[:, :7], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(near, np.take_along_axis(far[: len(queries)], places, 1), rtol=1e-4, atol=1e-4)
    least = -np.inf if database.measure.signed else 0
    assert (far >= least).all()


@every_distance
def test_within_a_radius_are_those_no_farther(name):
    table, asked = rows(name, 200), rows(name, 3, seed=1)
    database = Database(table, name)
    _, near = database.nearest(asked, 9)
    for query, radius in zip(asked, near[:, -1].tolist(), strict=True):
        ((found, far),) = database.within(query[None], radius)
        assert len(found) >= 9
        assert (far <= radius).all()


@every_distance
def test_what_is_nearer_is_more_similar(name):
    measure = DISTANCES[name]
    similar = [measure.similarity(far, 32) for far in (0.0, 0.1, 0.5, 1.0)]
    assert similar == sorted(similar, reverse=True)
    assert len(set(similar)) == 4
    if not measure.signed:
        assert similar[0] == 1


@pytest.mark.slow
@every_distance
def test_squares_of_pairs_are_those_of_distances(name):
    one, other = rows(name, 30), rows(name, 30, seed=1)
    far = np.array([Database(b[None], name).distances(a[None])[0, 0] for a, b in zip(one, other, strict=True)])
    squares = DISTANCES[name].to_squares(far)
    np.testing.assert_allclose(DISTANCES[name].pair_squares(one, other), squares, rtol=1e-4, atol=1e-4)


@every_distance
def test_the_mean_of_alike_descriptors_is_alike(name):
    descriptor = rows(name, 1)[0]
    mean = DISTANCES[name].mean([descriptor] * 3, np.array([0.5, 0.25, 0.25]))
    assert mean.dtype == descriptor.dtype
    database = Database(np.stack([descriptor, *rows(name, 20, seed=1)]), name)
    assert database.nearest(mean[None], 1)[0][0, 0] == database.nearest(descriptor[None], 1)[0][0, 0]


@every_distance
def test_vectors_are_compared_by_the_distance_that_it_names(name):
    measure, table = DISTANCES[name], rows(name, 40)
    vectors = measure.vectors(table)
    assert vectors.dtype == np.float32
    assert vectors.ndim == 2
    by_vectors = Database(vectors, measure.of_vectors)
    np.testing.assert_array_equal(by_vectors.nearest(vectors[:5], 5)[0], Database(table, name).nearest(table[:5], 5)[0])


@every_distance
def test_groups_are_bounded_or_refused(name):
    table = rows(name, 60)
    database = Database(table, name)
    if database.measure.signed:
        with pytest.raises(UsageError, match=f"can't be grouped by the distance {name}"):
            database.measure.grouping_radius(1.0, 1.0)
        return
    radius = float(np.median(database.distances(table)))
    far = database.distances(table[:1])[0]
    leaders, owner = group_near_duplicates(table, name, radius, 5)
    for leader in leaders.tolist():
        assert (far[owner == leader] <= database.measure.grouping_radius(float(far[leader]), radius)).all()


@pytest.mark.slow
def test_another_packages_distance_answers_searches_as_ours_do(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    index = build_index(images, "pixels", tmp_path / "index")
    plain = index.search(images[3], 5, distance="manhattan")
    flat = images.reshape(40, -1).astype(np.float64)
    expected = np.argsort(np.abs(flat - flat[3]).sum(axis=1), kind="stable")[:5]
    assert [int(match.id) for match in plain] == expected.tolist()
    asked = {"images": [{"id": "3"}], "distance": "manhattan", "k": 5}
    assert [match.id for match in index.ask(asked).matches] == [match.id for match in plain]
    # One answer that is the query itself moves nothing, so that the order is that of the distance, and of no other.
    for method in ("query-expansion:k=1", "alpha-query-expansion:k=1"):
        moved = index.search(images[3], 5, distance="manhattan", rerank=method)
        assert [match.id for match in moved] == [match.id for match in plain]


def test_a_strangers_distance_that_cant_be_used_is_refused():
    with pytest.raises(
        UsageError, match=r"unknown distance 'manhatan' \(did you mean 'manhattan'\?\); known: .*cosine, "
    ):
        Database(rows("cosine", 3), "manhatan")
    with pytest.raises(UsageError, match=r"'other' .* is not a subclass of .*Distance with that name; ask its author"):
        Database(rows("cosine", 3), "other")
    assert DISTANCES["cosine"].__module__ == "lookalike.neighbors.distances.cosine"  # a name of ours stays ours


@pytest.mark.slow
def test_the_example_runs():
    ran = subprocess.run([sys.executable, str(EXAMPLES / "a_distance.py")], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("[0, ")
