"""That an index is made true to its collection, by work for what has changed and for nothing else."""

from __future__ import annotations

import io
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from lookalike import build_index, create_encoder, open_index
from lookalike.atomic import INVENTORY, adopt, temporary_beside
from lookalike.encoders.registry import TABLE
from lookalike.errors import EncoderError, IndexStoreError, LookalikeError
from lookalike.imaging.sandbox.api import Sandbox
from lookalike.index.integrity import verify
from lookalike.index.lance_store import LanceStore
from lookalike.index.manifest import DATASET, MANIFEST, PREVIOUS, read_manifest, write_manifest
from lookalike.index.reopen import open_to_index
from lookalike.index.schema import FACTS, facts_of
from paths import TESTS
from quadrants import ENTRY, Quadrants

TEXT = b"not an image"


class Held(NamedTuple):
    """What an index holds of one picture or file."""

    outcome: str
    quarters: tuple[float, ...] | None = None
    label: str | None = None
    caption: str | None = None


def png(*quarters):
    """Make the bytes of a picture whose descriptor is these quarters."""
    return saved(np.array(quarters, np.uint8).reshape(2, 2).repeat(2, 0).repeat(2, 1))


def saved(pixels, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


class Photos:
    """A folder each change to which has a time of its own, however coarse the file system's clock."""

    def __init__(self, folder):
        self.folder = folder
        self.clock = itertools.count(1_600_000_000, 10)
        folder.mkdir()

    def put(self, name, content):
        """Write a file: bytes, text, or the quarters of a picture."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            content if isinstance(content, bytes) else content.encode() if isinstance(content, str) else png(*content)
        )
        self.touch(name)

    def touch(self, name):
        moment = next(self.clock)
        os.utime(self.folder / name, (moment, moment))

    def move(self, old, new):
        target = self.folder / new
        target.parent.mkdir(parents=True, exist_ok=True)
        (self.folder / old).rename(target)

    def remove(self, name):
        (self.folder / name).unlink()


@pytest.fixture(autouse=True)
def table(monkeypatch):
    monkeypatch.setitem(TABLE, "quadrants", ENTRY)


@pytest.fixture(scope="module")
def crew():
    """Start the workers of all tests here once: they take longer to start than all that most tests do."""
    with Sandbox(workers=1) as sandbox:
        yield sandbox


@pytest.fixture
def asked(crew, monkeypatch):
    """Names of the files that a run has its workers decode, noted on the way."""
    found = []

    class Noting:
        workers = None

        def __init__(self, **options):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def close(self):
            pass

        def map(self, tasks, **options):
            return crew.map(map(self.note, tasks), **options)

        def note(self, task):
            if not (task["measure"] or task["hash_only"]):
                found.append(Path(task["source"][-1]).name)
            return task

    monkeypatch.setattr("lookalike.collections.entries.Sandbox", Noting)
    return found


@pytest.fixture
def encoded(monkeypatch):
    """How many images go through the encoder, a number a batch."""
    found = []
    encode = Quadrants._encode

    def noted(self, images):
        if images.any():  # of zeros an encoder is given one, to learn the shape
            found.append(len(images))
        return encode(self, images)

    monkeypatch.setattr(Quadrants, "_encode", noted)
    return found


@pytest.fixture
def photos(tmp_path):
    return Photos(tmp_path / "photos")


@pytest.fixture
def some(photos):
    """Four pictures in two folders, and two files that can't be used."""
    photos.put("cats/a.png", (1, 2, 3, 4))
    photos.put("cats/b.png", (5, 6, 7, 8))
    photos.put("dogs/c.png", (9, 10, 11, 12))
    photos.put("d.png", (13, 14, 15, 16))
    photos.put("dogs/broken.png", png(1, 1, 1, 1)[:40])
    photos.put("notes.md", TEXT)
    return photos


SOME = {
    "cats/a.png": Held("indexed", (1, 2, 3, 4), "cats"),
    "cats/b.png": Held("indexed", (5, 6, 7, 8), "cats"),
    "d.png": Held("indexed", (13, 14, 15, 16)),
    "dogs/broken.png": Held("truncated", None, "dogs"),
    "dogs/c.png": Held("indexed", (9, 10, 11, 12), "dogs"),
    "notes.md": Held("unsupported"),
}


@pytest.fixture
def sync(photos, asked, encoded):
    """Bring the index to what the folder is; return its summary. What was asked and encoded is that of the last run."""

    def run(encoder="quadrants", path=photos.folder / ".lookalike", source=photos.folder, **options):
        summaries = []
        asked.clear()
        encoded.clear()
        build_index(source, encoder, path, on_summary=summaries.append, **options)
        (summary,) = summaries
        return summary

    return run


def held(photos, encoder="quadrants"):
    """Check an index to its last byte, and return what it holds."""
    index = open_index(photos.folder / ".lookalike" if isinstance(photos, Photos) else photos, encoder=encoder)
    assert verify(index) == []
    quarters = dict(zip(index.ids, map(tuple, index.descriptors.tolist()), strict=True))
    files = index.files()
    assert set(quarters) == {row["path"] for row in files if row["outcome"] in ("indexed", "duplicate")}
    said = {facts["id"]: facts for facts in index.facts(range(len(index)))}
    found = {}
    for row in files:
        facts = said.get(row["path"]) or index.why(row["path"])
        found[row["path"]] = Held(row["outcome"], quarters.get(row["path"]), facts["label"], facts["caption"])
    return found


def counts(summary):
    """What a summary counts, without zeros."""
    names = ("indexed", "unchanged", "renamed", "duplicates", "failed", "removed", "unseen")
    return {name: n for name, n in asdict(summary).items() if name in names and n}


def stats(path):
    """What would change if anything in a folder were written."""
    return {
        str(p.relative_to(path)): (p.stat().st_mtime_ns, p.stat().st_ino, p.stat().st_size)
        for p in path.rglob("*")
        if p.is_file() and p.name != "writing.lock"
    }


# What changes in a folder ---------------------------------------------------------------------------------------------


def test_a_first_run_reads_and_encodes_everything(some, sync, asked, encoded):
    summary = sync()
    assert counts(summary) == {"indexed": 4, "failed": 2}
    assert held(some) == SOME
    assert summary.outcomes == {"indexed": 4, "truncated": 1, "unsupported": 1}
    assert sorted(asked) == ["a.png", "b.png", "broken.png", "c.png", "d.png", "notes.md"]
    assert sum(encoded) == 4


def test_a_second_run_reads_encodes_and_writes_nothing(some, sync, asked, encoded):
    sync()
    index = some.folder / ".lookalike"
    before = stats(index), (index / MANIFEST).read_bytes()
    summary = sync()
    assert counts(summary) == {"unchanged": 4, "failed": 2}
    assert (asked, encoded) == ([], [])
    assert (stats(index), (index / MANIFEST).read_bytes()) == before


def test_a_new_file_costs_its_own_work(some, sync, asked, encoded):
    sync()
    some.put("cats/new.png", (20, 21, 22, 23))
    assert counts(sync()) == {"indexed": 1, "unchanged": 4, "failed": 2}
    assert (asked, encoded) == (["new.png"], [1])
    assert held(some) == SOME | {"cats/new.png": Held("indexed", (20, 21, 22, 23), "cats")}


def test_a_changed_file_is_encoded_anew(some, sync, asked, encoded):
    sync()
    some.put("d.png", (30, 31, 32, 33))
    assert counts(sync()) == {"indexed": 1, "unchanged": 3, "failed": 2}
    assert (asked, encoded) == (["d.png"], [1])
    assert held(some) == SOME | {"d.png": Held("indexed", (30, 31, 32, 33))}


def test_a_touched_file_is_not_decoded_and_keeps_its_vector(some, sync, asked, encoded):
    sync()
    some.touch("d.png")
    assert counts(sync()) == {"unchanged": 4, "failed": 2}
    assert (asked, encoded) == ([], [])
    assert held(some) == SOME
    sync()
    assert asked == [], "its new time was kept"


def test_a_renamed_file_keeps_its_vector(some, sync, asked, encoded):
    sync()
    some.move("cats/a.png", "dogs/z.png")
    assert counts(sync()) == {"renamed": 1, "unchanged": 3, "failed": 2}
    assert (asked, encoded) == ([], [])
    expected = SOME | {"dogs/z.png": Held("indexed", (1, 2, 3, 4), "dogs")}
    del expected["cats/a.png"]
    assert held(some) == expected


def test_a_moved_folder_keeps_its_vectors_and_says_its_own_name(some, sync, asked, encoded):
    sync()
    some.move("dogs", "wolves")
    assert counts(sync()) == {"renamed": 1, "unchanged": 3, "failed": 2}
    assert encoded == []
    moved = {
        f"wolves/{name[5:]}" if name.startswith("dogs/") else name: one._replace(label="wolves")
        if name.startswith("dogs/")
        else one
        for name, one in SOME.items()
    }
    assert held(some) == moved
    reason = open_index(some.folder / ".lookalike").why("wolves/broken.png")["reason"]
    assert "wolves/broken.png" in reason
    assert "dogs" not in reason


def test_a_deleted_file_is_taken_out(some, sync, asked, encoded):
    sync()
    some.remove("d.png")
    some.remove("notes.md")
    assert counts(sync()) == {"removed": 2, "unchanged": 3, "failed": 1}
    assert (asked, encoded) == ([], [])
    assert held(some) == {name: one for name, one in SOME.items() if name not in ("d.png", "notes.md")}


@pytest.mark.slow
@pytest.mark.parametrize("names", [("cats/a.png", "d.png"), ("cats/a.png", "cats/b.png", "dogs/c.png", "d.png")])
@pytest.mark.parametrize("seconds", [5, -1], ids=["one commit", "a commit a file"])
def test_files_that_swap_names_swap_vectors(some, sync, asked, encoded, monkeypatch, names, seconds):
    """With a commit a file the row that another is to be copied from has gone before: that file is read again."""
    monkeypatch.setattr("lookalike.index.sync.commit.COMMIT_SECONDS", seconds)
    sync()
    for old, new in itertools.pairwise(("aside.png", *names, "aside.png")[::-1]):
        some.move(new, old)
    summary = sync()
    assert summary.outcomes == {"indexed": 4, "truncated": 1, "unsupported": 1}
    shifted = dict(zip(names, (names[-1], *names[:-1]), strict=True))
    assert held(some) == {
        name: one._replace(quarters=SOME[shifted.get(name, name)].quarters) for name, one in SOME.items()
    }
    if seconds > 0:
        assert encoded == []
        assert asked == []
    sync()
    assert asked == []


def test_everything_at_once(some, sync, asked, encoded):
    sync()
    some.put("cats/new.png", (20, 21, 22, 23))
    some.put("d.png", (30, 31, 32, 33))
    some.move("cats/a.png", "cats/renamed.png")
    some.remove("dogs/c.png")
    some.touch("cats/b.png")
    some.put("dogs/broken.png", (40, 41, 42, 43))
    assert counts(sync()) == {"indexed": 3, "renamed": 1, "unchanged": 1, "removed": 1, "failed": 1}
    assert sum(encoded) == 3
    assert held(some) == {
        "cats/b.png": SOME["cats/b.png"],
        "cats/new.png": Held("indexed", (20, 21, 22, 23), "cats"),
        "cats/renamed.png": SOME["cats/a.png"],
        "d.png": Held("indexed", (30, 31, 32, 33)),
        "dogs/broken.png": Held("indexed", (40, 41, 42, 43), "dogs"),
        "notes.md": SOME["notes.md"],
    }


@pytest.mark.slow
def test_a_file_that_goes_bad_and_comes_back(some, sync, encoded):
    sync()
    some.put("d.png", png(13, 14, 15, 16)[:-20])
    assert counts(sync()) == {"unchanged": 3, "failed": 3}
    assert held(some)["d.png"] == Held("truncated")
    some.put("d.png", (13, 14, 15, 16))
    assert counts(sync()) == {"indexed": 1, "unchanged": 3, "failed": 2}
    assert held(some) == SOME


# The same bytes twice -------------------------------------------------------------------------------------------------


def test_a_copy_of_a_known_file_is_not_encoded(some, sync, asked, encoded):
    sync()
    some.put("dogs/copy.png", (1, 2, 3, 4))
    assert counts(sync()) == {"duplicates": 1, "unchanged": 4, "failed": 2}
    assert (asked, encoded) == ([], [])
    assert held(some) == SOME | {"dogs/copy.png": Held("duplicate", (1, 2, 3, 4), "dogs")}
    row = next(r for r in open_index(some.folder / ".lookalike").files() if r["path"] == "dogs/copy.png")
    assert row["reason"] == "dogs/copy.png: same bytes as cats/a.png"


def test_copies_within_one_run(some, sync):
    some.put("cats/0.png", (9, 10, 11, 12))
    some.put("e.png", (9, 10, 11, 12))
    summary = sync()
    assert counts(summary) == {"indexed": 4, "duplicates": 2, "failed": 2}
    assert summary.outcomes["duplicate"] == 2
    found = held(some)
    assert {name: found[name].outcome for name in ("cats/0.png", "dogs/c.png", "e.png")} == {
        "cats/0.png": "indexed",  # the first by name
        "dogs/c.png": "duplicate",
        "e.png": "duplicate",
    }


def test_where_the_original_goes_its_copy_takes_its_place(some, sync, asked, encoded):
    some.put("dogs/copy.png", (1, 2, 3, 4))
    sync()
    some.remove("cats/a.png")
    assert counts(sync()) == {"removed": 1, "unchanged": 4, "failed": 2}
    assert (asked, encoded) == ([], [])
    assert held(some)["dogs/copy.png"] == Held("indexed", (1, 2, 3, 4), "dogs")


def test_a_copy_of_a_bad_file_is_not_tried_and_says_its_own_name(some, sync, encoded):
    sync()
    some.put("cats/bad.png", png(1, 1, 1, 1)[:40])
    assert counts(sync()) == {"unchanged": 4, "failed": 3}
    found = open_index(some.folder / ".lookalike").why("cats/bad.png")
    assert found["outcome"] == "truncated"
    assert "cats/bad.png" in found["reason"]
    assert "broken" not in found["reason"]
    assert held(some) == SOME | {"cats/bad.png": Held("truncated", None, "cats")}


# What is said of a file -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_captions_come_change_and_go_without_a_look_at_the_picture(some, sync, asked, encoded):
    sync()
    for text in ("a cat", "a black cat"):
        some.put("cats/a.txt", text)
        assert counts(sync()) == {"unchanged": 4, "failed": 2}
        assert (asked, encoded) == ([], [])
        assert held(some) == SOME | {
            "cats/a.png": SOME["cats/a.png"]._replace(caption=text),
            "cats/a.txt": Held("caption", None, "cats"),
        }
        sync()
        assert asked == []
    some.remove("cats/a.txt")
    assert counts(sync()) == {"unchanged": 4, "failed": 2}
    assert (asked, encoded) == ([], [])
    assert held(some) == SOME


@pytest.mark.slow
def test_labels_metadata_and_order_of_a_list_without_a_look_at_the_pictures(some, sync, asked, encoded):
    def state():
        index = open_index(path)
        assert verify(index) == []
        rows = index.facts(range(len(index)))
        return [(r["id"], r["label"], r["metadata"], tuple(v)) for r, v in zip(rows, index.descriptors, strict=True)]

    path, source = some.folder.parent / "index", some.folder / "list.csv"
    source.write_text("path,label,year\nd.png,one,1999\ncats/a.png,two,2001\n")
    sync(path=path, source=source)
    a, d = (1, 2, 3, 4), (13, 14, 15, 16)
    assert state() == [("d.png", "one", {"year": "1999"}, d), ("cats/a.png", "two", {"year": "2001"}, a)]
    source.write_text("path,label,year,place\nd.png,three,1999,here\ncats/a.png,two,2001,\n")
    assert counts(sync(path=path, source=source)) == {"unchanged": 2}
    assert (asked, encoded) == ([], [])
    assert [row[1:3] for row in state()] == [
        ("three", {"year": "1999", "place": "here"}),
        ("two", {"year": "2001", "place": ""}),
    ]
    source.write_text("path\ncats/a.png\nd.png\n")
    sync(path=path, source=source)
    assert (asked, encoded) == ([], [])
    assert state() == [("cats/a.png", None, None, a), ("d.png", None, None, d)]


# What failed before ---------------------------------------------------------------------------------------------------


def test_what_failed_is_tried_again_only_when_asked(some, sync, asked, encoded):
    sync()
    sync()
    assert asked == []
    assert counts(sync(retry=True)) == {"unchanged": 4, "failed": 2}
    assert (sorted(asked), encoded) == (["broken.png", "notes.md"], [])
    assert held(some) == SOME


@pytest.mark.slow
def test_retry_with_another_limit_brings_in_what_was_over_it(some, sync, asked):
    some.put("large.png", saved(np.full((6, 6), 50, np.uint8)))
    index = some.folder / ".lookalike"

    def opened(**limits):
        return open_to_index(some.folder, index, limits=limits)

    sync(source=opened(pixels=16))
    assert held(some) == SOME | {"large.png": Held("bomb")}
    sync(source=opened(pixels=100))
    assert asked == []
    assert counts(sync(source=opened(pixels=100), retry=True))["indexed"] == 1
    assert held(some) == SOME | {"large.png": Held("indexed", (50,) * 4)}
    assert opened().options.limits.pixels == 100, "the index keeps what it was told"


def test_rebuild_trusts_nothing(some, sync, asked, encoded):
    sync()
    before = read_manifest(some.folder / ".lookalike")
    assert counts(sync(rebuild=True)) == {"indexed": 4, "failed": 2}
    assert len(asked) == 6
    assert sum(encoded) == 4
    assert held(some) == SOME
    assert read_manifest(some.folder / ".lookalike").next_key == before.next_key + 6


def test_a_row_that_is_not_what_was_written_is_read_anew(some, sync, asked):
    """Of an index that is damaged in one row the next run mends it."""
    import lance

    sync()
    index = some.folder / ".lookalike"
    dataset = lance.dataset(str(index / DATASET))
    dataset.update({"label": "'dogs'"}, where="id = 'cats/a.png'")
    write_manifest(index, replace(read_manifest(index), dataset_version=dataset.version, files={}))
    assert "what is said of an image isn't what was written: cats/a.png" in verify(open_index(index))
    sync()
    assert len(asked) == 1
    assert held(some) == SOME


def test_a_file_that_was_away_for_a_moment_is_read_when_it_is_back(some, sync, crew, monkeypatch):
    """Bytes that are known to be bad aren't tried again; of this one no byte was seen."""
    aside, calls = some.folder.parent / "aside", []

    def move_away(tasks, map_=crew.map, **options):
        calls.append("away")
        if len(calls) == 2:  # the first looks at the headers to choose a size
            (some.folder / "d.png").rename(aside)
        return map_(tasks, **options)

    with monkeypatch.context() as patch:
        patch.setattr(crew, "map", move_away)
        sync()
    assert held(some) == SOME | {"d.png": Held("gone")}
    aside.rename(some.folder / "d.png")
    sync()
    assert held(some) == SOME


# What is taken of a folder --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_frames_first_each_and_first_again(photos, sync, encoded):
    pages = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (10, 20, 30)]
    file = io.BytesIO()
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    photos.put("pages.tif", file.getvalue())
    photos.put("a.png", (1, 2, 3, 4))
    index = photos.folder / ".lookalike"
    first = {"a.png": Held("indexed", (1, 2, 3, 4)), "pages.tif": Held("indexed", (10,) * 4)}
    each = first | {f"pages.tif#{n}": Held("indexed", (value,) * 4) for n, value in ((1, 20), (2, 30))}
    for asked_each, expected in ((None, first), (True, each), (None, each), (False, first), (None, first)):
        sync(source=open_to_index(photos.folder, index, each=asked_each))
        assert held(photos) == expected
    sync(source=open_to_index(photos.folder, index, each=True))
    photos.move("pages.tif", "z.tif")
    assert counts(sync(source=open_to_index(photos.folder, index)))["renamed"] == 1
    assert encoded == []
    assert set(held(photos)) == {"a.png", "z.tif", "z.tif#1", "z.tif#2"}
    photos.remove("z.tif")
    sync(source=open_to_index(photos.folder, index))
    assert set(held(photos)) == {"a.png"}


def test_patterns_are_kept_until_told_otherwise(some, sync):
    index = some.folder / ".lookalike"
    sync(source=open_to_index(some.folder, index, include=["*.png"], exclude=["dogs"]))
    expected = {name: SOME[name] for name in ("cats/a.png", "cats/b.png", "d.png")}
    assert held(some) == expected
    some.put("dogs/new.png", (1, 1, 1, 2))
    sync(source=open_to_index(some.folder, index))
    assert held(some) == expected
    sync(source=open_to_index(some.folder, index, include=[], exclude=[]))
    assert set(held(some)) == {*SOME, "dogs/new.png"}


def test_what_is_in_a_folder_that_cannot_be_listed_is_not_gone(some, sync, monkeypatch):
    sync()
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("dogs"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    some.remove("dogs/c.png")
    some.remove("d.png")
    monkeypatch.setattr(os, "scandir", refusing)
    assert counts(sync()) == {"unchanged": 2, "failed": 1, "unseen": 2, "removed": 1}
    assert held(some) == {name: one for name, one in SOME.items() if name != "d.png"}
    monkeypatch.undo()


def test_names_that_are_no_utf_8_are_kept_apart_and_can_be_told(tmp_path, sync, asked):
    photos = Photos(tmp_path / os.fsdecode(b"d\xe9j\xe0"))
    names = [os.fsdecode(b"caf\xe9.png"), os.fsdecode(b"caf\xe8.png"), "café.png", "line\nbreak.png"]
    for n, name in enumerate(names):
        photos.put(name, (n + 1, 2, 3, 4))
    photos.put(os.fsdecode(b"b\xe4d.png"), png(1, 1, 1, 1)[:40])
    index = tmp_path / "index"
    for _ in range(2):
        sync(source=photos.folder, path=index)
        assert {name: one.quarters and one.quarters[0] for name, one in held(index).items()} == {
            "caf\\udce9.png": 1, "caf\\udce8.png": 2, "café.png": 3, "line\nbreak.png": 4, "b\\udce4d.png": None,
        }  # fmt: skip
    assert asked == []


def test_a_moved_folder_with_its_index_inside_goes_on(some, tmp_path, asked, encoded):
    build_index(some.folder, "quadrants")
    asked.clear()
    encoded.clear()
    moved = tmp_path / "elsewhere"
    some.folder.rename(moved)
    assert build_index(moved).path == moved / ".lookalike"
    assert (asked, encoded) == ([], [])
    assert held(moved / ".lookalike") == SOME
    assert read_manifest(moved / ".lookalike").source == str(moved.resolve())


def test_another_collection_is_refused_unless_it_is_meant(some, sync, tmp_path):
    index, other = tmp_path / "index", Photos(tmp_path / "other")
    other.put("d.png", (1, 1, 2, 2))
    sync(path=index)
    before = stats(index)
    with pytest.raises(IndexStoreError) as error:
        sync(path=index, source=other.folder)
    assert "holds the index of" in str(error.value)
    assert "--replace-collection" in str(error.value)
    assert stats(index) == before
    summary = sync(path=index, source=other.folder, replace_collection=True)
    assert counts(summary) == {"indexed": 1, "removed": 5}
    assert held(index) == {"d.png": Held("indexed", (1, 1, 2, 2))}


def test_where_no_file_is_an_image_any_more_the_old_index_stays(some, sync):
    sync()
    before = stats(some.folder / ".lookalike")
    for name in SOME:
        if name.endswith(".png"):
            some.put(name, TEXT)
    with pytest.raises(LookalikeError):
        sync()
    assert stats(some.folder / ".lookalike") == before
    assert len(open_index(some.folder / ".lookalike")) == 4


# Several encoders -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_another_encoder_is_built_beside_and_answers_once_it_is_complete(some, sync, asked, encoded):
    sync()
    summary = sync("pixels")
    assert counts(summary) == {"indexed": 4, "failed": 2}
    assert (summary.encoder, summary.dimension) == ("pixels", 16)
    assert encoded == [], "the one that was there has seen them all"
    assert held(some) == SOME
    index = open_index(some.folder / ".lookalike")
    assert [index.manifest.encoder, index.with_encoder("quadrants").manifest.encoder] == ["pixels", "quadrants"]
    (found,) = index.search(some.folder / "d.png", 1)
    assert (found.id, found.distance) == ("d.png", pytest.approx(0, abs=1e-6))
    # From then on a new file goes through both, and going back to the first costs nothing.
    some.put("new.png", (20, 21, 22, 23))
    assert counts(sync(None)) == {"indexed": 1, "unchanged": 4, "failed": 2}
    assert (asked, encoded) == (["new.png"], [1])
    assert counts(sync("quadrants")) == {"unchanged": 5, "failed": 2}
    assert (asked, encoded) == ([], [])
    assert open_index(some.folder / ".lookalike").manifest.encoder == "quadrants"


@pytest.mark.slow
def test_until_then_the_old_one_answers_and_what_is_done_is_not_done_again(photos, sync, asked, monkeypatch):
    monkeypatch.setattr("lookalike.index.sync.run._BATCH_IMAGES", 5)
    pixels, seen, stops = type(create_encoder("pixels")), [], [KeyboardInterrupt]
    encode = pixels._encode

    def noted(self, images):
        if stops and sum(seen) == 10:
            raise stops.pop()
        seen.append(len(images) if images.any() else 0)
        return encode(self, images)

    for n in range(23):
        photos.put(f"{n:02}.png", (n + 1, 2, 3, 4))
    sync()
    before = held(photos)
    monkeypatch.setattr(pixels, "_encode", noted)
    with pytest.raises(KeyboardInterrupt):
        sync("pixels")
    assert held(photos) == before
    index = open_index(photos.folder / ".lookalike")
    assert (index.manifest.encoder, index.manifest.complete) == ("quadrants", False)
    with pytest.raises(IndexStoreError) as error:
        index.with_encoder("pixels")
    assert "the encoder pixels has seen 10 of 23 images so far; run the same command" in str(error.value)
    assert sum(seen) == 10
    assert counts(sync("pixels")) == {"indexed": 13, "unchanged": 10}
    assert len(asked) == 13
    assert sum(seen) == 23
    index = open_index(photos.folder / ".lookalike")
    assert (index.manifest.encoder, len(index), verify(index)) == ("pixels", 23, [])


@pytest.mark.slow
def test_one_of_the_same_name_takes_the_place_of_the_old(some, sync, encoded):
    sync()
    sync("pixels")
    sync(Quadrants(hole=1000))
    manifest = read_manifest(some.folder / ".lookalike")
    assert [(c.encoder, c.params.get("hole")) for c in manifest.columns] == [("pixels", None), ("quadrants", 1000)]
    assert sum(encoded) == 4
    assert held(some) == SOME
    sync(Quadrants(hole=1000))
    assert encoded == []


@pytest.mark.slow
def test_only_drops_all_others(some, sync):
    sync()
    sync("pixels", only=True)
    index = some.folder / ".lookalike"
    assert [c.encoder for c in read_manifest(index).columns] == ["pixels"]
    with pytest.raises(IndexStoreError, match="made by the encoder pixels"):
        open_index(index, encoder="quadrants")
    assert verify(open_index(index)) == []
    sync("pixels", only=True)
    assert len(list(index.glob("encoder-*"))) == 2, "of the manifest, and of the one before"
    some.touch("d.png")
    sync("pixels")
    assert len(list(index.glob("encoder-*"))) == 1


def test_another_size_is_another_encoder(some, sync, encoded):
    sync()
    sync(None, source=open_to_index(some.folder, some.folder / ".lookalike", size=2))
    assert sum(encoded) == 4
    manifest = read_manifest(some.folder / ".lookalike")
    assert [(c.encoder, c.shape) for c in manifest.columns] == [("quadrants", [2, 2])]
    assert held(some) == SOME
    sync(None)
    assert encoded == [], "the size is kept until told otherwise"


def test_a_blank_for_one_encoder_is_found_by_the_other(some, sync):
    sync(Quadrants(hole=16))  # a mean of 16 is no number to it
    assert held(some)["d.png"].outcome == "no descriptor"
    sync("pixels")
    index = open_index(some.folder / ".lookalike")
    assert [len(index), len(index.with_encoder("quadrants"))] == [4, 3]
    assert {row["path"]: row["outcome"] for row in index.files()}["d.png"] == "indexed"
    assert verify(index) == []
    assert {row["path"]: row["outcome"] for row in index.with_encoder("quadrants").files()}["d.png"] != "indexed"


def test_weights_that_changed_are_another_encoder(photos, sync, monkeypatch, tmp_path):
    """A folder of a trained encoder that was trained anew: never are two trainings' vectors in one column."""
    for n in range(8):
        photos.put(f"{n}.png", (n + 1, 2, 3, 4))
    first = Quadrants(hole=1000).fit(np.zeros((1, 4, 4), np.uint8)).save(tmp_path / "trained")
    sync(first)
    made = read_manifest(photos.folder / ".lookalike").fingerprint
    shutil.rmtree(first)
    again = Quadrants(hole=1001).fit(np.zeros((1, 4, 4), np.uint8)).save(tmp_path / "trained")
    assert counts(sync(again)) == {"indexed": 8}
    manifest = read_manifest(photos.folder / ".lookalike")
    assert manifest.fingerprint != made
    assert [c.params["hole"] for c in manifest.columns] == [1001]


def test_an_encoder_that_does_not_fit_is_refused_and_nothing_is_written(some, sync, tmp_path):
    sync()
    before = stats(some.folder / ".lookalike")
    other = Quadrants().fit(np.zeros((1, 8, 8), np.uint8))
    with pytest.raises(EncoderError):
        sync(other, source=open_to_index(some.folder, some.folder / ".lookalike", size=4))
    assert stats(some.folder / ".lookalike") == before


# Runs that end before their end ---------------------------------------------------------------------------------------


@pytest.fixture
def changed(some, sync):
    """An index, and a folder that has changed since in every way."""
    sync()
    some.put("cats/new.png", (20, 21, 22, 23))
    some.put("d.png", (30, 31, 32, 33))
    some.move("cats/a.png", "cats/renamed.png")
    some.remove("dogs/c.png")
    return some


CHANGED = {
    "cats/b.png": SOME["cats/b.png"],
    "cats/new.png": Held("indexed", (20, 21, 22, 23), "cats"),
    "cats/renamed.png": SOME["cats/a.png"],
    "d.png": Held("indexed", (30, 31, 32, 33)),
    "dogs/broken.png": SOME["dogs/broken.png"],
    "notes.md": SOME["notes.md"],
}


def check_between(found, before=SOME, after=CHANGED):
    """Each file must be as it was before or as it is to be; one that is in both must be there.

    What is renamed may be there under both names for a while, as a duplicate.
    """
    for name, one in found.items():
        outcome = "indexed" if one.outcome == "duplicate" else one.outcome
        assert one._replace(outcome=outcome) in (before.get(name), after.get(name)), name
    assert found.keys() >= before.keys() & after.keys()


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [5, -1], ids=["at the end", "midway"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("call", ["append", "delete", "commit"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device"), ValueError("a bug")])
def test_whatever_stops_a_write_the_index_is_whole_and_the_same_call_goes_on(
    changed, sync, monkeypatch, error, call, moment, seconds
):
    """Python hears Ctrl-C when a call into Lance returns: what that wrote is there by then, and must not be again."""
    function, stops = getattr(LanceStore, call), [error]

    def stop():
        if isinstance(error, KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        else:
            raise error

    def stopped(self, *arguments):
        if moment == "before" and stops:
            stops.pop()
            stop()
        result = function(self, *arguments)
        if stops:
            stops.pop()
            stop()
        return result

    with monkeypatch.context() as patch:
        patch.setattr(LanceStore, call, stopped)
        patch.setattr("lookalike.index.sync.commit.COMMIT_SECONDS", seconds)
        with pytest.raises(IndexStoreError if isinstance(error, OSError) else type(error)):
            sync()
    found = held(changed)
    check_between(found)
    is_first = seconds > 0 or call != "delete"  # of the calls that a commit after every file takes
    if is_first and (call, moment) != ("commit", "after") and not isinstance(error, KeyboardInterrupt):
        assert found == SOME
    sync()
    assert held(changed) == CHANGED


def test_ctrl_c_keeps_the_files_that_are_through(photos, sync, asked, encoded, monkeypatch):
    for n in range(20):
        photos.put(f"{n:02}.png", (n + 1, 2, 3, 4))
    monkeypatch.setattr("lookalike.index.sync.run._SHOW_SECONDS", -1)

    def stop(done, total):
        if done == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync(on_progress=stop)
    assert list(held(photos)) == [f"{n:02}.png" for n in range(12)]
    assert not read_manifest(photos.folder / ".lookalike").complete
    assert counts(sync()) == {"indexed": 8, "unchanged": 12}
    assert (len(asked), sum(encoded)) == (8, 8)
    assert len(held(photos)) == 20
    assert read_manifest(photos.folder / ".lookalike").complete


@pytest.mark.slow
def test_readers_see_whole_states_between_commits(changed, sync, monkeypatch):
    """Each file is as it was or as it is, at any moment of a run that commits after every file."""
    monkeypatch.setattr("lookalike.index.sync.run._SHOW_SECONDS", -1)
    monkeypatch.setattr("lookalike.index.sync.commit.COMMIT_SECONDS", -1)
    states = []
    before = open_index(changed.folder / ".lookalike")
    sync(on_progress=lambda *_: states.append(held(changed)))
    for state in states:
        check_between(state)
    assert len({tuple(sorted(state)) for state in states}) > 2
    assert held(changed) == CHANGED
    assert sorted(before.ids) == sorted(name for name, one in SOME.items() if one.quarters), "as when it was opened"
    assert verify(before) == []


def test_after_a_run_only_what_manifests_name_is_left(changed, sync, monkeypatch):
    import lance

    index = changed.folder / ".lookalike"
    monkeypatch.setattr("lookalike.index.sync.commit.COMMIT_SECONDS", -1)
    for orphan in (f"{DATASET}/data/{'01' * 12}{'a' * 26}.lance", "encoder-0123456789abcdef/encoder.json"):
        (index / orphan).parent.mkdir(exist_ok=True)
        (index / orphan).write_bytes(b"half")
    adopt(index, "encoder-0123456789abcdef")
    part = temporary_beside(index / MANIFEST)
    part.touch()
    os.utime(part, (0, 0))
    old = read_manifest(index)
    sync()
    new = read_manifest(index)
    assert read_manifest(index, PREVIOUS) == old
    versions = [v["version"] for v in lance.dataset(str(index / DATASET)).versions()]
    assert versions == [old.dataset_version, new.dataset_version]
    named = {
        file.path
        for version in versions
        for fragment in lance.dataset(str(index / DATASET), version=version).get_fragments()
        for file in fragment.data_files()
    }
    assert {p.name for p in (index / DATASET / "data").iterdir()} == named
    assert {p.name for p in index.iterdir()} == {
        DATASET, INVENTORY, MANIFEST, PREVIOUS, "writing.lock", new.view.encoder_folder,
    }  # fmt: skip


RUN = """
import sys
sys.path.insert(0, {tests!r})
import lookalike.index.sync.commit
import lookalike.index.sync.run
from lookalike import build_index
from lookalike.encoders.registry import TABLE
from quadrants import ENTRY, Quadrants
TABLE["quadrants"] = ENTRY
lookalike.index.sync.commit.COMMIT_SECONDS = lookalike.index.sync.run._SHOW_SECONDS = 0.03
lookalike.index.sync.run._BATCH_IMAGES = 10
print("begun", flush=True)
build_index({source!r}, Quadrants(seconds=0.02), {path!r}, workers=1, on_progress=lambda *n: print(*n, flush=True))
print("done", flush=True)
"""


def started(photos, path):
    code = RUN.format(tests=str(TESTS), source=str(photos.folder), path=str(path))
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_kill_9_between_any_two_files(photos, tmp_path):
    """Nothing that was committed is lost, the same call goes on, and at the end it is as if nobody had been killed."""
    rng, index = random.Random(3), tmp_path / "index"
    expected = {}
    for n in range(80):
        name, quarters = f"{'abc'[n % 3]}/{n:03}.png", (n + 1, rng.randrange(256), 3, 4)
        photos.put(name, quarters)
        expected[name] = Held("indexed", quarters, name[0])
    before = {}
    for lines in (2, 4, 6, 9, 12):
        process = started(photos, index)
        for _ in range(lines):
            last = process.stdout.readline()
        time.sleep(rng.random() * 0.02)
        process.kill()
        process.communicate()
        found = held(index) if (index / MANIFEST).exists() else {}
        assert before.items() <= found.items() <= expected.items()
        before = found
        if last == "done\n":
            break
    assert before, "something was committed"
    process = started(photos, index)
    assert process.communicate()[0].endswith("done\n")
    assert held(index) == expected


@pytest.mark.slow
def test_a_writer_in_another_process_is_refused_and_its_lock_goes_with_it(photos, tmp_path, asked):
    index = tmp_path / "index"
    for n in range(100):
        photos.put(f"{n:02}.png", (n + 1, 2, 3, 4))
    process = started(photos, index)
    for _ in range(5):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(IndexStoreError, match="another process is writing this index; wait until it has ended"):
        build_index(photos.folder, Quadrants(seconds=0.02), index)
    process.kill()
    process.communicate()
    assert len(build_index(photos.folder, Quadrants(seconds=0.02), index)) == 100
    assert len(held(index)) == 100


# Any order, any number ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("shape", [None, (45, 61, 3)], ids=["digits", "colour"])
@pytest.mark.parametrize("encoder", ["pixels", "hog"])
def test_a_vector_is_the_same_whatever_the_batch_and_the_order(tmp_path, digits, monkeypatch, encoder, shape):
    noise = np.random.default_rng(1).integers(0, 256, (130, *(shape or ())), np.uint8)
    images = noise if shape else digits[0][:130]
    whole = build_index(images, encoder, tmp_path / "whole").descriptors
    order = np.random.default_rng(0).permutation(130)
    for size in (1, 7, 64):
        monkeypatch.setattr("lookalike.index.sync.run._BATCH_IMAGES", size)
        index = build_index(images[order], encoder, tmp_path / str(size))
        np.testing.assert_array_equal(index.descriptors, whole[order])


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["pixels", "hog"])
def test_a_vector_is_the_same_whatever_the_number_of_workers(photos, digits, tmp_path, encoder):
    for n, image in enumerate(digits[0][:40]):
        photos.put(f"{n:02}.png", saved(image))
    alone = build_index(digits[0][:40], encoder, tmp_path / "array").descriptors
    for workers in (1, 2, 3):
        index = build_index(photos.folder, encoder, tmp_path / f"{workers} workers", workers=workers)
        np.testing.assert_array_equal(index.descriptors, alone)
    names = [f"{n:02}.png" for n in random.Random(4).sample(range(40), 40)]
    (photos.folder / "list.txt").write_text("\n".join(names))
    listed = build_index(photos.folder / "list.txt", encoder, tmp_path / "list", workers=2)
    assert listed.ids == names
    np.testing.assert_array_equal(listed.descriptors, alone[[int(name[:2]) for name in names]])


@pytest.mark.slow
def test_10_000_unchanged_images_cost_no_write(tmp_path):
    path = tmp_path / "index"
    first = build_index("mnist:test", "quadrants", path)
    before, summaries = stats(path), []
    again = build_index("mnist:test", "quadrants", path, on_summary=summaries.append)
    assert counts(summaries[0]) == {"unchanged": 10_000}
    assert stats(path) == before
    assert again.manifest == first.manifest
    assert len(again) == 10_000


class Shuffle:
    """Random changes to a folder, and what an index of it must hold after each."""

    def __init__(self, photos, seed):
        self.photos, self.rng = photos, random.Random(seed)
        self.names = [f"{folder}{stem}.png" for folder in ("", "x/", "y/z/") for stem in "abcdef"]
        self.contents = [(n, 10, 20, 30) for n in range(1, 9)]
        self.contents += [(0, 0, 0, 0), TEXT, b"", png(1, 2, 3, 4)[:50], png(5, 6, 7, 8)[:-14]]
        self.files, self.captions = {}, {}
        for name in self.names[:10]:
            self.write(name)

    def write(self, name=None):
        name = name or self.rng.choice(self.names)
        self.files[name] = self.rng.choice(self.contents)
        self.photos.put(name, self.files[name])

    def remove(self):
        name = self.rng.choice(sorted(self.files))
        if len(self.files) > 6:
            self.photos.remove(name)
            del self.files[name]

    def rename(self):
        old, new = self.rng.choice(sorted(self.files)), self.rng.choice(self.names)
        self.photos.move(old, new)
        self.files[new] = self.files.pop(old)

    def swap(self):
        one, other = self.rng.sample(sorted(self.files), 2)
        for old, new in ((one, "aside"), (other, one), ("aside", other)):
            self.photos.move(old, new)
        self.files[one], self.files[other] = self.files[other], self.files[one]

    def touch(self):
        self.photos.touch(self.rng.choice(sorted(self.files)))

    def describe(self):
        name = self.rng.choice(self.names).replace(".png", ".txt")
        if name in self.captions:
            self.photos.remove(name)
            del self.captions[name]
        else:
            self.captions[name] = f"text {self.rng.random()}"
            self.photos.put(name, self.captions[name])

    def step(self):
        self.rng.choice([self.write, self.write, self.remove, self.rename, self.swap, self.touch, self.describe])()

    def truth(self):
        """Say what each file is, by hand: of equal ones the first by name is no duplicate."""
        expected, seen = {}, set()
        outcomes = {TEXT: "unsupported", b"": "empty"}
        for name in sorted({*self.files, *self.captions}):
            label = name.rpartition("/")[0] or None
            if name in self.captions:
                picture = name.replace(".txt", ".png") in self.files
                expected[name] = Held("caption" if picture else "unsupported", None, label)
                continue
            content = self.files[name]
            caption = self.captions.get(name.replace(".png", ".txt"))
            if isinstance(content, bytes):
                expected[name] = Held(outcomes.get(content, "truncated"), None, label, caption)
            elif not any(content):
                expected[name] = Held("blank", None, label, caption)
            else:
                expected[name] = Held("duplicate" if content in seen else "indexed", content, label, caption)
                seen.add(content)
        return expected


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_after_any_changes_the_index_is_as_one_made_from_scratch(photos, sync, tmp_path, monkeypatch, seed):
    shuffle = Shuffle(photos, seed)
    monkeypatch.setattr("lookalike.index.sync.run._BATCH_IMAGES", (1024, 3)[seed % 2])
    monkeypatch.setattr("lookalike.index.sync.commit.COMMIT_SECONDS", (5, -1)[seed // 2])
    for _ in range(6):
        for _ in range(shuffle.rng.randint(1, 9)):
            shuffle.step()
        expected = shuffle.truth()
        summary = sync()
        found = held(photos)
        assert found == expected
        images = [one for one in expected.values() if one.outcome != "caption"]
        assert sum(n for what, n in counts(summary).items() if what != "removed") == len(images), counts(summary)
        assert summary.failed == sum(one.quarters is None for one in images)
    sync(path=tmp_path / "scratch")
    assert held(tmp_path / "scratch") == found
    assert facts_but_keys(photos.folder / ".lookalike") == facts_but_keys(tmp_path / "scratch")


def facts_but_keys(path):
    import lance

    dataset = lance.dataset(str(path / DATASET), version=read_manifest(path).dataset_version)
    return sorted(facts[1:] for facts in map(tuple, facts_of(dataset.to_table(list(FACTS)))))
