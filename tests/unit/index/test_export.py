"""That what is exported is the index, row by row, and can be read without lookalike."""

from __future__ import annotations

import csv
import io
import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lookalike import build_index, open_collection, open_index
from lookalike.cli.main import run
from lookalike.encoders.registry import TABLE
from lookalike.errors import IndexStoreError, UsageError
from lookalike.index.export import export
from quadrants import ENTRY, pictures

COLUMNS = ["id", "label", "caption", "metadata", "hash", "size", "width", "height"]


@pytest.fixture(autouse=True)
def table(monkeypatch):
    monkeypatch.setitem(TABLE, "quadrants", ENTRY)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make an index of names and texts that break a careless CSV, of a copy, a blank and a file that is no image."""
    folder = tmp_path_factory.mktemp("made")
    names = ["plain.png", 'comma, "quoted".png', "line\nbreak.png", "é.png", "copy.png", "blank.png"]
    for n, name in enumerate(names):
        (folder / name).write_bytes(saved(0 if name == "blank.png" else 1 if name == "copy.png" else n + 1))
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(saved(50))
    (folder / "notes.md").write_text("no image")
    (folder / "plain.txt").write_text('first line\nsecond, "line"')
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TABLE, "quadrants", ENTRY)
        build_index(folder, "pixels", workers=1)
        return build_index(folder, "quadrants", workers=1).path


def saved(value):
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def index(made):
    return open_index(made)


@pytest.mark.slow
def test_the_index_has_what_is_to_be_tested(index):
    assert len(index) == 6
    assert {row["outcome"] for row in index.files()} == {"indexed", "duplicate", "blank", "unsupported", "caption"}
    assert "caf\\udce9.png" in index.ids


@pytest.mark.slow
def test_parquet_is_the_index_row_by_row(index, tmp_path):
    file = tmp_path / "new folder" / "out.parquet"
    assert export(index, file) == [file]
    table = pq.read_table(file)
    assert table.column_names == [*COLUMNS, "quadrants"]
    assert table["id"].to_pylist() == index.ids
    assert np.array(table["quadrants"].to_pylist(), np.float32).tolist() == index.descriptors.tolist()
    facts = index.facts(range(len(index)))
    for name in ("label", "caption", "hash", "size", "width", "height"):
        assert table[name].to_pylist() == [fact[name] for fact in facts], name


@pytest.mark.slow
def test_npy_and_csv_are_the_index_row_by_row(index, tmp_path):
    written = export(index, str(tmp_path / "out.npy"))
    assert written == [tmp_path / "out.npy", tmp_path / "out.csv"]
    matrix = np.load(written[0], allow_pickle=False)
    assert (matrix.dtype, matrix.shape) == (np.float32, (6, 4))
    np.testing.assert_array_equal(matrix, index.descriptors)
    with written[1].open(newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    assert list(rows[0]) == COLUMNS
    assert [row["id"] for row in rows] == index.ids
    for row, fact in zip(rows, index.facts(range(len(index))), strict=True):
        assert row == {name: "" if fact[name] is None else str(fact[name]) for name in COLUMNS}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.csv", "out.npy"]


def test_through_another_encoder(index, tmp_path):
    pixels = index.with_encoder("pixels")
    (file,) = export(pixels, tmp_path / "out.parquet")
    table = pq.read_table(file)
    assert table.column_names[-1] == "pixels"
    assert table.num_rows == len(pixels)
    assert np.array(table["pixels"].to_pylist(), np.float32).tolist() == pixels.descriptors.tolist()


def test_metadata_is_json(tmp_path):
    (tmp_path / "a.png").write_bytes(saved(1))
    (tmp_path / "list.csv").write_text("path,jahr,ort\na.png,1999,München\n")
    index = build_index(tmp_path / "list.csv", "quadrants", tmp_path / "index", workers=1)
    (file,) = export(index, tmp_path / "out.parquet")
    (text,) = pq.read_table(file)["metadata"].to_pylist()
    assert json.loads(text) == {"jahr": "1999", "ort": "München"}
    _, file = export(index, tmp_path / "out.npy")
    assert "München" in file.read_text(encoding="utf-8")


def test_labels_and_images_that_are_no_files(tmp_path):
    images = open_collection(pictures((1, 2, 3, 4), (5, 6, 7, 8)), labels=["one", "two"])
    (file,) = export(build_index(images, "quadrants", tmp_path / "index"), tmp_path / "out.parquet")
    rows = pq.read_table(file).to_pylist()
    assert [(r["id"], r["label"], r["quadrants"]) for r in rows] == [
        ("0", "one", [1, 2, 3, 4]),
        ("1", "two", [5, 6, 7, 8]),
    ]


@pytest.mark.parametrize("name", ["out", "out.csv", "out.PARQUET.zip", "out.npz"])
def test_another_ending_is_refused(index, tmp_path, name):
    with pytest.raises(UsageError, match=r"expected a name that ends in \.parquet, or in \.npy"):
        export(index, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.parquet", "out.npy"])
def test_where_it_cannot_be_written_it_says_so_and_leaves_nothing_half(index, tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(IndexStoreError) as error:
        export(index, tmp_path / "file" / name)
    assert "can't be written: " in str(error.value)
    assert "\n" not in str(error.value)
    (tmp_path / name).mkdir()  # in the place of the file
    with pytest.raises(UsageError, match="a folder lies there"):
        export(index, tmp_path / name, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["file", name])


def test_a_damaged_index_is_not_exported(index, tmp_path):
    import shutil

    copy = shutil.copytree(index.path, tmp_path / "copy")
    for file in (copy / "images.lance" / "data").iterdir():
        os.truncate(file, file.stat().st_size // 2)
    for name in ("out.parquet", "out.npy"):
        with pytest.raises(IndexStoreError, match="the index is damaged"):
            export(open_index(copy), tmp_path / name)
        assert not (tmp_path / name).exists()


def test_the_command_says_what_it_wrote(made, tmp_path, capsys):
    assert run(["export", "-i", str(made), "-o", str(tmp_path / "out.npy"), "--encoder", "pixels"]) == 0
    said = capsys.readouterr().out
    assert (
        said
        == f"{tmp_path / 'out.npy'} and {tmp_path / 'out.csv'}: {len(open_index(made, encoder='pixels'))} rows, pixels 16-d\n"
    )
    assert np.load(tmp_path / "out.npy").shape[1] == 16
