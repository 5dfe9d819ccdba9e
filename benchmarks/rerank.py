"""What re-ranking without labels buys, plain and re-ranked side by side, and what it costs.

    python benchmarks/rerank.py [--shared ../shared/data] [--work FOLDER] [--only mnist corel museum auto others-mnist others-corel speed]

- ``mnist``: MNIST's 60,000 training digits asked with all 10,000 test digits, by deskewed HOG with the default post-processing.
  Diffusion as it is by default, and as the self-test chooses it.
- ``corel``: Corel-1k in ten folds: the graph is made of nine, and asked with the images of the tenth. And what the self-test
  chooses for all of it.
- ``museum``: 287 paintings asked with photographs of some on a wall and cut out of it, and with damaged ones: turned by any
  angle, noisy, with text over them, two in one photo (either is right).
- ``auto``: the paintings on a wall and cut out again, by what the self-test chooses, which has not seen these photographs.
- ``others-mnist``, ``others-corel``: expansion, reciprocal neighbours and views, each as it is by default, beside the plain order:
  MNIST (the index of ``mnist``) asked with 1,000 test digits, and Corel-1k in the ten folds.
- ``speed``: the neighbour graph of 60,000, and a single query, against the same without re-ranking, in turn.

Parameters are those that the package has; labels score and nothing else. Raw runs go to runs/rerank/, rows to
results/rerank.csv, each part replacing its own; the work folder keeps indexes between runs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from study import keep

from lookalike import build_index, create_encoder, open_collection, open_index
from lookalike.api import Index
from lookalike.encoders.base import Encoder
from lookalike.imaging.resize import fit_to
from lookalike.metrics.bootstrap import bootstrap_interval
from lookalike.metrics.ranking import per_query, score_names
from lookalike.metrics.ranks import rank_relevant
from lookalike.neighbors.diffusion import find_neighbours, prepare_diffusion
from lookalike.neighbors.exact import Database
from lookalike.reports.evaluate import score
from lookalike.search.rerank.auto import select_rerank
from lookalike.search.rerank.base import RerankRequest, ranking_values
from lookalike.search.rerank.diffusion import spread
from lookalike.search.rerank.registry import create_reranker, rerank
from lookalike.selection.adapt import with_recipe
from lookalike.selection.defaults import default_postprocessing
from lookalike.selection.recipes import DEFAULT

Image_ = NDArray[np.uint8]
#: Re-rankings that no part above looks at.
OTHERS = ("none", "query-expansion", "alpha-query-expansion", "k-reciprocal", "multi-view")
METRICS = ("mAP", "P@1", "LRAP@10", "LRAP@100", "LRAP@1000")
#: Damaged queries of each kind.
DAMAGED = 30


def interval(values: NDArray[np.float64]) -> list[float]:
    return [float(values.mean()), *bootstrap_interval(values)]


def digits(work: Path) -> Index:
    """Index MNIST by deskewed HOG with the default post-processing."""
    path = work / "mnist.lookalike"
    if (path / "manifest.json").exists():
        return open_index(path)
    images = open_collection("mnist:train").array()
    encoder = create_encoder("hog", deskew=True).fit(images)
    return build_index("mnist", with_recipe(encoder, images, DEFAULT), path)


def mnist(work: Path) -> dict[str, Any]:
    index = digits(work)
    begun, worked = time.perf_counter(), time.process_time()
    create_reranker("diffusion", index)
    facts: dict[str, Any] = {
        "opened_seconds": time.perf_counter() - begun,  # the graph too, if it was kept
        "opened_processor_seconds": time.process_time() - worked,
    }
    tried = ("alpha-query-expansion", "diffusion", "diffusion:alpha=0.99", "diffusion:alpha=0.998")
    chosen = select_rerank(index, tried=tried)
    facts["self_test"] = {"chosen": chosen.method, "figures": chosen.figures, "held_out": chosen.held_out}
    for method in dict.fromkeys([None, "diffusion", "diffusion:alpha=0.99", chosen.method]):
        report = score(index, "mnist:test", rerank=method)
        facts[str(method)] = {m: [report.metrics[m], *report.intervals[m]] for m in METRICS if m in report.metrics}
        print("MNIST", method, {m: round(v[0], 4) for m, v in facts[str(method)].items()}, flush=True)
    return facts


def corel_encoders(shared: Path) -> tuple[Image_, NDArray[np.str_], dict[str, Encoder]]:
    """Return Corel's images and labels, and its encoders: unchanged, and as one gets it unasked."""
    photos = sorted(shared.glob("corel1k/*/*.jpg"))
    labels = np.array([photo.parent.name for photo in photos])
    images = np.stack([fit_to(np.asarray(Image.open(p).convert("RGB")), (224, 224, 3)) for p in photos])
    encoder = create_encoder("neural").fit(images)
    unasked = default_postprocessing(create_encoder("neural"), open_collection(images))
    assert unasked is not None
    return images, labels, {"unchanged": encoder, unasked[1]: unasked[0]}


def parted(count: int, folds: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield what is kept in the database and what asks it, fold by fold."""
    place = np.random.default_rng(0).permutation(count) % folds
    for fold in range(folds):
        yield np.flatnonzero(place != fold), np.flatnonzero(place == fold)


def figures_of(scores: dict[str, list[NDArray[np.float64]]]) -> dict[str, dict[str, list[float]]]:
    """Return mean and interval of each method, from the scores of each query."""
    names = score_names([10])
    return {
        method: {m: interval(np.stack(rows)[:, names.index(m)]) for m in ("mAP", "P@1")}
        for method, rows in scores.items()
    }


def corel(shared: Path, folds: int = 10) -> dict[str, Any]:
    images, labels, encoders = corel_encoders(shared)
    facts: dict[str, Any] = {"folds": folds}
    for title, made in encoders.items():
        table = made.encode(images)
        found: dict[str, list[NDArray[np.float64]]] = {}
        for kept, asked in parted(len(images), folds):
            database = Database(table[kept], made.distance)
            graph = prepare_diffusion(find_neighbours(database, table[kept]))
            ranked = {"None": database.distances(table[asked])}
            for alpha in (0.9, 0.99, 0.998):
                ranked[f"diffusion:alpha={alpha}"] = spread(graph, database, table[asked], alpha)
            for method, values in ranked.items():
                ranks = rank_relevant(values, labels[kept][None] == labels[asked][:, None])
                found.setdefault(method, []).extend(per_query(r, [10]) for r in ranks)
        facts[title] = figures_of(found)
        with tempfile.TemporaryDirectory() as folder:
            chosen = select_rerank(build_index(open_collection(images), made, Path(folder) / "index"))
        facts[f"{title}, chosen by the self-test"] = chosen.method
        print("corel", title, {m: round(v["mAP"][0], 4) for m, v in facts[title].items()}, chosen.method, flush=True)
    return facts


def others_mnist(work: Path) -> dict[str, Any]:
    index = digits(work)
    facts: dict[str, Any] = {"queries": 1000}
    for method in OTHERS:
        begun = time.process_time()
        report = score(index, "mnist:test[0:1000]", rerank=None if method == "none" else method)
        found = {m: [report.metrics[m], *report.intervals[m]] for m in METRICS if m in report.metrics}
        facts[method] = found | {"processor_seconds": time.process_time() - begun}
        print("MNIST", method, {m: round(v[0], 4) for m, v in found.items()}, flush=True)
    return facts


def others_corel(shared: Path, folds: int = 10) -> dict[str, Any]:
    images, labels, encoders = corel_encoders(shared)
    facts: dict[str, Any] = {"folds": folds}
    for title, encoder in encoders.items():
        scores: dict[str, list[NDArray[np.float64]]] = {method: [] for method in OTHERS}
        for kept, asked in parted(len(images), folds):
            with tempfile.TemporaryDirectory() as folder:
                index = build_index(open_collection(images[kept]), encoder, Path(folder) / "index")
                queries = RerankRequest(encoder.encode(images[asked]), lambda i, some=images[asked]: some[i])
                for method in OTHERS:
                    made = create_reranker(method, index)
                    values = [part for part, *_ in ranking_values(made, index.database(), queries)]
                    ranks = rank_relevant(np.concatenate(values), labels[kept][None] == labels[asked][:, None])
                    scores[method].extend(per_query(r, [10]) for r in ranks)
        facts[title] = figures_of(scores)
        print("Corel-1k", title, {m: round(v["mAP"][0], 4) for m, v in facts[title].items()}, flush=True)
    return facts


def damaged(kind: str, paintings: list[Image_], rng: np.random.Generator) -> tuple[Image_, set[int]]:
    """Make one query of a kind, and say which paintings are right."""
    chosen, other = rng.choice(len(paintings), 2, replace=False).tolist()
    image = Image.fromarray(paintings[chosen])
    colour = tuple(rng.integers(0, 256, 3).tolist())
    if kind == "turned":
        angle = rng.uniform(0, 360)
        return np.asarray(image.rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor=colour)), {chosen}
    if kind == "noise":
        noise = rng.normal(0, rng.uniform(20, 50), paintings[chosen].shape)
        return np.clip(paintings[chosen] + noise, 0, 255).astype(np.uint8), {chosen}
    if kind == "text":
        draw = ImageDraw.Draw(image)
        for line in range(4):
            place = rng.uniform(0, 0.3) * image.width, (line + rng.uniform(0, 0.5)) * image.height / 4
            draw.text(place, "Lorem ipsum dolor sit amet", fill=colour, font_size=image.height / 8)
        return np.asarray(image), {chosen}
    height = 480
    parts = [Image.fromarray(paintings[i]) for i in (chosen, other)]
    parts = [part.resize((max(1, part.width * height // part.height), height)) for part in parts]
    wall = Image.new("RGB", (parts[0].width + parts[1].width + 60, height + 40), colour)
    wall.paste(parts[0], (20, 20))
    wall.paste(parts[1], (parts[0].width + 40, 20))
    wall.thumbnail((640, 640))
    return np.asarray(wall), {chosen, other}


def photographs(folder: Path, index: Index) -> dict[str, list[tuple[Image_, set[int]]]]:
    """Return the photographs of some paintings, on a wall and cut out, and which are right."""
    row_of = {name: row for row, name in enumerate(index.ids)}
    queries = {}
    for title, part in (("wall", "qsd2_w1"), ("crops", "qsd1_w1")):
        truth = json.loads((folder / part / "gt_corresps.json").read_text())
        queries[title] = [
            (np.asarray(Image.open(p).convert("RGB")), {row_of[f"bbdd_{n:05d}.jpg"] for n in right})
            for p, right in zip(sorted((folder / part).glob("*.jpg")), truth, strict=True)
        ]
    return queries


def auto(shared: Path, work: Path) -> dict[str, Any]:
    folder = shared / "museum-2022"
    index = build_index(folder / "BBDD", "neural", work / "museum.lookalike")
    worked = time.process_time()
    chosen = select_rerank(index, on_note=print)
    facts: dict[str, Any] = {
        "chosen": chosen.method,
        "figures": chosen.figures,
        "held_out": chosen.held_out,
        "processor_seconds": time.process_time() - worked,
    }
    shape = tuple(index.manifest.shape)
    for title, asked in photographs(folder, index).items():
        descriptors = index.encoder.encode(np.stack([fit_to(image, shape) for image, _ in asked]))
        facts[title] = {"queries": len(asked)}
        for method in ("none", "auto"):
            ranked = rerank(index, method, descriptors, 1, picture=lambda i, asked=asked: asked[i][0])
            hits = [float(r.rows[0] in right) for r, (_, right) in zip(ranked, asked, strict=True)]
            facts[title][method] = {"P@1": interval(np.array(hits))}
        print("auto", title, {m: facts[title][m]["P@1"] for m in ("none", "auto")}, flush=True)
    return facts


def museum(shared: Path, work: Path) -> dict[str, Any]:
    folder = shared / "museum-2022"
    index = build_index(folder / "BBDD", "neural", work / "museum.lookalike")
    paintings = [np.asarray(Image.open(folder / "BBDD" / name).convert("RGB")) for name in index.ids]
    queries = photographs(folder, index)
    rng = np.random.default_rng(2)
    for kind in ("turned", "noise", "text", "two"):
        queries[kind] = [damaged(kind, paintings, rng) for _ in range(DAMAGED)]
    facts: dict[str, Any] = {}
    for title, asked in queries.items():
        shape = tuple(index.manifest.shape)
        descriptors = index.encoder.encode(np.stack([fit_to(image, shape) for image, _ in asked]))
        facts[title] = {"queries": len(asked)}
        for method in ("none", "geometric"):
            worked = time.process_time()
            ranked = rerank(index, method, descriptors, 1, picture=lambda i, asked=asked: asked[i][0])
            hits = [float(r.rows[0] in right) for r, (_, right) in zip(ranked, asked, strict=True)]
            facts[title][method] = {"P@1": interval(np.array(hits))}
            if method == "geometric":
                pairs = sum(len(r.inliers) for r in ranked)
                facts[title][method] |= {
                    "verified": float(np.mean([max(r.inliers.values()) >= 7 for r in ranked])),
                    "pairs_a_query": pairs / len(asked),
                    "processor_ms_a_pair": 1000 * (time.process_time() - worked) / pairs,
                }
        print("museum", title, {m: facts[title][m]["P@1"][0] for m in ("none", "geometric")}, flush=True)
    return facts


def speed(work: Path, repeats: int = 30) -> dict[str, Any]:
    index = digits(work)
    queries = index.encoder.encode(open_collection("mnist:test[0:200]").array())
    database = index.database()
    begun = time.perf_counter()
    graph = prepare_diffusion(find_neighbours(database, index.descriptors))
    built = time.perf_counter() - begun
    methods: dict[str, Callable[[int], Any]] = {
        "plain": lambda i: database.nearest(queries[i : i + 1], 10),
        "diffusion": lambda i: rerank(index, made, queries[i : i + 1], 10),
    }
    made = create_reranker("diffusion", index)
    times: dict[str, list[float]] = {name: [] for name in methods}
    for i in range(repeats + 3):
        for name, ask in methods.items():
            begun = time.perf_counter()
            ask(i)
            times[name].append(1000 * (time.perf_counter() - begun))
    medians = {name: float(np.median(found[3:])) for name, found in times.items()}
    assert len(graph.neighbours) == 60_000
    facts = {
        "graph_seconds": built,
        "ms": times,
        "median_ms": medians,
        "ratio": medians["diffusion"] / medians["plain"],
    }
    print("speed", built, medians, flush=True)
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "lookalike-rerank")
    parts = ["mnist", "corel", "museum", "auto", "others-mnist", "others-corel", "speed"]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    run: dict[str, Callable[[], dict[str, Any]]] = {
        "mnist": lambda: mnist(options.work),
        "corel": lambda: corel(options.shared),
        "museum": lambda: museum(options.shared, options.work),
        "auto": lambda: auto(options.shared, options.work),
        "others-mnist": lambda: others_mnist(options.work),
        "others-corel": lambda: others_corel(options.shared),
        "speed": lambda: speed(options.work),
    }
    for part in options.only:
        keep("rerank", part, run[part]())


if __name__ == "__main__":
    main()
