"""An index -> the collection that it was made of, opened the way the index read it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.collection import Collection
from lookalike.collections.entries import ReadOptions
from lookalike.collections.open import is_built_in, open_bucket, open_collection
from lookalike.errors import CollectionError, IndexStoreError
from lookalike.imaging.limits import Limits
from lookalike.index.manifest import UnreadableIndexError, read_manifest
from lookalike.index.reader import IndexReader
from lookalike.object_store import is_address


def default_path(source: str | Path) -> Path:
    """Return where the index of a collection lies unless one says otherwise.

    Parameters
    ----------
    source : str or Path
        What :func:`lookalike.open_collection` takes.

    Returns
    -------
    Path
        ``FOLDER/.lookalike`` for a folder, else ``NAME.lookalike``: beside a file, and here for a built-in name.

    Examples
    --------
    >>> default_path("mnist").as_posix(), default_path("mnist:test[0:100]").as_posix()
    ('mnist.lookalike', 'mnist-test.lookalike')
    """
    path = Path(source)
    built_in = re.match(r"mnist(:|\[|$)", str(source))  # open_collection takes the name before a folder of that name
    if built_in or not path.exists():
        path = Path(re.sub(r"\[[\d:]*\]$", "", str(source)))
    if path.is_dir() and not built_in:
        return path / ".lookalike"
    return path.with_name(path.name.replace(":", "-") + ".lookalike")


def open_to_index(
    source: str | Path | NDArray[np.generic] | Collection,
    path: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    hidden: bool | None = None,
    each: bool | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    links: bool | None = None,
    limits: dict[str, float | None] | None = None,
) -> Collection:
    """Open a collection the way its index read it, but for what is said otherwise.

    Parameters
    ----------
    source : str, Path, ndarray or Collection
        What :func:`lookalike.open_collection` takes; an opened collection comes back as it is.
    path : str or Path
        The index's folder, which needn't exist.
    size : int or (int, int), optional
        As of :func:`lookalike.open_collection`.
    include, exclude : sequence of str, optional
        Patterns; None goes by the index.
    hidden, each, links : bool, optional
        None goes by the index.
    path_column, label_column : str, optional
        None goes by the index.
    limits : dict, optional
        Fields of :class:`lookalike.imaging.limits.Limits`; None in it goes by the index.

    Returns
    -------
    Collection
        To be handed to :func:`build_index`.

    Raises
    ------
    CollectionError, UsageError
        As of :func:`lookalike.open_collection`.
    """
    if isinstance(source, Collection):
        return source
    stored: dict[str, Any] = {}
    try:
        stored = read_manifest(Path(path)).reading
    except UnreadableIndexError:  # or patterns that a person once gave would be forgotten for a moment's fault
        raise
    except IndexStoreError:
        pass
    asked = {"include": include, "exclude": exclude, "hidden": hidden, "each": each, "links": links}
    asked |= {"path_column": path_column, "label_column": label_column}
    options = stored | {name: value for name, value in asked.items() if value is not None}
    cost = stored.get("limits", {}) | {name: value for name, value in (limits or {}).items() if value is not None}
    if is_address(source):
        known = {f.name for f in fields(ReadOptions)} - {"limits"}
        taken: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in options.items() if n in known}
        return open_bucket(str(source), size, ReadOptions(**taken, limits=Limits(**cost)))
    return open_collection(source, size=size, **options | {"limits": Limits(**cost)})


def collection_now(index: IndexReader) -> Collection | None:
    """Open the collection of an index as it is now.

    Parameters
    ----------
    index : IndexReader
        Any.

    Returns
    -------
    Collection or None
        None where it was in memory, or can't be opened any more. A folder that was moved with its index inside is found.
    """
    source = index.manifest.source
    if not is_built_in(source):
        if index.path.name == ".lookalike" and not Path(source).exists():
            source = str(index.path.resolve().parent)
        if not Path(source).exists():
            return None
    with suppress(CollectionError):
        return open_to_index(source, index.path)
    return None


def changed_since(index: IndexReader, known: dict[str, Any]) -> str | None:
    """Say how a file differs from what was indexed.

    Parameters
    ----------
    index : IndexReader
        Any.
    known : dict
        What :meth:`lookalike.index.reader.IndexReader.why` returns for the file.

    Returns
    -------
    str or None
        A few words; None where nothing has changed, or it is no file.
    """
    images = collection_now(index)
    if images is None or images.entries is None:
        return None
    entry = next((e for e in images.entries if known["path"] in (e.id, f"{e.id}#{known['frame']}")), None)
    if entry is None:
        return "no longer there; index again"
    same = (entry.size, entry.mtime_ns) == (known["size"], known["mtime_ns"])
    return None if same else "changed since it was indexed; index again"
