"""The article's system, whole: train, index, answer, score and show MNIST, in one report."""

from __future__ import annotations

import json
import math
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lookalike import progress
from lookalike.api import build_index
from lookalike.atomic import begin_inventory, claim, claimed, replace_file
from lookalike.collections.open import Collection, open_collection
from lookalike.encoders.autoencoder import ARTICLE_PRESETS, Autoencoder
from lookalike.encoders.base import Encoder
from lookalike.encoders.registry import create
from lookalike.errors import LookalikeError, UsageError
from lookalike.index.reader import IndexReader
from lookalike.metrics.ranking import SHOWN
from lookalike.neighbors.sampling import sample_rows
from lookalike.reports import charts, evaluate, figures, line_charts
from lookalike.reports.evaluate import IndexScore
from lookalike.reports.html import Code, Facts, Picture, Report, Section, Table, Value, machine, write_report
from lookalike.reports.query_set import sample_queries
from lookalike.search.restore import denoise
from lookalike.selection.robustness import Point, robustness
from lookalike.transforms import noise
from lookalike.transforms.augmentations import FAMILIES

_FULL_EPOCHS = 20
_SHOWN_QUERIES = 10
_EUCLIDEAN = "article, Euclidean"
_AUGMENTED, _AUGMENTED_AMONG = 100, 2000
_FAMILIES = ("turn", "scale", "shift", "crop", "blur", "noise", "jpeg")
_METRICS = (*SHOWN, "LRAP@10", "LRAP@100", "LRAP@1000", "LRAP@10000", "LRAP@60000")


@dataclass
class _Run:
    """All that the report tells."""

    folder: Path
    seed: int
    seconds: dict[str, float] = field(default_factory=dict)
    trained: dict[str, Autoencoder] = field(default_factory=dict)
    indexes: dict[str, IndexReader] = field(default_factory=dict)
    scores: dict[str, IndexScore] = field(default_factory=dict)
    curves: dict[str, dict[str, list[Point]]] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        progress.say(name)
        begun = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - begun


def run_demo(folder: Path, *, seconds: float | None = 90, queries: int | None = 1000, seed: int = 0) -> Path:
    """Train both presets, index 60,000 digits with each encoder, score them and write ``report.html``.

    Parameters
    ----------
    folder : Path
        Gets the trained encoders, the indexes, ``scores.json`` and ``report.html``.
    seconds : float, optional
        Time box of the two trainings together; None trains 20 epochs each.
    queries : int, optional
        Test digits to ask, drawn by the seed; None asks all 10,000.
    seed : int
        Of the networks, the noise, the queries and the bootstrap.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    LookalikeError
        If a step fails; what earlier steps made stays.
    """
    _take(folder)
    run = _Run(folder, seed)
    with run.step("reading MNIST"):
        train, test = open_collection("mnist:train"), open_collection("mnist:test")
    for preset in ARTICLE_PRESETS:
        with run.step(f"training '{preset}'"):
            run.trained[preset] = _train(preset, train, folder, seconds and seconds / len(ARTICLE_PRESETS), seed)
    encoders: dict[str, Encoder] = {**run.trained, "pixels": create("pixels"), "hog": create("hog")}
    encoders["hog, deskewed"] = create("hog", deskew=True)
    for name, encoder in encoders.items():
        with run.step(f"indexing {len(train):,} digits by {name}"), progress.counting("indexing") as show:
            path = folder / f"{name.replace(', ', '-')}.lookalike"
            run.indexes[name] = build_index(train, encoder, path, on_progress=show)
    asked = sample_queries(run.indexes["pixels"], test, count=queries, seed=seed)
    for name, index in run.indexes.items():
        with run.step(f"scoring {len(asked):,} queries by {name}"), progress.counting("scoring") as show:
            run.scores[name] = evaluate.score(index, asked, seed=seed, on_progress=show)
    with run.step(f"scoring {len(asked):,} queries by article, Euclidean"):
        euclidean = evaluate.score(run.indexes["article"], asked, distance="euclidean", seed=seed)
        run.scores[_EUCLIDEAN] = euclidean
    with run.step("augmenting digits more and more"):
        sample = train.array()[sample_rows(len(train), _AUGMENTED_AMONG, seed)]
        for name, index in run.indexes.items():
            run.curves[name] = robustness(index.encoder, sample, _FAMILIES, queries=_AUGMENTED, seed=seed)
    with replace_file(folder / "scores.json") as f:
        f.write(json.dumps({name: s.to_json() for name, s in run.scores.items()}, indent=1).encode())
    progress.say("drawing the report")
    return write_report(folder / "report.html", _report(run, train, test, asked))


def _take(folder: Path) -> None:
    """Make the demo's folder, or take up one that a demo made: only what its inventory names is ever replaced."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ours = claimed(folder)
        if not ours and (others := sorted(child.name for child in folder.iterdir())):
            raise UsageError(
                f"{folder}: a folder that holds other things ({others[0]}); give an empty or a new one by -o"
            )
        begin_inventory(folder)
        claim(folder, *ARTICLE_PRESETS)
    except OSError as e:
        raise LookalikeError(f"{folder}: the demo can't be written there: {e.strerror or e}; give another by -o") from e


def _train(preset: str, images: Collection, folder: Path, seconds: float | None, seed: int) -> Autoencoder:
    minutes = None if seconds is None else seconds / 60
    epochs = _FULL_EPOCHS if seconds is None else 1000
    encoder = Autoencoder(preset=preset, epochs=epochs, minutes=minutes, seed=seed)
    with progress.training() as show:
        encoder.train(images.array(), checkpoint=folder / preset / "checkpoint.npz", on_progress=show)
    if encoder.stopped_ == "interrupted":
        raise KeyboardInterrupt
    encoder.save(folder / preset)
    return encoder


def _report(run: _Run, train: Collection, test: Collection, asked: Collection) -> Report:
    first = {name: score.metrics["P@1"] for name, score in run.scores.items()}
    best = max(("pixels", "hog", "hog, deskewed"), key=lambda n: first[n])
    lead = (
        f"Trained without a label, the article's autoencoder finds a right digit first for {_share(first[_EUCLIDEAN])} "
        f"of {len(asked):,} queries, the larger tutorial network for {_share(first['tutorial'])}. Comparing raw pixels, with no "
        f"training at all, finds {_share(first['pixels'])}; {_spelt(best)}, {_share(first[best])}."
    )
    sections = [
        Section("What a search finds", [*_answers(run, train, asked)]),
        Section("Noise in, digits out", [*_denoising(run, test)]),
        Section("How good the order is", [*_scores(run, asked, len(train))]),
        Section("How robust the encoders are", [*_robustness(run, len(train))]),
        Section("How it was trained", [*_training(run, len(train))]),
        Section("How to read these numbers", [_glossary()]),
        Section("What was run", [*_conditions(run)]),
    ]
    return Report("Digits that look like this one", lead, sections)


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _spelt(name: str) -> str:
    return {"hog": "gradient histograms (HOG)", "hog, deskewed": "gradient histograms (HOG) of digits set upright"}.get(
        name, name
    )


def _answers(run: _Run, train: Collection, asked: Collection) -> Iterator[str | Picture]:
    pixels, answers = train.array(), train.labels
    assert answers is not None
    assert asked.labels is not None
    shown = asked.take(_one_of_each(asked.labels))
    assert shown.labels is not None
    yield (
        f"One test digit of each kind, the first of its kind among the queries, and the ten nearest of the {len(train):,}. The network "
        "has never seen the queries, and nobody told it what a digit is."
    )
    for name in ("article", "hog, deskewed"):
        index = run.indexes[name]
        rows, _ = index.database().nearest(index.encoder.encode(shown.array()), 10)
        right = answers[rows] == shown.labels[:, None]
        yield Picture(
            figures.retrieved(shown.array(), [pixels[r] for r in rows], right=right),
            f"By {name}: query at left, then its first ten answers, nearest first. A check mark means the answer has the query's "
            f"label, a cross that it has another. {int(right.sum())} of {right.size} are right.",
            f"{len(shown)} queries with ten answers each by {name}; {int(right.sum())} of {right.size} answers have the right label.",
        )


def _one_of_each(labels: NDArray[np.str_]) -> list[int]:
    kinds, first = np.unique(labels, return_index=True)
    return [int(i) for i in first[: min(len(kinds), _SHOWN_QUERIES)]]


def _denoising(run: _Run, test: Collection) -> Iterator[str | Picture | Table]:
    sample = test.array()[:1000]
    noisy = noise.add_noise(sample, 0.5, run.seed)
    before = noise.quality(noisy, sample)
    rows: list[list[str | Value | None]] = [["noisy", *_quality_cells(before)]]
    for preset, encoder in run.trained.items():
        cleaned = denoise(encoder, noisy)
        yield Picture(
            figures.denoising_pairs(noisy[:10], cleaned[:10], original=sample[:10]),
            f"Test digits, the same with Gaussian noise of 0.5, and what '{preset}' makes of the noisy ones.",
            f"Ten digits in three rows: original, noisy, and denoised by {preset}.",
        )
        rows.append([f"denoised by {preset}", *_quality_cells(noise.quality(cleaned, sample))])
    header = ["", "MSE", "PSNR", "SSIM"]
    yield Table(
        header,
        rows,
        "The first 1,000 test digits against their clean originals. Lower MSE, higher PSNR and SSIM are better.",
    )


def _quality_cells(quality: noise.Quality) -> list[Value]:
    return [
        Value(quality.mse, form="{:.4f}"),
        Value(quality.psnr, form="{:.1f} dB"),
        Value(quality.ssim, form="{:.3f}"),
    ]


def _scores(run: _Run, asked: Collection, count: int) -> Iterator[str | Picture | Table]:
    by_article = run.scores[_EUCLIDEAN]
    curves = {name: score for name, score in run.scores.items() if name != _EUCLIDEAN}
    lowest = min(curves, key=lambda n: curves[n].metrics["LRAP@1000"])
    highest = max(curves, key=lambda n: curves[n].metrics["LRAP@1000"])
    yield Picture(
        line_charts.score_curves(
            {n: s.lrap for n, s in curves.items()}, {n: s.lrap_intervals for n, s in curves.items()}
        ),
        f"The article's curve for five encoders, cosine distance, {len(asked):,} test queries against all {count:,}; bands are "
        "95 % bootstrap intervals.",
        f"LRAP at n from 10 to {count:,}: at 1,000 {highest} is highest and {lowest} lowest.",
    )
    rows: list[list[str | Value | None]] = [
        [m, *(Value(s.metrics[m], s.intervals[m]) for s in curves.values())]
        for m in _METRICS
        if m in by_article.metrics
    ]
    yield Table(
        ["", *curves],
        rows,
        f"{len(asked):,} seeded test queries against all {count:,}, cosine distance, with 95 % bootstrap intervals. The best of "
        "each line is bold.",
        best="row",
    )
    named = ", ".join(f"{m} {by_article.metrics[m]:.3f}" for m in ("P@1", "mAP", "LRAP@10", "LRAP@100", "LRAP@1000"))
    yield (
        f"By Euclidean distance, as the article ranked, its network scores {named}. Of {by_article.queries:,} queries, "
        f"{by_article.none_in_first_10} find nothing right among the first 10: they count 0 here and 1 in scikit-learn's "
        f"convention, which the article used (LRAP@10 {by_article.lrap_scikit_learn[0][1]:.3f})."
    )
    yield (
        "A denoising autoencoder of this kind keeps what it needs to redraw a digit, its position and slant included, so its "
        "code is not a better description of the digit than the pixels are. Histograms of gradients forgive small shifts, and "
        "setting the digit upright first removes the slant: that is what closes the gap."
    )


def _robustness(run: _Run, count: int) -> Iterator[str | Picture]:
    among, asked = min(count, _AUGMENTED_AMONG), min(count, _AUGMENTED)
    yield (
        f"{asked} of {among:,} training digits are augmented more and more, one way at a time, and must find their originals. "
        "No label is needed for that."
    )
    yield Picture(
        charts.robustness_curves(run.curves, {name: family.unit for name, family in FAMILIES.items()}),
        "For each augmentation family: at left, how often the original comes first; at right LRAP@10, where the right answers are the "
        "ten that the unchanged digit finds with the same encoder, itself among them.",
        f"Curves over {', '.join(_FAMILIES)} for {len(run.curves)} encoders.",
    )


def _training(run: _Run, count: int) -> Iterator[str | Picture]:
    for preset, encoder in run.trained.items():
        history = encoder.history_
        seconds = sum(e["seconds"] for e in history)
        images = sum(e["images"] for e in history)
        held_out = math.ceil(count * encoder.validation)
        why = {"time": "; the time box ended it", "done": ""}.get(encoder.stopped_, "")
        yield (
            f"'{preset}': {images / (count - held_out):.1f} epochs over {count - held_out:,} digits ({held_out:,} are held out to choose "
            f"the best epoch, number {encoder.best_epoch_}) in {seconds:.0f} s, {images / seconds:,.0f} images a second{why}. Batches of 128, Adam, "
            f"fresh noise of 0.5 each epoch, {encoder.precision_}."
        )
        if len(history) > 2:
            yield Picture(
                line_charts.training_curve(history),
                f"Loss of '{preset}' by epoch.",
                f"The loss of {preset} on both sets, by epoch.",
            )


def _glossary() -> Facts:
    return Facts(
        {
            "P@1, P@10": "The share of right ones among the first answer, and among the first ten.",
            "LRAP@n": "The article's score. For each right answer among the first n, the share of right ones down to it; the mean "
            "of that. It divides by the right ones found, so it says nothing of those missed; a query with none found scores 0.",
            "mAP": "The same over the whole ranking, divided by all right ones, about a tenth of the digits.",
            "mAP@R, R-precision": "Only the first R answers count, where R is how many right ones there are.",
            "recall@100": "The share of all right ones that is among the first 100; at most about 0.017 here.",
            "95 % interval": "Where the score would lie with other queries of the same kind: 1,000 bootstrap resamples of the queries.",
        }
    )


def _conditions(run: _Run) -> Iterator[Code | Table | Facts]:
    yield Code(shlex.join(["lookalike", *sys.argv[1:]]))
    seconds = run.seconds | {"all of it": sum(run.seconds.values())}
    yield Table(["step", "wall time"], [[name, Value(s, form="{:.1f} s")] for name, s in seconds.items()])
    yield Facts(machine() | {"seed": f"{run.seed}, for weights, order, noise, queries and bootstrap"})
