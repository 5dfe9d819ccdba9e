"""Pictures that were sent, kept a while: so that the page's address can name one, and paging doesn't send it again."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

from lookalike.errors import UsageError
from lookalike.server.uploads import Upload

#: Bytes of files that are kept; the longest unused go first.
MAX_BYTES = 256 * 2**20
#: Files that are kept: of tiny ones the names would take more than what they hold.
MAX_FILES = 50_000
#: Of how many of them the decoded picture is kept too: the page asks by what it just sent, and shows it.
MAX_DECODED = 16


class ForgottenUploadError(UsageError):
    """What was sent isn't kept any more."""


class UploadCache:
    """Files by the hash of their content, in memory only: they are gone when the server ends.

    Parameters
    ----------
    max_bytes : int
        Bytes in all.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self._files: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0
        self._decoded: OrderedDict[str, Upload] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, data: bytes, decoded: Upload) -> str:
        """Keep a file.

        Parameters
        ----------
        data : bytes
            Its content.
        decoded : Upload
            The picture in it.

        Returns
        -------
        str
            What it is asked for by: 32 hexadecimal digits of its SHA-256.
        """
        name = hashlib.sha256(data).hexdigest()[:32]
        with self._lock:
            if name not in self._files:
                self._files[name] = data
                self._size += len(data)
            self._files.move_to_end(name)
            self._decoded[name] = decoded
            self._decoded.move_to_end(name)
            while len(self._decoded) > MAX_DECODED:
                self._decoded.popitem(last=False)
            while len(self._files) > 1 and (self._size > self.max_bytes or len(self._files) > MAX_FILES):
                self._size -= len(self._files.popitem(last=False)[1])
        return name

    def decoded(self, name: str) -> Upload | None:
        """Return the whole picture in a file; None if it has to be decoded again."""
        with self._lock:
            return self._decoded.get(name) if name in self._files else None

    def get(self, name: str) -> bytes:
        """Return a file.

        Parameters
        ----------
        name : str
            From :meth:`add`.

        Returns
        -------
        bytes
            Its content.

        Raises
        ------
        ForgottenUploadError
            If it was never sent, or so long ago that it made room for others.
        """
        with self._lock:
            if name not in self._files:
                raise ForgottenUploadError("that image isn't kept any more; send it again")
            self._files.move_to_end(name)
            return self._files[name]
