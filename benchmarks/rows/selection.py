"""Rows of the studies of what is chosen without labels, and what labels say of the choice."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from typing import Any

from rows.row import Row, number, score, scores

#: Of the self-test's figures, those that the docs speak of.
FIGURES = ("first hit", "self-retrieval MRR", "category precision@5%")
#: The figure that each aim goes by, and the labelled score that it stands for.
GOES_BY = {"self-retrieval MRR": "P@1", "category precision@5%": "mAP"}
#: The collections in which more than one image is right.
WITH_KINDS = ("MNIST", "digits", "Corel-1k", "emoji kinds", "letters", "textures")


def adapt(part: str, raw: Any) -> Iterator[Row]:
    collection, encoder = part.split(", ")
    where: dict[str, Any] = {"collection": collection, "encoder": encoder}
    for aim, recipe in {"": "unchanged", **raw["chosen"]}.items():
        found = raw["scores"][recipe]
        yield from scores(found, raw.get("queries"), **where, aim=aim, recipe=recipe)
        yield number("dimension", found["dimension"], **where, aim=aim, recipe=recipe)
    for recipe, test in raw["self_tests"].items():
        for metric in FIGURES:
            value = [test["figures"][metric], *test["intervals"][metric]]
            yield score(f"self-test: {metric}", value, test["queries"], **where, recipe=recipe)
    yield number("processor seconds", raw["processor_seconds"], **where)


def recipes(_: str, raw: Any) -> Iterator[Row]:
    for row in raw:
        where: dict[str, Any] = {"collection": row["collection"], "encoder": row["encoder"], "recipe": row["recipe"]}
        if ", t " in row["recipe"]:
            where["table"] = "recipes-networks"
        yield from scores({m: row[m] for m in ("mAP", "P@1")}, row["queries"], **where)
        if row["recipe"] == "ledoit-wolf":
            for metric in ("mAP", "P@1"):
                if (difference := f"{metric} less adapted (r 0.1)") in row:
                    yield score(difference, row[difference], row["queries"], **where)
        for metric, value in row["self_test"].items():
            yield {**number(f"self-test: {metric}", value, **where), "table": where.get("table", "recipes-self-test")}


#: The steps that the docs show; the others stay in the raw run.
_STEPS = {
    ("Lite0", "centred"), ("fast", "mutual neighbours"), ("pair", "centred"), ("pair", "mutual neighbours"),
    ("pair", "mutual neighbours, of half"), ("hog", "mutual neighbours"), ("hog, deskewed", "mutual neighbours"),
    ("what is taken", ""),
}  # fmt: skip


def eyes(_: str, raw: Any) -> Iterator[Row]:
    for row in raw:
        if (row["encoder"], row["recipe"]) not in _STEPS:
            continue
        where: dict[str, Any] = {name: row[name] for name in ("collection", "encoder", "recipe")}
        for metric, (value, low, high, n) in row["scores"].items():
            note = "taken where nothing is named" if row["taken"] else ""
            yield {**where, "metric": metric, "value": value, "low": low, "high": high, "n": n, "note": note}
        if row["collection"] == "corel1k":
            yield number("milliseconds an image", row["milliseconds"], **where)


def spearman(x: list[float], y: list[float]) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(x, y).statistic)


def verdict(_: str, raw: Any) -> Iterator[Row]:
    for collection, by_score in raw["spearman"].items():
        rows = [row for row in raw["rows"] if row["collection"] == collection]
        yield number("encoders x recipes", len(rows), collection=collection)
        for metric, by_figure in by_score.items():
            best = max(row["labelled"][metric] for row in rows)
            for figure in FIGURES:
                pick = max(rows, key=lambda row: row["figures"][figure])
                where: dict[str, Any] = {"collection": collection, "setting": f"{figure} for {metric}"}
                yield number("Spearman", by_figure[figure], **where, n=len(rows))
                yield number("loss of the pick", best - pick["labelled"][metric], **where, n=len(rows))
    for one in raw["leave_one_collection_out"]:
        where = {
            "collection": one["collection"],
            "setting": f"{one['figure']} for {one['score']}, chosen by the others",
        }
        yield number("Spearman", one["spearman"], **where)
        yield number("loss of the pick", one["loss"], **where)
    yield from within_an_encoder(raw["rows"])


def within_an_encoder(every: list[Any]) -> Iterator[Row]:
    """Yield what a figure says among the recipes of one encoder, which is where ``--adapt`` chooses."""
    by_pair: dict[tuple[str, str], list[Any]] = {}
    for row in every:
        by_pair.setdefault((row["collection"], row["encoder"]), []).append(row)
    found: dict[str, list[tuple[str, float]]] = {}
    for (collection, encoder), rows in by_pair.items():
        for figure, metric in GOES_BY.items():
            value = spearman([row["figures"][figure] for row in rows], [row["labelled"][metric] for row in rows])
            setting = f"{figure} for {metric}"
            yield {
                **number("Spearman", value, collection=collection, encoder=encoder, setting=setting, n=len(rows)),
                "table": "verdict-within",
            }
            if not math.isnan(value):  # as where every recipe has one and the same score
                found.setdefault(setting, []).append((collection, value))
    for setting, values in found.items():
        for title, some in groups(values):
            yield {**summary("Spearman", some, collection=title), "setting": setting, "table": "verdict-within"}
    gains: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for (collection, encoder), rows in by_pair.items():
        plain = next(row["labelled"] for row in rows if row["recipe"] == "unchanged")
        for aim in ("few", "kind", "both"):
            taken = next(row for row in rows if aim in row["chosen_for"])
            for metric in ("P@1", "mAP"):
                gain = taken["labelled"][metric] - plain[metric]
                gains.setdefault((aim, metric), []).append((collection, gain))
                where: dict[str, Any] = {
                    "collection": collection,
                    "encoder": encoder,
                    "aim": aim,
                    "recipe": taken["recipe"],
                }
                yield {**number(f"{metric}, less unchanged", gain, **where), "table": "verdict-gains"}
    for (aim, metric), values in gains.items():
        for title, some in groups(values):
            yield {**summary(f"{metric}, less unchanged", some, collection=title, aim=aim), "table": "verdict-gains"}


def groups(values: list[tuple[str, float]]) -> Iterator[tuple[str, list[float]]]:
    """Yield all values, and those of collections with and without kinds."""
    yield "all", [value for _, value in values]
    yield "all with kinds", [value for collection, value in values if collection in WITH_KINDS]
    yield "all without kinds", [value for collection, value in values if collection not in WITH_KINDS]


def summary(metric: str, values: list[float], **where: Any) -> Row:
    """Return the mean of some values, and the least and greatest of them."""
    return {
        **where,
        "metric": metric,
        "value": statistics.mean(values),
        "low": min(values),
        "high": max(values),
        "n": len(values),
    }


STUDIES = {"adapt": adapt, "recipes": recipes, "eyes": eyes, "verdict": verdict}
ABOUT = {
    "adapt": ("benchmarks/adapt.py", "what adapt buys; the recipe chosen by the self-test, without labels"),
    "recipes": ("benchmarks/recipes.py", "closed forms that adapt tries, and some that it doesn't"),
    "recipes-self-test": ("benchmarks/recipes.py", "what the self-test says of these closed forms"),
    "recipes-networks": ("benchmarks/recipes.py --parts networks", "small networks in place of closed forms"),
    "eyes": ("benchmarks/eyes.py", "what an image gets where nothing is named, step by step"),
    "verdict": ("benchmarks/verdict.py", "the self-test's figures against labelled scores, over encoders x recipes"),
    "verdict-within": (
        "benchmarks/verdict.py",
        "the same within one encoder; low and high of 'all' are the least and greatest pair",
    ),
    "verdict-gains": (
        "benchmarks/verdict.py",
        "what each aim's choice changes; low and high of 'all' are the least and greatest pair",
    ),
}
