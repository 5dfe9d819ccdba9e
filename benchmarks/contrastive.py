"""What minutes of contrastive training buy: MNIST's 60,000 / 10,000, and Corel-1k at 64 x 64, each leave one out.

    python benchmarks/contrastive.py mnist --epochs 15 [--folder FOLDER] [--shared ../shared/data]

A machine that other work shares can't tell what ten minutes are. So the length is given in epochs, and how long an
epoch takes was measured with all other work stopped (``--rate``, which trains for a few steps and ends). A training
goes on from the checkpoint in FOLDER; so what 15 epochs began, 90 go on with.

Scored by labels: the encoder's descriptors as they are, what `adapt` chose for the aims nearest and category, and queries with
noise of deviation 0.5. Labels choose nothing: loss and temperature were chosen by the self-test on 10,000 training
digits (``--pilot``). Raw runs go to runs/contrastive/, one for each collection and number of epochs, rows
to results/contrastive.csv and contrastive-pilot.csv.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from study import keep

from lookalike import create_encoder, open_collection
from lookalike.encoders import contrastive
from lookalike.encoders.base import Encoder
from lookalike.encoders.contrastive import NOISE, Contrastive, build
from lookalike.encoders.training import contrastive_loss
from lookalike.encoders.training.pairs import families_to_learn
from lookalike.metrics.bootstrap import bootstrap_interval
from lookalike.metrics.scores import score
from lookalike.neighbors.exact import Database
from lookalike.selection.adapt import adapt
from lookalike.selection.judge import AIMS
from lookalike.selection.selftest import self_test
from lookalike.transforms import noise
from lookalike.transforms.grounds import kind_of

Images = NDArray[np.uint8]
METRICS = ("mAP", "P@1", "LRAP@10", "LRAP@100", "LRAP@1000")
SIDE = 64
#: What is set for a short training, and how many numbers its loss compares.
PILOTS: dict[str, tuple[dict[str, Any], int]] = {
    "simclr, temperature 0.2, rate .003": ({"temperature": 0.2}, 64),
    "simclr, temperature 0.5, rate .003": ({"temperature": 0.5}, 64),
    "vicreg, rate .003": ({"loss": "vicreg"}, 64),
    "vicreg, rate .001": ({"loss": "vicreg", "learning_rate": 1e-3}, 64),
    "vicreg, rate .001, 1024 compared": ({"loss": "vicreg", "learning_rate": 1e-3}, 1024),
    "simclr, temperature 0.2, rate .003, 1024 compared": ({"temperature": 0.2}, 1024),
}
PILOT_EPOCHS = 8


def digits() -> tuple[Images, NDArray[Any], Images, NDArray[Any]]:
    train, test = open_collection("mnist:train"), open_collection("mnist:test")
    return train.array(), np.asarray(train.labels), test.array(), np.asarray(test.labels)


def photos(shared: Path) -> tuple[Images, NDArray[Any]]:
    files = sorted(shared.glob("corel1k/*/*.jpg"))
    opened = [
        Image.open(f).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=None) for f in files
    ]
    return np.stack([np.asarray(image) for image in opened]), np.array([f.parent.name for f in files])


def adapted(encoder: Encoder, images: Images) -> dict[str, tuple[Encoder, str]]:
    """Return what each aim chose, with the recipe's name."""
    made = {aim: adapt(encoder, images, aim=aim) for aim in AIMS}
    return {aim: (better, adaptation.chosen) for aim, (better, adaptation) in made.items()}


def score_digits(encoder: Contrastive, data: tuple[Images, NDArray[Any], Images, NDArray[Any]]) -> dict[str, Any]:
    images, labels, queries, right = data

    def figures(one: Encoder, asked: Images) -> dict[str, Any]:
        table = Database(one.encode(images), one.distance)
        report = score(table, labels, one.encode(asked), right, cuts=[10, 100, 1000]).report()
        found = {m: [report.metrics[m], *report.intervals[m]] for m in METRICS} | {"dimension": one.dimension_}
        print({m: np.round(v, 4).tolist() for m, v in found.items()}, flush=True)
        return found

    noisy = noise.add_noise(queries, 0.5)
    scores = {"plain": figures(encoder, queries), "plain, noisy queries": figures(encoder, noisy)}
    for aim, (one, recipe) in adapted(encoder, images).items():
        scores[f"adapted, {aim}"] = figures(one, queries) | {"recipe": recipe}
        if aim == "nearest":
            scores[f"adapted, {aim}, noisy queries"] = figures(one, noisy) | {"recipe": recipe}
    quality = {
        "noisy": noise.quality(noisy[:1000], queries[:1000]).to_json(),
        "denoised": noise.quality(encoder.decode(noisy[:1000]), queries[:1000]).to_json(),
    }
    return {"scores": scores, "denoising": quality}


def score_photos(encoder: Contrastive, images: Images, labels: NDArray[Any]) -> dict[str, Any]:
    def figures(one: Encoder) -> dict[str, Any]:
        table = one.encode(images)
        distances = Database(table, one.distance).distances(table)
        np.fill_diagonal(distances, np.inf)  # an image is no answer to itself
        order = np.argsort(distances, axis=1, kind="stable")[:, :-1]
        right = labels[order] == labels[:, None]
        precision = right.cumsum(axis=1) / np.arange(1, len(images))
        values = {
            "mAP": (precision * right).sum(axis=1) / right.sum(axis=1),
            "P@1": precision[:, 0],
            "P@20": precision[:, 19],
        }
        return {m: [float(v.mean()), *bootstrap_interval(v)] for m, v in values.items()} | {"dimension": one.dimension_}

    scores = {"plain": figures(encoder)}
    for aim, (one, recipe) in adapted(encoder, images).items():
        scores[f"adapted, {aim}"] = figures(one) | {"recipe": recipe}
    return {"scores": scores}


def rate(images: Images, batch_size: int, steps: int = 8) -> dict[str, Any]:
    """Return images a second of training, its making of pairs included, in both precisions."""
    encoder = Contrastive(batch_size=batch_size)
    given = encoder.params | {
        "noise": NOISE[kind_of(images)], "families": families_to_learn(images), "fixed_noise": False,
        "optimizer": "adam", "validation": 0.0,
    }  # fmt: skip
    plan = contrastive_loss.Plan(**{field.name: given[field.name] for field in fields(contrastive_loss.Plan)})
    measured: dict[str, Any] = {"batch": batch_size, "weights": build(images.shape[1:]).count_params()}
    for precision in ("float32", "bfloat16"):
        learner, data = plan.learner(build(images.shape[1:]), precision), plan.data(images)
        batches = (batch for number in range(1, 1000) for batch in data.epoch(number))
        learner.train_on_batch(*next(batches))  # traces and compiles
        begun = time.perf_counter()
        for _ in range(steps):
            learner.train_on_batch(*next(batches))
        measured[precision] = steps * batch_size / (time.perf_counter() - begun)
    begun = time.perf_counter()
    for _ in range(4):
        next(batches)
    return measured | {"pairs alone": 4 * batch_size / (time.perf_counter() - begun)}


def pilot(images: Images) -> dict[str, Any]:
    """Return self-tests of short trainings, which read no label."""
    found: dict[str, Any] = {"epochs": PILOT_EPOCHS, "images": len(images)}
    for name, (params, compared) in PILOTS.items():
        contrastive.COMPARED = compared
        encoder = Contrastive(epochs=PILOT_EPOCHS, precision="bfloat16", **params).train(images)
        figures = self_test(encoder, images).figures
        tested = {figure: figures[figure] for figure in ("self-retrieval MRR", "category precision@5%")}
        found[name] = {"unchanged": tested}
        print(name, {k: round(v, 4) for k, v in tested.items()}, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", choices=["mnist", "corel"])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--minutes", type=float, help="stop after this long; the same command goes on")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--folder", type=Path, help="for the encoder and its checkpoint")
    parser.add_argument("--rate", action="store_true", help="only measure how fast it trains")
    parser.add_argument("--pilot", action="store_true", help="only try losses and temperatures by the self-test")
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    options = parser.parse_args()
    batch_size = options.batch_size or {"mnist": 256, "corel": 128}[options.collection]
    data: Any = digits() if options.collection == "mnist" else photos(options.shared)
    if options.rate:
        name, facts = f"{options.collection}, rate", rate(data[0][:: max(1, len(data[0]) // 1000)], batch_size)
    elif options.pilot:
        name, facts = f"{options.collection}, pilot", pilot(data[0][:10_000])
    else:
        params = {"epochs": options.epochs, "batch_size": batch_size, "minutes": options.minutes}
        encoder = create_encoder("contrastive", precision="bfloat16", **params)
        assert isinstance(encoder, Contrastive)
        folder = options.folder or Path(f"contrastive-{options.collection}")

        def tell(news: Any) -> None:
            if news.epoch_ended:
                print(news.epoch, round(news.loss, 4), news.validation_loss, round(news.images_per_second), flush=True)

        encoder.train(data[0], checkpoint=folder / "checkpoint.npz", resume=True, on_progress=tell)
        encoder.save(folder / f"{options.epochs}-epochs")
        name = f"{options.collection}, {len(encoder.history_)} epochs"
        facts = {"params": encoder.params, "best_epoch": encoder.best_epoch_, "history": encoder.history_}
        facts |= score_digits(encoder, data) if options.collection == "mnist" else score_photos(encoder, *data)
        for kind, scores in facts["scores"].items():
            text = "  ".join(
                f"{m} {v[0]:.4f} [{v[1]:.4f}, {v[2]:.4f}]" for m, v in scores.items() if isinstance(v, list)
            )
            print(f"{kind:30} {scores['dimension']:4}-d  {text}", flush=True)
    print(name, facts if options.rate else "", flush=True)
    keep("contrastive", name, facts)


if __name__ == "__main__":
    main()
