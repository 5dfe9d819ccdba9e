"""Bytes that a client sent -> an upright picture of bounded size, decoded in the sandbox."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.cores import usable_cores
from lookalike.errors import ImageError, UsageError
from lookalike.imaging.decode import decode
from lookalike.imaging.encode import to_png
from lookalike.imaging.limits import Limits
from lookalike.imaging.resize import fit_to
from lookalike.imaging.sandbox.api import Sandbox

#: The longest side that is kept of an uploaded picture: no encoder looks at more.
MAX_SIDE = 1024
#: What an upload may cost: less than a file of one's own folder.
LIMITS = Limits(pixels=60_000_000, bytes=32 * 2**20, seconds=10.0, memory=2**30)
#: What all images of one request may cost together: as many pixels as four of the largest, and a minute.
TOGETHER_PIXELS, TOGETHER_SECONDS = 4 * LIMITS.pixels, 60.0


class Allowance:
    """What is left to one request for its images, however many they are.

    Attributes
    ----------
    pixels : int
        That may still be decoded; the first image may have as many as one may have at all.
    """

    def __init__(self) -> None:
        self.pixels, self._first = TOGETHER_PIXELS, True
        self._ends = time.monotonic() + TOGETHER_SECONDS

    def within(self, pixels: int) -> int:
        """Return how many pixels the next image may have, of as many as one may have at all."""
        return pixels if self._first else max(1, min(pixels, self.pixels))

    def take(self, pixels: int) -> None:
        """Count an image that has been decoded."""
        self.pixels, self._first = self.pixels - pixels, False

    def seconds(self) -> float:
        """Return the time that is left.

        Raises
        ------
        ImageError
            If there is none.
        """
        left = self._ends - time.monotonic()
        if left <= 0:
            raise ImageError(f"the images of this request took over {TOGETHER_SECONDS:g} s; send fewer", "too large")
        return left


@dataclass(frozen=True, eq=False)
class Upload:
    """A picture that was sent.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (h, w) or (h, w, 3)
        Upright, cropped where that was asked for, no side over ``MAX_SIDE``.
    width, height : int
        Of the whole upright picture, as it was sent.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int


class Decoder:
    """Decodes what clients send; used by many threads at once.

    Parameters
    ----------
    limits : Limits
        What one picture may cost.
    workers : int, optional
        Processes; as many as there are usable cores if None.
    """

    def __init__(self, limits: Limits = LIMITS, workers: int | None = None) -> None:
        self.limits = limits
        self._sandbox = Sandbox(
            "lookalike.server.uploads:decode_task", workers=workers, seconds=limits.seconds, memory=limits.memory
        )
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._making = threading.Lock()

    @property
    def has_folder(self) -> bool:
        """Whether pictures are handed over in files."""
        return self._folder is not None

    def warm(self) -> None:
        """Start the workers, so that the first picture that is sent finds them ready."""
        picture = b64encode(to_png(np.zeros((8, 8), np.uint8))).decode("ascii")
        task = {"data": picture, "where": "warm.png", "crop": None, "limits": vars(self.limits)}
        for _ in self._sandbox.map([task] * (self._sandbox.workers or usable_cores())):
            pass

    def close(self) -> None:
        """End the workers and forget what was sent."""
        self._sandbox.close()
        with self._making:
            if self._folder is not None:
                with suppress(OSError):
                    self._folder.cleanup()
            self._folder = None

    @contextmanager
    def _handed_over(self, data: bytes) -> Iterator[dict[str, str]]:
        """Put a picture where a worker finds it: in a file, so that a large one is not copied as text into its pipe.

        A cleaner of temporary files may have removed the folder, which is made again. Where nothing can be written, the
        picture goes as text after all.
        """
        name = ""
        try:
            try:
                name = self._written(data)
            except OSError:
                source = {"data": b64encode(data).decode("ascii")}
            else:
                source = {"path": name}
            yield source
        finally:
            if name:
                with suppress(OSError):
                    os.unlink(name)

    def _written(self, data: bytes) -> str:
        with self._making:
            if self._folder is None or not os.path.isdir(self._folder.name):
                self._folder = tempfile.TemporaryDirectory(prefix="lookalike-uploads-", ignore_cleanup_errors=True)
        handle, name = tempfile.mkstemp(dir=self._folder.name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
        except OSError:  # the disk is full
            with suppress(OSError):
                os.unlink(name)
            raise
        return name

    def decode(
        self,
        data: bytes,
        where: str = "the image",
        crop: tuple[int, int, int, int] | None = None,
        allowance: Allowance | None = None,
        limits: Limits | None = None,
    ) -> Upload:
        """Decode one picture.

        Parameters
        ----------
        data : bytes
            A file's content.
        where : str
            What it is called in errors.
        crop : (int, int, int, int), optional
            x, y, width, height in pixels of the upright picture.
        allowance : Allowance, optional
            What is left to its request.
        limits : Limits, optional
            Those of the index: pixels that it may have a picture may have that is asked for.

        Returns
        -------
        Upload
            The picture.

        Raises
        ------
        ImageError
            If it is no image, or damaged, or over a limit.
        UsageError
            If the crop lies outside.
        """
        if not data:
            raise ImageError(f"{where}: the file is empty; choose an image file", "empty")
        # A picture may have as many pixels as the index may have, and no more than are left to its request.
        allowed = limits = self.limits if limits is None else raised(self.limits, limits)
        if allowance is not None:
            allowance.seconds()
            limits = replace(limits, pixels=allowance.within(limits.pixels))
        with self._handed_over(data) as source:
            answer = self._sandbox.run({**source, "where": where, "crop": crop, "limits": vars(limits)})
        facts = answer.facts
        if outcome := facts.get("outcome"):
            if outcome == "bomb" and limits.pixels < allowed.pixels:
                most = TOGETHER_PIXELS / 1e6
                raise ImageError(f"{where}: this image brings the request over {most:g} megapixels; send fewer", "bomb")
            if outcome == "outside":
                raise UsageError(str(facts.get("reason")))
            raise ImageError(str(facts.get("reason")), str(outcome))
        try:
            shape = tuple(int(n) for n in facts["shape"])
            pixels = np.frombuffer(answer.blobs[0], np.uint8).reshape(shape)
            if len(shape) not in (2, 3) or shape[2:] not in ((), (3,)) or max(shape[:2]) > MAX_SIDE:
                raise ValueError
            upload = Upload(pixels, int(facts["width"]), int(facts["height"]))
            if allowance is not None:
                allowance.take(upload.width * upload.height)
            return upload
        except (KeyError, IndexError, TypeError, ValueError):
            raise ImageError(f"{where}: the decoder sent an invalid answer; try another image", "crashed") from None


def raised(ours: Limits, index: Limits) -> Limits:
    """Return our limits with the pixels and bytes that an index allows, where those are more.

    Parameters
    ----------
    ours, index : Limits
        Any.

    Returns
    -------
    Limits
        Such that what an index holds may be asked for, and shown. Time, memory and the length of a request stay ours.
    """
    return replace(ours, pixels=max(ours.pixels, index.pixels), bytes=max(ours.bytes, index.bytes))


def decode_task(task: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[bytes]]]:
    """Decode one picture; runs in the sandbox.

    Parameters
    ----------
    task : dict
        ``path``, or ``data`` in base64; ``where``, ``crop`` and ``limits``.

    Yields
    ------
    (dict, list of bytes)
        ``shape``, ``width`` and ``height``, and the pixels; or ``outcome`` and ``reason``.
    """
    where = task["where"]
    try:
        data = b64decode(task["data"]) if "data" in task else Path(task["path"]).read_bytes()
        image = decode(data, where, Limits(**task["limits"]))
    except ImageError as e:
        yield {"outcome": e.outcome, "reason": str(e)}, []
        return
    height, width = image.shape[:2]
    if task["crop"] is not None:
        x, y, w, h = task["crop"]
        if x < 0 or y < 0 or w < 1 or h < 1 or x + w > width or y + h > height:
            reason = f"{where}: the crop {w} x {h} at {x}, {y} isn't inside its {width} x {height} pixels"
            yield {"outcome": "outside", "reason": reason}, []
            return
        image = image[y : y + h, x : x + w]
    scale = MAX_SIDE / max(image.shape[:2])
    if scale < 1:
        sides = [max(1, round(side * scale)) for side in image.shape[:2]]
        image = fit_to(image, (*sides, *image.shape[2:]))
    yield {"shape": list(image.shape), "width": width, "height": height}, [np.ascontiguousarray(image).tobytes()]
