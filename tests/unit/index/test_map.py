"""The map in an index: true to the descriptors or not used."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from lookalike import build_index, open_index
from lookalike.cli.main import run
from lookalike.errors import UsageError
from lookalike.index.integrity import verify
from lookalike.index.map import make_map, map_version, open_map
from shapes import write_halves


@pytest.fixture
def photos(tmp_path):
    write_halves(tmp_path / "photos", range(60))
    return tmp_path / "photos"


@pytest.mark.slow
def test_it_is_made_once_and_kept(photos):
    index = build_index(photos, "pixels")
    assert open_map(index) is None
    notes = []
    made = make_map(index, on_note=notes.append)
    assert any("laying out 60 images" in note for note in notes)
    assert np.abs(made.positions).max() == 1
    kept = make_map(open_index(index.path), on_note=pytest.fail)
    assert (kept.positions == made.positions).all()
    assert (make_map(index, rebuild=True).positions == made.positions).all()
    assert (make_map(index, seed=5).positions != made.positions).any()
    assert verify(open_index(index.path)) == []
    # The two kinds of picture lie apart.
    left = np.array([one.startswith("left") for one in index.ids])
    gap = np.linalg.norm(made.positions[left].mean(axis=0) - made.positions[~left].mean(axis=0))
    assert gap > made.positions[left].std()


@pytest.mark.slow
def test_after_a_change_it_is_not_used_and_the_next_keeps_places(photos):
    index = build_index(photos, "pixels")
    before = dict(zip(index.ids, make_map(index).positions, strict=True))
    (photos / "left" / "003.png").unlink()
    write_halves(photos, [61])
    changed = build_index(photos)
    assert open_map(changed) is None
    notes = []
    made = make_map(changed, on_note=notes.append)
    assert any("changed since its map was made" in note for note in notes)
    after = dict(zip(changed.ids, made.positions, strict=True))
    assert set(after) == (set(before) - {"left/003.png"}) | {"left/061.png"}
    moved = [np.linalg.norm(after[one] - before[one]) for one in after if one in before]
    assert np.median(moved) < 0.5 * np.std(list(before.values()))
    assert map_version(changed) != map_version(index)
    assert len(list(changed.path.glob("map-*"))) == 1


@pytest.mark.slow
def test_another_encoder_does_not_cost_the_map(photos):
    index = build_index(photos, "pixels")
    make_map(index)
    build_index(photos, "hog")
    assert open_map(open_index(index.path, encoder="pixels")) is not None
    assert open_map(open_index(index.path, encoder="hog")) is None


@pytest.mark.slow
def test_a_damaged_one_is_found_and_made_again(photos):
    index = build_index(photos, "pixels")
    made = make_map(index)
    (file,) = index.path.glob("map-*")
    data = bytearray(file.read_bytes())
    data[20_000] ^= 1
    file.write_bytes(bytes(data))
    assert open_map(index) is None
    assert [problem for problem in verify(index) if "lookalike map" in problem]
    assert (make_map(index).positions == made.positions).all()


def test_too_few_images_are_refused(tmp_path):
    write_halves(tmp_path / "photos", range(2))
    with pytest.raises(UsageError, match="holds 2 images; a map needs three or more"):
        make_map(build_index(tmp_path / "photos", "pixels"))


@pytest.mark.slow
def test_the_command_says_what_came_of_it_and_draws(photos, tmp_path, capsys):
    index = build_index(photos, "pixels")
    capsys.readouterr()
    assert run(["map", "-i", str(index.path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["images"] == sum(said["clusters"]) == 60
    assert run(["map", "-i", str(index.path), "-e", "nothing"]) != 0
    assert "nothing" in capsys.readouterr().err
    pytest.importorskip("matplotlib", reason="the extra plots isn't installed")
    assert run(["map", "-i", str(index.path), "-o", str(tmp_path / "map.png")]) == 0
    picture = np.asarray(Image.open(tmp_path / "map.png").convert("L"))
    assert (picture < 100).mean() > 0.005  # the black halves of the pictures
