"""The default post-processing over the life of an index: learnt once, kept, learnt again, interrupted."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike import build_index, create_encoder, open_index
from lookalike.encoders.neural import FAST, RETIRED, SHIPPED
from lookalike.imaging.encode import save_image
from lookalike.index import build, learn_post
from lookalike.index.integrity import verify
from lookalike.neighbors.linalg import unit_rows
from lookalike.selection.neighbour_metric import MIN_ROWS, NAME, neighbour_metric

pytestmark = pytest.mark.slow  # indexes that learn

TALL = 24


def glyphs(number, seed=0):
    """Bars of some widths, places and shades, in grey on black: a few kinds, none like another."""
    rng = np.random.default_rng(seed)
    kinds = np.random.default_rng(0).integers(0, 2, (6, 6, 6)) * 200
    images = np.kron(kinds[np.arange(number) % 6], np.ones((1, 4, 4))) + rng.integers(0, 50, (number, TALL, TALL))
    images[:, :3] = images[:, -3:] = images[:, :, :3] = images[:, :, -3:] = 0
    return images.astype(np.uint8)


def is_sound(path):
    return verify(open_index(path)) == []


def plain(images):
    return create_encoder("hog").fit(images[:1]).encode(images)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "index"


def test_it_is_learnt_from_what_was_indexed(path):
    images, notes = glyphs(120), []
    index = build_index(images, None, path, on_note=notes.append)
    view = index.manifest.view
    assert (view.column, view.post, view.learnt_from, view.dimension) == ("hog", NAME, 120, 392)
    np.testing.assert_allclose(index.descriptors, neighbour_metric(plain(images)).apply(plain(images)), atol=1e-5)
    np.testing.assert_allclose(index.encoder.encode(images), index.descriptors, atol=1e-5)
    assert notes[-1] == f"post-processing: {NAME}, learnt from 120 of these images; --no-adapt leaves it out"
    assert open_index(path).search(images[3], 1)[0].id == "3"
    assert is_sound(path)
    again = build_index(images, None, path, on_note=notes.append)
    assert again.manifest == index.manifest
    assert len(notes) == 2  # nothing is learnt, nothing said


def test_what_is_added_gets_the_same_until_the_index_has_doubled(path):
    build_index(glyphs(120), None, path)
    index = build_index(glyphs(239), None, path)
    assert (index.manifest.view.learnt_from, len(index)) == (120, 239)
    np.testing.assert_allclose(index.encoder.encode(glyphs(239)), index.descriptors, atol=1e-5)
    index = build_index(glyphs(240), None, path)
    assert index.manifest.view.learnt_from == 240
    # Learnt again it is what it would have been at first, though the plain descriptors are gone.
    fresh = neighbour_metric(plain(glyphs(240))).apply(plain(glyphs(240)))
    cosines = [unit_rows(rows) @ unit_rows(rows).T for rows in (index.descriptors, fresh)]
    np.testing.assert_allclose(*cosines, atol=0.01)  # neighbours that are as near may be others
    np.testing.assert_allclose(index.encoder.encode(glyphs(240)), index.descriptors, atol=1e-4)
    assert is_sound(path)


def test_few_images_get_it_once_there_are_enough(path):
    index = build_index(glyphs(MIN_ROWS - 1), None, path)
    assert (index.manifest.view.post, index.manifest.view.learnt_from) == (None, 0)
    index = build_index(glyphs(MIN_ROWS), None, path)
    assert (index.manifest.view.post, index.manifest.view.learnt_from) == (NAME, MIN_ROWS)


@pytest.mark.parametrize("number", [1, 2, 10])
def test_hardly_any_images_are_an_index_too(path, number):
    index = build_index(glyphs(number), None, path)
    assert len(index) == number
    assert index.search(glyphs(number)[0], 1)[0].id == "0"


def test_identical_images_are_left_as_they_are(path):
    image = glyphs(1)
    index = build_index(np.repeat(image, 100, axis=0), None, path)
    assert (len(index), index.manifest.view.post, index.manifest.view.learnt_from) == (100, None, 100)
    assert index.search(image[0], 1)[0].distance == pytest.approx(0, abs=1e-6)


def test_who_says_so_gets_the_encoder_as_it_is(path):
    images = glyphs(120)
    for step, options in enumerate(({"adapt": False}, {"encoder": "hog"})):
        index = build_index(images, options.pop("encoder", None), path / str(step), **options)
        assert (index.manifest.view.post, index.manifest.view.learnt_from) == (None, None)
        np.testing.assert_array_equal(index.descriptors, plain(images))
        assert build_index(images, None, path / str(step)).manifest == index.manifest


def test_a_run_that_is_stopped_before_leaves_an_index_that_the_next_one_finishes(path, monkeypatch):
    images = glyphs(120)

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "learn_post", stopped)
    with pytest.raises(KeyboardInterrupt):
        build_index(images, None, path)
    monkeypatch.undo()
    assert open_index(path).manifest.view.post is None
    assert open_index(path).search(images[3], 1)[0].id == "3"
    index = build_index(images, None, path)
    assert index.manifest.view.post == NAME
    assert is_sound(path)


def test_a_run_that_is_stopped_half_way_has_changed_nothing(path, monkeypatch):
    images = glyphs(120)
    monkeypatch.setattr(learn_post, "_committed", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        build_index(images, None, path)
    monkeypatch.undo()
    assert open_index(path).manifest.view.post is None
    np.testing.assert_array_equal(open_index(path).descriptors, plain(images))
    assert build_index(images, None, path).manifest.view.post == NAME
    assert is_sound(path)


def test_a_reduction_that_few_images_said_is_not_built_on(path, monkeypatch):
    monkeypatch.setattr("lookalike.selection.neighbour_metric.MAX_LENGTH", 100)
    monkeypatch.setattr("lookalike.selection.neighbour_metric.LEADING", 80)
    first = build_index(glyphs(70), None, path)
    assert first.manifest.view.dimension == 69
    index = build_index(glyphs(140), None, path)
    assert (index.manifest.view.dimension, index.manifest.view.learnt_from) == (80, 140)
    assert [column.encoder for column in index.manifest.columns] == ["hog"]
    fresh = neighbour_metric(plain(glyphs(140)))
    np.testing.assert_allclose(index.descriptors, fresh.apply(plain(glyphs(140))), atol=1e-4)
    monkeypatch.setattr(learn_post, "FEW", 100)
    index = build_index(glyphs(280), None, path)
    assert (index.manifest.view.dimension, index.manifest.view.learnt_from) == (80, 280)
    np.testing.assert_allclose(index.encoder.encode(glyphs(280)), index.descriptors, atol=1e-4)


def test_broken_files_are_no_growth(tmp_path, monkeypatch):
    monkeypatch.setattr("lookalike.selection.neighbour_metric.MAX_LENGTH", 100)
    folder = tmp_path / "photos"
    folder.mkdir()
    for n, image in enumerate(glyphs(60)):
        save_image(image, folder / f"{n:03}.png")
    for n in range(70):
        (folder / f"broken-{n}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    notes = []
    first = build_index(folder, on_note=notes.append)
    assert (first.manifest.view.learnt_from, first.manifest.view.dimension) == (60, 59)
    again = build_index(folder, on_note=notes.append)
    assert again.manifest == first.manifest
    assert sum("learnt from" in note for note in notes) == 1


def test_an_index_of_an_older_network_goes_on_with_it_and_says_so(path, monkeypatch):
    photos = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), np.uint8)
    monkeypatch.setitem(SHIPPED, RETIRED[0], SHIPPED[FAST])  # as it was shipped then
    build_index(photos, create_encoder("neural", model=RETIRED[0]).fit(photos), path)
    monkeypatch.undo()
    notes = []
    index = build_index(np.concatenate([photos, photos[:, ::-1]]), None, path, on_note=notes.append)
    assert (len(index), index.manifest.view.params["model"]) == (6, RETIRED[0])
    assert [note for note in notes if "is that of an older lookalike; index again" in note]
