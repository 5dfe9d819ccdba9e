"""Collections and indexes in a bucket, and work on Ray: the same rows, descriptors and answers as in a folder here."""

from __future__ import annotations

import socket
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import lookalike
from buckets import PHOTOS, assert_same, bucket, make_photos, put_photos
from lookalike.cluster import shards
from lookalike.cluster.on_ray import check_on, running_on
from lookalike.errors import IndexStoreError, LookalikeError, UsageError
from lookalike.index import bucket as buckets_of_indexes
from lookalike.index.reopen import open_to_index
from lookalike.object_store import as_typed, is_address, open_objects

__all__ = ["bucket"]
pytestmark = pytest.mark.integration
SOURCE, PLACE = "s3://bucket/photos", "s3://bucket/index"


def build(source: Any, place: Any, **options: Any) -> tuple[Any, Any]:
    said: list[Any] = []
    index = lookalike.build_index(source, "hog", place, on_summary=said.append, **options)
    return index, said[0]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "photos")


@pytest.fixture
def other_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def move(name: str) -> None:
        monkeypatch.setenv("LOOKALIKE_CACHE", str(tmp_path / name))

    return move


def test_ray_gives_what_this_machine_gives(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="Ray isn't installed: pip install --group cluster")
    monkeypatch.setattr("lookalike.cluster.on_ray.SHARD_FILES", 20)  # two shards
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    local, said = build(photos, tmp_path / "local")
    there, said_there = build(photos, tmp_path / "there", on="ray:local")
    assert_same(local, there)
    assert (said.indexed, said.failed) == (said_there.indexed, said_there.failed) == (PHOTOS, 1)


def test_bucket_gives_what_a_folder_gives(bucket: Any, photos: Path, tmp_path: Path, other_machine: Any) -> None:
    put_photos(bucket, photos)
    local, _ = build(photos, tmp_path / "local")
    there, said = build(SOURCE, PLACE)
    assert (said.indexed, said.path) == (PHOTOS, PLACE)
    assert_same(local, there)
    other_machine("elsewhere")
    assert_same(local, lookalike.open_index(PLACE))
    # Nothing of the credentials lies in the bucket.
    for item in bucket.list_objects_v2(Bucket="bucket", Prefix="index/")["Contents"]:
        assert b"very-secret" not in bucket.get_object(Bucket="bucket", Key=item["Key"])["Body"].read()


def test_rows_in_a_bucket_are_read_by_lance(bucket: Any, photos: Path) -> None:
    lance = pytest.importorskip("lance")
    index, _ = build(photos, PLACE)
    rows = lance.dataset(
        "s3://bucket/index/images.lance",
        version=index.manifest.dataset_version,
        storage_options={"allow_http": "true", "endpoint": bucket.meta.endpoint_url},
    )
    assert rows.count_rows() == PHOTOS


def test_update_takes_new_changed_renamed_and_deleted_objects(bucket: Any, photos: Path, other_machine: Any) -> None:
    put_photos(bucket, photos)
    build(SOURCE, PLACE)
    names = sorted(f.relative_to(photos).as_posix() for f in photos.rglob("*.png"))
    objects = [f"photos/{name}" for name in names]
    bucket.delete_object(Bucket="bucket", Key=objects[0])
    bucket.copy_object(Bucket="bucket", CopySource=f"bucket/{objects[1]}", Key="photos/moved.png")
    bucket.delete_object(Bucket="bucket", Key=objects[1])
    make_photos(photos.parent / "more", PHOTOS + 1)
    new = next((photos.parent / "more").rglob(f"{PHOTOS:05}.png"))
    bucket.upload_file(str(new), "bucket", "photos/new.png")
    bucket.upload_file(str(photos / names[3]), "bucket", objects[2])
    other_machine("elsewhere")
    index, said = build(SOURCE, PLACE)
    assert (said.indexed, said.renamed, said.removed, said.duplicates) == (1, 1, 1, 1)
    assert len(index) == PHOTOS
    assert build(SOURCE, PLACE)[1].unchanged == PHOTOS


def test_of_two_writers_one_wins_and_nothing_is_lost(bucket: Any, photos: Path, other_machine: Any) -> None:
    put_photos(bucket, photos)
    build(SOURCE, PLACE)
    more = make_photos(photos.parent / "more", PHOTOS + 2)
    put_photos(bucket, more)
    other_machine("first")
    with (  # noqa: PT012  (it is the end of the block that raises)
        pytest.raises(IndexStoreError, match="another run has written this index meanwhile"),
        buckets_of_indexes.index_to_write(PLACE) as folder,
    ):
        build(SOURCE, folder)
        other_machine("second")
        build(SOURCE, PLACE)  # the whole of another run
        other_machine("first")
    index, said = build(SOURCE, PLACE)
    assert (len(index), said.unchanged, said.indexed) == (PHOTOS + 2, PHOTOS + 2, 0)
    other_machine("third")
    assert len(set(lookalike.open_index(PLACE).ids)) == PHOTOS + 2


def test_goes_on_after_a_run_that_died_before_the_bucket_had_its_work(bucket: Any, photos: Path) -> None:
    put_photos(bucket, photos)
    with pytest.raises(RuntimeError), buckets_of_indexes.index_to_write(PLACE) as folder:  # noqa: PT012
        build(SOURCE, folder)
        raise RuntimeError("as if killed")
    with pytest.raises(IndexStoreError, match="begun"):
        lookalike.open_index(PLACE)
    assert build(SOURCE, PLACE)[1].unchanged == PHOTOS


def test_what_is_not_ours_in_a_bucket_is_left(bucket: Any, photos: Path) -> None:
    bucket.put_object(Bucket="bucket", Key="index/mine.txt", Body=b"mine")
    with pytest.raises(IndexStoreError, match="holds other things"):
        build(photos, PLACE)
    keys = [item["Key"] for item in bucket.list_objects_v2(Bucket="bucket")["Contents"]]
    assert keys == ["index/mine.txt"]


def test_bucket_without_conditional_writes_is_refused(
    bucket: Any, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moto.s3.models import FakeBucket  # the server runs in this process: it forgets what it holds to

    monkeypatch.setattr("moto.s3.responses.S3Response._get_etag_match", lambda *_: None, raising=False)
    objects = open_objects(PLACE)
    original = type(objects).put
    monkeypatch.setattr(
        type(objects), "put", lambda self, key, body, size, seen: "x" if seen else original(self, key, body, size, seen)
    )
    assert FakeBucket
    with pytest.raises(LookalikeError, match="no conditional writes"):
        build(photos, PLACE)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://no-such-bucket-here/photos", "there is no such bucket"),
        ("s3://B!/x", "expected s3://bucket/prefix"),
        ("s3://bucket/../x", "leads nowhere"),
        ("s3://bucket/empty", "no images below this address"),
        ("gs://bucket/photos", "expected s3://bucket/prefix"),
    ],
)
def test_wrong_address_is_one_sentence(bucket: Any, address: str, said: str) -> None:
    with pytest.raises(LookalikeError, match=said):
        open_to_index(address, "no-index")


def test_index_needs_a_prefix(bucket: Any, photos: Path) -> None:
    with pytest.raises(LookalikeError, match="a prefix of its own"):
        build(photos, "s3://bucket")


def test_no_credentials_is_one_sentence(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(LookalikeError, match="no credentials; set AWS_ACCESS_KEY_ID"):
        open_to_index(SOURCE, "no-index")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("ExpiredToken", "have expired"),
        ("RequestTimeTooSkewed", "clock of this machine is off"),
        ("QuotaExceeded", "it is full"),
        ("NotImplemented", "no conditional writes"),
        ("AccessDenied", "access is denied"),
    ],
)
def test_what_a_store_refuses_is_one_sentence(bucket: Any, code: str, said: str) -> None:
    from botocore.exceptions import ClientError

    with pytest.raises(LookalikeError, match=said), open_objects(PLACE)._asking("x"):
        raise ClientError({"Error": {"Code": code, "Message": "very-secret"}}, "PutObject")


def test_store_that_does_not_answer_is_one_sentence(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lookalike.object_store._ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{_free_port()}")
    with pytest.raises(LookalikeError, match="the store doesn't answer"):
        open_to_index(SOURCE, "no-index")


@pytest.mark.parametrize("on", ["ray", "ray://", "spark://x:1", "ray://head", "ray://head:10001/../x", ""])
def test_no_place_to_run_on_is_one_sentence(on: str) -> None:
    with pytest.raises(UsageError, match="expected local, ray:local"):
        check_on(on)


def test_head_that_does_not_answer_is_one_sentence() -> None:
    pytest.importorskip("ray", reason="Ray isn't installed: pip install --group cluster")
    with pytest.raises(UsageError, match="the head doesn't answer"), running_on(f"ray://127.0.0.1:{_free_port()}"):
        pass


@pytest.mark.parametrize(
    ("module", "call", "extra"),
    [("ray", lambda: check_on("ray:local"), "cluster"), ("boto3", lambda: open_objects(PLACE), "s3")],
)
def test_what_is_not_installed_says_what_to_type(
    module: str, call: Any, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=f"pip install 'lookalike\\[{extra}\\]'"):
        call()


def test_node_of_another_version_is_refused() -> None:
    with pytest.raises(UsageError, match="install the same on all"):
        shards.read_shard([], [], ("0.0.1", "3.9"))


def test_path_is_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert as_typed(Path("s3://bucket/x")) == "s3://bucket/x"
    assert not is_address(Path("s3:/bucket/x"))
    (tmp_path / "s3:" / "bucket" / "x").mkdir(parents=True)
    assert as_typed(Path("s3:/bucket/x")) == Path("s3:/bucket/x")


def _free_port() -> int:
    with nullcontext(socket.socket()) as s:
        s.bind(("127.0.0.1", 0))
        port = int(s.getsockname()[1])
        s.close()
        return port
