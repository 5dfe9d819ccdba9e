"""GIF as it is shown: what no frame has covered yet, and what a frame takes away again, is transparent."""

from __future__ import annotations

from typing import Any

from PIL import Image
from PIL.GifImagePlugin import GifImageFile

_TO_BACKGROUND, _TO_BEFORE = 2, 3  # once a frame has been shown: its area is cleared, or what was there comes back


class Gif(GifImageFile):
    """Pillow's reader of GIF, but for the background.

    Pillow fills it with a colour of the palette; every browser, and libnsgif, leaves it transparent, and the colour that
    a file names for it is hardly ever one that somebody has chosen.
    """

    _covered: tuple[int, int, int, int] | None = None

    def _open(self) -> None:
        super()._open()
        if self.tile and self.tile[0].extents != (0, 0, *self.size):
            self._covered = self.tile[0].extents

    def load(self) -> Any:
        """Decode the frame."""
        covered, self._covered = self._covered, None
        loaded = super().load()
        if covered is None or "transparency" in self.info:  # with a transparent colour Pillow fills with that
            return loaded
        self._clear_outside(covered)
        return super().load()

    def seek(self, frame: int) -> None:
        """Go to a frame, with the area of the one before cleared if that is so meant."""
        # Before the first frame there is nothing, so back to that is the same.
        cleared = self.disposal_method == _TO_BACKGROUND or (self.disposal_method == _TO_BEFORE and self.tell() == 0)
        if frame == self.tell() + 1 and cleared:
            self.load()
            self._become_rgba()
            left, top, right, bottom = self.dispose_extent or (0, 0, *self.size)
            self.dispose = Image.new("RGBA", (right - left, bottom - top)).im
        self.info.pop("grey", None)  # frames that follow may have colours
        self.disposal_method = 0  # Pillow goes on with it for frames that say nothing
        super().seek(frame)

    def _clear_outside(self, covered: tuple[int, int, int, int]) -> None:
        self._become_rgba()
        whole = Image.new("RGBA", self.size)
        whole.paste(self.crop(covered), covered)
        self.im = whole.im

    def _become_rgba(self) -> None:
        if self.mode != "RGBA":
            if self.mode == "L":  # it holds shades of grey alone, as its header said
                self.info["grey"] = True
            self.im = self.convert("RGBA").im
            self._mode, self.palette = "RGBA", None
            self.info.pop("transparency", None)
