"""`kill -9` at random moments: the index opens, holds what was committed, and the same command completes it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest

from program import held, lookalike
from zoo import cut, saved, scene

OPTIONS = ("-e", "pixels", "--size", "8")
FILES = 200
CHANGES = 15  # of each kind between two runs, at most
COMMIT_SECONDS = (0.02, 5.0)  # as often as it can, and as it does by itself
START = ""
#: What the seconds to a kill are counted from, and up to which share of a whole run: its start, when it has the lock, when
#: it writes its first data, and when something has been committed.
MOMENTS = (
    (START, 0.5),
    ("writing.lock", 0.7),
    ("images.lance/data", 0.2),
    ("images.lance/data", 0.4),
    ("manifest.json", 0.3),
)

# The command, committing as often as is asked.
RUN = """
import sys
import lookalike.index.sync.commit
import lookalike.index.sync.run
lookalike.index.sync.commit.COMMIT_SECONDS = float(sys.argv[1])
from lookalike.cli.main import run
sys.exit(run(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Make contents of files, and index each of them undisturbed: content -> what an index must hold of it."""
    folder, index = tmp_path_factory.mktemp("pool"), tmp_path_factory.mktemp("index") / "pool"
    contents = [saved(scene(seed).resize((24, 16)), "JPEG" if seed % 3 else "PNG") for seed in range(600)]
    contents += [cut(data, 60) for data in contents[::20]] + [b"", b"text"]
    for n, data in enumerate(contents):
        (folder / f"{n:04}.jpg").write_bytes(data)
    lookalike("index", folder, "-o", index, *OPTIONS)
    rows = held(index)
    assert Counter(row.outcome for row in rows.values())["indexed"] == 600
    return [(data, rows[f"{n:04}.jpg", 0]) for n, data in enumerate(contents)]


class World:
    """A folder that changes between runs, and what an index of it must hold."""

    def __init__(self, folder, pool, rng):
        self.folder, self.pool, self.rng = folder, pool, rng
        self.files = {}
        self.made = 0
        for _ in range(FILES):
            self.add()

    def add(self):
        self.made += 1
        self.write(f"{self.rng.choice('abc')}/{self.made:05}{self.rng.choice(('.jpg', '.png', ''))}")

    def write(self, name):
        self.files[name] = self.rng.randrange(len(self.pool))
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.pool[self.files[name]][0])

    def rename(self, name):
        self.made += 1
        new = f"{self.rng.choice('abc')}/{self.made:05}.jpg"
        (self.folder / name).rename(self.folder / new)
        self.files[new] = self.files.pop(name)

    def remove(self, name):
        (self.folder / name).unlink()
        del self.files[name]

    def change(self):
        for step in (self.write, self.remove, self.rename):
            for name in self.rng.sample(sorted(self.files), self.rng.randint(0, CHANGES)):
                step(name)
        while len(self.files) < FILES:
            self.add()

    def truth(self):
        return {(name, 0): self.pool[n][1] for name, n in self.files.items()}


def test_an_index_outlives_being_killed_at_any_moment(pool, tmp_path, rng, runs):
    index = tmp_path / "index"
    world = World(tmp_path / "photos", pool, rng)
    whole = seconds_of_a_run(world.folder, tmp_path / "first")
    before, killed, met = {}, 0, Counter()
    while killed < runs:
        world.change()
        target = world.truth()
        since, share = rng.choice(MOMENTS)
        moment = rng.uniform(0, share * whole)
        committed, ended = killed_run(world.folder, index, rng.choice(COMMIT_SECONDS), since, moment)
        killed += not ended
        found = found_in(index)
        assert version(index) >= committed
        check_between(before, found, target)
        met["as before" if found == before else "complete" if found == target else "midway"] += 1
        if rng.random() < 0.2:
            lookalike("index", world.folder, "-o", index, *OPTIONS)
            assert held(index) == target
            met["completed afterwards"] += 1
            before = target
        else:
            before = found
    print(f"{killed} kills; the index was found: {dict(met)}")
    lookalike("index", world.folder, "-o", index, *OPTIONS)
    lookalike("index", world.folder, "-o", tmp_path / "undisturbed", *OPTIONS)
    assert held(index) == held(tmp_path / "undisturbed") == world.truth()


def killed_run(folder, index, often, since, moment):
    """Start a run and kill it; return the version that was committed by then, and whether it had ended by itself."""
    before = changed(index / since)
    mark = f"LOOKALIKE_TORTURE_MARK={uuid.uuid4().hex}"
    name, value = mark.split("=")
    command = [sys.executable, "-c", RUN, str(often), "index", str(folder), "-o", str(index), *OPTIONS]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ | {name: value}
    )
    while since != START and changed(index / since) == before and process.poll() is None:
        time.sleep(0.002)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        committed = version(index)
        process.kill()
    else:
        committed = version(index)
    said = process.communicate()[1]
    assert process.returncode in (0, -signal.SIGKILL), said
    check_nobody_is_left(mark)
    return committed, process.returncode == 0


def seconds_of_a_run(folder, index):
    begun = time.monotonic()
    lookalike("index", folder, "-o", index, *OPTIONS)
    return time.monotonic() - begun


def changed(path):
    """Tell when a file was last written, or a folder got or lost a file."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def version(index):
    """Tell which version is committed, 0 for none."""
    try:
        return json.loads((index / "manifest.json").read_text())["manifest"]["dataset_version"]
    except FileNotFoundError:
        return 0


def found_in(index):
    """Return what an index holds, nothing where none was committed yet."""
    return held(index) if (index / "manifest.json").exists() else {}


def check_between(before, found, target):
    """Each file must be as it was before or as it is to be; one that is in both must be there."""
    for key, row in found.items():
        assert row in (before.get(key), target.get(key)), key
    missing = (before.keys() & target.keys()) - found.keys()
    assert not missing


def check_nobody_is_left(mark):
    """No process that the killed one started outlives it by more than it takes to die."""
    for _ in range(100):
        left = [pid for pid in os.listdir("/proc") if pid.isdigit() and mark.encode() in environment(pid)]
        if not left:
            return
        time.sleep(0.05)
    pytest.fail(f"still running: {[Path('/proc', pid, 'cmdline').read_bytes() for pid in left]}")


def environment(pid):
    try:
        return Path("/proc", pid, "environ").read_bytes()
    except OSError:  # it has ended meanwhile
        return b""
