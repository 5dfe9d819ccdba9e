"""What distances mean: against counting, against simulations of what is claimed, and by hand."""

import numpy as np
import pytest

from lookalike.neighbors.exact import Database
from lookalike.search.calibration import (
    BULK_LEVEL,
    LEVEL,
    MIN_PAIRS,
    OWN,
    SAMPLE,
    DistanceCalibration,
    PValue,
    gap_after,
    gap_odds,
    within_background,
)


def closeness(points, distance="euclidean"):
    return DistanceCalibration(points, Database(points, distance))


# Chance ---------------------------------------------------------------------------------------------------------------


def test_a_chance_is_the_share_of_all_pairs_at_least_this_close():
    points = np.array([[0, 0], [0, 1], [0, 3], [4, 0]], np.float32)  # distances 1, 2, 3, 4, sqrt 17, 5
    meaning = closeness(points)
    assert meaning.p_value(2.0) == PValue(2 / 6, False)
    assert meaning.p_value(1.99) == PValue(1 / 6, False)
    assert meaning.p_value(9.0) == PValue(1.0, False)
    assert meaning.p_value(0.5) == PValue(1 / 6, True)  # no pair is: fewer than 1 in 6
    alone = closeness(points[:1])
    assert alone.p_value(1.0) is None
    assert alone._learnt[0]["median"] == 0  # there is no pair


def test_of_many_images_a_sample_is_counted_and_a_small_share_only_bounded():
    points = np.random.default_rng(0).normal(size=(3 * SAMPLE, 3)).astype(np.float32)
    meaning = closeness(points)
    pairs = SAMPLE * (SAMPLE - 1) // 2
    difference = np.random.default_rng(1).normal(size=(400_000, 3)) * np.sqrt(2)
    lengths = np.linalg.norm(difference, axis=1)
    for distance in (0.2, 1.0, 2.0):
        share = float((lengths <= distance).mean())
        assert meaning.p_value(distance).share == pytest.approx(share, rel=0.1)
        assert not meaning.p_value(distance).is_bound
    assert meaning.p_value(0.0) == PValue(MIN_PAIRS / pairs, True)


def test_of_many_pairs_a_few_are_kept_and_tell_the_same():
    points = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    seen = []

    def once(terms, learn):
        seen.append(learn())
        return seen[-1]

    meaning = DistanceCalibration(points, Database(points, "euclidean"), once)
    between = np.linalg.norm(points[:, None] - points[None], axis=2)
    pairs = np.sort(between[np.triu_indices(500, 1)])
    for rank in (1, 1000, 4096):  # one by one
        assert meaning.p_value(pairs[rank - 1]) == PValue(rank / len(pairs), False)
    for rank in (5000, 50_000, len(pairs)):
        assert meaning.p_value(pairs[rank - 1]).share == pytest.approx(rank / len(pairs), rel=2e-3)
    ((facts, arrays),) = seen
    assert facts["pairs"] == len(pairs)
    assert len(arrays["ranks"]) < len(pairs) / 10


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "inner product"])
def test_among_copies_of_one_image_every_pair_is_as_close(distance):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        points = np.repeat(rng.normal(size=(1, rng.integers(3, 900))).astype(np.float32), 12, axis=0)
        nearest = float(Database(points, distance).nearest(points[:1], 1)[1][0, 0])
        assert closeness(points, distance).p_value(nearest) == PValue(1.0, False)


def test_a_chance_in_words():
    assert PValue(1 / 41_041, False).clause("this close") == "about 1 in 41,000 random pairs here is this close"
    assert PValue(1 / 209_612, True).clause("this close") == "fewer than 1 in 210,000 random pairs here is this close"
    assert PValue(0.27, False).clause("this close") == "about 27% of random pairs here are this close"
    assert [PValue(p, b).in_short for p, b in ((0.5, False), (0.01, False), (1e-6, True))] == [
        "50% of pairs",
        "1 in 100 pairs",
        "< 1 in 1,000,000 pairs",
    ]


# The gap --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimension", [2, 8, 30])
def test_among_unrelated_images_a_gap_is_claimed_as_rarely_as_stated(dimension):
    rng = np.random.default_rng(dimension)
    claimed = 0
    for _ in range(400):
        distances = np.sort(np.linalg.norm(rng.normal(size=(2000, dimension)), axis=1))
        claimed += gap_after(distances) is not None
    assert claimed / 400 <= LEVEL + 0.02


def test_one_spacing_follows_the_stated_law():
    rng = np.random.default_rng(3)
    # Distances whose counts grow as d ** 5 exactly: the 50 nearest of 1000, by a power of ordered uniforms.
    odds = [gap_odds(np.sort(rng.uniform(size=1000) ** 0.2)[:50]) for _ in range(2000)]
    first = np.array([o[0] for o in odds]) / 2  # uncorrected, the chance of the first spacing is uniform
    for level in (0.05, 0.25, 0.5, 0.9):
        assert (first < level).mean() == pytest.approx(level, abs=0.035)


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_answers_that_are_set_apart_are_found(rank):
    rng = np.random.default_rng(rank)
    unrelated = rng.uniform(size=1000) ** 0.1  # from about a half on
    near = np.sort(np.concatenate([rng.uniform(0.1, 0.12, rank), unrelated]))
    assert gap_after(near) == rank


def test_copies_at_no_distance_are_set_apart():
    rest = np.linspace(0.5, 0.8, 30)
    assert gap_after(np.concatenate([[0, 0], rest])) == 2
    assert gap_after(np.zeros(20)) is None
    assert gap_after(np.full(20, 0.5)) is None


def test_too_few_answers_tell_nothing():
    assert gap_after(np.array([0.1, 9, 9, 9, 9, 9, 9])) is None
    assert gap_after(np.empty(0)) is None


# Nothing like it ------------------------------------------------------------------------------------------------------


def test_the_bulk_explains_the_nearest_of_a_bulk_and_not_one_far_below_it():
    rng = np.random.default_rng(0)
    unexplained = 0
    for _ in range(500):
        distances = rng.normal(10, 1, 1000)
        unexplained += not within_background(distances.min(), distances, 1000)
    assert unexplained / 500 <= 10 * BULK_LEVEL
    assert not within_background(3.0, rng.normal(10, 1, 1000), 1000)
    assert within_background(3.0, np.array([3.0, 10, 10, 11]), 4)  # too few to tell


def test_far_is_what_one_in_a_hundred_of_the_own_images_exceeds():
    points = np.random.default_rng(0).normal(size=(150, 4)).astype(np.float32)
    between = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(between, np.inf)
    nearest = np.sort(between.min(axis=1))
    assert closeness(points).far == pytest.approx(nearest[149], rel=1e-5)  # the ceil(.99 * 151)-th of 150
    assert closeness(points[:50]).far == np.inf  # too few to refuse one in a hundred


def test_one_in_a_hundred_queries_like_the_collection_is_farther():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(3000, 6)).astype(np.float32)
    far = closeness(points).far
    _, distances = Database(points, "euclidean").nearest(rng.normal(size=(3000, 6)).astype(np.float32), 1)
    assert 0.0005 <= (distances > far).mean() <= 0.03  # `far` is an order statistic of 200, so it varies


def test_no_more_own_images_are_looked_up_than_said():
    points = np.random.default_rng(0).normal(size=(5 * OWN, 3)).astype(np.float32)
    asked = []

    class Counting(Database):
        def nearest(self, queries, k):
            asked.append(len(queries))
            return super().nearest(queries, k)

    assert DistanceCalibration(points, Counting(points, "euclidean")).far > 0
    assert asked == [OWN]
