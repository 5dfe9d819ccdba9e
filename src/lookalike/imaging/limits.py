"""What decoding one image file may cost: pixels, bytes, frames, seconds, memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one image may cost.

    Attributes
    ----------
    pixels : int
        Of one frame; more are refused before they are decoded: a bomb, or an image that needs a tool made for its size.
    bytes : int
        Of a file.
    frames : int
        Read from one file where each is wanted.
    seconds : float
        Of wall clock, for one file with all its frames. Held by :mod:`lookalike.imaging.sandbox.api`, not here.
    memory : int
        Bytes that decoding one file may take, over what the process needs idle. Held by :mod:`lookalike.imaging.sandbox.api`.
    """

    pixels: int = 100_000_000
    bytes: int = 256 * 2**20
    frames: int = 1_000
    seconds: float = 20.0
    memory: int = 2**30
