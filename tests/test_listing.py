"""Lists of paths: text, CSV and Parquet say the same."""

from __future__ import annotations

import datetime
import json
import os

import pyarrow as pa
import pyarrow.parquet
import pytest

from lookalike.errors import CollectionError
from lookalike.listing import read_list


@pytest.fixture
def photos(tmp_path):
    for name in ("a.png", "sub/b.png", "with, comma.png", "é.png", "elsewhere/c.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"...")
    return tmp_path / "photos"


def listed(path, text, **options):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_list(path)


def refused(path, text=None):
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CollectionError) as caught:
        read_list(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Text -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_text_holds_a_path_a_line_in_the_order_of_the_list(photos, end):
    text = end.join(["sub/b.png", "", "a.png", "./sub/../a.png", "é.png", "# no comment"])
    entries = listed(photos / "list.txt", "\ufeff" + text)
    assert [entry.id for entry in entries] == ["sub/b.png", "a.png", "é.png", "# no comment"]
    assert [entry.outcome for entry in entries] == [None, None, None, "gone"]
    assert entries[0].source == ("file", str(photos / "sub" / "b.png"))
    assert (entries[0].size, entries[0].mtime_ns) == (3, (photos / "sub" / "b.png").stat().st_mtime_ns)
    assert (entries[0].label, entries[0].metadata) == (None, None)
    assert entries[3].reason.startswith(f"{photos}/list.txt/# no comment: no such file")


def test_paths_begin_at_the_lists_folder_and_those_outside_keep_their_whole_path(photos, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (photos / "lists").mkdir()
    text = f"../a.png\n{photos}/sub/b.png\n"
    assert [e.id for e in listed(photos / "lists" / "l.txt", text)] == [f"{photos}/a.png", f"{photos}/sub/b.png"]
    assert [e.id for e in listed(photos / "l.txt", f"a.png\n{photos}/sub/b.png\n{photos}/a.png")] == [
        "a.png",
        "sub/b.png",
    ]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_names_that_are_no_utf_8_are_found(photos):
    try:
        (photos / os.fsdecode(b"caf\xe9.png")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    for name, text in (("l.txt", b"caf\xe9.png"), ("l.csv", b"path,who\ncaf\xe9.png,\xe9")):
        [entry] = listed(photos / name, text)
        assert (entry.id, entry.outcome) == ("caf\\udce9.png", None)
        json.dumps(entry.metadata, ensure_ascii=False).encode()


def test_a_list_of_nothing_that_is_there_is_refused(photos):
    assert "none of its 2 files is there" in refused(photos / "l.txt", "x.png\ny.png")
    assert str(photos / "x.png") in refused(photos / "l.txt", "x.png\ny.png")
    assert "an empty list" in refused(photos / "l.txt", "\n\n")
    assert "an empty list" in refused(photos / "l.csv", "")
    assert "an empty list" in refused(photos / "l.csv", "path,label\n")
    assert "No such file" in refused(photos / "nowhere.csv")


# CSV ------------------------------------------------------------------------------------------------------------------


def test_the_columns_of_a_csv_are_path_label_and_metadata(photos):
    text = 'who,Path,label,year\nann,sub/b.png,red,1999\n"bob ""b""","with, comma.png",,\ncid,a.png,blue,2001\n'
    entries = listed(photos / "l.csv", text)
    assert [(entry.id, entry.label, entry.metadata) for entry in entries] == [
        ("sub/b.png", "red", {"who": "ann", "year": "1999"}),
        ("with, comma.png", None, {"who": 'bob "b"', "year": ""}),
        ("a.png", "blue", {"who": "cid", "year": "2001"}),
    ]


@pytest.mark.parametrize("name", ["path", "FILE", " filename", "image"])
def test_the_path_column_is_known_by_several_names(photos, name):
    [entry] = listed(photos / "l.csv", f"who,{name}\nann,a.png\n")
    assert (entry.id, entry.metadata) == ("a.png", {"who": "ann"})


def test_without_a_known_name_the_first_column_holds_the_paths(photos):
    [entry] = listed(photos / "l.csv", "picture,caption\na.png,an a\n")
    assert (entry.id, entry.metadata) == ("a.png", {"caption": "an a"})


def test_a_csv_without_a_header_loses_no_line(photos):
    entries = listed(photos / "l.csv", "a.png,1\nsub/b.png,2\n")
    assert [(entry.id, entry.metadata) for entry in entries] == [
        ("a.png", {"column 2": "1"}),
        ("sub/b.png", {"column 2": "2"}),
    ]


def test_rows_of_a_csv_may_be_short_or_empty_but_not_long(photos):
    entries = listed(photos / "l.csv", "path,who\na.png\n\n,nobody\nsub/b.png,ann\n")
    assert [(entry.id, entry.metadata) for entry in entries] == [("a.png", None), ("sub/b.png", {"who": "ann"})]
    message = refused(photos / "l.csv", "path,who\na.png,ann\nwith, comma.png,bob\n")
    assert "3 fields in line 3, but 2 in its header" in message


def test_the_first_of_two_lines_for_one_file_counts(photos):
    entries = listed(photos / "l.csv", "path,who\na.png,ann\nsub/../a.png,bob\n")
    assert [entry.metadata for entry in entries] == [{"who": "ann"}]


def test_a_csv_that_is_none_is_refused(photos):
    assert "not a list that can be read" in refused(photos / "l.csv", 'path\n"a.png\n')
    assert "not a list that can be read" in refused(photos / "l.csv", "path\n" + "x" * 200_000)


# Parquet --------------------------------------------------------------------------------------------------------------


def test_a_parquet_file_says_the_same_with_types(photos):
    table = pa.table(
        {
            "year": [1999, None, 2001],
            "path": ["sub/b.png", None, "a.png"],
            "label": [3, 4, None],
            "day": [datetime.date(2020, 1, 2)] * 3,
            "score": [0.5, 1.0, float("nan")],
            "tags": [["x", "y"], [], None],
            "box": [{"w": 1}] * 3,
            "raw": [b"\xff"] * 3,
        }
    )
    pyarrow.parquet.write_table(table, photos / "l.parquet")
    first, second = read_list(photos / "l.parquet")
    rest = {"day": "2020-01-02", "box": {"w": 1}, "raw": "\\xff"}
    assert (first.id, first.label) == ("sub/b.png", "3")
    assert first.metadata == {"year": 1999, "score": 0.5, "tags": ["x", "y"], **rest}
    assert (second.id, second.label) == ("a.png", None)
    assert second.metadata == {"year": 2001, "score": None, "tags": None, **rest}
    json.dumps([first.metadata, second.metadata], allow_nan=False)


def test_a_parquet_file_without_paths_is_refused(photos):
    pyarrow.parquet.write_table(pa.table({"x": [1, 2]}), photos / "l.parquet")
    assert "its column 'x' holds int, not paths" in refused(photos / "l.parquet")
    assert "not a list that can be read" in refused(photos / "l.parquet", b"PAR1 no more")
