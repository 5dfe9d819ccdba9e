"""Which encoder serves somebody who names none."""

import numpy as np
import pytest

from lookalike import build_index, create_encoder, open_collection, open_index
from lookalike.errors import IndexStoreError
from lookalike.imaging.encode import save_image
from lookalike.selection.adapt import adapt
from lookalike.selection.defaults import GENTLE, MIN_TRIED, default_encoder, default_postprocessing
from lookalike.selection.recipes import UNCHANGED, Recipe
from lookalike.selection.selftest import beats


@pytest.mark.slow
def test_who_names_no_encoder_gets_what_the_images_look_like(digits, tmp_path):
    grey = digits[0][:60]
    colour = grey[..., None] // np.array([1, 2, 3], np.uint8)
    rng = np.random.default_rng(0)
    large, tiny, tiny_colour = (
        rng.integers(0, 256, shape, np.uint8) for shape in [(4, 40, 9), (4, 16, 8), (4, 8, 8, 3)]
    )
    cases = {"hog": [grey, 255 - grey, tiny], "neural": [colour, large, tiny_colour]}
    for name, collections in cases.items():
        assert [default_encoder(open_collection(images)) for images in collections] == [name] * len(collections)
    # What looks grey is grey, though it be stored in colour and tinted as JPEG and scanners do.
    tinted = np.repeat(grey[..., None], 3, axis=3)
    tinted[..., 0] = np.maximum(tinted[..., 0], 12)
    assert default_encoder(open_collection(tinted)) == "hog"
    assert default_encoder(open_collection(np.repeat(large[..., None], 3, axis=3))) == "neural"
    notes: list[str] = []
    index = build_index(colour[:5], None, tmp_path / "index", on_note=notes.append)
    assert index.manifest.encoder == "neural"
    assert notes == ["encoder: neural, which suits what these images look like; --encoder best measures others"]
    build_index(colour[:6], None, tmp_path / "index", on_note=notes.append)
    assert len(notes) == 1  # the index says by itself what it holds


@pytest.mark.slow
def test_where_no_image_can_be_read_no_encoder_is_at_fault(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert default_encoder(open_collection(tmp_path / "broken")) is None
    notes: list[str] = []
    with pytest.raises(IndexStoreError):
        build_index(tmp_path / "broken", on_note=notes.append)
    assert notes == []  # nothing is said of what images look like that nobody has seen


@pytest.mark.slow
def test_glyphs_are_gently_adapted_for_who_asks_for_nothing(digits, tmp_path):
    glyphs = digits[0][:400]
    encoder, post = default_postprocessing("hog", open_collection(glyphs))
    assert (encoder.name, encoder.params) == ("hog", create_encoder("hog").params)
    assert post == "adapted (r 0.1)" in map(str, GENTLE)
    notes: list[str] = []
    index = build_index(glyphs, None, tmp_path / "index", on_note=notes.append)
    assert notes[0].startswith("encoder: hog, adapted (r 0.1), which suits")
    assert index.manifest.view.post == post
    np.testing.assert_array_equal(index.descriptors, encoder.encode(glyphs))
    assert build_index(glyphs, None, tmp_path / "index").manifest == index.manifest
    plain = build_index(glyphs, None, tmp_path / "plain", adapt=False)
    assert plain.manifest.view.post is None
    np.testing.assert_array_equal(plain.descriptors, create_encoder("hog").fit(glyphs).encode(glyphs))
    assert open_index(tmp_path / "index").search(glyphs[3], 1)[0].id == "3"


@pytest.mark.slow
def test_what_all_photos_have_in_common_is_taken_off(tmp_path):
    rng = np.random.default_rng(0)
    photos = np.kron(rng.integers(0, 256, (MIN_TRIED, 6, 6, 3)), np.ones((1, 8, 8, 1))).astype(np.uint8)
    notes: list[str] = []
    index = build_index(photos, None, tmp_path / "index", on_note=notes.append)
    assert notes[0].startswith("encoder: neural, centred, which suits")
    assert index.manifest.view.post == "centred"
    codes = create_encoder("neural").fit(photos).encode(photos)
    codes /= np.linalg.norm(codes, axis=1, keepdims=True)
    kept = index.descriptors / np.linalg.norm(index.descriptors, axis=1, keepdims=True)
    wanted = codes - codes.mean(axis=0)
    np.testing.assert_allclose(kept, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-5)
    plain = build_index(photos, None, tmp_path / "plain", adapt=False, on_note=notes.append)
    assert notes[1] == "encoder: neural, which suits what these images look like; --encoder best measures others"
    assert plain.manifest.view.post is None


@pytest.mark.slow
def test_where_all_photos_are_one_nothing_is_taken_off(tmp_path):
    photo = np.kron(np.random.default_rng(0).integers(0, 256, (6, 6, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    photos = np.repeat(photo[None], MIN_TRIED, axis=0)
    assert default_postprocessing("neural", open_collection(photos)) is None
    index = build_index(photos, None, tmp_path / "index")
    assert len(index) == MIN_TRIED
    assert index.search(photo, 1)[0].distance == pytest.approx(0, abs=1e-6)


def test_what_is_said_not_to_be_adapted_or_cannot_be_isnt(digits):
    assert default_postprocessing("hog", open_collection(digits[0][: MIN_TRIED - 1])) is None
    assert (
        default_postprocessing("hog", open_collection(np.zeros((MIN_TRIED, 28, 28), np.uint8))) is None
    )  # all are blank


@pytest.mark.slow
def test_of_files_that_cannot_be_read_nothing_is_learnt(digits, tmp_path):
    for n in range(MIN_TRIED + 20):
        (tmp_path / f"{n:03}.png").write_bytes(b"no image")
    assert default_postprocessing("hog", open_collection(tmp_path)) is None
    for n in range(0, MIN_TRIED, 3):  # 34 can: too few
        save_image(digits[0][n], tmp_path / f"{n:03}.png", overwrite=True)
    assert default_postprocessing("hog", open_collection(tmp_path)) is None


def test_what_finds_copies_but_loses_kinds_is_not_taken(monkeypatch):
    rng = np.random.default_rng(0)
    blocks = np.pad(np.kron(rng.integers(0, 256, (150, 12, 12)), np.ones((2, 2))), ((0, 0), (4, 4), (4, 4)))
    blocks = blocks.astype(np.uint8)
    recipes = (UNCHANGED, Recipe("centred"))
    _, adaptation = adapt(create_encoder("hog").fit(blocks), blocks, recipes=recipes)
    assert adaptation.chosen == "centred"
    assert beats(*(adaptation.tested[name] for name in ("unchanged", "centred")), "category precision@5%")
    monkeypatch.setattr("lookalike.selection.defaults.GENTLE", recipes)
    assert default_postprocessing("hog", open_collection(blocks))[1] == "unchanged"
