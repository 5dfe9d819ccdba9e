"""What it means that nothing stands out: by hand, and on collections in which views are found or overlooked."""

import numpy as np
import pytest

from lookalike.neighbors.exact import Database
from lookalike.search.calibration import DistanceCalibration
from lookalike.search.rejection import (
    VIEWS,
    WAYS,
    MatchConfidence,
    RejectionRates,
    assess_match,
    estimate_rejection_rates,
    show,
)

RNG = np.random.default_rng(2)
POINTS = RNG.normal(size=(400, 20)).astype(np.float32)
DATABASE = Database(POINTS, "euclidean")
MEANING = DistanceCalibration(POINTS, DATABASE)


def found_again(rows, _):
    return POINTS[rows] + np.float32(0.01)


def overlooked_in_a_scene(rows, way):
    """In part they are as they were; in a scene they could be anything."""
    if way == "in part":
        return found_again(rows, way)
    return POINTS[rows] + 3 * np.random.default_rng(0).normal(size=(len(rows), 20)).astype(np.float32)


def heard(views):
    return estimate_rejection_rates(views, lambda: POINTS, DATABASE)


def verdict(asked, silence):
    near = DATABASE.nearest(asked, 50)[1][0]
    return assess_match(near, lambda: DATABASE.distances(asked)[0], len(POINTS), MEANING, lambda: silence)


def met(wrong, right, seen, astray=(0, 0)):
    """Of ten views each way, so many."""
    return RejectionRates(
        *(np.array([[i < n for i in range(10)] for n in counts]) for counts in (wrong, right, seen, astray))
    )


@pytest.mark.parametrize(
    ("wrong", "right", "believed"),
    [((1, 0), (5, 10), True), ((2, 0), (10, 10), False), ((0, 2), (10, 10), False), ((0, 0), (4, 10), False)],
)
def test_it_is_trusted_as_far_as_each_way_bears_it_out(wrong, right, believed):
    assert met(wrong, right, (9, 9)).is_trusted == believed


@pytest.mark.parametrize(
    ("seen", "astray", "shown"),
    [
        ((3, 3), (0, 0), True), ((2, 9), (0, 0), False), ((9, 2), (0, 0), False),
        ((6, 9), (3, 4), True), ((6, 9), (4, 0), False), ((6, 9), (0, 5), False),
    ],
)  # fmt: skip
def test_a_gap_is_told_where_views_stand_out_by_one_and_twice_as_often_as_without_their_originals(seen, astray, shown):
    assert met((0, 0), (10, 10), seen, astray).shows_gaps == shown
    assert not RejectionRates(*np.zeros((4, 2, 0), np.bool_)).shows_gaps


def test_what_cannot_be_told_is_said_where_anybody_would_ask():
    assert met((5, 0), (10, 10), (4, 9)).doubt() == (
        "whether it is here can't be told: of images here shown in a scene, only 40% stand out"
    )
    assert "in part, only 20%" in met((0, 5), (10, 10), (9, 2)).doubt()
    assert met((9, 9), (10, 10), (2, 1)).doubt() == ""  # images of kinds


def test_views_are_asked_for_with_their_originals_there_and_taken_away():
    sure, weak = heard(found_again), heard(overlooked_in_a_scene)
    assert sure.wrong.shape == (len(WAYS), VIEWS)
    assert (sure.wrong.mean(), sure.seen.mean()) == (0, 1)
    assert sure.astray.mean() < 0.1
    assert sure.shows_gaps
    assert not weak.shows_gaps
    assert sure.right.mean() > 0.9
    assert sure.is_trusted
    assert weak.wrong[0].mean() > 0.5 > weak.wrong[1].mean() == 0
    assert not weak.is_trusted


def test_nothing_is_said_only_where_silence_is_trusted():
    stranger = np.random.default_rng(5).normal(size=(1, 20)).astype(np.float32)
    sure, weak = heard(found_again), heard(overlooked_in_a_scene)
    assert verdict(stranger, sure) == MatchConfidence(
        True,
        "Probably not here: no answer stands out, as one does for 100% of images here, shown in a scene or in part",
    )
    kept_still = verdict(stranger, weak)
    assert not kept_still.nothing
    assert kept_still.message.startswith("whether it is here can't be told: of images here shown in a scene, only ")
    for silence in (sure, weak):
        assert verdict(POINTS[7:8] + np.float32(0.01), silence) == MatchConfidence()
        assert verdict(20 * stranger, silence) == MatchConfidence(
            True, "Nothing like it here: the nearest is farther than 99% of the images here are from theirs"
        )


def test_a_view_that_shows_nothing_and_a_few_images_tell_nothing():
    blank = heard(lambda rows, _: np.zeros((len(rows), 20), np.float32))
    assert blank.wrong.mean() == 0
    few = estimate_rejection_rates(found_again, lambda: POINTS[:8], Database(POINTS[:8], "euclidean"))
    assert (few.is_trusted, few.doubt()) == (False, "")


def test_images_are_shown_in_two_ways():
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    ways = [show(images, way) for way in WAYS]
    assert all(shown.shape == images.shape and (shown != images).any(axis=(1, 2, 3)).all() for shown in ways)
    assert (ways[0] != ways[1]).any(axis=(1, 2, 3)).all()
    assert (show(images, "in part") == ways[1]).all()
