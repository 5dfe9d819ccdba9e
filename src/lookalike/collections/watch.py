"""A folder -> a signal whenever its files have changed and have then been left alone for a moment."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

from lookalike.errors import UsageError

_QUIET_MS = 1000  # a change is reported after so long without another: a file being copied isn't complete


def watch(folder: str | Path, *, stop: threading.Event | None = None) -> Iterator[int]:
    """Wait for changes in a folder and all below it; changes inside an index of ours don't count.

    Parameters
    ----------
    folder : str or Path
        What to watch.
    stop : threading.Event, optional
        Ends the watch when it is set.

    Yields
    ------
    int
        First 0, once the watch stands, so that nothing is missed that changes from then on. Then how many files have
        changed since the last time, once they have been left alone for a second. What changes while the caller works is
        reported afterwards. A folder that vanishes, with its disk, is waited for; when it is back that is reported too.

    Raises
    ------
    UsageError
        If it is no folder: what is held in memory or in one file doesn't change piece by piece.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"{folder}: only a folder can be watched; leave out --watch")
    import watchfiles

    # What happens in hidden folders, an index's among them, is no news.
    ignore = watchfiles.DefaultFilter(ignore_dirs=(), ignore_entity_patterns=(r"\.lookalike$", r"\.part$"))
    top = folder.resolve()

    def matters(change: watchfiles.Change, path: str) -> bool:
        inside = Path(path).relative_to(top) if Path(path).is_relative_to(top) else Path(path)
        return ignore(change, path) and not any(part.endswith(".lookalike") for part in inside.parts)

    stop = stop or threading.Event()
    begun = polls = False
    while not stop.is_set():
        roots = _roots(top)
        if _identity(top) is None:  # on a disk that isn't there: it may come back
            stop.wait(_QUIET_MS / 1000)
            continue
        again = begun
        try:
            for changes in watchfiles.watch(
                *roots, watch_filter=matters, debounce=30 * _QUIET_MS, step=_QUIET_MS, stop_event=stop,
                rust_timeout=_QUIET_MS, yield_on_timeout=True, force_polling=polls or None,
            ):  # fmt: skip
                if not begun or again:
                    begun, again = True, False
                    yield len(changes)
                elif changes:
                    yield len(changes)
                if any(_identity(root) != known for root, known in roots.items()):
                    break  # another disk lies there now, or none
                if changes and _roots(top).keys() != roots.keys():
                    break  # a folder was linked in, or a link was taken away
        except OSError:  # it vanished meanwhile, or the system watches no more folders
            polls = _identity(top) is not None
            stop.wait(_QUIET_MS / 1000)


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _roots(folder: Path) -> dict[Path, tuple[int, int] | None]:
    """Return the folder and those that links in it lead to, which the system doesn't watch with it, and what they are."""
    roots: dict[Path, tuple[int, int] | None] = {}
    waiting = [folder]
    while waiting:
        root = waiting.pop()
        if any(root.is_relative_to(known) for known in roots):
            continue
        roots[root] = _identity(root)
        for path, folders, _ in os.walk(root):
            links = [Path(path, name) for name in folders if os.path.islink(os.path.join(path, name))]
            waiting += [link.resolve() for link in links if link.exists()]
    return roots
