"""Encoders that see nothing, and pictures to try them on: whatever they score above chance is a fault of the score."""

from __future__ import annotations

import zlib

import numpy as np

from lookalike.encoders.base import Encoder
from small_models import model, node

#: What a test adds to ``lookalike.encoders.registry.TABLE``.
ENTRY, CODE_ENTRY = ("blind:Blind", ""), ("blind:BlindCode", "")
#: What each gives; a hash tells two pictures apart, and says nothing of how alike they are.
KINDS = ("constant", "zero", "two", "two and zero", "bits", "dust", "noise")
CODES = ("zero code", "constant code", "one bit")
#: The vector that doesn't change.
FIXED = np.random.default_rng(0).standard_normal(8).astype(np.float32)
AMOUNTS = {"constant": 0, "zero": 0, "dust": 1e-6, "noise": 1e-2}


def pictures(count, side=24):
    """Grey blocks drawn by chance."""
    small = np.random.default_rng(0).integers(0, 256, (count, 4, 4), np.uint8)
    return np.kron(small, np.ones((1, side // 4, side // 4), np.uint8))


class Blind(Encoder):
    """Descriptors that no likeness shows in."""

    name = "blind"

    def __init__(self, *, kind: str = "constant") -> None:
        self.kind = kind

    def _encode(self, images):
        drawn = np.stack([np.random.default_rng(zlib.crc32(i.tobytes())).standard_normal(8) for i in images])
        if self.kind in AMOUNTS:
            return ((self.kind != "zero") * FIXED + AMOUNTS[self.kind] * drawn).astype(np.float32)
        if self.kind == "bits":
            return (drawn > 0).astype(np.float32)
        other = FIXED[::-1] if self.kind == "two" else 0 * FIXED
        return np.where(drawn[:, :1] > 0, FIXED, other).astype(np.float32)


class BlindCode(Encoder):
    """Packed codes that no likeness shows in."""

    name = "blind code"
    distance = "hamming"
    dtype = np.uint8

    def __init__(self, *, kind: str = "constant code") -> None:
        self.kind = kind

    def _encode(self, images):
        if self.kind == "one bit":
            return np.array([[zlib.crc32(i.tobytes()) & 1] for i in images], np.uint8)
        return np.full((len(images), 4), 0 if self.kind == "zero code" else 170, np.uint8)


def blind(kind):
    """Make one of ``KINDS`` or ``CODES``."""
    return (BlindCode if kind in CODES else Blind)(kind=kind)


def blind_model(kind):
    """Serialise an image model that is one of ``KINDS``: sines of great multiples of the mean colour are its hash."""
    shape = [node("ReduceMean", "pixels", "mean", axes=[2, 3], keepdims=0), node("MatMul", "mean far", "angle")]
    shape += [node("Sin", "angle", "drawn")]
    held = {"far": 1e5 * np.random.default_rng(1).standard_normal((3, 8)), "fixed": FIXED, "nothing": 0}
    if kind in AMOUNTS:
        held |= {"amount": AMOUNTS[kind], "fixed": (kind != "zero") * FIXED}
        last = [node("Mul", "drawn amount", "small"), node("Add", "small fixed", "out")]
    elif kind == "nan":
        last = [node("Div", "drawn nothing", "endless"), node("Sub", "endless endless", "out")]
    else:
        other = FIXED[::-1] if kind == "two" else 0 * FIXED
        held |= {"other": other}
        last = [node("Greater", "drawn nothing", "bits"), node("Where", "bits fixed other", "out")]
        if kind != "bits":
            held |= {"first": [0]}
            last[:0] = [node("Gather", "drawn first", "one", axis=1)]
            last[1] = node("Greater", "one nothing", "bits")
    held = {n: np.asarray(v, np.int64 if n == "first" else np.float32) for n, v in held.items()}
    return model(shape + last, {"pixels": ("FLOAT", ["n", 3, 8, 8])}, {"out": ("FLOAT", ["n", 8])}, **held)
