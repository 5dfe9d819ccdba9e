"""A ``.zip`` or ``.tar`` archive -> entries for the files in it, read in place.

A compressed tar can only be read forwards. Entries are in the order of the archive, so that reading them in order
inflates it once.
"""

from __future__ import annotations

import bisect
import os
import stat
import struct
import threading
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from lookalike.collections.columns import Entries, EntriesBuilder, Entry
from lookalike.collections.folder import captions_of, changed_at
from lookalike.collections.ids import as_text, id_of, with_unique_ids
from lookalike.collections.tar_stream import TarStream, opener_of
from lookalike.errors import CollectionError, ImageError, first_line
from lookalike.imaging.decode_errors import too_many_bytes
from lookalike.imaging.formats import LONG_HEAD, format_of, unread_format

if TYPE_CHECKING:
    import tarfile
    import zipfile

#: The endings of archives; how a tar is compressed is recognised by its content.
ENDINGS = (".zip", ".cbz", ".tar", ".cbt", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz")

_LARGEST = 2**63 - 1  # a size that an index can hold

_lock = threading.Lock()


class _Member(NamedTuple):
    """What a listing says of one member."""

    name: str
    place: str
    size: int
    outcome: str | None
    words: str


def is_archive(path: Path) -> bool:
    """Tell by its name, or by its content, whether a file is an archive that is read.

    Parameters
    ----------
    path : Path
        Any file.

    Returns
    -------
    bool
        True for one of ``ENDINGS``, and for a zip or tar of any name; an ``.npz`` is one of arrays.
    """
    if path.name.lower().endswith(ENDINGS):
        return True
    return path.suffix.lower() != ".npz" and _kind_of(path) is not None


def _kind_of(path: str | Path) -> str | None:
    """Tell a zip from a tar by its first bytes, inflated where they are compressed."""
    try:
        with Path(path).open("rb") as raw:
            start = raw.read(512)
            if start.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
                return "zip"
            module = opener_of(start)
            if module is not None:
                raw.seek(0)
                start = module.open(raw).read(512)
    except Exception:  # not compressed after all, or cut short
        return None
    return "tar" if start[257:262] == b"ustar" or _is_old_tar(start) else None


def _is_old_tar(header: bytes) -> bool:
    """Tell a tar from before POSIX, which has no mark, by the sum of its first header."""
    if len(header) < 512 or not header[0]:
        return False
    try:
        return int(header[148:156].strip(b" \0"), 8) == sum(header) - sum(header[148:156]) + 8 * ord(" ")
    except ValueError:
        return False


def list_archive(path: str | Path, *, hidden: bool = False) -> Entries:
    """List the files in an archive; a compressed tar is inflated once for that, and nothing is kept of it.

    Parameters
    ----------
    path : str or Path
        A zip or tar file.
    hidden : bool
        Take files and folders whose name begins with a dot, too.

    Returns
    -------
    Entries
        In the order of the archive. Of members of one name the last counts, as when unpacked. Encrypted ones have the
        outcome ``unreadable``; links and devices ``unsupported``.

    Raises
    ------
    CollectionError
        If the archive can't be read to its end.
    """
    name, path = as_text(str(path)), os.path.abspath(path)
    kind = _kind_of(path) or ("zip" if path.lower().endswith((".zip", ".cbz")) else "tar")
    try:
        changed = changed_at(os.stat(path))
        members: dict[str, _Member] = {}
        for member in _zip_members(path) if kind == "zip" else _tar_members(path, changed):
            parts = [part for part in member.name.split("/") if part not in ("", ".")]
            if parts and (hidden or not any(part.startswith(".") and part != ".." for part in parts)):
                identity = id_of("/".join(parts))
                members.pop(identity, None)
                members[identity] = member
    except CollectionError:
        raise
    except Exception as e:  # tarfile and zipfile raise many kinds on damaged files
        if other := _what_it_is(path):
            raise CollectionError(f"{name}: {other}") from e
        reason = getattr(e, "strerror", None) or first_line(e)
        raise CollectionError(f"{name}: a damaged archive or none at all: {reason}; copy it again") from e
    captions = _captions(identity for identity, member in members.items() if member.outcome is None)
    texts = set(captions.values())
    entries = EntriesBuilder()
    for identity, member in members.items():
        text = members[captions[identity]] if identity in captions else None
        outcome = "caption" if identity in texts else member.outcome
        entries.add(
            Entry(
                identity,
                (kind, path, member.place),
                member.size,
                changed,
                identity.rpartition("/")[0] or None,
                None if text is None else (text.place, f"{text.size}:{changed}"),
                None,
                outcome,
                f"{name}/{identity}: {member.words}" if member.words else None,
            )
        )
    return with_unique_ids(entries.finish())


def _what_it_is(path: str) -> str | None:
    """Say what a file is that is called an archive and is whole, but isn't one that is read."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(LONG_HEAD)
    except OSError:
        return None
    if format_of(head) is not None:
        return "an image, not an archive; give it the ending of an image"
    known = None if _kind_of(path) else unread_format(head)
    return None if known is None else f"{known[0]}, which is not read; {known[1]}"


def read_member(source: tuple[str, ...], limit: int, where: str, *, cut: bool = False) -> bytes:
    """Read one member; the archive stays open for the next.

    Parameters
    ----------
    source : tuple of str
        An entry's.
    limit : int
        The most bytes that are read.
    where : str
        What the member is called in errors.
    cut : bool
        Return the first ``limit`` bytes of a larger member, rather than refuse it.

    Returns
    -------
    bytes
        Its content.

    Raises
    ------
    ImageError
        If it is larger than the limit (its declared size tells, nothing is inflated), damaged, or the archive changed.
    """
    kind, path, place = source
    named = as_text(path)
    with _lock:
        try:
            status = os.stat(path)
            opened = _opened(kind, path, (status.st_ino, status.st_size, changed_at(status)))
            size = opened.size(place)
            if size > limit and not cut:
                raise too_many_bytes(where, size, limit)
            return opened.read(place, min(size, limit))
        except ImageError:
            raise
        except _ChangedError as e:
            raise ImageError(f"{where}: {named} changed since it was listed; run again", "unreadable") from e
        except KeyError as e:
            raise ImageError(f"{where}: no longer in {named}; run again", "gone") from e
        except FileNotFoundError as e:
            raise ImageError(f"{where}: {named} is gone; put it back", "gone") from e
        except (NotImplementedError, RuntimeError) as e:
            raise ImageError(
                f"{where}: can't be unpacked: {first_line(e)}; unpack it with another tool", "unreadable"
            ) from e
        except Exception as e:
            _opened.cache_clear()  # a stream that failed in the middle stands nowhere
            if isinstance(e, OSError) and e.errno:  # the disk's word, not the archive's
                raise ImageError(f"{where}: {named} can't be read now: {e.strerror or e}", "unreadable") from e
            outcome = "truncated" if isinstance(e, EOFError) else "damaged"
            reason = getattr(e, "strerror", None) or first_line(e)
            raise ImageError(f"{where}: {outcome} in its archive ({reason}); pack it again", outcome) from e


@lru_cache(maxsize=1)
def _opened(kind: str, path: str, stamp: tuple[int, int, int]) -> _Zip | _Tar | _Parquet:
    """Open an archive, or return the one that is open, unless the file has changed."""
    if kind == "parquet":
        return _Parquet(path, stamp[2])
    return _Zip(path) if kind == "zip" else _Tar(path, stamp[2])


class _Zip:
    def __init__(self, path: str) -> None:
        import zipfile

        self._archive = zipfile.ZipFile(path)

    def size(self, place: str) -> int:
        return self._archive.getinfo(place).file_size

    def read(self, place: str, length: int) -> bytes:
        with self._archive.open(place) as file:
            data = file.read(length)
            if self.size(place) == length:
                data += file.read(1)  # at the end the checksum is compared
        if len(data) < length:
            raise EOFError(f"{len(data):,} of {length:,} bytes")
        return data


class _Parquet:
    """The files that lie in a column of a table: the row group that was read last is kept."""

    def __init__(self, path: str, changed: int) -> None:
        import pyarrow.parquet

        self._file = pyarrow.parquet.ParquetFile(path)
        self._changed = changed
        groups = self._file.metadata
        self._starts = [0]
        for group in range(groups.num_row_groups):
            self._starts.append(self._starts[-1] + groups.row_group(group).num_rows)
        self._held: tuple[str, int, Any] = ("", -1, None)

    def _cell(self, place: str) -> bytes:
        column, row, changed = place.rsplit(":", 2)
        if int(changed) != self._changed:
            raise _ChangedError
        group = bisect.bisect_right(self._starts, int(row)) - 1
        if self._held[:2] != (column, group):
            self._held = (column, group, self._file.read_row_group(group, columns=[column])[column])
        value = self._held[2][int(row) - self._starts[group]].as_py()
        return bytes(value["bytes"] if isinstance(value, dict) else value)

    def size(self, place: str) -> int:
        return len(self._cell(place))

    def read(self, place: str, length: int) -> bytes:
        return self._cell(place)[:length]


class _Tar:
    def __init__(self, path: str, changed: int) -> None:
        self._stream = TarStream(path)
        self._changed = changed

    def __del__(self) -> None:
        if hasattr(self, "_stream"):  # else it couldn't be opened
            self._stream.close()

    def size(self, place: str) -> int:
        _, size, changed = map(int, place.split(":"))
        if changed != self._changed:
            raise _ChangedError
        return size

    def read(self, place: str, length: int) -> bytes:
        self._stream.seek(int(place.partition(":")[0]))
        return self._stream.take(length)


class _ChangedError(Exception):
    """The archive isn't the one that was listed."""


def _zip_members(path: str) -> Iterator[_Member]:
    import zipfile

    with zipfile.ZipFile(path) as archive:
        # Some programs of Windows write backslashes between folders, which the format doesn't allow.
        slashes = any("/" in info.filename for info in archive.infolist())
        for info in archive.infolist():
            name = _zip_name(info)
            if "\\" in name and (not slashes or info.create_system == 0) and not _is_half_a_letter(info):
                name = name.replace("\\", "/")
            if info.is_dir():
                continue
            outcome, words = None, ""
            if info.flag_bits & 1:
                outcome, words = "unreadable", "encrypted in its archive; unpack it first"
            elif stat.S_ISLNK(info.external_attr >> 16):
                outcome, words = "unsupported", "a link in an archive; what it leads to is read by its own name"
            yield _Member(name, info.filename, min(info.file_size, _LARGEST), outcome, words)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return a member's name: some programs write UTF-8 and don't say so, or say it in a field of its own."""
    if info.flag_bits & 0x800:
        return info.filename
    try:
        raw = info.filename.encode("cp437")
    except UnicodeEncodeError:
        return info.filename
    extra = info.extra
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == 0x7075 and field[:1] == b"\1" and field[1:5] == struct.pack("<I", zlib.crc32(raw)):
            return field[5:].decode("utf-8", "backslashreplace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return info.filename


def _is_half_a_letter(info: zipfile.ZipInfo) -> bool:
    """Tell whether a name's backslashes are the second halves of letters, as in the Japanese code page of Windows."""
    try:
        raw = info.filename.encode("cp437")
        return not raw.isascii() and b"\\" in raw and "\\" not in raw.decode("cp932")
    except UnicodeError:
        return False


def _tar_members(path: str, changed: int) -> Iterator[_Member]:
    import tarfile

    stream = TarStream(path)
    try:
        with tarfile.open(fileobj=cast("Any", stream), mode="r:", encoding="utf-8") as archive:
            while (info := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # kept, they would cost a kilobyte each
                if not 0 <= info.size < _LARGEST:  # below 0 the next member would be one before, for ever
                    raise ValueError(f"{info.name}: a size of {info.size} bytes")
                if not info.isdir():
                    outcome, words = _what_is_wrong(info)
                    yield _Member(info.name, f"{info.offset_data}:{info.size}:{changed}", info.size, outcome, words)
        if stream.last.strip(b"\0"):  # tarfile ends in silence at a header that makes no sense
            raise ValueError(f"no member begins at byte {stream.tell() - len(stream.last):,}")
        stream.seek(_LARGEST if stream.is_compressed else 0)  # at its end the checksum is compared
    finally:
        stream.close()


def _what_is_wrong(info: tarfile.TarInfo) -> tuple[str | None, str]:
    if info.issym() or info.islnk():
        return "unsupported", "a link in an archive; what it leads to is read by its own name"
    if info.issparse():
        return "unsupported", "stored with holes in its archive; unpack it first"
    if not info.isfile():
        return "unsupported", "a pipe or device in an archive; leave it out"
    return None, ""


def _captions(identities: Iterator[str]) -> dict[str, str]:
    folders: dict[str, list[str]] = {}
    for identity in identities:
        folder, _, name = identity.rpartition("/")
        folders.setdefault(folder, []).append(name)
    return {
        f"{folder}/{name}".lstrip("/"): f"{folder}/{text}".lstrip("/")
        for folder, names in folders.items()
        for name, text in captions_of(names).items()
    }
