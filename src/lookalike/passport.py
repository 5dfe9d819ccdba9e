"""What an index was made of, and the checks that tell whether what is read is what was written."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import IndexStoreError, LookalikeError

FORMAT = 1
#: The index folder's one Lance dataset.
DATASET = "images.lance"
#: Keys of the schema's metadata: the passport as JSON, and the CRC-32 of that JSON in decimal.
PASSPORT, PASSPORT_CRC = b"lookalike.passport", b"lookalike.passport.crc32"


class DamagedIndexError(IndexStoreError):
    """What is stored isn't what was written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: the index is damaged ({reason}); make it again with: lookalike index ... -o {path}")


@dataclass(frozen=True)
class Passport:
    """What an index was made of; a query or an encoder that doesn't fit is refused by it.

    Attributes
    ----------
    format : int
        Of the index itself; a newer one is refused.
    collection : str
        The collection's name.
    encoder : str
        The encoder's name, and that of the descriptors' column.
    params : dict
        The encoder's parameters.
    fingerprint : str
        Of the encoder and its weights.
    distance : str
        The encoder's own distance.
    dimension : int
        Length of a descriptor.
    shape : list of int
        Shape of the images the encoder was given.
    resized : bool
        Whether images of other sizes were brought to that shape.
    count : int
        Images with a descriptor.
    failed : int
        Images without.
    versions : dict
        Of lookalike, pylance and numpy.
    """

    format: int
    collection: str
    encoder: str
    params: dict[str, Any]
    fingerprint: str
    distance: str
    dimension: int
    shape: list[int]
    resized: bool
    count: int
    failed: int
    versions: dict[str, str]

    @property
    def encoder_folder(self) -> str:
        """Name of the folder, in the index's own, that holds the encoder."""
        return encoder_folder(self.fingerprint)

    def to_metadata(self) -> dict[bytes, bytes]:
        """Return the metadata of the dataset's schema."""
        stated = json.dumps(asdict(self)).encode()
        return {PASSPORT: stated, PASSPORT_CRC: str(zlib.crc32(stated)).encode()}


def open_dataset(path: Path, version: int | None = None) -> Any:
    """Open the Lance dataset of an index.

    Parameters
    ----------
    path : Path
        The index's folder.
    version : int, optional
        By default the newest.

    Returns
    -------
    lance.LanceDataset
        It stays at that version, whatever is written meanwhile.

    Raises
    ------
    IndexStoreError
        If there is none, or it is damaged.
    """
    if not any((path / DATASET / "_versions").glob("*.manifest")):
        what = "is not an index" if path.exists() else "does not exist"
        raise IndexStoreError(f"{path}: {what}; make an index with: lookalike index COLLECTION -o {path}")
    with reading(path):
        return import_lance().dataset(str(path / DATASET), version=version)


def read_passport(path: Path, dataset: Any) -> Passport:
    """Read the passport of an opened dataset, and check that it and the dataset agree.

    Parameters
    ----------
    path : Path
        The index's folder.
    dataset : lance.LanceDataset
        What :func:`open_dataset` returned.

    Returns
    -------
    Passport
        Its own.

    Raises
    ------
    IndexStoreError
        If it has none, a newer version wrote it, or it is damaged.
    """
    with reading(path):
        metadata = dataset.schema.metadata or {}
    if PASSPORT not in metadata:
        raise IndexStoreError(f"{path}: its dataset has no passport, so lookalike didn't make it; pick another folder")
    with reading(path):
        stated = json.loads(metadata[PASSPORT])
        if stated["format"] > FORMAT:
            raise IndexStoreError(
                f"{path}: an index of format {stated['format']}, this version reads up to {FORMAT}; upgrade lookalike"
            )
        if int(metadata[PASSPORT_CRC]) != zlib.crc32(metadata[PASSPORT]):
            raise DamagedIndexError(path, "its passport was changed")
        passport = Passport(**{f.name: stated[f.name] for f in fields(Passport)})
        width = dataset.schema.field(passport.encoder).type.list_size
        rows = dataset.count_rows()
    if (rows, width) != (passport.count + passport.failed, passport.dimension):
        raise DamagedIndexError(path, "its passport and its rows disagree")
    return passport


def facts_crc32(identity: str, position: int, label: str | None) -> int:
    r"""Return the check stored beside the facts of an image, since Lance doesn't notice a changed byte.

    Parameters
    ----------
    identity : str
        Column ``id``.
    position : int
        Column ``position``.
    label : str or None
        Column ``label``; None counts as empty.

    Returns
    -------
    int
        CRC-32 (ISO 3309, as in gzip) of the three, separated by a NUL byte, in UTF-8.

    Examples
    --------
    >>> facts_crc32("cats/tom.jpg", 7, "cats") == zlib.crc32(b"cats/tom.jpg\0007\000cats")
    True
    """
    return zlib.crc32(f"{identity}\0{position}\0{label or ''}".encode())


def descriptor_crc32(descriptors: NDArray[np.float32]) -> list[int]:
    """Return the check stored beside each descriptor.

    Parameters
    ----------
    descriptors : ndarray of float32, shape (n, d)
        C-contiguous.

    Returns
    -------
    list of int
        CRC-32 of each row's bytes, little-endian as Arrow stores them.

    Examples
    --------
    >>> descriptor_crc32(np.array([[1, 2]], "<f4")) == [zlib.crc32(np.array([1, 2], "<f4").tobytes())]
    True
    """
    if not descriptors.size:
        return []
    data, size = descriptors.data.cast("B"), descriptors[0].nbytes
    return [zlib.crc32(data[start : start + size]) for start in range(0, len(data), size)]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what Lance and Arrow raise on reading an index into one error of ours.

    Parameters
    ----------
    path : Path
        The index's folder.

    Raises
    ------
    IndexStoreError
        For errors of any kind, of which they have many; a panic in Rust isn't even an ``Exception``.
    """
    try:
        yield
    except (LookalikeError, MemoryError):
        raise
    except BaseException as e:
        if not isinstance(e, Exception) and type(e).__name__ != "PanicException":
            raise
        raise DamagedIndexError(path, first_line(e)) from e


def first_line(error: BaseException) -> str:
    """Return what an error says, on one line and without the place in Lance's own source.

    Parameters
    ----------
    error : BaseException
        Of Lance, Arrow or the system.

    Returns
    -------
    str
        At most 200 characters.

    Examples
    --------
    >>> first_line(OSError("disk full, /home/runner/lance/io.rs:10:3"))
    'disk full'
    """
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line.split(", location: ")[0].split(", /home/runner")[0][:200]


def encoder_folder(fingerprint: str) -> str:
    """Return the name of the folder, in the index's own, that holds an encoder.

    Parameters
    ----------
    fingerprint : str
        The encoder's.

    Returns
    -------
    str
        Such as ``encoder-5f0c2a…``.
    """
    return f"encoder-{fingerprint}"


def import_lance() -> Any:
    """Import Lance, which takes half a second, and keep its notes to itself.

    Returns
    -------
    module
    """
    os.environ.setdefault("LANCE_LOG", "error")  # its notes on new datasets are not for our users
    os.environ.setdefault("RUST_BACKTRACE", "0")
    import lance
    import lance.fragment

    return lance
