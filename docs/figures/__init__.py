"""Which tables and values ``docs/tables.py`` writes into the docs, and where in ``benchmarks/results`` each figure is.

A line of a table is a label and what it selects; a column adds the rest. Together they must name exactly one row of a file.
"""

from __future__ import annotations

from tables import FactColumns, FactNames, Value, digits

from figures.article import ARTICLE
from figures.choices import CHOICES, Choices
from figures.encoders import ENCODERS, TWELVE
from figures.libraries import LIBRARIES
from figures.lines import Falls, percent
from figures.selection import SELECTION
from figures.sight import LABELS, marked
from figures.speed import SPEED

TABLES = marked(
    ENCODERS
    | SELECTION
    | SPEED
    | ARTICLE
    | LIBRARIES
    | {"facts": FactColumns()}
    | {name: Choices(some) for name, some in CHOICES.items()}
)
VALUES = {
    "facts": FactNames(),
    "default-post": Value("mnist-scores", [{"encoder": e, "metric": "mAP"} for e in ("hog, deskewed", "hog, deskewed, default post-processing")], digits(3), sign=LABELS),
    "diffusion": Value("rerank", [{"run": "mnist", "method": m, "metric": "mAP"} for m in ("plain", "diffusion")], digits(3), sign=LABELS),
    "wall": Value("rerank", [{"run": "museum", "queries": "wall", "method": m, "metric": "P@1"} for m in ("plain", "geometric")], digits(2), sign=LABELS),
    "wall-seconds": Value("nothing", [{"run": "museum qsd2_w1, neural, geometric", "metric": "seconds a query"}], digits(1)),
    "geometric-seconds": Value("nothing", [{"run": f"museum {q}, neural, geometric", "metric": "seconds a query"} for q in ("qsd1_w1", "qsd2_w1")], digits(1), " and "),
    "article-noisy": Value("article", [{"queries": "noisy queries", "distance": "cosine", "setting": "mean of the seeds, and the least and greatest", "metric": "P@1"}], digits(3)),
    "post-falls": Falls("eyes", "P@1", {"encoder": "pair", "recipe": "centred"}, {"encoder": "pair", "recipe": "mutual neighbours"}, TWELVE),
    "half-first": Value("eyes", [{"collection": "mean of the twelve", "encoder": "pair", "metric": "P@1", "recipe": r} for r in ("mutual neighbours", "mutual neighbours, of half")], digits(3), " and ", sign=LABELS),
    "half-map": Value("eyes", [{"collection": "mean of the twelve", "encoder": "pair", "metric": "mAP", "recipe": r} for r in ("mutual neighbours", "mutual neighbours, of half")], digits(3), " and ", sign=LABELS),
    "held": Value("candidates-left-out", [{"aim": aim, "metric": "share of intervals that hold the truth"} for aim in ("nearest", "category")], percent, " and "),
    "held-within": Value("candidates-left-out-adapt", [{"aim": aim, "metric": "share of intervals that hold the truth"} for aim in ("nearest", "category")], percent, " and "),
}  # fmt: skip
