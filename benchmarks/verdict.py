"""Can the verdict without labels be trusted? Its figures against labelled scores, over collections, encoders, recipes.

    python benchmarks/verdict.py [--shared ../shared/data] [--emoji FOLDER] [--fonts FOLDER] [--cache FOLDER]
        [--only NAME ...]

For every collection x encoder x post-processing: the self-test's figures, which read no label, and the labelled mAP,
P@1 and LRAP@100. MNIST is from the training images only. Where there is no set of queries each image is one against
all others. Emoji are the 64-pixel pictures of the npm packages emoji-datasource-google and -twitter (a folder that
holds both, unpacked): *emoji kinds* has subcategories for labels, *emoji vendors* asks for the same sign by the
other vendor. *letters* are 46 characters in 24 fonts (npm packages @fontsource/NAME for the NAMEs in ``FONTS``; ``--fonts``
names a folder that holds NAME-latin-400-normal.woff of each), *textures* are patches of 16 pictures that scikit-image
brings along. Reported: Spearman's rank correlation in each collection, the figure that the other collections would
have chosen, and how much the pick by it loses against the best. Every row goes to runs/verdict/; correlations and losses
to results/verdict.csv, verdict-within.csv and verdict-gains.csv.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from study import keep

from lookalike import create_encoder, open_collection
from lookalike.atomic import replace_file
from lookalike.metrics.ranking import per_query, score_names
from lookalike.metrics.ranks import rank_relevant
from lookalike.neighbors.exact import Database
from lookalike.selection.adapt import AIMS, RECIPES, Learner, Material, choose, prepare_material
from lookalike.selection.selftest import Trial, run_trial

Images = NDArray[np.uint8]
LABELLED = ("mAP", "P@1", "LRAP@100")
WITH_KINDS = ("MNIST", "digits", "Corel-1k", "emoji kinds", "letters", "textures")
CHARACTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabdefghijmnqrt23456789"
FONTS = (
    "roboto", "open-sans", "lato", "montserrat", "merriweather", "lora", "playfair-display", "source-code-pro",
    "inconsolata", "oswald", "raleway", "pt-serif", "pt-sans", "ubuntu", "noto-serif", "fira-sans", "crimson-text",
    "bitter", "abril-fatface", "pacifico", "dancing-script", "caveat", "comfortaa", "righteous",
)  # fmt: skip
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "pixels": ("pixels", {}),
    "hog": ("hog", {}),
    "hog deskew": ("hog", {"deskew": True}),
    "color": ("color", {}),
    "neural": ("neural", {}),
    "neural+color": ("neural+color", {}),
}
SIDES = {"pixels": 32, "hog": 64, "color": 64, "neural": 224, "neural+color": 224}


@dataclass(frozen=True)
class Case:
    """A collection with labels: ``images(side)`` and ``queries(side)``, the latter None for leave one out."""

    name: str
    encoders: tuple[str, ...]
    images: Callable[[int], Images]
    labels: NDArray[np.str_]
    queries: Callable[[int], Images] | None = None
    query_labels: NDArray[np.str_] | None = None


def read(paths: list[Path], side: int) -> Images:
    def one(path: Path) -> NDArray[np.uint8]:
        image = Image.open(path)
        if image.mode in ("P", "LA", "RGBA"):
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0))

    return np.stack([one(path) for path in paths])


def letters(fonts: Path, side: int = 32) -> tuple[Images, NDArray[np.str_]]:
    """Draw each character in each font, white on black, its longer side three quarters of the image's."""
    images, labels = [], []
    for name in FONTS:
        font = ImageFont.truetype(str(fonts / f"{name}-latin-400-normal.woff"), 200)
        for character in CHARACTERS:
            sheet = Image.new("L", (400, 400), 0)
            ImageDraw.Draw(sheet).text((200, 200), character, fill=255, font=font, anchor="mm")
            glyph = sheet.crop(sheet.getbbox())
            whole = Image.new("L", [int(max(glyph.size) / 0.75)] * 2, 0)
            whole.paste(glyph, ((whole.width - glyph.width) // 2, (whole.height - glyph.height) // 2))
            images.append(np.asarray(whole.resize((side, side), Image.Resampling.LANCZOS, reducing_gap=3)))
            labels.append(character)
    return np.stack(images), np.array(labels)


def textures(side: int) -> tuple[Images, NDArray[np.str_]]:
    """Cut 40 patches out of each of scikit-image's own pictures that aren't even there."""
    import skimage

    names = (
        "brick.png", "grass.png", "gravel.png", "retina.jpg", "ihc.png", "page.png", "coins.png",
        "hubble_deep_field.jpg", "motorcycle_left.png", "moon.png", "chelsea.png", "rocket.jpg", "coffee.png",
        "text.png", "camera.png", "astronaut.png",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    images, labels = [], []
    for name in names:
        picture = Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB")
        patch = max(40, min(96, min(picture.size) // 3))
        got = 0
        while got < 40:
            x, y = (int(rng.integers(length - patch + 1)) for length in picture.size)
            cut = picture.crop((x, y, x + patch, y + patch))
            if np.asarray(cut).std(axis=(0, 1)).max() >= 4:
                images.append(np.asarray(cut.resize((side, side), Image.Resampling.BILINEAR)))
                labels.append(name)
                got += 1
    return np.stack(images), np.array(labels)


def cases(shared: Path, emoji: Path | None, fonts: Path | None) -> Iterator[Case]:
    train = open_collection("mnist:train")
    drawn = np.random.default_rng(0).permutation(len(train))
    queries, database = train.take(np.sort(drawn[:300])), train.take(np.sort(drawn[300:3300]))
    yield Case(
        "MNIST", ("pixels", "hog", "hog deskew"), lambda _: database.array(), np.asarray(database.labels),
        lambda _: queries.array(), np.asarray(queries.labels),
    )  # fmt: skip
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    yield Case("digits", ("pixels", "hog", "hog deskew"), lambda _: grey, digits.target.astype(str))
    photos = sorted(shared.glob("corel1k/*/*.jpg"))
    every = ("pixels", "hog", "color", "neural", "neural+color")
    yield Case("Corel-1k", every, lambda side: read(photos, side), np.array([p.parent.name for p in photos]))
    paintings = sorted(shared.glob("museum-2022/BBDD/*.jpg"))
    numbers = np.array([str(int(p.stem.split("_")[1])) for p in paintings])
    for name, folder in (("museum crops", "qsd1_w1"), ("museum wall", "qsd2_w1")):
        asked = sorted(shared.glob(f"museum-2022/{folder}/*.jpg"))
        truth = json.loads((shared / "museum-2022" / folder / "gt_corresps.json").read_text())
        # A photo with two paintings is asked once for each.
        pairs = [(path, str(number)) for path, right in zip(asked, truth, strict=True) for number in right]
        yield Case(
            name, every, lambda side: read(paintings, side), numbers,
            lambda side, pairs=pairs: read([p for p, _ in pairs], side), np.array([n for _, n in pairs]),
        )  # fmt: skip
    if emoji:
        facts = json.loads(next(emoji.glob("*google*/emoji.json")).read_text())
        facts = [e for e in facts if e["has_img_google"] and e["has_img_twitter"] and e["category"] != "Flags"]
        sizes = {s: sum(e["subcategory"] == s for e in facts) for s in {e["subcategory"] for e in facts}}
        facts = [e for e in facts if sizes[e["subcategory"]] >= 10]

        def pictures(vendor: str) -> list[Path]:
            return [next(emoji.glob(f"*{vendor}*/img/{vendor}/64")) / e["image"] for e in facts]

        google, twitter = pictures("google"), pictures("twitter")
        kinds, signs = np.array([e["subcategory"] for e in facts]), np.array([e["unified"] for e in facts])
        yield Case("emoji kinds", every, lambda side: read(google, side), kinds)
        some = np.random.default_rng(0).permutation(len(facts))[:400]
        yield Case(
            "emoji vendors", every, lambda side: read(google, side), signs,
            lambda side: read([twitter[i] for i in some], side), signs[some],
        )  # fmt: skip
    yield Case("textures", every[:4], lambda side: textures(side)[0], textures(64)[1])
    if fonts:
        drawn_letters, characters = letters(fonts)
        yield Case("letters", ("pixels", "hog", "hog deskew"), lambda _: drawn_letters, characters)


def described(
    case: Case, name: str, cache: Path | None
) -> tuple[Material, NDArray[np.float32], NDArray[np.float32] | None, dict[str, float]]:
    """Encode a case once: the material, the database, the queries, the cost."""
    encoder_name, params = ENCODERS[name]
    file = kept_as(cache, case, name, "npz") if cache else None
    if file and file.is_file():
        with np.load(file) as a:
            copies = {k.removeprefix("copies-"): a[k] for k in a.files if k.startswith("copies-")}
            facts = json.loads(str(a["facts"]))
            trial = Trial(a["database"], a["originals"], copies, facts["distance"], facts["families"])
            material = Material(a["anchors"], a["learn"], trial, facts["unit"])
            return material, a["all"], a["queries"] if "queries" in a.files else None, facts["cost"]
    side = SIDES[encoder_name]
    images = case.images(side)
    encoder = create_encoder(encoder_name, **params).fit(images)
    begun = time.process_time()
    database = encoder.encode(images)
    cost = {"processor_seconds_an_image": (time.process_time() - begun) / len(images)}
    begun = time.process_time()
    material = prepare_material(encoder, images, each=False)
    cost["processor_seconds_of_material"] = time.process_time() - begun
    queries = encoder.encode(case.queries(side)) if case.queries else None
    if file:
        t = material.trial
        facts = {"distance": t.distance, "families": t.families, "unit": material.unit, "cost": cost}
        arrays = {"copies-" + k: v for k, v in t.copies.items()} | ({} if queries is None else {"queries": queries})
        np.savez(
            file,
            database=t.database,
            originals=t.originals,
            anchors=material.anchors,
            learn=material.copies,
            all=database,
            facts=json.dumps(facts),
            **arrays,
        )
    return material, database, queries, cost


def labelled(
    case: Case, database: NDArray[np.float32], queries: NDArray[np.float32] | None, distance: str
) -> dict[str, float]:
    """Score with labels; a blank image, which has no angle, goes to a place of its own."""
    if distance == "cosine":
        database = np.where(database.any(axis=1, keepdims=True), database, np.float32(1e-20))
    prepared = Database(database, distance)
    names, rows = score_names([min(100, len(database))]), []
    asked = database if queries is None else queries
    labels = case.labels if case.query_labels is None else case.query_labels
    if distance == "cosine":
        asked = np.where(asked.any(axis=1, keepdims=True), asked, np.float32(1e-20))
    for start in range(0, len(asked), 200):
        part = slice(start, start + 200)
        distances = prepared.distances(asked[part], resolved=True)
        relevant = case.labels[None] == labels[part, None]
        if queries is None:  # itself comes last and isn't right
            here = np.arange(len(distances))
            distances[here, start + here] = np.inf
            relevant[here, start + here] = False
        rows += [per_query(ranks, [min(100, len(database))]) for ranks in rank_relevant(distances, relevant)]
    means = dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True))
    return {"mAP": means["mAP"], "P@1": means["P@1"], "LRAP@100": means[names[-1]]}


def measure(case: Case, cache: Path | None) -> Iterator[dict[str, Any]]:
    """Yield the rows of each encoder; with a cache, those of an earlier run of the same code."""
    for name in case.encoders:
        kept = kept_as(cache, case, name, "json") if cache else None
        if kept and kept.is_file():
            yield from json.loads(kept.read_text())
            continue
        rows = list(measured(case, name, cache))
        if kept:
            with replace_file(kept) as f:
                f.write(json.dumps(rows).encode())
        yield from rows


def kept_as(cache: Path, case: Case, name: str, ending: str) -> Path:
    """Name the file of an encoder on a collection by all that it comes from, so that no other code's is taken for it."""
    return cache / f"{case.name}-{name}-{'-'.join(code().values())}.{ending}".replace(" ", "_")


def code() -> dict[str, str]:
    """Return the hashes of the files that the figures come from."""
    source = Path(__file__).parents[1] / "src/lookalike"
    names = (
        "selection/adapt.py", "selection/recipes.py", "selection/selftest.py", "transforms/augmentations.py", "transforms/families.py",
        "transforms/pixel_maps.py", "transforms/views.py",
        "encoders/postprocess.py",
    )  # fmt: skip
    return {name: hashlib.sha256((source / name).read_bytes()).hexdigest()[:12] for name in names}


def measured(case: Case, name: str, cache: Path | None) -> Iterator[dict[str, Any]]:
    material, database, queries, cost = described(case, name, cache)
    learner = Learner(material)
    tested, made = {}, []
    for recipe in RECIPES:
        begun = time.process_time()
        post = learner.learn(recipe)
        seconds = time.process_time() - begun
        if post is None and recipe.name != "unchanged":
            continue
        test = run_trial(material.trial, post)
        a, b = (
            (database, queries)
            if post is None
            else (post.apply(database), None if queries is None else post.apply(queries))
        )
        tested[str(recipe)] = test
        made.append({
            "collection": case.name, "images": len(database), "encoder": name, "recipe": str(recipe),
            "dimension": int(a.shape[1]), "learn_processor_seconds": seconds, **cost,
            "figures": test.figures, "intervals": {k: list(v) for k, v in test.intervals.items()},
            "labelled": labelled(case, a, b, material.trial.distance if post is None else "cosine"),
        })  # fmt: skip
    for row in made:  # the aims for which lookalike.selection.adapt chooses this
        yield row | {"chosen_for": [aim for aim in AIMS if choose(tested, aim)[0] == row["recipe"]]}


def spearman(x: list[float], y: list[float]) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(x, y).statistic)


def correlations(rows: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Return collection -> labelled score -> figure -> Spearman over encoders x recipes."""
    names = sorted({r["collection"] for r in rows})
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in names:
        some = [r for r in rows if r["collection"] == name]
        figures = [f for f in some[0]["figures"] if all(f in r["figures"] for r in some)]
        found[name] = {
            s: {f: spearman([r["figures"][f] for r in some], [r["labelled"][s] for r in some]) for f in figures}
            for s in LABELLED
        }
    return found


def leave_one_out(rows: list[dict[str, Any]], found: dict[str, Any]) -> list[dict[str, Any]]:
    """For each collection and score: the figure that the others choose, its correlation here, the pick and its loss.

    P@1 over all collections; mAP and LRAP@100 over those that have kinds, as elsewhere one image alone is right.
    """
    results = []
    for s in LABELLED:
        names = [n for n in found if s == "P@1" or n in WITH_KINDS]
        for name in names:
            some = [r for r in rows if r["collection"] == name]
            others = [n for n in names if n.split()[0] != name.split()[0]]
            shared = [f for f in found[name][s] if all(f in found[o][s] for o in others)]
            mean = {f: float(np.nanmean([found[o][s][f] for o in others])) for f in shared}
            figure = max(mean, key=lambda f: mean[f])
            pick = max(some, key=lambda r: r["figures"][figure])
            best = max(some, key=lambda r: r["labelled"][s])
            results.append({
                "collection": name, "score": s, "figure": figure, "mean_of_others": mean[figure],
                "spearman": found[name][s][figure], "pick": f"{pick['encoder']}, {pick['recipe']}",
                "score_of_pick": pick["labelled"][s], "best": f"{best['encoder']}, {best['recipe']}",
                "score_of_best": best["labelled"][s], "loss": best["labelled"][s] - pick["labelled"][s],
            })  # fmt: skip
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--emoji", type=Path, help="folder with the two npm packages, unpacked")
    parser.add_argument("--fonts", type=Path, help="folder with a .woff file of each font")
    parser.add_argument("--cache", type=Path, help="keep descriptors here, for trying again")
    parser.add_argument("--only", nargs="*", help="names of collections, two or more")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for case in cases(options.shared, options.emoji, options.fonts):
        if options.only and case.name not in options.only:
            continue
        for row in measure(case, options.cache):
            rows.append(row)
            scores = " ".join(f"{k} {v:.3f}" for k, v in row["labelled"].items())
            print(
                f"{row['collection']:14} {row['encoder']:11} {row['recipe']:36} {scores} {' '.join(row['chosen_for'])}",
                flush=True,
            )
    found = correlations(rows)
    chosen = leave_one_out(rows, found)
    for name, by_score in found.items():
        for s, figures in by_score.items():
            best = sorted(figures.items(), key=lambda kv: -kv[1])[:6]
            print(f"{name:14} {s:9}", "  ".join(f"{f} {v:.2f}" for f, v in best))
    for r in chosen:
        print(
            f"{r['collection']:14} {r['score']:9} {r['figure']:18} rho {r['spearman']:.2f}  loss {r['loss']:.3f}  {r['pick']}  (best: {r['best']})"
        )
    if options.only or not (options.emoji and options.fonts):
        print(
            "not kept, since it would replace rows of more collections: name --emoji and --fonts, and leave out --only"
        )
        return
    result = {"rows": rows, "spearman": found, "leave_one_collection_out": chosen}
    settings = {"hashes of the code": code()}
    keep("verdict", "verdict", result, peers=["scipy", "scikit-learn", "scikit-image"], settings=settings)


if __name__ == "__main__":
    main()
