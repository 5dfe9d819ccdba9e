"""A list of paths, as text, CSV or Parquet -> entries, with what its other columns say of each file."""

from __future__ import annotations

import codecs
import csv
import datetime
import io
import math
import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from lookalike.errors import CollectionError, first_line
from lookalike.folder import Entry, as_text, changed_at, file_entry, id_of, with_unique_ids

#: The endings by which a list is told.
ENDINGS = (".txt", ".csv", ".tsv", ".parquet")

_PATH_COLUMNS = (
    "path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "image_file", "img", "img_path",
    "image_name", "photo", "picture", "paths", "files", "filenames", "images",
)  # fmt: skip
_LABEL_COLUMN = "label"
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_TRIED = 50  # rows that are looked at to find the column of the paths


class Columns(NamedTuple):
    """Which columns of a table hold the paths and the labels, where its header doesn't say it by a usual name.

    Attributes
    ----------
    path, label : str or None
        Names in the header.
    """

    path: str | None = None
    label: str | None = None


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


def read_list(path: str | Path, columns: Columns = Columns()) -> list[Entry]:  # noqa: B008  (it is never changed)
    """Read a list of image files.

    Parameters
    ----------
    path : str or Path
        A text file with a path a line; a table with a header (CSV or TSV, in UTF-8, UTF-16 or Windows-1252, with commas,
        semicolons, tabs or bars between its fields); or a Parquet file, which may hold the image files themselves. Of the columns the one called ``path``, ``file``,
        ``filename``, ``image`` or the like holds the paths, else the first that names files; ``label`` the labels; all
        others are metadata. A table whose first line already names a file has no header, and its columns are called
        ``column 1``, ``column 2``, ... Relative paths are relative to the list's folder.
    columns : Columns
        The names of two of them, where they are others.

    Returns
    -------
    list of Entry
        In the order of the list, a path once, as it came first. What isn't there has the outcome ``gone``.

    Raises
    ------
    CollectionError
        If the list can't be read, is empty, or none of its files is there.
    """
    path = Path(path)
    name, folder = as_text(str(path)), os.path.dirname(os.path.abspath(path))
    try:
        rows = list(_ROWS[path.suffix.lower()](path, columns))
    except CollectionError:
        raise
    except Exception as e:  # csv and pyarrow raise many kinds on damaged files
        reason = getattr(e, "strerror", None) or first_line(e)
        raise CollectionError(f"{name}: not a list that can be read: {reason}; save it again") from e
    entries: dict[str, Entry] = {}
    for given, metadata in rows:
        if isinstance(given, Entry):
            label = metadata.pop(_LABEL_COLUMN, None)
            said = None if label in (None, "") else str(label)
            entries[given.id] = replace(given, label=said, metadata=metadata or None)
            continue
        full = os.path.normpath(os.path.join(folder, given))
        inside = full.startswith(os.path.join(folder, ""))
        identity = id_of((os.path.relpath(full, folder) if inside else full).replace(os.sep, "/"))
        if identity not in entries:
            label = metadata.pop(_LABEL_COLUMN, None)
            entries[identity] = file_entry(
                identity,
                full,
                f"{name}/{identity}",
                label=None if label in (None, "") else str(label),
                metadata=metadata or None,
            )
    if not entries:
        raise CollectionError(f"{name}: an empty list; write a path of an image a line")
    if all(entry.outcome == "gone" for entry in entries.values()):
        raise CollectionError(
            f"{name}: none of its {len(entries):,} files is there, the first is {next(iter(entries.values())).source[1]!r}; "
            "relative paths begin at the list's folder, and --path-column names another column"
        )
    return with_unique_ids(list(entries.values()))


def _text_rows(path: Path, _columns: Columns) -> Iterator[tuple[str, dict[str, Any]]]:
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = _decoded(path, data).encode()
    for line in data.removeprefix(codecs.BOM_UTF8).split(b"\n"):
        given = os.fsdecode(line.removesuffix(b"\r"))
        if given.strip():
            yield given, {}


def _csv_rows(path: Path, columns: Columns) -> Iterator[tuple[str, dict[str, Any]]]:
    name, text = as_text(str(path)), _decoded(path, path.read_bytes())
    separator, text, skipped = _separator(text, path.suffix.lower())
    said = f"separator {_SEPARATORS[separator]}"
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    rows: list[tuple[int, list[str]]] = []
    try:
        rows.extend((reader.line_num + skipped, row) for row in reader)
    except csv.Error as e:
        line = reader.line_num + skipped
        raise CollectionError(
            f"{name}: line {line:,} can't be told apart ({e}; {said}): {_start_of(text, reader.line_num)!r}; write a quote "
            'inside quotes as "", or save the table anew'
        ) from e
    header = [field.strip() for field in rows[0][1]] if rows else []
    first = rows[0][1] if rows else []
    column = _column_named(name, header, columns.path, said) if columns.path else _path_column(header)
    if column is None:
        # No name tells it: then the first column whose fields name files, and with it whether there is a header at all.
        column = next((i for i in range(len(first)) if any(_is_there(path, row, i) for _, row in rows[1:_TRIED])), None)
        alone = next((i for i in range(len(first)) if _is_there(path, first, i)), None)
        if alone is not None and (column is None or alone == column):
            column, header = alone, [f"column {i}" for i in range(1, len(first) + 1)]
            rows.insert(0, (0, []))
    column = column or 0
    label = _column_named(name, header, columns.label, said) if columns.label else None
    for line, row in rows[1:]:
        if len(row) > len(header):
            raise CollectionError(
                f"{name}: {len(row)} fields in line {line:,}, but {len(header)} in its header ({said}); put quotes around "
                "what holds a separator"
            )
        if row and row[column : column + 1] not in ([], [""]):
            texts = {header[i]: _as_said(field) for i, field in enumerate(row) if i != column}
            if label is not None and label < len(row):
                texts[_LABEL_COLUMN] = _as_said(row[label])
            yield _path_of(path, row[column]), texts


def _decoded(path: Path, data: bytes) -> str:
    """Decode a table as it says itself, else as UTF-8; bytes that aren't stay apart, for a name may hold them."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError as e:
            raise CollectionError(
                f"{as_text(str(path))}: cut short in UTF-16 at byte {e.start:,}; save it again"
            ) from e
    return data.decode("utf-8-sig", "surrogateescape")


def _as_said(field: str) -> str:
    """Return a field's text; bytes that are no UTF-8 are Windows-1252, as old spreadsheets write."""
    if not field.isascii() and any("\udc80" <= c <= "\udcff" for c in field):
        field = field.encode("utf-8", "surrogateescape").decode("cp1252", "replace")
    return unicodedata.normalize("NFC", as_text(field))


def _path_of(path: Path, field: str) -> str:
    """Return a path as it is there: by its very bytes, else in the characters that a spreadsheet meant."""
    if field.isascii() or os.path.lexists(path.parent / field):
        return field
    meant = field.encode("utf-8", "surrogateescape").decode("cp1252", "replace") if as_text(field) != field else field
    forms = (meant, unicodedata.normalize("NFD", meant), unicodedata.normalize("NFC", meant))
    return next((form for form in forms if os.path.lexists(path.parent / form)), field)


def _separator(text: str, ending: str) -> tuple[str, str, int]:
    """Return what stands between fields, the table itself, and how many lines were taken from its beginning."""
    first, _, rest = text.partition("\n")
    if said := re.fullmatch(r"(?i)sep=(.)\r?", first):  # as Excel takes it
        return said[1] if said[1] in _SEPARATORS else ",", rest, 1
    bare = re.sub(r'"[^"]*"', "", first)
    named = [
        s for s in _SEPARATORS if _path_column([f.strip(' "\r') for f in first.split(s)]) is not None and s in bare
    ]
    most = max(_SEPARATORS, key=bare.count)
    fallback = most if most in bare else "\t" if ending == ".tsv" else ","
    return (named or [fallback])[0], text, 0


def _start_of(text: str, line: int) -> str:
    return as_text((text.split("\n") + [""] * line)[max(line - 1, 0)][:60].rstrip("\r"))


def _column_named(name: str, header: list[str], wanted: str, said: str) -> int:
    lower = [h.lower() for h in header]
    if wanted in header or wanted.strip().lower() in lower:
        return header.index(wanted) if wanted in header else lower.index(wanted.strip().lower())
    raise CollectionError(f"{name}: no column {wanted!r} in its header ({said}); it has: {', '.join(header) or 'none'}")


def _is_there(path: Path, row: list[str], column: int) -> bool:
    with suppress(OSError, ValueError):
        return bool(row[column : column + 1] and row[column]) and (path.parent / _path_of(path, row[column])).is_file()
    return False


def _parquet_rows(path: Path, chosen: Columns) -> Iterator[tuple[str | Entry, dict[str, Any]]]:
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(path)
    names, shown = file.schema_arrow.names, as_text(str(path))
    column = _column_named(shown, names, chosen.path, "Parquet") if chosen.path else _path_column(names) or 0
    label = _column_named(shown, names, chosen.label, "Parquet") if chosen.label else None
    changed, count = changed_at(os.stat(path)), 0
    for batch in file.iter_batches(batch_size=1024):
        columns = [values.to_pylist() for values in batch.columns]
        for row in zip(*columns, strict=True):
            given, at = row[column], count
            count += 1
            if given is None or given == "":
                continue
            if isinstance(given, bytes) or (isinstance(given, dict) and isinstance(given.get("bytes"), bytes)):
                given = _embedded(path, names[column], at, given, changed)
            elif isinstance(given, dict) and isinstance(given.get("path"), str):
                given = given["path"]
            if not isinstance(given, str | Entry):
                raise CollectionError(
                    f"{shown}: its column {names[column]!r} holds {type(given).__name__}, not paths or files; name the right "
                    "one with --path-column"
                )
            values = {names[i]: _plain(value) for i, value in enumerate(row) if i != column}
            yield given, values if label is None else values | {_LABEL_COLUMN: _plain(row[label])}


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
