"""Files written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replace_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` that takes its place when the block ends without an error.

    A process killed inside the block, or a full disk, leaves the old file as it was. Of two writers at once the last to
    end wins, whole.

    Parameters
    ----------
    path : Path
        The file to replace or make; its folder exists.

    Yields
    ------
    file object
        Open for writing bytes.

    Raises
    ------
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
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
