"""What this process holds at the moment: its open files and its children, by Linux's /proc."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def children() -> set[str]:
    """List the processes that any thread of this one started. A thread may end while it is asked: it has none then."""
    found: set[str] = set()
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found |= set(Path(f"/proc/self/task/{thread}/children").read_text().split())
    return found


def files() -> list[str]:
    """List what the open descriptors lead to; the one that lists them is closed again, and left out."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return sorted(found)
