"""The whole hostile set of other projects' tests, and the zoo with every frame: nothing stops, hangs or passes in silence."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

import lookalike
from program import check_outcomes, held, misplaced, result
from zoo import OPTIONS, TOO_LARGE, make_zoo, paths_of

#: Where good PNGs lie in the hostile set: the pictures that decoders are compared by.
REFERENCES = ("image-rs/reference/", "jpeg-decoder/tests/reftest/images/mozilla/")


@pytest.fixture(scope="module")
def hostile(shared, tmp_path_factory):
    index = tmp_path_factory.mktemp("index") / "hostile"
    folder = shared("hostile")
    result("index", folder, "-o", index, *OPTIONS)
    return folder, index, check_outcomes(result("files", "-i", index))


def test_each_hostile_file_is_accounted_for(hostile):
    folder, index, outcomes = hostile
    there = {os.path.relpath(Path(at, name), folder) for at, _, names in os.walk(folder) for name in names}
    assert set(outcomes) == {name for name in there if not any(part.startswith(".") for part in name.split("/"))}
    print(Counter(outcomes.values()))
    assert held(index)


def test_the_good_among_the_hostile_have_the_vectors_that_they_have_alone(hostile):
    folder, index, outcomes = hostile
    assert Counter(outcomes.values())["indexed"] > 300
    assert not misplaced(index, paths_of(folder))


def test_pictures_that_decoders_are_compared_by_are_read(hostile):
    _, _, outcomes = hostile
    references = {n: o for n, o in outcomes.items() if n.startswith(REFERENCES) and n.endswith(".png")}
    assert len(references) > 50
    left_out = {n: o for n, o in references.items() if o not in ("indexed", "duplicate", "blank")}
    assert not left_out


def test_a_second_run_over_hostile_files_reads_nothing(hostile):
    folder, index, outcomes = hostile
    before = held(index)
    again = result("index", folder, "-o", index, *OPTIONS)
    assert (again["indexed"], again["removed"], again["renamed"]) == (0, 0, 0)
    assert again["unchanged"] + again["failed"] == len(outcomes)
    assert held(index) == before


@pytest.mark.parametrize("which", ["zoo", "hostile"])
def test_every_frame_of_bad_files_is_accounted_for_too(which, shared, tmp_path):
    folder, index = tmp_path / "zoo", tmp_path / "index"
    if which == "zoo":
        folder.mkdir()
        expected = make_zoo(folder)
    else:
        folder, expected = shared("hostile"), {}
    result("index", folder, "-o", index, *OPTIONS, "--frames", "each")
    outcomes = check_outcomes(result("files", "-i", index))
    first_frames = {name for name in outcomes if "#" not in name.rpartition("/")[2]}
    assert expected.keys() <= outcomes.keys()
    assert len(first_frames) < len(outcomes), "no animation"
    if which == "zoo":
        assert outcomes["beside/100000-frames.gif"] == "bomb"
        assert outcomes["beside/bomb-in-frame-2.gif"] == "bomb"
        assert outcomes["formats/animation.gif#1"] == outcomes["formats/pages.tif#1"] == "indexed"
    held(index)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_nothing(workers, tmp_path_factory, tmp_path):
    folder = tmp_path / "zoo"
    folder.mkdir()
    make_zoo(folder)
    rows = []
    for n in (2, workers):
        index = tmp_path / str(n)
        result("index", folder, "-o", index, *OPTIONS, "--workers", n)
        rows.append({key: row for key, row in held(index).items() if key[0] != TOO_LARGE})
    assert rows[0] == rows[1]
    assert len(lookalike.open_index(index)) > 60
