"""``width > 1000 and label = 'cat'`` -> which images it is true of. Nothing of the text ever reaches a database.

The grammar, in the order in which parts bind, loosest first::

    filter  = filter or filter | filter and filter | not filter | ( filter ) | test
    test    = column (= | != | < | <= | > | >=) value
            | column [not] in ( value, ... )
            | column [not] like 'pattern'          % stands for any text, _ for one character; case doesn't matter
            | column is [not] null
    value   = a number | 'text', in which '' is one quote
    column  = id | label | caption | width | height | size | frame | position | mtime | a key of the metadata
              | "a key with blanks"

As in SQL a comparison with what isn't known is neither true nor false: an image without a label matches neither
``label = 'cat'`` nor ``label != 'cat'``, but ``label is null``. Text is compared with a number as the number it reads as;
text that doesn't read as one is unknown. ``mtime`` is compared with ``'2024-01-31'`` or ``'2024-01-31 18:30'`` (UTC), or with
seconds since 1970.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import UsageError, unknown_name

#: Columns of every index; metadata adds its keys.
TEXTS = ("id", "label", "caption")
NUMBERS = ("width", "height", "size", "frame", "position", "mtime")
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
_COMPARE = {
    "=": "equal", "==": "equal", "!=": "not_equal", "<>": "not_equal",
    "<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal",
}  # fmt: skip
_WORDS = frozenset({"and", "or", "not", "in", "like", "is", "null"})

_Value: TypeAlias = float | str
#: Looks a column up: its name, where it stands, and whether as numbers -> an Arrow array.
_Lookup: TypeAlias = Callable[["_Column", bool], Any]


class FilterError(UsageError):
    """A filter can't be read.

    Attributes
    ----------
    position : int
        Where, in characters from 0.
    """

    def __init__(self, text: str, position: int, problem: str) -> None:
        shown = f"{text[:position]}^{text[position:]}"
        if len(shown) > 100:
            start = max(0, position - 50)
            shown = f"{'...' if start else ''}{text[start:position]}^{text[position : position + 45]}..."
        super().__init__(f"filter, character {position + 1}: {problem}; see ^ in: {shown}")
        self.position = position


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


class _Column(NamedTuple):
    name: str
    at: int


@dataclass(frozen=True)
class _Both:
    """``and``, ``or``."""

    left: _Node
    right: _Node
    function: str

    def true_of(self, look_up: _Lookup) -> Any:
        import pyarrow.compute as pc

        return getattr(pc, self.function)(self.left.true_of(look_up), self.right.true_of(look_up))


@dataclass(frozen=True)
class _Not:
    inner: _Node

    def true_of(self, look_up: _Lookup) -> Any:
        import pyarrow.compute as pc

        return pc.invert(self.inner.true_of(look_up))


@dataclass(frozen=True)
class _Compare:
    column: _Column
    sign: str
    value: _Value

    def true_of(self, look_up: _Lookup) -> Any:
        import pyarrow.compute as pc

        return getattr(pc, _COMPARE[self.sign])(look_up(self.column, isinstance(self.value, float)), self.value)


@dataclass(frozen=True)
class _Like:
    column: _Column
    pattern: str

    def true_of(self, look_up: _Lookup) -> Any:
        import pyarrow.compute as pc

        return pc.match_like(look_up(self.column, False), self.pattern, ignore_case=True)


@dataclass(frozen=True)
class _Unknown:
    column: _Column

    def true_of(self, look_up: _Lookup) -> Any:
        import pyarrow.compute as pc

        return pc.is_null(look_up(self.column, self.column.name in NUMBERS))


_Node: TypeAlias = _Both | _Not | _Compare | _Like | _Unknown


class Filter:
    """A filter that was read; :func:`parse` makes it.

    Attributes
    ----------
    text : str
        As it was given.
    """

    def __init__(self, text: str, root: _Node) -> None:
        self.text = text
        self._root = root

    def true_of(self, facts: Sequence[Mapping[str, Any]]) -> NDArray[np.bool_]:
        """Tell of which images the filter is true.

        Parameters
        ----------
        facts : sequence of mapping
            What :meth:`lookalike.Index.facts` returns.

        Returns
        -------
        ndarray of bool, shape (n,)
            False also where it can't be told, as a column isn't known of an image.

        Raises
        ------
        FilterError
            If a column isn't known of any of them; the message lists those that are.
        """
        import pyarrow.compute as pc

        found = self._root.true_of(_Columns(self.text, facts))
        return np.asarray(pc.fill_null(found, False).to_numpy(zero_copy_only=False), np.bool_)


class _Columns:
    """Columns of facts as Arrow arrays, each made once."""

    def __init__(self, text: str, facts: Sequence[Mapping[str, Any]]) -> None:
        self.text = text
        self.facts = facts
        self.made: dict[tuple[str, bool], Any] = {}

    def __call__(self, column: _Column, as_number: bool) -> Any:
        import pyarrow as pa

        key = (column.name, as_number)
        if key not in self.made:
            values = self._values(column)
            convert = _as_number if as_number else _as_text
            self.made[key] = pa.array([convert(v) for v in values], pa.float64() if as_number else pa.string())
        return self.made[key]

    def _values(self, column: _Column) -> list[Any]:
        name = column.name
        if name == "mtime":
            return [f["mtime_ns"] / 1e9 if f["mtime_ns"] else None for f in self.facts]  # 0 in an array
        if name in TEXTS or name in NUMBERS:
            return [f[name] for f in self.facts]
        key = name.removeprefix("metadata.")
        known = {key for f in self.facts for key in f["metadata"] or ()}
        if key not in known:
            known |= {*TEXTS, *NUMBERS}
            raise FilterError(self.text, column.at, str(unknown_name("column", name, known)))
        return [(f["metadata"] or {}).get(key) for f in self.facts]


def _as_number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _as_text(value: Any) -> str | None:
    return None if value is None else str(value)


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
    if len(text) > LONGEST:
        raise FilterError(text, LONGEST, f"a filter of {len(text):,} characters; at most {LONGEST:,} are read")
    reader = _Reader(text)
    root = reader.either()
    if reader.next.kind != "end":
        raise reader.expected("and, or, or the end")
    return Filter(text, root)


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
        found = _TOKEN.match(self.text, self.end)
        if found is None:
            at = self.end + len(self.text[self.end :]) - len(self.text[self.end :].lstrip())
            rest = self.text[at:]
            if rest[0] in "'\"":
                raise FilterError(self.text, at, f"the quote {rest[0]} is never closed")
            problem = f"{rest.split()[0][:20]!r} is no number, column, quoted text or sign"
            raise FilterError(self.text, at, problem)
        kind = found.lastgroup or ""
        self.next = _Token(kind, found[kind], found.start(kind))
        self.end = found.end()
        return read

    def expected(self, what: str) -> FilterError:
        found = "the end" if self.next.kind == "end" else repr(self.next.text[:30])
        return FilterError(self.text, self.next.at, f"expected {what}, found {found}")

    def is_word(self, *words: str) -> bool:
        return self.next.kind == "word" and self.next.text.lower() in words

    def take(self, what: str) -> None:
        if not (self.is_word(what) or (self.next.kind == "sign" and self.next.text == what)):
            raise self.expected(what)
        self.advance()

    def either(self) -> _Node:
        left = self.both()
        while self.is_word("or"):
            self.advance()
            left = _Both(left, self.both(), "or_kleene")
        return left

    def both(self) -> _Node:
        left = self.one()
        while self.is_word("and"):
            self.advance()
            left = _Both(left, self.one(), "and_kleene")
        return left

    def one(self) -> _Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise FilterError(self.text, self.next.at, f"nested more than {DEEPEST} deep")
        if self.is_word("not"):
            self.advance()
            node: _Node = _Not(self.one())
        elif self.next.text == "(" and self.next.kind == "sign":
            self.advance()
            node = self.either()
            self.take(")")
        else:
            node = self.test()
        self.depth -= 1
        return node

    def test(self) -> _Node:
        column = self.column()
        if self.next.kind == "sign" and self.next.text in _COMPARE:
            sign = self.advance().text
            return _Compare(column, sign, self.value(column))
        if self.is_word("is"):
            self.advance()
            negated = self.negated()
            self.take("null")
            unknown = _Unknown(column)
            return _Not(unknown) if negated else unknown
        negated = self.negated()
        if self.is_word("like"):
            self.advance()
            if column.name in NUMBERS:
                raise FilterError(self.text, column.at, f"{column.name} is a number, and like is for text")
            if self.next.kind != "text":
                raise self.expected("a 'pattern' in single quotes")
            node: _Node = _Like(column, _unquoted(self.advance().text))
        elif self.is_word("in"):
            self.advance()
            self.take("(")
            node = _Compare(column, "=", self.value(column))
            while self.next.text == ",":
                self.advance()
                node = _Both(node, _Compare(column, "=", self.value(column)), "or_kleene")
            self.take(")")
        else:
            raise self.expected("like or in" if negated else "=, !=, <, <=, >, >=, in, like or is")
        return _Not(node) if negated else node

    def negated(self) -> bool:
        if not self.is_word("not"):
            return False
        self.advance()
        return True

    def column(self) -> _Column:
        token = self.next
        if token.kind == "quoted":
            self.advance()
            return _Column(_unquoted(token.text), token.at)
        if token.kind != "word" or token.text.lower() in _WORDS:
            raise self.expected("the name of a column")
        self.advance()
        known = token.text.lower()
        return _Column(known if known in TEXTS or known in NUMBERS else token.text, token.at)

    def value(self, column: _Column) -> _Value:
        token = self.next
        if token.kind == "number":
            self.advance()
            return float(token.text)
        if token.kind != "text":
            bare = _unquoted(token.text) if token.kind == "quoted" else token.text
            hint = f" (text needs single quotes: '{bare}')" if token.kind in ("word", "quoted") else ""
            raise self.expected(f"a number or a 'text'{hint}")
        text = _unquoted(token.text)
        if column.name == "mtime":
            try:
                when = datetime.fromisoformat(text)
            except ValueError:
                raise FilterError(self.text, token.at, "mtime needs a date such as '2024-01-31 18:30'") from None
            self.advance()
            return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        if column.name in NUMBERS:
            raise FilterError(self.text, token.at, f"{column.name} is a number; compare it with one, without quotes")
        self.advance()
        return text


def _unquoted(text: str) -> str:
    return text[1:-1].replace(text[0] * 2, text[0])


__all__ = ["Filter", "FilterError", "parse"]
