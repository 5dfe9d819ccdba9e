"""What this machine has."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Return how many cores this process may use.

    Returns
    -------
    int
        At least 1; fewer than the machine has where the process is confined.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
