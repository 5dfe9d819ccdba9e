"""Figures of docs/article.md."""

from __future__ import annotations

from tables import Column, Table, digits, interval

from figures.lines import spanned

_CURVE = ("LRAP@10", "LRAP@100", "LRAP@1000", "LRAP@10000", "LRAP@60000")
_MEAN = "mean of the seeds, and the least and greatest"
_CLEAN = {"queries": "clean queries"}

ARTICLE = {
    "article": Table(
        "article", "Euclidean; LRAP by scikit-learn's convention",
        [("the author's own trained weights", {"encoder": "the author's weights, typed in"}),
         *((f"seed {n}", {"setting": f"seed {n}", **_CLEAN, "distance": "euclidean"}) for n in (0, 1, 2)),
         ("mean of the three", {"setting": _MEAN, **_CLEAN, "distance": "euclidean"}),
         ("standard deviation", {"setting": "standard deviation of the seeds", **_CLEAN, "distance": "euclidean"})],
        [Column("1-NN", {"metric": "P@1"}, digits(4)), *(Column(m, {"metric": f"{m}, scikit-learn"}, digits(4)) for m in _CURVE)],
    ),
    "article-ways": Table(
        "article", "mean of the three seeds",
        [(f"{q}, {d}", {"queries": f"{q} queries", "distance": d, "setting": _MEAN}) for q in ("clean", "noisy") for d in ("euclidean", "cosine")],
        [Column("1-NN", {"metric": "P@1"}, spanned(3)), *(Column(m, {"metric": m}, digits(3)) for m in _CURVE), Column("mAP", {"metric": "mAP"}, spanned(3))],
        "In brackets the least and the greatest seed; LRAP is ours, a query with nothing found scores 0.",
    ),
    "article-beside": Table(
        "article", "cosine, all 10,000 test digits",
        [("the article's network, mean of the three seeds", {"setting": _MEAN, **_CLEAN, "distance": "cosine"}),
         *((title, {"study": "mnist-scores", "encoder": name}) for title, name in (
             ("`pixels`, 784-d", "pixels"), ("`hog`, 392-d", "hog"), ("`hog --deskew`, 392-d", "hog, deskewed")))],
        [Column("1-NN", {"metric": "P@1"}, interval(3)), *(Column(m, {"metric": m}, digits(3)) for m in _CURVE[:4]), Column("mAP", {"metric": "mAP"}, interval(3))],
        "In brackets the least and the greatest seed, and the 95 % interval.",
    ),
    "article-euclidean": Table(
        "article scoring", "Euclidean, all 10,000 test digits",
        [("the article's network, mean of the three seeds", {"setting": _MEAN, **_CLEAN, "distance": "euclidean"}),
         ("`pixels`, 784-d", {"study": "scoring", "encoder": "pixels, 784-d"})],
        [Column("1-NN", {"metric": "P@1"}, digits(3)), *(Column(m, {"metric": m}, digits(3)) for m in _CURVE[:4]), Column("mAP", {"metric": "mAP"}, digits(3))],
    ),
}  # fmt: skip
