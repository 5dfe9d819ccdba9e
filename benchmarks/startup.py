"""Start-up: `lookalike --help`, and `lookalike search` cold on a 60,000-image index; whole processes, in turn.

    python benchmarks/startup.py [--repeats 11]

Makes an index of MNIST's 60,000 digits by `hog`, `pixels` and the `article` autoencoder (one short epoch: the time doesn't
depend on the weights), then runs each command in a new process. An empty `python -c pass` and `import numpy` in the same run
say what of it no program can avoid. Every repeat goes to runs/startup/, rows to results/startup.csv.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from study import keep

from lookalike import build_index, open_collection
from lookalike.encoders.autoencoder import Autoencoder
from lookalike.imaging.encode import save_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=11)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        digits = open_collection("mnist:train")
        article = Autoencoder(preset="article", epochs=1).fit(digits.array()[:1000])
        for title, encoder in (("hog", "hog"), ("pixels", "pixels"), ("article", article)):
            build_index(digits, encoder, folder / title)
        query = folder / "query.png"
        save_image(open_collection("mnist:test[7]").array()[0], query)
        program = [sys.executable, "-m", "lookalike"]
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "python -c 'import numpy'": [sys.executable, "-c", "import numpy"],
            "lookalike --help": [*program, "--help"],
            **{
                f"search, {t}": [*program, "search", str(query), "-i", str(folder / t)]
                for t in ("hog", "article", "pixels")
            },
        }
        seconds: dict[str, list[float]] = {title: [] for title in commands}
        for repeat in range(options.repeats + 1):
            for title, command in commands.items():
                begun = time.perf_counter()
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                if repeat:  # the first fills the disk cache
                    seconds[title].append(time.perf_counter() - begun)
    for title, values in seconds.items():
        print(f"{title:<26} {statistics.median(values):.3f} s  ({min(values):.3f} to {max(values):.3f})")
    keep("startup", "startup", {"seconds": seconds}, settings={"repeats": options.repeats, "images": 60_000})


if __name__ == "__main__":
    main()
