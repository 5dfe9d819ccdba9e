"""Scores of one set of rankings by ranx and by pytorch-metric-learning, for tests/test_truth.py.

Run by hand, in an environment that has both: python tests/references/make.py. It writes scores.json beside itself.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from ranx import Qrels, Run, evaluate

rng = np.random.default_rng(5)
database = rng.standard_normal((60, 4)).astype(np.float32)
queries = rng.standard_normal((25, 4)).astype(np.float32)
labels = rng.choice(5, 60, p=(0.4, 0.25, 0.2, 0.1, 0.05))
wanted = rng.choice(5, 25)


def nearest(query, k, reference, embeddings_come_from_same_source):
    far = torch.cdist(query, reference)
    found = torch.sort(far, dim=1, stable=True)
    start = 1 if embeddings_come_from_same_source else 0
    return found.values[:, start : start + k], found.indices[:, start : start + k]


def by_metric_learning(query, query_labels, reference, reference_labels, **more):
    names = ("precision_at_1", "r_precision", "mean_average_precision", "mean_average_precision_at_r")
    calculator = AccuracyCalculator(include=names, k=len(reference) - len(more), knn_func=nearest)
    found = calculator.get_accuracy(
        torch.tensor(query), torch.tensor(query_labels), torch.tensor(reference), torch.tensor(reference_labels), **more
    )
    return {name: float(found[name]) for name in names}


far = np.linalg.norm(queries[:, None].astype(np.float64) - database, axis=2)
qrels = Qrels({f"q{i}": {f"d{j}": 1 for j in np.flatnonzero(labels == w)} for i, w in enumerate(wanted)})
run = Run({f"q{i}": {f"d{j}": float(-far[i, j]) for j in range(60)} for i in range(25)})
names = ["precision@1", "precision@10", "recall@10", "r-precision", "map"]
found = {
    "versions": {name: version(name) for name in ("ranx", "pytorch-metric-learning", "torch", "numpy")},
    "database": database.tolist(),
    "queries": queries.tolist(),
    "labels": labels.tolist(),
    "wanted": wanted.tolist(),
    "ranx": {name: float(value) for name, value in evaluate(qrels, run, names).items()},
    "metric learning": by_metric_learning(queries, wanted, database, labels),
    "metric learning, leave one out": by_metric_learning(database, labels, database, labels, ref_includes_query=True),
}
(Path(__file__).parent / "scores.json").write_text(json.dumps(found) + "\n")
