"""Files to descriptors in an index by `neural` and `neural:model=fast`, against fastdup; and the networks alone.

    python benchmarks/neural.py --peers /path/to/venv/bin/python [--photos ../shared/data/corel1k] [--repeats 3]

`--peers` names a Python that has fastdup and openvino (they want an older numpy than ours, so an environment of their
own: `python -m venv peers && peers/bin/pip install fastdup==2.54 openvino`).

- *End to end*: whole processes on the same folder, files in the disk cache, all cores. Ours builds an index in an empty
  folder, with thumbnails, hashes and limits; fastdup extracts features only (`run_mode=1`): no index, no search.
  fastdup's network is in single precision, so ours runs in that, too (Lite0 as it was shipped until November 2026, taken
  out of git's history), beside the two that are shipped. Each side also has a folder with one of the photos: that is its
  start-up, which is told apart. Processor time stands beside the clock's. The quality of both sides' descriptors: Corel's kinds, leave one out, cosine.
- *Networks alone*: images of the network's size that are there already, one an inference, one thread, processor time an
  image: Lite0 in single precision, both networks in 8 bits, and Lite0 in 8 bits by OpenVINO, with its latency hint.

Sides take turns; medians; every repeat goes to runs/neural/, rows to results/neural.csv. Labels only to score.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from study import keep

from lookalike import open_index
from lookalike.encoders.neural import FAST, PAIR, SHIPPED
from lookalike.encoders.onnx.runtime import OnnxModel
from lookalike.imaging.decode import decode
from lookalike.imaging.resize import fit_to
from lookalike.neighbors.exact import Database

#: The side of one precision with fastdup.
SINGLE = "single precision"
#: The last commit with the network in single precision.
BEFORE, OLD = "a8ecf79", "src/lookalike/encoders/efficientnet_lite0.onnx"

FASTDUP = """
import sys, fastdup, numpy as np
fastdup.run(sys.argv[1], work_dir=sys.argv[2], run_mode=1, num_threads=int(sys.argv[3]))
"""
FASTDUP_FEATURES = """
import sys, fastdup, numpy as np
names, features = fastdup.load_binary_feature(sys.argv[1] + "/atrain_features.dat", d=576)
np.savez(sys.argv[2], names=np.array(names), features=np.asarray(features, np.float32))
"""
OPENVINO = """
import sys, time, json, numpy as np, openvino as ov
model = ov.Core().compile_model(sys.argv[1], "CPU", {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"})
images, request, times = np.load(sys.argv[2]), model.create_infer_request(), []
for _ in range(6):
    begun = time.process_time()
    for image in images[:100]:
        request.infer({0: image[None]})
    times.append((time.process_time() - begun) * 10)
print(json.dumps({"version": ov.__version__, "ms": times[1:]}))
"""


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Return the seconds of a process by the clock and, its children's too, of the processor."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def quality(descriptors: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Score each image against all others, with the 95 % interval of 2,000 bootstraps over the queries."""
    positions, _ = Database(descriptors).nearest(descriptors, len(labels))
    own = np.arange(len(labels))[:, None]
    right = labels[positions[positions != own].reshape(len(labels), -1)] == labels[:, None]
    precision = np.cumsum(right, axis=1) / np.arange(1, right.shape[1] + 1)
    values = {
        "mAP": (precision * right).sum(1) / right.sum(1), "P@20": right[:, :20].mean(1), "P@1": right[:, 0].astype(float)
    }  # fmt: skip
    draws = np.random.default_rng(0).integers(0, len(labels), (2000, len(labels)))
    return {m: [float(v.mean()), np.percentile(v[draws].mean(1), [2.5, 97.5]).tolist()] for m, v in values.items()}


def single_precision() -> bytes:
    return subprocess.run(["git", "show", f"{BEFORE}:{OLD}"], check=True, capture_output=True).stdout


def onnxruntime_alone(photos: list[Any]) -> dict[str, list[float]]:
    """Return each network's processor time an image, in milliseconds; they take turns."""
    models = {"Lite0, single precision": single_precision(), **{f"{f.stem}": f.read_bytes() for f in SHIPPED[PAIR]}}
    sessions = {name: OnnxModel(model).session for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(6):
        for name, session in sessions.items():
            side = session.get_inputs()[0].shape[1]
            images = [fit_to(photo, (side, side, 3))[None] for photo in photos[:100]]
            begun = time.process_time()
            for image in images:
                session.run(["descriptors"], {"images": image})
            times[name].append((time.process_time() - begun) * 10)
    return {name: found[1:] for name, found in times.items()}


def main() -> None:  # noqa: PLR0915
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=here.parents[1] / "shared" / "data" / "corel1k")
    parser.add_argument("--peers", type=Path, required=True, help="a Python with fastdup and openvino")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp())
    environment = dict(os.environ)
    record: dict[str, Any] = {"quality": {}}
    peers: dict[str, str] = {}
    cores = str(len(os.sched_getaffinity(0)))
    numbers = iter(range(10**6))
    last: dict[str, Path] = {}

    (scratch / "single.onnx").write_bytes(single_precision())
    (scratch / "one").mkdir()
    first = min(options.photos.rglob("*.jpg"))
    shutil.copy(first, scratch / "one")

    def ours(side: str, photos: Path) -> list[str]:
        last[side] = scratch / f"{next(numbers)}.lookalike"
        model = str(scratch / "single.onnx") if side == SINGLE else side
        return [sys.executable, "-m", "lookalike", "index", str(photos), "-e", f"neural:model={model}", "-o", str(last[side])]  # fmt: skip

    def fastdup(photos: Path) -> list[str]:
        last["fastdup"] = scratch / f"fastdup-{next(numbers)}"
        return [str(options.peers), "-c", FASTDUP, str(photos), str(last["fastdup"]), cores]

    sides = {side: partial(ours, side) for side in (PAIR, FAST, SINGLE)} | {"fastdup": fastdup}
    record |= {name: {side: [] for side in sides} for name in ("seconds", "processor", "startup", "startup_processor")}
    for turn in range(options.repeats + 1):
        for side, command in sides.items():
            began = timed(command(scratch / "one"), environment)
            if turn:  # the first fills the disk cache with what each side imports
                took = timed(command(options.photos), environment)
                for name, value in zip(
                    ("startup", "startup_processor", "seconds", "processor"), (*began, *took), strict=True
                ):
                    record[name][side].append(value)
                print(f"{side}: {took[0]:.2f} s, of which start-up {began[0]:.2f}; processor {took[1]:.2f}", flush=True)
    seconds = record["seconds"]

    for side in (*SHIPPED, SINGLE):
        index = open_index(last[side])
        record["quality"][side] = quality(index.descriptors, np.array([Path(i).parent.name for i in index.ids]))
    count = len(index)
    subprocess.run([str(options.peers), "-c", FASTDUP_FEATURES, str(last["fastdup"]), str(scratch / "f.npz")], check=True, capture_output=True)  # fmt: skip
    with np.load(scratch / "f.npz") as held:
        names, features = held["names"], held["features"]
    record["quality"]["fastdup"] = quality(features, np.array([Path(name).parent.name for name in names]))

    paths = sorted(options.photos.rglob("*.jpg"))
    photos = [decode(path.read_bytes(), str(path)) for path in paths[::5]]
    record["alone"] = {f"ONNX Runtime, {name}": ms for name, ms in onnxruntime_alone(photos).items()}
    np.save(scratch / "images.npy", np.stack([fit_to(photo, (224, 224, 3)) for photo in photos]))
    (lite0,) = SHIPPED[FAST]
    answer = subprocess.run(
        [str(options.peers), "-c", OPENVINO, str(lite0), str(scratch / "images.npy")],
        check=True, capture_output=True, text=True, env=environment,
    ).stdout  # fmt: skip
    found = json.loads(answer.splitlines()[-1])
    peers["openvino"] = found["version"]
    record["alone"][f"OpenVINO, {lite0.stem}"] = found["ms"]
    tell = "import importlib.metadata as m; print(m.version('fastdup'))"
    peers["fastdup"] = subprocess.run(
        [str(options.peers), "-c", tell], check=True, capture_output=True, text=True
    ).stdout.strip()
    record["images_per_second"] = {side: count / statistics.median(values) for side, values in seconds.items()}
    record["ratio_to_fastdup"] = {
        side: statistics.median(f / s for f, s in zip(seconds["fastdup"], seconds[side], strict=True)) for side in sides
    }
    settings = {
        "repeats": options.repeats, "fastdup": f"run_mode=1, num_threads={cores}, single precision",
        "OpenVINO": "one thread, latency hint",
    }  # fmt: skip
    keep("neural", "neural", record, versions=peers, settings=settings)
    for side, rate in record["images_per_second"].items():
        scores = "  ".join(f"{m} {v:.4f} [{i[0]:.3f}, {i[1]:.3f}]" for m, (v, i) in record["quality"][side].items())
        print(f"{side:<26} {rate:6.1f} images/s  {scores}")
    print("ratio to fastdup:", {k: round(v, 2) for k, v in record["ratio_to_fastdup"].items()})
    for name, ms in record["alone"].items():
        print(f"{name:<40} {statistics.median(ms):5.2f} ms")


if __name__ == "__main__":
    main()
