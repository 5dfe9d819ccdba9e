"""A store of objects on loopback, as S3 speaks; and an index put into it."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

PHOTOS = 40


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Start the server, make ``s3://bucket``, and return a client of it."""
    boto3 = pytest.importorskip("boto3", reason="boto3 isn't installed: pip install --group cluster")
    server_of = pytest.importorskip("moto.server", reason="moto isn't installed: pip install --group cluster")
    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret-words")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("LOOKALIKE_CACHE", str(tmp_path / "copies"))
    client = boto3.client("s3")
    urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", b"").close()  # what it holds belongs to this process
    client.create_bucket(Bucket="bucket")
    client.lookalike_server = server
    yield client
    server.stop()


def make_photos(folder: Path, count: int = PHOTOS) -> Path:
    """Draw pictures that differ."""
    rng = np.random.default_rng(19)
    for i in range(count):
        file = folder / f"kind{i % 4}" / f"{i:05}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (24, 24), np.uint8)).resize((48, 48)).save(file)
    return folder


def put_photos(client: Any, folder: Path) -> None:
    """Put a folder at s3://bucket/photos."""
    for file in sorted(folder.rglob("*.png")):
        client.upload_file(str(file), "bucket", f"photos/{file.relative_to(folder).as_posix()}")


def assert_same(one: Any, other: Any) -> None:
    """Compare rows, descriptors and answers of two indexes, but for the times of files."""
    assert list(one.ids) == list(other.ids)
    np.testing.assert_array_equal(one.descriptors, other.descriptors)
    for name in ("hash", "size", "width", "height", "label", "outcome"):
        assert _column(one, name) == _column(other, name), name
    a, b = (index.nearest(index.descriptors[:7], 5) for index in (one, other))
    np.testing.assert_array_equal(a[0], b[0])
    np.testing.assert_array_equal(a[1], b[1])


def _column(index: Any, name: str) -> dict[str, Any]:
    import lance

    dataset = lance.dataset(str(index.path / index.manifest.dataset), version=index.manifest.dataset_version)
    table = dataset.to_table(["id", name])
    ids = table["id"].to_pylist()
    assert len(set(ids)) == len(ids)  # every row exactly once
    return dict(zip(ids, table[name].to_pylist(), strict=True))
