"""Labels of a part of the images count for those that have them; what has none is neither right nor wrong."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lookalike import build_index, open_collection, open_index, score
from lookalike.errors import UsageError
from lookalike.reports.evaluate import export_trec
from lookalike.reports.query_set import questions


def picture(kind, seed):
    rng = np.random.default_rng([kind, seed])
    base = np.zeros((16, 16), np.uint8)
    base[kind * 4 : kind * 4 + 6] = 200
    return base + rng.integers(1, 40, (16, 16), np.uint8)


@pytest.fixture
def photos(tmp_path):
    """Three kinds in folders, and two loose images that are just like the first kind."""
    folder = tmp_path / "photos"
    for kind, name in enumerate(("a", "b", "c")):
        (folder / name).mkdir(parents=True)
        for seed in range(6):
            Image.fromarray(picture(kind, seed)).save(folder / name / f"{seed}.png")
    for seed in (50, 51):
        Image.fromarray(picture(0, seed)).save(folder / f"loose{seed}.png")
    return folder


@pytest.mark.parametrize("rerank", [None, "query-expansion:k=3"])
def test_what_has_no_label_is_not_ranked_and_does_not_ask(rerank, photos, tmp_path):
    index = build_index(photos, "pixels")
    assert sorted(set(index.labels.tolist())) == ["", "a", "b", "c"]
    notes = []
    found = score(index, leave_one_out=True, rerank=rerank, on_note=notes.append)
    assert "2 of 20 queries have no label and are left out" in notes
    assert "2 of 20 images have no label and aren't ranked" in notes
    assert found.queries == 18
    for name in ("loose50.png", "loose51.png"):
        (photos / name).unlink()
    whole = build_index(photos, "pixels", tmp_path / "whole")
    assert found.metrics["mAP"] == pytest.approx(score(whole, leave_one_out=True, rerank=rerank).metrics["mAP"])


def test_queries_without_a_label_are_left_out(photos, tmp_path):
    index = build_index(photos, "pixels", tmp_path / "index")
    notes = []
    found = score(index, photos, on_note=notes.append)
    assert found.queries == 18
    assert found.metrics["P@1"] == 1.0
    assert open_collection(photos).labels.tolist().count("") == 2


def test_they_are_in_no_file_of_trec_either(photos, tmp_path):
    index = build_index(photos, "pixels")
    asked = questions(index, leave_one_out=True)
    export_trec(index, asked, run=tmp_path / "run", qrels=tmp_path / "qrels", depth=50)
    for name in ("run", "qrels"):
        assert "loose" not in (tmp_path / name).read_text()
    assert len((tmp_path / "run").read_text().splitlines()) == 18 * 17


def test_of_a_list_that_names_some(photos, tmp_path):
    names = sorted(p.relative_to(photos).as_posix() for p in photos.rglob("*.png"))
    lines = [f"{name},{name[0] if '/' in name and '5' not in name else ''}" for name in names]
    (photos / "list.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    index = build_index(photos / "list.csv", "pixels", tmp_path / "index")
    assert index.labels.tolist().count("") == 5
    assert score(index, leave_one_out=True).queries == 15


def test_no_label_at_all_is_still_said(photos, tmp_path):
    index = build_index(photos / "a", "pixels", tmp_path / "index")
    assert index.labels is None
    with pytest.raises(UsageError, match="has no labels, so nothing says which answers are right"):
        score(index, leave_one_out=True)
    build_index(photos, "pixels", tmp_path / "all")
    with pytest.raises(UsageError, match=r"has no labels|none of the 6 queries has a label"):
        score(open_index(tmp_path / "all"), photos / "a")
