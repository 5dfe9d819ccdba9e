"""What thumbnails cost: the time to index a folder and the size of its index, for whatever this version makes of them.

python benchmarks/thumbnails.py [--shared ../shared/data] [--runs 3]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from study import keep

import lookalike
from lookalike.imaging.encode import THUMBNAIL_SIDE


def indexed(folder: Path) -> tuple[float, int, int, int, str]:
    """Index a folder once; return seconds, images, bytes of the index, bytes of its thumbnails, and their format."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "index"
        started = time.perf_counter()
        words = [sys.executable, "-m", "lookalike", "index", str(folder), "-o", str(path), "-e", "pixels", "--no-adapt"]
        subprocess.run(words, check=True, capture_output=True)
        seconds = time.perf_counter() - started
        index = lookalike.open_index(path)
        files = index.thumbnail_bytes(list(range(len(index))))
        whole = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        kind = "webp" if any(file.startswith(b"RIFF") for file in files) else "jpeg, png"
        return seconds, len(index), whole, sum(map(len, files)), kind


def main() -> None:
    """Measure, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    for name, folder in (("museum", "museum-2022/BBDD"), ("corel1k", "corel1k")):
        runs = [indexed(options.shared / folder) for _ in range(options.runs)]
        _, images, whole, thumbnails, kind = runs[0]
        found.append({
            "collection": name, "images": images, "format": kind, "seconds": [run[0] for run in runs], "index": whole,
            "thumbnails": thumbnails,
        })  # fmt: skip
        print(found[-1], flush=True)
    keep("thumbnails", f"{THUMBNAIL_SIDE} pixels", found)


if __name__ == "__main__":
    main()
