"""A list of paths, as text, CSV or Parquet -> entries, with what its other columns say of each file."""

from __future__ import annotations

import csv
import datetime
import io
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lookalike.errors import CollectionError, first_line
from lookalike.folder import Entry, as_text, file_entry

#: The endings by which a list is told.
ENDINGS = (".txt", ".csv", ".parquet")

_PATH_COLUMNS = ("path", "file", "filename", "image")
_LABEL_COLUMN = "label"


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


def read_list(path: str | Path) -> list[Entry]:
    """Read a list of image files.

    Parameters
    ----------
    path : str or Path
        A text file with a path a line; a CSV file with a header; or a Parquet file. Of the columns the one called
        ``path``, ``file``, ``filename`` or ``image`` holds the paths, else the first; ``label`` the labels; all others
        are metadata. A CSV file whose first line already begins with the path of a file has no header, and its columns
        are called ``column 2``, ``column 3``, ... Relative paths are relative to the list's folder.

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
        rows = list(_ROWS[path.suffix.lower()](path))
    except CollectionError:
        raise
    except Exception as e:  # csv and pyarrow raise many kinds on damaged files
        reason = getattr(e, "strerror", None) or first_line(e)
        raise CollectionError(f"{name}: not a list that can be read: {reason}; save it again") from e
    entries: dict[str, Entry] = {}
    for given, metadata in rows:
        full = os.path.normpath(os.path.join(folder, given))
        inside = full.startswith(os.path.join(folder, ""))
        identity = as_text((os.path.relpath(full, folder) if inside else full).replace(os.sep, "/"))
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
            "relative paths begin at the list's folder"
        )
    return list(entries.values())


def _text_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for line in path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        given = os.fsdecode(line.removesuffix(b"\r"))
        if given.strip():
            yield given, {}


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = next(reader, [])
    column, found = _path_column(header)
    if not found and header and (path.parent / header[0]).is_file():
        yield header[0], dict(zip(_numbered(len(header)), map(as_text, header[1:]), strict=True))
        header = ["", *_numbered(len(header))]
    for row in reader:
        if len(row) > len(header):
            raise CollectionError(
                f"{as_text(str(path))}: {len(row)} fields in line {reader.line_num:,}, but {len(header)} in its header; "
                "put quotes around commas"
            )
        if row and row[column : column + 1] not in ([], [""]):
            texts = {header[i]: as_text(field) for i, field in enumerate(row) if i != column}
            yield row[column], texts


def _numbered(count: int) -> list[str]:
    return [f"column {i}" for i in range(2, count + 1)]


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(path)
    names = file.schema_arrow.names
    column, _ = _path_column(names)
    for batch in file.iter_batches():
        columns = [values.to_pylist() for values in batch.columns]
        for row in zip(*columns, strict=True):
            given = row[column]
            if given is None or given == "":
                continue
            if not isinstance(given, str):
                raise CollectionError(
                    f"{as_text(str(path))}: its column {names[column]!r} holds {type(given).__name__}, not paths; "
                    f"call the column of the paths 'path'"
                )
            yield given, {names[i]: _plain(value) for i, value in enumerate(row) if i != column}


_ROWS = {".txt": _text_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}


def _path_column(header: list[str]) -> tuple[int, bool]:
    """Return where the paths are, and whether the header says so."""
    lower = [name.strip().lower() for name in header]
    place = next((lower.index(name) for name in _PATH_COLUMNS if name in lower), None)
    return place or 0, place is not None


def _plain(value: Any) -> Any:
    """Bring a value to what JSON holds."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value.isoformat() if isinstance(value, (datetime.date, datetime.time)) else str(value)
