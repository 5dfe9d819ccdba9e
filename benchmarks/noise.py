"""Search by noisy digits, with and without denoising: MNIST's 60,000 asked by its test digits.

    lookalike demo -o demo && python benchmarks/noise.py --demo demo

Gaussian noise is added to the queries only and the sum is clipped to 0..1. Ways to ask: the noisy image as it is;
blurred; restored by the collection (closed form, the noise estimated for each image, `--denoise auto`); denoised by the
autoencoder 'tutorial' that `lookalike demo` trained (with noise of 0.5 and no label). Encoders: raw pixels, deskewed HOG,
the same with the default post-processing, the autoencoder 'article'. All scores over a draw of the
test queries at each noise; P@1 over all 10,000 at 0.5. Labels only score. How the collection's denoiser is set (kin,
rounds) was chosen by the squared error on training digits held out, which takes no label either. Raw results, with 95 %
bootstrap intervals, go to runs/noise/, rows to results/noise.csv and noise-ranking.csv, the figure to ../docs/images/noise.png.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from study import keep

from lookalike import create_encoder, load_encoder, open_collection
from lookalike.encoders.base import Encoder
from lookalike.metrics.bootstrap import bootstrap_interval
from lookalike.metrics.scores import score
from lookalike.neighbors.exact import Database
from lookalike.reports import figures
from lookalike.reports.drawing import INK, MUTED, blank_figure, chart_axes, headline, line_style
from lookalike.search.restore import denoise
from lookalike.selection.adapt import with_recipe
from lookalike.selection.recipes import DEFAULT
from lookalike.transforms.augmentations import augment
from lookalike.transforms.noise import add_noise, quality
from lookalike.transforms.restorer import Restorer

Images = NDArray[np.uint8]
NOISE = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
GOAL_AT = 0.5
#: What all 10,000 queries are asked with, for P@1; the others cost minutes and are far below.
ALL_BY = ("hog, deskewed", "hog, deskewed, default post-processing")
METRICS = ("P@1", "mAP", "LRAP@10")


def cleaned(noisy: Images, restorer: Restorer, autoencoder: Encoder) -> tuple[dict[str, Images], dict[str, Any]]:
    """Return the queries in every way, and what it took."""
    begun = time.process_time()
    restored = restorer.restore(noisy)
    seconds = {"by the collection": time.process_time() - begun}
    begun = time.process_time()
    by_network = denoise(autoencoder, noisy)
    seconds["by an autoencoder"] = time.process_time() - begun
    ways = {
        "as it is": noisy,
        "blurred": augment(noisy, {"blur": 1 / 28}, exact=True),
        "by the collection": restored.images,
        "by an autoencoder": by_network,
    }
    found, count = np.unique(np.array(restored.levels, float), return_counts=True)
    return ways, {
        "processor_ms_each": {way: 1e3 * s / len(noisy) for way, s in seconds.items()},
        "levels_found": dict(zip(map(str, found), count.tolist(), strict=True)),
    }


def first_answers(
    database: Database, labels: NDArray[Any], asked: NDArray[np.float32], wanted: NDArray[Any]
) -> list[float]:
    seen = np.flatnonzero(asked.any(axis=1))  # a blank one finds nothing
    right = np.zeros(len(asked))
    right[seen] = labels[database.nearest(asked[seen], 1)[0][:, 0]] == wanted[seen]
    return [float(right.mean()), *bootstrap_interval(right)]


def noise_curves(
    curves: Mapping[str, Mapping[str, Sequence[tuple[float, float, tuple[float, float]]]]], title: str
) -> Any:
    """Draw a score against the noise of the query: a chart an encoder, a line a way to denoise.

    Parameters
    ----------
    curves : mapping of str to mapping of str to sequence of (noise, score, (low, high))
        For each encoder and way to denoise its points, by rising noise, with their intervals.
    title : str
        What the height of a line is.

    Returns
    -------
    Figure
        Three charts a line, one legend above them.

    """
    across, side = min(3, len(curves)), 2.5
    ways = list(dict.fromkeys(way for of_encoder in curves.values() for way in of_encoder))
    lines, top = -(-len(curves) // across), 0.75 + 0.22 * ((len(ways) - 1) // 3)
    width, height = max(5.0, across * side + 0.2), top + lines * side
    figure = blank_figure(width, height)
    headline(figure, title)
    drawn: dict[str, Any] = {}
    for place, (encoder, of_encoder) in enumerate(curves.items()):
        down, right = divmod(place, across)
        left, bottom = 0.42 + right * side, height - top - (down + 1) * side + 0.62
        ax = chart_axes(figure, left, bottom, side - 0.55, side - 1.0)
        ax.set_ylim(0, 1.03)
        ax.set_title(encoder, size=9, color=INK, loc="left", parse_math=False)
        ax.set_xlabel("standard deviation of the noise, of 0..1", size=6.5, color=MUTED)
        for way, points in of_encoder.items():
            style = line_style(ways.index(way)) | {"ms": 4, "lw": 1.4}
            noise = [p[0] for p in points]
            (line,) = ax.plot(noise, [p[1] for p in points], label=way, **style)
            low, high = np.transpose([p[2] for p in points])
            ax.fill_between(noise, low, high, color=style["color"], alpha=0.16, lw=0)
            drawn.setdefault(way, line)
    anchor = (0.06 / width, 1 - 0.28 / height)
    figure.legend(
        handles=[*drawn.values()], loc="upper left", bbox_to_anchor=anchor, ncols=3, frameon=False, fontsize=8
    )
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, required=True, help="the folder that lookalike demo made")
    parser.add_argument("--queries", type=int, default=1000, help="test digits at each noise; P@1 at 0.5 takes all")
    parser.add_argument("--figure", type=Path, default=Path(__file__).parents[1] / "docs" / "images" / "noise.png")
    options = parser.parse_args()
    train, test = open_collection("mnist:train"), open_collection("mnist:test")
    images, labels = train.array(), np.asarray(train.labels)
    every, wanted = test.array(), np.asarray(test.labels)
    some = np.sort(np.random.default_rng(0).permutation(len(every))[: options.queries])
    begun = time.process_time()
    restorer = Restorer().fit(images)
    fitting = time.process_time() - begun
    network = load_encoder(options.demo / "tutorial")
    deskewed = create_encoder("hog", deskew=True).fit(images)
    encoders = {
        "pixels": create_encoder("pixels").fit(images),
        "hog, deskewed": deskewed,
        "hog, deskewed, default post-processing": with_recipe(deskewed, images, DEFAULT),
        "autoencoder": load_encoder(options.demo / "article"),
    }
    databases = {name: Database(encoder.encode(images), encoder.distance) for name, encoder in encoders.items()}
    made: dict[str, Any] = {
        "queries": len(some),
        "restorer": {"form": restorer.form_, "processor_seconds_to_learn": fitting},
        "noise": {},
    }
    for noise in sorted(NOISE, key=lambda n: n != GOAL_AT):  # the goal's first
        full = noise == GOAL_AT
        rows = np.arange(len(every)) if full else some
        noisy = add_noise(every[rows], noise, seed=1) if noise else every[rows]
        ways, facts = cleaned(noisy, restorer, network)
        part = some if full else slice(None)
        facts["quality"] = {way: quality(shown[part], every[some]).to_json() for way, shown in ways.items()}
        facts["scores"] = {name: {} for name in encoders}
        for way, shown in ways.items():
            for name, encoder in encoders.items():
                asked = encoder.encode(shown)
                asked[~asked.any(axis=1)] = 1e-12  # blank: an arbitrary angle, not an error
                report = score(databases[name], labels, asked[part], wanted[some], cuts=[10]).report()
                found = {m: [report.metrics[m], *report.intervals[m]] for m in METRICS}
                if full and way != "blurred" and name in ALL_BY:
                    found["P@1 of all 10,000"] = first_answers(databases[name], labels, asked, wanted)
                facts["scores"][name][way] = found
                text = "  ".join(f"{m} {v[0]:.4f} [{v[1]:.4f}, {v[2]:.4f}]" for m, v in found.items())
                print(f"{noise:4} {name:24} {way:18} {text}", flush=True)
        made["noise"][str(noise)] = facts
        keep("noise", "noise", made, settings={"seed of the noise": 1})
    curves = {
        name: {
            way: [
                (n, s[way]["P@1"][0], tuple(s[way]["P@1"][1:]))
                for n in NOISE
                for s in [made["noise"][str(n)]["scores"][name]]
            ]
            for way in made["noise"]["0.0"]["scores"][name]
        }
        for name in encoders
    }
    figures.save(
        noise_curves(curves, "Share of first answers that are right, by the noise of the query"), options.figure
    )


if __name__ == "__main__":
    main()
