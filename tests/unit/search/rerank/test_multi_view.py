"""The views by which a query is asked again: which parts of the picture they are."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.search.rerank.multi_view import views_of

PICTURE = np.arange(40 * 20, dtype=np.uint16).reshape(40, 20).astype(np.uint8)


def test_crops_are_two_from_the_middle_and_four_from_the_corners():
    made = views_of(PICTURE, ["crops"])
    parts = [
        (slice(5, 35), slice(2, 17)), (slice(10, 30), slice(5, 15)), (slice(0, 24), slice(0, 12)), (slice(0, 24), slice(8, 20)),
        (slice(16, 40), slice(0, 12)), (slice(16, 40), slice(8, 20)),
    ]  # fmt: skip
    assert len(made) == len(parts)
    for view, part in zip(made, parts, strict=True):
        np.testing.assert_array_equal(view, PICTURE[part])


def test_turns_and_the_mirror_are_whole():
    made = views_of(PICTURE, ["turns", "mirror"])
    expected = [np.rot90(PICTURE, n) for n in (1, 2, 3)] + [PICTURE[:, ::-1]]
    for view, wanted in zip(made, expected, strict=True):
        np.testing.assert_array_equal(view, wanted)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 2, 3)])
def test_of_tiny_pictures_no_view_is_empty(shape):
    for view in views_of(np.zeros(shape, np.uint8), ["turns", "mirror", "crops"]):
        assert min(view.shape) >= 1
