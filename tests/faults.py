"""A disk that fails at a chosen call, and a run of `lookalike index` on it. How calls are made to fail: faults.c."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from lookalike import open_index
from program import held, lookalike, one_sentence, run
from zoo import saved, scene

#: What can be made to fail. ``rename`` is of links too, ``create`` of a file or a folder.
CALLS = ("write", "fsync", "rename", "create")
_NOT_ALLOWED = 125  # the exit code by which faults.c says that it can't work here


@dataclass(frozen=True)
class Faults:
    """The library that makes calls fail, compiled."""

    library: Path

    @classmethod
    def compiled(cls, folder: Path) -> Faults:
        """Compile it into a folder; where that can't be done, or it can't work, the test is skipped and says why."""
        compiler = shutil.which("cc")
        if (sys.platform, platform.machine()) != ("linux", "x86_64"):
            pytest.skip("faults are injected on Linux x86-64 only")
        if compiler is None:
            pytest.skip("no C compiler (cc), which injecting faults needs")
        faults = cls(folder / "faults.so")
        source = Path(__file__).with_suffix(".c")
        subprocess.run(
            [compiler, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", faults.library, source], check=True
        )
        if subprocess.run(["true"], env=faults.environment(folder, "write"), check=False).returncode == _NOT_ALLOWED:
            pytest.skip("the system allows no seccomp filter, which injecting faults needs")
        return faults

    def environment(
        self,
        folder: Path,
        call: str,
        n: int = 0,
        error: int = errno.ENOSPC,
        *,
        stays: bool = False,
        log: Path | None = None,
    ) -> dict[str, str]:
        """Return the environment of a program whose Nth ``call`` (or ``any``) on files under ``folder`` fails.

        With ``stays`` all later ones fail too. With n of 0 none does; ``log`` gets a line "CALL PATH" for each that counts.
        """
        faults = {
            "LD_PRELOAD": str(self.library),
            "FAULT_PATH": str(folder),
            "FAULT_CALL": call,
            "FAULT_N": str(n),
            "FAULT_ERRNO": str(error),
            "FAULT_STAYS": str(int(stays)),
        }
        return os.environ | faults | ({} if log is None else {"FAULT_LOG": str(log)})


class BadDisk:
    """A run of `lookalike index` on a disk that fails, and what must hold afterwards.

    Parameters
    ----------
    faults : Faults or None
        What makes it fail; None where the disk does so by itself.
    folder : Path
        An empty one, to work in.
    begun : bool
        Whether there is an index already, of a part of the images and of some that have gone since.
    """

    def __init__(self, faults: Faults | None, folder: Path, *, begun: bool) -> None:
        self.faults = faults
        self.begun = begun
        self.photos = folder / "photos"
        self.old = folder / "old"
        self.index = folder / "index"
        self.log = folder / "calls.txt"
        self.photos.mkdir()
        for n in range(24):
            self._save(n, n)
        self.state_before = {}
        self.answers_before = []
        if begun:
            lookalike(*self.arguments(self.old))
            self.state_before = held(self.old)
            self.answers_before = self._answers(self.old)
            self._save(3, 103)
            self._save(24, 24)
            (self.photos / "005.png").rename(self.photos / "renamed.png")
            (self.photos / "006.png").unlink()
        lookalike(*self.arguments(folder / "new"))
        self.state_after = held(folder / "new")
        assert self.state_after != self.state_before

    def _save(self, n: int, seed: int) -> None:
        (self.photos / f"{n:03}.png").write_bytes(saved(scene(seed), "PNG"))

    def arguments(self, index: Path) -> list[object]:
        return ["index", self.photos, "-o", index, "-e", "pixels", "--size", 8, "--workers", 1]

    def fail(self, call: str, n: int, error: int = errno.ENOSPC, *, part: str = "", stays: bool = False) -> bool:
        """Let the Nth call on a part of the index fail, and check what it leaves; tell whether there was an Nth."""
        shutil.rmtree(self.index, ignore_errors=True)
        self.log.unlink(missing_ok=True)
        if self.begun:
            shutil.copytree(self.old, self.index)
        environment = self.faults.environment(self.index / part, call, n, error, stays=stays, log=self.log)
        done = run(*self.arguments(self.index), env=environment)
        reached = self.log.exists() and len(self.log.read_text().splitlines()) >= n
        assert done.returncode in (0, 1), done
        if done.returncode:
            assert reached, f"it failed by itself: {done.stderr}"
            self.check_refused(done, self.index)
            lookalike(*self.arguments(self.index))
        self.check_new(self.index)
        return reached

    def check_refused(self, done: subprocess.CompletedProcess[str], index: Path) -> None:
        """Check that a run said in words why it failed, and that what was there is there.

        Only where it failed after its last step, to make sure that what everybody sees is on the disk, the new state is.
        """
        said = one_sentence(done.stderr)
        state = held(index) if (index / "manifest.json").exists() else {}
        assert state in (self.state_before, self.state_after), f"neither the old state nor the new one: {said}"
        if self.begun and state == self.state_before:
            assert self._answers(index) == self.answers_before, said

    def check_new(self, index: Path) -> None:
        """Check that an index holds what an undisturbed run would have put there."""
        state = held(index)
        assert state == self.state_after, f"{state.keys() ^ self.state_after.keys()} or their values differ"

    def _answers(self, index: Path) -> list[tuple[str, float]]:
        return [(match.id, match.distance) for match in open_index(index).search(self.photos / "001.png", k=10)]
