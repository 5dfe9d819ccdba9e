"""Exact and approximate search against numpy, faiss, hnswlib, usearch and Lance's own index, in one run, in turn.

Each part runs by itself; raw runs go to runs/search/, rows to results/search.csv: ``python benchmarks/search.py exact``, ``binary``;
``build --side NAME``, of each side, then ``approximate``; ``growth --rows N``, of each size; and last ``chart``. What
``build`` and ``growth`` make stays in ``--cache`` with the seconds it took, so that timing can be run again without it (13 GB
with 10,000,000 vectors). Peers: ``pip install faiss-cpu hnswlib usearch``.

The data is structured, as descriptors are (uniform noise would be unfair to every approximate index): a random walk of
2,000 centres in 24 dimensions whose spread falls with the square root of the number, points normally distributed about
them, turned into the full space, and a little noise in all dimensions. Queries are further points, in no database.
"""

# ruff: noqa: B023 - what is measured is called within the loop that it is defined in
from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from study import keep, select

from lookalike.atomic import replace_file
from lookalike.cores import usable_cores
from lookalike.mapped import MappedArrays
from lookalike.neighbors.exact import Database
from lookalike.neighbors.ivf import InvertedFile
from lookalike.neighbors.ivf_build import write_lists

FloatArray = NDArray[np.float32]
CHART = Path(__file__).parents[1] / "docs" / "images" / "search.png"
PEERS = ("faiss-cpu", "hnswlib", "usearch", "pylance")
#: What the sides are told, for the record.
SETTINGS = {
    "faiss": "flat: every number of threads, of many queries also in blocks of 8,192 rows; IVFFlat 2 sqrt(n) lists, 8 iterations; HNSW M=16, efConstruction=80",
    "hnswlib": "M=16, ef_construction=80", "usearch": "connectivity=16, expansion_add=80",
    "Lance": "sqrt(n) partitions, two threads; IVF_FLAT, and IVF_PQ of dimension/8 parts with refine_factor=20",
}  # fmt: skip
#: Rows and dimensions of exact search.
SIZES = ((60_000, 64), (60_000, 1568), (200_000, 128), (1_000_000, 128))
#: The sizes of growth; the last is what a billion is reckoned from.
GROWN = (10_000, 100_000, 1_000_000, 10_000_000)
K = 10


def structured(rows: int, dimension: int, seed: int = 0, *, draw: int = 0) -> FloatArray:
    """Return points of the collection that the seed names; ``draw`` 0 is the database, others are queries."""
    rng = np.random.default_rng(seed)
    inner = 24
    spread = (1 / np.sqrt(np.arange(1, inner + 1))).astype(np.float32)
    centres = np.cumsum(rng.standard_normal((2000, inner)).astype(np.float32) * 0.3, axis=0) * spread
    turn = np.linalg.qr(rng.standard_normal((dimension, inner)))[0].T.astype(np.float32)
    rng = np.random.default_rng([seed, draw])
    out = np.empty((rows, dimension), np.float32)
    for start in range(0, rows, 2**16):
        n = min(2**16, rows - start)
        points = centres[rng.integers(0, len(centres), n)] + rng.standard_normal((n, inner), dtype=np.float32) * spread
        out[start : start + n] = points @ turn + 0.05 * rng.standard_normal((n, dimension), dtype=np.float32)
    return out


def timed(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def in_turn(works: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Time each in turn; the first turn warms up and isn't counted."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            time.sleep(0.05)  # threads of the one before may still be spinning
            seconds = timed(work)
            if turn:
                found[name].append(seconds)
    return found


def compared(works: dict[str, Callable[[], Any]], repeats: int) -> dict[str, Any]:
    """Time each in turn, by the clock and by the processor."""
    processor: dict[str, list[float]] = {name: [] for name in works}

    def watched(name: str) -> Callable[[], Any]:
        def work() -> None:
            begun = time.process_time()
            works[name]()
            processor[name].append(time.process_time() - begun)

        return work

    seconds = in_turn({name: watched(name) for name in works}, repeats)
    by_processor = {name: values[1:] for name, values in processor.items()}  # the first turn warms up
    return {"seconds": seconds, "processor_seconds": by_processor, "medians": medians(seconds)}


def with_threads(count: int, work: Callable[[], Any]) -> Any:
    """Let faiss use so many threads for a while."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        return work()
    finally:
        faiss.omp_set_num_threads(before)


def best_peer(by_side: dict[str, float]) -> float:
    """Return how many times as fast as the best of the others we are."""
    return min(seconds for side, seconds in by_side.items() if side != "ours") / by_side["ours"]


def medians(found: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in found.items()}


def limits() -> dict[str, float]:
    """Return what this machine can do, with both cores: bytes read and float32 operations of a product, a second."""
    data = np.ones(2**27, np.float32)
    halves = np.array_split(data.view(np.uint64), 2)
    with ThreadPoolExecutor(2) as pool:
        read = min(timed(lambda: list(pool.map(np.bitwise_xor.reduce, halves))) for _ in range(4))
    a = np.ones((4096, 4096), np.float32)
    product = min(timed(lambda: a @ a) for _ in range(3))
    return {"bytes_per_second": data.nbytes / read, "flop_per_second": 2 * 4096**3 / product}


def exact(rows: int, dimension: int, repeats: int) -> dict[str, Any]:
    """Compare one size: faiss with each number of threads, and of many queries with blocks of several sizes, too."""
    import faiss

    x, queries = structured(rows, dimension), structured(1000, dimension, draw=1)
    database = Database(x, "euclidean")
    flat = faiss.IndexFlatL2(dimension)
    flat.add(x)
    squares = np.einsum("ij,ij->i", x, x)

    def numpy_way(some: FloatArray) -> Any:
        """Squared distances but for the query's own square, and a partial sort."""
        values = squares - 2 * (some @ x.T)
        near = np.argpartition(values, K, axis=1)[:, :K]
        order = np.argsort(np.take_along_axis(values, near, axis=1), axis=1)
        return np.take_along_axis(near, order, axis=1)

    def in_blocks(size: int, work: Callable[[], Any]) -> Any:
        before, faiss.cvar.distance_compute_blas_database_bs = faiss.cvar.distance_compute_blas_database_bs, size
        try:
            return work()
        finally:
            faiss.cvar.distance_compute_blas_database_bs = before

    def sides(some: FloatArray) -> dict[str, Callable[[], Any]]:
        works: dict[str, Callable[[], Any]] = {"ours": lambda: database.nearest(some, K)}
        if len(some) < 1000:  # with many it is slowest by far, and takes minutes
            works["numpy"] = lambda: numpy_way(some)
        for count in range(1, usable_cores() + 1):
            title = f"faiss, {count} thread{'s' * (count > 1)}"
            works[title] = partial(with_threads, count, lambda: flat.search(some, K))
            if len(some) == 1000:
                works[f"{title}, blocks of 8,192"] = partial(in_blocks, 8192, works[title])
        return works

    ours, theirs = database.nearest(queries, K)[0], flat.search(queries, K)[1]
    top = limits()
    found: dict[str, Any] = {
        "rows": rows, "dimension": dimension, "agree_with_faiss": float((ours == theirs).mean()), "limits": top,
    }  # fmt: skip
    for title, some, turns in (
        ("single", queries[:1], 6 * repeats), ("batch_4", queries[:4], 3 * repeats),
        ("batch_1000", queries, repeats if rows * dimension < 9e7 else max(2, repeats - 1)),
    ):  # fmt: skip
        found[title] = compared(sides(some), turns)
        say({"rows": rows, "dimension": dimension, title: found[title]["medians"]})
    single, batch = (found[title]["medians"] for title in ("single", "batch_1000"))
    return found | {
        "single_share_of_bandwidth": x.nbytes / single["ours"] / top["bytes_per_second"],
        "batch_share_of_peak": 2 * x.size * 1000 / batch["ours"] / top["flop_per_second"],
        "ratio_to_best": {t: best_peer(found[t]["medians"]) for t in ("single", "batch_4", "batch_1000")},
    }


def recall(found: NDArray[Any], right: NDArray[np.int64]) -> float:
    return float(np.mean([len(set(a.tolist()) & set(b.tolist())) / K for a, b in zip(found, right, strict=True)]))


def data(rows: int, dimension: int, cache: Path) -> FloatArray:
    """Return the database of :func:`structured`, made once and then mapped."""
    path = cache / f"structured-{rows}x{dimension}.npy"
    if not path.exists():
        with replace_file(path) as f:
            np.save(f, structured(rows, dimension))
    mapped: FloatArray = np.load(path, mmap_mode="r")
    return mapped


def built(path: Path, build: Callable[[], Any]) -> None:
    """Make what ``path`` names unless it is there; what making it took is kept beside it, once it is whole."""
    if cost_file(path).exists():
        return
    begun = time.process_time()
    with anonymous_peak() as peak:
        seconds = timed(build)
    costs = {
        "build_seconds": seconds,
        "build_processor_seconds": time.process_time() - begun,
        "build_memory_bytes": peak[0],
    }
    with replace_file(cost_file(path)) as f:
        f.write(json.dumps(costs).encode())


def cost_file(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def cost(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cost_file(path).read_text())
    return found


@contextmanager
def anonymous_peak() -> Iterator[list[int]]:
    """Tell by how much the process' own memory, files that are mapped left out, grows at most within the block."""

    def now() -> int:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("RssAnon:")[1].split()[0])

    before, peak, done = now(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], now() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def cached(side: str, rows: int, cache: Path) -> Path:
    return cache / f"{side.lower().replace(',', '').replace(' ', '-')}-{rows}"


def approximate(names: list[str], rows: int, repeats: int, cache: Path) -> list[dict[str, Any]]:
    """Measure queries a second of each, by its own parameter from low to high, until recall@10 is .995; all in turn."""
    queries = structured(1000, 128, draw=1)
    right = Database(data(rows, 128, cache), "euclidean").nearest(queries, K)[0]
    missing = [name for name in names if not cost_file(cached(name, rows, cache)).exists()]
    if missing:
        raise SystemExit("\n".join(f"first: python benchmarks/search.py build --side {name!r}" for name in missing))
    found, searches = [], {}
    for name in names:
        path = cached(name, rows, cache)
        searches[name], steps = SIDES[name](data(rows, 128, cache), path)
        curve: list[dict[str, Any]] = []
        for step in steps:
            share = recall(searches[name](queries, step), right)
            curve.append({"parameter": step, "recall": share, "batch_1000_s": [], "single_s": []})
            if share >= 0.995:
                break
        found.append({"side": name, "rows": rows, **cost(path), "curve": curve})
        say({"side": name, "recall": {one["parameter"]: one["recall"] for one in curve}})
    for _ in range(repeats):
        for one in found:
            search = searches[one["side"]]
            for step in one["curve"]:
                at = step["parameter"]
                time.sleep(0.05)  # threads of the one before may still be spinning
                step["batch_1000_s"].append(timed(lambda: search(queries, at)))
                step["single_s"].append(timed(lambda: [search(q[None], at) for q in queries[:100]]) / 100)
    for one in found:
        for step in one["curve"]:
            step["batch_per_second"] = 1000 / statistics.median(step["batch_1000_s"])
            step["single_ms"] = 1000 * statistics.median(step["single_s"])
            say({"side": one["side"], **{k: v for k, v in step.items() if not isinstance(v, list)}})
    return found


# Each side makes its index at a path, unless it is there, and returns a search by a parameter and the parameter's values.

PROBES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
WIDTHS = (16, 32, 64, 128, 256, 512)


def our_lists(x: FloatArray, path: Path) -> Any:
    built(path, lambda: write_lists(path, x, np.arange(len(x)), "euclidean"))
    lists = InvertedFile(MappedArrays(path))
    say({"meter": lists.facts()})
    return lambda q, n: lists.search(q, K, n)[0], PROBES


def our_exact(x: FloatArray, path: Path) -> Any:
    built(path, lambda: Database(x, "euclidean"))
    database = Database(x, "euclidean")
    return lambda q, _: database.nearest(q, K)[0], (0,)


def faiss_ivf(x: FloatArray, path: Path) -> Any:
    import faiss

    def build() -> None:
        lists = int(2 * len(x) ** 0.5)
        index = faiss.IndexIVFFlat(faiss.IndexFlatL2(x.shape[1]), x.shape[1], lists)
        index.cp.niter = 8
        index.train(x[:: max(1, len(x) // (39 * lists))])  # 39 a list is the least that faiss asks for
        index.add(x)
        faiss.write_index(index, str(path))

    built(path, build)
    index = faiss.read_index(str(path))

    def search(q: FloatArray, n: int) -> Any:
        index.nprobe = n
        return index.search(q, K)[1]

    return search, PROBES


def faiss_hnsw(x: FloatArray, path: Path) -> Any:
    import faiss

    def build() -> None:
        index = faiss.IndexHNSWFlat(x.shape[1], 16)
        index.hnsw.efConstruction = 80
        index.add(x)
        faiss.write_index(index, str(path))

    built(path, build)
    index = faiss.read_index(str(path))

    def search(q: FloatArray, n: int) -> Any:
        index.hnsw.efSearch = n
        return index.search(q, K)[1]

    return search, WIDTHS


def hnswlib_(x: FloatArray, path: Path) -> Any:
    import hnswlib

    def build() -> None:
        index = hnswlib.Index("l2", x.shape[1])
        index.init_index(len(x), M=16, ef_construction=80, random_seed=0)
        index.add_items(x)
        index.save_index(str(path))

    built(path, build)
    index = hnswlib.Index("l2", x.shape[1])
    index.load_index(str(path))

    def search(q: FloatArray, n: int) -> Any:
        index.set_ef(n)
        return index.knn_query(q, K)[0].astype(np.int64)

    return search, WIDTHS


def usearch_(x: FloatArray, path: Path) -> Any:
    from usearch.index import Index

    def build() -> None:
        index = Index(ndim=x.shape[1], metric="l2sq", dtype="f32", connectivity=16, expansion_add=80)
        begun = time.perf_counter()
        for start in range(0, len(x), 50_000):  # as one call does, with a word on how far it is
            index.add(np.arange(start, min(start + 50_000, len(x))), x[start : start + 50_000])
            say({"usearch": len(index), "seconds": time.perf_counter() - begun})
        index.save(str(path))

    built(path, build)
    index = Index.restore(str(path))

    def search(q: FloatArray, n: int) -> Any:
        index.expansion_search = n
        return np.asarray(index.search(q, K).keys, np.int64).reshape(len(q), -1)

    return search, WIDTHS


def lance_(kind: str, x: FloatArray, path: Path) -> Any:
    import pyarrow as pa

    from lookalike.index.dataset import import_lance

    lance = import_lance()
    parts = {"num_sub_vectors": x.shape[1] // 8} if kind == "IVF_PQ" else {}
    refined = {"refine_factor": 20} if kind == "IVF_PQ" else {}

    def build() -> None:
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), x.shape[1])
        table = pa.table({"row": np.arange(len(x)), "v": vectors})
        made = lance.write_dataset(table, str(path), mode="overwrite")
        made.create_index("v", kind, num_partitions=int(len(x) ** 0.5), **parts)

    built(path, build)
    stored = lance.dataset(str(path))

    def search(q: FloatArray, n: int) -> Any:
        def one(v: FloatArray) -> list[int]:
            near = {"column": "v", "q": v, "k": K, "nprobes": n, **refined}
            return list(stored.to_table(columns=["row"], nearest=near)["row"].to_pylist())

        with ThreadPoolExecutor(2) as pool:
            return np.array(list(pool.map(one, q)))

    return search, (1, 2, 4, 8, 16, 32, 64)


SIDES: dict[str, Callable[[FloatArray, Path], Any]] = {
    "lookalike, exact": our_exact,
    "lookalike, lists": our_lists,
    "faiss IVFFlat": faiss_ivf,
    "faiss HNSW": faiss_hnsw,
    "hnswlib": hnswlib_,
    "usearch": usearch_,
    "Lance IVF_PQ, refined": partial(lance_, "IVF_PQ"),
    "Lance IVF_FLAT": partial(lance_, "IVF_FLAT"),
}


def binary(repeats: int) -> list[dict[str, Any]]:
    """Compare packed codes: near centres, as an encoder's are, and random ones, of which nothing can be dismissed early."""
    import faiss
    from usearch.index import MetricKind
    from usearch.index import search as usearch_exact

    found = []
    for kind, bits in ((kind, bits) for kind in ("codes", "random codes") for bits in (64, 256)):
        rng = np.random.default_rng(bits)
        centres = rng.integers(0, 256, (2000, bits // 8), dtype=np.uint8)

        def codes(rows: int) -> NDArray[np.uint8]:
            """Centres with about a seventh of their bits flipped."""
            if kind != "codes":
                return rng.integers(0, 256, (rows, bits // 8), dtype=np.uint8)
            flipped = np.packbits(rng.random((rows, bits), dtype=np.float32) < 0.15, axis=1)
            return np.asarray(centres[rng.integers(0, 2000, rows)] ^ flipped)

        x, queries = codes(1_000_000), codes(100)
        database = Database(x, "hamming")
        flat = faiss.IndexBinaryFlat(bits)
        flat.add(x)
        places, far = database.nearest(queries, K)
        theirs = flat.search(queries, K)

        def sides(some: NDArray[np.uint8]) -> dict[str, Callable[[], Any]]:
            works: dict[str, Callable[[], Any]] = {"ours": lambda: database.nearest(some, K)}
            for count in range(1, usable_cores() + 1):
                title = f"{count} thread{'s' * (count > 1)}"
                works[f"faiss, {title}"] = partial(with_threads, count, lambda: flat.search(some, K))
                if len(some) == 1:  # a hundred take seconds
                    works[f"usearch, {title}"] = partial(
                        usearch_exact, x, some, K, MetricKind.Hamming, exact=True, threads=count
                    )
            return works

        found.append(
            {
                "rows": len(x),
                "bits": bits,
                "kind": kind,
                "distances_agree_with_faiss": float((far == theirs[0]).mean()),
                "places_agree_with_faiss": float((places == theirs[1]).mean()),
                "single": compared(sides(queries[:1]), 6 * repeats),
                "batch_100": compared(sides(queries), 3 * repeats),
            }
        )
        found[-1]["ratio_to_best"] = {t: best_peer(found[-1][t]["medians"]) for t in ("single", "batch_100")}
        say(found[-1])
    return found


def growth(rows: int, repeats: int, cache: Path) -> dict[str, Any]:
    """Tell what so many 64-d vectors take, exact and by lists: time, the process' own memory, and to build."""
    x, queries = data(rows, 64, cache), structured(1000, 64, draw=1)
    one: dict[str, Any] = {"rows": rows, "dimension": 64, "descriptor_bytes": x.nbytes}
    with anonymous_peak() as peak:
        one["exact_prepare_s"] = timed(lambda: Database(x, "euclidean"))
    one["exact_prepare_bytes"] = peak[0]
    database = Database(x, "euclidean")
    few = queries if rows <= 1_000_000 else queries[:200]
    right = database.nearest(few, K)[0]
    path = cache / f"growth-{rows}.sealed"
    built(path, lambda: write_lists(path, x, np.arange(rows), "euclidean"))
    one |= {f"lists_{name}": value for name, value in cost(path).items()}
    one["lists_bytes"] = path.stat().st_size
    lists = InvertedFile(MappedArrays(path))
    one["lists"] = lists.facts()
    probes = lists.probes(K)
    works: dict[str, Callable[[], Any]] = {
        "exact_single_s": lambda: database.nearest(queries[:1], K),
        "exact_batch_s": lambda: database.nearest(few, K),
    }
    if probes:
        one["lists_recall"] = recall(lists.search(few, K, probes)[0], right)
        works["lists_single_s"] = lambda: [lists.search(q[None], K, probes) for q in queries[:50]]
        works["lists_batch_s"] = lambda: lists.search(queries, K, probes)
    for name, work in works.items():
        tracemalloc.start()
        work()
        one[name.removesuffix("_s") + "_bytes"] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    many = {"exact_single_s": 1, "exact_batch_s": len(few), "lists_single_s": 50, "lists_batch_s": 1000}
    for name, seconds in in_turn(works, repeats).items():
        one[name + "_repeats"] = seconds
        one[name + "_a_query"] = statistics.median(seconds) / many[name]
    say(one)
    return one


def projected(last: dict[str, Any], rows: int = 10**9, lists: int = 8192) -> dict[str, Any]:
    """Reckon, from the largest size that was measured, what so many 64-d vectors would take with the most lists there are.

    Searching grows with the rows that are read (exact: all; lists: those looked into), building lists with rows times lists.
    """
    times = rows / last["rows"]
    probes = next(one["probes"] for one in last["lists"]["meter"] if one["k"] == K)
    longer = times * last["lists"]["lists"] / lists
    read = probes * rows // lists * 64 * 4
    return {
        "from_rows": last["rows"],
        "rows": rows,
        "lists": lists,
        "probes": probes,
        "descriptor_bytes": rows * 256,
        "this_machine_if_it_had_the_memory": {
            "exact_single_s": times * last["exact_single_s_a_query"],
            "exact_batch_s_a_query": times * last["exact_batch_s_a_query"],
            "lists_single_s": longer * last.get("lists_single_s_a_query", np.nan),
            "lists_batch_s_a_query": longer * last.get("lists_batch_s_a_query", np.nan),
            "lists_build_s": times * lists / last["lists"]["lists"] * last["lists_build_seconds"],
        },
        "64 cores, 512 GB, 400 GB/s": {
            "exact_single_s": rows * 256 / 400e9,
            "lists_bytes_read": read,
            "lists_single_s_at_the_memory's_speed": read / 400e9,
            "lists_single_s_at_12_GB/s_of_one_core": read / 12e9,
        },
    }


def chart() -> None:
    """Draw queries a second by recall, and how a query's time grows with the number of vectors, from the tidy table."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    def values(metric: str, **where: str) -> list[float]:
        return [float(row["value"]) for row in select("search", metric=metric, **where)]

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for side in SIDES:
        shares = values("recall@10", side=side, method="approximate")
        rates = values("queries a second, 1,000 at a time", side=side)
        left.plot(shares, rates, "o-", label=side, lw=2.5 if side.startswith("lookalike") else 1.2, ms=4)
    left.axvline(0.99, color="grey", lw=0.8, ls=":")
    left.set(yscale="log", xlim=(0.75, 1.005), xlabel="recall@10", ylabel="queries a second, 1,000 at a time")
    left.set_title("1,000,000 x 128, Euclid, 2 cores", fontsize=10)
    left.legend(fontsize=8)
    for method in ("exact", "approximate"):
        for setting, label in (("one query", "one query"), ("each of many queries", "each of many")):
            ms = [
                values("ms", collection=f"{rows:,} x 64", method=method, setting=setting, run=f"growth, {rows}")
                for rows in GROWN
            ]
            right.plot(GROWN, [found[0] if found else np.nan for found in ms], "o-", label=f"{method}, {label}", ms=4)
    right.set(xscale="log", yscale="log", xlabel="vectors of 64 float32", ylabel="milliseconds a query")
    right.set_title("Growth, recall@10 of approximate search .99 and more", fontsize=10)
    right.legend(fontsize=8)
    CHART.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(CHART, dpi=110)


def say(what: dict[str, Any]) -> None:
    print(json.dumps(what, default=lambda v: round(float(v), 6)), file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["exact", "build", "approximate", "binary", "growth", "chart"])
    parser.add_argument("--side", action="append", choices=sorted(SIDES), help="build, approximate: only these.")
    parser.add_argument("--rows", type=int, help="of the database: by default 1,000,000, for exact all sizes.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir(), "lookalike-benchmark-search"))
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    rows = options.rows or 1_000_000
    if options.part == "chart":
        chart()
        return
    names = options.side or list(SIDES)
    if options.part == "build":
        for name in names:
            path = cached(name, rows, options.cache)
            SIDES[name](data(options.rows, 128, options.cache), path)
            say({"side": name, **cost(path)})
        return
    found: dict[str, Any]
    if options.part == "exact":
        sizes = [size for size in SIZES if options.rows in (None, size[0])]
        found = {f"exact, {m:,} x {d:,}": exact(m, d, options.repeats) for m, d in sizes}
    elif options.part == "approximate":
        found = {f"approximate, {one['side']}": one for one in approximate(names, rows, options.repeats, options.cache)}
    elif options.part == "binary":
        found = {"binary": binary(options.repeats)}
    else:
        one = growth(rows, options.repeats, options.cache)
        found = {f"growth, {rows}": one}
        if rows == GROWN[-1]:  # a smaller size is no ground to reckon from
            found["projection"] = projected(one)
    for part, raw in found.items():
        keep("search", part, raw, peers=PEERS, settings=SETTINGS | {"repeats": options.repeats})


if __name__ == "__main__":
    importlib.import_module("lookalike")
    main()
