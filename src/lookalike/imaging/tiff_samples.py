"""The layout of a TIFF page's samples, and its file -> its pixels.

Every strip and tile is unpacked to its bytes, and NumPy does what the specification says of them (TIFF 6.0; Adobe's
technical notes 1 to 3; BigTIFF).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lookalike.imaging.resize import to_uint8
from lookalike.imaging.tiff_codecs import unpacked_chunk
from lookalike.imaging.tiff_tags import LAB, Compression, Photometric

COLOUR_SAMPLES: dict[int, int] = {
    Photometric.WHITE_IS_ZERO: 1,
    Photometric.BLACK_IS_ZERO: 1,
    Photometric.RGB: 3,
    Photometric.PALETTE: 1,
    Photometric.CMYK: 4,
    Photometric.YCBCR: 3,
    Photometric.LAB: 3,
    Photometric.ICC_LAB: 3,
}
# What Pillow reads rightly of the streams: colours, samples, kinds of the extra ones, for each number of bits.
READ_BY_PILLOW: dict[int, set[tuple[int, int, tuple[int, ...]]]] = {
    1: {(Photometric.WHITE_IS_ZERO, 1, ()), (Photometric.BLACK_IS_ZERO, 1, ())},
    8: {
        *((colours, 1, ()) for colours in (Photometric.WHITE_IS_ZERO, Photometric.BLACK_IS_ZERO)),
        *((Photometric.BLACK_IS_ZERO, 2, extra) for extra in ((1,), (2,))),
        *((Photometric.RGB, 4, extra) for extra in ((), (0,), (1,), (2,))),
        (Photometric.RGB, 3, ()), (Photometric.CMYK, 4, ()), (Photometric.LAB, 3, ()),
    },
    16: {(Photometric.BLACK_IS_ZERO, 1, ()), (Photometric.RGB, 3, ()), (Photometric.RGB, 4, ()), (Photometric.RGB, 4, (2,))},
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
        if self.colours in (Photometric.WHITE_IS_ZERO, Photometric.BLACK_IS_ZERO):
            return "L" + alpha
        if self.colours == Photometric.CMYK and not alpha:
            return "CMYK"
        return "LAB" if self.colours in LAB else "RGB" + alpha

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
        if self.compression == Compression.NONE:
            length = size
        if start + length > len(data):
            raise EOFError
        packed = data[start : start + length]
        if self.reverse:
            packed = packed.translate(_REVERSED)
        raw = unpacked_chunk(packed, self.compression, row_bytes, rows)
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
        if self.colours == Photometric.PALETTE:
            assert self.table is not None
            places = values[..., 0]
            if places.size and int(places.max()) >= len(self.table):
                raise ValueError("a value beyond its palette")
            return self._joined(self.table[places], values)
        n = COLOUR_SAMPLES[self.colours]
        if self.colours in LAB:
            lab = (values >> 8 if self.bits == 16 else values)[..., :3].astype(np.uint8)
            if self.colours == Photometric.ICC_LAB:  # a* and b* from 0 on, not signed
                lab[..., 1:] ^= 0x80
            return lab
        pixels = self._in_8_bits(values, where)
        colour = pixels[..., :n]
        if self.colours == Photometric.WHITE_IS_ZERO:
            colour = 255 - colour
        elif self.colours == Photometric.YCBCR:
            colour = self._to_rgb(colour)
        elif self.colours == Photometric.CMYK and self.alpha is not None:
            ink = 255 - colour.astype(np.uint16)
            colour = ((ink[..., :3] * ink[..., 3:] + 127) // 255).astype(np.uint8)
        return self._joined(colour, pixels)

    def _joined(self, colour: NDArray[np.uint8], values: NDArray[Any]) -> NDArray[np.uint8]:
        if self.alpha is None:
            return colour
        alpha = values[..., self.alpha, None]
        if alpha.dtype != np.uint8 or self.colours == Photometric.PALETTE:
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
