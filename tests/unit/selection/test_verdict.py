"""The verdict: rows, picks and sentences by a made-up judge, from a sample without labels."""

from __future__ import annotations

import json

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from blind import blind
from lookalike.encoders.registry import create
from lookalike.errors import UsageError
from lookalike.selection import verdict as module
from lookalike.selection.held_out import GROUPS, make_views
from lookalike.selection.judge import AIMS, SCORES, Gain, evidence
from lookalike.selection.recipes import DEFAULT, NAMES, UNCHANGED
from lookalike.selection.selftest import paired_difference
from lookalike.selection.verdict import compare
from made_up_judge import judging, made_up

RECIPES = (UNCHANGED, NAMES["centred"], DEFAULT)
#: Hog with the default post-processing is the default; for the nearest it is beaten by pixels centred, for nothing else.
BEATEN = {"P1": {"encoder pixels": 0.2, "recipe centred of pixels": 0.1}, "mAP": {"recipe unchanged": -0.1}}


@pytest.fixture(scope="module")
def verdict(digits):
    with pytest.MonkeyPatch.context() as patch:
        judging(patch, **BEATEN)
        yield compare(
            digits[0], [create("pixels"), create("hog", deskew=True)], default="hog (deskew=True)", recipes=RECIPES
        )


def test_there_is_a_row_for_each_encoder_and_post_processing(verdict):
    names = [(row.encoder, row.recipe) for row in verdict.rows]
    assert names == [(e, str(r)) for e in ("hog (deskew=True)", "pixels") for r in RECIPES]
    assert [row.dimension for row in verdict.rows[3:5]] == [784, 784]
    for row in verdict.rows:
        assert row.bytes == 4 * row.dimension
        assert row.seconds > 0
        assert set(row.test.first_hits) == set(GROUPS)
        assert set(row.gains) == set(SCORES)
    assert verdict.images == 200
    assert (verdict.default, verdict.rows[2].gains["P@1"]) == (2, Gain(0.0, 0.0, 0.0))


def test_each_aim_has_its_pick_and_the_encoder_to_go_on_with(verdict, digits):
    assert verdict.picks == {"nearest": 4, "category": 2, "both": 2}
    for aim in AIMS:
        row, encoder = verdict.rows[verdict.picks[aim]], verdict.encoders[aim]
        assert encoder.encode(digits[0][:2]).shape == (2, row.dimension)
        assert title(encoder) == row.title


def title(encoder):
    name = "hog (deskew=True)" if encoder.name == "hog" else encoder.name
    return name if encoder.post_ is None else f"{name}, {encoder.post_.name}"


def test_each_encoder_has_its_own_choice_for_each_aim(digits, monkeypatch):
    judging(monkeypatch, P1={"recipe centred of pixels": 0.2}, mAP={"recipe unchanged of pixels": 0.2})
    made = compare(digits[0], [create("pixels"), create("hog")], default="hog", recipes=RECIPES)
    own = {aim: {e: made.rows[i].recipe for e, i in chosen.items()} for aim, chosen in made.choices.items()}
    assert own == {
        "nearest": {"pixels": "centred", "hog": DEFAULT.name},
        "category": {"pixels": "unchanged", "hog": DEFAULT.name},
        "both": {"pixels": "unchanged", "hog": DEFAULT.name},
    }
    assert set(made.candidates) == {"pixels", "pixels, centred", "hog", f"hog, {DEFAULT}"}
    for name, encoder in made.candidates.items():
        assert name.startswith(encoder.name)
        assert ("," in name) == (encoder.post_ is not None)


def test_the_sentence_of_another_than_the_default_names_what_is_expected_and_the_evidence(verdict):
    said = verdict.sentence("nearest")
    gain = verdict.rows[4].gains["P@1"]
    assert gain.low > 0
    assert said == (
        "For the nearest images, on these 200 images: pixels, centred. Expected against hog (deskew=True), "
        f"{DEFAULT}, the default: P@1 {gain}. No label was read. {evidence('nearest')} Check with a few queries of your own."
    )


def test_the_sentence_of_the_default_says_that_it_is_kept_and_what_came_nearest(verdict):
    for aim in ("category", "both"):
        said = verdict.sentence(aim)
        gain = max((row.gains["mAP"] for i, row in enumerate(verdict.rows) if i != 2), key=lambda g: g.mean)
        assert said.startswith(
            f"For {AIMS[aim].words}, on these 200 images: hog (deskew=True), {DEFAULT}, the default. Nothing else that was "
            "tried is surely better; the likeliest to be, "
        )
        assert f"has mAP {gain}." in said
        assert evidence(aim) in said
        assert "No label was read" in said


def test_of_one_row_the_sentence_names_no_other(digits):
    made = compare(digits[0], [create("itq").fit(digits[0])])
    assert "itq, the default. Nothing else that was tried is surely better. No label" in made.sentence("nearest")


def test_the_table_has_the_default_the_picks_and_each_encoders_choices(verdict):
    *lines, others = verdict.table().splitlines()[1:]
    made = json.loads(json.dumps(verdict.to_json()))
    assert set(made) == {
        "images",
        "families",
        "rows",
        "default",
        "picks",
        "choices",
        "sentences",
        "stands_in_for",
        "failed",
    }
    chosen = {i for own in verdict.choices.values() for i in own.values()}
    shown = sorted({made["default"], *chosen, *(pick["row"] for pick in made["picks"].values())})
    assert {verdict.rows[i].encoder for i in shown} == {row.encoder for row in verdict.rows}
    assert others == f"{len(verdict.rows) - len(shown)} other post-processings were tried; --json has them"
    for line, i in zip(lines, shown, strict=True):
        row, aims = verdict.rows[i], [aim for aim, pick in made["picks"].items() if pick["row"] == i]
        assert line.startswith(row.encoder)
        assert row.recipe in line
        assert ("default" in line.split()) == (i == made["default"] == 2)
        assert line.endswith(f"<- {', '.join(aims)}") == bool(aims)
        for score in SCORES:
            assert (str(row.gains[score]) in line) == (i != 2)


def test_the_json_has_each_encoders_choice_with_its_gain_and_the_paired_test(verdict):
    made = json.loads(json.dumps(verdict.to_json()))
    assert set(made["choices"]) == set(AIMS)
    for aim, chosen in made["choices"].items():
        assert set(chosen) == {"pixels", "hog (deskew=True)"}
        for encoder, choice in chosen.items():
            row = verdict.rows[choice["row"]]
            assert (row.encoder, row.recipe) == (encoder, choice["recipe"])
            assert choice["score"] == AIMS[aim].score
            assert choice["gain"] == row.gains[choice["score"]].to_json()
            figure = AIMS[aim].figure
            mean, low, high = paired_difference(row.test, verdict.rows[verdict.default].test, figure)
            assert choice["paired"] == {"mean": mean, "low": low, "high": high}
    assert made["choices"]["nearest"]["hog (deskew=True)"]["paired"] == {"mean": 0, "low": 0, "high": 0}


def test_it_repeats_but_for_the_clock(verdict, digits, monkeypatch):
    judging(monkeypatch, **BEATEN)
    again = compare(
        digits[0], [create("pixels"), create("hog", deskew=True)], default="hog (deskew=True)", recipes=RECIPES
    )
    assert [r.test for r in again.rows] == [r.test for r in verdict.rows]
    assert [r.gains for r in again.rows] == [r.gains for r in verdict.rows]
    assert again.picks == verdict.picks


def test_each_encoder_may_have_images_of_its_own_size_and_views_are_made_once_a_size(digits, monkeypatch):
    half = digits[0][:, ::2, ::2]
    asked, sizes = [], []

    def images(encoder):
        asked.append(encoder.name)
        return half if encoder.name == "pixels" else digits[0]

    def making(images, *args, **kwargs):
        sizes.append(images.shape)
        return make_views(images, *args, **kwargs)

    monkeypatch.setattr(module, "make_views", making)
    steps = []
    made = compare(
        images, [create("pixels"), create("hog"), create("hog", cells=4)], recipes=RECIPES[:2], sample=100,
        progress=lambda *step: steps.append(step),
    )  # fmt: skip
    assert asked == ["pixels", "hog", "hog"]
    assert sizes == [(100, 14, 14), (100, 28, 28)]
    assert (made.images, made.rows[0].dimension) == (100, 196)
    assert steps == [(n, 6) for n in range(1, 7)]


def test_a_fitted_encoder_is_taken_as_it_is(digits):
    fitted = create("pixels").fit(digits[0])
    made = compare(digits[0], [fitted], recipes=RECIPES[:1])
    assert made.encoders["nearest"].fingerprint == fitted.fingerprint


def test_the_first_is_the_default_unless_another_is_named(digits):
    pair = [create("pixels"), create("hog")]
    named = [compare(digits[0], pair, default=name, recipes=RECIPES[:1]) for name in (None, "hog")]
    assert [made.rows[made.default].encoder for made in named] == ["pixels", "hog"]


def test_the_default_is_tried_first_so_that_an_interrupted_comparison_has_it(digits):
    def progress(done, _):
        if done == 4:
            raise KeyboardInterrupt

    made = compare(digits[0], [create("pixels"), create("hog")], default="hog", recipes=RECIPES, progress=progress)
    assert [row.encoder for row in made.rows] == ["hog"] * 3
    assert list(made.failed) == ["pixels"]


def test_the_look_is_that_of_the_images_whoever_could_be_measured(digits, monkeypatch):
    looks = []
    monkeypatch.setattr(module, "look_of", lambda default, colour: looks.append((default, colour)) or "photos")
    compare(digits[0], [blind("zero"), create("hog")], default="blind (kind=zero)", recipes=RECIPES[:1])
    assert looks == [("blind (kind=zero)", False)]


def test_colours_make_photos(monkeypatch):
    looks = []
    monkeypatch.setattr(module, "look_of", lambda default, colour: looks.append(colour) or "photos")
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
    for shown in (images, images[..., 0]):
        compare(shown, [create("pixels")], recipes=RECIPES[:1])
    assert looks[0] is True
    assert looks[-1] is False


def test_ctrl_c_gives_the_verdict_over_what_was_done(digits):
    def stop_at(last):
        def progress(done, _):
            if done == last:
                raise KeyboardInterrupt

        return progress

    tried = [create("pixels"), create("hog"), create("hog", cells=4)]
    whole = compare(digits[0], tried[:2], recipes=RECIPES)
    for last in (7, 8):  # within the third
        made = compare(digits[0], tried, recipes=RECIPES, progress=stop_at(last))
        assert [row.test for row in made.rows] == [row.test for row in whole.rows]
        assert (made.picks, made.choices) == (whole.picks, whole.choices)
        assert made.failed == {"hog (cells=4)": "not measured, since the comparison was interrupted"}
    with pytest.raises(KeyboardInterrupt):  # nothing was done
        compare(digits[0], tried, recipes=RECIPES, progress=stop_at(2))


def test_one_failing_default_costs_itself(digits):
    made = compare(digits[0], [blind("zero"), create("hog")], default="blind (kind=zero)", recipes=RECIPES)
    assert {row.encoder for row in made.rows} == {"hog"}
    assert list(made.failed) == ["blind (kind=zero)"]
    assert made.stands_in_for == "blind (kind=zero)"
    assert ", as the default, blind (kind=zero), couldn't be measured" in made.sentence("nearest")
    assert made.to_json()["stands_in_for"] == "blind (kind=zero)"


def test_matrix_products_are_held_to_one_thread(digits, monkeypatch):
    seen = []

    class Watched(type(create("pixels"))):
        def _encode(self, images):
            seen.extend(
                pool["num_threads"]
                for pool in threadpool_info()
                if pool["user_api"] == "blas" and "faiss" not in pool["filepath"]
            )
            return super()._encode(images)

    with threadpool_limits(2, user_api="blas"):
        encoder = Watched().fit(digits[0][:1])
        assert set(seen) == {2}
        seen.clear()
        compare(digits[0], [encoder], recipes=RECIPES[:1])
    assert set(seen) == {1}


def test_bad_requests_are_refused(digits):
    with pytest.raises(UsageError, match="there is no encoder to compare"):
        compare(digits[0], [])
    with pytest.raises(UsageError, match="at least 8 images"):
        compare(digits[0][:1], [create("hog")])
    with pytest.raises(UsageError, match="unknown augmentation family"):
        compare(digits[0], [create("hog")], families=["twist"])


def test_a_made_up_judge_has_the_form_of_the_real_one():
    from lookalike.selection.judge import learnt

    assert set(made_up()) == set(learnt())
