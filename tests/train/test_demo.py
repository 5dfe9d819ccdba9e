"""The demo on a part of MNIST: every step for real, and a report that tells what they gave."""

import json

import numpy as np
import pytest

from lazily import Lazily
from lookalike import open_collection, open_index
from lookalike.reports import demo

Lazily("keras", "the demo trains; install lookalike[train]")
pytest.importorskip("matplotlib", reason="the demo draws; install lookalike[plots]")


@pytest.mark.parametrize("seconds", [2.0, None], ids=["in a time box", "full"])
def test_the_demo_ends_in_a_report_of_what_it_measured(seconds, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "open_collection", lambda name: open_collection(f"{name}[0:1200]"))
    monkeypatch.setattr(demo, "_FULL_EPOCHS", 1)
    path = demo.run_demo(tmp_path / "demo", seconds=seconds, queries=None if seconds is None else 100, seed=3)
    page = path.read_text(encoding="utf-8")
    scores = json.loads((tmp_path / "demo" / "scores.json").read_text())
    asked = 1200 if seconds is None else 100
    assert set(scores) == {"article", "tutorial", "pixels", "hog", "hog, deskewed", "article, Euclidean"}
    assert {s["queries"] for s in scores.values()} == {asked}
    assert scores["hog, deskewed"]["metrics"]["P@1"] > scores["pixels"]["metrics"]["P@1"] - 0.05
    for name in ("pixels", "hog, deskewed"):
        assert f"{100 * scores[name]['metrics']['P@1']:.1f} %" in page
    assert f"{asked:,}" in page
    assert "1,176 digits (24 are held out" in page
    assert "60,000" not in page
    index = open_index(tmp_path / "demo" / "article.lookalike")
    right = [index.search(f"mnist:test[{i}]", 1)[0].label == "7210414959"[i] for i in range(10)]
    assert np.mean(right) > 0.3
    assert "indexing 1,200 digits by hog, deskewed" in capsys.readouterr().err
