"""What a person sees while they wait: a bar on a terminal, a line now and then in a log; all on standard error."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_QUIET_SECONDS = 2.0
_LINE_SECONDS = 15.0


@dataclass(frozen=True)
class Progress:
    """News from a training that runs: where it is, how well and how fast it goes, what is left."""

    epoch: int
    epochs: int
    done: int
    images: int
    loss: float
    validation_loss: float | None
    images_per_second: float
    seconds_left: float
    epoch_ended: bool = False


def say(text: str) -> None:
    """Print one line to standard error.

    Parameters
    ----------
    text : str
        The line.
    """
    print(text, file=sys.stderr, flush=True)


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how far a count is, how fast it goes and how long it will take.

    Parameters
    ----------
    what : str
        What is being done: ``"indexing"``.

    Yields
    ------
    callable
        Call it with (done, total). Nothing is shown in the first two seconds.
    """
    started: float | None = None
    with _line() as show:

        def update(done: int, total: int) -> None:
            nonlocal started
            if started is None:  # what came before the first is no part of the rate
                started = time.monotonic()
            seconds = time.monotonic() - started
            if seconds > _QUIET_SECONDS and done:
                rate = done / seconds
                left = _duration((total - done) / rate)
                show(f"{what} {done:,} of {total:,}  {rate:,.0f} a second  {left} left", False)

        yield update


@contextmanager
def training() -> Iterator[Callable[[Progress], None]]:
    """Show a training: epoch, loss, validation loss, images a second, time left; one lasting line an epoch.

    Yields
    ------
    callable
        Call it with each :class:`Progress`.
    """
    with _line() as show:

        def update(p: Progress) -> None:
            share = "" if p.epoch_ended else f" {100 * p.done // p.images:3d} %"
            validation = "" if p.validation_loss is None else f"  validation {p.validation_loss:.4f}"
            left = "" if p.epoch_ended else f"  {_duration(p.seconds_left)} left"
            rate = f"{p.images_per_second:,.0f} images/s"
            show(f"epoch {p.epoch}/{p.epochs}{share}  loss {p.loss:.4f}{validation}  {rate}{left}", p.epoch_ended)

        yield update


@contextmanager
def _line() -> Iterator[Callable[[str, bool], None]]:
    """Yield ``show(text, lasting)``: rewrites one line of a terminal, or adds a line to a log every so often."""
    terminal = sys.stderr.isatty()
    last = time.monotonic()
    width = 0

    def show(text: str, lasting: bool) -> None:
        nonlocal last, width
        if terminal:
            if not lasting:  # a line that wraps can't be rewritten
                text = text[: shutil.get_terminal_size().columns - 1]
            sys.stderr.write("\r" + text.ljust(width) + ("\n" if lasting else ""))
            sys.stderr.flush()
            width = 0 if lasting else len(text)
        elif lasting or time.monotonic() - last > _LINE_SECONDS:
            last = time.monotonic()
            say(text)

    try:
        yield show
    finally:
        if terminal and width:
            sys.stderr.write("\r" + " " * width + "\r")
            sys.stderr.flush()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
