"""What is drawn at random here can be drawn again by its seed."""

from __future__ import annotations

import os
import random
import secrets

import pytest

SEED = int(os.environ.get("LOOKALIKE_TORTURE_SEED", secrets.randbits(32)))
RUNS = int(os.environ.get("LOOKALIKE_TORTURE_RUNS", "200"))


AGAIN = f"to repeat it: LOOKALIKE_TORTURE_SEED={SEED} LOOKALIKE_TORTURE_RUNS={RUNS}"


def pytest_report_header():
    return f"torture: {AGAIN}"


@pytest.fixture
def rng():
    """Draw from the seed, afresh for each test."""
    print(AGAIN)
    return random.Random(SEED)


@pytest.fixture
def runs():
    return RUNS
