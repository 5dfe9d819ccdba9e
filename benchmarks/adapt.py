"""What `adapt` buys, chosen without labels: MNIST's 60,000 / 10,000 by deskewed HOG, Corel-1k by the neural encoder.

    python benchmarks/adapt.py [--shared ../shared/data] [--only mnist|corel]

Every recipe is learnt from at most 20,000 images and self-tested; each aim chooses one; then the whole collection and
the queries are encoded by the choices and scored by labels: MNIST's test digits against its training digits, Corel-1k
each image against all others. The recipes themselves were tried out on MNIST's *training* digits, Corel-1k and the
other collections of verdict.py with an eye on labels; MNIST's test digits were never looked at before. Labels fit and
choose nothing here. Raw runs, with intervals and processor time, go to runs/adapt/, rows to results/adapt.csv.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from study import keep

from lookalike import create_encoder, open_collection
from lookalike.encoders.base import Encoder
from lookalike.metrics.bootstrap import bootstrap_interval
from lookalike.metrics.scores import score
from lookalike.neighbors.exact import Database
from lookalike.selection.adapt import AIMS, RECIPES, UNCHANGED, Learner, choose, prepare_material
from lookalike.selection.selftest import run_trial

Images = NDArray[np.uint8]
METRICS = ("mAP", "P@1", "LRAP@10", "LRAP@100", "LRAP@1000")


def learnt(encoder: Encoder, images: Images) -> tuple[dict[str, Encoder], dict[str, Any]]:
    """Return the encoders to score by name, and what was tried and chosen."""
    begun, worked = time.perf_counter(), time.process_time()
    material = prepare_material(encoder, images)
    learner = Learner(material)
    posts, tested = {}, {}
    for recipe in RECIPES:
        post = learner.learn(recipe)
        if post is not None or recipe == UNCHANGED:
            posts[str(recipe)], tested[str(recipe)] = post, run_trial(material.trial, post)
    facts = {
        "seconds": time.perf_counter() - begun,
        "processor_seconds": time.process_time() - worked,
        "families": material.trial.families,
        "chosen": {aim: choose(tested, aim)[0] for aim in AIMS},
        "self_tests": {name: test.to_json() for name, test in tested.items()},
    }
    names = dict.fromkeys([str(UNCHANGED), *facts["chosen"].values()])
    return {name: encoder.with_post(posts[name]) for name in names}, facts


def mnist() -> dict[str, Any]:
    database, queries = open_collection("mnist:train"), open_collection("mnist:test")
    images = database.array()
    encoders, facts = learnt(create_encoder("hog", deskew=True).fit(images), images)
    facts |= {"scores": {}, "queries": len(queries)}
    for name, encoder in encoders.items():
        table = Database(encoder.encode(images), encoder.distance)
        report = score(
            table, np.asarray(database.labels), encoder.encode(queries.array()), np.asarray(queries.labels),
            cuts=[10, 100, 1000],
        ).report()  # fmt: skip
        facts["scores"][name] = {m: [report.metrics[m], *report.intervals[m]] for m in METRICS} | {
            "dimension": encoder.dimension_
        }
    return facts


def corel(shared: Path) -> dict[str, Any]:
    photos = sorted(shared.glob("corel1k/*/*.jpg"))
    labels = np.array([photo.parent.name for photo in photos])
    size = (224, 224)
    images = np.stack(
        [np.asarray(Image.open(p).convert("RGB").resize(size, Image.Resampling.BILINEAR)) for p in photos]
    )
    encoders, facts = learnt(create_encoder("neural").fit(images), images)
    facts |= {"scores": {}, "queries": len(photos)}
    for name, encoder in encoders.items():
        table = encoder.encode(images)
        distances = Database(table, encoder.distance).distances(table)
        np.fill_diagonal(distances, np.inf)  # an image is no answer to itself
        order = np.argsort(distances, axis=1, kind="stable")[:, :-1]
        right = labels[order] == labels[:, None]
        precision = right.cumsum(axis=1) / np.arange(1, len(photos))
        values = {
            "mAP": (precision * right).sum(axis=1) / right.sum(axis=1),
            "P@1": precision[:, 0],
            "P@20": precision[:, 19],
        }
        facts["scores"][name] = {m: [float(v.mean()), *bootstrap_interval(v)] for m, v in values.items()} | {
            "dimension": encoder.dimension_
        }
    return facts


def results(shared: Path, only: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    if only in (None, "mnist"):
        yield "MNIST, hog deskew", mnist()
    if only in (None, "corel"):
        yield "Corel-1k, neural", corel(shared)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--only", choices=["mnist", "corel"])
    options = parser.parse_args()
    for name, facts in results(options.shared, options.only):
        keep("adapt", name, facts)
        print(f"{name}: {facts['processor_seconds']:.0f} processor seconds; chosen {facts['chosen']}")
        for recipe, scores in facts["scores"].items():
            text = "  ".join(f"{m} {v[0]:.4f} [{v[1]:.4f}, {v[2]:.4f}]" for m, v in scores.items() if m != "dimension")
            print(f"  {recipe:34} {scores['dimension']:4}-d  {text}", flush=True)


if __name__ == "__main__":
    main()
