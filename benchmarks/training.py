"""Training: our `train` against the plain Keras tutorial script and a hand-written PyTorch loop, in turn, several times.

    python benchmarks/training.py [--images 6400] [--rounds 5] [--torch-python PATH] [--backend tensorflow]

Same network, batch of 128, Adam(0.001), binary cross-entropy, float32, both cores. The Keras script is `model.fit` on noise
drawn once; PyTorch's is channels last, with fresh noise, pooling before activation, a fused optimizer, a loss from logits and no copies to spare; it runs in the Python
named by --torch-python, since a project can't depend on PyTorch without its CUDA packages. Every side is a process of its own
that trains one epoch when its turn comes; the others wait. TensorFlow leaves oneDNN off on this CPU (our `train` puts it on), so
the Keras script runs both ways. The first round warms up and doesn't count. Also measured: the rate
of a large float32 matrix product, which gives the arithmetic limit. All rounds go to runs/training/, rows to results/training.csv.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from study import keep

from lookalike import open_collection
from lookalike.encoders.autoencoder import ARTICLE_PRESETS

#: Multiply-adds x 2 x 3 (forward, and backward to weights and to inputs) of one image, worked out from the layers.
MFLOP = {"tutorial": 27.0, "article": 4.6}

_OURS = """
import sys, time
from lookalike import create_encoder, open_collection
preset, n = sys.argv[1], int(sys.argv[2])
def turn(p):
    if p.epoch_ended:
        print(p.images / p.images_per_second, p.loss, flush=True)
        sys.stdin.readline() or sys.exit()
print("ready", flush=True)
sys.stdin.readline()
encoder = create_encoder("autoencoder", preset=preset, epochs=1000, validation=0.0, precision="float32")
encoder.train(open_collection(f"mnist:train[0:{n}]").array(), on_progress=turn)
"""

_KERAS = """
import sys, time, numpy as np, keras
from lookalike import open_collection
from lookalike.encoders.autoencoder import build
preset, n = sys.argv[1], int(sys.argv[2])
x = open_collection(f"mnist:train[0:{n}]").array()[..., None] / np.float32(255)
noisy = np.clip(x + 0.5 * np.random.default_rng(0).standard_normal(x.shape, np.float32), 0, 1)
model = build(preset, (28, 28))
model.compile(keras.optimizers.Adam(0.001), "binary_crossentropy")
print("ready", flush=True)
for _ in sys.stdin:
    begun = time.perf_counter()
    loss = model.fit(noisy, x, batch_size=128, shuffle=True, verbose=0).history["loss"][0]
    print(time.perf_counter() - begun, loss, flush=True)
"""

_TORCH = """
import sys, time, numpy as np, torch
from torch import nn
preset, path = sys.argv[1], sys.argv[2]
x = torch.from_numpy(np.load(path))[:, None].float().div_(255).contiguous(memory_format=torch.channels_last)
same = lambda a, b, p=1: nn.Conv2d(a, b, 3, padding=p)
relu, up = lambda: nn.ReLU(inplace=True), lambda: nn.Upsample(scale_factor=2)
pool = lambda ceil=False: nn.MaxPool2d(2, ceil_mode=ceil)
if preset == "article":
    layers = [same(1, 16), pool(), relu(), same(16, 8), pool(), relu(), same(8, 8), pool(True), relu(),
              same(8, 8), relu(), up(), same(8, 8), relu(), up(), same(8, 16, 0), relu(), up(), same(16, 1)]
else:
    layers = [same(1, 32), pool(), relu(), same(32, 32), pool(), relu(),
              same(32, 32), relu(), up(), same(32, 32), relu(), up(), same(32, 1)]
torch.manual_seed(0)
model = nn.Sequential(*layers).to(memory_format=torch.channels_last)
for layer in layers:
    if isinstance(layer, nn.Conv2d):
        nn.init.xavier_uniform_(layer.weight)  # Keras' start, so that the losses can be compared
        nn.init.zeros_(layer.bias)
loss_of, optimizer = nn.BCEWithLogitsLoss(), torch.optim.Adam(model.parameters(), 0.001, eps=1e-7, fused=True)
print("ready", flush=True)
for _ in sys.stdin:
    begun, total = time.perf_counter(), 0.0
    for chosen in torch.randperm(len(x)).split(128):
        clean = x[chosen].contiguous(memory_format=torch.channels_last)
        noisy = torch.randn_like(clean).mul_(0.5).add_(clean).clamp_(0, 1)
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(model(noisy), clean)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(clean)
    print(time.perf_counter() - begun, total / len(x), flush=True)
"""


def side(python: str, code: str, arguments: list[str], backend: str, **variables: str) -> subprocess.Popen[str]:
    environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"} | variables
    process = subprocess.Popen(
        [python, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        raise SystemExit("one side did not start")
    return process


def take_turn(process: subprocess.Popen[str]) -> tuple[float, float]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    seconds, loss = process.stdout.readline().split()
    return float(seconds), float(loss)


def matrix_product_rate() -> float:
    """FLOP a second of numpy's float32 product of two 2,000 x 2,000 matrices, the best of 8."""
    a = np.random.default_rng(0).random((2000, 2000), np.float32)
    best = float("inf")
    for _ in range(8):
        begun = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - begun)
    return float(2 * 2000**3 / best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=6400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backend", default="tensorflow")
    parser.add_argument("--torch-python", help="a Python that has PyTorch; without it that side is left out")
    options = parser.parse_args()
    images = Path(tempfile.mkdtemp()) / "images.npy"
    np.save(images, open_collection(f"mnist:train[0:{options.images}]").array())
    results, n = {}, str(options.images)
    for preset in ARTICLE_PRESETS:
        sides = {
            "lookalike": side(sys.executable, _OURS, [preset, n], options.backend),
            "keras script": side(sys.executable, _KERAS, [preset, n], options.backend),
            "keras script, oneDNN on": side(
                sys.executable, _KERAS, [preset, n], options.backend, TF_ENABLE_ONEDNN_OPTS="1"
            ),
        }
        if options.torch_python:
            sides["pytorch"] = side(options.torch_python, _TORCH, [preset, str(images)], options.backend)
        rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for _ in range(options.rounds + 1):
            for name, process in sides.items():
                rounds[name].append(take_turn(process))
        for process in sides.values():
            process.kill()
        seconds = {name: [s for s, _ in turns[1:]] for name, turns in rounds.items()}
        rates = {name: options.images / statistics.median(s) for name, s in seconds.items()}
        ratios = {
            name: statistics.median([p / o for o, p in zip(seconds["lookalike"], s, strict=True)])
            for name, s in seconds.items()
        }
        limit = matrix_product_rate() / (MFLOP[preset] * 1e6)
        results[preset] = {
            "images_per_second": rates,
            "ratio_ours_to": {name: r for name, r in ratios.items() if name != "lookalike"},
            "limit_images_per_second": limit,
            "share_of_limit": rates["lookalike"] / limit,
            "loss_after_last_round": {name: turns[-1][1] for name, turns in rounds.items()},
            "seconds": {name: [s for s, _ in turns] for name, turns in rounds.items()},
        }
        said = ", ".join(f"{name} {rate:,.0f} ({ratios[name]:.2f}x)" for name, rate in rates.items())
        print(f"{preset}: images/s {said}; {rates['lookalike'] / limit:.0%} of the limit {limit:,.0f}", flush=True)
    shutil.rmtree(images.parent)
    peers = {}
    if options.torch_python:
        asked = [options.torch_python, "-c", "import torch; print(torch.__version__)"]
        peers["torch"] = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    settings = {
        "backend": options.backend,
        "images": options.images,
        "batch": 128,
        "rounds": options.rounds,
        "precision": "float32",
    }
    keep("training", "training", {"images": options.images, "results": results}, versions=peers, settings=settings)


if __name__ == "__main__":
    main()
