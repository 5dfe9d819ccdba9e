"""Packages that somebody else wrote and installed: the examples', by entry points, as `pip install` leaves them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from paths import ROOT

EXAMPLES = ROOT / "examples"


def install(site: Path, monkeypatch, example: str, lines: str) -> None:
    """Put a package that holds an example's code and states some entry points on the path; the caller's patch ends it."""
    module = f"stranger_{re.sub(r'[^a-z]', '_', example)}"
    info = site / f"{module}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(lines.replace("MODULE", module))
    (site / f"{module}.py").write_text((EXAMPLES / f"{example}.py").read_text(encoding="utf-8"))
    monkeypatch.syspath_prepend(str(site))
    sys.modules.pop(module, None)
