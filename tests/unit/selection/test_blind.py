"""An encoder that sees nothing scores what chance gives, through every door, and is never picked."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from blind import CODE_ENTRY, CODES, ENTRY, KINDS, blind, blind_model, pictures
from lookalike import build_index
from lookalike.cli.main import run
from lookalike.encoders.registry import TABLE, create
from lookalike.errors import CollectionError, UsageError
from lookalike.search.rerank.auto import _Test, select_rerank
from lookalike.search.rerank.base import Reranker
from lookalike.selection.judge import AIMS
from lookalike.selection.neighbour_metric import mutual_scatter
from lookalike.selection.recipes import RECIPES
from lookalike.selection.robustness import robustness
from lookalike.selection.scatter import solve
from lookalike.selection.selftest import self_test
from lookalike.selection.verdict import compare
from small_models import write

COUNT = 120
#: Expected by chance: the reciprocal rank, and the share of another list of 5 %.
RANK, SHARE = float((1 / np.arange(1, COUNT + 1)).mean()), 0.05
#: Above chance by so much at most. Two values halve the collection, and hubs are on everybody's list, so that lists agree
#: some times as often by chance.
MOST = {"first hit": 0.1, "self-retrieval MRR": 0.06, "agreement@5%": 0.15, "category precision@5%": 0.1}


def at_chance(test):
    return (
        test.figures["first hit"] <= 1 / COUNT + MOST["first hit"]
        and abs(test.figures["self-retrieval MRR"] - RANK) <= MOST["self-retrieval MRR"]
        and test.figures["agreement@5%"] <= SHARE + MOST["agreement@5%"]
        and test.figures["category precision@5%"] <= SHARE**2 + MOST["category precision@5%"]
    )


@pytest.fixture(scope="module")
def images():
    return pictures(COUNT)


def test_who_sees_is_far_above_what_is_taken_for_chance(images):
    for name in ("pixels", "hog"):
        test = self_test(create(name).fit(images), images)
        assert test.figures["first hit"] > 0.6
        assert test.figures["self-retrieval MRR"] > RANK + 4 * MOST["self-retrieval MRR"]


@pytest.mark.parametrize("kind", [k for k in (*KINDS, *CODES) if k != "zero"])
def test_its_self_test_is_at_chance(images, kind):
    test = self_test(blind(kind).fit(images), images)
    assert at_chance(test), test.figures
    if "constant" in kind or kind == "zero code":
        assert test.figures["self-retrieval MRR"] == pytest.approx(RANK)
        assert np.allclose([test.figures["first hit"], *test.first_hits.values()], 1 / COUNT)
        for end, share in (("5%", SHARE), ("10%", 0.1)):
            assert test.figures[f"agreement@{end}"] == pytest.approx(share, abs=0.05)
            assert test.figures[f"neighbour agreement@{end}"] == pytest.approx(share, abs=0.05)
    assert self_test(blind(kind).fit(images), images) == test  # the order is random, and the same again


def test_who_gives_zeros_is_told_that_all_is_blank(images):
    with pytest.raises(UsageError, match="that aren't blank to blind, here are 0"):
        self_test(blind("zero").fit(images), images)


@pytest.mark.parametrize("kind", [*KINDS, *CODES])
def test_compare_measures_it_and_picks_one_who_sees(images, kind):
    verdict = compare(images, [blind(kind), create("hog")], default="hog", recipes=RECIPES)
    assert {verdict.rows[i].encoder for i in verdict.picks.values()} == {"hog"}
    rows = [row for row in verdict.rows if row.encoder.startswith("blind")]
    for row in rows:
        assert at_chance(row.test), (row.recipe, row.test.figures)
    assert bool(rows) == (kind != "zero") == (not verdict.failed)


@pytest.mark.parametrize("kind", [k for k in (*KINDS, *CODES) if k != "zero"])
def test_its_robustness_is_at_chance(images, kind):
    _, *changed = robustness(blind(kind).fit(images), images, ["turn"])["turn"]
    for point in changed:
        assert point.first_hit <= 1 / COUNT + 0.1
        assert (
            point.lrap_10_own <= 0.4
        )  # one or two of ten are right by chance, at any rank; of those alone it is the mean
    if "constant" in kind:
        assert changed[0].first_hit == pytest.approx(1 / COUNT)


@pytest.mark.parametrize("kind", [k for k in (*KINDS, *CODES) if "zero" not in k])
def test_no_re_ranking_is_chosen_for_it(images, kind, tmp_path, monkeypatch):
    monkeypatch.setitem(TABLE, "blind", ENTRY)
    monkeypatch.setitem(TABLE, "blind code", CODE_ENTRY)
    choice = select_rerank(build_index(images, blind(kind), tmp_path / "index"))
    assert choice.method == "none"
    for figures in choice.figures.values():
        assert figures["first hit"] <= 1 / COUNT + 0.1
        assert figures["category precision@5%"] <= 0.1
    if "constant" in kind:
        assert choice.figures["none"]["first hit"] == pytest.approx(1 / COUNT)


class Same(Reranker):
    """Everybody gets the same list, of ``first``; or what only last digits order, by a query's place among those asked together."""

    def __init__(self, index, first):
        super().__init__(index)
        rng = np.random.default_rng(0)
        self.rows = np.ones((16, len(index)), np.float32)
        if len(first):
            self.rows[:, first] = rng.random(len(first)) / 2
        else:
            self.rows += 1e-6 * rng.random(self.rows.shape).astype(np.float32)

    def values(self, asked):
        return self.rows[: len(asked)], [{}] * len(asked)


@pytest.mark.parametrize("first", [0, 6])
def test_a_re_ranking_that_gives_everybody_the_same_is_no_better_than_chance(images, first, tmp_path):
    test = _Test(build_index(images, "hog", tmp_path / "index"), 0)
    figures = test.run(Same(test.index, test.rows[:first]))
    assert figures["first hit"].mean() <= 1 / COUNT + 0.1
    assert figures["category precision@5%"].mean() <= 0.05


def test_the_nearest_of_images_that_are_equally_near_is_any(images, tmp_path, monkeypatch):
    monkeypatch.setitem(TABLE, "blind", ENTRY)
    assert len(set(_Test(build_index(images, blind("constant"), tmp_path / "index"), 0).nearest)) > 15  # of 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("blind") / "pictures"
    made.mkdir()
    for number, image in enumerate(pictures(80, 16)):
        Image.fromarray(image).save(made / f"{number:03d}.png")
    return made


@pytest.mark.parametrize(
    "kind",
    [k if k in ("constant", "zero", "two") else pytest.param(k, marks=pytest.mark.slow) for k in (*KINDS, "nan")],
)
def test_the_command_picks_one_who_sees(folder, kind, tmp_path, capsys):
    model = write(tmp_path, blind_model(kind))
    assert run(["compare", str(folder), "--encoders", f"{model},hog", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert {pick["encoder"] for pick in made["picks"].values()} == {"hog"}
    measured = [row for row in made["rows"] if row["encoder"] != "hog"]
    if kind in ("zero", "nan"):
        said = {"zero": "that aren't blank to neural, here are 0", "nan": "gives NaN or infinity"}[kind]
        assert not measured
        assert list(made["failed"]) == [f"neural (model={model})"]
        assert said in made["failed"][f"neural (model={model})"]
    else:
        assert measured
        assert made["failed"] == {}
    for row in measured:
        assert row["figures"]["self-retrieval MRR"] <= 0.15  # by chance .06
        assert row["figures"]["category precision@5%"] <= MOST["category precision@5%"]


@pytest.mark.parametrize("length", [8, 200])
def test_neighbours_that_are_all_alike_differ_by_nothing(length):
    two = np.random.default_rng(0).standard_normal((2, length)).astype(np.float32)
    rows = two[np.arange(300) % 2]
    rows -= rows.mean(axis=0)
    scatter, _ = mutual_scatter(rows, rows, 7)
    total = (rows.T @ rows / 300).astype(np.float64)
    assert np.abs(scatter).max() < 1e-12 * np.trace(total)
    assert solve(total, scatter, 0.03).shape[1] >= 1


# One that can't be measured -------------------------------------------------------------------------------------------


def test_one_failing_encoder_costs_itself(images):
    alone = compare(images, [create("hog")], recipes=RECIPES[:2])
    both = compare(images, [blind("zero"), create("hog")], recipes=RECIPES[:2])
    assert [row.test for row in both.rows] == [row.test for row in alone.rows]
    assert both.picks == alone.picks
    assert list(both.failed) == ["blind (kind=zero)"]
    assert both.table().splitlines()[-1] == f"left out: blind (kind=zero): {both.failed['blind (kind=zero)']}"
    assert both.to_json()["failed"] == both.failed
    assert set(both.encoders) == set(AIMS)


def test_if_none_can_be_measured_the_first_one_says_why(images):
    with pytest.raises(UsageError, match="blank to blind, here are 0"):
        compare(images, [blind("zero"), blind("zero")], recipes=RECIPES[:1])


def test_images_that_cannot_be_read_end_it(images):  # even if another size of them can
    def unreadable(encoder):
        if encoder.name == "pixels":
            raise CollectionError("photos: gone")
        return images

    with pytest.raises(CollectionError, match="gone"):
        compare(unreadable, [create("pixels"), create("hog")])
