"""How often "nothing like it here" and "the first stands out" are right: queries whose answers are there, or taken away.

    python benchmarks/nothing.py [--shared ../shared/data] [--work FOLDER] [--only museum-neural corel-color ...]

Each query is asked twice through the product itself: once with what is right in the index, once with all of it filtered
away (``--where``), so that there is truly nothing. Museum: the right paintings, photographed alone (qsd1) or on a wall
(qsd2). Other collections: all of the query's kind; but for MNIST's the queries are its own images, themselves always filtered away.
``area`` is the chance that a query with an answer has a wider gap than one without (area under the ROC curve). Intervals
are 95 %: Wilson's for shares, bootstrap for the area. Labels only score. ``views`` is what the collection's own images, shown
in a scene and in part, say of how far silence can be believed; labels have no part in it. Raw runs go to
runs/nothing/, rows to results/nothing.csv, each case replacing its own; the work folder keeps indexes between runs.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from study import keep

from lookalike import build_index, open_collection
from lookalike.api import Index
from lookalike.encoders.keypoints import VERIFIED
from lookalike.imaging.encode import to_png
from lookalike.search.calibration import DEPTH, gap_odds
from lookalike.search.example import Example
from lookalike.search.learnt import rejection_rates_of
from lookalike.search.page import answer
from lookalike.search.rejection import WAYS
from lookalike.search.request import Query
from lookalike.search.rerank.geometric import recognised


def share(hits: list[bool]) -> dict[str, Any]:
    """Return a share with Wilson's interval."""
    n, p, z = len(hits), sum(hits) / len(hits), 1.959964
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return {"share": p, "interval": [(middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)], "of": n}


def area(there: list[float], gone: list[float]) -> dict[str, Any]:
    """Return the area under the ROC curve, with an interval over resampled queries."""

    def of(a: Any, b: Any) -> float:
        return float(np.mean((a[:, None] < b) + 0.5 * (a[:, None] == b)))

    a, b = np.array(there), np.array(gone)
    rng = np.random.default_rng(0)
    drawn = [of(rng.choice(a, len(a)), rng.choice(b, len(b))) for _ in range(1000)]
    return {"area": of(a, b), "interval": np.quantile(drawn, [0.025, 0.975]).tolist()}


def heard(index: Index) -> dict[str, Any]:
    """Return what the collection's own views met with."""
    silence = rejection_rates_of(index)
    by_way = {
        way: {"wrong": float(silence.wrong[i].mean()), "right": float(silence.right[i].mean()), "seen": float(silence.seen[i].mean()), "astray": float(silence.astray[i].mean())}
        for i, way in enumerate(WAYS)
    }  # fmt: skip
    return {"views": by_way, "believed": silence.is_trusted, "gaps": silence.shows_gaps}


def asked(
    index: Index, examples: list[Example], there: list[str | None], gone: list[str], rerank: str | None = None
) -> dict[str, Any]:
    """Ask each query with and without its answers; ``there`` and ``gone`` are filters."""
    found: dict[str, Any] = {}
    odds: dict[str, list[float]] = {}
    begun = time.perf_counter()
    for name, filters in (("there", there), ("gone", gone)):
        responses = []
        for example, where in zip(examples, filters, strict=True):
            query = Query(images=(example,), where=where, k=DEPTH, resize=True, rerank=rerank)
            responses.append(answer(index, query))
        if rerank is not None:  # distances that don't rise have no gap
            first = [(r.matches[0].inliers or 0) >= VERIFIED for r in responses]
            found[name] = {
                "nothing_like_it": share([r.nothing_like_it for r in responses]),
                "first_verified": share(first),
            }
            continue
        odds[name] = [float(gap_odds(np.array([m.distance for m in r.matches])).min()) for r in responses]
        found[name] = {
            "nothing_like_it": share([r.nothing_like_it for r in responses]),
            "first_stands_out": share([r.gap_after == 1 for r in responses]),
            "any_gap": share([r.gap_after is not None for r in responses]),
        }
    found["seconds_a_query"] = (time.perf_counter() - begun) / (2 * len(examples))
    if rerank is not None:
        return found | {"known_again_in_a_scene": recognised(index)}
    return found | {"roc": area(odds["there"], odds["gone"])} | heard(index)


def named(encoder: str) -> str | None:
    """Return what is passed as the encoder: nothing for what one gets unasked, with its post-processing."""
    return None if encoder == "default" else encoder


def museum(shared: Path, work: Path, encoder: str, rerank: str | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    index = build_index(shared / "museum-2022" / "BBDD", named(encoder), work / f"museum-{encoder}")
    for folder in ("qsd1_w1", "qsd2_w1"):
        root = shared / "museum-2022" / folder
        right = json.loads((root / "gt_corresps.json").read_text())
        examples = [Example(str(root / f"{i:05}.jpg")) for i in range(len(right))]
        names = [", ".join(f"'bbdd_{n:05}.jpg'" for n in numbers) for numbers in right]
        gone = [f"id not in ({some})" for some in names]
        title = f"museum {folder}, {encoder}" + ("" if rerank is None else f", {rerank}")
        yield title, asked(index, examples, [None] * len(right), gone, rerank)


def kinds(shared: Path, work: Path, encoder: str, folder: str, number: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Ask with images of a collection whose folders are the labels."""
    name = Path(folder).name
    index = build_index(shared / folder, named(encoder), work / f"{name}-{encoder}")
    rows = np.sort(np.random.default_rng(0).choice(len(index), number, replace=False)).tolist()
    facts = index.facts(rows)
    examples = [Example(str(shared / folder / f["id"])) for f in facts]
    there = [f"id != '{f['id']}'" for f in facts]
    gone = [f"label != '{f['label']}'" for f in facts]
    yield f"{name}, {encoder}", asked(index, examples, there, gone)


def mnist(shared: Path, work: Path, encoder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    index = build_index("mnist:train[0:20000]", named(encoder), work / f"mnist-{encoder}")
    digits = open_collection("mnist:test[0:100]")
    examples = [Example(data=to_png(image)) for image in digits.array()]
    assert digits.labels is not None
    yield (
        f"mnist 20,000, {encoder}",
        asked(index, examples, [None] * 100, [f"label != '{label}'" for label in digits.labels]),
    )
    photos = [Example(str(path)) for path in sorted((shared / "corel1k").rglob("*.jpg"))[::20]]
    said = [answer(index, Query(images=(photo,), resize=True)).nothing_like_it for photo in photos]
    yield f"mnist 20,000, {encoder}, asked by photos", {"gone": {"nothing_like_it": share(said)}}


#: Collections that weren't looked at when thresholds were set.
LABELLED = (
    "cars", "chinese-paintings", "cifar10", "coil20", "corel80", "flowers5", "fruit-shapes", "imagenette", "quickdraw6", "stamps",
    "textures", "usps",
)  # fmt: skip
CASES: dict[str, tuple[Callable[..., Iterator[tuple[str, dict[str, Any]]]], tuple[Any, ...]]] = {
    f"{part.__name__}-{encoder}": (part, (encoder,))
    for part, encoder in (
        (museum, "default"), (museum, "neural"), (museum, "neural+color"), (museum, "sift"), (mnist, "default"), (mnist, "hog"),
    )
}  # fmt: skip
CASES |= {f"corel-{encoder}": (kinds, (encoder, "corel1k", 100)) for encoder in ("default", "neural", "color")}
CASES |= {f"{name}-default": (kinds, ("default", f"labelled/{name}", 60)) for name in LABELLED}
CASES["museum-neural-geometric"] = museum, ("neural", "geometric")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "lookalike-nothing")
    parser.add_argument("--only", choices=CASES, nargs="+", default=list(CASES))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    for part, how in (CASES[name] for name in options.only):
        for name, found in part(options.shared, options.work, *how):
            print(name, json.dumps(found), flush=True)
            keep("nothing", name, found)


if __name__ == "__main__":
    main()
