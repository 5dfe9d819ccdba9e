"""Encoders as a person names them, images at the size each wants, and an index by the verdict's pick."""

import numpy as np
import pytest

import lookalike
from lookalike import build_index, create_encoder, open_collection, open_index
from lookalike.errors import EncoderError, UsageError
from lookalike.imaging.encode import save_image
from lookalike.index.integrity import verify
from lookalike.selection.compare import TRIED, augmentation_curves, compare, encoder_named
from lookalike.selection.defaults import shown_to
from lookalike.selection.recipes import DEFAULT
from made_up_judge import judging


@pytest.fixture
def photos(tmp_path):
    """Sixteen colour pictures: blobs on a ground, each of its own."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(16):
        small = rng.integers(0, 256, (6, 6, 3), np.uint8)
        save_image(np.kron(small, np.ones((20, 20, 1), np.uint8)), folder / f"{n:02}.png")
    return folder


def test_labels_count_in_curves_where_each_image_has_one(digits):
    images, labels = digits[0][:40], digits[1][:40]
    tried = {"pixels": create_encoder("pixels")}
    told = []

    def unchanged(some):
        collection = open_collection(images, labels=some)
        curves = augmentation_curves(collection, tried, ["turn"], queries=8, on_progress=lambda *n: told.append(n))
        return curves["pixels"]["turn"][0]

    assert unchanged(labels).lrap_10 is not None
    assert unchanged(["", *labels[1:]]).lrap_10 is None
    assert told == [(1, 1)] * 2


def test_encoders_are_named_with_their_parameters(tmp_path):
    assert repr(encoder_named("hog:deskew=true,cells=9")) == repr(create_encoder("hog", deskew=True, cells=9))
    assert encoder_named("pixels").name == "pixels"
    assert encoder_named("neural+color").name == "fusion"
    assert encoder_named("hf:owner/name").params["model"] == "hf:owner/name"
    assert encoder_named("models/one.onnx").params["model"] == "models/one.onnx"
    create_encoder("hog").fit(np.zeros((1, 8, 8), np.uint8)).save(tmp_path / "mine")
    assert encoder_named(tmp_path / "mine").shape_ == (8, 8)


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("hog:deskew", UsageError, "after the colon come parameters such as deskew=true"),
        ("hog:skew=true", UsageError, "unknown hog parameter 'skew'"),
        ("pixls", (UsageError, EncoderError), "pixels"),
    ],
)
def test_a_name_that_is_none_is_refused(name, error, said):
    with pytest.raises(error, match=said):
        encoder_named(name)


def test_every_encoder_that_is_tried_can_be_made():
    assert [encoder_named(name).name for name in TRIED] == ["pixels", "hog", "hog", "color", "neural", "fusion"]


@pytest.mark.slow
def test_files_come_at_the_size_that_an_encoder_wants_and_arrays_as_they_are(photos):
    images = open_collection(photos)
    assert shown_to(create_encoder("pixels"), images).shape == (120, 120, 3)
    assert shown_to(create_encoder("neural"), images).shape == (260, 260, 3)
    assert shown_to(create_encoder("hog").fit(np.zeros((1, 32, 48, 3), np.uint8)), images).shape == (32, 48, 3)
    assert shown_to(create_encoder("neural"), open_collection(photos, size=50)).shape == (50, 50, 3)
    digits = open_collection(np.zeros((2, 28, 28), np.uint8))
    assert shown_to(create_encoder("color"), digits) is digits


def test_no_label_is_read(digits):
    images, labels = digits[0][:100], digits[1][:100]
    told, mute = (
        compare(collection, ["pixels"], sample=100) for collection in (open_collection(images, labels=labels), images)
    )
    assert [row.test.figures for row in told.rows] == [row.test.figures for row in mute.rows]
    assert (told.picks, told.sentence("nearest")) == (mute.picks, mute.sentence("nearest"))
    assert "No label was read" in told.sentence("nearest")


def test_the_default_is_tried_too_and_marked(digits):
    for names in (["pixels"], ["pixels", "hog"]):
        verdict = compare(digits[0], names)
        assert {row.encoder for row in verdict.rows} == {*names, "hog (deskew=True)"}
        row = verdict.rows[verdict.default]
        assert (row.encoder, row.recipe) == ("hog (deskew=True)", DEFAULT.name)
        marked = [line for line in verdict.table().splitlines() if "default" in line.split()]
        assert len(marked) == 1
        assert marked[0].startswith("hog (deskew=True)")


def test_the_default_is_not_tried_twice(digits):
    verdict = compare(digits[0], ["hog:deskew=true", "pixels"])
    assert [row.encoder for row in verdict.rows].count("hog (deskew=True)") == 6
    assert verdict.rows[verdict.default].encoder == "hog (deskew=True)"


def test_the_command_measures_on_as_many_images_as_an_index_does():
    from lookalike.cli.compare import CompareOptions
    from lookalike.selection.adapt import SAMPLE

    assert CompareOptions(".").sample == SAMPLE


def test_an_index_by_the_verdicts_pick(digits, tmp_path, monkeypatch):
    images = digits[0][:100]
    judging(monkeypatch, P1={"recipe pca of pixels": 0.9})
    told = compare(images, ["pixels"])
    monkeypatch.setattr("lookalike.index.choice.compare", lambda images: compare(images, ["pixels"]))
    notes = []
    index = build_index(images, "best", tmp_path / "best", on_note=notes.append)
    assert index.encoder.fingerprint == told.encoders["nearest"].fingerprint
    assert index.manifest.view.verdict == told.sentence("nearest") == notes[-1]
    assert verify(index) == []


def test_an_unknown_aim_is_refused(digits, tmp_path):
    with pytest.raises(UsageError, match="unknown aim 'fwe'"):
        build_index(digits[0][:100], "best", tmp_path / "other", aim="fwe")


@pytest.mark.slow
def test_an_adapted_index_stays_adapted_and_finds_its_own(digits, tmp_path):
    images = digits[0]
    plain = build_index(images, "hog", tmp_path / "index")
    assert plain.manifest.view.post is None
    adapted = build_index(images, "hog", tmp_path / "index", adapt="pca")
    assert adapted.manifest.view.post == "pca"
    assert adapted.manifest.dimension < plain.manifest.dimension
    assert [c.encoder for c in adapted.manifest.columns] == ["hog"]
    for index in (adapted, open_index(tmp_path / "index")):
        (match,) = index.search(images[7], 1)
        assert match.id == "7"
        assert match.distance == pytest.approx(0, abs=1e-6)
        np.testing.assert_array_equal(index.descriptors, index.encoder.encode(images))
    assert build_index(images, None, tmp_path / "index").manifest == adapted.manifest
    back = build_index(images, "hog", tmp_path / "index", adapt=False)
    assert back.manifest.fingerprint == plain.manifest.fingerprint


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["neural", "color", "hog+color"])
def test_photos_are_indexed_at_the_encoders_own_size(photos, encoder, tmp_path):
    index = build_index(photos, encoder, tmp_path / "index")
    wanted = create_encoder(encoder).preferred_shape
    assert index.manifest.shape == list(wanted or (120, 120, 3))
    assert index.search(photos / "05.png", 1)[0].id == "05.png"
    assert verify(index) == []


@pytest.mark.slow
def test_codes_are_indexed_searched_and_verified(digits, tmp_path):
    index = build_index(digits[0], "itq", tmp_path / "index")
    assert (index.descriptors.dtype, index.descriptors.shape) == (np.uint8, (200, 32))
    for match in index.search(digits[0][3], 5):
        bits = np.bitwise_count(index.descriptors[match.row] ^ index.encoder.encode(digits[0][3:4])[0]).sum()
        assert match.distance == bits
        assert match.similarity == 1 - bits / 256
    assert index.search(digits[0][3], 1)[0].id == "3"
    assert verify(index) == []
    assert lookalike.open_index(tmp_path / "index").manifest.distance == "hamming"


def test_words_need_an_encoder_that_can_read(digits, tmp_path):
    with pytest.raises(UsageError, match="can't read words"):
        build_index(digits[0][:20], "hog", tmp_path / "index").ask({"text": "a nine"})
