"""What is stored, that it is what was written, and that nothing good is ever lost."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

import lookalike
from lookalike import build_index, open_index
from lookalike.atomic import begin_inventory
from lookalike.collections.open import Collection
from lookalike.encoders.registry import TABLE, create
from lookalike.errors import CollectionError, EncoderError, ImageError, IndexStoreError, LookalikeError, UsageError
from lookalike.imaging.encode import save_image
from lookalike.index.integrity import verify
from lookalike.index.manifest import (
    DATASET,
    FORMAT,
    MANIFEST,
    PREVIOUS,
    Column,
    DamagedIndexError,
    Manifest,
    read_manifest,
    write_manifest,
)
from lookalike.index.reopen import default_path
from lookalike.index.rollback import rollback
from lookalike.index.schema import FACTS
from paths import TESTS
from quadrants import ENTRY, Quadrants, pictures

ROWS = ((3, 4, 0, 0), (4, 3, 0, 0), (0, 0, 5, 0), (6, 8, 0, 0))
QUERY = pictures((3, 4, 0, 0))[0]


@pytest.fixture(autouse=True)
def table(monkeypatch):
    monkeypatch.setitem(TABLE, "quadrants", ENTRY)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "index"


def random_pictures(n, seed=0):
    return np.random.default_rng(seed).integers(1, 256, (n, 2, 2), np.uint8)


def answers(index, query=QUERY):
    return [(m.id, m.distance, m.label) for m in index.search(query, len(index))]


def contents(path):
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def one_or_two_sentences(error):
    text = str(error.value)
    assert "\n" not in text
    assert "Traceback" not in text
    assert len(re.sub(r"/\S+", "", text)) < 400, text
    return text


# What is stored -------------------------------------------------------------------------------------------------------


def test_an_index_holds_what_was_given(path):
    images = random_pictures(2500)  # three batches
    labels = [f"kind {i % 7}" for i in range(2500)]
    collection = lookalike.open_collection(images, labels=labels)
    for index in (build_index(collection, "quadrants", path), open_index(path)):
        assert len(index) == 2500
        assert index.ids == [str(i) for i in range(2500)]
        assert index.labels.tolist() == labels
        np.testing.assert_array_equal(index.descriptors, images.reshape(2500, 4))
        assert index.descriptors.dtype == np.float32
        rows = [2499, 0, 1024, 1023, 0]
        for row, thumbnail in zip(rows, index.thumbnails(rows), strict=True):
            np.testing.assert_array_equal(thumbnail, images[row])
        some = {"caption": None, "metadata": None, "width": 2, "height": 2, "size": 4, "frame": 0, "mtime_ns": 0}
        facts = index.facts([1024, 3])
        hashes = [fact.pop("hash") for fact in facts]
        assert facts == [
            {"id": "1024", "position": 1024, "label": labels[1024], **some},
            {"id": "3", "position": 3, "label": labels[3], **some},
        ]
        # An image that is no file has the hash of its shape and pixels.
        assert hashes == [sha256(b"(2, 2)" + images[i].tobytes()).hexdigest() for i in (1024, 3)]
        assert index.failures() == []
        assert {row["outcome"] for row in index.files()} == {"indexed"}
        assert repr(index) == f"Index({str(path)!r}: 2,500 images, quadrants 4-d, cosine)"


def test_the_manifest_says_what_made_it(path):
    encoder = Quadrants(hole=300)
    manifest = build_index(pictures(*ROWS), encoder, path).manifest
    assert manifest == open_index(path).manifest
    assert manifest == Manifest(
        format=FORMAT,
        collection="array",
        source="array",
        reading=manifest.reading,
        columns=[
            Column(
                column="quadrants",
                encoder="quadrants",
                params={"hole": 300, "seconds": 0.0},
                fingerprint=encoder.fingerprint,
                distance="cosine",
                dimension=4,
                dtype="float32",
                post=None,
                shape=[2, 2],
                resized=False,
                count=4,
                complete=True,
            )
        ],
        default="quadrants",
        dataset_version=manifest.dataset_version,
        files=manifest.files,
        rows=4,
        next_key=4,
        keys_crc32=zlib.crc32(np.arange(4, dtype="<i8").tobytes()),
        outcomes={"indexed": 4},
        complete=True,
        written=manifest.written,
        versions=manifest.versions,
        place="",
    )
    for name, (size, crc32) in manifest.files.items():
        content = (path / DATASET / name).read_bytes()
        assert (len(content), zlib.crc32(content[-65536:])) == (size, crc32)
    assert {Path(name).suffix for name in manifest.files} >= {".lance", ".manifest"}
    assert (manifest.encoder, manifest.fingerprint, manifest.failed) == ("quadrants", encoder.fingerprint, 0)
    assert datetime.fromisoformat(manifest.written).utcoffset() == timedelta(0)
    assert set(manifest.versions) == {"lookalike", "pylance", "numpy"}
    assert manifest.versions["lookalike"] == lookalike.__version__


def test_the_rows_can_be_read_and_checked_without_lookalike(path):
    import lance

    build_index(lookalike.open_collection(pictures(*ROWS), labels=list("abca")), "quadrants", path)
    held = json.loads((path / MANIFEST).read_text())
    manifest = held["manifest"]
    assert held["crc32"] == zlib.crc32(json.dumps(manifest, sort_keys=True).encode())
    rows = lance.dataset(str(path / DATASET), version=manifest["dataset_version"]).to_table().to_pylist()
    assert [r["id"] for r in rows] == ["0", "1", "2", "3"]
    assert [r["position"] for r in rows] == [0, 1, 2, 3]
    assert [r["label"] for r in rows] == list("abca")
    assert [r["quadrants"] for r in rows] == [list(map(float, row)) for row in ROWS]
    for row in rows:
        assert row["quadrants_crc32"] == zlib.crc32(np.array(row["quadrants"], "<f4").tobytes(), row["key"])
        facts = "\0".join("\1" if row[name] is None else str(row[name]) for name in FACTS)
        assert row["facts_crc32"] == zlib.crc32(facts.encode())
        assert row["thumbnail_crc32"] == zlib.crc32(row["thumbnail"])
    keys = np.sort(np.array([row["key"] for row in rows], "<i8"))
    assert manifest["keys_crc32"] == zlib.crc32(keys.tobytes())


def test_descriptors_and_the_callers_images_are_safe(path):
    images = pictures(*ROWS)
    before = images.copy()
    index = build_index(images, "quadrants", path)
    assert (images == before).all()
    with pytest.raises(ValueError, match="read-only"):
        index.descriptors[0, 0] = 1


def test_thumbnails_are_scaled_down(path):
    index = build_index(np.full((1, 100, 300), 50, np.uint8), "pixels", path)
    assert [t.shape for t in index.thumbnails([0])] == [(43, 128)]


@pytest.mark.slow
def test_an_index_in_pieces_is_the_index_at_once(path, tmp_path):
    images = random_pictures(1500)
    whole = build_index(images, "quadrants", path)
    for start, stop in ((0, 1), (1, 1025), (1025, 1500)):
        part = build_index(images[start:stop], "quadrants", tmp_path / f"part{start}")
        np.testing.assert_array_equal(part.descriptors, whole.descriptors[start:stop])


# Where it lies --------------------------------------------------------------------------------------------------------


def test_default_paths(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "digits.npy").touch()
    for source, expected in (
        (tmp_path / "photos", tmp_path / "photos" / ".lookalike"),
        (f"{tmp_path}/photos[0:10]", tmp_path / "photos" / ".lookalike"),
        (tmp_path / "digits.npy", tmp_path / "digits.npy.lookalike"),
        (f"{tmp_path}/digits.npy[3:]", tmp_path / "digits.npy.lookalike"),
        ("mnist", Path("mnist.lookalike")),
        ("mnist:train", Path("mnist-train.lookalike")),
        ("mnist:test[0:5]", Path("mnist-test.lookalike")),
    ):
        assert default_path(source) == expected


def test_an_index_in_its_own_folder_is_not_part_of_the_collection(tmp_path):
    for i in range(3):
        save_image(np.full((4, 4), 50 + i, np.uint8), tmp_path / f"{i}.png")
    for _ in range(2):
        index = build_index(tmp_path, "quadrants")
        assert index.path == tmp_path / ".lookalike"
        assert index.ids == ["0.png", "1.png", "2.png"]


def test_an_array_needs_a_path():
    with pytest.raises(UsageError, match="say where the index goes"):
        build_index(pictures(*ROWS), "quadrants")


# Images that fail -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_failures_never_shift_ids_against_vectors(path, seed):
    """A random half of the images is unreadable, blank or ends in NaN; each other keeps its own row."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 2600))
    images = rng.integers(1, 200, (n, 2, 2), np.uint8)
    fate = rng.choice(["good", "damaged", "blank", "nan"], n, p=[0.5, 0.2, 0.2, 0.1])
    fate[rng.integers(n)] = "good"
    images[fate == "blank"] = 0
    images[fate == "nan", 1, 1] = 250

    def read(i):
        if fate[i] == "damaged":
            raise ImageError(f"image {i}: cut short")
        return images[i]

    ids = [f"folder/{i}.png" for i in range(n)]
    labels = np.array([str(i % 3) for i in range(n)])
    index = build_index(Collection("zoo", ids, (2, 2), labels, read=read), Quadrants(hole=250), path)
    good = np.flatnonzero(fate == "good")
    assert (index.manifest.count, index.manifest.failed) == (len(good), n - len(good))
    for opened in (index, open_index(path)):
        np.testing.assert_array_equal(opened.descriptors, images[good].reshape(-1, 4))
        assert opened.ids == [ids[i] for i in good]
        assert opened.labels.tolist() == labels[good].tolist()
        for row in rng.integers(0, len(good), 5).tolist():
            # The position is that of the descriptor; the id tells where in the collection the image was.
            assert [opened.facts([row])[0][name] for name in ("position", "id")] == [row, ids[good[row]]]
            np.testing.assert_array_equal(opened.thumbnails([row])[0], images[good[row]])
            (match,) = opened.search(images[good[row]], 1, distance="euclidean")
            assert match.distance == 0
            np.testing.assert_array_equal(opened.descriptors[match.row], images[good[row]].reshape(-1))
    zeros = "folder/{}.png: its descriptor is all zeros, as of a blank image, so nothing is like it"
    fates = {
        "good": ("indexed", None, None),
        "damaged": ("unreadable", "read", "image {}: cut short"),
        "blank": ("blank", "encode", zeros),
        "nan": (
            "no descriptor",
            "encode",
            "folder/{}.png: its descriptor holds NaN, infinity or values too large to compare",
        ),
    }
    expected = []
    for i, f in enumerate(fate):
        outcome, stage, reason = fates[f]
        expected.append({"path": ids[i], "outcome": outcome, "stage": stage, "reason": reason and reason.format(i)})
    assert open_index(path).files() == expected
    assert open_index(path).failures() == [row for row in expected if row["outcome"] != "indexed"]
    assert verify(open_index(path)) == []


@pytest.mark.slow
def test_a_whole_batch_that_cannot_be_read(path, tmp_path):
    images = random_pictures(3000)

    def read(i):
        if 1000 <= i < 2100:  # all of the second batch, 1024 to 2047
            raise ImageError(f"image {i}: gone")
        return images[i]

    index = build_index(Collection("zoo", list(map(str, range(3000))), (2, 2), read=read), "quadrants", path)
    assert index.ids == [str(i) for i in range(3000) if not 1000 <= i < 2100]
    np.testing.assert_array_equal(index.thumbnails([1000])[0], images[2100])
    with pytest.raises(IndexStoreError, match="none of 3 images could be indexed; the first: image 1000: gone"):
        build_index(
            Collection("zoo", list("abc"), (2, 2), read=lambda i: read(1000 + i)), "quadrants", tmp_path / "none"
        )


@pytest.mark.parametrize(("scale", "reason"), [(1e-33, "all zeros"), (1e17, "too large"), (np.inf, "infinity")])
def test_one_descriptor_out_of_range_does_not_spoil_the_others(path, scale, reason):
    class Wild(Quadrants):
        def _encode(self, images):
            found = super()._encode(images)
            found[images[:, 0, 0] == 77] *= np.float32(scale)
            return found

    images = pictures((1, 2, 3, 4), (77, 77, 77, 77), (5, 6, 7, 8))
    index = build_index(images, Wild().fit(images), path)
    assert index.ids == ["0", "2"]
    assert reason in index.failures()[0]["reason"]
    for distance in ("cosine", "euclidean"):
        assert index.database(distance).nearest(np.ones((1, 4), np.float32), 2)[0].shape == (1, 2)


def test_a_folder_with_a_damaged_a_blank_and_good_files(tmp_path):
    for name, value in (("cats/a.png", 90), ("cats/c.png", 30), ("dogs/d.png", 60), ("dogs/e.png", 0)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        image = np.full((8, 8), value, np.uint8)
        image[:4] //= 2
        save_image(image, tmp_path / name)
    whole = (tmp_path / "cats/a.png").read_bytes()
    (tmp_path / "cats/b.png").write_bytes(whole[: len(whole) // 2])
    index = build_index(tmp_path, "quadrants")
    assert index.ids == ["cats/a.png", "cats/c.png", "dogs/d.png"]
    assert index.labels.tolist() == ["cats", "cats", "dogs"]
    assert [(f["path"], f["outcome"], f["stage"]) for f in index.failures()] == [
        ("cats/b.png", "truncated", "decode"),
        ("dogs/e.png", "blank", "encode"),
    ]
    assert index.search(tmp_path / "dogs/d.png", 1, distance="euclidean")[0].id == "dogs/d.png"


def test_where_nothing_can_be_indexed_nothing_is_left(path):
    with pytest.raises(IndexStoreError) as error:
        build_index(pictures((0, 0, 0, 0), (0, 0, 0, 0)), "quadrants", path)
    assert "none of 2 images could be indexed; the first: 0: its descriptor is all zeros" in one_or_two_sentences(error)
    assert not path.exists()


def test_failing_to_index_anything_leaves_the_old_index(path):
    before = answers(build_index(pictures(*ROWS), "quadrants", path))
    listing = sorted(p.name for p in path.rglob("*"))
    with pytest.raises(IndexStoreError):
        build_index(pictures((0, 0, 0, 0)), Quadrants(hole=7), path)
    assert answers(open_index(path)) == before
    assert sorted(p.name for p in path.rglob("*")) == listing


# Encoders -------------------------------------------------------------------------------------------------------------


class Learner(Quadrants):
    """Takes note of what it was shown to learn from."""

    name = "learner"

    def _fit(self, images):
        self.seen = images

    def _get_weights(self):
        return {"seen.npz": b"something"}

    def _set_weights(self, files):
        pass


def test_an_encoder_that_learns_sees_an_even_share(path, monkeypatch):
    monkeypatch.setattr("lookalike.index.choice._LEARN_FROM", 40)
    monkeypatch.setitem(TABLE, "learner", ("test_index:Learner", ""))
    for n, seen in ((40, range(40)), (41, range(0, 41, 2)), (100, range(0, 100, 3))):
        images, encoder = random_pictures(n), Learner()
        build_index(images, encoder, path / str(n))
        np.testing.assert_array_equal(encoder.seen, images[list(seen)])


def test_one_that_does_not_learn_reads_each_image_once(path):
    reads = []

    def read(i):
        reads.append(i)
        return pictures(ROWS[i])[0]

    build_index(Collection("counted", list("abcd"), (2, 2), read=read), "quadrants", path)
    assert reads == [0, 1, 2, 3]


def test_a_trained_encoder_is_taken_from_its_folder(path, tmp_path):
    folder = Quadrants(hole=200).fit(pictures(*ROWS)).save(tmp_path / "encoder")
    index = build_index(pictures(*ROWS), folder, path)
    assert index.encoder.hole == 200
    with pytest.raises(EncoderError, match="takes images of 2 x 2"):
        build_index(np.full((3, 4, 4), 9, np.uint8), folder, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_an_unknown_encoder_is_refused_before_anything_is_made(path):
    with pytest.raises(LookalikeError, match="hog"):
        build_index(pictures(*ROWS), "hogg", path)
    assert not path.exists()


def test_an_index_by_another_encoder_is_refused(path, tmp_path):
    build_index(pictures(*ROWS), "quadrants", path)
    same = Quadrants().fit(pictures(*ROWS))
    other = Quadrants(hole=99).fit(pictures(*ROWS))
    for fits in ("quadrants", same, same.save(tmp_path / "same"), str(tmp_path / "same")):
        assert len(open_index(path, encoder=fits)) == 4
    for fits_not in ("pixels", other, other.save(tmp_path / "other")):
        with pytest.raises(IndexStoreError) as error:
            open_index(path, encoder=fits_not)
        text = one_or_two_sentences(error)
        assert f"made by the encoder quadrants ({same.fingerprint}), not by" in text
        assert "Leave out --encoder, or add it: lookalike index array" in text
    with pytest.raises(EncoderError, match=r"nowhere: not there"):
        open_index(path, encoder=tmp_path / "nowhere")
    with pytest.raises(UsageError, match="unknown encoder 'quadrant' .did you mean 'quadrants'"):
        open_index(path, encoder="quadrant")


def test_the_encoder_of_an_index_is_checked(path):
    index = build_index(pictures(*ROWS), "quadrants", path)
    folder = path / index.manifest.view.encoder_folder
    card = folder / "encoder.json"
    original = card.read_text()
    for tamper in (
        lambda: card.write_text(original.replace('"hole": -1', '"hole": 4')),
        lambda: card.write_text(original[:50]),
        lambda: card.write_text(original.replace("quadrants", "triangles")),
        lambda: Quadrants(hole=4).fit(pictures(*ROWS)).save(folder),  # a whole one, but not the one
        lambda: shutil.rmtree(folder),
    ):
        tamper()
        with pytest.raises(IndexStoreError) as error:
            open_index(path).search(QUERY, 1)
        assert "the index is damaged (its " in one_or_two_sentences(error)
    # The advice that the error gives works.
    assert answers(build_index(pictures(*ROWS), "quadrants", path, rebuild=True))[0][0] == "0"
    assert answers(open_index(path))[0][0] == "0"


# What is refused on opening -------------------------------------------------------------------------------------------


def test_no_index(path):
    with pytest.raises(IndexStoreError) as error:
        open_index(path)
    assert one_or_two_sentences(error) == (
        f"{path}: does not exist; make an index with: lookalike index COLLECTION -o {path}"
    )
    path.mkdir()
    with pytest.raises(IndexStoreError, match="is not an index; make an index with"):
        open_index(path)
    file = path / "file"
    file.touch()
    with pytest.raises(IndexStoreError, match="is not an index"):
        open_index(file)


@pytest.mark.parametrize("inventory", [True, False], ids=["with an inventory", "without one"])
def test_an_index_of_format_1_is_recognised_and_left_as_it_is(path, inventory):
    build_index("mnist:test[0:20]", "pixels", path)
    (path / "manifest.json").rename(path / "passport.json")
    names = (path / "inventory.txt").read_text(encoding="utf-8").replace("manifest.json", "passport.json")
    (path / "inventory.txt").write_text(names, encoding="utf-8")
    if not inventory:
        (path / "inventory.txt").unlink()
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    for attempt in (
        lambda: open_index(path),
        lambda: build_index("mnist:test[0:20]", "pixels", path),
        lambda: build_index("mnist:test[0:20]", "pixels", path, rebuild=True),
        lambda: rollback(path),
    ):
        with pytest.raises(
            IndexStoreError, match=r"format 1 .*this version reads format 2; index again into a new folder"
        ):
            attempt()
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_rows_without_a_column_that_this_version_knows_are_told_as_such(path, monkeypatch):
    build_index("mnist:test[0:20]", "pixels", path)
    monkeypatch.setattr("lookalike.index.dataset.FACTS", (*FACTS, "aspect"))
    with pytest.raises(
        DamagedIndexError, match="its rows lack aspect: another version of lookalike wrote them.*--rebuild"
    ):
        open_index(path).search("mnist:test[3]", 1)


def test_a_future_format_is_refused_and_not_overwritten(path):
    build_index(pictures(*ROWS), "quadrants", path)
    future = {"format": FORMAT + 1, "what": "nobody knows"}
    crc32 = zlib.crc32(json.dumps(future, sort_keys=True).encode())
    (path / MANIFEST).write_text(json.dumps({"manifest": future, "crc32": crc32}))
    before = contents(path)
    for action in (lambda: open_index(path), lambda: build_index(pictures(*ROWS), "quadrants", path)):
        with pytest.raises(IndexStoreError) as error:
            action()
        assert f"format {FORMAT + 1}, this version reads up to {FORMAT}; upgrade" in one_or_two_sentences(error)
        assert contents(path) == before


def test_a_dataset_that_is_not_ours_is_refused_and_not_overwritten(path):
    import lance
    import pyarrow as pa

    lance.write_dataset(pa.table({"x": [1, 2]}), str(path / DATASET))
    with pytest.raises(IndexStoreError, match="has no manifest"):
        open_index(path)
    with pytest.raises(IndexStoreError) as error:
        build_index(pictures(*ROWS), "quadrants", path)
    assert f"a folder that holds other things ({DATASET})" in one_or_two_sentences(error)
    assert lance.dataset(str(path / DATASET)).to_table().to_pylist() == [{"x": 1}, {"x": 2}]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"count": 4', b'"count": 5'),
        (b'"cosine"', b'"euclidean"'),
        (b'"complete": true', b'"complete": false'),
        (b"{", b""),
        (b'"format"', b'"former"'),
        (b'"crc32": ', b'"crc32": 1'),
    ],
)
def test_a_changed_manifest_is_refused(path, old, new):
    images = pictures(*ROWS)
    right = answers(build_index(images, "quadrants", path))
    file = path / MANIFEST
    content = file.read_bytes()
    file.write_bytes(content.replace(old, new, 1))
    assert file.read_bytes() != content
    with pytest.raises(IndexStoreError) as error:
        open_index(path)
    text = one_or_two_sentences(error)
    assert "the index is damaged (its manifest.json " in text
    assert text.endswith(f"make it again with: lookalike index COLLECTION --rebuild -o {path}")
    # And that works.
    assert answers(build_index(images, "quadrants", path, rebuild=True)) == right


def test_a_version_that_no_manifest_names_is_seen_by_nobody(path):
    """What was written counts when the manifest says so: a version of someone else's is as if it weren't there."""
    import lance

    images = pictures(*ROWS)
    right = answers(build_index(images, "quadrants", path))
    lance.dataset(str(path / DATASET)).delete("position = 1")
    assert answers(open_index(path)) == right
    assert build_index(np.concatenate([images, images[:1]]), "quadrants", path).ids == list("01234")
    assert verify(open_index(path)) == []


def test_a_manifest_of_other_rows_is_refused(path):
    import lance

    manifest = build_index(pictures(*ROWS), "quadrants", path).manifest
    dataset = lance.dataset(str(path / DATASET))
    dataset.delete("position = 1")
    write_manifest(path, replace(manifest, dataset_version=dataset.version, files={}))
    with pytest.raises(IndexStoreError) as error:
        open_index(path).search(QUERY, 1)
    assert "its rows aren't those that were written" in one_or_two_sentences(error)


# Damage on the disk ---------------------------------------------------------------------------------------------------


def data_file(path):
    (file,) = (path / DATASET / "data").glob("*.lance")
    return file


def or_refusal(call):
    """Return what a call returns, or what it says when it refuses."""
    try:
        return call()
    except IndexStoreError as e:
        return str(e)


@pytest.mark.slow
def test_a_flipped_bit_is_never_a_wrong_answer(path):
    """Lance has no checksums: without ours half of these give other answers in silence."""
    images = random_pictures(400)
    ids, labels = [str(i) for i in range(400)], [f"label {i}" for i in range(400)]
    build_index(lookalike.open_collection(images, labels=labels), "quadrants", path)
    right = answers(open_index(path))
    # By rows alone, as in a file longer than the end of it that the manifest knows.
    write_manifest(path, replace(read_manifest(path), files={}))
    file = data_file(path)
    content = file.read_bytes()
    rng = random.Random(0)
    refused = 0
    for _ in range(150):
        at, bit = rng.randrange(len(content)), rng.randrange(8)
        changed = bytearray(content)
        changed[at] ^= 1 << bit
        file.write_bytes(changed)
        found = or_refusal(lambda: (answers(open_index(path)), open_index(path).ids, open_index(path).labels.tolist()))
        assert found == (right, ids, labels) or "the index is damaged" in found, (at, bit)
        refused += isinstance(found, str)
    assert refused > 30
    file.write_bytes(content)
    assert answers(open_index(path)) == right


@pytest.mark.slow
def test_a_changed_manifest_is_never_a_wrong_answer(path):
    images = random_pictures(50)
    build_index(lookalike.open_collection(images, labels=[str(i) for i in range(50)]), "quadrants", path)
    right = answers(open_index(path))
    (manifest,) = (path / DATASET / "_versions").glob("*.manifest")
    content = manifest.read_bytes()
    rng = random.Random(1)
    refused = 0
    for _ in range(120):
        at, bit = rng.randrange(len(content)), rng.randrange(8)
        changed = bytearray(content)
        changed[at] ^= 1 << bit
        manifest.write_bytes(changed)
        found = or_refusal(lambda: answers(open_index(path)))
        assert found == right or str(path) in found, (at, bit)
        refused += isinstance(found, str)
    assert refused > 30
    manifest.write_bytes(content[: len(content) // 2])
    with pytest.raises(IndexStoreError, match="the index is damaged"):
        answers(open_index(path))
    # And the advice that the error gives works.
    build_index(lookalike.open_collection(images, labels=[str(i) for i in range(50)]), "quadrants", path, rebuild=True)
    assert answers(open_index(path)) == right


@pytest.mark.slow
@pytest.mark.parametrize("keep", [0, 10, 0.3, 0.9, 0.999])
def test_a_shortened_data_file(path, keep):
    build_index(random_pictures(3000), "quadrants", path)
    file = data_file(path)
    size = file.stat().st_size
    os.truncate(file, keep if isinstance(keep, int) else int(size * keep))
    with pytest.raises(IndexStoreError) as error:
        open_index(path).search(QUERY, 1)
    text = one_or_two_sentences(error)
    assert text.startswith(f"{path}: the index is damaged (")
    assert text.endswith(f"make it again with: lookalike index COLLECTION --rebuild -o {path}")


def test_a_deleted_data_file_and_building_again(path):
    images = random_pictures(30)
    right = answers(build_index(images, "quadrants", path))
    data_file(path).unlink()
    with pytest.raises(IndexStoreError) as error:
        open_index(path).search(QUERY, 1)
    assert "the index is damaged" in one_or_two_sentences(error)
    assert answers(build_index(images, "quadrants", path, rebuild=True)) == right


def test_a_damaged_thumbnail_is_a_sentence_or_a_picture(path):
    images = np.random.default_rng(0).integers(1, 256, (20, 16, 16), np.uint8)
    build_index(images, "quadrants", path)
    write_manifest(path, replace(read_manifest(path), files={}))  # by its row alone
    file = data_file(path)
    content = file.read_bytes()
    at = content.index(b"\x89PNG")
    file.write_bytes(content[: at + 1] + b"X" + content[at + 2 :])
    with pytest.raises(IndexStoreError, match="the index is damaged"):
        open_index(path).thumbnails(range(20))


# Folders that are something else --------------------------------------------------------------------------------------


def test_a_folder_of_other_things_is_left_alone(path):
    path.mkdir()
    (path / "thesis.txt").write_text("years of work")
    with pytest.raises(IndexStoreError) as error:
        build_index(pictures(*ROWS), "quadrants", path)
    assert "a folder that holds other things (thesis.txt)" in one_or_two_sentences(error)
    assert [p.name for p in path.iterdir()] == ["thesis.txt"]


def test_a_file_is_left_alone(path):
    path.write_text("a file")
    with pytest.raises(IndexStoreError, match="a file; an index is a folder"):
        build_index(pictures(*ROWS), "quadrants", path)
    with pytest.raises(IndexStoreError, match="can't be written: .*; free space or pick another folder"):
        build_index(pictures(*ROWS), "quadrants", path / "inside")
    assert path.read_text() == "a file"


def test_an_empty_folder_will_do(path):
    path.mkdir()
    assert len(build_index(pictures(*ROWS), "quadrants", path)) == 4


# Writing again --------------------------------------------------------------------------------------------------------


def encoder_folders(path):
    return {p.name for p in path.glob("encoder-*")}


def test_another_encoder_answers_from_then_on_and_old_things_go_by_rule(path):
    """What manifest.json and previous.json name is kept, versions and encoders, and nothing else."""
    import lance

    images, made = pictures(*ROWS), []
    for encoder in (Quadrants(hole=201), create("pixels"), Quadrants(hole=202), Quadrants(hole=203)):
        index = build_index(images, encoder, path)
        made.append(index.manifest)
        for opened in (index, open_index(path)):
            assert opened.manifest.encoder == encoder.name
            assert opened.encoder.params == encoder.params
            assert answers(opened)[0][:2] == ("0", 0)
        named = made[-2:]
        assert encoder_folders(path) == {c.encoder_folder for manifest in named for c in manifest.columns}
        versions = lance.dataset(str(path / DATASET)).versions()
        assert [v["version"] for v in versions] == [manifest.dataset_version for manifest in named]
    # Of the encoders of one name only the last is kept; that of another name stays beside it.
    assert [(c.encoder, c.params.get("hole")) for c in made[-1].columns] == [("pixels", None), ("quadrants", 203)]


def test_an_open_index_stays_as_it_was(path):
    """Its rows are of the version it was opened at, until that version is neither the newest nor the one before."""
    build_index(pictures(*ROWS), "quadrants", path)
    reader, idle = open_index(path), open_index(path)
    before = answers(open_index(path))
    build_index(random_pictures(7), create("pixels"), path)
    assert answers(reader) == before
    assert reader.thumbnails([0])[0].tolist() == QUERY.tolist()
    build_index(random_pictures(9), create("pixels"), path)
    for opened in (reader, idle):
        with pytest.raises(IndexStoreError) as error:
            answers(opened)
        assert "the index was written since it was opened; open it again" in one_or_two_sentences(error)
    assert len(open_index(path)) == 9


@pytest.mark.slow
def test_searching_while_an_index_is_rebuilt_sees_the_old_or_the_new(path):
    versions = [pictures(*ROWS), pictures(*ROWS[::-1], (1, 1, 1, 1))]
    right = [answers(build_index(images, "quadrants", path)) for images in versions]
    seen, over = [], threading.Event()

    def look():
        while not over.is_set():
            try:
                seen.append(answers(open_index(path)))
            except Exception as e:
                seen.append(e)

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for i in range(12):
            build_index(versions[i % 2], "quadrants", path)
    finally:
        over.set()
        reader.join()
    assert len(seen) > 3
    assert all(found in right for found in seen), [found for found in seen if found not in right][:1]


def test_a_second_writer_is_refused_in_words(path, tmp_path):
    class Second(Quadrants):
        def _encode(self, images):
            if len(images) == 4:  # while the first writes its only batch
                with pytest.raises(IndexStoreError) as error:
                    build_index(random_pictures(3), create("pixels"), path)
                assert "another process is writing this index; wait" in one_or_two_sentences(error)
            return super()._encode(images)

    encoder = Second().fit(pictures((1, 1, 1, 1)))
    assert answers(build_index(pictures(*ROWS), encoder, path))[0][0] == "0"
    assert len(open_index(path)) == 4


# Runs that end before their end ---------------------------------------------------------------------------------------


class Stops(Quadrants):
    """Raises what it was given at its third batch."""

    def __init__(self, error):
        super().__init__()
        self.error = error
        self.batches = 0

    params = {}  # noqa: RUF012

    def _encode(self, images):
        self.batches += len(images) > 1
        if self.batches == 3:
            raise self.error
        return super()._encode(images)


@pytest.mark.slow
@pytest.mark.parametrize("error", [EncoderError("it broke"), MemoryError(), ZeroDivisionError()])
@pytest.mark.parametrize("there_is_one", [True, False])
def test_an_error_in_the_middle_comes_out_as_it_is(path, error, there_is_one):
    if there_is_one:
        before = answers(build_index(pictures(*ROWS), "quadrants", path))
        listing = sorted(p.name for p in path.rglob("*"))
    with pytest.raises(type(error)) as raised:
        build_index(random_pictures(5000), Stops(error), path)
    assert raised.value is error
    if there_is_one:
        assert answers(open_index(path)) == before
        assert sorted(p.name for p in path.rglob("*")) == listing
    else:
        assert not path.exists()


@pytest.mark.slow
@pytest.mark.parametrize("there_is_one", [True, False])
def test_ctrl_c_keeps_what_is_encoded(path, monkeypatch, there_is_one):
    """Two batches have been through all encoders: they are committed, and the same call goes on from there."""
    images, batches, stops = random_pictures(5000), [], [KeyboardInterrupt]

    def encode(self, some):
        batches.append(len(some))
        if stops and self.hole == 300 and (some[0] == images[2048]).all():
            raise stops.pop()
        return some.reshape(-1, 4).astype(np.float32)

    if there_is_one:
        build_index(pictures(*ROWS), "quadrants", path)
    monkeypatch.setattr(Quadrants, "_encode", encode)
    with pytest.raises(KeyboardInterrupt):
        build_index(images, Quadrants(hole=300), path)
    index = open_index(path)
    assert not index.manifest.complete
    assert index.encoder.params["hole"] == (-1 if there_is_one else 300)
    assert index.ids == [str(i) for i in range(2048)]
    np.testing.assert_array_equal(index.descriptors, images[:2048].reshape(-1, 4))
    assert verify(index) == []
    before = sum(batches)
    index = build_index(images, Quadrants(hole=300), path)
    assert index.encoder.params["hole"] == 300
    np.testing.assert_array_equal(index.descriptors, images.reshape(-1, 4))
    assert sum(batches) - before == (5000 - 2048) * (1 + there_is_one), "what was committed isn't encoded again"


def test_a_callback_that_fails_stops_the_run(path):
    def stop(done, total):
        raise RuntimeError(f"{done} of {total}")

    with pytest.raises(RuntimeError, match=r"\d+ of 5000"):
        build_index(random_pictures(5000), "quadrants", path, on_progress=stop)
    assert not path.exists()


def test_progress_and_summary(path):
    news, summaries = [], []
    build_index(
        random_pictures(2500), "quadrants", path, on_progress=lambda *n: news.append(n), on_summary=summaries.append
    )
    # How often one is told goes by the clock; that all is done is told once, last.
    assert news == sorted(set(news))
    assert {total for _, total in news} == {2500}
    assert news[-1] == (2500, 2500)
    (summary,) = summaries
    assert (summary.indexed, summary.failed, summary.encoder, summary.dimension) == (2500, 0, "quadrants", 4)
    assert summary.path == str(path)
    assert summary.seconds > 0
    assert summary.images_per_second == pytest.approx(2500 / summary.seconds, rel=0.05)


KILLED = """
import sys
sys.path.insert(0, {tests!r})
import numpy as np
from quadrants import ENTRY, Quadrants
from lookalike import build_index
from lookalike.encoders.registry import TABLE
TABLE["quadrants"] = ENTRY
images = np.random.default_rng(1).integers(1, 256, (6000, 2, 2), np.uint8)
print("begun", flush=True)
build_index(images, Quadrants(seconds={seconds}), {path!r}, on_progress=lambda done, _: print(done, flush=True))
print("done", flush=True)
"""


@pytest.mark.slow
def test_kill_9_at_any_moment_leaves_the_old_index_and_the_same_command_completes(path):
    """Each run is killed a seeded moment after one of its batches; the last is let through."""
    before = answers(build_index(pictures(*ROWS), "quadrants", path))
    code = KILLED.format(tests=str(TESTS), path=str(path), seconds=0.02)
    rng = random.Random(2)
    images = np.random.default_rng(1).integers(1, 256, (6000, 2, 2), np.uint8)
    for lines in (1, 3, 5, 7):  # "begun", then about one a batch
        pause = rng.random() * 0.03
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(lines):
            process.stdout.readline()
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.stdout.read()
        process.wait()
        index = open_index(path)
        assert verify(index) == [], (lines, pause)
        if len(index) == 4:
            assert answers(index) == before, (lines, pause)
        else:  # killed after a commit: what it holds is a beginning of the new
            np.testing.assert_array_equal(index.descriptors, images[: len(index)].reshape(-1, 4))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("done\n")
    np.testing.assert_array_equal(open_index(path).descriptors, images.reshape(-1, 4))
    assert verify(open_index(path)) == []
    named = [read_manifest(path), read_manifest(path, PREVIOUS)]
    manifests = (path / DATASET / "_versions").glob("*.manifest")
    left = {2**64 - 1 - int(p.stem) for p in manifests}
    assert left == {p.dataset_version for p in named}, "what killed runs left was swept away"
    assert encoder_folders(path) == {c.encoder_folder for p in named for c in p.columns}


def test_what_a_killed_first_run_leaves_is_no_obstacle(path):
    (path / DATASET / "data").mkdir(parents=True)
    (path / DATASET / "data" / f"{'01' * 12}{'a' * 26}.lance").write_bytes(b"half")
    (path / "encoder-0123456789abcdef").mkdir()
    (path / "writing.lock").touch()
    begin_inventory(path, [DATASET, "encoder-0123456789abcdef", "writing.lock"], proven=True)
    with pytest.raises(IndexStoreError, match="holds an index that was begun and has no manifest"):
        open_index(path)
    index = build_index(pictures(*ROWS), "quadrants", path)
    assert answers(open_index(path)) == answers(index)
    assert encoder_folders(path) == {index.manifest.view.encoder_folder}
    assert len(list((path / DATASET / "data").iterdir())) == 1


# Disks that refuse ----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as e:
        pytest.skip(f"no mount command: {e}")
    if done.returncode:
        pytest.skip(f"this user may not mount a small disk: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.slow
def test_a_full_disk_leaves_the_old_index(small_disk):
    path = small_disk / "index"
    before = answers(build_index(pictures(*ROWS), "quadrants", path))
    noise = np.random.default_rng(0).integers(1, 256, (3000, 28, 28), np.uint8)  # 2.4 MB of thumbnails
    for encoder in (create("pixels"), "hog"):
        with pytest.raises(IndexStoreError) as error:
            build_index(noise, encoder, path)
        text = one_or_two_sentences(error)
        assert "the index can't be written" in text
        assert os.strerror(errno.ENOSPC) in text
        assert "free space or pick another folder" in text
        assert answers(open_index(path)) == before
    free = os.statvfs(small_disk)
    assert free.f_bavail * free.f_frsize > 2**19, "what the failed runs wrote was removed"
    assert len(build_index(pictures(*ROWS, ROWS[0]), "quadrants", path)) == 5


def test_a_disk_without_room_for_the_encoder(small_disk):
    path = small_disk / "index"
    before = answers(build_index(pictures(*ROWS), "quadrants", path))
    with (small_disk / "filler").open("wb", buffering=0) as f, contextlib.suppress(OSError):
        while True:
            f.write(bytes(4096))
    with pytest.raises(LookalikeError) as error:
        build_index(random_pictures(10), Quadrants(hole=9), path)
    assert "can't be written" in one_or_two_sentences(error)
    assert answers(open_index(path)) == before
    with pytest.raises(LookalikeError, match="can't be written"):
        build_index(random_pictures(10), "quadrants", small_disk / "another")
    (small_disk / "filler").unlink()
    assert len(build_index(random_pictures(10), Quadrants(hole=9), path)) == 10


def test_a_disk_that_can_only_be_read(small_disk):
    path = small_disk / "index"
    before = answers(build_index(pictures(*ROWS), "quadrants", path))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert answers(open_index(path)) == before
    for target in (path, small_disk / "another"):
        with pytest.raises(IndexStoreError) as error:
            build_index(random_pictures(10), "quadrants", target)
        text = one_or_two_sentences(error)
        assert f"{target}: the index can't be written: {os.strerror(errno.EROFS)}" in text
    assert answers(open_index(path)) == before


def test_a_collection_that_cannot_be_read_makes_nothing(path, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CollectionError):
        build_index(tmp_path / "empty", "quadrants", path)
    assert not path.exists()


def test_a_link_is_asked_about_by_its_own_name(tmp_path, monkeypatch):
    folder = tmp_path / "photos"
    folder.mkdir()
    save_image(random_pictures(1)[0], folder / "one.png")
    (folder / "link.png").symlink_to("one.png")
    (tmp_path / "outside.png").symlink_to(folder / "one.png")
    index = build_index(folder, "quadrants", workers=1)
    outcomes = {f["path"]: f["outcome"] for f in index.files()}
    assert sorted(outcomes.values()) == ["duplicate", "indexed"]
    for name in outcomes:
        assert index.why(folder / name)["path"] == name
    monkeypatch.chdir(folder)
    assert {name: index.why(name)["outcome"] for name in outcomes} == outcomes
    assert index.why(tmp_path / "outside.png")["path"] == "one.png"
