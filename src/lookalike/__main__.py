"""`python -m lookalike` and the `lookalike` command."""

import gc
import os
import signal
import sys
from contextlib import suppress

STOPPED = b"lookalike: interrupted; run the same command to continue\n"


def main() -> None:
    """Run the command line, and leave at once: taking Lance and NumPy apart would cost a tenth of a second."""
    # While modules are imported an exception could end in any of them; a user who has Ctrl-C ignored keeps that.
    if heeded := signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)
    gc.set_threshold(100_000, 50, 100)  # imports make many objects and no garbage
    from lookalike.process import own_process
    from lookalike.terminal import open_closed_streams

    own_process()
    open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names that the terminal's encoding lacks are spelt out
            stream.reconfigure(errors="backslashreplace")

    from lookalike.cli.main import run

    if heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = run(sys.argv[1:])
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done and said
    except KeyboardInterrupt:  # once more, while the first was being told
        os._exit(130)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # `run` has said what there is to say
            stream.flush()
    os._exit(code)


def _stop(*_: object) -> None:
    with suppress(OSError):
        os.write(2, STOPPED)
    os._exit(130)


if __name__ == "__main__":
    main()
