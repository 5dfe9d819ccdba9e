"""A folder -> the files in it, in a fixed order, each as an entry that says what the reader opens.

No file is opened here. What is known without that (a pipe, a link that leads nowhere, a text that is another file's
caption) is said in the entry; the rest is found out when it is read.
"""

from __future__ import annotations

import errno
import heapq
import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookalike.collections.columns import Entries, EntriesBuilder, Entry
from lookalike.collections.ids import as_text, id_of, with_unique_ids
from lookalike.collections.patterns import matcher
from lookalike.errors import CollectionError
from lookalike.imaging.formats import SUFFIXES

_INDEX_ENDING = ".lookalike"
_EARLIEST, _LATEST = -(2**63), 2**63 - 1

_KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}
_WORDS = {
    errno.EACCES: "no permission to read it",
    errno.ELOOP: "a link that leads back to itself",
    errno.ENAMETOOLONG: "its path is longer than the system opens",
}


@dataclass(frozen=True)
class Scan:
    """What a folder holds.

    Attributes
    ----------
    entries : Entries
        Sorted by id.
    unlisted : dict of str to str
        Folders that could not be listed, by their path relative to the collection, and why. What an index knows of
        them is not gone.
    empty : dict of str to int
        Folders in which nothing lies at all, and when they were last changed, in nanoseconds since 1970.
    mounts : list of str
        Folders that lie on another disk than the folder around them; "" is the collection itself, and those that a link
        leads to end in ``/``.
    """

    entries: Entries
    unlisted: dict[str, str]
    empty: dict[str, int]
    mounts: list[str]


def scan(
    folder: str | Path,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    hidden: bool = False,
    links: bool = True,
) -> Scan:
    """List the files of a folder and of all folders in it.

    Links are followed, but into no folder twice: a folder that a link leads to is searched under its own name if it is
    part of the collection anyway, else under that of the first link, and the other links say so. Indexes of ours
    (``*.lookalike``, or a folder that :func:`is_index` tells) are left out.

    Parameters
    ----------
    folder : str or Path
        Where to begin.
    include : sequence of str
        Glob patterns; without any, every file is taken. One with a ``/`` is matched against the relative path, one
        without against the name; ``*`` matches ``/`` too.
    exclude : sequence of str
        Patterns of files and folders that are left out, whatever ``include`` says.
    hidden : bool
        Take files and folders whose name begins with a dot, too.
    links : bool
        Follow links that lead out of the folder.

    Returns
    -------
    Scan
        The entries, and what could not be listed.

    Raises
    ------
    CollectionError
        If the folder itself can't be listed, or is an index.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "b.png").write_bytes(b"..."), (folder / ".a.png").touch()
    >>> [(entry.id, entry.size) for entry in scan(folder).entries]
    [('b.png', 3)]
    """
    walk = _Walk(os.path.abspath(folder), as_text(str(folder)), matcher(include), matcher(exclude), hidden, links)
    walk.run()
    entries = with_unique_ids(walk.entries.finish()).sorted()
    return Scan(entries, walk.unlisted, walk.empty, sorted(walk.mounts))


def file_entry(
    identity: str, path: str, where: str, *, label: str | None = None, metadata: dict[str, Any] | None = None
) -> Entry:
    """Make the entry of one file that is known by its path.

    Parameters
    ----------
    identity : str
        Its id.
    path : str
        Absolute.
    where : str
        What it is called in its reason.
    label : str, optional
        What it shows.
    metadata : dict, optional
        What else is known of it.

    Returns
    -------
    Entry
        With the outcome ``gone`` where there is no such file, ``unsupported`` where it is a folder or a device, and
        ``unreadable`` where it is a link that leads nowhere or the system refuses.
    """
    source, size, changed = ("file", path), 0, 0
    outcome, words = None, ""
    try:
        status = os.lstat(path)
        size, changed = status.st_size, changed_at(status)
        status = os.stat(path)
        size, changed = status.st_size, changed_at(status)
        if not stat.S_ISREG(status.st_mode):
            outcome, words = "unsupported", f"{_kind(status.st_mode)}, not a file; leave it out"
    except OSError as e:
        missing = isinstance(e, (FileNotFoundError, NotADirectoryError))
        if missing and not changed:
            outcome, words = "gone", "no such file; put it back, or leave it out"
        else:
            outcome, words = "unreadable", _what_is_wrong(e)
    except ValueError:  # a NUL in the name
        outcome, words = "gone", "no file can bear such a name; leave it out"
    return Entry(
        identity, source, size, changed, label, None, metadata, outcome, f"{where}: {words}" if words else None
    )


def captions_of(names: Iterable[str]) -> dict[str, str]:
    """Find the sidecar texts among the names of one folder.

    Parameters
    ----------
    names : iterable of str
        Names of files.

    Returns
    -------
    dict of str to str
        Image -> its text: ``cat.jpg.txt`` before ``cat.txt``. A text may go with several images.

    Examples
    --------
    >>> captions_of(["cat.jpg", "cat.png", "cat.txt", "cat.png.txt", "notes.txt"])
    {'cat.jpg': 'cat.txt', 'cat.png': 'cat.png.txt'}
    """
    names = list(names)
    texts = {id_of(name[:-4]): name for name in names if name.lower().endswith(".txt")}
    if not texts:
        return {}
    captions = {}
    for name in names:
        stem, ending = os.path.splitext(name)
        if ending.lower() in SUFFIXES and (text := texts.get(id_of(name)) or texts.get(id_of(stem))):
            captions[name] = text
    return captions


def is_index(names: set[str]) -> bool:
    """Tell an index of ours by what lies in a folder: it is never searched, or thumbnails would be indexed again.

    Parameters
    ----------
    names : set of str
        Of all that lies there.

    Returns
    -------
    bool
        A person's own ``manifest.json`` or Lance dataset doesn't make an index of a folder of pictures.
    """
    manifest = {"manifest.json", "passport.json"}  # the second was written by format 1
    return bool(manifest & names) and ("inventory.txt" in names or "images.lance" in names)


class _Walk:
    """One search: folders found under their own name are searched before those that only a link leads to."""

    def __init__(
        self,
        root: str,
        name: str,
        include: re.Pattern[str] | None,
        exclude: re.Pattern[str] | None,
        hidden: bool,
        links: bool = True,
    ) -> None:
        self.entries = EntriesBuilder()
        self.unlisted: dict[str, str] = {}
        self.empty: dict[str, int] = {}
        self.mounts: list[str] = []
        self._disks: dict[str, int] = {}  # of folders that hold folders
        self._root, self._name = root, name
        self._include, self._exclude, self._hidden, self._follows = include, exclude, hidden, links
        self._folders = [(root, "")]
        self._links: list[tuple[str, str]] = []  # a heap of (path in the collection, path)
        self._visited: dict[tuple[int, int], str] = {}

    def run(self) -> None:
        for parent in Path(os.path.realpath(self._root)).parents:
            self._visited[_identity(os.stat(parent))] = "a folder around the collection"
        self._disks[".."] = os.stat(os.path.dirname(self._root)).st_dev
        while self._folders or self._links:
            if self._folders:
                self._search(*self._folders.pop())
            else:
                relative, path = heapq.heappop(self._links)
                self._search(path, relative, linked=True)

    def _search(self, path: str, relative: str, *, linked: bool = False) -> None:
        try:
            status = os.stat(path)
            identity = _identity(status)
            if identity in self._visited:
                self._add_known(path, relative, "unreadable", f"a link to {self._visited[identity]}; searched once")
                return
            with os.scandir(path) as listing:
                children = list(listing)
        except OSError as e:
            if not relative:
                raise CollectionError(f"{self._name}: can't be listed: {e.strerror or e}") from e
            if not isinstance(e, FileNotFoundError):
                self.unlisted[id_of(relative)] = _what_is_wrong(e)
            return
        self._visited[identity] = f"'{as_text(relative)}'" if relative else "the collection itself"
        if status.st_dev != self._disks[relative.rpartition("/")[0] if relative else ".."]:
            self.mounts.append(id_of(relative) + "/" * linked)
        if not children and relative:
            self.empty[id_of(relative)] = status.st_mtime_ns
        if is_index({child.name for child in children}):
            if relative:
                return
            raise CollectionError(f"{self._name}: an index, not images; give the folder that it was made of")
        self._disks[relative] = status.st_dev
        self._take(path, children, relative)

    def _take(self, path: str, children: list[os.DirEntry[str]], relative: str) -> None:
        before = f"{relative}/" if relative else ""
        files: list[tuple[str, int, int]] = []  # names, sizes, times
        for child in children:
            name = child.name
            is_hidden = name[0] == "." and not self._hidden
            if is_hidden or name.endswith(_INDEX_ENDING) or (self._exclude and self._exclude.match(before + name)):
                continue
            try:
                if not self._follows and child.is_symlink() and not self._leads_inside(child.path):
                    words = "a link out of the collection, which --no-links leaves alone"
                    self._add_known(child.path, before + name, "unsupported", words)
                    continue
                if child.is_dir(follow_symlinks=False):
                    self._folders.append((child.path, before + name))
                    continue
                status = child.stat()
            except OSError as e:
                self._add_unreadable(child, before + name, e)
                continue
            if stat.S_ISREG(status.st_mode):
                files.append((name, status.st_size, status.st_mtime_ns))
            elif stat.S_ISDIR(status.st_mode):
                heapq.heappush(self._links, (before + name, child.path))
            else:
                words = f"{_kind(status.st_mode)}, not a file; leave it out"
                self._add_known(child.path, before + name, "unsupported", words)
        if files:
            self._add_files(path, before, files)

    def _add_files(self, path: str, before: str, files: list[tuple[str, int, int]]) -> None:
        """Add the files of one folder, all at once."""
        captions: dict[str, str] = {}
        stamps: dict[str, str] = {}
        if any(name.endswith((".txt", ".TXT")) or name.lower().endswith(".txt") for name, _, _ in files):
            captions = captions_of(name for name, _, _ in files if self._may_be_caption(os.path.join(path, name)))
            named = frozenset(captions.values())
            stamps = {name: f"{size}:{changed}" for name, size, changed in files if name in named}
        if self._include is not None:
            files = [file for file in files if self._include.match(before + file[0])]
        names = [name for name, _, _ in files]
        is_plain = before.isascii() and "".join(names).isascii()
        texts = [captions.get(name) for name in names] if captions else None
        folder = os.path.join(path, "")
        self.entries.extend(
            len(files),
            id=[before + name for name in names] if is_plain else [id_of(before + name) for name in names],
            kind="file",
            path=[folder + name for name in names],
            size=[size for _, size, _ in files],
            mtime_ns=[
                changed if _EARLIEST <= changed <= _LATEST else within_64_bits(changed) for _, _, changed in files
            ],
            label=id_of(before[:-1]) or None,
            caption=texts and [text and folder + text for text in texts],
            caption_stamp=texts and [text and stamps[text] for text in texts],
            outcome=["caption" if name in stamps else None for name in names] if stamps else None,
        )

    def _may_be_caption(self, path: str) -> bool:
        """Tell text behind a link that leads out of the collection from a caption: it may be anything of this machine's."""
        return not (path.lower().endswith(".txt") and os.path.islink(path)) or self._leads_inside(path)

    def _leads_inside(self, path: str) -> bool:
        return os.path.realpath(path).startswith(os.path.join(os.path.realpath(self._root), ""))

    def _add_unreadable(self, child: os.DirEntry[str], relative: str, error: OSError) -> None:
        missing = isinstance(error, FileNotFoundError)
        if missing and not child.is_symlink():
            return  # vanished since the folder was listed
        if child.is_symlink():  # to a folder, it may be, on a disk that isn't there
            self.unlisted[id_of(relative)] = _what_is_wrong(error)
        self._add_known(child.path, relative, "unreadable", _what_is_wrong(error))

    def _add_known(self, path: str, relative: str, outcome: str, words: str) -> None:
        if self._include and not self._include.match(relative):
            return
        name = id_of(relative)
        try:
            status = os.lstat(path)
            size, changed = status.st_size, changed_at(status)
        except OSError:
            size, changed = 0, 0
        label = name.rpartition("/")[0] or None
        reason = f"{self._name}/{name}: {words}"
        self.entries.add(Entry(name, ("file", path), size, changed, label, outcome=outcome, reason=reason))


def changed_at(status: os.stat_result) -> int:
    """Return when a file was last changed, as an index holds it.

    Parameters
    ----------
    status : os.stat_result
        Of the file.

    Returns
    -------
    int
        Nanoseconds since 1970, as far as 64 bits go: the years 1677 to 2262.
    """
    return within_64_bits(status.st_mtime_ns)


def within_64_bits(number: int) -> int:
    """Return the closest number that 64 bits hold: dates and sizes come from files, and may be anything.

    Parameters
    ----------
    number : int
        Any.

    Returns
    -------
    int
        In -2**63 .. 2**63 - 1.
    """
    return max(_EARLIEST, min(number, _LATEST))


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "a device")


def _what_is_wrong(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "a link to a file that doesn't exist; mend or remove it"
    return f"{_WORDS.get(error.errno or 0) or error.strerror or error}"
