"""What this machine has, and how much of it is taken."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def usable_cores() -> int:
    """Return how many cores this process may use.

    Returns
    -------
    int
        At least 1; fewer than the machine has where the process is confined.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_thread_of_blas() -> Iterator[None]:
    """Hold matrix products to one thread within.

    More threads than free cores wait for each other by spinning: of many small products, beside other work, that took ten
    times as long.
    """
    import scipy.linalg  # noqa: F401  (its products, too, are to be held)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield
