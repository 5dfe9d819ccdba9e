"""The server under load: how long answers take, what batching is worth, and what breaks when things go wrong.

``python benchmarks/serving.py load INDEX`` asks two servers in turn, one that batches and one that answers each call
alone, with 1, 16 and 64 clients; ``endure INDEX`` asks one for minutes while its decoders are killed and its index is
committed again; ``drop INDEX`` drops images on the page in Chromium. Servers, and the clients, are processes of their own. Raw runs go to runs/serving/, rows to results/serving.csv. INDEX holds digits: ``lookalike index mnist -e hog``.

A request is a search for 20 matches: half by an image that is sent (a test digit, PNG), half by one of the index.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from study import keep

import lookalike
from lookalike.atomic import replace_file
from lookalike.imaging.encode import to_png

CLIENTS = (1, 16, 64)
REPEATS, SECONDS = 3, 4.0
SIDES = ("batching", "alone")


# The server -----------------------------------------------------------------------------------------------------------


def serve(index: Path, port: int, batching: bool) -> None:
    from lookalike.server import shared_index
    from lookalike.server.address import HOST
    from lookalike.server.app import make_app
    from lookalike.server.connections import Server as Ours
    from lookalike.server.connections import configured
    from lookalike.server.guard import Rules
    from lookalike.server.live import LiveIndex
    from lookalike.server.prometheus import Metrics

    if not batching:
        shared_index.MAX_QUERIES = shared_index.MAX_IMAGES = shared_index.MAX_TABLES = 1
    metrics = Metrics()
    app = make_app(LiveIndex(index, metrics.stage), Rules(), metrics=metrics)
    with socket.create_server((HOST, port)) as listening:
        Ours(configured(app)).run(sockets=[listening])


class Server:
    """A server in a process of its own."""

    def __init__(self, index: Path, side: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        begun = time.perf_counter()
        command = [sys.executable, __file__, "serve", str(index), "--port", str(self.port), "--side", side]
        self.process = subprocess.Popen(command)
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                time.sleep(0.01)
        self.opened_in = time.perf_counter() - begun

    def stop(self) -> int:
        """End it as Ctrl-C does, and return its exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def workers(self) -> list[int]:
        """Return its decoding processes."""
        task = Path(f"/proc/{self.process.pid}/task")
        found = []
        for one in task.iterdir():
            with suppress(OSError):  # a thread that ended meanwhile
                found += [int(child) for child in (one / "children").read_text().split()]
        return found

    def held(self) -> dict[str, float]:
        """Return its memory in MB, files and threads; the decoders' memory apart."""
        proc = Path(f"/proc/{self.process.pid}")
        found = {
            "rss_mb": _rss(proc),
            "files": float(len(list((proc / "fd").iterdir()))),
            "threads": float(len(list((proc / "task").iterdir()))),
        }
        return found | {"workers_mb": sum(_rss(Path(f"/proc/{pid}")) for pid in self.workers())}


def _rss(proc: Path) -> float:
    try:
        (line,) = [one for one in (proc / "status").read_text().splitlines() if one.startswith("VmRSS")]
        return float(line.split()[1]) / 1024
    except (OSError, ValueError):  # it has ended
        return 0.0


# The clients ----------------------------------------------------------------------------------------------------------


def requests(port: int, size: int) -> list[bytes]:
    """Return requests as they go over the wire."""
    digits = lookalike.open_collection("mnist:test[0:500]").array()
    drawn = random.Random(0)
    found = []
    for digit in digits:
        image = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n' + to_png(digit)
        query = b'\r\n--x\r\nContent-Disposition: form-data; name="query"\r\n\r\n{"k": 20}\r\n--x--\r\n'
        found.append(_request(port, "/api/search/upload", "multipart/form-data; boundary=x", image + query))
        asked = json.dumps({"images": [{"id": str(drawn.randrange(size))}], "k": 20}).encode()
        found.append(_request(port, "/api/search", "application/json", asked))
    return found


def _request(port: int, path: str, kind: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def client(port: int, asked: list[bytes], seed: int, until: float, out: list[tuple[float, float, int]]) -> None:
    """Ask one request after another over one connection; ``out`` gets when, how long and the status (0: no answer)."""
    drawn = random.Random(seed)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until:
        begun = time.perf_counter()
        try:
            writer.write(drawn.choice(asked))
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            await reader.readexactly(length)
            status = int(head[9:12])
        except (OSError, asyncio.IncompleteReadError):
            status = 0
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        out.append((begun, time.perf_counter() - begun, status))
    writer.close()


def ask(port: int, size: int, clients: int, seconds: float, seed: int) -> list[tuple[float, float, int]]:
    asked = requests(port, size)
    out: list[tuple[float, float, int]] = []

    async def all_of_them() -> None:
        until = time.perf_counter() + seconds
        await asyncio.gather(*(client(port, asked, 1000 * seed + i, until, out) for i in range(clients)))

    asyncio.run(all_of_them())
    return out


def from_elsewhere(port: int, size: int, clients: int, seconds: float, seed: int) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "ask", "--port", str(port), "--size", str(size), "--clients", str(clients)]
    command += ["--seconds", str(seconds), "--seed", str(seed)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def told(process: subprocess.Popen[str]) -> list[tuple[float, float, int]]:
    found: list[tuple[float, float, int]] = json.loads(process.communicate()[0])
    return found


def summary(found: list[tuple[float, float, int]]) -> dict[str, float]:
    took = np.array([seconds for _, seconds, _ in found]) * 1000
    begun = np.array([when for when, _, _ in found])
    span = float((begun + took / 1000).max() - begun.min())
    return {
        "queries_a_second": len(found) / span,
        **{f"p{p}_ms": float(np.percentile(took, p)) for p in (50, 95, 99)},
        "not_200": float(sum(status != 200 for _, _, status in found)),
    }


# What is measured -----------------------------------------------------------------------------------------------------


def load(index: Path) -> dict[str, Any]:
    """Both servers in turn, after a round that isn't counted."""
    opened = lookalike.open_index(index)
    size = len(opened)
    servers = {side: Server(index, side) for side in SIDES}
    runs: dict[str, dict[str, list[dict[str, float]]]] = {str(n): {side: [] for side in SIDES} for n in CLIENTS}
    for server in servers.values():
        told(from_elsewhere(server.port, size, 16, 3, 99))
    for repeat in range(REPEATS):
        for clients in CLIENTS:
            for side in SIDES if repeat % 2 == 0 else SIDES[::-1]:
                found = summary(told(from_elsewhere(servers[side].port, size, clients, SECONDS, repeat)))
                runs[str(clients)][side].append(found)
                print(clients, side, {k: round(v, 1) for k, v in found.items()}, flush=True)
    opened_in = {side: server.opened_in for side, server in servers.items()}
    for server in servers.values():
        server.stop()
    return {
        "images": size,
        "open_seconds": opened_in,
        "runs": runs,
        "median": {n: {side: _median(of[side]) for side in SIDES} for n, of in runs.items()},
        "limits": limits(opened),
    }


def _median(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def limits(index: Any) -> dict[str, float]:
    """How many images a second the encoder and the exact search manage with nothing around them."""
    digits = lookalike.open_collection("mnist:test[0:2000]").array()
    codes = index.encoder.encode(digits)
    database = index.database()
    found = {}
    for name, batch in (("1", 1), ("64", 64)):
        for what, work in (
            ("encode", lambda at, n=batch: index.encoder.encode(digits[at : at + n])),
            ("search", lambda at, n=batch: database.nearest(codes[at : at + n], 64)),
        ):
            done, begun = 0, time.perf_counter()
            while time.perf_counter() - begun < 2:
                work(done % 1900)
                done += batch
            found[f"{what} by {name}, images a second"] = done / (time.perf_counter() - begun)
    return found


def endure(index: Path, work: Path, seconds: float) -> dict[str, Any]:
    """Ask for minutes; kill a decoder every 10 s, commit the index again every 20 s."""
    copy = work / "endured.lookalike"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(index, copy)
    server = Server(copy, "batching")
    size = len(lookalike.open_index(copy))
    asking = from_elsewhere(server.port, size, 16, seconds, 7)
    begun = time.perf_counter()
    held, killed, swapped = [], 0, 0
    while asking.poll() is None and time.perf_counter() - begun < seconds - 1:
        time.sleep(5)
        at = time.perf_counter() - begun
        held.append({"seconds": at, **server.held()})
        if len(held) % 2 == 0 and (workers := server.workers()):
            os.kill(random.Random(len(held)).choice(workers), signal.SIGKILL)
            killed += 1
        if len(held) % 4 == 0:
            with replace_file(copy / "manifest.json") as file:  # as a run that committed does
                file.write((copy / "manifest.json").read_bytes())
            swapped += 1
    found = told(asking)
    status = server.stop()
    statuses: dict[str, int] = {}
    for _, _, one in found:
        statuses[str(one)] = statuses.get(str(one), 0) + 1
    return {
        "seconds": seconds,
        "clients": 16,
        "requests": len(found),
        "statuses": statuses,
        "killed_decoders": killed,
        "index_opened_anew": swapped,
        "exit_status": status,
        "held": held,
        **{k: v for k, v in summary(found).items() if k.startswith("p")},
    }


#: Drops a file and tells when the first answer stood in the page, and when its picture was drawn.
DROP = """
const [base64, done] = arguments;
const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], "digit.png", { type: "image/png" }));
const begun = performance.now();
let stood = null;
dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
const look = () => {
  const first = [...document.querySelectorAll(".tile")].find((t) => t.firstElementChild && /^Rank 1,/.test(
    t.querySelector("button").getAttribute("aria-label")));
  if (first && stood === null) stood = performance.now() - begun;
  const picture = first?.querySelector("img");
  if (picture?.complete && picture.naturalWidth) done([stood, performance.now() - begun]);
  else requestAnimationFrame(look);
};
look();
"""


def drop(index: Path) -> dict[str, Any]:
    """Drop images on the page in Chromium and read its own clock."""
    import base64

    from selenium import webdriver

    server = Server(index, "batching")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,800"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    browser.set_script_timeout(30)
    took = []
    for digit in lookalike.open_collection("mnist:test[0:25]").array():
        browser.get(f"http://127.0.0.1:{server.port}/")
        while not browser.find_elements("css selector", ".tile img"):
            time.sleep(0.05)
        time.sleep(0.5)
        took.append(browser.execute_async_script(DROP, base64.b64encode(to_png(digit)).decode()))
        print(took[-1], flush=True)
    browser.quit()
    server.stop()
    first, drawn = (np.array(column) for column in zip(*took, strict=True))
    return {
        "images": len(lookalike.open_index(index)),
        "open_seconds": server.opened_in,
        "ms_to_first_answer": first.tolist(),
        "ms_to_first_picture": drawn.tolist(),
        "median_ms": {"answer": float(np.median(first)), "picture": float(np.median(drawn))},
        "p95_ms": {"answer": float(np.percentile(first, 95)), "picture": float(np.percentile(drawn, 95))},
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=["load", "endure", "drop", "serve", "ask"])
    parser.add_argument("index", type=Path, nargs="?")
    parser.add_argument("--port", type=int)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--size", type=int)
    parser.add_argument("--clients", type=int)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--work", type=Path, default=Path("/tmp"))
    options = parser.parse_args()
    if options.part == "serve":
        serve(options.index, options.port, options.side == "batching")
    elif options.part == "ask":
        print(json.dumps(ask(options.port, options.size, options.clients, options.seconds, options.seed)))
    else:
        measured = {
            "load": lambda: load(options.index), "drop": lambda: drop(options.index),
            "endure": lambda: endure(options.index, options.work, options.seconds),
        }  # fmt: skip
        keep(
            "serving",
            options.part,
            measured[options.part](),
            peers=["fastapi", "uvicorn"],
            settings={"rounds": REPEATS, "seconds a round": SECONDS},
        )


if __name__ == "__main__":
    main()
