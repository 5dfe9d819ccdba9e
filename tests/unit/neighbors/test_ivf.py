"""Lists against exact search: all of them are exact, the meter tells the truth, and many queries are answered as one."""

import numpy as np
import pytest

from lookalike.errors import UsageError
from lookalike.mapped import ChecksumError, MappedArrays
from lookalike.neighbors import ivf as module
from lookalike.neighbors.exact import Database
from lookalike.neighbors.ivf import FLOOR, InvertedFile
from lookalike.neighbors.ivf_build import write_lists

NAMES = ["cosine", "euclidean", "inner product"]


def clustered(rows, seed=0, dimension=24):
    rng = np.random.default_rng(7)
    centres = rng.normal(size=(60, dimension)).astype(np.float32)
    rng = np.random.default_rng(seed)
    return centres[rng.integers(0, 60, rows)] + rng.normal(size=(rows, dimension)).astype(np.float32) * np.float32(0.5)


@pytest.fixture(scope="module", params=NAMES)
def made(request, tmp_path_factory):
    x = clustered(4000)
    x[100:140] = x[100]  # ties, which come by position
    path = tmp_path_factory.mktemp("lists") / "x.sealed"
    return x, write_lists(path, x, np.arange(4000) * 3 + 1, request.param, facts={"of": "this test"}), path


@pytest.mark.slow
def test_looking_into_all_lists_is_exact(made):
    x, lists, _ = made
    queries = np.concatenate([x[100:103], clustered(40, 1)])
    for k in (1, 10, 300):
        positions, distances = Database(x, lists.distance).nearest(queries, k)
        for some in (slice(None), slice(0, 3)):  # together, and one by one
            found, far = lists.search(queries[some], k, len(lists))
            np.testing.assert_array_equal(found, positions[some])
            np.testing.assert_array_equal(far, distances[some])


@pytest.mark.slow
def test_many_queries_are_answered_as_one_by_one(made):
    _, lists, _ = made
    queries = clustered(60, 2)
    for probes in (1, 3, 9):
        together = lists.search(queries, 10, probes)
        alone = [lists.search(q[None], 10, probes) for q in queries]
        np.testing.assert_array_equal(together[0], np.concatenate([a[0] for a in alone]))
        np.testing.assert_array_equal(together[1], np.concatenate([a[1] for a in alone]))


@pytest.mark.slow
def test_distances_are_exact_and_in_order_even_if_something_is_missed(made):
    x, lists, _ = made
    queries = clustered(20, 3)
    found, far = lists.search(queries, 10, 1)
    everything, exact = Database(x, lists.distance).nearest(queries, len(x))
    for i in range(len(queries)):
        place = np.argsort(everything[i])[found[i]]
        np.testing.assert_array_equal(far[i], exact[i][place])
        assert (np.diff(place) > 0).all()


def test_the_meter_vouches_for_what_it_measured(made):
    x, lists, _ = made
    assert [m.k for m in lists.meter] == [10, 100]
    for one in lists.meter:
        assert one.low <= one.recall <= one.high
        assert lists.probes(one.k) == (one.probes if one.met else None)
    # Queries that nobody has seen before are answered as well as the meter says, within the sample's error.
    queries, probes = clustered(300, 4), lists.probes(10)
    right = Database(x, lists.distance).nearest(queries, 10)[0]
    found = lists.search(queries, 10, probes)[0]
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), right.tolist(), strict=True)])
    assert recall > FLOOR - 0.01
    assert lists.probes(101) is None


def test_more_lists_are_looked_into_where_these_hold_too_few(made):
    _, lists, _ = made
    found, _ = lists.search(clustered(3, 5), 3000, 1)
    assert all(len(set(row)) == 3000 for row in found.tolist())


def test_what_was_written_is_opened(made):
    _, lists, path = made
    opened = InvertedFile(MappedArrays(path))
    assert (opened.distance, opened.meter, len(opened), opened.size) == (lists.distance, lists.meter, len(lists), 4000)
    assert opened.keys([0, 3999]).tolist() == [1, 11998]
    assert MappedArrays(path).facts["of"] == "this test"
    assert opened.facts()["lists"] == len(lists) == int(2 * 4000**0.5)


@pytest.mark.slow
def test_noise_without_structure_is_left_to_exact_search(tmp_path):
    x = np.random.default_rng(0).normal(size=(1500, 200)).astype(np.float32)
    lists = write_lists(tmp_path / "x.sealed", x, np.arange(1500), "euclidean")
    assert not lists.meter[0].met
    assert lists.probes(10) is None


@pytest.mark.slow
def test_centres_go_on(made, tmp_path):
    x, lists, _ = made
    more = np.concatenate([x, clustered(500, 6)])
    grown = write_lists(tmp_path / "y.sealed", more, np.arange(4500), lists.distance, centres=np.array(lists.centres))
    np.testing.assert_array_equal(grown.centres, lists.centres)
    queries = clustered(20, 8)
    for a, b in zip(
        grown.search(queries, 5, len(grown)), Database(more, lists.distance).nearest(queries, 5), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("rows", [2, 3, 40])
def test_a_handful_of_descriptors(tmp_path, rows):
    x = clustered(rows)
    lists = write_lists(tmp_path / "x.sealed", x, np.arange(rows), "cosine")
    found, _ = lists.search(x[:1], rows, 1)
    assert sorted(found[0].tolist()) == list(range(rows))


@pytest.mark.slow
def test_a_changed_list_is_an_error_when_it_is_looked_into(tmp_path):
    x = clustered(40_000)
    path = tmp_path / "x.sealed"
    write_lists(path, x, np.arange(len(x)), "euclidean")
    data = bytearray(path.read_bytes())
    data[len(data) // 4] ^= 1  # well within the descriptors
    path.write_bytes(data)
    lists = InvertedFile(MappedArrays(path))
    answers = 0
    for query in clustered(200, 9):
        try:
            found, far = lists.search(query[None], 5, 1)
        except ChecksumError:
            break
        np.testing.assert_allclose(far[0], np.linalg.norm(x[found[0]] - query, axis=1), rtol=1e-5)
        answers += 1
    else:
        pytest.fail("no query looked into the changed list")
    assert answers


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (np.full((1, 24), np.nan, np.float32), "query 0 .* NaN or infinity; encode"),
        (np.ones((1, 23), np.float32), "the queries have 23 numbers each, the index 24"),
    ],
)
def test_a_bad_query_is_refused_in_a_sentence(made, query, message):
    with pytest.raises(UsageError, match=message):
        made[1].search(query, 1, 1)


def test_a_query_of_zeros_has_no_angle(made):
    _, lists, _ = made
    if lists.distance == "cosine":
        with pytest.raises(UsageError, match="query 0 .* all zeros"):
            lists.search(np.zeros((1, 24), np.float32), 1, 1)
    assert module.FLOOR == 0.99
