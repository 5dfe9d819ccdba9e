"""A disk that fails in the middle of a run. Every call in turn: tests/torture/test_faults.py."""

from __future__ import annotations

import os
from itertools import count

import pytest

from faults import BadDisk, Faults
from program import run


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    return Faults.compiled(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def disk(faults, tmp_path_factory):
    return BadDisk(faults, tmp_path_factory.mktemp("disk"), begun=True)


@pytest.fixture(scope="module")
def calls(disk, faults, tmp_path_factory):
    """Index once, and write down every call in its order: (call, path in the index), and the index's folder."""
    folder = tmp_path_factory.mktemp("calls")
    index, log = folder / "index", folder / "calls.txt"
    assert run(*disk.arguments(index), env=faults.environment(index, "any", log=log)).returncode == 0
    lines = [line.split(" ", 1) for line in log.read_text().splitlines()]
    return [(call, os.path.relpath(path, index)) for call, path in lines], index


def test_whatever_an_index_consists_of_is_made_by_calls_that_can_fail(calls):
    made, index = calls
    parts = {os.path.relpath(path, index): path for path in [index, *index.rglob("*")]}
    for part, path in parts.items():
        assert ("create", part) in made or ("rename", part) in made, part
        assert path.is_dir() or part in ("writing.lock", "inventory.txt") or ("rename", part) in made, (
            f"{part}: not whole or not at all"
        )


def test_what_a_manifest_names_is_on_the_disk_before_it(calls):
    made, index = calls
    named = made.index(("rename", "manifest.json"))
    before, after = made[:named], made[named:]
    assert ("fsync", ".") in after
    dataset = [p for p in (index / "images.lance").rglob("*") if p.suffix in (".lance", ".manifest", ".arrow", ".bin")]
    assert {path.suffix for path in dataset} >= {".lance", ".manifest"}
    encoder = list(index.glob("encoder-*/*"))
    folders = {folder for path in [*dataset, *encoder] for folder in path.parents if index in folder.parents}
    for path in [*dataset, *folders]:
        assert ("fsync", os.path.relpath(path, index)) in before, path


@pytest.mark.parametrize("part", ["images.lance/_deletions", "images.lance/data"])
def test_no_write_of_lance_fails_unnoticed(part, disk):
    for n in count(1):  # Lance 14 itself takes no notice of the last one of a file
        if not disk.fail("write", n, part=part):
            break
    assert n > 1


@pytest.mark.parametrize(
    ("call", "n", "stays"), [("write", 3, True), ("fsync", 1, False), ("rename", 1, True), ("create", 2, True)]
)
def test_a_disk_that_fails_leaves_the_old_state(call, n, stays, disk):
    assert disk.fail(call, n, stays=stays)
