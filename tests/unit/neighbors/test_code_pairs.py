"""All pairs of codes within a radius, against comparing each with each."""

import numpy as np
import pytest

from lookalike.code_pairs import code_pairs
from lookalike.errors import UsageError


def each_with_each(codes, radius):
    bits = np.unpackbits(codes, axis=1).astype(np.int32)
    apart = (bits[:, None] != bits[None]).sum(axis=2)
    first, second = np.nonzero(np.triu(apart <= radius, 1))
    return first, second, apart[first, second]


@pytest.mark.parametrize("length", [1, 3, 8, 13, 32])
@pytest.mark.parametrize("radius", [0, 1, 4, 8, 30])
def test_pairs_equal_those_of_comparing_each_with_each(length, radius):
    rng = np.random.default_rng(length)
    centres = rng.integers(0, 256, (12, length), dtype=np.uint8)
    codes = centres[rng.integers(0, 12, 300)]
    for _ in range(3):
        codes[np.arange(300), rng.integers(0, length, 300)] ^= (1 << rng.integers(0, 8, 300)).astype(np.uint8)
    expected = each_with_each(codes, radius)
    found = code_pairs(codes, radius)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_pairs_of_more_codes_than_one_tile_holds():
    rng = np.random.default_rng(5)
    codes = rng.integers(0, 256, (5000, 2), dtype=np.uint8)
    first, second, distance = code_pairs(codes, 1)
    word = codes.view(np.uint16)[:, 0]
    for row in range(0, 5000, 500):
        apart = np.bitwise_count(word[row] ^ word)
        mine = sorted([*second[first == row].tolist(), *first[second == row].tolist()])
        assert mine == [i for i in np.flatnonzero(apart <= 1).tolist() if i != row]
    assert (distance <= 1).all()


def test_all_alike_none_and_one():
    assert [len(a) for a in code_pairs(np.zeros((70, 8), np.uint8), 0)] == [70 * 69 // 2] * 3
    assert [len(a) for a in code_pairs(np.zeros((1, 8), np.uint8), 3)] == [0] * 3
    assert [len(a) for a in code_pairs(np.zeros((0, 8), np.uint8), 3)] == [0] * 3


def test_what_is_no_code_is_refused():
    with pytest.raises(
        UsageError, match=r"must be packed bits, uint8 of shape \(m, bytes\); these are float32, \(2, 2\)"
    ):
        code_pairs(np.zeros((2, 2), np.float32), 1)
    with pytest.raises(UsageError, match="the radius is -1; it must be 0 or more"):
        code_pairs(np.zeros((2, 2), np.uint8), -1)
