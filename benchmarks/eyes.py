"""What an image gets when nothing is named: each step, on labelled collections, with intervals and its cost.

    python benchmarks/eyes.py [--shared ../shared/data] [--only NAME ...]

Steps: EfficientNet-Lite0 in single precision, mean pooled and centred, as it was until November 2026 (its file is taken out of
git's history); that with the metric of mutual neighbours; ``neural:model=fast`` and ``neural`` (the pair), centred and with the
metric; ``hog`` with the metric, plain and deskewed; and what is taken where nothing is named. Each image of a collection is a
query among the others; of MNIST and museum-2022 the queries are apart. Labels only score. The settings of the metric and the
rule for deskewing were chosen with all these collections but museum-2022 in sight.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from study import keep

from lookalike import Collection, open_collection
from lookalike.encoders.base import Encoder
from lookalike.neighbors.linalg import unit_rows
from lookalike.selection.compare import encoder_named
from lookalike.selection.defaults import default_encoder, shown_to
from lookalike.selection.neighbour_metric import neighbour_metric

#: The last commit with the network in single precision.
BEFORE = "a8ecf79"
OLD = "src/lookalike/encoders/efficientnet_lite0.onnx"
DRAWS = 1000


@dataclass(frozen=True)
class Case:
    """A labelled collection; without queries each image asks for the others."""

    name: str
    images: Collection
    right: NDArray[np.bool_]
    queries: Collection | None = None


def cases(shared: Path) -> Iterator[Case]:
    """Yield the collections."""
    folders = [shared / "corel1k", *sorted(p for p in (shared / "labelled").iterdir() if p.is_dir())]
    for folder in folders:
        images = open_collection(folder)
        labels = np.array([name.split("/")[0] for name in images.ids])
        yield Case(folder.name, images, labels[:, None] == labels)
    train, test = open_collection("mnist:train"), open_collection("mnist:test")
    asked = test.take(np.arange(2000))
    yield Case("mnist", train, np.array(asked.labels)[:, None] == np.array(train.labels), asked)
    museum = shared / "museum-2022"
    paintings = open_collection(museum / "BBDD", include=["*.jpg"])
    places = {int(Path(name).stem.split("_")[1]): i for i, name in enumerate(paintings.ids)}
    for queries in ("qsd1_w1", "qsd2_w1"):
        asked = open_collection(museum / queries, include=["*.jpg"])
        listed = json.loads((museum / queries / "gt_corresps.json").read_text())
        right = np.zeros((len(asked), len(paintings)), np.bool_)
        for row, name in enumerate(asked.ids):
            right[row, [places[n] for n in np.ravel(listed[int(Path(name).stem)]).tolist()]] = True
        yield Case(f"museum, {queries}", paintings, right, asked)


def encoded(encoder: Encoder, images: Collection) -> tuple[NDArray[np.float32], float]:
    """Return the descriptors of a collection, and the processor time of each, reading and resizing left out."""
    shown = shown_to(encoder, images)
    parts, spent = [], 0.0
    for start in range(0, len(shown), 256):
        batch = shown.take(np.arange(start, min(start + 256, len(shown)))).array()
        began = time.process_time()
        parts.append(encoder.encode(batch))
        spent += time.process_time() - began
    return np.concatenate(parts), 1000 * spent / len(shown)


def scores(case: Case, rows: NDArray[np.float32], asked: NDArray[np.float32] | None) -> dict[str, list[float]]:
    """Return P@1 and mAP, each with the 95 % interval of a bootstrap over queries."""
    rows = unit_rows(rows)
    first, precision = [], []
    for start in range(0, len(case.right), 500):
        part = slice(start, start + 500)
        near = (rows if asked is None else unit_rows(asked))[part] @ rows.T
        if asked is None:
            near[np.arange(len(near)), np.arange(start, start + len(near))] = -np.inf
        order = np.argsort(-near, axis=1, kind="stable")[:, : None if asked is not None else -1]
        right = np.take_along_axis(case.right[part], order, axis=1)
        right = right[right.any(axis=1)]
        found = np.cumsum(right, axis=1)
        first.append(right[:, 0])
        precision.append((found / np.arange(1, right.shape[1] + 1) * right).sum(axis=1) / found[:, -1])
    values = {"P@1": np.concatenate(first).astype(float), "mAP": np.concatenate(precision)}
    draws = np.random.default_rng(0).integers(0, len(values["mAP"]), (DRAWS, len(values["mAP"])))
    return {
        name: [float(each.mean()), *np.percentile(each[draws].mean(axis=1), [2.5, 97.5]).tolist(), len(each)]
        for name, each in values.items()
    }


def steps(case: Case, names: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the scores of each step on one collection."""
    default = default_encoder(case.images)
    assert default is not None
    taken = "pair" if default.name == "neural" else "hog, deskewed" if default.params["deskew"] else "hog"
    for step, name in names.items():
        encoder = encoder_named(name)
        encoder.fit(np.zeros((1, *shown_to(encoder, case.images).shape), np.uint8))
        rows, cost = encoded(encoder, case.images)
        asked = None if case.queries is None else encoded(encoder, case.queries)[0]
        began = time.process_time()
        learnt = neighbour_metric(rows[rows.any(axis=1)])
        spent = time.process_time() - began
        mean = unit_rows(rows).mean(axis=0)
        posts = {"as it is": lambda x: x, "centred": lambda x, mean=mean: unit_rows(x) - mean}
        if learnt is not None:
            posts["mutual neighbours"] = learnt.apply
        half = neighbour_metric(rows[np.random.default_rng(0).permutation(len(rows))[: len(rows) // 2]])
        if half is not None and step == "pair":
            posts["mutual neighbours, of half"] = half.apply
        for post, apply in posts.items():
            found = scores(case, apply(rows), None if asked is None else apply(asked))
            row = {"collection": case.name, "images": len(rows), "encoder": step, "recipe": post, "milliseconds": cost}
            row |= {"scores": found, "seconds to learn": spent, "taken": step == taken and post == "mutual neighbours"}
            print(case.name, step, post, {k: round(v[0], 3) for k, v in found.items()}, f"{cost:.2f} ms", flush=True)
            yield row


def means(collections: list[list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Yield the mean scores of a step over collections, with the 95 % interval of a bootstrap over collections."""
    taken = [next(row for row in rows if row["taken"]) for rows in collections]
    each = {("what is taken", ""): taken}
    for row in collections[0]:
        step = row["encoder"], row["recipe"]
        each[step] = [r for rows in collections for r in rows if (r["encoder"], r["recipe"]) == step]
    draws = np.random.default_rng(0).integers(0, len(collections), (DRAWS, len(collections)))
    for (encoder, recipe), rows in each.items():
        scores = {}
        for metric in ("P@1", "mAP"):
            values = np.array([row["scores"][metric][0] for row in rows])
            low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5]).tolist()
            scores[metric] = [float(values.mean()), low, high, len(values)]
        row = {
            "collection": "mean of the twelve",
            "images": len(rows),
            "encoder": encoder,
            "recipe": recipe,
            "taken": False,
        }
        yield row | {"scores": scores}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--only", nargs="+", help="names of collections; nothing is kept then")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        old = Path(scratch) / "lite0.onnx"
        old.write_bytes(subprocess.run(["git", "show", f"{BEFORE}:{OLD}"], check=True, capture_output=True).stdout)
        networks = {"Lite0": str(old), "fast": "neural:model=fast", "pair": "neural"}
        glyphs = {"hog": "hog", "hog, deskewed": "hog:deskew=true"}
        rows: dict[str, list[dict[str, Any]]] = {}
        for case in cases(options.shared):
            if options.only and case.name not in options.only:
                continue
            few = len(case.images) < 5000
            names = (networks if few else {}) | ({} if case.name.startswith("museum") else glyphs)
            rows[case.name] = list(steps(case, names))
            if not options.only:
                keep("eyes", case.name, rows[case.name])
    twelve = [rows[p.name] for p in sorted((options.shared / "labelled").iterdir()) if p.name in rows]
    if not options.only:
        keep("eyes", "mean of the twelve", list(means(twelve)))


if __name__ == "__main__":
    main()
