"""TIFF, where Pillow isn't right: other layouts of the samples, raw photos refused, strips that lie outside.

Pillow reads what cameras, scanners and Photoshop usually write, and what is compressed as JPEG or fax; see `samples`
for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from PIL.TiffImagePlugin import TiffImageFile

from lookalike.errors import ImageError
from lookalike.imaging.color import set_upright
from lookalike.imaging.formats import RAW_PHOTO, UnreadKindError
from lookalike.imaging.tiff_codecs import STREAMS
from lookalike.imaging.tiff_layout import layout_of
from lookalike.imaging.tiff_samples import COLOUR_SAMPLES, Layout, numbers
from lookalike.imaging.tiff_tags import Compression, Directories, Tag, chunks_run_out

_OTHER_COLOURS = {
    4: "a transparency mask", 10: "ITU L*a*b*", 32803: "a sensor's raw values", 32844: "LogL", 32845: "LogLuv",
    34892: "linear raw values", 51177: "a depth map",
}  # fmt: skip
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


class Tiff(TiffImageFile):
    """Pillow's reader of TIFF, with what it gets wrong done here; frames, EXIF and profiles go their usual way.

    Its file is to be a ``BytesIO`` where more than the header is wanted, and its name is what errors begin with.
    """

    _layout: Layout | None = None

    @property
    def _where(self) -> str:
        return self.filename if isinstance(self.filename, str) else ""

    def _setup(self) -> None:
        tags = self.tag_v2
        self._layout = None
        if self.tell() == 0:
            self._refuse_raw_photos()
        compression = tags.get(Tag.COMPRESSION, 1)
        if compression not in STREAMS | _BY_PILLOW:
            name = _OTHER_COMPRESSIONS.get(compression)
            raise UnreadKindError(
                f"its compression is {f'{name} ({compression})' if name else f'number {compression}'}"
            )
        colours = tags.get(Tag.PHOTOMETRIC, 0)
        if colours not in COLOUR_SAMPLES:
            name = _OTHER_COLOURS.get(colours, "unknown")
            raise UnreadKindError(f"its values are {name} (photometric interpretation {colours})")
        layout = layout_of(tags) if compression in STREAMS else None
        if layout is None:
            super()._setup()
            return
        self._layout = layout
        self._mode = layout.mode
        self._tile_size = layout.width, layout.height
        self._size = self._tile_size[::-1] if tags.get(Tag.ORIENTATION) in (5, 6, 7, 8) else self._tile_size
        self.tile, self.use_load_libtiff, self.palette = [], False, None
        if Tag.PROFILE in tags:
            self.info["icc_profile"] = tags[Tag.PROFILE]

    def _refuse_raw_photos(self) -> None:
        """Refuse a camera's raw file, of which the first picture is a preview, often a small one."""
        tags = self.tag_v2
        below = list(self._directories_below())
        raw = Tag.DNG in tags or any(
            colours in _RAW_COLOURS or compression in _RAW_COMPRESSIONS for colours, compression in below
        )
        if raw:
            given = tags.get(Tag.MAKER, "")
            named = given.decode("latin-1") if isinstance(given, bytes) else str(given)
            maker = named.strip("\0 ").split(" ")[0].title()
            kind = "DNG" if Tag.DNG in tags else maker if maker.isalnum() else "in a TIFF"
            raise ImageError(f"{self._where}: {RAW_PHOTO.format(kind)}", "unsupported")
        if Tag.SUBDIRECTORIES in tags and numbers(tags.get(Tag.SUBFILE, 0))[0] & 1:
            raise UnreadKindError("its first picture is a preview of one that lies deeper")

    def _directories_below(self) -> Iterator[tuple[int, int]]:
        """Yield colours and compression of the first directory and of those that hang on it."""
        tags = self.tag_v2
        yield tags.get(Tag.PHOTOMETRIC, 0), tags.get(Tag.COMPRESSION, 1)
        places = tags.get(Tag.SUBDIRECTORIES, ())
        if not places or self.fp is None:
            return
        self.fp.seek(0)
        directories = Directories(self.fp.read())
        for place in places if isinstance(places, tuple) else (places,):
            try:
                below, _ = directories.at(int(place))
            except (EOFError, ValueError, TypeError):
                continue
            stated = [(*directories.values(below.get(tag)), -1)[0] for tag in (Tag.PHOTOMETRIC, Tag.COMPRESSION)]
            yield stated[0], stated[1]

    def load(self) -> Any:
        """Decode the page; an error if a strip or a tile of it lies beyond the file's end, libtiff's where that reads it."""
        layout, self._layout = self._layout, None
        file: Any = self.fp
        if layout is not None:
            if layout.compression != Compression.NONE and not layout.lengths and chunks_run_out(file.getvalue()):
                raise EOFError
            self.im = layout.picture(file.getvalue(), self._where).im
            self.load_end()
        return super().load()

    def load_end(self) -> None:
        """Turn the page upright; Pillow's own way reads all of EXIF for that, and stops where it is broken."""
        orientation = self.tag_v2.get(Tag.ORIENTATION, 1)
        if isinstance(orientation, int) and 2 <= orientation <= 8:
            turned = set_upright(self, orientation)
            self.im, self._size = turned.im, turned.size
            del self.tag_v2[Tag.ORIENTATION]
