"""That what is stored of a picture comes back as it was, and that nothing else is taken for it."""

from __future__ import annotations

import random
import zlib

import numpy as np
import pyarrow as pa
import pytest

from lookalike.index.checksums import facts_crc32
from lookalike.index.manifest import Column
from lookalike.index.schema import (
    FACTS,
    REFUSED,
    Facts,
    descriptors_of,
    duplicates_in,
    facts_checks,
    facts_of,
    schema,
    sorted_indices,
)
from stored import Row, to_table

ONE, OTHER = (
    Column(name, name, {}, "0" * 16, "cosine", 3, "float32", None, [4, 4], False) for name in ("one", "other")
)
FULL = Facts(
    key=7,
    id="cats/tom.gif#2",
    frame=2,
    position=5,
    label="cats",
    caption="a cat\nasleep",
    caption_stamp="12:1600000000",
    metadata='{"jahr": "1999"}',
    hash="ab" * 16,
    size=2**40,
    mtime_ns=1_600_000_000_123_456_789,
    width=40_000,
    height=30_000,
    outcome="indexed",
)
BAD = Facts(key=2**40, id="b.png", outcome="truncated", stage="decode", reason="photos/b.png: cut short")


def vector(*values):
    return np.array(values, np.float32)


def table():
    return to_table(
        [
            Row(FULL, b"picture", {"one": vector(1, 2, 3), "other": vector(-1, 0, 0.5)}),
            Row(BAD, None, {}),
            Row(Facts(3, "c.png"), b"", {"one": None, "other": vector(7, 8, 9)}),
        ],
        [ONE, OTHER],
    )


def test_facts_come_back_as_they_were():
    assert facts_of(table()) == [FULL, BAD, Facts(3, "c.png")]
    assert facts_of(table().to_batches()[0]) == facts_of(table())


def test_the_table_has_the_stated_schema():
    assert table().schema == schema([ONE, OTHER])
    assert schema([]).names == [*FACTS, "facts_crc32", "thumbnail", "thumbnail_crc32"]
    assert schema([ONE]).field("one").type == pa.list_(pa.float32(), 3)


def test_checks_can_be_computed_by_anybody():
    rows = table().to_pylist()
    for row in rows:
        facts = "\0".join("\1" if row[name] is None else str(row[name]) for name in FACTS)
        assert row["facts_crc32"] == zlib.crc32(facts.encode())
    assert [row["thumbnail_crc32"] for row in rows] == [zlib.crc32(b"picture"), None, 0]
    assert rows[0]["one_crc32"] == zlib.crc32(np.array([1, 2, 3], "<f4").tobytes(), 7)
    assert [row["one_crc32"] for row in rows[1:]] == [None, REFUSED]


def test_nothing_is_not_the_word_none():
    checks = [
        to_table([Row(Facts(0, "a", label=label), b"", {})], [])["facts_crc32"].to_pylist()
        for label in (None, "None", "")
    ]
    assert len({check for (check,) in checks}) == 3


@pytest.mark.parametrize("name", FACTS)
def test_no_fact_is_left_out_of_the_check(name):
    other = FULL._replace(**{name: 1 if isinstance(getattr(FULL, name), int) else "another"})
    checks = [to_table([Row(f, b"", {})], [])["facts_crc32"].to_pylist() for f in (FULL, other)]
    assert checks[0] != checks[1]


def test_descriptors_come_back_where_there_are_any():
    one, has_one = descriptors_of(table(), "one")
    other, has_other = descriptors_of(table().to_batches()[0], "other")
    assert (one.tolist(), has_one.tolist()) == ([[1, 2, 3]], [True, False, False])
    assert (other.tolist(), has_other.tolist()) == ([[-1, 0, 0.5], [7, 8, 9]], [True, False, True])


def test_descriptors_of_a_slice_are_its_own():
    for start in range(3):
        found, there = descriptors_of(table().slice(start), "other")
        assert found.tolist() == [[-1, 0, 0.5], [7, 8, 9]][int(start > 0) :]
        assert there.tolist() == [True, False, True][start:]


def test_a_table_of_pieces_is_one_table():
    pieces = pa.concat_tables([table().slice(i, 1) for i in (2, 1, 0)])
    assert descriptors_of(pieces, "other")[0].tolist() == [[7, 8, 9], [-1, 0, 0.5]]


def changed(column, values):
    whole = table()
    at = whole.schema.get_field_index(column)
    return whole.set_column(at, whole.schema.field(at), pa.array(values, whole.schema.field(at).type))


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("other", [[-1, 0, 0.5], None, [7, 8, np.nextafter(np.float32(9), np.float32(10))]]),  # one bit
        ("other", [[7, 8, 9], None, [-1, 0, 0.5]]),  # swapped
        ("other", [[-1, 0, 0.5], None, None]),  # gone
        ("other", [[-1, 0, 0.5], [1, 1, 1], [7, 8, 9]]),  # come from nowhere
        ("other", [[-1, 0, -0.5], None, [7, 8, 9]]),
        ("key", [3, 2**40, 7]),  # both are there, but under each other's key
        ("other_crc32", [1, None, 2]),
        ("other_crc32", [None, None, None]),
    ],
)
def test_a_descriptor_that_is_not_what_was_written_is_refused(column, values):
    with pytest.raises(ValueError, match="a descriptor is"):
        descriptors_of(changed(column, values), "other")


def test_minus_zero_is_not_zero_and_is_told_from_it():
    """Its bytes differ, so that the check does: what comes back is the very float that was written."""
    rows = to_table([Row(Facts(0, "a"), b"", {"one": vector(-0.0, 1, 0)})], [ONE])
    assert np.signbit(descriptors_of(rows, "one")[0]).tolist() == [[True, False, False]]


def test_many_rows():
    n = 300
    rng = np.random.default_rng(0)
    vectors, has = rng.standard_normal((n, 3), np.float32), rng.random(n) < 0.5
    rows = [
        Row(Facts(i, str(i)), b"", {"one": v} if h else {}) for i, (v, h) in enumerate(zip(vectors, has, strict=True))
    ]
    found, there = descriptors_of(to_table(rows, [ONE]), "one")
    np.testing.assert_array_equal(found, vectors[has])
    np.testing.assert_array_equal(there, has)


# Order and copies -----------------------------------------------------------------------------------------------------


def test_the_file_of_a_frame():
    assert [Facts(0, "a#1.gif#12", 12).file, Facts(0, "a#1.gif").file, FULL.file] == [
        "a#1.gif",
        "a#1.gif",
        "cats/tom.gif",
    ]


def duplicate_keys(facts):
    rows = to_table([Row(f, b"") for f in facts], [])
    rows = rows.take(sorted_indices(rows))
    return set(rows["key"].filter(duplicates_in(rows)).to_pylist())


def test_of_equal_files_the_first_is_no_duplicate_in_whatever_order_they_come():
    same, other = "aa" * 16, "bb" * 16
    facts = [
        Facts(1, "b.png", hash=same),
        Facts(2, "a.png", hash=same),
        Facts(3, "c.png", hash=same),
        Facts(4, "d.png", hash=other),
        Facts(5, "e.png"),
        Facts(6, "f.png"),
        Facts(7, "0.png", hash=same, outcome="blank"),
    ]
    for seed in range(5):
        random.Random(seed).shuffle(facts)
        assert duplicate_keys(facts) == {1, 3}


def test_in_a_list_the_first_by_position_is_no_duplicate():
    facts = [
        Facts(n, name, position=place, hash="aa" * 16) for n, name, place in ((1, "a", 2), (2, "b", 0), (3, "c", 1))
    ]
    assert duplicate_keys(facts) == {1, 3}


def test_each_frame_is_compared_with_its_like():
    """Frames of one file have its hash, but aren't copies of each other."""
    first = [Facts(n, f"a.gif#{n}" if n else "a.gif", n, hash="aa" * 16) for n in range(3)]
    copy = [Facts(10 + n, f"b.gif#{n}" if n else "b.gif", n, hash="aa" * 16) for n in range(3)]
    assert duplicate_keys(first) == set()
    assert duplicate_keys(copy + first) == {10, 11, 12}


@pytest.mark.parametrize("seed", range(3))
def test_rows_are_in_order_of_position_or_of_file_and_frame(seed):
    def in_order(facts):
        shuffled = random.Random(seed).sample(facts, len(facts))
        rows = to_table([Row(f, b"", {}) for f in shuffled], [])
        return [f.id for f in facts_of(rows.take(sorted_indices(rows)))]

    names = ["a.png", "a/z.png", "b", "é.png"]
    assert in_order([Facts(0, name) for name in names]) == names
    assert in_order([Facts(0, str(n), position=n) for n in range(12)]) == [str(n) for n in range(12)]
    frames = [Facts(0, f"{name}#{n}" if n else name, n) for name in ("a.gif", "b.gif") for n in range(12)]
    assert in_order(frames) == [f.id for f in frames]


@pytest.mark.parametrize("count", [1, 256, 257, 20_000])
def test_checks_of_many_rows_are_those_of_each(count):
    facts = [FULL._replace(key=n, label=None if n % 3 else f"é{n}", size=-n) for n in range(count)]
    rows = to_table([Row(one, b"") for one in facts], [])
    assert facts_checks(rows).tolist() == [facts_crc32(one) for one in facts]
    assert facts_checks(rows.slice(count // 2)).tolist() == [facts_crc32(one) for one in facts[count // 2 :]]
