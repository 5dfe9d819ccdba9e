"""Which figures stand in the docs, and where in ``benchmarks/results`` each is: the tables and values of ``docs/tables.py``.

A line of a table is a label and what it selects; a column adds the rest. Together they must name exactly one row of a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tables import Column, Form, Row, Table, Value, cell, digits, interval, times

Lines = list[tuple[str, Mapping[str, str]]]


def named(column: str, *values: str) -> Lines:
    """Return a line for each value of a column, labelled by it."""
    return [(value, {column: value}) for value in values]


def count(row: Row) -> str:
    """Write the number of queries, where the run recorded it."""
    return f"{int(row['n']):,}" if row["n"] else ""


def metrics(names: Sequence[str], form: Form, optional: bool = False, **where: str) -> list[Column]:
    """Return a column for each metric, headed by its name."""
    return [Column(name, {"metric": name, **where}, form, optional) for name in names]


# Encoders -------------------------------------------------------------------------------------------------------------

_COLLECTIONS = {
    "MNIST": "MNIST, 3,000 training digits asked by 300 others", "digits": "scikit-learn's digits, 8 x 8", "Corel-1k": "Corel-1k",
    "museum crops": "museum paintings, cut out of a photo", "museum wall": "museum paintings, on a wall",
    "emoji kinds": "emoji, by kind", "emoji vendors": "emoji, asked by another vendor's",
    "textures": "textures: cuttings from 16 pictures", "letters": "letters in 24 fonts",
}  # fmt: skip
_IN_GREY = ("Corel-1k", "emoji kinds", "emoji vendors", "textures")
_USUAL: Lines = []
for _name, _title in _COLLECTIONS.items():
    _USUAL.append((_title, {"collection": _name, "setting": "as it is"}))
    for _side in ("28", "96") if _name in _IN_GREY else ():
        _USUAL.append((f"{_title}, in grey, {_side} pixels", {"collection": _name, "setting": f"grey, {_side} pixels"}))


def _usual(encoder: str, recipe: str, heading: str) -> list[Column]:
    where = {"encoder": encoder, "recipe": recipe}
    return [Column(f"{heading}: {m}", {**where, "metric": m}, digits(3), recipe != "unchanged") for m in ("P@1", "mAP")]


_MNIST_ALL = {"collection": "MNIST, 60,000 digits"}
_HOG = {"collection": "MNIST", "encoder": "hog deskew", "study": "adapt"}
_CODES = (("mAP", interval(3)), ("P@1", interval(3)), ("LRAP@1000", interval(3)))
_KIND = "hog deskew, kernel (r 0.03, 50 neighbours)"
_MUSEUM = [
    Column(f"P@1, {title}", {"metric": "P@1", "collection": "287 paintings", "queries": title}, interval(2))
    for title in ("crops", "on a wall")
]

ENCODERS = {
    "costs": Table(
        "costs", "encoder",
        [(f"`{n}`" if " " not in n else n, {"encoder": n}) for n in (
            "pixels", "hog", "hog deskew", "itq over hog", "color", "neural", "neural, 8 bits", "sift, VLAD", "surf, VLAD")],
        [Column("image", {"metric": "bytes an image"}, cell("setting")),
         Column("processor ms an image", {"metric": "processor ms an image"}, digits(4)),
         Column("dimension", {"metric": "dimension"}, digits(0)), Column("bytes", {"metric": "bytes an image"}, digits(0))],
    ),
    "paintings": Table(
        "costs", "287 paintings, 30 queries each",
        [(n, {"encoder": n}) for n in (
            "sift, VLAD", "sift, bag of words", "surf, VLAD", "surf, bag of words", "neural", "color", "hog, 64 x 64", "pixels, 64 x 64")],
        _MUSEUM,
    ),
    "usual": Table(
        "usual", "collection", _USUAL,
        [Column("images", {"metric": "images"}, digits(0)),
         *_usual("hog", "unchanged", "`hog`"), *_usual("neural", "unchanged", "`neural`"),
         Column("taken", {"metric": "taken"}, lambda row: f"`{row['encoder']}`, {row['recipe']}"),
         *_usual("hog", "adapted (r 0.1)", "`hog` adapted"), *_usual("neural", "centred", "`neural` centred")],
    ),
    "glyphs": Table(
        "mnist-scores", "all 10,000 test digits of MNIST, cosine", [("`pixels`", {"encoder": "pixels"}), ("`hog`", {"encoder": "hog"}),
         ("`hog`, `deskew`", {"encoder": "hog, deskewed"})],
        metrics(("P@1", "mAP", "LRAP@1000"), interval(3)),
    ),
    "deep": Table(
        "autoencoder", "MNIST, `deep`, all 10,000 test digits",
        [("as it is", {"aim": ""}), ("adapted, `few`", {"aim": "few"}), ("adapted, `kind`", {"aim": "kind"}), ("adapted, both", {"aim": "both"})],
        [Column("recipe", {**_MNIST_ALL, "metric": "mAP"}, cell("recipe")), Column("d", {**_MNIST_ALL, "metric": "dimension"}, digits(0)),
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
        [(f"{title}, {epochs}", {"setting": epochs, "aim": aim, "noise": noise}) for title, aim, noise in (
            ("as it is", "", ""), ("adapted, `few`", "few", ""), ("adapted, `kind`", "kind", ""), ("adapted, both", "both", ""),
            ("noisy queries", "", "0.5"), ("noisy queries, adapted, `few`", "few", "0.5")) for epochs in ("14 epochs", "84 epochs")],
        [Column("recipe", {**_MNIST_ALL, "metric": "mAP"}, cell("recipe")), *metrics(("mAP", "P@1", "LRAP@1000"), interval(3), **_MNIST_ALL)],
    ),
    "contrastive-photos": Table(
        "contrastive", "Corel-1k, each photo asks the others",
        [(f"{title}, {epochs}", {"setting": epochs, "aim": aim}) for epochs in ("18 epochs", "148 epochs")
         for title, aim in (("as it is", ""), ("adapted, `kind`", "kind"))],
        [Column("recipe", {"collection": "Corel-1k", "metric": "mAP"}, cell("recipe")), *metrics(("mAP", "P@1", "P@20"), interval(3), collection="Corel-1k")],
    ),
    "contrastive-pilot": Table(
        "contrastive-pilot", "10,000 training digits, 8 epochs",
        [(s.replace("rate .", "learning rate 0."), {"setting": s}) for s in (
            "simclr, temperature 0.2, rate .003", "simclr, temperature 0.2, rate .003, 1024 compared", "simclr, temperature 0.5, rate .003",
            "vicreg, rate .003", "vicreg, rate .001", "vicreg, rate .001, 1024 compared")],
        [Column(f"{m}, {r}", {"metric": f"self-test: {m}", "recipe": r}, digits(3))
         for r in ("unchanged", "adapted (r 0.1)", "kernel (r 0.03, 50 neighbours)") for m in ("found", "kind@5%")],
    ),
    "codes": Table(
        "codes", "MNIST, 60,000 digits",
        [("`hog` with `deskew`", {**_HOG, "collection": "MNIST", "aim": ""}),
         *((f"`itq` over it, {b} bits", {"encoder": f"itq, {b} bits", "recipe": "hog deskew, unchanged"}) for b in (28, 64, 256)),
         ("`hashing` over it, 256 bits", {"encoder": "hashing, 256 bits", "recipe": "hog deskew, unchanged"}),
         ("the same, adapted, `few`", {**_HOG, "aim": "few"}),
         ("`itq` over that, 256 bits", {"encoder": "itq, 256 bits", "recipe": "hog deskew, adapted (r 0.1)"}),
         ("adapted, `kind`", {**_HOG, "aim": "kind"}),
         *((f"`itq` over that, {b} bits", {"encoder": f"itq, {b} bits", "recipe": _KIND}) for b in (28, 64, 256)),
         ("`hashing` over that, 256 bits", {"encoder": "hashing, 256 bits", "recipe": _KIND})],
        [*(Column(m, {"metric": m}, f) for m, f in _CODES), Column("queries", {"metric": "mAP"}, count),
         Column("processor seconds to fit", {"metric": "processor seconds to fit"}, digits(1), True)],
    ),
}  # fmt: skip

# Adapting, re-ranking, noise, nothing like it -------------------------------------------------------------------------

_AIMS = (("unchanged", ""), ("`few`", "few"), ("`kind`", "kind"), ("`both`", "both"))
_TRIED = [
    (title, {"recipe": recipe}) for title, recipe in (
        ("unchanged", "unchanged"), ("adapted (r .1)", "adapted (r 0.1)"), ("kernel (r .03, 20 neighbours)", "kernel (r 0.03, 20 neighbours)"),
        ("Ledoit-Wolf", "ledoit-wolf"), ("families apart (r .1)", "each family (r 0.1)"), ("families by need (r .1)", "by need (r 0.1)"))
]  # fmt: skip
_TRIED_ON = (("MNIST 6,000", "hog deskew"), ("Corel-1k", "neural"), ("Corel-1k", "hog"), ("letters", "hog deskew"))
_NETWORKS = [
    (f"{kind}, {by}", {"recipe": f"{kind}, {by}, t {t}"})
    for kind in ("linear", "hidden")
    for by, t in (("damage", "0.5"), ("neighbours", "0.5"))
]
_GAINS = [
    (f"`{aim}`, {title}", {"aim": aim, "collection": group}) for aim in ("few", "kind", "both")
    for title, group in (("all pairs", "all"), ("collections with kinds", "all with kinds"), ("without", "all without kinds"))
]  # fmt: skip


def spread(row: Row) -> str:
    """Write a mean with the least and the greatest behind it."""
    return f"{float(row['value']):+.3f} ({float(row['low']):+.3f} to {float(row['high']):+.3f})"


_JUDGED = [(_COLLECTIONS[name], {"collection": name}) for name in _COLLECTIONS]
_VERDICT = [
    Column(f"{f} and {m}: {title}", {"setting": f"{f} for {m}", "metric": metric}, form)
    for f, m in (("first hit", "P@1"), ("found", "P@1"), ("kind@5%", "mAP"))
    for title, metric, form in (("Spearman", "Spearman", digits(2)), ("loss", "loss of the pick", digits(3)))
]
_FOLDS = {"collection": "Corel-1k, ten folds"}
_DIFFUSIONS = (("plain", "plain", "plain"), ("`diffusion:alpha=0.9`", "diffusion:alpha=0.9", ""), ("`diffusion`", "diffusion:alpha=0.99", "diffusion"),
               ("`diffusion:alpha=0.998`", "diffusion:alpha=0.998", "diffusion:alpha=0.998"))  # fmt: skip
_WAYS = ("as it is", "blurred", "--denoise auto", "--denoise tutorial")
_PAINTINGS = (("photographed on a wall (qsd2)", "wall"), ("cut out of a photograph (qsd1)", "crops"), ("turned by any angle", "turned"),
              ("noise", "noise"), ("text over it", "text"), ("two in one photo", "two"))  # fmt: skip
_ASKED = (
    ("museum qsd1_w1", "neural"), ("museum qsd2_w1", "neural"), ("museum qsd1_w1", "neural, geometric"), ("museum qsd2_w1", "neural, geometric"),
    ("museum qsd1_w1", "neural+color"), ("museum qsd2_w1", "neural+color"), ("museum qsd1_w1", "sift"), ("museum qsd2_w1", "sift"),
    ("corel1k", "color"), ("corel1k", "neural"), ("mnist 20,000", "hog"),
)  # fmt: skip
_THERE, _GONE = "its answers are there", "its answers are taken away"

SELECTION = {
    "adapt": Table(
        "adapt", "collection, encoder, aim",
        [(f"{c}, {e}: {title}", {"collection": c, "encoder": e, "aim": aim}) for c, e in (("MNIST", "hog deskew"), ("Corel-1k", "neural")) for title, aim in _AIMS],
        [Column("recipe", {"metric": "mAP"}, cell("recipe")), Column("d", {"metric": "dimension"}, digits(0)),
         *metrics(("mAP", "P@1"), interval(3)), *metrics(("LRAP@1000", "P@20"), interval(3), optional=True)],
    ),
    "recipes": Table(
        "recipes", "mAP, P@1",
        _TRIED, [Column(f"{c}, {e}: {m}", {"collection": c, "encoder": e, "metric": m}, digits(3), True) for c, e in _TRIED_ON for m in ("mAP", "P@1")],
    ),
    "networks": Table(
        "recipes-networks", "temperature 0.5", _NETWORKS,
        [Column(f"{c}, {e}: {m}", {"collection": c, "encoder": e, "metric": m}, interval(3), True) for c, e in _TRIED_ON[:2] for m in ("mAP", "P@1")],
    ),
    "ledoit-wolf": Table(
        "recipes", "Ledoit-Wolf, less adapted (r .1)",
        [(f"{c}, {e}", {"collection": c, "encoder": e}) for c, e in (*_TRIED_ON[:3], ("emoji kinds", "hog"))],
        [Column(m, {"metric": f"{m} less adapted (r 0.1)", "recipe": "ledoit-wolf"}, spread) for m in ("mAP", "P@1")],
    ),
    "verdict": Table("verdict", "collection", _JUDGED, [Column("rows", {"metric": "encoders x recipes"}, digits(0)), *_VERDICT]),
    "verdict-within": Table(
        "verdict-within", "within one encoder, mean of the pairs (least to greatest)",
        [(title, {"collection": group}) for title, group in (("all pairs", "all"), ("collections with kinds", "all with kinds"), ("without", "all without kinds"))],
        [Column(f"Spearman, {f} and {m}", {"setting": f"{f} for {m}"}, spread) for f, m in (("found", "P@1"), ("kind@5%", "mAP"))],
    ),
    "verdict-gains": Table(
        "verdict-gains", "aim; mean of the pairs (least to greatest)", _GAINS,
        [Column("pairs", {"metric": "P@1, less unchanged"}, cell("n")), *(Column(m, {"metric": f"{m}, less unchanged"}, spread) for m in ("P@1", "mAP"))],
    ),
    "rerank-mnist": Table(
        "rerank", "MNIST, 60,000 asked by all 10,000 test digits; hog deskew, adapted for `kind`",
        [("plain", {"method": "plain"}), ("diffusion", {"method": "diffusion"}), ("diffusion:alpha=0.998, which the self-test chose", {"method": "diffusion:alpha=0.998"})],
        metrics(("mAP", "P@1", "LRAP@1000"), interval(4), run="kind"),
    ),
    "rerank-corel": Table(
        "rerank", "Corel-1k, ten folds of 100 queries and 900 photos",
        [(title, {**_FOLDS, "method": method, "run": "corel"}) for title, method, _ in _DIFFUSIONS],
        [Column(f"{title}: {m}", {**where, "metric": m}, interval(3)) for title, where in (
            ("neural", {"recipe": "unchanged"}), ("centred", {"recipe": "centred"}), ("for `kind`", {"aim": "kind"})) for m in ("mAP", "P@1")],
    ),
    "rerank-others": Table(
        "rerank", "method", [("plain", {"method": "plain"}), *((f"`{m}`", {"method": m}) for m in ("expansion", "alpha-expansion", "reciprocal", "views"))],
        [*(Column(f"MNIST, 1,000 queries: {m}", {"run": "others-mnist", "metric": m}, interval(3)) for m in ("mAP", "P@1")),
         *(Column(f"{title}: {m}", {"run": "others-corel", **where, "metric": m}, interval(3)) for title, where in (
            ("Corel-1k, neural", {"recipe": "unchanged"}), ("Corel-1k, for `kind`", {"aim": "kind"})) for m in ("mAP", "P@1"))],
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
            "plain", "alpha-expansion", "diffusion:alpha=0.9", "diffusion", "diffusion:alpha=0.998", "reciprocal", "geometric")],
        [Column(m, {"metric": f"self-test: {m}"}, digits(3)) for m in ("first hit", "kind")],
    ),
    "rerank-speed": Table(
        "rerank", "60,000 x 113, one query", [("plain", {"method": "plain"}), ("`diffusion`", {"method": "diffusion"})],
        [Column("ms", {"run": "speed", "metric": "ms a query"}, interval(1))], "Medians (least to greatest).",
    ),
    "noise": Table(
        "noise", "MNIST's 60,000 asked by test digits with noise 0.5: P@1",
        [(title, {"encoder": e}) for title, e in (
            ("pixels", "pixels"), ("hog, deskewed", "hog, deskewed"), ("hog, deskewed, adapted", "hog, deskewed, adapted"), ("autoencoder of the demo", "autoencoder"))],
        [Column(f"`{w}`" if w.startswith("--") else w, {"noise": "0.5", "method": w, "metric": "P@1"}, interval(3)) for w in _WAYS],
    ),
    "noise-all": Table(
        "noise", "the same, by all 10,000: P@1", [("hog, deskewed", {"encoder": "hog, deskewed"}), ("hog, deskewed, adapted", {"encoder": "hog, deskewed, adapted"})],
        [Column(f"`{w}`" if w.startswith("--") else w, {"noise": "0.5", "method": w, "metric": "P@1 of all 10,000"}, interval(3)) for w in _WAYS if w != "blurred"],
    ),
    "noise-levels": Table(
        "noise noise-ranking", "noise of the query", [(n.removesuffix(".0"), {"noise": n, "encoder": "hog, deskewed, adapted"}) for n in ("0.0", "0.1", "0.25", "0.5", "0.75", "1.0")],
        [Column(f"{m}, {f'`{w}`' if w.startswith('--') else w}", {"method": w, "metric": m, **({} if m == "P@1" else {"study": "noise-ranking"})}, digits(3))
         for m in ("P@1", "mAP", "LRAP@10") for w in ("as it is", "--denoise auto", "--denoise tutorial")],
    ),
    "noise-quality": Table(
        "noise", "1,000 test digits: PSNR, dB", [(n, {"noise": n}) for n in ("0.1", "0.25", "0.5", "0.75", "1.0")],
        [Column(f"`{w}`" if w.startswith("--") else w, {"method": w, "metric": "PSNR of queries, dB"}, digits(1)) for w in _WAYS],
    ),
    "nothing": Table(
        "nothing", "query, encoder", [(f"{q}, {e}", {"run": f"{q}, {e}"}) for q, e in _ASKED],
        [Column("queries", {"metric": "nothing like it", "setting": _THERE}, cell("n")),
         *(Column(f"{title}: {where}", {"metric": metric, "setting": setting}, interval(2), True) for title, metric in (
             ("says nothing", "nothing like it"), ("first stands out", "first stands out"), ("first verified", "first verified"))
           for where, setting in (("answers there", _THERE), ("answers gone", _GONE)))],
    ),
    "nothing-views": Table(
        "nothing", "encoder", [(title, {"run": run}) for title, run in (
            ("museum paintings, neural", "museum qsd1_w1, neural"), ("museum paintings, neural+color", "museum qsd1_w1, neural+color"),
            ("museum paintings, sift", "museum qsd1_w1, sift"), ("corel1k, color", "corel1k, color"), ("corel1k, neural", "corel1k, neural"),
            ("mnist 20,000, hog", "mnist 20,000, hog"))],
        [*(Column(f"{title}: {way}", {"metric": metric, "method": way}, digits(2)) for title, metric in (
            ("silent though there", "silent though there"), ("silent, taken away", "silent, taken away")) for way in ("in a scene", "in part")),
         Column("believed", {"metric": "silence is believed"}, lambda row: "yes" if row["value"] == "1" else "no")],
    ),
}  # fmt: skip

# Time and memory ------------------------------------------------------------------------------------------------------

_PRESETS = [(preset, {"encoder": f"autoencoder, {preset}"}) for preset in ("article", "tutorial")]
_RATE = "images a second"
_SIZES = ("60,000 x 64", "60,000 x 1,568", "200,000 x 128", "1,000,000 x 128")
_BATCHES = (("one query", "one"), ("4 queries", "4"), ("1,000 queries", "1,000"))
_SIDES = (
    "hnswlib",
    "faiss HNSW",
    "faiss IVFFlat",
    "lookalike, lists",
    "usearch",
    "Lance IVF_PQ, refined",
    "lookalike, exact",
)
_AT = {"setting": "first with recall@10 of .99"}
_GROWN = ("10,000", "100,000", "1,000,000", "10,000,000")
_FILES = (
    ("small photos, 1000 files", "Corel-1k, 1,000 photos of 256 x 256"),
    ("small photos, 6 times, 6000 files", "the same, six times"),
)


def spanned(count: int) -> Form:
    """Return what writes a median with the least and the greatest repeat behind it."""
    return lambda row: (
        f"{float(row['value']):,.{count}f} ({float(row['low']):,.{count}f} to {float(row['high']):,.{count}f})"
    )


def percent(row: Row) -> str:
    """Write a share."""
    return f"{100 * float(row['value']):.0f} %"


SPEED = {
    "training": Table(
        "training", "images a second", _PRESETS,
        [Column("lookalike", {"side": "lookalike", "metric": _RATE}, digits(0)),
         *(c for side, title in (("keras script", "Keras script"), ("keras script, oneDNN on", "Keras script, oneDNN on"), ("pytorch", "PyTorch"))
           for c in (Column(title, {"side": side, "metric": _RATE}, digits(0)), Column("ours", {"side": side, "metric": "times as fast as this side"}, times))),
         Column("arithmetic limit", {"metric": "images a second at the arithmetic limit"}, digits(0)),
         Column("our share", {"metric": "share of the arithmetic limit"}, percent)],
    ),
    "encoding": Table(
        "encoding", "images a second", [(f"{preset}, {half}", {**where, "setting": half}) for preset, where in _PRESETS for half in ("encode", "denoise")],
        [*(Column(title, {"side": side, "metric": _RATE}, digits(0)) for side, title in (("lookalike", "lookalike"), ("tensorflow", "TensorFlow"), ("jax", "JAX"))),
         Column("ours to the best", {"metric": "times as fast as the best peer"}, times)],
    ),
    "startup": Table(
        "startup", "whole process",
        [(f"`{c}`", {"setting": c}) for c in ("python -c pass", "python -c 'import numpy'", "lookalike --help")]
        + [(f"`lookalike search query.png`, {t}", {"setting": f"search, {t.split(',')[0]}"}) for t in ("article, 128-d", "hog, 392-d", "pixels, 784-d")],
        [Column("seconds", {"metric": "seconds"}, spanned(2))], "Medians of 9 (least to greatest).",
    ),
    "scoring": Table(
        "scoring", "descriptors", [("pixels, 784-d", {"encoder": "pixels, 784-d"}), ("random projection, 128-d", {"encoder": "random projection, 128-d"})],
        [Column("ours, s", {"side": "lookalike", "metric": "seconds"}, spanned(1)), Column("the article's way, s", {"side": "the article's way", "metric": "seconds"}, spanned(0)),
         Column("times as fast", {"metric": "times as fast"}, spanned(0)), Column("of ours, the matrix product", {"metric": "share that is the matrix product"}, percent),
         Column("load", {"metric": "load"}, spanned(1))], "Medians of 3 (least to greatest).",
    ),
    "hog": Table(
        "hog", "side", named("side", "hog", "hog, deskew", "scikit-image, cells", "scikit-image, blocks", "pixels"),
        [Column("d", {"metric": "dimension"}, digits(0)), Column("images a second", {"metric": _RATE}, digits(0)),
         Column("images a processor second", {"metric": "images a processor second"}, digits(0)), *metrics(("P@1", "mAP"), interval(3))],
    ),
    "hog-ratios": Table(
        "hog", "ours", [(f"`{s}`, as {p}", {"side": s, "setting": f"as {p}"}) for s in ("hog", "hog, deskew") for p in ("scikit-image, cells", "scikit-image, blocks")],
        [Column("times as fast, by the clock", {"metric": "times as fast"}, times), Column("by processor time", {"metric": "times as fast, processor time"}, times)],
    ),
    "indexing": Table(
        "indexing", "images a second, at 64 x 64",
        [(title, {"collection": name, "setting": "64 x 64"}) for name, title in (*_FILES, ("12 megapixels, 36 files", "12-megapixel JPEGs, 36 of 4.1 MB"))]
        + [(f"{title}, at 32 x 32", {"collection": name, "setting": "32 x 32"}) for name, title in (*_FILES, ("12 megapixels, 24 files", "12-megapixel JPEGs, 24"))],
        [*(Column(title, {"side": side, "metric": _RATE}, digits(0)) for side, title in (
            ("lookalike", "lookalike"), ("decoder", "decoder alone"), ("Pillow, 1 process", "Pillow loop, 1 process"), ("Pillow, 2 processes", "2 processes"),
            ("OpenCV, 1 process", "OpenCV loop, 1 process"), ("OpenCV, 2 processes", "2 processes"))),
         Column("of the decoder", {"metric": "share of the decoder"}, percent), Column("decoding processes to a plain pool", {"metric": "share of the pool"}, digits(2))],
    ),
    "neural": Table(
        "neural", "Corel-1k, files to descriptors",
        [("`neural`", {"side": "efficientnet-lite0"}), ("`neural:model=efficientnet-lite0-int8`", {"side": "efficientnet-lite0-int8"}), ("fastdup", {"side": "fastdup"})],
        [Column("images a second", {"metric": _RATE}, spanned(0)), Column("times as fast as fastdup", {"metric": "times as fast as fastdup"}, spanned(2), True),
         *metrics(("mAP", "P@20", "P@1"), interval(3))],
    ),
    "networks-alone": Table(
        "neural", "one image an inference, one thread",
        [(title, {"side": side}) for side, title in (
            ("ONNX Runtime, efficientnet-lite0", "ONNX Runtime, single precision"), ("ONNX Runtime, efficientnet-lite0-int8", "ONNX Runtime, 8 bits"),
            ("OpenVINO, float32", "OpenVINO, single precision"), ("OpenVINO, bfloat16", "OpenVINO, bfloat16"), ("OpenVINO, int8", "OpenVINO, 8 bits (our file)"))],
        [Column("processor ms an image", {"metric": "processor ms an image"}, spanned(1)),
         *(Column(f"cosine with single precision, {w}", {"metric": f"cosine with single precision, {w}"}, digits(3)) for w in ("worst", "mean"))],
    ),
    "hamming": Table(
        "hamming", "time limit",
        [("1,000,000 random codes of 256 bits, the 10 nearest, ms a query: median", {"metric": "ms a query"}),
         ("nine of ten within", {"metric": "ms of nine of ten queries"}), ("`hog` of MNIST's 60,000 digits, seconds: median", {"metric": "seconds to encode"})],
        [Column("", {}, lambda row: spanned(1)(row) if row["low"] else digits(1)(row))],
    ),
    "exact": Table(
        "search", "milliseconds", [(s, {"collection": s, "method": "exact"}) for s in _SIZES],
        [*(Column(f"{short}: {side}", {"setting": batch, "side": side, "metric": "ms"}, digits(1)) for batch, short in _BATCHES for side in ("ours", "numpy", "faiss")),
         Column("one: share of the memory's speed", {"metric": "share of the memory's speed"}, percent),
         Column("1,000: share of a product's peak", {"metric": "share of a matrix product's peak"}, percent)],
    ),
    "exact-ratios": Table(
        "search", "ours, as the better of numpy and faiss", [(s, {"collection": s, "metric": "times as fast as the best peer"}) for s in _SIZES],
        [Column(f"{short} at a time", {"setting": batch}, times) for batch, short in _BATCHES],
    ),
    "approximate": Table(
        "search", "1,000,000 x 128", [(side, {"side": side, "method": "approximate"}) for side in _SIDES],
        [Column("processor seconds to build", {"metric": "processor seconds to build"}, digits(0)),
         Column("recall@10", {**_AT, "metric": "recall@10"}, digits(3)),
         Column("queries a second, 1,000 at a time", {**_AT, "metric": "queries a second, 1,000 at a time"}, spanned(0)),
         Column("ms, one query", {**_AT, "metric": "ms, one query"}, spanned(2)),
         Column("its parameter", {**_AT, "metric": "parameter"}, digits(0))],
    ),
    "growth": Table(
        "search", "vectors of 64", [(size, {"collection": f"{size} x 64"}) for size in _GROWN],
        [*(Column(f"{method}, {title}: ms", {"method": method, "setting": setting, "metric": "ms"}, digits(2))
           for method in ("exact", "approximate") for setting, title in (("one query", "one"), ("each of many queries", "of many"))),
         Column("recall@10", {"metric": "recall@10"}, digits(3)), Column("seconds to build", {"metric": "seconds to build"}, digits(1)),
         Column("on disk, MB", {"metric": "on disk, MB"}, digits(0)), Column("the vectors, MB", {"metric": "descriptors, MB"}, digits(0)),
         Column("own memory to build, MB", {"metric": "own memory to build, MB"}, digits(0)),
         *(Column(f"own memory, {title}: MB", {"method": m, "setting": s, "metric": "own memory, MB"}, digits(0))
           for m, s, title in (("exact", "one query", "exact, one"), ("approximate", "each of many queries", "approximate, 1,000")))],
    ),
    "projection": Table(
        "search", "1,000,000,000 vectors of 64, reckoned and not measured",
        [("this machine, if it had the memory: exact, one query, s", {"metric": "exact single s"}), ("approximate, one query, s", {"metric": "lists single s"}),
         ("building the lists, s", {"metric": "lists build s"}),
         ("64 cores, 512 GB, 400 GB/s: approximate, one query, s, at the memory's speed", {"metric": "lists single s at the memory's speed"}),
         ("the same at one core's 12 GB/s", {"metric": "lists single s at 12 GB/s of one core"})],
        [Column("", {}, lambda row: f"{float(row['value']):,.3g}" if float(row["value"]) < 1000 else f"{float(row['value']):,.0f}")],
    ),
    "packed": Table(
        "search", "ms", [(f"{b} bits, {batch}", {"collection": f"1,000,000 codes of {b} bits", "setting": batch}) for b in (64, 256) for batch in ("one query", "100 queries")],
        [Column(side, {"side": side, "metric": "ms"}, spanned(1)) for side in ("ours", "faiss")],
    ),
    "pairs": Table(
        "search", "all pairs within 8 of 500,000 codes of 64 bits", [(k, {"collection": f"500,000 {k} codes of 64 bits"}) for k in ("random", "clustered")],
        [Column("pairs", {"metric": "pairs"}, digits(0)), Column("seconds", {"metric": "seconds"}, spanned(1))],
    ),
    "serving": Table(
        "serving", "clients", [(n, {"setting": f"{n} clients"}) for n in ("1", "16", "64")],
        [Column(f"{side}: {title}", {"side": side, "metric": metric}, digits(0)) for side in ("with batching", "without")
         for title, metric in (("queries a second", "queries a second"), ("p50, ms", "p50 ms"), ("p95, ms", "p95 ms"), ("p99, ms", "p99 ms"), ("failed", "not 200"))],
    ),
    "serving-limits": Table(
        "serving", "with nothing around it, images a second", [(what, {"setting": what}) for what in ("encode by 1", "encode by 64", "search by 1", "search by 64")],
        [Column("", {"metric": "images a second"}, digits(0))],
    ),
    "serving-drop": Table(
        "serving", "ms", [("from a dropped digit to its first answers: median of 25", {"metric": "ms to the first answer"}), ("95 % within", {"metric": "ms to the first answer, 95 % within"})],
        [Column("", {}, digits(0))],
    ),
    "serving-endure": Table(
        "serving", "16 clients for ten minutes", [(m, {"metric": m}) for m in (
            "requests", "answers with status 200", "killed decoders", "index opened anew", "memory, MB, after 100 s", "memory, MB, at the end",
            "open files, after 100 s", "open files, at the end")],
        [Column("", {"run": "endure"}, digits(0))],
    ),
    "map": Table(
        "map", "10,000 digits by `hog`, one core", named("side", "lookalike", "umap-learn"),
        [Column("seconds, median of 3", {"metric": "seconds"}, spanned(1)), Column("trustworthiness", {"metric": "trustworthiness 15 of 3000"}, digits(3)),
         Column("equal labels among the ten nearest", {"metric": "label agreement 10"}, digits(3))],
    ),
    "map-frames": Table(
        "map-frames", "100,000 dots, ms a frame", [(m.partition(":")[0], {"method": m}) for m in ("as the page chooses: 2d", "webgl2 forced: webgl2", "2d forced: 2d")],
        [Column("median", {"metric": "ms a frame, median"}, digits(0)), Column("95 % within", {"metric": "ms a frame, 95 % within"}, digits(0))],
    ),
}  # fmt: skip

# The article ----------------------------------------------------------------------------------------------------------

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

TABLES = ENCODERS | SELECTION | SPEED | ARTICLE
_HOG_ON_MNIST = {"collection": "MNIST", "encoder": "hog deskew", "metric": "mAP"}
VALUES = {
    "adapt-few": Value("adapt", [{**_HOG_ON_MNIST, "aim": ""}, {**_HOG_ON_MNIST, "aim": "few"}], digits(3)),
    "adapt-kind": Value("adapt", [{**_HOG_ON_MNIST, "aim": "kind"}], digits(3)),
    "diffusion": Value("rerank", [{"run": "kind", "method": m, "metric": "mAP"} for m in ("plain", "diffusion")], digits(3)),
    "wall": Value("rerank", [{"run": "museum", "queries": "wall", "method": m, "metric": "P@1"} for m in ("plain", "geometric")], digits(2)),
}  # fmt: skip
