"""What this machine has, and how much of it is taken."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


def usable_cores() -> int:
    """Return how many cores this process may use.

    Returns
    -------
    int
        At least 1; fewer than the machine has where the process is confined.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_lock = threading.Lock()
_users = 0
#: What is held at present, and the threads that it had before.
_held: dict[Any, int] = {}


def product_threads() -> int:
    """Return how many threads to use: as many as a matrix product would, so that a person's limit holds here too.

    Returns
    -------
    int
        At least 1.
    """
    with _lock:
        allowed = [_held.get(library, library.get_num_threads()) for library in _blas("scipy.linalg" in sys.modules)]
    return max(1, min([usable_cores(), *map(int, allowed)]))


@contextmanager
def one_thread_of_blas(*, with_scipy: bool = False) -> Iterator[None]:
    """Hold matrix products to one thread within; of several users at a time, the last to leave gives the threads back.

    More threads than free cores wait for each other by spinning: of many small products, beside other work, that took ten
    times as long.

    Parameters
    ----------
    with_scipy : bool, default=False
        Import scipy's linear algebra first, which brings a library of its own: what is imported within isn't held.

    Yields
    ------
    None
    """
    global _users  # noqa: PLW0603
    if with_scipy:
        importlib.import_module("scipy.linalg")
    with _lock:
        for library in _blas("scipy.linalg" in sys.modules):
            threads = library.get_num_threads()
            if threads != 1:
                _held.setdefault(library, threads)
                _set_threads(library, 1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                for library, threads in _held.items():
                    _set_threads(library, threads)
                _held.clear()


@cache
def _blas(_with_scipy: bool) -> list[Any]:
    """Return the libraries of matrix products that are loaded; to look for them takes milliseconds, so it is done once."""
    from threadpoolctl import ThreadpoolController

    return [library for library in ThreadpoolController().lib_controllers if library.user_api == "blas"]


def _set_threads(library: Any, threads: int) -> None:
    """Set a library's threads, whichever thread asks.

    Since 3.8 threadpoolctl lets one thread alone do that and ignores all others in silence: the last to leave would give
    nothing back where another one entered first. Here a lock and a count see to what it protects from.
    """
    free = getattr(library, "clear_controlling_thread", lambda **_: None)
    free(force=True)
    library.set_num_threads(threads)
    free(force=True)
