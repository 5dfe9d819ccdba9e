"""Post-processing of descriptors: its arithmetic, and that an encoder carries it through saving and loading."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lookalike.encoders.postprocess import BLOCK_ROWS, FILE, Projection
from lookalike.encoders.registry import create
from lookalike.encoders.serialize import load, read_card
from lookalike.errors import EncoderError


def f32(values):
    return np.array(values, np.float32)


@pytest.fixture
def swap():
    """Take (1, 2) away, then swap the two and double the first."""
    return Projection("swap", f32([1, 2]), f32([[0, 1], [2, 0]]), unit=False, params={"why": "to count in the head"})


@pytest.fixture
def waves():
    rng = np.random.default_rng(0)
    made = (rng.standard_normal(s).astype(np.float32) for s in ((2, 5), 5, 5, (5, 3)))
    return Projection("kernel", f32([0, 0]), f32([[1, 0], [0, 1]]), True, *made)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(1, 256, (7, 1, 2), dtype=np.uint8)


def test_the_arithmetic(swap):
    np.testing.assert_array_equal(swap.apply(f32([[1, 2], [2, 2], [1, 5]])), [[0, 0], [0, 1], [6, 0]])
    assert (swap.takes, swap.dimension) == (2, 2)


def test_the_kernel_form(waves):
    x = f32([[3, 4]])
    by_hand = (np.cos(x / 5 @ waves.waves + waves.phases) - waves.last_mean) @ waves.last
    np.testing.assert_allclose(waves.apply(x), by_hand, rtol=1e-5)
    np.testing.assert_allclose(waves.apply(10 * x), waves.apply(x), rtol=1e-5)
    assert waves.dimension == 3


@pytest.mark.parametrize("name", ["swap", "waves"])
def test_a_blank_row_stays_zero_and_blocks_make_no_difference(name, request):
    post = request.getfixturevalue(name)
    rows = np.random.default_rng(1).standard_normal((BLOCK_ROWS + 3, 2)).astype(np.float32)
    rows[5] = 0
    whole = post.apply(rows)
    assert not whole[5].any()
    assert whole[4].all()
    np.testing.assert_allclose(post.apply(rows[BLOCK_ROWS - 2 :]), whole[BLOCK_ROWS - 2 :], atol=1e-6)
    assert post.apply(rows[:0]).shape == (0, post.dimension)
    assert whole.dtype == np.float32


@pytest.mark.parametrize("name", ["swap", "waves"])
def test_it_comes_back_from_files(name, request):
    post = request.getfixturevalue(name)
    again = Projection.from_files(json.loads(json.dumps(post.to_json())), post.to_files())
    rows = f32([[1, 7], [0, 0], [3, -4]])
    np.testing.assert_array_equal(again.apply(rows), post.apply(rows))
    assert again.to_files() == post.to_files()
    assert (again.name, again.params) == (post.name, post.params)


def test_descriptors_of_another_length_are_refused(swap):
    with pytest.raises(EncoderError, match=r"'swap' takes descriptors of 2 values, these have shape \(1, 3\)"):
        swap.apply(f32([[1, 2, 3]]))


def test_what_cant_be_read_is_refused(swap):
    facts, files = swap.to_json(), swap.to_files()
    for broken in (
        ({}, files), (facts, {}), (facts, {FILE: b""}), (facts, {FILE: files[FILE][:50]}),
        (facts | {"params": 3}, files), (facts, Projection("x", f32([1]), f32([[1, 2], [2, 3]])).to_files()),
    ):  # fmt: skip
        with pytest.raises(EncoderError, match="can't be read .*; adapt the encoder again"):
            Projection.from_files(*broken)


# In an encoder --------------------------------------------------------------------------------------------------------


def test_an_encoder_ends_with_its_post_processing(swap, images):
    plain = create("pixels").fit(images)
    before = plain.fingerprint
    encoder = plain.with_post(swap)
    np.testing.assert_array_equal(encoder.encode(images), swap.apply(plain.encode(images)))
    assert (plain.post_, plain.fingerprint) == (None, before)
    assert encoder.fingerprint != before
    assert encoder.encode(images[:0]).shape == (0, encoder.dimension_) == (0, 2)
    assert encoder.with_post(None).fingerprint == before
    assert encoder.with_post(swap).fingerprint == encoder.fingerprint
    assert encoder.fit(images).post_ is None


def test_it_is_saved_and_loaded_with_the_encoder(swap, waves, images, tmp_path):
    for post in (swap, waves):
        encoder = create("pixels").fit(images).with_post(post)
        encoder.save(tmp_path)
        again = load(tmp_path)
        np.testing.assert_array_equal(again.encode(images), encoder.encode(images))
        assert again.fingerprint == encoder.fingerprint
        assert (again.dimension_, again.distance) == (post.dimension, "cosine")
        assert read_card(tmp_path)["post"]["name"] == post.name
    create("pixels").fit(images).save(tmp_path)
    assert load(tmp_path).post_ is None
    assert [f.name for f in tmp_path.iterdir()] == ["encoder.json"]


def test_an_edited_or_lost_post_processing_is_refused(swap, images, tmp_path):
    folder = create("pixels").fit(images).with_post(swap).save(tmp_path)
    card = json.loads((folder / "encoder.json").read_text())
    for changed in (
        {k: v for k, v in card.items() if k != "post"},
        card | {"post": 3},
        card | {"post": {}},
        card | {"post": card["post"] | {"name": "swop"}},
        card | {"post": card["post"] | {"unit": True}},
        card | {"files": {}},
    ):
        (folder / "encoder.json").write_text(json.dumps(changed))
        with pytest.raises(EncoderError, match=r"encoder\.json"):
            load(folder)


def test_what_doesnt_fit_is_refused(swap, images):
    with pytest.raises(EncoderError, match="pixels has not been fitted"):
        create("pixels").with_post(swap)
    with pytest.raises(EncoderError, match=r"'swap' takes 2 values, pixels gives 6; learn it from this encoder's"):
        create("pixels").fit(np.zeros((1, 2, 3), np.uint8)).with_post(swap)
