"""One entry read: its hash, its pictures or its outcome; in this process and on the leash."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile

import numpy as np
import PIL.Image
import pytest

from archives import pack
from image_files import read_image
from lookalike.collections.archive import list_archive
from lookalike.collections.columns import Entry
from lookalike.collections.entries import _looks_like_image
from lookalike.collections.folder import file_entry, scan
from lookalike.collections.tasks import (
    CAPTION_BYTES,
    from_answer,
    read_caption,
    read_entry,
    read_task,
    to_task,
)
from lookalike.errors import ImageError
from lookalike.imaging.limits import Limits
from lookalike.imaging.resize import fit_to
from lookalike.imaging.sandbox.api import Answer, Sandbox

RNG = np.random.default_rng(23)
SHAPES = [(8, 8), (5, 9, 3)]


def write_image(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(array).save(path)
    return path


def pixels(*shape):
    return RNG.integers(0, 256, shape, np.uint8)


def entry_of(path):
    return file_entry(path.name, str(path), path.name)


def read(entry, shapes=SHAPES, **options):
    """Do as a leash does, in this process: the task and the facts go through JSON."""
    task = json.loads(json.dumps(to_task(entry, f"photos/{entry.id}", shapes, **options)))
    facts, blobs = {}, []
    for found, data in read_task(task):
        facts |= json.loads(json.dumps(found))
        blobs += data
    return from_answer(Answer(facts, blobs))


# What is read ---------------------------------------------------------------------------------------------------------


def test_a_good_file_gives_hash_size_time_and_pictures(tmp_path):
    path = write_image(tmp_path / "a.png", pixels(30, 40, 3))
    reading = read(entry_of(path))
    assert reading.hash == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (reading.size, reading.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert (reading.hashed, reading.outcome, reading.stage, reading.reason) == (False, None, None, None)
    [picture] = reading.pictures
    assert (picture.width, picture.height) == (40, 30)
    for fitted, shape in zip(picture.fitted, SHAPES, strict=True):
        np.testing.assert_array_equal(fitted, fit_to(read_image(path), shape))
    assert PIL.Image.open(io.BytesIO(picture.thumbnail)).size == (40, 30)


def test_the_hash_is_sent_before_anything_is_decoded(tmp_path):
    """A file that kills its decoder is known by its bytes all the same."""
    path = tmp_path / "a.png"
    path.write_bytes(b"not an image")
    first, second = read_task(to_task(entry_of(path), "a.png", SHAPES))
    assert set(first[0]) == {"hash", "size", "mtime_ns"}
    assert (second[0]["outcome"], second[0]["stage"]) == ("unsupported", "decode")


def test_known_bytes_are_not_decoded(tmp_path):
    path = write_image(tmp_path / "a.png", pixels(30, 40, 3))
    known = read(entry_of(path)).hash
    reading = read(entry_of(path), hash_only=True)
    assert (reading.hashed, reading.hash, reading.pictures, reading.outcome) == (True, known, [], None)


def test_each_frame_is_a_picture_if_wanted(tmp_path):
    frames = [PIL.Image.fromarray(pixels(10, 12)) for _ in range(3)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    entry = entry_of(tmp_path / "a.tif")
    assert len(read(entry).pictures) == 1
    pictures = read(entry, [(10, 12)], each=True).pictures
    assert len(pictures) == 3
    for picture, frame in zip(pictures, frames, strict=True):
        np.testing.assert_array_equal(picture.fitted[0], np.asarray(frame))


def test_measuring_gives_the_shape_and_reads_no_more_than_the_header(tmp_path):
    path = write_image(tmp_path / "a.png", pixels(30, 40, 3))
    assert read(entry_of(path), measure=True).shape == (30, 40, 3)
    path.write_bytes(path.read_bytes()[:100])
    reading = read(entry_of(path), measure=True)
    assert (reading.shape, reading.hash) == ((30, 40, 3), None)
    path.write_bytes(b"nothing")
    assert read(entry_of(path), measure=True).outcome == "unsupported"


def test_members_of_archives_are_read_alike(tmp_path):
    path = write_image(tmp_path / "a.png", pixels(30, 40, 3))
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as z:
        z.write(path, "sub/a.png")
    member = Entry("sub/a.png", ("zip", str(tmp_path / "photos.zip"), "sub/a.png"), 0, 0)
    packed, plain = read(member), read(entry_of(path))
    assert (packed.hash, packed.size) == (plain.hash, plain.size)
    assert packed.mtime_ns == (tmp_path / "photos.zip").stat().st_mtime_ns
    np.testing.assert_array_equal(packed.pictures[0].fitted[1], plain.pictures[0].fitted[1])
    assert read(member, measure=True).shape == (30, 40, 3)
    (tmp_path / "photos.zip").unlink()
    assert (read(member).outcome, read(member).stage) == ("gone", "read")


# What can't be --------------------------------------------------------------------------------------------------------


def outcome_of(path, **options):
    reading = read(Entry(path.name, ("file", str(path)), 0, 0), **options)
    assert reading.reason.startswith(f"photos/{path.name}: ")
    assert reading.pictures == []
    return reading.outcome, reading.stage


def test_every_kind_of_bad_file_has_its_outcome(tmp_path):
    path = write_image(tmp_path / "a.png", pixels(30, 40, 3))
    whole = path.read_bytes()
    assert outcome_of(path, limits=Limits(pixels=1199)) == ("bomb", "decode")
    assert outcome_of(path, limits=Limits(bytes=len(whole) - 1)) == ("bomb", "read")
    assert read(entry_of(path), limits=Limits(pixels=1200, bytes=len(whole))).outcome is None
    path.write_bytes(whole[:-30])
    assert outcome_of(path) == ("truncated", "decode")
    path.write_bytes(b"")
    assert outcome_of(path) == ("empty", "decode")
    path.write_text("Dear Sir or Madam")
    assert outcome_of(path) == ("unsupported", "decode")
    path.unlink()
    assert outcome_of(path) == ("gone", "read")
    path.mkdir()
    assert outcome_of(path) == ("unsupported", "read")


def test_a_file_over_the_limit_is_not_read_to_say_so(tmp_path):
    path = tmp_path / "huge.png"
    with path.open("wb") as f:
        f.truncate(1 << 40)  # a terabyte of nothing
    assert outcome_of(path) == ("bomb", "read")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_or_a_device_is_not_waited_for(tmp_path):
    """As when one has taken a file's place since the folder was listed."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    assert outcome_of(tmp_path / "pipe.png") == ("unsupported", "read")
    assert outcome_of(tmp_path / "zero.png") == ("unsupported", "read")
    assert not _looks_like_image(Entry("p", ("file", str(tmp_path / "pipe.png")), 0, 0))


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc on this system")
def test_a_file_whose_size_is_never_what_was_read_is_said_to_change(tmp_path):
    (tmp_path / "a.png").symlink_to("/proc/self/status")
    assert outcome_of(tmp_path / "a.png") == ("unreadable", "read")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is closed to root")
def test_a_closed_file_is_unreadable(tmp_path):
    path = write_image(tmp_path / "a.png", pixels(3, 3))
    path.chmod(0)
    assert outcome_of(path) == ("unreadable", "read")


def test_reading_in_this_process_says_what_the_listing_knew(tmp_path):
    path = write_image(tmp_path / "a.png", pixels(3, 3))
    assert read_entry(entry_of(path), "a") == path.read_bytes()
    with pytest.raises(ImageError, match=r"gone.png: no such file") as caught:
        read_entry(entry_of(tmp_path / "gone.png"), "gone.png")
    assert caught.value.outcome == "gone"


# Answers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "blobs"),
    [
        ({"pictures": [{"width": 1, "height": 1, "thumbnail": False, "shapes": [[2, 2]]}]}, [b"abc"]),
        ({"pictures": [{"width": 1, "height": 1, "thumbnail": True, "shapes": []}]}, []),
        ({"pictures": [{"width": 1, "height": 1, "thumbnail": False, "shapes": []}]}, [b"abc"]),
        ({"pictures": [{"width": "x", "height": 1, "thumbnail": False, "shapes": []}]}, []),
        ({"pictures": [{}]}, []),
        ({"pictures": 7}, []),
        ({"hash": 7}, []),
        ({"outcome": ["bomb"]}, []),
        ({"hashed": True, "size": "large"}, []),
        ({"hashed": True, "size": 2**63}, []),
        ({"hashed": True, "mtime_ns": 0.5}, []),
        ({"hash": "ab" * 16, "size": 3, "mtime_ns": 5}, []),
        ({"hashed": "yes"}, []),
        ({"shape": 3}, []),
    ],
)
def test_an_answer_that_makes_no_sense_is_a_crash(facts, blobs):
    reading = from_answer(Answer(facts, blobs))
    assert (reading.outcome, reading.stage, reading.pictures) == ("crashed", "decode", [])


def test_pictures_of_a_shape_that_was_not_asked_for_are_a_crash(tmp_path):
    answer = Answer({"pictures": [{"width": 1, "height": 1, "thumbnail": False, "shapes": [[2, 2]]}]}, [b"abcd"])
    assert from_answer(answer, [(2, 2)]).pictures[0].fitted[0].tolist() == [[97, 98], [99, 100]]
    assert from_answer(answer, [(1, 4)]).outcome == "crashed"
    assert from_answer(answer, [(2, 2), (2, 2)]).outcome == "crashed"


def test_the_hash_is_kept_of_a_file_that_killed_its_decoder():
    """As a leash answers then: the facts that had come, and its own."""
    facts = {"hash": "ab" * 16, "size": 3, "mtime_ns": 5, "outcome": "timed out", "stage": "decode", "reason": "why"}
    reading = from_answer(Answer(facts, [b"half of a picture"]))
    assert (reading.hash, reading.size, reading.outcome, reading.reason) == ("ab" * 16, 3, "timed out", "why")
    assert reading.pictures == []


def test_on_the_leash_the_answers_are_the_same_and_in_order(tmp_path):
    for i in range(20):
        write_image(tmp_path / f"{i:02}.png", pixels(20 + i, 30, 3))
    (tmp_path / "07.png").write_bytes(b"no image")
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes((tmp_path / "03.png").read_bytes())
    except OSError:
        (tmp_path / "caf.png").write_bytes((tmp_path / "03.png").read_bytes())
    entries = scan(tmp_path).entries
    with Sandbox(workers=2) as sandbox:
        answers = sandbox.map(to_task(entry, f"photos/{entry.id}", SHAPES) for entry in entries)
        readings = [from_answer(answer) for answer in answers]
    for entry, reading in zip(entries, readings, strict=True):
        here = read(entry)
        assert (reading.hash, reading.outcome, reading.reason) == (here.hash, here.outcome, here.reason)
        assert len(reading.pictures) == len(here.pictures)
        for one, other in zip(reading.pictures, here.pictures, strict=True):
            assert one.thumbnail == other.thumbnail
            for fitted, expected in zip(one.fitted, other.fitted, strict=True):
                np.testing.assert_array_equal(fitted, expected)
    assert [reading.outcome for reading in readings].count("unsupported") == 1


# Captions -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"  a cat\non a mat \n", "a cat\non a mat"),
        ("é 東京".encode(), "é 東京"),
        ("\ufeffé".encode(), "é"),
        ("é".encode("utf-16"), "é"),
        ("Joan Miró".encode("latin-1"), "Joan Miró"),
        (b"", None),
        (b" \n", None),
        (b"x" * (CAPTION_BYTES + 9), "x" * CAPTION_BYTES),
        (b"x" + "é".encode() * CAPTION_BYTES, "x" + "é" * (CAPTION_BYTES // 2 - 1)),
    ],
)
def test_a_caption_is_read_as_the_text_it_is(tmp_path, data, expected):
    (tmp_path / "a.png").touch()
    (tmp_path / "a.txt").write_bytes(data)
    image, text = scan(tmp_path).entries
    assert read_caption(image) == expected
    assert read_caption(text) is None
    (tmp_path / "a.txt").unlink()
    assert read_caption(image) is None


@pytest.mark.parametrize("kind", [".zip", ".tar.gz"])
def test_captions_in_archives_are_read(tmp_path, kind):
    image, _ = list_archive(pack(tmp_path / f"p{kind}", {"a/cat.jpg": b"x", "a/cat.txt": b"a cat"}))
    assert read_caption(image) == "a cat"
