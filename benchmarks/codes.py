"""Binary codes on MNIST: ITQ and the deep network over deskewed HOG, plain and with the default post-processing, 28, 64 and 256 bits.

    python benchmarks/codes.py [--only itq-256-default ...] [--learn 20000] [--queries 2000]

Rows can be made one by one: METHOD-BITS-BASE, in that order; a base is ``plain`` or ``default``. ``hashing`` learns from a random sample of the
60,000 digits. Random test digits ask all 60,000. Labels only score. Each row, with 95 % intervals and processor time,
goes to runs/codes/, its rows to results/codes.csv.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from study import keep

from lookalike import create_encoder, open_collection
from lookalike.encoders.base import Encoder
from lookalike.metrics.scores import score
from lookalike.neighbors.exact import Database
from lookalike.selection.adapt import with_recipe
from lookalike.selection.recipes import DEFAULT, UNCHANGED

METHODS, BITS, BASES = ("itq", "hashing"), (28, 64, 256), ("plain", "default")
METRICS = ("mAP", "P@1", "LRAP@1000")
EPOCHS = 6


def base(name: str, images: Any) -> tuple[Encoder, str]:
    """Return the base, and its recipe."""
    recipe = UNCHANGED if name == "plain" else DEFAULT
    return with_recipe(create_encoder("hog", deskew=True).fit(images[:2]), images, recipe), recipe.name


def row(method: str, bits: int, over: str, options: argparse.Namespace) -> dict[str, Any]:
    train, test = open_collection("mnist:train"), open_collection("mnist:test")
    images = train.array()
    encoder, recipe = base(over, images)
    rng = np.random.default_rng(0)
    learnt = images if method == "itq" else images[np.sort(rng.permutation(len(images))[: options.learn])]
    asked = np.sort(rng.permutation(len(test))[: options.queries])
    begun, worked = time.perf_counter(), time.process_time()
    codes = create_encoder(method, bits=bits, **({} if method == "itq" else {"epochs": EPOCHS}))
    codes.fit_over(encoder, learnt)  # type: ignore[attr-defined]
    facts: dict[str, Any] = {
        "method": method,
        "base": f"hog deskew, {recipe}",
        "images": len(learnt),
        "queries": len(asked),
        "params": {k: v for k, v in codes.params.items() if k not in ("base", "options")},
        "fit_seconds": time.perf_counter() - begun,
        "fit_processor_seconds": time.process_time() - worked,
    }
    report = score(
        Database(codes.encode(images), "hamming"), np.asarray(train.labels),
        codes.encode(test.array()[asked]), np.asarray(test.labels)[asked], cuts=[1000],
    ).report()  # fmt: skip
    facts["scores"] = {m: [report.metrics[m], *report.intervals[m]] for m in METRICS}
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", help="rows such as itq-256-default")
    parser.add_argument("--learn", type=int, default=20_000, help="digits that hashing learns from")
    parser.add_argument("--queries", type=int, default=2000)
    options = parser.parse_args()
    for name in options.only or [f"{m}-{b}-{o}" for m in METHODS for b in BITS for o in BASES]:
        method, bits, over = name.split("-")
        facts = row(method, int(bits), over, options)
        keep("codes", name, facts)
        said = "  ".join(f"{m} {v[0]:.3f} [{v[1]:.3f}, {v[2]:.3f}]" for m, v in facts["scores"].items())
        print(f"{name:16} {said}  {facts['fit_processor_seconds']:.0f} processor seconds to fit", flush=True)


if __name__ == "__main__":
    main()
