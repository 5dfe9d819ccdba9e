"""What commands take: options that several share, and commands whose options are a dataclass. Nothing heavy is imported."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import MISSING, field, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from lookalike.cli.find_index import named_index
from lookalike.errors import UsageError
from lookalike.neighbors.distances import DISTANCES
from lookalike.search.rerank import RERANKERS

T = TypeVar("T")

Source = Annotated[
    str,
    typer.Argument(
        help="A folder, an image, a .zip or .tar, a list (.txt, .csv, .parquet), an IDX, .npy or .npz file, or 'mnist'; "
        "[7] or [10:20] selects some of its images."
    ),
]
IndexPath = Annotated[
    Path | None,
    typer.Option(
        "--index",
        "-i",
        callback=named_index,
        help="The index's folder, or the collection that it was made from. Default: the only index in this folder or in "
        "one above it.",
    ),
]
EncoderName = Annotated[
    str | None,
    typer.Option("--encoder", "-e", help="One of the index's encoders. Default: the one that was completed last."),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace existing output files. Without it nothing is overwritten."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Size = Annotated[
    str | None, typer.Option("--size", help="Resize every image to this size: 64, or 80x60 (width x height).")
]
DistanceName = Annotated[
    str | None,
    typer.Option("--distance", help=f"{', '.join(DISTANCES.table)}. Default: the encoder's own."),
]
Rerank = Annotated[
    str | None,
    typer.Option(
        "--rerank",
        help=f"Re-rank the results: {', '.join(RERANKERS.table)}.",
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        min=0,
        max=2**63 - 1,
        help="Random seed. Same seed, same result (of a training: with the same --precision).",
    ),
]
Resize = Annotated[
    bool, typer.Option("--resize", help="Resize images of another size to that of the index or the encoder.")
]


def chosen_provider(name: str | None) -> str | None:
    """Take the provider of this process, and of those that it starts, before any other work: an option's callback.

    Parameters
    ----------
    name : str or None
        What was given, or the environment names.

    Returns
    -------
    str or None
        The same.

    Raises
    ------
    UsageError
        As of :func:`lookalike.use_provider`.
    """
    if name:
        from lookalike.encoders.onnx.runtime import use_provider

        use_provider(name)
    return name


Provider = Annotated[
    str | None,
    typer.Option(
        "--provider",
        callback=chosen_provider,
        envvar="LOOKALIKE_PROVIDER",
        help="What runs networks: auto, cpu, cuda or coreml. Default: auto, which takes CUDA, else CoreML, where they "
        "can be used. The variable holds for every command.",
    ),
]
Yes = Annotated[
    bool, typer.Option("--yes", help="Fetch a well-known model (see: lookalike encoders) without asking first.")
]


def figure_name(path: Path | None) -> Path | None:
    """Refuse a figure's file name before the work that it would show, if its format can't be drawn: an option's callback.

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


def parse_size(size: str | None) -> int | tuple[int, int] | None:
    """Read ``64`` or ``80x60``."""
    if size is None:
        return None
    parts = size.strip().lower().split("x")
    if len(parts) > 2 or not all(p.isdecimal() and len(p) < 10 and int(p) > 0 for p in parts):
        raise UsageError(f"--size {size[:40]}: expected a side in pixels such as 64, or width x height such as 80x60")
    return int(parts[0]) if len(parts) == 1 else (int(parts[1]), int(parts[0]))


def option(text: str, *names: str, default: Any = None, **settings: Any) -> Any:
    """Return the field of a command's dataclass that is an option, for :func:`takes`.

    Parameters
    ----------
    text : str
        Its help.
    *names : str
        As typed. By default that of the field, as ``--host-name`` of ``host_name``.
    default : object
        The field's default; ``dataclasses.MISSING`` where the option must be given.
    **settings
        As of ``typer.Option``: ``min``, ``callback``, ...

    Returns
    -------
    dataclasses.Field
    """
    return field(default=default, metadata={"names": names, "settings": {"help": text, **settings}})


def fetches(command: Callable[[Any], None]) -> Callable[[Any], None]:
    """Let a command fetch a well-known model that it misses, once a person agrees, and begin again.

    Parameters
    ----------
    command : callable
        Takes options with a field ``yes``, and stops before it writes anything where a model is missing.

    Returns
    -------
    callable
        The same command. Without ``--yes`` and without a terminal to ask on, the error stays.
    """

    @wraps(command)
    def with_models(options: Any) -> None:
        from lookalike.encoders.onnx.known_models import KNOWN, NotFetchedError, fetch

        fetched: set[str] = set()
        while True:
            try:
                command(options)
                return
            except NotFetchedError as e:
                if e.name in fetched or not (options.yes or (sys.stdin and sys.stdin.isatty())):
                    raise
                print(f"{e.name}: fetched from huggingface.co, once: {KNOWN[e.name]}", file=sys.stderr)
                if not options.yes and not typer.confirm("Fetch it?", err=True):
                    raise
                fetch(e.name)
                fetched.add(e.name)

    return with_models


def takes(options: type[T]) -> Callable[[Callable[[T], None]], Callable[..., None]]:
    """Let a command take its options as one dataclass.

    Parameters
    ----------
    options : type
        A dataclass; each field is made by :func:`option`, or is annotated with a ``typer.Option`` or ``typer.Argument``.

    Returns
    -------
    callable
        A decorator: a function of one such object -> the function that typer calls, with a parameter for each field.
    """

    def decorate(command: Callable[[T], None]) -> Callable[..., None]:
        hints = get_type_hints(options, include_extras=True)
        parameters = []
        for item in fields(options):  # type: ignore[arg-type]
            if item.metadata:
                names = item.metadata["names"] or (f"--{item.name.replace('_', '-')}",)
                hints[item.name] = Annotated[hints[item.name], typer.Option(*names, **item.metadata["settings"])]
            default = inspect.Parameter.empty if item.default is MISSING else item.default
            parameters.append(
                inspect.Parameter(
                    item.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[item.name]
                )
            )

        @wraps(command)
        def with_options(**values: Any) -> None:
            command(options(**values))

        with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_options.__annotations__ = hints
        return with_options

    return decorate
