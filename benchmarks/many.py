"""Time and memory of 300,000 small files: the first index, one with nothing changed, a search, and a server's first answers.

    python benchmarks/many.py make [--count 300000] [--folder /tmp/many/photos]
    python benchmarks/many.py grow [--folder ...] [--index ...]
    python benchmarks/many.py measure [--steps STEP,...] [--folder ...] [--index ...] [--repeats 3]

``make`` writes JPEGs of 64 x 64 pixels, each of other content, a thousand a folder, three folders deep; files that are
there already stay. ``grow`` makes an index of all of them in minutes, where decoding takes hours on a busy machine: the command
indexes the first thousand, and the store takes rows for the others whose descriptors, hashes and thumbnails are drawn; names,
sizes and times are the files'. ``measure`` runs the command line as a user does, one process a step, and looks at that main process
every 20 ms: the highest ``VmHWM`` (all resident memory, mapped files too) and the highest ``RssAnon`` (without pages of
mapped files) of ``/proc/PID/status``, the wall clock, and the processor time of the process and of the workers that it
waited for. Workers' memory is not counted. ``index`` begins with an empty folder and must come before the others. ``added``
updates with one file more, and then takes it away again. A server counts as open when it answers ``/api/health``; its first answer is asked for at once, of a fresh server each.

Each run prints a line of JSON with the machine's load when it began. All of them go to runs/many/, their rows to
results/many.csv.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from study import keep

ENCODER, GROWN_ENCODER = "color", "hog"
SIDE, A_FOLDER = 64, 1000
WORDS = """
bus tram gate tower bridge river forest cloud stone horse heron otter lamp chair table piano violin kettle
red blue green old new small tall quiet broken golden silver round narrow wet dry bright dark early
"""
WHAT, WHICH = (line.split() for line in WORDS.strip().splitlines())
STEPS = (
    "index",
    "unchanged",
    "added",
    "image",
    "words",
    "where",
    "files",
    "health",
    "like",
    "serve-words",
    "serve-files",
)
_LOOK_SECONDS, _LONGEST_SECONDS = 0.02, 3600


# The files ------------------------------------------------------------------------------------------------------------


def name_of(number: int) -> str:
    """Return the path of a file below the folder: some words, and a number that makes it the only one."""
    part = number // A_FOLDER
    words = f"{WHICH[number % len(WHICH)]}_{WHAT[number // 7 % len(WHAT)]}"
    return f"roll-{part // 50:03}/day-{part // 10 % 5}/{part:04}/{words}_{number:07}.jpg"


def jpeg_of(number: int) -> bytes:
    """Return a JPEG of soft blots of colour, drawn by its number."""
    blots = np.random.default_rng(number).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(blots).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(out, "JPEG", quality=85)
    return out.getvalue()


def make_some(folder: Path, start: int, stop: int) -> int:
    """Write the files that are not there yet; return how many that were."""
    written = 0
    for number in range(start, stop):
        path = folder / name_of(number)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg_of(number))
            written += 1
    return written


def make(folder: Path, count: int) -> int:
    """Write all files, on all cores."""
    starts = range(0, count, A_FOLDER)
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        stops = (min(start + A_FOLDER, count) for start in starts)
        return sum(pool.map(partial(make_some, folder), starts, stops))


# A process and its memory ---------------------------------------------------------------------------------------------


class Watched:
    """A command that runs, and what its main process holds at most."""

    def __init__(self, command: list[str]) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (read when the process has ended)
        self.begun = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        self.highest = {"VmHWM": 0, "RssAnon": 0, "RssFile": 0}
        self._looking = threading.Thread(target=self._look, daemon=True)
        self._looking.start()

    def _look(self) -> None:
        status = Path(f"/proc/{self.process.pid}/status")
        while True:
            try:
                lines = status.read_text().splitlines()
            except OSError:
                return
            found = {
                name: int(rest.split()[0])
                for name, _, rest in (line.partition(":") for line in lines)
                if name in self.highest
            }
            if not found:  # it has ended, and nobody has waited for it yet
                return
            for name, kilobytes in found.items():
                self.highest[name] = max(self.highest[name], kilobytes)
            time.sleep(_LOOK_SECONDS)

    def wait(self) -> tuple[str, dict[str, Any]]:
        """Return what it printed, and its time and memory."""
        assert self.process.stdout is not None
        printed = self.process.stdout.read()
        _, status, used = os.wait4(self.process.pid, 0)
        wall = time.perf_counter() - self.begun
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self._looking.join()
        if self.process.returncode not in (0, -signal.SIGINT):
            self.errors.seek(0)
            sys.exit(f"{self.process.args}: exit {self.process.returncode}: {self.errors.read()[-2000:]}")
        return printed, {"wall_s": round(wall, 3), "cpu_s": round(used.ru_utime + used.ru_stime, 3), **self.memory()}

    def memory(self) -> dict[str, float]:
        """Return the highest figures so far, in GB of 10^9 bytes."""
        names = {"VmHWM": "peak_rss_gb", "RssAnon": "peak_anon_gb", "RssFile": "peak_mapped_gb"}
        return {names[name]: round(kilobytes * 1024 / 1e9, 3) for name, kilobytes in self.highest.items()}


def lookalike(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "lookalike", *map(str, arguments)]


def grow(folder: Path, index: Path) -> int:
    """Make an index of all files, of which the first thousand were read."""
    from dataclasses import asdict, replace
    from hashlib import sha256

    from lookalike.collections.open import open_collection
    from lookalike.index.lance_store import LanceStore
    from lookalike.index.manifest import read_manifest
    from lookalike.index.schema import ENCODED, Described, Facts, to_table

    shutil.rmtree(index, ignore_errors=True)
    first = Path(name_of(0)).parent
    subprocess.run(lookalike("index", folder, "-e", GROWN_ENCODER, "-o", index, "--include", f"{first}/*"), check=True)
    manifest, images, rng = read_manifest(index), open_collection(folder), np.random.default_rng(0)
    store, column, entries = LanceStore(index, manifest), manifest.columns[0], images.entries
    assert entries is not None
    thumbnail = store.read(["thumbnail"])["thumbnail"][0].as_py()
    key = manifest.next_key
    for start in range(0, len(entries), 8192):
        some = [entry for entry in entries[start : start + 8192] if not entry.id.startswith(f"{first}/")]
        if not some:
            continue
        facts = [
            Facts(
                key + i, e.id, label=e.label, hash=sha256(e.id.encode()).hexdigest(), size=e.size, mtime_ns=e.mtime_ns,
                width=SIDE, height=SIDE,
            )
            for i, e in enumerate(some)
        ]  # fmt: skip
        drawn = rng.random((len(some), column.dimension), np.float32)
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        described = {column.column: Described(drawn.astype(column.dtype), np.full(len(some), ENCODED, np.int8))}
        store.append(to_table(facts, [thumbnail] * len(some), described, [column]))
        key += len(some)
    count = manifest.count + key - manifest.next_key
    store.commit(
        replace(
            manifest,
            columns=[replace(column, count=count)],
            next_key=key,
            outcomes={"indexed": count},
            reading=json.loads(json.dumps(asdict(images.options))),
            listed=images.listed,
            mounts=sorted(images.mounts),
        )
    )
    return count


# The steps ------------------------------------------------------------------------------------------------------------


def run(*arguments: str | Path) -> dict[str, Any]:
    printed, found = Watched(lookalike(*arguments, "--json")).wait()
    said = json.loads(printed)
    if isinstance(said, list):  # of files
        return found | {"total": len(said)}
    keep = ("indexed", "unchanged", "failed", "total", "search")
    return found | {key: said[key] for key in keep if key in said}


def added(folder: Path, index: Path) -> dict[str, Any]:
    """Update with one file more; the index is as before when that has been measured."""
    one = folder / "one more.jpg"
    one.write_bytes(jpeg_of(2**31))
    try:
        return run("index", folder, "-o", index)
    finally:
        one.unlink()
        run("index", folder, "-o", index)


def ask(port: int, query: str | dict[str, Any]) -> tuple[float, int]:
    """Return how long the server took for an answer, and how many images it counts."""
    begun = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    if isinstance(query, str):
        connection.request("GET", query)
    else:
        connection.request("POST", "/api/search", json.dumps(query), {"Content-Type": "application/json"})
    response = connection.getresponse()
    said = json.loads(response.read())
    took = time.perf_counter() - begun
    if response.status != 200:
        sys.exit(f"the server answered {response.status}: {said}")
    return took, int(said["total"])


def serve(index: Path, first: str | dict[str, Any], then: list[Any]) -> dict[str, Any]:
    """Ask a fresh server one thing at once, and others after that."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    watched = Watched(lookalike("serve", "-i", index, "--port", str(port), "--no-open"))
    while True:
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
            connection.request("GET", "/api/health")
            if connection.getresponse().status == 200:
                break
        if time.perf_counter() - watched.begun > _LONGEST_SECONDS:
            sys.exit("the server never opened its port")
        time.sleep(0.01)
    opened = time.perf_counter() - watched.begun
    took, total = ask(port, first)
    later = [round(ask(port, query)[0], 3) for query in then]
    time.sleep(3)  # what it makes ready meanwhile counts too
    watched.process.send_signal(signal.SIGINT)
    _, found = watched.wait()
    del found["wall_s"]
    return {"opened_s": round(opened, 3), "first_s": round(took, 3), "then_s": later, "total": total, **found}


def measure(folder: Path, index: Path, steps: list[str], repeats: int) -> dict[str, list[dict[str, Any]]]:
    """Run the steps, all but the first index as often as asked for; return what each run took."""
    like, image = {"likes": [name_of(1234)], "k": 20}, folder / name_of(4321)
    words = {"words": "red bus", "k": 20}
    page = "/api/files?limit=100"
    do = {
        "index": lambda: run("index", folder, "-e", ENCODER, "-o", index),
        "unchanged": lambda: run("index", folder, "-o", index),
        "added": lambda: added(folder, index),
        "image": lambda: run("search", image, "-i", index),
        "words": lambda: run("search", "-i", index, "--words", words["words"]),
        "where": lambda: run("search", image, "-i", index, "--where", "width > 10", "--words", words["words"]),
        "files": lambda: run("files", "-i", index),
        "health": lambda: run("info", "-i", index, "--health"),
        "serve-files": lambda: serve(index, page, [page, f"{page}&offset=50000", words]),
        "like": lambda: serve(index, like, [like, {"likes": [name_of(77)]}, words, {"where": "width > 10", "k": 5}]),
        "serve-words": lambda: serve(index, words, [words, {"words": "old heron"}, like]),
    }
    if "index" in steps:
        shutil.rmtree(index, ignore_errors=True)
    found: dict[str, list[dict[str, Any]]] = {}
    for step in steps:
        for _ in range(1 if step == "index" else repeats):
            found.setdefault(step, []).append({"load": round(os.getloadavg()[0], 2), **do[step]()})
            print(json.dumps({"step": step, **found[step][-1]}), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "grow", "measure"))
    parser.add_argument("--count", type=int, default=300_000)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/many/photos"))
    parser.add_argument("--index", type=Path, help="an index of ours; `index` removes it. Default: beside the folder")
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--repeats", type=int, default=3, help="of every step but the first index")
    options = parser.parse_args()
    if options.what == "make":
        print(f"{make(options.folder, options.count):,} files written")
        return
    index = options.index or options.folder.with_name(f"{options.folder.name}.index")
    if options.what == "grow":
        print(f"{grow(options.folder, index):,} rows")
        return
    files = sum(len(names) for _, _, names in os.walk(options.folder))
    steps = measure(options.folder, index, options.steps.split(","), options.repeats)
    from lookalike.index.manifest import read_manifest

    settings = {"files": files, "encoder": read_manifest(index).encoder, "side": SIDE, "nice": os.nice(0)}
    keep("many", f"{files} files", {"steps": steps}, settings=settings)


if __name__ == "__main__":
    main()
