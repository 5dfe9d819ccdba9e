"""Places in the plane: neighbours stay neighbours, the same input gives the same places, groups become hills."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

import lookalike
from lookalike.encoders.registry import create
from lookalike.neighbors.diffusion import Neighbours, find_neighbours, prepare_diffusion
from lookalike.neighbors.embedding2d import (
    Layout,
    attraction,
    density_clusters,
    embed_2d,
    peak_basins,
    principal_positions,
    spectral_init,
)
from lookalike.neighbors.exact import Database


def neighbours_of(descriptors, k=15, distance="euclidean"):
    return find_neighbours(Database(descriptors, distance), descriptors, k)


@pytest.fixture(scope="module")
def digits():
    images = lookalike.open_collection("mnist:test[0:1500]")
    descriptors = create("hog").fit(images.array()).encode(images.array())
    return descriptors, neighbours_of(descriptors, distance="cosine"), np.array(images.labels)


@pytest.fixture(scope="module")
def places(digits):
    return embed_2d(digits[1], spectral_init(prepare_diffusion(digits[1]), digits[0]))


@pytest.mark.slow
def test_neighbours_stay_near(digits, places):
    trustworthiness = pytest.importorskip("sklearn.manifold", reason="scikit-learn isn't installed").trustworthiness
    start = principal_positions(digits[0])
    reached = trustworthiness(digits[0], places, n_neighbors=15, metric="cosine")
    assert reached > 0.93
    assert reached > trustworthiness(digits[0], start, n_neighbors=15, metric="cosine") + 0.1


@pytest.mark.slow
def test_images_of_one_label_come_together_unseen(digits, places):
    _, near = cKDTree(places).query(places, 11)
    assert (digits[2][near[:, 1:]] == digits[2][:, None]).mean() > 0.85


@pytest.mark.slow
def test_the_same_input_gives_the_same_places(digits, places):
    start = spectral_init(prepare_diffusion(digits[1]), digits[0])
    assert (embed_2d(digits[1], start) == places).all()
    assert (embed_2d(digits[1], start, epochs=3, seed=1) != places).any()


def test_the_attraction_is_the_papers(digits):
    weights = attraction(digits[1]).toarray()
    assert (weights == weights.T).all()
    # By hand for one image: nearest 1, and all of one direction together log2(k).
    squares = digits[1].squares[0]
    distances = np.sqrt(squares)
    low, high = 1e-6, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        if np.exp(-(distances - distances[0]) / middle).sum() > np.log2(15):
            high = middle
        else:
            low = middle
    mine = np.exp(-(distances - distances[0]) / middle)
    for row, one in zip(digits[1].rows[0], mine, strict=True):
        back = digits[1].rows[row].tolist()
        if 0 not in back:  # else the other direction adds to it
            assert weights[0, row] == pytest.approx(one, rel=1e-3)
        else:
            assert weights[0, row] >= one - 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 4, 20])
def test_few_or_equal_images_have_places_too(n):
    for descriptors in (np.ones((n, 4), np.float32), np.random.default_rng(n).normal(size=(n, 4)).astype(np.float32)):
        found = embed_2d(neighbours_of(descriptors, min(15, n - 1)), principal_positions(descriptors))
        assert np.isfinite(found).all()
        assert len(np.unique(found, axis=0)) == n  # none exactly upon another
        assert (density_clusters(found) < n).all()


def test_a_handful_of_identical_images_do_not_spoil_the_start():
    rng = np.random.default_rng(0)
    halves = [rng.normal(side, 1, (600, 6)) for side in (-4, 4)]
    strays = np.repeat(rng.normal(0, 1, (3, 6)) + 60, 4, axis=0)
    descriptors = np.concatenate([*halves, strays]).astype(np.float32)
    start = spectral_init(prepare_diffusion(neighbours_of(descriptors)), descriptors)
    inner = start[:1200]
    assert (inner.std(axis=0) > 1).all()
    assert abs(np.median(inner[:600, 0]) - np.median(inner[600:, 0])) > 5


def test_packed_codes_start_by_their_bits():
    bits = np.zeros((100, 16), np.uint8)
    bits[50:, :8] = 1
    start = principal_positions(np.packbits(bits, axis=1))
    assert len(set(np.round(start[:50, 0], 3))) == 1
    assert abs(start[0, 0] - start[99, 0]) == pytest.approx(10, rel=1e-3)


def test_groups_become_hills_the_largest_first():
    rng = np.random.default_rng(0)
    groups = [rng.normal(centre, 0.3, (many, 2)) for centre, many in (((0, 0), 200), ((5, 0), 400), ((2, 6), 300))]
    clusters = density_clusters(np.concatenate(groups).astype(np.float32))
    assert np.bincount(clusters).tolist() == [400, 300, 200]
    assert [len(set(part)) for part in np.split(clusters, [200, 600])] == [1, 1, 1]


@pytest.mark.parametrize("prominence", [0.2, np.log(2)])
@pytest.mark.parametrize(("seed", "smooth"), [(0, 2), (1, 4), (2, 8)])
def test_basins_are_those_of_scikit_images_watershed(seed, smooth, prominence):
    morphology, segmentation = pytest.importorskip("skimage.morphology"), pytest.importorskip("skimage.segmentation")
    height = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(128, 128)), smooth)
    height /= height.std()
    peaks, _ = ndimage.label(morphology.h_maxima(height, prominence))
    expected = segmentation.watershed(-height, peaks)
    basins = peak_basins(height, float(prominence))
    assert len(np.unique(basins)) == peaks.max()
    own = basins[peaks > 0], expected[peaks > 0]  # each peak of theirs is in a basin of its own
    assert len(set(zip(*own, strict=True))) == peaks.max()
    of_theirs = {theirs: ours for ours, theirs in zip(*own, strict=True)}
    assert np.mean([of_theirs[theirs] == ours for ours, theirs in zip(basins.flat, expected.flat, strict=True)]) > 0.99


def test_pictures_are_spread_out():
    places = np.random.default_rng(0).uniform(-1, 1, (5000, 2)).astype(np.float32)
    layout = Layout(places, np.zeros(5000, np.uint16))
    rows = layout.spread_out(10)
    assert rows == sorted(set(rows))
    assert len(rows) == 100
    near, _ = cKDTree(places[rows]).query(places[rows], 2)
    assert near[:, 1].min() > 0.1  # squares of 0.2


def test_a_neighbour_of_nobody_is_still_placed():
    rows = np.array([[1, 2], [0, 2], [0, 1], [0, 1]], np.int32)
    found = embed_2d(Neighbours(rows, np.ones((4, 2), np.float32)), np.zeros((4, 2), np.float32))
    assert np.isfinite(found).all()
