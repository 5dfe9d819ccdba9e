"""Encoders that learn nothing, and what is taken where no encoder is named: MNIST's 60,000 digits asked by all 10,000 test digits.

    python benchmarks/mnist_scores.py [--only hog ...]

By cosine, every metric, with 95 % bootstrap intervals. Labels only score. Each encoder is a part of its own.
"""

from __future__ import annotations

import argparse

from study import keep

from lookalike import create_encoder, open_collection
from lookalike.metrics.scores import CUTS, score
from lookalike.neighbors.exact import Database
from lookalike.selection.defaults import default_encoder, default_postprocessing

TRIED = {
    "pixels": "pixels",
    "hog": "hog",
    "hog-deskew": "hog, deskewed",
    "default": "hog, deskewed, default post-processing",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TRIED, default=list(TRIED))
    options = parser.parse_args()
    train, test = open_collection("mnist:train"), open_collection("mnist:test")
    images = train.array()
    for part in options.only:
        if part == "default":
            suited = default_encoder(train)
            assert suited is not None
            taken = default_postprocessing(suited, train)
            assert taken is not None
            encoder, recipe = taken
        else:
            name, _, deskew = part.partition("-")
            encoder, recipe = create_encoder(name, **({"deskew": True} if deskew else {})).fit(images), "unchanged"
        database = Database(encoder.encode(images), "cosine")
        report = score(database, train.labels, encoder.encode(test.array()), test.labels, cuts=CUTS).report()
        facts = {"encoder": TRIED[part], "recipe": recipe, "distance": "cosine", "dimension": encoder.dimension_}
        print(part, recipe, {m: round(report.metrics[m], 4) for m in ("P@1", "mAP")}, flush=True)
        keep("mnist-scores", part, facts | report.to_json())


if __name__ == "__main__":
    main()
