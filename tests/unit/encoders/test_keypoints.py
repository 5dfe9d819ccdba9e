"""Which pictures show the same thing: details in one arrangement, whatever was turned, scaled or covered."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

pytest.importorskip("cv2")
from lookalike.encoders.keypoints import VERIFIED, compare_details, detect_keypoints
from shapes import scene


def inliers(one, other):
    return compare_details(detect_keypoints(np.asarray(one)), detect_keypoints(np.asarray(other))).inliers


@pytest.mark.parametrize("angle", [37, 90, 211])
def test_a_turned_picture_is_verified(angle):
    image = scene(1)
    assert inliers(image.rotate(angle, Image.Resampling.BICUBIC, expand=True), image) > 3 * VERIFIED


def test_a_part_a_scaled_and_a_covered_picture_are_verified():
    image = scene(2)
    assert inliers(image.crop((60, 40, 220, 180)), image) > VERIFIED
    assert inliers(image.resize((200, 160)), image) > VERIFIED
    covered = image.copy()
    ImageDraw.Draw(covered).rectangle([0, 0, 160, 260], fill="white")
    assert inliers(covered, image) > VERIFIED


def test_a_picture_seen_at_an_angle_is_verified():
    image = scene(3)
    seen = image.transform(
        image.size, Image.Transform.QUAD, (0, 0, 30, 260, 290, 230, 320, 20), Image.Resampling.BICUBIC
    )
    assert inliers(seen, image) > VERIFIED


@pytest.mark.slow
def test_other_pictures_are_not():
    details = [detect_keypoints(np.asarray(scene(seed))) for seed in range(4, 10)]
    counts = [compare_details(a, b).inliers for i, a in enumerate(details) for b in details[:i]]
    assert max(counts) < VERIFIED


def test_where_the_inliers_are_is_where_the_map_takes_them():
    image = scene(11)
    found = compare_details(
        detect_keypoints(np.asarray(image.transpose(Image.Transpose.ROTATE_180))), detect_keypoints(np.asarray(image))
    )
    # Turned by half a circle, x and y from the one corner are those from the other.
    assert np.allclose(found.first[:, 0] + found.second[:, 0], 1, atol=0.02)
    assert np.allclose(found.first[:, 1] + found.second[:, 1], 260 / 320, atol=0.02)
    assert found.inliers <= len(found.first) <= found.matches


@pytest.mark.parametrize("picture", [np.zeros((40, 60), np.uint8), np.full((1, 1, 3), 200, np.uint8)])
def test_a_blank_picture_has_no_details_and_matches_nothing(picture):
    details = detect_keypoints(picture)
    assert len(details) == 0
    assert compare_details(details, detect_keypoints(np.asarray(scene(12)))).inliers == 0
