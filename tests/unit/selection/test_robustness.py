"""Curves of what is still found as augmentations grow."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lookalike.encoders.registry import create
from lookalike.errors import UsageError
from lookalike.selection.robustness import robustness
from lookalike.transforms.augmentations import FAMILIES


@pytest.fixture(scope="module")
def curves(digits):
    return robustness(create("hog").fit(digits[0]), digits[0], ["turn", "noise", "erase"], labels=digits[1], queries=60)


def test_unchanged_images_find_themselves(curves):
    for curve in curves.values():
        assert (curve[0].amount, curve[0].first_hit) == (0, 1)
        assert curve[0].lrap_10_own == pytest.approx(1, abs=0.01)


def test_the_amounts_are_the_familys(curves):
    for name, curve in curves.items():
        assert [point.amount for point in curve] == [0, *FAMILIES[name].curve]


def test_more_augmentation_is_found_less(curves):
    for name in ("turn", "erase"):
        assert curves[name][0].first_hit > curves[name][4].first_hit + 0.1
        assert curves[name][0].lrap_10 > curves[name][4].lrap_10 + 0.1
    for curve in curves.values():
        for point in curve:
            assert 0 <= point.first_hit_interval[0] <= point.first_hit <= point.first_hit_interval[1] <= 1
            assert point.lrap_10_own_interval[0] <= point.lrap_10_own <= point.lrap_10_own_interval[1]
            assert point.lrap_10_interval[0] <= point.lrap_10 <= point.lrap_10_interval[1]


def test_its_own_answers_worked_out_by_hand():
    # Grey levels on a line, no two as far from a third: each finds the nearest levels first.
    level = np.array([37, 64, 78, 97, 102, 141, 169, 201, 203, 224, 227, 234])
    images = np.repeat(level.astype(np.uint8), 64).reshape(12, 8, 8)
    encoder = create("pixels").fit(images)
    encoder.distance = "euclidean"
    curve = robustness(encoder, images, ["mirror"], queries=20)["mirror"]
    assert [point.lrap_10_own for point in curve] == [1.0, 1.0]  # a flat picture is its own mirror image
    halves = images.copy()
    halves[:, :, 4:] = 255 - halves[:, :, :4]
    turned = robustness(encoder, halves, ["mirror"], queries=20)["mirror"][1]
    # The mirror image of level g is that of level 255 - g, and finds what is near to that.
    expected = []
    for g in level:
        own, asked = (np.argsort(np.abs(level - at), kind="stable")[:10] for at in (g, 255 - g))
        right = np.isin(asked, own)
        expected.append((right * right.cumsum() / np.arange(1, 11)).sum() / max(right.sum(), 1))
    assert turned.lrap_10_own == pytest.approx(np.mean(expected))


def test_without_labels_there_is_no_labelled_score(digits):
    curve = robustness(create("pixels").fit(digits[0]), digits[0], ["mirror"], queries=20)["mirror"]
    assert curve[0].lrap_10 is None
    assert json.loads(json.dumps(curve[1].to_json()))["amount"] == 1


def test_a_wholly_erased_image_finds_nothing(digits):
    encoder = create("hog").fit(digits[0])
    black = np.concatenate([digits[0][:20], np.zeros((3, 28, 28), np.uint8)])
    curve = robustness(encoder, black, ["erase"], queries=20)["erase"]
    assert all(np.isfinite(point.first_hit) for point in curve)


def test_by_default_all_that_can_change_such_images(digits):
    grey = robustness(create("pixels").fit(digits[0][:12]), digits[0][:12], queries=4)
    assert set(grey) == set(FAMILIES) - {"colour", "grey"}


def test_bad_requests_are_refused(digits):
    encoder = create("hog").fit(digits[0])
    with pytest.raises(UsageError, match="unknown augmentation family 'twist'"):
        robustness(encoder, digits[0], ["twist"])
    with pytest.raises(UsageError, match=r"labels have shape \(3,\); give one for each of the 200 images"):
        robustness(encoder, digits[0], ["turn"], labels=[1, 2, 3])
    with pytest.raises(UsageError, match="at least 8 images that aren't blank to hog, here are 2"):
        robustness(encoder, digits[0][:2], ["turn"])
