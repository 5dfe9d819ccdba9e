"""That changes in a folder are told once they have settled, and that `lookalike index --watch` keeps an index true."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from lookalike import open_index
from lookalike.collections.watch import watch
from lookalike.errors import UsageError
from lookalike.index.integrity import verify
from lookalike.index.lock import only_writer

pytest.importorskip("watchfiles")
LONG = 30  # seconds that nothing should take


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


class Watching:
    """A watch in a thread of its own."""

    def __init__(self, folder):
        self.stop, self.told = threading.Event(), queue.Queue()
        self.thread = threading.Thread(target=self.run, args=[folder], daemon=True)
        self.thread.start()

    def run(self, folder):
        for n in watch(folder, stop=self.stop):
            self.told.put(n)
        self.told.put(None)

    def next(self):
        return self.told.get(timeout=LONG)


@pytest.fixture
def watching(folder):
    (folder / ".lookalike").mkdir()
    (folder / "other.lookalike").mkdir()
    one = Watching(folder)
    yield one
    one.stop.set()
    one.thread.join(LONG)
    assert not one.thread.is_alive()


def test_changes_are_told_and_changes_in_an_index_are_not(watching, folder):
    """What isn't told can't be waited for: it is done before what is told, and would be many."""
    assert watching.next() == 0, "so that nothing is missed from here on"
    for n in range(20):
        (folder / ".lookalike" / f"{n}.lance").touch()
        (folder / "other.lookalike" / f"{n}.lance").touch()
    (folder / "a.png").write_text("one")
    assert 1 <= watching.next() < 5
    (folder / "new").mkdir()
    (folder / "new" / "b.png").write_text("two")
    assert watching.next() >= 1
    (folder / "a.png").rename(folder / "c.png")
    assert watching.next() >= 1
    (folder / "new" / "b.png").unlink()
    assert watching.next() >= 1
    watching.stop.set()
    while (n := watching.next()) is not None:
        assert n < 5


@pytest.mark.parametrize("name", ["file.npy", "nowhere", "mnist"])
def test_only_a_folder_can_be_watched(tmp_path, name):
    (tmp_path / "file.npy").touch()
    with pytest.raises(UsageError, match="only a folder can be watched; leave out --watch"):
        next(watch(tmp_path / name))


def picture(path, value):
    Image.fromarray(np.array([[value, 1], [2, 3]], np.uint8).repeat(2, 0)).save(path)


def test_the_command_keeps_an_index_true_until_ctrl_c(folder):
    def summary():
        lines = []
        while not lines or lines[-1] != "}\n":
            lines.append(process.stdout.readline())
            assert lines[-1], "it ended, or told nothing and was ended"
        return json.loads("".join(lines))

    picture(folder / "a.png", 10)
    picture(folder / "b.png", 20)
    command = [sys.executable, "-m", "lookalike", "index", str(folder), "-e", "pixels", "--watch", "--json"]
    process = subprocess.Popen([*command, "--workers", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    alarm = threading.Timer(LONG, process.kill)
    alarm.start()
    try:
        assert summary()["indexed"] == 2
        picture(folder / "c.png", 30)
        assert summary()["indexed"] == 1
        (folder / "b.png").unlink()
        (folder / "a.png").rename(folder / "z.png")
        found = summary()
        assert (found["removed"], found["renamed"], found["unchanged"]) == (1, 1, 1)
        index = open_index(folder / ".lookalike")
        assert (index.ids, verify(index)) == (["c.png", "z.png"], [])
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LONG)
    finally:
        alarm.cancel()
        process.kill()
    assert "Traceback" not in err
    assert verify(open_index(folder / ".lookalike")) == []


def test_the_watch_outlives_a_lock_and_files_that_are_away(folder):
    """What fails may pass: another process that writes, a disk that isn't there. The watch says so and goes on."""
    picture(folder / "a.png", 10)
    command = [sys.executable, "-m", "lookalike", "index", str(folder), "-e", "pixels", "--watch", "--json"]
    process = subprocess.Popen([*command, "--workers", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    alarm = threading.Timer(LONG, process.kill)
    alarm.start()

    def told(word):
        line = ""
        while word not in line:
            line = process.stderr.readline()
            assert line, f"it ended without a word of {word!r}"
        return line

    def indexed():
        lines = []
        while not lines or lines[-1] != "}\n":
            lines.append(process.stdout.readline())
            assert lines[-1], "it ended"
        return json.loads("".join(lines))

    away = folder.with_name("away")
    try:
        assert indexed()["indexed"] == 1
        with only_writer(folder / ".lookalike"):
            picture(folder / "b.png", 20)
            assert "the watch goes on" in told("another process is writing")
        assert indexed()["indexed"] == 1
        away.mkdir()
        for name in ("a.png", "b.png"):
            (folder / name).rename(away / name)
        assert "the watch goes on" in told("no images in this folder")
        for name in ("a.png", "b.png"):
            (away / name).rename(folder / name)
        assert indexed()["unchanged"] == 2
        (folder / ".lookalike").rename(away / "index")
        picture(folder / "z.png", 90)
        assert "the watch goes on" in told("the index isn't there any more")
        assert not (folder / ".lookalike").exists(), "no other is begun in its place"
        (folder / "z.png").unlink()
        (away / "index").rename(folder / ".lookalike")
        assert indexed()["unchanged"] == 2
        folder.rename(away / "folder")  # the whole disk
        (away / "folder").rename(folder)
        (away / "linked").mkdir()
        (folder / "linked").symlink_to(away / "linked")
        picture(folder / "c.png", 30)
        assert indexed()["indexed"] == 1
        picture(away / "linked" / "d.png", 40)
        assert indexed()["indexed"] == 1, "a folder that was linked in later is watched too"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=LONG)
    finally:
        alarm.cancel()
        process.kill()
    assert sorted(open_index(folder / ".lookalike").ids) == ["a.png", "b.png", "c.png", "linked/d.png"]
