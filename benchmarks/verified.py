"""From how many inliers on is a picture verified? Own images shown in a scene against themselves, and against others.

    python benchmarks/verified.py [--shared ../shared/data] [--work FOLDER]

No label is read. Of each collection ``SHOWN`` images are shown in a scene, as the geometric check shows them to see what it is
worth, and compared with their originals and with ``OTHERS`` other images of the collection. *Recognised* is the share of originals
with at least so many inliers, *mistaken* that of others. Some others may rightly share details: two photos of one object, or parts
that kinds have in common, such as a frame or a caption. The work folder keeps each collection's counts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from study import keep

from lookalike.encoders.keypoints import VERIFIED, compare_details, detect_keypoints
from lookalike.imaging.resize import fit_to
from lookalike.search.rerank.geometric import QUERY_SIDE
from lookalike.transforms.views import scene

SHOWN, OTHERS = 40, 40


def read(path: Path) -> NDArray[np.uint8]:
    """Return a picture, on white where it is transparent, no larger than a query."""
    picture = Image.open(path).convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    pixels = np.asarray(picture)
    share = min(1.0, QUERY_SIDE / max(pixels.shape[:2]))
    height, width = (max(1, round(side * share)) for side in pixels.shape[:2])
    return fit_to(pixels, (height, width, 3))


def counted(paths: list[Path]) -> dict[str, list[int]]:
    """Return the inliers of pictures in a scene with their originals, and with others."""
    rng = np.random.default_rng(0)
    chosen = [paths[i] for i in rng.permutation(len(paths))[: SHOWN + OTHERS]]
    pictures = [read(path) for path in chosen]
    details = [detect_keypoints(picture) for picture in pictures]
    found: dict[str, list[int]] = {"recognised": [], "mistaken": []}
    for i, picture in enumerate(pictures[:SHOWN]):
        shown = detect_keypoints(scene(picture[None], seed=i)[0], QUERY_SIDE)
        found["recognised"].append(compare_details(shown, details[i]).inliers)
        found["mistaken"] += [compare_details(shown, other).inliers for other in details[SHOWN:]]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "lookalike-verified")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    folders = [*sorted(p for p in (options.shared / "labelled").iterdir() if p.is_dir()), options.shared / "corel1k"]
    folders.append(options.shared / "museum-2022" / "BBDD")
    found = {}
    for folder in folders:
        name = "museum" if folder.name == "BBDD" else folder.name
        kept = options.work / f"{name}.json"
        if not kept.exists():
            paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
            kept.write_text(json.dumps(counted(paths)), encoding="utf-8")
        found[name] = json.loads(kept.read_text(encoding="utf-8"))
        shares = {k: round(float(np.mean(np.array(v) >= VERIFIED)), 4) for k, v in found[name].items()}
        print(name, shares, "most inliers of another", max(found[name]["mistaken"]), flush=True)
    keep("verified", "verified", found, settings={"shown": SHOWN, "others": OTHERS})


if __name__ == "__main__":
    main()
