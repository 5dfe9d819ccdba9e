"""Rows of the studies of time and memory."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from rows.row import Row, number, rate, ratio, score, took


def encoding(_: str, raw: Any) -> Iterator[Row]:
    for title, found in raw["results"].items():
        preset, half = title.split(", ")
        where: dict[str, Any] = {"encoder": f"autoencoder, {preset}", "setting": half}
        for side, seconds in found["seconds"].items():
            yield rate(raw["images"], seconds, **where, side=side)
        best, seconds = found["best_peer"], found["seconds"]
        yield ratio("times as fast as the best peer", seconds[best], seconds["lookalike"], **where, side="lookalike")


def hamming(_: str, raw: Any) -> Iterator[Row]:
    ms = sorted(raw["milliseconds_a_query"])
    yield took("ms a query", ms, setting="1,000,000 codes of 256 bits, 10 nearest")
    yield number(
        "ms of nine of ten queries",
        ms[int(0.9 * len(ms))],
        setting="1,000,000 codes of 256 bits, 10 nearest",
        n=len(ms),
    )
    yield took("seconds to encode", raw["seconds_of_hog"], encoder="hog", collection="MNIST, 60,000 digits")


def hog(part: str, raw: Any) -> Iterator[Row]:
    if part == "quality":
        for side, found in raw["results"].items():
            for metric, value in found["metrics"].items():
                yield score(metric, [value, *found["intervals"][metric]], raw["queries"], side=side)
            yield number("dimension", found["dimension"], side=side)
        return
    for kept, cores in (("repeats", ""), ("repeats_on_all_cores", ", all cores")):
        for side, turns in raw[kept].items():
            yield rate(raw["images"], [r["seconds"] for r in turns], f"images a second{cores}", side=side)
            worked = [r["processor_seconds"] for r in turns]
            yield rate(raw["images"], worked, f"images a processor second{cores}", side=side)
    for title, by_unit in raw["ratios"].items():
        fast, slow = title.split(" / ")
        for unit, value in by_unit.items():
            metric = f"times as fast, {unit.replace('processor_seconds', 'processor time').replace('seconds', 'clock')}"
            yield number(metric, value, side=fast, setting=f"as {slow}", n=len(raw["repeats"][fast]))


def indexing(_: str, raw: Any) -> Iterator[Row]:
    for collection, found in raw["results"].items():
        where: dict[str, Any] = {
            "collection": f"{collection}, {found['images']} files",
            "setting": f"{raw['side']} x {raw['side']}",
        }
        seconds = found["seconds"]
        for side, repeats in seconds.items():
            yield rate(found["images"], repeats, **where, side=side)
            worked = found["processor_seconds"][side]
            yield took("processor ms an image", worked, 1000 / found["images"], **where, side=side)
        best = found["best_loop"]
        best_one = ratio(
            "times as fast as the best loop", seconds[best], seconds["lookalike"], **where, side="lookalike"
        )
        yield {**best_one, "note": f"the best: {best}"}
        yield ratio(
            f"share of the {found['limit']}", seconds[found["limit"]], seconds["lookalike"], **where, side="lookalike"
        )
        yield ratio("share of the pool", seconds["pool"], seconds["leash"], **where, side="leash")


def map_(_: str, raw: Any) -> Iterator[Row]:
    for side, seconds in raw["seconds"].items():
        yield took("seconds", seconds, side=side)
        yield took("seconds of processor time", raw["processor_seconds"][side], side=side)
        if side != "lookalike":
            yield ratio("times as fast as this side", seconds, raw["seconds"]["lookalike"], side=side)
        for metric, value in raw["figures"][side].items():
            yield number(metric.replace("_", " "), value, side=side)


def map_frames(_: str, raw: Any) -> Iterator[Row]:
    for way, found in raw.items():
        if isinstance(found, dict):
            where: dict[str, Any] = {"method": f"{way}: {found['drawn by']}", "n": len(found["medians_of_repeats_ms"])}
            repeats = found["medians_of_repeats_ms"]
            yield number("ms a frame, median", found["median_ms"], low=min(repeats), high=max(repeats), **where)
            yield number("ms a frame, 95 % within", found["p95_ms"], **where)


def neural(_: str, raw: Any) -> Iterator[Row]:
    def spent(side: str, clock: str, start: str) -> list[float]:
        return [whole - began for whole, began in zip(raw[clock][side], raw[start][side], strict=True)]

    for side, seconds in raw["seconds"].items():
        where: dict[str, Any] = {"side": side, "collection": "Corel-1k"}
        yield rate(1000, seconds, **where)
        yield took("seconds to start up", raw["startup"][side], **where)
        yield rate(999, spent(side, "seconds", "startup"), "images a second, start-up apart", **where)
        yield took(
            "processor ms an image, start-up apart", spent(side, "processor", "startup_processor"), 1000 / 999, **where
        )
        for metric, (value, interval) in raw["quality"][side].items():
            yield score(metric, [value, *interval], **where)
        if side != "fastdup":
            yield ratio("times as fast as fastdup", raw["seconds"]["fastdup"], seconds, **where)
            for name, clock, start in (
                ("start-up apart", "seconds", "startup"), ("start-up apart, processor time", "processor", "startup_processor")
            ):  # fmt: skip
                yield ratio(
                    f"times as fast as fastdup, {name}",
                    spent("fastdup", clock, start),
                    spent(side, clock, start),
                    **where,
                )
    for side, found in raw["alone"].items():
        yield took("processor ms an image", found, side=side, setting="network alone, one thread")


def scoring(_: str, raw: Any) -> Iterator[Row]:
    for found in raw["results"]:
        where: dict[str, Any] = {"encoder": f"{found['descriptors']}, {found['dimension']}-d"}
        runs = found["seconds"]
        for side, name in (
            ("lookalike", "ours"),
            ("the article's way", "article_scaled"),
            ("matrix product alone", "product"),
        ):
            yield took("seconds", [run[name] for run in runs], **where, side=side)
        yield ratio(
            "times as fast", [r["article_scaled"] for r in runs], [r["ours"] for r in runs], **where, side="lookalike"
        )
        if "ours_processor" in runs[0]:  # not in runs before 30 November 2026
            article, ours = ([r[f"{side}_processor"] for r in runs] for side in ("article_scaled", "ours"))
            yield ratio("times as fast, processor time", article, ours, **where, side="lookalike")
        yield ratio(
            "share that is the matrix product", [r["product"] for r in runs], [r["ours"] for r in runs], **where
        )
        yield took("load", [run["load_average"] for run in runs], **where)
        yield number("queries the article's way is timed on", found["article_sample_queries"], **where)
        for metric in ("P@1", "mAP", "LRAP@10", "LRAP@100", "LRAP@1000", "LRAP@10000"):
            yield number(metric, found["scores"][metric], n=found["queries"], distance="euclidean", **where)
    yield number("peak MiB", raw["peak_memory_mib"])


def search(part: str, raw: Any) -> Iterator[Row]:
    yield from {
        "exact": exact, "binary": binary, "approximate": approximate, "growth": growth, "projection": projection,
    }[part.partition(",")[0]](raw)  # fmt: skip


def by_both_clocks(found: dict[str, Any], ratio_to_best: float, **where: Any) -> Iterator[Row]:
    peers = {side: seconds for side, seconds in found["medians"].items() if side != "ours"}
    best = min(peers, key=peers.__getitem__)
    yield {**number("times as fast as the best peer", ratio_to_best, **where, side="ours"), "note": f"the best: {best}"}
    for side, seconds in found["seconds"].items():
        yield took("ms", seconds, 1000, **where, side=side)
    worked = found["processor_seconds"]
    for side, seconds in {**worked, "the best peer": worked[best]}.items():
        yield {**took("processor ms", seconds, 1000, **where, side=side), "table": "search-processor"}


def exact(found: Any) -> Iterator[Row]:
    where: dict[str, Any] = {"collection": f"{found['rows']:,} x {found['dimension']:,}", "method": "exact"}
    for batch, title in (("single", "one query"), ("batch_4", "4 queries"), ("batch_1000", "1,000 queries")):
        yield from by_both_clocks(found[batch], found["ratio_to_best"][batch], **where, setting=title)
    ours = {**where, "side": "ours"}
    yield number("share of the memory's speed", found["single_share_of_bandwidth"], **ours, setting="one query")
    yield number("share of a matrix product's peak", found["batch_share_of_peak"], **ours, setting="1,000 queries")


def binary(raw: Any) -> Iterator[Row]:
    for found in raw:
        where: dict[str, Any] = {
            "collection": f"{found['rows']:,} {found['kind']} of {found['bits']} bits",
            "method": "exact",
        }
        for batch, title in (("single", "one query"), ("batch_100", "100 queries")):
            for row in by_both_clocks(found[batch], found["ratio_to_best"][batch], **where, setting=title):
                yield {"table": "search-packed", **row}


def approximate(found: Any) -> Iterator[Row]:
    where: dict[str, Any] = {"collection": f"{found['rows']:,} x 128", "method": "approximate", "side": found["side"]}
    yield number("processor seconds to build", found["build_processor_seconds"], **where)
    yield number("seconds to build", found["build_seconds"], **where)
    first = next((step for step in found["curve"] if step["recall"] >= 0.99), None)
    for step in found["curve"]:
        at = "first with recall@10 of .99" if step is first else f"parameter {step['parameter']}"
        if step is first:
            yield number("parameter", step["parameter"], **where, setting=at)
        yield number("recall@10", step["recall"], **where, setting=at, n=1000)
        yield rate(1000, step["batch_1000_s"], "queries a second, 1,000 at a time", **where, setting=at)
        yield took("ms, one query", step["single_s"], 1000, **where, setting=at)
    for metric, value in (
        ("queries a second, 1,000 at a time", "batch_per_second"),
        ("ms, one query", "single_ms"),
    ):
        if (found_at := at_recall(found["curve"], value)) is not None:
            yield number(metric, found_at, **where, setting="recall@10 of .99, interpolated")


def at_recall(curve: list[dict[str, Any]], value: str, recall: float = 0.99) -> float | None:
    """Interpolate what a side would have at a recall, its logarithm between the two settings around it; None beyond them."""
    for low, high in pairwise(curve):
        if low["recall"] < recall <= high["recall"]:
            share = (recall - low["recall"]) / (high["recall"] - low["recall"])
            return float(math.exp((1 - share) * math.log(low[value]) + share * math.log(high[value])))
    return None


def growth(found: Any) -> Iterator[Row]:
    where: dict[str, Any] = {"collection": f"{found['rows']:,} x {found['dimension']}"}
    for method, name in (("exact", "exact"), ("lists", "approximate")):
        for batch, title in (("single", "one query"), ("batch", "each of many queries")):
            if f"{method}_{batch}_s_a_query" in found:
                seconds, a_query = found[f"{method}_{batch}_s_repeats"], found[f"{method}_{batch}_s_a_query"]
                at_once = round(statistics.median(seconds) / a_query)  # a repeat asks so many queries
                yield took("ms", seconds, 1000 / at_once, **where, method=name, setting=title)
                yield number(
                    "own memory, MB", found[f"{method}_{batch}_bytes"] / 1e6, **where, method=name, setting=title
                )
    if "lists_recall" in found:
        yield number("recall@10", found["lists_recall"], **where, method="approximate")
    for metric, name, unit in (
        ("seconds to build", "lists_build_seconds", 1), ("processor seconds to build", "lists_build_processor_seconds", 1),
        ("own memory to build, MB", "lists_build_memory_bytes", 1e6), ("on disk, MB", "lists_bytes", 1e6),
    ):  # fmt: skip
        yield number(metric, found[name] / unit, **where, method="approximate")
    yield number("descriptors, MB", found["descriptor_bytes"] / 1e6, **where)


def projection(raw: Any) -> Iterator[Row]:
    for title, by_name in raw.items():
        if isinstance(by_name, dict):
            for name, value in by_name.items():
                yield number(
                    name.replace("_", " "),
                    value,
                    collection=f"{raw['rows']:,} x 64",
                    setting=f"reckoned, not measured: {title}",
                )


def serving(part: str, raw: Any) -> Iterator[Row]:
    if part == "load":
        for clients, by_side in raw["runs"].items():
            for side, runs in by_side.items():
                where: dict[str, Any] = {
                    "side": "with batching" if side == "batching" else "without",
                    "setting": f"{clients} clients",
                }
                for metric in ("queries_a_second", "p50_ms", "p95_ms", "p99_ms", "not_200"):
                    yield took(metric.replace("_", " "), [run[metric] for run in runs], **where)
        for side, seconds in raw["open_seconds"].items():
            yield number("seconds until it answers", seconds, side="with batching" if side == "batching" else "without")
        for title, value in raw["limits"].items():
            what, _, metric = title.partition(", ")
            yield number(metric, value, method="nothing around it", setting=what)
    elif part == "drop":
        for what, metric in (("answer", "ms to the first answer"), ("picture", "ms to the first picture")):
            yield took(metric, raw[f"ms_to_first_{what}"], setting="an image dropped on the page")
            yield number(
                f"{metric}, 95 % within",
                raw["p95_ms"][what],
                setting="an image dropped on the page",
                n=len(raw["ms_to_first_answer"]),
            )
    else:
        where = {"setting": f"{raw['clients']} clients for {raw['seconds']:.0f} s"}
        for status, count in raw["statuses"].items():
            yield number(f"answers with status {status}", count, **where)
        for metric in ("requests", "killed_decoders", "index_opened_anew", "exit_status", "p50_ms", "p95_ms", "p99_ms"):
            yield number(metric.replace("_", " "), raw[metric], **where)
        for title, at in (("after 100 s", 19), ("at the end", -1)):
            held = raw["held"][min(at, len(raw["held"]) - 1)]
            yield number(f"memory, MB, {title}", held["rss_mb"], **where)
            yield number(f"open files, {title}", held["files"], **where)


def startup(_: str, raw: Any) -> Iterator[Row]:
    for command, seconds in raw["seconds"].items():
        yield took("seconds", seconds, setting=command)


def training(_: str, raw: Any) -> Iterator[Row]:
    for preset, found in raw["results"].items():
        where: dict[str, Any] = {"encoder": f"autoencoder, {preset}"}
        ours = found["seconds"]["lookalike"][1:]  # the first round warms up
        for side, seconds in found["seconds"].items():
            yield rate(raw["images"], seconds[1:], **where, side=side)
            yield number("loss after the last round", found["loss_after_last_round"][side], **where, side=side)
            if side != "lookalike":
                yield ratio("times as fast as this side", seconds[1:], ours, **where, side=side)
        yield number("images a second at the arithmetic limit", found["limit_images_per_second"], **where)
        yield number("share of the arithmetic limit", found["share_of_limit"], **where, side="lookalike")


def costs(part: str, raw: Any) -> Iterator[Row]:
    where: dict[str, Any] = {"encoder": part, "collection": raw["collection"], "setting": raw["size"]}
    yield took("processor ms an image", raw["processor_ms"], **where)
    yield number("bytes an image", raw["bytes"], **where)
    yield number("dimension", raw["dimension"], **where)
    for queries, hits in raw.get("museum", {}).items():
        yield score("P@1", hits["P@1"], hits["queries"], encoder=part, collection="287 paintings", queries=queries)


def many(part: str, raw: Any) -> Iterator[Row]:
    metrics = {
        "wall_s": "seconds", "cpu_s": "seconds of processor time, workers' too", "opened_s": "seconds until the server answers",
        "first_s": "seconds to its first answer", "peak_rss_gb": "GB at most", "peak_anon_gb": "GB at most, mapped files apart",
    }  # fmt: skip
    for step, runs in raw["steps"].items():
        for name, metric in metrics.items():
            if name in runs[0]:
                yield took(metric, [run[name] for run in runs], collection=part, setting=step)


def thumbnails(part: str, raw: Any) -> Iterator[Row]:
    for one in raw:
        where = {"collection": one["collection"], "setting": f"{part}, {one['format']}"}
        yield took("seconds to index, pixels", one["seconds"], **where)
        yield number("MB, the index", one["index"] / 1e6, **where)
        yield number("MB, its thumbnails", one["thumbnails"] / 1e6, **where)


STUDIES = {"thumbnails": thumbnails,
    "encoding": encoding, "hamming": hamming, "hog": hog, "indexing": indexing, "map": map_, "map-frames": map_frames,
    "neural": neural, "scoring": scoring, "search": search, "serving": serving, "startup": startup, "training": training,
    "costs": costs, "many": many,
}  # fmt: skip
ABOUT = {
    "thumbnails": (
        "benchmarks/thumbnails.py",
        "what thumbnails cost: the time to index a folder, and the size of its index",
    ),
    "encoding": ("benchmarks/encoding.py", "encoding and denoising by ONNX Runtime against model.predict of Keras"),
    "hamming": ("benchmarks/hamming.py", "packed codes, and hog of 60,000 digits: two time limits"),
    "hog": ("benchmarks/hog.py", "our hog against scikit-image's"),
    "indexing": ("benchmarks/indexing.py", "a folder of JPEGs to an index, end to end"),
    "map": ("benchmarks/map.py", "the map against umap-learn, given the same neighbours, 10,000 digits"),
    "map-frames": ("benchmarks/map_frames.py", "100,000 dots in headless Chromium"),
    "neural": ("benchmarks/neural.py", "files to neural descriptors against fastdup; ONNX Runtime against OpenVINO"),
    "scoring": ("benchmarks/scoring.py", "10,000 queries against 60,000, every metric"),
    "search": ("benchmarks/search.py", "exact and approximate search against peers"),
    "search-packed": ("benchmarks/search.py", "packed codes against peers"),
    "search-processor": ("benchmarks/search.py", "exact search against peers, by processor time"),
    "serving": ("benchmarks/serving.py", "the server under load"),
    "startup": ("benchmarks/startup.py", "whole processes, an index of 60,000 digits"),
    "training": ("benchmarks/training.py", "our training against a Keras script and a PyTorch loop"),
    "many": (
        "benchmarks/many.py",
        "memory and time of many small files: the first index, one with nothing changed, searches, a server",
    ),
    "costs": ("benchmarks/costs.py", "what each encoder takes, and which of 287 paintings it finds"),
}
