"""Lists of paths: text, CSV and Parquet say the same."""

from __future__ import annotations

import csv
import datetime
import json
import os
import unicodedata

import pyarrow as pa
import pyarrow.parquet
import pytest

from lookalike.collections.file_list import read_list
from lookalike.collections.tasks import read_entry
from lookalike.errors import CollectionError, ImageError


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
    assert "line 2 can't be told apart (unexpected end of data; separator comma)" in refused(
        photos / "l.csv", 'path\n"a.png\n'
    )
    quoted = 'path,caption\na.png,"a 5"" vase"\nsub/b.png,"said "hi" to"\n'
    said = refused(photos / "l.csv", quoted)
    assert "line 3 can't be told apart" in said
    assert "sub/b.png" in said, "the line is shown"


# Separators, encodings, columns ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_table_as_any_spreadsheet_writes_it(photos, separator, encoding):
    rows = [["note", "path", "label"], ['"a, b; c | d\te"', "a.png", "Grüße"], ["", "sub/b.png", "x"]]
    text = "\r\n".join(separator.join(row) for row in rows) + "\r\n"
    for name in ("l.csv", "l.tsv"):
        (photos / name).write_bytes(text.encode(encoding))
        first, second = read_list(photos / name)
        assert (first.id, first.label, first.metadata) == ("a.png", "Grüße", {"note": "a, b; c | d\te"})
        assert (second.id, second.label, second.metadata) == ("sub/b.png", "x", {"note": ""})


def test_excel_says_its_separator_in_a_line_of_its_own(photos):
    assert [e.id for e in listed(photos / "l.csv", "sep=;\r\npath;note\r\na.png;1,5\r\n")] == ["a.png"]


@pytest.mark.parametrize(
    "text", [",file_name,label\n0,a.png,rose\n1,sub/b.png,tulip\n", "n;where;label\n0;a.png;rose\n1;sub/b.png;tulip\n"]
)
def test_the_column_of_the_paths_is_found_by_its_name_or_by_the_files(photos, text):
    assert [(e.id, e.label, e.outcome) for e in listed(photos / "l.csv", text)] == [
        ("a.png", "rose", None), ("sub/b.png", "tulip", None),
    ]  # fmt: skip


def test_columns_can_be_named_and_a_name_that_is_not_there_is_told(photos):
    text = "path;thumb;species;label\nold.png;a.png;rose;1\n"
    (photos / "l.csv").write_text(text)
    (entry,) = read_list(photos / "l.csv", "Thumb", "species")
    assert (entry.id, entry.label, entry.metadata) == ("a.png", "rose", {"path": "old.png", "species": "rose"})
    with pytest.raises(
        CollectionError, match=r"no column 'photo' in its header \(separator semicolon\); it has: path, thumb"
    ):
        read_list(photos / "l.csv", "photo")


def test_names_in_the_bytes_of_an_old_system_are_found(photos):
    name = os.fsdecode("größe.png".encode("cp1252"))
    (photos / name).write_bytes((photos / "a.png").read_bytes())
    (photos / "l.csv").write_bytes("path,label\ngröße.png,groß\n".encode("cp1252"))
    (entry,) = read_list(photos / "l.csv")
    assert (entry.outcome, entry.label) == (None, "groß")


def test_accents_count_the_same_in_both_forms(photos):
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, "Müller.png")
        (photos / name).write_bytes((photos / "a.png").read_bytes())
        other = unicodedata.normalize("NFD" if form == "NFC" else "NFC", "Müller.png")
        (entry,) = listed(photos / "l.csv", f"path\n{other}\n")
        assert (entry.outcome, entry.id) == (None, "M\u00fcller.png")
        (photos / name).unlink()


def test_files_inside_a_parquet_file_are_read(photos):
    files = [(photos / name).read_bytes() for name in ("a.png", "sub/b.png")]
    image = pa.array([{"bytes": files[0], "path": "x/a.png"}, {"bytes": files[1], "path": None}, None])
    table = pa.table({"image": image, "label": [0, 1, 2], "split": ["train"] * 3})
    pyarrow.parquet.write_table(table, photos / "l.parquet", row_group_size=1)
    first, second = read_list(photos / "l.parquet")
    assert [(e.id, e.label, e.metadata, e.size) for e in (first, second)] == [
        ("000000-a.png", "0", {"split": "train"}, len(files[0])), ("000001", "1", {"split": "train"}, len(files[1])),
    ]  # fmt: skip
    assert [read_entry(e, e.id) for e in (first, second, first)] == [*files, files[0]]
    pyarrow.parquet.write_table(pa.table({"raw": files}), photos / "l.parquet")
    assert [read_entry(e, e.id) for e in read_list(photos / "l.parquet")] == files
    with pytest.raises(ImageError, match="changed since it was listed"):
        read_entry(first, "l.parquet/000000")


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


# Lists as other programs and systems write them -----------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-32", "utf-32-be"])
def test_a_wide_encoding_is_told_by_its_zeros_where_it_doesnt_say_so(photos, encoding):
    for name, text in (("l.txt", "a.png\nsub/b.png"), ("l.csv", "path,label\na.png,日本\nsub/b.png,\n")):
        (photos / name).write_bytes(text.encode(encoding))
        assert [entry.id for entry in read_list(photos / name)] == ["a.png", "sub/b.png"]
    assert read_list(photos / "l.csv")[0].label == "日本"


@pytest.mark.parametrize("ending", [".txt", ".csv"])
def test_paths_are_found_as_they_were_meant(photos, ending):
    """Blanks, quotes, marks in the middle, addresses, backslashes, bytes of Windows: none is part of the name."""
    for name in ("Bücher/ä.png", "b c.png", "100%.png", " lead.png"):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_bytes((photos / "a.png").read_bytes())
    given = {
        " a.png ": "a.png",
        "\ufeffsub/b.png": "sub/b.png",
        "sub\\b.png": "sub/b.png",
        ".\\Bücher\\ä.png": "Bücher/ä.png",
        f"file://{photos}/b%20c.png": "b c.png",
        f"file://localhost{photos}/100%25.png": "100%.png",
        f"file:{photos}/a.png": "a.png",
        "100%.png": "100%.png",
        " lead.png": " lead.png",
        "'b c.png'": "b c.png",
    }
    for wanted, right in given.items():
        text = f"path\n{wanted}\n" if ending == ".csv" else f"{wanted}\n"
        assert [(e.id, e.outcome) for e in listed(photos / f"l{ending}", text)] == [(right, None)], wanted
    (photos / f"l{ending}").write_bytes("path\nBücher/ä.png\n".encode("cp1252"))
    assert [e.id for e in read_list(photos / f"l{ending}") if e.outcome is None] == ["Bücher/ä.png"]


def test_a_path_keeps_its_id_while_its_disk_is_out(photos):
    text = "path\n sub\\b.png\na.png\n"
    before = [entry.id for entry in listed(photos / "l.csv", text)]
    (photos / "sub").rename(photos / "away")
    assert [(entry.id, entry.outcome) for entry in read_list(photos / "l.csv")] == [
        (before[0], "gone"),
        (before[1], None),
    ]


def test_lines_end_as_any_system_or_find_print0_ends_them(photos):
    for end in ("\n", "\r\n", "\r", "\0"):
        (photos / "l.txt").write_bytes(f"a.png{end}sub/b.png{end}".encode())
        assert [entry.id for entry in read_list(photos / "l.txt")] == ["a.png", "sub/b.png"], repr(end)


def test_a_table_may_begin_with_empty_lines_and_hold_a_long_field(photos):
    entries = listed(photos / "l.csv", "\n\nPath,LABEL,note\na.png,x," + "y" * 200_000 + "\n")
    assert [(e.id, e.label, len(e.metadata["note"])) for e in entries] == [("a.png", "x", 200_000)]
    assert csv.field_size_limit() == 131_072, "which is the whole process's"


def test_a_parquet_file_is_read_whatever_its_other_columns_hold(photos):
    data = (photos / "a.png").read_bytes()
    odd = {
        "ns": pa.array([1, None], pa.timestamp("ns")),
        "far": pa.array([2**52, 0], pa.timestamp("ms")),
        "time": pa.array([7, 8], pa.time64("ns")),
        "span": pa.array([5, 6], pa.duration("ns")),
        "nested": pa.array([{"t": 1}, None], pa.struct([("t", pa.timestamp("ns"))])),
    }
    pq = pyarrow.parquet
    pq.write_table(pa.table({"n": [1, 2], **odd, "where": ["a.png", "sub/b.png"]}), photos / "l.parquet")
    entries = read_list(photos / "l.parquet")
    assert [entry.id for entry in entries] == ["a.png", "sub/b.png"], "the first column that names files"
    assert entries[0].metadata["ns"] == "1970-01-01T00:00:00"
    # A data set of Hugging Face: names of files that lie in it, and rows without one.
    images = pa.array([{"bytes": data, "path": "x.png"}, {"bytes": None, "path": None}])
    pq.write_table(pa.table({"file_name": ["x.png", "y.png"], "image": images}), photos / "l.parquet")
    assert [(entry.id, entry.source[0]) for entry in read_list(photos / "l.parquet")] == [("000000-x.png", "parquet")]
