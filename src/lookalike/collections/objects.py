"""``s3://bucket/photos`` -> a collection of its objects, each fetched when it is read, and decoded in the sandbox as a file.

A decoder never holds credentials or a socket: objects are fetched here, into files that live until they are read.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from lookalike.collections.columns import Entries, EntriesBuilder, Entry
from lookalike.collections.entries import Files
from lookalike.errors import ImageError
from lookalike.imaging.decode_errors import too_many_bytes
from lookalike.imaging.formats import SUFFIXES
from lookalike.imaging.sandbox.api import Answer, Sandbox
from lookalike.object_store import Objects, endpoint, open_objects

#: Objects that are fetched at the same time, and that lie on the disk until they are decoded.
_TOGETHER, _AHEAD = 16, 64


def list_objects(objects: Objects, *, hidden: bool = False) -> Entries:
    """List the images below a prefix; columns of a page are kept, no object a file.

    Parameters
    ----------
    objects : Objects
        Where.
    hidden : bool
        Take what begins with a dot, too.

    Returns
    -------
    Entries
        In the order of their ids, which are the keys below the prefix. What has no ending of an image is left out.
    """
    listed = EntriesBuilder()
    for found in objects.each():
        folder, _, name = found.key.rpartition("/")
        if not name or os.path.splitext(name)[1].lower() not in SUFFIXES:
            continue
        if not hidden and any(part.startswith(".") for part in found.key.split("/")):
            continue
        source = ("s3", f"s3://{objects.bucket}/{objects.prefix}{found.key}")
        listed.add(Entry(found.key, source, found.size, found.mtime_ns, folder or None))
    return listed.finish().sorted()


class ObjectFiles(Files):
    """The images of a bucket."""

    @cached_property
    def members(self) -> Entries:
        """All that were listed: they were chosen by their endings."""
        return self.entries

    @property
    def hold_images(self) -> bool:
        """Whether there is any."""
        return len(self.entries) > 0

    @cached_property
    def sandbox(self) -> Sandbox:
        """What fetches and reads them."""
        return FetchingSandbox(seconds=self.options.limits.seconds, memory=self.options.limits.memory)

    def _data(self, position: int) -> tuple[bytes, str]:
        entry = self.members[position]
        where, limit = self._where(entry), self.options.limits.bytes
        objects, key = _place(entry.source[1])
        got = objects.get(key, limit)
        if got is None:
            raise ImageError(f"{where}: can't be read: there is no such object any more", "gone")
        data, found = got
        if data is None:
            raise too_many_bytes(where, found.size, limit)
        return data, where


class FetchingSandbox(Sandbox):
    """A sandbox that fetches objects before it reads them; files it reads as any other does."""

    def map(self, tasks: Iterable[dict[str, Any]], ahead: int = 256) -> Iterator[Answer]:
        """Run the function over tasks; see :class:`lookalike.imaging.sandbox.api.Sandbox`.

        Raises
        ------
        ObjectStoreError
            If the store refuses, or is away for longer than its requests are tried again.
        """
        lying: deque[Path | None] = deque()
        with tempfile.TemporaryDirectory(prefix="lookalike-") as folder:
            answers = super().map(self._fetched(tasks, Path(folder), lying), min(ahead, _AHEAD) if ahead else ahead)
            for answer in answers:
                if (file := lying.popleft()) is not None:
                    file.unlink(missing_ok=True)
                yield answer

    def _fetched(
        self, tasks: Iterable[dict[str, Any]], folder: Path, lying: deque[Path | None]
    ) -> Iterator[dict[str, Any]]:
        flight: deque[tuple[dict[str, Any], Path | None, Future[None] | None]] = deque()
        with ThreadPoolExecutor(_TOGETHER, "lookalike-fetch") as pool:
            for number, task in enumerate(tasks):
                file = folder / str(number) if task["source"][0] == "s3" else None
                fetching = None if file is None else pool.submit(_fetch, task, file)
                flight.append((task, file, fetching))
                if len(flight) >= 2 * _TOGETHER or file is None:
                    yield self._next(flight, lying)
            while flight:
                yield self._next(flight, lying)

    @staticmethod
    def _next(
        flight: deque[tuple[dict[str, Any], Path | None, Future[None] | None]], lying: deque[Path | None]
    ) -> dict[str, Any]:
        task, file, fetching = flight.popleft()
        lying.append(file)
        if fetching is None:
            return task
        fetching.result()
        return task | {"source": ["file", str(file)]}


def _fetch(task: dict[str, Any], file: Path) -> None:
    """Lay an object down as a file of its time; none where it has gone, and none of its bytes where there are too many."""
    objects, key = _place(task["source"][1])
    got = objects.get(key, task["limits"]["bytes"])
    if got is None:
        return
    data, found = got
    with file.open("wb") as f:
        if data is None:
            f.truncate(found.size)
        else:
            f.write(data)
    os.utime(file, ns=(found.mtime_ns, found.mtime_ns))


def _place(address: str) -> tuple[Objects, str]:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return _bucket(bucket, endpoint()), key


@lru_cache(maxsize=8)
def _bucket(name: str, _server: str) -> Objects:
    return open_objects(f"s3://{name}")
