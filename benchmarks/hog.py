"""Our HOG against scikit-image's, in speed and in what it finds: MNIST's 60,000 digits and 1,000 of its test digits.

    python benchmarks/hog.py speed [--images 3000] [--repeats 7] [--queries 1000]

scikit-image describes one image a call, so it is called in a loop. It has no soft cell borders and unsigned directions
only. Two settings of it: *cells*, whose descriptor is as long as ours (7 x 7 cells of 4 x 4 pixels, 8 directions,
each cell normalised by itself), and *blocks*, nearer its defaults (the same cells normalised in blocks of 2 x 2, so
three times as long). Speed: all sides take turns on the same images, and the ratios of each turn are kept, by the clock
and by processor time. Each side has one core, and then all of them: ours as threads, scikit-image as processes that are
started beforehand. Quality: cosine, labels only to score.
Every repeat goes to runs/hog/, rows to results/hog.csv; the table shows medians.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.feature import hog
from study import keep

from lookalike import create_encoder, open_collection
from lookalike.cores import usable_cores
from lookalike.metrics.scores import score
from lookalike.neighbors.exact import Database

OURS = {"pixels": ("pixels", {}), "hog": ("hog", {}), "hog, deskew": ("hog", {"deskew": True})}
PEERS = {
    "scikit-image, cells": {"cells_per_block": (1, 1), "block_norm": "L2"},
    "scikit-image, blocks": {"cells_per_block": (2, 2), "block_norm": "L2-Hys"},
}
METRICS = ("P@1", "P@10", "mAP", "LRAP@10", "LRAP@100", "LRAP@1000")

Images = NDArray[np.uint8]
Encode = Callable[[Images], NDArray[np.float32]]


def ours(name: str, example: Images) -> Encode:
    encoder, params = OURS[name]
    return create_encoder(encoder, **params).fit(example).encode


def peer(name: str) -> Encode:
    settings = {"orientations": 8, "pixels_per_cell": (4, 4), **PEERS[name]}

    def encode(images: Images) -> NDArray[np.float32]:
        return np.stack([hog(image, **settings) for image in images]).astype(np.float32)

    return encode


def described(name: str, images: Images) -> tuple[NDArray[np.float32], float]:
    """Do a peer's work in a process of a pool; return the processor time, too."""
    worked = time.process_time()
    return peer(name)(images), time.process_time() - worked


def timed(encode: Encode, images: Images) -> dict[str, float]:
    begun, worked = time.perf_counter(), time.process_time()
    encode(images)
    return {"seconds": time.perf_counter() - begun, "processor_seconds": time.process_time() - worked}


def timed_on_one_core(encode: Encode, images: Images) -> dict[str, float]:
    """Confine this thread, and those that it starts."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        return timed(encode, images)
    finally:
        os.sched_setaffinity(0, cores)


def timed_in_pool(pool: Any, cores: int, name: str, images: Images) -> dict[str, float]:
    begun = time.perf_counter()
    parts = pool.map(partial(described, name), np.array_split(images, 4 * cores), chunksize=1)
    np.concatenate([part for part, _ in parts])
    return {"seconds": time.perf_counter() - begun, "processor_seconds": sum(worked for _, worked in parts)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["speed", "quality"])
    parser.add_argument("--images", type=int, default=3000, help="images a turn of the speed test")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the draw of queries")
    options = parser.parse_args()
    train, test = open_collection("mnist:train"), open_collection("mnist:test")
    test = test.take(np.sort(np.random.default_rng(options.seed).permutation(len(test))[: options.queries]))
    database = train.array()
    sides = {name: ours(name, database[:1]) for name in OURS} | {name: peer(name) for name in PEERS}

    settings = {"repeats": options.repeats, "seed": options.seed} | PEERS
    if options.part == "quality":
        record = {"queries": options.queries, "seed": options.seed, "results": quality(sides, train, test)}
    else:
        record = {"images": options.images, **speed(sides, database, options.images, options.repeats)}
        settings["cores"] = f"one, then {usable_cores()}: ours as threads, scikit-image as processes"
    keep("hog", options.part, record, peers=["scikit-image"], settings=settings)


def quality(sides: dict[str, Encode], train: Any, test: Any) -> dict[str, Any]:
    database, queries = train.array(), test.array()
    results = {}
    for name, encode in sides.items():
        report = score(Database(encode(database)), train.labels, encode(queries), test.labels).report()
        results[name] = {
            "dimension": encode(queries[:1]).shape[1],
            "metrics": {m: report.metrics[m] for m in METRICS},
            "intervals": {m: report.intervals[m] for m in METRICS},
        }
        print(f"{name:<21} {results[name]['dimension']:>5}-d ", {m: round(report.metrics[m], 4) for m in METRICS})
    return results


def speed(sides: dict[str, Encode], database: Images, images: int, repeats: int) -> dict[str, Any]:
    some, cores = database[:images], usable_cores()
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    on_all: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    whole: dict[str, list[dict[str, float]]] = {name: [] for name in OURS}
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        for name in PEERS:
            timed_in_pool(pool, cores, name, some[: 16 * cores])  # each process imports what it needs
        for turn in range(repeats + 1):
            for name, encode in sides.items():
                alone = timed_on_one_core(encode, some)
                together = timed(encode, some) if name in OURS else timed_in_pool(pool, cores, name, some)
                if turn:  # the first warms up
                    turns[name].append(alone)
                    on_all[name].append(together)
            for name in OURS if turn else ():
                whole[name].append(timed(sides[name], database))
    ratios = {
        f"{fast} / {slow}": {
            f"{where}{unit}": statistics.median(s[unit] / f[unit] for f, s in zip(by[fast], by[slow], strict=True))
            for where, by in (("one core: ", turns), ("all cores: ", on_all))
            for unit in ("seconds", "processor_seconds")
        }
        for fast in ("hog", "hog, deskew")
        for slow in PEERS
    }
    for name in sides:
        rates = [images / statistics.median(r["seconds"] for r in by[name]) for by in (turns, on_all)]
        print(f"{name:<21} {rates[0]:>9,.0f} images/s on one core, {rates[1]:>9,.0f} on all")
    for name, ratio in ratios.items():
        print(f"{name:<35}", ", ".join(f"{where} {value:.1f}x" for where, value in ratio.items()))
    for name, taken in whole.items():
        print(f"{name:<21} all 60,000 in {statistics.median(r['seconds'] for r in taken):.1f} s")
    return {"ratios": ratios, "repeats": turns, "repeats_on_all_cores": on_all, "repeats_all_60000": whole}


if __name__ == "__main__":
    main()
