"""An index -> the state before its last run, and back again."""

from __future__ import annotations

from pathlib import Path

from lookalike.errors import IndexStoreError
from lookalike.index.dataset import open_dataset
from lookalike.index.lock import only_writer
from lookalike.index.manifest import PREVIOUS, DamagedIndexError, Manifest, read_manifest, write_manifest


def rollback(path: Path) -> tuple[Manifest, Manifest]:
    """Go back to the state before the last run; once more goes forward again.

    Parameters
    ----------
    path : Path
        The index's folder.

    Returns
    -------
    (Manifest, Manifest)
        What is now, and what was before.

    Raises
    ------
    IndexStoreError
        If there is no state before, or another process is writing.
    """
    with only_writer(path):
        if not (path / PREVIOUS).is_file():
            read_manifest(path)
            raise IndexStoreError(f"{path}: holds no state before its last run, so there is nothing to go back to")
        before = read_manifest(path, PREVIOUS)
        try:
            now = read_manifest(path)
        except DamagedIndexError:
            now = before  # a damaged manifest is what one may want to leave
        open_dataset(path, before)
        # In this order a run killed between the two has lost nothing but the way forward.
        write_manifest(path, before)
        write_manifest(path, now, PREVIOUS)
        return before, now
