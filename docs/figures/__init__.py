"""Which tables and values ``docs/tables.py`` writes into the docs, and where in ``benchmarks/results`` each figure is.

A line of a table is a label and what it selects; a column adds the rest. Together they must name exactly one row of a file.
"""

from __future__ import annotations

from tables import FactColumns, FactNames, Value, digits

from figures.article import ARTICLE
from figures.encoders import ENCODERS
from figures.libraries import LIBRARIES
from figures.selection import SELECTION
from figures.speed import SPEED

TABLES = ENCODERS | SELECTION | SPEED | ARTICLE | LIBRARIES | {"facts": FactColumns()}
_HOG_ON_MNIST = {"collection": "MNIST", "encoder": "hog deskew", "metric": "mAP"}
VALUES = {
    "facts": FactNames(),
    "adapt-nearest": Value("adapt", [{**_HOG_ON_MNIST, "aim": ""}, {**_HOG_ON_MNIST, "aim": "nearest"}], digits(3)),
    "adapt-category": Value("adapt", [{**_HOG_ON_MNIST, "aim": "category"}], digits(3)),
    "diffusion": Value("rerank", [{"run": "category", "method": m, "metric": "mAP"} for m in ("plain", "diffusion")], digits(3)),
    "wall": Value("rerank", [{"run": "museum", "queries": "wall", "method": m, "metric": "P@1"} for m in ("plain", "geometric")], digits(2)),
}  # fmt: skip
