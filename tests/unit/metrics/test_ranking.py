"""Scores against scikit-learn, a brute-force sort, and numbers worked out by hand."""

import json

import numpy as np
import pytest

from lazily import Lazily
from lookalike.errors import UsageError
from lookalike.metrics.bootstrap import bootstrap_percentiles
from lookalike.metrics.ranking import per_query, score_names
from lookalike.metrics.ranks import Ranks, rank_relevant
from lookalike.metrics.scores import CUTS, Scores, score
from lookalike.neighbors.exact import Database

sklearn_metrics = Lazily("sklearn.metrics", "scikit-learn isn't installed; pip install --group test")


def brute_ranks(row, hit):
    """Sort everything, in a tie the relevant ones last, and read off where they stand; and look at every tie."""
    latest = np.flatnonzero(hit[np.lexsort((hit, row))]) + 1
    ties = [
        (int((row < value).sum()), int((row == value).sum()), int(hit[row == value].sum())) for value in set(row[hit])
    ]
    return latest.tolist(), sorted(tie for tie in ties if tie[2] < tie[1])


def scored(ranks, cuts):
    return dict(zip(score_names(cuts), per_query(Ranks(np.asarray(ranks, np.int64)), cuts).tolist(), strict=True))


# Ranks ----------------------------------------------------------------------------------------------------------------


def check_ranks(distances, relevant):
    before = distances.copy()
    for one, row, hit in zip(rank_relevant(distances, relevant), distances, relevant, strict=True):
        ties = zip(one.before.tolist(), one.sizes.tolist(), one.relevant.tolist(), strict=True)
        assert (one.latest.tolist(), list(ties)) == brute_ranks(row, hit)
    assert np.array_equal(distances, before)


def test_ranks_equal_a_full_sort():
    rng = np.random.default_rng(2)
    for case in range(600):
        n, m = rng.integers(1, [4, 400])
        distances = [
            rng.random,
            lambda size: rng.normal(9, 1, size).clip(0),  # few exponents
            lambda size: 10.0 ** rng.uniform(-38, 38, size),  # all of float32's range
            lambda size: rng.integers(0, 4, size),  # almost all ties
            lambda size: rng.choice([0, 1e-45, 1e-30, 1, 3e38, np.inf], size),  # ties and range
            lambda size: np.full(size, 0.3),
        ][case % 6]((n, m)).astype(np.float32)
        check_ranks(distances, rng.random((n, m)) < rng.choice([0, 0.02, 0.1, 0.5, 1]))


def test_a_few_ties_among_many_images():
    rng = np.random.default_rng(3)
    for width in (0.001, 1.0, 30.0):
        distances = (5 + width * rng.random((4, 30000))).astype(np.float32)
        distances[:, rng.integers(0, 30000, 40)] = distances[:, rng.integers(0, 30000, 40)]
        check_ranks(distances, rng.random((4, 30000)) < 0.1)
    wide = (10.0 ** rng.uniform(-38, 38, (2, 30000))).astype(np.float32)
    wide[:, 7::3000] = wide[:, 8::3000] = wide[:, [20]]
    check_ranks(wide, rng.random((2, 30000)) < 0.5)


def test_ties_at_the_largest_key():
    row = np.array([np.inf, 1, np.inf, np.inf], np.float32)
    for hits in ([0], [2], [3], [0, 3], [0, 2, 3]):
        relevant = np.zeros((1, 4), bool)
        relevant[0, hits] = True
        check_ranks(row[None], relevant)


def test_minus_zero_is_zero():
    check_ranks(np.float32([[0.0, -0.0, 0.0]]), np.array([[False, True, True]]))


@pytest.mark.parametrize("bad", [-1.0, np.nan, -np.inf, -np.nan])
def test_distances_that_are_none_are_refused(bad):
    with pytest.raises(UsageError, match="distances must be 0 or more, and not NaN"):
        rank_relevant(np.float32([[1, bad, 2]]), np.ones((1, 3), bool))


def test_ranks_refuse_other_shapes_and_types():
    with pytest.raises(UsageError, match="one shape"):
        rank_relevant(np.ones((1, 3), np.float32), np.ones((1, 2), bool))
    with pytest.raises(UsageError, match="float32, these are float64"):
        rank_relevant(np.ones((1, 3)), np.ones((1, 3), bool))


# Scores of one query --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("labels", "expected"), [([7], 1), ([7, 1], 1), ([7, 1, 7], 0.8333)])
def test_the_articles_example(labels, expected):
    ranks = np.flatnonzero(np.array(labels) == 7) + 1
    assert scored(ranks, [len(labels)])[f"LRAP@{len(labels)}"] == pytest.approx(expected, abs=5e-5)


def test_every_score_by_hand():
    # R = 4, at ranks 1, 3, 4, 12; precision there 1, 2/3, 3/4, 4/12.
    found = scored([1, 3, 4, 12], [1, 2, 3, 10, 12, 20])
    assert found == pytest.approx(
        {
            "P@1": 1,
            "P@10": 0.3,
            "recall@1": 0.25,
            "recall@10": 0.75,
            "recall@100": 1,
            "recall@1000": 1,
            "R-precision": 0.75,
            "mAP": (1 + 2 / 3 + 3 / 4 + 4 / 12) / 4,
            "mAP@R": (1 + 2 / 3 + 3 / 4) / 4,
            "LRAP@1": 1,
            "LRAP@2": 1,
            "LRAP@3": (1 + 2 / 3) / 2,
            "LRAP@10": (1 + 2 / 3 + 3 / 4) / 3,
            "LRAP@12": (1 + 2 / 3 + 3 / 4 + 4 / 12) / 4,
            "LRAP@20": (1 + 2 / 3 + 3 / 4 + 4 / 12) / 4,
        }
    )


def test_nothing_found_scores_0():
    assert set(scored([], [1, 50]).values()) == {0}
    late = scored([30], [10, 29, 30])
    assert [late[name] for name in ("LRAP@10", "LRAP@29", "P@1", "mAP@R", "R-precision")] == [0] * 5
    assert late["LRAP@30"] == late["mAP"] == pytest.approx(1 / 30)


@pytest.mark.slow
def test_map_equals_scikit_learn_where_nothing_ties():
    rng = np.random.default_rng(6)
    for _ in range(200):
        m = int(rng.integers(2, 300))
        distances, relevant = rng.permutation(m).astype(np.float32)[None], rng.random((1, m)) < 0.2
        if relevant.any():
            ours = scored(rank_relevant(distances, relevant)[0].latest, [m])
            expected = sklearn_metrics.average_precision_score(relevant[0], -distances[0])
            assert ours["mAP"] == pytest.approx(expected, abs=1e-12)
            assert ours[f"LRAP@{m}"] == pytest.approx(expected, abs=1e-12)


# Reports --------------------------------------------------------------------------------------------------------------


def random_case(seed, queries=60, size=150, labels=6, most=5):
    rng = np.random.default_rng(seed)
    # Small whole numbers: products are exact in float32, and ties frequent.
    x, q = (rng.integers(1, most, size=(rows, 4)).astype(np.float32) for rows in (size, queries))
    return x, rng.integers(0, labels, size), q, rng.integers(0, labels + 1, queries)  # one label is not in the database


def test_score_equals_brute_force_and_scikit_learn_at_every_cut():
    for seed in range(5):
        x, y, q, wanted = random_case(seed, most=100)
        cuts = [1, 2, 10, 33, 150]
        squared = ((x[None] - q[:, None]) ** 2).sum(axis=2)
        alone = [len(set(row)) == len(row) for row in squared]  # scikit-learn puts what is tied last
        q, wanted, squared = q[alone], wanted[alone], squared[alone]
        assert len(q) > 10
        report = score(Database(x, "euclidean"), y, q, wanted, cuts=cuts).report()
        relevant = y[None] == wanted[:, None]
        order = np.argsort(squared, axis=1, kind="stable")
        hits = np.take_along_axis(relevant, order, axis=1)
        for i, n in enumerate(cuts):
            line = np.tile(-np.arange(n), (len(q), 1))
            expected = sklearn_metrics.label_ranking_average_precision_score(hits[:, :n], line) if n > 1 else 1.0
            assert report.lrap_scikit_learn[i] == (n, pytest.approx(expected, abs=1e-12))
            empty = ~hits[:, :n].any(axis=1)
            assert report.lrap[i] == (n, pytest.approx(expected - empty.mean(), abs=1e-12))
        assert report.metrics["P@1"] == pytest.approx(hits[:, 0].mean())
        assert report.metrics["P@10"] == pytest.approx(hits[:, :10].mean())
        share = [h[:10].sum() / h.sum() if h.any() else 0 for h in hits]
        assert report.metrics["recall@10"] == pytest.approx(np.mean(share))
        assert report.without_relevant == (wanted == 6).sum() > 0
        assert report.none_in_first_10 == (~hits[:, :10].any(axis=1)).sum()
        assert (report.queries, report.database) == (len(q), 150)


def test_total_failure_scores_0_and_scikit_learns_convention_1():
    x = np.eye(4, dtype=np.float32)
    report = score(Database(x), [1, 1, 1, 1], x, [2, 2, 2, 2]).report()
    assert set(report.metrics.values()) == {0}
    assert report.lrap_scikit_learn == [(4, 1.0)]
    assert report.without_relevant == report.none_in_first_10 == 4


def test_the_block_size_and_the_threads_change_nothing(monkeypatch):
    x, y, q, wanted = random_case(7)
    database, seen = Database(x, "euclidean"), []
    expected = score(database, y, q, wanted, block=60).report()
    for workers, block in ((1, 7), (2, 1), (5, 13)):
        monkeypatch.setattr("lookalike.metrics.scores.usable_cores", lambda workers=workers: workers)
        assert score(database, y, q, wanted, block=block, progress=seen.append).report() == expected
    assert seen[:9] == [7, 14, 21, 28, 35, 42, 49, 56, 60]


def test_scores_can_be_collected_from_ranks():
    x, y, q, wanted = random_case(8)
    database = Database(x, "euclidean")
    collected = Scores(database.size)
    for part in (slice(0, 20), slice(20, 60)):
        distances = database.distances(q[part], resolved=True)
        collected.add(rank_relevant(distances, y[None] == wanted[part, None]))
    assert collected.report() == score(database, y, q, wanted).report()


def test_labels_may_be_text():
    x, y, q, wanted = random_case(9)
    expected = score(Database(x), y, q, wanted).report()
    names = np.array(["zero", "one", "two", "three", "four", "five", "none"])
    for kind in (str, object):
        assert score(Database(x), names[y].astype(kind), q, names[wanted].astype(kind)).report() == expected


def test_default_cuts_are_the_articles_and_the_whole():
    assert Scores(60000).cuts == list(CUTS)
    assert Scores(25).cuts == [10, 20, 25]
    assert Scores(7).cuts == [7]
    assert Scores(70000).cuts[-2:] == [60000, 70000]
    assert Scores(50, [20, 5, 5]).cuts == [5, 20]


def test_to_json_is_plain():
    x, y, q, wanted = random_case(10)
    plain = score(Database(x), y, q, wanted).report().to_json()
    assert json.loads(json.dumps(plain)) == plain
    assert list(plain) == [
        "queries",
        "database",
        "without_relevant",
        "none_in_first_10",
        "metrics",
        "intervals",
        "lrap",
        "lrap_scikit_learn",
    ]
    assert list(plain["metrics"]) == list(plain["intervals"]) == score_names([10, 20, 50, 100, 150])
    assert [n for n, _ in plain["lrap"]] == [n for n, _ in plain["lrap_scikit_learn"]] == [10, 20, 50, 100, 150]
    assert plain["lrap"][0][1] == plain["metrics"]["LRAP@10"]


def test_intervals_are_seeded_and_the_size_theory_gives():
    collected = Scores(1)
    rng = np.random.default_rng(11)
    hits = rng.random(400) < 0.8
    collected.add(Ranks(np.arange(1, 1 + hit)) for hit in hits)
    low, high = collected.report(seed=3).intervals["P@1"]
    assert collected.report(seed=3).intervals["P@1"] == (low, high)
    assert collected.report(seed=4).intervals["P@1"] != (low, high)
    error = 1.96 * np.sqrt(hits.mean() * (1 - hits.mean()) / 400)  # of a share
    assert (low, high) == pytest.approx((hits.mean() - error, hits.mean() + error), abs=0.3 * error)


def test_intervals_equal_drawing_the_queries_one_by_one():
    values = np.random.default_rng(12).random((50, 3))
    drawn = np.random.default_rng(5).integers(50, size=(200, 50), dtype=np.int32)
    expected = np.percentile([values[row].mean(axis=0) for row in drawn], [2.5, 97.5], axis=0)
    np.testing.assert_allclose(bootstrap_percentiles(values, 5, 200), expected, atol=1e-12)


def test_equal_scores_leave_no_doubt():
    collected = Scores(20)
    collected.add([Ranks(np.array([1, 3]))] * 10)
    report = collected.report(resamples=50)
    for name, value in report.metrics.items():
        assert report.intervals[name] == pytest.approx((value, value), abs=1e-12)


EYE = np.eye(3, dtype=np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: score(d, [1, 2], EYE, [1, 2, 3]), r"database labels have shape \(2,\) for 3 images; give one"),
        (lambda d: score(d, [1, 2, 3], EYE, [1]), r"query labels have shape \(1,\) for 3 images"),
        (lambda d: score(d, [1, 2, 3], EYE, ["a", "b", "c"]), "database labels are int64, query labels <U1; turn"),
        (lambda d: score(d, [1, None, 3], EYE, [1, 2, 3]), "database labels are object; give numbers or text"),
        (lambda d: score(d, [1, 2, 3], EYE, [1, 2, 3], cuts=[0, 2]), "LRAP@0 can't be scored: n must be 1 to 3"),
        (lambda d: score(d, [1, 2, 3], EYE, [1, 2, 3], cuts=[9000]), "LRAP@9,000 can't be scored: n must be 1 to 3"),
        (lambda d: score(d, [1, 2, 3], EYE * np.nan, [1, 2, 3]), "query 0 .* NaN"),
        (lambda d: score(d, [1, 2, 3], EYE[:, :2], [1, 2, 3]), "the queries have 2 numbers each, the index 3"),
        (lambda d: score(d, [1, 2, 3], EYE[:0], []).report(), "there is no query to score; give at least one"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(call, message):
    with pytest.raises(UsageError, match=message):
        call(Database(EYE))
