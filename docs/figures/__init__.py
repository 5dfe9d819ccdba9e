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
VALUES = {
    "facts": FactNames(),
    "default-post": Value("mnist-scores", [{"encoder": e, "metric": "mAP"} for e in ("hog, deskewed", "hog, deskewed, default post-processing")], digits(3)),
    "diffusion": Value("rerank", [{"run": "mnist", "method": m, "metric": "mAP"} for m in ("plain", "diffusion")], digits(3)),
    "wall": Value("rerank", [{"run": "museum", "queries": "wall", "method": m, "metric": "P@1"} for m in ("plain", "geometric")], digits(2)),
}  # fmt: skip
