"""Candidates: each encoder with each post-processing, encoded once, and graphs over the same images."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.encoders.pixels import Pixels
from lookalike.encoders.registry import create
from lookalike.errors import UsageError
from lookalike.neighbors.sampling import sample_rows
from lookalike.selection import candidates
from lookalike.selection.candidates import SharedEncoding, candidates_of, title_of
from lookalike.selection.held_out import make_views
from lookalike.selection.neighbour_metric import MIN_ROWS
from lookalike.selection.neighbourhood import agreement
from lookalike.selection.recipes import DEFAULT, RECIPES, UNCHANGED


@pytest.fixture(scope="module")
def views(digits):
    return make_views(digits[0], queries=20)


def test_the_encoder_as_it_is_comes_first_then_each_recipe(views, digits):
    hog = create("hog").fit(digits[0])
    tried = list(candidates_of(hog, views))
    assert [c.recipe for c in tried] == [r.name for r in RECIPES]
    assert {c.encoder for c in tried} == {"hog"}
    for made in tried:
        assert made.near.shape == (200, 10)
        assert set(made.figures) == set(made.test.figures) | set(made.graph)
    assert tried[0].post is None
    assert [c.recipe for c in candidates_of(hog, views, [DEFAULT])] == ["unchanged", DEFAULT.name]


def test_its_own_post_processing_is_left_aside(views, digits):
    hog = create("hog").fit(digits[0])
    (plain,) = candidates_of(hog, views, [UNCHANGED])
    post = next(iter(c.post for c in candidates_of(hog, views, RECIPES[1:2]) if c.post))
    (again,) = candidates_of(hog.with_post(post), views, [UNCHANGED])
    assert again.test == plain.test


def test_packed_codes_are_tried_as_they_are(views, digits):
    assert [c.recipe for c in candidates_of(create("itq").fit(digits[0]), views)] == ["unchanged"]


def test_of_few_images_what_can_not_be_learnt_is_left_out(digits):
    few = digits[0][: MIN_ROWS - 1]
    tried = [c.recipe for c in candidates_of(create("hog").fit(few), make_views(few))]
    assert tried == ["unchanged", "centred", "pca"]


def counting(monkeypatch, kind):
    seen = []
    encode = kind._encode

    def counted(self, images):
        seen.append(id(images))
        return encode(self, images)

    monkeypatch.setattr(kind, "_encode", counted)
    return seen


def test_members_of_a_fusion_are_encoded_once(views, digits, monkeypatch):
    both, alone = create("pixels+hog").fit(digits[0]), create("pixels").fit(digits[0])
    seen = counting(monkeypatch, Pixels)
    shared = SharedEncoding()
    made = [c for encoder in (alone, both) for c in candidates_of(encoder, views, [UNCHANGED], encode=shared)]
    assert len(seen) == 1 + len(views.shown_as)  # the collection, and each other view of it
    seen.clear()
    apart = [c for encoder in (alone, both) for c in candidates_of(encoder, views, [UNCHANGED])]
    assert len(seen) == 2 * (1 + len(views.shown_as))
    assert [c.test for c in made] == [c.test for c in apart]
    for one, other in zip(made, apart, strict=True):
        np.testing.assert_array_equal(one.near, other.near)


def test_what_is_shared_is_what_the_encoder_gives(digits):
    fusion = create("pixels+hog").fit(digits[0])
    shared = SharedEncoding()
    few = digits[0][:9]
    for _ in range(2):
        np.testing.assert_array_equal(shared(fusion, few), fusion.encode(few))
    np.testing.assert_array_equal(shared(fusion, digits[0][9:18]), fusion.encode(digits[0][9:18]))
    assert shared(create("hog", cells=4).fit(digits[0]), few).shape[1] != shared(fusion.members_[1], few).shape[1]


def test_encoders_that_learn_share_nothing(digits):
    one, other = (create("itq").fit(digits[0][part]) for part in (slice(100), slice(100, 200)))
    shared = SharedEncoding()
    few = digits[0][:9]
    np.testing.assert_array_equal(shared(one, few), one.encode(few))
    np.testing.assert_array_equal(shared(other, few), other.encode(few))


def test_images_that_are_blank_to_one_encoder_do_not_shift_the_graph_of_another(digits):
    images = digits[0].copy()
    images[::5] = 9  # no lines, but a tone
    views = make_views(images, queries=40)
    (seen,) = candidates_of(create("pixels").fit(images), views, [UNCHANGED])
    (partly,) = candidates_of(create("hog").fit(images), views, [UNCHANGED])
    assert seen.near.shape == partly.near.shape
    assert (seen.near >= 0).all()
    assert ((partly.near < 0).all(axis=1) == (np.arange(200) % 5 == 0)).all()
    assert not set(partly.near.ravel().tolist()) & set(range(0, 200, 5))
    # The same as over the images that it sees, which keep their places.
    rest = np.flatnonzero(np.arange(200) % 5)
    (alone,) = candidates_of(create("hog").fit(images), make_views(images[rest], queries=40), [UNCHANGED])
    for place, row in zip(rest, alone.near, strict=True):
        assert set(partly.near[place].tolist()) == set(rest[row].tolist())
    assert agreement(seen.near, partly.near) > 0.2  # by chance .05


def test_of_many_images_the_same_sample_is_looked_at_for_every_encoder(digits, monkeypatch):
    monkeypatch.setattr(candidates, "MAX_GRAPH", 50)
    images = digits[0].copy()
    drawn = sample_rows(200, 50, 0)
    images[drawn[::2]] = 9
    views = make_views(images, queries=20)
    (pixels,) = candidates_of(create("pixels").fit(images), views, [UNCHANGED])
    (hog,) = candidates_of(create("hog").fit(images), views, [UNCHANGED])
    assert pixels.near.shape == hog.near.shape == (50, 10)
    assert ((hog.near < 0).all(axis=1) == (np.arange(50) % 2 == 0)).all()


def test_who_sees_hardly_any_image_is_refused(digits):
    images = np.zeros_like(digits[0])
    images[:7] = digits[0][:7]
    with pytest.raises(UsageError, match="that aren't blank to hog, here are 7"):
        list(candidates_of(create("hog").fit(images), make_views(images)))


@pytest.mark.parametrize(
    ("encoder", "title"),
    [(create("hog"), "hog"), (create("hog", cells=9, deskew=True), "hog (cells=9, deskew=True)"), (create("pixels+hog"), "pixels+hog")],
)  # fmt: skip
def test_titles(encoder, title):
    assert title_of(encoder) == title
