"""An index -> one Parquet file, or an .npy of descriptors and a .csv of facts, row by row."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from lookalike.atomic import new_file
from lookalike.errors import IndexStoreError, UsageError
from lookalike.index.reader import IndexReader
from lookalike.index.schema import columns_in
from lookalike.outputs import check_outputs

_COLUMNS = tuple(column.name for column in columns_in("export"))


def export(index: IndexReader, path: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Write an index's descriptors and facts in the order of its rows, for other programs.

    Parameters
    ----------
    index : IndexReader
        What to write; its thumbnails and the files without a descriptor are left out.
    path : str or Path
        Ends in ``.parquet``: one file, with the descriptors as lists of float32. Ends in ``.npy``: the descriptors as
        float32 of shape (count, dimension), and beside it a ``.csv`` of the facts, one line a row, in UTF-8.
    overwrite : bool
        Whether files that lie there may be replaced; the list that the index was made of never is.

    Returns
    -------
    list of Path
        The files written, each whole or not at all.

    Raises
    ------
    UsageError
        If the ending is another, or a file exists and may not be replaced.
    IndexStoreError
        If the index is damaged, or the disk refuses.
    """
    path = Path(path)
    if path.suffix not in (".parquet", ".npy"):
        raise UsageError(f"{path}: expected a name that ends in .parquet, or in .npy (with a .csv beside it)")
    table = path.with_suffix(".csv")
    files = [path] if path.suffix == ".parquet" else [path, table]
    check_outputs(*files, overwrite=overwrite)
    source = Path(index.manifest.source)
    for file in files:
        if file.exists() and source.is_file() and file.samefile(source):
            raise UsageError(f"{file}: the index was made of that very file; pick another name")
    facts = index.facts(range(len(index)))
    try:
        if path.suffix == ".parquet":
            _write_parquet(index, facts, path, overwrite)
            return files
        with new_file(path, overwrite=overwrite) as f:
            np.save(f, index.descriptors)
        text = io.StringIO(newline="")
        rows = csv.writer(text)
        rows.writerow(_COLUMNS)
        rows.writerows([_as_cell(fact[name]) for name in _COLUMNS] for fact in facts)
        with new_file(table, overwrite=overwrite) as f:
            f.write(text.getvalue().encode())
    except OSError as e:
        raise IndexStoreError(f"{path}: can't be written: {e.strerror or e}; free space or pick another folder") from e
    return files


def _write_parquet(index: IndexReader, facts: list[dict[str, Any]], path: Path, overwrite: bool) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: pa.array([_as_cell(fact[name]) for fact in facts]) for name in _COLUMNS}
    flat = pa.array(index.descriptors.reshape(-1))
    columns[index.manifest.view.column] = pa.FixedSizeListArray.from_arrays(flat, index.manifest.dimension)
    with new_file(path, overwrite=overwrite) as f:
        pq.write_table(pa.table(columns), f)


def _as_cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
