"""The autoencoder's descriptors: MNIST's 60,000 / 10,000 by the preset deep, plain and adapted; photos beside others.

    lookalike train mnist -o FOLDER --preset deep --epochs 12 --minutes 6.5
    python benchmarks/autoencoder.py --model FOLDER [--shared ../shared/data] [--only mnist|corel|museum]

On MNIST each aim of ``adapt`` chooses its recipe by the judge, without labels; then all 10,000 test digits ask. On photos (Corel-1k leave one out; the museum's 30 crops and 30 walls against 287 paintings) the deep and
the tutorial network are trained on the collection at 64 x 64, and stand beside pixels, hog and color of the same
pictures, and neural at 224 x 224. The self-test's figures of each are reported too. Labels only score. Results, with
95 % intervals: raw to runs/autoencoder/, rows to results/autoencoder.csv, part by part.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from study import keep

from lookalike import create_encoder, load_encoder, open_collection
from lookalike.encoders.base import Encoder
from lookalike.metrics.bootstrap import bootstrap_interval
from lookalike.metrics.scores import score
from lookalike.neighbors.exact import Database
from lookalike.selection.adapt import adapt
from lookalike.selection.judge import AIMS
from lookalike.selection.recipes import UNCHANGED
from lookalike.selection.selftest import self_test

Images = NDArray[np.uint8]
METRICS = ("mAP", "P@1", "LRAP@10", "LRAP@100", "LRAP@1000")
PHOTO_EPOCHS = 15


def mnist(model: Path, queries: int) -> dict[str, Any]:
    train, test = open_collection("mnist:train"), open_collection("mnist:test")
    images = train.array()
    rows = np.sort(np.random.default_rng(0).permutation(len(test))[:queries])
    asked, answers = test.array()[rows], np.asarray(test.labels)[rows]
    encoder = load_encoder(model)
    trained = encoder.history_  # type: ignore[attr-defined]
    facts: dict[str, Any] = {
        "params": encoder.params,
        "epochs": len(trained),
        "training_seconds": sum(epoch["seconds"] for epoch in trained),
        "queries": queries,
        "scores": {},
    }
    tried = {"plain": (encoder, str(UNCHANGED))}
    for aim in AIMS:
        better, adaptation = adapt(encoder, images, aim=aim)
        tried[aim] = (better, adaptation.chosen)
    done: dict[str, dict[str, Any]] = {}
    for name, (one, recipe) in tried.items():
        if recipe not in done:
            report = score(
                Database(one.encode(images), one.distance), np.asarray(train.labels), one.encode(asked), answers,
                cuts=[10, 100, 1000],
            ).report()  # fmt: skip
            done[recipe] = {m: [report.metrics[m], *report.intervals[m]] for m in METRICS}
            say(f"MNIST deep, {name}: {recipe}, {one.dimension_}-d", done[recipe])
        facts["scores"][name] = {"recipe": recipe, "dimension": one.dimension_} | done[recipe]
    return facts


def read(paths: list[Path], side: int) -> Images:
    def one(path: Path) -> NDArray[np.uint8]:
        return np.asarray(
            Image.open(path).convert("RGB").resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
        )

    return np.stack([one(path) for path in paths])


def corel(shared: Path) -> dict[str, Any]:
    photos = sorted(shared.glob("corel1k/*/*.jpg"))
    labels = np.array([photo.parent.name for photo in photos])

    def scores(encoder: Encoder, images: Images) -> dict[str, list[float]]:
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
        return {m: [float(v.mean()), *bootstrap_interval(v)] for m, v in values.items()}

    return beside("Corel-1k", photos, scores)


def museum(shared: Path) -> dict[str, Any]:
    folder = shared / "museum-2022"
    paintings = sorted(folder.glob("BBDD/*.jpg"))
    numbers = np.array([int(p.stem.split("_")[1]) for p in paintings])

    def scores(encoder: Encoder, images: Images) -> dict[str, list[float]]:
        table = Database(encoder.encode(images), encoder.distance)
        found = {}
        for name, queries in (("crops P@1", "qsd1_w1"), ("wall P@1", "qsd2_w1")):
            asked = sorted((folder / queries).glob("*.jpg"))
            truth = json.loads((folder / queries / "gt_corresps.json").read_text())
            first, _ = table.nearest(encoder.encode(read(asked, images.shape[1])), 1)
            hit = np.array([numbers[f] in right for f, right in zip(first[:, 0], truth, strict=True)], np.float64)
            found[name] = [float(hit.mean()), *bootstrap_interval(hit)]
        return found

    return beside("museum", paintings, scores)


def beside(collection: str, paths: list[Path], scores: Any) -> dict[str, Any]:
    """Score the networks, trained on the collection, and the encoders that they stand beside."""
    facts: dict[str, Any] = {}
    encoders: list[tuple[str, Encoder, int]] = [
        ("deep", create_encoder("autoencoder", preset="deep", epochs=PHOTO_EPOCHS, batch_size=32), 64),
        ("tutorial", create_encoder("autoencoder", epochs=PHOTO_EPOCHS, batch_size=32), 64),
        *((name, create_encoder(name), 64) for name in ("pixels", "hog", "color")),
        ("neural", create_encoder("neural"), 224),
    ]
    for name, encoder, side in encoders:
        images = read(paths, side)
        begun, worked = time.perf_counter(), time.process_time()
        encoder.fit(images)
        facts[name] = {
            "fit_seconds": time.perf_counter() - begun,
            "fit_processor_seconds": time.process_time() - worked,
            "dimension": encoder.dimension_,
        }
        if name != "neural":  # its copies take minutes, and nothing here is chosen by them
            tested = self_test(encoder, images)
            facts[name]["self_test"] = {f: tested.figures[f] for f in ("first hit", "category precision@5%")}
        facts[name]["scores"] = scores(encoder, images)
        say(f"{collection} {name}, {encoder.dimension_}-d", facts[name]["scores"])
    return facts


def say(what: str, scores: dict[str, Any]) -> None:
    print(what, "  ".join(f"{m} {v[0]:.3f} [{v[1]:.3f}, {v[2]:.3f}]" for m, v in scores.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a deep autoencoder that was trained on MNIST")
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--only", choices=["mnist", "corel", "museum"])
    options = parser.parse_args()
    parts = {
        "mnist": lambda: mnist(options.model, options.queries),
        "corel": lambda: corel(options.shared),
        "museum": lambda: museum(options.shared),
    }
    for name, part in parts.items():
        if options.only in (None, name) and (name != "mnist" or options.model):
            keep("autoencoder", name, part())


if __name__ == "__main__":
    main()
