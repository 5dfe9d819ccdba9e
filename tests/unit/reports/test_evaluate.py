"""Scores of an index, against values worked out by hand and by scikit-learn."""

import json

import numpy as np
import pytest

from lazily import Lazily
from lookalike import build_index, open_collection, score
from lookalike.cli.main import run
from lookalike.encoders.registry import TABLE, create
from lookalike.errors import EncoderError, UsageError
from lookalike.imaging.encode import save_image
from lookalike.metrics.ground_truth import GroundTruth, Truth
from lookalike.reports.evaluate import compare_indexes, encoder_title, rank
from lookalike.reports.query_set import questions, sample_queries
from lookalike.search.rerank.base import Reranker
from quadrants import ENTRY, pictures

sklearn_metrics = Lazily("sklearn.metrics", "scikit-learn isn't installed; pip install --group test")

#: Directions that turn from the first axis to the second.
DATABASE = ((10, 0, 0, 0), (10, 1, 0, 0), (10, 3, 0, 0), (0, 10, 0, 0))
LABELS = ("a", "b", "a", "b")


@pytest.fixture(autouse=True)
def table(monkeypatch):
    monkeypatch.setitem(TABLE, "quadrants", ENTRY)


@pytest.fixture
def index(tmp_path):
    return build_index(open_collection(pictures(*DATABASE), labels=LABELS), "quadrants", tmp_path / "index")


@pytest.fixture(scope="module")
def digits_index(tmp_path_factory):
    return build_index("mnist:train[0:300]", "hog", tmp_path_factory.mktemp("digits") / "index")


def queries(*rows_and_labels):
    rows, labels = zip(*rows_and_labels, strict=True)
    return open_collection(pictures(*rows), labels=labels)


def test_scores_worked_out_by_hand(index):
    # (20, 0): order 0, 1, 2, 3, labels a b a b: right at 1 and 3. (0, 7): order 3, 2, 1, 0, labels b a b a: the same.
    # No image has the label c: 0 in everything.
    asked = queries(((20, 0, 0, 0), "a"), ((0, 7, 0, 0), "b"), ((0, 1, 0, 0), "c"))
    report = score(index, asked)
    assert (report.queries, report.database) == (3, 4)
    assert (report.without_relevant, report.none_in_first_10) == (1, 1)
    one_query = {
        "P@1": 1,
        "P@10": 2 / 10,
        "recall@1": 1 / 2,
        "recall@10": 1,
        "recall@100": 1,
        "recall@1000": 1,
        "R-precision": 1 / 2,
        "mAP": (1 + 2 / 3) / 2,
        "mAP@R": 1 / 2,
        "LRAP@4": (1 + 2 / 3) / 2,
    }
    assert report.metrics == pytest.approx({name: 2 / 3 * value for name, value in one_query.items()})
    assert report.lrap == [(4, pytest.approx(2 / 3 * 5 / 6))]
    assert report.lrap_scikit_learn == [(4, pytest.approx((2 * 5 / 6 + 1) / 3))]
    for name, (low, high) in report.intervals.items():
        assert 0 <= low <= report.metrics[name] <= high <= 1


def test_the_distance_can_be_named(index):
    # (1, 1) by angle: 2, 1, then 0 and 3 at the same: right at 2, and at 3 or 4. By length: 1, then 0 and 3 at the same,
    # then 2: right at 1, and at 2 or 3.
    asked = queries(((1, 1, 0, 0), "b"))
    cosine, euclidean = score(index, asked), score(index, asked, distance="euclidean")
    assert (cosine.distance, euclidean.distance) == ("cosine", "euclidean")
    assert cosine.metrics["mAP"] == pytest.approx((1 / 2 + (2 / 3 + 2 / 4) / 2) / 2)
    assert euclidean.metrics["mAP"] == pytest.approx((1 + (2 / 2 + 2 / 3) / 2) / 2)


@pytest.mark.slow
def test_digits_score_as_scikit_learn_has_it(digits_index):
    asked = open_collection("mnist:test[0:80]")
    report = score(digits_index, asked)
    encoder = digits_index.encoder
    base, wanted = (encoder.encode(open_collection(c).array()) for c in ("mnist:train[0:300]", "mnist:test[0:80]"))
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (wanted.astype(float), base.astype(float))]
    right = asked.labels[:, None] == digits_index.labels[None]
    assert right.any(axis=1).all()
    expected = sklearn_metrics.label_ranking_average_precision_score(right, unit[0] @ unit[1].T)
    assert report.lrap[-1] == (300, pytest.approx(expected, abs=1e-5))  # float32 can't tell all of them apart
    nearest = (unit[0] @ unit[1].T).argmax(axis=1)
    assert report.metrics["P@1"] == right[np.arange(80), nearest].mean()


def test_images_that_failed_are_not_ranked(tmp_path):
    rows, labels = [*DATABASE], [*LABELS]
    rows.insert(1, (0, 0, 0, 0))
    labels.insert(1, "a")
    index = build_index(open_collection(pictures(*rows), labels=labels), "quadrants", tmp_path / "with")
    report = score(index, queries(((20, 0, 0, 0), "a")))
    assert report.database == 4
    assert report.metrics["mAP"] == pytest.approx((1 + 2 / 3) / 2)


# Which queries --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_draw_is_seeded_and_in_order(digits_index):
    first = sample_queries(digits_index, "mnist:test", count=50, seed=3)
    again = sample_queries(digits_index, "mnist:test", count=50, seed=3)
    other = sample_queries(digits_index, "mnist:test", count=50, seed=4)
    assert list(first.ids) == list(again.ids) != list(other.ids)
    places = [int(i) for i in first.ids]
    assert places == sorted(set(places))
    assert places == sorted(np.random.default_rng(3).permutation(10_000)[:50].tolist())
    labels = open_collection("mnist:test").labels
    assert first.labels.tolist() == labels[places].tolist()


def test_the_same_seed_gives_the_same_report(digits_index):
    first, again = (score(digits_index, "mnist:test", count=40, seed=5) for _ in range(2))
    assert first == again
    assert first.queries == 40
    assert first.seed == 5
    assert score(digits_index, "mnist:test", count=40, seed=6).metrics != first.metrics


def test_without_a_count_all_are_asked(digits_index):
    assert score(digits_index, "mnist:test[0:33]").queries == 33
    assert score(digits_index, "mnist:test[0:33]", count=33).queries == 33


@pytest.mark.parametrize("count", [0, -1, 34])
def test_a_count_out_of_range(digits_index, count):
    with pytest.raises(UsageError, match=rf"{count} queries asked for, but mnist:test\[0:33\] holds 33"):
        score(digits_index, "mnist:test[0:33]", count=count)


def test_mnist_has_its_own_queries_and_nothing_else_has(digits_index, index, tmp_path):
    assert score(digits_index, count=5).queries == 5
    assert len(sample_queries(digits_index, None, count=None, seed=0)) == 10_000
    itself = build_index("mnist:test[0:20]", "pixels", tmp_path / "test")  # its own images are no fair queries
    for other in (index, itself):
        with pytest.raises(UsageError, match="name the query images: lookalike score QUERIES"):
            score(other)


def test_labels_are_needed_on_both_sides(index, tmp_path):
    with pytest.raises(UsageError, match="array has no labels"):
        score(index, open_collection(pictures((1, 2, 3, 4))))
    unlabelled = build_index(pictures(*DATABASE), "quadrants", tmp_path / "unlabelled")
    with pytest.raises(UsageError, match=rf"the index {unlabelled.path} has no labels.*score a labelled collection"):
        score(unlabelled, queries(((1, 1, 0, 0), "b")))


def test_queries_of_another_size(index):
    large = open_collection(np.full((1, 5, 9), 7, np.uint8), labels=["a"])  # order 2, 1, then 0 and 3 at the same
    with pytest.raises(EncoderError, match="add --resize"):
        score(index, large)
    assert score(index, large, resize=True).metrics["mAP"] == pytest.approx((1 + (2 / 3 + 2 / 4) / 2) / 2)


# Ties -----------------------------------------------------------------------------------------------------------------


def one_direction(tmp_path, labels, name="blind"):
    """Index images that differ in brightness alone, so that by angle they are all the same but for rounding."""
    rows = [(2 * i + 10, i + 5, 3 * i + 15, 0) for i in range(len(labels))]
    return build_index(open_collection(pictures(*rows), labels=labels), "quadrants", tmp_path / name)


def test_a_blind_encoder_scores_chance_by_every_door(tmp_path, capsys, monkeypatch):
    labels = ["a"] * 12 + ["b"] * 28
    share = (12 * 11 + 28 * 27) / (40 * 39)
    index = one_direction(tmp_path, labels)
    assert score(index, leave_one_out=True).metrics["P@1"] == pytest.approx(share)
    asked = questions(index, leave_one_out=True)
    right = GroundTruth("by hand", in_order=[Truth(tuple(range(12))), Truth(tuple(range(12, 40)))])
    given = score(index, queries(((20, 10, 30, 0), "?"), ((22, 11, 33, 0), "?")), truth=right)
    assert given.metrics["P@1"] == pytest.approx((12 / 40 + 28 / 40) / 2)
    capsys.readouterr()
    assert run(["score", "-i", str(index.path), "--leave-one-out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["P@1"] == pytest.approx(share)

    class Blind(Reranker):
        def values(self, asked):
            return np.full((len(asked), self.database.size), np.inf, np.float32), [{}] * len(asked)

    monkeypatch.setattr("lookalike.reports.evaluate.create_reranker", lambda _, index, **__: Blind(index))
    assert rank(index, asked, rerank="blind").report().metrics["P@1"] == pytest.approx(share)


def test_the_order_of_the_images_changes_no_score(tmp_path):
    rng = np.random.default_rng(0)
    rows, labels = rng.integers(0, 4, (60, 4)), np.sort(rng.choice(["a", "b", "c"], 60))
    asked, found = queries(((2, 2, 2, 0), "a"), ((1, 0, 2, 0), "b")), []
    for order in (np.arange(60), rng.permutation(60)):
        collection = open_collection(pictures(*rows[order]), labels=labels[order].tolist())
        index = build_index(collection, "quadrants", tmp_path / f"of{order[0]}")
        found.append(score(index, asked, distance="euclidean").metrics)
    assert found[0] == pytest.approx(found[1], abs=1e-12)


# What is shown --------------------------------------------------------------------------------------------------------


def test_the_json_is_the_documented_one(index):
    asked = queries(((20, 0, 0, 0), "a"), ((0, 1, 0, 0), "c"))
    stated = json.loads(json.dumps(score(index, asked, seed=2).to_json()))
    assert {
        "encoder": "quadrants",
        "distance": "cosine",
        "seed": 2,
        "queries": 2,
        "database": 4,
    }.items() <= stated.items()
    assert stated["lrap"] == [[4, pytest.approx(5 / 12)]]
    assert set(stated["metrics"]) == set(stated["intervals"])
    assert stated["metrics"]["P@1"] == 0.5
    assert stated["intervals"]["P@1"] == [0, 1]


def test_the_text_says_what_was_scored_and_what_was_not_found(index):
    asked = queries(((20, 0, 0, 0), "a"), ((0, 1, 0, 0), "c"))
    report = score(index, asked)
    lines = report.to_text().splitlines()
    assert lines[0] == "quadrants, cosine: 2 queries against 4 images"
    assert "95 % interval" in lines[1]
    shown = {line.split()[0]: float(line.split()[1]) for line in lines[2:-2]}
    assert shown == {name: round(report.metrics[name], 4) for name in shown}
    assert {"P@1", "P@10", "R-precision", "mAP", "mAP@R", "recall@1000", "LRAP@4"} <= set(shown)
    assert lines[-2] == "1 queries have no relevant image in the index; they score 0"
    assert "1 queries have none among the first 10" in lines[-1]
    assert "no relevant" not in score(index, queries(((20, 0, 0, 0), "a"))).to_text()


def test_every_point_of_the_curve_has_its_interval(digits_index):
    report = score(digits_index, "mnist:test[0:30]")
    assert [n for n, _ in report.lrap] == [10, 20, 50, 100, 200, 300]
    for (n, value), (low, high) in zip(report.lrap, report.lrap_intervals, strict=True):
        assert low <= value == report.metrics[f"LRAP@{n}"] <= high


def test_progress_reaches_the_end(digits_index):
    news = []
    score(digits_index, "mnist:test[0:30]", on_progress=lambda *n: news.append(n))
    assert news[-1] == (30, 30)


def test_a_figure_names_an_encoder_by_what_tells_it_apart(tmp_path):
    for encoder, title in (
        (create("hog"), "hog"),
        (create("hog", deskew=True), "hog, deskewed"),
        (create("pixels"), "pixels"),
    ):
        index = build_index("mnist:test[0:5]", encoder, tmp_path / title)
        assert encoder_title(index) == title
        assert score(index, "mnist:test[5:8]").encoder == title


def test_queries_that_the_index_holds_are_told_of(tmp_path):
    folder = tmp_path / "photos"
    for name, picture in zip(("a/1.png", "a/2.png", "b/3.png"), pictures(*DATABASE[:3]), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save_image(picture, folder / name)
    held = build_index(folder, "quadrants", tmp_path / "index")
    other = tmp_path / "c" / "1.png"
    other.parent.mkdir()
    save_image(pictures((1, 1, 0, 0))[0], other)
    truth = GroundTruth("by hand", {name: Truth(("b/3.png",)) for name in ("1.png", "2.png", "3.png")})
    said = []
    for asked, own in ((folder, "3 of 3"), (folder / "a", "2 of 2"), (folder / "a" / "1.png", "1 of 1"), (other, None)):
        said.clear()
        questions(held, asked, truth=truth, on_note=said.append)
        assert [s.split(" queries")[0] for s in said] == ([] if own is None else [own]), asked
    said.clear()
    compare_indexes(held, held, folder, on_note=said.append)  # says it once
    assert said == [
        "3 of 3 queries are images of the index, and each finds itself first, which counts; --leave-one-out leaves each out of "
        "its own answers"
    ]
