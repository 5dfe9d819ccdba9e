"""Copies of indexes in buckets: which go when they take too much room, and that nothing else does."""

import json
import time

from lookalike.index.bucket import CACHE_BYTES, _Copy, cache_folder
from lookalike.object_store import Objects

DAY = 86_400


def copied(folder, name, used, size):
    (folder / name).mkdir(parents=True)
    (folder / name / "rows").write_bytes(b"x")
    (folder / f"{name}.json").write_text(json.dumps({"used": used, "objects": {"rows": [size, '"tag"']}}))


def test_the_copies_used_longest_ago_go_and_what_is_not_a_copy_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("LOOKALIKE_CACHE", str(tmp_path))
    now = time.time()
    copied(tmp_path, "a" * 16, now - 3 * DAY, CACHE_BYTES)
    copied(tmp_path, "b" * 16, now - 2 * DAY, 10)
    copied(tmp_path, "c" * 16, now, 10)
    copied(tmp_path, "holiday", now - 9 * DAY, CACHE_BYTES)  # somebody's own
    _Copy(Objects("bucket", "index"))
    assert cache_folder() == tmp_path
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["b" * 16, "c" * 16, "holiday"]


def test_copies_that_another_process_may_have_open_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("LOOKALIKE_CACHE", str(tmp_path))
    copied(tmp_path, "a" * 16, time.time() - DAY / 2, 2 * CACHE_BYTES)
    _Copy(Objects("bucket", "index"))
    assert (tmp_path / ("a" * 16)).is_dir()
