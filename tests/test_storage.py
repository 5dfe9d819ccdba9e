"""A file is replaced whole or stays as it was."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from lookalike.storage import replace_file


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    return path


def names(path):
    return sorted(p.name for p in path.parent.iterdir())


def test_a_new_file_is_made_and_an_old_one_replaced(tmp_path):
    path = tmp_path / "file.bin"
    for content in (b"first", b"the second, longer", b""):
        with replace_file(path) as f:
            f.write(content)
        assert path.read_bytes() == content
        assert names(path) == ["file.bin"]


def test_until_the_end_the_old_content_is_what_others_read(old):
    with replace_file(old) as f:
        f.write(b"new")
        f.flush()
        assert old.read_bytes() == b"old"
    assert old.read_bytes() == b"new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_in_the_block_leaves_the_old_file_and_nothing_else(old, error):
    def write_half():
        with replace_file(old) as f:
            f.write(b"half")
            raise error

    with pytest.raises(error):
        write_half()
    assert old.read_bytes() == b"old"
    assert names(old) == ["file.bin"]


def test_a_missing_folder_and_a_folder_in_the_way_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError), replace_file(tmp_path / "nowhere" / "file"):
        pytest.fail("the block must not run")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError), replace_file(tmp_path / "folder") as f:
        f.write(b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_killed_process_leaves_the_old_file(old):
    script = (
        "import sys, time; from pathlib import Path; from lookalike.storage import replace_file\n"
        "with replace_file(Path(sys.argv[1])) as f:\n"
        "    f.write(b'x' * 100_000); f.flush(); print('written', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, old], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "written\n"
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    assert old.read_bytes() == b"old"
    with replace_file(old) as f:  # what the dead one left is in nobody's way
        f.write(b"new")
    assert old.read_bytes() == b"new"


def test_a_full_disk_leaves_the_old_file(old):
    """A limit on the size of a file stands in for the disk: the write fails in the same place."""
    script = (
        "import resource, sys; from pathlib import Path; from lookalike.storage import replace_file\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "with replace_file(Path(sys.argv[1])) as f:\n"
        "    f.write(b'x' * 100_000)"
    )
    run = subprocess.run([sys.executable, "-c", script, old], capture_output=True, text=True, check=False)
    assert "OSError" in run.stderr
    assert old.read_bytes() == b"old"
    assert names(old) == ["file.bin"]


def test_of_writers_at_once_each_writes_a_whole_file(old):
    contents = [bytes([65 + i]) * 300_000 for i in range(8)]
    start = threading.Barrier(len(contents))

    def write(content):
        start.wait()
        with replace_file(old) as f:
            for i in range(0, len(content), 50_000):
                f.write(content[i : i + 50_000])

    threads = [threading.Thread(target=write, args=(c,)) for c in contents]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert old.read_bytes() in contents
    assert names(old) == ["file.bin"]


def test_who_has_the_old_file_open_goes_on_reading_it(old):
    with old.open("rb") as reader:
        with replace_file(old) as f:
            f.write(b"new")
        assert reader.read() == b"old"
