"""What one file may cost is what docs/reading.md tells."""

from __future__ import annotations

import re

import pytest

from lookalike.imaging.limits import Limits
from paths import ROOT


def test_the_limits_are_those_that_the_page_tells():
    path = ROOT / "docs" / "reading.md"
    if not path.exists():
        pytest.skip("the docs aren't here")
    told = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \| `--", path.read_text(encoding="utf-8"), re.MULTILINE))
    limits = Limits()
    assert told["time"] == f"{limits.seconds:g} s"
    assert told["memory"] == f"{limits.memory / 2**30:g} GiB"
    assert told["pixels of one image"] == f"{limits.pixels / 1e6:g} million"
    assert told["size"] == f"{limits.bytes / 2**20:g} MiB"
    assert told["frames, with `--frames each`"] == f"{limits.frames:,}"
