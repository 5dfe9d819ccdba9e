"""Figures of docs/benchmarks.md, serving.md and map.md."""

from __future__ import annotations

from tables import Column, Table, digits, interval, times

from figures.lines import metrics, named, percent, spanned

_PRESETS = [(preset, {"encoder": f"autoencoder, {preset}"}) for preset in ("article", "tutorial")]
_RATE = "images a second"
_SIZES = ("60,000 x 64", "60,000 x 1,568", "200,000 x 128", "1,000,000 x 128")
_BATCHES = (("one query", "one"), ("4 queries", "4"), ("1,000 queries", "1,000"))
_SIDES = (
    "hnswlib",
    "faiss HNSW",
    "faiss IVFFlat",
    "lookalike, lists",
    "usearch",
    "Lance IVF_PQ, refined",
    "lookalike, exact",
)
_EQUAL = {"setting": "recall@10 of .99, interpolated"}
_AT = {"setting": "first with recall@10 of .99"}
_PROCESSOR = (
    Column("processor ms: ours", {"study": "search-processor", "side": "ours", "metric": "processor ms"}, digits(1)),
    Column("the best", {"study": "search-processor", "side": "the best peer", "metric": "processor ms"}, digits(1)),
)
_HERE, _LARGE = "this_machine_if_it_had_the_memory", "64 cores, 512 GB, 400 GB/s"
_GROWN = ("10,000", "100,000", "1,000,000", "10,000,000")
_FILES = (
    ("small photos, 1000 files", "Corel-1k, 1,000 photos of 256 x 256"),
    ("small photos, 6 times, 6000 files", "the same, six times"),
)


def _mutants(run: str) -> Table:
    """Return how many mutants of a sample were killed, by package."""
    return Table(
        "mutants", "package", [(p, {"run": run, "package": p}) for p in ("selection", "search", "index", "server", "client", "decoder processes", "all")],
        [Column("mutants", {"metric": "mutants"}, digits(0)), Column("killed by the first run", {"metric": "share killed at first"}, percent),
         Column("killed", {"metric": "share killed"}, percent), Column("change nothing", {"metric": "equivalent"}, digits(0)),
         Column("of the rest, killed", {"metric": "share killed of those that change something"}, percent)],
    )  # fmt: skip


SPEED = {
    "training": Table(
        "training", "images a second", _PRESETS,
        [Column("lookalike", {"side": "lookalike", "metric": _RATE}, digits(0)),
         *(c for side, title in (("keras script", "Keras script"), ("keras script, oneDNN on", "Keras script, oneDNN on"), ("pytorch", "PyTorch"))
           for c in (Column(title, {"side": side, "metric": _RATE}, digits(0)), Column("lookalike to it", {"side": side, "metric": "times as fast as this side"}, times))),
         Column("arithmetic limit", {"metric": "images a second at the arithmetic limit"}, digits(0)),
         Column("our share", {"metric": "share of the arithmetic limit"}, percent)],
    ),
    "encoding": Table(
        "encoding", "images a second", [(f"{preset}, {half}", {**where, "setting": half}) for preset, where in _PRESETS for half in ("encode", "denoise")],
        [*(Column(title, {"side": side, "metric": _RATE}, digits(0)) for side, title in (("lookalike", "lookalike"), ("tensorflow", "TensorFlow"), ("jax", "JAX"))),
         Column("ours to the best", {"metric": "times as fast as the best peer"}, times)],
    ),
    "startup": Table(
        "startup", "whole process",
        [(f"`{c}`", {"setting": c}) for c in ("python -c pass", "python -c 'import numpy'", "lookalike --help")]
        + [(f"`lookalike search query.png`, {t}", {"setting": f"search, {t.split(',')[0]}"}) for t in ("article, 128-d", "hog, 392-d", "pixels, 784-d")],
        [Column("seconds", {"metric": "seconds"}, spanned(2))], "Medians of 9 (least to greatest).",
    ),
    "scoring": Table(
        "scoring", "descriptors", [("pixels, 784-d", {"encoder": "pixels, 784-d"}), ("random projection, 128-d", {"encoder": "random projection, 128-d"})],
        [Column("ours, s", {"side": "lookalike", "metric": "seconds"}, spanned(1)), Column("the article's way, s", {"side": "the article's way", "metric": "seconds"}, spanned(0)),
         Column("times as fast", {"metric": "times as fast"}, spanned(0)), Column("of ours, the matrix product", {"metric": "share that is the matrix product"}, percent),
         Column("load", {"metric": "load"}, spanned(1))], "Medians of 3 (least to greatest).",
    ),
    "hog": Table(
        "hog", "side", named("side", "hog", "hog, deskew", "scikit-image, cells", "scikit-image, blocks", "pixels"),
        [Column("d", {"metric": "dimension"}, digits(0)), Column("images a second, one core", {"metric": _RATE}, digits(0)),
         Column("two cores", {"metric": "images a second, all cores"}, digits(0)), *metrics(("P@1", "mAP"), interval(3))],
    ),
    "hog-ratios": Table(
        "hog", "ours", [(f"`{s}`, as {p}", {"side": s, "setting": f"as {p}"}) for s in ("hog", "hog, deskew") for p in ("scikit-image, cells", "scikit-image, blocks")],
        [Column("times as fast, one core", {"metric": "times as fast, one core: clock"}, times), Column("two cores each", {"metric": "times as fast, all cores: clock"}, times),
         Column("two cores, by processor time", {"metric": "times as fast, all cores: processor time"}, times)],
    ),
    "indexing": Table(
        "indexing", "images a second",
        [(f"12-megapixel JPEGs, {n} of 4.1 MB, at 64 x 64", {"collection": f"12 megapixels, {n} files", "setting": "64 x 64"}) for n in (24,)]
        + [(f"{title}, at {size}", {"collection": name, "setting": size}) for size in ("64 x 64", "32 x 32") for name, title in _FILES],
        [*(Column(title, {"side": side, "metric": _RATE}, digits(0), True) for side, title in (
            ("lookalike", "lookalike"), ("decoder", "decoder alone"), ("Pillow, 1 process", "Pillow loop, 1 process"), ("Pillow, 2 processes", "2 processes"),
            ("Pillow, draft, 2 processes", "2, `draft`"), ("Pillow, draft, 2 processes started within", "2, `draft`, their start included"),
            ("OpenCV, 1 process", "OpenCV loop, 1 process"), ("OpenCV, 2 processes", "2 processes"), ("OpenCV, reduced, 2 processes", "2, `REDUCED_COLOR_8`"))),
         Column("ours, as the best loop", {"metric": "times as fast as the best loop"}, times, True),
         Column("processor ms an image: ours", {"side": "lookalike", "metric": "processor ms an image"}, digits(1), True),
         Column("Pillow, `draft`", {"side": "Pillow, draft, 2 processes", "metric": "processor ms an image"}, digits(1), True)],
    ),
    "neural": Table(
        "neural", "Corel-1k, files to descriptors",
        [("`neural`", {"side": "pair"}), ("`neural:model=fast`", {"side": "fast"}), ("fastdup", {"side": "fastdup"})],
        [Column("images a second", {"metric": _RATE}, spanned(0)), Column("times as fast as fastdup", {"metric": "times as fast as fastdup"}, spanned(2), True),
         *metrics(("mAP", "P@20", "P@1"), interval(3))],
    ),
    "networks-alone": Table(
        "neural", "one image an inference, one thread",
        [(title, {"side": side}) for side, title in (
            ("ONNX Runtime, Lite0, single precision", "Lite0, single precision"), ("ONNX Runtime, efficientnet_lite0_int8", "Lite0, 8 bits"),
            ("OpenVINO, efficientnet_lite0_int8", "the same by OpenVINO"), ("ONNX Runtime, efficientnet_lite2_int8", "Lite2, 8 bits"))],
        [Column("processor ms an image", {"metric": "processor ms an image"}, spanned(1))],
    ),
    "hamming": Table(
        "hamming", "time limit",
        [("1,000,000 random codes of 256 bits, the 10 nearest, ms a query: median", {"metric": "ms a query"}),
         ("nine of ten within", {"metric": "ms of nine of ten queries"}), ("`hog` of MNIST's 60,000 digits, seconds: median", {"metric": "seconds to encode"})],
        [Column("value", {}, lambda row: spanned(1)(row) if row["low"] else digits(1)(row))],
    ),
    "exact": Table(
        "search", "milliseconds",
        [(f"{size}, {batch}", {"collection": size, "method": "exact", "setting": batch}) for batch, _ in _BATCHES for size in _SIZES],
        [*(Column(title, {"side": side, "metric": "ms"}, digits(1), True) for side, title in (
            ("ours", "ours"), ("numpy", "numpy"), ("faiss, 1 thread", "faiss, 1 thread"), ("faiss, 2 threads", "2 threads"),
            ("faiss, 1 thread, blocks of 8,192", "1, larger blocks"), ("faiss, 2 threads, blocks of 8,192", "2, larger blocks"))),
         Column("ours, as the best of them", {"side": "ours", "metric": "times as fast as the best peer"}, times), *_PROCESSOR],
    ),
    "approximate": Table(
        "search", "1,000,000 x 128", [(side, {"side": side, "method": "approximate"}) for side in _SIDES],
        [Column("processor seconds to build", {"metric": "processor seconds to build"}, digits(0)),
         Column("recall@10", {**_AT, "metric": "recall@10"}, digits(3)),
         Column("queries a second, 1,000 at a time", {**_AT, "metric": "queries a second, 1,000 at a time"}, spanned(0)),
         Column("ms, one query", {**_AT, "metric": "ms, one query"}, spanned(2)),
         Column("its parameter", {**_AT, "metric": "parameter"}, digits(0)),
         Column("at a recall@10 of .99, interpolated: queries a second", {**_EQUAL, "metric": "queries a second, 1,000 at a time"}, digits(0), True),
         Column("ms, one query, likewise", {**_EQUAL, "metric": "ms, one query"}, digits(2), True)],
    ),
    "growth": Table(
        "search", "vectors of 64", [(size, {"collection": f"{size} x 64"}) for size in _GROWN],
        [*(Column(f"{method}, {title}: ms", {"method": method, "setting": setting, "metric": "ms"}, digits(2))
           for method in ("exact", "approximate") for setting, title in (("one query", "one"), ("each of many queries", "of many"))),
         Column("recall@10", {"metric": "recall@10"}, digits(3)), Column("seconds to build", {"metric": "seconds to build"}, digits(1)),
         Column("on disk, MB", {"metric": "on disk, MB"}, digits(0)), Column("the vectors, MB", {"metric": "descriptors, MB"}, digits(0)),
         Column("own memory to build, MB", {"metric": "own memory to build, MB"}, digits(0)),
         *(Column(f"own memory, {title}: MB", {"method": m, "setting": s, "metric": "own memory, MB"}, digits(0))
           for m, s, title in (("exact", "one query", "exact, one"), ("approximate", "each of many queries", "approximate, 1,000")))],
    ),
    "projection": Table(
        "search", "1,000,000,000 vectors of 64, extrapolated and not measured: seconds",
        [(title, {"setting": f"reckoned, not measured: {machine}", "metric": metric}) for title, machine, metric in (
            ("this machine, if it had the memory: exact, one query", _HERE, "exact single s"),
            ("approximate, one query", _HERE, "lists single s"), ("building for approximate search", _HERE, "lists build s"),
            ("64 cores, 512 GB, 400 GB/s: exact, one query", _LARGE, "exact single s"),
            ("approximate, one query, at the memory's speed", _LARGE, "lists single s at the memory's speed"),
            ("approximate, one query, at one core's 12 GB/s", _LARGE, "lists single s at 12 GB/s of one core"))],
        [Column("value", {}, lambda row: f"{float(row['value']):,.0f}" if float(row["value"]) >= 100 else f"{float(row['value']):.2g}")],
    ),
    "packed": Table(
        "search-packed", "ms",
        [(f"{b} bits{title}, {batch}", {"collection": f"1,000,000 {kind} of {b} bits", "setting": batch})
         for kind, title in (("codes", ""), ("random codes", ", random")) for b in (64, 256) for batch in ("one query", "100 queries")],
        [*(Column(title, {"side": side, "metric": "ms"}, spanned(1), True) for side, title in (
            ("ours", "ours"), ("faiss, 1 thread", "faiss, 1 thread"), ("faiss, 2 threads", "2 threads"), ("usearch, 1 thread", "usearch, 1 thread"), ("usearch, 2 threads", "2 threads"))),
         Column("ours, as the best of them", {"side": "ours", "metric": "times as fast as the best peer"}, times), *_PROCESSOR],
    ),
    "serving": Table(
        "serving", "clients", [(n, {"setting": f"{n} clients"}) for n in ("1", "16", "64")],
        [Column(f"{side}: {title}", {"side": side, "metric": metric}, digits(0)) for side in ("with batching", "without")
         for title, metric in (("queries a second", "queries a second"), ("p50, ms", "p50 ms"), ("p95, ms", "p95 ms"), ("p99, ms", "p99 ms"), ("failed", "not 200"))],
    ),
    "serving-limits": Table(
        "serving", "with nothing around it, images a second", [(what, {"setting": what}) for what in ("encode by 1", "encode by 64", "search by 1", "search by 64")],
        [Column("value", {"metric": "images a second"}, digits(0))],
    ),
    "serving-drop": Table(
        "serving", "ms", [("from a dropped digit to its first answers: median of 25", {"metric": "ms to the first answer"}), ("95 % within", {"metric": "ms to the first answer, 95 % within"})],
        [Column("value", {}, digits(0))],
    ),
    "serving-endure": Table(
        "serving", "16 clients for ten minutes", [(m, {"metric": m}) for m in (
            "requests", "answers with status 200", "killed decoders", "index opened anew", "memory, MB, after 100 s", "memory, MB, at the end",
            "open files, after 100 s", "open files, at the end")],
        [Column("value", {"run": "endure"}, digits(0))],
    ),
    "mutants": _mutants("seed 1"),
    "mutants-fresh": _mutants("seed 2"),
    "map": Table(
        "map", "10,000 digits by `hog`, one core", named("side", "lookalike", "umap-learn"),
        [Column("seconds, median of 3", {"metric": "seconds"}, spanned(1)), Column("trustworthiness", {"metric": "trustworthiness 15 of 3000"}, digits(3)),
         Column("equal labels among the ten nearest", {"metric": "label agreement 10"}, digits(3))],
    ),
    "map-frames": Table(
        "map-frames", "100,000 dots, ms a frame", [(m.partition(":")[0], {"method": m}) for m in ("as the page chooses: 2d", "webgl2 forced: webgl2", "2d forced: 2d")],
        [Column("median", {"metric": "ms a frame, median"}, digits(0)), Column("95 % within", {"metric": "ms a frame, 95 % within"}, digits(0))],
    ),
}  # fmt: skip
