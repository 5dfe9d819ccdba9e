"""What is asked for of an index's post-processing, by name or by what the judge says, over the life of the index."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lookalike import build_index, create_encoder, open_collection, open_index
from lookalike.errors import UsageError
from lookalike.imaging.encode import save_image
from lookalike.index import choice, manifest
from lookalike.index.integrity import verify
from lookalike.selection.adapt import with_recipe
from lookalike.selection.judge import AIMS
from lookalike.selection.neighbour_metric import MIN_ROWS
from lookalike.selection.recipes import DEFAULT, RECIPES, recipe_named
from made_up_judge import judging
from served import Site

pytestmark = pytest.mark.slow  # indexes that learn

#: For the nearest images pca is surely better than the default, for categories centred.
DECIDED = {"P1": {"recipe pca": 0.5, "recipe centred": 0.1}, "mAP": {"recipe centred": 0.5}}
NOTHING = "--aim changes nothing here"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "index"


@pytest.fixture
def judged(monkeypatch):
    """Count how often post-processings are judged."""
    asked = []
    judge = choice.judged

    def counted(*args, **kwargs):
        asked.append(kwargs["aim"])
        return judge(*args, **kwargs)

    monkeypatch.setattr(choice, "judged", counted)
    return asked


def is_sound(index):
    np.testing.assert_allclose(index.descriptors[:5], index.encoder.encode(index_images(index)[:5]), atol=1e-5)
    return verify(index) == []


def index_images(index):
    return IMAGES[0][: len(index)]


IMAGES = []


@pytest.fixture(autouse=True)
def images(digits):
    IMAGES[:] = [digits[0]]
    return digits[0]


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_a_recipe_by_name_is_what_the_index_gets(images, path, recipe, judged):
    name = recipe.name.replace(" ", "-")
    index = build_index(images, "hog", path, adapt=name)
    view = index.manifest.view
    assert judged == []
    assert (view.aim, view.verdict) == (None, None)
    assert (view.post, view.learnt_from) == (recipe.name, 200 if recipe == DEFAULT else None)
    expected = with_recipe(create_encoder("hog").fit(images[:1]), images, recipe).encode(images)
    np.testing.assert_allclose(index.descriptors, expected, atol=1e-4)
    assert is_sound(index)
    for encoder in (None, "hog"):  # the same again does nothing
        assert build_index(images, encoder, path, adapt=name).manifest == index.manifest
    assert build_index(images, None, path).manifest == index.manifest


def test_an_unknown_recipe_is_refused_before_anything_is_written(images, path):
    with pytest.raises(UsageError, match="unknown recipe 'magic'.*mutual-neighbours-twice"):
        build_index(images, "hog", path, adapt="magic")
    assert not path.exists() or not (path / "manifest.json").exists()


def test_another_recipe_takes_the_place_of_the_one_before(images, path):
    build_index(images, "hog", path, adapt="pca")
    for name in ("mutual-neighbours", "unchanged", "pca"):
        view = build_index(images, None, path, adapt=name).manifest
        assert [column.post for column in view.columns] == [recipe_named(name).name]


def test_what_the_judge_chose_is_kept_with_its_aim_and_sentence(images, path, monkeypatch, judged):
    judging(monkeypatch, **DECIDED)
    notes = []
    index = build_index(images, "hog", path, adapt=True, on_note=notes.append)
    view = index.manifest.view
    assert (view.post, view.aim, view.learnt_from) == ("pca", "nearest", None)
    assert view.verdict.startswith("post-processing: pca. Expected against the default: P@1 +")
    assert view.verdict in notes
    assert open_index(path).manifest.view == view
    assert is_sound(index)
    for encoder in (None, "hog"):  # twice does no work again
        again = build_index(images, encoder, path, adapt=True)
        assert again.manifest == index.manifest
    assert judged == ["nearest"]
    assert build_index(images, None, path).manifest == index.manifest


@pytest.mark.parametrize("adapt", [True, None])
def test_another_aim_takes_effect(images, path, monkeypatch, judged, adapt):
    judging(monkeypatch, **DECIDED)
    build_index(images, "hog", path, adapt=True)
    notes = []
    index = build_index(images, None, path, adapt=adapt, aim="category", on_note=notes.append)
    view = index.manifest.view
    assert (view.post, view.aim, judged) == ("centred", "category", ["nearest", "category"])
    assert "mAP" in view.verdict
    assert not [note for note in notes if NOTHING in note]
    assert [column.encoder for column in index.manifest.columns] == ["hog"]
    assert is_sound(index)


def test_an_aim_that_changes_nothing_says_so(images, path, monkeypatch, judged):
    judging(monkeypatch, **DECIDED)

    def said(**options):
        notes = []
        build_index(images, options.pop("encoder", None), path, on_note=notes.append, **options)
        return bool([note for note in notes if NOTHING in note])

    assert said(encoder="hog", aim="category")  # nothing is chosen
    assert said(aim="category")
    assert not said(adapt=True)
    assert said(aim="nearest")  # what it was chosen for
    assert said(adapt=False, aim="category")
    assert judged == ["nearest"]
    assert not said(adapt=True, aim="category")
    assert said(adapt="pca", aim="category")  # a recipe by name isn't chosen


def test_the_default_that_is_kept_is_learnt_and_learnt_again_when_doubled(images, path, monkeypatch, judged):
    judging(monkeypatch, spread=9.0)  # nothing is sure
    index = build_index(images[:90], None, path, adapt=True)
    view = index.manifest.view
    assert (view.post, view.learnt_from, view.aim) == (DEFAULT.name, 90, "nearest")
    assert f"{DEFAULT}, the default. No other" in view.verdict
    assert is_sound(index)
    assert build_index(images[:90], None, path, adapt=True).manifest == index.manifest
    index = build_index(images[:180], None, path)
    assert (index.manifest.view.learnt_from, index.manifest.view.verdict) == (180, view.verdict)
    assert judged == ["nearest"]
    assert is_sound(index)


def test_who_wants_none_gets_the_encoder_as_it_is(images, path, monkeypatch):
    judging(monkeypatch, **DECIDED)
    build_index(images, "hog", path, adapt=True)
    view = build_index(images, None, path, adapt=False).manifest.view
    assert (view.post, view.aim, view.verdict, view.learnt_from) == (None, None, None, None)


@pytest.mark.parametrize("number", [8, 20, MIN_ROWS - 1])
def test_few_images_can_be_judged(images, path, number):
    index = build_index(images[:number], None, path, adapt=True)
    assert len(index) == number
    assert index.manifest.view.aim == "nearest"
    assert index.search(images[0], 1)[0].id == "0"
    assert is_sound(index)


def test_a_recipe_that_few_images_do_not_give_is_not_claimed(images, path):
    notes = []
    index = build_index(images[:20], "hog", path, adapt="wide-mutual-neighbours-twice", on_note=notes.append)
    assert index.encoder.post_ is None
    assert index.manifest.view.post == "unchanged"
    assert [note for note in notes if "wide mutual neighbours twice" in note and "can't be learnt" in note]
    index = build_index(images, None, path, adapt="wide-mutual-neighbours-twice")
    assert index.manifest.view.post == "wide mutual neighbours twice"
    assert is_sound(index)


def test_too_few_images_to_judge_are_told(images, path):
    with pytest.raises(UsageError, match="at least 8 images"):
        build_index(images[:5], None, path, adapt=True)


# Encoder and all ------------------------------------------------------------------------------------------------------


@pytest.fixture
def compared(monkeypatch):
    """Compare two encoders only, and count how often."""
    asked = []
    compare = choice.compare

    def counted(images):
        asked.append(len(images))
        return compare(images, ["pixels"])  # and the default, hog

    monkeypatch.setattr(choice, "compare", counted)
    return asked


def test_the_best_twice_keeps_what_it_has(images, path, monkeypatch, compared):
    judging(monkeypatch, P1={"recipe pca of pixels": 0.9})
    notes = []
    index = build_index(images, "best", path, on_note=notes.append)
    view = index.manifest.view
    assert (view.encoder, view.post, view.aim) == ("pixels", "pca", "nearest")
    assert view.verdict in notes
    assert view.verdict.startswith("For the nearest images, on these 200 images: pixels, pca.")
    assert is_sound(index)
    again = build_index(images, "best", path)
    assert again.manifest == index.manifest
    assert build_index(images, None, path).manifest == index.manifest
    assert len(compared) <= 2


def test_the_best_that_is_the_default_is_learnt_from_the_index(images, path, monkeypatch, compared):
    judging(monkeypatch, spread=9.0)
    index = build_index(images[:90], "best", path)
    view = index.manifest.view
    assert (view.encoder, view.post, view.learnt_from, view.aim) == ("hog", DEFAULT.name, 90, "nearest")
    assert "the default. Nothing else that was tried is surely better" in view.verdict
    assert build_index(images[:90], "best", path).manifest == index.manifest
    assert build_index(images[:180], None, path).manifest.view.learnt_from == 180


def test_the_best_over_what_was_never_judged_keeps_the_descriptors_and_says_why(images, path, monkeypatch, compared):
    judging(monkeypatch, spread=9.0)
    plain = build_index(images, None, path).manifest
    assert plain.view.aim is None
    best = build_index(images, "best", path, aim="category")
    assert best.manifest.fingerprint == plain.fingerprint
    assert best.manifest.view.aim == "category"
    assert best.manifest.view.verdict.startswith(f"For {AIMS['category'].words}")
    assert is_sound(best)


def test_the_best_that_has_no_post_processing_takes_the_place_of_the_default(images, path, monkeypatch, compared):
    judging(monkeypatch, P1={"recipe unchanged of the default": 0.9})
    assert build_index(images, None, path).manifest.view.post == DEFAULT.name
    best = build_index(images, "best", path)
    assert (best.manifest.encoder, best.manifest.view.post, best.manifest.view.learnt_from) == (
        "hog",
        "unchanged",
        None,
    )
    assert best.encoder.post_ is None
    assert is_sound(best)


# Older indexes --------------------------------------------------------------------------------------------------------


def test_an_index_of_before_there_were_verdicts_opens(images, path):
    index = build_index(images, None, path)
    stated = index.manifest.to_json()
    for column in stated["columns"]:
        del column["aim"], column["verdict"]
    held = {"crc32": manifest._json_crc32(stated), "manifest": stated}
    (path / manifest.MANIFEST).write_text(json.dumps(held))
    opened = open_index(path)
    assert (opened.manifest.view.aim, opened.manifest.view.verdict) == (None, None)
    assert replace(opened.manifest, listed=0) == replace(index.manifest, listed=0)
    assert opened.search(images[3], 1)[0].id == "3"
    assert build_index(images, None, path).manifest.view.post == DEFAULT.name


def test_files_are_judged_at_the_encoders_size(images, path, tmp_path, monkeypatch):
    judging(monkeypatch, **DECIDED)
    folder = tmp_path / "digits"
    folder.mkdir()
    for n, image in enumerate(images[:80]):
        save_image(image, folder / f"{n:03}.png")
    index = build_index(open_collection(folder), "hog", path, adapt=True)
    assert (index.manifest.view.post, len(index)) == ("pca", 80)
    assert verify(index) == []


def test_the_service_says_what_was_chosen_and_why(images, path, monkeypatch):
    judging(monkeypatch, **DECIDED)
    view = build_index(images, "hog", path, adapt=True, aim="category").manifest.view
    site = Site(path)
    try:
        (column,) = site.get("/api/info")["encoders"]
    finally:
        site.stop()
    assert (column["post"], column["aim"], column["verdict"]) == ("centred", "category", view.verdict)
