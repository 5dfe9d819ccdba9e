"""Rows of the studies of what is chosen without labels, and what labels say of the choice."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from typing import Any

from rows.row import Row, number

#: What is told of a choice by labels, with the collection left out.
TOLD = ("loss", "gain", "gain of P@1", "best gain", "rank correlation between encoders", "rank correlation within")


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


def candidates(part: str, raw: Any) -> Iterator[Row]:
    """Yield what a choice is worth by collection, and over all; of ``both`` only over all."""
    table = "candidates-left-out" if part == "compare" else f"candidates-left-out-{part}"
    for aim in dict.fromkeys(one["aim"] for one in raw):
        of_aim = [one for one in raw if one["aim"] == aim]
        by_collection: dict[str, list[Any]] = {}
        for one in of_aim:
            by_collection.setdefault(one["collection"], []).append(one)
        for title in TOLD:
            means = {}
            for collection, some in by_collection.items():
                known = [one[title] for one in some if not math.isnan(one[title])]
                if known:
                    means[collection] = statistics.fmean(known)
            if not means or (aim == "nearest" and title == "gain of P@1"):
                continue  # for the nearest images it is the gain
            if aim != "both":
                for collection, value in means.items():
                    yield {**number(title, value, collection=collection, aim=aim), "table": table}
            every = [one[title] for one in of_aim if not math.isnan(one[title])]
            yield {
                "collection": "mean (least to greatest)", "aim": aim, "metric": title, "value": statistics.fmean(means.values()),
                "low": min(every), "high": max(every), "n": len(every), "table": table,
            }  # fmt: skip
        for title, name in (("share of intervals that hold the truth", "held"), ("left the default", "left")):
            every = [float(one[name]) for one in of_aim]
            where: dict[str, Any] = {
                "collection": "mean (least to greatest)",
                "aim": aim,
                "n": len(every),
                "table": table,
            }
            yield {**number(title, statistics.fmean(every)), **where}


def diffusion(part: str, raw: Any) -> Iterator[Row]:
    if part == "growth":
        for one in raw:
            where: dict[str, Any] = {
                "collection": f"MNIST, {one['size']:,} digits",
                "setting": one["setting"],
                "n": one["n"],
            }
            for metric, (value, low, high) in one["scores"].items():
                yield {
                    **where,
                    "metric": metric,
                    "value": value,
                    "low": low,
                    "high": high,
                    "note": f"alpha {one['alpha']:.4f}",
                    "table": "diffusion-growth",
                }
        return
    if part == "first":
        for one in raw:
            for title, both in one["scores"].items():
                for metric, value in zip(("P@1", "mAP"), both, strict=True):
                    yield {
                        **number(metric, value, collection=one["collection"], method=title),
                        "table": "diffusion-first",
                    }
        return
    for one in raw["collections"]:
        for metric, value in zip(("P@1", "mAP"), one["scores"], strict=True):
            yield number(
                metric, value, collection=one["collection"], method=one["method"], note=_written(one["setting"])
            )
    for one in raw["means"]:
        value, low, high = one["value"]
        note = f"least {one['least']:.4f}" if "least" in one else ""
        where = {"collection": "mean of the twelve", "setting": _written(one["setting"])}
        yield {**where, "metric": one["metric"], "value": value, "low": low, "high": high, "note": note}


def verified(_: str, raw: Any) -> Iterator[Row]:
    for collection, found in raw.items():
        for metric, inliers in found.items():
            for least in (4, 5, 6, 7, 8, 10, 12):
                share = statistics.fmean(count >= least for count in inliers)
                yield {**number(metric, share, collection=collection, setting=f"{least} inliers"), "n": len(inliers)}
        yield number("most inliers of another", max(found["mistaken"]), collection=collection)


def _written(setting: Any) -> str:
    if isinstance(setting, str):
        return setting
    return "alpha {:g}, {} neighbours, from {} nearest".format(*setting)


STUDIES = {"diffusion": diffusion, "verified": verified, "eyes": eyes, "candidates-left-out": candidates}
ABOUT = {
    "diffusion-growth": ("benchmarks/diffusion.py --only growth", "how far diffusion goes in larger collections"),
    "diffusion-first": ("benchmarks/diffusion.py --only first", "diffusion behind the plain first answer, and alone"),
    "diffusion": (
        "benchmarks/diffusion.py",
        "diffusion's constants on twelve collections, chosen with each left out in turn",
    ),
    "candidates": (
        "benchmarks/candidates.py measure",
        "what the judge is learnt from: each candidate's figures without labels, and its scores",
    ),
    "verified": ("benchmarks/verified.py", "own images in a scene: how many inliers they and others have"),
    "eyes": ("benchmarks/eyes.py", "what an image gets where nothing is named, step by step"),
    "candidates-left-out": ("benchmarks/candidates.py fit", "choices between encoders, each collection left out"),
    "candidates-left-out-adapt": (
        "benchmarks/candidates.py fit",
        "choices between an encoder's recipes, each collection left out",
    ),
}
