"""Three nodes of Ray as processes on loopback, and a store of objects: nodes, drivers and the store go at random moments.

Run by ``make cluster-test``. ``LOOKALIKE_KILLS`` says how many nodes are killed (by default 5), and ``LOOKALIKE_COREL`` names a
folder of photos to be indexed on top.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lookalike
from buckets import assert_same, bucket, make_photos, put_photos
from lookalike.index.integrity import verify

__all__ = ["bucket"]
KILLS = int(os.environ.get("LOOKALIKE_KILLS", "5"))
COUNT = 1500
SOURCE, PLACE = "s3://bucket/photos", "s3://bucket/index"
_WAIT = 240  # seconds after which a run hangs


@pytest.fixture
def cluster(bucket: Any) -> Iterator[Any]:
    """Start a head that does no work, and three nodes of one core each."""
    utils = pytest.importorskip("ray.cluster_utils", reason="Ray isn't installed: pip install --group cluster")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    nodes = utils.Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": 2**28},
    )
    for _ in range(3):
        nodes.add_node(num_cpus=1, object_store_memory=2**28)
    yield nodes
    nodes.shutdown()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "photos", COUNT)


def command(cluster: Any, *more: str) -> list[str]:
    """Return the command line of a run on the cluster."""
    on = f"ray:{cluster.address}"
    return [sys.executable, "-m", "lookalike", "index", SOURCE, "-o", PLACE, "-e", "hog", "--on", on, *more]


def assert_whole(local: Any) -> None:
    index = lookalike.open_index(PLACE)
    assert_same(local, index)
    assert verify(index) == []


def test_cluster_gives_what_this_machine_gives(cluster: Any, bucket: Any, photos: Path, tmp_path: Path) -> None:
    put_photos(bucket, photos)
    local = lookalike.build_index(photos, "hog", tmp_path / "local")
    subprocess.run(command(cluster), check=True, timeout=_WAIT)
    assert_whole(local)


def test_nodes_are_killed(cluster: Any, bucket: Any, photos: Path, tmp_path: Path) -> None:
    put_photos(bucket, photos)
    local = lookalike.build_index(photos, "hog", tmp_path / "local")
    rng, killed, begun = random.Random(19), 0, time.monotonic()
    while killed < KILLS:
        run = subprocess.Popen(command(cluster, "--rebuild"))
        while run.poll() is None:
            assert time.monotonic() - begun < _WAIT * (1 + KILLS)
            time.sleep(rng.uniform(1, 6))
            if killed < KILLS and run.poll() is None:
                cluster.remove_node(
                    rng.choice(cluster.worker_nodes and list(cluster.worker_nodes)), allow_graceful=False
                )
                cluster.add_node(num_cpus=1, object_store_memory=2**28)
                killed += 1
        assert run.returncode == 0
        assert_whole(local)
    print(f"{killed} nodes killed")


def test_driver_is_killed(cluster: Any, bucket: Any, photos: Path, tmp_path: Path) -> None:
    put_photos(bucket, photos)
    local = lookalike.build_index(photos, "hog", tmp_path / "local")
    rng, killed = random.Random(20), 0
    for _ in range(KILLS):
        run = subprocess.Popen(command(cluster))
        try:
            run.wait(rng.uniform(2, 12))
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGKILL)
            run.wait()
            killed += 1
    print(f"{killed} drivers killed")
    subprocess.run(command(cluster), check=True, timeout=_WAIT)
    assert_whole(local)


def test_store_is_away(cluster: Any, bucket: Any, photos: Path, tmp_path: Path) -> None:
    """Its server stops for 20 s in the middle: what it holds is this process's, and stays."""
    from moto.server import ThreadedMotoServer

    put_photos(bucket, photos)
    local = lookalike.build_index(photos, "hog", tmp_path / "local")
    run = subprocess.Popen(command(cluster))
    time.sleep(6)
    port = int(os.environ["AWS_ENDPOINT_URL"].rpartition(":")[2])
    bucket.lookalike_server.stop()
    time.sleep(20)
    again = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    again.start()
    try:
        run.wait(_WAIT)  # it may have gone on, or have ended with a sentence
        subprocess.run(command(cluster), check=True, timeout=_WAIT)
        assert_whole(local)
    finally:
        again.stop()


@pytest.mark.skipif("LOOKALIKE_COREL" not in os.environ, reason="LOOKALIKE_COREL names no folder of photos")
def test_photos_on_the_cluster(cluster: Any, bucket: Any, tmp_path: Path) -> None:
    photos = Path(os.environ["LOOKALIKE_COREL"])
    for file in sorted(photos.rglob("*.jpg")):
        bucket.upload_file(str(file), "bucket", f"photos/{file.relative_to(photos).as_posix()}")
    local = lookalike.build_index(photos, "hog", tmp_path / "local")
    subprocess.run(command(cluster), check=True, timeout=_WAIT)
    assert_whole(local)
