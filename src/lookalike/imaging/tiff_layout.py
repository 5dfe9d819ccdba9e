"""The tags of a TIFF's page -> the layout of its samples, or a reason why it isn't read."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.imaging.formats import UnreadKindError
from lookalike.imaging.tiff_samples import COLOUR_SAMPLES, READ_BY_PILLOW, Layout, numbers
from lookalike.imaging.tiff_tags import LAB, Compression, Photometric, Tag


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
    lab = colours in LAB  # of which some programs say that two of three samples have a sign
    if len(set(depths)) > 1 or (len(set(formats)) > 1 and not lab):
        raise UnreadKindError("its samples are of different depths or types")
    kind = "u" if lab else {1: "u", 2: "i", 3: "f", 4: "u"}.get(formats[0])
    if kind is None:
        raise UnreadKindError("its values are complex numbers")
    bits, extra = depths[0], numbers(tags.get(Tag.EXTRA))
    planes, reverse = tags.get(Tag.PLANAR, 1) == 2 and samples > 1, tags.get(Tag.FILL, 1) == 2
    has_predictor = compression not in (Compression.NONE, Compression.PACKBITS, Compression.WEBP)
    predictor = tags.get(Tag.PREDICTOR, 1) if has_predictor else 1
    plain = kind == "u" and predictor in (1, 2) and not (planes or reverse or compression == Compression.WEBP)
    if plain and (colours, samples, extra) in READ_BY_PILLOW.get(bits, set()):
        return None
    if (n == 1 and samples > 2) or (not extra and samples > n + 1):
        raise UnreadKindError(f"{samples} samples a pixel, of which nobody says what they are")
    extra = (*extra, *(0,) * samples)[: samples - n] if extra else (2,)[: samples - n]
    alpha = next((i for i, meaning in enumerate(extra) if meaning in (1, 2)), None)
    tiled = Tag.TILE_OFFSETS in tags
    wide, high = (tags.get(Tag.TILE_WIDTH), tags.get(Tag.TILE_HEIGHT)) if tiled else (width, tags.get(Tag.ROWS, height))
    if not (isinstance(wide, int) and isinstance(high, int) and wide > 0):
        return None
    subsampling = numbers(tags.get(Tag.SUBSAMPLING, (2, 2))) if colours == Photometric.YCBCR else (1, 1)
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
        table=_table_of(tags[Tag.COLOURS]) if colours == Photometric.PALETTE else None,
        subsampling=(subsampling[0], subsampling[1]),
        coefficients=_shares_of(tags.get(Tag.COEFFICIENTS), (0.299, 0.587, 0.114)),
        reference=_shares_of(tags.get(Tag.REFERENCE), (0, 255, 128, 255, 128, 255)),
    )
    if colours == Photometric.CMYK and tags.get(Tag.INKS, 1) != 1:
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
    if colours in LAB:
        depths = (8, 16)
    elif colours == Photometric.YCBCR:
        depths = (8,)
    elif colours == Photometric.PALETTE:
        depths = range(1, 17) if kind == "u" else ()
    if bits not in depths:
        raise UnreadKindError(f"{bits} bits a sample of its type")
    if predictor not in (1, 2, 3) or (predictor == 2 and bits not in (8, 16, 32)) or (predictor == 3 and kind != "f"):
        raise UnreadKindError(f"predictor {predictor} with {bits} bits a sample")
    if colours in LAB and layout.alpha is not None:
        raise UnreadKindError("L*a*b* with transparency")
    if layout.subsampling != (1, 1) and (layout.planes or predictor != 1 or layout.samples != 3):
        raise UnreadKindError("YCbCr with fewer colours than pixels, in planes or with a predictor")


def _shares_of(given: Any, default: tuple[float, ...]) -> tuple[float, ...]:
    """Return what a file says of its luma, or what is usual where that is nonsense."""
    try:
        shares = tuple(float(v) for v in given)
    except (TypeError, ValueError, ZeroDivisionError):
        return default
    sound = len(shares) == len(default) and all(math.isfinite(v) for v in shares)
    if len(default) == 3:
        return shares if sound and min(shares) > 0 else default
    rising = sound and all(black < white for black, white in zip(shares[::2], shares[1::2], strict=True))
    return shares if rising else default


def _table_of(colours: Any) -> NDArray[np.uint8]:
    """Return a palette, (n, 3). Some programs write its 16 bits as 8, which libtiff and all that use it take as meant."""
    table = np.array(numbers(colours)).reshape(3, -1).T
    return (table if table.max() < 256 else table >> 8).astype(np.uint8)
