"""Scoring 10,000 queries against 60,000 images: lookalike.metrics.ranking against the article's way, and the product's share.

    python benchmarks/scoring.py [--queries 10000] [--repeats 3]

Descriptors are MNIST's own pixels (784 numbers) and a random projection of them to 128; Euclidean, as in the article.

- *ours*: ``scores.score`` with all its scores, at every n of the article's list, then ``report`` with its intervals.
- *the article's way*: for a query the distances to all images, ``np.argsort``, the labels in that order, and one call
  of scikit-learn's ``label_ranking_average_precision_score`` for each n. Kinder than the article's own program, which
  measures distances in a Python loop and sorts again for each n. It is timed on the first ``--sample`` queries and
  scaled to all; its cost is the same for every query.
- *the product*: the matrix product of all queries and all images alone, which no exact way can do without.

Ours runs on all cores and the article's way on one, so processor time is compared, too. The three take turns in one run, ``--repeats`` times. Every repeat with the load of the machine (processes that want a
core, the last minute's mean, this one included) goes to runs/scoring/, rows to results/scoring.csv; the table shows
medians. On a busy machine trust the ratios only.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import label_ranking_average_precision_score
from study import keep

from lookalike import open_collection
from lookalike.metrics.scores import CUTS, score
from lookalike.neighbors.exact import Database

FloatArray = NDArray[np.float32]
LabelArray = NDArray[np.integer]


def the_articles_way(
    database: FloatArray, labels: LabelArray, queries: FloatArray, query_labels: LabelArray
) -> list[list[float]]:
    """Return [n, LRAP@n by scikit-learn's convention] for each n of the article's list."""
    found: list[list[float]] = [[] for _ in CUTS]
    for query, label in zip(queries, query_labels, strict=True):
        distances = np.linalg.norm(database - query, axis=1)
        order = np.argsort(distances)
        relevant, closeness = (labels[order] == label).astype(int), -distances[order]
        for values, n in zip(found, CUTS, strict=True):
            values.append(label_ranking_average_precision_score([relevant[:n]], [closeness[:n]]))
    return [[n, float(np.mean(values))] for n, values in zip(CUTS, found, strict=True)]


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return the seconds by the clock, those of the processor, and the result."""
    begun, worked = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - begun, time.process_time() - worked, result


def measure(
    name: str, arrays: tuple[FloatArray, LabelArray, FloatArray, LabelArray], sample: int, repeats: int
) -> dict[str, Any]:
    """Time the three in turn on one set of descriptors; check that both ways give the same scores."""
    database, labels, queries, query_labels = arrays

    def ours(count: int) -> Any:
        prepared = Database(database, "euclidean")
        return score(prepared, labels, queries[:count], query_labels[:count], cuts=CUTS).report()

    def product() -> None:
        for _ in Database(database, "euclidean").blocks(queries):
            pass

    some = queries[:sample], query_labels[:sample]
    runs = []
    for _ in range(repeats):
        seconds, worked, report = timed(lambda: ours(len(queries)))
        article_seconds, article_worked, curve = timed(lambda: the_articles_way(database, labels, *some))
        runs.append(
            {
                "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
                "ours": seconds,
                "ours_processor": worked,
                "article_scaled_processor": article_worked / sample * len(queries),
                "product": timed(product)[0],
                "article_sample": article_seconds,
                "article_scaled": article_seconds / sample * len(queries),
            }
        )
        print(name, {k: round(v, 2) for k, v in runs[-1].items()}, file=sys.stderr, flush=True)
    difference = max(abs(a[1] - b[1]) for a, b in zip(ours(sample).lrap_scikit_learn, curve, strict=True))
    return {
        "descriptors": name,
        "dimension": database.shape[1],
        "database": len(database),
        "queries": len(queries),
        "article_sample_queries": sample,
        "seconds": runs,
        "medians": {
            "ours": statistics.median(r["ours"] for r in runs),
            "article_scaled": statistics.median(r["article_scaled"] for r in runs),
            "times_as_fast": statistics.median(r["article_scaled"] / r["ours"] for r in runs),
            "times_as_fast_processor": statistics.median(
                r["article_scaled_processor"] / r["ours_processor"] for r in runs
            ),
            "share_of_product": statistics.median(r["product"] / r["ours"] for r in runs),
        },
        "largest_difference_in_lrap": difference,
        "scores": report.to_json()["metrics"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--sample", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    train, test = open_collection("mnist:train"), open_collection("mnist:test")
    labels, query_labels = np.asarray(train.labels), np.asarray(test.labels)[: options.queries]
    pixels, query_pixels = (c.array().reshape(len(c), -1).astype(np.float32) / np.float32(255) for c in (train, test))
    query_pixels = query_pixels[: options.queries]
    projection = np.random.default_rng(0).normal(size=(pixels.shape[1], 128)).astype(np.float32) / np.float32(128**0.5)

    results = [
        measure(name, arrays, options.sample, options.repeats)
        for name, arrays in (
            ("pixels", (pixels, labels, query_pixels, query_labels)),
            ("random projection", (pixels @ projection, labels, query_pixels @ projection, query_labels)),
        )
    ]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    raw = {
        "article_list": list(CUTS),
        "peak_memory_mib": round(peak),
        "results": results,
    }
    settings = {"repeats": options.repeats, "the article's way": f"{options.sample} queries, scaled"}
    keep("scoring", "scoring", raw, peers=["scikit-learn"], settings=settings)

    print(f"{options.queries:,} queries x {len(pixels):,} images, medians of {options.repeats}; peak {peak:,.0f} MiB")
    print(f"{'descriptors':<20}{'ours':>9}{'article':>11}{'ratio':>8}{'product':>9}{'LRAP differs by':>18}")
    for r in results:
        m = r["medians"]
        print(
            f"{r['descriptors'] + ' ' + str(r['dimension']):<20}{m['ours']:>7.1f} s{m['article_scaled']:>9,.0f} s"
            f"{m['times_as_fast']:>7.0f}x{m['share_of_product']:>8.0%}{r['largest_difference_in_lrap']:>18.1e}"
        )


if __name__ == "__main__":
    main()
