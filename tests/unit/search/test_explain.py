"""Why two images are alike: by hand where a descriptor is a sum of places, by what is hidden elsewhere."""

import json

import numpy as np
import pytest

import lookalike
from lookalike import build_index, open_collection
from lookalike.cli.main import run
from lookalike.encoders.attribution import Contribution
from lookalike.encoders.color import colours_of_bins
from lookalike.encoders.onnx.feature_maps import averaged_into, with_output
from lookalike.encoders.postprocess import Projection
from lookalike.encoders.registry import TABLE, create
from lookalike.errors import EncoderError, UsageError
from lookalike.imaging.encode import save_image
from lookalike.imaging.resize import fit_to
from lookalike.neighbors.exact import Database
from lookalike.reports.heatmap import overlay, smooth
from lookalike.search.explain import EXACT, HIDING, _area_of_half, _message, explain, picture_of, read_pair
from lookalike.search.occlusion import GRID, covered, falls
from lookalike.transforms.windows import cell_shares
from quadrants import ENTRY, Quadrants, pictures


@pytest.fixture(autouse=True)
def table(monkeypatch):
    monkeypatch.setitem(TABLE, "quadrants", ENTRY)


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def indexed(images, encoder, folder, **options):
    return build_index(open_collection(images), create(encoder, **options), folder / "index")


def halves(rng):
    """Two images with the same texture on the left, and textures of their own on the right."""
    one, other = rng.integers(0, 256, (2, 32, 32, 3), np.uint8)
    other[:, :16] = one[:, :16]
    return np.stack([one, other])


# Exact ----------------------------------------------------------------------------------------------------------------


def test_pixels_by_hand(tmp_path):
    images = pictures((3, 4, 0, 0), (4, 3, 0, 5))
    found = explain(indexed(images, "pixels", tmp_path), *images)
    length = 5 * np.sqrt(50)
    np.testing.assert_allclose(found.query_map, np.array([[12, 12], [0, 0]]) / length, atol=1e-6)
    np.testing.assert_allclose(found.match_map, found.query_map, atol=1e-6)
    assert found.similarity == pytest.approx(24 / length, abs=1e-6)
    assert found.method == EXACT
    assert found.shares == {"pixels": 1.0}
    assert found.message == "Similarity 0.679 (cosine); half of it comes from 25% of the query and 25% of the answer."


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        ("pixels", {}),
        ("hog", {}),
        ("hog", {"deskew": True}),
        ("hog", {"cells": 3, "bins": 5}),
        ("color", {}),
        ("color", {"space": "oklab", "grid": 2}),
        ("neural", {}),
        ("hog+color", {"weights": [3, 1]}),
        ("pixels+hog+pixels", {}),
    ],
)
@pytest.mark.parametrize("post", [None, "centred", "adapted"])
def test_the_maps_add_up_to_the_cosine(encoder, options, post, tmp_path):
    rng = np.random.default_rng(1)
    images = halves(rng)
    made = create(encoder, **options).fit(images)
    if post is not None:
        mean = (0.1 * rng.random(made.dimension_)).astype(np.float32)
        columns = 0 if post == "centred" else 6
        matrix = rng.standard_normal((made.dimension_, columns)).astype(np.float32)
        made = made.with_post(Projection(post, mean, matrix, unit=post == "adapted"))
    index = build_index(open_collection(images), made, tmp_path / "index")
    found = explain(index, *images)
    wanted = cosine(*made.encode(images).astype(np.float64))
    assert found.method == EXACT
    assert found.similarity == pytest.approx(wanted, abs=1e-5)
    assert found.query_map.sum() == pytest.approx(wanted, abs=1e-4)
    assert found.match_map.sum() == pytest.approx(wanted, abs=1e-4)
    if wanted > 0:
        assert sum(found.shares.values()) == pytest.approx(1)
        assert len(found.shares) == encoder.count("+") + 1


@pytest.mark.parametrize("encoder", ["pixels", "hog", "color"])
def test_the_heat_lies_where_the_images_agree(encoder, tmp_path):
    rng = np.random.default_rng(0)
    images = np.zeros((2, 64, 64, 3), np.uint8)
    texture = rng.integers(0, 256, (64, 32, 1), np.uint8)
    images[:, :, :32] = texture * np.array([1, 0, 0], np.uint8)  # red on the left, of both
    images[0, :, 32:, 1] = rng.integers(0, 256, (64, 32))  # green with upright stripes here
    images[1, ::8, 32:, 2] = 255  # blue lines there
    images[0, :, 32::4, 1] = 255
    for values in (explained := explain(indexed(images, encoder, tmp_path), *images)).query_map, explained.match_map:
        heat = np.maximum(values, 0)
        middle = values.shape[1] // 2
        left, right = heat[:, :middle].sum(), heat[:, -middle:].sum()
        assert left > 2 * right, (encoder, left, right)


@pytest.mark.slow
def test_the_network_s_heat_lies_where_photos_agree(tmp_path):
    from skimage import data

    cat, coffee, rocket = (fit_to(image, (224, 224, 3)) for image in (data.chelsea(), data.coffee(), data.rocket()))
    images = np.stack([cat, cat])
    images[0, :, 112:], images[1, :, 112:] = coffee[:, 112:], rocket[:, 112:]
    found = explain(indexed(images, "neural", tmp_path), *images)
    for values in (found.query_map, found.match_map):
        assert values.shape == (9, 9)
        assert values[:, :4].sum() > 2 * values[:, 5:].sum()


def test_the_share_of_each_member_is_its_part_of_the_cosine(tmp_path):
    images = halves(np.random.default_rng(2))
    found = explain(indexed(images, "hog+color", tmp_path, weights=[3, 1]), *images)
    of = {name: cosine(*create(name).fit(images).encode(images)) for name in ("hog", "color")}
    whole = 0.75 * of["hog"] + 0.25 * of["color"]
    assert found.similarity == pytest.approx(whole, abs=1e-5)
    assert found.shares["hog"] == pytest.approx(0.75 * of["hog"] / whole, abs=1e-5)
    assert found.query_map.shape == (28, 28)


def test_members_of_one_name_are_told_apart(tmp_path):
    images = halves(np.random.default_rng(2))
    found = explain(indexed(images, "pixels+pixels", tmp_path), *images)
    assert found.shares == pytest.approx({"pixels": 0.5, "pixels 2": 0.5})


def test_the_colours_that_account_for_it(tmp_path):
    images = np.zeros((2, 16, 16, 3), np.uint8)
    images[:, :12, :, 0] = 255  # red, of both
    images[0, 12:, :, 1] = 255
    images[1, 12:, :, 2] = 255
    found = explain(indexed(images, "color", tmp_path), *images)
    (red, green, blue), share = found.colours[0]
    assert red > 200
    assert max(green, blue) < 60
    assert share == pytest.approx(1, abs=0.01)


def test_the_colours_that_account_for_most_come_first(tmp_path):
    images = np.zeros((2, 16, 16, 3), np.uint8)
    images[:, :8, :, 0] = 255
    images[:, 8:13, :, 1] = 255
    images[:, 13:, :, 2] = 255
    found = explain(indexed(images, "color", tmp_path), *images).colours
    shares = [share for _, share in found]
    assert shares == sorted(shares, reverse=True)
    assert [int(np.argmax(colour)) for colour, _ in found[:3]] == [0, 1, 2]


def test_the_area_of_half_is_the_smallest_that_makes_it_up():
    assert _area_of_half(np.array([[4.0, 1.0], [-9.0, 3.0]])) == 1 / 4  # 4 of 8
    assert _area_of_half(np.array([[3.0, 2.0], [2.0, 3.0]])) == 2 / 4
    assert _area_of_half(np.ones((4, 4))) == 1 / 2
    assert _area_of_half(-np.ones((2, 2))) is None


def test_what_accounts_for_it_is_said_in_words():
    maps, points = [np.ones((2, 2)), np.array([[1.0, 0], [0, 0]])], (np.zeros((3, 2), np.float32),) * 2
    assert _message(0.5, "cosine", True, maps, {"hog": 1.0}, None) == (
        "Similarity 0.500 (cosine); half of it comes from 50% of the query and 25% of the answer."
    )
    assert _message(0.5, "cosine", False, [maps[0], -maps[0]], {"color": 0.25, "hog": 0.75}, points) == (
        "Similarity 0.500 (cosine); hiding place after place, half of its fall comes from 50% of the query; "
        "hog 75%, color 25%; 3 details lie in the same arrangement."
    )
    assert _message(0.0, "cosine", True, maps, {"hog": 1.0}, None) == (
        "Similarity 0.000 (cosine); these two aren't alike, and nothing accounts for it."
    )


@pytest.mark.parametrize("space", ["hsv", "oklab"])
def test_the_colour_of_a_bin_has_more_of_it_than_that_of_another(space):
    colours = colours_of_bins(space)
    descriptors = create("color", space=space, grid=1).fit(colours[:1, None, None]).encode(colours[:, None, None])
    np.testing.assert_allclose(descriptors.max(axis=0), descriptors.diagonal())


def test_a_deskewed_glyph_is_hot_on_its_ink(digits, tmp_path):
    images = digits[0][:40]
    index = indexed(images, "hog", tmp_path, deskew=True)
    on_ink = []
    for i in range(20):
        found = explain(index, images[i], picture_of(index, index.search(images[i], k=2)[1].row))
        assert found.query_map.shape == (28, 28)
        near_ink = np.lib.stride_tricks.sliding_window_view(np.pad(images[i], 2), (5, 5)).max(axis=(2, 3)) > 64
        on_ink.append(
            np.maximum(found.query_map, 0)[near_ink].sum() / np.maximum(found.query_map, 0).sum() / near_ink.mean()
        )
    assert np.mean(on_ink) > 1.3


# Hidden ---------------------------------------------------------------------------------------------------------------


def test_each_place_is_hidden_once_by_the_border_s_colour():
    image = np.full((18, 27), 200, np.uint8)
    image[1:-1, 1:-1] = 90
    hidden = covered(image)
    assert hidden.shape == (GRID * GRID, 18, 27)
    place = hidden.reshape(GRID, GRID, 18, 27)[4, 4]
    assert (place[8:10, 12:15] == 200).all()
    assert (place[:4] == image[:4]).all()
    assert (place[:, :8] == image[:, :8]).all()


def test_hiding_what_two_share_costs_similarity():
    images = np.zeros((2, 36, 36), np.uint8)
    images[:, 4:14, 4:14] = 255
    images[0, 20:30, 20:30] = 255
    encoder = Quadrants().fit(images)
    described = encoder.encode(images)
    fallen = falls(encoder, images[0], described[1], "cosine")
    assert fallen[2, 2] > 0.1  # shared
    assert fallen[6, 6] < 0  # its own alone: without it the two are more alike
    assert fallen[2, 6] == pytest.approx(0, abs=1e-6)


def test_an_encoder_that_knows_no_places_is_explained_by_hiding(tmp_path):
    images = np.zeros((2, 36, 36), np.uint8)
    images[:, 4:14, 4:14] = 255
    images[0, 20:30, 20:30] = 255
    found = explain(indexed(images, "quadrants", tmp_path), *images)
    assert found.method == HIDING
    assert found.query_map.shape == (GRID, GRID)
    assert np.unravel_index(found.query_map.argmax(), (GRID, GRID)) == (2, 2)
    assert found.shares == {"quadrants": 1.0}
    # However much of its only square is hidden, the match points the same way.
    assert found.message.startswith("Similarity 0.707 (cosine); hiding place after place, half of its fall comes from ")
    assert found.message.endswith("% of the query.")


def test_packed_codes_are_explained_by_hiding(digits, tmp_path):
    images = digits[0][:60]
    index = indexed(images, "itq", tmp_path, bits=64)
    found = explain(index, images[0], images[17])
    assert (found.method, found.distance) == (HIDING, "hamming")
    bits = np.unpackbits(np.bitwise_xor(*index.encoder.encode(images[[0, 17]])))
    assert found.similarity == pytest.approx(1 - bits.sum() / 64)
    assert found.query_map.max() > 0
    assert found.colours == []


def test_the_kernel_form_shares_out_by_leaving_out(tmp_path):
    images = halves(np.random.default_rng(3))
    made = create("hog+color").fit(images)
    rng = np.random.default_rng(0)
    d = made.dimension_
    post = Projection(
        "kernel", np.zeros(d, np.float32), np.empty((d, 0), np.float32), waves=rng.standard_normal((d, 200)).astype(np.float32),
        phases=(2 * np.pi * rng.random(200)).astype(np.float32), last_mean=np.zeros(200, np.float32), last=np.eye(200, dtype=np.float32),
    )  # fmt: skip
    found = explain(build_index(open_collection(images), made.with_post(post), tmp_path / "index"), *images)
    assert found.method == HIDING
    assert set(found.shares) <= {"hog", "color"}
    assert sum(found.shares.values()) == pytest.approx(1)


def test_what_is_not_alike_has_no_shares(tmp_path):
    images = pictures((9, 0, 0, 0), (0, 0, 0, 9))
    found = explain(indexed(images, "pixels", tmp_path), *images)
    assert found.shares == {}
    assert found.message == "Similarity 0.000 (cosine); these two aren't alike, and nothing accounts for it."


def test_a_blank_image_is_refused(tmp_path):
    images = pictures((3, 4, 0, 0), (4, 3, 0, 5))
    index = indexed(images, "pixels", tmp_path)
    with pytest.raises(EncoderError, match="the query: pixels finds nothing in it"):
        explain(index, np.zeros((2, 2), np.uint8), images[0])
    with pytest.raises(EncoderError, match="the match: pixels finds nothing in it"):
        explain(index, images[0], np.zeros((2, 2), np.uint8))


# Places ---------------------------------------------------------------------------------------------------------------


def test_values_laid_on_another_grid_keep_their_sum_and_place():
    laid = Contribution("x", np.array([[1.0, 3.0]]), box=(0.5, 0.0, 1.0, 1.0)).on(2, 8)
    one, other = np.array([3, 3, 1, 0]) / 7, np.array([0, 1, 3, 3]) / 7
    np.testing.assert_allclose(laid, [[0, 0, 0, 0, *(one + 3 * other) / 2]] * 2)
    np.testing.assert_allclose(cell_shares(28, 28), np.eye(28), atol=1e-12)
    np.testing.assert_allclose(cell_shares(9, 4, 0.3, 0.4).sum(axis=0), np.ones(9))


def test_what_a_model_averages_is_found_and_given():
    onnx = pytest.importorskip("onnx", reason="small models are built with it")
    from onnx import helper

    floats = onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("Relu", ["images"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["maps"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("images", floats, [1, 3, 2, 2])],
        [helper.make_tensor_value_info("out", floats, [1, 3])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    assert averaged_into(model, "out") == "maps"
    assert [o.name for o in onnx.load_from_string(with_output(model, "maps")).graph.output] == ["out", "maps"]
    assert averaged_into(model, "images") is None
    assert averaged_into(model[:-7], "out") is None
    assert averaged_into(b"\xff" * 40, "out") is None


def test_the_maps_of_the_shipped_networks_are_averaged_to_their_descriptors():
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    encoder = create("neural").fit(image[None])
    (joined,) = encoder.encode(image[None])
    for model, part, side in zip(encoder._image_models, np.split(joined, 2), (9, 7), strict=True):
        maps, box = model.maps(image, part)
        assert maps.shape == (side, side, 1280)
        assert box == (0, 0, 1, 1)


def test_heat_is_clear_where_nothing_counts():
    image = np.full((300, 600, 3), 100, np.uint8)
    drawn = overlay(image, np.array([[1.0, 0.0, -5.0, 0.0, 0.0, 0.0]]))
    assert drawn.shape == (256, 512, 3)
    assert np.ptp(drawn[:, 300:].astype(int)) <= 2  # grey, of one lightness
    assert drawn[128, 20, 0] > drawn[128, 20, 2] + 50  # warm
    assert overlay(np.zeros((28, 28), np.uint8), np.zeros((2, 2))).shape == (224, 224, 3)
    assert smooth(np.zeros((3, 3)), 8, 8).max() == 0


# Commands -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos") / "photos"
    folder.mkdir()
    rng = np.random.default_rng(5)
    for i in range(4):
        image = np.zeros((150, 200, 3), np.uint8)
        image[40:110, 60:140] = rng.integers(0, 256, (70, 80, 3))
        save_image(image, folder / f"p{i}.png")
    build_index(folder, "hog+color", folder / ".lookalike")
    return folder


@pytest.mark.slow
def test_the_command_says_why_and_draws_it(photos, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    index = ["-i", str(photos / ".lookalike")]
    assert run(["explain", "p0.png", "p1.png", *index, "-o", str(tmp_path / "why.png"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["query"], said["match"], said["method"]) == ("p0.png", "p1.png", "exact")
    assert set(said["shares"]) == {"hog", "color"}
    assert np.sum(said["query_map"]) == pytest.approx(said["similarity"], abs=1e-4)
    assert (tmp_path / "why.png").stat().st_size > 10_000
    by_file = [f"{photos / 'p0.png'}[50,30,100,90]", "p1.png"]
    assert run(["explain", *by_file, *index]) == 0
    assert capsys.readouterr().out.startswith("Similarity ")


def test_the_whole_picture_is_read_while_its_file_is_there(photos):
    index = lookalike.open_index(photos / ".lookalike")
    query, match = read_pair(index, "p0.png", "p1.png")
    assert query.shape == match.shape == (150, 200, 3)
    (photos / "p3.png").rename(photos.parent / "away.png")
    try:
        assert picture_of(index, index.ids.index("p3.png")).shape == (96, 128, 3)
    finally:
        (photos.parent / "away.png").rename(photos / "p3.png")


@pytest.mark.parametrize(
    ("query", "match", "message"),
    [
        ("p0.png", "p9.png", "p9.png: no image of .* has that id"),
        ("nowhere.png", "p0.png", "nowhere.png"),
        ("{photos}/p0.png[150,0,100,100]", "p1.png", "the crop reaches to 250, 100"),
    ],
)
def test_what_is_not_there_is_said(query, match, message, photos, capsys):
    arguments = [query.replace("{photos}", str(photos)), match, "-i", str(photos / ".lookalike")]
    assert run(["explain", *arguments]) in (1, 2)
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert pytest.importorskip("re").search(message, err)


def test_an_unknown_match_is_a_wrong_call(photos):
    with pytest.raises(UsageError):
        read_pair(lookalike.open_index(photos / ".lookalike"), "p0.png", "p9.png")


def test_databases_of_one_are_enough():
    assert Database(np.ones((1, 4), np.float32), "euclidean").distances(np.zeros((1, 4), np.float32))[0, 0] == 2
