"""Folding: against the plain definition, and bounds that leave nobody out."""

import numpy as np
import pytest

from lookalike.errors import UsageError
from lookalike.neighbors.distances import DISTANCES
from lookalike.neighbors.exact import Database
from lookalike.neighbors.grouping import group_near_duplicates


def plainly(points, radius, most):
    """Fold as the definition says, one answer after the other."""
    leaders, owner = [], []
    for i, point in enumerate(points):
        far = np.linalg.norm(points[leaders] - point, axis=1) if leaders else np.array([np.inf])
        if far.min() <= radius:
            owner.append(leaders[int(np.argmax(far <= radius))])
            continue
        owner.append(i)
        if len(leaders) < most:
            leaders.append(i)
    return leaders, owner


@pytest.mark.slow
@pytest.mark.parametrize(("radius", "most"), [(0.0, 2000), (0.3, 2000), (0.3, 7), (1.0, 5), (10.0, 3)])
def test_it_folds_as_defined(radius, most):
    points = np.random.default_rng(0).normal(size=(530, 3)).astype(np.float32)
    points[500] = points[3]
    leaders, owner = group_near_duplicates(points, "euclidean", radius, most)
    expected = plainly(points.astype(np.float64), radius, most)
    assert leaders.tolist() == expected[0]
    assert owner.tolist() == expected[1]


def test_nothing_beyond_the_reach_is_folded():
    rng = np.random.default_rng(1)
    for distance in ("cosine", "euclidean"):
        points = rng.normal(size=(300, 3)).astype(np.float32)
        query = rng.normal(size=(1, 3)).astype(np.float32)
        far = Database(points, distance).distances(query)[0]
        between = Database(points, distance).distances(points)
        for radius in (0.01, 0.2, 1.5):
            for leader in range(0, 300, 30):
                folded = between[leader] <= radius
                assert (far[folded] <= DISTANCES[distance].grouping_radius(float(far[leader]), radius)).all()


def test_codes_are_folded_by_bits():
    codes = np.array([[0b0000], [0b0001], [0b1111], [0b0111]], np.uint8)
    assert group_near_duplicates(codes, "hamming", 1, 4)[1].tolist() == [0, 0, 2, 2]
    assert DISTANCES["hamming"].grouping_radius(3, 2) == pytest.approx(5, rel=1e-5)


def test_a_distance_without_a_bound_is_refused():
    with pytest.raises(UsageError, match="can't be grouped by the distance inner product; use cosine or euclidean"):
        DISTANCES["inner product"].grouping_radius(1, 1)
