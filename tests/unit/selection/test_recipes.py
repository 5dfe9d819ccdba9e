"""Recipes: what each makes, by which names they are asked for, and where there is too little to learn from."""

from __future__ import annotations

import json

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from lookalike.encoders.registry import create
from lookalike.errors import UsageError
from lookalike.neighbors.linalg import unit_rows
from lookalike.selection import recipes
from lookalike.selection.adapt import adapt, with_recipe
from lookalike.selection.neighbour_metric import MAX_ROWS, MIN_ROWS, NAME, neighbour_metric
from lookalike.selection.recipes import (
    DEFAULT,
    NAMES,
    PCA_DIMENSION,
    RECIPES,
    UNCHANGED,
    descriptors_to_learn_from,
    learn,
    recipe_named,
)


@pytest.fixture(scope="module")
def rows(digits):
    return create("hog").fit(digits[0]).encode(digits[0])


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_every_recipe_gives_a_usable_projection_and_the_same_again(rows, recipe):
    post = learn(rows, recipe)
    if recipe == UNCHANGED:
        assert post is None
        return
    made = post.apply(rows)
    assert np.isfinite(made).all()
    assert made.shape == (200, post.dimension)
    assert post.name in recipe.name  # the metric goes by one name, however it is learnt
    assert learn(rows, recipe).to_files() == post.to_files()
    json.dumps(post.params)


def test_recipes_differ_by_what_their_names_say(rows):
    scaled = unit_rows(rows)
    centred, pca = learn(rows, NAMES["centred"]), learn(rows, NAMES["pca"])
    np.testing.assert_allclose(centred.mean, scaled.mean(axis=0), atol=1e-6)
    assert (centred.matrix.shape[1], pca.matrix.shape[1]) == (0, PCA_DIMENSION)
    np.testing.assert_allclose(pca.matrix.T @ pca.matrix, np.eye(PCA_DIMENSION), atol=1e-4)
    kept = np.linalg.norm((scaled - scaled.mean(axis=0)) @ pca.matrix) / np.linalg.norm(scaled - scaled.mean(axis=0))
    assert kept > 0.9
    for name, neighbours, rounds in ((NAME, 7, 1), (f"{NAME} twice", 7, 2), (f"wide {NAME} twice", 15, 2)):
        expected = neighbour_metric(rows, neighbours=neighbours, rounds=rounds)
        np.testing.assert_array_equal(learn(rows, NAMES[name]).matrix, expected.matrix)


def test_descriptors_that_are_not_compared_by_cosine_keep_their_length(rows):
    np.testing.assert_allclose(learn(rows, NAMES["centred"], unit=False).mean, rows.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_has_its_name_with_hyphens_or_without(name):
    assert recipe_named(name) is recipe_named(name.replace(" ", "-")) is NAMES[name]


def test_an_unknown_recipe_is_refused_and_the_known_ones_are_named():
    with pytest.raises(UsageError, match="unknown recipe 'magic'") as refused:
        recipe_named("magic")
    for name in NAMES:
        assert name.replace(" ", "-") in str(refused.value)


def test_where_there_is_too_little_nothing_is_learnt(rows):
    for recipe in RECIPES:
        assert learn(rows[:1], recipe) is None
        few = learn(rows[: MIN_ROWS - 1], recipe)
        assert (few is None) == (recipe == UNCHANGED or recipe.neighbours > 0)
    noise = np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32)
    assert learn(noise, DEFAULT) is None  # its neighbours say nothing: "centred" is a recipe of its own


def test_of_many_a_sample_is_looked_at_that_the_seed_draws(monkeypatch, rows):
    monkeypatch.setattr(recipes, "MAX_ROWS", 50)
    one, again, other = (learn(rows, NAMES["centred"], seed=seed).mean for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other, atol=1e-6)
    assert MAX_ROWS > 50


def test_blank_images_are_not_learnt_from(digits):
    images = digits[0].copy()
    images[::2] = 0
    encoder = create("hog").fit(images)
    learnt_from = descriptors_to_learn_from(encoder, images)
    np.testing.assert_array_equal(learnt_from, encoder.encode(images[1::2]))
    processed = encoder.with_post(learn(learnt_from, NAMES["pca"]))
    np.testing.assert_array_equal(descriptors_to_learn_from(processed, images), learnt_from)  # its own is left aside


def test_packed_codes_are_refused(digits):
    codes = create("itq").fit(digits[0])
    for asked in (lambda: with_recipe(codes, digits[0], DEFAULT), lambda: adapt(codes, digits[0])):
        with pytest.raises(UsageError, match="itq gives packed codes, which can't be adapted; adapt its base encoder"):
            asked()


@pytest.mark.parametrize("door", ["adapt", "with_recipe"])
def test_matrix_products_are_held_to_one_thread(digits, door, monkeypatch):
    seen = []

    def learning(*args, **kwargs):
        seen.extend(
            pool["num_threads"]
            for pool in threadpool_info()
            if pool["user_api"] == "blas" and "faiss" not in pool["filepath"]
        )
        return learn(*args, **kwargs)

    for place in ("adapt", "candidates"):
        monkeypatch.setattr(f"lookalike.selection.{place}.learn", learning)
    encoder = create("hog").fit(digits[0])
    with threads(2):
        if door == "adapt":
            adapt(encoder, digits[0], recipes=RECIPES[:2])
        else:
            with_recipe(encoder, digits[0], DEFAULT)
        assert (
            max(
                pool["num_threads"]
                for pool in threadpool_info()
                if pool["user_api"] == "blas" and "faiss" not in pool["filepath"]
            )
            == 2
        )  # as before
    assert set(seen) == {1}


def threads(number):
    from threadpoolctl import threadpool_limits

    return threadpool_limits(number, user_api="blas")
