"""Would other recipes make `adapt` better? Closed-form shrinkage, damage weighed by need, and a small network.

    python benchmarks/recipes.py [--shared ../shared/data] [--emoji FOLDER] [--fonts FOLDER] [--cache FOLDER]

Beside the recipes that `adapt` tries, on the collections of verdict.py and on 6,000 + 1,000 training digits of MNIST:

*oas*, *ledoit-wolf*
    the within scatter shrunk by closed form (Y. Chen et al., 2010; O. Ledoit and M. Wolf, 2004; scikit-learn's), and
    beside them fixed shares as small, *adapted (r 0.01)* and *(r 0.03)*;
*each family*, *each alike*, *by need*
    the sum of the scatters that every family of damage gives alone, as they are; brought to one size (*each alike*); or
    weighed by how much of the reciprocal rank the family costs the encoder (mean weight 1);
*linear*, *hidden*
    a network over the descriptors, trained by InfoNCE (A. van den Oord et al., 2018) in JAX; positives are two views
    by damage, or an image and one of its 20 nearest in the adapted space. It begins as the closed form of the same
    positives: ``linear`` is its matrix trained on, ``hidden`` adds 512 rectified units whose output begins at 0.

Labels only score. Each recipe's mAP and P@1 come with the paired 95 % interval of their difference to ``adapted``
with r .1 and 1; the self-test's figures say what would have been chosen. Raw runs go to runs/recipes/, rows to
results/recipes.csv, recipes-self-test.csv and recipes-networks.csv.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from study import keep, read_run
from verdict import ENCODERS, SIDES, Case, cases, described

from lookalike import create_encoder, open_collection
from lookalike.encoders.postprocess import Projection
from lookalike.metrics.bootstrap import bootstrap_interval
from lookalike.metrics.ranking import per_query, score_names
from lookalike.metrics.ranks import rank_relevant
from lookalike.neighbors.exact import Database
from lookalike.selection.adapt import AIMS, RECIPES, Learner, Material, Recipe, choose, solve
from lookalike.selection.selftest import SelfTest, run_trial
from lookalike.transforms.augmentations import augment

Float32Array = NDArray[np.float32]
#: What is measured, and whether networks are.
TRIED = {
    ("MNIST 6,000", "hog deskew"): True, ("Corel-1k", "neural"): True, ("Corel-1k", "hog"): False,
    ("emoji kinds", "neural"): True, ("emoji vendors", "neural"): True, ("emoji kinds", "hog"): False,
    ("emoji vendors", "hog"): False, ("letters", "hog deskew"): True, ("textures", "neural"): False,
    ("textures", "hog"): False, ("museum crops", "neural"): False, ("museum wall", "neural"): False,
}  # fmt: skip
CLOSED = [r for r in RECIPES if r.name != "kernel" or r.neighbours == 20]
LITTLE, REFERENCE, NEIGHBOURS = "adapted (r 0.1)", "adapted (r 1)", "neighbours (r 0.3, 20 neighbours)"
#: What networks begin from, and the best closed form; learnt again where only networks are measured.
BESIDE = ("unchanged", LITTLE, REFERENCE, NEIGHBOURS, "kernel (r 0.03, 20 neighbours)")
#: Most anchors that get a copy by each family.
MAX_EACH, MAX_EACH_LARGE = 1000, 200
STEPS, BATCH, UNITS, RATE = 600, 256, 512, 1e-2
#: InfoNCE's temperature.
WARMTHS = (0.1, 0.5, 1.0)


def wanted(shared: Path, emoji: Path | None, fonts: Path | None) -> Iterator[Case]:
    train = open_collection("mnist:train")
    drawn = np.random.default_rng(0).permutation(len(train))
    queries, database = train.take(np.sort(drawn[:1000])), train.take(np.sort(drawn[1000:7000]))
    yield Case(
        "MNIST 6,000", ("hog deskew",), lambda _: database.array(), np.asarray(database.labels),
        lambda _: queries.array(), np.asarray(queries.labels),
    )  # fmt: skip
    for case in cases(shared, emoji, fonts):
        encoders = tuple(encoder for name, encoder in TRIED if name == case.name)
        if encoders:
            yield replace(case, encoders=encoders)


def copies_by_family(case: Case, name: str, material: Material, everything: Float32Array, cache: Path | None) -> Any:
    """Return family -> descriptors of one copy of each of the first anchors, damaged by this family alone."""
    file = cache / f"{case.name}-{name}-families.npz".replace(" ", "_") if cache else None
    if file and file.is_file():
        with np.load(file) as stored:
            return {family: stored[family] for family in stored.files}
    encoder_name, params = ENCODERS[name]
    images = case.images(SIDES[encoder_name])
    encoder = create_encoder(encoder_name, **params).fit(images)
    shown = images[everything.any(axis=1)] if len(material.trial.database) != len(images) else images
    most = MAX_EACH_LARGE if encoder_name == "neural" else MAX_EACH
    some = shown[material.anchors[:most]]
    made = {f: encoder.encode(augment(some, {f: a}, seed=7)) for f, a in material.trial.families.items()}
    if file:
        np.savez(file, **made)
    return made


def unit(rows: Float32Array) -> Float32Array:
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.where(lengths == 0, 1, lengths), np.float32)


def by_family(learner: Learner, families: dict[str, Float32Array]) -> Iterator[tuple[str, Projection, dict[str, Any]]]:
    """Weigh the families' own scatters, equally and by need."""
    material = learner.material
    first = material.anchors[: len(next(iter(families.values())))]
    database = Database(material.trial.database, material.trial.distance)
    scatters, need = {}, {}
    for family, copies in families.items():
        away = unit(copies) - unit(material.trial.database[first])
        scatters[family] = (away.T @ away / len(away)).astype(np.float64)
        distances = database.distances(np.where(copies.any(axis=1, keepdims=True), copies, np.float32(1e-20)))
        own = distances[np.arange(len(first)), first]
        need[family] = 1 - float((1 / (1 + (distances < own[:, None]).sum(axis=1))).mean())
    total = sum(need.values()) or 1.0
    weights = {f: len(need) * n / total for f, n in need.items()}
    whole = sum(float(np.trace(s)) for s in scatters.values())
    alike = {f: whole / len(scatters) / max(float(np.trace(s)), 1e-30) for f, s in scatters.items()}
    for name, by in (("each family", dict.fromkeys(need, 1.0)), ("each alike", alike), ("by need", weights)):
        within = sum(by[f] * scatters[f] for f in scatters)
        for shrink in (0.1, 1, 5):
            matrix = solve(learner.total["linear"], np.asarray(within), shrink)
            yield f"{name} (r {shrink:g})", Projection(name, learner.mean, matrix, material.unit, params={}), by


def by_closed_shrinkage(learner: Learner) -> Iterator[tuple[str, Projection, dict[str, Any]]]:
    from sklearn.covariance import ledoit_wolf, oas

    material = learner.material
    away = unit(material.copies) - unit(material.trial.database[material.anchors])
    away = away.reshape(-1, away.shape[-1])
    for name, shrunk in (("oas", oas), ("ledoit-wolf", ledoit_wolf)):
        within, share = shrunk(away, assume_centered=True)
        matrix = solve(learner.total["linear"], within, 0)
        facts = {"share": float(share), "as r": float(share / (1 - share))}
        yield name, Projection(name, learner.mean, matrix, material.unit, params={}), facts


class Head:
    """A network over descriptors; stands where a projection does."""

    def __init__(self, mean: Float32Array, scaled: bool, weights: dict[str, Float32Array]) -> None:
        self.mean, self.scaled, self.weights = mean, scaled, weights

    def apply(self, rows: Float32Array) -> Float32Array:
        """Return what the network makes of descriptors."""
        rows = (unit(rows) if self.scaled else rows) - self.mean
        made = rows @ self.weights["a"]
        if "w1" in self.weights:
            made += np.maximum(rows @ self.weights["w1"] + self.weights["b1"], 0) @ self.weights["w2"]
        return np.asarray(made, np.float32)


def network(learner: Learner, start: Projection, hidden: bool, near: bool, warmth: float) -> Head:
    """Train a head by InfoNCE, beginning as the closed form."""
    import jax
    import jax.numpy as jnp

    material, rng = learner.material, np.random.default_rng(0)
    table = learner.table - learner.mean
    if near:
        views = None
    else:
        views = np.concatenate([table[material.anchors][None], unit(material.copies) - learner.mean]).astype(np.float32)
    spread = float(np.sqrt((table**2).mean()))
    weights = {"a": start.matrix}
    if hidden:
        length = table.shape[1]
        weights |= {
            "w1": (rng.standard_normal((length, UNITS)) * np.sqrt(2 / length) / spread).astype(np.float32),
            "b1": np.zeros(UNITS, np.float32),
            "w2": np.zeros((UNITS, start.matrix.shape[1]), np.float32),
        }
    # Each array learns at a pace that suits its own size.
    pace = {
        k: RATE * (float(np.sqrt((v**2).mean())) or 0.1 * float(np.sqrt((start.matrix**2).mean())))
        for k, v in weights.items()
    }

    def made(w: Any, x: Any) -> Any:
        z = x @ w["a"]
        if "w1" in w:
            z = z + jax.nn.relu(x @ w["w1"] + w["b1"]) @ w["w2"]
        return z / (jnp.linalg.norm(z, axis=1, keepdims=True) + 1e-9)

    def loss(w: Any, one: Any, other: Any) -> Any:
        likeness = made(w, one) @ made(w, other).T / warmth
        return -(jnp.diag(jax.nn.log_softmax(likeness, 1)) + jnp.diag(jax.nn.log_softmax(likeness, 0))).mean() / 2

    @jax.jit
    def step(w: Any, m: Any, v: Any, t: Any, one: Any, other: Any) -> Any:
        g = jax.grad(loss)(w, one, other)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        slow = 0.5 * (1 + jnp.cos(jnp.pi * t / STEPS))
        w = {k: w[k] - pace[k] * slow * (m[k] / (1 - 0.9**t)) / (jnp.sqrt(v[k] / (1 - 0.999**t)) + 1e-12) for k in w}
        return w, m, v

    w = {k: jnp.asarray(a) for k, a in weights.items()}
    m = v = {k: jnp.zeros_like(a) for k, a in w.items()}
    for t in range(1, STEPS + 1):
        if views is None:
            here = rng.permutation(len(table))[:BATCH]
            there = learner.neighbours()[here, rng.integers(20, size=len(here))]
            one, other = table[here], table[there]
        else:
            here = rng.permutation(views.shape[1])[:BATCH]
            first = rng.integers(len(views), size=len(here))
            second = (first + rng.integers(1, len(views), size=len(here))) % len(views)
            one, other = views[first, here], views[second, here]
        w, m, v = step(w, m, v, float(t), one, other)
    return Head(learner.mean, material.unit, {k: np.asarray(a) for k, a in w.items()})


def scored(case: Case, database: Float32Array, queries: Float32Array | None) -> dict[str, NDArray[np.float64]]:
    """Return the labelled mAP and P@1 of every query, by cosine."""
    database = np.where(database.any(axis=1, keepdims=True), database, np.float32(1e-20))
    prepared, names, rows = Database(database, "cosine"), score_names([100]), []
    asked = database if queries is None else np.where(queries.any(axis=1, keepdims=True), queries, np.float32(1e-20))
    labels = case.labels if case.query_labels is None else case.query_labels
    for start in range(0, len(asked), 200):
        part = slice(start, start + 200)
        distances = prepared.distances(asked[part], resolved=True)
        relevant = case.labels[None] == labels[part, None]
        if queries is None:  # itself comes last and isn't right
            here = np.arange(len(distances))
            distances[here, start + here] = np.inf
            relevant[here, start + here] = False
        rows += [per_query(ranks, [100]) for ranks in rank_relevant(distances, relevant)]
    values = np.array(rows)
    return {name: values[:, names.index(name)] for name in ("mAP", "P@1")}


def closed_candidates(
    learner: Learner, case: Case, name: str, database: Float32Array, cache: Path | None
) -> Iterator[tuple[str, Projection, dict[str, Any]]]:
    """Learn by every closed form that `adapt` doesn't try; those that keep fewer than two directions are left out."""
    for recipe in (Recipe("adapted", 0.01), Recipe("adapted", 0.03)):
        if post := learner.learn(recipe):
            yield str(recipe), post, {}
    families = copies_by_family(case, name, learner.material, database, cache)
    for found in (by_closed_shrinkage(learner), by_family(learner, families)):
        yield from ((name, post, facts) for name, post, facts in found if post.matrix.shape[1] >= 2)


def measure(
    case: Case, name: str, cache: Path | None, parts: list[str], warmths: list[float]
) -> Iterator[dict[str, Any]]:
    material, database, queries, _ = described(case, name, cache)
    learner = Learner(material)
    tested: dict[str, SelfTest] = {}
    made: dict[str, tuple[dict[str, Any], dict[str, NDArray[np.float64]]]] = {}
    posts: dict[str, Any] = {}

    def add(recipe: str, post: Any, facts: dict[str, Any], seconds: float) -> None:
        posts[recipe] = post
        tested[recipe] = run_trial(material.trial, post)
        a, b = (
            (database, queries)
            if post is None
            else (post.apply(database), None if queries is None else post.apply(queries))
        )
        values = scored(case, a, b)
        made[recipe] = ({"processor_seconds": seconds, "dimension": a.shape[1], **facts}, values)
        print(f"  {recipe:40}", *(f"{k} {v.mean():.4f}" for k, v in values.items()), f"{seconds:.1f} s", flush=True)

    for recipe in CLOSED if "closed" in parts else [r for r in CLOSED if str(r) in BESIDE]:
        begun = time.process_time()
        post = learner.learn(recipe)
        if post is not None or recipe.name == "unchanged":
            add(str(recipe), post, {}, time.process_time() - begun)
    today = {aim: choose(tested, aim)[0] for aim in AIMS}
    closed = "closed" in parts
    if closed:
        for recipe_name, projection, facts in closed_candidates(learner, case, name, database, cache):
            add(recipe_name, projection, facts, 0.0)
    then = {aim: choose(tested, aim)[0] for aim in AIMS}
    if TRIED[case.name, name] and "networks" in parts:
        for near, hidden, warmth in product((False, True), (False, True), warmths):
            begun = time.process_time()
            head = network(learner, posts[NEIGHBOURS if near else REFERENCE], hidden, near, warmth)
            kind = f"{'hidden' if hidden else 'linear'}, {'neighbours' if near else 'damage'}, t {warmth:g}"
            add(kind, head, {}, time.process_time() - begun)
    if closed:
        print(f"  chosen: today {today}, with the candidates {then}")
    for recipe_name, (facts, values) in made.items():
        if not closed and recipe_name in BESIDE:
            continue
        row = {"collection": case.name, "encoder": name, "images": len(database), "queries": len(values["P@1"])}
        row |= {"recipe": recipe_name, **facts}
        row["self_test"] = {f: tested[recipe_name].figures[f] for f in ("self-retrieval MRR", "category precision@5%")}
        for score, each in values.items():
            row[score] = [float(each.mean()), *bootstrap_interval(each)]
            for other in (LITTLE, REFERENCE):
                away = each - made[other][1][score]
                row[f"{score} less {other}"] = [float(away.mean()), *bootstrap_interval(away)]
        for when, chosen in (("chosen_today", today), ("chosen_then", then)):
            row[when] = [aim for aim in AIMS if closed and chosen[aim] == recipe_name]
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--emoji", type=Path, help="folder with the two npm packages, unpacked")
    parser.add_argument("--fonts", type=Path, help="folder with .woff files of @fontsource packages")
    parser.add_argument("--cache", type=Path, help="keep descriptors here, for trying again")
    parser.add_argument("--only", help="one collection")
    parser.add_argument("--encoder", help="one encoder")
    parser.add_argument("--parts", nargs="*", default=["closed", "networks"], choices=["closed", "networks"])
    parser.add_argument("--temperatures", nargs="*", type=float, default=list(WARMTHS))
    options = parser.parse_args()
    for case in wanted(options.shared, options.emoji, options.fonts):
        if options.only in (None, case.name):
            for name in (e for e in case.encoders if options.encoder in (None, e)):
                print(case.name, name, flush=True)
                made = list(measure(case, name, options.cache, options.parts, options.temperatures))
                for kind in options.parts:
                    rows = {r["recipe"]: r for r in made if (", t " in r["recipe"]) == (kind == "networks")}
                    part = f"{case.name}, {name}, {kind}"
                    if kind == "networks":  # temperatures may be measured one by one
                        rows = {r["recipe"]: r for r in read_run("recipes", part) or []} | rows
                    if rows:
                        keep("recipes", part, list(rows.values()))


if __name__ == "__main__":
    main()
