"""That files listed as columns are the entries that were put in, whatever they are called."""

from __future__ import annotations

import os

import pytest

from lookalike.collections.columns import EntriesBuilder, Entry
from stored import entries_of

SOME = [
    Entry("b/é.png", ("file", "/photos/b/é.png"), 5, -7, "b", ("/photos/b/é.txt", "3:9"), {"year": 1999, "who": "é"}),
    Entry("a.png", ("zip", "/photos.zip", "a.png"), 2**40, 2**62),
    Entry("caf\\udce9.png", ("file", os.fsdecode(b"/photos/caf\xe9.png")), 0, 0, outcome="gone", reason="no such file"),
    Entry("#.png", ("tar", "/t.tar", "512:0"), 1, 1, metadata={}),
]


def test_entries_come_back_as_they_were():
    held = entries_of(SOME)
    assert list(held) == SOME
    assert [held[i] for i in range(-len(SOME), len(SOME))] == SOME * 2
    assert held.some([2, 0, 2]) == [SOME[2], SOME[0], SOME[2]]
    assert held == SOME


def test_parts_are_entries_too():
    held = entries_of(SOME)
    assert held[1:3] == SOME[1:3]
    assert held[::-1] == SOME[::-1]
    assert held.take([3, 1]) == [SOME[3], SOME[1]]
    assert held.sorted() == sorted(SOME, key=lambda entry: entry.id)
    assert held.replace("id", ["1", "2", "3", "4"])[3].id == "4"
    assert len(entries_of([])) == 0


@pytest.mark.parametrize("at", [4, -5])
def test_there_is_no_entry_beyond_the_last(at):
    with pytest.raises(IndexError, match=f"no entry {at} of 4"):
        entries_of(SOME)[at]


def test_columns_may_be_added_instead_of_entries():
    builder = EntriesBuilder()
    builder.add(SOME[0])
    builder.extend(2, id=["x", "y"], kind="file", path=["/x", "/y"], size=[1, 2], mtime_ns=[3, 4], label="l")
    assert builder.finish() == [
        SOME[0],
        Entry("x", ("file", "/x"), 1, 3, "l"),
        Entry("y", ("file", "/y"), 2, 4, "l"),
    ]


def test_many_come_back_in_their_order():
    many = [Entry(str(i), ("file", f"/{i}"), i, i) for i in range(20_000)]
    held = entries_of(many)
    assert list(held) == many
    assert held[12_345] == many[12_345]
