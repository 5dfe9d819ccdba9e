"""A sealed file gives back what was put in, and nothing else, whatever byte of it is changed."""

import numpy as np
import pytest

from lookalike.mapped import BLOCK_BYTES, ChecksumError, MappedArrays, writing_mapped

ROWS = 3 * BLOCK_BYTES // 32 + 5  # of 32 bytes: the last block isn't full


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "some.sealed"
    facts = {"what": "numbers"}
    with writing_mapped(path, facts, {"a": ("<f4", (ROWS, 8)), "b": ("<i8", (7,))}) as arrays:
        arrays["a"][:] = numbers()
        arrays["b"][:] = np.arange(7)
    return path


def numbers():
    return np.random.default_rng(0).normal(size=(ROWS, 8)).astype(np.float32)


def test_what_was_put_in_comes_out(file):
    sealed = MappedArrays(file)
    assert sealed.facts == {"what": "numbers"}
    assert ("a" in sealed, "c" in sealed, sealed.shape("a")) == (True, False, (ROWS, 8))
    np.testing.assert_array_equal(sealed.array("a"), numbers())
    np.testing.assert_array_equal(sealed.rows("a", 5, 9), numbers()[5:9])
    np.testing.assert_array_equal(sealed.take("a", [ROWS - 1, 0]), numbers()[[-1, 0]])
    assert sealed.rows("b", 3, 3).shape == (0,)
    assert not sealed.array("a").flags.writeable
    assert [p.name for p in file.parent.iterdir()] == ["some.sealed"]
    sealed.check()


def test_an_error_while_it_is_filled_leaves_the_old_file(file):
    old = file.read_bytes()
    with pytest.raises(ZeroDivisionError), writing_mapped(file, {}, {"a": ("<f4", (3,))}) as arrays:
        arrays["a"][:] = 1 / 0
    assert file.read_bytes() == old
    assert [p.name for p in file.parent.iterdir()] == ["some.sealed"]


def test_whatever_byte_is_changed_no_value_is_wrong(file):
    whole, expected = file.read_bytes(), numbers()
    used = 4 * 4096 + 32 * ROWS
    rng = np.random.default_rng(1)
    noticed = 0
    for at in [*range(20), *rng.integers(0, len(whole), 40).tolist(), used - 1, len(whole) - 1]:
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            np.testing.assert_array_equal(MappedArrays(file).array("a"), expected)
            MappedArrays(file).check()
        except ChecksumError:
            noticed += 1
        else:
            assert 400 < at < 4 * 4096  # between the head and the arrays there is nothing
    assert noticed > 40


def test_only_what_is_touched_is_checked(file):
    data = bytearray(file.read_bytes())
    data[4 * 4096 + BLOCK_BYTES + 3] ^= 1  # in the second block
    file.write_bytes(data)
    sealed = MappedArrays(file)
    some = BLOCK_BYTES // 32
    np.testing.assert_array_equal(sealed.rows("a", 0, some), numbers()[:some])
    np.testing.assert_array_equal(sealed.take("a", [1, 2 * some]), numbers()[[1, 2 * some]])
    for touch in (lambda: sealed.rows("a", 0, some + 1), lambda: sealed.take("a", [some]), lambda: sealed.array("a")):
        with pytest.raises(ChecksumError, match="a block isn't what was written"):
            touch()


@pytest.mark.parametrize("keep", [0, 3, 15, 100, 20_000, -1])
def test_a_file_cut_short_is_noticed_at_once(file, keep):
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ChecksumError):
        MappedArrays(file)


def test_stretches_of_rows_are_checked_together_and_nothing_else(tmp_path):
    file, rows = tmp_path / "some.sealed", 10 * BLOCK_BYTES // 8
    with writing_mapped(file, {}, {"numbers": ("<i8", (rows,))}) as arrays:
        arrays["numbers"][:] = np.arange(rows)
    data = bytearray(file.read_bytes())
    at = data.index(np.array([7 * BLOCK_BYTES // 8 + 5], "<i8").tobytes())
    data[at] ^= 1
    file.write_bytes(data)
    per_block = BLOCK_BYTES // 8
    sound = MappedArrays(file)
    sound.check_rows("numbers", np.array([0, 8 * per_block]), np.array([6 * per_block, rows]))
    with pytest.raises(ChecksumError, match="a block isn't what was written"):
        sound.check_rows("numbers", np.array([0, 6 * per_block]), np.array([10, 7 * per_block + 1]))
