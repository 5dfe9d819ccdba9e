"""The IDX reader: every right file as NumPy sees it, and for every wrong one a sentence that names it."""

from __future__ import annotations

import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from lookalike.collections.idx import is_idx, labels_beside, read_idx
from lookalike.errors import CollectionError

RNG = np.random.default_rng(3)


def idx_bytes(array, magic=None):
    """Write IDX as its description has it: two zeros, the type, the number of dimensions, the sizes, the bytes."""
    magic = bytes([0, 0, 8, array.ndim]) if magic is None else magic
    return magic + b"".join(struct.pack(">I", n) for n in array.shape) + array.tobytes()


def pixels(*shape):
    return RNG.integers(0, 256, shape, np.uint8)


def refused(path, dimensions=(3, 4)):
    with pytest.raises(CollectionError) as caught:
        read_idx(path, dimensions)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("shape", [(5,), (1,), (3, 7, 4), (1, 1, 1), (0, 28, 28), (2, 3, 5, 3)])
def test_a_file_is_read_as_it_was_written(tmp_path, shape, zipped):
    array = pixels(*shape)
    path = tmp_path / "some-name"
    path.write_bytes(gzip.compress(idx_bytes(array)) if zipped else idx_bytes(array))
    read = read_idx(str(path), (len(shape),))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array)


def test_a_gzip_file_of_several_members_is_one_file(tmp_path):
    array = pixels(2, 3, 3)
    data = idx_bytes(array)
    path = tmp_path / "parts.idx.gz"
    path.write_bytes(gzip.compress(data[:9]) + gzip.compress(data[9:]))
    np.testing.assert_array_equal(read_idx(path, (3,)), array)


@pytest.mark.parametrize(
    "magic",
    [b"\0\0\x08\x02", b"\0\0\x09\x03", b"\0\0\x0d\x03", b"\0\x01\x08\x03", b"\x01\0\x08\x03", b"\x89PNG", b"\x93NUM"],
)
def test_another_magic_number_is_named_beside_those_expected(tmp_path, magic):
    path = tmp_path / "images-idx3-ubyte"
    path.write_bytes(idx_bytes(pixels(2, 3, 3), magic))
    message = refused(path)
    assert f"0x{magic.hex()}" in message
    assert "0x00000803 or 0x00000804" in message


def test_labels_given_as_images_and_images_given_as_labels_are_told_apart(tmp_path):
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.write_bytes(idx_bytes(pixels(2, 3, 3)))
    labels.write_bytes(idx_bytes(pixels(2)))
    assert "(labels)" in refused(labels)
    assert "(images)" in refused(images, (1,))


@pytest.mark.parametrize("zipped", [False, True])
def test_a_file_cut_anywhere_is_refused(tmp_path, zipped):
    whole = idx_bytes(pixels(2, 4, 4))
    path = tmp_path / "images-idx3-ubyte"
    for length in range(len(whole)):
        path.write_bytes(gzip.compress(whole[:length]) if zipped else whole[:length])
        message = refused(path)
        expected = "too short" if length < 4 else "within its header" if length < 16 else f"holds {length - 16:,} bytes"
        assert expected in message
        assert "fetch it again" in message


def test_a_gzip_stream_cut_or_damaged_anywhere_is_refused(tmp_path):
    whole = gzip.compress(idx_bytes(pixels(2, 4, 4)), mtime=0)
    path = tmp_path / "images-idx3-ubyte.gz"
    for length in range(3, len(whole)):
        path.write_bytes(whole[:length])
        assert "cut short" in refused(path)
    for place in range(10, len(whole)):  # the ten bytes before are gzip's header, which says nothing of the data
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        refused(path)


def test_the_checksum_is_looked_at_where_the_data_fill_whole_blocks(tmp_path):
    data = gzip.compress(idx_bytes(np.zeros((1, 1024, 1024), np.uint8)))
    path = tmp_path / "images-idx3-ubyte.gz"
    path.write_bytes(data[:-8] + bytes([data[-8] ^ 1]) + data[-7:])
    assert "CRC" in refused(path)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_file_longer_than_its_header_says_is_refused(tmp_path, zipped):
    data = idx_bytes(pixels(2, 4, 4)) + b"\0"
    path = tmp_path / "images-idx3-ubyte"
    path.write_bytes(gzip.compress(data) if zipped else data)
    message = refused(path)
    assert "too long" in message
    assert "32 (2 x 4 x 4)" in message


def test_an_empty_file_a_missing_one_and_a_folder_are_refused(tmp_path):
    empty = tmp_path / "empty"
    empty.touch()
    assert "0 bytes" in refused(empty)
    assert "No such file" in refused(tmp_path / "nowhere")
    assert "directory" in refused(tmp_path)


def test_no_header_and_no_gzip_stream_makes_it_take_more_memory_than_they_are_worth(tmp_path):
    """A header that states 2^96 bytes over 8, and a stream of 64 MB behind a header that states 8."""
    boast, bomb = tmp_path / "boast", tmp_path / "bomb.gz"
    boast.write_bytes(b"\0\0\x08\x03" + b"\xff" * 12 + b"12345678")
    bomb.write_bytes(gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 8) + bytes(1 << 26)))
    tracemalloc.start()
    try:
        assert "cut short: it holds 8 bytes" in refused(boast)
        assert "too long" in refused(bomb, (1,))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("train-images-idx3-ubyte", b"", True),
        ("train-images-idx3-ubyte.gz", b"", True),
        ("train-images.idx3-ubyte", b"", True),
        ("digits.idx", b"", True),
        ("DIGITS.IDX.GZ", b"", True),
        ("unnamed", b"\0\0\x08\x03", True),
        ("unnamed", b"\x1f\x8b\x08", True),
        ("cat-idx3.jpg", b"\xff\xd8\xff", False),
        ("cat.png", b"\x89PNG", False),
        ("empty", b"", False),
    ],
)
def test_an_idx_file_is_told_by_its_name_or_its_first_bytes(tmp_path, name, content, expected):
    path = tmp_path / name
    path.write_bytes(content)
    assert is_idx(path) is expected


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte"),
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz"),
        ("photos-images-idx4-ubyte", "photos-labels-idx1-ubyte"),
        ("my-images.idx", "my-labels.idx"),
    ],
)
def test_labels_are_found_beside_their_images(tmp_path, images, labels):
    assert labels_beside(tmp_path / images) is None
    (tmp_path / labels).touch()
    (tmp_path / "other-labels-idx1-ubyte").touch()
    assert labels_beside(tmp_path / images) == tmp_path / labels


def test_a_file_is_never_taken_for_its_own_labels(tmp_path):
    path = tmp_path / "digits.idx"
    path.touch()
    assert labels_beside(path) is None
