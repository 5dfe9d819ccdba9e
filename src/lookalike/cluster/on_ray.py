"""``ray:local`` or ``ray://head:10001`` -> an executor whose tasks run on the nodes of that cluster.

Tasks are pure: they read, decode and encode, and hand back descriptors and thumbnails. Only the driver writes, in the same
commits as on one machine. So a task that is run twice, or whose node has died, can neither lose a row nor add one.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from lookalike.cluster.shards import SentEncoder, here, read_shard, sent
from lookalike.errors import IndexStoreError, LookalikeError, UsageError, first_line, missing_extra
from lookalike.imaging.sandbox.api import Answer
from lookalike.index.build import MakeExecutor
from lookalike.index.manifest import Column
from lookalike.index.sync.executor import Executor

#: Files of one task: enough that Ray's own work on it is small beside theirs, few enough that a lost node costs seconds.
SHARD_FILES = 128
#: Longest wait for one shard beyond what its files may take; a new node must start its processes first.
WAIT_SECONDS = 300.0
_CONNECT_SECONDS = 10.0
_RETRIES = 20  # of a task whose node has died
_OBJECT_BYTES = 2**29
_ADDRESS = re.compile(r"ray:(?P<client>//)?(?P<host>\[[0-9a-fA-F:]+\]|[^:/\s\[\]]+):(?P<port>\d{1,5})/?")


def check_on(on: str) -> None:
    """Refuse what is no place to run on, before any work.

    Parameters
    ----------
    on : str
        ``local``, ``ray:local``, ``ray://HOST:PORT`` (Ray's client server, by default at port 10001), or ``ray:HOST:PORT``
        (the cluster itself, by default at port 6379, from one of its machines).

    Raises
    ------
    UsageError
        If it is something else, or Ray isn't installed.
    """
    if on == "local":
        return
    if on != "ray:local" and not _ADDRESS.fullmatch(on):
        raise UsageError(
            f"--on {on[:100]}: expected local, ray:local, or the head of a cluster such as ray://head:10001"
        )
    _import_ray()


@contextmanager
def running_on(on: str) -> Iterator[MakeExecutor | None]:
    """Connect to a cluster for the time of a block; one for this machine alone is started, and ended.

    Parameters
    ----------
    on : str
        As :func:`check_on` takes it.

    Yields
    ------
    callable or None
        Makes what reads the files of a run; None of this machine, which needs no cluster.

    Raises
    ------
    UsageError
        If there is none, it doesn't answer, or runs another version of Python or Ray.
    """
    if on == "local":
        yield None
        return
    check_on(on)
    ray = _import_ray()
    if ray.is_initialized():  # the caller's own, which stays
        yield _executor
        return
    try:
        if on == "ray:local":
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                object_store_memory=_OBJECT_BYTES,
                logging_level="ERROR",
            )
        else:
            found = _ADDRESS.fullmatch(on)
            assert found is not None
            _knock(on, found["host"].strip("[]"), int(found["port"]))
            address = on if found["client"] else on.removeprefix("ray:")
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except LookalikeError:
        raise
    except Exception as e:  # Ray has many kinds
        raise UsageError(f"{on}: Ray can't be reached or started there: {first_line(e)}") from e
    try:
        yield _executor
    finally:
        ray.shutdown()


def _executor(columns: list[tuple[Column, Path]]) -> Executor:
    return RayExecutor([sent(folder, c.fingerprint, c.shape, c.dtype) for c, folder in columns])


class RayExecutor:
    """Reads and encodes files on the nodes of the connected cluster.

    Parameters
    ----------
    encoders : sequence of SentEncoder
        In the order of the index's columns.
    shard : int
        Files of one task.
    """

    #: What answers hold is descriptors, not pixels.
    encodes = True

    def __init__(self, encoders: Sequence[SentEncoder], shard: int = SHARD_FILES) -> None:
        self._ray = _import_ray()
        self._shard = shard
        self._encoders = self._ray.put(list(encoders))
        self._run = self._ray.remote(read_shard).options(
            num_cpus=1, max_retries=_RETRIES, scheduling_strategy="SPREAD", retry_exceptions=False
        )

    def map(self, tasks: Iterable[dict[str, Any]], ahead: int = 256) -> Iterator[Answer]:
        """Run tasks in shards; see :class:`lookalike.index.sync.executor.Executor`.

        Raises
        ------
        IndexStoreError
            If a shard doesn't come back in its time, or its nodes are lost too often.
        """
        source, flight, more = iter(tasks), deque[tuple[Any, float, int]](), True
        try:
            while True:
                while more and len(flight) < self._at_once(ahead):
                    shard = list(islice(source, self._shard))
                    if not shard:
                        more = False
                        break
                    limit = WAIT_SECONDS + len(shard) * shard[0]["limits"]["seconds"]
                    flight.append((self._run.remote(shard, self._encoders, here()), limit, len(shard)))
                if not flight:
                    return
                ref, limit, count = flight[0]
                answers = self._wait(ref, limit, count)
                flight.popleft()
                yield from answers
        finally:
            for ref, _, _ in flight:
                self._ray.cancel(ref, force=False)

    def _at_once(self, ahead: int) -> int:
        """Keep every core of the cluster busy, and one shard ready for each, as nodes come and go."""
        cores = int(self._ray.cluster_resources().get("CPU", 1))
        return max(2 * cores, ahead // self._shard, 2)

    def _wait(self, ref: Any, limit: float, count: int) -> list[Answer]:
        begun = time.monotonic()
        try:
            return [Answer(*answer) for answer in self._ray.get(ref, timeout=limit)]
        except self._ray.exceptions.GetTimeoutError as e:
            raise IndexStoreError(
                f"the cluster: {count} files didn't come back in {time.monotonic() - begun:,.0f} s; what is committed "
                "stays: see to its nodes (ray status), then run the same command again"
            ) from e
        except self._ray.exceptions.RayTaskError as e:
            if isinstance(e.cause, LookalikeError):
                raise e.cause from e
            raise IndexStoreError(f"the cluster: a task failed: {first_line(e.cause or e)}") from e
        except (self._ray.exceptions.RayError, ConnectionError) as e:
            raise IndexStoreError(
                f"the cluster is lost: {first_line(e)}; what is committed stays: run the same command again"
            ) from e


def _knock(on: str, host: str, port: int) -> None:
    """Find out in seconds that nobody listens; Ray itself tries for minutes."""
    try:
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    except OSError as e:
        raise UsageError(
            f"{on}: the head doesn't answer ({e.strerror or e}); on it run: ray start --head, then give its address"
        ) from e


def _import_ray() -> Any:
    # Read by Ray when it starts, and by the processes that it starts: nothing leaves the machine.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError as e:
        raise missing_extra("running on a cluster", "cluster") from e
    return ray
