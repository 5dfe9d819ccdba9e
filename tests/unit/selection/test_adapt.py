"""Adapting: the closed form by hand, what is judged and chosen by a made-up judge, and that it repeats."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lookalike.encoders.registry import create
from lookalike.encoders.serialize import load
from lookalike.errors import UsageError
from lookalike.metrics.scores import score
from lookalike.neighbors.exact import Database
from lookalike.selection.adapt import adapt, with_recipe
from lookalike.selection.judge import AIMS, evidence
from lookalike.selection.recipes import DEFAULT, NAMES, RECIPES, UNCHANGED
from lookalike.selection.scatter import solve
from made_up_judge import judging

QUICK = (UNCHANGED, NAMES["centred"], NAMES["pca"], DEFAULT)


def test_the_closed_form_by_hand():
    # 9 in total against 1 within: ratio 9, weight sqrt(8/9). 4 against 4: no more than within, so it goes.
    made = solve(np.diag([4.0, 9.0]), np.diag([4.0, 1.0]), 0)
    np.testing.assert_allclose(made, [[0], [np.sqrt(8 / 9)]], atol=1e-6)
    # Shrinkage r adds r times the mean of the diagonal, here 2.5.
    made = solve(np.diag([4.0, 9.0]), np.diag([4.0, 1.0]), 0.2)
    np.testing.assert_allclose(made, [[0], [np.sqrt((6 - 1) / 6) / np.sqrt(1.5)]], atol=1e-6)
    assert solve(np.eye(3), 2 * np.eye(3), 0).shape == (3, 0)
    assert np.isfinite(solve(np.eye(3), np.zeros((3, 3)), 0.3)).all()


def test_the_default_is_found_better_by_labels_than_the_encoder_as_it_is(digits):
    images, labels = digits[0], np.array(digits[1])
    plain = create("hog").fit(images)
    better = with_recipe(plain, images[:150], DEFAULT)

    def mean_average_precision(encoder):
        database = Database(encoder.encode(images[:150]), encoder.distance)
        return score(database, labels[:150], encoder.encode(images[150:]), labels[150:]).report().metrics["mAP"]

    assert mean_average_precision(better) > mean_average_precision(plain) + 0.02


def test_the_default_is_kept_where_nothing_is_surely_better(digits, monkeypatch):
    judging(monkeypatch, spread=1.0, P1={"recipe pca": 0.5})  # likely better, but not surely
    plain = create("hog").fit(digits[0])
    encoder, adaptation = adapt(plain, digits[0], recipes=QUICK)
    assert (adaptation.chosen, adaptation.default) == (DEFAULT.name, DEFAULT.name)
    assert encoder.fingerprint == with_recipe(plain, digits[0], DEFAULT).fingerprint
    assert str(adaptation.gains[DEFAULT.name]["P@1"]) == "+0.000 (+0.000 to +0.000)"
    said = adaptation.sentence()
    assert said.startswith(
        f"post-processing: {DEFAULT}, the default. No other is surely better here; the likeliest to be, pca, has P@1 +0."
    )
    assert "No label was read." in said
    assert said.endswith(evidence("nearest", "adapt"))


def test_what_is_surely_better_is_chosen_and_learnt_from_all(digits, monkeypatch):
    judging(monkeypatch, spread=0.01, P1={"recipe pca": 0.5})
    monkeypatch.setattr("lookalike.selection.adapt.SAMPLE", 100)
    plain = create("hog").fit(digits[0])
    encoder, adaptation = adapt(plain, digits[0], recipes=QUICK)
    assert (adaptation.chosen, adaptation.default) == ("pca", DEFAULT.name)
    assert adaptation.tested["pca"].database == 100
    assert encoder.fingerprint == with_recipe(plain, digits[0], NAMES["pca"]).fingerprint
    assert adaptation.sentence().startswith(
        f"post-processing: pca. Expected against the default: P@1 {adaptation.gains['pca']['P@1']}."
    )


def test_the_aim_decides(digits, monkeypatch):
    judging(monkeypatch, P1={"recipe pca": 0.5, "recipe centred": 0.1}, mAP={"recipe centred": 0.5})
    plain = create("hog").fit(digits[0])
    chosen = {aim: adapt(plain, digits[0], aim=aim, recipes=QUICK)[1].chosen for aim in AIMS}
    assert chosen == {"nearest": "pca", "category": "centred", "both": "centred"}


def test_interrupted_it_chooses_among_what_was_tried(digits):
    def stop(done, total):
        if done == len(RECIPES) - 1:
            raise KeyboardInterrupt

    made, adaptation = adapt(create("hog").fit(digits[0]), digits[0], progress=stop)
    assert list(adaptation.gains) == [recipe.name for recipe in RECIPES[:-1]]
    assert adaptation.sentence().startswith(f"interrupted, so of the {len(RECIPES) - 1} tried: post-processing:")
    assert made.post_ is not None


def test_interrupted_before_the_default_was_tried_it_stops(digits):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adapt(create("hog").fit(digits[0]), digits[0], progress=stop)


def test_it_says_what_it_tried_and_repeats(digits, tmp_path, monkeypatch):
    judging(monkeypatch, P1={"recipe pca": 0.5})
    plain = create("hog").fit(digits[0])
    steps = []
    encoder, adaptation = adapt(plain, digits[0], recipes=QUICK, progress=lambda done, of: steps.append((done, of)))
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert list(adaptation.tested) == list(adaptation.gains) == [str(r) for r in QUICK]
    made = json.loads(json.dumps(adaptation.to_json()))
    assert (made["chosen"], made["default"], made["aim"]) == ("pca", DEFAULT.name, "nearest")
    assert set(made["gains"]["centred"]["mAP"]) == {"mean", "low", "high"}
    assert made["sentence"] == adaptation.sentence()
    again, _ = adapt(plain, digits[0], recipes=QUICK)
    assert again.fingerprint == encoder.fingerprint
    assert plain.post_ is None
    assert load(encoder.save(tmp_path)).fingerprint == encoder.fingerprint
    # Adapting once more starts from the encoder itself, not from what it was adapted to.
    assert adapt(encoder, digits[0], recipes=QUICK)[0].fingerprint == encoder.fingerprint


def test_what_cant_be_learnt_leaves_the_encoder_unchanged():
    noise = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    for recipes in ((UNCHANGED,), (DEFAULT,)):  # of so few there is no default
        encoder, adaptation = adapt(create("pixels").fit(noise), noise, families={"noise": 0}, recipes=recipes)
        assert (encoder.post_, adaptation.chosen, adaptation.default) == (None, "unchanged", "unchanged")
        assert "unchanged, the default. No other is surely better here." in adaptation.sentence()


@pytest.mark.parametrize("shape", [(9, 7, 3), (40, 40, 3), (1, 2)], ids=str)
@pytest.mark.parametrize("number", [8, 12, 59])
def test_any_shape_and_few_images_do(shape, number):
    images = np.random.default_rng(0).integers(1, 256, (number, *shape), dtype=np.uint8)
    encoder, adaptation = adapt(create("pixels").fit(images), images)
    assert adaptation.default == "centred"
    assert np.isfinite(encoder.encode(images)).all()


def test_the_same_image_over_and_over_gives_no_nan():
    images = np.full((30, 8, 8), 99, np.uint8)
    images[:, 2] = 7
    encoder, _ = adapt(create("hog").fit(images), images)
    assert np.isfinite(encoder.encode(images)).all()


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_a_recipe_asked_for_by_name_is_not_judged(digits, recipe, monkeypatch):
    monkeypatch.setattr("lookalike.selection.judge.learnt", lambda: pytest.fail("the judge was asked"))
    encoder = with_recipe(create("hog").fit(digits[0]), digits[0], recipe)
    assert (encoder.post_ is None) == (recipe == UNCHANGED)


def test_bad_requests_are_refused(digits):
    plain = create("hog").fit(digits[0])
    with pytest.raises(UsageError, match=r"unknown aim 'all'; known: both, category, nearest"):
        adapt(plain, digits[0], aim="all")
    with pytest.raises(UsageError, match="at least 8 images"):
        adapt(plain, digits[0][:2])
    with pytest.raises(UsageError, match="unknown augmentation family 'twist'"):
        adapt(plain, digits[0], families=["twist"])
