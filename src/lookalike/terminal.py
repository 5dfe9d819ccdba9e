"""What commands print -> a terminal, as text and nothing else: a file's name can't move the cursor or colour a line."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TextIO

# Control characters but tab and line feed, marks that turn the direction of writing, other ends of a line, halves of one.
_ACTIVE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_LINE_END = "\r\n"


def printable(text: str) -> str:
    r"""Spell out what a terminal would obey rather than show.

    Parameters
    ----------
    text : str
        Perhaps of somebody else's file names, captions and manifests.

    Returns
    -------
    str
        The same where there is no such character; tabs and line feeds stay.

    Examples
    --------
    >>> printable("cat\x1b[31m.jpg")
    'cat\\x1b[31m.jpg'
    """
    return _ACTIVE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    r"""Spell out what would break a list of one item a line, too.

    Parameters
    ----------
    text : str
        A name, a caption.

    Returns
    -------
    str
        Without line feeds.

    Examples
    --------
    >>> one_line("two\nlines")
    'two\\nlines'
    """
    return printable(text.replace("\n", "\\n").replace("\r", "\\r"))


class PlainStream:
    """A stream of text on which everything is :func:`printable`.

    Parameters
    ----------
    stream : file object
        What is written to.
    forgiving : bool
        Whether it may have gone: words for a person who has left are no reason to stop the work.
    """

    def __init__(self, stream: TextIO, forgiving: bool = False) -> None:
        self._stream = stream
        self._forgiving = forgiving

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text; a line that begins with a carriage return is our own and rewrites the one before."""
        begin, end = ("\r" if text[:1] == "\r" else ""), ""
        if text.endswith(_LINE_END):  # of a table
            end = _LINE_END
        elif begin and not text.strip():  # a line that is wiped
            end = "\r"
        shown = begin + printable(text[len(begin) : len(text) - len(end)]) + end
        try:
            self._stream.write(shown)
        except OSError:
            if not self._forgiving:
                raise
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on what was written."""
        try:
            self._stream.flush()
        except OSError:
            if not self._forgiving:
                raise


def open_closed_streams() -> None:
    """Put nothing in the place of streams that were closed, or the next file that is opened would get their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", closefd=False))


__all__ = ["PlainStream", "one_line", "open_closed_streams", "printable"]
