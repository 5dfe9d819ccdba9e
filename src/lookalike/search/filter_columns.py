"""Facts of images -> columns as a filter compares them: as text, numbers, truth or times, and unknown where they don't read so."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.errors import UsageError, unknown_name
from lookalike.index.fact_table import FactTable
from lookalike.index.schema import FILTERED

#: Columns of every index; metadata adds its keys.
TEXTS = tuple(name for name, kind in FILTERED.items() if kind == "string")
NUMBERS = (*(name for name, kind in FILTERED.items() if kind != "string"), "mtime")
#: Signs that compare, and what Arrow calls them.
SIGNS = {
    "=": "equal", "==": "equal", "!=": "not_equal", "<>": "not_equal",
    "<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal",
}  # fmt: skip
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "less": operator.lt, "less_equal": operator.le, "greater": operator.gt, "greater_equal": operator.ge,
}  # fmt: skip
_TRUTH = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
#: What begins as a date, as ISO 8601 or EXIF writes it; more may follow.
_DATE = re.compile(r"\d{4}([-:])\d\d\1\d\d(?=$|[ T])")
_DAY = 86_400.0
#: Whole numbers that a double still tells apart.
_EXACT = 2**53

Value: TypeAlias = float | str | bool


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


class Column(NamedTuple):
    """A column by its name, and where it stands in the filter."""

    name: str
    at: int


class Columns:
    """Columns of facts as Arrow arrays, each made once: as ``text``, ``number``, ``truth`` or ``time`` (seconds since 1970).

    Python's own rules say what a value reads as; they are asked once for each value there is, not for each image. All
    tests are of three values: null is "unknown".

    Parameters
    ----------
    text : str
        The filter, for errors.
    facts : FactTable
        Of the images.
    """

    def __init__(self, text: str, facts: FactTable) -> None:
        self._text = text
        self._facts = facts
        self._read: dict[tuple[str, str], Any] = {}
        self._values: dict[str, tuple[list[Any], NDArray[np.int64]]] = {}

    def compare(self, column: Column, sign: str, value: Value) -> Any:
        """Compare a column with a value by one of ``SIGNS``."""
        function = SIGNS[sign]
        if function == "equal":
            return self.is_in(column, [value])
        if function == "not_equal":
            return pc.invert(self.is_in(column, [value]))
        kind = self._kind_of(column, value)
        if kind == "time":
            value = as_time(value) or 0.0
        elif kind == "truth":
            kind, value = "number", float(bool(_as_truth(value)))
        held = self._read_as(column, kind)
        if kind == "number" and _is_long(value, held):
            return self._exactly(column, lambda number: _OPERATORS[function](number, value))
        return getattr(pc, function)(held, value)

    def is_in(self, column: Column, values: list[Value]) -> Any:
        """Tell where a column is one of some values."""
        by_kind: dict[str, list[Any]] = {}
        for value in values:
            by_kind.setdefault(self._kind_of(column, value), []).append(value)
        result = None
        for kind, wanted in by_kind.items():
            held = self._read_as(column, kind)
            if kind == "time":
                text = self._read_as(column, "text")
                other = pc.is_in(text, pa.array([value for value in wanted if isinstance(value, str)], text.type))
                same = pc.if_else(pc.is_valid(held), _at_times(held, wanted), other)
                held = text
            elif kind == "number" and any(_is_long(value, held) for value in wanted):
                same = self._exactly(column, set(wanted).__contains__)
            else:
                plain = [_as_truth(value) for value in wanted] if kind == "truth" else wanted
                same = pc.is_in(held, pa.array(plain, held.type))
            same = pc.if_else(pc.is_valid(held), same, None)  # what isn't known is neither in nor not in
            result = same if result is None else pc.or_kleene(result, same)
        return result

    def is_like(self, column: Column, pattern: str) -> Any:
        """Tell where a column's text has SQL's pattern."""
        return pc.match_like(self._read_as(column, "text"), pattern, ignore_case=True)

    def is_unknown(self, column: Column) -> Any:
        """Tell where a column isn't known."""
        return pc.is_null(self._read_as(column, "number" if column.name in NUMBERS else "text"))

    def _read_as(self, column: Column, kind: str) -> Any:
        key = (column.name, kind)
        if key not in self._read:
            convert, arrow_type = _KINDS[kind]
            self._read[key] = self._converted(column, convert, arrow_type)
        return self._read[key]

    def _converted(self, column: Column, convert: Callable[[Any], Any], arrow_type: Any) -> Any:
        """Return what becomes of each image's value."""
        values, which = self._values_of(column)
        return pa.array([convert(value) for value in values], arrow_type).take(pa.array(which))

    def _exactly(self, column: Column, compare: Callable[[float | int], bool]) -> Any:
        """Compare what reads as numbers, whole ones exactly."""

        def convert(value: Any) -> bool | None:
            number = _as_exact_number(value)
            return None if number is None else compare(number)

        return self._converted(column, convert, pa.bool_())

    def _kind_of(self, column: Column, value: Value) -> str:
        """Tell as what a column is compared with a value."""
        if isinstance(value, bool):
            return "truth"
        if not isinstance(value, str):
            return "number"
        if value.lower() in ("true", "false") and any(isinstance(v, bool) for v in self._values_of(column)[0]):
            return "truth"
        if as_time(value) is not None and self._read_as(column, "time").null_count < len(self._facts):
            return "time"
        return "text"

    def _values_of(self, column: Column) -> tuple[list[Any], NDArray[np.int64]]:
        """Return the values that a column has, unknown last, and which of them each image has."""
        if column.name not in self._values:
            self._values[column.name] = self._look_up(column)
        return self._values[column.name]

    def _look_up(self, column: Column) -> tuple[list[Any], NDArray[np.int64]]:
        name = column.name
        if name in TEXTS or name in NUMBERS:
            encoded = self._facts.column("mtime_ns" if name == "mtime" else name).dictionary_encode()
            values, indices = encoded.dictionary.to_pylist(), encoded.indices
            if name == "mtime":
                values = [value / 1e9 if value else None for value in values]  # 0 in an array
        else:
            known = self._facts.metadata_keys
            key = name if name in known else name.removeprefix("metadata.")
            if key not in known:
                raise FilterError(self._text, column.at, str(unknown_name("column", name, {*known, *TEXTS, *NUMBERS})))
            values, indices = [parsed.get(key) for parsed in self._facts.parsed], self._facts.metadata.indices
        return [*values, None], indices.fill_null(len(values)).to_numpy().astype(np.int64)


def _at_times(held: Any, values: list[Any]) -> Any:
    """Compare times with moments, and with days, which hold all times from one midnight to the next."""
    days = [as_time(value) for value in values if _is_day(value)]
    moments = [as_time(value) for value in values if not _is_day(value)]
    of_day = pc.multiply(pc.floor(pc.divide(held, _DAY)), _DAY)
    return pc.or_(pc.is_in(held, pa.array(moments, held.type)), pc.is_in(of_day, pa.array(days, held.type)))


def _is_long(value: Any, held: Any) -> bool:
    """Tell whether doubles may not tell a value from its neighbours."""
    most = pc.max(pc.abs(held)).as_py() if abs(value) < _EXACT else _EXACT
    return most is not None and most >= _EXACT


def _as_number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _as_exact_number(value: Any) -> float | int | None:
    """Read a number; a whole one stays one, as a double tells large ones no longer apart."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,300}\s*", value):
        return int(value)
    return _as_number(value)


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


def as_time(value: Any) -> float | None:
    """Read a date, with a time or without, as seconds since 1970; a number is such seconds already.

    Parameters
    ----------
    value : object
        Anything.

    Returns
    -------
    float or None
        None for what is no date.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _as_number(value)
    if not isinstance(value, str) or not (date := _DATE.match(value.strip())):
        return None
    return timestamp(date[0].replace(":", "-") + value.strip()[date.end() :].replace(" UTC", "+00:00"))


def timestamp(text: str) -> float | None:
    """Read ISO 8601 as seconds since 1970, UTC unless it says otherwise.

    Parameters
    ----------
    text : str
        Any.

    Returns
    -------
    float or None
        None for what is no date.
    """
    try:
        when = datetime.fromisoformat(text)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _is_day(value: Any) -> bool:
    return isinstance(value, str) and _DATE.fullmatch(value.strip()) is not None


#: What a column is read as: how each value is, and Arrow's type.
_KINDS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "text": (_as_text, pa.string()),
    "number": (_as_number, pa.float64()),
    "truth": (_as_truth, pa.bool_()),
    "time": (as_time, pa.float64()),
}

__all__ = ["NUMBERS", "SIGNS", "TEXTS", "Column", "Columns", "FilterError", "Value", "as_time", "timestamp"]
