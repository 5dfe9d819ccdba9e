"""A packed strip or tile of a TIFF -> its bytes."""

from __future__ import annotations

import io
import lzma
import struct
import zlib

from PIL.TiffImagePlugin import TiffImageFile

from lookalike.imaging.formats import pillow
from lookalike.imaging.tiff_tags import Compression, Photometric, Tag

#: Compressions that are unpacked to bytes.
STREAMS = frozenset(Compression)


def unpacked_chunk(packed: bytes, compression: int, row_bytes: int, rows: int) -> bytes:
    """Unpack a strip or a tile, no further than its rows.

    Parameters
    ----------
    packed : bytes
        As it lies in the file.
    compression : int
        One of :data:`STREAMS`.
    row_bytes, rows : int
        Length of an unpacked row, and how many there are.

    Returns
    -------
    bytes
    """
    size = row_bytes * rows
    if compression == Compression.NONE:
        return packed
    if compression in (Compression.DEFLATE, Compression.OLD_DEFLATE):
        return zlib.decompressobj().decompress(packed, size)
    if compression == Compression.LZMA:
        return lzma.LZMADecompressor().decompress(packed, size)
    if compression == Compression.WEBP:  # which the libtiff within Pillow doesn't read
        picture = pillow().open(io.BytesIO(packed), formats=["WEBP"])
        return bytes(picture.convert("RGBA" if picture.width * 4 == row_bytes else "RGB").tobytes())
    # The others libtiff unpacks: a picture of one sample of 8 bits gives the bytes as they are.
    tags = (
        (Tag.WIDTH, row_bytes), (Tag.HEIGHT, rows), (Tag.BITS, 8), (Tag.COMPRESSION, compression), (Tag.PHOTOMETRIC, Photometric.BLACK_IS_ZERO),
        (Tag.OFFSETS, 8 + 2 + 12 * 9 + 4), (Tag.SAMPLES, 1), (Tag.ROWS, rows), (Tag.COUNTS, len(packed)),
    )  # fmt: skip
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    file = struct.pack("<4sIH", b"II*\0", 8, len(tags)) + table + bytes(4) + packed
    image = TiffImageFile(io.BytesIO(file), "")
    image.load()
    return image.tobytes()
