"""Does who names no encoder get the better one? `hog` against `neural`, and which of them the rule takes.

    python benchmarks/usual.py [--shared ../shared/data] [--emoji FOLDER] [--fonts FOLDER]

On the collections of verdict.py, which says what the two folders hold. Labels only score. The rule
(`lookalike.compare.usual_encoder`) was made with these in sight, so this shows what it does, not how well it generalises.
Every figure goes to results/usual.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image
from verdict import Images, cases, labelled

from lookalike import create_encoder, open_collection
from lookalike.compare import usual_encoder
from lookalike.report import machine
from lookalike.storage import replace_file

SIDES = {"hog": 64, "neural": 224}


def sized(images: Images, side: int) -> Images:
    """Enlarge glyphs that there is one size of, as the index does."""
    if images.shape[1] >= side or side == SIDES["hog"]:
        return images
    return np.stack([np.asarray(Image.fromarray(i).convert("RGB").resize((side, side))) for i in images])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--emoji", type=Path, help="folder with the two npm packages, unpacked")
    parser.add_argument("--fonts", type=Path, help="folder with a .woff file of each font")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "usual.json")
    options = parser.parse_args()
    rows = []
    for case in cases(options.shared, options.emoji, options.fonts):
        row = {"collection": case.name, "taken": usual_encoder(open_collection(case.images(64)))}
        for name, side in SIDES.items():
            images = sized(case.images(side), side)
            queries = sized(case.queries(side), side) if case.queries else None
            encoder = create_encoder(name).fit(images)
            asked = None if queries is None else encoder.encode(queries)
            row |= {"images": len(images), name: labelled(case, encoder.encode(images), asked, encoder.distance)}
        print(row, flush=True)
        rows.append(row)
    with replace_file(options.output) as f:
        f.write(json.dumps({"machine": machine(), "rows": rows}, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main()
