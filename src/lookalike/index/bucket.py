"""An index at ``s3://bucket/prefix`` <-> a copy of it on this machine, which all that reads or writes an index works on.

What lies in the bucket is what lies in a folder: the same files under the same names, so that Lance reads the rows where
they are. Who writes puts a mark of its own into the manifest first, and replaces the manifest last, each only if it is still
what was seen: of two writers one wins, and the other is told. Every other object is written on such a condition, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lookalike.atomic import INVENTORY, replace_file
from lookalike.errors import IndexStoreError, UsageError
from lookalike.index.lock import check_target, take_lock
from lookalike.index.manifest import MANIFEST, PREVIOUS
from lookalike.index.sweep import is_swept
from lookalike.object_store import ChangedError, Found, Objects, ObjectStoreError, endpoint, is_address, open_objects

#: Copies of indexes that lie unused go when all together are larger than this; ``LOOKALIKE_CACHE_BYTES`` says otherwise.
CACHE_BYTES = 50 * 10**9
_UNUSED_SECONDS = 86_400  # another process may have a younger one open
_ROUNDS = 5  # of reading, while others write
_MARK = "writer"


def cache_folder() -> Path:
    """Return where copies lie: ``LOOKALIKE_CACHE``, else ``~/.cache/lookalike/indexes``."""
    given = os.environ.get("LOOKALIKE_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else base / "lookalike" / "indexes"


def index_to_read(place: str | Path) -> Path:
    """Bring the copy of an index to what lies in its bucket now.

    Parameters
    ----------
    place : str or Path
        An address, or a path, which comes back as it is.

    Returns
    -------
    Path
        The index's folder on this machine.

    Raises
    ------
    IndexStoreError, ObjectStoreError, UsageError
        If there is none, or the store refuses.
    """
    if not is_address(place):
        return Path(place)
    copy = _Copy(open_objects(place))
    there = copy.manifest_there(needed=True)
    with copy.alone() as is_alone:
        if is_alone:
            copy.pull(there)
        elif not (copy.path / MANIFEST).is_file():
            raise IndexStoreError(
                f"{copy.objects}: another process brings its first copy here; run it again when that ended"
            )
    return copy.path


@contextmanager
def index_to_write(place: str | Path) -> Iterator[Path]:
    """Give the folder of an index to be written, and put what was written into its bucket at the end.

    Parameters
    ----------
    place : str or Path
        An address, or a path, which comes back as it is.

    Yields
    ------
    Path
        A folder on this machine. What a run that fails has written stays there, and the next one goes on with it.

    Raises
    ------
    IndexStoreError, ObjectStoreError, UsageError
        If the store refuses, another run has written the index meanwhile, or the bucket has no conditional writes.
    """
    if not is_address(place):
        yield Path(place)
        return
    copy = _Copy(open_objects(place))
    try:
        with copy.alone() as is_alone:
            if not is_alone:
                raise IndexStoreError(
                    f"{copy.objects}: another process of this machine is writing it; wait till it has ended"
                )
            mark = copy.claim()
            check_target(copy.path)
            yield copy.path
            copy.push(mark)
    except ChangedError as e:
        raise IndexStoreError(
            f"{copy.objects}: another run has written this index meanwhile ({e}); nothing of it was lost: run the same "
            "command again, which goes on from there"
        ) from e


def refuse_copy(path: Path, what: str) -> None:
    """Refuse to change the copy of an index in a bucket by a command that doesn't put the change there.

    Parameters
    ----------
    path : Path
        An index's folder.
    what : str
        The command.

    Raises
    ------
    UsageError
        If it is such a copy.
    """
    if path.parent == cache_folder():
        raise UsageError(
            f"{what}: works on an index of this machine only, and this one lies in a bucket; nothing was changed"
        )


def shown_place(place: str | Path) -> str:
    """Say where an index is, as a person wrote it.

    Parameters
    ----------
    place : str or Path
        A folder, or an address.

    Returns
    -------
    str
    """
    return str(open_objects(place)) if is_address(place) else str(place)


class _Copy:
    """The copy of one index, and what is known of the objects that it was made from."""

    def __init__(self, objects: Objects) -> None:
        if not objects.prefix:
            raise IndexStoreError(
                f"{objects}: an index needs a prefix of its own in the bucket, such as {objects}/index"
            )
        self.objects = objects
        name = hashlib.sha256(f"{endpoint()}\n{objects}".encode()).hexdigest()[:16]
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = folder / name
        self._note = folder / f"{name}.json"
        self._evict(folder)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Keep other processes of this machine from changing the copy; tell whether none of them is at it now."""
        with open(self._note.with_suffix(".lock"), "ab") as lock:
            yield take_lock(lock.fileno(), self.path)

    # What is there ------------------------------------------------------------------------------------------------

    def manifest_there(self, *, needed: bool) -> tuple[dict[str, Any], str] | None:
        """Return the manifest in the bucket and its ETag; None where nothing was ever written."""
        got = self.objects.get(MANIFEST)
        stated: dict[str, Any] = {}
        if got is not None and got[0] is not None:
            try:
                stated = json.loads(got[0])
                if not isinstance(stated, dict):
                    raise ValueError("no manifest")
            except ValueError as e:
                raise IndexStoreError(
                    f"{self.objects}: holds a {MANIFEST} that isn't one of lookalike's; take another address"
                ) from e
        if needed and "manifest" not in stated:
            what = "is not an index" if got is None else "holds an index that was begun and has no manifest"
            raise IndexStoreError(
                f"{self.objects}: {what}; make an index with: lookalike index COLLECTION -o {self.objects}"
            )
        return None if got is None else (stated, got[1].etag)

    def pull(self, there: tuple[dict[str, Any], str] | None) -> None:
        """Make the copy the same as what is in the bucket, unless it goes on from there."""
        known, base = self._known()
        stated = {} if there is None else there[0]
        is_ahead = self.path.is_dir() and self._crc_here() != base and base == stated.get("crc32")
        if is_ahead:  # a run ended before its work was in the bucket
            return
        if base != stated.get("crc32") and self._crc_here() != base:
            self._forget()  # it went on from another state
            known = {}
        for _ in range(_ROUNDS):
            if self._download(known):
                now = self.objects.get(MANIFEST)
                same = None if now is None or now[0] is None else json.loads(now[0])
                if (same or {}).get("crc32") == stated.get("crc32"):
                    break
                stated = same or {}
        else:
            raise IndexStoreError(f"{self.objects}: kept changing while it was read; run the same command again")
        if "manifest" in stated:
            with replace_file(self.path / MANIFEST) as f:
                f.write(json.dumps({name: stated[name] for name in ("crc32", "manifest")}, indent=1).encode() + b"\n")
        self._write_note(known, stated.get("crc32"))

    def _download(self, known: dict[str, list[Any]]) -> bool:
        """Fetch what is new; False where something went while it was fetched."""
        there = {found.key: found for found in self.objects.each() if _is_ours(found.key) and found.key != MANIFEST}
        if there:
            self.path.mkdir(mode=0o700, exist_ok=True)
        for name in sorted(set(known) - set(there)):
            (self.path / name).unlink(missing_ok=True)
            del known[name]
        for name, found in there.items():
            file = self.path / name
            if known.get(name) == [found.size, found.etag] and file.is_file() and file.stat().st_size == found.size:
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_name(f".{file.name}.part")
            got = self.objects.download(name, part)
            if got is None:
                return False
            part.replace(file)
            known[name] = [got.size, got.etag]
        return True

    # Writing ------------------------------------------------------------------------------------------------------

    def claim(self) -> tuple[bytes, str]:
        """Put a mark into the manifest, so that whoever began before can't commit any more; bring the copy up to date."""
        there = self.manifest_there(needed=False)
        if there is None and any(True for _ in self._strangers()):
            raise IndexStoreError(f"{self.objects}: holds other things; pick an empty or a new prefix for the index")
        stated = {} if there is None else there[0]
        body = json.dumps(stated | {_MARK: secrets.token_hex(8)}, indent=1).encode()
        etag = self.objects.put(MANIFEST, body, len(body), None if there is None else there[1])
        try:  # a bucket that takes no notice of conditions writes what is there already
            self.objects.put(MANIFEST, body, len(body), '"00000000000000000000000000000000"')
        except ChangedError:
            pass
        else:
            raise ObjectStoreError(
                f"{self.objects}: it has no conditional writes (If-Match), without which two writers could lose each other's "
                "work; take another bucket"
            )
        self.pull(self.manifest_there(needed=False))
        return body, etag

    def push(self, mark: tuple[bytes, str]) -> None:
        """Put what is new into the bucket, then the manifest, then drop what it doesn't name any more."""
        known, _ = self._known()
        here = {name: self.path / name for name in self._files_here()}
        for name, file in here.items():
            if name in (MANIFEST, PREVIOUS):
                continue
            self._upload(name, file, known)
        manifest = (self.path / MANIFEST).read_bytes()
        self.objects.put(MANIFEST, manifest, len(manifest), mark[1])
        if PREVIOUS in here:
            self._upload(PREVIOUS, here[PREVIOUS], known)
        gone = [name for name in known if name not in here]
        self.objects.delete(gone)
        for name in gone:
            del known[name]
        self._write_note(known, self._crc_here())

    def _upload(self, name: str, file: Path, known: dict[str, list[Any]]) -> None:
        size = file.stat().st_size
        seen = known.get(name)
        if seen is not None and seen[0] == size and seen[1].strip('"') == _md5(file):
            return
        with file.open("rb") as f:
            try:
                etag = self.objects.put(name, f, size, None if seen is None else seen[1])
            except ChangedError:
                # An attempt before this one may have put the very same there, and not have come to note it.
                got = self.objects.get(name)
                if got is None or got[0] != file.read_bytes():
                    raise
                etag = got[1].etag
        known[name] = [size, etag]

    # Files --------------------------------------------------------------------------------------------------------

    def _strangers(self) -> Iterator[Found]:
        return (found for found in self.objects.each() if found.key != MANIFEST and not _is_ours(found.key))

    def _files_here(self) -> list[str]:
        files = (file for file in self.path.rglob("*") if file.is_file())
        return sorted(name for file in files if _is_ours(name := file.relative_to(self.path).as_posix()))

    def _known(self) -> tuple[dict[str, list[Any]], int | None]:
        """Return the size and the ETag of each object as last seen, and the check of the manifest that belongs to it."""
        try:
            read = json.loads(self._note.read_bytes())
            return dict(read["objects"]), read["crc32"]
        except (OSError, ValueError, KeyError, TypeError):
            self._forget()
            return {}, None

    def _write_note(self, known: dict[str, list[Any]], crc32: int | None) -> None:
        note = {"address": str(self.objects), "used": time.time(), "crc32": crc32, "objects": known}
        handle, part = tempfile.mkstemp(dir=self._note.parent, prefix=".note-")
        with os.fdopen(handle, "w") as f:
            json.dump(note, f)
        os.replace(part, self._note)

    def _crc_here(self) -> int | None:
        try:
            value = json.loads((self.path / MANIFEST).read_bytes())["crc32"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return int(value)

    def _forget(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._note.unlink(missing_ok=True)

    def _evict(self, folder: Path) -> None:
        """Drop the copies that were used longest ago while all together are too large."""
        most = int(os.environ.get("LOOKALIKE_CACHE_BYTES") or CACHE_BYTES)
        copies = []
        for note in folder.glob("[0-9a-f]" * 16 + ".json"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                read = json.loads(note.read_bytes())
                copies.append((read["used"], sum(size for size, _ in read["objects"].values()), note))
        total = sum(size for _, size, _ in copies)
        for used, size, note in sorted(copies):
            if total <= most or time.time() - used < _UNUSED_SECONDS or note == self._note:
                continue
            note.unlink(missing_ok=True)
            shutil.rmtree(note.with_suffix(""), ignore_errors=True)
            total -= size


def _is_ours(name: str) -> bool:
    parts = name.split("/")
    if {"", ".", ".."}.intersection(parts) or "\\" in name or name.endswith(".part"):
        return False
    return name in (MANIFEST, PREVIOUS, INVENTORY) or is_swept(parts[0])


def _md5(file: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as f:
        while block := f.read(2**20):
            digest.update(block)
    return digest.hexdigest()
