"""How the samples of a TIFF's page lie in its file -> its pixels, in every layout that the format's parts can make.

Every strip and tile is unpacked to its bytes, and NumPy does what the specification says of them (TIFF 6.0; Adobe's
technical notes 1 to 3; BigTIFF).
"""

from __future__ import annotations

import io
import lzma
import math
import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from lookalike.imaging.formats import UnreadKindError, pillow
from lookalike.imaging.resize import to_uint8
from lookalike.imaging.tiff_tags import Tag

_GREY_FROM_WHITE, _GREY, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB, _ICC_LAB = 0, 1, 2, 3, 5, 6, 8, 9
COLOUR_SAMPLES = {_GREY_FROM_WHITE: 1, _GREY: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3, _LAB: 3, _ICC_LAB: 3}
NOT_PACKED, _LZW, _DEFLATES, _PACKBITS, _LZMA, _ZSTD, _WEBP = 1, 5, (8, 32946), 32773, 34925, 50000, 50001
STREAMS = frozenset(
    (NOT_PACKED, _LZW, *_DEFLATES, _PACKBITS, _LZMA, _ZSTD, _WEBP)
)  # what gives bytes, whatever they mean
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
_LARGEST_CHUNK = 2**26  # bytes of a strip or tile, or eight times the picture's: a tile may be larger than that


def numbers(value: Any) -> tuple[int, ...]:
    """Return a tag's value as whole numbers, whether it is one, several or none.

    Parameters
    ----------
    value : int, float, tuple or None
        As Pillow gives it.

    Returns
    -------
    tuple of int
        Empty for None.
    """
    return tuple(int(v) for v in value) if isinstance(value, tuple) else () if value is None else (int(value),)


@dataclass(frozen=True)
class Layout:
    """How a page's samples lie in its file, where Pillow doesn't read that rightly.

    Attributes
    ----------
    width, height : int
        As stored; the page may be turned yet.
    colours : int
        TIFF's number for what the values mean (photometric interpretation).
    bits : int
        Of one sample.
    kind, order : str
        Of the numbers, as NumPy has them: ``u``, ``i`` or ``f``; ``<`` or ``>``.
    samples : int
        A pixel, extra ones among them.
    alpha : int or None
        Which sample says how much of the pixel is seen.
    premultiplied : bool
        Whether the colours have been multiplied by it.
    planes : bool
        Whether each sample lies by itself.
    compression, predictor : int
        TIFF's numbers.
    reverse : bool
        Whether the bits of each byte are in reverse.
    chunk : (int, int)
        Width and height of a strip or tile.
    starts, lengths : tuple of int
        Where each lies, and its bytes.
    tiled : bool
        Tiles, not strips.
    table : ndarray of uint8, shape (n, 3), or None
        A palette's colours.
    subsampling : (int, int)
        How many pixels to the right, and down, share the colour of YCbCr.
    coefficients, reference : tuple of float
        Of red, green and blue in its luma; black and white of each sample.
    """

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
        """Decode the page.

        Parameters
        ----------
        data : bytes
            The file.
        where : str
            Its name in errors.

        Returns
        -------
        PIL.Image.Image
            In ``mode``, as stored.

        Raises
        ------
        EOFError
            If a strip or tile lies beyond the file's end.
        ImageError
            If values are out of range for their type.
        Exception
            Of many kinds, if the file is damaged.
        """
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
        if self.compression == NOT_PACKED:
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
        n = COLOUR_SAMPLES[self.colours]
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


def layout_of(tags: Any) -> Layout | None:
    """Read a layout from a directory.

    Parameters
    ----------
    tags : PIL.TiffImagePlugin.ImageFileDirectory_v2
        The directory.

    Returns
    -------
    Layout or None
        None where Pillow reads the page rightly, or will say what is wrong.

    Raises
    ------
    UnreadKindError
        If it is of a kind that isn't read.
    """
    colours, compression = tags.get(Tag.PHOTOMETRIC, 0), tags.get(Tag.COMPRESSION, 1)
    width, height, samples = tags.get(Tag.WIDTH), tags.get(Tag.HEIGHT), tags.get(Tag.SAMPLES, 1)
    depths, formats = numbers(tags.get(Tag.BITS, (1,))), numbers(tags.get(Tag.FORMAT, (1,)))
    if not (isinstance(width, int) and isinstance(height, int) and isinstance(samples, int) and depths and formats):
        return None
    n = COLOUR_SAMPLES[colours]
    if min(width, height) < 1 or not n <= samples <= 64:
        return None
    lab = colours in (_LAB, _ICC_LAB)  # of which some programs say that two of three samples have a sign
    if len(set(depths)) > 1 or (len(set(formats)) > 1 and not lab):
        raise UnreadKindError("its samples are of different depths or types")
    kind = "u" if lab else {1: "u", 2: "i", 3: "f", 4: "u"}.get(formats[0])
    if kind is None:
        raise UnreadKindError("its values are complex numbers")
    bits, extra = depths[0], numbers(tags.get(Tag.EXTRA))
    planes, reverse = tags.get(Tag.PLANAR, 1) == 2 and samples > 1, tags.get(Tag.FILL, 1) == 2
    predictor = tags.get(Tag.PREDICTOR, 1) if compression not in (NOT_PACKED, _PACKBITS, _WEBP) else 1
    plain = kind == "u" and predictor in (1, 2) and not (planes or reverse or compression == _WEBP)
    if plain and (colours, samples, extra) in _RIGHT.get(bits, set()):
        return None
    if (n == 1 and samples > 2) or (not extra and samples > n + 1):
        raise UnreadKindError(f"{samples} samples a pixel, of which nobody says what they are")
    extra = (*extra, *(0,) * samples)[: samples - n] if extra else (2,)[: samples - n]
    alpha = next((i for i, meaning in enumerate(extra) if meaning in (1, 2)), None)
    tiled = Tag.TILE_OFFSETS in tags
    wide, high = (tags.get(Tag.TILE_WIDTH), tags.get(Tag.TILE_HEIGHT)) if tiled else (width, tags.get(Tag.ROWS, height))
    if not (isinstance(wide, int) and isinstance(high, int) and wide > 0):
        return None
    subsampling = numbers(tags.get(Tag.SUBSAMPLING, (2, 2))) if colours == _YCBCR else (1, 1)
    if len(subsampling) != 2 or not {1, 2, 4}.issuperset(subsampling):
        raise ValueError("nonsense for the subsampling of its colours")
    layout = Layout(
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
        starts=numbers(tags.get(Tag.TILE_OFFSETS if tiled else Tag.OFFSETS)),
        lengths=numbers(tags.get(Tag.TILE_COUNTS if tiled else Tag.COUNTS)),
        tiled=tiled,
        table=_table_of(tags[Tag.COLOURS]) if colours == _PALETTE else None,
        subsampling=(subsampling[0], subsampling[1]),
        coefficients=_shares_of(tags.get(Tag.COEFFICIENTS), (0.299, 0.587, 0.114)),
        reference=_shares_of(tags.get(Tag.REFERENCE), (0, 255, 128, 255, 128, 255)),
    )
    if colours == _CMYK and tags.get(Tag.INKS, 1) != 1:
        raise UnreadKindError("its inks aren't cyan, magenta, yellow and black")
    _refuse(layout)
    return layout


def _refuse(layout: Layout) -> None:
    """Refuse by name what the specification allows and nothing here reads."""
    colours, bits, kind, predictor = layout.colours, layout.bits, layout.kind, layout.predictor
    depths: Collection[int] = {"u": range(1, 33), "i": (8, 16, 32), "f": (16, 32, 64)}[kind]
    if COLOUR_SAMPLES[colours] > 1 and (kind != "u" or bits > 24):
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
    table = np.array(numbers(colours)).reshape(3, -1).T
    return (table if table.max() < 256 else table >> 8).astype(np.uint8)


def _unpacked(packed: bytes, compression: int, row_bytes: int, rows: int) -> bytes:
    """Unpack a strip or a tile; no more than is wanted of it."""
    size = row_bytes * rows
    if compression == NOT_PACKED:
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
        (Tag.WIDTH, row_bytes), (Tag.HEIGHT, rows), (Tag.BITS, 8), (Tag.COMPRESSION, compression), (Tag.PHOTOMETRIC, _GREY),
        (Tag.OFFSETS, 8 + 2 + 12 * 9 + 4), (Tag.SAMPLES, 1), (Tag.ROWS, rows), (Tag.COUNTS, len(packed)),
    )  # fmt: skip
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    file = struct.pack("<4sIH", b"II*\0", 8, len(tags)) + table + bytes(4) + packed
    image = TiffImageFile(io.BytesIO(file), "")
    image.load()
    return image.tobytes()
