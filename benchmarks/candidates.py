"""How good is the verdict on collections that it has never seen? Every candidate measured once, and the judge learnt from that.

    python benchmarks/candidates.py measure [--shared ../shared/data] [--packages FOLDER] [--part 0/2]
    python benchmarks/candidates.py fit [--write]

``measure`` writes ``results/candidates.csv``: collection x view x encoder x post-processing, with the labelled P@1 and mAP, each
image asking for the others, and all figures without labels. ``fit --write`` makes ``selection/judge.json`` from it in seconds: the
coefficients, and the evidence, for which each collection is left out in turn with all its views. It prints what the choices
were worth, and keeps that by collection in ``results/candidates-left-out.csv`` and
``candidates-left-out-adapt.csv``.

Collections: Corel-1k, those of ``labelled``, museum-2022, MNIST's training digits, scikit-learn's digits, cuttings from 16
pictures of scikit-image, and from npm packages (``--packages`` names a folder that holds them, unpacked): *emoji by category* and
*by another vendor* (emoji-datasource-google, emoji-datasource-twitter), and *letters*, 46 characters in the 24 fonts of ``FONTS``
(@fontsource/NAME). 400 images of each at most, evenly over kinds. Views: a few of the kinds, few images a kind, kinds of
unequal size, half of the kinds as distractors, and one of grey, blurred or noisy.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from changed import code_of
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from rows import ABOUT
from rows.measures import measured_by
from study import Table, heading, keep, provenance

from lookalike import open_collection
from lookalike.cores import one_thread_of_blas
from lookalike.imaging.resize import fit_to
from lookalike.metrics.ties import random_among_equal
from lookalike.neighbors.exact import Database
from lookalike.selection.candidates import Candidate, SharedEncoding, title_of, tried_on
from lookalike.selection.compare import encoder_named
from lookalike.selection.defaults import default_encoder
from lookalike.selection.held_out import make_views
from lookalike.selection.judge import (
    AIMS,
    FIGURES,
    LEAST_APART,
    REFERENCE,
    SCORES,
    WIDTH,
    Gain,
    baseline,
    effects_of,
    look_of,
    pick,
)  # fmt: skip
from lookalike.selection.judge import FILE as JUDGE
from lookalike.selection.neighbourhood import agreement
from lookalike.selection.selftest import Trial, nonzero, trial_of

Images = NDArray[np.uint8]
HERE = Path(__file__).parent
TABLE = HERE / "results" / "candidates.csv"
SAMPLE, QUERIES = 400, 80
ENCODERS = ("pixels", "hog", "hog:deskew=true", "color", "color:grid=1", "itq", "neural", "neural+color")
CHARACTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabdefghijmnqrt23456789"
FONTS = (
    "roboto", "open-sans", "lato", "montserrat", "merriweather", "lora", "playfair-display", "source-code-pro",
    "inconsolata", "oswald", "raleway", "pt-serif", "pt-sans", "ubuntu", "noto-serif", "fira-sans", "crimson-text",
    "bitter", "abril-fatface", "pacifico", "dancing-script", "caveat", "comfortaa", "righteous",
)  # fmt: skip
CUTTINGS = (
    "brick.png", "grass.png", "gravel.png", "retina.jpg", "ihc.png", "page.png", "coins.png", "hubble_deep_field.jpg",
    "motorcycle_left.png", "moon.png", "chelsea.png", "rocket.jpg", "coffee.png", "text.png", "camera.png", "astronaut.png",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A collection with labels; without queries of its own each image asks for the others."""

    name: str
    images: Callable[[], list[Images]]
    labels: NDArray[np.str_]
    queries: Callable[[], list[Images]] | None = None
    query_labels: NDArray[np.str_] | None = None


def read(path: Path, side: int = 320) -> Images:
    """Read a picture, on white where it is transparent, at most so large."""
    image = Image.open(path)
    if image.mode in ("P", "LA", "RGBA"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if image.mode in ("L", "I", "1") else "RGB")
    image.thumbnail((side, side))
    return np.asarray(image)


def evenly(labels: NDArray[np.str_]) -> NDArray[np.int64]:
    """Draw ``SAMPLE`` places, evenly over the kinds."""
    rng = np.random.default_rng(0)
    share = np.empty(len(labels))
    for kind in np.unique(labels):
        places = rng.permutation(np.flatnonzero(labels == kind))
        share[places] = (np.arange(len(places)) + rng.uniform(0, 1)) / len(places)
    return np.sort(np.argsort(share, kind="stable")[:SAMPLE])


def letters(fonts: Path) -> tuple[list[Images], NDArray[np.str_]]:
    """Draw each character in each font, white on black, 28 pixels, its longer side three quarters of that."""
    images, labels = [], []
    for name in FONTS:
        font = ImageFont.truetype(str(next(fonts.rglob(f"{name}-latin-400-normal.woff"))), 200)
        for character in CHARACTERS:
            sheet = Image.new("L", (400, 400), 0)
            ImageDraw.Draw(sheet).text((200, 200), character, fill=255, font=font, anchor="mm")
            glyph = sheet.crop(sheet.getbbox())
            whole = Image.new("L", [int(max(glyph.size) / 0.75)] * 2, 0)
            whole.paste(glyph, ((whole.width - glyph.width) // 2, (whole.height - glyph.height) // 2))
            images.append(np.asarray(whole.resize((28, 28), Image.Resampling.LANCZOS, reducing_gap=3)))
            labels.append(character)
    return images, np.array(labels)


def cuttings() -> tuple[list[Images], NDArray[np.str_]]:
    """Cut 40 patches out of each of scikit-image's own pictures that aren't even there."""
    import skimage

    rng = np.random.default_rng(0)
    images, labels = [], []
    for name in CUTTINGS:
        picture = Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB")
        patch = max(40, min(96, min(picture.size) // 3))
        before = len(images)
        while len(images) < before + 40:
            x, y = (int(rng.integers(length - patch + 1)) for length in picture.size)
            cut = np.asarray(picture.crop((x, y, x + patch, y + patch)))
            if cut.std(axis=(0, 1)).max() >= 4:
                images.append(cut)
                labels.append(name)
    return images, np.array(labels)


def folder_case(folder: Path) -> Case:
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    labels = np.array([p.relative_to(folder).parts[0] for p in paths])
    drawn = evenly(labels)
    return Case(folder.name, lambda: [read(paths[i]) for i in drawn], labels[drawn])


def drawn_case(name: str, images: list[Images] | Images, labels: Any) -> Case:
    labels = np.asarray(labels).astype(str)
    drawn = evenly(labels)
    return Case(name, lambda: [images[i] for i in drawn], labels[drawn])


def cases(shared: Path, packages: Path | None) -> Iterator[Case]:
    """Yield the collections."""
    from sklearn.datasets import load_digits

    for folder in [shared / "corel1k", *sorted(p for p in (shared / "labelled").iterdir() if p.is_dir())]:
        yield folder_case(folder)
    mnist = open_collection("mnist:train").take(np.arange(6000))
    yield drawn_case("mnist", list(mnist.array()), mnist.labels)
    digits = load_digits()
    yield drawn_case("digits", list(np.rint(digits.images * (255 / 16)).astype(np.uint8)), digits.target)
    museum = shared / "museum-2022"
    paintings = sorted((museum / "BBDD").glob("*.jpg"))
    numbers = np.array([str(int(p.stem.split("_")[1])) for p in paintings])
    for name, asked in (("museum crops", "qsd1_w1"), ("museum wall", "qsd2_w1")):
        right = json.loads((museum / asked / "gt_corresps.json").read_text())
        photos = sorted((museum / asked).glob("*.jpg"))
        pairs = [(p, str(n)) for p, ns in zip(photos, right, strict=True) for n in np.ravel(ns).tolist()]
        yield Case(
            name, lambda: [read(p) for p in paintings], numbers,
            lambda pairs=pairs: [read(p) for p, _ in pairs], np.array([n for _, n in pairs]),
        )  # fmt: skip
    yield drawn_case("cuttings", *cuttings())
    if packages is None:
        return
    facts = json.loads(next(packages.rglob("*google*/emoji.json")).read_text())
    facts = [e for e in facts if e["has_img_google"] and e["has_img_twitter"] and e["category"] != "Flags"]
    sizes = {s: sum(e["subcategory"] == s for e in facts) for s in {e["subcategory"] for e in facts}}
    facts = [e for e in facts if sizes[e["subcategory"]] >= 10]
    of = {v: next(packages.rglob(f"*{v}*/img/{v}/64")) for v in ("google", "twitter")}
    google = [of["google"] / e["image"] for e in facts]
    labels = np.array([e["subcategory"] for e in facts])
    drawn = evenly(labels)
    yield Case("emoji by category", lambda: [read(google[i]) for i in drawn], labels[drawn])
    signs = np.array([e["unified"] for e in facts])
    some = np.random.default_rng(1).permutation(len(facts))[:SAMPLE]
    twitter = [of["twitter"] / facts[i]["image"] for i in some[:200]]
    yield Case(
        "emoji by vendor", lambda: [read(google[i]) for i in some], signs[some],
        lambda: [read(p) for p in twitter], signs[some[:200]],
    )  # fmt: skip
    yield drawn_case("letters", *letters(packages))


def altered(images: list[Images], view: str) -> list[Images]:
    """Show all images of a collection otherwise."""
    rng = np.random.default_rng(3)

    def one(image: Images) -> Images:
        if view == "grey":
            return np.asarray(Image.fromarray(image).convert("L"))
        if view == "blurred":
            small = Image.fromarray(image)
            small.thumbnail((max(12, min(32, max(image.shape[:2]) // 2)),) * 2)
            return np.asarray(small.resize(image.shape[1::-1], Image.Resampling.BICUBIC))
        if view == "noisy":
            return np.clip(image + rng.normal(0, 25, image.shape), 0, 255).astype(np.uint8)
        return image

    return [one(image) for image in images]


def parts(case: Case) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.str_]]]:
    """Yield views that keep the pixels: which images, and their labels."""
    labels, rng = case.labels, np.random.default_rng(11)
    yield "whole", np.arange(len(labels)), labels
    if case.queries:
        some = np.sort(rng.permutation(len(labels))[: len(labels) // 2])
        yield "half", some, labels[some]
        return
    kinds = rng.permutation(np.unique(labels))
    few = np.flatnonzero(np.isin(labels, kinds[: max(3, len(kinds) // 5)]))
    if len(few) < len(labels):
        yield "few kinds", few, labels[few]
    of_kind = [rng.permutation(np.flatnonzero(labels == kind)) for kind in kinds]
    thin = np.sort(np.concatenate([places[: max(2, min(3, len(places) // 2))] for places in of_kind]))
    if len(thin) >= 60:
        yield "few a kind", thin, labels[thin]
    shares = [0.5 ** (4 * i / len(kinds)) for i in range(len(kinds))]
    uneven = np.sort(np.concatenate([p[: max(2, int(len(p) * s))] for p, s in zip(of_kind, shares, strict=True)]))
    yield "uneven", uneven, labels[uneven]
    strays = np.isin(labels, kinds[: len(kinds) // 2])
    if len(kinds) >= 4:
        alone = np.array(
            [f"distractor {i}" if stray else kind for i, (kind, stray) in enumerate(zip(labels, strays, strict=True))]
        )
        yield "distractors", np.arange(len(labels)), alone


def sized(images: list[Images]) -> tuple[int, ...]:
    """Return the shape at which encoders without a size of their own see a folder of these."""
    high, wide = (min(64, max(image.shape[axis] for image in images)) for axis in (0, 1))
    if any(image.shape[:2] != images[0].shape[:2] for image in images):
        high = wide = max(high, wide)
    return (high, wide, 3) if images[0].ndim == 3 else (high, wide)


def at_size(images: list[Images], shape: tuple[int, ...]) -> Images:
    return np.stack([fit_to(i if len(shape) == i.ndim else np.repeat(i[..., None], 3, 2), shape) for i in images])


def only(trial: Trial, places: NDArray[np.int64]) -> Trial:
    """Leave some images of a trial."""
    assert trial.places is not None
    kept = np.isin(trial.places, places)
    held = kept[trial.originals]
    return replace(
        trial,
        database=trial.database[kept],
        originals=(np.cumsum(kept) - 1)[trial.originals[held]],
        copies={name: rows[held] for name, rows in trial.copies.items()},
        places=np.searchsorted(places, trial.places[kept]),
    )


def scored(candidate: Candidate, trial: Trial, labels: Any, asked: Any, asked_labels: Any) -> tuple[float, float, int]:
    """Return P@1 and mAP, and of how many queries; an image that is blank to the encoder finds nothing."""
    post, distance = candidate.post, trial.distance if candidate.post is None else "cosine"
    table = trial.database if post is None else nonzero(post.apply(trial.database))
    database, own = Database(table, distance), labels[trial.places]
    if asked is None:
        distances, right = database.distances(table, resolved=True), own[:, None] == own
        np.fill_diagonal(distances, np.inf)
        np.fill_diagonal(right, False)
    else:
        seen = np.isin(asked_labels, labels)
        queries = nonzero(asked[seen] if post is None else post.apply(asked[seen]))
        distances, right = database.distances(queries, resolved=True), asked_labels[seen][:, None] == own
    keep = right.any(axis=1)
    order = np.argsort(random_among_equal(distances[keep], np.random.default_rng(0)), axis=1)
    hits = np.take_along_axis(right[keep], order, axis=1)
    found = np.cumsum(hits, axis=1)
    precision = (found / np.arange(1, hits.shape[1] + 1) * hits).sum(axis=1) / found[:, -1]
    return float(hits[:, 0].mean()), float(precision.mean()), len(hits)


def measured(case: Case, view: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of one collection, shown one way."""
    images = altered(case.images(), view)
    queries = None if case.queries is None else altered(case.queries(), view)
    if any(image.ndim == 3 for image in images):
        images = [i if i.ndim == 3 else np.repeat(i[..., None], 3, 2) for i in images]
    default = default_encoder(open_collection(at_size(images, sized(images))))
    assert default is not None
    encode, kept, trials = SharedEncoding(), {}, {}
    for name in ENCODERS:
        encoder = encoder_named(name)
        shape = encoder.preferred_shape or sized(images)
        if shape not in kept:
            kept[shape] = make_views(at_size(images, shape), queries=QUERIES)
        encoder = encoder.fit(kept[shape].images)
        asked = None if queries is None else encoder.encode(at_size(queries, shape))
        trials[title_of(encoder)] = trial_of(encoder, kept[shape], encode), asked
    look = look_of(default.name, images[0].ndim == 3)
    for part, places, labels in parts(case) if view == "" else [("whole", np.arange(len(images)), case.labels)]:
        tried, scores = [], []
        for title, (whole, asked) in trials.items():
            trial = only(whole, places)
            for candidate in tried_on(trial, title, len(places)):
                tried.append(candidate)
                scores.append(scored(candidate, trial, labels, asked, case.query_labels))
        base, reference = (tried[baseline(tried, title)] for title in (title_of(default), REFERENCE))
        for candidate, (first, mean, asked_number) in zip(tried, scores, strict=True):
            own = tried[baseline(tried, candidate.encoder)]
            yield {
                "collection": case.name, "view": ", ".join(v for v in (view, part) if v), "look": look, "images": len(places),
                "queries": asked_number, "encoder": candidate.encoder, "recipe": candidate.recipe, "default": candidate is base,
                "own default": candidate is own, "P@1": first, "mAP": mean, "like the default": agreement(candidate.near, base.near),
                "like its own default": agreement(candidate.near, own.near), "like the networks": agreement(candidate.near, reference.near),
                **{name: candidate.figures[name] for name in FIGURES if name in candidate.figures},
            }  # fmt: skip


def measure(options: argparse.Namespace) -> None:

    part, of = map(int, options.part.split("/"))
    parted = options.scratch
    parted.mkdir(parents=True, exist_ok=True)
    everything = list(cases(options.shared, options.packages))
    views = ("grey", "blurred", "noisy")
    work = [(case, "") for case in everything]
    work += [(case, views[i % 3]) for i, case in enumerate(everything) if not case.name.startswith("museum")]
    for case, view in work[part::of]:
        if view == "grey" and case.images()[0].ndim == 2:
            view = "noisy"  # noqa: PLW2901
        file = parted / f"{case.name}-{view or 'plain'}.json"
        if not file.exists():
            with one_thread_of_blas(with_scipy=True):
                file.write_text(json.dumps(list(measured(case, view))))
            print(file.stem, flush=True)
    rows = [row for file in sorted(parted.glob("*.json")) for row in json.loads(file.read_text())]
    with TABLE.open("w", newline="") as out:
        made_on = provenance() | {"code": code_of(tuple(measured_by("candidates").split()))}
        out.write(heading(Table({"study": "candidates", **ABOUT["candidates"]}, {"all": made_on})))
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()})


# Fitting and judging -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Duel:
    """A candidate of the table against a default: that of its collection, or its own encoder's."""

    row: dict[str, Any]
    figures: dict[str, float]
    effects: dict[str, float]
    gains: dict[str, float]
    own: bool


def parent(row: dict[str, Any]) -> str:
    """Return what is left out together: the collection, both of emoji and both of the museum."""
    return str(row["collection"]).split(" ")[0]


def is_same(duel: Duel) -> bool:
    """Tell whether candidate and default have one encoder."""
    return any(name.endswith("of the default") for name in duel.effects)


def duels(rows: list[dict[str, Any]]) -> Iterator[Duel]:
    """Set each candidate against the default, and against its own encoder's."""
    for case in {(r["collection"], r["view"]): None for r in rows}:
        of_case = [r for r in rows if (r["collection"], r["view"]) == case]
        default = next(r for r in of_case if r["default"])
        for row in of_case:
            own = next(r for r in of_case if r["encoder"] == row["encoder"] and r["own default"])
            if row is not default:
                yield duel(row, default, row["like the default"], own=False)
            if row is not own and own is not default:
                yield duel(row, own, row["like its own default"], own=True)


def duel(row: dict[str, Any], default: dict[str, Any], alike: float, *, own: bool) -> Duel:
    figures = {name: row[name] - default[name] for name in FIGURES}
    figures["other neighbours"] = 1 - alike
    if len({row["encoder"], default["encoder"], REFERENCE}) == 3:
        figures["agreement with the networks"] = row["like the networks"] - default["like the networks"]
    effects = effects_of(row["encoder"], row["recipe"], default["encoder"], row["look"], 1 - alike)
    return Duel(row, figures, effects, {score: row[score] - default[score] for score in SCORES}, own)


class Ridge:
    """The judge's model of one score.

    Every collection counts alike, whatever the number of its views and candidates. Figures are standardized; coefficients
    of figures and effects are drawn towards 0 by ``DRAWN``.
    """

    DRAWN = 10.0

    def __init__(self, found: list[Duel], score: str) -> None:
        self.figures = sorted({name for d in found for name in d.figures})
        self.effects = sorted({name for d in found for name in d.effects})
        table = self._table(found)
        self.scale = np.r_[table[:, : len(self.figures)].std(axis=0) + 1e-9, np.ones(len(self.effects))]
        table /= self.scale
        gains = np.array([d.gains[score] for d in found])
        apart = self.apart(found)
        parents = [parent(d.row) for d in found]
        views = {
            p: len({d.row["view"] + d.row["collection"] for d, q in zip(found, parents, strict=True) if q == p})
            for p in set(parents)
        }
        share = np.array([1 / views[p] for p in parents])
        weights = share / apart**2
        pulled = table.T * weights
        self.coefficients = (
            np.linalg.solve(pulled @ table + self.DRAWN * np.eye(table.shape[1]), pulled @ gains) / self.scale
        )
        self.share = share

    def _table(self, found: list[Duel]) -> NDArray[np.float64]:
        return np.array(
            [
                [d.figures.get(n, 0.0) for n in self.figures] + [d.effects.get(n, 0.0) for n in self.effects]
                for d in found
            ]
        )

    @staticmethod
    def apart(found: list[Duel]) -> NDArray[np.float64]:
        """Return the share of neighbours that differ, and ``LEAST_APART``."""
        return np.array([d.figures["other neighbours"] for d in found]) + LEAST_APART

    def predict(self, found: list[Duel]) -> NDArray[np.float64]:
        """Predict gains."""
        return np.asarray(self._table(found) @ self.coefficients)

    def to_json(self) -> dict[str, dict[str, float]]:
        """Return the coefficients as ``judge.json`` has them."""
        names = [*self.figures, *self.effects]
        rounded = {n: float(f"{c:.4g}") for n, c in zip(names, self.coefficients.tolist(), strict=True)}
        return {"figures": {n: rounded[n] for n in self.figures}, "effects": {n: rounded[n] for n in self.effects}}


def left_out(found: list[Duel], score: str, group: Callable[[dict[str, Any]], str]) -> NDArray[np.float64]:
    """Predict each duel by a model that saw none of its group."""
    groups = np.array([group(d.row) for d in found])
    predicted = np.empty(len(found))
    for each in np.unique(groups):
        rest = [d for d, g in zip(found, groups, strict=True) if g != each]
        predicted[groups == each] = Ridge(rest, score).predict(
            [d for d, g in zip(found, groups, strict=True) if g == each]
        )
    return predicted


def spread(found: list[Duel], predicted: NDArray[np.float64], score: str) -> float:
    """Return what makes intervals of 80 % hold the truth in 80 % of the duels, collections counting alike."""
    missed = np.abs(np.array([d.gains[score] for d in found]) - predicted) / Ridge.apart(found)
    parents = np.array([parent(d.row) for d in found])
    weights = np.array([1 / (parents == p).sum() for p in parents])
    order = np.argsort(missed)
    at = np.searchsorted(np.cumsum(weights[order]) / weights.sum(), 0.8)
    return float(missed[order[at]] / WIDTH)


def choices(
    found: list[Duel], predicted: dict[str, NDArray[np.float64]], wide: dict[str, dict[str, float]], whole: bool
) -> Iterator[dict[str, Any]]:
    """Yield, by collection and aim, what is picked, and what that is worth by labels."""
    apart = Ridge.apart(found)
    cases: dict[tuple[str, ...], list[int]] = {}
    for i, d in enumerate(found):
        if whole <= (d.row["view"] == "whole"):
            cases.setdefault((d.row["collection"], d.row["view"], d.row["encoder"] if d.own else ""), []).append(i)
    none = dict.fromkeys(SCORES, Gain(0.0, 0.0, 0.0))
    for case, places in cases.items():
        gains = [none]
        for i in places:
            kind = "same encoder" if is_same(found[i]) else "known encoder"
            ends = {s: WIDTH * wide[s][kind] * apart[i] for s in SCORES}
            gains.append(
                {s: Gain(predicted[s][i], predicted[s][i] - ends[s], predicted[s][i] + ends[s]) for s in SCORES}
            )
        for aim, wanted in AIMS.items():
            true = {s: np.r_[0.0, [found[i].gains[s] for i in places]] for s in SCORES}
            taken, score = pick(gains, 0, aim), wanted.score
            yield {
                "collection": case[0], "view": case[1], "encoder": case[2], "aim": aim,
                "taken": "the default" if not taken else f"{found[places[taken - 1]].row['encoder']}, {found[places[taken - 1]].row['recipe']}",
                "loss": true[score].max() - true[score][taken], "gain": true[score][taken], "P@1": true["P@1"][taken],
                "best": true[score].max(), "true": true[score], "predicted": np.array([g[score].mean for g in gains]),
                "held": [g[score].low <= t <= g[score].high for g, t in zip(gains[1:], true[score][1:], strict=True)],
                "encoders": [d.row["encoder"] for d in [found[i] for i in places]], "recipes": [found[i].row["recipe"] for i in places],
                "own defaults": [found[i].row["own default"] for i in places],
            }  # fmt: skip


def ordered(one: dict[str, Any], near: float = np.inf) -> tuple[float, float]:
    """Return the rank correlation of predicted and true: between encoders, each with its own default, and within encoders."""
    from scipy.stats import spearmanr

    true, predicted = one["true"], one["predicted"]
    encoders = np.array([None, *one["encoders"]], object)
    close = true >= true.max() - near

    def rho(chosen: NDArray[np.bool_]) -> float:
        chosen = chosen & close
        if chosen.sum() < 3 or np.ptp(true[chosen]) == 0 or np.ptp(predicted[chosen]) == 0:
            return np.nan
        return float(spearmanr(true[chosen], predicted[chosen]).statistic)

    between = rho(np.array([True, *one["own defaults"]]))
    within = [rho(encoders == e) for e in dict.fromkeys(one["encoders"])]
    return between, float(np.nanmean(within)) if np.isfinite(within).any() else np.nan


def proof(made: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum up picks of one aim, as they are printed under a verdict."""
    loss, gain = (np.array([one[name] for one in made]) for name in ("loss", "gain"))
    return {
        "collections": len({one["collection"] for one in made}), "cases": len(made), "within .02": int((loss <= 0.02).sum()), "greatest loss": round(float(loss.max()), 3),
        "mean gain": round(float(gain.mean()), 3) + 0.0, "least gain": round(float(gain.min()), 3) + 0.0,
    }  # fmt: skip


def fit(options: argparse.Namespace) -> None:
    """Make the judge, and show what it is worth."""
    with TABLE.open() as lines:
        rows = [
            {k: number(v) for k, v in row.items()} for row in csv.DictReader(line for line in lines if line[0] != "#")
        ]
    found = list(duels(rows))
    against = {kind: [d for d in found if d.own == (kind == "adapt")] for kind in ("compare", "adapt")}
    models: dict[str, Any] = {}
    predicted: dict[str, NDArray[np.float64]] = {}
    for score in SCORES:
        predicted[score] = left_out(found, score, parent)
        unknown = left_out(found, score, lambda row: str(row["encoder"]))
        same = np.array([is_same(d) for d in found])
        of_others = [d for d in found if not is_same(d)]
        known = spread(of_others, predicted[score][~same], score)
        models[score] = Ridge(found, score).to_json() | {
            "spread": {
                "same encoder": round(spread([d for d in found if is_same(d)], predicted[score][same], score), 4),
                "known encoder": round(known, 4),
                "unknown encoder": round(max(known, spread(of_others, unknown[~same], score)), 4),
            }
        }
    wide = {score: models[score]["spread"] for score in SCORES}
    evidence: dict[str, dict[str, Any]] = {}
    for kind, some in against.items():
        mine = {s: predicted[s][[d.own == (kind == "adapt") for d in found]] for s in SCORES}
        made = list(choices(some, mine, wide, whole=True))
        if (
            kind == "adapt"
        ):  # of each collection the encoder that is its default has no duel of its own: it is among the others
            made += list(default_encoders(against["compare"], predicted, found, wide))
        for aim in AIMS:
            of_aim = [one for one in made if one["aim"] == aim]
            evidence.setdefault(kind, {})[aim] = proof(of_aim)
            show(kind, aim, of_aim, verbose=options.verbose and kind == "compare")
        if options.write:
            keep("candidates-left-out", kind, [told(one) for one in made])
    if options.write:
        text = json.dumps({"scores": models, "evidence": evidence}, indent=1, sort_keys=False)
        JUDGE.write_text(text + "\n", encoding="utf-8")
    if options.picture:
        draw(found, predicted, options.picture)


def told(one: dict[str, Any]) -> dict[str, Any]:
    """Return what a choice was worth by labels, as the docs tell it."""
    between, within = ordered(one)
    return {
        "collection": one["collection"], "aim": one["aim"], "taken": one["taken"], "loss": one["loss"], "gain": one["gain"],
        "gain of P@1": one["P@1"], "best gain": one["best"], "rank correlation between encoders": between,
        "rank correlation within": within, "held": float(np.mean(one["held"])), "left": one["taken"] != "the default",
    }  # fmt: skip


def default_encoders(
    against: list[Duel], predicted: dict[str, NDArray[np.float64]], found: list[Duel], wide: dict[str, dict[str, float]]
) -> Iterator[dict[str, Any]]:
    """Yield the choices within each collection's default encoder."""
    same = [d for d in against if is_same(d)]
    places = {id(d): i for i, d in enumerate(found)}
    yield from choices(same, {s: predicted[s][[places[id(d)] for d in same]] for s in SCORES}, wide, whole=True)


def show(kind: str, aim: str, made: list[dict[str, Any]], *, verbose: bool) -> None:
    if verbose:
        for one in made:
            between, within = ordered(one)
            print(
                f"{one['collection']:20} {aim:9} loss {one['loss']:.3f}  gain {one['gain']:+.3f}  P@1 {one['P@1']:+.3f}  best {one['best']:.3f}  "
                f"rank correlation {between:.2f}, within {within:.2f}  {one['taken']}"
            )
    rho = np.array([ordered(one) for one in made])
    near = np.array([ordered(one, 0.10) for one in made])
    loss, gain, first, best = (np.array([one[n] for one in made]) for n in ("loss", "gain", "P@1", "best"))
    held = np.mean([np.mean(one["held"]) for one in made])
    print(
        f"{kind}, {aim}, {len(made)}: loss {loss.mean():.3f} (worst {loss.max():.3f}), the default's {best.mean():.3f} (worst {best.max():.3f}); gain {gain.mean():+.4f} "
        f"(worst {gain.min():+.3f}), P@1 {first.mean():+.4f} (worst {first.min():+.3f}); rank correlation between encoders "
        f"{np.nanmean(rho[:, 0]):.2f} (worst {np.nanmin(rho[:, 0]):.2f}; within .10 of the best {np.nanmean(near[:, 0]):.2f}), within "
        f"{np.nanmean(rho[:, 1]):.2f} (worst {np.nanmin(rho[:, 1]):.2f}); intervals hold {held:.2f}; left the default {sum(one['taken'] != 'the default' for one in made)} times"
    )


def number(text: str) -> Any:
    if text in ("True", "False"):
        return text == "True"
    try:
        return float(text)
    except ValueError:
        return text


def draw(found: list[Duel], predicted: dict[str, NDArray[np.float64]], path: Path) -> None:
    """Draw predicted against true, each collection left out: a chart a score."""
    from lookalike.reports.charts import blank_figure, chart_axes, headline, line_style
    from lookalike.reports.figures import save

    figure = blank_figure(7.4, 4.0)
    headline(figure, "Expected and true gain over the default, each collection left out")
    looks = list(dict.fromkeys(d.row["look"] for d in found))
    for across, score in enumerate(SCORES):
        ax = chart_axes(figure, 0.7 + 3.5 * across, 0.7, 2.9, 2.7)
        for place, look in enumerate(looks):
            of = [i for i, d in enumerate(found) if d.row["look"] == look and d.row["view"] == "whole" and not d.own]
            style = line_style(place) | {"ls": "none", "ms": 3, "alpha": 0.6}
            ax.plot(predicted[score][of], [found[i].gains[score] for i in of], label=look, **style)
        ax.axline((0, 0), slope=1, color="0.6", lw=0.8)
        ax.set_xlabel(f"expected gain of {score}", size=8)
        ax.set_ylabel("true gain", size=8)
        if not across:
            ax.legend(fontsize=7, frameon=False)
    save(figure, path, overwrite=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("--shared", type=Path, default=HERE.parents[1] / "shared" / "data")
    measuring.add_argument("--packages", type=Path)
    measuring.add_argument("--scratch", type=Path, default=HERE / "runs" / "candidates")
    measuring.add_argument("--part", default="0/1", help="so many parts can run side by side")
    fitting = commands.add_parser("fit")
    fitting.add_argument("--write", action="store_true", help="put what was learnt into the package")
    fitting.add_argument("--verbose", action="store_true", help="print every collection")
    fitting.add_argument("--picture", type=Path, help="predicted against true: a .png or .svg")
    options = parser.parse_args()
    {"measure": measure, "fit": fit}[options.command](options)


if __name__ == "__main__":
    main()
