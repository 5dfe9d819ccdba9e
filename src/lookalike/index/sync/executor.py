"""What runs a function over many tasks: this process, processes of this machine, or, later, other machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any, Protocol

from lookalike.errors import first_line
from lookalike.imaging.sandbox.api import Answer


class Executor(Protocol):
    """Maps one function over tasks; made for that function, which is named as ``module:function``.

    The function takes a task, a dict that JSON can hold, and yields pairs (facts, blobs): a dict that JSON can hold, and a
    list of bytes. So a task can go to another process or machine and back, and no object does.
    :class:`lookalike.imaging.sandbox.api.Sandbox` is one, of processes that are killed when they take too long.

    One with an attribute ``encodes`` that is true answers with descriptors, as bytes, one an encoder of the run, where
    others answer with pixels: it runs the encoders where it reads, as :class:`lookalike.cluster.on_ray.RayExecutor` does.
    """

    def map(self, tasks: Iterable[dict[str, Any]], ahead: int = 256) -> Iterator[Answer]:
        """Run the function over tasks.

        Parameters
        ----------
        tasks : iterable of dict
            Pulled as they are needed. ``"where"``, if there is one, begins the reasons of bad ends.
        ahead : int
            How many tasks may be pulled whose answers haven't been taken.

        Yields
        ------
        Answer
            One a task, in the tasks' order; of one that ended badly with ``outcome``, ``stage`` and ``reason``.
        """
        ...


class InProcess:
    """Runs the function here, one task after another: for tests, and where nothing can harm the process.

    Parameters
    ----------
    function : str
        ``"module:function"``.

    Examples
    --------
    >>> list(InProcess("lookalike.collections.tasks:read_task").map([]))
    []
    """

    def __init__(self, function: str = "lookalike.collections.tasks:read_task") -> None:
        module, _, name = function.partition(":")
        self._function: Callable[[dict[str, Any]], Iterator[tuple[dict[str, Any], list[bytes]]]] = getattr(
            import_module(module), name
        )

    def map(self, tasks: Iterable[dict[str, Any]], ahead: int = 256) -> Iterator[Answer]:  # noqa: ARG002  (pulls none ahead)
        """Run the function over tasks; see :class:`Executor`."""
        for task in tasks:
            facts: dict[str, Any] = {}
            blobs: list[bytes] = []
            try:
                for said, parts in self._function(task):
                    facts |= said
                    blobs += parts
            except Exception as e:  # any that a decoder raises
                stage = "decode" if facts else "read"
                what = f"its decoder failed ({type(e).__name__}: {first_line(e)}); left out"
                reason = f"{task['where']}: {what}" if task.get("where") else what
                facts |= {"outcome": "damaged", "stage": stage, "reason": reason}
            yield Answer(facts, blobs)
