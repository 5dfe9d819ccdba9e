"""Several examples -> one descriptor: by hand, for each kind of distance; and what can't be blended."""

import numpy as np
import pytest
from PIL import Image

from lookalike import build_index, open_collection
from lookalike.encoders.registry import TABLE
from lookalike.errors import UsageError
from lookalike.imaging.encode import to_png
from lookalike.search.compose import DISLIKED, LIKED, compose, read_example, weighted
from lookalike.search.example import Example
from lookalike.search.request import Query
from quadrants import ENTRY, pictures

ROWS = ((3, 4, 0, 0), (4, 3, 0, 0), (0, 0, 5, 0), (6, 8, 0, 0))


@pytest.fixture(autouse=True)
def table(monkeypatch):
    monkeypatch.setitem(TABLE, "quadrants", ENTRY)


@pytest.fixture
def index(tmp_path):
    return build_index(open_collection(pictures(*ROWS)), "quadrants", tmp_path / "index")


def blended(index, distance="cosine", **query):
    return compose(index, Query(**query), distance).descriptor


def by_id(*names, weights=None):
    return tuple(Example(id=n, weight=w) for n, w in zip(names, weights or [1.0] * len(names), strict=True))


def test_one_image_alone_is_its_own_descriptor(index):
    assert blended(index, images=by_id("3")).tolist() == [6, 8, 0, 0]
    assert blended(index, likes=("3",)).tolist() == [6, 8, 0, 0]
    image = Example(data=to_png(pictures((1, 2, 3, 4))[0]))
    assert blended(index, images=(image,)).tolist() == [1, 2, 3, 4]


def test_cosine_averages_directions(index):
    expected = (np.array([0.6, 0.8, 0, 0]) + 3 * np.array([0, 0, 1, 0])) / 4
    assert blended(index, images=by_id("3", "2", weights=[1, 3])) == pytest.approx(expected)


def test_euclid_averages_points(index):
    assert blended(index, "euclidean", images=by_id("0", "3", weights=[1, 3])) == pytest.approx([5.25, 7, 0, 0])


def test_likes_and_dislikes_are_weighed_by_rocchio(index):
    found = blended(index, "euclidean", images=by_id("0"), likes=("1", "3"), dislikes=("2",))
    rows = np.array(ROWS, float)
    whole = 1 + LIKED - DISLIKED
    assert found == pytest.approx((rows[0] + LIKED * (rows[1] + rows[3]) / 2 - DISLIKED * rows[2]) / whole)
    # Away from the dislike: farther from it than what was shown.
    alone = blended(index, "euclidean", images=by_id("0"), dislikes=("2",))
    assert np.linalg.norm(alone - rows[2]) > np.linalg.norm(rows[0] - rows[2])


def test_the_unit_of_a_descriptor_does_not_change_a_cosine_query():
    small, large = np.array([1, 0], np.float32), np.array([0, 1000], np.float32)
    assert weighted([small, large], [1, 1], "cosine") == pytest.approx([0.5, 0.5])


def test_codes_are_blended_by_majority_and_the_heaviest_settles_ties():
    codes = [np.array([code], np.uint8) for code in (0b11001010, 0b10101100, 0b01110000)]
    assert weighted(codes, [1, 1, 1], "hamming").tolist() == [0b11101000]
    assert weighted(codes[:2], [1, 1], "hamming").tolist() == [0b11001010]
    assert weighted(codes[:2], [1, 2], "hamming").tolist() == [0b10101100]


@pytest.mark.parametrize("weights", [[1, -1], [0, 0], [-1, 0.5], [1, -1.0000001]])
def test_weights_that_cancel_out_are_refused(index, weights):
    with pytest.raises(UsageError, match=r"the weights of the query add up to .*, so that nothing is left to look for"):
        blended(index, images=by_id("0", "1", weights=weights))


def test_directions_that_cancel_out_are_refused():
    ahead = np.array([1, 2], np.float32)
    with pytest.raises(UsageError, match="cancel each other out, so that no direction is left"):
        weighted([ahead, -ahead], [1, 1], "cosine")
    assert weighted([ahead, -ahead], [1, 1], "euclidean").tolist() == [0, 0]


def test_nan_is_refused():
    with pytest.raises(UsageError, match="holds NaN or infinity"):
        weighted([np.array([1, np.nan], np.float32)] * 2, [1, 1], "cosine")


def test_a_crop_is_what_lies_inside_it(index, tmp_path):
    image = np.zeros((8, 12), np.uint8)
    image[2:6, 4:8] = np.kron(pictures((1, 2, 3, 4))[0], np.ones((2, 2), np.uint8))
    Image.fromarray(image).save(tmp_path / "a.png")
    for example in (Example.parse(f"{tmp_path}/a.png[4,2,4,4]"), Example(data=to_png(image), crop=(4, 2, 4, 4))):
        whole = read_example(index, example)
        np.testing.assert_array_equal(whole, read_example(index, Example(data=to_png(image[2:6, 4:8])), resize=True))


def test_a_crop_counts_in_pixels_of_the_upright_image(index, tmp_path):
    image = Image.fromarray(np.arange(96, dtype=np.uint8).reshape(8, 12))
    exif = image.getexif()
    exif[0x0112] = 6  # turned: upright it is 8 wide and 12 high
    image.save(tmp_path / "turned.png", exif=exif)
    found = read_example(index, Example.parse(f"{tmp_path}/turned.png[0,10,2,2]"))
    np.testing.assert_array_equal(found, np.rot90(np.asarray(image), -1)[10:12, :2])


@pytest.mark.parametrize("crop", [(11, 0, 2, 2), (0, 7, 1, 2), (0, 0, 13, 1), (100, 100, 5, 5)])
def test_a_crop_outside_the_image_is_refused(index, tmp_path, crop):
    Image.fromarray(np.zeros((8, 12), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match=r"a\.png\[.*\]: the crop reaches to .* but the image is 12 x 8 pixels"):
        read_example(index, Example(str(tmp_path / "a.png"), crop=crop))


def test_a_collection_is_not_one_image(index, tmp_path):
    np.save(tmp_path / "two.npy", pictures((1, 2, 3, 4), (1, 2, 3, 5)))
    with pytest.raises(
        UsageError, match=r"two\.npy: holds 2 images, and here one is meant; pick it as in .*two\.npy\[0\]"
    ):
        read_example(index, Example(str(tmp_path / "two.npy")))
    assert read_example(index, Example(f"{tmp_path}/two.npy[1]")).tolist() == [[1, 2], [3, 5]]


def test_a_sketch_with_a_transparent_ground_is_drawn_on_white(tmp_path):
    sketch = np.zeros((16, 16, 4), np.uint8)
    sketch[4:12, 7:9] = (0, 0, 0, 255)  # a black stroke; all else transparent black
    Image.fromarray(sketch).save(tmp_path / "sketch.png")
    drawn = np.full((3, 16, 16), 255, np.uint8)
    drawn[0, 4:12, 7:9] = 0
    drawn[1, 7:9, 4:12] = 0
    drawn[2, 2:14, 2:14] = 0
    for encoder in ("pixels", "hog"):
        index = build_index(drawn, encoder, tmp_path / encoder)
        for example in (Example(str(tmp_path / "sketch.png")), Example(data=(tmp_path / "sketch.png").read_bytes())):
            first = index.ask({"images": [example.to_json()], "k": 1}).matches[0]
            assert (first.id, first.distance) == ("0", 0)
