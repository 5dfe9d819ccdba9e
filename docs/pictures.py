"""Draw the picture of each method in docs/encoders.md: python docs/pictures.py [NAME ...]

Digits are MNIST's (in this repository); photos are those that scikit-image brings in its package: astronaut (NASA, public
domain), cat (S. van der Walt, CC0), coffee (R. Michaud, CC0), rocket (SpaceX, CC0), brick, grass and gravel (CC0).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from skimage import data, io

import lookalike
from lookalike.imaging.resize import fit_to
from lookalike.neighbors.exact import Database
from lookalike.reports import drawing
from lookalike.transforms.augmentations import augment
from lookalike.transforms.noise import add_noise

FOLDER = Path(__file__).parent / "images" / "encoders"
PHOTOS = ("astronaut", "chelsea", "coffee", "rocket", "brick", "grass", "gravel")
Images = NDArray[np.uint8]


def digits(count: int, part: str = "train") -> Images:
    return lookalike.open_collection(f"mnist:{part}[0:{count}]").array()


def photo(name: str, side: int) -> Images:
    folder = Path(data.__file__).parent
    pixels = io.imread(next(folder.glob(f"{name}.*")))
    pixels = pixels if pixels.ndim == 3 else np.dstack([pixels] * 3)
    edge = min(pixels.shape[:2])
    top, left = (pixels.shape[0] - edge) // 2, (pixels.shape[1] - edge) // 2
    return fit_to(np.ascontiguousarray(pixels[top : top + edge, left : left + edge, :3]), (side, side, 3))


def sheet(panels: int, width: float = 1.5, height: float = 1.75) -> tuple[Figure, list[Any]]:
    figure = Figure(figsize=(width * panels, height), dpi=110, facecolor=drawing.PAPER)
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    for ax in axes:
        ax.set_xticks([])
        ax.set_yticks([])
        for spine in ax.spines.values():
            spine.set_visible(False)
    figure.subplots_adjust(0.01, 0.02, 0.99, 0.84, 0.06)
    return figure, axes


def show(ax: Any, image: NDArray[Any], title: str, **how: Any) -> None:
    ax.imshow(image, **({"cmap": "gray"} if image.ndim == 2 else {}) | how)
    ax.set_title(title, fontsize=8, color=drawing.INK)


def nearest_row(encoder: Any, title: str) -> Figure:
    """A query and its nearest of 10,000 digits."""
    database, query = digits(10_000), digits(8, "test")[7:8]
    fitted = encoder.fit(database)
    index = Database(fitted.encode(database), fitted.distance)
    rows, far = index.nearest(fitted.encode(query), 7)
    figure, axes = sheet(8)
    show(axes[0], query[0], f"{title}: query")
    for ax, row, distance in zip(axes[1:], rows[0], far[0], strict=True):
        show(ax, database[row], f"{distance:.3g}")
    return figure


def pixels() -> Figure:
    return nearest_row(lookalike.create_encoder("pixels"), "pixels")


def hog() -> Figure:
    """Strokes of each cell drawn across its gradients, so that they run along the edges."""
    digit, photo_ = digits(6)[5], photo("astronaut", 112)
    figure, axes = sheet(4, 1.9, 2.15)
    for at, (image, said) in enumerate(((digit, "a digit"), (photo_, "a photo"))):
        encoder = lookalike.create_encoder("hog").fit(image[None])
        cells = encoder.encode(image[None]).reshape(encoder.cells, encoder.cells, encoder.bins)
        show(axes[2 * at], image, said)
        ax = axes[2 * at + 1]
        show(ax, np.zeros((7, 7)), "edges in 7 x 7 cells", cmap="gray_r", vmin=0, vmax=1)
        top = cells.max()
        for row in range(encoder.cells):
            for column in range(encoder.cells):
                for bin_ in range(encoder.bins):
                    strength = cells[row, column, bin_] / top
                    angle = np.pi * bin_ / encoder.bins + np.pi / 2
                    dx, dy = 0.45 * np.cos(angle), 0.45 * np.sin(angle)
                    ax.plot(
                        [column - dx, column + dx], [row - dy, row + dy],
                        color=drawing.SERIES[0], alpha=float(strength), linewidth=1.4,
                    )  # fmt: skip
    return figure


def color() -> Figure:
    """What the histogram keeps: of each of 4 x 4 places, how much of which colour."""
    figure, axes = sheet(4, 1.9, 2.15)
    for at, name in enumerate(("coffee", "rocket")):
        image = photo(name, 64)
        show(axes[2 * at], photo(name, 200), name)
        grid = image.reshape(4, 16, 4, 16, 3).swapaxes(1, 2).reshape(4, 4, 256, 3)
        drawn = np.zeros((64, 64, 3), np.uint8)
        for row in range(4):
            for column in range(4):
                # The cell's own pixels in the order of their colours: places within a cell are forgotten.
                cell = grid[row, column]
                order = np.lexsort((cell.sum(1), cell[:, 0].astype(int) - cell[:, 2]))
                drawn[16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = cell[order].reshape(16, 16, 3)
        show(axes[2 * at + 1], drawn, "what is kept: 16 palettes")
    return figure


def sift() -> Figure:
    """The same places found again on a turned copy."""
    import cv2

    left = photo("astronaut", 260)
    turn = cv2.getRotationMatrix2D((130, 130), 40, 0.85)
    right = cv2.warpAffine(left, turn, (260, 260), borderValue=(255, 255, 255))
    finder = cv2.SIFT_create(400)
    (a, da), (b, db) = (finder.detectAndCompute(cv2.cvtColor(i, cv2.COLOR_RGB2GRAY), None) for i in (left, right))
    pairs = cv2.BFMatcher().knnMatch(da, db, k=2)
    good = [m for m, n in pairs if m.distance < 0.7 * n.distance]
    figure, axes = sheet(1, 5.2, 2.75)
    show(axes[0], np.hstack([left, right]), f"{len(good)} places found again after a turn of 40 degrees")
    for match in good[::2]:
        (x0, y0), (x1, y1) = a[match.queryIdx].pt, b[match.trainIdx].pt
        axes[0].plot([x0, x1 + 260], [y0, y1], color=drawing.SERIES[1], linewidth=0.5, alpha=0.7)
        axes[0].plot([x0, x1 + 260], [y0, y1], ".", color=drawing.SERIES[0], markersize=3)
    return figure


def surf() -> Figure:
    from mahotas.features import surf as mahotas_surf

    image = photo("chelsea", 260)
    found = mahotas_surf.surf(image.mean(axis=2).astype(np.uint8), nr_octaves=4, nr_scales=6, initial_step_size=1)
    strongest = found[np.argsort(-found[:, 3])][:120]
    figure, axes = sheet(2, 2.6, 2.75)
    show(axes[0], image, "a photo")
    show(axes[1], image, "its 120 strongest blobs")
    from matplotlib.patches import Circle

    for y, x, scale, *_ in strongest:
        axes[1].add_patch(Circle((x, y), 3 * scale, fill=False, color=drawing.SERIES[1], linewidth=0.9))
    return figure


def autoencoder() -> Figure:
    clean = digits(5, "test")
    noisy = add_noise(clean, 0.5)
    encoder = lookalike.create_encoder("autoencoder", preset="tutorial", epochs=2).fit(digits(20_000))
    middle = encoder.encode(noisy)
    cleaned = encoder.decode(noisy)
    figure, axes = sheet(9)
    for at in range(3):
        show(axes[3 * at], noisy[at], "noisy")
        show(
            axes[3 * at + 1],
            middle[at].reshape(7 * 4, 7 * 8) if middle.shape[1] == 1568 else middle[at][None],
            "the middle",
        )
        show(axes[3 * at + 2], cleaned[at], "denoised")
    return figure


def codes(name: str, **params: Any) -> Figure:
    """256 bits as a square: two of one kind share most, another kind does not."""
    images = digits(10_000)
    encoder = lookalike.create_encoder(name, **params).fit(images)
    labels = lookalike.open_collection("mnist:train[0:200]").labels
    assert labels is not None  # only to choose which three are shown
    first, second = np.flatnonzero(labels == "7")[:2]
    third = int(np.flatnonzero(labels == "0")[0])
    bits = np.unpackbits(encoder.encode(images[[first, second, third]]), axis=1)
    figure, axes = sheet(6)
    for at, row in enumerate((first, second, third)):
        differ = int((bits[at] != bits[0]).sum())
        show(axes[2 * at], images[row], "" if at else "a digit")
        show(axes[2 * at + 1], bits[at].reshape(16, 16), f"{differ} of 256 differ" if at else "its 256 bits")
    return figure


def itq() -> Figure:
    return codes("itq")


def hashing() -> Figure:
    return codes("hashing", minutes=3)


def similarity(encoder: Any, ax: Any, title: str, side: int) -> None:
    """How alike each photo (down) and the augmented copy of each (across) are: the lighter the more."""
    images = np.stack([photo(name, side) for name in PHOTOS])
    copies = augment(images, seed=3)
    both = np.concatenate([images, copies])
    fitted = encoder.fit(both)
    descriptors = fitted.encode(both)
    descriptors = descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)
    count = len(images)
    show(ax, descriptors[:count] @ descriptors[count:].T, title, cmap="viridis", vmin=0, vmax=1)
    ax.set_yticks(range(count), PHOTOS, fontsize=6)


def neural() -> Figure:
    figure, axes = sheet(3, 2.2, 2.3)
    figure.subplots_adjust(0.09, 0.04, 0.99, 0.88, 0.32)
    for ax, name, side in zip(axes, ("pixels", "hog", "neural"), (64, 64, 224), strict=True):
        similarity(lookalike.create_encoder(name), ax, name, side)
    return figure


def fusion() -> Figure:
    figure, axes = sheet(3, 2.2, 2.3)
    figure.subplots_adjust(0.09, 0.04, 0.99, 0.88, 0.32)
    for ax, name in zip(axes, ("hog", "color", "hog+color"), strict=True):
        similarity(lookalike.create_encoder(name), ax, name, 64)
    return figure


def contrastive() -> Figure:
    """What it is trained on: two copies of a picture that are to be told from all other pictures."""
    images = digits(4)
    one, two = augment(images, seed=1), augment(images, seed=2)
    figure, axes = sheet(8)
    for at in range(4):
        show(axes[2 * at], one[at], "to be near" if at == 0 else "")
        show(axes[2 * at + 1], two[at], "each other" if at == 0 else "")
    return figure


PICTURES: dict[str, Callable[[], Figure]] = {
    "pixels": pixels, "hog": hog, "color": color, "sift": sift, "surf": surf, "autoencoder": autoencoder, "itq": itq,
    "hashing": hashing, "neural": neural, "fusion": fusion, "contrastive": contrastive,
}  # fmt: skip


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or PICTURES:
        path = FOLDER / f"{name}.png"
        drawn = BytesIO()
        PICTURES[name]().savefig(drawn, format="png", dpi=110)
        # 128 colours are enough for a page, and a third of the bytes.
        Image.open(drawn).convert("RGB").quantize(128).save(path, optimize=True)
        print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
