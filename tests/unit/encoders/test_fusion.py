"""Fused descriptors against their members', worked out one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lookalike.encoders.base import Encoder
from lookalike.encoders.fusion import Fusion
from lookalike.encoders.registry import TABLE, create
from lookalike.encoders.serialize import CARD, load
from lookalike.errors import EncoderError, LookalikeError, UsageError


def images(n=12, shape=(16, 20, 3)):
    return np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


class Ramp(Encoder):
    """Learns the mean and gives four numbers; wants large grey images."""

    name = "ramp"
    preferred_shape = (96, 128)

    def _fit(self, images):
        self.mean_ = float(images.mean())

    def _encode(self, images):
        return np.outer(images.reshape(len(images), -1).mean(axis=1) - self.mean_, np.arange(4)).astype(np.float32)

    def _get_weights(self):
        return {"mean.npz": repr(self.mean_).encode()}

    def _set_weights(self, files):
        self.mean_ = float(files["mean.npz"])


class Bits(Encoder):
    """Gives packed codes."""

    name = "bits"
    dtype = np.uint8


@pytest.fixture(autouse=True)
def strangers(monkeypatch):
    for cls in (Ramp, Bits):
        monkeypatch.setitem(TABLE, cls.name, (f"{__name__}:{cls.__name__}", ""))


def test_a_plus_makes_a_fusion():
    encoder = create("pixels+color")
    assert type(encoder) is Fusion
    assert (encoder.name, encoder.params) == (
        "fusion",
        {"members": "pixels+color", "weights": None, "options": None},
    )


def test_the_cosine_is_the_weighed_mean_of_the_members_cosines():
    x = images()
    for weights, shares in ((None, (1 / 3, 1 / 3, 1 / 3)), ([2, 1, 5], (0.25, 0.125, 0.625))):
        encoder = create("hog+color+pixels", weights=weights, options={"hog": {"cells": 3}}).fit(x)
        fused = encoder.encode(x)
        members = [create("hog", cells=3), create("color"), create("pixels")]
        singles = [unit(member.fit(x).encode(x)) for member in members]
        assert encoder.dimension_ == fused.shape[1] == sum(single.shape[1] for single in singles)
        expected = sum(share * single @ single.T for share, single in zip(shares, singles, strict=True))
        np.testing.assert_allclose(fused @ fused.T, expected, atol=1e-5)


def test_a_member_that_sees_nothing_counts_nothing():
    x = images(3)
    x[0] = 0
    encoder = create("pixels+hog").fit(x)
    assert not encoder.encode(x)[0].any()
    half = create("hog+color").fit(x).encode(x)
    np.testing.assert_allclose(np.linalg.norm(half, axis=1) ** 2, [0.5, 1, 1], atol=1e-6)


def test_the_preferred_shape_is_the_largest_in_colour_if_one_is():
    assert create("pixels+hog").preferred_shape is None
    assert create("hog+color").preferred_shape == (64, 64, 3)
    assert create("ramp+color").preferred_shape == (96, 128, 3)
    assert create("ramp+hog").preferred_shape == (96, 128)


def test_saved_and_loaded_with_all_members(tmp_path):
    x = images()
    encoder = create("ramp+hog+ramp", weights=[1, 2, 3]).fit(x)
    again = load(encoder.save(tmp_path))
    np.testing.assert_array_equal(again.encode(x), encoder.encode(x))
    assert again.fingerprint == encoder.fingerprint
    assert [m.name for m in again.members_] == ["ramp", "hog", "ramp"]


def test_a_fusion_may_hold_what_holds_others(tmp_path):
    x = images()
    nested = create("pixels+color").fit(x)
    again = load(nested.save(tmp_path))
    again.save(tmp_path / "again")
    assert load(tmp_path / "again").fingerprint == nested.fingerprint


def test_the_fingerprint_covers_order_weights_options_and_what_members_learnt():
    x = images()
    fused = [
        create("ramp+color").fit(x),
        create("color+ramp").fit(x),
        create("ramp+color", weights=[1, 2]).fit(x),
        create("ramp+color", options={"color": {"grid": 2}}).fit(x),
        create("ramp+color").fit(x[:5]),
    ]
    assert len({e.fingerprint for e in fused}) == len(fused)
    assert create("ramp+color").fit(x).fingerprint == fused[0].fingerprint


def test_a_fusion_that_lost_a_part_is_refused(tmp_path):
    encoder = create("ramp+color").fit(images())
    files = encoder._get_weights()
    with pytest.raises(EncoderError, match=r"the saved fusion of ramp\+color lacks its part 1; train it again"):
        encoder._set_weights({name: f for name, f in files.items() if not name.startswith("1-")})
    mean = next(name for name in files if name.startswith("0-mean"))
    with pytest.raises(EncoderError, match="not the file that was saved"):
        encoder._set_weights(files | {mean: b"7"})
    with pytest.raises(EncoderError, match=rf"part 0/{CARD}: not a description of an encoder"):
        encoder._set_weights(files | {f"0-{CARD}": b"{}"})
    whole = encoder.save(tmp_path)
    next(Path(whole).glob("0-mean*")).unlink()
    with pytest.raises(EncoderError, match="missing; copy the whole folder again"):
        load(whole)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("hog+hogg", {}, r"unknown encoder 'hogg' \(did you mean 'hog'\?\)"),
        ("hog+", {}, "unknown encoder ''"),
        ("hog+bits", {}, r"fusion: bits gives packed codes, which can't be weighed; leave it out of hog\+bits"),
        (
            "hog+color",
            {"weights": [1]},
            r"fusion: weights is \[1\]; give 2 numbers above 0, one for each of hog\+color",
        ),
        ("hog+color", {"weights": [1, 0]}, "give 2 numbers above 0"),
        ("hog+color", {"weights": [1, float("nan")]}, "give 2 numbers above 0"),
        ("hog+color", {"weights": ["a", "b"]}, "give 2 numbers above 0"),
        ("hog+color", {"weights": 3}, "give 2 numbers above 0"),
        ("hog+color", {"options": {"pixels": {}}}, "options is .*; it must hold parameters by member: hog, color"),
        ("hog+color", {"options": {"hog": {"cell": 3}}}, r"unknown hog parameter 'cell' \(did you mean 'cells'\?\)"),
        ("hog+color", {"options": 3}, "options is 3; it must hold"),
        ("fusion", {"members": "hog"}, "members is 'hog'; name two or more encoders, as in 'hog.color'"),
        ("fusion", {"members": "hog+fusion"}, "name two or more encoders"),
        ("fusion", {"members": 3}, "members is 3; name two or more"),
    ],
)
def test_what_cant_be_fused_is_refused_in_a_sentence(name, params, message):
    with pytest.raises(LookalikeError, match=message) as caught:
        create(name, **params).fit(images())
    assert isinstance(caught.value, UsageError)


def test_a_parameter_of_no_member_is_refused():
    with pytest.raises(UsageError, match="unknown fusion parameter 'grid'; known: members, options, weights"):
        create("hog+color", grid=3)
