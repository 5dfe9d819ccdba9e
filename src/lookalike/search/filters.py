"""``width > 1000 and label = 'cat'`` -> which images it is true of. Nothing of the text ever reaches a database.

The grammar, in the order in which parts bind, loosest first::

    filter  = filter or filter | filter and filter | not filter | ( filter ) | test
    test    = column (= | != | < | <= | > | >=) value
            | column [not] in ( value, ... )
            | column [not] like 'pattern'          % stands for any text, _ for one character; case doesn't matter
            | column is [not] null
    value   = a number | true | false | 'text', in which '' is one quote
    column  = id | label | caption | width | height | size | frame | position | mtime | a key of the metadata
              | "a key with blanks" | metadata.key, where a list has a column named as one of ours

As in SQL a comparison with what isn't known is neither true nor false: an image without a label matches neither
``label = 'cat'`` nor ``label != 'cat'``, but ``label is null``. Text is compared with a number as the number it reads as;
text that doesn't read as one is unknown. ``true`` and ``false`` are compared with what is so, or reads so (``yes``, ``0``).
``'2024-01-31'`` or ``'2024-01-31 18:30'`` (UTC, or with an offset) is a time where the column holds times: it comes before or
after them as the clock has it, and a day equals all times in it. ``mtime`` may also be compared with seconds since 1970.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.collections.ids import id_of
from lookalike.index.fact_table import FactTable
from lookalike.search.filter_columns import (
    NUMBERS,
    SIGNS,
    TEXTS,
    Column,
    Columns,
    FilterError,
    Value,
    as_time,
    timestamp,
)

#: Longest filter, and deepest nesting, that is read: a person never needs more, and a program can't exhaust the stack.
LONGEST, DEEPEST = 10_000, 50

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])) |
    (?P<text>'(?:[^']|'')*') |
    (?P<quoted>"(?:[^"]|"")+") |
    (?P<word>[^\W\d][\w.]*) |
    (?P<sign><=|>=|!=|<>|==|[=<>(),])
    )""",
    re.VERBOSE,
)
_WORDS = frozenset({"and", "or", "not", "in", "like", "is", "null"})

#: Columns -> for each image true, false or null, as an Arrow array.
_Test: TypeAlias = Callable[[Columns], Any]


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


class Filter:
    """A filter that was read; :func:`parse` makes it.

    Attributes
    ----------
    text : str
        As it was given.
    """

    def __init__(self, text: str, test: _Test) -> None:
        self.text = text
        self._test = test

    def true_of(self, facts: FactTable | Sequence[Mapping[str, Any]]) -> NDArray[np.bool_]:
        """Tell of which images the filter is true.

        Parameters
        ----------
        facts : FactTable, or sequence of mapping
            Columns, or what :meth:`lookalike.Index.facts` returns.

        Returns
        -------
        ndarray of bool, shape (n,)
            False also where a column that decides isn't known of an image.

        Raises
        ------
        FilterError
            If a column isn't known of any of them; the message lists those that are.
        """
        result = self._test(Columns(self.text, FactTable.of(facts)))
        return np.asarray(pc.fill_null(result, False).to_numpy(zero_copy_only=False), np.bool_)


def parse(text: str) -> Filter:
    """Read a filter.

    Parameters
    ----------
    text : str
        In the grammar at the top of this module; words such as ``and`` in either case.

    Returns
    -------
    Filter
        To be asked of facts.

    Raises
    ------
    FilterError
        If it can't be read: what was expected, what was found, and where.

    Examples
    --------
    >>> facts = [{"width": 640, "label": "cat"}, {"width": 2000, "label": "cat"}, {"width": 2000, "label": None}]
    >>> parse("width > 1000 and label = 'cat'").true_of(facts).tolist()
    [False, True, False]
    """
    text = id_of(text)  # ids, captions and columns are in this form of accents
    if len(text) > LONGEST:
        raise FilterError(text, LONGEST, f"a filter of {len(text):,} characters; at most {LONGEST:,} are read")
    reader = _Reader(text)
    test = reader.either()
    if reader.next.kind != "end":
        raise reader.expected("and, or, or the end")
    return Filter(text, test)


class _Reader:
    """Reads a filter from left to right, one rule of the grammar a method."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.next = _Token("begin", "", 0)
        self.end = 0
        self.depth = 0
        self.advance()

    def advance(self) -> _Token:
        """Return the token read last, and read the one after it."""
        read = self.next
        if not self.text[self.end :].strip():
            self.next = _Token("end", "", len(self.text))
            return read
        match = _TOKEN.match(self.text, self.end)
        if match is None:
            at = self.end + len(self.text[self.end :]) - len(self.text[self.end :].lstrip())
            rest = self.text[at:]
            if rest[0] in "'\"":
                raise FilterError(self.text, at, f"the quote {rest[0]} is never closed")
            problem = f"{rest.split()[0][:20]!r} is no number, column, quoted text or sign"
            raise FilterError(self.text, at, problem)
        kind = match.lastgroup or ""
        self.next = _Token(kind, match[kind], match.start(kind))
        self.end = match.end()
        return read

    def expected(self, what: str) -> FilterError:
        text = "the end" if self.next.kind == "end" else repr(self.next.text[:30])
        return FilterError(self.text, self.next.at, f"expected {what}, found {text}")

    def accept(self, what: str) -> bool:
        """Read on if a word or a sign comes next."""
        text = self.next.text.lower() if self.next.kind == "word" else self.next.text
        if self.next.kind not in ("word", "sign") or text != what:
            return False
        self.advance()
        return True

    def require(self, what: str) -> None:
        if not self.accept(what):
            raise self.expected(what)

    def either(self) -> _Test:
        return self.joined("or", self.both)

    def both(self) -> _Test:
        return self.joined("and", self.single)

    def joined(self, word: str, part: Callable[[], _Test]) -> _Test:
        """Read any number of parts side by side, so that a long filter isn't a deep one."""
        parts = [part()]
        while self.accept(word):
            parts.append(part())
        combine = getattr(pc, f"{word}_kleene")
        return lambda columns: reduce(combine, (test(columns) for test in parts))

    def single(self) -> _Test:
        self.depth += 1
        if self.depth > DEEPEST:
            raise FilterError(self.text, self.next.at, f"nested more than {DEEPEST} deep")
        if self.accept("not"):
            test = _inverted(self.single())
        elif self.accept("("):
            test = self.either()
            self.require(")")
        else:
            test = self.comparison()
        self.depth -= 1
        return test

    def comparison(self) -> _Test:
        column = self.column()
        if self.next.kind == "sign" and self.next.text in SIGNS:
            sign = self.advance().text
            value = self.value(column)
            return lambda columns: columns.compare(column, sign, value)
        asks_null = self.accept("is")
        is_negated = self.accept("not")
        if asks_null:
            test = self.nullness(column)
        else:
            test = self.membership(column, "like or in" if is_negated else "=, !=, <, <=, >, >=, in, like or is")
        return _inverted(test) if is_negated else test

    def nullness(self, column: Column) -> _Test:
        self.require("null")
        return lambda columns: columns.is_unknown(column)

    def membership(self, column: Column, expected: str) -> _Test:
        if self.accept("like"):
            if column.name in NUMBERS:
                raise FilterError(self.text, column.at, f"{column.name} is a number, and like is for text")
            if self.next.kind != "text":
                raise self.expected("a 'pattern' in single quotes")
            pattern = _unquoted(self.advance().text)
            return lambda columns: columns.is_like(column, pattern)
        if not self.accept("in"):
            raise self.expected(expected)
        self.require("(")
        values = [self.value(column)]
        while self.accept(","):
            values.append(self.value(column))
        self.require(")")
        return lambda columns: columns.is_in(column, values)

    def column(self) -> Column:
        if self.next.kind == "quoted":
            token = self.advance()
            return Column(_unquoted(token.text), token.at)
        if self.next.kind != "word" or self.next.text.lower() in _WORDS:
            raise self.expected("the name of a column")
        token = self.advance()
        known = token.text.lower()
        return Column(known if known in TEXTS or known in NUMBERS else token.text, token.at)

    def value(self, column: Column) -> Value:
        token = self.next
        value: Value
        if token.kind == "number":
            value = int(token.text) if re.fullmatch(r"[+-]?\d{1,300}", token.text) else float(token.text)
            if not math.isfinite(value):
                raise FilterError(self.text, token.at, "a number of more than 300 digits; give a smaller one")
        elif token.kind == "word" and token.text.lower() in ("true", "false"):
            if column.name in NUMBERS:
                raise FilterError(self.text, token.at, f"{column.name} is a number; compare it with one")
            value = token.text.lower() == "true"
        elif token.kind != "text":
            bare = _unquoted(token.text) if token.kind == "quoted" else token.text
            hint = f" (text needs single quotes: '{bare}')" if token.kind in ("word", "quoted") else ""
            raise self.expected(f"a number or a 'text'{hint}")
        elif column.name == "mtime":
            text = _unquoted(token.text)
            seconds = timestamp(text)
            if seconds is None:
                raise FilterError(self.text, token.at, "mtime needs a date such as '2024-01-31 18:30'")
            value = seconds if as_time(text) is None else text
        elif column.name in NUMBERS:
            raise FilterError(self.text, token.at, f"{column.name} is a number; compare it with one, without quotes")
        else:
            value = _unquoted(token.text)
        self.advance()
        return value


def _inverted(test: _Test) -> _Test:
    return lambda columns: pc.invert(test(columns))


def _unquoted(text: str) -> str:
    return text[1:-1].replace(text[0] * 2, text[0])


__all__ = ["Filter", "FilterError", "parse"]
