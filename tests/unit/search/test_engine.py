"""Answers: which, in what order, how far, and what is refused."""

import json
import math
from unittest.mock import ANY

import numpy as np
import pytest
from PIL import Image

from lookalike import build_index, open_collection, open_index
from lookalike.encoders.registry import TABLE
from lookalike.errors import CollectionError, EncoderError, UsageError
from lookalike.imaging.encode import save_image
from lookalike.search.engine import search
from lookalike.search.query_descriptors import query_image, readable_queries
from quadrants import ENTRY, Quadrants, pictures

#: Lengths 5, 5, 5, 10; rows 0 and 3 point the same way.
ROWS = ((3, 4, 0, 0), (4, 3, 0, 0), (0, 0, 5, 0), (6, 8, 0, 0))
QUERY = pictures((3, 4, 0, 0))[0]


@pytest.fixture(autouse=True)
def table(monkeypatch):
    monkeypatch.setitem(TABLE, "quadrants", ENTRY)


@pytest.fixture
def index(tmp_path):
    labels = ["a", "b", "c", "a"]
    return build_index(open_collection(pictures(*ROWS), labels=labels), "quadrants", tmp_path / "index")


@pytest.fixture(scope="module")
def digits_index(tmp_path_factory):
    return build_index("mnist:test[0:300]", "hog", tmp_path_factory.mktemp("digits") / "index")


# Ranks and distances --------------------------------------------------------------------------------------------------


def test_cosine_is_the_default_and_ties_come_in_position_order(index):
    matches = index.search(QUERY, 4)
    assert [(m.rank, m.id, m.row, m.label) for m in matches] == [
        (1, "0", 0, "a"),
        (2, "3", 3, "a"),
        (3, "1", 1, "b"),
        (4, "2", 2, "c"),
    ]
    assert [m.distance for m in matches] == [0, 0, pytest.approx(1 - 24 / 25, abs=1e-7), pytest.approx(1, abs=1e-7)]
    assert [m.similarity for m in matches] == [1, 1, pytest.approx(0.96, abs=1e-7), pytest.approx(0, abs=1e-7)]


def test_euclidean(index):
    matches = index.search(QUERY, 4, distance="euclidean")
    assert [m.id for m in matches] == ["0", "1", "3", "2"]
    expected = [0, math.sqrt(2), 5, math.sqrt(50)]
    assert [m.distance for m in matches] == pytest.approx(expected, rel=1e-6)
    assert [m.similarity for m in matches] == pytest.approx([1 / (1 + d) for d in expected], rel=1e-6)


def test_the_encoders_own_distance_is_taken_unless_another_is_named(tmp_path):
    encoder = Quadrants()
    encoder.distance = "euclidean"
    index = build_index(pictures(*ROWS), encoder, tmp_path / "index")
    for opened in (index, open_index(tmp_path / "index")):
        assert [m.id for m in opened.search(QUERY, 4)] == ["0", "1", "3", "2"]
        assert [m.id for m in opened.search(QUERY, 4, distance="cosine")] == ["0", "3", "1", "2"]


def test_a_cut_among_equals_takes_the_first_stored(tmp_path):
    index = build_index(pictures(*[(9, 9, 0, 0)] * 50), "quadrants", tmp_path / "index")
    assert [m.id for m in index.search(pictures((1, 1, 0, 0))[0], 7)] == [str(i) for i in range(7)]


def test_the_json_is_the_documented_one(index):
    (result,) = search(index, QUERY, 2)
    assert json.loads(json.dumps(result.to_json())) == {
        "query": "array[0]",
        "search": "exact",
        "matches": [
            {
                "rank": 1,
                "id": "0",
                "distance": 0.0,
                "similarity": 1.0,
                "label": "a",
                "width": 2,
                "height": 2,
                "hash": ANY,
            },
            {
                "rank": 2,
                "id": "3",
                "distance": 0.0,
                "similarity": 1.0,
                "label": "a",
                "width": 2,
                "height": 2,
                "hash": ANY,
            },
        ],
    }


def test_without_labels_there_is_none_in_the_answer(tmp_path):
    index = build_index(pictures(*ROWS), "quadrants", tmp_path / "index")
    (match,) = index.search(QUERY, 1)
    assert match.label is None
    assert "label" not in match.to_json()


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_digits_are_ranked_as_by_plain_numpy(digits_index, distance):
    queries = open_collection("mnist:test[300:340]")
    encoder = digits_index.encoder
    base = encoder.encode(open_collection("mnist:test[0:300]").array()).astype(np.float64)
    asked = encoder.encode(queries.array()).astype(np.float64)
    if distance == "cosine":
        unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (asked, base)]
        far = 1 - unit[0] @ unit[1].T
    else:
        far = np.linalg.norm(asked[:, None] - base[None], axis=2)
    results = search(digits_index, queries, 300, distance=distance)
    assert [r.query for r in results] == [f"mnist:test[{i}]" for i in range(300, 340)]
    for row, result in zip(far, results, strict=True):
        np.testing.assert_allclose([m.distance for m in result.matches], np.sort(row), atol=2e-6)
        np.testing.assert_allclose(row[[m.row for m in result.matches]], np.sort(row), atol=2e-6)
        assert [m.rank for m in result.matches] == list(range(1, 301))
        assert all(m.id == str(m.row) for m in result.matches)


def test_a_batch_answers_as_its_queries_one_by_one(digits_index):
    queries = open_collection("mnist:test[250:350]")
    together = search(digits_index, queries, 12)
    for i, result in enumerate(together):
        alone = digits_index.search(queries.take([i]), 12)
        assert [m.id for m in alone] == [m.id for m in result.matches]
        # An encoder may round differently in another batch (its contract: 1e-5); the distances follow.
        assert [m.distance for m in alone] == pytest.approx([m.distance for m in result.matches], abs=1e-6)


def test_an_indexed_image_finds_itself(digits_index):
    for result in search(digits_index, "mnist:test[0:300]", 1):
        assert result.matches[0].distance == pytest.approx(0, abs=1e-6)
        assert result.query == f"mnist:test[{result.matches[0].id}]"


def test_the_index_opened_again_answers_the_same(index, tmp_path):
    again = open_index(tmp_path / "index")
    assert again.search(QUERY, 4) == index.search(QUERY, 4)


# k --------------------------------------------------------------------------------------------------------------------


def test_k_is_at_least_one_and_beyond_the_collection_it_is_all(index):
    assert len(index.search(QUERY, 4)) == 4
    assert index.search(QUERY, 5) == index.search(QUERY, np.int64(10**9)) == index.search(QUERY, 4)
    assert [m.id for m in index.search(QUERY, 5, rerank="query-expansion")] == [
        m.id for m in index.search(QUERY, 4, rerank="query-expansion")
    ]
    with pytest.raises(UsageError, match=r"k is 0; ask for at least 1"):
        index.search(QUERY, 0)
    with pytest.raises(UsageError, match=r"k is -3"):
        index.search(QUERY, -3)
    for k in (2.5, "3", None, True, 10**400):
        with pytest.raises(UsageError, match=r"^k (must be a whole number|is beyond all counting)"):
            index.search(QUERY, k)


def test_many_queries_are_for_the_function(index):
    with pytest.raises(UsageError, match=r"one query image expected, 2 given"):
        index.search(pictures((1, 2, 3, 4), (1, 2, 3, 5)), 1)


def test_an_unknown_distance_is_refused_with_the_known_ones(index):
    with pytest.raises(UsageError, match=r"unknown distance 'cosin' \(did you mean 'cosine'\?\); known: cosine, eucl"):
        index.search(QUERY, 1, distance="cosin")


# Queries of another kind ----------------------------------------------------------------------------------------------


def test_another_size_is_refused_and_resize_is_the_way_out(index):
    large = np.kron(QUERY, np.ones((2, 2), np.uint8))
    with pytest.raises(EncoderError, match=r"array\[0\]: 4 x 4 pixels, but .* images of 2 x 2; add --resize"):
        index.search(large, 1)
    assert [m.id for m in index.search(large, 4, resize=True)] == ["0", "3", "1", "2"]


def test_an_index_of_a_folder_resizes_queries_unasked(tmp_path):
    for name, value in (("a.png", 10), ("b.png", 90)):
        save_image(np.full((8, 8), value, np.uint8), tmp_path / name)
    index = build_index(tmp_path, "pixels")
    assert index.manifest.view.resized
    (nearest,) = index.search(np.full((20, 30), 80, np.uint8), 1, distance="euclidean")
    assert nearest.id == "b.png"


def test_a_colour_query_is_made_grey_for_a_grey_index(index):
    colour = np.repeat(QUERY[..., None], 3, axis=2)
    assert index.search(colour, 4) == index.search(QUERY, 4)
    red = np.zeros((2, 2, 3), np.uint8)
    red[0, 0] = (200, 0, 0)  # luma 0.299 * 200 = 60
    images = query_image(index, open_collection(red), 0)
    assert images.tolist() == [[60, 0], [0, 0]]


def test_a_grey_query_is_made_colour_for_a_colour_index(tmp_path):
    colours = np.zeros((3, 4, 4, 3), np.uint8)
    colours[0, ..., 0] = colours[1, ..., 1] = 200
    colours[2] = 120
    index = build_index(colours, "pixels", tmp_path / "index")
    (nearest,) = index.search(np.full((4, 4), 119, np.uint8), 1)
    assert (nearest.id, nearest.distance) == ("2", 0)


def test_queries_that_fit_are_not_copied(digits_index, monkeypatch):
    queries = open_collection("mnist:test[0:3]")
    encoder, encoded = digits_index.encoder, []
    encode = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda images: encoded.append(images) or encode(images))
    assert readable_queries(digits_index, queries, "cosine").positions == [0, 1, 2]
    assert encoded[0] is queries.array_


def test_the_callers_query_is_left_alone(index):
    query = QUERY.copy()
    index.search(query, 1)
    assert (query == QUERY).all()


def test_a_blank_query_has_no_angle_but_a_distance(index):
    blank = np.zeros((2, 2), np.uint8)
    with pytest.raises(UsageError, match=r"array\[0\]: blank for the encoder quadrants .* or the distance euclidean"):
        index.search(blank, 1)
    assert index.search(blank, 1, distance="euclidean")[0].id == "0"


def test_a_query_whose_descriptor_is_nan_is_refused(tmp_path):
    index = build_index(pictures(*ROWS), Quadrants(hole=9), tmp_path / "index")
    with pytest.raises(UsageError, match="NaN"):
        index.search(pictures((9, 1, 1, 1))[0], 1)


def test_a_damaged_query_says_what_is_wrong(index, tmp_path):
    path = tmp_path / "query.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(CollectionError, match=r"query\.png: "):
        index.search(path, 1)


# How queries are named ------------------------------------------------------------------------------------------------


def test_queries_are_named_by_file_or_place(index, tmp_path):
    folder = tmp_path / "queries"
    folder.mkdir()
    for name in ("x.png", "y.png"):
        Image.fromarray(QUERY).save(folder / name)
    np.save(tmp_path / "1.npy", np.stack([QUERY, QUERY]))
    for queries, names in (
        (folder / "x.png", [f"{folder}/x.png"]),
        (folder, [f"{folder}/x.png", f"{folder}/y.png"]),
        (f"{folder}[1]", [f"{folder}/y.png"]),
        (tmp_path / "1.npy", [f"{tmp_path}/1.npy[0]", f"{tmp_path}/1.npy[1]"]),
        (f"{tmp_path}/1.npy[1]", [f"{tmp_path}/1.npy[1]"]),
        (np.stack([QUERY, QUERY]), ["array[0]", "array[1]"]),
    ):
        assert [r.query for r in search(index, queries, 1)] == names
