"""Which figures are marked, as labels were in sight when what decides them was chosen: docs/choices.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tables import Rendered, Table

LABELS, TRAINING = "†", "‡"
_ALL = {"*": LABELS}
_MUSEUM_APART = {"museum paintings, cut out of a photo": "", "museum paintings, on a wall": "", **_ALL}
_HOG = ("`hog`", "`hog`, `deskew`", "`hog`, 392-d", "`hog --deskew`, 392-d", "hog", "hog, deskew", "hog, deskewed")
_GLYPHS = dict.fromkeys(_HOG, TRAINING)

#: Table -> label -> sign; ``*`` for all other labels.
SIGHT: Mapping[str, Mapping[str, str]] = {
    "eyes-map": _MUSEUM_APART,
    "eyes-first": _MUSEUM_APART,
    "eyes-half": _MUSEUM_APART,
    "default": _ALL,
    "codes": {"`hog` with `deskew`": TRAINING, "`hashing` over it, 256 bits": TRAINING, **_ALL},
    "candidates": _ALL,
    "candidates-adapt": _ALL,
    "glyphs": _GLYPHS,
    "hog": _GLYPHS,
    "article-beside": _GLYPHS,
    "noise": _GLYPHS,
    "noise-all": _GLYPHS,
    "noise-levels": {"*": TRAINING},
    "paintings": {"color": LABELS},
    "deep-photos": {"color": LABELS},
    "neural": {"fastdup": "", **_ALL},
    "rerank-mnist": _ALL,
    "rerank-corel": {"plain": "", **_ALL},
    "rerank-paintings": _ALL,
    "rerank-auto": _ALL,
    "nothing": _ALL,
    "nothing-labelled": _ALL,
    "nothing-views": _ALL,
    "diffusion-again": {"corel1k": LABELS},
    "diffusion-gains": {"alpha 0.95, now, less plain": LABELS},
    "diffusion-growth": _ALL,
    "words": {
        f"{name} words": LABELS for name in ("corel1k, 8", "imagenette, 10", "cifar10, 10", "corel80, 39", "stamps, 11")
    },
    "verified": {"museum": LABELS},
}


def marked(tables: Mapping[str, Rendered]) -> dict[str, Rendered]:
    """Return the tables with their signs."""
    unknown = SIGHT.keys() - tables.keys()
    if unknown:
        raise SystemExit(f"docs/figures/sight.py: no table {', '.join(sorted(unknown))}")
    return {
        name: replace(table, signs=SIGHT[name]) if isinstance(table, Table) and name in SIGHT else table
        for name, table in tables.items()
    }
