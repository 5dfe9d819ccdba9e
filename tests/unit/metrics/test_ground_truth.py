"""Right answers from files, and scores by them: by hand, and equal to ranx's and pytorch-metric-learning's."""

import json

import numpy as np
import pytest

from lookalike import build_index, open_collection
from lookalike.cli.main import run
from lookalike.encoders.registry import TABLE
from lookalike.errors import UsageError
from lookalike.metrics import scores
from lookalike.metrics.ground_truth import GroundTruth, Truth, read_truth, write_qrels, write_run
from lookalike.neighbors.exact import Database
from lookalike.reports.evaluate import compare_indexes, export_trec, score
from lookalike.reports.query_set import questions
from paths import TESTS
from quadrants import ENTRY, pictures

#: Made by references/make.py with ranx and pytorch-metric-learning.
REFERENCE = json.loads((TESTS / "references" / "scores.json").read_text())
#: Directions that turn from the first axis to the second.
DATABASE = ((10, 0, 0, 0), (10, 1, 0, 0), (10, 3, 0, 0), (0, 10, 0, 0))


@pytest.fixture(autouse=True)
def table(monkeypatch):
    monkeypatch.setitem(TABLE, "quadrants", ENTRY)


@pytest.fixture
def index(tmp_path):
    labels = ("a", "b", "a", "b")
    return build_index(open_collection(pictures(*DATABASE), labels=labels), "quadrants", tmp_path / "index")


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


# Against independent implementations ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rankings():
    arrays = {name: np.array(REFERENCE[name]) for name in ("database", "queries", "labels", "wanted")}
    return Database(arrays["database"].astype(np.float32), "euclidean"), arrays


def test_scores_equal_those_of_ranx_and_of_metric_learning(rankings):
    database, arrays = rankings
    found = scores.score(database, arrays["labels"], arrays["queries"].astype(np.float32), arrays["wanted"])
    ours = found.report().metrics
    ranx, metric = REFERENCE["ranx"], REFERENCE["metric learning"]
    for name, theirs in (
        ("P@1", ranx["precision@1"]),
        ("P@10", ranx["precision@10"]),
        ("recall@10", ranx["recall@10"]),
        ("R-precision", ranx["r-precision"]),
        ("mAP", ranx["map"]),
        ("P@1", metric["precision_at_1"]),
        ("R-precision", metric["r_precision"]),
        ("mAP", metric["mean_average_precision"]),
        ("mAP@R", metric["mean_average_precision_at_r"]),
    ):
        assert ours[name] == pytest.approx(theirs, abs=1e-12), name


def test_leave_one_out_equals_metric_learning(rankings):
    database, arrays = rankings
    labels = arrays["labels"]
    themselves = arrays["database"].astype(np.float32)
    ours = scores.score(database, labels, themselves, labels, excluded=lambda i: [i]).report().metrics
    theirs = REFERENCE["metric learning, leave one out"]
    assert ours["P@1"] == pytest.approx(theirs["precision_at_1"], abs=1e-12)
    assert ours["R-precision"] == pytest.approx(theirs["r_precision"], abs=1e-12)
    # One query has two images whose distances float32 can't tell apart; the other program has some order for them.
    assert ours["mAP"] == pytest.approx(theirs["mean_average_precision"], abs=1e-5)
    assert ours["mAP@R"] == pytest.approx(theirs["mean_average_precision_at_r"], abs=1e-12)


# Kinds of files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.json", '{"q.jpg": ["a", "b"], "r.jpg": "c", "none.jpg": -1}'),
        ("t.csv", "query,relevant\nq.jpg,a\nq.jpg,b\nr.jpg,c\nnone.jpg,\n"),
        ("t.qrels", "q.jpg 0 a 1\nq.jpg 0 b 2\nr.jpg 0 c 1\n\nnone.jpg 0 c 0\n"),
        ("bom.csv", "\ufeffquery,relevant,more\nq.jpg,a,1\nq.jpg,b,1\nr.jpg,c,1\nnone.jpg,,\n"),
    ],
)
def test_the_same_answers_from_every_kind_of_file(tmp_path, name, text):
    found = read_truth(written(tmp_path / name, text))
    assert found.rows(["r.jpg", "folder/q.jpg", "none.jpg"], ["a", "b", "c"]) == [([2], []), ([0, 1], []), ([], [])]


def test_a_list_goes_by_the_order_of_the_queries_and_numbers_are_positions(tmp_path):
    found = read_truth(written(tmp_path / "t.json", '[[2], [[0], [1]], [-1], {"relevant": ["b"], "ignore": [2]}]'))
    assert found.rows(list("wxyz"), ["a", "b", "c"]) == [([2], []), ([0, 1], []), ([], []), ([1], [2])]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.yaml", "", "not a kind of ground truth that is read; give .json"),
        ("t.json", "{", r"t.json: isn't JSON \("),
        ("t.json", "3", "must be an object"),
        ("t.json", "{}", "holds no query"),
        ("t.json", '{"q": [1.5]}', "the query q has 1.5 for an answer"),
        ("t.csv", "image,match\na,b\n", "has the columns image, match; it needs query and relevant"),
        ("t.qrels", "q 0 a 1\nq a 1\n", "line 2 isn't 'query 0 document relevance': 'q a 1'"),
        ("t.qrels", "q 0 a yes\n", "line 1 isn't"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, name, text, said):
    with pytest.raises(UsageError, match=said):
        read_truth(written(tmp_path / name, text))


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(UsageError, match=r"none.json: can't be read: No such file"):
        read_truth(tmp_path / "none.json")


def test_what_does_not_fit_the_index_is_said():
    named = GroundTruth("t.json", {"q": Truth(("a", "x"))})
    with pytest.raises(UsageError, match="says nothing of the query r; it knows q"):
        named.rows(["r"], ["a"])
    with pytest.raises(UsageError, match="the image x isn't in the index"):
        named.rows(["q"], ["a"])
    with pytest.raises(UsageError, match="position 3 isn't in the index, which holds 0 to 0"):
        GroundTruth("t.json", in_order=[Truth((3,))]).rows(["q"], ["a"])
    with pytest.raises(UsageError, match="1 entries for 2 queries"):
        GroundTruth("t.json", in_order=[Truth((0,))]).rows(["q", "r"], ["a"])


# Scores by them -------------------------------------------------------------------------------------------------------


def test_ground_truth_wins_over_labels_and_ignored_images_are_not_ranked(index):
    query = open_collection(pictures((20, 0, 0, 0)))  # order 0, 1, 2, 3
    by = {"relevant": [2], "ignore": [0]}
    truth = GroundTruth("by hand", in_order=[Truth(tuple(by["relevant"]), tuple(by["ignore"]))])
    assert score(index, query, truth=truth).metrics["mAP"] == pytest.approx(1 / 2)
    whole = GroundTruth("by hand", in_order=[Truth((2,))])
    assert score(index, query, truth=whole).metrics["mAP"] == pytest.approx(1 / 3)


def test_leave_one_out_by_hand(index):
    # Without themselves: 0 ranks 1 2 3 (b a b), 1 ranks 0 2 3 (a a b), 2 ranks 1 0 3 (b a b), 3 ranks 2 1 0 (a b a).
    found = score(index, leave_one_out=True).metrics
    assert found["mAP"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 2 + 1 / 2) / 4)
    assert found["P@1"] == 0
    with pytest.raises(UsageError, match="leave out the queries"):
        score(index, pictures(*DATABASE), leave_one_out=True)


@pytest.mark.slow
def test_a_difference_between_two_encoders_is_paired(index, tmp_path):
    both = build_index("mnist:train[0:400]", "pixels", tmp_path / "digits")
    both = build_index("mnist:train[0:400]", "hog", tmp_path / "digits")
    pixels, hog = both.with_encoder("pixels"), both.with_encoder("hog")
    found = compare_indexes(pixels, hog, "mnist:test[0:100]")
    apart = found.differences["mAP"]
    assert apart.mean == pytest.approx(found.second.metrics["mAP"] - found.first.metrics["mAP"])
    assert 0 < apart.low < apart.mean < apart.high
    assert (
        found.sentence()
        == f"hog is better than pixels by {apart.mean:.4f} mAP, 95 % {apart.low:.4f} to {apart.high:.4f}"
    )
    # Turned round it is the same, with the sign of the other; against itself there is nothing.
    back = compare_indexes(hog, pixels, "mnist:test[0:100]")
    assert back.differences["mAP"].mean == pytest.approx(-apart.mean)
    assert back.sentence() == found.sentence()
    same = compare_indexes(hog, hog, "mnist:test[0:100]")
    assert (same.differences["mAP"].low, same.differences["mAP"].high) == (0, 0)
    assert "within chance" in same.sentence()
    with pytest.raises(UsageError, match="hold different images"):
        compare_indexes(hog, index, "mnist:test[0:9]")


def test_a_trec_run_and_qrels_are_read_back_as_they_were(index, tmp_path):
    asked = questions(index, leave_one_out=True)
    export_trec(index, asked, run=tmp_path / "a.run", qrels=tmp_path / "a.qrels", depth=2)
    lines = [line.split() for line in (tmp_path / "a.run").read_text().splitlines()]
    assert [(q, d, r) for q, _, d, r, _, _ in lines[:4]] == [
        ("0", "1", "1"),
        ("0", "2", "2"),
        ("1", "0", "1"),
        ("1", "2", "2"),
    ]
    assert all(float(a[4]) > float(b[4]) for a, b in zip(lines[::2], lines[1::2], strict=True))
    again = read_truth(tmp_path / "a.qrels")
    assert again.rows(["0", "1", "2", "3"], index.ids) == [([2], []), ([3], []), ([0], []), ([1], [])]
    assert score(index, leave_one_out=True, truth=again).metrics == score(index, leave_one_out=True).metrics


def test_names_with_blanks_survive_and_equal_distances_stay_in_order(tmp_path):
    write_qrels(tmp_path / "a.qrels", [("my query.jpg", ["\u00e4 b/c d.jpg"])])
    assert read_truth(tmp_path / "a.qrels").rows(["my query.jpg"], ["\u00e4 b/c d.jpg"]) == [([0], [])]
    write_run(tmp_path / "a.run", [("q", ["a", "b", "c"], [0.5, 0.5, 0.5])], "a tag")
    found = [line.split() for line in (tmp_path / "a.run").read_text().splitlines()]
    assert [line[2] for line in found] == ["a", "b", "c"]
    assert float(found[0][4]) > float(found[1][4]) > float(found[2][4])
    assert found[0][5] == "a%20tag"


@pytest.mark.slow
def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    build_index("mnist:train[0:300]", "pixels", "digits.lookalike")
    build_index("mnist:train[0:300]", "hog", "digits.lookalike")
    assert run(["score", "mnist:test[0:50]", "--against", "pixels", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["first"]["encoder"] == "hog"
    assert found["differences"]["mAP"]["mean"] < 0
    assert run(["score", "--leave-one-out", "--queries", "40", "--run", "a.run", "--qrels", "a.qrels"]) == 0
    assert "40 queries against 300 images" in capsys.readouterr().out
    assert len((tmp_path / "a.run").read_text().splitlines()) == 40 * 299
    assert run(["score", "mnist:test[0:5]", "--truth", "none.json"]) == 2
    assert "none.json: can't be read" in capsys.readouterr().err


@pytest.mark.slow
def test_museum_ground_truth_as_it_comes(shared, tmp_path):
    museum = shared("museum-2022")
    index = build_index(open_collection(museum / "BBDD", size=32), "color", tmp_path / "museum")
    found = score(index, museum / "qsd1_w1", truth=museum / "qsd1_w1" / "gt_corresps.json")
    assert found.queries == 30
    assert found.without_relevant == 0
    assert found.metrics["P@1"] > 0.3
