"""The choice of a re-ranking: what is better beyond chance, how long a choice is kept, and of how few none is made."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike import build_index
from lookalike.errors import UsageError
from lookalike.index.artifacts import RERANK_AUTO
from lookalike.search.rerank.auto import (
    CATEGORIES_FROM,
    CATEGORY,
    FIRST_HIT,
    MIN_IMAGES,
    AutoSelection,
    _Test,
    select_rerank,
    significant_winner,
)

#: Ninety of a hundred lose nothing, and ten gain 1: .1 on average, beyond chance.
GAINS = np.r_[np.ones(10), np.zeros(90)]


def figures(first, category):
    return {FIRST_HIT: np.asarray(first, float), CATEGORY: np.asarray(category, float)}


def winner(plain, **others):
    return significant_winner({"none": figures(*plain), **{name: figures(*one) for name, one in others.items()}})


KINDS = np.full(100, CATEGORIES_FROM)
SAME = np.full(100, 0.5)


def test_what_is_better_beyond_chance_is_taken_and_else_nothing():
    assert winner((SAME, KINDS), better=(SAME, KINDS + 0.1)) == "better"
    assert winner((SAME, KINDS), same=(SAME, KINDS)) == "none"
    half = np.tile([0.4, -0.35], 50)  # better on average, and not surely
    assert winner((SAME, KINDS), unsure=(SAME, KINDS + half)) == "none"
    assert (
        winner((SAME, KINDS), good=(SAME, KINDS + 0.1), best=(SAME, KINDS + 0.2), unsure=(SAME, KINDS + half)) == "best"
    )


def test_who_surely_loses_first_answers_is_not_taken_whatever_else_it_finds():
    assert winner((SAME, KINDS), loses=(SAME - 0.1 * GAINS, KINDS + 0.5)) == "none"
    unsure = np.zeros(100)
    unsure[0] = -0.5  # one of a hundred, which chance may leave out
    assert winner((SAME, KINDS), unsure=(SAME + unsure, KINDS + 0.1)) == "unsure"


def test_where_there_are_no_categories_the_first_answers_decide():
    below = KINDS - 0.2
    assert winner((SAME, below), kinds=(SAME, below + 0.1), first=(SAME + 0.1, below)) == "first"
    # From .3 on, of whichever is tried and fair, there are.
    assert winner((SAME, below), kinds=(SAME, KINDS), first=(SAME + 0.1, below)) == "kinds"
    assert winner((SAME, below), unfair=(SAME - 0.1, KINDS + 0.5), first=(SAME + 0.1, below)) == "first"


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    images = np.random.default_rng(0).integers(1, 256, (MIN_IMAGES * 4, 4, 4), np.uint8)
    few = build_index(images[:-1], "pixels", tmp_path_factory.mktemp("few") / "few")
    return few, build_index(images, "pixels", tmp_path_factory.mktemp("many") / "many")


def test_of_few_images_none_is_chosen(index):
    few, enough = index
    with pytest.raises(UsageError, match="for which 31 images are too few; index at least 32, or name one yourself"):
        _Test(few, 0)
    assert not _Test(enough, 0).has_details  # so small that there are none


@pytest.mark.parametrize(("images", "is_kept"), [(31, True), (26, True), (25, False), (38, True), (39, False)])
def test_a_choice_is_kept_until_a_fifth_has_come_or_gone(index, images, is_kept):
    few, _ = index
    kept = AutoSelection("none", {"none": {FIRST_HIT: 1.0, CATEGORY: 0.5}}, 8, images)
    RERANK_AUTO.keep(few.path, few.manifest, vars(kept), {})
    notes = []
    if is_kept:
        assert select_rerank(few, on_note=notes.append) == kept
        assert notes == [
            "re-ranking chosen by 8 augmented copies, without labels: none; nothing that was tried is better beyond chance"
        ]
    else:
        with pytest.raises(UsageError, match="too few"):
            select_rerank(few, on_note=notes.append)
