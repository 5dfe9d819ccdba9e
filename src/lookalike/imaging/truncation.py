"""The bytes of an image file -> whether its end is missing, by what its format says of its length."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from lookalike.imaging.formats import HEAD, JPEG_END, format_of
from lookalike.imaging.png import png_chunks
from lookalike.imaging.tiff_tags import chunks_run_out

if TYPE_CHECKING:
    from PIL.Image import Image

# Boxes of an ISO file that hold a picture, or lead to one. What else lies behind them may be rubbish, or a phone's video.
_OF_THE_PICTURE = (b"ftyp", b"meta", b"moov", b"mdat")
#: The kind of segment of a JPEG that begins a scan; those that have no length.
SCAN = 0xDA
_NO_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))
# A picture that is packed doesn't end in so many of them: the rest was lost in a crash, or never came.
_ZEROS = 64


def runs_out(data: bytes) -> bool:
    """Tell whether a file that could not be read lacks its end.

    Parameters
    ----------
    data : bytes
        The file.

    Returns
    -------
    bool
        False also where its format says nothing of it.
    """
    name = format_of(data[:HEAD])
    try:
        return name in _ENDS and _ENDS[name](data)
    except Exception:  # numbers in it lead out of it
        return True


def lacks_end(source: bytes, name: str | None) -> bool:
    """Tell whether a file that was decoded all the same has been cut short: decoders fill gaps in silence.

    Parameters
    ----------
    source : bytes
        The file.
    name : str or None
        Its format, as Pillow calls it.

    Returns
    -------
    bool
        False where its format says nothing of it, or its decoder checks that itself.
    """
    try:
        return name in _CHECKED and _CHECKED[name](source)
    except (IndexError, ValueError, struct.error):  # nonsense that the decoder didn't mind
        return False


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Go through the segments of a JPEG up to its first scan.

    Parameters
    ----------
    data : bytes
        The file.

    Yields
    ------
    (int, int, int)
        Each segment's kind, its beginning and its end; the scan comes last, with all that follows it.

    Raises
    ------
    IndexError
        If the file ends before its scan.
    """
    place = 2
    while (kind := data[place + 1]) != SCAN:
        if data[place] != 0xFF or kind in (0x00, 0xFF):
            place += 1
        elif kind in _NO_LENGTH:
            place += 2
        else:
            length = int.from_bytes(data[place + 2 : place + 4], "big")
            if length >= 2:  # else somebody has emptied it
                yield kind, place, place + 2 + length
            place += 2 + max(length, 2)
    yield SCAN, place, len(data)


def _jpeg_runs_out(data: bytes) -> bool:
    *_, (_, scan, _) = jpeg_segments(data)
    return data.find(JPEG_END, scan) < 0


def _png_runs_out(data: bytes) -> bool:
    if data[-8:-4] == b"IEND":
        return False
    *_, (kind, _, end) = png_chunks(data)
    return kind != b"IEND" or end > len(data)


def gif_blocks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Go through the blocks of a GIF, up to what is none.

    Parameters
    ----------
    data : bytes
        The file.

    Yields
    ------
    (bytes, int, int)
        Each block's kind (of an extension with its label), its beginning and its end.

    Raises
    ------
    IndexError
        If the file ends within a block, or without its trailer.
    """
    place = gif_start(data)
    while True:
        start, kind = place, data[place : place + 1]
        if kind == b",":
            place += 11 + _table_bytes(data[place + 9])
        elif kind == b"!":
            kind += data[place + 1 : place + 2]
            place += 2
        elif kind == b"\0":  # as some programs fill up with
            place += 1
            continue
        elif kind:
            if kind == b";":
                yield kind, place, place + 1
            return
        while length := data[place]:
            place += length + 1
        place += 1
        yield kind, start, place


def gif_start(data: bytes) -> int:
    """Tell where the first block of a GIF begins.

    Parameters
    ----------
    data : bytes
        The file.

    Returns
    -------
    int
        Behind its header and the colours that its frames share.
    """
    return 13 + _table_bytes(data[10])


def _table_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _gif_runs_out(data: bytes) -> bool:
    for _ in gif_blocks(data):  # IndexError where one leads beyond the end
        pass
    return False


# Kinds that a decoder doesn't know ------------------------------------------------------------------------------------

_JPEG_KINDS = {
    0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "hierarchical and lossless",
    0xCB: "lossless", 0xCD: "hierarchical", 0xCE: "hierarchical", 0xCF: "hierarchical and lossless", 0xF7: "JPEG-LS",
}  # fmt: skip
_CODECS = {
    b"vvc1": "VVC", b"evc1": "EVC", b"avc1": "H.264", b"j2k1": "JPEG 2000", b"jpeg": "JPEG", b"unci": "uncompressed",
    b"jxs1": "JPEG XS",
}  # fmt: skip


def unread_kind(data: bytes) -> str | None:
    """Name the kind of a file that no decoder here knows, where one has failed.

    Parameters
    ----------
    data : bytes
        The file.

    Returns
    -------
    str or None
        Words for an error; None where its kind isn't the reason.
    """
    name = format_of(data[:HEAD])
    try:
        if name == "JPEG":
            return next((_JPEG_KINDS[kind] for kind, _, _ in jpeg_segments(data) if kind in _JPEG_KINDS), None)
        if name in ("AVIF", "HEIC"):
            place = data.index(b"iinf") - 4
            items = data[place : _box(data, place)[2]]  # each with its kind behind its number
            if not any(kind in items for kind in (b"hvc1", b"av01", b"grid")):
                return next((f"its codec is {words}" for codec, words in _CODECS.items() if codec in items), None)
    except (IndexError, ValueError, struct.error):
        pass
    return None


# Boxes of HEIC and AVIF -----------------------------------------------------------------------------------------------


def _boxes_run_out(data: bytes) -> bool:
    """Tell whether a box with a picture, or a part of one that is listed, lies beyond the end (ISO/IEC 14496-12)."""
    place, kinds = 0, set()
    while place + 8 <= len(data):
        kind, start, end = _box(data, place)
        kinds.add(kind)
        if kind in _OF_THE_PICTURE:
            if end > len(data):
                return True
            if kind == b"meta":
                coded = _coded_items(data[place:end])
                for item, since, until in _parts_of_items(data, start + 4, end):
                    lost = item in coded and until - since > _ZEROS and data[until - _ZEROS : until] == bytes(_ZEROS)
                    if until > len(data) or lost:
                        return True
        place = end
    return b"meta" not in kinds and b"mdat" not in kinds


def _box(data: bytes, place: int) -> tuple[bytes, int, int]:
    """Return a box's kind, where what it holds begins, and its end."""
    length, kind = struct.unpack_from(">I4s", data, place)
    start = place + 8
    if length == 1:
        (length,) = struct.unpack_from(">Q", data, start)
        start += 8
    return kind, start, place + max(length, 8) if length else len(data)


def _coded_items(meta: bytes) -> set[int]:
    """Return the numbers of items in HEVC or AV1, whose bytes never end in many zeros, by the boxes ``infe``."""
    numbers = set()
    place = meta.find(b"infe")
    while place >= 0:
        of_id = 4 if meta[place + 4] == 3 else 2
        at = place + 8 + of_id + 2
        if meta[at : at + 4] in (b"hvc1", b"av01"):
            numbers.add(int.from_bytes(meta[place + 8 : place + 8 + of_id], "big"))
        place = meta.find(b"infe", place + 4)
    return numbers


def _parts_of_items(data: bytes, place: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the number, beginning and end of each part of an item that ``iloc`` says to lie in the file itself."""
    while place + 8 <= end:
        kind, start, place = _box(data, place)
        if kind == b"iloc":
            break
    else:
        return
    version, sizes = data[start], int.from_bytes(data[start + 4 : start + 6], "big")
    of_offset, of_length, of_base, of_index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    of_id = 4 if version == 2 else 2

    at = start + 6

    def number(length: int) -> int:
        nonlocal at
        at += length
        if at > end:
            raise IndexError("numbers beyond their box")
        return int.from_bytes(data[at - length : at], "big")

    for _ in range(number(of_id)):
        item = number(of_id)
        method = number(2) & 15 if version else 0
        number(2)
        base = number(of_base)
        for _ in range(number(2)):
            number(of_index if version else 0)
            offset, length = number(of_offset), number(of_length)
            if method == 0:
                yield item, base + offset, base + offset + length


# All formats ----------------------------------------------------------------------------------------------------------


def _bmp_runs_out(data: bytes) -> bool:
    """Tell whether the header of a bitmap, or its palette, lies beyond the end; the length that it states is often wrong."""
    return max(14 + data[14], int.from_bytes(data[10:14], "little")) > len(data)


def webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Go through the chunks of a WebP.

    Parameters
    ----------
    data : bytes
        The file.

    Yields
    ------
    (bytes, int, int)
        Each chunk's kind, its beginning, and its end without the byte that makes its length even.
    """
    place = 12
    while place + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, place)
        yield kind, place, place + 8 + length
        place += 8 + length + length % 2


def _webp_runs_out(data: bytes) -> bool:
    length = int.from_bytes(data[4:8], "little") + 8
    if length > len(data):
        return True
    # Other chunks, EXIF's say, may well end in zeros.
    of_pictures = [chunk for chunk in webp_chunks(data[:length]) if chunk[0] in (b"VP8 ", b"VP8L", b"ANMF")]
    if not of_pictures:
        return False
    kind, start, end = of_pictures[-1]
    # A picture of one colour may end in zeros: up to a twentieth of it, as measured, and none where nothing is lost.
    zeros = max(_ZEROS, 0 if kind == b"VP8L" else (end - start - 8) // 10)
    return end > len(data) or (end - start - 8 > zeros and data[end - zeros : end] == bytes(zeros))


# After a decoder has failed. For a PPM Pillow says so itself.
_ENDS: dict[str | None, Callable[[bytes], bool]] = {
    "AVIF": _boxes_run_out,
    "BMP": _bmp_runs_out,
    "GIF": _gif_runs_out,
    "HEIC": _boxes_run_out,
    "JPEG": _jpeg_runs_out,
    "PNG": _png_runs_out,
    "TIFF": chunks_run_out,
    "WEBP": _webp_runs_out,
}
# After it has decoded. Of BMP, GIF, PPM and TIFF each frame is checked while it is decoded; of JPEG see `images`.
_CHECKED = {
    "AVIF": _boxes_run_out,
    "HEIF": _boxes_run_out,
    "PNG": _png_runs_out,
    "WEBP": _webp_runs_out,
}


def check_jpeg_end(image: Image, data: bytes, scan: int) -> None:
    """Refuse a JPEG that libjpeg completed with grey: it only warns of that, and Pillow hides the warning.

    Parameters
    ----------
    image : PIL.Image.Image
        Loaded.
    data : bytes
        The file.
    scan : int
        Where its first scan begins.

    Raises
    ------
    EOFError
        If data are missing.
    """
    if data.rfind(JPEG_END, scan) < 0:
        raise EOFError
    width, height = image.size
    last = image.getpixel((width - 1, height - 1))
    if not {127, 128}.issuperset(last if isinstance(last, tuple) else (last,)):
        return
    block = max(1, 4 // image.decoderconfig[0])  # type: ignore[attr-defined]
    corner = image.crop((max(width - block, 0), max(height - block, 0), width, height))
    if any(high > 128 or low < 127 for low, high in np.atleast_2d(corner.getextrema()).tolist()):
        return
    # The corner is mid-grey, which is what missing data decode to, but may be meant so. Further bytes before the end
    # fill what is missing, and are skipped where nothing is.
    end = data.find(JPEG_END, scan)
    if _jpeg_pixels(data) != _jpeg_pixels(data[:end] + bytes(range(1, 129)) + data[end:]):
        raise EOFError


def _jpeg_pixels(data: bytes) -> bytes:
    from PIL.JpegImagePlugin import JpegImageFile

    image = JpegImageFile(io.BytesIO(data))
    image.draft(None, (2048, 2048))  # to save memory; small ones stay as they are
    return image.tobytes()
