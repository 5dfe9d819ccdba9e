"""That every store keeps what it is given, and shows it as it was committed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lookalike.atomic import begin_inventory
from lookalike.index.checksums import keys_crc32
from lookalike.index.lance_store import LanceStore
from lookalike.index.manifest import Column, DamagedIndexError, Manifest
from lookalike.index.schema import Facts, descriptors_of
from memory_store import MemoryStore
from stored import Row, to_table

ONE, OTHER = (
    Column(name, name, {}, "0" * 16, "cosine", 2, "float32", None, [2, 2], False) for name in ("one", "other")
)
EMPTY = Manifest(2, "photos", "photos", {}, [ONE], "one", 0, {}, 0, 0, 0, {}, True, "", {})


def rows(*keys):
    return to_table([Row(Facts(k, f"{k}.png"), b"", {"one": np.array([k, 1], np.float32)}) for k in keys], [ONE])


@pytest.fixture(params=["Lance", "memory"])
def store(request, tmp_path):
    if request.param == "memory":
        return MemoryStore()
    (tmp_path / "index").mkdir()
    begin_inventory(tmp_path / "index", [], proven=False)
    return LanceStore(tmp_path / "index", None)


def held(store):
    table = store.read(["key", "one", "one_crc32"])
    table = table.filter(table["one"].is_valid())
    return dict(zip(table["key"].to_pylist(), descriptors_of(table, "one")[0].tolist(), strict=True))


def test_an_empty_one_has_no_columns(store):
    assert store.columns == []
    assert store.keys.tolist() == []


def test_rows_come_and_go_by_their_keys(store):
    store.append(rows(1, 2, 3))
    store.append(rows(4, 9000))
    store.delete([2, 9000])
    assert held(store) == {1: [1, 1], 3: [3, 1], 4: [4, 1]}
    assert sorted(store.keys.tolist()) == [1, 3, 4]
    assert store.read(["id"], [3, 1]).num_rows == 2
    assert sorted(store.read(["id"], [3, 1, 2])["id"].to_pylist()) == ["1.png", "3.png"]


def test_columns_of_encoders_come_empty_and_go(store):
    store.append(rows(1, 2))
    store.add_column(OTHER)
    store.add_column(OTHER)
    assert store.columns[-2:] == ["other", "other_crc32"]
    assert store.read(["other_crc32"])["other_crc32"].to_pylist() == [None, None]
    store.drop_column("other")
    assert "other" not in store.columns
    assert held(store) == {1: [1, 1], 2: [2, 1]}


def test_a_commit_says_what_it_holds(store):
    store.append(rows(5, 3))
    first = store.commit(EMPTY)
    store.delete([5])
    store.append(rows(8))
    second = store.commit(first)
    assert (first.rows, first.keys_crc32) == (2, keys_crc32(np.array([3, 5])))
    assert (second.rows, second.keys_crc32) == (2, keys_crc32(np.array([3, 8])))
    assert second.dataset_version > first.dataset_version
    assert first.written


def test_other_descriptors_take_the_place_of_those_there(store):
    blank = Row(Facts(7, "7.png", outcome="blank"), b"", {})
    store.append(rows(1, 2))
    store.append(to_table([blank], [ONE]))
    store.append(rows(4))
    store.delete([2])
    checks = store.read(["key", "one_crc32"])
    store.replace_column(ONE, replace(ONE, dimension=3), lambda given: np.hstack([given * 2, given[:, :1]]))
    assert held(store) == {1: [2, 2, 1], 4: [8, 2, 4]}
    assert store.columns[-2:] == ["one", "one_crc32"]
    after = store.read(["key", "one_crc32"])
    before, now = (dict(zip(t["key"].to_pylist(), t["one_crc32"].to_pylist(), strict=True)) for t in (checks, after))
    assert (before[7], before[1] != now[1]) == (now[7], True)  # what has no descriptor stays without


def test_damage_is_not_put_into_other_descriptors(store):
    table = rows(1, 2)
    place = table.column_names.index("one_crc32")
    store.append(table.set_column(place, table.schema.field(place), [[5, 6]]))
    with pytest.raises((DamagedIndexError, ValueError), match="a descriptor isn't what was written"):
        store.replace_column(ONE, ONE, lambda given: given)
