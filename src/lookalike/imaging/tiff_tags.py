"""The directories of a TIFF file: its tags, where its strips and tiles lie, and the same file with fewer of them."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Literal, NamedTuple

import numpy as np


class Photometric(IntEnum):
    """Colours of a page, by their numbers in the tag ``PHOTOMETRIC``."""

    WHITE_IS_ZERO = 0
    BLACK_IS_ZERO = 1
    RGB = 2
    PALETTE = 3
    CMYK = 5
    YCBCR = 6
    LAB = 8
    ICC_LAB = 9


class Compression(IntEnum):
    """Compressions that are unpacked to bytes here, by their numbers in the tag ``COMPRESSION``."""

    NONE = 1
    LZW = 5
    DEFLATE = 8
    PACKBITS = 32773
    OLD_DEFLATE = 32946
    LZMA = 34925
    ZSTD = 50000
    WEBP = 50001


#: Those that are L*a*b*.
LAB = (Photometric.LAB, Photometric.ICC_LAB)


class Tag(IntEnum):
    """The tags that are looked at, by what they hold."""

    SUBFILE = 254
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL = 266
    MAKER = 271
    OFFSETS = 273
    ORIENTATION = 274
    SAMPLES = 277
    ROWS = 278
    COUNTS = 279
    PLANAR = 284
    PREDICTOR = 317
    COLOURS = 320
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_COUNTS = 325
    SUBDIRECTORIES = 330
    INKS = 332
    EXTRA = 338
    FORMAT = 339
    COEFFICIENTS = 529
    SUBSAMPLING = 530
    REFERENCE = 532
    PROFILE = 34675
    DNG = 50706


# What makes the picture, and turns and colours it; JPEG's tables among it.
_OF_THE_PICTURE = frozenset((
    Tag.WIDTH, Tag.HEIGHT, Tag.BITS, Tag.COMPRESSION, Tag.PHOTOMETRIC, Tag.FILL, Tag.OFFSETS, Tag.ORIENTATION, Tag.SAMPLES, Tag.ROWS, Tag.COUNTS, Tag.PLANAR,
    Tag.PREDICTOR, Tag.COLOURS, Tag.TILE_WIDTH, Tag.TILE_HEIGHT, Tag.TILE_OFFSETS, Tag.TILE_COUNTS, Tag.INKS, Tag.EXTRA, Tag.FORMAT,
    Tag.COEFFICIENTS, Tag.SUBSAMPLING, 531, Tag.REFERENCE, 292, 293, 347, *range(512, 522),
))  # fmt: skip
_OF_RAW_PHOTOS = frozenset((Tag.SUBFILE, Tag.SUBDIRECTORIES, Tag.MAKER, Tag.DNG))

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


class Entry(NamedTuple):
    """One tag of a directory.

    Attributes
    ----------
    kind, n : int
        TIFF's number of its type, and how many values it has.
    value : bytes
        They, in the file's order of bytes.
    """

    kind: int
    n: int
    value: bytes


class Directories:
    """A file's directories, read without a library: both sizes of offsets, both orders of bytes.

    Parameters
    ----------
    data : bytes
        The file.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.order: Literal["little", "big"] = "little" if data[:1] == b"I" else "big"
        self.large = 43 in data[2:4]

    def number(self, place: int, length: int) -> int:
        """Return the whole number of so many bytes at a place; EOFError beyond the end."""
        if place + length > len(self.data):
            raise EOFError
        return int.from_bytes(self.data[place : place + length], self.order)

    def pages(self) -> Iterator[dict[int, Entry]]:
        """Yield the tags of each page's directory; EOFError where one, or what makes its picture, lies beyond the end."""
        place, seen = self.number(8, 8) if self.large else self.number(4, 4), set[int]()
        while place and place not in seen:
            seen.add(place)
            tags, place = self.at(place)
            yield tags

    def at(self, place: int) -> tuple[dict[int, Entry], int]:
        """Return the tags of the directory at a place, and the place of the next.

        Parameters
        ----------
        place : int
            As a directory before, or the header, says.

        Returns
        -------
        (dict of int to Entry, int)
            0 where none follows. Of two tags of one number the first counts.

        Raises
        ------
        EOFError
            If the directory, or what makes the picture, lies beyond the end.
        """
        width = 8 if self.large else 4
        head, step = (8, 20) if self.large else (2, 12)
        entries: dict[int, Entry] = {}
        n = self.number(place, head)
        place += head
        if place + n * step > len(self.data):
            raise EOFError
        for start in range(place, place + n * step, step):
            tag, kind, count = self.number(start, 2), self.number(start + 2, 2), self.number(start + 4, width)
            length = _SIZES.get(kind, 0) * count
            value = start + 4 + width
            if length > width:
                value = self.number(value, width)
            if value + length > len(self.data):
                if tag in _OF_THE_PICTURE:
                    raise EOFError
            elif length:
                entries.setdefault(tag, Entry(kind, count, self.data[value : value + length]))
        end = place + n * step
        return entries, self.number(end, width) if end + width <= len(self.data) else 0

    def values(self, entry: Entry | None) -> tuple[int, ...]:
        """Return a tag's whole numbers; none where it has none."""
        if entry is None or entry.kind not in (1, 3, 4, 13, 16, 18):
            return ()
        kind = {1: "u1", 2: "u2", 4: "u4", 8: "u8"}[_SIZES[entry.kind]]
        return tuple(np.frombuffer(entry.value, ("<" if self.order == "little" else ">") + kind).tolist())


def with_picture_alone(data: bytes) -> bytes:
    """Return a TIFF with the tags that make its pictures alone, in the older form with offsets of four bytes.

    What else a file says may be broken, and stop Pillow; and of the newer form (BigTIFF) Pillow reads one order of bytes.

    Parameters
    ----------
    data : bytes
        The file.

    Returns
    -------
    bytes
        The file with new directories behind it; where strips and tiles lie, nothing has moved.
    """
    directories = Directories(data)
    order: Literal["little", "big"] = directories.order
    out = bytearray(data)
    out[:4] = b"II*\0" if order == "little" else b"MM\0*"
    link = 4
    try:
        for tags in directories.pages():
            out.extend(bytes(len(out) % 2))
            out[link : link + 4] = len(out).to_bytes(4, order)
            kept = {
                tag: _shorter(entry, order)
                for tag, entry in sorted(tags.items())
                if tag in _OF_THE_PICTURE | _OF_RAW_PHOTOS
            }
            body = len(out) + 2 + 12 * len(kept) + 4
            table, rest = len(kept).to_bytes(2, order), b""
            for tag, entry in kept.items():
                table += tag.to_bytes(2, order) + entry.kind.to_bytes(2, order) + entry.n.to_bytes(4, order)
                if len(entry.value) <= 4:
                    table += entry.value.ljust(4, b"\0")
                else:
                    table += (body + len(rest)).to_bytes(4, order)
                    rest += entry.value + bytes(len(entry.value) % 2)
            link = len(out) + len(table)
            out += table + bytes(4) + rest
    except EOFError:
        if link == 4:  # not even the first page
            raise
    return bytes(out)


def _shorter(entry: Entry, order: Literal["little", "big"]) -> Entry:
    """Return a tag whose numbers take no more than four bytes."""
    if entry.kind not in (16, 17, 18):
        return entry
    values = np.frombuffer(entry.value, "<u8" if order == "little" else ">u8")
    return Entry(4, entry.n, values.astype("<u4" if order == "little" else ">u4").tobytes())


def chunks_run_out(data: bytes) -> bool:
    """Tell whether a TIFF that could not be read has been cut short: a directory, a strip or a tile lies beyond its end.

    Parameters
    ----------
    data : bytes
        The file.

    Returns
    -------
    bool
        Whether any does, of any page.
    """
    directories = Directories(data)
    try:
        for tags in directories.pages():
            for starts, lengths in ((Tag.OFFSETS, Tag.COUNTS), (Tag.TILE_OFFSETS, Tag.TILE_COUNTS)):
                chunks = zip(directories.values(tags.get(starts)), directories.values(tags.get(lengths)), strict=False)
                if any(start + length > len(data) for start, length in chunks):
                    return True
    except EOFError:
        return True
    return False
