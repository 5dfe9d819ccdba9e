"""What thumbnails cost: the time to index a folder and the size of its index, for whatever this version makes of them.

python benchmarks/thumbnails.py FOLDER NAME [--runs 3]  adds a line to results/thumbnails.csv.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import lookalike
from lookalike.imaging.encode import THUMBNAIL_SIDE

RESULTS = Path(__file__).with_name("results") / "thumbnails.csv"


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
    """Measure, and add a line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    runs = [indexed(options.folder) for _ in range(options.runs)]
    _, images, whole, thumbnails, kind = runs[0]
    row = {
        "collection": options.name, "images": images, "side": THUMBNAIL_SIDE, "format": kind,
        "seconds_median": round(median(run[0] for run in runs), 2), "seconds_min": round(min(run[0] for run in runs), 2),
        "seconds_max": round(max(run[0] for run in runs), 2), "runs": options.runs,
        "index_bytes": whole, "thumbnail_bytes": thumbnails,
    }  # fmt: skip
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if is_new:
            writer.writeheader()
        writer.writerow(row)
    print(row)


if __name__ == "__main__":
    main()
