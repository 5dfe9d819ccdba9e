"""No list of a whole index holds a Python object a row: what a part of it takes doesn't grow with the index."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from lookalike import build_index
from lookalike.index.lance_store import LanceStore
from lookalike.index.schema import ENCODED, Described, Facts, to_table
from lookalike.server.shared_index import SharedIndex

SMALL, LARGE = 2_000, 22_000
#: Arrays of NumPy take a few numbers a row. A dict of a file's outcome takes 200 bytes and more, the text of an id 60.
BYTES_A_ROW = 40


@pytest.fixture(scope="module")
def indexes(tmp_path_factory):
    return [_index_of(tmp_path_factory.mktemp("rows"), count) for count in (SMALL, LARGE)]


def _index_of(folder, count):
    """Make an index of one picture, and put rows beside it as the store does."""
    manifest = build_index(np.arange(64, dtype=np.uint8).reshape(1, 8, 8), "pixels", folder / "i").manifest
    store, column = LanceStore(folder / "i", manifest), manifest.columns[0]
    extra = count - 1
    facts = [
        Facts(1 + i, f"photos/{i:07}.jpg", position=1 + i, hash=f"{i // 2:064x}", width=8, height=8)
        for i in range(extra)
    ]
    described = Described(np.ones((extra, column.dimension), column.dtype), np.full(extra, ENCODED, np.int8))
    store.append(to_table(facts, [b""] * extra, {column.column: described}, [column]))
    outcomes = {"indexed": 1 + (extra + 1) // 2, "duplicate": extra // 2}
    manifest = replace(manifest, columns=[replace(column, count=count)], next_key=count, outcomes=outcomes)
    return folder / "i", store.commit(manifest)


@pytest.mark.parametrize(
    "ask",
    [
        lambda index: index.files(index.rows_with(None)[-50:]),
        lambda index: index.files(index.rows_with("duplicate")[-50:]),
        lambda index: index.failures(),
        lambda index: index.why("photos/0000007.jpg"),
        lambda index: index.ids_of([0, 7]),
        lambda index: index.facts([5, 6]),
        lambda index: index.row_of("photos/0000007.jpg"),
    ],
    ids=["files", "duplicates", "failures", "why", "ids", "facts", "row"],
)
def test_python_holds_no_object_a_row(indexes, ask):
    held = []
    for path, manifest in indexes:
        index = SharedIndex(path, manifest)
        tracemalloc.start()
        try:
            ask(index)
            held.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
    assert (held[1] - held[0]) / (LARGE - SMALL) < BYTES_A_ROW


def test_files_of_a_part_are_those_of_the_whole(indexes):
    index = SharedIndex(*indexes[0])
    whole = index.files()
    rows = index.rows_with("duplicate")
    assert index.files(rows) == [row for row in whole if row["outcome"] == "duplicate"]
    assert len(rows) == index.manifest.outcomes["duplicate"]
    assert whole[int(rows[0])]["reason"] == "photos/0000001.jpg: same bytes as photos/0000000.jpg"
    assert not len(index.rows_with("no such outcome"))
