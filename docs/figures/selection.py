"""Figures of docs/adapt.md, ranking.md, robustness.md and searching.md."""

from __future__ import annotations

from tables import Column, Table, cell, digits, interval, table_of

from figures.encoders import TWELVE
from figures.lines import gained, metrics, spread, yes_or_no

_MEAN = "mean (least to greatest)"


def _left_out(name: str, *more: tuple[str, str]) -> Table:
    """Return what choices were worth, by collection and aim, each collection left out in turn."""
    titles = {"nearest": ("loss", "gain", "best gain"), "category": ("loss", "gain", "best gain", "gain of P@1")}
    collections = dict.fromkeys(row["collection"] for row in table_of(name).rows)
    lines = [(_MEAN, {"collection": _MEAN}), *((c, {"collection": c}) for c in collections if c != _MEAN)]
    columns = [
        Column(
            f"`{aim}`: {title}",
            {"aim": aim, "metric": metric},
            spread("+.3f" if "gain" in title else ".3f" if title == "loss" else ".2f"),
            True,
        )
        for aim, of_aim in titles.items()
        for title, metric in (*((m, m) for m in of_aim), *more)
    ]
    return Table(name, "collection", lines, columns)


_FOLDS = {"collection": "Corel-1k, ten folds"}
_DIFFUSIONS = (("plain", "plain", "plain"), ("`diffusion:alpha=0.9`", "diffusion:alpha=0.9", ""), ("`diffusion:alpha=0.99`", "diffusion:alpha=0.99", "diffusion"),
               ("`diffusion:alpha=0.998`", "diffusion:alpha=0.998", "diffusion:alpha=0.998"))  # fmt: skip
_WAYS = ("as it is", "blurred", "--denoise auto", "--denoise tutorial")
_PAINTINGS = (("photographed on a wall (qsd2)", "wall"), ("cut out of a photograph (qsd1)", "crops"), ("turned by any angle", "turned"),
              ("noise", "noise"), ("text over it", "text"), ("two in one photo", "two"))  # fmt: skip
_ASKED = (
    ("museum qsd1_w1", "default"), ("museum qsd2_w1", "default"), ("corel1k", "default"), ("mnist 20,000", "default"),
    ("museum qsd1_w1", "neural"), ("museum qsd2_w1", "neural"), ("museum qsd1_w1", "neural, geometric"), ("museum qsd2_w1", "neural, geometric"),
    ("museum qsd1_w1", "neural+color"), ("museum qsd2_w1", "neural+color"), ("museum qsd1_w1", "sift"), ("museum qsd2_w1", "sift"),
    ("corel1k", "color"), ("corel1k", "neural"), ("mnist 20,000", "hog"), ("mnist 20,000", "hog, asked by photos"),
)  # fmt: skip
_THERE, _GONE = "its answers are there", "its answers are taken away"

SELECTION = {
    "candidates": _left_out(
        "candidates-left-out",
        ("rank correlation between encoders", "rank correlation between encoders"), ("within", "rank correlation within"),
    ),
    "candidates-adapt": _left_out("candidates-left-out-adapt", ("rank correlation", "rank correlation within")),
    "default": Table(
        "mnist-scores", "MNIST, all 10,000 test digits",
        [("`hog` with `deskew`, unchanged", {"encoder": "hog, deskewed"}), ("the same, default post-processing", {"encoder": "hog, deskewed, default post-processing"})],
        [Column("recipe", {"metric": "mAP"}, cell("recipe")), Column("d", {"metric": "dimension"}, digits(0)), *metrics(("mAP", "P@1"), interval(3))],
    ),
    "rerank-mnist": Table(
        "rerank", "MNIST, 60,000 asked by all 10,000 test digits; `hog` with `deskew`, default post-processing",
        [("plain", {"method": "plain"}), ("`diffusion`", {"method": "diffusion"}), ("`diffusion:alpha=0.99`", {"method": "diffusion:alpha=0.99"}), ("diffusion:alpha=0.998, which the self-test chose", {"method": "diffusion:alpha=0.998"})],
        metrics(("mAP", "P@1", "LRAP@1000"), interval(4), run="mnist"),
    ),
    "rerank-corel": Table(
        "rerank", "Corel-1k, ten folds of 100 queries and 900 photos",
        [(title, {**_FOLDS, "method": method, "run": "corel"}) for title, method, _ in _DIFFUSIONS],
        [Column(f"{title}: {m}", {"recipe": recipe, "metric": m}, interval(3)) for title, recipe in (
            ("neural", "unchanged"), ("centred", "centred")) for m in ("mAP", "P@1")],
    ),
    "rerank-others": Table(
        "rerank", "method", [("plain", {"method": "plain"}), *((f"`{m}`", {"method": m}) for m in ("query-expansion", "alpha-query-expansion", "k-reciprocal", "multi-view"))],
        [Column(f"Corel-1k, neural: {m}", {"run": "others-corel", "recipe": "unchanged", "metric": m}, interval(3)) for m in ("mAP", "P@1")],
    ),
    "rerank-paintings": Table(
        "rerank", "287 museum paintings, neural, 30 queries each", [(title, {"queries": name}) for title, name in _PAINTINGS],
        [Column("P@1, plain", {"run": "museum", "method": "plain", "metric": "P@1"}, interval(2)),
         Column("P@1, geometric", {"run": "museum", "method": "geometric", "metric": "P@1"}, digits(2)),
         Column("verified", {"run": "museum", "method": "geometric", "metric": "verified"}, digits(2)),
         Column("pairs a query", {"run": "museum", "method": "geometric", "metric": "pairs a query"}, digits(0)),
         Column("processor ms a pair", {"run": "museum", "method": "geometric", "metric": "processor ms a pair"}, digits(1)),
         Column("P@1, auto", {"run": "auto", "method": "auto", "metric": "P@1"}, digits(2), True)],
    ),
    "rerank-auto": Table(
        "rerank", "287 museum paintings, by the self-test",
        [(f"`{m}`" if m != "plain" else m, {"run": "auto", "method": m}) for m in (
            "plain", "alpha-query-expansion", "diffusion:alpha=0.9", "diffusion:alpha=0.99", "diffusion:alpha=0.998", "k-reciprocal", "geometric")],
        [Column(title, {"metric": f"self-test: {m}"}, digits(3)) for m, title in (("first hit", "first hit"), ("kind", "similarity of related lists"))],
    ),
    "rerank-speed": Table(
        "rerank", "60,000 x 113, one query", [("plain", {"method": "plain"}), ("`diffusion`", {"method": "diffusion"})],
        [Column("ms", {"run": "speed", "metric": "ms a query"}, interval(1))], "Medians (least to greatest).",
    ),
    "noise": Table(
        "noise", "MNIST's 60,000 asked by test digits with noise 0.5: P@1",
        [(title, {"encoder": e}) for title, e in (
            ("pixels", "pixels"), ("hog, deskewed", "hog, deskewed"), ("autoencoder of the demo", "autoencoder"))],
        [Column(f"`{w}`" if w.startswith("--") else w, {"noise": "0.5", "method": w, "metric": "P@1"}, interval(3)) for w in _WAYS],
    ),
    "noise-all": Table(
        "noise", "the same, by all 10,000: P@1", [("hog, deskewed", {"encoder": "hog, deskewed"})],
        [Column(f"`{w}`" if w.startswith("--") else w, {"noise": "0.5", "method": w, "metric": "P@1 of all 10,000"}, interval(3)) for w in _WAYS if w != "blurred"],
    ),
    "noise-levels": Table(
        "noise noise-ranking", "noise of the query", [(n.removesuffix(".0"), {"noise": n, "encoder": "hog, deskewed"}) for n in ("0.0", "0.1", "0.25", "0.5", "0.75", "1.0")],
        [Column(f"{m}, {f'`{w}`' if w.startswith('--') else w}", {"method": w, "metric": m, **({} if m == "P@1" else {"study": "noise-ranking"})}, digits(3))
         for m in ("P@1", "mAP", "LRAP@10") for w in ("as it is", "--denoise auto", "--denoise tutorial")],
    ),
    "noise-quality": Table(
        "noise", "1,000 test digits: PSNR, dB", [(n, {"noise": n}) for n in ("0.1", "0.25", "0.5", "0.75", "1.0")],
        [Column(f"`{w}`" if w.startswith("--") else w, {"method": w, "metric": "PSNR of queries, dB"}, digits(1)) for w in _WAYS],
    ),
    "nothing": Table(
        "nothing", "query, encoder", [(f"{q}, {e}", {"run": f"{q}, {e}"}) for q, e in _ASKED],
        [Column("queries", {"metric": "nothing like it", "setting": _GONE}, cell("n")),
         *(Column(f"{title}: {where}", {"metric": metric, "setting": setting}, interval(2), True) for title, metric in (
             ("rejected", "nothing like it"), ("gap", "any gap"), ("first verified", "first verified"))
           for where, setting in (("answers in the index", _THERE), ("answers filtered away", _GONE))),
         Column("gaps are told", {"metric": "gaps are told"}, yes_or_no, True),
         Column("area under ROC of the gap", {"metric": "area under ROC of the gap"}, interval(2), True),
         Column("seconds a query", {"metric": "seconds a query"}, digits(1), True)],
    ),
    "nothing-views": Table(
        "nothing", "encoder", [(title, {"run": run}) for title, run in (
            ("museum paintings, default", "museum qsd1_w1, default"), ("corel1k, default", "corel1k, default"), ("mnist 20,000, default", "mnist 20,000, default"),
            ("museum paintings, neural", "museum qsd1_w1, neural"), ("museum paintings, neural+color", "museum qsd1_w1, neural+color"),
            ("museum paintings, sift", "museum qsd1_w1, sift"), ("corel1k, color", "corel1k, color"), ("corel1k, neural", "corel1k, neural"),
            ("mnist 20,000, hog", "mnist 20,000, hog"))],
        [*(Column(f"{title}: {way}", {"metric": metric, "method": way}, digits(2), True) for title, metric in (
            ("wrongly rejected", "silent though there"), ("rightly rejected", "silent, taken away"), ("stand out", "stands out"))
           for way in ("in a scene", "in part")),
         Column("reason 2 is used", {"metric": "silence is believed"}, yes_or_no), Column("gaps are told", {"metric": "gaps are told"}, yes_or_no, True)],
    ),
    "nothing-labelled": Table(
        "nothing-labelled", "default encoder and post-processing, 60 queries each", [(name, {"queries": name}) for name in TWELVE],
        [*(Column(f"{title}: {where}", {"metric": metric, "setting": setting}, interval(2)) for title, metric in (
            ("rejected", "nothing like it"), ("gap", "any gap"))
           for where, setting in (("answers in the index", _THERE), ("answers filtered away", _GONE))),
         Column("gaps are told", {"metric": "gaps are told"}, yes_or_no),
         Column("area under ROC of the gap", {"metric": "area under ROC of the gap"}, interval(2)),
         Column("reason 2 is used", {"metric": "silence is believed"}, yes_or_no)],
    ),
    "verified": Table(
        "verified", "collection", [(name, {"collection": name}) for name in (*TWELVE, "corel1k", "museum")],
        [*(Column(f"{title}, {n}", {"metric": metric, "setting": f"{n} inliers"}, form) for title, metric, form in (
            ("recognised", "recognised", digits(2)), ("others, per 1,000", "mistaken", digits(1, 1000))) for n in (5, 7, 10)),
         Column("most inliers of another", {"metric": "most inliers of another"}, digits(0))],
    ),
    "diffusion-again": Table(
        "diffusion", "collection", [(name, {"collection": name, "setting": ""}) for name in (*TWELVE, "corel1k")],
        [Column(f"{title}: {m}", {"method": method, "metric": m}, digits(3)) for title, method in (
            ("plain", "plain"), ("alpha 0.99", "before"), ("alpha 0.95", "now"), ("chosen without it", "chosen without it")) for m in ("P@1", "mAP")]
        + [Column("what was chosen", {"method": "chosen without it", "metric": "mAP"}, cell("note"))],
    ),
    "words": Table(
        "words", "names of folders, asked for", [(f"{name}, {n} words", {"collection": name, "queries": "mean of the words"}) for name, n in (
            ("corel1k", 8), ("imagenette", 10), ("cifar10", 10), ("corel80", 39), ("stamps", 11))],
        [Column("P@10", {"metric": "P@10"}, interval(2)), Column("average precision", {"metric": "AP"}, interval(2))],
    ),
    "diffusion-first": Table(
        "diffusion-first", "collection", [(name, {"collection": name}) for name in (
            *TWELVE, "corel1k", *(f"{n}, {few} of a kind" for n in ("cars", "corel80", "fruit-shapes", "stamps") for few in (2, 4)))],
        [Column(f"{title}: {m}", {"method": method, "metric": m}, digits(3)) for title, method in (
            ("plain", "plain"), ("diffusion alone", "alone"), ("the first stays", "first stays")) for m in ("P@1", "mAP")],
    ),
    "diffusion-growth": Table(
        "diffusion-growth", "digits", [(f"{n:,}", {"collection": f"MNIST, {n:,} digits"}) for n in (1000, 2000, 6000, 20000, 59600)],
        [*(Column(f"mAP: {setting}", {"metric": "mAP", "setting": setting}, digits(3)) for setting in (
            "plain", "alpha 0.95", "alpha 0.98", "alpha 0.99", "alpha 0.995", "now")),
         Column("which goes by", {"metric": "mAP", "setting": "now"}, cell("note"))],
    ),
    "diffusion-gains": Table(
        "diffusion", "mean of the twelve", [(title, {"setting": setting}) for title, setting in (
            ("alpha 0.99, until November 2026, less plain", "before, less plain"), ("alpha 0.95, now, less plain", "now, less plain"),
            ("chosen without the collection, less plain", "chosen without it, less plain"),
            ("chosen without the collection, less alpha 0.99", "chosen without it, less before"))],
        [*(Column(m, {"collection": "mean of the twelve", "metric": m}, gained) for m in ("P@1", "mAP")),
         *(Column(f"{m}, the worst of the twelve", {"collection": "mean of the twelve", "metric": m}, lambda row: row["note"].removeprefix("least ")) for m in ("P@1", "mAP"))],
    ),
}  # fmt: skip
