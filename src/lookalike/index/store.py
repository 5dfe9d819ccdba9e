"""Where the rows of an index are: what a run asks of it, wherever it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.collection import Collection
from lookalike.index.manifest import Column, Manifest


class Store(Protocol):
    """Rows with a key each, changed by one writer, under its lock.

    Rows that are added or deleted are seen by nobody until :meth:`commit` has put the manifest that names them in place.
    :class:`lookalike.index.lance_store.LanceStore` keeps them in an index's folder; the tests have one in memory.

    Attributes
    ----------
    path : Path
        What it is called in errors: the index's folder.
    keys : ndarray of int64, shape (n,)
        Of all rows, in any order.
    """

    path: Path
    keys: NDArray[np.int64]

    @property
    def columns(self) -> list[str]:
        """Names of the rows' columns; none of an empty store."""
        ...

    def read(self, columns: Sequence[str], keys: Sequence[int] | None = None) -> Any:
        """Return columns of all rows, or of those with these keys, as an Arrow table in unspecified order."""
        ...

    def append(self, rows: Any) -> None:
        """Add rows, an Arrow table with all columns."""
        ...

    def delete(self, keys: Iterable[int]) -> None:
        """Take rows away by their keys."""
        ...

    def add_column(self, column: Column) -> None:
        """Add the empty columns of another encoder; none where they are there already."""
        ...

    def drop_column(self, column: str) -> None:
        """Take the columns of an encoder away."""
        ...

    def replace_column(self, old: Column, new: Column, make: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        """Put other descriptors in place of an encoder's, under the same name or another.

        Parameters
        ----------
        old, new : Column
            What is there, and what is to be.
        make : callable
            Descriptors, shape (n, d), -> those in their place, shape (n, p); called for some rows at a time.

        Raises
        ------
        DamagedIndexError
            If a descriptor isn't what was written.
        """
        ...

    def commit(self, manifest: Manifest) -> Manifest:
        """Make what was written what readers see, whole.

        Parameters
        ----------
        manifest : Manifest
            What is to be said of it; the version, the rows, their check and the time are filled in here.

        Returns
        -------
        Manifest
            As written.
        """
        ...

    def keep(self, manifest: Manifest) -> None:
        """Keep the state that a run begins from, for a rollback."""
        ...

    def sweep(self) -> None:
        """Drop what no manifest names; it never fails rows that were written."""
        ...


def place_of(path: Path, images: Collection) -> str:
    """Say where in its collection an index lies.

    Parameters
    ----------
    path : Path
        The index's folder.
    images : Collection
        Any.

    Returns
    -------
    str
        Relative to the collection's folder, with ``/``; empty where it lies elsewhere.
    """
    whole, folder = path.resolve(), Path(images.source)
    if images.entries is None or not whole.is_relative_to(folder):
        return ""
    return whole.relative_to(folder).as_posix()
