"""File systems that can't do what Unix does: no hard links, no flushing of folders, no locks. An index is made all the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from lookalike import build_index, open_index
from lookalike.errors import IndexStoreError
from lookalike.imaging.encode import save_image
from lookalike.index.integrity import verify
from lookalike.index.lock import only_writer
from program import lookalike, run

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>
#include <fcntl.h>
#ifdef NO_LINKS
int link(const char *a, const char *b) { (void)a; (void)b; errno = EPERM; return -1; }
int linkat(int a, const char *b, int c, const char *d, int e) { (void)a; (void)b; (void)c; (void)d; (void)e; errno = EPERM; return -1; }
#endif
#ifdef NO_FOLDER_SYNC
int fsync(int file)
{
    struct stat s;
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    if (!fstat(file, &s) && S_ISDIR(s.st_mode)) { errno = NO_FOLDER_SYNC; return -1; }
    return real(file);
}
#endif
#ifdef NO_LOCKS
int flock(int file, int how) { (void)file; (void)how; errno = NO_LOCKS; return -1; }
int fcntl(int file, int command, ...)
{
    long (*real)(int, int, ...) = (long (*)(int, int, ...))dlsym(RTLD_NEXT, "fcntl64");
    __builtin_va_list more;
    __builtin_va_start(more, command);
    void *argument = __builtin_va_arg(more, void *);
    __builtin_va_end(more);
    if (command == F_SETLK || command == F_SETLKW) { errno = NO_LOCKS; return -1; }
    return (int)real(file, command, argument);
}
int fcntl64(int file, int command, ...)
{
    long (*real)(int, int, ...) = (long (*)(int, int, ...))dlsym(RTLD_NEXT, "fcntl64");
    __builtin_va_list more;
    __builtin_va_start(more, command);
    void *argument = __builtin_va_arg(more, void *);
    __builtin_va_end(more);
    if (command == F_SETLK || command == F_SETLKW) { errno = NO_LOCKS; return -1; }
    return (int)real(file, command, argument);
}
#endif
"""


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for n in range(5):
        save_image(rng.integers(0, 256, (8, 8), np.uint8), tmp_path / "photos" / f"{n}.png")
    return tmp_path / "photos"


def shim(folder, *defines):
    compiler = shutil.which("cc")
    if compiler is None or not Path("/proc/self").exists():
        pytest.skip("a shim needs Linux and a C compiler")
    source, library = folder / "shim.c", folder / "shim.so"
    source.write_text(SHIM)
    options = [f"-D{d}" for d in defines]
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", *options, "-o", library, source, "-ldl"], check=True)
    return os.environ | {"LD_PRELOAD": str(library)}


@pytest.mark.parametrize(
    "lacks",
    [
        ["NO_LINKS"], ["NO_FOLDER_SYNC=EINVAL"], ["NO_FOLDER_SYNC=EBADF"], ["NO_FOLDER_SYNC=ENOTSUP"],
        ["NO_LOCKS=ENOTSUP"], ["NO_LOCKS=ENOLCK"], ["NO_LOCKS=EINVAL"], ["NO_LOCKS=ENOSYS"],
        ["NO_LINKS", "NO_FOLDER_SYNC=EINVAL", "NO_LOCKS=ENOSYS"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_an_index_is_made_and_updated_where_it_is_lacking(photos, tmp_path, lacks):
    environment = shim(tmp_path, *lacks)
    command = ["index", photos, "-e", "pixels", "--workers", 1]
    lookalike(*command, env=environment)
    (photos / "0.png").unlink()
    (photos / "1.png").rename(photos / "z.png")
    assert "1 renamed" in lookalike(*command, env=environment)
    if len(lacks) > 1:  # where all is lacking at once, the way back and forth as well
        lookalike("rollback", "-i", photos / ".lookalike", env=environment)
        lookalike(*command, env=environment)
    index = open_index(photos / ".lookalike")
    assert (index.ids, verify(index)) == (["2.png", "3.png", "4.png", "z.png"], [])


def test_without_locks_a_run_that_tells_of_itself_keeps_others_away(photos, tmp_path):
    """What a run notes each second is all there is: another one that is alive is waited for, a dead one isn't."""
    environment = shim(tmp_path, "NO_LOCKS=ENOSYS")
    command = ["index", photos, "-e", "pixels", "--workers", 1]
    lookalike(*command, env=environment)
    with only_writer(photos / ".lookalike") as notes:
        notes.note(1, 5)
        done = run(*command, env=environment)
        assert done.returncode == 1
        assert "another process is writing" in done.stderr
    lookalike(*command, env=environment)


@pytest.mark.parametrize("kind", ["vfat", "exfat"])
def test_a_stick_as_photographers_have_them(photos, tmp_path, kind):
    """A real file system in a file, where root may mount one."""
    maker = shutil.which({"vfat": "mkfs.vfat", "exfat": "mkfs.exfat"}[kind])
    if maker is None or os.geteuid():
        pytest.skip(f"mounting {kind} needs root and its tools")
    image, stick = tmp_path / "stick.img", tmp_path / "stick"
    stick.mkdir()
    with image.open("wb") as f:
        f.truncate(64 * 2**20)
    subprocess.run([maker, image], check=True, capture_output=True)
    if subprocess.run(["mount", "-o", "loop", "-t", kind, image, stick], check=False, capture_output=True).returncode:
        pytest.skip(f"this system mounts no {kind}")
    try:
        shutil.copytree(photos, stick / "photos")
        lookalike("index", stick / "photos", "-e", "pixels", "--workers", 1)
        (stick / "photos/0.png").unlink()
        assert "1 removed" in lookalike("index", stick / "photos", "-e", "pixels", "--workers", 1)
        index = open_index(stick / "photos/.lookalike")
        assert (len(index), verify(index)) == (4, [])
        del index
    finally:
        subprocess.run(["umount", "-l", stick], check=True)


# One writer -----------------------------------------------------------------------------------------------------------


def test_a_lock_that_another_file_has_taken_the_place_of_is_no_lock(tmp_path):
    """A first run that fails takes its lock away; whoever had it open then must not believe to hold it."""
    path = tmp_path / "index"
    inside, left = threading.Event(), threading.Event()

    def failing():
        with suppress(RuntimeError), only_writer(path):
            inside.set()
            left.wait(30)
            raise RuntimeError

    thread = threading.Thread(target=failing)
    thread.start()
    inside.wait(30)
    held = os.open(path / "writing.lock", os.O_RDWR)
    left.set()
    thread.join()
    assert not path.exists(), "nothing is left of a first run that failed"
    with only_writer(path):
        assert not os.path.samestat(os.fstat(held), os.stat(path / "writing.lock"))
        with pytest.raises(IndexStoreError, match="another process"), only_writer(path):
            pytest.fail("two writers")
    os.close(held)


def test_what_comes_into_a_folder_while_its_first_run_fails_stays(tmp_path):
    path = tmp_path / "index"
    with suppress(RuntimeError), only_writer(path):
        (path / "thesis.txt").write_text("years of work")
        raise RuntimeError
    assert [p.name for p in path.iterdir() if p.name not in ("inventory.txt", "writing.lock")] == ["thesis.txt"]


def test_a_damaged_index_stays_until_the_new_one_is_complete(photos, tmp_path, monkeypatch):
    """--rebuild is asked for by name; killed in the middle it has lost nothing, and goes on."""
    from lookalike.index.sync import commit

    path = tmp_path / "i"
    build_index(photos, "pixels", path, workers=1)
    (data,) = (path / "images.lance/data").iterdir()
    os.truncate(data, data.stat().st_size // 2)
    before = {
        p: p.read_bytes() for p in path.rglob("*") if p.is_file() and p.name not in ("inventory.txt", "writing.lock")
    }

    def check():
        assert all(p.read_bytes() == content for p, content in before.items())

    with pytest.raises(IndexStoreError, match=r"the index is damaged .*--rebuild"):
        build_index(photos, "pixels", path, workers=1)
    check()
    monkeypatch.setattr(commit, "COMMIT_SECONDS", -1)

    def stop(done, _total):
        if done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(photos, "pixels", path, rebuild=True, workers=1, on_progress=stop)
    check()
    assert (path / "rebuilding.json").exists()
    summaries = []
    build_index(photos, "pixels", path, rebuild=True, workers=1, on_summary=summaries.append)
    assert summaries[0].unchanged >= 1, "what was through is not done again"
    index = open_index(path)
    assert (len(index), verify(index)) == (5, [])
    assert not (path / "rebuilding.json").exists()
    assert not (path / "images.lance").exists(), "the damaged one has gone, once the new one is whole"


def test_a_lost_manifest_is_no_reason_to_begin_anew(photos, tmp_path):
    path = tmp_path / "i"
    build_index(photos, "pixels", path, workers=1)
    (path / "manifest.json").unlink()
    data = sorted(p.name for p in (path / "images.lance/data").iterdir())
    with pytest.raises(IndexStoreError, match=r"its manifest.json is gone.*--rebuild"):
        build_index(photos, "pixels", path, workers=1)
    assert sorted(p.name for p in (path / "images.lance/data").iterdir()) == data
    build_index(photos, "pixels", path, rebuild=True, workers=1)
    assert verify(open_index(path)) == []
