"""The neighbour graph in an index: true to the descriptors, committed like all else, and made again where it isn't."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lookalike import build_index, open_index
from lookalike.cli.main import run
from lookalike.errors import UsageError
from lookalike.index.artifacts import GRAPH
from lookalike.index.graph import graph_of
from lookalike.index.integrity import verify
from lookalike.index.lock import only_writer
from lookalike.index.rollback import rollback
from lookalike.neighbors.diffusion import find_neighbours


def write(folder, seeds):
    folder.mkdir(exist_ok=True)
    for seed in seeds:
        pixels = np.random.default_rng(seed).integers(0, 256, (24, 24), np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed:03d}.png")


@pytest.fixture
def photos(tmp_path):
    write(tmp_path / "photos", range(30))
    return tmp_path / "photos"


def fits(index):
    """Whether the stored graph speaks of exactly the index's descriptors."""
    notes = []
    graph = graph_of(index, on_note=notes.append)
    anew = find_neighbours(index.database(), index.descriptors)
    assert (graph.neighbours.rows == anew.rows).all()
    return not notes


@pytest.mark.slow
def test_it_is_kept_with_the_index_and_brought_up_to_date_by_the_next_run(photos):
    index = build_index(photos, "hog", graph=True)
    assert fits(open_index(index.path))
    (photos / "003.png").unlink()
    write(photos, [40, 41])
    build_index(photos)
    assert fits(open_index(index.path))
    assert verify(open_index(index.path)) == []
    assert len(list(index.path.glob("graph-*"))) == 2  # the last run's too, to go back to


@pytest.mark.slow
def test_a_graph_older_than_the_descriptors_is_repaired_and_said(photos):
    index = build_index(photos, "hog", graph=True)
    (old,) = index.path.glob("graph-*")
    before = old.read_bytes()
    write(photos, [50])
    build_index(photos)
    GRAPH.file(index.path, open_index(index.path).manifest).unlink()  # as if the run had been killed before it was made
    assert old.read_bytes() == before
    notes = []
    graph = graph_of(open_index(index.path), on_note=notes.append)
    assert notes == ["the neighbour graph is older than the descriptors; bringing it up to date"]
    assert len(graph.neighbours) == 31
    assert fits(open_index(index.path))


def test_a_changed_byte_is_noticed_and_the_graph_made_anew(photos):
    index = build_index(photos, "hog", graph=True)
    (file,) = index.path.glob("graph-*")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    assert any(file.name in problem for problem in verify(open_index(index.path)))
    notes = []
    graph_of(open_index(index.path), on_note=notes.append)
    assert "isn't what was written" in notes[0]
    assert fits(open_index(index.path))


@pytest.mark.slow
def test_rollback_goes_back_to_the_graph_of_then(photos):
    index = build_index(photos, "hog", graph=True)
    write(photos, [60])
    build_index(photos)
    rollback(index.path)
    assert fits(open_index(index.path))
    assert len(open_index(index.path)) == 30


@pytest.mark.slow
def test_no_graph_drops_it_and_leaves_what_a_person_put_there(photos):
    index = build_index(photos, "hog", graph=True)
    mine = index.path / "graph-mine.mapped"
    mine.write_bytes(b"not a graph of lookalike's")
    build_index(photos, graph=False)
    assert list(index.path.glob("graph-*")) == [mine]
    build_index(photos)
    assert list(index.path.glob("graph-*")) == [mine]


def test_of_a_large_collection_it_is_asked_for(photos, monkeypatch):
    monkeypatch.setattr("lookalike.index.graph.UNASKED", 10)
    index = build_index(photos, "hog")
    with pytest.raises(UsageError, match="lookalike index .* --graph"):
        graph_of(index)
    assert fits(build_index(photos, graph=True))


def test_one_image_has_none(tmp_path):
    write(tmp_path / "one", [1])
    index = build_index(tmp_path / "one", "hog", graph=True)
    assert not list(index.path.glob("graph-*"))
    with pytest.raises(UsageError, match="at least 2 images, here is 1"):
        graph_of(index)


def test_an_index_that_cannot_be_written_is_ranked_all_the_same(photos):
    index = build_index(photos, "hog")
    notes = []
    with only_writer(index.path):
        graph_of(index, on_note=notes.append)
    assert "made but not kept" in notes[-1]


@pytest.mark.slow
def test_the_command_keeps_it(photos, capsys):
    assert run(["index", str(photos), "--graph"]) == 0
    capsys.readouterr()
    assert run(["search", str(photos / "004.png"), "-i", str(photos / ".lookalike"), "--rerank", "diffusion"]) == 0
    said = capsys.readouterr()
    assert "004.png" in said.out
    assert "graph" not in said.err.replace(str(photos), "")
