"""That every kind of damage is found and named, and that a sound index is called sound."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lookalike import build_index, open_index
from lookalike.cli.main import run
from lookalike.encoders.registry import TABLE
from lookalike.index.checksums import facts_crc32, keys_crc32
from lookalike.index.integrity import verify
from lookalike.index.manifest import DATASET, read_manifest, write_manifest
from lookalike.index.reopen import open_to_index
from lookalike.index.schema import FACTS
from quadrants import ENTRY, Quadrants


@pytest.fixture(autouse=True)
def table(monkeypatch):
    monkeypatch.setitem(TABLE, "quadrants", ENTRY)


def saved(value):
    file = io.BytesIO()
    Image.fromarray(np.array([[value, 1], [2, 3]], np.uint8).repeat(2, 0).repeat(2, 1)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make an index of five good pictures, one twice, and two bad files, by two encoders; copied for each test."""
    folder = tmp_path_factory.mktemp("made")
    photos = folder / "photos"
    photos.mkdir()
    for n, name in enumerate("abcde"):
        (photos / f"{name}.png").write_bytes(saved(10 * n + 10))
    shutil.copy(photos / "a.png", photos / "f.png")
    (photos / "broken.png").write_bytes(saved(10)[:40])
    (photos / "notes.md").write_text("no image")
    (photos / "a.txt").write_text("a caption")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TABLE, "quadrants", ENTRY)
        build_index(photos, "pixels", folder / "index", workers=1)
        build_index(photos, "quadrants", folder / "index", workers=1)
    return folder


@pytest.fixture
def path(made, tmp_path):
    return shutil.copytree(made / "index", tmp_path / "index")


def rewrite(path, change, **said):
    """Let somebody who knows how change the rows of an index, and what its manifest says."""
    import lance
    import pyarrow as pa

    manifest = read_manifest(path)
    table = lance.dataset(str(path / DATASET), version=manifest.dataset_version).to_table()
    rows = table.to_pylist()
    change({row["id"]: row for row in rows}, rows)
    dataset = lance.write_dataset(
        pa.Table.from_pylist(rows, schema=table.schema), str(path / DATASET), mode="overwrite"
    )
    write_manifest(path, replace(manifest, dataset_version=dataset.version, files={}, **said))


def seal(row):
    """Make a row's checks right."""
    row["facts_crc32"] = facts_crc32([row[name] for name in FACTS])
    for name in ("quadrants", "pixels"):
        if row[name] is not None:
            row[f"{name}_crc32"] = zlib.crc32(np.array(row[name], "<f4").tobytes(), row["key"])
    row["thumbnail_crc32"] = None if row["thumbnail"] is None else zlib.crc32(row["thumbnail"])


def problems(path):
    return verify(open_index(path))


@pytest.mark.slow
def test_a_sound_index_is_sound_through_each_encoder(path):
    assert problems(path) == []
    assert verify(open_index(path).with_encoder("pixels"), deep=True) == []


@pytest.mark.slow
def test_frames_blanks_and_memory_are_sound(tmp_path):
    pages = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (10, 0, 30)]
    (tmp_path / "photos").mkdir()
    pages[0].save(tmp_path / "photos/pages.tif", save_all=True, append_images=pages[1:])
    index = tmp_path / "index"
    build_index(open_to_index(tmp_path / "photos", index, each=True), Quadrants(hole=30), index, workers=1)
    assert [row["outcome"] for row in open_index(index).files()] == ["indexed", "blank", "no descriptor"]
    assert verify(open_index(index), deep=True) == []
    build_index(np.ones((3, 4, 4), np.uint8), "quadrants", tmp_path / "memory")
    assert verify(open_index(tmp_path / "memory"), deep=True) == []


@pytest.mark.slow
def test_progress_is_told(path):
    told = []
    verify(open_index(path), on_progress=lambda *n: told.append(n))
    assert told[-1] == (9, 9)


# One kind of damage each: what somebody does to a row, and what is said of it ------------------------------------------


def another_label(rows, _):
    rows["b.png"]["label"] = "dogs"


def another_key_for_a_row(rows, _):
    rows["b.png"]["key"] = 1000


def a_changed_value(rows, _):
    rows["b.png"]["quadrants"][2] += 1


def swapped_descriptors(rows, _):
    for name in ("quadrants", "quadrants_crc32"):
        rows["b.png"][name], rows["c.png"][name] = rows["c.png"][name], rows["b.png"][name]


def a_lost_descriptor(rows, _):
    rows["b.png"]["quadrants"] = None


def nan(rows, _):
    rows["b.png"]["quadrants"][2] = float("nan")
    seal(rows["b.png"])


def zeros(rows, _):
    rows["b.png"]["pixels"] = [0.0] * 16
    seal(rows["b.png"])


def an_id_twice(rows, _):
    rows["b.png"]["id"] = "c.png"
    seal(rows["b.png"])


def a_row_less(rows, every):
    every.remove(rows["b.png"])


def a_row_twice(rows, every):
    every.append(rows["b.png"])


def another_thumbnail(rows, _):
    rows["b.png"]["thumbnail"] = rows["c.png"]["thumbnail"]


def a_thumbnail_that_is_no_picture(rows, _):
    rows["b.png"]["thumbnail"] = b"no picture"
    seal(rows["b.png"])


def a_lost_thumbnail(rows, _):
    rows["b.png"]["thumbnail"] = None
    seal(rows["b.png"])


def no_hash(rows, _):
    rows["b.png"]["hash"] = None
    seal(rows["b.png"])


def an_unseen_image(rows, _):
    rows["b.png"]["pixels"] = rows["b.png"]["pixels_crc32"] = None


def a_descriptor_of_a_bad_file(rows, _):
    rows["broken.png"]["pixels"] = [1.0] * 16
    seal(rows["broken.png"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (another_label, ["what is said of an image isn't what was written: b.png"]),
        (another_key_for_a_row, ["what is said of an image isn't what was written: b.png", "a descriptor isn't what"]),
        (a_changed_value, ["quadrants: a descriptor isn't what was written", "0 descriptors of quadrants, not the 6"]),
        (swapped_descriptors, ["quadrants: a descriptor isn't what was written"]),
        (a_lost_descriptor, ["quadrants: a descriptor is missing"]),
        (nan, ["quadrants: a descriptor of zeros, NaN or infinity: b.png"]),
        (zeros, ["pixels: a descriptor of zeros, NaN or infinity: b.png"]),
        (an_id_twice, ["two rows of one id: c.png"]),
        (a_row_less, ["8 rows, not the 9 that were written", "5 descriptors of pixels, not the 6", "outcomes"]),
        (a_row_twice, ["10 rows, not the 9 that were written", "two rows of one id: b.png"]),
        (another_thumbnail, ["a thumbnail isn't what was written: b.png"]),
        (a_thumbnail_that_is_no_picture, ["a thumbnail isn't what was written: b.png"]),
        (a_lost_thumbnail, ["a thumbnail isn't what was written: b.png"]),
        (no_hash, ["an image without the hash of its bytes: b.png"]),
        (
            an_unseen_image,
            ["pixels: complete, but it hasn't seen an image: b.png", "5 descriptors of pixels, not the 6"],
        ),
        (a_descriptor_of_a_bad_file, ["pixels: a descriptor of a file that couldn't be read: broken.png"]),
    ],
)
def test_damage_to_a_row_is_found_and_named(path, change, said):
    rewrite(path, change)
    found = problems(path)
    for sentence in said:
        assert any(sentence in problem for problem in found), (sentence, found)
    assert not [problem for problem in found if "\n" in problem or len(problem.replace(str(path), "")) > 300]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: {"outcomes": p.outcomes | {"indexed": 7}}, "the manifest's outcomes aren't those of the rows"),
        (lambda p: {"rows": 8}, "9 rows, not the 8 that were written"),
        (lambda p: {"keys_crc32": keys_crc32(np.arange(p.rows))}, "9 rows, not the 9 that were written"),
        (
            lambda p: {"columns": [replace(c, count=7) if c.encoder == "pixels" else c for c in p.columns]},
            "6 descriptors of pixels, not the 7 of the manifest",
        ),
        (
            lambda p: {"columns": [replace(c, dimension=5) if c.encoder == "quadrants" else c for c in p.columns]},
            "quadrants: descriptors of 4 values, not 5",
        ),
        (
            lambda p: {"columns": [replace(c, fingerprint="0" * 16) for c in p.columns]},
            "the encoder pixels: ",
        ),
    ],
)
def test_a_manifest_that_says_something_else_is_found(path, change, said):
    manifest = read_manifest(path)
    write_manifest(path, replace(manifest, **change(manifest)))
    found = problems(path)
    assert any(said in problem for problem in found), found


def test_a_count_that_is_right_is_not_enough(path):
    """One row less and another twice: as many as there should be."""

    def change(rows, every):
        every.remove(rows["b.png"])
        every.append(rows["c.png"])

    rewrite(path, change)
    assert any("9 rows, not the 9 that were written" in problem for problem in problems(path))


def test_many_bad_rows_are_one_sentence(path):
    def change(rows, _):
        for row in rows.values():
            row["label"] = "x"

    rewrite(path, change)
    said, _ = problems(path)  # and that nobody can read it
    assert re.fullmatch(r"what is said of an image isn.t what was written: \S+, \S+, \S+ and 6 more", said)


@pytest.mark.parametrize("damage", ["edited", "gone", "another"])
def test_an_encoder_that_is_not_the_one_is_found(path, damage):
    folder = path / open_index(path).with_encoder("quadrants").manifest.view.encoder_folder
    card = folder / "encoder.json"
    if damage == "edited":
        card.write_text(card.read_text().replace('"hole": -1', '"hole": 4'))
    else:
        shutil.rmtree(folder)
        if damage == "another":
            Quadrants(hole=4).fit(np.zeros((1, 4, 4), np.uint8)).save(folder)
    (found,) = problems(path)
    assert found.startswith("the encoder quadrants: ")


@pytest.mark.parametrize("keep", [0, 0.5, None])
def test_a_shortened_or_lost_data_file_is_said_and_not_raised(path, keep):
    for file in (path / DATASET / "data").iterdir():
        if keep is None:
            file.unlink()
        else:
            os.truncate(file, int(file.stat().st_size * keep))
    found = problems(path)
    assert any("the index is damaged" in problem for problem in found)
    assert not [problem for problem in found if "\n" in problem or "Traceback" in problem]


@pytest.mark.slow
def test_every_bit_that_is_flipped_in_the_data_is_found_or_matters_to_nobody(path):
    """Of what it calls sound, all that can be asked is answered as before.

    By rows alone, as in a file longer than the end of it that the manifest knows.
    """
    write_manifest(path, replace(read_manifest(path), files={}))

    def everything():
        index = open_index(path)
        pixels = index.with_encoder("pixels")
        rows = range(len(index))
        return (
            index.ids, index.facts(rows), index.files(), index.descriptors.tolist(), pixels.descriptors.tolist(),
            [t.tolist() for t in index.thumbnails(rows)],
        )  # fmt: skip

    right = everything()
    rng = np.random.default_rng(5)
    found = 0
    files = sorted((path / DATASET / "data").iterdir())
    for _ in range(150):
        file = files[rng.integers(len(files))]
        content = bytearray(whole := file.read_bytes())
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        file.write_bytes(content)
        if problems(path):
            found += 1
        else:
            assert everything() == right
        file.write_bytes(whole)
    assert found > 20
    assert problems(path) == []


# What it was made of --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_deep_compares_files_with_what_was_indexed(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for n in range(6):
        (photos / f"{n}.png").write_bytes(saved(10 + n))
    index = build_index(photos, "quadrants", tmp_path / "index", workers=1)
    assert verify(index, deep=True) == []
    stat = (photos / "2.png").stat()
    (photos / "2.png").write_bytes(saved(99)[: stat.st_size])
    os.utime(photos / "2.png", ns=(stat.st_atime_ns, stat.st_mtime_ns))  # what only a look at the bytes shows
    (photos / "4.png").unlink()
    assert verify(index) == []
    assert verify(index, deep=True) == [
        "a file isn't where it was indexed; index again, by its folder's new name if it was moved: 4.png",
        "a file holds other bytes than were indexed, though its size and time are the same, so that only index --rebuild "
        "reads it again: 2.png",
    ]


@pytest.mark.slow
def test_deep_finds_files_by_names_that_are_no_utf_8(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.png").write_bytes(saved(10))
    (photos / os.fsdecode(b"caf\xe9.png")).write_bytes(saved(20))
    assert verify(build_index(photos, "quadrants", tmp_path / "index", workers=1), deep=True) == []


@pytest.mark.slow
def test_deep_looks_at_the_files_of_a_list(tmp_path):
    (tmp_path / "a.png").write_bytes(saved(10))
    (tmp_path / "list.txt").write_text("a.png\n")
    index = build_index(tmp_path / "list.txt", "quadrants", tmp_path / "index", workers=1)
    assert verify(index, deep=True) == []
    (tmp_path / "a.png").write_bytes(saved(99))
    assert verify(index, deep=True) == ["a file has changed since it was indexed; index again: a.png"]


def test_the_command_says_sound_or_what_is_wrong(path, capsys):
    assert run(["verify", "-i", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: sound; 9 files, 6 descriptors of quadrants\n"
    rewrite(path, another_label)
    assert run(["verify", "-i", str(path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["rows"]) == (False, 9)
    assert told["problems"] == problems(path)
    assert told["problems"][0] == "what is said of an image isn't what was written: b.png"
    assert run(["verify", "-i", str(path)]) == 1
    assert capsys.readouterr().out.splitlines() == told["problems"]
