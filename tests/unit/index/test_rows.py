"""Files that an index doesn't know, and why; and the collection of one that was moved."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from lookalike import build_index, open_collection, open_index
from lookalike.errors import UsageError
from lookalike.imaging.encode import save_image
from lookalike.index.reopen import collection_now

pytestmark = pytest.mark.slow  # each makes an index


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(3):
        save_image(np.full((4, 4), 50 + n, np.uint8), folder / f"{n}.png")
    return folder


@pytest.fixture
def index(photos):
    return build_index(photos, "pixels")


#: Of a file's name, why an index doesn't know it.
WHY = {
    "new.png": "it is newer than the last run; index again: lookalike index ",
    "none.png": "no such file in .*; lookalike files lists all it knows",
    ".hidden.png": r"its name or folder is hidden \(index with --hidden to take such files\)",
    ".folder/1.png": "its name or folder is hidden",
}


def test_why_a_file_is_not_known(photos, index):
    save_image(np.zeros((4, 4), np.uint8), photos / "new.png")
    for name, why in WHY.items():
        with pytest.raises(UsageError, match=rf"doesn't know it: {why}"):
            index.why(photos / name)
    assert index.why(photos / "1.png")["path"] == "1.png"


def test_of_an_index_of_some_files_a_pattern_may_be_why(photos, tmp_path):
    index = build_index(open_collection(photos, exclude=["2*"]), "pixels", tmp_path / "some")
    with pytest.raises(UsageError, match="--include or --exclude may leave it out, or it is newer than the last run"):
        index.why(photos / "2.png")


def test_a_folder_that_was_moved_with_its_index_inside_is_found(photos, index, tmp_path):
    assert collection_now(index).source == str(photos)
    shutil.move(photos, tmp_path / "elsewhere")
    moved = open_index(tmp_path / "elsewhere" / ".lookalike")
    assert collection_now(moved).source == str(tmp_path / "elsewhere")


def test_an_index_beside_its_folder_does_not_take_another_folder_for_it(photos, tmp_path):
    index = build_index(photos, "pixels", tmp_path / "other" / "index")
    assert collection_now(index).source == str(photos)
    shutil.move(photos, tmp_path / "elsewhere")
    assert collection_now(index) is None
