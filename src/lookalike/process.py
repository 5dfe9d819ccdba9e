"""What the processes that are lookalike's own set for the whole process; a program that imports the library keeps its own.

Own processes are those of the command line (``__main__``), and the sandbox's. Everything that holds for a whole process is
set here or in the sandbox's worker, and nowhere else.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

#: Variables that libraries read when they are imported; a user's own setting wins. They hold for child processes, too.
_ENVIRONMENT = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime reports to its maker otherwise
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "LANCE_LOG": "error",  # Lance's notes on new datasets are not for users of the command line
    "RUST_BACKTRACE": "0",
}


def own_process() -> None:
    """Set what the process of a command needs: no telemetry, no notes of Lance, no warnings of Pillow."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    ignore_pillow()


def ignore_pillow() -> None:
    """Ignore Pillow's warnings: of much that spoils nothing. Not for each image, as that is not thread-safe."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


@contextmanager
def import_environment(**variables: str) -> Iterator[None]:
    """Set environment variables while a library is imported that reads them then, and only then.

    Parameters
    ----------
    **variables : str
        Name -> value; a variable that is set already keeps its value.

    Yields
    ------
    None
    """
    missing = [name for name in variables if name not in os.environ]
    for name in missing:
        os.environ[name] = variables[name]
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)


__all__ = ["ignore_pillow", "import_environment", "own_process"]
