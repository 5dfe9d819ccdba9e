"""What each encoder takes for an image, and which of 287 paintings it finds again on photographs of them.

    python benchmarks/costs.py [--shared ../shared/data] [--only hog neural ...] [--repeats 5]

Processor time of ``encode`` over a batch that is there already, so neither decoding nor writing counts; the size is the one that
an index brings such images to. Digits are MNIST's training digits; all others see the paintings of ``museum-2022/BBDD``. These are
asked for by 30 photographs cut out of a wall (*crops*, qsd1_w1) and 30 of walls (qsd2_w1); P@1 is whether the first answer is on
the photograph. Labels only score. Each encoder is a part of its own.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from study import keep

from lookalike import create_encoder, open_collection
from lookalike.encoders.base import Encoder
from lookalike.imaging.resize import fit_to
from lookalike.metrics.bootstrap import bootstrap_interval
from lookalike.neighbors.exact import Database

#: Encoder, its parameters, the side of its images, how many are encoded a repeat; a side of None means digits.
TRIED: dict[str, tuple[str, dict[str, Any], int | None, int]] = {
    "pixels": ("pixels", {}, None, 10_000),
    "hog": ("hog", {}, None, 10_000),
    "hog deskew": ("hog", {"deskew": True}, None, 10_000),
    "itq over hog": ("itq", {}, None, 10_000),
    "pixels, 64 x 64": ("pixels", {}, 64, 287),
    "hog, 64 x 64": ("hog", {}, 64, 287),
    "color": ("color", {}, 64, 287),
    "neural": ("neural", {}, 260, 100),
    "neural, fast": ("neural", {"model": "fast"}, 224, 100),
    "sift, VLAD": ("sift", {}, 400, 50),
    "sift, bag of words": ("sift", {"pooling": "bow"}, 400, 50),
    "surf, VLAD": ("surf", {}, 400, 50),
    "surf, bag of words": ("surf", {"pooling": "bow"}, 400, 50),
}


def read(paths: list[Path], side: int) -> np.ndarray:
    return np.stack([fit_to(np.asarray(Image.open(path).convert("RGB")), (side, side, 3)) for path in paths])


def museum(encoder: Encoder, table: np.ndarray, shared: Path, side: int) -> dict[str, Any]:
    """Return how often the first answer is right, crops and walls apart."""
    folder = shared / "museum-2022"
    numbers = np.array([int(p.stem.split("_")[1]) for p in sorted(folder.glob("BBDD/*.jpg"))])
    seen = table.any(axis=1)  # an image without a corner has no descriptor, and an index leaves it out
    database, found = Database(table[seen], encoder.distance), {}
    numbers = numbers[seen]
    for title, part in (("crops", "qsd1_w1"), ("on a wall", "qsd2_w1")):
        truth = json.loads((folder / part / "gt_corresps.json").read_text())
        asked = encoder.encode(read(sorted((folder / part).glob("*.jpg")), side))
        hits = np.zeros(len(asked))
        for i, query in enumerate(asked):
            if query.any():  # a query without one finds nothing
                hits[i] = numbers[database.nearest(query[None], 1)[0][0, 0]] in truth[i]
        found[title] = {"P@1": [float(hits.mean()), *bootstrap_interval(hits)], "queries": len(hits)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--only", nargs="+", choices=TRIED, default=list(TRIED))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    paintings = sorted(options.shared.glob("museum-2022/BBDD/*.jpg"))
    for title in options.only:
        name, params, side, count = TRIED[title]
        images = open_collection("mnist:train").array() if side is None else read(paintings, side)
        encoder = create_encoder(name, **params).fit(images)
        some, ms = images[:count], []
        encoder.encode(some[:10])
        for _ in range(options.repeats):
            begun = time.process_time()
            encoder.encode(some)
            ms.append(1000 * (time.process_time() - begun) / len(some))
        table = encoder.encode(images)
        facts: dict[str, Any] = {
            "collection": "MNIST" if side is None else "287 paintings", "size": " x ".join(map(str, images.shape[1:3])),
            "processor_ms": ms, "bytes": table[:1].nbytes, "dimension": encoder.dimension_,
        }  # fmt: skip
        if side is not None:
            facts["museum"] = museum(encoder, table, options.shared, side)
        print(title, np.median(ms), facts.get("museum"), flush=True)
        packages = ("opencv-python-headless", "mahotas", "scikit-learn") if name in ("sift", "surf") else ()
        keep("costs", title, facts, peers=packages, settings={"repeats": options.repeats, "images a repeat": count})


if __name__ == "__main__":
    main()
