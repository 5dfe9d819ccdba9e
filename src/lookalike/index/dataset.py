"""The Lance dataset of an index: opened once its files are those that the manifest names; errors of Lance and Arrow as ours."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lookalike.errors import IndexStoreError, LookalikeError, first_line
from lookalike.index.manifest import DATASET, OF_CONTENT, DamagedIndexError, Manifest, UnreadableIndexError
from lookalike.index.plain_files import open_plain, refuse_links
from lookalike.index.schema import FACTS

_END_BYTES = 1 << 16
_CACHE_BYTES = 2**25
_UNFIT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_TOO_NEW = re.compile(r"not supported|unsupported|feature flag|newer version|unknown version", re.IGNORECASE)


def open_dataset(path: Path, manifest: Manifest) -> Any:
    """Open the Lance dataset of an index, once its files are seen to be those that were written.

    Parameters
    ----------
    path : Path
        The index's folder.
    manifest : Manifest
        Which version, and what its files were.

    Returns
    -------
    lance.LanceDataset
        It stays at that version, whatever is written meanwhile.

    Raises
    ------
    IndexStoreError
        If it is damaged.
    """
    uri = lance_path(path, manifest.dataset)
    refuse_links(path / manifest.dataset)
    for name, written in manifest.files.items():
        try:
            end = end_of(path / manifest.dataset / name)
        except OSError as e:
            kind = DamagedIndexError if e.errno in OF_CONTENT else UnreadableIndexError
            raise kind(path, f"{manifest.dataset}/{name}: {e.strerror or e}") from e
        if end != written:
            what = "isn't what was written" if end[0] == written[0] else f"{end[0]:,} bytes, not {written[0]:,}"
            raise DamagedIndexError(path, f"{manifest.dataset}/{name} {what}")
    with reading(path, manifest):
        dataset = import_lance().dataset(
            uri,
            version=manifest.dataset_version,
            metadata_cache_size_bytes=_CACHE_BYTES,  # for as long as it is open, and its default is a gigabyte
            index_cache_size_bytes=0,
        )
        bases, names = dataset.base_paths(), set(dataset.schema.names)
    if bases:  # written by nobody of ours: it would make Lance read elsewhere, and ask other machines
        raise IndexStoreError(
            f"{path}: its dataset names files outside its folder, which lookalike never does; not opened"
        )
    if missing := [name for name in FACTS if name not in names]:
        raise DamagedIndexError(path, f"its rows lack {', '.join(missing)}: another version of lookalike wrote them")
    return dataset


def lance_path(path: Path, dataset: str = DATASET) -> str:
    """Say where a dataset lies, in a form that Lance takes for a path and for nothing else.

    Parameters
    ----------
    path : Path
        The index's folder.
    dataset : str
        The dataset's name in it.

    Returns
    -------
    str
        Absolute: of ``s3:``, ``a:b`` or ``~`` at the beginning Lance makes an address or the home folder.

    Raises
    ------
    UnreadableIndexError
        If it holds characters that Lance opens no file of: control characters, and bytes that are no UTF-8.
    """
    whole = os.path.abspath(path / dataset)
    if unfit := _UNFIT.search(whole):
        raise UnreadableIndexError(
            path,
            f"Lance opens no path with {unfit[0]!r} in it: rename that folder, or take another with -o or -i",
        )
    return whole


def end_of(file: Path) -> list[int]:
    """Return what a manifest says of a file: lengths that Lance goes by stand at its end, and a wrong one may be fatal.

    Parameters
    ----------
    file : Path
        Of the dataset.

    Returns
    -------
    list of int
        Its size in bytes, and the CRC-32 of its last 64 KiB.

    Raises
    ------
    OSError
        If it can't be read.
    """
    with open_plain(file) as f:
        size = f.seek(0, os.SEEK_END)
        f.seek(max(0, size - _END_BYTES))
        return [size, zlib.crc32(f.read())]


@contextmanager
def reading(path: Path, manifest: Manifest | None = None) -> Iterator[None]:
    """Turn what Lance and Arrow raise on reading an index into one error of ours.

    Parameters
    ----------
    path : Path
        The index's folder.
    manifest : Manifest, optional
        What is opened, where it is the opening that may fail.

    Raises
    ------
    IndexStoreError
        For errors of any kind, of which they have many; a panic in Rust isn't even an ``Exception``. It is an
        :class:`UnreadableIndexError` where the system refused, or a newer Lance wrote it: neither is damage.
    """
    try:
        yield
    except (LookalikeError, MemoryError):
        raise
    except BaseException as e:
        if not isinstance(e, Exception) and type(e).__name__ != "PanicException":
            raise
        number = _system_error(e)
        if number is not None and number not in OF_CONTENT:
            raise UnreadableIndexError(path, os.strerror(number)) from e
        newer = manifest is not None and _is_newer(manifest.versions.get("pylance", "0"))
        if newer or _TOO_NEW.search(str(e)):
            raise UnreadableIndexError(
                path, f"this pylance can't open it: {first_line(e)}; upgrade with: pip install --upgrade pylance"
            ) from e
        raise DamagedIndexError(path, first_line(e)) from e


def _system_error(error: BaseException | None) -> int | None:
    """Return the number of the system's error behind one of Lance's or Arrow's, which often stands only in its text."""
    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        if match := re.search(r"\(os error (\d+)\)", str(error)):
            return int(match[1])
        error, seen = error.__cause__ or error.__context__, seen + 1
    return None


def _is_newer(written: object) -> bool:
    from importlib.metadata import version

    def numbers(text: str) -> list[int]:
        return [int(n) for n in re.findall(r"\d+", text)[:3]]

    return numbers(str(written)) > numbers(version("pylance"))


def import_lance() -> Any:
    """Import Lance, which takes half a second.

    Returns
    -------
    module
    """
    import lance

    return lance
