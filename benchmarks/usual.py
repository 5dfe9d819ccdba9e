"""Does who names no encoder get a good one? `hog`, `neural`, and what is taken, as it is and as it is made.

    python benchmarks/usual.py [--shared ../shared/data] [--emoji FOLDER] [--fonts FOLDER]

On the collections of verdict.py, which says what the two folders hold; those in colour also in grey, small (28 pixels)
and larger (96). Labels only score. The rule (`lookalike.selection.defaults`) was made with these in sight, so this shows what it
does, not how well it generalises. Every figure goes to runs/usual/, rows to results/usual.csv.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from study import keep
from verdict import Case, Images, cases, labelled

from lookalike import create_encoder, open_collection
from lookalike.encoders.base import Encoder
from lookalike.selection.defaults import default_encoder, default_postprocessing

SIDES = {"hog": 64, "neural": 224}
GREY_SIDES = (28, 96)


def resized(images: Images, side: int) -> Images:
    """Bring images to a size, as the index does."""
    return np.stack([np.asarray(Image.fromarray(i).resize((side, side), Image.Resampling.BILINEAR)) for i in images])


def in_grey(read: Callable[[int], Images], side: int) -> Callable[[int], Images]:
    """Return what reads the same images in grey at one size, whatever is asked."""
    grey = np.array([0.299, 0.587, 0.114])
    return lambda _: np.rint(resized(read(96), side) @ grey).astype(np.uint8)


def variants(case: Case) -> Iterator[tuple[str, Case]]:
    """Yield a case as it is, and, if it is in colour, in grey."""
    yield "as it is", case
    if case.images(64).ndim == 4 and not case.name.startswith("museum"):
        for side in GREY_SIDES:
            queries = in_grey(case.queries, side) if case.queries else None
            yield f"grey, {side} pixels", replace(case, images=in_grey(case.images, side), queries=queries)


def shown(read: Callable[[int], Images], name: str) -> Images:
    """Read images as an encoder sees them: for `neural` enlarged where they are smaller."""
    images = read(SIDES[name])
    if name == "neural" and images.shape[1] < SIDES[name]:
        return resized(np.repeat(images[..., None], 3, axis=3) if images.ndim == 3 else images, SIDES[name])
    return images


def scored(case: Case, name: str, encoder: Encoder | None = None) -> dict[str, float]:
    """Score an encoder, by default as it is."""
    images = shown(case.images, name)
    encoder = encoder or create_encoder(name).fit(images)
    asked = None if case.queries is None else encoder.encode(shown(case.queries, name))
    return labelled(case, encoder.encode(images), asked, encoder.distance)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--emoji", type=Path, help="folder with the two npm packages, unpacked")
    parser.add_argument("--fonts", type=Path, help="folder with a .woff file of each font")
    options = parser.parse_args()
    rows = []
    for whole in cases(options.shared, options.emoji, options.fonts):
        for how, case in variants(whole):
            collection = open_collection(case.images(64))
            name = default_encoder(collection)
            row = {"collection": case.name, "how": how, "images": len(collection), "taken": name}
            row |= {each: scored(case, each) for each in SIDES}
            encoder, post = default_postprocessing(name, open_collection(shown(case.images, name))) or (None, None)
            if encoder is not None:
                row |= {"adapted": post, "made": scored(case, name, encoder)}
            print(row, flush=True)
            rows.append(row)
    if options.emoji and options.fonts:
        keep("usual", "usual", rows)
    else:
        print("not kept, since it would replace rows of more collections: name --emoji and --fonts")


if __name__ == "__main__":
    main()
