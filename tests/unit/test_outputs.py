"""An id is not a path: whatever it holds, what is made of it lies below one folder, and no two are one file."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.errors import UsageError
from lookalike.outputs import check_outputs, output_names, output_paths

HOSTILE = [
    "/etc/passwd", "../../evil", "..", ".", "", "/", "a/../../b", "C:\\windows\\x", "\\\\host\\share\\x", "con", "NUL.txt",
    "com1.tar.gz", "COM¹.png", "a:b", "a?*b", "x" * 400, "/".join("d" * 90), "trailing. ", " lead", "a\0b", "a\nb", "\x1b[2J",
    "\u202egnp.exe", "é", "e\u0301", "ﬁ", "fi", "A", "a", "a.png", "a.jpg", "A.JPG", "a.png/x", "~root/x", "-rf", "\udce9.png",
]  # fmt: skip


def check(names, count, ending):
    assert len(names) == count
    for name in names:
        name.encode()
        assert not os.path.isabs(name)
        assert not PureWindowsPath(name).is_absolute() and not PureWindowsPath(name).drive  # noqa: PT018
        parts = name.split("/")
        assert not {"", ".", ".."}.intersection(parts)
        assert not any(PureWindowsPath(part).is_reserved() for part in parts), name
        assert not any(
            set(part) & set('<>:"|?*\\') or part.endswith((" ", ".")) or min(part) < " " for part in parts
        ), name
        assert all(len(part.encode()) <= 255 for part in parts)
        assert len(name.encode()) < 4096
        assert name.endswith(ending)
    folded = [unicodedata.normalize("NFC", name).casefold() for name in names]
    assert len(set(folded)) == count, "on a system that takes A for a, too"
    folders = {"/".join(name.split("/")[:i]) for name in folded for i in range(1, name.count("/") + 1)}
    assert not folders & set(folded), "a file lies where another needs a folder"


@pytest.mark.parametrize("ending", [".png", ""])
def test_whatever_an_id_holds(ending):
    check(output_names(HOSTILE, ending), len(HOSTILE), ending)


@pytest.mark.slow
@given(st.lists(st.text(st.characters(), max_size=60), max_size=12), st.sampled_from([".png", ""]))
def test_any_text_makes_names_that_any_system_takes(ids, ending):
    check(output_names(ids, ending), len(ids), ending)


def test_plain_ids_keep_their_names():
    assert output_names(["a.jpg", "sub/b.png", "grün/ü.tif"], ".png") == ["a.png", "sub/b.png", "grün/ü.png"]
    assert output_names(["a.jpg", "a.png"], "") == ["a.jpg", "a.png"]


def test_what_exists_is_refused_and_inputs_always(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.png").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"sub/a\.png: exists already; .*--overwrite"):
        output_paths(["sub/a.jpg"], tmp_path, ".png")
    assert output_paths(["sub/a.jpg"], tmp_path, ".png", overwrite=True) == [tmp_path / "sub/a.png"]
    with pytest.raises(UsageError, match="one of the images that are read"):
        output_paths(["sub/a.jpg"], tmp_path, ".png", inputs=[tmp_path / "sub/a.png"], overwrite=True)
    (tmp_path / "out").symlink_to("sub")
    with pytest.raises(UsageError, match="a link lies there"):
        output_paths(["out/b.jpg"], tmp_path, ".png", overwrite=True)


def test_two_outputs_of_one_name_and_a_broken_link_are_refused(tmp_path):
    with pytest.raises(UsageError, match="given twice"):
        check_outputs(tmp_path / "a.png", None, Path(f"{tmp_path}/./a.png"), overwrite=True)
    (tmp_path / "l.png").symlink_to("nowhere.png")
    with pytest.raises(UsageError, match="a link lies there"):
        check_outputs(tmp_path / "l.png", overwrite=True)
