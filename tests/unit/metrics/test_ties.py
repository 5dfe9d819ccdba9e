"""Tied images: each score against its mean over all orders of them, and against chance."""

import itertools
import math

import numpy as np
import pytest

from lookalike.metrics.ranking import Hits, per_query, score_names
from lookalike.metrics.ranks import Ranks, rank_relevant, ranks_of
from lookalike.metrics.scores import Scores, score
from lookalike.neighbors.exact import Database


def plain_scores(hits, cuts):
    """Score one order of images as the definitions say, image by image; last the misses of the first 10 and each cut."""
    total = sum(hits)
    if not total:
        return [0.0] * (9 + len(cuts)) + [1.0] * (1 + len(cuts))

    def found(n):
        return sum(hits[:n])

    def gained(n):
        return sum(found(i + 1) / (i + 1) for i in range(min(n, len(hits))) if hits[i])

    return [
        *(found(k) / k for k in (1, 10)),
        *(found(k) / total for k in (1, 10, 100, 1000)),
        found(total) / total,
        gained(len(hits)) / total,
        gained(total) / total,
        *(gained(n) / found(n) if found(n) else 0.0 for n in cuts),
        *(float(found(n) == 0) for n in (10, *cuts)),
    ]


def over_all_orders(distances, relevant, cuts):
    """Return the mean of the scores over every arrangement of the relevant images in each tie, all equally likely."""
    ties = []
    for value in np.unique(distances):
        size, right = int((distances == value).sum()), int(relevant[distances == value].sum())
        ties.append([[i in some for i in range(size)] for some in itertools.combinations(range(size), right)])
    rows = [plain_scores(list(itertools.chain(*order)), cuts) for order in itertools.product(*ties)]
    return np.mean(rows, axis=0)


def ours(ranks, cuts):
    hits = Hits(ranks)
    return [*per_query(ranks, cuts), *(hits.missed(n) for n in (10, *cuts))]


def test_every_score_is_the_mean_over_all_orders_of_tied_images():
    rng = np.random.default_rng(0)
    for case in range(400):
        m = int(rng.integers(1, 15))
        distances = rng.integers(0, rng.choice([1, 2, 4, 9]), m).astype(np.float32)
        relevant = rng.random(m) < rng.choice([0.1, 0.3, 0.5, 0.9])
        cuts = list(range(1, m + 1))
        expected = over_all_orders(distances, relevant, cuts)
        found = ours(rank_relevant(distances[None], relevant[None])[0], cuts)
        np.testing.assert_allclose(found, expected, atol=1e-13, err_msg=f"case {case}: {distances} {relevant}")


@pytest.mark.parametrize(
    ("before", "found", "size", "relevant"),
    [(0, 0, 300, 30), (20, 3, 200, 1), (31, 0, 2, 1), (50, 0, 90, 88), (400, 399, 150, 60), (200000, 5, 70, 7)],
)
def test_a_long_tie_is_summed_exactly(before, found, size, relevant):
    # The relevant ones before the tie stand at the very front.
    latest = np.concatenate([np.arange(1, found + 1), before + size - relevant + np.arange(1, relevant + 1)])
    ranks = Ranks(latest, *(np.array([one]) for one in (before, size, relevant)))
    cuts = [before + places for places in sorted({1, 2, size // 3, size - 1, size})]
    hits = Hits(ranks, cuts)
    start = float(found)  # precision 1 each

    def gained(places, drawn, among):
        share, pace = drawn / among, (drawn - 1) / max(among - 1, 1)
        return math.fsum(share * (found + 1 + (p - 1) * pace) / (before + p) for p in range(1, places + 1))

    for n in cuts:
        places = n - before
        chances = [
            (k, math.comb(relevant, k) * math.comb(size - relevant, places - k) / math.comb(size, places))
            for k in range(max(0, places + relevant - size), min(places, relevant) + 1)
        ]
        assert hits.found(n) == pytest.approx(found + places * relevant / size, rel=1e-14)
        assert hits.gained(n) == pytest.approx(start + gained(places, relevant, size), rel=1e-13)
        mean = math.fsum(p * (start + gained(places, k, places)) / (found + k) for k, p in chances if found + k)
        assert hits.mean_precision(n) == pytest.approx(mean, rel=1e-12)
        missed = 0 if found else sum(p for k, p in chances if k == 0)
        assert hits.missed(n) == pytest.approx(missed, rel=1e-12, abs=1e-17)
    assert hits.gained_in_all == pytest.approx(start + gained(size, relevant, size), rel=1e-13)


def shuffled_alike(make, labels, queries, asked):
    """Score in the order of the labels, and shuffled: the same but for the last digits. Return the means."""
    reports = []
    for order in (np.argsort(labels, kind="stable"), np.random.default_rng(1).permutation(len(labels))):
        report = score(make(order), labels[order], queries, asked).report()
        reports.append({**report.metrics, **{f"scikit-learn {n}": v for n, v in report.lrap_scikit_learn}})
    assert reports[0] == pytest.approx(reports[1], abs=1e-12)
    return reports[0]


BLIND = {
    "constant": lambda rng, n: np.full((n, 8), 0.3),
    "dust": lambda rng, n: 1 + 1e-6 * rng.random((n, 8)),
    "dust of the label's making": lambda rng, n: 1 + 1e-7 * np.arange(n)[:, None] * np.linspace(-1, 1, 8) / n,
}


@pytest.mark.parametrize(
    ("kind", "distance"), [*itertools.product(BLIND, ["cosine", "euclidean"]), ("constant", "inner product")]
)
def test_a_blind_encoder_scores_chance(kind, distance):
    labels = np.repeat([0, 1, 2], [60, 90, 150])
    table = BLIND[kind](np.random.default_rng(2), 300).astype(np.float32)
    queries, asked = table[::10], labels[::10]
    found = shuffled_alike(lambda order: Database(table[order], distance), labels, queries, asked)
    share = np.mean([(labels == label).mean() for label in asked])
    assert found["P@1"] == found["P@10"] == found["R-precision"] == pytest.approx(share, abs=1e-12)
    assert found["recall@100"] == pytest.approx(1 / 3)


def test_codes_of_few_bits_score_what_they_tell():
    labels = np.repeat([0, 1], 100)
    codes = np.where(labels == 1, 255, 0).astype(np.uint8)[:, None]
    codes[::4] ^= 255  # a quarter is wrong
    found = shuffled_alike(lambda order: Database(codes[order], "hamming"), labels, codes[1::4], labels[1::4])
    assert found["P@1"] == found["P@10"] == pytest.approx(0.75)


def test_images_left_out_are_no_part_of_a_tie():
    labels = np.repeat([0, 1], 50)
    database = Database(np.ones((100, 4), np.float32))
    values = score(database, labels, np.ones((100, 4)), labels, excluded=lambda i: [i]).report().metrics
    assert values["P@1"] == pytest.approx(49 / 99)
    infinite = ranks_of(np.full(3, np.inf, np.float32), np.array([True, False, True]), [0])
    assert [infinite.latest.tolist(), infinite.before.tolist(), infinite.sizes.tolist()] == [[2], [0], [2]]


def test_what_counts_as_none_found_is_expected_as_well():
    # Two of 40 are right, all are tied: none is in the first 10 with chance (30 * 29) / (40 * 39).
    labels = np.zeros(40, int)
    labels[:2] = 1
    report = score(Database(np.ones((40, 4), np.float32)), labels, np.ones((20, 4)), np.ones(20)).report()
    chance = 30 * 29 / (40 * 39)
    assert report.none_in_first_10 == round(20 * chance) == 11
    assert dict(report.lrap_scikit_learn)[10] == pytest.approx(report.metrics["LRAP@10"] + chance)


def test_scores_are_the_same_whichever_n_are_asked_together():
    rng = np.random.default_rng(3)
    distances, relevant = rng.integers(0, 5, 200).astype(np.float32), rng.random(200) < 0.2
    ranks = rank_relevant(distances[None], relevant[None])[0]
    together = dict(zip(score_names([7, 60, 150]), per_query(ranks, [7, 60, 150]), strict=True))
    collected = Scores(200, [60])
    collected.add([ranks])
    alone = dict(zip(collected.names, collected.values[0], strict=True))
    assert alone == {name: together[name] for name in alone}
