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
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.ids import id_of
from lookalike.errors import UsageError, unknown_name
from lookalike.index.fact_table import FactTable
from lookalike.index.schema import FILTERED

#: Columns of every index; metadata adds its keys.
TEXTS = tuple(name for name, kind in FILTERED.items() if kind == "string")
NUMBERS = (*(name for name, kind in FILTERED.items() if kind != "string"), "mtime")
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
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "==": operator.eq, "!=": operator.ne, "<>": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_ARROW = {
    operator.eq: "equal", operator.ne: "not_equal", operator.lt: "less", operator.le: "less_equal",
    operator.gt: "greater", operator.ge: "greater_equal",
}  # fmt: skip
_WORDS = frozenset({"and", "or", "not", "in", "like", "is", "null"})
_TRUTH = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
#: What begins as a date, as ISO 8601 or EXIF writes it; more may follow.
_DATE = re.compile(r"\d{4}([-:])\d\d\1\d\d(?=$|[ T])")
_DAY = 86_400.0
#: Whole numbers that a double still tells apart.
_EXACT = 2**53

_Value: TypeAlias = float | str | bool


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
class _Joined:
    """``and``, ``or``: of any number of parts, so that a long filter isn't a deep one."""

    parts: list[_Node]
    function: str

    def true_of(self, columns: _Columns) -> Any:
        import pyarrow.compute as pc

        found = self.parts[0].true_of(columns)
        for part in self.parts[1:]:
            found = getattr(pc, self.function)(found, part.true_of(columns))
        return found


@dataclass(frozen=True)
class _Not:
    inner: _Node

    def true_of(self, columns: _Columns) -> Any:
        import pyarrow.compute as pc

        return pc.invert(self.inner.true_of(columns))


@dataclass(frozen=True)
class _Compare:
    column: _Column
    sign: str
    value: _Value

    def true_of(self, columns: _Columns) -> Any:
        import pyarrow.compute as pc

        compare, value = _COMPARE[self.sign], self.value
        if compare in (operator.eq, operator.ne):
            same = _In(self.column, [value]).true_of(columns)
            return same if compare is operator.eq else pc.invert(same)
        kind = columns.kind_of(self.column, value)
        if kind == "time":
            value = _as_time(value) or 0.0
        elif kind == "truth":
            kind, value = "number", float(bool(_as_truth(value)))
        held = columns(self.column, kind)
        if kind == "number" and _is_long(value, held):
            return columns.compared(self.column, lambda number: compare(number, value))
        return getattr(pc, _ARROW[compare])(held, value)


@dataclass(frozen=True)
class _In:
    """``in``, and ``=`` of one value."""

    column: _Column
    values: list[_Value]

    def true_of(self, columns: _Columns) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        by_kind: dict[str, list[Any]] = {}
        for value in self.values:
            by_kind.setdefault(columns.kind_of(self.column, value), []).append(value)
        found = None
        for kind, given in by_kind.items():
            held = columns(self.column, kind)
            values = [_as_truth(value) for value in given] if kind == "truth" else given
            if kind == "time":
                text = columns(self.column, "text")
                other = pc.is_in(text, pa.array([v for v in values if isinstance(v, str)], text.type))
                same = pc.if_else(pc.is_valid(held), self._at_times(held, values), other)
                held = text
            elif kind == "number" and any(_is_long(value, held) for value in values):
                exact = set(values)
                same = columns.compared(self.column, exact.__contains__)
            else:
                same = pc.is_in(held, pa.array(values, held.type))
            same = pc.if_else(pc.is_valid(held), same, None)  # what isn't known is neither in nor not in
            found = same if found is None else pc.or_kleene(found, same)
        return found

    @staticmethod
    def _at_times(held: Any, values: list[Any]) -> Any:
        """Compare times with moments, and with days, which hold all times from one midnight to the next."""
        import pyarrow as pa
        import pyarrow.compute as pc

        days = [_as_time(v) for v in values if _is_day(v)]
        moments = [_as_time(v) for v in values if not _is_day(v)]
        of_day = pc.multiply(pc.floor(pc.divide(held, _DAY)), _DAY)
        return pc.or_(pc.is_in(held, pa.array(moments, held.type)), pc.is_in(of_day, pa.array(days, held.type)))


@dataclass(frozen=True)
class _Like:
    column: _Column
    pattern: str

    def true_of(self, columns: _Columns) -> Any:
        import pyarrow.compute as pc

        return pc.match_like(columns(self.column, "text"), self.pattern, ignore_case=True)


@dataclass(frozen=True)
class _Unknown:
    column: _Column

    def true_of(self, columns: _Columns) -> Any:
        import pyarrow.compute as pc

        return pc.is_null(columns(self.column, "number" if self.column.name in NUMBERS else "text"))


_Node: TypeAlias = _Joined | _Not | _Compare | _In | _Like | _Unknown


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

    def true_of(self, facts: FactTable | Sequence[Mapping[str, Any]]) -> NDArray[np.bool_]:
        """Tell of which images the filter is true.

        Parameters
        ----------
        facts : FactTable, or sequence of mapping
            Columns, or what :meth:`lookalike.Index.facts` returns.

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

        found = self._root.true_of(_Columns(self.text, FactTable.of(facts)))
        return np.asarray(pc.fill_null(found, False).to_numpy(zero_copy_only=False), np.bool_)


class _Columns:
    """Columns of facts as Arrow arrays, each made once: as ``text``, ``number``, ``truth`` or ``time`` (seconds since 1970).

    Python's own rules say what a value reads as; they are asked once for each value there is, not for each image.
    """

    def __init__(self, text: str, facts: FactTable) -> None:
        self.text = text
        self.facts = facts
        self.made: dict[tuple[str, str], Any] = {}
        self.held: dict[str, tuple[list[Any], NDArray[np.int64]]] = {}

    def __call__(self, column: _Column, kind: str) -> Any:
        import pyarrow as pa

        key = (column.name, kind)
        if key not in self.made:
            convert, of = _KINDS[kind]
            self.made[key] = self.read_as(column, convert, getattr(pa, of)())
        return self.made[key]

    def read_as(self, column: _Column, convert: Callable[[Any], Any], kind: Any) -> Any:
        """Return what becomes of each image's value."""
        import pyarrow as pa

        values, which = self.values_of(column)
        return pa.array([convert(value) for value in values], kind).take(pa.array(which))

    def kind_of(self, column: _Column, value: _Value) -> str:
        """Tell as what a column is compared with a value."""
        if isinstance(value, bool):
            return "truth"
        if not isinstance(value, str):
            return "number"
        if value.lower() in ("true", "false") and any(isinstance(v, bool) for v in self.values_of(column)[0]):
            return "truth"
        if _as_time(value) is not None and self(column, "time").null_count < len(self.facts):
            return "time"
        return "text"

    def compared(self, column: _Column, compare: Callable[[float | int], bool]) -> Any:
        """Compare what reads as numbers, whole ones exactly."""
        import pyarrow as pa

        def of(value: Any) -> bool | None:
            number = _exactly(value)
            return None if number is None else compare(number)

        return self.read_as(column, of, pa.bool_())

    def values_of(self, column: _Column) -> tuple[list[Any], NDArray[np.int64]]:
        """Return the values that a column has, and which of them each image has."""
        if column.name not in self.held:
            self.held[column.name] = self._values(column)
        return self.held[column.name]

    def _values(self, column: _Column) -> tuple[list[Any], NDArray[np.int64]]:
        name = column.name
        if name in TEXTS or name in NUMBERS:
            values, which = _apart(self.facts.column("mtime_ns" if name == "mtime" else name))
            if name == "mtime":
                values = [value / 1e9 if value else None for value in values]  # 0 in an array
            return values, which
        known = self.facts.metadata_keys
        key = name if name in known else name.removeprefix("metadata.")
        if key not in known:
            known |= {*TEXTS, *NUMBERS}
            raise FilterError(self.text, column.at, str(unknown_name("column", name, known)))
        texts = self.facts.metadata.indices.fill_null(len(self.facts.parsed))
        return [*(one.get(key) for one in self.facts.parsed), None], texts.to_numpy().astype(np.int64)


def _apart(column: Any) -> tuple[list[Any], NDArray[np.int64]]:
    """Return the values of a column once each, unknown last, and which of them each row has."""
    found = column.dictionary_encode()
    values = found.dictionary.to_pylist()
    return [*values, None], found.indices.fill_null(len(values)).to_numpy().astype(np.int64)


def _as_number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _exactly(value: Any) -> float | int | None:
    """Read a number; a whole one stays one, as a double tells large ones no longer apart."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,300}\s*", value):
        return int(value)
    return _as_number(value)


def _is_long(value: Any, held: Any) -> bool:
    """Tell whether doubles may not tell a value from its neighbours."""
    import pyarrow.compute as pc

    most = pc.max(pc.abs(held)).as_py() if abs(value) < _EXACT else _EXACT
    return most is not None and most >= _EXACT


def _as_text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


def _as_truth(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, float) and value in (0.0, 1.0):
        value = int(value)
    return _TRUTH.get(str(value).strip().lower())


def _as_time(value: Any) -> float | None:
    """Read a date, with a time or without, as seconds since 1970; a number is such seconds already."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _as_number(value)
    if not isinstance(value, str) or not (date := _DATE.match(value.strip())):
        return None
    text = value.strip()
    try:
        when = datetime.fromisoformat(date[0].replace(":", "-") + text[date.end() :].replace(" UTC", "+00:00"))
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _is_day(value: Any) -> bool:
    return isinstance(value, str) and _DATE.fullmatch(value.strip()) is not None


#: What a column is read as: how each value is, and Arrow's type.
_KINDS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "text": (_as_text, "string"),
    "number": (_as_number, "float64"),
    "truth": (_as_truth, "bool_"),
    "time": (_as_time, "float64"),
}


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
        parts = [self.both()]
        while self.is_word("or"):
            self.advance()
            parts.append(self.both())
        return _Joined(parts, "or_kleene") if len(parts) > 1 else parts[0]

    def both(self) -> _Node:
        parts = [self.one()]
        while self.is_word("and"):
            self.advance()
            parts.append(self.one())
        return _Joined(parts, "and_kleene") if len(parts) > 1 else parts[0]

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
            values = [self.value(column)]
            while self.next.text == ",":
                self.advance()
                values.append(self.value(column))
            self.take(")")
            node = _In(column, values)
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
            number: float = int(token.text) if re.fullmatch(r"[+-]?\d{1,300}", token.text) else float(token.text)
            if not math.isfinite(number):
                raise FilterError(self.text, token.at, "a number of more than 300 digits; give a smaller one")
            return number
        if token.kind == "word" and token.text.lower() in ("true", "false"):
            if column.name in NUMBERS:
                raise FilterError(self.text, token.at, f"{column.name} is a number; compare it with one")
            self.advance()
            return token.text.lower() == "true"
        if token.kind != "text":
            bare = _unquoted(token.text) if token.kind == "quoted" else token.text
            hint = f" (text needs single quotes: '{bare}')" if token.kind in ("word", "quoted") else ""
            raise self.expected(f"a number or a 'text'{hint}")
        text = _unquoted(token.text)
        if column.name == "mtime":
            try:
                when = datetime.fromisoformat(text)
                (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
            except (ValueError, OverflowError):
                raise FilterError(self.text, token.at, "mtime needs a date such as '2024-01-31 18:30'") from None
            self.advance()
            return (
                text if _as_time(text) is not None else (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
            )
        if column.name in NUMBERS:
            raise FilterError(self.text, token.at, f"{column.name} is a number; compare it with one, without quotes")
        self.advance()
        return text


def _unquoted(text: str) -> str:
    return text[1:-1].replace(text[0] * 2, text[0])


__all__ = ["Filter", "FilterError", "parse"]
