"""Encoding and denoising through ONNX Runtime against `model.predict` of each Keras backend, in turn, several times.

    python benchmarks/encoding.py [--images 20000] [--repeats 5] [--backends tensorflow jax]

Each backend runs in a process of its own, which takes turns with ours; the medians and every repeat go to
runs/encoding/ and results/encoding.csv. A backend that isn't installed is left out and said so.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from study import keep

from lookalike import load_encoder, open_collection
from lookalike.encoders.autoencoder import ARTICLE_PRESETS, Autoencoder

# Answers each line on standard input with the seconds one predict of all images took.
_PEER = """
import sys, time, numpy as np
import keras
from lookalike import load_encoder, open_collection
folder, n, half = sys.argv[1], int(sys.argv[2]), sys.argv[3]
model = load_encoder(folder).keras_model()
if half == "encode":
    model = keras.Model(model.inputs, model.get_layer("encoder").output)
x = open_collection(f"mnist:train[0:{n}]").array()[..., None] / np.float32(255)
model.predict(x[:1024], batch_size=512, verbose=0)
print("ready", flush=True)
for _ in sys.stdin:
    begun = time.perf_counter()
    model.predict(x, batch_size=512, verbose=0)
    print(time.perf_counter() - begun, flush=True)
"""


def peer(backend: str, folder: Path, images: int, half: str) -> subprocess.Popen[str]:
    environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", _PEER, str(folder), str(images), half]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        raise SystemExit(f"the {backend} backend did not start")
    return process


def ask(process: subprocess.Popen[str]) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--backends", nargs="+", default=["tensorflow", "jax", "torch"])
    options = parser.parse_args()
    backends = [b for b in options.backends if find_spec(b) is not None]
    images = open_collection(f"mnist:train[0:{options.images}]").array()
    results = {}
    for preset in ARTICLE_PRESETS:
        with tempfile.TemporaryDirectory() as name:
            folder = Autoencoder(preset=preset, epochs=1).fit(images[:2000]).save(Path(name, preset))
            encoder = load_encoder(folder)
            assert isinstance(encoder, Autoencoder)
            for half, ours in (("encode", encoder.encode), ("denoise", encoder.decode)):
                peers = {backend: peer(backend, folder, options.images, half) for backend in backends}
                ours(images[:1024])
                seconds: dict[str, list[float]] = {side: [] for side in ["lookalike", *backends]}
                for _ in range(options.repeats):
                    begun = time.perf_counter()
                    ours(images)
                    seconds["lookalike"].append(time.perf_counter() - begun)
                    for backend, process in peers.items():
                        seconds[backend].append(ask(process))
                for process in peers.values():
                    process.kill()
                rates = {side: options.images / statistics.median(s) for side, s in seconds.items()}
                best = max((rates[b], b) for b in backends)
                ratios = [p / o for o, p in zip(seconds["lookalike"], seconds[best[1]], strict=True)]
                results[f"{preset}, {half}"] = {
                    "images_per_second": rates,
                    "ratio_to_best_peer": statistics.median(ratios),
                    "best_peer": best[1],
                    "seconds": seconds,
                }
                said = ", ".join(f"{side} {rate:,.0f}" for side, rate in rates.items())
                print(f"{preset:<9} {half:<8} images/s: {said}; {statistics.median(ratios):.2f}x {best[1]}", flush=True)
    absent = [b for b in options.backends if b not in backends]
    settings = {"images": options.images, "repeats": options.repeats, "batches of model.predict": 512, "absent": absent}
    keep("encoding", "encoding", {"images": options.images, "results": results}, settings=settings)


if __name__ == "__main__":
    main()
