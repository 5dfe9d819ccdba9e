"""Files of an index's folder, which a stranger may have filled: only plain files are opened, and no link is followed."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from lookalike.errors import IndexStoreError


def open_plain(path: Path) -> BinaryIO:
    """Open a plain file for reading: not through a link, and without waiting at a pipe.

    Parameters
    ----------
    path : Path
        Which.

    Returns
    -------
    binary file

    Raises
    ------
    OSError
        If it can't be opened, or is a link, a pipe, a device or anything else that a stranger may have put there: opening
        such could wait for ever, and reading it never end.
    """
    status = os.lstat(path)  # opening a device may already do something
    if stat.S_ISREG(status.st_mode):
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(path, flags), "rb")
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file
        file.close()  # something else was put there since
    raise FileNotFoundError(errno.ENOENT, "no plain file", str(path))


def read_plain(path: Path, most: int) -> bytes:
    """Read a small file, if it is a plain file.

    Parameters
    ----------
    path : Path
        Which.
    most : int
        Bytes that are read.

    Returns
    -------
    bytes
        Its beginning.

    Raises
    ------
    OSError
        As of :func:`open_plain`, or if it can't be read.
    """
    with open_plain(path) as file:
        return file.read(most)


def refuse_links(path: Path) -> None:
    """Refuse an index in which a link lies: writing through one would change what lies elsewhere.

    Parameters
    ----------
    path : Path
        The index's folder, which may itself be reached by a link, and needn't exist.

    Raises
    ------
    IndexStoreError
        If there is one.
    OSError
        If the folder can't be listed.
    """
    folders, filed = [path], f"{path / 'keypoints-'}"
    while folders:
        try:
            with os.scandir(folders.pop()) as listing:
                children = list(listing)
        except (FileNotFoundError, NotADirectoryError):
            continue
        for child in children:
            if child.is_symlink():
                raise IndexStoreError(
                    f"{child.path}: a link inside an index, which lookalike never makes; it isn't followed: remove "
                    "the link, or take another index"
                )
            # What is filed there by the million is only ever replaced, which follows no link.
            if child.is_dir(follow_symlinks=False) and not str(Path(child.path).parent).startswith(filed):
                folders.append(Path(child.path))
