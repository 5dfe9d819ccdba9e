"""Files written whole or not at all, and the list of those that lookalike made in a folder.

A folder that lookalike fills piece by piece (an index, a demo) holds an inventory: a text file that names, one a line,
what was made there. What it doesn't name isn't ours: it is never removed, changed or replaced.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from lookalike.errors import UsageError

#: The inventory's name, in the folder that it speaks of.
INVENTORY = "inventory.txt"
_FIRST_LINE = re.compile(r"# files that lookalike made in this folder; mark ([0-9a-f]{16})")
_BEGINS = b"# files that lookalike made"
#: Seconds after which a temporary file that nobody has put in place is a dead process's.
_DEAD = 3600
_LONG = 2**16  # bytes of an inventory that is worth a shorter one


class NotOursError(FileExistsError):
    """A file lies where one is to be written, and lookalike didn't make it."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EEXIST, "a file that lookalike didn't make lies there; move it away", str(path))


# What is ours ---------------------------------------------------------------------------------------------------------


def begin_inventory(folder: Path, names: Iterable[str] = (), *, proven: bool = False) -> None:
    """Put an inventory in a folder that has none.

    Parameters
    ----------
    folder : Path
        An existing folder.
    names : iterable of str
        What is ours in it already.
    proven : bool
        Whether the folder is ours by a checked manifest, so that a damaged inventory may be replaced.

    Raises
    ------
    OSError
        If the folder refuses, or holds something else of that name.
    """
    if _mark(folder) is None:
        inventory = folder / INVENTORY
        try:
            if proven and _was_ours(inventory):
                inventory.unlink()
            inventory.touch(exist_ok=False)
        except FileExistsError:
            # Empty and alone, it is what a process left that was killed before it had written the first line.
            if inventory.is_symlink() or inventory.stat().st_size or len(list(folder.iterdir())) > 1:
                raise NotOursError(inventory) from None
        _append(inventory, [f"# files that lookalike made in this folder; mark {secrets.token_hex(8)}"])
        adopt(folder, *names)


def _was_ours(inventory: Path) -> bool:
    """Tell a damaged inventory, which was cut or begins as ours do, from a file of a person's of that name."""
    if not os.path.lexists(inventory) or not stat.S_ISREG(inventory.lstat().st_mode):
        return False
    with inventory.open("rb") as file:
        start = file.read(len(_BEGINS))
    return not start.strip(b"\0") or _BEGINS.startswith(start)


def claim(folder: Path, *names: str) -> None:
    """Say that files or folders are ours, before they are made.

    Parameters
    ----------
    folder : Path
        With an inventory; without one nothing is done.
    *names : str
        Of entries of the folder.

    Raises
    ------
    NotOursError
        If something of that name lies there that isn't ours.
    OSError
        If the disk refuses.
    """
    if not names or _mark(folder) is None:
        return
    held = claimed(folder)
    for name in names:
        if name not in held and os.path.lexists(folder / name):
            raise NotOursError(folder / name)
    fresh = [name for name in names if name not in held]
    if fresh:
        _append(folder / INVENTORY, fresh)


def adopt(folder: Path, *names: str) -> None:
    """Say that files which lie there are ours: those that a checked manifest of ours names.

    Parameters
    ----------
    folder : Path
        With an inventory.
    *names : str
        Of entries of the folder.

    Raises
    ------
    OSError
        If the disk refuses.
    """
    fresh = sorted(set(names) - claimed(folder))
    if fresh:
        _append(folder / INVENTORY, fresh)


def claimed(folder: Path) -> set[str]:
    """Return the names that a folder's inventory holds.

    Parameters
    ----------
    folder : Path
        Any.

    Returns
    -------
    set of str
        Plain names; none where there is no inventory.

    Raises
    ------
    OSError
        If there is one and it can't be read.
    """
    lines = _lines(folder)
    if not lines or not _FIRST_LINE.fullmatch(lines[0]):
        return set()
    return {INVENTORY} | {line for line in lines[1:] if _is_plain(line)}


def disown(folder: Path, names: Iterable[str]) -> None:
    """Take names out of an inventory once what they named is gone; under the lock of the folder's one writer.

    Parameters
    ----------
    folder : Path
        With an inventory.
    names : iterable of str
        What is no longer there.

    Raises
    ------
    OSError
        If the disk refuses.
    """
    gone, lines = set(names), _lines(folder)
    kept = [line for line in lines[1:] if line not in gone]
    if lines and (len(kept) < len(lines) - 1 or sum(map(len, lines)) > _LONG):
        mark = _mark(folder)
        with _written_whole(folder / INVENTORY, mark) as file:
            file.write("".join(f"{line}\n" for line in [lines[0], *dict.fromkeys(kept)]).encode())
        late = [line for line in _lines(folder) if line not in {*kept, *lines}]  # claimed meanwhile, before the swap
        if late:
            _append(folder / INVENTORY, late)


def dead_parts(folder: Path) -> list[Path]:
    """Find the temporary files that a process of ours left when it was killed.

    Parameters
    ----------
    folder : Path
        With an inventory, whose mark they bear.

    Returns
    -------
    list of Path
        Those that nobody has touched for an hour: younger ones may be another process's, which is writing.
    """
    mark = _mark(folder)
    if mark is None:
        return []
    form = re.compile(rf"\..+\.{mark}-[0-9a-f]{{8}}\.part")
    parts = []
    for path in folder.iterdir():
        if form.fullmatch(path.name):
            with suppress(OSError):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode) and time.time() - status.st_mtime > _DEAD:
                    parts.append(path)
    return parts


def _mark(folder: Path) -> str | None:
    lines = _lines(folder)
    match = _FIRST_LINE.fullmatch(lines[0].strip()) if lines else None
    return None if match is None else match[1]


def _lines(folder: Path) -> list[str]:
    try:
        return (folder / INVENTORY).read_bytes().decode("utf-8", "surrogateescape").splitlines()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return []


def _is_plain(name: str) -> bool:
    return bool(name) and name not in (".", "..") and not {"/", "\\", "\0"}.intersection(name)


def _append(path: Path, names: Iterable[str]) -> None:
    # One write to the end of the file: two processes that name something at once don't mix their lines.
    flags = os.O_RDWR | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    status = path.lstat()
    if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:  # a copy by hard links: what is ours here needn't be there
        with _written_whole(path, _mark(path.parent)) as own:
            own.write(path.read_bytes())
    file = os.open(path, flags)
    try:
        cut = os.fstat(file).st_size and os.lseek(file, -1, os.SEEK_END) >= 0 and os.read(file, 1) != b"\n"
        text = "".join(f"{name}\n" for name in names).encode("utf-8", "surrogateescape")
        os.write(file, b"\n" + text if cut else text)
    finally:
        os.close(file)


# Whole or not at all --------------------------------------------------------------------------------------------------


def temporary_beside(path: Path) -> Path:
    """Name a temporary file for what is to take a path's place, and claim that place where there is an inventory.

    Parameters
    ----------
    path : Path
        What is to be made or replaced.

    Returns
    -------
    Path
        In the same folder; nothing lies there.

    Raises
    ------
    NotOursError
        If the folder has an inventory, and it doesn't name what lies at ``path``.
    OSError
        If the folder refuses.
    """
    claim(path.parent, path.name)
    return _temporary(path, _mark(path.parent))


def _temporary(path: Path, mark: str | None) -> Path:
    own = secrets.token_hex(4) if mark is None else f"{mark}-{secrets.token_hex(4)}"
    start = os.fsdecode(os.fsencode(path.name)[:100]).encode("utf-8", "ignore").decode()  # a system counts bytes
    return path.with_name(f".{start}.{own}.part")


@contextmanager
def replace_file(path: Path, *, late: bool = False) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` that takes its place when the block ends without an error.

    A process killed inside the block, or a full disk, leaves the old file as it was. Of two writers at once the last to
    end wins, whole. In a folder with an inventory only what that names is replaced.

    Parameters
    ----------
    path : Path
        The file to replace or make; its folder exists.
    late : bool
        Name a new file in the inventory when it is in place, not before: so that a name without a file tells a loss.

    Yields
    ------
    file object
        Open for writing bytes.

    Raises
    ------
    NotOursError
        If the folder has an inventory, and it doesn't name what lies at ``path``.
    OSError
        If the folder or the disk refuses.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "note.txt")
    >>> with replace_file(file) as f:
    ...     _ = f.write(b"whole")
    >>> file.read_bytes(), len(list(file.parent.iterdir()))
    (b'whole', 1)
    """
    late = late and not os.path.lexists(path)
    if not late:
        claim(path.parent, path.name)
    mark = _mark(path.parent)
    with _written_whole(path, mark) as f:
        yield f
    if late and mark is not None:
        adopt(path.parent, path.name)


@contextmanager
def _written_whole(path: Path, mark: str | None) -> Iterator[BinaryIO]:
    temporary = _temporary(path, mark)
    try:
        with temporary.open("xb") as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_file(path: Path, *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Open a file that a person asked for: whole or not at all, and in place of another only where that was allowed.

    Parameters
    ----------
    path : Path
        The file; its folder is made.
    overwrite : bool
        Whether a file that lies there may be replaced.

    Yields
    ------
    file object
        Open for writing bytes.

    Raises
    ------
    UsageError
        If something lies there, now or when the block ends, and ``overwrite`` is False; or if it isn't a plain file.
    OSError
        If the folder or the disk refuses.
    """
    check_new(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _written_whole(path, None) as f:
        yield f
        if not overwrite:  # what came there meanwhile is somebody's
            check_new(path)


def check_new(path: Path, *, overwrite: bool = False) -> None:
    """Refuse to write where something lies already; to be asked before the work that fills the file.

    Parameters
    ----------
    path : Path
        Where a file is to be.
    overwrite : bool
        Whether a plain file that lies there may be replaced.

    Raises
    ------
    UsageError
        If it may not; a folder, a link, a pipe or a device never may.
    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a link" if stat.S_ISLNK(mode) else "a pipe or a device"
        raise UsageError(f"{path}: {kind} lies there, where a file is to be written; pick another name")
    if not overwrite:
        raise UsageError(f"{path}: exists already; pick another name, or add --overwrite to replace it")
