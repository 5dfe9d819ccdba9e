"""That a run does its work over any store and any executor: here all of it in memory and in this process."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from lookalike import build_index, create_encoder, open_collection
from lookalike.index.manifest import Column, read_manifest
from lookalike.index.schema import FACTS, descriptors_of, facts_of
from lookalike.index.sync import Rules, Sync, Target
from lookalike.index.sync.executor import InProcess
from memory_store import MemoryStore


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(9):
        folder = tmp_path / "photos" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"{i}.png")
    (tmp_path / "photos" / "a" / "broken.png").write_bytes(b"no image")
    (tmp_path / "photos" / "a" / "0.txt").write_text("a caption")
    return tmp_path / "photos"


class Kept:
    """An index in memory, and how often its executor was asked for a file."""

    def __init__(self):
        self.store, self.manifest, self.asked = MemoryStore(), None, []
        self.inner = InProcess()

    def map(self, tasks, ahead=256):
        return self.inner.map(map(self.noted, tasks), ahead)

    def noted(self, task):
        self.asked.append(os.path.basename(task["source"][-1]))
        return task

    def sync(self, photos, rules=Rules()):  # noqa: B008  (it is never changed)
        self.asked.clear()
        images = open_collection(photos, size=8)
        encoder = create_encoder("pixels").fit(np.zeros((1, 8, 8, 3), np.uint8))
        column = Column(
            "pixels", "pixels", encoder.params, encoder.fingerprint, "euclidean", 192, "float32", None, [8, 8, 3], True,
            complete=True,
        )  # fmt: skip
        run = Sync(Target(images, [(column, encoder)], "pixels"), self.store, self.manifest, rules, executor=self)
        self.manifest = run.run()
        return run.summary(1.0, self.manifest)

    def rows(self):
        table = self.store.read([*FACTS, "pixels", "pixels_crc32"])
        found = {f.id: f._replace(key=0) for f in facts_of(table)}
        held = table.filter(table["pixels"].is_valid())
        return found, dict(zip(held["id"].to_pylist(), descriptors_of_all(held), strict=True))


def descriptors_of_all(table):
    return [row.tobytes() for row in descriptors_of(table, "pixels")[0]]


@pytest.mark.slow
def test_what_is_in_memory_is_what_is_on_the_disk(photos, tmp_path):
    kept = Kept()
    said = kept.sync(photos)
    index = build_index(open_collection(photos, size=8), "pixels", tmp_path / "index", workers=1)
    facts, descriptors = kept.rows()
    assert (said.indexed, said.failed) == (9, 1)
    assert kept.manifest.outcomes == read_manifest(tmp_path / "index").outcomes
    assert sorted(facts) == sorted(row["path"] for row in index.files())
    assert descriptors == {name: row.tobytes() for name, row in zip(index.ids, index.descriptors, strict=True)}
    assert [facts[f["id"]].hash for f in index.facts(range(9))] == [f["hash"] for f in index.facts(range(9))]


def test_nothing_new_is_nothing_read(photos):
    kept = Kept()
    kept.sync(photos)
    first = kept.manifest
    assert kept.sync(photos).unchanged == 9
    assert kept.asked == []
    assert kept.manifest == first


def test_only_what_changed_is_read(photos):
    kept = Kept()
    kept.sync(photos)
    _, before = kept.rows()
    Image.fromarray(np.full((8, 8, 3), 9, np.uint8)).save(photos / "a" / "4.png")
    (photos / "b" / "1.png").rename(photos / "b" / "one.png")
    (photos / "a" / "2.png").unlink()
    said = kept.sync(photos)
    assert (said.indexed, said.renamed, said.removed, said.unchanged) == (1, 1, 1, 6)
    assert set(kept.asked) == {"4.png", "one.png"}
    _, after = kept.rows()
    assert after["b/one.png"] == before["b/1.png"]
    assert "a/2.png" not in after
    assert kept.store.kept.outcomes["indexed"] == 9


def test_a_killed_commit_leaves_the_state_before(photos, monkeypatch):
    kept = Kept()
    kept.sync(photos)
    before = kept.manifest
    (photos / "a" / "0.png").unlink()

    def refuse(manifest):
        raise OSError("full")

    monkeypatch.setattr(kept.store, "commit", refuse)
    with pytest.raises(OSError, match="full"):
        kept.sync(photos)
    assert kept.manifest == before
    assert len(kept.store.committed) == 1
