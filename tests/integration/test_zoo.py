"""Everything that a messy disk holds, through one `lookalike index`: each file accounted for, the good ones right."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

import lookalike
from paths import TESTS
from program import check_outcomes, misplaced, result
from program import lookalike as lookalike_command
from zoo import OPTIONS, TOO_LARGE, make_zoo, paths_of, saved, scene

GOOD = ("indexed", "duplicate", "caption")

# Counts what a run leaves open: files, and processes.
LEAKS = """
import sys
import held
import lookalike
from lookalike.imaging.limits import Limits

def index(folder, path):
    lookalike.build_index(lookalike.open_collection(folder, size=24, limits=Limits(seconds=2)), "pixels", path)

folder, once, twice = sys.argv[1:]
index(f"{folder}/formats", once)  # what Lance opens for good, it has opened now
before = held.files(), held.children()
index(folder, twice)
after = held.files(), held.children()
assert before == after, (before, after)
"""


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Index the zoo once: its folder, the index, what may come of it, what the command said."""
    folder, index = tmp_path_factory.mktemp("zoo"), tmp_path_factory.mktemp("index") / "zoo"
    expected = make_zoo(folder)
    return folder, index, expected, result("index", folder, "-o", index, *OPTIONS)


# The generated zoo -----------------------------------------------------------------------------------------------------


def test_each_file_ends_in_one_of_the_outcomes_that_fit_it(zoo):
    _, index, expected, _ = zoo
    outcomes = check_outcomes(result("files", "-i", index))
    wrong = {name: outcomes.get(name, "not there") for name in expected if outcomes.get(name) not in expected[name]}
    assert not wrong
    assert set(outcomes) == set(expected)


def test_the_summary_counts_what_is_stored(zoo):
    _, index, _, summary = zoo
    counts = Counter(file["outcome"] for file in result("files", "-i", index))
    assert {outcome: n for outcome, n in summary["outcomes"].items() if n} == counts
    assert summary["failed"] == sum(n for outcome, n in counts.items() if outcome not in GOOD)


def test_good_files_have_the_vectors_that_they_have_alone(zoo):
    folder, index, _, _ = zoo
    opened = lookalike.open_index(index)
    assert len(opened.ids) == len(opened.descriptors) > 60
    assert not misplaced(index, paths_of(folder), skip={TOO_LARGE})
    assert result("verify", "-i", index) == {"ok": True, "problems": [], "rows": len(result("files", "-i", index))}


def test_a_file_is_explained_by_name(zoo):
    _, index, _, _ = zoo
    for name, word in {
        "cut/baseline-50.jpg": "truncated",
        "bombs/dimensions.png": "pixels",
        "odd/two\nlines.png": "indexed",
    }.items():
        assert word in lookalike_command("why", name, "-i", index)


def test_nothing_is_left_open(zoo, tmp_path):
    folder, *_ = zoo
    script = [sys.executable, "-c", LEAKS, folder, tmp_path / "once", tmp_path / "twice"]
    here = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(script, env=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Once more -------------------------------------------------------------------------------------------------------------


def test_bytes_known_to_be_bad_are_tried_again_only_when_asked(tmp_path):
    folder, index = tmp_path / "photos", tmp_path / "index"
    folder.mkdir()
    (folder / "good.png").write_bytes(saved(scene(0), "PNG"))
    bad = folder / "bad.png"
    bad.write_bytes(b"no picture".ljust(20_000))
    stamp = bad.stat()
    assert result("index", folder, "-o", index, *OPTIONS)["outcomes"] == {"indexed": 1, "unsupported": 1}
    bad.write_bytes(saved(scene(1), "PNG").ljust(20_000, b"\0"))  # good now; its size and time don't tell
    os.utime(bad, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    again = result("index", folder, "-o", index, *OPTIONS)
    assert (again["indexed"], again["unchanged"], again["failed"]) == (0, 1, 1)
    assert again["outcomes"] == {"indexed": 1, "unsupported": 1}
    assert result("index", folder, "-o", index, *OPTIONS, "--retry")["outcomes"] == {"indexed": 2}


# Real files that lie beside a developer's checkout ---------------------------------------------------------------------


def test_real_files_good_and_bad_are_accounted_for(shared, tmp_path):
    folder, index = tmp_path / "real", tmp_path / "index"
    folder.mkdir()
    for name in ("exif-orientation", "near-duplicates"):
        (folder / name).symlink_to(shared(name))
    hostile = shared("hostile")
    for n, path in enumerate(sorted(path for path in hostile.rglob("*") if path.is_file())[::8]):
        (folder / f"hostile-{n}-{path.name}").symlink_to(path)
    result("index", folder, "-o", index, *OPTIONS)
    outcomes = check_outcomes(result("files", "-i", index))
    assert set(outcomes) == set(paths_of(folder))
    assert not misplaced(index, paths_of(folder))
    assert result("verify", "-i", index)["ok"]

    opened = lookalike.open_index(index)
    for scenery in ("Landscape", "Portrait"):
        turned = [i for i, name in enumerate(opened.ids) if name.startswith(f"exif-orientation/{scenery}_")]
        assert len(turned) == 9
        apart = np.abs(opened.descriptors[turned] - opened.descriptors[turned[0]]).max()
        assert apart < 0.1, f"{scenery}: one scene stored in nine ways"
