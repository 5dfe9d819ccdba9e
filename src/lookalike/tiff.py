"""TIFF, where Pillow isn't right: other layouts of the samples, raw photos told from pictures, strips that lie outside.

Pillow reads what cameras, scanners and Photoshop usually write, and what is compressed as JPEG or fax. The rest of the
format's matrix (planes, depths, palettes, predictors, orders of bits) is read here: every strip and tile is unpacked to
its bytes, and NumPy does what the specification says of them (TIFF 6.0; Adobe's technical notes 1 to 3; BigTIFF).
"""

from __future__ import annotations

import io
import lzma
import math
import struct
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from lookalike.appearance import set_upright
from lookalike.errors import ImageError
from lookalike.formats import RAW_PHOTO, UnreadKindError, pillow
from lookalike.raster import to_uint8

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL = 256, 257, 258, 259, 262, 266
_OFFSETS, _ORIENTATION, _SAMPLES, _ROWS, _COUNTS, _PLANAR = 273, 274, 277, 278, 279, 284
_PREDICTOR, _COLOURS, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = 317, 320, 322, 323, 324, 325
_SUBFILE, _MAKER, _SUBDIRECTORIES, _INKS, _EXTRA, _FORMAT = 254, 271, 330, 332, 338, 339
_DNG, _PROFILE = 50706, 34675
_COEFFICIENTS, _SUBSAMPLING, _REFERENCE = 529, 530, 532
# What makes the picture, and turns and colours it; JPEG's tables among it.
_OF_THE_PICTURE = frozenset((
    _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL, _OFFSETS, _ORIENTATION, _SAMPLES, _ROWS, _COUNTS, _PLANAR,
    _PREDICTOR, _COLOURS, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS, _INKS, _EXTRA, _FORMAT,
    _COEFFICIENTS, _SUBSAMPLING, 531, _REFERENCE, 292, 293, 347, *range(512, 522),
))  # fmt: skip
_OF_RAW_PHOTOS = frozenset((_SUBFILE, _SUBDIRECTORIES, _MAKER, _DNG))

_GREY_FROM_WHITE, _GREY, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB, _ICC_LAB = 0, 1, 2, 3, 5, 6, 8, 9
_COLOUR_SAMPLES = {_GREY_FROM_WHITE: 1, _GREY: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3, _LAB: 3, _ICC_LAB: 3}
_OTHER_COLOURS = {
    4: "a transparency mask", 10: "ITU L*a*b*", 32803: "a sensor's raw values", 32844: "LogL", 32845: "LogLuv",
    34892: "linear raw values", 51177: "a depth map",
}  # fmt: skip
_NONE, _LZW, _DEFLATES, _PACKBITS, _LZMA, _ZSTD, _WEBP = 1, 5, (8, 32946), 32773, 34925, 50000, 50001
_STREAMS = frozenset((_NONE, _LZW, *_DEFLATES, _PACKBITS, _LZMA, _ZSTD, _WEBP))  # what gives bytes, whatever they mean
_BY_PILLOW = frozenset((2, 3, 4, 6, 7, 32771, 32809))  # fax and JPEG
_OTHER_COMPRESSIONS = {
    9: "JBIG", 10: "JBIG", 22610: "JPEG XR", 32766: "NeXT", 32767: "Sony's raw", 32769: "Epson's raw",
    32770: "Samsung's raw", 32895: "IT8", 32896: "IT8", 32897: "IT8", 32898: "IT8", 32908: "Pixar's film",
    32909: "Pixar's log", 33003: "JPEG 2000", 33004: "JPEG 2000", 33005: "JPEG 2000", 34661: "JBIG", 34663: "JBIG2",
    34676: "SGI's LogLuv", 34677: "SGI's LogLuv", 34712: "JPEG 2000", 34713: "Nikon's raw", 34715: "JBIG2",
    34887: "LERC", 34892: "lossy JPEG of a raw photo", 34926: "Zstandard (old number)", 34927: "WebP (old number)",
    34933: "PNG", 34934: "JPEG XR", 50002: "JPEG XL", 52546: "JPEG XL", 65000: "Kodak's raw", 65535: "Pentax's raw",
}  # fmt: skip
_RAW_COMPRESSIONS = frozenset((32767, 32769, 32770, 34713, 34892, 52546, 65000, 65535))
_RAW_COLOURS = frozenset((32803, 34892))
# What Pillow reads rightly of the streams: colours, samples, kinds of the extra ones, for each number of bits.
_RIGHT: dict[int, set[tuple[int, int, tuple[int, ...]]]] = {
    1: {(_GREY_FROM_WHITE, 1, ()), (_GREY, 1, ())},
    8: {
        *((colours, 1, ()) for colours in (_GREY_FROM_WHITE, _GREY)),
        *((_GREY, 2, extra) for extra in ((1,), (2,))),
        *((_RGB, 4, extra) for extra in ((), (0,), (1,), (2,))),
        (_RGB, 3, ()), (_CMYK, 4, ()), (_LAB, 3, ()),
    },
    16: {(_GREY, 1, ()), (_RGB, 3, ()), (_RGB, 4, ()), (_RGB, 4, (2,))},
}  # fmt: skip
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_LARGEST_CHUNK = 2**26  # bytes of a strip or tile, or eight times the picture's: a tile may be larger than that


# Directories ----------------------------------------------------------------------------------------------------------


class _Entry(NamedTuple):
    """One tag of a directory: its type, how many values, and their bytes in the file's order."""

    kind: int
    n: int
    value: bytes


class _Directories:
    """A file's directories, read without a library: both sizes of offsets, both orders of bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.order: Literal["little", "big"] = "little" if data[:1] == b"I" else "big"
        self.large = 43 in data[2:4]

    def number(self, place: int, length: int) -> int:
        if place + length > len(self.data):
            raise EOFError
        return int.from_bytes(self.data[place : place + length], self.order)

    def first(self) -> int:
        return self.number(8, 8) if self.large else self.number(4, 4)

    def at(self, place: int) -> tuple[dict[int, _Entry], int]:
        """Return the tags of the directory at a place, and the place of the next."""
        width = 8 if self.large else 4
        head, step = (8, 20) if self.large else (2, 12)
        found: dict[int, _Entry] = {}
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
                found.setdefault(tag, _Entry(kind, count, self.data[value : value + length]))
        end = place + n * step
        return found, self.number(end, width) if end + width <= len(self.data) else 0

    def values(self, entry: _Entry | None) -> tuple[int, ...]:
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
    directories = _Directories(data)
    order: Literal["little", "big"] = directories.order
    out = bytearray(data)
    out[:4] = b"II*\0" if order == "little" else b"MM\0*"
    link, place, seen = 4, directories.first(), set[int]()
    while place and place not in seen:
        seen.add(place)
        try:
            tags, following = directories.at(place)
        except EOFError:
            if link == 4:
                raise
            break
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
        place = following
    return bytes(out)


def _shorter(entry: _Entry, order: Literal["little", "big"]) -> _Entry:
    """Return a tag whose numbers take no more than four bytes."""
    if entry.kind not in (16, 17, 18):
        return entry
    values = np.frombuffer(entry.value, "<u8" if order == "little" else ">u8")
    return _Entry(4, entry.n, values.astype("<u4" if order == "little" else ">u4").tobytes())


def lacks_end(data: bytes) -> bool:
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
    directories = _Directories(data)
    try:
        place, seen = directories.first(), set[int]()
        while place and place not in seen:
            seen.add(place)
            tags, place = directories.at(place)
            for starts, lengths in ((_OFFSETS, _COUNTS), (_TILE_OFFSETS, _TILE_COUNTS)):
                chunks = zip(directories.values(tags.get(starts)), directories.values(tags.get(lengths)), strict=False)
                if any(start + length > len(data) for start, length in chunks):
                    return True
    except EOFError:
        return True
    return False


# Pictures -------------------------------------------------------------------------------------------------------------


class Tiff(TiffImageFile):
    """Pillow's reader of TIFF, with what it gets wrong done here; frames, EXIF and profiles go their usual way.

    Its file is to be a ``BytesIO`` where more than the header is wanted, and its name is what errors begin with.
    """

    _layout: _Layout | None = None

    @property
    def _where(self) -> str:
        return self.filename if isinstance(self.filename, str) else ""

    def _setup(self) -> None:
        tags = self.tag_v2
        self._layout = None
        if self.tell() == 0:
            self._refuse_raw_photos()
        compression = tags.get(_COMPRESSION, 1)
        if compression not in _STREAMS | _BY_PILLOW:
            name = _OTHER_COMPRESSIONS.get(compression)
            raise UnreadKindError(
                f"its compression is {f'{name} ({compression})' if name else f'number {compression}'}"
            )
        colours = tags.get(_PHOTOMETRIC, 0)
        if colours not in _COLOUR_SAMPLES:
            name = _OTHER_COLOURS.get(colours, "unknown")
            raise UnreadKindError(f"its values are {name} (photometric interpretation {colours})")
        layout = _layout_of(tags) if compression in _STREAMS else None
        if layout is None:
            super()._setup()
            return
        self._layout = layout
        self._mode = layout.mode
        self._tile_size = layout.width, layout.height
        self._size = self._tile_size[::-1] if tags.get(_ORIENTATION) in (5, 6, 7, 8) else self._tile_size
        self.tile, self.use_load_libtiff, self.palette = [], False, None
        if _PROFILE in tags:
            self.info["icc_profile"] = tags[_PROFILE]

    def _refuse_raw_photos(self) -> None:
        """Refuse a camera's raw file, of which the first picture is a preview, often a small one."""
        tags = self.tag_v2
        below = list(self._directories_below())
        raw = _DNG in tags or any(
            colours in _RAW_COLOURS or compression in _RAW_COMPRESSIONS for colours, compression in below
        )
        if raw:
            given = tags.get(_MAKER, "")
            named = given.decode("latin-1") if isinstance(given, bytes) else str(given)
            maker = named.strip("\0 ").split(" ")[0].title()
            kind = "DNG" if _DNG in tags else maker if maker.isalnum() else "in a TIFF"
            raise ImageError(f"{self._where}: {RAW_PHOTO.format(kind)}", "unsupported")
        if _SUBDIRECTORIES in tags and _numbers(tags.get(_SUBFILE, 0))[0] & 1:
            raise UnreadKindError("its first picture is a preview of one that lies deeper")

    def _directories_below(self) -> Iterator[tuple[int, int]]:
        """Yield colours and compression of the first directory and of those that hang on it."""
        tags = self.tag_v2
        yield tags.get(_PHOTOMETRIC, 0), tags.get(_COMPRESSION, 1)
        places = tags.get(_SUBDIRECTORIES, ())
        if not places or self.fp is None:
            return
        self.fp.seek(0)
        directories = _Directories(self.fp.read())
        for place in places if isinstance(places, tuple) else (places,):
            try:
                below, _ = directories.at(int(place))
            except (EOFError, ValueError, TypeError):
                continue
            found = [(*directories.values(below.get(tag)), -1)[0] for tag in (_PHOTOMETRIC, _COMPRESSION)]
            yield found[0], found[1]

    def load(self) -> Any:
        """Decode the page; EOFError if a strip or a tile of it lies beyond the file's end."""
        layout, self._layout = self._layout, None
        file: Any = self.fp
        if layout is not None:
            if layout.compression != _NONE and not layout.lengths and lacks_end(file.getvalue()):
                raise EOFError
            self.im = layout.picture(file.getvalue(), self._where).im
            self.load_end()
        elif self.tile and max(_chunk_ends(self.tag_v2), default=0) > len(file.getvalue()):
            raise EOFError
        return super().load()

    def load_end(self) -> None:
        """Turn the page upright; Pillow's own way reads all of EXIF for that, and stops where it is broken."""
        orientation = self.tag_v2.get(_ORIENTATION, 1)
        if isinstance(orientation, int) and 2 <= orientation <= 8:
            turned = set_upright(self, orientation)
            self.im, self._size = turned.im, turned.size
            del self.tag_v2[_ORIENTATION]


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(int(v) for v in value) if isinstance(value, tuple) else () if value is None else (int(value),)


def _chunk_ends(tags: Mapping[int, Any]) -> Iterator[int]:
    """Yield where the strips or tiles of a page end, by what its directory says."""
    tiled = _TILE_OFFSETS in tags
    starts = _numbers(tags.get(_TILE_OFFSETS if tiled else _OFFSETS))
    lengths = _numbers(tags.get(_TILE_COUNTS if tiled else _COUNTS))
    most = None
    if tags.get(_COMPRESSION, 1) == _NONE:  # there a length may be nonsense, and nobody minds
        width = tags.get(_TILE_WIDTH if tiled else _WIDTH, 0)
        height = tags.get(_TILE_HEIGHT, 0) if tiled else min(tags.get(_ROWS, 2**32), tags.get(_HEIGHT, 0))
        bits = sum(_numbers(tags.get(_BITS, (1,))))
        most = (width * bits + 7) // 8 * height
    for start, length in zip(starts, lengths, strict=False):
        yield start + (length if most is None else min(length, most))


@dataclass(frozen=True)
class _Layout:
    """How a page's samples lie in its file, where Pillow doesn't read that rightly."""

    width: int
    height: int
    colours: int
    bits: int
    kind: str
    order: str
    samples: int
    alpha: int | None
    premultiplied: bool
    planes: bool
    compression: int
    predictor: int
    reverse: bool
    chunk: tuple[int, int]
    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    tiled: bool
    table: NDArray[np.uint8] | None
    subsampling: tuple[int, int]
    coefficients: tuple[float, ...]
    reference: tuple[float, ...]

    @property
    def mode(self) -> str:
        """What Pillow calls the picture that is made."""
        alpha = "" if self.alpha is None else "a" if self.premultiplied else "A"
        if self.colours in (_GREY_FROM_WHITE, _GREY):
            return "L" + alpha
        if self.colours == _CMYK and not alpha:
            return "CMYK"
        return "LAB" if self.colours in (_LAB, _ICC_LAB) else "RGB" + alpha

    @property
    def _is_scaled_as_a_whole(self) -> bool:
        """Whether what a value means depends on the largest one: floats, signed numbers, 32 bits."""
        return self.kind != "u" or self.bits > 24

    def picture(self, data: bytes, where: str) -> Image.Image:
        """Decode the page."""
        canvas = Image.new(self.mode, (self.width, self.height))
        chunks = self._chunks(data)
        if self._is_scaled_as_a_whole:
            whole: NDArray[Any] | None = None
            for left, top, values in chunks:
                if whole is None:
                    whole = np.zeros((self.height, self.width, values.shape[2]), values.dtype)
                whole[top : top + len(values), left : left + values.shape[1]] = values
            chunks = iter([(0, 0, whole)] if whole is not None else [])
        for left, top, values in chunks:
            pixels = np.ascontiguousarray(self._coloured(values, where))
            canvas.paste(Image.frombytes(self.mode, pixels.shape[1::-1], pixels.tobytes()), (left, top))
        return canvas

    def _chunks(self, data: bytes) -> Iterator[tuple[int, int, NDArray[Any]]]:
        """Yield each strip's or tile's left and upper edge, and its values as stored, cut to the picture."""
        wide, high = self.chunk
        if high < 1:
            raise ValueError("strips or tiles without rows")
        across, down = -(-self.width // wide), -(-self.height // high)
        n = across * down
        if len(self.starts) < (n * self.samples if self.planes else n):
            raise ValueError("fewer strips or tiles than its size takes")
        for i in range(n):
            left, top = i % across * wide, i // across * high
            rows = high if self.tiled else min(high, self.height - top)
            parts = [
                self._values(data, i + plane * n, rows) for plane in (range(self.samples) if self.planes else (0,))
            ]
            values = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
            yield left, top, values[: self.height - top, : self.width - left]

    def _values(self, data: bytes, number: int, rows: int) -> NDArray[Any]:
        """Return the values of one strip or tile, (rows, columns, samples)."""
        n = 1 if self.planes else self.samples
        wide = self.chunk[0]
        subsampled = self.subsampling != (1, 1)
        if subsampled:
            across, down = self.subsampling
            rows_of_units, units = -(-rows // down), -(-wide // across)
            row_bytes, n_rows = units * (across * down + 2), rows_of_units
        else:
            row_bytes, n_rows = (wide * n * self.bits + 7) // 8, rows
        raw = self._unpacked(data, number, row_bytes, n_rows)
        table = np.frombuffer(raw, np.uint8).reshape(n_rows, row_bytes)
        if subsampled:
            return self._spread(table.reshape(n_rows, units, -1))[:rows, :wide]
        return self._numbers_of(table, wide, n)

    def _unpacked(self, data: bytes, number: int, row_bytes: int, rows: int) -> bytes:
        size = row_bytes * rows
        if size > max(_LARGEST_CHUNK, 8 * self.width * self.height * self.samples * self.bits // 8):
            raise ValueError("a strip or tile that is much larger than its picture")
        start = self.starts[number]
        length = self.lengths[number] if number < len(self.lengths) else len(data) - start
        if self.compression == _NONE:
            length = size
        if start + length > len(data):
            raise EOFError
        packed = data[start : start + length]
        if self.reverse:
            packed = packed.translate(_REVERSED)
        raw = _unpacked(packed, self.compression, row_bytes, rows)
        if len(raw) < size:
            raise ValueError(f"a strip or tile of {len(raw):,} bytes, {size:,} expected")
        return raw[:size]

    def _numbers_of(self, table: NDArray[np.uint8], wide: int, n: int) -> NDArray[Any]:
        """Make numbers of the bytes of rows."""
        bits, rows = self.bits, len(table)
        if bits in (8, 16, 32, 64):
            size = bits // 8
            if self.predictor == 3:  # Adobe's technical note 3: differences of bytes, and of each value the same bytes
                summed = table.reshape(rows, -1, n).cumsum(axis=1, dtype=np.uint8).reshape(rows, size, -1)
                values = np.ascontiguousarray(summed.transpose(0, 2, 1)).view(f">u{size}")[..., 0]
            else:
                values = table.view(f"{self.order}u{size}")
            values = values.reshape(rows, wide, n).astype(f"=u{size}", copy=False)
            if self.predictor == 2:
                values = values.cumsum(axis=1, dtype=values.dtype)
            return values.view(f"={self.kind}{size}")
        if bits == 24:
            parts = table.reshape(rows, wide, n, 3).astype(np.uint32)
            low, high = (0, 2) if self.order == "<" else (2, 0)
            return np.asarray(parts[..., low] | parts[..., 1] << 8 | parts[..., high] << 16)
        single = np.unpackbits(table, axis=1)[:, : wide * n * bits].reshape(rows, wide, n, bits)
        joined: NDArray[Any] = np.zeros(
            (rows, wide, n), np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32
        )
        for bit in range(bits):
            joined = joined << 1 | single[..., bit]
        return joined

    def _spread(self, units: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Give each pixel of units of several its own colour, the one of its unit."""
        across, down = self.subsampling
        rows, columns = units.shape[:2]
        luma = units[..., :-2].reshape(rows, columns, down, across).swapaxes(1, 2)
        colours = units[..., None, None, -2:].repeat(across, 3).repeat(down, 2).swapaxes(1, 2)
        shape = (rows * down, columns * across)
        return np.concatenate([luma.reshape(*shape, 1), colours.reshape(*shape, 2)], axis=2)

    def _coloured(self, values: NDArray[Any], where: str) -> NDArray[np.uint8]:
        """Make of a part's values its pixels in the picture's mode."""
        if self.colours == _PALETTE:
            assert self.table is not None
            places = values[..., 0]
            if places.size and int(places.max()) >= len(self.table):
                raise ValueError("a value beyond its palette")
            return self._joined(self.table[places], values)
        n = _COLOUR_SAMPLES[self.colours]
        if self.colours in (_LAB, _ICC_LAB):
            lab = (values >> 8 if self.bits == 16 else values)[..., :3].astype(np.uint8)
            if self.colours == _ICC_LAB:  # a* and b* from 0 on, not signed
                lab[..., 1:] ^= 0x80
            return lab
        pixels = self._in_8_bits(values, where)
        colour = pixels[..., :n]
        if self.colours == _GREY_FROM_WHITE:
            colour = 255 - colour
        elif self.colours == _YCBCR:
            colour = self._to_rgb(colour)
        elif self.colours == _CMYK and self.alpha is not None:
            ink = 255 - colour.astype(np.uint16)
            colour = ((ink[..., :3] * ink[..., 3:] + 127) // 255).astype(np.uint8)
        return self._joined(colour, pixels)

    def _joined(self, colour: NDArray[np.uint8], values: NDArray[Any]) -> NDArray[np.uint8]:
        if self.alpha is None:
            return colour
        alpha = values[..., self.alpha, None]
        if alpha.dtype != np.uint8 or self.colours == _PALETTE:
            alpha = self._in_8_bits(alpha, "")
        return np.concatenate([colour, alpha], axis=2)

    def _in_8_bits(self, values: NDArray[Any], where: str) -> NDArray[np.uint8]:
        if self._is_scaled_as_a_whole:
            # Whole numbers of any range: what fits into 8 bits is taken as it is, then what fits into 16.
            deep = self.kind != "f" and values.min() >= 0 and 255 < values.max() <= 65535
            return to_uint8(values.astype(np.uint16) if deep else values, where)
        if self.bits == 16 and self.alpha is not None:  # the upper byte, as Pillow and libvips take it there
            return np.asarray(values >> 8).astype(np.uint8)
        if self.bits in (8, 16):
            return to_uint8(values, where)
        most = 2**self.bits - 1
        return np.asarray((values.astype(np.uint64) * 255 + most // 2) // most).astype(np.uint8)

    def _to_rgb(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Bring luma and two differences to RGB, by section 21 of the specification."""
        red, green, blue = self.coefficients
        black = self.reference[::2]
        white = self.reference[1::2]
        y, cb, cr = (
            (pixels[..., i] - np.float32(black[i])) * np.float32((255 if i == 0 else 127) / (white[i] - black[i]))
            for i in range(3)
        )
        r = y + cr * (2 - 2 * red)
        b = y + cb * (2 - 2 * blue)
        g = (y - blue * b - red * r) / green
        rgb: NDArray[np.uint8] = np.stack([r, g, b], axis=2).round().clip(0, 255).astype(np.uint8)
        return rgb


_REVERSED = bytes(int(f"{i:08b}"[::-1], 2) for i in range(256))


def _layout_of(tags: Any) -> _Layout | None:
    """Read a layout from a directory; None where Pillow reads it rightly, or will say what is wrong."""
    colours, compression = tags.get(_PHOTOMETRIC, 0), tags.get(_COMPRESSION, 1)
    width, height, samples = tags.get(_WIDTH), tags.get(_HEIGHT), tags.get(_SAMPLES, 1)
    depths, formats = _numbers(tags.get(_BITS, (1,))), _numbers(tags.get(_FORMAT, (1,)))
    if not (isinstance(width, int) and isinstance(height, int) and isinstance(samples, int) and depths and formats):
        return None
    n = _COLOUR_SAMPLES[colours]
    if min(width, height) < 1 or not n <= samples <= 64:
        return None
    lab = colours in (_LAB, _ICC_LAB)  # of which some programs say that two of three samples have a sign
    if len(set(depths)) > 1 or (len(set(formats)) > 1 and not lab):
        raise UnreadKindError("its samples are of different depths or types")
    kind = "u" if lab else {1: "u", 2: "i", 3: "f", 4: "u"}.get(formats[0])
    if kind is None:
        raise UnreadKindError("its values are complex numbers")
    bits, extra = depths[0], _numbers(tags.get(_EXTRA))
    planes, reverse = tags.get(_PLANAR, 1) == 2 and samples > 1, tags.get(_FILL, 1) == 2
    predictor = tags.get(_PREDICTOR, 1) if compression not in (_NONE, _PACKBITS, _WEBP) else 1
    plain = kind == "u" and predictor in (1, 2) and not (planes or reverse or compression == _WEBP)
    if plain and (colours, samples, extra) in _RIGHT.get(bits, set()):
        return None
    if (n == 1 and samples > 2) or (not extra and samples > n + 1):
        raise UnreadKindError(f"{samples} samples a pixel, of which nobody says what they are")
    extra = (*extra, *(0,) * samples)[: samples - n] if extra else (2,)[: samples - n]
    alpha = next((i for i, meaning in enumerate(extra) if meaning in (1, 2)), None)
    tiled = _TILE_OFFSETS in tags
    wide, high = (tags.get(_TILE_WIDTH), tags.get(_TILE_HEIGHT)) if tiled else (width, tags.get(_ROWS, height))
    if not (isinstance(wide, int) and isinstance(high, int) and wide > 0):
        return None
    subsampling = _numbers(tags.get(_SUBSAMPLING, (2, 2))) if colours == _YCBCR else (1, 1)
    if len(subsampling) != 2 or not {1, 2, 4}.issuperset(subsampling):
        raise ValueError("nonsense for the subsampling of its colours")
    layout = _Layout(
        width=width,
        height=height,
        colours=colours,
        bits=bits,
        kind=kind,
        order="<" if tags.prefix[:1] == b"I" else ">",
        samples=samples,
        alpha=None if alpha is None else n + alpha,
        premultiplied=alpha is not None and extra[alpha] == 1,
        planes=planes,
        compression=compression,
        predictor=predictor,
        reverse=reverse,
        chunk=(wide, high if tiled else min(high, height)),
        starts=_numbers(tags.get(_TILE_OFFSETS if tiled else _OFFSETS)),
        lengths=_numbers(tags.get(_TILE_COUNTS if tiled else _COUNTS)),
        tiled=tiled,
        table=_table_of(tags[_COLOURS]) if colours == _PALETTE else None,
        subsampling=(subsampling[0], subsampling[1]),
        coefficients=_shares_of(tags.get(_COEFFICIENTS), (0.299, 0.587, 0.114)),
        reference=_shares_of(tags.get(_REFERENCE), (0, 255, 128, 255, 128, 255)),
    )
    if colours == _CMYK and tags.get(_INKS, 1) != 1:
        raise UnreadKindError("its inks aren't cyan, magenta, yellow and black")
    _refuse(layout)
    return layout


def _refuse(layout: _Layout) -> None:
    """Refuse by name what the specification allows and nothing here reads."""
    colours, bits, kind, predictor = layout.colours, layout.bits, layout.kind, layout.predictor
    depths: Collection[int] = {"u": range(1, 33), "i": (8, 16, 32), "f": (16, 32, 64)}[kind]
    if _COLOUR_SAMPLES[colours] > 1 and (kind != "u" or bits > 24):
        # Nobody says which value is white, or whether floats are shades or linear light.
        raise UnreadKindError("colours of 32 bits, as floats or with a sign; of such only shades of grey are read")
    if colours in (_LAB, _ICC_LAB):
        depths = (8, 16)
    elif colours == _YCBCR:
        depths = (8,)
    elif colours == _PALETTE:
        depths = range(1, 17) if kind == "u" else ()
    if bits not in depths:
        raise UnreadKindError(f"{bits} bits a sample of its type")
    if predictor not in (1, 2, 3) or (predictor == 2 and bits not in (8, 16, 32)) or (predictor == 3 and kind != "f"):
        raise UnreadKindError(f"predictor {predictor} with {bits} bits a sample")
    if colours in (_LAB, _ICC_LAB) and layout.alpha is not None:
        raise UnreadKindError("L*a*b* with transparency")
    if layout.subsampling != (1, 1) and (layout.planes or predictor != 1 or layout.samples != 3):
        raise UnreadKindError("YCbCr with fewer colours than pixels, in planes or with a predictor")


def _shares_of(given: Any, usual: tuple[float, ...]) -> tuple[float, ...]:
    """Return what a file says of its luma, or what is usual where that is nonsense."""
    try:
        found = tuple(float(v) for v in given)
    except (TypeError, ValueError, ZeroDivisionError):
        return usual
    sound = len(found) == len(usual) and all(math.isfinite(v) for v in found)
    if len(usual) == 3:
        return found if sound and min(found) > 0 else usual
    return (
        found if sound and all(black < white for black, white in zip(found[::2], found[1::2], strict=True)) else usual
    )


def _table_of(colours: Any) -> NDArray[np.uint8]:
    """Return a palette, (n, 3). Some programs write its 16 bits as 8, which libtiff and all that use it take as meant."""
    table = np.array(_numbers(colours)).reshape(3, -1).T
    return (table if table.max() < 256 else table >> 8).astype(np.uint8)


def _unpacked(packed: bytes, compression: int, row_bytes: int, rows: int) -> bytes:
    """Unpack a strip or a tile; no more than is wanted of it."""
    size = row_bytes * rows
    if compression == _NONE:
        return packed
    if compression in _DEFLATES:
        return zlib.decompressobj().decompress(packed, size)
    if compression == _LZMA:
        return lzma.LZMADecompressor().decompress(packed, size)
    if compression == _WEBP:  # which the libtiff within Pillow doesn't read
        picture = pillow().open(io.BytesIO(packed), formats=["WEBP"])
        return bytes(picture.convert("RGBA" if picture.width * 4 == row_bytes else "RGB").tobytes())
    # The others libtiff unpacks: a picture of one sample of 8 bits gives the bytes as they are.
    tags = (
        (_WIDTH, row_bytes), (_HEIGHT, rows), (_BITS, 8), (_COMPRESSION, compression), (_PHOTOMETRIC, _GREY),
        (_OFFSETS, 8 + 2 + 12 * 9 + 4), (_SAMPLES, 1), (_ROWS, rows), (_COUNTS, len(packed)),
    )  # fmt: skip
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    file = struct.pack("<4sIH", b"II*\0", 8, len(tags)) + table + bytes(4) + packed
    image = TiffImageFile(io.BytesIO(file), "")
    image.load()
    return image.tobytes()
