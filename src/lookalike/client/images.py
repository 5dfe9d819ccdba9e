"""Images of this machine <-> what a query's JSON and a server's answers hold of them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from lookalike.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: A query image: a file here, ``mnist:test[7]``, an array (h, w) or (h, w, 3); or as a query's JSON has it, such as
#: ``{"id": "cats/tom.jpg"}`` for one of the server's.
Image: TypeAlias = Union[str, Path, "NDArray[np.generic]", Mapping[str, Any]]


def image_entry(image: Image) -> dict[str, Any]:
    """Return an image as a query's JSON has it.

    Parameters
    ----------
    image : str, Path, ndarray or mapping
        See :data:`Image`.

    Returns
    -------
    dict
        Of a local file its bytes, in base64.
    """
    if not isinstance(image, Mapping):
        return {"data": b64encode(file_of(image)).decode("ascii")}
    entry = dict(image)
    if "path" in entry:
        entry["data"] = b64encode(file_of(entry.pop("path"))).decode("ascii")
    return entry


def pixels_of(file: bytes) -> NDArray[np.uint8]:
    """Decode an image that the server sent.

    Parameters
    ----------
    file : bytes
        An image file.

    Returns
    -------
    ndarray of uint8, shape (h, w) or (h, w, 3)
    """
    from lookalike.imaging.decode import decode

    return decode(file, "what the server sent")


def file_of(image: str | Path | NDArray[np.generic]) -> bytes:
    """Return an image as the bytes of a file.

    Parameters
    ----------
    image : str, Path or ndarray
        A file here, what :func:`lookalike.open_collection` opens as one image, or an array.

    Returns
    -------
    bytes
        The file as it is; of anything else a PNG.

    Raises
    ------
    UsageError
        If it is not exactly one image.
    """
    from lookalike.collections.open import open_collection
    from lookalike.imaging.encode import to_png

    if isinstance(image, str | Path) and Path(image).is_file():
        return Path(image).read_bytes()
    collection = open_collection(image)
    if len(collection) != 1:
        raise UsageError(f"one query image expected, {len(collection)} given")
    return to_png(collection.read(0))
