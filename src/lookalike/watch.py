"""A folder -> a signal whenever its files have changed and have then been left alone for a moment."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from lookalike.errors import UsageError

_QUIET_MS = 1000  # so long nothing may have changed before it is told: a file being copied isn't complete


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
        told afterwards.

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

    def matters(change: watchfiles.Change, path: str) -> bool:
        inside = Path(path).relative_to(folder.resolve()) if Path(path).is_relative_to(folder.resolve()) else Path(path)
        return ignore(change, path) and not any(part.endswith(".lookalike") for part in inside.parts)

    begun = False
    for changes in watchfiles.watch(
        folder.resolve(), watch_filter=matters, debounce=30 * _QUIET_MS, step=_QUIET_MS, stop_event=stop,
        rust_timeout=_QUIET_MS, yield_on_timeout=True,
    ):  # fmt: skip
        if not begun:
            begun = True
            yield 0
        if changes:
            yield len(changes)
