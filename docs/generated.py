"""A page that a script makes: written, or compared with what lies there."""

from __future__ import annotations

import sys
from pathlib import Path


def write_or_check(page: Path, text: str, script: str) -> int:
    """Write a page; with ``--check`` on the command line, say whether it is up to date. Return the exit status."""
    if "--check" not in sys.argv[1:]:
        page.write_text(text, encoding="utf-8")
    elif not page.exists() or page.read_text(encoding="utf-8") != text:
        print(f"{page}: out of date; run: make docs (or python docs/{script})", file=sys.stderr)
        return 1
    return 0
