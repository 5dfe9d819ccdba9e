"""What every encoder promises, run over all of ``lookalike.encoders.registry.TABLE``; and the contract on one done by hand.

A new encoder needs nothing here. If the defaults of its parameters are too slow for a test, give quicker ones in QUICK.
"""

import inspect
import io
import json
import pickletools
import re
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lookalike import open_collection
from lookalike.encoders.base import FORMAT, Encoder
from lookalike.encoders.onnx.known_models import KNOWN
from lookalike.encoders.registry import TABLE, create, describe, installed_encoders, is_encoder_name
from lookalike.encoders.serialize import CARD, load, read_card
from lookalike.errors import EncoderError, LookalikeError, UsageError
from paths import ROOT

QUICK: dict[str, dict[str, Any]] = {
    "autoencoder": {"epochs": 1, "precision": "float32"},
    "contrastive": {"epochs": 1, "batch_size": 35, "precision": "float32"},
    "hashing": {"epochs": 2, "bits": 64},
    "itq": {"bits": 64},
    "sift": {"words": 16, "points": 100},
    "surf": {"words": 16, "points": 100},
}
CASES = [(name, QUICK.get(name, {})) for name in sorted(TABLE)]
CASES += [
    ("hog", {"deskew": True}),
    ("color", {"space": "oklab"}),
    ("itq", {"bits": 28}),
    ("sift", {"pooling": "bow", "words": 16, "points": 100}),
]
#: extra -> a module that it brings
EXTRAS = {"train": "keras", "local": "cv2"}
SHAPES = [(28, 28), (20, 31), (31, 20, 3)]
HEAVY = ["keras", "tensorflow", "jax", "torch", "matplotlib", "lance", "skimage", "sklearn", "cv2", "mahotas", "onnx"]

#: Three that stand for all where the contract's own code is what is tested: one that learns nothing, one that learns, and
#: one of packed codes. What an encoder does itself is tested on each, by the smoke test and where ``every_encoder`` stands.
WHOLE = [("hog", {}), ("color", {}), ("itq", {"bits": 28})]


def over(cases: list[tuple[str, dict[str, Any]]]) -> pytest.MarkDecorator:
    """Run over some encoders. Those that take seconds, as a training does, are left to the whole suite."""
    marked = [pytest.param(c, marks=[pytest.mark.slow] * (TABLE[c[0]][1] != "" or c[0] == "neural")) for c in cases]
    return pytest.mark.parametrize("case", marked, ids=["-".join([c[0], *c[1].keys()]) for c in cases], indirect=True)


every_encoder, three_encoders = over(CASES), over(WHOLE)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))


class MeanGrey(Encoder):
    """Mean grey value beside that of the collection: one a stranger could write, and work out in the head."""

    name = "mean-grey"

    def __init__(self, *, scale: float = 1.0) -> None:
        self.scale = scale

    def _fit(self, images: NDArray[np.uint8]) -> None:
        self.mean_ = float(images.mean())

    def _encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        grey = images.reshape(len(images), -1).mean(axis=1)
        return np.stack([grey, grey - self.mean_], axis=1).astype(np.float32) * np.float32(self.scale)

    def _get_weights(self) -> dict[str, bytes]:
        file = io.BytesIO()
        np.savez(file, mean=self.mean_)
        return {"mean.npz": file.getvalue()}

    def _set_weights(self, files: dict[str, bytes]) -> None:
        self.mean_ = float(np.load(io.BytesIO(files["mean.npz"]), allow_pickle=False)["mean"])


@pytest.fixture
def mean_grey(monkeypatch: pytest.MonkeyPatch) -> MeanGrey:
    monkeypatch.setitem(TABLE, "mean-grey", (f"{__name__}:MeanGrey", ""))
    return create("mean-grey", scale=2.0).fit(np.array([[[0, 100]], [[200, 60]]], np.uint8))


@pytest.fixture
def case(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Name and parameters of an encoder that can be fitted here."""
    name, params = request.param
    extra = TABLE[name][1]
    if extra in EXTRAS and find_spec(EXTRAS[extra]) is None:
        pytest.skip(f"{EXTRAS[extra]} isn't installed; pip install 'lookalike[{extra}]'")
    return name, params


@cache
def images_of(shape: tuple[int, ...], n: int = 70) -> NDArray[np.uint8]:
    """MNIST's first digits, or random patches of another shape. Read-only, so no encoder can write to them."""
    if shape == (28, 28):
        images = open_collection("mnist").take(np.arange(n)).array().copy()
    else:
        rng = np.random.default_rng(sum(shape))
        coarse = rng.integers(0, 256, (n, -(-shape[0] // 4), -(-shape[1] // 4), *shape[2:]), dtype=np.uint8)
        images = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, : shape[0], : shape[1]].copy()
    images.flags.writeable = False
    return images


FITTED: dict[str, Encoder] = {}


def fitted(case: tuple[str, dict[str, Any]], shape: tuple[int, ...] = (28, 28)) -> Encoder:
    """Fit once for the whole file: training takes seconds. Don't change what this returns."""
    key = repr((case, shape))
    if key not in FITTED:
        FITTED[key] = create(case[0], **case[1]).fit(images_of(shape))
    return FITTED[key]


def assert_same(descriptors: NDArray[Any], expected: NDArray[Any]) -> None:
    """Equal up to 1e-5 of a descriptor's length, as the contract says."""
    length = max(1e-12, float(np.linalg.norm(expected.astype(float), axis=-1).max()))
    np.testing.assert_allclose(descriptors, expected, rtol=0, atol=1e-5 * length)


# Making one -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(TABLE))
def test_the_constructor_only_stores(name: str) -> None:
    encoder = create(name)
    assert encoder.name == name
    defaults = {p.name: p.default for p in inspect.signature(type(encoder)).parameters.values()}
    assert encoder.params == vars(encoder) == defaults
    assert create(name, **encoder.params).params == defaults
    assert repr(encoder) == f"{type(encoder).__name__}({', '.join(f'{p}={v!r}' for p, v in defaults.items())})"
    for p in defaults:  # anything is stored as it is; fit is where it is checked
        odd = object()
        assert create(name, **{p: odd}).params[p] is odd
    assert not encoder.is_fitted
    assert json.loads(json.dumps(encoder.params)) == encoder.params
    assert describe(name).endswith(".")


def test_making_them_imports_nothing_heavy() -> None:
    program = (
        "import sys, lookalike.encoders.registry as e\n"
        "for name in e.TABLE: e.create(name)\n"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(
        UsageError, match=rf"unknown encoder 'hogg' \(did you mean 'hog'\?\); known: {', '.join(sorted(TABLE | KNOWN))}"
    ):
        create("hogg")
    with pytest.raises(
        UsageError, match=r"unknown hog parameter 'cell' \(did you mean 'cells'\?\); known: bins, cells, deskew"
    ):
        create("hog", cell=3)
    with pytest.raises(UsageError, match="unknown pixels parameter 'scale'"):
        create("pixels", scale=1)


# Encoding -------------------------------------------------------------------------------------------------------------


def shapes_of(case: tuple[str, dict[str, Any]]) -> list[tuple[int, ...]]:
    """Return the shapes that the smoke test looks at: grey and colour; of a training, which takes seconds, grey alone."""
    return SHAPES[:1] if TABLE[case[0]][1] == "train" else [SHAPES[0], SHAPES[2]]


@every_encoder
def test_it_describes_saves_and_loads(case, tmp_path: Path) -> None:
    """Smoke-test what each encoder does itself: sizes, batches, order, blank images, untouched input, files."""
    for shape in shapes_of(case):
        encoder, images = fitted(case, shape), images_of(shape).copy()
        whole = encoder.encode(images)
        np.testing.assert_array_equal(images, images_of(shape))
        assert (whole.dtype, whole.shape) == (encoder.dtype, (len(images), encoder.dimension_))
        assert np.isfinite(whole).all()
        assert len(np.unique(whole, axis=0)) > 0.9 * len(images)
        order = np.random.default_rng(0).permutation(len(images))
        parts = [encoder.encode(images[order[i : i + 7]]) for i in range(0, len(images), 7)]
        assert_same(np.concatenate(parts), whole[order])
        assert_same(encoder.encode(images[3:4]), whole[3:4])
        flat = np.stack([np.full(shape, grey, np.uint8) for grey in (0, 1, 128, 255)])
        with np.errstate(all="raise", under="ignore"):
            assert np.isfinite(encoder.encode(flat)).all()
        again = load(encoder.save(tmp_path / f"{len(shape)}"))
        np.testing.assert_array_equal(again.encode(images), whole)
        assert again.fingerprint == encoder.fingerprint
        assert again.params == encoder.params


@three_encoders
@every_shape
def test_one_descriptor_an_image(case, shape) -> None:
    encoder, images = fitted(case, shape), images_of(shape)
    descriptors = encoder.encode(images)
    assert descriptors.dtype == encoder.dtype
    assert (encoder.dtype == np.uint8) == (encoder.distance == "hamming")
    assert descriptors.shape == (len(images), encoder.dimension_)
    assert np.isfinite(descriptors).all()
    assert encoder.shape_ == shape
    assert len(np.unique(descriptors, axis=0)) > 0.9 * len(images)
    none = encoder.encode(images[:0])
    assert none.shape == (0, encoder.dimension_)
    assert none.dtype == encoder.dtype


@three_encoders
@every_shape
def test_neither_batch_nor_order_matters(case, shape) -> None:
    encoder, images = fitted(case, shape), images_of(shape)
    whole = encoder.encode(images)
    for size in (1, 7, 64):
        parts = [encoder.encode(images[i : i + size]) for i in range(0, len(images), size)]
        assert_same(np.concatenate(parts), whole)
    order = np.random.default_rng(0).permutation(len(images))
    assert_same(encoder.encode(images[order]), whole[order])
    assert_same(encoder.encode(np.asfortranarray(images)), whole)
    np.testing.assert_array_equal(encoder.encode(images), whole)


@three_encoders
@every_shape
def test_blank_and_saturated_images_give_numbers(case, shape) -> None:
    flat = np.stack([np.full(shape, grey, np.uint8) for grey in (0, 1, 128, 255)])
    checks = (np.indices(shape[:2]).sum(axis=0) % 2 * 255).astype(np.uint8)
    dot = np.zeros(shape, np.uint8)
    dot[0, 0] = 255
    extreme = np.stack([checks if len(shape) == 2 else np.stack([checks] * 3, axis=2), dot])
    with np.errstate(all="raise", under="ignore"):
        assert np.isfinite(fitted(case, shape).encode(np.concatenate([flat, extreme]))).all()


@three_encoders
@every_shape
def test_the_images_are_not_written_to(case, shape) -> None:
    images = images_of(shape).copy()  # writeable, so that a copy made only where it must be doesn't hide a fault
    fitted(case, shape).encode(images)
    np.testing.assert_array_equal(images, images_of(shape))


@three_encoders
def test_fit_returns_itself_and_writes_to_nothing(case) -> None:
    images = images_of((20, 31), 8).copy()
    encoder = create(case[0], **case[1])
    assert encoder.fit(images) is encoder
    assert encoder.params == create(case[0], **case[1]).params
    np.testing.assert_array_equal(images, images_of((20, 31), 8))


@three_encoders
def test_images_may_be_a_view(case) -> None:
    wide = np.concatenate([images_of((28, 28))] * 2, axis=2)
    assert_same(fitted(case).encode(wide[:, :, :28]), fitted(case).encode(images_of((28, 28))))


@three_encoders
def test_other_images_than_it_was_fitted_on_are_refused(case) -> None:
    encoder = fitted(case)
    with pytest.raises(EncoderError, match="takes images of 28 x 28 grey, these are 31 x 20 grey; resize them"):
        encoder.encode(np.zeros((2, 20, 31), np.uint8))
    with pytest.raises(EncoderError, match="takes images of 28 x 28 grey, these are 28 x 28 colour"):
        encoder.encode(np.zeros((2, 28, 28, 3), np.uint8))


@three_encoders
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 28, 28), np.float32), r"must be uint8 \(0\.\.255\), these are float32; see"),
        (np.full((2, 28, 28), np.nan), "must be uint8 .* these are float64"),
        (np.zeros((28, 28), np.uint8), r"must have shape \(n, h, w\) or \(n, h, w, 3\), these have \(28, 28\)"),
        (np.zeros((2, 28, 28, 4), np.uint8), r"these have \(2, 28, 28, 4\)"),
        (np.zeros((2, 0, 28), np.uint8), r"these have \(2, 0, 28\)"),
    ],
    ids=["float", "nan", "one-image", "four-channels", "no-height"],
)
def test_what_is_no_batch_of_images_is_refused(case, images, message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        fitted(case).encode(images)
    with pytest.raises(EncoderError, match=message):
        create(case[0], **case[1]).fit(images)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_before_fit_it_says_so(name: str, tmp_path: Path) -> None:
    encoder = create(name)
    with pytest.raises(EncoderError, match=rf"^{name} has not been fitted; call fit\(images\) first"):
        encoder.encode(np.zeros((1, 28, 28), np.uint8))
    with pytest.raises(EncoderError, match=f"^{name} has not been fitted, so there is nothing to save"):
        encoder.save(tmp_path / "e")
    assert not (tmp_path / "e").exists()
    with pytest.raises(EncoderError, match=f"^{name}: there is no image to learn from"):
        encoder.fit(np.zeros((0, 28, 28), np.uint8))
    assert not encoder.is_fitted


# Saving and loading ---------------------------------------------------------------------------------------------------


@three_encoders
@every_shape
def test_saved_and_loaded_it_is_the_same(case, shape, tmp_path: Path) -> None:
    encoder, images = fitted(case, shape), images_of(shape)
    assert encoder.save(tmp_path / "deep" / "er") == tmp_path / "deep" / "er"
    again = load(str(tmp_path / "deep" / "er"))
    assert type(again) is type(encoder)
    assert again.is_fitted
    assert (again.params, again.shape_, again.dimension_, again.distance) == (
        encoder.params,
        encoder.shape_,
        encoder.dimension_,
        encoder.distance,
    )
    np.testing.assert_array_equal(again.encode(images), encoder.encode(images))
    card = read_card(tmp_path / "deep" / "er")
    assert card["fingerprint"] == encoder.fingerprint == again.fingerprint
    assert (card["encoder"], card["params"], card["shape"]) == (case[0], encoder.params, list(shape))
    again.save(tmp_path / "again")
    assert read_card(tmp_path / "again") == card


@every_encoder
def test_a_saved_encoder_holds_no_pickle(case, tmp_path: Path) -> None:
    fitted(case).save(tmp_path)
    for file in tmp_path.iterdir():
        assert file.suffix in {".json", ".npz", ".onnx", ".keras"}, f"{file.name}: is this format free of code?"
        content = file.read_bytes()
        members = {file.name: content}
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                members |= {name: archive.read(name) for name in archive.namelist()}
        for name, data in members.items():
            assert not is_pickle(data), f"{file.name}: {name}"
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as arrays:
                assert all(arrays[name].dtype != object for name in arrays.files)


def is_pickle(data: bytes) -> bool:
    try:
        return data[:1] == b"\x80" and bool(list(pickletools.genops(data)))
    except ValueError:
        return False


@every_encoder
def test_the_fingerprint_tells_encoders_apart(case) -> None:
    encoders = [fitted(case, shape) for shape in SHAPES]
    encoders += [fitted(other) for other in CASES if other != case and TABLE[other[0]][1] == ""]
    encoders += [create("hog", **p).fit(images_of((28, 28))) for p in ({"cells": 6}, {"bins": 9})]
    assert len({e.fingerprint for e in encoders}) == len(encoders)
    assert all(len(e.fingerprint) == 16 and int(e.fingerprint, 16) >= 0 for e in encoders)


@three_encoders
def test_saving_over_another_replaces_it(case, mean_grey: MeanGrey, tmp_path: Path) -> None:
    mean_grey.save(tmp_path)
    fitted(case).save(tmp_path)
    assert load(tmp_path).fingerprint == fitted(case).fingerprint
    named = {entry["file"] for entry in read_card(tmp_path)["files"].values()}
    assert {file.name for file in tmp_path.iterdir()} == {CARD, *named}


@three_encoders
def test_a_file_that_was_changed_cut_or_lost_is_refused(case, mean_grey: MeanGrey, tmp_path: Path) -> None:
    for encoder in (fitted(case), mean_grey):
        whole = encoder.save(tmp_path / encoder.name)
        for entry in read_card(whole)["files"].values():
            content = (whole / entry["file"]).read_bytes()
            flipped = bytearray(content)
            flipped[len(flipped) // 2] ^= 1
            for damaged in (bytes(flipped), content[:-1], content + b"\n", b""):
                (whole / entry["file"]).write_bytes(damaged)
                with pytest.raises(
                    EncoderError, match=r"not the file that was saved \(its SHA-256 differs\)"
                ) as caught:
                    load(whole)
                assert str(whole / entry["file"]) in str(caught.value)
            (whole / entry["file"]).unlink()
            with pytest.raises(EncoderError, match=f"{entry['file']}: named in {CARD} but missing"):
                load(whole)
            (whole / entry["file"]).write_bytes(content)
        assert load(whole).fingerprint == encoder.fingerprint


def test_what_is_no_encoder_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        EncoderError, match=r"nowhere: not there; an encoder is a folder .* autoencoder, color, .* pixels"
    ):
        load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EncoderError, match=rf"empty: without {CARD}; an encoder is a folder"):
        load(tmp_path / "empty")
    (tmp_path / "file.keras").write_bytes(b"PK")
    with pytest.raises(EncoderError, match=r"file\.keras: a file, not a folder"):
        load(tmp_path / "file.keras")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return create("hog").fit(np.zeros((1, 8, 8), np.uint8)).save(tmp_path / "hog")


def test_a_card_cut_anywhere_is_refused(saved: Path) -> None:
    whole = (saved / CARD).read_bytes().rstrip()
    for end in range(0, len(whole), 7):
        (saved / CARD).write_bytes(whole[:end])
        with pytest.raises(EncoderError, match=rf"{CARD}: not a description of an encoder"):
            load(saved)
    for other in (b"[]", b"null", b"3", b'"hog"', b"\xff\xfe", b"{}"):
        (saved / CARD).write_bytes(other)
        with pytest.raises(EncoderError, match=rf"{CARD}: not a description of an encoder"):
            load(saved)


@pytest.mark.parametrize(
    "key", ["format", "encoder", "params", "distance", "shape", "dimension", "files", "fingerprint"]
)
def test_a_card_that_lacks_something_is_refused(saved: Path, key: str) -> None:
    card = json.loads((saved / CARD).read_text())
    for changed in ({k: v for k, v in card.items() if k != key}, card | {key: None}):
        (saved / CARD).write_text(json.dumps(changed))
        with pytest.raises(EncoderError, match=rf"{CARD}: not a description of an encoder"):
            load(saved)


def test_a_card_of_a_newer_version_is_refused(saved: Path) -> None:
    card = json.loads((saved / CARD).read_text())
    (saved / CARD).write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(
        EncoderError, match=f"written in format {FORMAT + 1}, this version reads up to {FORMAT}; upgrade"
    ):
        load(saved)
    for changed in ({"encoder": "dreamt"}, {"params": {"stride": 2}}):
        (saved / CARD).write_text(json.dumps(card | changed))
        with pytest.raises(LookalikeError, match=r"unknown (encoder 'dreamt'|hog parameter 'stride')"):
            load(saved)


def test_a_folder_that_cant_be_written_is_refused(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(EncoderError, match="a file; an encoder is a folder, so pick another name"):
            load(saved).save(folder)
    assert (tmp_path / "file").read_text() == "a file"


# The contract, worked out by hand -------------------------------------------------------------------------------------


def test_a_strangers_encoder_needs_only_a_class_and_a_line(mean_grey: MeanGrey, tmp_path: Path) -> None:
    assert (mean_grey.mean_, mean_grey.shape_, mean_grey.dimension_) == (90.0, (1, 2), 2)
    images = np.array([[[0, 0]], [[90, 90]], [[255, 1]]], np.uint8)
    expected = [[0, -180], [180, 0], [256, 76]]
    np.testing.assert_array_equal(mean_grey.encode(images), expected)
    mean_grey.save(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    np.testing.assert_array_equal(load(tmp_path / "two").encode(images), expected)


def test_weights_make_the_fingerprint(mean_grey: MeanGrey) -> None:
    images = np.array([[[0, 100]], [[200, 60]]], np.uint8)
    assert create("mean-grey", scale=2.0).fit(images).fingerprint == mean_grey.fingerprint
    assert create("mean-grey", scale=2.0).fit(images[::-1]).fingerprint == mean_grey.fingerprint
    assert create("mean-grey", scale=2.0).fit(images[:1]).fingerprint != mean_grey.fingerprint
    assert create("mean-grey", scale=1.0).fit(images).fingerprint != mean_grey.fingerprint


def test_an_interrupted_save_leaves_the_old_encoder(mean_grey: MeanGrey, tmp_path: Path, monkeypatch) -> None:
    mean_grey.save(tmp_path)
    new = create("mean-grey").fit(np.zeros((1, 1, 2), np.uint8))
    replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target.name == CARD:
            raise OSError(28, "No space left on device")
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(EncoderError, match="No space left on device; free space"):
            new.save(tmp_path)
    assert load(tmp_path).fingerprint == mean_grey.fingerprint
    new.save(tmp_path)
    assert load(tmp_path).fingerprint == new.fingerprint
    assert len(list(tmp_path.iterdir())) == 2


def test_pixels_are_the_pixels() -> None:
    for shape in SHAPES:
        images = images_of(shape)
        expected = images.reshape(len(images), -1).astype(float) / 255
        np.testing.assert_allclose(create("pixels").fit(images).encode(images), expected, atol=1e-7)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("params", {"cells": "7", "bins": 8, "deskew": False}),
        ("params", {"cells": 5, "bins": 8, "deskew": False}),
        ("params", {"cell": 7}),
        ("shape", ["a"]),
        ("shape", [28, 29]),
        ("dimension", 7),
        ("distance", "euclidean"),
        ("fingerprint", "0" * 16),
        ("encoder", "hug"),
        ("files", {"a.npz": "x"}),
        ("files", {"a.npz": {"file": "../a.npz", "sha256": "0"}}),
    ],
)
def test_an_edited_card_is_refused_by_name(key, value, tmp_path):
    folder = create("hog").fit(np.zeros((1, 28, 28), np.uint8)).save(tmp_path / "hog")
    path = folder / "encoder.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(EncoderError, match=re.escape(str(path))):
        load(folder)


# Encoders of other packages -------------------------------------------------------------------------------------------

EXAMPLE = ROOT / "examples" / "an_encoder.py"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package that brings encoders by entry points: the example's, and some that can't be used."""
    site = tmp_path / "site"
    (site / "others-1.0.dist-info").mkdir(parents=True)
    (site / "others-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (site / "others-1.0.dist-info" / "entry_points.txt").write_text(
        "[lookalike.encoders]\nprofile = others:Profile\nhog = others:Profile\nlost = nowhere_to_be_found:Lost\n"
        "broken = others_broken:Broken\nother-name = others:Profile\nnumber = others:NUMBER\n"
    )
    (site / "others.py").write_text(EXAMPLE.read_text() + "\nNUMBER = 7\n")
    (site / "others_broken.py").write_text("raise RuntimeError('no licence\\nfor you')\n")
    monkeypatch.syspath_prepend(str(site))
    yield
    for name in ("others", "others_broken"):
        sys.modules.pop(name, None)


def test_the_example_is_30_lines_and_runs() -> None:
    code = EXAMPLE.read_text().split('"""\n', 1)[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    ran = subprocess.run([sys.executable, str(EXAMPLE)], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("[0, ")


def test_an_installed_encoder_is_used_like_ours(installed: None, tmp_path: Path) -> None:
    assert "others" not in sys.modules
    assert sorted(installed_encoders()) == ["broken", "lost", "number", "other-name", "profile"]
    assert "others" not in sys.modules  # naming them imports none
    assert all(is_encoder_name(name) for name in ("profile", "hog", "hog+profile", "lost"))
    assert not is_encoder_name("profil")
    encoder = create("profile", power=2.0).fit(np.array([[[0, 255], [51, 0]]], np.uint8))
    assert describe("profile") == "Mean brightness of each row and each column; learns nothing."
    images = np.array([[[0, 255], [51, 0]]], np.uint8)
    np.testing.assert_allclose(encoder.encode(images), [[0.25, 0.01, 0.01, 0.25]], atol=1e-6)
    again = load(encoder.save(tmp_path / "saved"))
    np.testing.assert_array_equal(again.encode(images), encoder.encode(images))
    assert create("hog+profile").fit(np.zeros((1, 8, 8), np.uint8)).dimension_ == 392 + 16
    assert type(create("hog")).__module__ == "lookalike.encoders.hog"  # a name of ours stays ours


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "profil",
            r"unknown encoder 'profil' \(did you mean 'profile'\?\); known: .* number, other-name, pixels, profile",
        ),
        ("lost", r"'lost' \(nowhere_to_be_found:Lost, of the package others\) can't be imported \(No module named"),
        ("broken", r"'broken' \(.* of the package others\) can't be imported \(no licence\); install what it needs"),
        (
            "other-name",
            r"'other-name' .* is not a subclass of lookalike.encoders.base.Encoder with that name; ask its author",
        ),
        ("number", "'number' .* is not a subclass of lookalike.encoders.base.Encoder"),
    ],
)
def test_an_installed_encoder_that_cant_be_used_is_refused(installed: None, name: str, message: str) -> None:
    with pytest.raises(LookalikeError, match=message) as caught:
        create(name)
    assert "\n" not in str(caught.value)


# Bad input, each one sentence -----------------------------------------------------------------------------------------


def fit_and_encode(case: tuple[str, dict[str, Any]], images: NDArray[np.uint8]) -> tuple[Any, str | None]:
    """Return descriptors, or what the encoder says that it can't do."""
    try:
        return create(case[0], **case[1]).fit(images).encode(images), None
    except EncoderError as e:
        return None, str(e)


@every_encoder
def test_a_collection_of_one_or_two_images_works_or_is_refused(case) -> None:
    descriptors, refusal = fit_and_encode(case, images_of((28, 28), 2))
    assert np.isfinite(descriptors).all(), refusal
    descriptors, refusal = fit_and_encode(case, images_of((28, 28), 1))
    assert np.isfinite(descriptors).all() if refusal is None else re.search(r"at least 2|two or more", refusal)


@every_encoder
@pytest.mark.parametrize("shape", [(1, 1), (1, 40, 3), (3, 2)], ids=lambda s: "x".join(map(str, s)))
def test_images_of_a_few_pixels_work_or_are_refused(case, shape) -> None:
    descriptors, refusal = fit_and_encode(case, images_of(shape, 8))
    assert np.isfinite(descriptors).all() if refusal is None else "\n" not in refusal


def test_a_missing_extra_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    images = images_of((28, 28), 4)
    for name, module in (("sift", "cv2"), ("surf", "mahotas.features.surf"), ("hashing", "keras")):
        monkeypatch.setitem(sys.modules, module, None)  # what Python itself does for a module that can't be found
        extra = TABLE[name][1]
        with pytest.raises(
            UsageError, match=rf"needs packages that aren't installed; type: pip install 'lookalike\[{extra}\]'"
        ):
            create(name).fit(images)
