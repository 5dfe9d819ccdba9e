"""A disk that fails at every single call in turn, or is full: said in words, the old state intact, the next run completes."""

from __future__ import annotations

import errno
import shutil
import subprocess
from itertools import count

import pytest

from faults import CALLS, BadDisk, Faults
from program import lookalike, run


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    return Faults.compiled(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("stays", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("begun", [False, True], ids=["new", "sync"])
@pytest.mark.parametrize("call", CALLS)
def test_whichever_call_fails_the_old_state_stays(call, begun, stays, faults, tmp_path):
    disk = BadDisk(faults, tmp_path, begun=begun)
    for n in count(1):
        error = (errno.ENOSPC, errno.EIO)[n % 2]
        if not disk.fail(call, n, error, stays=stays):
            break
    assert n > 1, "no such call was ever made"


def test_a_full_disk_leaves_the_old_state(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small tmpfs needs root")
    try:
        fill_up(disk, tmp_path)
    finally:
        subprocess.run(["umount", disk], check=True)


def fill_up(disk, tmp_path):
    bad = BadDisk(None, tmp_path, begun=True)
    refused = 0
    for free in range(0, 400_000, 16_384):
        index, ballast = disk / "index", disk / "ballast"
        shutil.rmtree(index, ignore_errors=True)
        shutil.copytree(bad.old, index)
        ballast.write_bytes(bytes(shutil.disk_usage(disk).free - free))
        done = run(*bad.arguments(index))
        if done.returncode == 0:
            bad.check_new(index)
            break
        refused += 1
        bad.check_refused(done, index)
        ballast.unlink()
        lookalike(*bad.arguments(index))
        bad.check_new(index)
    assert refused
    assert done.returncode == 0, "it never fitted"
