"""Rows of the studies that score what is found, by labels."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np

from rows.row import Row, number, report, score, scores, took

MNIST = "MNIST, 60,000 digits"
AIMS = ("nearest", "category", "both")
LRAP = ("P@1", "mAP", "LRAP@10", "LRAP@100", "LRAP@1000", "LRAP@10000", "LRAP@60000")


def article(_: str, raw: Any) -> Iterator[Row]:
    by_key: dict[tuple[str, ...], list[float]] = {}
    for run in raw["runs"]:
        seed = f"seed {run['params']['seed']}"
        for asked, found in run["scores"].items():
            queries, distance = asked.split(", ")
            where: dict[str, Any] = {
                "collection": MNIST,
                "encoder": "autoencoder, article",
                "queries": queries,
                "distance": distance,
            }
            rows = list(report(found, LRAP, **where))
            by_scikit_learn = [
                number(f"LRAP@{n}, scikit-learn", v, n=found["queries"], **where) for n, v in found["lrap_scikit_learn"]
            ]
            for row in [
                *rows,
                *by_scikit_learn,
                number("queries with no right answer in the first 10", found["none_in_first_10"], **where),
            ]:
                by_key.setdefault((queries, distance, row["metric"]), []).append(row["value"])
                if distance == "euclidean":  # the article's; by cosine the mean is enough
                    yield {**row, "setting": seed}
        yield number("seconds to train", run["train_seconds"], encoder="autoencoder, article", setting=seed)
    for (queries, distance, metric), values in by_key.items():
        yield {
            "collection": MNIST, "encoder": "autoencoder, article", "queries": queries, "distance": distance,
            "setting": "mean of the seeds, and the least and greatest", **took(metric, values), "value": statistics.mean(values),
        }  # fmt: skip
        yield {
            "collection": MNIST, "encoder": "autoencoder, article", "queries": queries, "distance": distance,
            "setting": "standard deviation of the seeds", "metric": metric, "value": statistics.stdev(values), "n": len(values),
        }  # fmt: skip
    weights = raw["authors_weights"]
    where = {
        "collection": MNIST,
        "encoder": "the author's weights, typed in",
        "queries": "clean queries",
        "distance": "euclidean",
    }
    yield number("P@1", weights["1-NN"], **where)
    for n, value in weights["lrap_scikit_learn"]:
        yield number(f"LRAP@{n}, scikit-learn", value, **where)


def mnist_scores(_: str, raw: Any) -> Iterator[Row]:
    where: dict[str, Any] = {
        "collection": MNIST,
        "encoder": raw["encoder"],
        "recipe": raw.get("recipe", ""),
        "distance": raw["distance"],
    }
    yield from report(raw, **where)
    if "dimension" in raw:
        yield number("dimension", raw["dimension"], **where)


def autoencoder(part: str, raw: Any) -> Iterator[Row]:
    if part == "mnist":
        where: dict[str, Any] = {"collection": MNIST, "encoder": "autoencoder, deep"}
        for aim, found in raw["scores"].items():
            chosen = {**where, "aim": "" if aim == "plain" else aim, "recipe": found["recipe"]}
            yield from scores(found, raw["queries"], **chosen)
            yield number("dimension", found["dimension"], **chosen)
        yield number("epochs", raw["epochs"], **where)
        yield number("seconds to train", raw["training_seconds"], **where)
        return
    for encoder, found in raw.items():
        where = {"collection": {"corel": "Corel-1k", "museum": "287 paintings"}[part], "encoder": encoder}
        yield from scores(found["scores"], **where)
        for metric, value in found.get("self_test", {}).items():
            yield number(f"self-test: {metric}", value, **where)
        yield number("dimension", found["dimension"], **where)
        yield number("processor seconds to fit", found["fit_processor_seconds"], **where)


def words(part: str, raw: Any) -> Iterator[Row]:
    for one in raw:
        where: dict[str, Any] = {
            "collection": part,
            "queries": one["word"],
            "n": one["right"],
            "note": f"known: {one['known']}",
        }
        for metric in ("P@10", "AP", "found"):
            yield {**number(metric, one[metric]), **where}
    for metric in ("P@10", "AP"):
        values = [one[metric] for one in raw]
        draws = np.random.default_rng(0).integers(0, len(values), (1000, len(values)))
        low, high = np.percentile(np.array(values)[draws].mean(axis=1), [2.5, 97.5]).tolist()
        yield score(
            metric, [statistics.fmean(values), low, high], len(values), collection=part, queries="mean of the words"
        )


def codes(_: str, raw: Any) -> Iterator[Row]:
    where: dict[str, Any] = {
        "collection": MNIST,
        "encoder": f"{raw['method']}, {raw['params']['bits']} bits",
        "recipe": raw["base"],
    }
    yield from scores(raw["scores"], raw["queries"], **where)
    yield number("processor seconds to fit", raw["fit_processor_seconds"], **where)
    yield number("images learnt from", raw["images"], **where)


def contrastive(part: str, raw: Any) -> Iterator[Row]:
    name, what = part.split(", ", 1)
    where: dict[str, Any] = {"collection": {"mnist": MNIST, "corel": "Corel-1k"}[name], "encoder": "contrastive"}
    if what == "rate":
        for precision in ("float32", "bfloat16", "pairs alone"):
            yield number(
                "images a second of training",
                raw[precision],
                **where,
                setting=f"{precision}, batches of {raw['batch']}",
            )
    elif what == "pilot":
        for setting, by_recipe in raw.items():
            if isinstance(by_recipe, dict) and "unchanged" in by_recipe:
                for recipe, figures in by_recipe.items():
                    for metric, value in figures.items():
                        yield number(f"self-test: {metric}", value, encoder="contrastive", setting=setting, recipe=recipe,
                                     collection="MNIST, 10,000 digits", table="contrastive-pilot")  # fmt: skip
    else:
        where["setting"] = what
        for title, found in raw["scores"].items():
            aim = next((a for a in AIMS if a in title), "")
            chosen = {**where, "aim": aim, "recipe": found.get("recipe", "unchanged")}
            noise = 0.5 if "noisy" in title else ""
            yield from scores(found, noise=noise, **chosen)
            if not noise:
                yield number("dimension", found["dimension"], **chosen)
        yield number("seconds to train", sum(epoch["seconds"] for epoch in raw["history"]), **where)
        for shown, quality in raw.get("denoising", {}).items():
            yield number("PSNR of queries, dB", quality["psnr"], **where, noise=0.5, method=shown)


#: What the raw run calls a way to clean a query, and what the commands do.
WAYS = {
    "as it is": "as it is", "blurred": "blurred", "by the collection": "--denoise auto", "by an autoencoder": "--denoise tutorial",
}  # fmt: skip


def noise(_: str, raw: Any) -> Iterator[Row]:
    for level, found in raw["noise"].items():
        where: dict[str, Any] = {"collection": MNIST, "noise": level}
        for encoder, by_way in found["scores"].items():
            for way, figures in by_way.items():
                for metric, value in figures.items():
                    n = 10_000 if metric == "P@1 of all 10,000" else raw["queries"]
                    row = score(metric, value, n, **where, encoder=encoder, method=WAYS[way])
                    yield row if metric.startswith("P@1") else {**row, "table": "noise-ranking"}
        for way, quality in found["quality"].items():
            if quality["psnr"] is not None:  # of two equal images it is infinite
                yield number("PSNR of queries, dB", quality["psnr"], **where, method=WAYS[way])
        for way, ms in found["processor_ms_each"].items():
            yield number("processor ms a query", ms, **where, method=WAYS[way])


def nothing(part: str, raw: Any) -> Iterator[Row]:
    """Yield the rows of one case; those of collections that weren't looked at go into a table of their own."""
    queries, _, encoder = part.partition(", ")
    where: dict[str, Any] = {"queries": queries, "encoder": encoder}
    if not queries.startswith(("museum", "corel1k", "mnist")):
        where["table"] = "nothing-labelled"
    for setting, title in (("there", "its answers are there"), ("gone", "its answers are taken away")):
        for metric, share in raw.get(setting, {}).items():
            value = [share["share"], *share["interval"]]
            yield score(metric.replace("_", " "), value, share["of"], **where, setting=title)
    if "roc" in raw:
        yield score("area under ROC of the gap", [raw["roc"]["area"], *raw["roc"]["interval"]], **where)
    if "seconds_a_query" in raw:
        yield number("seconds a query", raw["seconds_a_query"], **where)
    for way, view in raw.get("views", {}).items():
        yield number("silent though there", view["wrong"], **where, method=way)
        yield number("silent, taken away", view["right"], **where, method=way)
        yield number("stands out", view["seen"], **where, method=way)
        yield number("gap, taken away", view["astray"], **where, method=way)
    if "believed" in raw:
        yield number("silence is believed", int(raw["believed"]), **where)
        yield number("gaps are told", int(raw["gaps"]), **where)


#: What runs before 29 November 2026 called some re-rankings.
RENAMED = {
    "None": "plain", "none": "plain", "expansion": "query-expansion", "alpha-expansion": "alpha-query-expansion",
    "reciprocal": "k-reciprocal", "views": "multi-view",
}  # fmt: skip


def named(method: str) -> str:
    """Return a re-ranking's name of today."""
    return RENAMED.get(method, method)


def rerank(part: str, raw: Any) -> Iterator[Row]:
    yield from {
        "mnist": rerank_mnist, "corel": rerank_corel, "others-corel": rerank_corel,
        "others-mnist": rerank_others, "museum": rerank_museum, "auto": rerank_museum, "speed": rerank_speed,
    }[part](part, raw)  # fmt: skip


def rerank_mnist(_: str, raw: Any) -> Iterator[Row]:
    where: dict[str, Any] = {"collection": MNIST, "encoder": "hog deskew", "recipe": "mutual neighbours"}
    for method, found in raw.items():
        if isinstance(found, dict) and "mAP" in found:
            yield from scores(found, 10_000, **where, method=named(method))
    yield number(f"chosen by the self-test: {named(raw['self_test']['chosen'])}", 1, **where)


def rerank_corel(_: str, raw: Any) -> Iterator[Row]:
    for title, found in raw.items():
        where: dict[str, Any] = {"collection": "Corel-1k, ten folds", "encoder": "neural"}
        where["recipe"] = title.partition(",")[0]
        if isinstance(found, dict):
            for method, metrics in found.items():
                yield from scores(metrics, **where, method=named(method))
        elif title.endswith("chosen by the self-test"):
            yield number(f"chosen by the self-test: {named(found)}", 1, **where)


def rerank_others(_: str, raw: Any) -> Iterator[Row]:
    for method, found in raw.items():
        if isinstance(found, dict):
            where: dict[str, Any] = {
                "collection": MNIST,
                "encoder": "hog deskew",
                "recipe": "mutual neighbours",
                "method": named(method),
            }
            yield from scores(found, raw["queries"], **where)
            yield number("processor seconds", found["processor_seconds"], **where, n=raw["queries"])


def rerank_museum(_: str, raw: Any) -> Iterator[Row]:
    where: dict[str, Any] = {"collection": "287 paintings", "encoder": "neural"}
    for queries, by_method in raw.items():
        if isinstance(by_method, dict) and "queries" in by_method:
            for method, found in by_method.items():
                if isinstance(found, dict):
                    asked = {**where, "queries": queries, "method": named(method)}
                    yield score("P@1", found["P@1"], by_method["queries"], **asked)
                    others = ("verified", "pairs_a_query", "processor_ms_a_pair")
                    yield from (number(m.replace("_", " "), found[m], **asked) for m in others if m in found)
    for method, figures in raw.get("figures", {}).items():
        for metric, value in figures.items():
            yield number(f"self-test: {metric}", value, **where, method=named(method))
    if "processor_seconds" in raw:
        yield number("processor seconds to choose", raw["processor_seconds"], **where, method="auto")


def rerank_speed(_: str, raw: Any) -> Iterator[Row]:
    yield number("seconds to make the graph", raw["graph_seconds"], collection=MNIST)
    for method, ms in raw["ms"].items():
        yield took("ms a query", ms[3:], collection=MNIST, method=method)  # the first three warm up


def mutants(_: str, raw: Any) -> Iterator[Row]:
    every = {name: sum(counts.get(name, 0) for counts in raw["packages"].values()) for name in ("mutants", *_FATES)}
    for package, counts in (raw["packages"] | {"all": every}).items():
        if not counts["mutants"]:
            continue
        for fate in ("mutants", *_FATES):
            yield number(fate, counts.get(fate, 0), package=package)
        yield number("share killed at first", counts.get("killed at first", 0) / counts["mutants"], package=package)
        killed, there = counts.get("killed", 0), counts["mutants"] - counts.get("gone", 0)
        yield number("share killed", killed / there, package=package)
        alike = counts.get("equivalent", 0)
        yield number("share killed of those that change something", killed / (there - alike), package=package)
    for one in raw["survivors"]:
        place = f"{one['file']}:{one['line']}: {one['was']}  ->  {one['now']}"
        yield number("survivors", 1, package=one["package"], place=place, note=one["verdict"])


#: What becomes of a mutant; ``gone`` is one whose line was deleted since, as nothing needed it.
_FATES = ("killed at first", "killed", "gone", "equivalent")
STUDIES = {"words": words,
    "mutants": mutants, "article": article, "mnist-scores": mnist_scores, "autoencoder": autoencoder, "codes": codes, "contrastive": contrastive,
    "noise": noise, "nothing": nothing, "rerank": rerank,
}  # fmt: skip
ABOUT = {
    "mutants": ("benchmarks/mutants.py", "whether a unit test fails where the code is broken in one place"),
    "words": ("benchmarks/words.py", "photos found by words that nobody wrote"),
    "article": ("benchmarks/article.py", "the article's experiment again, three seeds"),
    "mnist-scores": ("benchmarks/mnist_scores.py", "encoders that learn nothing, on all test digits of MNIST"),
    "autoencoder": ("benchmarks/autoencoder.py", "the preset deep, plain and adapted, beside others"),
    "codes": ("benchmarks/codes.py", "packed codes over deskewed HOG, by Hamming distance"),
    "contrastive": ("benchmarks/contrastive.py", "what minutes of contrastive training buy"),
    "contrastive-pilot": (
        "benchmarks/contrastive.py mnist --pilot",
        "its loss, chosen by the self-test, without labels",
    ),
    "noise": ("benchmarks/noise.py", "noisy queries: first answers, and quality of the cleaned query"),
    "noise-ranking": ("benchmarks/noise.py", "noisy queries: mAP and LRAP@10"),
    "nothing": ("benchmarks/nothing.py", "how often 'nothing like it here' is said, rightly and wrongly"),
    "nothing-labelled": (
        "benchmarks/nothing.py",
        "the same on collections that weren't looked at when thresholds were set",
    ),
    "rerank": ("benchmarks/rerank.py", "re-ranking without labels, beside the plain order"),
}
