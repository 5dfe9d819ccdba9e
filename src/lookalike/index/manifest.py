"""What an index was made of, and which version of its rows counts.

The manifest is one small file. Replacing it is the one step by which anything written to an index becomes visible.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import zlib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from lookalike.atomic import claimed, replace_file
from lookalike.encoders.onnx.known_models import title_of
from lookalike.errors import IndexStoreError, LookalikeError, first_line
from lookalike.index.plain_files import open_plain, refuse_links

FORMAT = 2
#: The index folder's one Lance dataset, its manifest, and the manifest of the last complete run before.
DATASET, MANIFEST, PREVIOUS = "images.lance", "manifest.json", "previous.json"
#: What the manifest of format 1 was called. Such an index is recognised, refused and left as it is.
OLDER_MANIFEST = "passport.json"
#: The manifest of what is built beside a damaged index; it takes the other's place when it is complete.
REBUILDING = "rebuilding.json"

#: What a dataset may be called: the second form is of one that was built beside a damaged one.
DATASET_NAME = re.compile(r"images(-[0-9a-f]{8})?\.lance")
#: System errors that do speak of what is stored, and not of the disk, the rights or the moment.
OF_CONTENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EOVERFLOW})


class DamagedIndexError(IndexStoreError):
    """What is stored isn't what was written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path}: the index is damaged ({reason}); make it again with: "
            + shlex.join(["lookalike", "index", "COLLECTION", "--rebuild", "-o", str(path)])
        )


class UnreadableIndexError(IndexStoreError):
    """What is stored can't be read now, which says nothing of what it is worth."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path}: the index can't be read now ({reason}); nothing was changed: see to that, then run the same "
            "command again"
        )


@dataclass(frozen=True)
class Column:
    """An encoder whose descriptors an index holds.

    Attributes
    ----------
    column : str
        The descriptors' column in the dataset.
    encoder : str
        The encoder's name.
    params : dict
        The encoder's parameters.
    fingerprint : str
        Of the encoder and its weights.
    distance : str
        The encoder's own distance.
    dimension : int
        Length of a descriptor; of packed codes, in bytes.
    dtype : str
        ``float32``, or ``uint8`` for packed codes.
    post : str or None
        The post-processing: the default one, or what ``adapt`` chose, ``unchanged`` where none helped; None for none.
    shape : list of int
        Shape of the images the encoder was given.
    resized : bool
        Whether images of other sizes were brought to that shape.
    count : int
        Images with a descriptor.
    complete : bool
        Whether every image has been through this encoder; before that it answers nothing.
    learnt_from : int or None
        Images that there were when the default post-processing was learnt, 0 before. None where none is to be.
    provider : str or None
        What computed the newest descriptors: ``cpu``, ``cuda``, ``coreml``; None where no ONNX model made them.
    aim : str or None
        What encoder or post-processing were chosen for without labels; None where nothing was.
    verdict : str or None
        Why, and how far to trust it, in a sentence.
    """

    column: str
    encoder: str
    params: dict[str, Any]
    fingerprint: str
    distance: str
    dimension: int
    dtype: str
    post: str | None
    shape: list[int]
    resized: bool
    count: int = 0
    complete: bool = False
    learnt_from: int | None = None
    provider: str | None = None
    aim: str | None = None
    verdict: str | None = None

    @property
    def title(self) -> str:
        """What it is asked for by: the encoder's name, or that of the well-known model that it runs."""
        return title_of(self.encoder, self.params)

    @property
    def encoder_folder(self) -> str:
        """Name of the folder, in the index's own, that holds the encoder."""
        return f"encoder-{self.fingerprint}"


@dataclass(frozen=True)
class Manifest:
    """What an index was made of; a query or an encoder that doesn't fit is refused by it.

    Attributes
    ----------
    format : int
        Of the index itself; a newer one is refused.
    collection : str
        The collection's name.
    source : str
        What tells one collection from another: an absolute path or a built-in name; ``array`` for one in memory.
    reading : dict
        How files are read: patterns, frames, limits. The next run reads in the same way unless options say otherwise.
    columns : list of Column
        The encoders, the oldest first.
    default : str
        The column that answers unless another is asked for.
    dataset_version : int
        The version of the Lance dataset that this manifest speaks of.
    files : dict
        Each file of that version, by its path in the dataset: its size, and the CRC-32 of its end.
    rows : int
        Rows in that version: images, and files that couldn't be used.
    next_key : int
        The key that the next row will get.
    keys_crc32 : int
        CRC-32 of all keys, sorted, as little-endian int64: no row can vanish or come back unnoticed.
    outcomes : dict
        Outcome -> number of files.
    complete : bool
        Whether the run that wrote it had ended.
    written : str
        When, ISO 8601, UTC.
    versions : dict
        Of lookalike, pylance and numpy.
    dataset : str
        The folder of the Lance dataset, in the index's own.
    place : str or None
        Where in the collection's folder the index lay, with ``/``, so that both can be moved; empty where it lay
        elsewhere, None where an older version didn't say.
    mounts : list of str
        Folders of the collection, relative to it, that lay on another disk than the folder around them ("" is all of
        it; behind a link they end in ``/``): where they don't now, what the index knows of them can't be seen.
    listed : float
        When the collection was last listed, in seconds since 1970: a folder that is empty and older lost nothing since.
    """

    format: int
    collection: str
    source: str
    reading: dict[str, Any]
    columns: list[Column]
    default: str
    dataset_version: int
    files: dict[str, list[int]]
    rows: int
    next_key: int
    keys_crc32: int
    outcomes: dict[str, int]
    complete: bool
    written: str
    versions: dict[str, str]
    dataset: str = DATASET
    place: str | None = None
    mounts: list[str] = field(default_factory=list)
    listed: float = field(default=0.0, compare=False)
    chosen: str = field(default="", compare=False)  # the column looked at; not stored

    @property
    def view(self) -> Column:
        """The encoder looked through: the chosen one, or the default."""
        return self.column(self.chosen or self.default)

    @property
    def encoder(self) -> str:
        """Name of the encoder looked through."""
        return self.view.encoder

    @property
    def fingerprint(self) -> str:
        """Its fingerprint."""
        return self.view.fingerprint

    @property
    def distance(self) -> str:
        """Its own distance."""
        return self.view.distance

    @property
    def dimension(self) -> int:
        """Length of its descriptors."""
        return self.view.dimension

    @property
    def shape(self) -> list[int]:
        """Shape of the images it takes."""
        return self.view.shape

    @property
    def count(self) -> int:
        """Images with a descriptor of it."""
        return self.view.count

    @property
    def failed(self) -> int:
        """Files without one."""
        return self.rows - self.outcomes.get("caption", 0) - self.count

    def column(self, name: str) -> Column:
        """Return one of the columns by its name in the dataset."""
        return next(c for c in self.columns if c.column == name)

    def with_encoder(self, encoder: str, path: Path) -> Manifest:
        """Return the manifest as seen through one of its encoders.

        Parameters
        ----------
        encoder : str
            Its name, or the column's.
        path : Path
            The index's folder, to be named in an error.

        Returns
        -------
        Manifest
            The same, looked at through that encoder.

        Raises
        ------
        IndexStoreError
            If the index doesn't hold it, or it isn't complete.
        """
        columns = [c for c in self.columns if encoder in (c.column, c.title)]
        if not columns:
            held = ", ".join(f"{c.title} ({c.fingerprint})" for c in self.columns if c.complete)
            raise IndexStoreError(
                f"{path}: made by the encoder {held}, not by {encoder}; their descriptors can't be compared. "
                f"Leave out --encoder, or add it: "
                + shlex.join(["lookalike", "index", self.collection, "-o", str(path), "--encoder", encoder])
            )
        best = next((c for c in columns if c.complete), None)
        if best is None:
            done = columns[0].count
            raise IndexStoreError(
                f"{path}: the encoder {encoder} has seen {done:,} of {self.rows:,} images so far; run the same "
                f"command again to complete it: lookalike index {self.collection} -o {path} --encoder ..."
            )
        return replace(self, chosen=best.column)

    def to_json(self) -> dict[str, Any]:
        """Return what is stored."""
        stated = asdict(self)
        del stated["chosen"]
        return stated


def write_manifest(path: Path, manifest: Manifest, name: str = MANIFEST) -> None:
    """Put a manifest in an index's folder, whole or not at all.

    Parameters
    ----------
    path : Path
        The index's folder.
    manifest : Manifest
        What to write.
    name : str
        The file: ``manifest.json`` or ``previous.json``.

    Raises
    ------
    OSError
        If the disk refuses.
    """
    stated = manifest.to_json()
    with replace_file(path / name, late=True) as f:
        f.write(json.dumps({"crc32": _json_crc32(stated), "manifest": stated}, indent=1).encode() + b"\n")


def read_manifest(path: Path, name: str = MANIFEST) -> Manifest:
    """Read a manifest of an index, and check it.

    Parameters
    ----------
    path : Path
        The index's folder.
    name : str
        The file: ``manifest.json`` or ``previous.json``.

    Returns
    -------
    Manifest
        Looking through its default encoder.

    Raises
    ------
    IndexStoreError
        If there is none, a newer version wrote it, or it is damaged.
    """
    file = path / name
    try:
        refuse_links(path)
        held = None
        if file.is_file():
            with open_plain(file) as f:
                held = f.read()
        elif name == MANIFEST and MANIFEST in claimed(path):  # it was there once
            raise DamagedIndexError(path, f"its {MANIFEST} is gone")
    except OSError as e:
        raise UnreadableIndexError(path, f"{e.filename or file}: {e.strerror or e}") from e
    if held is None:
        refuse_older(path)
        if (path / DATASET).is_dir():
            what = "holds an index that was begun and has no manifest"
        else:
            what = "is not an index" if path.exists() else "does not exist"
        raise IndexStoreError(f"{path}: {what}; make an index with: lookalike index COLLECTION -o {path}")
    try:
        read = json.loads(held)
        stated = read["manifest"]
        if read["crc32"] != _json_crc32(stated):
            raise DamagedIndexError(path, f"its {name} was changed")
        if stated["format"] > FORMAT:
            raise IndexStoreError(
                f"{path}: an index of format {stated['format']}, this version reads up to {FORMAT}; upgrade lookalike"
            )
        known = {f.name: stated[f.name] for f in fields(Manifest) if f.name in stated}  # older indexes lack some
        manifest = Manifest(**known | {"columns": [Column(**c) for c in known["columns"]]})
        _check_types(manifest)
        return manifest
    except (LookalikeError, MemoryError):
        raise
    except Exception as e:  # a changed byte makes many kinds
        raise DamagedIndexError(path, f"its {name} can't be understood: {first_line(e)}") from e


def refuse_older(path: Path) -> None:
    """Raise where the index of an older version lies: nothing of it is read, swept or built upon.

    Parameters
    ----------
    path : Path
        The index's folder.

    Raises
    ------
    IndexStoreError
        If a manifest of format 1 lies there and none of this format.
    """
    if os.path.lexists(path / OLDER_MANIFEST) and not os.path.lexists(path / MANIFEST):
        raise IndexStoreError(
            f"{path}: an index of format 1 ({OLDER_MANIFEST}), this version reads format {FORMAT}; "
            "index again into a new folder: lookalike index COLLECTION -o NEW"
        )


def _check_types(manifest: Manifest) -> None:
    """Refuse what no writer of ours writes: an index may come from a stranger, with a right check over wrong values.

    Raises
    ------
    ValueError
        If a value is of another type than the one that it is declared with, or a name leads out of the folder.
    """
    items: list[Manifest | Column] = [manifest, *manifest.columns]
    for item in items:
        for f in fields(item):
            value, wanted = getattr(item, f.name), str(f.type)
            kinds = tuple(kind for name, kind in _TYPES.items() if re.match(rf"{name}\b", wanted))
            right = isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds)
            if not right and not (value is None and "None" in wanted):
                raise ValueError(f"{f.name} is {type(value).__name__}, not {wanted}")
    if not DATASET_NAME.fullmatch(manifest.dataset):
        raise ValueError(f"{manifest.dataset!r} is no name of a dataset")
    names = [c.column for c in manifest.columns]
    if manifest.default not in names or len(set(names)) < len(names):
        raise ValueError("its columns aren't those that it answers with")
    for column in manifest.columns:
        if not re.fullmatch(r"[0-9a-f]{1,64}", column.fingerprint) or not all(type(n) is int for n in column.shape):
            raise ValueError(f"{column.column!r} isn't a column of ours")
    inner = [*manifest.files, *names]
    for name in inner:
        if name.startswith("/") or "\\" in name or {"", ".", ".."}.intersection(name.split("/")):
            raise ValueError(f"{name!r} leads out of the index")
    for size, check in manifest.files.values():
        if type(size) is not int or type(check) is not int:
            raise ValueError("a file's size is no number")


_TYPES: dict[str, Any] = {"str": str, "int": int, "float": (int, float), "bool": bool, "dict": dict, "list": list}


def _json_crc32(value: object) -> int:
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())
