"""Which folders of a collection can't be seen now, so that what an index knows of them isn't gone."""

from __future__ import annotations

import os
from pathlib import Path

from lookalike.collections.collection import Collection
from lookalike.index.manifest import Manifest

_CLOCK_SECONDS = 2  # by which a disk's clock may go before ours


def unseen_folders(images: Collection, manifest: Manifest | None) -> tuple[str, ...]:
    """Return the prefixes of ids of files that can't be seen now.

    An empty folder that hasn't changed since the index was written wasn't emptied since: what it held lies on a disk
    that was mounted there.

    Parameters
    ----------
    images : Collection
        As it is now.
    manifest : Manifest or None
        What the index knows of it.

    Returns
    -------
    tuple of str
        Each ends in ``/``, or is empty, which is the whole collection.
    """
    folders = {*images.unlisted, *(name.removesuffix("/") for name in folders_away(images, manifest))}
    if manifest is not None:
        listed = manifest.listed - _CLOCK_SECONDS
        folders |= {name for name, changed in images.empty.items() if changed / 1e9 < listed}
    return tuple(f"{name}/" if name else "" for name in folders)


def folders_away(images: Collection, manifest: Manifest | None) -> list[str]:
    """Return the folders that lay on a disk of their own when they were last seen, and don't now, or are empty.

    What else lies in a mount point without its disk is new, and says nothing of what is on the disk. A disk that goes
    takes no link away: if that is gone, a person removed it.

    Parameters
    ----------
    images : Collection
        As it is now.
    manifest : Manifest or None
        What the index knows of it.

    Returns
    -------
    list of str
        As the manifest's ``mounts``.
    """
    if manifest is None or not os.path.isdir(images.source):
        return []
    away = []
    for name in manifest.mounts:
        folder = name.removesuffix("/")
        if not name and manifest.source != images.source:
            continue  # the whole collection lies elsewhere now
        is_away = name not in images.mounts or folder in images.empty
        if is_away and (name == folder or os.path.lexists(Path(images.source, folder))):
            away.append(name)
    return away
