"""The self-test: figures worked out by hand, that no label is needed, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lookalike.encoders.postprocess import Projection
from lookalike.encoders.registry import create
from lookalike.errors import UsageError
from lookalike.neighbors.sampling import sample_rows
from lookalike.selection.held_out import ALL, GROUPS, LEFT, RIGHT, SCENE, VIEWED, make_views
from lookalike.selection.selftest import Trial, _list_lengths, paired_difference, run_trial, self_test, trial_of


def on_a_line(places, copies, originals):
    """A trial in which images lie at places on a line; distances are differences."""

    def table(x):
        return np.stack([np.asarray(x, np.float32), np.ones(len(x), np.float32)], axis=1)

    return Trial(table(places), np.array(originals), {ALL: table(copies)}, "euclidean", {"turn": 10.0})


def test_figures_by_hand():
    # Two kinds, at 0, 1, 2 and at 10, 11.5, 13. The copy of image 0 stays near it; that of image 3 falls among the others.
    trial = on_a_line([0, 1, 2, 10, 11.5, 13], [0.2, 1.9], [0, 3])
    test = run_trial(trial, lists=[1, 2, 3])
    assert (test.queries, test.database) == (2, 6)
    assert test.per_query["first hit"].tolist() == [1, 0]
    assert test.per_query["reciprocal rank"].tolist() == pytest.approx([1, 1 / 4])
    assert test.figures["first hit"] == 0.5
    # Nearest 2 of image 0 without it: 1, 2, and of its copy: 1, 2. Of image 3: 4, 5, and of its copy: 2, 1.
    assert test.per_query["agreement@2"].tolist() == [1, 0]
    # The nearest of image 0 is 1, whose other nearest 2 without 0 and itself are 2, 3: of {1, 2} without 1 only 2 is there.
    # The nearest of image 3 is 4; without 3 and itself its nearest 2 are 5, 2; of {4, 5} without 4, 5 is there.
    assert test.per_query["neighbour agreement@2"].tolist() == [0.5, 0.5]
    assert test.per_query["category precision@2"].tolist() == [0.5, 0]
    assert test.first_hits == {}  # no group of families was tried alone


def test_lists_are_as_long_as_half_of_the_collection_and_as_its_shares():
    few = {"1%": 20, "5%": 100, "10%": 200}
    assert _list_lengths(2000, None) == {"10": 10, "100": 100, "1000": 1000, **few}
    assert "1000" not in _list_lengths(1999, None)
    assert _list_lengths(19, None) == {"1%": 1, "5%": 1, "10%": 2}
    assert _list_lengths(1, [0, 1, 2]) == {"1": 1}  # half of one is none, and a list has one


def test_groups_of_families_have_figures_of_their_own():
    trial = on_a_line([0, 1, 2, 10, 11.5, 13], [0.2, 1.9], [0, 3])
    trial.copies["moved"] = on_a_line([0], [0.1, 10.1], [0]).copies[ALL]
    trial.copies["coarse"] = on_a_line([0], [1.2, 10.1], [0]).copies[ALL]  # image 0 comes third of its copy: 1, 2, 0
    trial.copies["coarse"][0, 0] = 1.8
    test = run_trial(trial, lists=[2])
    assert test.first_hits == {"moved": 1, "coarse": 0.5}
    assert test.figures["reciprocal rank, moved"] == 1
    assert test.figures["reciprocal rank, coarse"] == pytest.approx((1 / 3 + 1) / 2)
    assert test.figures["first hit"] == 0.5  # of all families at once, as before
    assert "reciprocal rank, toned" not in test.figures


def test_all_three_ways_count_alike():
    trial = on_a_line([0, 1, 2, 10, 11.5, 13], [0.2], [0])
    other = on_a_line([0], [1.9], [0]).copies[ALL]  # finds 2, 1, then 0
    trial.copies.update({SCENE: other, LEFT: trial.copies[ALL], RIGHT: other})
    test = run_trial(trial, lists=[2])
    assert test.per_query["first hit"].tolist() == [1]
    assert test.per_query["self-retrieval MRR"].tolist() == [pytest.approx((1 + 1 / 3 + (1 + 1 / 3) / 2) / 3)]
    # Without image 0 itself all find 1 and 2, as it does; its nearest, 1, finds one of them.
    assert test.per_query["agreement@2"].tolist() == [1]
    assert test.per_query["category precision@2"].tolist() == [0.5]
    trial.copies[RIGHT] = on_a_line([0], [12], [0]).copies[ALL]  # finds 4, and 3 or 5
    assert run_trial(trial, lists=[2]).per_query["category precision@2"].tolist() == [
        pytest.approx((1 + 1 + 0) / 3 * 0.5)
    ]


def test_equal_distances_come_in_a_random_order():
    test = run_trial(on_a_line([5, 5, 5, 9], [5], [1]), lists=[1])
    assert test.figures["first hit"] == pytest.approx(1 / 3)
    assert test.figures["reciprocal rank"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


def test_the_nearest_other_is_on_the_list_whichever_of_equal_ones_it_is():
    # It is taken off the list again, so that nothing is left of a list of one.
    test = run_trial(on_a_line([5] * 40, [5] * 1000, [*range(20)] * 50), lists=[1, 4])
    assert test.figures["neighbour agreement@1"] == 0
    assert test.figures["neighbour agreement@4"] == pytest.approx(3 / 38, abs=0.01)


def test_distances_that_rounding_cannot_tell_apart_are_equal():
    # The copy is exactly where the original is, and nearer to the others than the last digits of 9,000 tell.
    test = run_trial(on_a_line([9000, 9000.001, 8999.999, 9100], [9000], [0]), lists=[1])
    assert test.figures["first hit"] == pytest.approx(1 / 3)


def test_a_post_processing_is_judged_on_the_same_descriptors():
    trial = on_a_line([0, 1, 2, 10, 11, 12], [0.2, 1.9], [0, 3])
    by_angle = Projection("centred", np.zeros(2, np.float32), np.eye(2, dtype=np.float32), unit=False)
    blind = Projection("blind", np.zeros(2, np.float32), np.zeros((2, 1), np.float32), unit=False)
    assert run_trial(trial, by_angle).figures["first hit"] == 0.5
    assert run_trial(trial, blind).figures["reciprocal rank"] <= 1  # all at one point: defined, not NaN


def test_a_blank_copy_finds_nothing():
    trial = on_a_line([0, 1, 2, 3], [0, 1], [0, 1])
    trial.copies[ALL][1] = 0
    assert run_trial(trial).per_query["first hit"].tolist() == [1, 0]
    trial.copies[ALL][0] = 0
    test = run_trial(trial, lists=[2])
    assert test.figures["agreement@2"] == test.figures["first hit"] == 0


def test_intervals_hold_the_figures_and_it_becomes_json(digits):
    test = self_test(create("hog").fit(digits[0]), digits[0], queries=30)
    for name, value in test.figures.items():
        low, high = test.intervals[name]
        assert 0 <= low <= value <= high <= 1
    assert set(test.first_hits) == set(GROUPS)
    assert json.loads(json.dumps(test.to_json()))["figures"] == test.figures
    assert test.queries == 30


def test_less_augmentation_is_found_more_often(digits):
    encoder = create("pixels").fit(digits[0])
    rates = [self_test(encoder, digits[0], {"turn": a}).figures["first hit"] for a in (1, 30, 90)]
    assert rates[0] > 0.95
    assert rates[0] > rates[1] > rates[2]


def test_it_repeats_and_the_seed_matters(digits):
    encoder = create("pixels").fit(digits[0])
    first, again, other = (self_test(encoder, digits[0], seed=s).to_json() for s in (0, 0, 1))
    assert first == again != other


def test_blank_images_are_left_out(digits):
    images = digits[0].copy()
    images[::2] = 7
    trial = trial_of(create("hog").fit(images), make_views(images))
    assert len(trial.database) == 100
    assert trial.database.any(axis=1).all()
    assert trial.places.tolist() == [*range(1, 200, 2)]
    held = make_views(images).originals
    assert (2 * trial.originals + 1).tolist() == [n for n in held if n % 2]
    assert {len(copies) for copies in trial.copies.values()} == {len(trial.originals)}


def test_too_few_images_are_refused(digits):
    encoder = create("hog").fit(digits[0])
    with pytest.raises(UsageError, match="at least 8 images, here are 3; give more images"):
        self_test(encoder, digits[0][:3])
    with pytest.raises(UsageError, match="at least 8 images that aren't blank to hog, here are 0"):
        self_test(encoder, np.zeros((20, 28, 28), np.uint8))


def test_a_sample_is_drawn_by_its_seed():
    assert sample_rows(100, 5, 1).tolist() == sample_rows(100, 5, 1).tolist() != sample_rows(100, 5, 2).tolist()
    assert len(set(sample_rows(100, 50, 0))) == 50


# Views ---------------------------------------------------------------------------------------------------------------


def test_views_show_the_held_out_images(digits):
    views = make_views(digits[0], queries=30)
    assert views.images is digits[0] or (views.images == digits[0]).all()
    assert set(views.shown_as) == {ALL, SCENE, LEFT, RIGHT, *GROUPS}
    assert {view.shape for view in views.shown_as.values()} == {(30, 28, 28)}
    assert len(set(views.originals)) == 30
    unchanged = make_views(digits[0], {"turn": 0}, queries=30)
    assert (unchanged.shown_as["moved"] == digits[0][unchanged.originals]).all()
    assert "toned" not in unchanged.shown_as  # no family of that group was asked for


def test_views_of_large_images_are_made_small_and_shown_large(monkeypatch):
    from lookalike.selection import held_out

    seen = []
    augment = held_out.augment

    def looked_at(images, *args, **kwargs):
        seen.append(images.shape[1:3])
        return augment(images, *args, **kwargs)

    monkeypatch.setattr(held_out, "augment", looked_at)
    images = np.random.default_rng(0).integers(0, 256, (12, 2 * VIEWED, VIEWED, 3), np.uint8)
    views = make_views(images)
    assert set(seen) == {(VIEWED, VIEWED // 2)}
    assert views.images.shape[1:3] == (2 * VIEWED, VIEWED)
    assert {view.shape[1:] for view in views.shown_as.values()} == {(2 * VIEWED, VIEWED, 3)}
    seen.clear()
    make_views(images[:, :VIEWED])
    assert set(seen) == {(VIEWED, VIEWED)}


def test_the_paired_difference_is_over_the_same_images(digits):
    encoder = create("pixels").fit(digits[0])
    easy, hard = (self_test(encoder, digits[0], {"turn": amount}) for amount in (1, 45))
    mean, low, high = paired_difference(easy, hard, "first hit")
    assert mean == pytest.approx(easy.figures["first hit"] - hard.figures["first hit"])
    assert 0 < low <= mean <= high
    # Of others it is told from the ends of both intervals.
    fewer = self_test(encoder, digits[0], {"turn": 45}, queries=20)
    mean, low, high = paired_difference(easy, fewer, "first hit")
    assert mean == pytest.approx(easy.figures["first hit"] - fewer.figures["first hit"])
    assert (low, high) == pytest.approx(
        (
            easy.intervals["first hit"][0] - fewer.intervals["first hit"][1],
            easy.intervals["first hit"][1] - fewer.intervals["first hit"][0],
        )
    )
