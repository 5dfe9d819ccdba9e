"""A folder of JPEGs to an index, end to end, against plain loops and against what the decoder alone can do.

    python benchmarks/indexing.py --collection large [--photos ../shared/data/corel1k] [--times 8] [--large 60] [--repeats 5]

Three collections: small photos (Corel-1k, 256 x 256), each of them eight times, and 12-megapixel ones, made of six of them scaled up with noise, so that
a file has 4 to 5 MB; copies differ by a comment. `pixels` at 64 x 64 (SIDE=32 in the
environment for 32 x 32), so that reading and decoding dominate. The sides:

- *lookalike*: `build_index` into an empty folder: list, read, hash, decode on the leash, encode, thumbnails, store;
- *Pillow*: open, convert, resize, stack, in one process and in as many as there are cores; and with ``draft``;
- *OpenCV*: imread, resize, stack, likewise, and with ``IMREAD_REDUCED_COLOR_n`` (left out, and said so, without `pip install opencv-python-headless`);
- *decoder*: `images.pictures` in as many processes as there are cores, its results thrown away; and *encoder*:
  `pixels` on images that are there already. The slower of the two is the limit that indexing is measured against;
- *leash*, *pool*: the same reading function in our killable workers and in `multiprocessing.Pool`, both results whole.

Each collection runs by itself: ``--collection small``, ``many`` or ``large``. All sides take turns on files in the disk cache, with their processes started beforehand; lookalike starts its own each
time, which takes about as long as a few hundred small photos. Every repeat goes to runs/indexing/, rows to
results/indexing.csv; rates and ratios are medians.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from study import keep

from lookalike import build_index, create_encoder, open_collection
from lookalike.collections.folder import scan
from lookalike.collections.tasks import read_task, to_task
from lookalike.cores import usable_cores
from lookalike.imaging.decode import pictures
from lookalike.imaging.sandbox.api import Sandbox

SIDE = int(os.environ.get("SIDE", "64"))  # an environment variable, since the processes of a pool read it too
SHAPE = (SIDE, SIDE, 3)
WIDTH, HEIGHT = 4000, 3000
#: How the sides that are plain loops begin, and what those are called that decode at a reduced size.
LOOPS, REDUCED = ("Pillow", "OpenCV"), ("draft", "reduced")


# One file, each side's way --------------------------------------------------------------------------------------------


def by_pillow(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((SIDE, SIDE)))


def by_opencv(path: str) -> np.ndarray:
    import cv2

    cv2.setNumThreads(1)
    return cv2.resize(cv2.imread(path), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def by_pillow_draft(path: str) -> np.ndarray:
    """Let the JPEG decoder reduce, as its documentation advises for thumbnails."""
    with Image.open(path) as image:
        image.draft("RGB", (SIDE, SIDE))
        return np.asarray(image.convert("RGB").resize((SIDE, SIDE)))


def by_opencv_reduced(path: str) -> np.ndarray:
    import cv2

    cv2.setNumThreads(1)
    with Image.open(path) as image:  # reads the head only
        shorter = min(image.size)
    flags = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
    flag = next((flags[by] for by in flags if shorter >= by * SIDE), cv2.IMREAD_COLOR)
    return cv2.resize(cv2.imread(path, flag), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def by_decoder(path: str) -> int:
    data = Path(path).read_bytes()
    return sum(len(picture.fitted) for picture in pictures(data, path, [SHAPE]))


def by_reader(task: dict[str, Any]) -> list[tuple[dict[str, Any], list[bytes]]]:
    return list(read_task(task))


# The sides ------------------------------------------------------------------------------------------------------------


def sides(folder: Path, scratch: Path, cores: int, stack: ExitStack, reduced: bool) -> dict[str, Callable[[], object]]:
    """Return what each side does once with the whole folder; pools and the leash are warm."""
    entries = scan(folder).entries
    paths = [entry.source[1] for entry in entries]
    tasks = [to_task(entry, entry.id, [SHAPE]) for entry in entries]
    encoder = create_encoder("pixels").fit(np.zeros((1, *SHAPE), np.uint8))
    arrays = open_collection(folder, size=SIDE).array()
    pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(cores))
    sandbox = stack.enter_context(Sandbox(workers=cores))
    chunk = max(1, min(16, len(paths) // (4 * cores)))
    numbers = iter(range(10**6))

    def lookalike() -> None:
        index = build_index(open_collection(folder, size=SIDE), "pixels", scratch / str(next(numbers)))
        assert len(index) == len(paths), "a file was left out"

    result: dict[str, Callable[[], object]] = {
        "lookalike": lookalike,
        "Pillow, 1 process": lambda: np.stack([by_pillow(path) for path in paths]),
        f"Pillow, {cores} processes": lambda: np.stack(list(pool.imap(by_pillow, paths, chunk))),
        f"Pillow, draft, {cores} processes": lambda: np.stack(list(pool.imap(by_pillow_draft, paths, chunk))),
        "decoder": lambda: sum(pool.imap(by_decoder, paths, chunk)),
        "encoder": lambda: encoder.encode(arrays),
        "leash": lambda: sum(len(answer.blobs) for answer in sandbox.map(tasks)),
        "pool": lambda: sum(len(parts) for parts in pool.imap(by_reader, tasks, chunk)),
    }
    if reduced:
        started = f"Pillow, draft, {cores} processes started within"

        def with_start() -> object:
            with multiprocessing.Pool(cores) as fresh:
                return np.stack(list(fresh.imap(by_pillow_draft, paths, chunk)))

        result[started] = with_start
    if find_spec("cv2"):
        result["OpenCV, 1 process"] = lambda: np.stack([by_opencv(path) for path in paths])
        result[f"OpenCV, reduced, {cores} processes"] = lambda: np.stack(
            list(pool.imap(by_opencv_reduced, paths, chunk))
        )
        result[f"OpenCV, {cores} processes"] = lambda: np.stack(list(pool.imap(by_opencv, paths, chunk)))
    if reduced:
        result = {
            side: run
            for side, run in result.items()
            if not side.startswith(LOOPS) or any(word in side for word in REDUCED)
        }
    for side in result.values():  # fills the disk cache, and imports what each process needs
        side()
    return result


def measure(folder: Path, cores: int, repeats: int, reduced: bool) -> dict[str, Any]:
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        turns = sides(folder, scratch, cores, stack, reduced)
        seconds: dict[str, list[float]] = {side: [] for side in turns}
        worked: dict[str, list[float]] = {side: [] for side in turns}
        for _ in range(repeats):
            for side, run in turns.items():
                begun, before = time.perf_counter(), processor_seconds()
                run()
                seconds[side].append(time.perf_counter() - begun)
                worked[side].append(processor_seconds() - before)
    count = len(scan(folder).entries)
    rates = {side: count / statistics.median(values) for side, values in seconds.items()}
    limit = min(("decoder", "encoder"), key=rates.__getitem__)

    def ratio(side: str, to: str) -> float:
        return statistics.median(b / a for a, b in zip(seconds[side], seconds[to], strict=True))

    peers = [side for side in rates if side.startswith(LOOPS)]
    best = max(peers, key=rates.__getitem__)
    return {
        "images": count,
        "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        "images_per_second": rates,
        "limit": limit,
        "share_of_limit": ratio("lookalike", limit),
        "leash_to_pool": ratio("leash", "pool"),
        "ratio_to": {side: ratio("lookalike", side) for side in peers},
        "best_loop": best,
        "ratio_to_best": ratio("lookalike", best),
        "seconds": seconds,
        "processor_seconds": worked,
    }


def processor_seconds() -> float:
    """Return the processor time of this process and of all that it started, those that have ended included."""
    spent, above = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            values = path.read_text().rpartition(")")[2].split()
            spent[int(path.parent.name)] = sum(map(int, values[11:15])) / os.sysconf("SC_CLK_TCK")
            above[int(path.parent.name)] = int(values[1])
    ours = {os.getpid()}
    while more := {pid for pid, parent in above.items() if parent in ours} - ours:
        ours |= more
    return sum(spent.get(pid, 0) for pid in ours)


def make_large(photos: Path, folder: Path, count: int) -> None:
    """Write 12-megapixel JPEGs as a camera would: six scenes, each under many different bytes."""
    rng = np.random.default_rng(0)
    small = sorted(path for path in photos.rglob("*.jpg"))
    scenes = small[:: max(1, len(small) // 6)][:6]
    for n, path in enumerate(scenes):
        with Image.open(path) as image:
            large = np.asarray(image.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        grain = rng.normal(0, 9, (HEIGHT, WIDTH, 1)).astype(np.float32)
        picture = Image.fromarray(np.clip(large + grain, 0, 255).astype(np.uint8))
        for copy in range(n, count, len(scenes)):
            if copy == n:
                first = folder / f"{copy:03}.jpg"
                picture.save(first, quality=90)
                continue
            (folder / f"{copy:03}.jpg").write_bytes(with_comment(first.read_bytes(), f"copy {copy}".encode()))


def with_comment(data: bytes, comment: bytes) -> bytes:
    """Return a JPEG of the same picture and other bytes."""
    return data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]


def make_many(photos: Path, folder: Path, times: int) -> None:
    """Write each photo several times under different bytes, so that starting processes weighs as little as in a real folder."""
    for path in sorted(photos.rglob("*.jpg")):
        for copy in range(times):
            (folder / f"{path.stem}-{copy}.jpg").write_bytes(with_comment(path.read_bytes(), f"copy {copy}".encode()))


def main() -> None:
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=here.parents[1] / "shared" / "data" / "corel1k")
    parser.add_argument("--large", type=int, default=60, help="how many 12-megapixel JPEGs")
    parser.add_argument("--times", type=int, default=8, help="how many copies of each photo in the larger collection")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--collection", choices=["small", "many", "large"], required=True)
    parser.add_argument(
        "--reduced", action="store_true", help="only the loops that decode at a reduced size: many large ones"
    )
    options = parser.parse_args()
    if not options.photos.is_dir():
        sys.exit(f"{options.photos}: no such folder; name one that holds JPEGs: --photos FOLDER")
    cores = usable_cores()
    with tempfile.TemporaryDirectory() as name:
        title, folder = {
            "small": ("small photos", options.photos),
            "many": (f"small photos, {options.times} times", Path(name)),
            "large": ("12 megapixels", Path(name)),
        }[options.collection]
        if options.collection == "many":
            make_many(options.photos, folder, options.times)
        elif options.collection == "large":
            make_large(options.photos, folder, options.large)
        result = measure(folder, cores, options.repeats, options.reduced)
    print(f"{title}: {result['images']} files, {result['bytes'] / result['images'] / 1e6:.2f} MB each")
    for side, rate in result["images_per_second"].items():
        worked = 1000 * statistics.median(result["processor_seconds"][side]) / result["images"]
        print(f"  {side:<30} {rate:>10,.1f} images/s {worked:>8.1f} processor ms an image")
    print(f"  {result['share_of_limit']:.0%} of the {result['limit']}; leash {result['leash_to_pool']:.2f}x the pool")
    for side, ratio in result["ratio_to"].items():
        print(f"  {ratio:.2f}x {side}", flush=True)
    settings = {
        "repeats": options.repeats,
        "Pillow": "open, convert, resize; with draft where it says so",
        "OpenCV": "imread, INTER_AREA, one thread a process; IMREAD_REDUCED_COLOR_n where it says reduced",
    }
    raw = {"side": SIDE, "results": {title: result}}
    keep("indexing", f"{SIDE} x {SIDE}, {title}", raw, peers=["pillow", "opencv-python-headless"], settings=settings)


if __name__ == "__main__":
    main()
