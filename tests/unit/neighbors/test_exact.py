"""Distances against plain float64 arithmetic, and nearest against a full sort by (distance, position)."""

import gc
import gzip
import sys
import tracemalloc

import numpy as np
import pytest

from lookalike.errors import UsageError
from lookalike.neighbors import exact as module
from lookalike.neighbors.distances import DISTANCES, base, hamming
from lookalike.neighbors.exact import Database
from lookalike.neighbors.tiling import MAX_ANSWERS
from paths import ROOT

MNIST = ROOT / "datasets" / "mnist"
NAMES = sorted(name for name in DISTANCES if not DISTANCES[name].packed)
METRICS = [name for name in NAMES if name != "inner product"]  # 0 for the same descriptor, never negative


def reference(queries, descriptors, name):
    q, x = queries.astype(np.float64), descriptors.astype(np.float64)
    if name == "inner product":
        return -(q @ x.T)
    if name == "euclidean":
        return np.stack([np.sqrt(((x - row) ** 2).sum(axis=1)) for row in q])
    assert name == "cosine", f"the distance {name} has no formula here: write it down"
    q, x = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (q, x))
    return np.stack([((x - row) ** 2).sum(axis=1) / 2 for row in q])


def reference_nearest(queries, descriptors, name, k):
    exact = reference(queries, descriptors, name).astype(np.float32)
    order = np.stack([np.lexsort((np.arange(len(descriptors)), row))[:k] for row in exact])
    return order, np.take_along_axis(exact, order, axis=1)


def images(split, count):
    with gzip.open(MNIST / f"{split}-images-idx3-ubyte.gz") as f:
        pixels = np.frombuffer(f.read(16 + count * 784), np.uint8, offset=16)
    return pixels.reshape(-1, 784).astype(np.float32) / 255


@pytest.mark.parametrize("name", NAMES)
def test_distances_equal_float64_arithmetic(name):
    rng = np.random.default_rng(0)
    for _ in range(20):
        n, m, d = rng.integers(1, [20, 300, 200])
        q, x = (rng.normal(size=(rows, d)).astype(np.float32) for rows in (n, m))
        found = Database(x, name).distances(q)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, reference(q, x, name), atol=1e-4, rtol=1e-5)


def test_cosine_spans_0_to_2_and_ignores_length():
    x = np.array([[2, 0], [0, 5], [-3, 0], [1, 1]], np.float32)
    found = Database(x, "cosine").distances(np.array([[10, 0]], np.float32))
    np.testing.assert_allclose(found, [[0, 1, 2, 1 - 0.5**0.5]], atol=1e-6)


@pytest.mark.parametrize("name", METRICS)
def test_rounding_makes_no_distance_negative_or_nan(name):
    x = np.random.default_rng(9).normal(size=(300, 97)).astype(np.float32)
    found = Database(x, name).distances(x)
    assert (found >= 0).all()
    assert np.diagonal(found).max() < 0.05


def test_euclidean_by_hand():
    found = Database(np.array([[0, 0], [3, 4]], np.float32), "euclidean").distances(np.zeros((1, 2), np.float32))
    assert found.tolist() == [[0, 5]]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1, 7, 500, 9000])  # 9,000 is past the size where minima of groups give the bound
def test_nearest_equals_a_full_sort(name, size):
    rng = np.random.default_rng(size)
    for d in (1, 3, 32, 101):
        x, q = rng.normal(size=(size, d)).astype(np.float32), rng.normal(size=(5, d)).astype(np.float32)
        database = Database(x, name)
        for k in sorted({1, min(10, size), min(300, size), size}):
            positions, found = database.nearest(q, k)
            expected, exact = reference_nearest(q, x, name, k)
            assert positions.dtype == np.int64
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, exact, rtol=1e-6)
            # Values of the reference that float64 rounding leaves equal in float32 may stand either way round.
            differ = positions != expected
            assert (np.abs(found - exact)[differ] <= 1e-6 * exact[differ]).all()
            assert differ.mean() < 0.01


@pytest.mark.parametrize("name", [n for n in NAMES if DISTANCES[n].multiply is base.Distance.multiply])
@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_long_rows_are_read_in_parts_by_several_threads(name, kind, monkeypatch):
    rng = np.random.default_rng(4)
    x, q = rng.normal(size=(3001, 70)).astype(kind), rng.normal(size=(7, 70)).astype(np.float32)
    whole = Database(x, name)
    found = whole.distances(q), *whole.nearest(q, 10)
    parts = []
    in_parts = base.read_in_parts
    monkeypatch.setattr(base, "read_in_parts", lambda starts, *rest: (parts.append(starts), in_parts(starts, *rest)))
    monkeypatch.setattr(base, "NUMBERS_IN_CACHE", 70 * 40)
    monkeypatch.setattr(base, "NUMBERS_ONCE", 70 * 40)
    monkeypatch.setattr(base, "LEAST_ROWS", 1)
    again = whole.distances(q), *whole.nearest(q, 10)
    one = [whole.nearest(q[i : i + 1], 10) for i in range(len(q))]
    np.testing.assert_array_equal(np.concatenate([near for near, _ in one]), found[1])
    np.testing.assert_array_equal(np.concatenate([far for _, far in one]), found[2])
    assert {len(starts) for starts in parts} == {76}  # the last one of a single row
    for a, b in zip(found, again, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(found[0], reference(q, x, name), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_equal_distances_come_by_position_also_at_the_cut(name):
    rng = np.random.default_rng(1)
    for size in (50, 9000):
        x = rng.integers(1, 4, size=(size, 3)).astype(np.float32)  # 27 different rows, so almost all is ties
        q = rng.integers(1, 4, size=(8, 3)).astype(np.float32)
        database = Database(x, name)
        for k in (1, 2, 5, 17, 40):
            positions, found = database.nearest(q, k)
            for query, row, values in zip(q, positions, found, strict=True):
                length = np.array([np.linalg.norm(query.astype(float))])
                exact = database._apart(query[None], length, np.zeros(size, np.int64), np.arange(size))
                assert row.tolist() == np.lexsort((np.arange(size), exact))[:k].tolist()
                assert (np.diff(row)[np.diff(values) == 0] > 0).all()


@pytest.mark.slow
def test_all_the_same_image_gives_the_first_k():
    x = np.tile(np.float32([0.1, 0.7, 0.3]), (9000, 1))
    for name in NAMES:
        for queries in (x[:2], x[:300]):
            positions, found = Database(x, name).nearest(queries, 20)
            assert positions.tolist() == [list(range(20))] * len(queries)
            assert not found.any() or name == "inner product"


@pytest.mark.parametrize("name", METRICS)
def test_an_identical_descriptor_is_at_exactly_0(name):
    rng = np.random.default_rng(2)
    for d in range(1, 60):
        x = rng.normal(size=(40, d)).astype(np.float32) * np.float32(10.0 ** rng.integers(-6, 6))
        positions, found = Database(x, name).nearest(x, 1)
        assert not found.any()
        if d > 1:
            assert positions[:, 0].tolist() == list(range(40))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [9, 2048, 2049, 9000])
def test_many_queries_at_a_time_are_answered_as_one_by_one(name, size):
    rng = np.random.default_rng(size)
    centres = rng.normal(size=(40, 24)).astype(np.float32)  # clusters, some of them all alike
    x = centres[rng.integers(0, 40, size)] + rng.normal(size=(size, 24)).astype(np.float32) * (
        rng.integers(0, 2, (size, 1)) * np.float32(0.1)
    )
    x[:5], x[-1] = x[0], x[0]
    q = np.concatenate([x[:40], rng.normal(size=(600, 24)).astype(np.float32)])
    database = Database(x, name)
    for k in (1, 3, 9, min(size, MAX_ANSWERS)):
        positions, found = database.nearest(q, k)
        for i in [*range(45), len(q) - 1]:
            one, far = database.nearest(q[i : i + 1], k)
            np.testing.assert_array_equal(positions[i], one[0])
            np.testing.assert_array_equal(found[i], far[0])


@pytest.mark.slow
def test_where_every_row_is_a_candidate_memory_stays_bounded():
    x = (1000 + np.random.default_rng(3).normal(size=(8000, 8)) * 1e-4).astype(np.float32)
    database = Database(x, "euclidean")  # so far from the origin that float32 products tell nothing apart
    q = np.ascontiguousarray(x[:512])
    tracemalloc.start()
    positions, _ = database.nearest(q, 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**29  # all pairs would be 4 million
    for i in (0, 200, 511):
        assert positions[i, 0] == database.nearest(q[i : i + 1], 1)[0][0, 0]


def test_inner_product_is_the_product_and_larger_is_nearer():
    x = np.float32([[1, 0], [3, 1], [-2, 0], [0, 0]])
    database = Database(x, "inner product")
    positions, found = database.nearest(np.float32([[2, 1]]), 4)
    assert (positions.tolist(), found.tolist()) == ([[1, 0, 3, 2]], [[-7, -2, 0, 4]])
    assert not np.signbit(found[0, 2])  # 0, and not -0
    np.testing.assert_allclose(database.distances(np.float32([[2, 1]])), [[-2, -7, 4, 0]], atol=1e-6)
    ((near, far),) = database.within(np.float32([[2, 1]]), -2)
    assert (near.tolist(), far.tolist()) == ([1, 0], [-7, -2])


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_kept_and_searched_exactly(name):
    rng = np.random.default_rng(13)
    x = rng.normal(size=(9000, 33)).astype(np.float16)
    x[7, :5] = np.float16([6e-8, -6e-8, 6.1e-5, -3e-6, 0])  # subnormal numbers too
    q = rng.normal(size=(20, 33)).astype(np.float32)
    half, single = Database(x, name), Database(x.astype(np.float32), name)
    assert half._descriptors.dtype == np.float16
    assert np.shares_memory(half._descriptors, x)
    for queries in (q, q[:1]):
        for a, b in zip(half.nearest(queries, 10), single.nearest(queries, 10), strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(half.distances(q), single.distances(q), rtol=1e-5, atol=1e-5)
    for a, b in zip(half.within(q, 1.0), single.within(q, 1.0), strict=True):
        np.testing.assert_array_equal(a[0], b[0])


def test_every_half_is_widened_to_what_numpy_says():
    bits = np.arange(2**16, dtype=np.uint16)
    halves = bits[(bits & 0x7C00) != 0x7C00].view(np.float16).reshape(1, -1)  # all but infinity and NaN
    wide = np.empty(halves.shape, np.float32)
    base.to_float32(halves, wide)
    np.testing.assert_array_equal(wide.view(np.int32), halves.astype(np.float32).view(np.int32))


def test_nearest_is_right_where_float32_products_are_not():
    # Far from the origin, |q|^2 - 2 q.x + |x|^2 in float32 is noise; the answers must not be.
    rng = np.random.default_rng(3)
    x = (1000 + rng.normal(size=(3000, 64)) * 0.01).astype(np.float32)
    q = (1000 + rng.normal(size=(5, 64)) * 0.01).astype(np.float32)
    database = Database(x, "euclidean")
    expected, exact = reference_nearest(q, x, "euclidean", 10)
    positions, found = database.nearest(q, 10)
    assert positions.tolist() == expected.tolist()
    np.testing.assert_allclose(found, exact, rtol=1e-6)
    assert np.argsort(database.distances(q), axis=1)[:, :10].tolist() != expected.tolist()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1e-24, 1e-23, 1e-20, 1e15])
def test_very_small_and_very_large_values(name, scale):
    rng = np.random.default_rng(4)
    x, q = ((rng.normal(size=(rows, 300)) * scale).astype(np.float32) for rows in (200, 3))
    expected, exact = reference_nearest(q, x, name, 5)
    positions, found = Database(x, name).nearest(q, 5)
    assert positions.tolist() == expected.tolist()
    np.testing.assert_allclose(found, exact, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_real_digits_whatever_the_batch(name, monkeypatch):
    x, q = images("train", 3000), images("t10k", 40)
    expected, exact = reference_nearest(q, x, name, 10)
    positions, found = Database(x, name).nearest(q, 10)
    assert positions.tolist() == expected.tolist()
    np.testing.assert_allclose(found, exact, rtol=1e-6)
    database = Database(x, name)
    one_by_one = zip(*(database.nearest(q[i : i + 1], 10) for i in range(len(q))), strict=True)
    monkeypatch.setattr(module, "BLOCK_BYTES", 7 * 4 * len(x))
    for other in (tuple(map(np.concatenate, one_by_one)), database.nearest(q, 10)):
        assert np.array_equal(other[0], positions)
        assert np.array_equal(other[1], found)


def test_blocks_cover_the_queries_in_order():
    rng = np.random.default_rng(5)
    x, q = rng.normal(size=(30, 4)).astype(np.float32), rng.normal(size=(11, 4)).astype(np.float32)
    database = Database(x, "euclidean")
    seen = [(b.start, len(b), [b.row(i).copy() for i in range(len(b))]) for b in database.blocks(q, 4)]
    assert [s[:2] for s in seen] == [(0, 4), (4, 4), (8, 3)]
    rows = np.sqrt(np.concatenate([s[2] for s in seen]))
    np.testing.assert_allclose(rows, database.distances(q), atol=1e-6)


def test_no_query_gives_no_answer():
    database = Database(np.eye(3, dtype=np.float32))
    none = np.empty((0, 3), np.float32)
    assert database.distances(none).shape == (0, 3)
    assert [a.shape for a in database.nearest(none, 2)] == [(0, 2), (0, 2)]


@pytest.mark.parametrize("name", NAMES)
def test_a_memory_mapped_file_is_neither_copied_nor_written(name, tmp_path):
    x = np.random.default_rng(6).normal(size=(20000, 64)).astype(np.float32)
    path = tmp_path / "x.npy"
    np.save(path, x)
    mapped = np.load(path, mmap_mode="r")
    tracemalloc.start()
    database = Database(mapped, name)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < x.nbytes / 4
    assert np.shares_memory(database._descriptors, mapped)
    assert np.array_equal(database.nearest(x[:3], 5)[0], Database(x, name).nearest(x[:3], 5)[0])
    assert np.array_equal(np.load(path), x)


@pytest.mark.parametrize("name", NAMES)
def test_the_callers_arrays_are_left_alone(name):
    x, q = np.full((4, 3), 2, np.float32), np.full((2, 3), 5, np.float32)
    x.flags.writeable = q.flags.writeable = False
    database = Database(x, name)
    database.distances(q)
    database.nearest(q, 2)
    assert (x == 2).all()
    assert (q == 5).all()


def test_other_float_types_and_strides_are_taken():
    x = np.random.default_rng(7).normal(size=(20, 6))
    q = x[:2].astype(np.float32)
    expected = Database(x.astype(np.float32)).distances(q)
    for other in (x, np.asfortranarray(x.astype(np.float32)), np.repeat(x, 2, axis=1)[:, ::2]):
        np.testing.assert_allclose(Database(other).distances(q), expected, atol=1e-6)


def test_nearest_needs_little_memory():
    x = np.random.default_rng(8).normal(size=(20000, 16)).astype(np.float32)
    database = Database(x)
    tracemalloc.start()
    database.nearest(x[:2000], 10)  # all distances at once would be 160 MB
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < module.BLOCK_BYTES + 8 * 2**20


@pytest.mark.parametrize("name", [*NAMES, "hamming"])
def test_nearest_among_some_rows(name):
    rng = np.random.default_rng(12)
    packed = name == "hamming"
    x = rng.integers(1, 4, size=(9000, 3)).astype(np.uint8 if packed else np.float32)
    database, q = Database(x, name), x[:4]
    everything, distances = database.nearest(q, len(x))
    for share in (0.001, 0.3, 0.99, 1):
        mask = rng.random(len(x)) < share
        mask[7] = True
        for rows in (mask, np.flatnonzero(mask), rng.permutation(np.flatnonzero(mask))):
            positions, found = database.nearest(q, min(5, int(mask.sum())), rows)
            for i in range(len(q)):
                kept = mask[everything[i]]
                np.testing.assert_array_equal(positions[i], everything[i][kept][: positions.shape[1]])
                np.testing.assert_array_equal(found[i], distances[i][kept][: positions.shape[1]])


ONE = np.ones((1, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: d.nearest(ONE, 0), "k is 0; ask for at least 1"),
        (lambda d: d.nearest(ONE, -3), "k is -3; ask for at least 1"),
        (lambda d: d.nearest(ONE, 70000), "k is 70,000 but the index holds 5 images; ask for at most 5"),
        (lambda d: d.nearest(ONE, 3, [0, 4]), "k is 3 but only 2 images are selected; ask for at most 2"),
        (lambda d: d.nearest(ONE, 1, []), "k is 1 but only 0 images are selected"),
        (lambda d: d.nearest(ONE, 1, [0, 5]), "rows run from 0 to 5, the index from 0 to 4; take rows of it"),
        (lambda d: d.nearest(ONE, 1, [-1, 2]), "rows run from -1 to 2, the index from 0 to 4"),
        (lambda d: d.nearest(ONE, 1, [True]), r"rows of bool and shape \(1,\) pick none of 5 images; give positions"),
        (lambda d: d.nearest(ONE, 1, [0.5]), r"rows of float64 and shape \(1,\) pick none"),
        (lambda d: d.nearest(np.ones((1, 4), np.float32), 1), "the queries have 4 numbers each, the index 3; encode"),
        (lambda d: d.distances(np.ones(3, np.float32)), r"queries must have shape \(n, d\), these have \(3,\)"),
        (lambda d: d.distances(np.ones((1, 3), np.uint8)), "queries must be float32, these are uint8"),
        (lambda d: d.distances(np.float32([[1, 1, 1], [1, np.nan, 1]])), r"query 1 .* NaN or infinity; encode"),
        (lambda d: d.nearest(np.float32([[1, -np.inf, 1]]), 1), r"query 0 .* NaN or infinity"),
        (lambda d: d.nearest(np.float32([[1, 3e38, 1]]), 1), r"query 0 .* too large \(length 3e\+38\)"),
        (lambda d: d.distances(np.array([[1e300, 1, 1]])), r"query 0 .* NaN or infinity"),
        (lambda d: d.nearest(np.zeros((1, 3), np.float32), 1), "query 0 .* all zeros.* euclidean"),
        (lambda d: d.blocks(np.zeros((1, 3), np.float32)), "query 0 .* all zeros"),
        (
            lambda _: Database(ONE, "cosin"),
            r"unknown distance 'cosin' \(did you mean 'cosine'\?\); known: .*cosine, .*euc",
        ),
        (lambda _: Database(np.float32([[1, 0], [0, 0]])), "descriptor 1 .* all zeros.* leave that image out"),
        (lambda _: Database(np.float32([[1, 0], [np.nan, 0]]), "euclidean"), "descriptor 1 .* NaN or infinity"),
        (lambda _: Database(np.empty((0, 3), np.float32)), r"descriptors of shape \(0, 3\) leave nothing to search"),
        (lambda _: Database(np.empty((3, 0), np.float32)), r"descriptors of shape \(3, 0\) leave nothing to search"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(call, message):
    with pytest.raises(UsageError, match=message):
        call(Database(np.arange(1, 16, dtype=np.float32).reshape(5, 3)))


def test_euclidean_takes_zeros():
    x = np.float32([[0, 0], [3, 4]])
    positions, found = Database(x, "euclidean").nearest(np.zeros((1, 2), np.float32), 2)
    assert (positions.tolist(), found.tolist()) == ([[0, 1]], [[0, 5]])


# Packed codes ---------------------------------------------------------------------------------------------------------


def bits_that_differ(queries, codes):
    """Count them one by one."""
    return (np.unpackbits(queries, axis=1)[:, None] != np.unpackbits(codes, axis=1)).sum(axis=2)


def by_distance_and_position(row, k):
    return np.lexsort((np.arange(len(row)), row))[:k]


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 7, 500, 9000, 70000])  # the last is more than is counted at a time
@pytest.mark.parametrize("length", [1, 4, 8, 13, 32])
def test_hamming_equals_a_full_sort_of_bits_counted_one_by_one(size, length):
    rng = np.random.default_rng(size + length)
    codes, queries = (rng.integers(0, 256, (rows, length), dtype=np.uint8) for rows in (size, 3))
    exact = np.stack([bits_that_differ(q[None], codes)[0] for q in queries])
    database = Database(codes, "hamming")
    distances = database.distances(queries)
    assert distances.dtype == np.float32
    np.testing.assert_array_equal(distances, exact)
    np.testing.assert_array_equal([b.row(i) for b in database.blocks(queries) for i in range(len(b))], exact)
    for k in sorted({1, min(10, size), min(300, size), size}):
        positions, found = database.nearest(queries, k)
        expected = np.stack([by_distance_and_position(row, k) for row in exact])
        np.testing.assert_array_equal(positions, expected)
        np.testing.assert_array_equal(found, np.take_along_axis(exact, expected, axis=1))


@pytest.mark.parametrize("length", [3, 8, 32])  # bytes: of none and of all that faiss has counts of their own for
@pytest.mark.parametrize("count", [1, 5, 40])
def test_codes_are_counted_by_faiss_in_the_same_order(length, count, monkeypatch):
    """With few bits set, most answers are at equal distances, also at the cut and from one of its blocks to the next."""
    pytest.importorskip("faiss")
    rng = np.random.default_rng(length)
    x, q = (rng.choice(np.array([0, 1, 3], np.uint8), (rows, length)) for rows in (70_000, count))
    monkeypatch.setattr(hamming, "FAISS_PAIRS", 1)
    monkeypatch.setattr(hamming, "FAISS_QUERIES", 7)
    answers, used = [], []
    for faiss in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr(
                hamming.Hamming,
                "_faiss",
                lambda _, n, on=faiss: used.append(n) or pytest.importorskip("faiss") if on else None,
            )
            answers.append(Database(x, "hamming").nearest(q, 100))
    assert used == [count]
    for ours, theirs in zip(*answers, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_faiss_is_imported_once_that_pays(monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.delitem(sys.modules, "faiss", raising=False)
    monkeypatch.setattr(hamming, "WORTH_FAISS", 3 * 9000)
    asked = []
    monkeypatch.setattr(hamming, "find_spec", asked.append)
    codes = np.random.default_rng(0).integers(0, 256, (9000, 8), dtype=np.uint8)
    database = Database(codes, "hamming")
    for seen in ([], [], ["faiss"]):
        database.nearest(codes[:1], 5)
        assert asked == seen


def test_all_bits_may_differ():
    for length in (1, 31, 32, 33, 8191):
        codes = np.array([[0] * length, [255] * length], np.uint8)
        assert Database(codes, "hamming").distances(codes).tolist() == [[0, 8 * length], [8 * length, 0]]


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 4, 8, 9])
@pytest.mark.parametrize("radius", [0, 1, 2, 3, 7.5, 1000])
def test_within_a_radius_whether_looked_up_or_counted(length, radius):
    rng = np.random.default_rng(length)
    centres = rng.integers(0, 256, (20, length), dtype=np.uint8)
    codes = centres[rng.integers(0, 20, 60000)]
    codes[np.arange(60000), rng.integers(0, length, 60000)] ^= (1 << rng.integers(0, 8, 60000)).astype(np.uint8)
    codes[:, 0] &= 0x3F  # so that queries have bits that no code has
    queries = np.concatenate([centres[:4], rng.integers(0, 256, (3, length), dtype=np.uint8)])
    answers = Database(codes, "hamming").within(queries, radius)
    assert len(answers) == len(queries)
    for query, (positions, found) in zip(queries, answers, strict=True):
        exact = bits_that_differ(query[None], codes)[0]
        expected = by_distance_and_position(exact, len(codes))[: (exact <= radius).sum()]
        assert (positions.dtype, found.dtype) == (np.int64, np.float32)
        np.testing.assert_array_equal(positions, expected)
        np.testing.assert_array_equal(found, exact[expected])


def test_short_codes_are_looked_up_and_long_ones_counted():
    codes = np.random.default_rng(3).integers(0, 256, (200_000, 4), dtype=np.uint8)
    short, long = (Database(c, "hamming").measure for c in (codes, np.tile(codes, 3)))
    assert short.lookup(codes[5], 1).tolist() == np.flatnonzero(bits_that_differ(codes[5:6], codes)[0] <= 1).tolist()
    assert short.lookup(codes[5], 6) is None
    assert long.lookup(np.tile(codes[5], 3), 1) is None


@pytest.mark.parametrize("name", NAMES)
def test_within_equals_a_full_sort_cut_at_the_radius(name):
    rng = np.random.default_rng(11)
    x, q = rng.normal(size=(9000, 6)).astype(np.float32), rng.normal(size=(4, 6)).astype(np.float32)
    database = Database(x, name)
    everything, distances = database.nearest(q, len(x))
    for radius in (0, float(distances[0, 0]), float(distances[1, 40]), 0.3, 1e9):
        for i, (positions, found) in enumerate(database.within(q, radius)):
            count = int((distances[i] <= np.float32(radius)).sum())
            np.testing.assert_array_equal(positions, everything[i, :count])
            np.testing.assert_array_equal(found, distances[i, :count])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda d: Database(ONE, "hamming"),
            r"descriptors must be packed bits \(uint8\) for hamming, these are float32",
        ),
        (lambda d: Database(np.ones((2, 4), np.uint8)), "must be float32, these are uint8; packed codes .* hamming"),
        (lambda d: Database(np.ones((1, 8192), np.uint8), "hamming"), "codes of 8,192 bytes are too long; .* 8,191"),
        (lambda d: Database(np.ones((0, 4), np.uint8), "hamming"), r"shape \(0, 4\) leave nothing to search"),
        (lambda d: d.nearest(np.ones((1, 5), np.uint8), 1), "the queries have 5 bytes each, the index 4"),
        (lambda d: d.nearest(np.ones((1, 4)), 1), r"queries must be packed bits \(uint8\) .* float64"),
        (lambda d: d.within(np.ones((1, 4), np.uint8), -1), "the radius is -1; it must be 0 or more"),
        (lambda d: d.within(np.ones((1, 4), np.uint8), float("nan")), "the radius is nan; it must be 0 or more"),
    ],
)
def test_codes_that_cant_be_compared_are_refused_in_a_sentence(call, message):
    with pytest.raises(UsageError, match=message):
        call(Database(np.zeros((3, 4), np.uint8), "hamming"))


def test_nothing_of_a_search_is_kept_until_a_garbage_collection():
    """Of 300,000 images put into lists, queries that waited for one took gigabytes."""
    rng = np.random.default_rng(0)
    database, queries = Database(rng.random((600, 64), np.float32), "euclidean"), rng.random((4000, 64), np.float32)
    database.nearest(queries, 1)
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(3):
            database.nearest(queries, 1)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert kept < queries.nbytes / 2
