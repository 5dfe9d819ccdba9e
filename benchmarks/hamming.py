"""A query against 1,000,000 codes of 256 bits by Hamming distance, and HOG of MNIST's 60,000 digits: two time limits.

    python benchmarks/hamming.py [--queries 200] [--repeats 5]

Codes are random, so that nothing can be skipped; each query asks for its 10 nearest. Wall clock, both cores, medians;
every repeat goes to runs/hamming/, rows to results/hamming.csv.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from study import keep

from lookalike import create_encoder, open_collection
from lookalike.neighbors.exact import Database


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5, help="of the digits")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (1_000_000, 32), np.uint8)
    database, queries = Database(codes, "hamming"), rng.integers(0, 256, (options.queries, 32), np.uint8)
    milliseconds, seconds = [], []
    for query in queries:
        begun = time.perf_counter()
        database.nearest(query[None], 10)
        milliseconds.append(1e3 * (time.perf_counter() - begun))
    digits = open_collection("mnist:train").array()
    hog = create_encoder("hog").fit(digits[:1])
    for _ in range(options.repeats):
        begun = time.perf_counter()
        hog.encode(digits)
        seconds.append(time.perf_counter() - begun)
    keep("hamming", "hamming", {"milliseconds_a_query": milliseconds, "seconds_of_hog": seconds})
    ninth = statistics.quantiles(milliseconds, n=10)[-1]
    print(
        f"1,000,000 x 256 bits: median {statistics.median(milliseconds):.2f} ms a query, nine of ten under {ninth:.2f}"
    )
    print(f"hog of 60,000 digits: median {statistics.median(seconds):.2f} s")


if __name__ == "__main__":
    main()
