"""Bytes from a stranger -> an upright picture of bounded size, decoded in a process that can be killed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import ImageError, UsageError
from lookalike.images import Limits, decode
from lookalike.leash import Leash
from lookalike.machine import usable_cores
from lookalike.raster import fit_to, to_png

#: The longest side that is kept of an uploaded picture: no encoder looks at more.
LONGEST = 1024
#: What an upload may cost: less than a file of one's own folder.
LIMITS = Limits(pixels=60_000_000, bytes=32 * 2**20, seconds=10.0, memory=2**30)


@dataclass(frozen=True, eq=False)
class Upload:
    """A picture that was sent.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (h, w) or (h, w, 3)
        Upright, cropped where that was asked for, no side over ``LONGEST``.
    width, height : int
        Of the whole upright picture, as it was sent.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int


class Decoder:
    """Decodes what strangers send; used by many threads at once.

    Parameters
    ----------
    limits : Limits
        What one picture may cost.
    workers : int, optional
        Processes; as many as there are usable cores if None.
    """

    def __init__(self, limits: Limits = LIMITS, workers: int | None = None) -> None:
        self.limits = limits
        self._leash = Leash(
            "lookalike.server.uploads:decode_task", workers=workers, seconds=limits.seconds, memory=limits.memory
        )
        self._folder = tempfile.TemporaryDirectory(prefix="lookalike-uploads-")

    def warm(self) -> None:
        """Start the workers, so that the first picture that is sent finds them ready."""
        path = Path(self._folder.name, "warm.png")
        path.write_bytes(to_png(np.zeros((8, 8), np.uint8)))
        task = {"path": str(path), "where": path.name, "crop": None, "limits": vars(self.limits)}
        for _ in self._leash.map([task] * (self._leash.workers or usable_cores())):
            pass

    def close(self) -> None:
        """End the workers and forget what was sent."""
        self._leash.close()
        self._folder.cleanup()

    def decode(
        self,
        data: bytes,
        where: str = "the image",
        crop: tuple[int, int, int, int] | None = None,
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
            raise ImageError(f"{where}: empty, no byte was sent; choose an image file", "empty")
        allowed = self.limits if limits is None else raised(self.limits, limits)
        # Through a file, so that a large picture is not copied as text into the worker's pipe.
        handle, name = tempfile.mkstemp(dir=self._folder.name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            answer = self._leash.run({"path": name, "where": where, "crop": crop, "limits": vars(allowed)})
        finally:
            Path(name).unlink(missing_ok=True)
        facts = answer.facts
        if outcome := facts.get("outcome"):
            if outcome == "outside":
                raise UsageError(str(facts.get("reason")))
            raise ImageError(str(facts.get("reason")), str(outcome))
        try:
            shape = tuple(int(n) for n in facts["shape"])
            pixels = np.frombuffer(answer.blobs[0], np.uint8).reshape(shape)
            if len(shape) not in (2, 3) or shape[2:] not in ((), (3,)) or max(shape[:2]) > LONGEST:
                raise ValueError
            return Upload(pixels, int(facts["width"]), int(facts["height"]))
        except (KeyError, IndexError, TypeError, ValueError):
            raise ImageError(f"{where}: the decoder's answer makes no sense; try another image", "crashed") from None


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
    """Decode one picture; runs on the leash.

    Parameters
    ----------
    task : dict
        ``path``, ``where``, ``crop`` and ``limits``.

    Yields
    ------
    (dict, list of bytes)
        ``shape``, ``width`` and ``height``, and the pixels; or ``outcome`` and ``reason``.
    """
    where = task["where"]
    try:
        image = decode(Path(task["path"]).read_bytes(), where, Limits(**task["limits"]))
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
    scale = LONGEST / max(image.shape[:2])
    if scale < 1:
        sides = [max(1, round(side * scale)) for side in image.shape[:2]]
        image = fit_to(image, (*sides, *image.shape[2:]))
    yield {"shape": list(image.shape), "width": width, "height": height}, [np.ascontiguousarray(image).tobytes()]
