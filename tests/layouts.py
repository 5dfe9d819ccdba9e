"""Small files of every layout that TIFF, PNG, GIF, BMP, WebP and PPM allow, each with the pixels that it means.

The files are put together by hand after each format's specification, so that no library's habit hides; imagecodecs packs
what is packed. What a file means is stated as 8-bit grey or sRGB, on white where something is transparent.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
import PIL.Image


class Case(NamedTuple):
    """One file: its name, its bytes, what it means (None where only another reader can tell), and a word on it."""

    name: str
    data: bytes
    meant: np.ndarray | None
    # Which of the two readers is followed where they differ: "both", or "meant" with libvips known to be another.
    by: str = "both"


HEIGHT, WIDTH = 21, 35


def scene(channels: int, bits: int = 8, seed: int = 0) -> np.ndarray:
    """Smooth fields of integers over the whole range, with some noise, (HEIGHT, WIDTH, channels)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    rng = np.random.default_rng(seed)
    fields = []
    for c in range(channels):
        field = (np.sin((x * (c + 1) + 3 * y) / 9) + np.cos((y * (c + 2) - x) / 7)) / 4 + 0.5
        fields.append(np.clip(field + rng.normal(0, 0.03, field.shape), 0, 1))
    return np.round(np.stack(fields, -1) * (2**bits - 1)).astype(np.uint64)


def in_8(values: np.ndarray, bits: int) -> np.ndarray:
    return np.round(values / (2**bits - 1) * 255)


def on_white(colour: np.ndarray, alpha: np.ndarray, premultiplied: bool = False) -> np.ndarray:
    a = alpha[..., None] / 255
    return np.clip(colour + 255 * (1 - a) if premultiplied else colour * a + 255 * (1 - a), 0, 255)


# TIFF -----------------------------------------------------------------------------------------------------------------

TYPES = {"B": 1, "H": 3, "I": 4, "Q": 16}


def packed_bits(values: np.ndarray, bits: int, order: str, kind: str = "u") -> bytes:
    """Rows of (rows, n) numbers, each row filled up to whole bytes."""
    if kind == "f":
        return values.astype(f"{order}f{bits // 8}").tobytes()
    if bits in (8, 16, 32, 64):
        return values.astype(f"{order}{kind}{bits // 8}").tobytes()
    if bits == 24:
        parts = values.astype(f"{order}u4").view(np.uint8).reshape(*values.shape, 4)
        return np.ascontiguousarray(parts[..., :3] if order == "<" else parts[..., 1:]).tobytes()
    single = (values[..., None].astype(np.uint64) >> np.arange(bits - 1, -1, -1, dtype=np.uint64)) & np.uint64(1)
    return np.packbits(single.reshape(len(values), -1).astype(np.uint8), axis=1).tobytes()


def compress(data: bytes, compression: int) -> bytes:
    import imagecodecs

    if compression in (8, 32946):
        return zlib.compress(data)
    if compression == 5:
        return imagecodecs.lzw_encode(data)
    if compression == 32773:
        return imagecodecs.packbits_encode(data)
    if compression == 50000:
        return imagecodecs.zstd_encode(data)
    if compression == 34925:
        import lzma

        return lzma.compress(data)
    return data


def predicted(values: np.ndarray, predictor: int, bits: int, order: str, kind: str) -> bytes:
    """One strip's (rows, columns, samples) as bytes, with the differences that a predictor wants."""
    rows, _, n = values.shape
    if predictor == 3:
        size = bits // 8
        planes = values.reshape(rows, -1).astype(f">f{size}").view(np.uint8).reshape(rows, -1, size).transpose(0, 2, 1)
        flat = np.ascontiguousarray(planes).reshape(rows, -1, n)
        flat = np.diff(flat, axis=1, prepend=np.zeros((rows, 1, n), np.uint8))
        return flat.astype(np.uint8).tobytes()
    if predictor == 2:
        whole = values.astype(f"={kind}{bits // 8}").view(f"=u{bits // 8}")
        values = np.diff(whole, axis=1, prepend=np.zeros((rows, 1, n), whole.dtype))
        return packed_bits(values.reshape(rows, -1), bits, order)
    return packed_bits(values.reshape(rows, -1), bits, order, kind)


def tiff(  # noqa: PLR0912  # one line a tag
    values: np.ndarray,
    photometric: int,
    bits: int = 8,
    *,
    order: str = "<",
    big: bool = False,
    planes: bool = False,
    compression: int = 1,
    predictor: int = 1,
    kind: str = "u",
    fill: int = 1,
    rows: int | None = 6,
    tile: tuple[int, int] | None = None,
    extra: tuple[int, ...] = (),
    orientation: int = 1,
    palette: np.ndarray | None = None,
    more: dict[int, tuple[str, tuple[int, ...]]] | None = None,
    chunks: list[bytes] | None = None,
) -> bytes:
    """A TIFF of these samples, (h, w, n)."""
    h, w, n = values.shape
    rows = h if rows is None else rows
    if chunks is None:
        layers = [values[..., i : i + 1] for i in range(n)] if planes else [values]
        chunks = []
        for layer in layers:
            if tile:
                th, tw = tile
                filled = np.zeros((-(-h // th) * th, -(-w // tw) * tw, layer.shape[2]), layer.dtype)
                filled[:h, :w] = layer
                parts = [
                    filled[y : y + th, x : x + tw]
                    for y in range(0, len(filled), th)
                    for x in range(0, filled.shape[1], tw)
                ]
            else:
                parts = [layer[y : y + rows] for y in range(0, h, rows)]
            chunks += [compress(predicted(part, predictor, bits, order, kind), compression) for part in parts]
    if fill == 2:
        chunks = [bytes(int(f"{b:08b}"[::-1], 2) for b in chunk) for chunk in chunks]
    head = 16 if big else 8
    starts = list(np.cumsum([head, *[len(c) for c in chunks[:-1]]]))
    tags = {
        256: ("I", (w,)), 257: ("I", (h,)), 258: ("H", (bits,) * n), 259: ("H", (compression,)),
        262: ("H", (photometric,)), 274: ("H", (orientation,)), 277: ("H", (n,)), 284: ("H", (2 if planes else 1,)),
    }  # fmt: skip
    place = "Q" if big else "I"
    if tile:
        tags |= {
            322: ("I", (tile[1],)),
            323: ("I", (tile[0],)),
            324: (place, starts),
            325: (place, [len(c) for c in chunks]),
        }
    else:
        tags |= {273: (place, starts), 278: ("I", (rows,)), 279: (place, [len(c) for c in chunks])}
    if fill != 1:
        tags[266] = ("H", (fill,))
    if predictor != 1:
        tags[317] = ("H", (predictor,))
    if kind != "u":
        tags[339] = ("H", ({"i": 2, "f": 3}[kind],) * n)
    if extra:
        tags[338] = ("H", extra)
    if palette is not None:
        tags[320] = ("H", tuple(int(v) for v in palette.T.ravel()))
    tags |= more or {}
    body = b"".join(chunks)
    body += bytes(-len(body) % 8)
    at = head + len(body)
    count, width = ("Q", 8) if big else ("H", 4)
    table, rest = struct.pack(order + count, len(tags)), b""
    behind = at + len(table) + len(tags) * (20 if big else 12) + width
    for tag, (letter, given) in sorted(tags.items()):
        value = struct.pack(f"{order}{len(given)}{letter}", *given)
        table += struct.pack(order + ("HHQ" if big else "HHI"), tag, TYPES[letter], len(given))
        if len(value) <= width:
            table += value.ljust(width, b"\0")
        else:
            table += struct.pack(order + place, behind + len(rest))
            rest += value + bytes(-len(value) % 8)
    mark = b"II" if order == "<" else b"MM"
    start = struct.pack(order + "HHHQ", 43, 8, 0, at) if big else struct.pack(order + "HI", 42, at)
    return mark + start + body + table + bytes(width) + rest


def grey_meant(values: np.ndarray, bits: int, white_is_zero: bool = False) -> np.ndarray:
    meant = in_8(values[..., 0].astype(float), bits)
    return 255 - meant if white_is_zero else meant


def tiffs() -> Iterator[Case]:
    """Every layout of TIFF."""
    stored = {
        "strips": {}, "one-strip": {"rows": None}, "tiles": {"tile": (16, 16)}, "wide-tiles": {"tile": (32, 48)},
    }  # fmt: skip
    orders = {"le": "<", "be": ">"}
    for (order, mark), (shape, how), bits in product(orders.items(), stored.items(), (1, 2, 4, 8, 12, 16, 24)):
        for white in (0, 1):
            values = scene(1, bits)
            meant = grey_meant(values, bits, white == 0)
            yield Case(f"grey{bits}-{white}-{shape}-{order}.tif", tiff(values, white, bits, order=mark, **how), meant)
    for (order, mark), (shape, how), bits, planes in product(
        orders.items(), stored.items(), (4, 8, 12, 16), (False, True)
    ):
        values = scene(3, bits)
        name = f"rgb{bits}-{'planes' if planes else 'pixels'}-{shape}-{order}.tif"
        yield Case(name, tiff(values, 2, bits, order=mark, planes=planes, **how), in_8(values.astype(float), bits))
    for compression, (photometric, n), bits, predictor in product(
        (5, 8, 32946, 32773, 50000, 34925), ((0, 1), (1, 1), (2, 3)), (1, 4, 8, 16), (1, 2)
    ):
        if predictor == 2 and (bits < 8 or compression == 32773):
            continue
        for planes, order, how in ((False, "<", {}), (n > 1, ">", {"tile": (16, 32)})):
            values = scene(n, bits)
            data = tiff(
                values,
                photometric,
                bits,
                compression=compression,
                predictor=predictor,
                planes=planes,
                order=order,
                **how,
            )
            # libvips as its package is built reads neither of the last two, and shows them black without a word.
            by = "both" if compression < 34000 else "meant"
            meant = in_8(values.astype(float), bits) if n > 1 else grey_meant(values, bits, photometric == 0)
            kind = f"{'planes' if planes else 'pixels'}-{'tiles' if how else 'strips'}"
            yield Case(f"packed{compression}-{predictor}-{photometric}-{bits}-{kind}.tif", data, meant, by)
    for order, mark in orders.items():
        for big in (False, True):
            for bits, n, compression in product((8, 16), (1, 3), (1, 5, 8)):
                values = scene(n, bits)
                data = tiff(values, 2 if n > 1 else 1, bits, order=mark, big=big, compression=compression)
                meant = in_8(values.astype(float), bits) if n > 1 else grey_meant(values, bits)
                yield Case(f"big{int(big)}-{order}-{bits}-{n}-{compression}.tif", data, meant)
    yield from tiffs_with_alpha()
    yield from tiffs_of_other_colours()
    yield from tiffs_of_other_numbers()
    for fill, bits, compression, n in product((1, 2), (1, 2, 4, 8, 16), (1, 5, 8, 32773), (1, 3)):
        if fill == 2 and not (n == 3 and bits < 8):
            values = scene(n, bits)
            meant = in_8(values.astype(float), bits) if n > 1 else grey_meant(values, bits)
            data = tiff(values, 2 if n > 1 else 1, bits, compression=compression, fill=2)
            yield Case(f"fill2-{bits}-{compression}-{n}.tif", data, meant)
    for orientation, bits in product(range(1, 9), (8, 16)):
        values = scene(3, bits)
        shown = in_8(values.astype(float), bits)
        turned = {
            1: shown, 2: shown[:, ::-1], 3: shown[::-1, ::-1], 4: shown[::-1], 5: shown.swapaxes(0, 1),
            6: np.rot90(shown, -1), 7: np.rot90(shown, 2).swapaxes(0, 1), 8: np.rot90(shown, 1),
        }[orientation]  # fmt: skip
        yield Case(
            f"turned{orientation}-{bits}.tif", tiff(values, 2, bits, planes=True, orientation=orientation), turned
        )


def tiffs_with_alpha() -> Iterator[Case]:
    for bits, n, kind, planes, (order, mark) in product(
        (8, 16), (1, 3), (0, 1, 2), (False, True), (("le", "<"), ("be", ">"))
    ):
        values = scene(n + 1, bits)
        if kind == 1:
            most = np.uint64(2**bits - 1)
            values[..., :n] = values[..., :n] * values[..., n:] // most
        shown = in_8(values.astype(float), bits)
        colour, alpha = shown[..., :n], shown[..., n]
        meant = colour if kind == 0 else on_white(colour, alpha, kind == 1)
        data = tiff(values, 2 if n > 1 else 1, bits, extra=(kind,), planes=planes, order=mark)
        name = f"alpha{kind}-{n}-{bits}-{'planes' if planes else 'pixels'}-{order}.tif"
        # The specification: an extra sample of kind 0 says nothing of transparency. libvips takes it for such.
        # Of grey with transparency in planes it shows something else than of the same in pixels.
        by = "meant" if kind == 0 or (planes and n == 1) else "both"
        yield Case(name, data, meant if n > 1 else meant[..., 0], by)
    values = scene(5)
    for extra in ((2, 0), (0, 2), (0, 0)):
        colour = values[..., :3].astype(float)
        meant = colour if 2 not in extra else on_white(colour, values[..., 3 + extra.index(2)].astype(float))
        yield Case(f"extra{extra[0]}{extra[1]}.tif", tiff(values, 2, extra=extra), meant, "meant")


def tiffs_of_other_colours() -> Iterator[Case]:
    rng = np.random.default_rng(3)
    for bits, deep, compression in product((1, 2, 4, 8), (True, False), (1, 5)):
        values = scene(1, bits)
        table = rng.integers(0, 256, (2**bits, 3))
        palette = table * 257 if deep else table
        meant = table[values[..., 0]].astype(float)
        yield Case(
            f"palette{bits}-{'16' if deep else '8'}-{compression}.tif",
            tiff(values, 3, bits, palette=palette, compression=compression), meant,
        )  # fmt: skip
    table = rng.integers(0, 256, (256, 3))
    values = scene(2)
    for kind in (0, 2):
        colour = table[values[..., 0]].astype(float)
        meant = colour if kind == 0 else on_white(colour, values[..., 1].astype(float))
        yield Case(f"palette-alpha{kind}.tif", tiff(values, 3, palette=table * 257, extra=(kind,)), meant, "meant")
    for bits, planes, compression, (order, mark) in product((8, 16), (False, True), (1, 5), (("le", "<"), ("be", ">"))):
        values = scene(4, bits)
        ink = in_8(values.astype(float), bits)
        meant = (255 - ink[..., :3]) * (255 - ink[..., 3:]) / 255
        # Without a profile inks are subtracted; libvips takes a press's profile of its own.
        data = tiff(values, 5, bits, planes=planes, compression=compression, order=mark)
        yield Case(f"cmyk{bits}-{'planes' if planes else 'pixels'}-{compression}-{order}.tif", data, meant, "meant")
    # (libvips takes L*a*b* as seen in daylight of 6500 K; the specification, Photoshop and profiles as in that of 5000 K)
    for photometric, bits, planes in product((8, 9), (8, 16), (False, True)):
        yield Case(
            f"lab{photometric}-{bits}-{'planes' if planes else 'pixels'}.tif",
            lab(photometric, bits, planes),
            None,
            "meant",
        )
    for across, down in ((1, 1), (2, 1), (2, 2), (4, 2), (1, 2)):
        for compression in (1, 5):
            data, meant = ycbcr(across, down, compression)
            # (libvips shows luma and differences as if they were red, green and blue)
            yield Case(f"ycbcr{across}{down}-{compression}.tif", data, meant, "meant")


def tiffs_packed_as_pictures() -> Iterator[Case]:
    """JPEG and fax within TIFF, of which only another reader can tell what they mean."""
    import tifffile

    pixels = scene(3).astype(np.uint8)
    for how, tile in product(("rgb", "ycbcr", "minisblack", "miniswhite"), (None, (32, 32))):
        for across in ((1, 1), (2, 1), (2, 2)) if how == "ycbcr" else ((1, 1),):
            file = io.BytesIO()
            values = pixels[..., 0] if "min" in how else pixels
            tifffile.imwrite(file, values, photometric=how, compression="jpeg", tile=tile, subsampling=across)
            yield Case(f"jpeg-{how}-{across}-{tile}.tif", file.getvalue(), None)
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, photometric="rgb", compression="webp", compressionargs={"lossless": True})
    yield Case("webp.tif", file.getvalue(), pixels.astype(float))
    for packed, photometric in product(("group3", "group4", "tiff_ccitt"), (0, 1)):
        file = io.BytesIO()
        tags = {262: photometric}
        PIL.Image.fromarray(pixels[..., 0] > 99).save(file, "TIFF", compression=packed, tiffinfo=tags)
        yield Case(f"{packed}-{photometric}.tif", file.getvalue(), None)


def lab(photometric: int, bits: int, planes: bool) -> bytes:
    shown = scene(3).astype(float) / 255
    a, b = (shown[..., 1] - 0.5) * 80, (shown[..., 2] - 0.5) * 80
    if bits == 8:
        high, shift = 255, 1
    else:
        high, shift = 65535 if photometric == 8 else 65280, 256
    offset = 0 if photometric == 8 else 128 * shift
    values = [np.round(shown[..., 0] * high), np.round(a * shift) + offset, np.round(b * shift) + offset]
    whole = np.stack(values, -1).astype(np.int64) & (2**bits - 1)
    return tiff(whole.astype(np.uint64), photometric, bits, planes=planes)


def ycbcr(across: int, down: int, compression: int) -> tuple[bytes, np.ndarray]:
    """Luma, and colours that several pixels share; rows of a strip are whole units."""
    values = scene(3).astype(float)
    h, w = -(-HEIGHT // down) * down, -(-WIDTH // across) * across
    full = np.pad(values, ((0, h - HEIGHT), (0, w - WIDTH), (0, 0)), "edge")
    units = full.reshape(h // down, down, w // across, across, 3)
    luma = units[..., 0].swapaxes(1, 2).reshape(h // down, w // across, -1)
    shared = np.round(units[..., 1:].mean((1, 3)) / 2 + 64)
    packed = np.concatenate([luma, shared], -1).astype(np.uint8)
    step = 2
    chunks = [compress(packed[i : i + step].tobytes(), compression) for i in range(0, len(packed), step)]
    more = {530: ("H", (across, down))}
    data = tiff(scene(3), 6, rows=step * down, compression=compression, chunks=chunks, more=more)
    y = values[..., 0]
    cb, cr = (np.repeat(np.repeat(shared[..., i], down, 0), across, 1)[:HEIGHT, :WIDTH] - 128 for i in (0, 1))
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], -1)
    return data, np.clip(np.round(rgb), 0, 255)


def tiffs_of_other_numbers() -> Iterator[Case]:
    """Floats, signed numbers, 32 bits: shades of grey are read by their range; of colours nobody says what is white."""
    for bits, order, predictor in product((16, 32, 64), "<>", (1, 3)):
        values = scene(1).astype(float) / 255
        how = {"kind": "f", "order": order, "predictor": predictor, "compression": 8 if predictor == 3 else 1}
        # A float from 0 to 1 is a shade here; to libvips shades are of 0 to 255.
        yield Case(
            f"float{bits}-{order}-{predictor}.tif",
            tiff(values, 1, bits, **how),
            np.round(values * 255)[..., 0],
            "meant",
        )
        yield Case(
            f"float{bits}-{order}-{predictor}-white.tif",
            tiff(values, 0, bits, **how),
            np.round(255 - values * 255)[..., 0],
            "meant",
        )
        yield Case(f"float{bits}-{order}-{predictor}-rgb.tif", tiff(scene(3) / 255, 2, bits, **how), None, "refused")
    for bits, order, n in product((8, 16, 32), "<>", (1, 3)):
        values = scene(n, 7 if bits == 8 else 15).astype(np.int64)
        meant = values if bits == 8 else np.round(values / 257)
        data = tiff(values, 2 if n > 1 else 1, bits, kind="i", order=order)
        by = "refused" if n > 1 else "both" if bits < 32 else "meant"
        yield Case(f"int{bits}-{n}-{order}.tif", data, None if n > 1 else meant[..., 0].astype(float), by)
        yield Case(
            f"negative{bits}-{n}-{order}.tif",
            tiff(values - 50, 2 if n > 1 else 1, bits, kind="i", order=order),
            None,
            "refused",
        )
    for order in "<>":
        values = scene(1, 16)
        yield Case(f"uint32-{order}.tif", tiff(values, 1, 32, order=order), np.round(values / 257)[..., 0], "meant")
        yield Case(f"uint32-{order}-rgb.tif", tiff(scene(3, 16), 2, 32, order=order), None, "refused")
        yield Case(f"uint32-{order}-whole.tif", tiff(scene(1, 32), 1, 32, order=order), None, "refused")


# PNG ------------------------------------------------------------------------------------------------------------------

ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def filtered(rows: np.ndarray, step: int) -> bytes:
    """Rows of bytes, each with another of the five filters."""
    out = bytearray()
    before = np.zeros(rows.shape[1], np.int64)
    for i, row in enumerate(rows.astype(np.int64)):
        left = np.concatenate([np.zeros(step, np.int64), row])[: len(row)]
        corner = np.concatenate([np.zeros(step, np.int64), before])[: len(row)]
        guess = left + before - corner
        near = np.stack([np.abs(guess - left), np.abs(guess - before), np.abs(guess - corner)])
        paeth = np.where(
            (near[0] <= near[1]) & (near[0] <= near[2]), left, np.where(near[1] <= near[2], before, corner)
        )
        taken = (np.zeros_like(row), left, before, (left + before) // 2, paeth)[i % 5]
        out += bytes([i % 5]) + ((row - taken) % 256).astype(np.uint8).tobytes()
        before = row
    return bytes(out)


def png(
    values: np.ndarray, colour: int, bits: int, *, interlace: bool = False, chunks: tuple[tuple[bytes, bytes], ...] = ()
) -> bytes:
    h, w, n = values.shape
    stream = b""
    for left, top, across, down in ADAM7 if interlace else ((0, 0, 1, 1),):
        part = values[top::down, left::across]
        if part.size:
            packed = packed_bits(part.reshape(len(part), -1), bits, ">")
            rows = np.frombuffer(packed, np.uint8).reshape(len(part), -1)
            stream += filtered(rows, max(1, n * bits // 8))
    header = struct.pack(">IIBBBBB", w, h, bits, colour, 0, 0, int(interlace))
    parts = ((b"IHDR", header), *chunks, (b"IDAT", zlib.compress(stream)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


def pngs() -> Iterator[Case]:
    """Every colour type, depth and transparency of PNG, in both orders of rows."""
    rng = np.random.default_rng(8)
    for interlace in (False, True):
        way = "interlaced" if interlace else "rows"
        for bits in (1, 2, 4, 8, 16):
            values = scene(1, bits)
            shown = in_8(values[..., 0].astype(float), bits)
            yield Case(f"grey{bits}-{way}.png", png(values, 0, bits, interlace=interlace), shown)
            for key in sorted({0, 2**bits - 1, int(values[5, 5, 0]), int(values[-1, -1, 0])}):
                clear = np.where(values[..., 0] == key, 255.0, shown)
                chunk = (b"tRNS", struct.pack(">H", key))
                yield Case(
                    f"grey{bits}-key{key}-{way}.png", png(values, 0, bits, interlace=interlace, chunks=(chunk,)), clear
                )
        for bits in (8, 16):
            values = scene(3, bits)
            shown = in_8(values.astype(float), bits)
            yield Case(f"rgb{bits}-{way}.png", png(values, 2, bits, interlace=interlace), shown)
            values[3:9, 4:20] = values[0, 0]
            if bits == 16:
                values[5, 4:20, 2] ^= np.uint64(1)  # another colour, though not in its upper bytes
            shown = in_8(values.astype(float), bits)
            key = tuple(int(v) for v in values[0, 0])
            clear = np.where((values == values[0, 0]).all(-1, keepdims=True), 255.0, shown)
            for chunks in (
                ((b"tRNS", struct.pack(">3H", *key)),),
                ((b"gAMA", struct.pack(">I", 45455)), (b"tRNS", struct.pack(">3H", *key))),
            ):
                yield Case(
                    f"rgb{bits}-key-{len(chunks)}-{way}.png",
                    png(values, 2, bits, interlace=interlace, chunks=chunks),
                    clear,
                )
            for colour, n in ((4, 1), (6, 3)):
                values = scene(n + 1, bits)
                shown = in_8(values.astype(float), bits)
                meant = on_white(shown[..., :n], shown[..., n])
                yield Case(
                    f"alpha{n}-{bits}-{way}.png",
                    png(values, colour, bits, interlace=interlace),
                    meant if n > 1 else meant[..., 0],
                )
        for bits in (1, 2, 4, 8):
            for size in sorted({2**bits, max(2, 2**bits - 3)}):
                table = rng.integers(0, 256, (size, 3))
                values = scene(1, bits) % np.uint64(size)
                chunk = (b"PLTE", bytes(table.astype(np.uint8).ravel()))
                yield Case(
                    f"palette{bits}-{size}-{way}.png",
                    png(values, 3, bits, interlace=interlace, chunks=(chunk,)),
                    table[values[..., 0]].astype(float),
                )
                for seen in (1, size):
                    alpha = rng.integers(0, 256, seen)
                    whole = np.concatenate([alpha, np.full(size - seen, 255)])
                    meant = on_white(table[values[..., 0]].astype(float), whole[values[..., 0]].astype(float))
                    trns = (b"tRNS", bytes(alpha.astype(np.uint8)))
                    yield Case(
                        f"palette{bits}-{size}-alpha{seen}-{way}.png",
                        png(values, 3, bits, interlace=interlace, chunks=(chunk, trns)),
                        meant,
                    )
        for extra in (
            (b"gAMA", struct.pack(">I", 45455)),
            (b"sRGB", b"\0"),
            (b"gAMA", struct.pack(">I", 100000)),
            (b"cHRM", bytes(32)),
        ):
            values = scene(3)
            yield Case(
                f"{extra[0].decode()}-{extra[1][:3].hex()}-{way}.png",
                png(values, 2, 8, interlace=interlace, chunks=(extra,)),
                values.astype(float),
            )


# GIF ------------------------------------------------------------------------------------------------------------------


def gif_codes(values: np.ndarray, bits: int) -> bytes:
    """LZW without compression: the table is cleared before it grows."""
    clear, width = 1 << bits, bits + 1
    codes: list[int] = []
    for i, value in enumerate(values.ravel()):
        if i % ((1 << bits) - 2 if bits > 1 else 1) == 0:
            codes.append(clear)
        codes.append(int(value))
    codes.append(clear + 1)
    number, length = 0, 0
    out = bytearray()
    for code in codes:
        number |= code << length
        length += width
        while length >= 8:
            out.append(number & 255)
            number >>= 8
            length -= 8
    out.append(number & 255)
    blocks = b"".join(bytes([len(out[i : i + 255])]) + out[i : i + 255] for i in range(0, len(out), 255))
    return bytes([bits]) + blocks + b"\0"


class Frame(NamedTuple):
    """One image of a GIF: its indices, its place, what is clear, what becomes of it, and whether rows are interlaced."""

    values: np.ndarray
    left: int = 0
    top: int = 0
    clear: int | None = None
    disposal: int = 0
    interlace: bool = False
    table: np.ndarray | None = None


def gif(
    frames: list[Frame], table: np.ndarray | None, size: tuple[int, int] = (HEIGHT, WIDTH), background: int = 0
) -> bytes:
    def flags(colours: np.ndarray | None) -> int:
        return 0 if colours is None else 0x80 | (len(colours).bit_length() - 2)

    data = b"GIF89a" + struct.pack("<HHBBB", size[1], size[0], flags(table) | 0x70, background, 0)
    data += b"" if table is None else table.astype(np.uint8).tobytes()
    for frame in frames:
        data += b"!\xf9\4" + struct.pack(
            "<BHBB", frame.disposal << 2 | (frame.clear is not None), 10, frame.clear or 0, 0
        )
        h, w = frame.values.shape
        data += b"," + struct.pack("<HHHHB", frame.left, frame.top, w, h, flags(frame.table) | 0x40 * frame.interlace)
        data += b"" if frame.table is None else frame.table.astype(np.uint8).tobytes()
        order = [y for start, step in ((0, 8), (4, 8), (2, 4), (1, 2)) for y in range(start, h, step)]
        colours = frame.table if frame.table is not None else table
        bits = max(2, len(colours).bit_length() - 1) if colours is not None else 8
        data += gif_codes(frame.values[order] if frame.interlace else frame.values, bits)
    return data + b";"


def gifs() -> Iterator[Case]:
    """First frames of GIFs."""
    rng = np.random.default_rng(5)
    for bits, clear, interlace, local in product((2, 4, 8), (None, 0, 1, 3), (False, True), (False, True)):
        table = rng.integers(0, 256, (2**bits, 3))
        values = scene(1, bits)[..., 0].astype(int)
        shown = table[values].astype(float)
        meant = shown if clear is None else np.where((values == clear)[..., None], 255.0, shown)
        data = gif(
            [Frame(values, clear=clear, interlace=interlace, table=table if local else None)], None if local else table
        )
        yield Case(f"gif{bits}-{clear}-{int(interlace)}-{int(local)}.gif", data, meant)
        # A frame that is smaller than the screen: what lies around it is transparent, as every browser shows it.
        # (The specification has a background colour there, which nobody obeys; libvips shows black if nothing is clear.)
        around = np.full((HEIGHT + 9, WIDTH + 7, 3), 255.0)
        around[4 : 4 + HEIGHT, 5 : 5 + WIDTH] = meant
        frame = Frame(values, 5, 4, clear, interlace=interlace, table=table if local else None)
        data = gif([frame], None if local else table, (HEIGHT + 9, WIDTH + 7), background=1)
        yield Case(
            f"gif{bits}-{clear}-{int(interlace)}-{int(local)}-within.gif",
            data,
            around,
            "both" if clear is not None else "meant",
        )


# BMP, PPM, WebP -------------------------------------------------------------------------------------------------------


def bmp(values: np.ndarray, bits: int, *, header: int = 40, compression: int = 0, table: np.ndarray | None = None,
        masks: tuple[int, ...] = (), top_down: bool = False, body: bytes | None = None) -> bytes:  # fmt: skip
    h, w = values.shape
    if body is None:
        rows = values if top_down else values[::-1]
        if bits in (16, 24, 32):
            flat = rows.astype("<u4").view(np.uint8).reshape(h, w, 4)[..., : bits // 8].reshape(h, -1)
        else:
            flat = np.frombuffer(packed_bits(rows, bits, ">"), np.uint8).reshape(h, -1)
        body = np.pad(flat, ((0, 0), (0, -flat.shape[1] % 4))).tobytes()
    if header == 12:
        head = struct.pack("<IHHHH", 12, w, h, 1, bits)
        colours = b"" if table is None else table[:, ::-1].astype(np.uint8).tobytes()
    else:
        n = 0 if table is None else len(table)
        head = struct.pack(
            "<IiiHHIIiiII", header, w, -h if top_down else h, 1, bits, compression, len(body), 2835, 2835, n, 0
        )
        colours = b"" if table is None else np.pad(table[:, ::-1].astype(np.uint8), ((0, 0), (0, 1))).tobytes()
        packed = struct.pack(f"<{len(masks)}I", *masks)
        if header > 40:
            head += packed.ljust(16, b"\0") + b"sRGB" + bytes(header - 40 - 20)
        else:
            colours = packed + colours
    start = 14 + len(head) + len(colours)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + head + colours + body


def bmps() -> Iterator[Case]:
    """Bitmaps; libvips doesn't read them, so what was written is what is meant."""
    rng = np.random.default_rng(6)
    for header, bits, top_down in product((12, 40, 108, 124), (1, 4, 8, 24, 32), (False, True)):
        if header == 12 and (top_down or bits == 32):
            continue
        if bits <= 8:
            table = rng.integers(0, 256, (2**bits, 3))
            values = scene(1, bits)[..., 0].astype(int)
            meant = table[values].astype(float)
        else:
            table, shown = None, scene(3)
            values, meant = (shown[..., 0] << 16 | shown[..., 1] << 8 | shown[..., 2]), shown.astype(float)
        data = bmp(values, bits, header=header, table=table, top_down=top_down)
        yield Case(f"bmp{header}-{bits}-{top_down}.bmp", data, meant, "meant")
    for header, masks, bits in product((40, 108, 124), ((0x7C00, 0x3E0, 0x1F), (0xF800, 0x7E0, 0x1F)), (16,)):
        widths = [m.bit_count() for m in masks]
        parts = [scene(3, n, seed=1)[..., i] for i, n in enumerate(widths)]
        values = sum(p << np.uint64((m & -m).bit_length() - 1) for p, m in zip(parts, masks, strict=True))
        meant = np.stack([in_8(p.astype(float), n) for p, n in zip(parts, widths, strict=True)], -1)
        yield Case(
            f"bmp{header}-{widths}-{bits}.bmp",
            bmp(values, bits, header=header, compression=3, masks=masks),
            meant,
            "meant",
        )
    shown = scene(4)
    values = shown[..., 3] << 24 | shown[..., 0] << 16 | shown[..., 1] << 8 | shown[..., 2]
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    meant = on_white(shown[..., :3].astype(float), shown[..., 3].astype(float))
    for header in (108, 124):
        yield Case(f"bmp{header}-alpha.bmp", bmp(values, 32, header=header, compression=3, masks=masks), meant, "meant")
    table = rng.integers(0, 256, (256, 3))
    values = scene(1)[..., 0].astype(int) // 32
    body = b"".join(b"".join(bytes([1, v]) for v in row) + b"\0\0" for row in values[::-1]) + b"\0\1"
    yield Case(
        "bmp-rle8.bmp", bmp(values, 8, compression=1, table=table, body=body), table[values].astype(float), "meant"
    )


def ppms() -> Iterator[Case]:
    """PBM, PGM and PPM, plain and raw, with every kind of maximum."""
    for most, plain, n in product((1, 3, 7, 15, 100, 127, 255, 256, 1023, 4095, 65535), (False, True), (1, 3)):
        values = np.round(scene(n).astype(float) / 255 * most).astype(int)
        magic = {(1, True): b"P2", (3, True): b"P3", (1, False): b"P5", (3, False): b"P6"}[n, plain]
        body = (
            "\n".join(" ".join(map(str, row.ravel())) for row in values).encode()
            if plain
            else values.astype(">u2" if most > 255 else "u1").tobytes()
        )
        data = magic + f"\n# by hand\n{WIDTH} {HEIGHT}\n{most}\n".encode() + body
        meant = np.round(values / most * 255)
        yield Case(f"{magic.decode()}-{most}.ppm", data, meant if n > 1 else meant[..., 0], "meant")
    bits = scene(1, 1)[..., 0]
    for magic, body in (
        (b"P1", "\n".join(" ".join(map(str, row)) for row in bits).encode()),
        (b"P4", np.packbits(bits.astype(np.uint8), axis=1).tobytes()),
    ):
        yield Case(f"{magic.decode()}.pbm", magic + f" {WIDTH} {HEIGHT}\n".encode() + body, 255.0 - 255 * bits, "meant")
    shades = scene(1).astype(np.float32)[..., 0] / 255
    for order, scale in (("<", -1.0), (">", 1.0)):
        body = shades[::-1].astype(f"{order}f4").tobytes()
        yield Case(
            f"float-{order}.pfm", f"Pf\n{WIDTH} {HEIGHT}\n{scale}\n".encode() + body, np.round(shades * 255), "meant"
        )


def webps() -> Iterator[Case]:
    """WebP without loss, with and without transparency."""
    for n in (3, 4):
        values = scene(n).astype(np.uint8)
        file = io.BytesIO()
        PIL.Image.fromarray(values).save(file, "WEBP", lossless=True, exact=True)
        meant = (
            values.astype(float) if n == 3 else on_white(values[..., :3].astype(float), values[..., 3].astype(float))
        )
        yield Case(f"lossless{n}.webp", file.getvalue(), meant)
