"""A file is replaced whole or stays as it was."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from lookalike import build_index, create_encoder, open_index
from lookalike.atomic import (
    INVENTORY,
    NotOursError,
    begin_inventory,
    claim,
    claimed,
    dead_parts,
    disown,
    new_file,
    replace_file,
    temporary_beside,
)
from lookalike.errors import IndexStoreError, UsageError
from lookalike.imaging.encode import save_image
from lookalike.index.lock import only_writer


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
        "import sys, time; from pathlib import Path; from lookalike.atomic import replace_file\n"
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
        "import resource, sys; from pathlib import Path; from lookalike.atomic import replace_file\n"
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


# The inventory --------------------------------------------------------------------------------------------------------


def test_an_inventory_names_what_is_ours_and_nothing_else_is_replaced(tmp_path):
    begin_inventory(tmp_path)
    (tmp_path / "theirs.txt").write_text("mine")
    with pytest.raises(NotOursError), replace_file(tmp_path / "theirs.txt") as f:
        f.write(b"ours")
    assert (tmp_path / "theirs.txt").read_text() == "mine"
    for content in (b"1", b"2"):
        with replace_file(tmp_path / "ours.txt") as f:
            f.write(content)
    assert claimed(tmp_path) == {INVENTORY, "ours.txt"}
    disown(tmp_path, ["ours.txt"])
    assert claimed(tmp_path) == {INVENTORY}


def test_names_in_an_inventory_that_lead_elsewhere_count_for_nothing(tmp_path):
    begin_inventory(tmp_path)
    with (tmp_path / INVENTORY).open("a") as f:
        f.write("../evil\n/etc/passwd\n..\n\nsub/x\nplain\n")
    assert claimed(tmp_path) == {INVENTORY, "plain"}


def test_somebody_elses_inventory_is_none_and_stays(tmp_path):
    (tmp_path / INVENTORY).write_text("three chairs, one table\n")
    assert claimed(tmp_path) == set()
    with pytest.raises(NotOursError):
        begin_inventory(tmp_path)
    assert (tmp_path / INVENTORY).read_text() == "three chairs, one table\n"


def test_an_inventory_that_a_killed_process_left_empty_is_taken_up_only_alone(tmp_path):
    (tmp_path / INVENTORY).touch()
    begin_inventory(tmp_path)
    assert claimed(tmp_path) == {INVENTORY}
    other = tmp_path / "other"
    other.mkdir()
    for name in (INVENTORY, "a.txt"):
        (other / name).touch()
    with pytest.raises(NotOursError):
        begin_inventory(other)
    assert (other / INVENTORY).read_bytes() == b""


def test_a_line_that_was_cut_short_spoils_no_other(tmp_path):
    begin_inventory(tmp_path)
    claim(tmp_path, "first")
    with (tmp_path / INVENTORY).open("a") as f:
        f.write("hal")
    claim(tmp_path, "second")
    assert claimed(tmp_path) >= {"first", "second"}


def test_dead_temporary_files_are_told_by_the_mark_and_their_age(tmp_path):
    begin_inventory(tmp_path)
    ours, young = temporary_beside(tmp_path / "a"), temporary_beside(tmp_path / "b")
    theirs = [tmp_path / name for name in (".a.0badf00d.part", ".notes.part", "a.part")]
    for path in (ours, young, *theirs):
        path.touch()
    for path in (ours, *theirs):
        os.utime(path, (0, 0))
    assert dead_parts(tmp_path) == [ours]


def test_a_new_file_takes_no_others_place_even_if_that_came_meanwhile(tmp_path):
    path = tmp_path / "sub" / "a.txt"
    with new_file(path) as f:
        f.write(b"1")
    with pytest.raises(UsageError, match="exists already"), new_file(path) as f:
        f.write(b"2")
    late = tmp_path / "late.txt"
    with pytest.raises(UsageError, match="exists already"), new_file(late) as f:
        f.write(late.write_bytes(b"theirs").to_bytes())
    assert (path.read_bytes(), late.read_bytes()) == (b"1", b"theirs")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["late.txt", "sub"]


@pytest.mark.slow
def test_a_copy_by_hard_links_isnt_written_to(tmp_path):
    """``cp -al`` is how many programs back up: what is appended here would be there too."""
    rng = np.random.default_rng(0)
    photos, path, copy = tmp_path / "photos", tmp_path / "index", tmp_path / "copy"
    photos.mkdir()
    for name in ("a.png", "b.png"):
        save_image(rng.integers(0, 256, (28, 28), np.uint8), photos / name)
    build_index(photos, create_encoder("pixels"), path)
    shutil.copytree(path, copy, copy_function=os.link)
    before = {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()}
    save_image(rng.integers(0, 256, (28, 28), np.uint8), photos / "c.png")
    with only_writer(path) as notes:
        notes.note(1, 2)
        with only_writer(copy):
            pass
    build_index(photos, create_encoder("hog"), path)
    assert {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()} == before
    assert len(open_index(path)) == 3
    assert len(open_index(copy)) == 2


def test_a_long_name_in_any_script_is_written(tmp_path):
    file = tmp_path / ("写" * 83 + ".npy")  # 253 bytes, of which a system takes 255
    with new_file(file) as f:
        f.write(b"whole")
    assert file.read_bytes() == b"whole"


@pytest.mark.slow
@pytest.mark.parametrize("mine", [b"my own notes", b"# files of mine", b"\0", b"# files that look"])
def test_a_persons_inventory_in_an_index_stays_and_a_cut_one_of_ours_is_mended(tmp_path, mine):
    photos, path = tmp_path / "photos", tmp_path / "index"
    photos.mkdir()
    save_image(np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8), photos / "a.png")
    build_index(photos, create_encoder("pixels"), path)
    (path / INVENTORY).write_bytes(mine)
    if mine.startswith((b"my", b"# files of")):
        with pytest.raises(IndexStoreError, match="didn't make"):
            build_index(photos, None, path)
        assert (path / INVENTORY).read_bytes() == mine
        assert len(open_index(path)) == 1
    else:
        build_index(photos, None, path)
        assert "manifest.json" in claimed(path)
