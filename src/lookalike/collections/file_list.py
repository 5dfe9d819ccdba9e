"""A list of paths, as text, CSV or Parquet -> entries, with what its other columns say of each file."""

from __future__ import annotations

import codecs
import csv
import datetime
import io
import math
import os
import re
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lookalike.collections.columns import Entries, EntriesBuilder, Entry
from lookalike.collections.folder import changed_at, file_entry
from lookalike.collections.ids import as_text, id_of, with_unique_ids
from lookalike.errors import CollectionError, first_line

#: The endings of lists.
ENDINGS = (".txt", ".csv", ".tsv", ".parquet")

_PATH_COLUMNS = (
    "path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "image_file", "img", "img_path",
    "image_name", "photo", "picture", "paths", "files", "filenames", "images",
)  # fmt: skip
_LABEL_COLUMN = "label"
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_BOM = "\ufeff"  # in the middle, too, where files were joined
# The longer marks first.
_WIDE = {
    codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be",
}  # fmt: skip
_limit = threading.Lock()  # of the csv module there is one for all
_TRIED_COLUMNS = 200
_TRIED = 50  # rows that are looked at to find the column of the paths


def is_list(path: Path) -> bool:
    """Tell by its name whether a file is a list of paths.

    Parameters
    ----------
    path : Path
        Any file.

    Returns
    -------
    bool
        True for one of ``ENDINGS``.
    """
    return path.suffix.lower() in ENDINGS


def read_list(path: str | Path, path_column: str | None = None, label_column: str | None = None) -> Entries:
    """Read a list of image files.

    Parameters
    ----------
    path : str or Path
        A text file with a path a line; a table with a header (CSV or TSV, in UTF-8, UTF-16 or Windows-1252, with commas,
        semicolons, tabs or bars between its fields); or a Parquet file, which may hold the image files themselves. Of the columns the one called ``path``, ``file``,
        ``filename``, ``image`` or the like holds the paths, else the first that names files; ``label`` the labels; all
        others are metadata. A table whose first line already names a file has no header, and its columns are called
        ``column 1``, ``column 2``, ... Relative paths are relative to the list's folder.
    path_column, label_column : str, optional
        The names of two of them in the header, where they are others.

    Returns
    -------
    Entries
        In the order of the list, a path once, as it came first. What isn't there has the outcome ``gone``.

    Raises
    ------
    CollectionError
        If the list can't be read, is empty, or none of its files is there.
    """
    path = Path(path)
    name, folder = as_text(str(path)), os.path.dirname(os.path.abspath(path))
    try:
        rows = list(_ROWS[path.suffix.lower()](path, path_column, label_column))
    except CollectionError:
        raise
    except Exception as e:  # csv and pyarrow raise many kinds on damaged files
        reason = getattr(e, "strerror", None) or first_line(e)
        raise CollectionError(f"{name}: not a list that can be read: {reason}; save it again") from e
    entries, seen, first = EntriesBuilder(), set[str](), None
    any_there = False
    for given, metadata in rows:
        label = metadata.pop(_LABEL_COLUMN, None)
        label = None if label in (None, "") else str(label)
        if isinstance(given, Entry):
            entry = replace(given, label=label, metadata=metadata or None)
        else:
            full = os.path.normpath(os.path.join(folder, given))
            inside = full.startswith(os.path.join(folder, ""))
            identity = id_of((os.path.relpath(full, folder) if inside else full).replace(os.sep, "/"))
            if identity in seen:
                continue
            entry = file_entry(identity, full, f"{name}/{identity}", label=label, metadata=metadata or None)
        seen.add(entry.id)
        entries.add(entry)
        first = first or entry.source[1]
        any_there = any_there or entry.outcome != "gone"
    if first is None:
        raise CollectionError(f"{name}: an empty list; write a path of an image a line")
    if not any_there:
        raise CollectionError(
            f"{name}: none of its {len(seen):,} files is there, the first is {first!r}; "
            "relative paths begin at the list's folder, and --path-column names another column"
        )
    return with_unique_ids(entries.finish())


def _text_rows(path: Path, _path_column: str | None, _label_column: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    text = _decoded(path, path.read_bytes())
    if "\0" in text and "\n" not in text:  # as find -print0 writes
        lines = text.split("\0")
    elif "\n" in text:
        lines = text.split("\n")
    else:
        lines = text.split("\r")
    for line in lines:
        given = line.removesuffix("\r").removeprefix(_BOM)
        if given.strip():
            yield _path_of(path, given), {}


def _csv_rows(path: Path, path_column: str | None, label_column: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    name, text = as_text(str(path)), _decoded(path, path.read_bytes())
    separator, text, skipped = _separator(text, path.suffix.lower())
    separated_by = f"separator {_SEPARATORS[separator]}"
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    rows: list[tuple[int, list[str]]] = []
    try:
        with _long_fields(len(text)):
            rows.extend((reader.line_num + skipped, row) for row in reader if row or rows)
    except csv.Error as e:
        line = reader.line_num + skipped
        raise CollectionError(
            f"{name}: line {line:,} can't be told apart ({e}; {separated_by}): {_start_of(text, reader.line_num)!r}; write a quote "
            'inside quotes as "", or save the table anew'
        ) from e
    header = [field.strip() for field in rows[0][1]] if rows else []
    first = rows[0][1] if rows else []
    column = _column_named(name, header, path_column, separated_by) if path_column else _path_column(header)
    if column is None:
        # No name tells it: then the first column whose fields name files, and with it whether there is a header at all.
        tried = range(min(len(first), _TRIED_COLUMNS))
        column = next((i for i in tried if any(_is_there(path, row, i) for _, row in rows[1:_TRIED])), None)
        alone = next((i for i in tried if _is_there(path, first, i)), None)
        if alone is not None and (column is None or alone == column):
            column, header = alone, [f"column {i}" for i in range(1, len(first) + 1)]
            rows.insert(0, (0, []))
    column = column or 0
    label = _column_named(name, header, label_column, separated_by) if label_column else _label_column(header)
    own = None if label_column else label  # a column that a person named stays among the others, too
    for line, row in rows[1:]:
        if len(row) > len(header):
            raise CollectionError(
                f"{name}: {len(row)} fields in line {line:,}, but {len(header)} in its header ({separated_by}); put quotes around "
                "what holds a separator"
            )
        if row and row[column : column + 1] not in ([], [""]):
            texts = {header[i]: _as_said(field) for i, field in enumerate(row) if i not in (column, own)}
            if label is not None and label < len(row):
                texts[_LABEL_COLUMN] = _as_said(row[label])
            yield _path_of(path, row[column]), texts


def _decoded(path: Path, data: bytes) -> str:
    """Decode a list as it says itself, or as its zeros say, else as UTF-8; bytes that aren't stay apart, for names hold such."""
    encoding = next((name for mark, name in _WIDE.items() if data.startswith(mark)), None)
    start = data[:400]
    if encoding is None and any(start):  # names end in letters of Latin script, every other byte of which is 0
        first, second = start[::2].count(0), start[1::2].count(0)
        if 4 * max(first, second) >= len(start) > 3 * min(first, second):
            encoding = ("utf-32" if b"\0\0\0" in start else "utf-16") + ("-be" if first > second else "-le")
    if encoding is None:
        return data.decode("utf-8-sig", "surrogateescape")
    try:
        return data.decode(encoding).removeprefix(_BOM)
    except UnicodeDecodeError as e:
        raise CollectionError(
            f"{as_text(str(path))}: cut short in {encoding[:6].upper()} at byte {e.start:,}; save it again"
        ) from e


@contextmanager
def _long_fields(length: int) -> Iterator[None]:
    """Let a field be as long as the whole table, for the module takes 128 KiB for an error."""
    with _limit:
        before = csv.field_size_limit(max(length, csv.field_size_limit()))
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _as_said(field: str) -> str:
    """Return a field's text; bytes that are no UTF-8 are Windows-1252, as old spreadsheets write."""
    if not field.isascii() and any("\udc80" <= c <= "\udcff" for c in field):
        field = field.encode("utf-8", "surrogateescape").decode("cp1252", "replace")
    return unicodedata.normalize("NFC", as_text(field))


def _path_of(path: Path, field: str) -> str:
    """Return a path as it is there: by its very bytes, else in the form that whatever wrote the list meant.

    Of what isn't there the plainest form is taken, so that a file on a disk that is out keeps its id.
    """
    if os.path.lexists(path.parent / field):
        return field
    forms = _forms(field)
    return next((form for form in forms if os.path.lexists(path.parent / form)), forms[0])


def _forms(field: str) -> list[str]:
    """Write a path in other ways: without blanks, quotes and marks, of an address, with slashes, in other accents."""
    plain = field.strip().removeprefix(_BOM)
    if len(plain) > 1 and plain[0] == plain[-1] and plain[0] in "\"'":
        plain = plain[1:-1]
    if address := re.fullmatch(r"(?i)file:(?://(?:localhost)?(?=/))?(.+)", plain):
        plain = unquote(address[1], errors="surrogateescape")
    slashed = plain.replace("\\", "/")
    forms = [plain if "/" in plain else slashed, plain, slashed]
    if plain.startswith("~/"):
        forms.insert(0, os.path.expanduser(plain))
    if not plain.isascii():
        meant = [_as_meant(form) for form in forms]
        forms += meant + [unicodedata.normalize(form, name) for name in meant for form in ("NFD", "NFC")]
    return list(dict.fromkeys(forms))


def _as_meant(name: str) -> str:
    return name if as_text(name) == name else name.encode("utf-8", "surrogateescape").decode("cp1252", "replace")


def _separator(text: str, ending: str) -> tuple[str, str, int]:
    """Return what stands between fields, the table itself, and how many lines were taken from its beginning."""
    first, _, rest = text.partition("\n")
    if named_by_excel := re.fullmatch(r"(?i)sep=(.)\r?", first):  # as Excel takes it
        return named_by_excel[1] if named_by_excel[1] in _SEPARATORS else ",", rest, 1
    bare = re.sub(r'"[^"]*"', "", first)
    named = [
        s for s in _SEPARATORS if _path_column([f.strip(' "\r') for f in first.split(s)]) is not None and s in bare
    ]
    most = max(_SEPARATORS, key=bare.count)
    fallback = most if most in bare else "\t" if ending == ".tsv" else ","
    return (named or [fallback])[0], text, 0


def _start_of(text: str, line: int) -> str:
    return as_text((text.split("\n") + [""] * line)[max(line - 1, 0)][:60].rstrip("\r"))


def _column_named(name: str, header: list[str], wanted: str, separated_by: str) -> int:
    lower = [h.lower() for h in header]
    if wanted in header or wanted.strip().lower() in lower:
        return header.index(wanted) if wanted in header else lower.index(wanted.strip().lower())
    raise CollectionError(
        f"{name}: no column {wanted!r} in its header ({separated_by}); it has: {', '.join(header) or 'none'}"
    )


def _is_there(path: Path, row: list[str], column: int) -> bool:
    with suppress(OSError, ValueError):
        return bool(row[column : column + 1] and row[column]) and (path.parent / _path_of(path, row[column])).is_file()
    return False


def _parquet_rows(
    path: Path, path_column: str | None, label_column: str | None
) -> Iterator[tuple[str | Entry, dict[str, Any]]]:
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(path)
    names, shown = file.schema_arrow.names, as_text(str(path))
    column = _column_named(shown, names, path_column, "Parquet") if path_column else _column_of_files(path, file)
    label = _column_named(shown, names, label_column, "Parquet") if label_column else _label_column(names)
    own = None if label_column else label
    changed, count = changed_at(os.stat(path)), 0
    for batch in file.iter_batches(batch_size=1024):
        columns = [_values(values) for values in batch.columns]
        for row in zip(*columns, strict=True):
            given, at = row[column], count
            count += 1
            if isinstance(given, dict) and given.get("bytes") is None:
                given = given.get("path")
            if given is None or given == "":
                continue
            if isinstance(given, bytes) or (isinstance(given, dict) and isinstance(given.get("bytes"), bytes)):
                given = _embedded(path, names[column], at, given, changed)
            if not isinstance(given, str | Entry):
                raise CollectionError(
                    f"{shown}: its column {names[column]!r} holds {type(given).__name__}, not paths or files; name the right "
                    "one with --path-column"
                )
            values = {names[i]: _plain(value) for i, value in enumerate(row) if i not in (column, own)}
            yield (
                _path_of(path, given) if isinstance(given, str) else given,
                values if label is None else values | {_LABEL_COLUMN: _plain(row[label])},
            )


def _column_of_files(path: Path, file: Any) -> int:
    """Return which column holds the files: the one called so, unless none of them is there and another holds them itself."""
    import pyarrow as pa

    schema = file.schema_arrow
    named = _path_column(schema.names)
    binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)

    def holds(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return bool(kind.get_field_index("bytes") >= 0)
        return any(is_kind(kind) for is_kind in binary)

    embedded = next((i for i, kind in enumerate(schema.types) if holds(kind)), None)
    order = [named] if named is not None else list(range(len(schema.names)))[:_TRIED_COLUMNS]
    head = next(file.iter_batches(batch_size=_TRIED, columns=[schema.names[i] for i in order]), None)
    for i in order:
        if head is not None and not holds(schema.types[i]):
            fields = [[value] for value in _values(head[schema.names[i]]) if isinstance(value, str)]
            if any(_is_there(path, field, 0) for field in fields):
                return i
    if named is not None and (holds(schema.types[named]) or embedded is None):
        return named
    return embedded if embedded is not None else 0


def _values(column: Any) -> list[Any]:
    """Return the values of a column as Python's own; a moment to the microsecond, and what its dates can't hold as text."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_temporal(kind) and getattr(kind, "unit", "") == "ns":
        coarse = {
            pa.types.is_timestamp: pa.timestamp("us", getattr(kind, "tz", None)),
            pa.types.is_time: pa.time64("us"),
        }
        column = column.cast(next((to for of, to in coarse.items() if of(kind)), pa.duration("us")), safe=False)
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        if pa.types.is_temporal(kind):
            return list(column.cast(pa.string()).to_pylist())
        return [_value(value) for value in column]


def _value(scalar: Any) -> Any:
    with suppress(ValueError, OverflowError):  # a nested one, of which some part has no value in Python
        return scalar.as_py()
    return None


def _embedded(path: Path, column: str, row: int, given: Any, changed: int) -> Entry:
    """Make the entry of a file that lies in the table itself, as data sets of Hugging Face have them."""
    data, name = (given, None) if isinstance(given, bytes) else (given["bytes"], given.get("path"))
    last = os.path.basename(str(name).replace("\\", "/")) if name else ""
    return Entry(
        id_of(f"{row:06d}-{last}" if last else f"{row:06d}"),
        ("parquet", os.path.abspath(path), f"{column}:{row}:{changed}"),
        len(data),
        changed,
    )


_ROWS = {".txt": _text_rows, ".csv": _csv_rows, ".tsv": _csv_rows, ".parquet": _parquet_rows}


def _path_column(header: list[str]) -> int | None:
    """Return where the paths are, if the header says so."""
    lower = [name.strip().lower().replace(" ", "_") for name in header]
    return next((lower.index(name) for name in _PATH_COLUMNS if name in lower), None)


def _label_column(header: list[str]) -> int | None:
    """Return where the labels are, if the header says so, in capitals or not."""
    if _LABEL_COLUMN in header:
        return header.index(_LABEL_COLUMN)
    return next((i for i, name in enumerate(header) if name.strip().lower() == _LABEL_COLUMN), None)


def _plain(value: Any) -> Any:
    """Bring a value to what JSON holds."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value.isoformat() if isinstance(value, (datetime.date, datetime.time)) else str(value)
