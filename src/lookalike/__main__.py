"""`python -m lookalike` and the `lookalike` command."""

import gc
import os
import sys
from contextlib import suppress


def main() -> None:
    """Run the command line, and leave at once: taking Lance and NumPy apart would cost a tenth of a second."""
    gc.set_threshold(100_000, 50, 100)  # imports make many objects and no garbage
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names that the terminal's encoding lacks are spelt out
            stream.reconfigure(errors="backslashreplace")

    # Read by ONNX Runtime when it is imported, also by a process that we start; a user's own setting wins.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        from lookalike.cli import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # while it was being imported
        code = 1
    with suppress(OSError):  # `run` has said what there is to say
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
