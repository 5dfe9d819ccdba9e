"""A re-ranking of your own, here by popularity: an image that many others have among their nearest counts as farther.

Try it by ``python examples/a_reranker.py``. To have it as ``--rerank unpopular``, put the class into a package of yours
that says in its pyproject.toml

    [project.entry-points."lookalike.rerankers"]
    unpopular = "your_package:Unpopular"
"""

import tempfile

import numpy as np

import lookalike
from lookalike.search.rerank import RERANKERS
from lookalike.search.rerank.base import Reranker, check_range


class Unpopular(Reranker):
    """Distances multiplied by how often an image is among the ``k`` nearest of another."""

    name = "unpopular"

    def __init__(self, index, *, distance=None, on_note=None, k=10):
        super().__init__(index, distance=distance, on_note=on_note)
        check_range(self.name, "k", k, 1, 1000)
        near, _ = self.database.nearest(index.descriptors, min(k, self.database.size))
        counts = np.bincount(near.ravel(), minlength=self.database.size)
        self.factor = np.sqrt(counts / counts.mean()).astype(np.float32)

    def values(self, asked):
        return self.database.distances(asked.descriptors) * self.factor, [{}] * len(asked)


if __name__ == "__main__":
    RERANKERS.table["unpopular"] = "__main__:Unpopular"  # what the entry point does for good
    with tempfile.TemporaryDirectory() as folder:
        index = lookalike.build_index("mnist:test[0:1000]", "hog", f"{folder}/index")
        for match in index.search("mnist:test[0]", k=5, rerank="unpopular:k=5"):
            print(match.rank, match.id, round(match.distance, 3), match.label)
