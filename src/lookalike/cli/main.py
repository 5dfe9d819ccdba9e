"""The commands: each is a few lines over the functions of the other modules. Nothing imports this file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lookalike.errors import LookalikeError, UsageError
from lookalike.terminal import PlainStream

if TYPE_CHECKING:
    from lookalike.api import Index

# Everything else is imported inside the command that needs it: --help answers at once, and only train imports Keras.

app = typer.Typer(
    name="lookalike",
    help="Find images like this one: label-free image search on your own machine, with an honest score.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Source = Annotated[
    str,
    typer.Argument(
        help="A folder, an image, a .zip or .tar, a list (.txt, .csv, .parquet), an IDX, .npy or .npz file, or 'mnist'; "
        "[7] or [10:20] picks some."
    ),
]


def named_index(path: Path | None) -> Path | None:
    """Take the collection's name for its index: a callback of ``--index``, so that every command understands ``-i photos``.

    Parameters
    ----------
    path : Path or None
        What was given: an index, or the folder, archive, list or built-in name that one was made of.

    Returns
    -------
    Path or None
        The index that lies in or beside it; what was given where there is none, which opening it will say.
    """
    if path is None or _is_index(path):
        return path
    from lookalike.index.reopen import default_path

    own = default_path(path)
    return own if _is_index(own) else path


IndexPath = Annotated[
    Path | None,
    typer.Option(
        "--index",
        "-i",
        callback=named_index,
        help="The index's folder, or the collection that it was made of. Default: the one index here, or in a folder above.",
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace files of these names that exist; without it nothing is overwritten."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the documented JSON on standard output.")]
Size = Annotated[
    str | None, typer.Option("--size", help="Bring every image to this size: 64, or 80x60 (width x height).")
]
DistanceName = Annotated[
    str | None,
    typer.Option("--distance", help="cosine, euclidean or 'inner product'. Default: the encoder's own (cosine)."),
]
Seed = Annotated[
    int,
    typer.Option("--seed", min=0, max=2**63 - 1, help="Same seed, same result (of a training, in one --precision)."),
]
Resize = Annotated[bool, typer.Option("--resize", help="Bring images of another size to the index's or the encoder's.")]


def figure_name(path: Path | None) -> Path | None:
    """Refuse the name of a figure that can't be drawn before the work that it would show: a callback of such options.

    Parameters
    ----------
    path : Path or None
        What was given.

    Returns
    -------
    Path or None
        The same.

    Raises
    ------
    UsageError
        As of :func:`lookalike.reports.figures.check_kind`.
    """
    if path is not None:
        from lookalike.reports.figures import check_kind

        check_kind(path)
    return path


def run(arguments: list[str]) -> int:
    """Run one command line.

    Parameters
    ----------
    arguments : list of str
        Without the program's name.

    Returns
    -------
    int
        0 done, 1 the work failed, 2 the call was wrong, 130 it was stopped by Ctrl-C.
    """
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = PlainStream(streams[0]), PlainStream(streams[1], forgiving=True)
    try:
        return _run(arguments, "--debug" in arguments)
    finally:
        sys.stdout, sys.stderr = streams


def _run(arguments: list[str], debug: bool) -> int:
    try:
        code = app(args=_spelt(arguments), standalone_mode=False)
        sys.stdout.flush()  # a full disk or a closed pipe shows here
        if code == 130:  # what newer typers make of Ctrl-C
            raise KeyboardInterrupt
    except (Exception, KeyboardInterrupt) as e:
        code, text = _explain(e)
        if debug and text:
            raise
        if text:
            print(f"lookalike: {text}", file=sys.stderr, flush=True)
    return code if isinstance(code, int) else 0


def _spelt(arguments: list[str]) -> list[str]:
    """Leave out ``--debug``, which is for us, and the word in ``--adapt auto``: a flag has no value, and it means that."""
    wanted = ["--adapt" if a == "--adapt=auto" else a for a in arguments if a != "--debug"]
    pairs = zip(["", *wanted], wanted, strict=False)
    return [a for before, a in pairs if (before, a) != ("--adapt", "auto") or Path("auto").exists()]


def _explain(error: BaseException) -> tuple[int, str]:
    """Return the exit code for an error, and what a person is told; nothing where they know already."""
    match error:
        case LookalikeError():
            return error.exit_code, str(error)
        case typer.Exit():
            return error.exit_code, ""
        case KeyboardInterrupt() | typer.Abort():
            return 130, "stopped; the same command goes on"
        case BrokenPipeError():  # who read our output has gone, as `head` does
            return 1, ""
        case OSError():
            return 1, f"{error.filename or 'the system'}: {error.strerror or error}"
        case MemoryError():
            return 1, "there is not enough memory for this; take fewer images, or a smaller --size"
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # click's own: the call was wrong
        message = error.format_message()  # empty where the help was shown instead
        if message.startswith("Usage:"):  # no command was named
            print(message, file=sys.stderr, flush=True)
            return int(error.exit_code), ""
        return int(error.exit_code), message and f"{message} (see: lookalike --help)"
    return 1, f"unexpected: {type(error).__name__}: {error}. This is a fault of ours; --debug shows where"


def print_json(value: object) -> None:
    """Print a result for other programs."""
    print(json.dumps(value, indent=2))


def _version(wanted: bool) -> None:
    if wanted:
        from lookalike.version import __version__

        print(f"lookalike {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Find images like this one."""


def open_(path: Path | None, encoder: str | None, file: str | None = None) -> Index:
    """Open the index that was named, or else the one that :func:`only_index` finds."""
    from lookalike import open_index

    return open_index(path or only_index(file), encoder=encoder)


def only_index(file: str | None = None) -> Path:
    """Find the one index in the current folder; else in a folder above; else above a file, and say which was taken."""
    found = _indexes_here()
    if len(found) > 1:
        raise UsageError(f"{len(found)} indexes in this folder ({', '.join(map(str, found))}); name one with --index")
    if found:
        return found[0]
    from lookalike import progress
    from lookalike.index.reader import index_of

    above = index_of("here")  # whatever its name, a file here lies in this folder
    if above is None and file is not None:
        above = index_of(file)
    if above is None:
        raise UsageError("no index in this folder; name one with --index, or make one with: lookalike index COLLECTION")
    progress.say(f"index: {above}")
    return above


def _indexes_here() -> list[Path]:
    """Return the indexes in the current folder; where none is whole, the folders that are named as one."""
    named = sorted({path for path in [Path(".lookalike"), *Path().glob("*.lookalike")] if path.is_dir()})
    return [path for path in named if _is_index(path)] or named


def _is_index(path: Path) -> bool:
    return any((path / name).is_file() for name in ("manifest.json", "previous.json", "passport.json"))


def parse_size(size: str | None) -> int | tuple[int, int] | None:
    """Read ``64`` or ``80x60``."""
    if size is None:
        return None
    parts = size.strip().lower().split("x")
    if len(parts) > 2 or not all(p.isdecimal() and len(p) < 10 and int(p) > 0 for p in parts):
        raise UsageError(f"--size {size[:40]}: expected a side in pixels such as 64, or width x height such as 80x60")
    return int(parts[0]) if len(parts) == 1 else (int(parts[1]), int(parts[0]))


# Each file of this folder holds the commands of one kind; importing it registers them, in the order of --help.
from lookalike.cli import train  # isort: skip  # noqa: E402, F401
from lookalike.cli import index  # isort: skip  # noqa: E402, F401
from lookalike.cli import search  # isort: skip  # noqa: E402, F401
from lookalike.cli import compare  # isort: skip  # noqa: E402, F401
from lookalike.cli import inspect  # isort: skip  # noqa: E402, F401
from lookalike.cli import serve  # isort: skip  # noqa: E402, F401

__all__ = ["run"]
