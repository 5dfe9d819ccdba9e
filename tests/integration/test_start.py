"""The first minute on the command line: what people type who have read no manual does what it means."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from lookalike import open_collection
from lookalike.cli.main import run
from lookalike.imaging.encode import to_png
from paths import ROOT


@pytest.fixture
def photos(tmp_path):
    """Return a folder that is named like a command, with a dozen digits."""
    folder = tmp_path / "search"
    folder.mkdir()
    for i, image in enumerate(open_collection("mnist:test[0:12]").array()):
        (folder / f"{i:02}.png").write_bytes(to_png(image))
    return folder


def test_a_folder_alone_is_indexed_and_served(photos):
    pytest.importorskip("uvicorn", reason="the extra serve isn't installed")
    words = [sys.executable, "-m", "lookalike", "./search", "--port", "0"]
    program = subprocess.Popen(
        words, cwd=photos.parent, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT / "src")}
    )
    try:
        assert program.stdout.readline().startswith("http://127.0.0.1:")
    finally:
        program.send_signal(signal.SIGINT)
        program.wait(30)
    assert (photos / ".lookalike").is_dir()


def test_an_index_is_found_from_its_folder_and_by_its_folder(photos, monkeypatch, capsys):
    assert run(["index", str(photos), "-e", "pixels"]) == 0
    said = capsys.readouterr().err
    assert "lookalike serve -i" in said  # the next step
    for place, words in ((photos, ["search", "03.png"]), (photos.parent, ["search", "search/03.png", "-i", "search"])):
        monkeypatch.chdir(place)
        assert run(words) == 0
        assert "03.png" in capsys.readouterr().out


def test_a_folder_without_images_is_told_and_nothing_is_served(tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run(["empty"]) == 2
    assert "nothing to serve" in capsys.readouterr().err


def test_the_program_alone_prints_its_help(capsys):
    assert run([]) == 2
    assert "To begin: lookalike PHOTOS" in capsys.readouterr().err.replace("\n  ", " ")
