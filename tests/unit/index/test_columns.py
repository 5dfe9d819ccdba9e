"""Which encoder an index gets where none is named, and what is noted of it."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike import create_encoder, open_collection
from lookalike.errors import EncoderError
from lookalike.index.columns import _default, _is_same, _learnt, _ready
from lookalike.index.manifest import Column
from lookalike.selection.recipes import DEFAULT, NAMES


def default_of(images):
    notes = []
    return _default(open_collection(images), notes.append), notes


def test_glyphs_get_hog_and_that_is_said(digits):
    encoder, notes = default_of(digits[0][:60])
    assert encoder.name == "hog"
    named = "hog, deskew=true" if encoder.params["deskew"] else "hog"
    assert notes == [f"encoder: {named}, which suits what these images look like; --encoder best measures others"]


def test_photos_get_the_network_and_are_told_of_known_models():
    rng = np.random.default_rng(0)
    photos = np.stack([np.kron(rng.integers(0, 256, (6, 6, 3)), np.ones((16, 16, 1))) for _ in range(12)])
    encoder, notes = default_of((photos + rng.integers(-20, 20, photos.shape)).clip(0, 255).astype(np.uint8))
    assert encoder.name == "neural"
    assert notes[0].startswith("encoder: neural, which suits")
    assert notes[1].startswith("well-known models can be fetched by name: -e ")
    assert len(notes) == 2


def test_what_a_column_says_of_a_post_processing():
    assert _learnt(DEFAULT) == (0, None)  # learnt from the index itself, and again
    assert _learnt(NAMES["pca"]) == (None, "pca")


def test_an_encoder_is_the_same_by_its_parameters_until_it_is_fitted(digits):
    plain = create_encoder("hog")
    fitted = create_encoder("hog").fit(digits[0])
    column = Column("hog", "hog", plain.params, fitted.fingerprint, "cosine", 2, "float32", None, [28, 28], False)
    assert _is_same(column, plain, (28, 28))
    assert _is_same(column, plain, None)
    assert not _is_same(column, plain, (14, 14))
    assert not _is_same(column, create_encoder("hog", deskew=True), (28, 28))
    assert _is_same(column, fitted, (14, 14))
    assert not _is_same(column, create_encoder("pixels").fit(digits[0]), (28, 28))


def test_an_encoder_is_made_ready_for_the_images(digits):
    collection = open_collection(digits[0])
    assert _ready(create_encoder("pixels"), collection).shape_ == (28, 28)
    with pytest.raises(EncoderError):
        _ready(create_encoder("pixels").fit(digits[0][:, ::2, ::2]), collection)
