"""The contrastive encoder: its losses against their definitions, its pairs, its training and what can go wrong with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from lazily import Lazily
from lookalike import create_encoder, load_encoder
from lookalike.cli.main import run
from lookalike.encoders.contrastive import NOISE, Contrastive, build
from lookalike.encoders.training import contrastive_loss, pairs
from lookalike.encoders.training.data import scaled
from lookalike.errors import EncoderError, UsageError
from lookalike.transforms import noise
from lookalike.transforms.augmentations import FAMILIES, augment

keras = Lazily("keras", "training needs lookalike[train]")

QUICK = {"epochs": 2, "batch_size": 32, "precision": "float32", "dimension": 32}


@pytest.fixture(scope="module")
def images(digits):
    """Digits at half their size: a seventh of the work."""
    return digits[0].reshape(200, 14, 2, 14, 2).mean(axis=(2, 4)).round().astype(np.uint8)


@pytest.fixture(scope="module")
def trained(images):
    return Contrastive(**{**QUICK, "epochs": 8, "batch_size": 20, "learning_rate": 3e-3, "validation": 0.1}).train(
        images
    )


def plan_of(encoder, images, **changed):
    given = encoder.params | {
        "noise": 0.5,
        "families": pairs.families_to_learn(images),
        "fixed_noise": False,
        "optimizer": "adam",
    }
    return contrastive_loss.Plan(
        **{name: (given | changed)[name] for name in contrastive_loss.Plan.__dataclass_fields__}
    )


def agreement(descriptors, others):
    """Mean cosine of an image and its copy, less that of an image and another one's copy."""
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (descriptors, others))
    cosines = a @ b.T
    own = np.trace(cosines) / len(a)
    return own - (cosines.sum() - np.trace(cosines)) / (len(a) * (len(a) - 1))


# The losses -----------------------------------------------------------------------------------------------------------


def test_simclr_is_the_cross_entropy_of_finding_the_other_half():
    rng = np.random.default_rng(0)
    views = rng.normal(size=(10, 4)).astype(np.float32)
    unit = views / np.linalg.norm(views, axis=1, keepdims=True)
    expected = 0.0
    for i in range(10):
        others = [j for j in range(10) if j != i]
        odds = [np.exp(unit[i] @ unit[j] / 0.3) for j in others]
        expected -= np.log(odds[others.index((i + 5) % 10)] / np.sum(odds)) / 10
    assert float(contrastive_loss.simclr_loss(views, 0.3)) == pytest.approx(expected, rel=1e-5)
    assert float(contrastive_loss.simclr_loss(np.ones((10, 4), np.float32), 0.3)) == pytest.approx(np.log(9), rel=1e-4)


def test_vicreg_is_the_papers_three_terms():
    rng = np.random.default_rng(1)
    one, other = (rng.normal(size=(7, 3)).astype(np.float32) * [0.5, 1, 2] for _ in range(2))
    expected = 25 * ((one - other) ** 2).mean()
    for views in (one, other):
        expected += 25 / 2 * np.maximum(0, 1 - np.sqrt(views.var(axis=0, ddof=1) + 1e-4)).mean()
        covariance = np.cov(views.T)
        expected += (covariance**2).sum() / 3 - (np.diag(covariance) ** 2).sum() / 3
    found = contrastive_loss.vicreg_loss(np.concatenate([one, other]).astype(np.float32))
    assert float(found) == pytest.approx(expected, rel=1e-4)


# The pairs ------------------------------------------------------------------------------------------------------------


def test_a_pair_is_augmented_twice_and_only_the_first_view_is_noisy(images):
    data = contrastive_loss.Data(images, plan_of(Contrastive(batch_size=64), images))
    views, clean = next(data.epoch(1))
    assert views.shape == (128, 14, 14, 1)
    assert clean.shape == (64, 14, 14, 1)
    assert 0.05 < (views[:64] - clean).std() < 0.5
    rng = np.random.default_rng([0, 1])
    chosen = rng.permutation(data._train)[:64]
    first, second = pairs.augmented_pairs(images[chosen], pairs.families_to_learn(images), rng)
    np.testing.assert_array_equal(clean[..., 0], first / np.float32(255))
    np.testing.assert_array_equal(views[64:, ..., 0], second / np.float32(255))
    assert (first != second).mean() > 0.1
    assert (first != images[chosen]).mean() > 0.1


def test_pairs_are_the_seeds_and_the_epochs(images):
    def first(seed, epoch):
        return next(contrastive_loss.Data(images, plan_of(Contrastive(seed=seed, batch_size=8), images)).epoch(epoch))[
            0
        ]

    np.testing.assert_array_equal(first(0, 1), first(0, 1))
    assert (first(0, 1) != first(0, 2)).any()
    assert (first(0, 1) != first(1, 1)).any()


def test_what_pairs_are_augmented_by_suits_the_collection(images):
    assert set(pairs.families_to_learn(images)) == {"turn", "scale", "shear", "shift", "elastic", "contrast", "blur"}
    photos = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), np.uint8)
    assert {"crop", "colour", "erase"} <= set(pairs.families_to_learn(photos))
    assert not set(pairs.families_to_learn(photos)) & pairs.LEFT_OUT
    assert NOISE.keys() == {"glyphs", "photos"}


def test_short_last_batches_are_left_out_but_not_the_only_one(images):
    data = contrastive_loss.Data(images, plan_of(Contrastive(batch_size=64), images, validation=0.0))
    assert [len(clean) for _, clean in data.epoch(1)] == [64, 64, 64]
    assert data.count == 192
    assert contrastive_loss.Data(images[:5], plan_of(Contrastive(), images)).count == 5


def test_too_few_are_not_held_out(images):
    assert len(contrastive_loss.Data(images, plan_of(Contrastive(validation=0.05), images))._held_out) == 0
    assert len(contrastive_loss.Data(images, plan_of(Contrastive(validation=0.1), images))._held_out) == 20


# The network and its training -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(14, 14), (9, 14, 3), (1, 40), (33, 20)])
def test_the_network_fits_any_size(shape):
    network = build(shape, 16)
    x = np.random.default_rng(0).random((3, *shape[:2], shape[2] if len(shape) == 3 else 1), dtype=np.float32)
    code, projected, image = (np.asarray(out) for out in network(x))
    assert code.shape == (3, 1, 1, 16)
    assert projected.shape[:3] == (3, 1, 1)
    assert image.shape == x.shape
    assert max(network.get_layer("trunk").output.shape[1:3]) <= 4


@pytest.mark.parametrize("shape", [(14, 14), (9, 14, 3)])
def test_what_is_trained_is_the_network(shape):
    network = build(shape, 16)
    rng = np.random.default_rng(0)
    network.set_weights([rng.normal(size=w.shape, scale=0.2).astype(np.float32) for w in network.get_weights()])
    images = rng.integers(0, 256, (8, *shape), np.uint8)
    learner = plan_of(Contrastive(), images).learner(network, "float32")
    x = scaled(images)
    projected, logits = (keras.ops.convert_to_numpy(out) for out in learner(x))
    _, expected, image = (np.asarray(out) for out in network(x))
    np.testing.assert_allclose(projected, expected.reshape(8, -1), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), image[:4], atol=1e-4)


def test_training_brings_two_views_together_and_keeps_pictures_apart(trained, images):
    untrained = Contrastive(**{**QUICK, "learning_rate": 1e-12}).fit(images)
    copies = augment(images, {name: FAMILIES[name].glyphs for name in ("turn", "scale", "shift")}, seed=5)
    before = agreement(untrained.encode(images), untrained.encode(copies))
    after = agreement(trained.encode(images), trained.encode(copies))
    assert after > before + 0.1
    losses = [e["validation_loss"] for e in trained.history_]
    assert losses[-1] < losses[0]
    assert (trained.stopped_, trained.precision_) == ("done", "float32 (as asked)")


def test_it_denoises(trained, images):
    noisy = noise.add_noise(images, 0.4)
    before, after = (noise.quality(x, images) for x in (noisy, trained.decode(noisy)))
    assert after.mse < before.mse


def test_pictures_that_are_all_the_same_keep_a_descriptor(images):
    same = np.repeat(images[:1], 20, axis=0)
    assert np.abs(Contrastive(**{**QUICK, "epochs": 1}).fit(same).encode(same)).max() > 1e-3


def test_without_the_denoising_loss_there_is_no_decoder(images):
    encoder = Contrastive(**QUICK, denoising=0.0).fit(images[:40])
    with pytest.raises(EncoderError, match="trained with denoising=0, so it has no decoder; train it with denoising=1"):
        encoder.decode(images)


def test_descriptors_and_images_equal_keras_of_the_best_weights(trained, images, tmp_path):
    again = load_encoder(trained.save(tmp_path / "e"))
    assert (again.history_, again.families_) == (trained.history_, trained.families_)
    code, _, image = again.keras_model()(images[..., None] / np.float32(255))
    found = again.encode(images)
    np.testing.assert_allclose(found, np.asarray(code).reshape(200, -1), atol=1e-4 * np.abs(found).max())
    np.testing.assert_allclose(again.decode(images) / 255, np.asarray(image)[..., 0], atol=1e-4 + 0.5 / 255)


def test_the_kept_weights_are_the_mean_over_the_last_steps(images):
    plan = plan_of(Contrastive(batch_size=50), images, validation=0.0)
    network = build((14, 14), 16)
    learner = plan.learner(network, "float32")
    mean = network.get_weights()
    for step, batch in enumerate(plan.data(images).epoch(1), 1):
        learner.train_on_batch(*batch)
        share = max(contrastive_loss.MIN_SHARE, 1 / (1 + step / 10))
        mean = [m + share * (w - m) for m, w in zip(mean, network.get_weights(), strict=True)]
    for expected, found in zip(mean, learner.average, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    raw = network.get_weights()
    with learner.averaged():
        np.testing.assert_array_equal(network.get_weights()[0], learner.average[0])
    np.testing.assert_array_equal(network.get_weights()[0], raw[0])


def test_resumed_training_equals_one_that_was_never_stopped(images, tmp_path):
    whole = Contrastive(**{**QUICK, "epochs": 3, "validation": 0.1}).train(images)
    Contrastive(**{**QUICK, "epochs": 1, "validation": 0.1}).train(images, checkpoint=tmp_path / "c.npz")
    resumed = Contrastive(**{**QUICK, "epochs": 3, "validation": 0.1})
    resumed.train(images, checkpoint=tmp_path / "c.npz", resume=True)
    assert [e["epoch"] for e in resumed.history_] == [1, 2, 3]
    np.testing.assert_allclose(
        [e["validation_loss"] for e in resumed.history_], [e["validation_loss"] for e in whole.history_], rtol=1e-4
    )
    np.testing.assert_allclose(resumed.encode(images), whole.encode(images), atol=1e-3)
    other = Contrastive(**{**QUICK, "temperature": 0.3, "validation": 0.1})
    with pytest.raises(EncoderError, match="checkpoint of another training.*--restart"):
        other.train(images, checkpoint=tmp_path / "c.npz", resume=True)


def test_the_same_seed_gives_the_same_network_and_another_another(images):
    first, again = (Contrastive(**{**QUICK, "epochs": 1, "seed": 1}).fit(images[:64]).encode(images[:9]) for _ in "12")
    np.testing.assert_allclose(first, again, atol=1e-4)
    one, other = (build((14, 14), 16, seed).get_weights()[0] for seed in (1, 2))
    assert np.abs(one - other).max() > 1e-2


def test_the_time_box_ends_in_mid_epoch_with_a_usable_model(images):
    encoder = Contrastive(**{**QUICK, "epochs": 100_000, "minutes": 1 / 60, "batch_size": 4})
    begun = time.monotonic()
    encoder.train(images)
    assert encoder.stopped_ == "time"
    assert time.monotonic() - begun < 60
    assert encoder.encode(images[:5]).shape == (5, 32)


def test_ctrl_c_keeps_the_best_so_far(images, tmp_path):
    def interrupt(progress):
        if progress.epoch == 2:
            signal.raise_signal(signal.SIGINT)

    encoder = Contrastive(**{**QUICK, "epochs": 100})
    encoder.train(images, checkpoint=tmp_path / "c.npz", on_progress=interrupt)
    assert encoder.stopped_ == "interrupted"
    assert encoder.encode(images[:5]).shape == (5, 32)
    with np.load(tmp_path / "c.npz") as arrays:
        assert len(json.loads(str(arrays["facts"]))["history"]) == len(encoder.history_)


def test_bfloat16_is_near_float32(images):
    network = build((14, 14), 16)
    x = scaled(images[:8])
    exact, rough = (
        keras.ops.convert_to_numpy(plan_of(Contrastive(), images).learner(network, p)(x)[0])
        for p in ("float32", "bfloat16")
    )
    assert 0 < np.abs(exact - rough).max() < 0.05 * np.abs(exact).max()


@pytest.mark.skipif(os.environ.get("KERAS_BACKEND") == "jax", reason="jax is the backend under test already")
def test_the_second_backend_trains_and_exports(tmp_path):
    pytest.importorskip("jax", reason="the second backend of the tests is not installed")
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8), np.uint8)
    np.save(tmp_path / "x.npy", images)
    train = ["train", "x.npy", "-e", "contrastive:dimension=8", "-o", "e", "--epochs", "1", "--batch-size", "4"]
    command = [sys.executable, "-m", "lookalike", *train, "--precision", "float32"]
    done = subprocess.run(
        command, env=os.environ | {"KERAS_BACKEND": "jax"}, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    encoder = load_encoder(tmp_path / "e")
    code, _, _ = encoder.keras_model()(scaled(images))  # in this process, by the default backend
    np.testing.assert_allclose(encoder.encode(images), np.asarray(code).reshape(12, -1), atol=1e-4)


# Bad input, and the command -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"loss": "simclip"}, r"unknown loss 'simclip' \(did you mean 'simclr'\?\); known: simclr, vicreg"),
        ({"precision": "half"}, "unknown precision 'half'"),
        ({"families": {"trun": 3}}, "unknown augmentation family 'trun'"),
        ({"families": {"turn": -3}}, "augmentation turn=-3: the amount is a number from 0"),
        ({"epochs": 0}, "contrastive: epochs is 0; it must be at least 1"),
        ({"batch_size": 1}, "contrastive: batch_size is 1; it must be at least 2"),
        ({"dimension": 1}, "contrastive: dimension is 1; it must be at least 2"),
        ({"temperature": 0}, "contrastive: temperature is 0; it must be more than 0"),
        ({"denoising": -1}, "contrastive: denoising is -1; it must be 0 or more"),
        ({"noise": -1}, "contrastive: noise is -1; it must be 0 to 10"),
        ({"validation": 0.9}, "contrastive: validation is 0.9; it must be 0 to 0.5"),
        ({"minutes": 0}, "contrastive: minutes is 0; it must be more than 0"),
        ({"learning_rate": 0}, "contrastive: learning_rate is 0; it must be more than 0"),
    ],
)
def test_a_parameter_out_of_range_is_named(params, said, images):
    with pytest.raises(UsageError, match=said):
        create_encoder("contrastive", **params).fit(images[:10])


def test_one_image_is_too_few(images):
    with pytest.raises(EncoderError, match="training needs at least 2 images, there is 1; give more"):
        Contrastive().fit(images[:1])


def test_a_loss_that_is_no_number_stops_the_training(images):
    with pytest.raises(EncoderError, match="the loss became .* smaller --learning-rate"):
        Contrastive(**{**QUICK, "epochs": 50, "learning_rate": 1e30}).fit(images)


def test_a_saved_one_that_lost_a_part_is_refused(trained):
    files = trained._get_weights()
    for lost in ("encoder.onnx", "denoiser.onnx", "history.json"):
        with pytest.raises(EncoderError, match=f"the saved contrastive encoder lacks '{lost}'; train it again"):
            Contrastive()._set_weights({name: f for name, f in files.items() if name != lost})


def test_the_command_trains_it_and_an_index_takes_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).integers(0, 256, (12, 8, 8), np.uint8))
    train = ["train", "x.npy", "-e", "contrastive:loss=vicreg,dimension=8", "-o", "e", "--precision", "float32"]
    assert run([*train, "--epochs", "1", "--batch-size", "4"]) == 0
    said = capsys.readouterr().err
    assert "training 'contrastive' on 12 images" in said
    encoder = load_encoder("e")
    assert (encoder.loss, encoder.dimension_, encoder.epochs, encoder.batch_size) == ("vicreg", 8, 1, 4)
    assert run([*train, "--epochs", "1"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert run(["index", "x.npy", "-e", "e", "-o", "i.lookalike"]) == 0
    assert "contrastive 8-d" in "".join(capsys.readouterr())
    for arguments, words in (
        (["train", "x.npy", "-o", "n", "-e", "hog"], "--encoder hog: nothing to train"),
        (["train", "x.npy", "-o", "n", "-e", "contrastive", "--preset", "article"], "unknown contrastive parameter"),
        (["index", "x.npy", "-e", "contrastive", "-o", "n"], "lookalike train x.npy -e contrastive -o FOLDER"),
    ):
        assert run(arguments) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "n").exists()
