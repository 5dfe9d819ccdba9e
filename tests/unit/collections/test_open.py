"""One notion of a collection over folders, IDX files, arrays, single images and names."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import subprocess
import sys
import zipfile

import numpy as np
import PIL.Image
import pytest

import lookalike
from image_files import read_image
from lookalike import open_collection
from lookalike.collections.entries import DEFAULT_SIDE, ReadOptions
from lookalike.collections.open import Collection
from lookalike.collections.tasks import read_caption
from lookalike.errors import CollectionError, ImageError, UsageError
from lookalike.imaging.limits import Limits
from lookalike.imaging.resize import fit_to

RNG = np.random.default_rng(17)


def pixels(*shape):
    return RNG.integers(0, 256, shape, np.uint8)


def write_idx(path, array):
    data = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_image(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(array).save(path)
    return path


def refused(source, error=CollectionError, **options):
    with pytest.raises(error) as caught:
        open_collection(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def gathered(collection, size=1024):
    """Return all that its batches hold: positions, images, failures."""
    batches = list(collection.batches(size))
    assert all(len(b.positions) == len(b.images) for b in batches)
    assert all(b.images.dtype == np.uint8 and b.images.shape[1:] == collection.shape for b in batches)
    positions = np.concatenate([b.positions for b in batches]).tolist()
    return positions, np.concatenate([b.images for b in batches]), [f for b in batches for f in b.failures]


# Names ----------------------------------------------------------------------------------------------------------------


def test_mnist_is_there_by_name(digits, monkeypatch):
    monkeypatch.delenv("LOOKALIKE_DATA", raising=False)
    images, labels = digits
    test = open_collection("mnist:test")
    assert (test.name, len(test), test.shape) == ("mnist:test", 10_000, (28, 28))
    np.testing.assert_array_equal(test.array()[:200], images)
    assert test.labels[:200].tolist() == labels
    assert test.ids[9_999] == "9999"
    train = open_collection("mnist")
    assert (train.name, len(train)) == ("mnist:train", 60_000)
    assert train.labels[:5].tolist() == ["5", "0", "4", "1", "9"]


def test_a_built_in_name_means_the_same_everywhere(tmp_path, monkeypatch):
    """A folder that happens to bear the name is reached by its path."""
    write_image(tmp_path / "mnist" / "a.png", pixels(3, 3))
    monkeypatch.chdir(tmp_path)
    assert len(open_collection("mnist:test")) == 10_000
    assert len(open_collection("mnist")) == 60_000
    assert list(open_collection("./mnist").ids) == ["a.png"]


@pytest.mark.parametrize("name", ["minst", "mnist:tset", "photos", ""])
def test_an_unknown_name_lists_the_known_ones(name):
    message = refused(name, UsageError)
    assert f"'{name.removeprefix('mnist:')}'" in message
    assert "known: " in message
    assert "test" in message


def test_a_path_that_is_not_there_is_said(tmp_path):
    assert refused(tmp_path / "nowhere.png").startswith(f"{tmp_path}/nowhere.png: no such file or folder; give ")
    assert "can't be read" in refused("x" * 5000 + ".png")
    assert "no such file" in refused("a\0b.png")


# A few of them --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ("[7]", range(7, 8)),
        ("[0]", range(1)),
        ("[9999]", range(9999, 10_000)),
        ("[10:20]", range(10, 20)),
        ("[9995:]", range(9995, 10_000)),
        ("[:3]", range(3)),
        ("[:]", range(10_000)),
        ("[100:200][5:9]", range(105, 109)),
    ],
)
def test_a_selection_keeps_ids_and_labels(selection, expected):
    every, some = open_collection("mnist:test"), open_collection(f"mnist:test{selection}")
    assert list(some.ids) == [str(i) for i in expected]
    assert (some.name, some.whole, some.source) == (f"mnist:test{selection}", "mnist:test", "mnist:test")
    assert some.labels.tolist() == every.labels[list(expected)].tolist()
    np.testing.assert_array_equal(some.array(), every.array()[list(expected)])


@pytest.mark.parametrize("selection", ["[10000]", "[5:10001]", "[7:7]", "[9:3]", "[10000:]", "[0:0]"])
def test_a_selection_outside_says_how_many_there_are(selection):
    message = refused(f"mnist:test{selection}", UsageError)
    assert "mnist:test holds 10,000 images, 0 to 9,999" in message


def test_a_selection_without_a_number_says_how_to_write_one():
    assert "write [7] or [10:20]" in refused("mnist:test[]", UsageError)


def test_a_selection_of_a_file_or_a_folder(tmp_path):
    array = pixels(5, 4, 4)
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(open_collection(f"{tmp_path / 'a.npy'}[1:3]").array(), array[1:3])
    for i in range(3):
        write_image(tmp_path / "folder" / f"{i}.png", array[i])
    assert list(open_collection(f"{tmp_path / 'folder'}[1:]").ids) == ["1.png", "2.png"]


def test_brackets_in_the_name_of_a_real_path_are_part_of_it(tmp_path):
    """The path wins over the selection; a selection may follow it."""
    for i in range(4):
        write_image(tmp_path / "photos[2]" / f"{i}.png", pixels(3, 3))
    assert len(open_collection(tmp_path / "photos[2]")) == 4
    assert list(open_collection(f"{tmp_path}/photos[2][1:3]").ids) == ["1.png", "2.png"]


@pytest.mark.slow
def test_take_keeps_order_ids_labels_and_reads_the_same_images(tmp_path):
    array = pixels(6, 5, 5)
    for i in range(6):
        write_image(tmp_path / "ab"[i % 2] / f"{i}.png", array[i])
    for collection in (open_collection(array, labels=list("uvwxyz")), open_collection(tmp_path)):
        some = collection.take(np.array([4, 0, 4, 2]))
        assert list(some.ids) == [collection.ids[i] for i in (4, 0, 4, 2)]
        assert some.labels.tolist() == collection.labels[[4, 0, 4, 2]].tolist()
        whole = collection.array()
        np.testing.assert_array_equal(some.array(), whole[[4, 0, 4, 2]])
        np.testing.assert_array_equal(some.read(3), collection.read(2))
        np.testing.assert_array_equal(some.take([3, 0]).array(), whole[[2, 4]])
        assert len(collection.take([])) == 0
        with pytest.raises(IndexError):
            collection.take([6])


# IDX ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_an_idx_file_brings_the_labels_beside_it(tmp_path, ending):
    images, labels = pixels(4, 6, 5), np.array([3, 1, 0, 9], np.uint8)
    path = write_idx(tmp_path / f"my-images-idx3-ubyte{ending}", images)
    assert open_collection(path).labels is None
    write_idx(tmp_path / f"my-labels-idx1-ubyte{ending}", labels)
    collection = open_collection(path)
    assert (collection.name, collection.shape, len(collection)) == (str(path), (6, 5), 4)
    np.testing.assert_array_equal(collection.array(), images)
    assert collection.labels.tolist() == ["3", "1", "0", "9"]
    assert not collection.resized


def test_an_idx_file_of_narrow_grey_images_is_not_one_colour_image(tmp_path):
    assert open_collection(write_idx(tmp_path / "a.idx", pixels(4, 6, 3))).shape == (6, 3)


def test_an_idx_file_of_four_dimensions_holds_colour_or_grey(tmp_path):
    colour, grey = pixels(2, 4, 5, 3), pixels(2, 4, 5, 1)
    np.testing.assert_array_equal(open_collection(write_idx(tmp_path / "c.idx", colour)).array(), colour)
    np.testing.assert_array_equal(open_collection(write_idx(tmp_path / "g.idx", grey)).array(), grey[..., 0])
    assert "(2, 4, 5, 2), expected" in refused(write_idx(tmp_path / "two.idx", pixels(2, 4, 5, 2)))


def test_what_is_wrong_with_an_idx_file_names_the_file(tmp_path):
    path = write_idx(tmp_path / "images-idx3-ubyte", pixels(3, 4, 4))
    labels = write_idx(tmp_path / "labels-idx1-ubyte", pixels(2))
    assert refused(path) == f"{path} and {labels}: 3 images but 2 labels; give one label an image"
    assert refused(labels).startswith(f"{labels}: begins with the magic number 0x00000801 (labels)")
    labels.write_bytes(labels.read_bytes()[:-1])
    assert refused(path).startswith(f"{labels}: cut short")
    none = write_idx(tmp_path / "none.idx", pixels(0, 28, 28))
    assert refused(none) == f"{none}: an array of shape (0, 28, 28), which holds no images"
    empty = tmp_path / "empty-idx3-ubyte"
    empty.touch()
    assert refused(empty).startswith(f"{empty}: 0 bytes")


# Arrays and NumPy files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "shape"),
    [
        (pixels(3, 5, 4), (3, 5, 4)),
        (pixels(3, 5, 4, 3), (3, 5, 4, 3)),
        (pixels(3, 5, 4, 1), (3, 5, 4)),
        (pixels(5, 4), (1, 5, 4)),
        (pixels(5, 4, 3), (1, 5, 4, 3)),
        (pixels(5, 4, 1), (1, 5, 4)),
        (pixels(1, 1, 1, 3), (1, 1, 1, 3)),
    ],
)
def test_arrays_of_every_layout(tmp_path, array, shape):
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "images.npz", images=array, other=1)
    np.savez_compressed(tmp_path / "x.npz", x=array)
    for source in (array, tmp_path / "a.npy", tmp_path / "images.npz", tmp_path / "x.npz"):
        collection = open_collection(source)
        assert collection.shape == shape[1:]
        assert list(collection.ids) == [str(i) for i in range(shape[0])]
        assert collection.labels is None
        np.testing.assert_array_equal(collection.array(), array.reshape(shape))


def test_floats_are_scaled_and_the_callers_array_is_left_alone():
    array = np.array([[[0, 0.5], [1, 0.2]]])
    before = array.copy()
    assert open_collection(array).array().tolist() == [[[0, 128], [255, 51]]]
    assert open_collection(array * 255).array().tolist() == [[[0, 128], [255, 51]]]
    np.testing.assert_array_equal(array, before)


def test_labels_come_along_from_npz_as_text(tmp_path):
    path = tmp_path / "a.npz"
    for labels in ([3, 1], ["drei", "één"], [True, False], [0.5, 1.5]):
        for image_key, label_key in (("images", "labels"), ("x", "y")):
            np.savez(path, **{image_key: pixels(2, 4, 4), label_key: labels})
            assert open_collection(path).labels.tolist() == [str(label) for label in labels]
    np.savez(path, images=pixels(2, 4, 4), labels=np.array(["één".encode(), b"\xff"]))
    assert open_collection(path).labels.tolist() == ["één", "\\xff"]
    np.savez(path, images=pixels(2, 4, 4), labels=[1, 2, 3])
    assert refused(path) == f"{path}: 2 images but 3 labels; give one label an image"
    np.savez(path, images=pixels(2, 4, 4), labels=[[1], [2]])
    assert "labels of shape (2, 1)" in refused(path)


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.full((1, 2, 2), np.nan), "NaN or infinity at [0, 0, 0]"),
        (np.array([[[0.0, -1.0]]]), "values from -1 to 0"),
        (np.array([[[0.0, 300.0]]]), "values from 0 to 300"),
        (pixels(2, 4, 5, 2), "an array of shape (2, 4, 5, 2), expected (n, h, w), (n, h, w, 1) or (n, h, w, 3)"),
        (pixels(7), "an array of shape (7,), expected"),
        (pixels(1, 2, 3, 4, 3), "expected (n, h, w)"),
        (np.array(3), "an array of shape (), expected"),
        (pixels(0, 28, 28), "an array of shape (0, 28, 28), which holds no images"),
        (pixels(3, 0, 28), "holds no images"),
        (np.array([["a", "b"]]), "pixels of type <U1"),
    ],
)
def test_arrays_that_are_no_images_are_refused(tmp_path, array, why):
    assert refused(array).startswith("array: ")
    assert why in refused(array)
    np.save(tmp_path / "a.npy", array)
    assert f"{tmp_path / 'a.npy'}: " in refused(tmp_path / "a.npy")
    assert why in refused(tmp_path / "a.npy")


def test_python_objects_are_never_loaded(tmp_path):
    """Unpickling them would run whatever the file says."""

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    trap = np.empty((1, 2, 2), object)
    trap[0, 0, 0] = Trap()
    np.save(tmp_path / "a.npy", trap, allow_pickle=True)
    np.savez(tmp_path / "a.npz", images=trap)
    for name in ("a.npy", "a.npz"):
        assert "Python objects, which are never loaded" in refused(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_an_npz_without_images_says_what_it_holds(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, photos=pixels(2, 2, 2), y=[1, 2])
    assert refused(path) == f"{path}: holds photos, y; expected an array named images or x"
    np.savez(path)
    assert "holds nothing" in refused(path)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_a_damaged_numpy_file_is_refused_or_read(tmp_path, name):
    """Cut or changed anywhere, it is a collection or a CollectionError; never another error."""
    path, rng = tmp_path / name, np.random.default_rng(2)
    array = pixels(3, 6, 5)
    np.save(path, array) if name == "a.npy" else np.savez_compressed(path, images=array)
    whole = path.read_bytes()
    for length in [0, *rng.integers(1, len(whole), 40)]:
        path.write_bytes(whole[:length])
        assert "not a NumPy file that can be read" in refused(path)
    outcomes = set()
    for _ in range(300):
        data = bytearray(whole)
        data[rng.integers(0, min(len(data), 140))] = rng.integers(0, 256)
        path.write_bytes(data)
        try:
            outcomes.add(type(open_collection(path)))
        except CollectionError:
            outcomes.add(CollectionError)
    assert CollectionError in outcomes
    path.write_text("a text file under a wrong name, long enough to hold a header")
    assert refused(path).endswith("not a NumPy file that can be read: it doesn't begin as one; save it again")


# Folders --------------------------------------------------------------------------------------------------------------


def test_a_folder_is_searched_with_its_subfolders_which_are_labels(tmp_path):
    red, blue, deep = pixels(9, 9, 3), pixels(9, 9, 3), pixels(9, 9, 3)
    write_image(tmp_path / "red" / "b.png", red)
    write_image(tmp_path / "blue" / "a.BMP", blue)
    write_image(tmp_path / "blue" / "dark" / "z.png", deep)
    (tmp_path / "red" / "notes.txt").write_text("no image")
    collection = open_collection(tmp_path)
    assert list(collection.ids) == ["blue/a.BMP", "blue/dark/z.png", "red/b.png"]
    assert collection.labels.tolist() == ["blue", "blue/dark", "red"]
    assert collection.name == str(tmp_path)
    assert collection.resized
    np.testing.assert_array_equal(collection.array(), [blue, deep, red])


def test_without_subfolders_for_all_there_are_no_labels(tmp_path):
    write_image(tmp_path / "a.png", pixels(3, 3))
    assert open_collection(tmp_path).labels is None
    write_image(tmp_path / "sub" / "b.png", pixels(3, 3))
    assert open_collection(tmp_path).labels is None
    assert open_collection(tmp_path, labels=["one", 2]).labels.tolist() == ["one", "2"]


def test_hidden_files_and_folders_are_left_out(tmp_path):
    for name in ("seen.png", ".hidden.png", ".thumbnails/a.png", "sub/.cache/b.png", ".lookalike/c.png"):
        write_image(tmp_path / name, pixels(3, 3))
    assert list(open_collection(tmp_path).ids) == ["seen.png"]
    hidden = tmp_path / ".thumbnails"
    assert list(open_collection(hidden).ids) == ["a.png"], "a hidden folder that is asked for is searched"


def test_a_folder_without_images_says_what_was_looked_for(tmp_path):
    assert refused(tmp_path).startswith(f"{tmp_path}: no images in this folder; looked for .")
    assert ".jpg" in refused(tmp_path)


@pytest.mark.slow
def test_a_size_that_all_share_is_kept_and_mixed_ones_become_square(tmp_path):
    for i in range(3):
        write_image(tmp_path / f"{i}.png", pixels(20, 30))
    assert open_collection(tmp_path).shape == (20, 30)
    other = write_image(tmp_path / "other.png", pixels(20, 31))
    collection = open_collection(tmp_path)
    assert collection.shape == (DEFAULT_SIDE, DEFAULT_SIDE)
    np.testing.assert_array_equal(collection.array()[3], fit_to(read_image(other), (64, 64)))
    np.testing.assert_array_equal(collection.read(3), read_image(other))


def test_a_large_shared_size_is_brought_down(tmp_path):
    path = write_image(tmp_path / "a.png", pixels(128, 100))
    assert open_collection(tmp_path).shape == (128, 100)
    write_image(path, pixels(129, 100))
    assert open_collection(tmp_path).shape == (64, 64)


def test_one_colour_image_makes_the_collection_colour(tmp_path):
    grey = pixels(8, 8)
    write_image(tmp_path / "a.png", grey)
    assert open_collection(tmp_path).shape == (8, 8)
    write_image(tmp_path / "b.png", pixels(8, 8, 3))
    collection = open_collection(tmp_path)
    assert collection.shape == (8, 8, 3)
    np.testing.assert_array_equal(collection.array()[0], np.stack([grey] * 3, -1))


def test_pictures_on_their_side_share_a_size_once_upright(tmp_path):
    exif = PIL.Image.Exif()
    exif[274] = 6
    write_image(tmp_path / "upright.jpg", pixels(20, 10, 3))
    PIL.Image.fromarray(pixels(10, 20, 3)).save(tmp_path / "turned.jpg", exif=exif)
    assert open_collection(tmp_path).shape == (20, 10, 3)


def test_of_a_large_folder_files_from_all_over_are_looked_at(tmp_path):
    for i in range(300):
        write_image(tmp_path / f"{i:03}.png", pixels(2, 2) if i < 260 else pixels(2, 3))
    collection = open_collection(tmp_path)
    assert collection.shape == (64, 64)
    assert len(collection) == 300


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_damaged_file_is_reported_at_its_position_and_shifts_nothing(tmp_path, size):
    array = pixels(7, 6, 6)
    for i in range(7):
        write_image(tmp_path / f"{i}.png", array[i])
    (tmp_path / "2.png").write_bytes(b"not an image")
    (tmp_path / "5.png").write_bytes((tmp_path / "5.png").read_bytes()[:60])
    collection = open_collection(tmp_path)
    assert len(collection) == 7
    positions, images, failures = gathered(collection, size)
    assert positions == [0, 1, 3, 4, 6]
    np.testing.assert_array_equal(images, array[positions])
    assert [(f.position, f.stage) for f in failures] == [(2, "decode"), (5, "decode")]
    assert all(str(tmp_path / collection.ids[f.position]) in f.reason for f in failures)
    np.testing.assert_array_equal(collection.array(), array[positions])
    with pytest.raises(ImageError):
        collection.read(2)


@pytest.mark.slow
def test_a_folder_of_which_nothing_can_be_read_says_why(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"")
    collection = open_collection(tmp_path)
    positions, images, failures = gathered(collection)
    assert (positions, len(images), len(failures)) == ([], 0, 2)
    with pytest.raises(CollectionError, match=r"none of its 2 images can be read; the first: .*a\.png: an empty file"):
        collection.array()


def test_a_file_that_vanished_since_is_a_failure(tmp_path):
    write_image(tmp_path / "a.png", pixels(3, 3))
    gone = write_image(tmp_path / "b.png", pixels(3, 3))
    collection = open_collection(tmp_path)
    gone.unlink()
    assert [f.position for f in gathered(collection)[2]] == [1]


def test_names_in_any_script_are_kept(tmp_path):
    names = ["café.png", "東京/塔.png", "нос/ухо.png", "with space & 'quotes'.png"]
    for name in names:
        write_image(tmp_path / name, pixels(3, 3))
    collection = open_collection(tmp_path)
    assert sorted(collection.ids) == sorted(names)
    assert len(collection.array()) == 4


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_name_that_is_no_utf_8_can_be_stored_and_printed(tmp_path):
    try:
        write_image(tmp_path / os.fsdecode(b"caf\xe9.png"), pixels(3, 3))
        (tmp_path / os.fsdecode(b"\xff.png")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    collection = open_collection(tmp_path)
    assert sorted(collection.ids) == ["\\udcff.png", "caf\\udce9.png"]
    _, images, failures = gathered(collection)
    assert len(images) == len(failures) == 1
    failures[0].reason.encode()


def test_an_image_is_told_by_its_content_where_its_ending_says_nothing(tmp_path):
    array = pixels(2, 6, 6)
    for i, name in enumerate(("photo", "b.JPG_original")):
        write_image(tmp_path / "x.png", array[i]).rename(tmp_path / name)
    (tmp_path / "notes.md").write_text("no image")
    (tmp_path / "empty").touch()
    collection = open_collection(tmp_path)
    assert list(collection.ids) == ["b.JPG_original", "photo"]
    np.testing.assert_array_equal(collection.array(), array[::-1])
    assert [entry.id for entry in collection.entries] == ["b.JPG_original", "empty", "notes.md", "photo"]


def test_a_file_without_an_ending_that_vanished_since_shifts_nothing(tmp_path):
    array = pixels(6, 6)
    write_image(tmp_path / "x.png", pixels(6, 6)).rename(tmp_path / "photo")
    write_image(tmp_path / "y.png", array)
    collection = open_collection(tmp_path)
    assert list(collection.ids) == ["photo", "y.png"]
    some = collection.take([0, 1])
    (tmp_path / "photo").unlink()
    for opened in (collection, some):
        positions, images, [failure] = gathered(opened)
        assert (positions, failure.position, failure.stage) == ([1], 0, "read")
        np.testing.assert_array_equal(images, [array])


def test_captions_are_no_images_and_belong_to_theirs(tmp_path):
    write_image(tmp_path / "cat.png", pixels(3, 3))
    (tmp_path / "cat.txt").write_text("a cat")
    collection = open_collection(tmp_path)
    assert list(collection.ids) == ["cat.png"]
    assert [entry.outcome for entry in collection.entries] == [None, "caption"]
    assert read_caption(collection.entries[0]) == "a cat"


@pytest.mark.skipif(os.name == "nt", reason="Windows makes links for administrators only")
def test_what_is_known_to_be_unreadable_is_a_failure_at_its_position(tmp_path):
    array = pixels(2, 3, 3)
    write_image(tmp_path / "a.png", array[0])
    (tmp_path / "b.png").symlink_to("nowhere.png")
    write_image(tmp_path / "c.png", array[1])
    (tmp_path / "loop").symlink_to(".")
    collection = open_collection(tmp_path)
    assert list(collection.ids) == ["a.png", "b.png", "c.png"]
    positions, images, [failure] = gathered(collection, 2)
    assert positions == [0, 2]
    np.testing.assert_array_equal(images, array)
    assert failure == (1, "list", f"{tmp_path}/b.png: a link to a file that doesn't exist; mend or remove it")
    with pytest.raises(ImageError, match="doesn't exist"):
        collection.read(1)


def test_files_are_chosen_by_patterns(tmp_path):
    for name in ("a.png", "b.png", "sub/a.png", ".hidden/c.png"):
        write_image(tmp_path / name, pixels(3, 3))
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as z:
        for name in ("a.png", "b.png", "sub/a.png", ".hidden/c.png"):
            z.write(tmp_path / name, name)
    for source in (tmp_path, tmp_path / "packed.zip"):
        assert list(open_collection(source, include=["a.*"]).ids) == ["a.png", "sub/a.png"]
        assert list(open_collection(source, exclude=["sub", "b.*"]).ids) == ["a.png"]
        assert ".hidden/c.png" in open_collection(source, hidden=True).ids
        assert "that the patterns leave" in refused(source, include=["*.gif"])
    options = open_collection(tmp_path, include=["*.png"], each=True, limits=Limits(pixels=9)).options
    assert options == ReadOptions(("*.png",), (), False, True, limits=Limits(pixels=9))


def test_limits_count_however_a_file_is_read(tmp_path):
    write_image(tmp_path / "a.png", pixels(3, 4))
    write_image(tmp_path / "b.png", pixels(3, 3))
    collection = open_collection(tmp_path, limits=Limits(pixels=9))
    assert gathered(collection)[0] == [1]
    for read in (lambda: collection.read(0), lambda: collection.fitted(0, (2, 2))):
        with pytest.raises(ImageError, match="more than 9 pixels"):
            read()
    assert "more than 9 pixels" in refused(tmp_path / "a.png", ImageError, limits=Limits(pixels=9))


@pytest.mark.slow
def test_files_are_decoded_in_other_processes_only(tmp_path):
    """What a codec does to its process, it does not do to this one: here none is ever loaded."""
    for i in range(3):
        write_image(tmp_path / "photos" / f"{i}.jpg", pixels(20, 30, 3))
    shutil.make_archive(tmp_path / "packed", "zip", tmp_path / "photos")
    (tmp_path / "list.txt").write_text("photos/0.jpg\nphotos/1.jpg\nphotos/2.jpg\n")
    code = """
import sys, lookalike
collection = lookalike.open_collection(sys.argv[1])
assert len(collection) == 3 and collection.shape == (20, 30, 3) and len(collection.array()) == 3
assert "PIL" not in sys.modules
"""
    for name in ("photos", "packed.zip", "list.txt"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True)


@pytest.mark.parametrize("size", [(900, 700), (1600, 1200), (3000, 1000), (4000, 3000)])
def test_an_image_fitted_here_is_the_same_as_in_a_batch(tmp_path, size):
    """Large JPEGs are decoded at a reduced size, here as there; a query is compared with what was indexed."""
    PIL.Image.fromarray(pixels(9, 9, 3)).resize(size).save(tmp_path / "a.jpg")
    write_image(tmp_path / "b.png", pixels(20, 30, 3))
    collection = open_collection(tmp_path)
    for i, image in enumerate(collection.array()):
        np.testing.assert_array_equal(collection.fitted(i, (64, 64, 3)), image)
        np.testing.assert_array_equal(collection.take([1, i]).fitted(1, (64, 64, 3)), image)
    np.testing.assert_array_equal(
        open_collection(tmp_path / "a.jpg").fitted(0, (64, 64, 3)), collection.fitted(0, (64, 64, 3))
    )


# Archives and lists ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_an_archive_is_the_folder_that_was_packed(tmp_path, kind):
    for i, name in enumerate(("red/a.png", "red/b.png", "blue/a.png", "blue/notes.md")):
        write_image(tmp_path / "photos" / f"{name}.png", pixels(6, 5 + i % 2)).rename(tmp_path / "photos" / name)
    (tmp_path / "photos" / "blue" / "notes.md").write_text("no image")
    folder = open_collection(tmp_path / "photos")
    packed = open_collection(shutil.make_archive(tmp_path / "packed", kind, tmp_path / "photos"))
    assert sorted(packed.ids) == list(folder.ids)
    assert packed.shape == folder.shape
    order = [folder.ids.index(name) for name in packed.ids]
    assert packed.labels.tolist() == folder.labels[order].tolist()
    np.testing.assert_array_equal(packed.array(), folder.array()[order])
    np.testing.assert_array_equal(packed.read(0), folder.read(order[0]))
    some = packed.take([2, 0])
    np.testing.assert_array_equal(some.array(), packed.array()[[2, 0]])
    assert [entry.id for entry in some.entries] == [packed.ids[2], packed.ids[0]]


def test_a_list_keeps_its_order_labels_and_what_else_it_says(tmp_path):
    array = pixels(3, 6, 5)
    for i in range(3):
        write_image(tmp_path / f"{i}.png", array[i])
    (tmp_path / "l.csv").write_text("path,label,who\n2.png,x,ann\n0.png,y,bob\nnowhere.png,x,\n")
    collection = open_collection(tmp_path / "l.csv")
    assert list(collection.ids) == ["2.png", "0.png", "nowhere.png"]
    assert collection.labels.tolist() == ["x", "y", "x"]
    assert collection.entries[1].metadata == {"who": "bob"}
    positions, images, [failure] = gathered(collection)
    assert positions == [0, 1]
    np.testing.assert_array_equal(images, array[[2, 0]])
    assert (failure.position, failure.stage) == (2, "list")
    assert list(open_collection(f"{tmp_path}/l.csv[1:2]").ids) == ["0.png"]


def test_an_archive_or_a_list_without_images_says_so(tmp_path):
    (tmp_path / "notes.md").write_text("no image")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as z:
        z.writestr("notes.md", "no image")
    (tmp_path / "l.txt").write_text("notes.md")
    assert "no images in this archive" in refused(tmp_path / "a.zip")
    assert "no images in this list" in refused(tmp_path / "l.txt")


# What it is called ----------------------------------------------------------------------------------------------------


def test_a_collection_says_what_it_is_wherever_one_stands(tmp_path, monkeypatch):
    write_image(tmp_path / "photos" / "a.png", pixels(4, 4))
    np.save(tmp_path / "a.npy", pixels(2, 4, 4))
    write_idx(tmp_path / "a.idx", pixels(2, 4, 4))
    (tmp_path / "l.txt").write_text("photos/a.png")
    shutil.make_archive(tmp_path / "packed", "zip", tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    for name, kind, ordered in (
        ("photos", "files", False),
        ("packed.zip", "files", False),
        ("l.txt", "files", True),
        ("photos/a.png", "array", True),
        ("a.npy", "array", True),
        ("a.idx", "array", True),
    ):
        for given in (name, f"{name}[0]", f"photos/../{name}"):
            collection = open_collection(given)
            assert (collection.source, collection.kind) == (str(tmp_path / name), kind)
            assert collection.ordered == ordered
            assert (collection.entries is None) == (kind == "array")
            assert collection.name == given
            assert collection.whole == given.removesuffix("[0]")
    assert open_collection(pixels(2, 4, 4)).source == "array"
    assert repr(open_collection("photos")) == "<Collection 'photos' of kind files>"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_pipes_are_passed_over_not_waited_for(tmp_path):
    write_image(tmp_path / "a.png", pixels(3, 3))
    os.mkfifo(tmp_path / "b.png")
    assert list(open_collection(tmp_path).ids) == ["a.png"]
    assert "neither a file nor a folder" in refused(tmp_path / "b.png")


# One image ------------------------------------------------------------------------------------------------------------


def test_one_image_file_is_a_collection_of_one(tmp_path):
    array = pixels(70, 30, 3)
    path = write_image(tmp_path / "photo.png", array)
    collection = open_collection(str(path))
    assert (collection.name, list(collection.ids), collection.shape) == (str(path), ["photo.png"], (70, 30, 3))
    assert collection.labels is None
    assert collection.resized
    np.testing.assert_array_equal(collection.array(), array[None])


def test_one_file_that_is_no_image_is_refused(tmp_path):
    path = tmp_path / "letter.jpg"
    path.write_text("Dear Sir or Madam")
    with pytest.raises(ImageError, match="not an image"):
        open_collection(path)


# Options --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("size", "shape"), [(9, (9, 9)), ((4, 12), (4, 12)), (6, (6, 6))])
def test_a_size_is_taken_by_every_kind(tmp_path, size, shape):
    array = pixels(3, 6, 6)
    np.save(tmp_path / "a.npy", array)
    write_idx(tmp_path / "a.idx", array)
    for i in range(3):
        write_image(tmp_path / "folder" / f"{i}.png", array[i])
    wanted = np.stack([fit_to(image, shape) for image in array])
    for source in (array, tmp_path / "a.npy", tmp_path / "a.idx", tmp_path / "folder"):
        collection = open_collection(source, size=size)
        assert collection.shape == shape
        assert collection.resized
        np.testing.assert_array_equal(collection.array(), wanted)
        np.testing.assert_array_equal(gathered(collection, 2)[1], wanted)
    one = open_collection(tmp_path / "folder" / "1.png", size=size)
    np.testing.assert_array_equal(one.array(), wanted[1:2])


def test_a_size_keeps_colour():
    assert open_collection(pixels(2, 6, 6, 3), size=5).shape == (5, 5, 3)


@pytest.mark.parametrize("size", [0, -3, (0, 5), (5, 0)])
def test_a_size_of_nothing_is_refused(size):
    assert "at least 1 x 1" in refused(pixels(2, 6, 6), UsageError, size=size)


def test_labels_given_replace_those_found():
    collection = open_collection("mnist:test[0:3]", labels=["a", 1, None])
    assert collection.labels.tolist() == ["a", "1", "None"]
    assert refused("mnist:test[0:3]", labels=["a"]).endswith("3 images but 1 labels; give one label an image")


def test_a_collection_is_taken_as_it_is_and_options_still_count():
    first = open_collection(pixels(3, 6, 6))
    assert open_collection(first) is first
    again = open_collection(first, size=9, labels=list("abc"))
    assert again.shape == (9, 9)
    assert again.labels.tolist() == ["a", "b", "c"]
    assert first.shape == (6, 6)
    assert first.labels is None


def test_resizing_twice_starts_from_the_stored_images():
    array = pixels(2, 20, 20)
    once = open_collection(array, size=9)
    twice = open_collection(open_collection(array, size=2), size=9)
    np.testing.assert_array_equal(twice.array(), once.array())


@pytest.mark.parametrize("size", [1, 3, 4, 7, 8, 1000])
def test_batches_cover_all_in_order(size):
    array = pixels(7, 4, 4)
    positions, images, failures = gathered(open_collection(array), size)
    assert positions == list(range(7))
    assert failures == []
    np.testing.assert_array_equal(images, array)


def test_the_package_names_are_these():
    assert lookalike.open_collection is open_collection
    assert lookalike.Collection is Collection


@pytest.mark.slow
def test_arrays_that_inflate_without_end_are_refused_before_they_do(tmp_path):
    import zipfile

    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as z,
        z.open("images.npy", "w", force_zip64=True) as f,
    ):
        np.lib.format.write_array_header_1_0(f, {"descr": "|u1", "fortran_order": False, "shape": (1100, 1024, 1024)})
        for _ in range(1100):
            f.write(bytes(2**20))
    with pytest.raises(CollectionError, match="more than 100 times as many"):
        open_collection(tmp_path / "a.npz")
