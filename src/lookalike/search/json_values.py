"""What a person or a program gives as a field of a query -> what JSON holds: text, numbers, lists; or an error that shows it."""

from __future__ import annotations

import json
import numbers
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lookalike.collections.ids import as_text
from lookalike.errors import UsageError, unknown_name

#: The largest number that is counted with.
MAX_COUNTED = 10**15


def whole_number(value: object, name: str) -> int:
    """Take a whole number of any kind: of Python, of NumPy, or written as 10.0 as some programs do in JSON.

    Parameters
    ----------
    value : object
        Anything.
    name : str
        What it is called in the error.

    Returns
    -------
    int
        The same as Python's.

    Raises
    ------
    UsageError
        If it is something else, or beyond ``MAX_COUNTED``.
    """
    value = _without_dimension(value)
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise UsageError(f"{name} must be a whole number; got {in_short(value)}")
    if abs(int(value)) > MAX_COUNTED:
        raise UsageError(f"{name} is beyond all counting; give a number of at most {MAX_COUNTED:,}")
    return int(value)


def positive_count(value: object, name: str) -> int:
    """Take a whole number of at least 1, as :func:`whole_number` does.

    Parameters
    ----------
    value : object
        Anything.
    name : str
        What it is called in the error.

    Returns
    -------
    int

    Raises
    ------
    UsageError
        If it is something else, or below 1.
    """
    count = whole_number(value, name)
    if count < 1:
        raise UsageError(f"{name} is {count:,}; ask for at least 1")
    return count


def number(value: object, name: str) -> float:
    """Take a number of any kind, infinite ones too.

    Parameters
    ----------
    value : object
        Anything.
    name : str
        What it is called in the error.

    Returns
    -------
    float

    Raises
    ------
    UsageError
        If it is something else, or too large for a float.
    """
    value = _without_dimension(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise UsageError(f"{name} must be a number; got {in_short(value)}")
    try:
        return float(value)
    except OverflowError:
        raise UsageError(f"{name} is a number of more than 300 digits; give a smaller one") from None


def _without_dimension(value: object) -> object:
    """Take the one number out of an array of no dimension."""
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


def text(value: object, name: str, *, raw: bool = False) -> str | None:
    """Take text, or a path as text.

    Parameters
    ----------
    value : object
        Anything; None stays None.
    name : str
        What it is called in the error.
    raw : bool
        Leave a lone half of a character as it is, which the path of a file may need; ids have it spelt out.

    Returns
    -------
    str or None

    Raises
    ------
    UsageError
        If it is something else.
    """
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{name} must be a string; got {in_short(value)}")
    return value if value is None or raw else as_text(value)


def id_list(value: object, name: str) -> tuple[str, ...]:
    """Take a list of ids.

    Parameters
    ----------
    value : object
        Anything.
    name : str
        What it is called in the error.

    Returns
    -------
    tuple of str

    Raises
    ------
    UsageError
        If it is something else, or holds something else.
    """
    for item in listed(value, name):
        if not isinstance(item, str | os.PathLike):
            raise UsageError(f"{name} must hold ids, which are strings; got {in_short(item)}")
    return tuple(as_text(str(os.fspath(item))) for item in listed(value, name))


def listed(value: object, name: str) -> Sequence[Any]:
    """Take a list or tuple of anything.

    Parameters
    ----------
    value : object
        Anything.
    name : str
        What it is called in the error.

    Returns
    -------
    list or tuple

    Raises
    ------
    UsageError
        If it is something else.
    """
    if not isinstance(value, list | tuple):
        raise UsageError(f"{name} must be a list; got {in_short(value)}")
    return value


def json_object(value: object, what: str, known: Sequence[str]) -> Mapping[str, Any]:
    """Take a mapping whose keys are known.

    Parameters
    ----------
    value : object
        Anything.
    what : str
        What it is called in the error.
    known : sequence of str
        The keys that it may have.

    Returns
    -------
    mapping

    Raises
    ------
    UsageError
        If it is something else, or has another key.
    """
    if not isinstance(value, Mapping):
        raise UsageError(
            f"{what} must be a JSON object with some of the keys {', '.join(known)}; got {in_short(value)}"
        )
    for name in value:
        if name not in known:
            raise unknown_name(f"key of {what}", str(name), known)
    return value


def in_short(value: object) -> str:
    """Show what was given, as JSON would, in a few words, however large it is.

    Parameters
    ----------
    value : object
        Anything.

    Returns
    -------
    str
        At most 60 characters.
    """
    if isinstance(value, str | bytes | bytearray):
        value = value[:80]
    elif isinstance(value, int) and value.bit_length() > 200:
        return "a number of very many digits"
    elif not isinstance(value, list | tuple | dict | float | int | None):
        return f"a {type(value).__name__}"
    try:
        shown = json.dumps(value, default=lambda item: f"a {type(item).__name__}")
    except (ValueError, RecursionError, TypeError):
        return f"a {type(value).__name__}"
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
