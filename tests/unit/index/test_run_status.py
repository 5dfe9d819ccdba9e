"""How far a run is, as the note itself tells: who is believed, and who counts for nothing."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import lookalike
import lookalike.index.sync.commit
import lookalike.index.sync.run
from lookalike import build_index
from lookalike.errors import IndexStoreError
from lookalike.imaging.encode import to_png
from lookalike.index.lock import only_writer
from lookalike.index.run_status import LOCK, OLD_ELSEWHERE, OLD_HERE, Underway, is_notes, is_underway, read_underway

AT, LONG = 31, 60


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, image in enumerate(lookalike.open_collection("mnist:test[0:40]").array()):
        (folder / f"{i:02}.png").write_bytes(to_png(image))
    return folder


class Held:
    """A real run that stands still after some files until it is let go."""

    def __init__(self, folder, monkeypatch):
        monkeypatch.setattr(lookalike.index.sync.run, "_SHOW_SECONDS", 0)  # so that each file is told
        self.there, self.go = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.run, args=[folder], daemon=True)
        self.thread.start()
        assert self.there.wait(LONG)

    def run(self, folder):
        build_index(folder, "pixels", folder / ".lookalike", rebuild=True, on_progress=self.told)

    def told(self, done, total):
        if done == AT - 1:
            time.sleep(1.1)  # the first was noted less than a second ago
        if done == AT:
            self.there.set()
            assert self.go.wait(LONG)

    def end(self):
        self.go.set()
        self.thread.join(LONG)
        assert not self.thread.is_alive()


@pytest.mark.slow
def test_a_run_notes_how_far_it_is_and_wipes_that_out(photos, monkeypatch):
    index = photos / ".lookalike"
    assert read_underway(index) is None
    run = Held(photos, monkeypatch)
    found = read_underway(index)
    assert (found.done, found.total) == (AT, 40)
    assert 0 < found.rate < AT / 1.1
    with pytest.raises(IndexStoreError, match="another process is writing"), only_writer(index):
        pass
    assert read_underway(index) == found
    run.end()
    assert read_underway(index) is None
    assert not (index / LOCK).read_bytes().strip(b" \0")


def test_a_note_is_taken_once_a_second(tmp_path):
    with only_writer(tmp_path / "index") as notes:
        notes.note(1, 9)
        notes.note(2, 9)
        assert read_underway(tmp_path / "index") == Underway(1, 9, 0.0)


@pytest.mark.skipif(sys.platform == "win32", reason="a process is told to end by a signal here")
def test_a_run_that_was_killed_counts_for_nothing(tmp_path):
    code = f"""
import time
from lookalike.index.lock import only_writer
from pathlib import Path
with only_writer(Path({str(tmp_path / "index")!r})) as notes:
    notes.note(3, 9)
    print("noted", flush=True)
    time.sleep({LONG})
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "noted\n"
        assert read_underway(tmp_path / "index") == Underway(3, 9, 0.0)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(LONG)
        process.stdout.close()
    assert b'"done": 3' in (tmp_path / "index" / LOCK).read_bytes()
    assert read_underway(tmp_path / "index") is None


def test_notes_that_are_old_cut_short_or_nonsense_count_for_nothing(tmp_path):
    def read(**changes):
        told = {"done": 3, "total": 9, "rate": 2.5, "at": time.time(), "process": os.getpid()}
        told["machine"] = lookalike.index.run_status.socket.gethostname()
        (tmp_path / LOCK).write_bytes(b"\0" + json.dumps(told | changes).encode())
        return read_underway(tmp_path)

    assert read() == Underway(3, 9, 2.5)
    assert read(at=time.time() - OLD_HERE - 1) is None
    assert read(machine="another") == Underway(3, 9, 2.5)
    assert read(machine="another", at=time.time() - OLD_ELSEWHERE - 1) is None
    assert read(process=10**30) is not None
    for change in (
        {"done": None},
        {"rate": "fast"},
        {"at": []},
        {"process": "x"},
        {"done": math.inf},
        {"rate": math.nan},
    ):
        assert read(**change) is None
    for content in (b"", b"\0", b"\0{", b"\0[]", b"\0" + b"[" * 250, b'\0{"done": 3}'):
        (tmp_path / LOCK).write_bytes(content)
        assert read_underway(tmp_path) is None
    assert read_underway(tmp_path / "nowhere") is None


def test_an_index_is_held_while_its_lock_is_and_no_longer(tmp_path):
    index = tmp_path / "index"
    assert not is_underway(index)
    with only_writer(index) as notes:
        assert is_underway(index)  # that nothing was noted yet
        notes.note(1, 9)
        assert is_underway(index)
    assert not is_underway(index)
    index.mkdir(exist_ok=True)
    (index / LOCK).symlink_to("/dev/zero")
    assert not is_underway(index)


@pytest.mark.parametrize(
    ("content", "ours"),
    [
        (b"", True),
        (b"\0", True),
        (b"\0" + b" " * 100, True),
        (b'\0{"done": 3', True),
        (b"\0mine", False),
        (b" " * 100_000, False),
    ],
)
def test_a_lock_is_written_to_only_where_it_is_ours(tmp_path, content, ours):
    (tmp_path / LOCK).write_bytes(content)
    assert is_notes(tmp_path / LOCK) is ours


def test_a_link_is_no_lock(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / LOCK).symlink_to(tmp_path / "empty")
    assert not is_notes(tmp_path / LOCK)
