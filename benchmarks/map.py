"""The map against umap-learn: how long, how well neighbours stay near, and how far labels that neither saw come together.

PYTHONPATH=src python benchmarks/map.py [--images 10000] [--repeats 3] -> runs/map/, results/map.csv

Both are given the same exact neighbours and nothing else, so that only the layout is compared: what either works out of the
graph counts. umap-learn with its own defaults, once with a seed, without which it isn't repeatable, and once without, on
all cores. Its first run, in which it compiles itself, doesn't count.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import umap
from scipy.spatial import cKDTree
from sklearn.manifold import trustworthiness
from study import keep

import lookalike
from lookalike.encoders.registry import create
from lookalike.neighbors.diffusion import Neighbours, find_neighbours, prepare_diffusion
from lookalike.neighbors.embedding2d import ATTRACTING, density_clusters, embed_2d, spectral_init
from lookalike.neighbors.exact import Database


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    images = lookalike.open_collection(f"mnist:test[0:{asked.images}]")
    descriptors = create("hog").fit(images.array()).encode(images.array())
    labels = np.array(images.labels)
    graph = prepare_diffusion(find_neighbours(Database(descriptors, "cosine"), descriptors))
    rows, squares = graph.neighbours.rows[:, :ATTRACTING], graph.neighbours.squares[:, :ATTRACTING]
    own = np.arange(len(rows))[:, None]
    knn = (np.hstack([own, rows[:, :14]]), np.hstack([np.zeros_like(own), squares[:, :14]]).astype(np.float32))

    def ours():
        fresh = prepare_diffusion(graph.neighbours)
        return embed_2d(Neighbours(rows, squares), spectral_init(fresh, descriptors))

    def theirs(**settings):
        made = umap.UMAP(n_neighbors=15, metric="cosine", precomputed_knn=knn, **settings)
        return made.fit_transform(descriptors)

    def judged(places):
        _, near = cKDTree(places).query(places, 11)
        some = np.random.default_rng(0).permutation(len(places))[:3000]
        return {
            "trustworthiness_15_of_3000": round(
                float(trustworthiness(descriptors[some], places[some], n_neighbors=15, metric="cosine")), 4
            ),
            "label_agreement_10": round(float((labels[near[:, 1:]] == labels[:, None]).mean()), 4),
            "clusters": int(density_clusters(np.asarray(places, np.float32)).max()) + 1,
        }

    works = {
        "lookalike": ours,
        "umap-learn": lambda: theirs(random_state=0, n_jobs=1),
        "umap-learn, no seed, all cores": lambda: theirs(n_jobs=-1),
    }
    raw, worked, figures = {name: [] for name in works}, {name: [] for name in works}, {}
    for turn in range(asked.repeats + 1):
        for name, work in works.items():
            started, before = time.perf_counter(), time.process_time()
            places = work()
            if turn:  # in the first it compiles itself
                raw[name].append(round(time.perf_counter() - started, 2))
                worked[name].append(round(time.process_time() - before, 2))
                figures[name] = judged(places)
    settings = {
        "images": asked.images, "repeats": asked.repeats, "umap-learn": "n_neighbors=15, cosine; random_state=0 and n_jobs=1, or n_jobs=-1",
    }  # fmt: skip
    found = {"seconds": raw, "processor_seconds": worked, "figures": figures}
    keep("map", "map", found, peers=["umap-learn", "numba"], settings=settings)
    print({name: float(np.median(seconds)) for name, seconds in raw.items()}, figures)


if __name__ == "__main__":
    main()
