"""That nobody sees what isn't committed, that one writes at a time, what is kept, and the way back."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import lance
import numpy as np
import pytest

from lookalike import build_index, create_encoder, open_collection, open_index
from lookalike.atomic import INVENTORY, adopt, begin_inventory, temporary_beside
from lookalike.encoders.registry import TABLE
from lookalike.errors import IndexStoreError, LookalikeError
from lookalike.index.dataset import open_dataset
from lookalike.index.integrity import verify
from lookalike.index.lance_store import LanceStore
from lookalike.index.lock import check_target, only_writer
from lookalike.index.manifest import (
    DATASET,
    FORMAT,
    MANIFEST,
    PREVIOUS,
    Column,
    DamagedIndexError,
    Manifest,
    UnreadableIndexError,
    read_manifest,
    write_manifest,
)
from lookalike.index.rollback import rollback
from lookalike.index.schema import Facts, descriptors_of
from lookalike.index.sweep import sweep
from paths import TESTS
from quadrants import ENTRY, Quadrants, pictures
from stored import Row, to_table

COLUMN, OTHER = (Column(name, name, {}, fingerprint * 16, "cosine", 2, "float32", None, [2, 2], False) for name, fingerprint in
                 (("one", "1"), ("other", "2")))  # fmt: skip
EMPTY = Manifest(
    format=FORMAT,
    collection="test",
    source="array",
    reading={},
    columns=[COLUMN],
    default="one",
    dataset_version=0,
    files={},
    rows=0,
    next_key=0,
    keys_crc32=0,
    outcomes={},
    complete=True,
    written="",
    versions={},
)


@pytest.fixture(autouse=True)
def table(monkeypatch):
    monkeypatch.setitem(TABLE, "quadrants", ENTRY)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "index"
    path.mkdir()
    begin_inventory(path)
    return path


def rows(*keys, columns=(COLUMN,)):
    some = [Row(Facts(k, f"{k}.png"), b"", {"one": np.array([k, 1], np.float32)}) for k in keys]
    return to_table(some, columns)


def keys_in(path, manifest=None):
    manifest = manifest or read_manifest(path)
    found = open_dataset(path, manifest).to_table(["key"])["key"].to_pylist()
    assert len(found) == manifest.rows
    assert zlib.crc32(np.sort(np.array(found, "<i8")).tobytes()) == manifest.keys_crc32
    return sorted(found)


def one_sentence(error):
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 500, text
    return text


# Rows before and after a commit ---------------------------------------------------------------------------------------


def test_rows_are_seen_from_the_commit_on(path):
    store = LanceStore(path, None)
    store.append(rows(1, 2, 3))
    with pytest.raises(IndexStoreError, match="begun and has no manifest"):
        read_manifest(path)
    first = store.commit(EMPTY)
    assert read_manifest(path) == first
    assert keys_in(path) == [1, 2, 3]
    store.append(rows(4))
    store.delete([2])
    assert keys_in(path) == [1, 2, 3]
    second = store.commit(first)
    assert keys_in(path) == [1, 3, 4]
    assert keys_in(path, first) == [1, 2, 3], "who opened it before goes on reading it"
    assert second.dataset_version > first.dataset_version


def test_what_was_not_written_whole_is_not_committed(path):
    store = LanceStore(path, None)
    store.append(rows(1, 2, 3))
    (file,) = (path / DATASET / "data").iterdir()
    file.write_bytes(file.read_bytes()[:-40])  # a disk that lost the last write, of which Lance says nothing
    with pytest.raises(OSError, match="what was written can't be read back"):
        store.commit(EMPTY)
    assert not (path / MANIFEST).exists()


def test_what_a_killed_run_wrote_is_forgotten_by_the_next(path):
    store = LanceStore(path, None)
    store.append(rows(1, 2, 3))
    manifest = store.commit(EMPTY)
    store.append(rows(4, 5))
    store.delete([1])
    again = LanceStore(path, manifest)  # as after kill -9
    assert sorted(again.keys) == [1, 2, 3]
    again.append(rows(6))
    again.commit(manifest)
    assert keys_in(path) == [1, 2, 3, 6]


def test_an_empty_store_begins_beside_what_lies_there(path):
    store = LanceStore(path, None)
    store.append(rows(1, 2))
    first = store.commit(EMPTY)
    again = LanceStore(path, None)
    assert (again.columns, len(again.keys)) == ([], 0)
    again.append(rows(9))
    second = again.commit(EMPTY)
    assert keys_in(path) == [9]
    assert second.dataset != first.dataset == DATASET
    assert keys_in(path, first) == [1, 2], "what lay there lies there still"


@pytest.mark.slow
def test_many_rows_are_deleted_and_read_by_key(path):
    many = range(20_000)
    store = LanceStore(path, None)
    store.append(rows(*many))
    store.delete(k for k in many if k % 3)
    manifest = store.commit(EMPTY)
    assert keys_in(path) == list(range(0, 20_000, 3))
    found = LanceStore(path, manifest).read(["key", "one", "one_crc32"], [3, 9000, 4])
    assert sorted(found["key"].to_pylist()) == [3, 9000]
    assert descriptors_of(found, "one")[1].all()


def test_another_encoders_columns_come_empty_and_go(path):
    store = LanceStore(path, None)
    store.append(rows(1, 2))
    before = store.columns
    store.commit(EMPTY)
    store.add_column(OTHER)
    store.add_column(OTHER)  # it is there already
    assert store.columns == [*before, "other", "other_crc32"]
    assert store.read(["other_crc32"])["other_crc32"].to_pylist() == [None, None]
    store.append(rows(3, columns=(COLUMN, OTHER)).select(store.columns))
    manifest = store.commit(EMPTY)
    assert keys_in(path) == [1, 2, 3]
    store.drop_column("other")
    assert store.columns == before
    assert descriptors_of(store.read(["key", "one", "one_crc32"]), "one")[0].tolist() == [[1, 1], [2, 1], [3, 1]]
    assert open_dataset(path, manifest).schema.names[-1] == "other_crc32"


def test_many_small_fragments_become_few(path):
    store = LanceStore(path, None)
    for key in range(40):
        store.append(rows(key))
    store.delete([5])
    store.commit(EMPTY)
    dataset = open_dataset(path, read_manifest(path))
    assert len(dataset.get_fragments()) < 5
    assert keys_in(path) == [k for k in range(40) if k != 5]
    found = dataset.to_table(["key", "one", "one_crc32"])
    assert descriptors_of(found, "one")[0][:, 0].tolist() == found["key"].to_pylist()


def test_rows_that_are_not_those_of_the_manifest_are_damage(path):
    store = LanceStore(path, None)
    store.append(rows(1, 2, 3))
    manifest = store.commit(EMPTY)
    for said in ({"rows": 2}, {"keys_crc32": 1}):
        with pytest.raises(DamagedIndexError, match="its rows aren't those that were written"):
            LanceStore(path, replace(manifest, **said))


# Where an index may be written ----------------------------------------------------------------------------------------


def test_a_folder_that_holds_what_a_killed_run_left_will_do(path):
    names = (DATASET, "encoder-0123456789abcdef", "writing.lock", PREVIOUS)
    for name in names:
        (path / name).mkdir(parents=True)
        with pytest.raises(IndexStoreError, match="a folder that holds other things"):
            check_target(path)
        adopt(path, name)
        check_target(path)
    check_target(path / "not" / "there")


@pytest.mark.parametrize("name", ["thesis.txt", ".hidden", "encoders", "manifest.json.bak"])
def test_a_folder_that_holds_anything_else_is_refused(path, name):
    (path / name).touch()
    with pytest.raises(IndexStoreError) as error:
        check_target(path)
    assert f"a folder that holds other things ({name})" in one_sentence(error)


def test_one_writer_at_a_time(path):
    with only_writer(path):
        with pytest.raises(IndexStoreError) as error, only_writer(path):
            pytest.fail("two writers")
        assert "another process is writing this index; wait until it has ended" in one_sentence(error)
    with pytest.raises(ZeroDivisionError), only_writer(path):
        raise ZeroDivisionError
    with only_writer(path):
        pass


def test_a_folder_made_for_nothing_is_removed_and_one_that_was_there_stays(tmp_path):
    made, there = tmp_path / "a/b", tmp_path / "there"
    there.mkdir()
    for folder in (made, there):
        with pytest.raises(ValueError, match="no"), only_writer(folder):
            raise ValueError("no")
    assert not made.exists()
    assert there.exists()


def test_what_the_disk_says_is_said_in_words(path):
    with pytest.raises(IndexStoreError) as error, only_writer(path):
        raise OSError(28, "No space left on device")
    text = one_sentence(error)
    assert text == f"{path}: the index can't be written: No space left on device; free space or pick another folder"


# What is kept ---------------------------------------------------------------------------------------------------------


def versions(path):
    return [v["version"] for v in lance.dataset(str(path / DATASET)).versions()]


def test_a_sweep_keeps_what_the_two_manifests_name_and_nothing_else(path):
    store, said = LanceStore(path, None), []
    for key in range(5):
        store.append(rows(key))
        said.append(store.commit(EMPTY))
    store.append(rows(99))  # of a run that was killed
    write_manifest(path, said[1], PREVIOUS)
    (path / f"encoder-{'1' * 16}").mkdir()
    (path / f"encoder-{'2' * 16}").mkdir()
    adopt(path, f"encoder-{'1' * 16}", f"encoder-{'2' * 16}")
    (path / DATASET / "data" / f"{'01' * 12}{'a' * 26}.lance").touch()
    part = temporary_beside(path / MANIFEST)
    part.touch()
    sweep(path)
    assert part.exists(), "another process may be writing it now"
    os.utime(part, (0, 0))
    sweep(path)
    assert versions(path) == [said[1].dataset_version, said[4].dataset_version]
    assert keys_in(path, said[1]) == [0, 1]
    assert keys_in(path) == [0, 1, 2, 3, 4]
    assert {p.name for p in path.iterdir()} == {DATASET, INVENTORY, MANIFEST, PREVIOUS, f"encoder-{'1' * 16}"}
    assert not (path / DATASET / "data" / f"{'01' * 12}{'a' * 26}.lance").exists()
    write_manifest(path, said[4], PREVIOUS)
    sweep(path)
    assert versions(path) == [said[4].dataset_version]


def test_a_sweep_where_no_manifest_was_written_leaves_nothing(path):
    store = LanceStore(path, None)
    store.append(rows(1))
    (path / f"encoder-{'1' * 16}").mkdir()
    adopt(path, f"encoder-{'1' * 16}")
    sweep(path)
    assert [p.name for p in path.iterdir()] == [INVENTORY]


def test_a_sweep_goes_by_the_manifest_alone_where_the_one_before_is_damaged(path):
    store = LanceStore(path, None)
    store.append(rows(1))
    store.commit(EMPTY)
    store.append(rows(2))
    store.commit(EMPTY)
    (path / PREVIOUS).write_text("{")
    adopt(path, PREVIOUS)
    sweep(path)
    assert len(versions(path)) == 1
    assert keys_in(path) == [1, 2]


# The way back ---------------------------------------------------------------------------------------------------------


def collection(*rows_):
    return open_collection(pictures(*rows_))


FIRST, SECOND = ((1, 2, 3, 4), (5, 6, 7, 8)), ((1, 2, 3, 4), (9, 9, 9, 9), (4, 4, 4, 4))


def state(path):
    index = open_index(path)
    assert verify(index) == []
    return index.manifest.encoder, [tuple(v) for v in index.descriptors.tolist()]


@pytest.mark.slow
def test_back_and_forth(path):
    build_index(collection(*FIRST), "quadrants", path)
    build_index(collection(*SECOND), "quadrants", path)
    assert state(path) == ("quadrants", list(SECOND))
    for now in (FIRST, SECOND, FIRST):
        found, _ = rollback(path)
        assert found == read_manifest(path)
        assert state(path) == ("quadrants", list(now))
    build_index(collection(*FIRST, (7, 7, 7, 7)), "quadrants", path)
    assert state(path) == ("quadrants", [*FIRST, (7, 7, 7, 7)])
    rollback(path)
    assert state(path) == ("quadrants", list(FIRST)), "the state before the last run, not that of a run rolled back"


@pytest.mark.slow
def test_back_to_an_encoder_that_was_given_up(path):
    build_index(collection(*FIRST), "quadrants", path)
    build_index(collection(*FIRST), "pixels", path, only=True)
    assert state(path)[0] == "pixels"
    rollback(path)
    assert state(path) == ("quadrants", list(FIRST))
    build_index(collection(*FIRST), None, path)
    assert state(path) == ("quadrants", list(FIRST))
    rollback(path)
    assert state(path)[0] == "pixels"


def test_a_run_that_was_stopped_is_no_state_to_go_back_to(path, monkeypatch):
    build_index(collection(*FIRST), "quadrants", path)
    many = [(n, 1, 1, 1) for n in range(1, 9)]
    monkeypatch.setattr("lookalike.index.sync.run._BATCH_IMAGES", 2)
    monkeypatch.setattr("lookalike.index.sync.run._SHOW_SECONDS", -1)

    def stop(done, _):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(collection(*many), "quadrants", path, on_progress=stop)
    assert not open_index(path).manifest.complete
    build_index(collection(*many), "quadrants", path)
    assert state(path) == ("quadrants", many)
    rollback(path)
    assert state(path) == ("quadrants", list(FIRST))


def test_there_may_be_nothing_to_go_back_to(path):
    with pytest.raises(IndexStoreError, match="is not an index"):
        rollback(path)
    build_index(collection(*FIRST), "quadrants", path)
    build_index(collection(*FIRST), "quadrants", path)  # which did nothing
    with pytest.raises(IndexStoreError) as error:
        rollback(path)
    assert "holds no state before its last run, so there is nothing to go back to" in one_sentence(error)
    assert state(path) == ("quadrants", list(FIRST))


def test_back_from_a_damaged_manifest(path):
    build_index(collection(*FIRST), "quadrants", path)
    build_index(collection(*SECOND), "quadrants", path)
    (path / MANIFEST).write_text("{}")
    rollback(path)
    assert state(path) == ("quadrants", list(FIRST))


@pytest.mark.slow
def test_to_a_damaged_state_nobody_goes_back(path):
    build_index(collection(*FIRST), "quadrants", path)
    build_index(collection(*SECOND), "quadrants", path)
    content = (path / PREVIOUS).read_bytes()
    (path / PREVIOUS).write_bytes(content[:-30])
    with pytest.raises(IndexStoreError) as error:
        rollback(path)
    assert "previous.json" in one_sentence(error)
    (path / PREVIOUS).write_bytes(content)
    manifest = 2**64 - 1 - read_manifest(path, PREVIOUS).dataset_version
    (path / DATASET / "_versions" / f"{manifest}.manifest").unlink()
    with pytest.raises(IndexStoreError, match="the index is damaged"):
        rollback(path)
    index = open_index(path)
    assert [tuple(row) for row in index.descriptors.tolist()] == list(SECOND)
    assert all("previous.json" in fault for fault in verify(index)), (
        "the state before is told to be damaged, and no other"
    )


def test_rollback_waits_for_nobody(path):
    build_index(collection(*FIRST), "quadrants", path)
    build_index(collection(*SECOND), "quadrants", path)
    with only_writer(path), pytest.raises(IndexStoreError, match="another process is writing"):
        rollback(path)
    assert state(path) == ("quadrants", list(SECOND))


def test_a_rollback_killed_half_way_has_lost_nothing_but_the_way_forward(path, monkeypatch):
    build_index(collection(*FIRST), "quadrants", path)
    build_index(collection(*SECOND), "quadrants", path)
    calls = []

    def once(*arguments):
        if calls:
            raise KeyboardInterrupt
        calls.append(arguments)
        write_manifest(*arguments)

    monkeypatch.setattr("lookalike.index.rollback.write_manifest", once)
    with pytest.raises(KeyboardInterrupt):
        rollback(path)
    monkeypatch.undo()
    assert read_manifest(path).rows == len(FIRST)
    rollback(path)
    assert read_manifest(path).rows == len(FIRST)


# Damage of any kind ---------------------------------------------------------------------------------------------------


@pytest.fixture
def rich(path):
    """Make an index with all that an index can have: two encoders, deleted rows, a state before."""
    images = np.random.default_rng(0).integers(1, 256, (30, 2, 2), np.uint8)
    build_index(images, "pixels", path)
    build_index(images, "quadrants", path)
    images[3:6] += 1
    build_index(images[:28], "quadrants", path)
    assert any((path / DATASET / "_deletions").iterdir())
    return path, images[:28]


def everything(path):
    index = open_index(path)
    rows_ = range(len(index))
    pixels = index.with_encoder("pixels")
    return (
        index.facts(rows_), index.files(), index.descriptors.tolist(), pixels.descriptors.tolist(),
        [t.tolist() for t in index.thumbnails(rows_)], [m.id for m in index.search(index.thumbnails([0])[0], 5)],
    )  # fmt: skip


def or_refusal(path, call):
    """Return what a call returns, or what it says when it refuses."""
    try:
        return call(path)
    except IndexStoreError as e:
        said = str(e)
    assert str(path) in said
    assert "\n" not in said
    return said


def kinds(path):
    """One file of each kind, the manifest among them."""
    found = {p.relative_to(path).parts[-2:][0] + p.suffix: p for p in sorted(path.rglob("*")) if p.is_file()}
    return [p for p in found.values() if p.name != "writing.lock"]


@pytest.mark.slow
def test_whatever_byte_is_changed_no_answer_is_wrong(rich):
    """In a process of its own: a length that was changed may make a library ask for more memory than there is."""
    path, _ = rich
    code = f"import sys; sys.path[:0] = [{str(TESTS)!r}, {str(TESTS / 'unit' / 'index')!r}]; import test_store as t; t.flip({str(path)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"after {done.stdout[-200:]}: {done.stderr[-1000:]}"


def flip(path):
    """Flip one bit after the other: in every 25th byte of a JSON file, in a sample of a file of Lance.

    The ends of its deletion files are all lengths.
    """
    path = Path(path)
    TABLE["quadrants"] = ENTRY
    right = everything(path)
    rng = random.Random(1)
    refused = 0
    for file in sorted(p for p in path.rglob("*") if p.is_file() and p.stat().st_size):
        whole = file.read_bytes()
        places = rng.sample(range(len(whole)), min(15, len(whole)))
        if file.suffix == ".json":
            places = range(0, len(whole), 25)
        elif file.parent.name == "_deletions":
            places = range(len(whole) - 100, len(whole))
        for at in places:
            bit = 1 if file.parent.name == "_deletions" else rng.randrange(8)
            print(file.relative_to(path), at, bit, flush=True)
            changed = bytearray(whole)
            changed[at] ^= 1 << bit
            file.write_bytes(changed)
            found = or_refusal(path, everything)
            assert found == right or isinstance(found, str)
            refused += found != right
        file.write_bytes(whole)
    assert refused > 100
    assert everything(path) == right


@pytest.mark.slow
@pytest.mark.parametrize("keep", [None, 0, 0.5, 0.98])
def test_whatever_file_is_lost_or_cut_no_answer_is_wrong_and_rebuild_mends_it(rich, keep, tmp_path):
    path, images = rich
    right = everything(path)
    for file in kinds(path):
        copy = tmp_path / "copy"
        shutil.copytree(path, copy)
        there = copy / file.relative_to(path)
        if keep is None:
            there.unlink()
        else:
            os.truncate(there, int(there.stat().st_size * keep))
        found = or_refusal(copy, everything)
        assert found == right or isinstance(found, str), file
        or_refusal(copy, lambda copy: build_index(images, "quadrants", copy))
        build_index(images, "quadrants", copy, rebuild=True)
        assert state(copy) == ("quadrants", [tuple(image) for image in images.reshape(-1, 4).tolist()]), file
        shutil.rmtree(copy)


@pytest.mark.parametrize("name", [MANIFEST, PREVIOUS])
def test_a_manifest_with_any_byte_changed_is_the_same_or_refused(path, name):
    build_index(collection(*FIRST), "quadrants", path)
    build_index(collection(*SECOND), create_encoder("pixels"), path)
    file = path / name
    whole, right = file.read_bytes(), read_manifest(path, name)
    rng = random.Random(0)
    for at in rng.sample(range(len(whole)), 400):
        changed = bytearray(whole)
        changed[at] ^= 1 << rng.randrange(8)
        file.write_bytes(changed)
        found = or_refusal(path, lambda path: read_manifest(path, name))
        assert found == right or isinstance(found, str), (at, bytes(changed[at - 10 : at + 10]))
    for length in range(0, len(whole) - 2, 20):  # without the line's end it is whole
        file.write_bytes(whole[:length])
        assert isinstance(or_refusal(path, lambda path: read_manifest(path, name)), str), length


@pytest.mark.parametrize("name", ["/etc/passwd", "a\\b", "../a", "a/../b", "./a", "a//b", "a/", ""])
def test_a_strangers_manifest_leads_out_of_no_index(path, name):
    for change in ({"files": {name: [1, 2]}}, {"columns": [replace(COLUMN, column=name)], "default": name}):
        write_manifest(path, replace(EMPTY, **change))
        with pytest.raises(DamagedIndexError, match="leads out of the index"):
            read_manifest(path)
    write_manifest(path, replace(EMPTY, files={"encoders/one.npz": [1, 2]}))
    assert read_manifest(path).files == {"encoders/one.npz": [1, 2]}


def test_a_manifest_that_fits_other_rows_is_refused_in_words(path):
    """Whoever edits a manifest and makes its check right meets words too."""
    manifest = build_index(collection(*FIRST), "quadrants", path).manifest
    for said in (
        {"dataset_version": 10_000},
        {"columns": [replace(manifest.columns[0], column="nobody")], "default": "nobody"},
        {"columns": [replace(manifest.columns[0], count=1)]},
        {"columns": [replace(manifest.columns[0], dimension=3)]},
        {"columns": [replace(manifest.columns[0], shape=[3, 3])]},
        {"columns": [replace(manifest.columns[0], distance="cityblock")]},
    ):
        write_manifest(path, replace(manifest, **said))
        with pytest.raises(LookalikeError) as error:
            open_index(path).search(pictures(FIRST[0])[0], 1)
        assert str(path) in one_sentence(error) or "distance" in one_sentence(error), said


def test_an_encoder_beside_its_index_is_not_taken_for_another(path):
    build_index(collection(*FIRST), Quadrants(hole=300), path)
    with pytest.raises(IndexStoreError) as error:
        open_index(path, encoder=Quadrants().fit(pictures(*FIRST)))
    assert "their descriptors can't be compared" in one_sentence(error)


@pytest.mark.parametrize("name", ["~", "s3:", "file:", "memory:", "a:b", "~/x"])
def test_a_folder_whose_name_looks_like_an_address_is_a_folder(tmp_path, monkeypatch, name):
    """Of a relative path Lance makes an address or the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    built = build_index(pictures((1, 2, 3, 4), (4, 3, 2, 1)), Quadrants(), Path(name) / "index")
    assert (tmp_path / name / "index" / DATASET).is_dir()
    assert len(open_index(Path(name) / "index")) == len(built)
    assert not any((tmp_path / "home").iterdir())


@pytest.mark.parametrize("name", ["tab\there", "two\nlines", os.fsdecode(b"caf\xe9")])
def test_a_path_that_lance_cannot_open_is_told_and_is_no_damage(tmp_path, path, name):
    images, encoder = pictures((1, 2, 3, 4), (4, 3, 2, 1)), Quadrants()
    build_index(images, encoder, path)
    moved = tmp_path / name
    with pytest.raises(UnreadableIndexError, match="Lance opens no path with"):
        build_index(images, encoder, moved)
    assert not moved.exists()
    path.rename(moved)
    for attempt in (lambda: open_index(moved).descriptors, lambda: build_index(images, encoder, moved, rebuild=True)):
        with pytest.raises(UnreadableIndexError, match="Lance opens no path with"):
            attempt()
    moved.rename(path)
    assert len(open_index(path)) == len(images)


def test_what_can_not_be_dropped_is_said_and_costs_nothing_else(path, caplog):
    build_index(collection(*FIRST), "quadrants", path)
    adopt(path, "graph-0000000000000000.mapped")
    (path / "graph-0000000000000000.mapped").write_bytes(b"of an older run")
    next((path / DATASET / "data").iterdir()).unlink()
    sweep(path)
    assert not (path / "graph-0000000000000000.mapped").exists()
    assert read_manifest(path).rows == len(FIRST)
    (said,) = (record.getMessage() for record in caplog.records if record.name == "lookalike.index")
    assert said.startswith(f"{path}: what is old in {DATASET} is left until the next run: ")
