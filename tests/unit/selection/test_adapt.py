"""Adapting: the closed form by hand, that it helps where it must, leaves alone what it can't help, and repeats."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lookalike.encoders.registry import create
from lookalike.encoders.serialize import load
from lookalike.errors import UsageError
from lookalike.metrics.scores import score
from lookalike.neighbors.exact import Database
from lookalike.selection.adapt import NAMES, RECIPES, Learner, Recipe, adapt, learn, prepare_material, solve
from lookalike.selection.scatter import neighbour_scatter

QUICK = (Recipe("unchanged"), Recipe("centred"), Recipe("adapted", 0.3), Recipe("neighbours", 0.3, 5))


@pytest.fixture(scope="module")
def material(digits):
    return prepare_material(create("hog").fit(digits[0]), digits[0])


def test_the_closed_form_by_hand():
    # 9 in total against 1 within: ratio 9, weight sqrt(8/9). 4 against 4: no more than within, so it goes.
    made = solve(np.diag([4.0, 9.0]), np.diag([4.0, 1.0]), 0)
    np.testing.assert_allclose(made, [[0], [np.sqrt(8 / 9)]], atol=1e-6)
    # Shrinkage r adds r times the mean of the diagonal, here 2.5.
    made = solve(np.diag([4.0, 9.0]), np.diag([4.0, 1.0]), 0.2)
    np.testing.assert_allclose(made, [[0], [np.sqrt((6 - 1) / 6) / np.sqrt(1.5)]], atol=1e-6)
    assert solve(np.eye(3), 2 * np.eye(3), 0).shape == (3, 0)
    assert np.isfinite(solve(np.eye(3), np.zeros((3, 3)), 0.3)).all()


def test_directions_that_augmentations_move_are_overlooked(material):
    post = learn(material, Recipe("adapted", 0.3))
    rows, anchors = material.trial.database, material.anchors

    def ratio(apply):
        away = apply(material.copies[0]) - apply(rows[anchors])
        return (away**2).sum() / ((apply(rows) - apply(rows).mean(axis=0)) ** 2).sum() * len(rows) / len(anchors)

    assert ratio(post.apply) < 0.7 * ratio(lambda x: x)


def test_neighbours_scatter_is_the_mean_over_pairs(material):
    rows = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    near = np.array([[1, 2], [0, 3], [4, 5], [1, 0], [2, 5], [0, 1]])
    pairs = [np.outer(rows[i] - rows[j], rows[i] - rows[j]) for i in range(6) for j in near[i]]
    np.testing.assert_allclose(neighbour_scatter(rows, near), np.mean(pairs, axis=0), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_every_recipe_gives_a_usable_projection(material, recipe):
    post = learn(material, recipe)
    if recipe.name == "unchanged":
        assert post is None
        return
    made = post.apply(material.trial.database)
    assert np.isfinite(made).all()
    assert made.shape == (200, post.dimension)
    assert post.name == recipe.name
    again = learn(material, recipe)
    assert again.to_files() == post.to_files()
    json.dumps(post.params)


@pytest.mark.slow
def test_the_order_of_recipes_makes_no_difference(material):
    one, other = Learner(material), Learner(material)
    for recipe in reversed(RECIPES):
        other.learn(recipe)
    for recipe in RECIPES[1:]:
        assert one.learn(recipe).to_files() == other.learn(recipe).to_files()


def test_held_out_images_are_not_learnt_from(material):
    assert not set(material.anchors) & set(material.trial.originals)
    assert material.copies.shape == (4, len(material.anchors), 392)


def test_digits_are_found_better_by_their_labels(digits):
    images, labels = digits[0], np.array(digits[1])
    plain = create("hog").fit(images)
    better, _ = adapt(plain, images[:150], aim="category", recipes=QUICK)

    def mean_average_precision(encoder):
        database = Database(encoder.encode(images[:150]), encoder.distance)
        return score(database, labels[:150], encoder.encode(images[150:]), labels[150:]).report().metrics["mAP"]

    assert mean_average_precision(better) > mean_average_precision(plain) + 0.02


@pytest.mark.slow
def test_it_says_what_it_tried_and_repeats(digits, tmp_path):
    plain = create("hog").fit(digits[0])
    steps = []
    encoder, adaptation = adapt(plain, digits[0], recipes=QUICK, progress=lambda done, of: steps.append((done, of)))
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert list(adaptation.tested) == [str(r) for r in QUICK]
    assert adaptation.chosen in adaptation.tested
    assert json.loads(json.dumps(adaptation.to_json()))["chosen"] == adaptation.chosen
    again, _ = adapt(plain, digits[0], recipes=QUICK)
    assert again.fingerprint == encoder.fingerprint
    assert plain.post_ is None
    assert load(encoder.save(tmp_path)).fingerprint == encoder.fingerprint
    # Adapting once more starts from the encoder itself, not from what it was adapted to.
    assert adapt(encoder, digits[0], recipes=QUICK)[0].fingerprint == encoder.fingerprint


def test_what_cant_be_learnt_leaves_the_encoder_unchanged():
    noise = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    encoder, adaptation = adapt(create("pixels").fit(noise), noise, families={"noise": 0}, recipes=QUICK[:1])
    assert (encoder.post_, adaptation.chosen) == (None, "unchanged")


@pytest.mark.parametrize("shape", [(9, 7, 3), (40, 40, 3), (1, 2)], ids=str)
def test_any_shape_and_few_images_do(shape):
    images = np.random.default_rng(0).integers(1, 256, (12, *shape), dtype=np.uint8)
    encoder, _ = adapt(create("pixels").fit(images), images)
    assert np.isfinite(encoder.encode(images)).all()


def test_the_same_image_over_and_over_gives_no_nan():
    images = np.full((30, 8, 8), 99, np.uint8)
    images[:, 2] = 7
    encoder, _ = adapt(create("hog").fit(images), images)
    assert np.isfinite(encoder.encode(images)).all()


def test_bad_requests_are_refused(digits, material):
    plain = create("hog").fit(digits[0])
    with pytest.raises(UsageError, match=r"unknown aim 'all'; known: both, category, nearest"):
        adapt(plain, digits[0], aim="all")
    with pytest.raises(UsageError, match="at least 8 images"):
        adapt(plain, digits[0][:2])
    with pytest.raises(UsageError, match="unknown augmentation family 'twist'"):
        adapt(plain, digits[0], families=["twist"])
    with pytest.raises(UsageError, match="unknown recipe 'magic'.*known: " + ", ".join(sorted(NAMES))):
        learn(material, Recipe("magic"))
