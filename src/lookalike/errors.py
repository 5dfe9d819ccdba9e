"""The errors a person may see; everything else is a bug of ours.

::

    LookalikeError            exit code 1: the work failed
    |-- UsageError            exit code 2: the call was wrong (unknown name, k of 0, missing extra)
    |-- CollectionError       the images or labels can't be read as asked
    |   `-- ImageError        one image can't be read
    |-- EncoderError          an encoder can't be trained, loaded or applied to these images
    `-- IndexStoreError       an index can't be written, opened or trusted

A message is one or two sentences: the place, what was expected, what was found, and what to do next.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class LookalikeError(Exception):
    """Base of the errors a person may see; its text is the whole message.

    Attributes
    ----------
    exit_code : int
        What the command line returns: 1 the work failed, 2 the call was wrong.
    """

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Go to other processes as it is, whatever it is made from: a pool waits for ever for an error that it can't read."""
        return _as_it_was, (type(self), self.args, self.__dict__)


def _as_it_was(kind: type[LookalikeError], args: tuple[Any, ...], state: dict[str, Any]) -> LookalikeError:
    """Return an error as it was before it was pickled, without making it from the start."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class UsageError(LookalikeError):
    """The call was wrong: an unknown name, a value out of range, a missing extra."""

    exit_code = 2


class CollectionError(LookalikeError):
    """A collection can't be read as asked."""


class ImageError(CollectionError):
    """One image can't be read.

    Attributes
    ----------
    outcome : str
        What became of it in a word, as an index keeps it: ``unreadable``, ``truncated``, ``bomb``, ... (docs/reading.md).
    """

    def __init__(self, message: str, outcome: str = "unreadable") -> None:
        super().__init__(message)
        self.outcome = outcome


class EncoderError(LookalikeError):
    """An encoder can't be trained, loaded, or applied to these images."""


class IndexStoreError(LookalikeError):
    """An index can't be written, opened or trusted."""


def first_line(error: BaseException) -> str:
    """Say in one line what another library's error says, to be quoted in ours.

    Parameters
    ----------
    error : BaseException
        Caught from code that isn't ours.

    Returns
    -------
    str
        Its first line, at most 200 characters, without the place in Lance's own source; the name of its type where it says
        nothing.

    Examples
    --------
    >>> first_line(ValueError("bad header, block 7")), first_line(MemoryError())
    ('bad header, block 7', 'MemoryError')
    >>> first_line(OSError("disk full, /home/runner/lance/io.rs:10:3"))
    'disk full'
    """
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line.split(", location: ")[0].split(", /home/runner")[0][:200]


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Make the error for a name that isn't known: it lists those that are, the closest first.

    Parameters
    ----------
    kind : str
        What the name should have been: ``"encoder"``, ``"distance"``.
    name : str
        What was given.
    known : iterable of str
        The names that would have worked.

    Returns
    -------
    UsageError
        Ready to be raised.

    Examples
    --------
    >>> str(unknown_name("distance", "cosin", ["cosine", "euclidean"]))
    "unknown distance 'cosin' (did you mean 'cosine'?); known: cosine, euclidean"
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    hint = f" (did you mean '{close[0]}'?)" if close else ""
    return UsageError(f"unknown {kind} '{name}'{hint}; known: {', '.join(names)}")


def missing_extra(what: str, extra: str) -> UsageError:
    """Make the error for a part that was not installed: it says what to type.

    Parameters
    ----------
    what : str
        What can't be done: ``"training"``.
    extra : str
        The extra that brings it: ``"train"``.

    Returns
    -------
    UsageError
        Ready to be raised.

    Examples
    --------
    >>> str(missing_extra("training", "train"))
    "training needs packages that aren't installed; type: pip install 'lookalike[train]' (in a checkout: pip install -e '.[train]')"
    """
    return UsageError(
        f"{what} needs packages that aren't installed; type: pip install 'lookalike[{extra}]' (in a checkout: pip install -e '.[{extra}]')"
    )
