"""The ``lookalike`` command: all commands, their exit codes, and the sentence for an error. Nothing imports this file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

# Everything heavy is imported inside the command that needs it: --help answers at once, and only train imports Keras.
from lookalike.cli import compare, demo, denoise, explain, index, inspect, score, search, serve, train
from lookalike.errors import LookalikeError
from lookalike.terminal import PlainStream

app = typer.Typer(
    name="lookalike",
    help="Find images like this one: label-free image search on your own machine, with an honest score. To begin: "
    "lookalike PHOTOS indexes a folder and serves its page; ./NAME where the folder is named like a command.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

#: In the order of --help; a command is named as its function.
COMMANDS = (
    demo.demo, train.train, denoise.denoise, index.index, index.rollback, search.search, explain.explain, score.score,
    compare.compare, inspect.info, inspect.files, inspect.why, inspect.verify, inspect.export, inspect.map_,
    inspect.encoders, serve.serve,
)  # fmt: skip
for _command in COMMANDS:
    app.command(name=_command.__name__.rstrip("_"))(_command)


def run(arguments: list[str]) -> int:
    """Run one command line.

    Parameters
    ----------
    arguments : list of str
        Without the program's name.

    Returns
    -------
    int
        0 done, 1 the work failed, 2 the command line was wrong, 130 interrupted by Ctrl-C.
    """
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = PlainStream(streams[0]), PlainStream(streams[1], forgiving=True)
    try:
        return _run(arguments, "--debug" in arguments)
    finally:
        sys.stdout, sys.stderr = streams


def _run(arguments: list[str], debug: bool) -> int:
    try:
        code = app(args=_named(_spelt(arguments)), standalone_mode=False)
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
    """Leave out ``--debug``, which is read here, and spell ``--adapt RECIPE`` so that a flag needs no value.

    ``auto`` is what the flag alone means. A word after a space is a recipe only if it is one's name and no file's.
    """
    wanted = [a for a in arguments if a != "--debug"]
    spelt: list[str] = []
    for word in wanted:
        flag, equals, recipe = word.partition("=")
        after_flag = spelt[-1:] == ["--adapt"] and not Path(word).exists() and _is_recipe(word)
        if after_flag or (flag == "--adapt" and equals):
            recipe = word if after_flag else recipe
            spelt += ["--adapt"] * (not after_flag) + ([] if recipe == "auto" else ["--recipe", recipe])
        else:
            spelt.append(word)
    return spelt


def _named(arguments: list[str]) -> list[str]:
    """Take ``lookalike photos`` for what it means: serve it, indexed first where it isn't. A command's name is a command."""
    first = arguments[0] if arguments else "-"
    named = first.startswith("-") or first in {command.__name__.rstrip("_") for command in COMMANDS}
    return arguments if named or not Path(first).exists() else ["serve", "--make", *_opening(), *arguments]


def _opening() -> list[str]:
    """Open the page where somebody sits before a screen, and not in a script or over SSH."""
    seen = sys.platform in ("win32", "darwin") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    return ["--open"] if seen and sys.stdin is not None and sys.stdin.isatty() else []


def _is_recipe(word: str) -> bool:
    from lookalike.selection.recipes import NAMES

    return word == "auto" or word.replace("-", " ") in NAMES


def _explain(error: BaseException) -> tuple[int, str]:
    """Return the exit code for an error, and its sentence; empty where nothing needs to be said."""
    match error:
        case LookalikeError():
            return error.exit_code, str(error)
        case typer.Exit():
            return error.exit_code, ""
        case KeyboardInterrupt() | typer.Abort():
            return 130, "interrupted; run the same command to continue"
        case BrokenPipeError():  # the reader of the output has gone, as `head` does
            return 1, ""
        case OSError():
            return 1, f"{error.filename or 'the system'}: {error.strerror or error}"
        case MemoryError():
            return 1, "there is not enough memory; use fewer images, or a smaller --size"
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # click's own: the call was wrong
        message = error.format_message()  # empty where the help was shown instead
        if message.startswith("Usage:"):  # no command was named
            print(message, file=sys.stderr, flush=True)
            return int(error.exit_code), ""
        return int(error.exit_code), message and f"{message} (see: lookalike --help)"
    return (
        1,
        f"unexpected: {type(error).__name__}: {error}. This is a bug in lookalike; please report it with the output of --debug",
    )


def _version(wanted: bool) -> None:
    if wanted:
        from lookalike.version import __version__

        print(f"lookalike {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print the traceback of an error.")] = False,
) -> None:
    """Find images like this one."""


__all__ = ["COMMANDS", "app", "run"]
