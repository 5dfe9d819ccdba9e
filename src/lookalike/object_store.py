"""``s3://bucket/prefix`` -> objects listed, read, and replaced only if they are what was seen.

Credentials come from where every program of Amazon's takes them: the environment and ``~/.aws``; a server of one's own is
named by ``AWS_ENDPOINT_URL``. None of it is logged or stored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from lookalike.errors import CollectionError, LookalikeError, UsageError, first_line, missing_extra

_ADDRESS = re.compile(r"s3:/{1,2}(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>.*))?", re.DOTALL)
_LOOKS_LIKE = re.compile(r"(s3|gs|az|abfss?)://", re.IGNORECASE)
_SECONDS, _ATTEMPTS = 20, 8  # of one request, and how often: a store that is away for half a minute ends no run
_MAX_BYTES = 5 * 10**9  # of one PUT
_WORDS = {
    "NoSuchBucket": "there is no such bucket",
    "AccessDenied": "access is denied to these credentials",
    "403": "access is denied to these credentials",
    "InvalidAccessKeyId": "the credentials aren't known there",
    "SignatureDoesNotMatch": "the credentials are wrong",
    "ExpiredToken": "the credentials have expired; get new ones",
    "ExpiredTokenException": "the credentials have expired; get new ones",
    "RequestTimeTooSkewed": "the clock of this machine is off; set it",
    "NotImplemented": "it has no conditional writes, without which two writers could lose each other's work; take another bucket",
    "QuotaExceeded": "it is full",
    "InsufficientStorage": "it is full",
    "507": "it is full",
}


class ObjectStoreError(CollectionError):
    """The store refused, or doesn't answer."""


class ChangedError(LookalikeError):
    """An object isn't any more what was seen: somebody else has written it."""


class Found(NamedTuple):
    """An object: its key below the prefix, its size in bytes, when it was changed (ns since 1970), and its ETag."""

    key: str
    size: int
    mtime_ns: int
    etag: str


def is_address(place: object) -> bool:
    """Tell the address of objects from a path.

    Parameters
    ----------
    place : object
        As a program gave it; a ``Path`` is a path, whatever it is called.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_address("s3://bucket/photos"), is_address(Path("s3:/bucket")), is_address("photos")
    (True, False, False)
    """
    return isinstance(place, str) and bool(_LOOKS_LIKE.match(place))


def as_typed(path: str | Path) -> str | Path:
    """Give an address that a command took for a path its second slash back, unless a folder of that name is there.

    Parameters
    ----------
    path : str or Path
        Of an option.

    Returns
    -------
    str or Path
        An address, or the path as it is.
    """
    whole = re.sub(r"^(s3|gs|az|abfss?):/(?!/)", r"\1://", Path(path).as_posix(), flags=re.IGNORECASE)
    return whole if is_address(whole) and not Path(path).exists() else path


@dataclass(frozen=True)
class Objects:
    """Objects of a bucket below a prefix; ``open_objects`` makes one."""

    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @cached_property
    def _client(self) -> Any:
        return _client()

    def each(self) -> Iterator[Found]:
        """List all objects, a page of a thousand at a time."""
        with self._asking():
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix):
                for item in page.get("Contents", ()):
                    yield _found(item["Key"][len(self.prefix) :], item["Size"], item)

    def get(self, key: str, limit: int | None = None) -> tuple[bytes | None, Found] | None:
        """Read an object.

        Parameters
        ----------
        key : str
            Below the prefix.
        limit : int, optional
            Bytes; of a larger one nothing is read.

        Returns
        -------
        (bytes or None, Found) or None
            None where there is none.
        """
        with self._asking():
            try:
                got = self._client.get_object(Bucket=self.bucket, Key=self.prefix + key)
            except self._client.exceptions.NoSuchKey:
                return None
            found = _found(key, got["ContentLength"], got)
            if limit is not None and found.size > limit:
                got["Body"].close()
                return None, found
            return got["Body"].read(), found

    def download(self, key: str, file: Path) -> Found | None:
        """Read an object of any size into a file.

        Parameters
        ----------
        key : str
            Below the prefix.
        file : Path
            Written anew.

        Returns
        -------
        Found or None
            None where there is no such object any more.
        """
        with self._asking(key):
            try:
                got = self._client.get_object(Bucket=self.bucket, Key=self.prefix + key)
            except self._client.exceptions.NoSuchKey:
                return None
            with file.open("wb") as f:
                for block in got["Body"].iter_chunks(2**20):
                    f.write(block)
            return _found(key, got["ContentLength"], got)

    def put(self, key: str, body: Any, size: int, seen: str | None) -> str:
        """Write an object, if it is still what was seen.

        Parameters
        ----------
        key : str
            Below the prefix.
        body : bytes or file
            Its content.
        size : int
            Of the content.
        seen : str or None
            The ETag of what it replaces; None where there must be none.

        Returns
        -------
        str
            Its ETag.

        Raises
        ------
        ChangedError
            If it isn't; nothing was written.
        ObjectStoreError
            If the store refuses.
        """
        if size > _MAX_BYTES:
            raise ObjectStoreError(f"{self}/{key}: {size:,} bytes, and a store takes {_MAX_BYTES:,} at once")
        condition = {"IfNoneMatch": "*"} if seen is None else {"IfMatch": seen}
        with self._asking(key):
            return str(
                self._client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=body, **condition)["ETag"]
            )

    def delete(self, keys: list[str]) -> None:
        """Delete objects."""
        for start in range(0, len(keys), 1000):
            some = [{"Key": self.prefix + key} for key in keys[start : start + 1000]]
            with self._asking():
                self._client.delete_objects(Bucket=self.bucket, Delete={"Objects": some, "Quiet": True})

    def _asking(self, key: str = "") -> _Asking:
        return _Asking(f"{self}/{key}".rstrip("/"))


class _Asking:
    """Turns what botocore raises into one sentence; never with a signature or a key in it."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        if isinstance(error, ClientError):
            stated = error.response.get("Error", {})
            code = str(stated.get("Code", ""))
            if code in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
                raise ChangedError(f"{self._where}: somebody else has written it") from error
            if code == "NoSuchKey":  # of a condition on what has gone
                raise ChangedError(f"{self._where}: somebody else has removed it") from error
            words = _WORDS.get(code) or f"{code}: {str(stated.get('Message', ''))[:120]}"
            raise ObjectStoreError(f"{self._where}: {words}") from error
        if isinstance(error, NoCredentialsError):
            raise ObjectStoreError(
                f"{self._where}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or fill ~/.aws/credentials"
            ) from error
        if isinstance(error, BotoCoreError):
            raise ObjectStoreError(
                f"{self._where}: the store doesn't answer ({first_line(error)}); run the same command again when it does"
            ) from error


def open_objects(address: str | Path) -> Objects:
    """Take an address apart.

    Parameters
    ----------
    address : str or Path
        ``s3://bucket/prefix``.

    Returns
    -------
    Objects
        Nothing is asked of the store yet.

    Raises
    ------
    UsageError
        If it is no such address, or what speaks to such a store isn't installed.
    """
    found = _ADDRESS.fullmatch(str(address))
    if found is None:
        raise UsageError(
            f"{str(address)[:200]}: expected s3://bucket/prefix, where a bucket is 3 to 63 of a-z, 0-9, '-' and '.'"
        )
    parts = [part for part in (found["prefix"] or "").split("/") if part]
    if ".." in parts:
        raise UsageError(f"{str(address)[:200]}: '..' leads nowhere in a bucket; write the prefix that you mean")
    try:
        import boto3  # noqa: F401
    except ImportError as e:
        raise missing_extra("an address that begins with s3://", "s3") from e
    return Objects(found["bucket"], "".join(f"{part}/" for part in parts))


def _found(key: str, size: int, stated: dict[str, Any]) -> Found:
    # Whole seconds: a listing has thousandths that a response has not, and a file that is the same must look it.
    return Found(key, size, int(stated["LastModified"].timestamp()) * 10**9, stated["ETag"])


def endpoint() -> str:
    """Return the server that the environment names; empty of Amazon's own."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def _client() -> Any:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    settings = Config(
        connect_timeout=5,
        read_timeout=_SECONDS,
        max_pool_connections=32,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
    )
    try:
        session = boto3.session.Session()
        return session.client("s3", config=settings, region_name=session.region_name or "us-east-1")
    except (BotoCoreError, ValueError) as e:
        raise UsageError(f"the settings for s3 (AWS_..., ~/.aws) can't be used: {first_line(e)}") from e
