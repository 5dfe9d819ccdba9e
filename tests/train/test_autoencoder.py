"""The denoising autoencoders: their shape, their training, what can go wrong with it, and their two saved forms."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lazily import Lazily
from lookalike import create_encoder, load_encoder, open_collection
from lookalike.encoders.autoencoder import Autoencoder, build, centre_code
from lookalike.encoders.training import loop
from lookalike.encoders.training.data import TrainingData, with_noise
from lookalike.encoders.training.forward import forward
from lookalike.errors import EncoderError, UsageError
from lookalike.transforms import noise as denoising

keras = Lazily("keras", "training needs lookalike[train]")


@pytest.fixture(autouse=True, scope="module")
def _one_precision():
    """Train in float32 whatever the CPU: where it has bfloat16, a short race decides, and networks differ between runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "cpu_has_bfloat16", lambda: False)
        yield


@pytest.fixture(scope="module")
def digits():
    return open_collection("mnist:train[0:1000]").array()


@pytest.fixture(scope="module")
def trained(digits):
    return Autoencoder(preset="article", epochs=2, learning_rate=0.01).train(digits)


def kinds(network):
    return [type(layer).__name__ for layer in network.layers]


def test_article_preset_is_the_articles_network():
    network = build("article", (28, 28))
    filters = [layer.filters for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    assert filters == [16, 8, 8, 8, 8, 16, 1]
    assert network.get_layer("encoder").output.shape[1:] == (4, 4, 8)
    assert [layer.padding for layer in network.layers if isinstance(layer, keras.layers.Conv2D)] == ["same"] * 5 + [
        "valid",
        "same",
    ]
    assert kinds(network).count("MaxPooling2D") == kinds(network).count("UpSampling2D") == 3
    assert "Cropping2D" not in kinds(network)
    assert network.output_shape[1:] == (28, 28, 1)


def test_tutorial_preset_has_a_1568_dimensional_code():
    network = build("tutorial", (28, 28))
    assert network.get_layer("encoder").output.shape[1:] == (7, 7, 32)
    assert network.output_shape[1:] == (28, 28, 1)


def test_deep_preset_narrows_to_one_vector():
    network = build("deep", (28, 28), code=50)
    assert [layer.filters for layer in network.layers if isinstance(layer, keras.layers.Conv2D)] == [
        16,
        32,
        64,
        32,
        16,
        1,
    ]
    assert network.get_layer("encoder").output.shape[1:] == (50,)
    assert "MaxPooling2D" not in kinds(network)
    assert build("deep", (4, 3, 3)).output_shape[1:] == (4, 3, 3)


def test_centring_the_code_changes_no_drawing(digits):
    network = build("deep", (28, 28))
    x = digits[:200, ..., None] / np.float32(255)
    code = keras.Model(network.inputs, network.get_layer("encoder").output)
    before, drawn = np.asarray(code(x)), np.asarray(network(x))
    centre_code(network, digits[:200])
    np.testing.assert_allclose(np.asarray(code(x)), before - before.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(np.asarray(network(x)), drawn, atol=1e-5)
    assert np.abs(before.mean(axis=0)).max() > 1e-2


def test_deep_preset_learns_from_augmented_copies_and_their_originals(digits):
    plan = Autoencoder(preset="deep", families={"turn": 90}, noise=0, batch_size=50, validation=0.1)._plan(digits[:200])
    data = plan.data(digits[:200])
    batches = list(data.epoch(1))
    assert [len(copies) for copies, _ in batches] == [50, 50, 50, 30]
    originals = np.concatenate([o for _, o in batches])
    known = {image.tobytes() for image in digits[:200]}
    assert all(np.rint(o * 255).astype(np.uint8).tobytes() in known for o in originals)
    assert np.mean([np.abs(c - o).mean() for c, o in batches]) > 0.02
    for (one, _), (again, _) in zip(batches, data.epoch(1), strict=True):
        np.testing.assert_array_equal(one, again)
    assert not np.array_equal(batches[0][0], next(iter(data.epoch(2)))[0])


def test_an_encoder_saved_before_a_parameter_was_new_is_the_same(trained, digits, tmp_path):
    loaded = load_encoder(trained.save(tmp_path / "new"))
    older = {name: name for name in loaded.params if name not in ("code", "families")}
    loaded._carded = older  # as a card that lacks them gives it
    folder = loaded.save(tmp_path / "old")
    assert set(json.loads((folder / "encoder.json").read_text())["params"]) == set(older)
    assert load_encoder(folder).fingerprint == loaded.fingerprint
    np.testing.assert_array_equal(load_encoder(folder).encode(digits[:5]), trained.encode(digits[:5]))


def test_an_encoder_saved_under_a_parameters_earlier_name_is_the_same(trained, tmp_path):
    loaded = load_encoder(trained.save(tmp_path / "new"))
    loaded._carded = {name: "damage" if name == "families" else name for name in loaded.params}
    folder = loaded.save(tmp_path / "old")
    assert json.loads((folder / "encoder.json").read_text())["params"]["damage"] == "auto"
    again = load_encoder(folder)
    assert again.params == trained.params
    assert again.fingerprint == loaded.fingerprint != trained.fingerprint


@pytest.mark.parametrize("preset", ["article", "tutorial", "deep"])
@pytest.mark.parametrize("shape", [(28, 28), (20, 31), (7, 9), (30, 64), (64, 48, 3), (33, 33, 3)])
def test_any_size_comes_out_as_it_went_in_and_the_fast_form_is_equal(preset, shape):
    network = build(preset, shape)
    rng = np.random.default_rng(0)
    inputs = [w.size / w.shape[-1] if w.ndim > 1 else 100 for w in network.get_weights()]
    network.set_weights(
        [
            rng.normal(size=w.shape, scale=1.7 / np.sqrt(n)).astype(np.float32)
            for w, n in zip(network.get_weights(), inputs, strict=True)
        ]
    )
    x = rng.random((3, *shape[:2], shape[2] if len(shape) == 3 else 1), dtype=np.float32)
    expected = np.asarray(network(x))
    logits = keras.ops.convert_to_numpy(forward(network, x))
    assert expected.shape == x.shape
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), expected, atol=2e-5)
    assert expected.std() > 0.01


def test_the_fast_form_has_the_same_gradients(digits):
    tf = pytest.importorskip("tensorflow", reason="gradients are read with TensorFlow's tape")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("gradients are read with TensorFlow's tape")
    network = build("article", (28, 28))
    x = tf.constant(digits[:16, ..., None] / np.float32(255))
    gradients = []
    for fast in (False, True):
        with tf.GradientTape() as tape:
            out = tf.sigmoid(forward(network, x)) if fast else network(x)
            loss = tf.reduce_mean((out - x) ** 2)
        gradients.append([np.asarray(g) for g in tape.gradient(loss, network.trainable_variables)])
    for plain, fast in zip(*gradients, strict=True):
        np.testing.assert_allclose(fast, plain, atol=1e-6, rtol=1e-3)
        assert np.abs(plain).max() > 0


def test_training_lowers_the_loss_and_denoises(trained, digits):
    losses = [e["validation_loss"] for e in trained.history_]
    assert losses[1] < losses[0]
    noisy = denoising.add_noise(digits[:100], 0.5)
    before = denoising.quality(noisy, digits[:100])
    after = denoising.quality(trained.decode(noisy), digits[:100])
    assert after.mse < before.mse
    assert trained.stopped_ == "done"
    assert trained.precision_.startswith("float32")


def test_descriptors_and_images_equal_keras(trained, digits):
    model = trained.keras_model()
    x = digits[:200, ..., None] / np.float32(255)
    code = keras.Model(model.inputs, model.get_layer("encoder").output)
    expected = np.asarray(code(x)).reshape(200, -1)
    np.testing.assert_allclose(trained.encode(digits[:200]), expected, atol=1e-4)
    assert trained.encode(digits[:200]).shape == (200, 128)
    np.testing.assert_allclose(trained.decode(digits[:200]) / 255, np.asarray(model(x))[..., 0], atol=1e-4 + 0.5 / 255)


@pytest.mark.parametrize("preset", ["article", "tutorial", "deep"])
def test_colour_and_odd_sizes_export_to_onnx_equal_to_keras(preset):
    images = np.random.default_rng(3).integers(0, 256, (40, 21, 30, 3), np.uint8)
    encoder = Autoencoder(preset=preset, epochs=1).fit(images)
    model = encoder.keras_model()
    x = images / np.float32(255)
    code = keras.Model(model.inputs, model.get_layer("encoder").output)
    np.testing.assert_allclose(encoder.encode(images), np.asarray(code(x)).reshape(40, -1), atol=1e-4)
    np.testing.assert_allclose(encoder.decode(images) / 255, np.asarray(model(x)), atol=1e-4 + 0.5 / 255)


def test_a_saved_encoder_denoises_the_same_and_keeps_its_history(trained, digits, tmp_path):
    loaded = load_encoder(trained.save(tmp_path / "encoder"))
    assert isinstance(loaded, Autoencoder)
    assert loaded.history_ == trained.history_
    np.testing.assert_array_equal(loaded.decode(digits[:50]), trained.decode(digits[:50]))
    plain_keras = keras.models.load_model(next((tmp_path / "encoder").glob("model-*.keras")))
    assert plain_keras.get_layer("encoder").output.shape[1:] == (4, 4, 8)


def test_the_same_seed_gives_the_same_network_and_another_another(digits):
    first, again, other = (
        Autoencoder(preset="article", epochs=1, seed=seed).fit(digits[:300]).encode(digits[:20]) for seed in (1, 1, 2)
    )
    np.testing.assert_allclose(first, again, atol=1e-4)
    assert np.abs(first - other).max() > 1e-2


def test_fresh_noise_differs_between_epochs_and_fixed_noise_does_not(digits):
    for fixed in (False, True):
        plan = plan_of(Autoencoder(fixed_noise=fixed, batch_size=5, validation=0.0))
        data = TrainingData(digits[:5], plan)
        noise = []
        for epoch in (1, 2):
            noisy, clean = next(data.epoch(epoch))
            order = np.argsort([c.tobytes() for c in clean])
            noise.append((noisy - clean)[order])
        assert np.array_equal(*noise) == fixed
        assert noise[0].std() > 0.2


def plan_of(encoder):
    return loop.Plan(**{name: encoder.params[name] for name in loop.Plan.__dataclass_fields__})


def test_resumed_training_equals_one_that_was_never_stopped(digits, tmp_path):
    images = digits[:400]
    whole = Autoencoder(preset="article", epochs=3).train(images)
    Autoencoder(preset="article", epochs=1).train(images, checkpoint=tmp_path / "c.npz")
    resumed = Autoencoder(preset="article", epochs=3).train(images, checkpoint=tmp_path / "c.npz", resume=True)
    assert [e["epoch"] for e in resumed.history_] == [1, 2, 3]
    np.testing.assert_allclose(
        [e["validation_loss"] for e in resumed.history_], [e["validation_loss"] for e in whole.history_], rtol=1e-4
    )
    np.testing.assert_allclose(resumed.encode(images[:50]), whole.encode(images[:50]), atol=1e-3)


def test_a_checkpoint_of_another_training_is_refused(digits, tmp_path):
    path = tmp_path / "c.npz"
    Autoencoder(preset="article", epochs=1).train(digits[:100], checkpoint=path)
    for other, images in (
        (Autoencoder(preset="article", noise=0.3), digits[:100]),
        (Autoencoder(preset="article"), digits[1:101]),
    ):
        with pytest.raises(EncoderError, match="checkpoint of another training.*--restart"):
            other.train(images, checkpoint=path, resume=True)
    before = path.read_bytes()
    path.write_bytes(before[: len(before) // 2])
    with pytest.raises(EncoderError, match="not a checkpoint of lookalike's, or a damaged one .*; move it away"):
        Autoencoder(preset="article").train(digits[:100], checkpoint=path, resume=True)


def test_the_time_box_ends_in_mid_epoch_with_a_usable_model(digits):
    encoder = Autoencoder(preset="article", epochs=10_000, minutes=2 / 60, batch_size=16)
    begun = time.monotonic()
    encoder.train(digits)
    assert encoder.stopped_ == "time"
    assert time.monotonic() - begun < 60
    assert encoder.encode(digits[:5]).shape == (5, 128)
    assert len(encoder.history_) < 10_000


def test_progress_tells_epoch_loss_rate_and_time_left(digits):
    news = []
    Autoencoder(preset="article", epochs=2).train(digits[:300], on_progress=news.append)
    assert {p.epoch for p in news} == {1, 2}
    assert all(
        p.images == 294 and p.images_per_second > 0 and p.seconds_left >= 0 and np.isfinite(p.loss) for p in news
    )
    assert news[-1].done == 294
    assert news[-1].validation_loss is not None


def test_losses_are_means_over_all_images_not_the_last_batchs(digits):
    encoder = Autoencoder(preset="article", epochs=1, learning_rate=1e-12, validation=0.5, batch_size=300)
    encoder.fit(np.concatenate([digits, digits[::-1]])[:1300])  # 650 to learn from and 650 held out: uneven batches
    plan = plan_of(encoder)
    data = TrainingData(np.concatenate([digits, digits[::-1]])[:1300], plan)
    network = build("article", (28, 28))
    losses = []
    for noisy, clean in data.epoch(1):
        logits = keras.ops.convert_to_numpy(forward(network, noisy)).astype(np.float64)
        losses += (np.logaddexp(0, logits) - clean * logits).mean(axis=(1, 2, 3)).tolist()
    assert len(losses) == 650
    assert encoder.history_[0]["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert encoder.history_[0]["loss"] != pytest.approx(np.mean(losses[-50:]), rel=1e-5)
    held_out, rng = data._images[data._held_out][..., None] / np.float32(255), np.random.default_rng([0, 0])
    noisy = np.concatenate([with_noise(part, plan.noise, rng) for part in (held_out[:500], held_out[500:])])
    logits = keras.ops.convert_to_numpy(forward(network, noisy)).astype(np.float64)
    expected = (np.logaddexp(0, logits) - held_out * logits).mean()
    assert encoder.history_[0]["validation_loss"] == pytest.approx(expected, rel=1e-5)


def test_adadelta_starts_at_its_papers_rate(digits):
    network = build("article", (28, 28))
    learner = loop._learner(network, plan_of(Autoencoder(optimizer="adadelta")), "float32")
    assert type(learner.optimizer).__name__ == "Adadelta"
    assert float(learner.optimizer.learning_rate) == 1.0


def test_bfloat16_is_computed_when_asked_for_and_says_so(digits):
    encoder = Autoencoder(preset="article", epochs=1, precision="bfloat16").fit(digits[:200])
    assert encoder.precision_ == "bfloat16 (as asked)"
    model = encoder.keras_model()
    assert {w.dtype for w in model.weights} == {"float32"}
    network = build("article", (28, 28))
    x = digits[:4, ..., None] / np.float32(255)
    exact, rough = (keras.ops.convert_to_numpy(forward(network, x, d)) for d in ("float32", "bfloat16"))
    assert 0 < np.abs(exact - rough).max() < 0.1


def test_auto_precision_tries_both_where_the_cpu_has_bfloat16(digits, monkeypatch):
    monkeypatch.setattr(loop, "cpu_has_bfloat16", lambda: True)
    network = build("article", (28, 28))
    weights = network.get_weights()
    plan = plan_of(Autoencoder())
    precision, why = loop._choose_precision(network, TrainingData(digits[:200], plan), plan)
    assert precision in ("float32", "bfloat16")
    assert "float32 " in why
    assert "bfloat16 " in why
    for before, after in zip(weights, network.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"families": "nose"}, "families is 'nose'; it must be auto, none, or families"),
        ({"families": {"trun": 1}}, "unknown augmentation family 'trun' .*did you mean 'turn'"),
        ({"preset": "deep", "fixed_noise": True}, "fixed_noise goes with noise alone"),
        ({"code": 0}, "code is 0; it must be at least 1"),
        ({"preset": "artcle"}, "did you mean 'article'"),
        ({"optimizer": "sgd"}, "unknown optimizer 'sgd'.*adadelta, adam"),
        ({"precision": "half"}, "unknown precision"),
        ({"epochs": 0}, "epochs is 0; it must be at least 1"),
        ({"noise": -1}, "noise is -1"),
        ({"validation": 0.9}, "validation is 0.9; it must be 0 to 0.5"),
        ({"minutes": 0}, "minutes is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"learning_rate": -0.1}, "learning_rate is -0.1"),
    ],
)
def test_a_parameter_out_of_range_is_named(params, said, digits):
    with pytest.raises(UsageError, match=said):
        create_encoder("autoencoder", **params).fit(digits[:10])


def test_one_image_is_too_few(digits):
    with pytest.raises(EncoderError, match="at least 2 images"):
        Autoencoder().fit(digits[:1])


def test_a_loss_that_is_no_number_stops_the_training(digits):
    with pytest.raises(EncoderError, match="the loss became .* smaller --learning-rate"):
        Autoencoder(preset="article", epochs=50, learning_rate=1e30).fit(digits[:200])


def test_unknown_backend_is_a_sentence():
    run = lookalike("train", "mnist:train[0:50]", "-o", "x", backend="numpi")
    assert run.returncode == 2
    assert "KERAS_BACKEND is 'numpi'" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.skipif(os.environ.get("KERAS_BACKEND") == "jax", reason="jax is the backend under test already")
def test_the_second_backend_trains_exports_and_agrees_with_onnx(tmp_path):
    pytest.importorskip("jax", reason="the second backend of the tests is not installed")
    run = lookalike(
        "train", "mnist:train[0:500]", "-o", str(tmp_path / "e"), "--epochs", "1", "--preset", "article", backend="jax"
    )
    assert run.returncode == 0, run.stderr
    encoder = load_encoder(tmp_path / "e")
    digits = open_collection("mnist:test[0:50]").array()
    model = encoder.keras_model()  # in this process, by the default backend
    code = keras.Model(model.inputs, model.get_layer("encoder").output)
    expected = np.asarray(code(digits[..., None] / np.float32(255))).reshape(50, -1)
    np.testing.assert_allclose(encoder.encode(digits), expected, atol=1e-4)


def lookalike(*arguments, backend=None, cwd=None):
    environment = os.environ | ({"KERAS_BACKEND": backend} if backend else {})
    command = [sys.executable, "-m", "lookalike", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=cwd, check=False)


def start_training(folder: Path, *arguments: str) -> subprocess.Popen:
    """Start a training too long to end, and wait until its first checkpoint is there."""
    command = [
        sys.executable,
        "-m",
        "lookalike",
        "train",
        "mnist:train[0:600]",
        "-o",
        str(folder),
        "--preset",
        "article",
    ]
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (folder / "checkpoint.npz").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (folder / "checkpoint.npz").exists(), process.communicate()[1]
    return process


def test_killed_training_leaves_a_checkpoint_that_the_same_command_goes_on_from(tmp_path):
    folder = tmp_path / "encoder"
    process = start_training(folder, "--epochs", "100000")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    common = ("train", "mnist:train[0:600]", "-o", str(folder), "--preset", "article")
    refused = lookalike(*common, "--epochs", "100000")
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    with np.load(folder / "checkpoint.npz") as arrays:
        done = len(json.loads(str(arrays["facts"]))["history"])
    resumed = lookalike(*common, "--epochs", str(done + 1), "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert f"epoch {done + 1}/{done + 1}" in resumed.stderr
    assert "epoch 1/" not in resumed.stderr
    assert len(load_encoder(folder).history_) == done + 1


def test_ctrl_c_leaves_the_best_model_so_far(tmp_path):
    folder = tmp_path / "encoder"
    process = start_training(folder, "--epochs", "100000")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted by Ctrl-C, --resume continues" in stderr
    assert "Traceback" not in stderr
    assert load_encoder(folder).encode(open_collection("mnist:test[0:3]").array()).shape == (3, 128)


def test_retraining_that_is_killed_leaves_the_encoder_that_was_there(trained, digits, tmp_path):
    folder = trained.save(tmp_path / "encoder")
    before = trained.encode(digits[:10])
    process = start_training(folder, "--epochs", "100000", "--restart")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    np.testing.assert_array_equal(load_encoder(folder).encode(digits[:10]), before)
