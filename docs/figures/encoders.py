"""Figures of docs/encoders.md."""

from __future__ import annotations

from typing import Any

from tables import Column, Table, cell, digits, interval, significant

from figures.lines import Lines, metrics, named, number_of

TWELVE = (
    "cars", "chinese-paintings", "cifar10", "coil20", "corel80", "flowers5", "fruit-shapes", "imagenette", "quickdraw6", "stamps",
    "textures", "usps",
)  # fmt: skip
_EYES: Lines = [
    ("**mean of the twelve**", {"collection": "mean of the twelve"}),
    *((name, {"collection": name}) for name in TWELVE),
    ("Corel-1k", {"collection": "corel1k"}),
    ("museum paintings, cut out of a photo", {"collection": "museum, qsd1_w1"}),
    ("museum paintings, on a wall", {"collection": "museum, qsd2_w1"}),
    ("MNIST, 60,000 digits, 2,000 queries", {"collection": "mnist"}),
]  # fmt: skip
_STEPS = (
    ("Lite0, centred (until November 2026)", "Lite0", "centred"), ("`fast`, mutual neighbours", "fast", "mutual neighbours"),
    ("`neural`, centred", "pair", "centred"), ("`neural`, mutual neighbours", "pair", "mutual neighbours"),
    ("`hog`, mutual neighbours", "hog", "mutual neighbours"), ("`hog:deskew=true`, mutual neighbours", "hog, deskewed", "mutual neighbours"),
    ("what is taken (elsewhere in bold)", "what is taken", ""),
)  # fmt: skip


def _taken(row: Any) -> str:
    """Write an interval, in bold where it is what is taken."""
    return f"**{interval(3)(row)}**" if row["note"] else interval(3)(row)


def _eyes(metric: str) -> Table:
    columns = [Column(t, {"encoder": e, "recipe": r, "metric": metric}, _taken, True) for t, e, r in _STEPS]
    return Table("eyes", metric, _EYES, columns)


_MNIST_ALL: dict[str, Any] = {"collection": "MNIST, 60,000 digits"}
_CODES = (("mAP", interval(3)), ("P@1", interval(3)), ("LRAP@1000", interval(3)))
_MUSEUM = [
    Column(f"P@1, {title}", {"metric": "P@1", "collection": "287 paintings", "queries": title}, interval(2))
    for title in ("crops", "on a wall")
]

ENCODERS = {
    "costs": Table(
        "costs", "encoder",
        [(f"`{n}`" if " " not in n else n, {"encoder": n}) for n in (
            "pixels", "hog", "hog deskew", "itq over hog", "color", "neural", "neural, fast", "sift, VLAD", "surf, VLAD")],
        [Column("image", {"metric": "bytes an image"}, cell("setting")),
         Column("processor ms an image", {"metric": "processor ms an image"}, significant(2)),
         Column("dimension", {"metric": "dimension"}, digits(0)), Column("bytes", {"metric": "bytes an image"}, digits(0))],
    ),
    "paintings": Table(
        "costs", "287 paintings, 30 queries each",
        [(n, {"encoder": n}) for n in (
            "sift, VLAD", "sift, bag of words", "surf, VLAD", "surf, bag of words", "neural", "color", "hog, 64 x 64", "pixels, 64 x 64")],
        _MUSEUM,
    ),
    "eyes-map": _eyes("mAP"),
    "eyes-first": _eyes("P@1"),
    "eyes-half": Table(
        "eyes", "`neural`", [line for line in _EYES if line[1]["collection"] not in ("mnist",)],
        [Column(f"{title}: {m}", {"encoder": "pair", "recipe": recipe, "metric": m}, digits(3))
         for title, recipe in (("centred", "centred"), ("learnt from all", "mutual neighbours"), ("learnt from half", "mutual neighbours, of half"))
         for m in ("P@1", "mAP")],
    ),
    "glyphs": Table(
        "mnist-scores", "all 10,000 test digits of MNIST, cosine", [("`pixels`", {"encoder": "pixels"}), ("`hog`", {"encoder": "hog"}),
         ("`hog`, `deskew`", {"encoder": "hog, deskewed"})],
        metrics(("P@1", "mAP", "LRAP@1000"), interval(3)),
    ),
    "deep": Table(
        "autoencoder", "MNIST, `deep`, all 10,000 test digits",
        [("as it is", {"recipe": "unchanged"})],
        [Column("d", {**_MNIST_ALL, "metric": "dimension"}, digits(0)),
         *metrics(("mAP", "P@1", "LRAP@1000"), interval(3), **_MNIST_ALL)],
    ),
    "deep-photos": Table(
        "autoencoder", "Corel-1k, each photo asks the others", named("encoder", "deep", "tutorial", "pixels", "hog", "color", "neural"),
        [Column("d", {"collection": "Corel-1k", "metric": "dimension"}, digits(0)),
         Column("processor seconds to fit", {"collection": "Corel-1k", "metric": "processor seconds to fit"}, digits(1)),
         *metrics(("mAP", "P@1", "P@20"), interval(3), collection="Corel-1k")],
    ),
    "contrastive": Table(
        "contrastive", "MNIST, all 10,000 test digits",
        [(f"{title}, {epochs}", {"setting": epochs, "noise": noise}) for title, noise in (("as it is", ""), ("noisy queries", "0.5"))
         for epochs in ("14 epochs", "84 epochs")],
        [*metrics(("mAP", "P@1", "LRAP@1000"), interval(3), **_MNIST_ALL),
         Column("minutes to train, by the clock", {"metric": "seconds to train"}, digits(0, 1 / 60), True)],
    ),
    "contrastive-photos": Table(
        "contrastive", "Corel-1k, each photo asks the others",
        [(epochs, {"setting": epochs}) for epochs in ("18 epochs", "148 epochs")],
        [*metrics(("mAP", "P@1", "P@20"), interval(3), collection="Corel-1k"),
         Column("minutes to train, by the clock", {"metric": "seconds to train"}, digits(0, 1 / 60))],
    ),
    "contrastive-pilot": Table(
        "contrastive-pilot", "10,000 training digits, 8 epochs",
        [(s.replace("rate .", "learning rate 0."), {"setting": s}) for s in (
            "simclr, temperature 0.2, rate .003", "simclr, temperature 0.2, rate .003, 1024 compared", "simclr, temperature 0.5, rate .003",
            "vicreg, rate .003", "vicreg, rate .001", "vicreg, rate .001, 1024 compared")],
        [Column(m, {"metric": f"self-test: {m}", "recipe": "unchanged"}, digits(3)) for m in ("self-retrieval MRR", "category precision@5%")],
    ),
    "codes": Table(
        "codes", "MNIST, 60,000 digits",
        [("`hog` with `deskew`", {"encoder": "hog, deskewed", "study": "mnist-scores"}),
         *((f"`itq` over it, {b} bits", {"encoder": f"itq, {b} bits", "recipe": "hog deskew, unchanged"}) for b in (28, 64, 256)),
         ("`hashing` over it, 256 bits", {"encoder": "hashing, 256 bits", "recipe": "hog deskew, unchanged"}),
         ("`hog` with `deskew`, default post-processing", {"encoder": "hog, deskewed, default post-processing", "study": "mnist-scores"}),
         *((f"`itq` over that, {b} bits", {"encoder": f"itq, {b} bits", "recipe": "hog deskew, mutual neighbours"})
           for b in (28, 64, 256))],
        [*(Column(m, {"metric": m}, f) for m, f in _CODES), Column("queries", {"metric": "mAP"}, number_of),
         Column("processor seconds to fit", {"metric": "processor seconds to fit"}, digits(1), True)],
    ),
}  # fmt: skip
