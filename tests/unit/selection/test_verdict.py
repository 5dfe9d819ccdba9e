"""The verdict: rows, picks and sentences, from a sample without labels."""

from __future__ import annotations

import json

import pytest

from lookalike.encoders.registry import create
from lookalike.errors import UsageError
from lookalike.selection.adapt import AIMS, Recipe, choose
from lookalike.selection.selftest import beats
from lookalike.selection.verdict import compare

RECIPES = (Recipe("unchanged"), Recipe("centred"), Recipe("adapted", 0.3))


@pytest.fixture(scope="module")
def verdict(digits):
    return compare(digits[0], [create("pixels"), create("hog", deskew=True)], recipes=RECIPES)


@pytest.mark.slow
def test_there_is_a_row_for_each_encoder_and_post_processing(verdict):
    names = [(row.encoder, row.recipe) for row in verdict.rows]
    assert names == [(e, str(r)) for e in ("pixels", "hog (deskew=True)") for r in RECIPES]
    assert [row.dimension for row in verdict.rows[:2]] == [784, 784]
    for row in verdict.rows:
        assert row.bytes == 4 * row.dimension
        assert row.seconds > 0
        assert set(row.test.first_hits) == set(verdict.families)
    assert verdict.images == 200


def test_each_aim_has_its_pick_and_the_encoder_to_go_on_with(verdict, digits):
    for aim in AIMS:
        row, encoder = verdict.rows[verdict.picks[aim]], verdict.encoders[aim]
        assert row.encoder == "hog (deskew=True)"  # which labels agree with, by far
        assert encoder.encode(digits[0][:2]).shape == (2, row.dimension)
        figure = verdict.figure(aim)
        best = max(verdict.rows, key=lambda r: r.test.figures[figure])
        assert best is row or not beats(best.test, row.test, figure)


def test_the_sentence_names_the_pick_the_runner_up_and_its_limits(verdict):
    for aim in AIMS:
        said = verdict.sentence(aim)
        row = verdict.rows[verdict.picks[aim]]
        assert said.startswith(f"For {AIMS[aim].words}, {row.title} looks best on these 200 images")
        assert "of pixels" in said
        # The runner-up is what pixels would choose for this aim: never a row that this aim passed over.
        pixels = [row for row in verdict.rows if row.encoder == "pixels"]
        chosen = pixels[int(choose({str(i): row.test for i, row in enumerate(pixels)}, aim)[0])]
        assert f"{chosen.test.figures[verdict.figure(aim)]:.3f} of {chosen.title}" in said
        assert "No label was read" in said


def test_the_table_and_the_json_say_the_same(verdict):
    lines = verdict.table().splitlines()
    assert len(lines) == 1 + len(verdict.rows)
    made = json.loads(json.dumps(verdict.to_json()))
    assert set(made) == {"images", "families", "rows", "picks", "sentences", "failed"}
    for aim, pick in made["picks"].items():
        assert AIMS[aim].words in lines[1 + pick["row"]]
        assert f"{made['rows'][pick['row']]['figures'][pick['figure']]:.3f}" in lines[1 + pick["row"]]


@pytest.mark.slow
def test_it_repeats_but_for_the_clock(verdict, digits):
    again = compare(digits[0], [create("pixels"), create("hog", deskew=True)], recipes=RECIPES)
    assert [r.test for r in again.rows] == [r.test for r in verdict.rows]
    assert again.picks == verdict.picks


def test_each_encoder_may_have_images_of_its_own_size(digits):
    half = digits[0][:, ::2, ::2]
    asked = []

    def images(encoder):
        asked.append(encoder.name)
        return half if encoder.name == "pixels" else digits[0]

    steps = []
    made = compare(
        images, [create("pixels"), create("hog")], recipes=RECIPES[:2], sample=100,
        progress=lambda *step: steps.append(step),
    )  # fmt: skip
    assert asked == ["pixels", "hog"]
    assert (made.images, made.rows[0].dimension) == (100, 196)
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_fitted_encoder_is_taken_as_it_is(digits):
    fitted = create("pixels").fit(digits[0])
    made = compare(digits[0], [fitted], recipes=RECIPES[:1])
    assert made.encoders["nearest"].fingerprint == fitted.fingerprint


def test_bad_requests_are_refused(digits):
    with pytest.raises(UsageError, match="there is no encoder to compare"):
        compare(digits[0], [])
    with pytest.raises(UsageError, match="at least 8 images"):
        compare(digits[0][:1], [create("hog")])
    with pytest.raises(UsageError, match="unknown augmentation family"):
        compare(digits[0], [create("hog")], families=["twist"])
