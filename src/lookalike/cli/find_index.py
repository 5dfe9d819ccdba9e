"""The index that a person means, by its name, by its collection's name, or by where the command is run."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from lookalike.errors import UsageError

if TYPE_CHECKING:
    from lookalike.api import Index


def named_index(path: Path | None) -> Path | None:
    """Take the collection's name for its index: a callback of ``--index``, so that every command understands ``-i photos``.

    Parameters
    ----------
    path : Path or None
        What was given: an index, or the folder, archive, list or built-in name that one was made from.

    Returns
    -------
    Path or None
        The index that lies in or beside it; what was given where there is none, so that opening it reports that.
    """
    if path is None or _is_index(path):
        return path
    from lookalike.object_store import as_typed, is_address

    if is_address(typed := as_typed(path)):
        from lookalike.index.bucket import index_to_read

        return index_to_read(typed)
    from lookalike.index.reopen import default_path

    own = default_path(path)
    return own if _is_index(own) else path


def open_named(path: Path | None, encoder: str | None, file: str | None = None) -> Index:
    """Open the index that was named, or else the one that :func:`only_index` finds."""
    from lookalike import open_index

    return open_index(path or only_index(file), encoder=encoder)


def only_index(file: str | None = None) -> Path:
    """Find the only index in the current folder; else in a folder above; else above a file, and say which was taken."""
    indexes = _indexes_here()
    if len(indexes) > 1:
        raise UsageError(
            f"{len(indexes)} indexes in this folder ({', '.join(map(str, indexes))}); name one with --index"
        )
    if indexes:
        return indexes[0]
    from lookalike import progress
    from lookalike.index.reader import index_of

    above = index_of("here")  # whatever its name, a file here lies in this folder
    if above is None and file is not None:
        above = index_of(file)
    if above is None:
        raise UsageError(
            "no index in this folder; name one with --index, or create one with: lookalike index COLLECTION"
        )
    progress.say(f"index: {above}")
    return above


def is_begun(path: Path) -> bool:
    """Tell whether a folder is an index, or is becoming one: its first run may still be under way."""
    from lookalike.index.manifest import MANIFEST
    from lookalike.index.run_status import LOCK

    return any((path / name).is_file() for name in (MANIFEST, LOCK))


def served_index(source: str | Path, *, make: bool = False) -> Path:
    """Return the index to serve: the folder itself where it is one, or is becoming one, else that of a collection.

    With ``make`` one that isn't there yet is as good, as it is about to be made.
    """
    from lookalike.index.reopen import default_path
    from lookalike.object_store import as_typed, is_address

    if is_address(typed := as_typed(source)):
        from lookalike.index.bucket import index_to_read

        return index_to_read(typed)
    path = Path(source)
    if is_begun(path):
        return path
    own = default_path(str(source))
    if make:
        return own
    if own.is_dir() or path.is_dir():
        if not own.is_dir():
            raise UsageError(
                f"{source}: has no index yet; create one with: lookalike index {quote(str(source))}; or index and serve "
                f"it at once: lookalike {quote(str(source))}"
            )
        return own
    return path


def _indexes_here() -> list[Path]:
    """Return the indexes in the current folder; where none is whole, the folders that are named as one."""
    named = sorted({path for path in [Path(".lookalike"), *Path().glob("*.lookalike")] if path.is_dir()})
    return [path for path in named if _is_index(path)] or named


def _is_index(path: Path) -> bool:
    return any((path / name).is_file() for name in ("manifest.json", "previous.json", "passport.json"))
