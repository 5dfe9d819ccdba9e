"""Pictures drawn for tests: scenes full of details, and halves that are bright."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw


def scene(seed, size=(320, 260)):
    """A picture with many details: shapes of many colours."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(rng.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(90):
        x, y = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        box = [x, y, x + rng.uniform(5, 60), y + rng.uniform(5, 60)]
        kind = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        kind(box, fill=tuple(rng.integers(0, 256, 3).tolist()))
    return image


def write_halves(folder, seeds):
    """Write noise on black, a picture a seed: those of odd seeds in the folder `left`, bright in that half."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        place = folder / ("left" if seed % 2 else "right")
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((24, 24), np.uint8)
        half = pixels[:, :12] if seed % 2 else pixels[:, 12:]
        half[:] = rng.integers(100, 256, half.shape)
        Image.fromarray(pixels).save(place / f"{seed:03d}.png")
