"""What every re-ranking promises, run over all of ``RERANKERS`` and over one that another package brings.

A new re-ranking needs nothing here.
"""

import subprocess
import sys

import numpy as np
import pytest

from lookalike import build_index
from lookalike.errors import UsageError
from lookalike.search.rerank import RERANKERS
from lookalike.search.rerank.base import Reranker, RerankRequest
from lookalike.search.rerank.registry import NONE, create_reranker, rerank
from strangers import EXAMPLES, install

METHODS = [*(name for name in RERANKERS.table if name != "auto"), "unpopular"]
every_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(autouse=True)
def _unpopular(tmp_path, monkeypatch):
    lines = "[lookalike.rerankers]\nunpopular = MODULE:Unpopular\ndiffusion = MODULE:Unpopular\n"
    install(tmp_path / "site", monkeypatch, "a_reranker", lines)


@pytest.fixture(scope="module")
def index(tmp_path_factory, digits):
    return build_index(digits[0][:80], "hog", tmp_path_factory.mktemp("rerank") / "index", graph=True)


def asked_by(index, rows):
    thumbnails = index.thumbnails(rows)
    return RerankRequest(index.descriptors[rows], lambda i: thumbnails[i])


@every_method
def test_it_is_found_by_its_name_and_says_what_it_needs(method):
    kind = RERANKERS[method]
    assert issubclass(kind, Reranker)
    assert kind.name == method
    assert all(
        isinstance(getattr(kind, f"needs_{what}"), bool) for what in ("picture", "own_distance", "keypoints", "graph")
    )


@pytest.mark.slow
@every_method
def test_every_image_gets_a_value_and_none_depends_on_the_other_queries(method, index):
    made = create_reranker(method, index)
    together, inliers = made.values(asked_by(index, [1, 5, 9]))
    assert together.shape == (3, len(index))
    assert together.dtype == np.float32
    assert len(inliers) == 3
    assert np.isfinite(together).all()
    assert (together >= 0).all()
    alone, _ = made.values(asked_by(index, [5]))
    np.testing.assert_allclose(alone[0], together[1], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@every_method
def test_an_image_of_the_index_is_among_its_own_first_answers(method, index):
    asked = asked_by(index, [2, 7])
    answers = rerank(index, method, asked.descriptors, 20, picture=asked.picture)
    assert all(row in answer.rows for row, answer in zip((2, 7), answers, strict=True))
    among = np.array([4, 7, 30])
    (answer,) = rerank(index, method, asked.descriptors[1:], 3, picture=lambda i: asked.picture(1), among=among)
    assert set(answer.rows.tolist()) == {4, 7, 30}


@every_method
def test_what_needs_a_picture_says_so(method, index):
    descriptors = index.descriptors[:1]
    if RERANKERS[method].needs_picture:
        with pytest.raises(UsageError, match=f"re-ranking by {method} looks at the query's picture, and there is none"):
            rerank(index, method, descriptors, 3)
    else:
        assert len(rerank(index, method, descriptors, 3)[0].rows) == 3
    if RERANKERS[method].needs_own_distance:
        with pytest.raises(UsageError, match="goes by the encoder's own distance"):
            rerank(index, method, descriptors, 3, distance="euclidean")


def test_none_leaves_the_order_as_it_is(index):
    assert create_reranker(NONE, index) is None
    (answer,) = rerank(index, NONE, index.descriptors[:1], 6)
    assert answer.rows.tolist() == index.database().nearest(index.descriptors[:1], 6)[0][0].tolist()


def test_another_packages_parameters_are_checked(index):
    assert create_reranker("unpopular:k=3", index).factor.shape == (80,)
    with pytest.raises(UsageError, match="unpopular: k is 0; it must be 1 to 1000"):
        create_reranker("unpopular:k=0", index)
    with pytest.raises(UsageError, match="unknown parameter of unpopular 'much'"):
        create_reranker("unpopular:much=1", index)
    assert RERANKERS["diffusion"].__module__ == "lookalike.search.rerank.diffusion"  # a name of ours stays ours


@pytest.mark.slow
def test_the_example_runs():
    ran = subprocess.run([sys.executable, str(EXAMPLES / "a_reranker.py")], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("1 0 0.0 7")
