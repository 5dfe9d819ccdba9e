"""PNG, where Pillow isn't right: a colour that is transparent, in other depths than 8 bits."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from lookalike.imaging.formats import PNG_SIGNATURE, UnreadKindError, pillow

if TYPE_CHECKING:
    from PIL.Image import Image

_RGB = 2
_DEPTHS = {0: (1, 2, 4, 8, 16), _RGB: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # Adam7


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Go through the chunks of a PNG.

    Parameters
    ----------
    data : bytes
        The file.

    Yields
    ------
    (bytes, int, int)
        Each chunk's kind, its beginning, and its end, which is beyond the data where they are cut.
    """
    place, kind = len(PNG_SIGNATURE), b""
    while place + 8 <= len(data) and kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, place)
        yield kind, place, place + 12 + length
        place += 12 + length


def png_file(width: int, height: int, colour: int, rows: bytes | memoryview, interlaced: int = 0) -> bytes:
    """Write a PNG of 8 bits a sample after the W3C's recommendation: signature, header, one IDAT, end.

    Parameters
    ----------
    width, height : int
        In pixels.
    colour : int
        Its type of colour: 0 for grey, 2 for RGB.
    rows : bytes or memoryview
        Each begins with the number of its filter.
    interlaced : int
        Its order of rows.

    Returns
    -------
    bytes
        The file.
    """
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, interlaced)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def refuse_unread_kinds(head: bytes) -> None:
    """Refuse a PNG of a kind that isn't read, if its header is sound.

    Parameters
    ----------
    head : bytes
        The file's first 33 bytes, or more.

    Raises
    ------
    UnreadKindError
        If it is Apple's own form, or of a depth, a type of colour or an order of rows that the standard doesn't have.
    """
    if head[12:16] == b"CgBI":
        raise UnreadKindError("Apple's own form, as apps for iPhones hold it")
    bits, colour, interlaced = head[24], head[25], head[28]
    known = bits in _DEPTHS.get(colour, ()) and interlaced <= 1
    if not known and zlib.crc32(head[12:29]) == int.from_bytes(head[29:33], "big"):
        raise UnreadKindError(f"{bits} bits of colour type {colour}, interlace method {interlaced}")


def note_transparency(image: Image, head: bytes) -> None:
    """Bring what a PNG says of the one colour that is transparent to the values that Pillow gives its pixels.

    Parameters
    ----------
    image : PIL.Image.Image
        As opened from the file; its ``info`` is changed.
    head : bytes
        The file's first 26 bytes, or more.
    """
    depth, kind = head[24], head[25]
    if kind == 4:  # grey with transparency, which Pillow makes RGBA of where it has 16 bits
        image.info["grey"] = True
    clear = image.info.get("transparency")
    if isinstance(clear, int) and kind == 0 and depth < 16:
        most = (1 << depth) - 1
        image.info["transparency"] = (clear & most) * 255 // most
    elif isinstance(clear, tuple) and kind == _RGB:
        if depth == 16:  # Pillow keeps the upper bytes alone, which don't tell
            image.info["clear in 16 bits"] = image.info.pop("transparency")
        else:
            image.info["transparency"] = tuple(value & 0xFF for value in clear)


def note_what_is_seen(image: Image, data: bytes) -> None:
    """Find what is transparent in a PNG of 16-bit colours: a mask is put into its ``info``, as ``seen``.

    Parameters
    ----------
    image : PIL.Image.Image
        As loaded, after :func:`note_transparency`.
    data : bytes
        The file.
    """
    clear = image.info.pop("clear in 16 bits", None)
    if clear is None or image.mode != "RGB":
        return
    high, low = _halves(data)
    seen = np.zeros(high.shape[:2], bool)
    for channel, value in enumerate(clear):
        seen |= (high[..., channel] != value >> 8) | (low[..., channel] != value & 0xFF)
    image.info["seen"] = pillow().fromarray(seen.astype(np.uint8) * np.uint8(255))


def _halves(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Decode the upper and the lower bytes of 16-bit colours, each as a PNG of 8 bits.

    A row's filter takes a byte together with the one six before it, so each of the six goes its own way: a file with
    every other byte and the same filters is a PNG, too.
    """
    width, height, interlaced = *struct.unpack_from(">II", data, 16), data[28]
    packed = b"".join(data[start + 8 : end - 4] for kind, start, end in png_chunks(data) if kind == b"IDAT")
    sizes = [
        (-(-(width - left) // across), -(-(height - top) // down))
        for left, top, across, down in (_PASSES if interlaced else ((0, 0, 1, 1),))
    ]
    sizes = [(w, h) for w, h in sizes if w > 0 and h > 0]
    rows = np.frombuffer(zlib.decompressobj().decompress(packed, sum(h * (1 + 6 * w) for w, h in sizes)), np.uint8)
    parts: tuple[list[bytes], list[bytes]] = ([], [])
    for w, h in sizes:
        table, rows = rows[: h * (1 + 6 * w)].reshape(h, 1 + 6 * w), rows[h * (1 + 6 * w) :]
        for half, part in enumerate(parts):
            part.append(np.concatenate([table[:, :1], table[:, 1 + half :: 2]], axis=1).tobytes())
    files = (png_file(width, height, _RGB, b"".join(part), interlaced) for part in parts)
    return tuple(np.asarray(pillow().open(io.BytesIO(file), formats=["PNG"])) for file in files)  # type: ignore[return-value]
