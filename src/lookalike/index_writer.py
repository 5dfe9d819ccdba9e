"""How an index comes onto the disk: rows, one commit, and what is swept away afterwards."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Full, Queue
from typing import Any

import numpy as np

from lookalike.collection import Batch, Collection
from lookalike.distances import LONGEST, SHORTEST
from lookalike.encoders import Encoder
from lookalike.errors import IndexStoreError
from lookalike.images import to_png
from lookalike.passport import (
    DATASET,
    FORMAT,
    DamagedIndexError,
    Passport,
    descriptor_crc32,
    encoder_folder,
    facts_crc32,
    first_line,
    import_lance,
    open_dataset,
    read_passport,
)

THUMBNAIL_SIDE = 128

_BATCH = 1024
_LOCK = "writing.lock"


def write_index(
    images: Collection, encoder: Encoder, path: Path, on_progress: Callable[[int, int], None] | None = None
) -> tuple[Any, Passport]:
    """Encode a collection and commit it as the newest version of an index.

    Parameters
    ----------
    images : Collection
        What is indexed.
    encoder : Encoder
        Fitted for images of that shape.
    path : Path
        The index's folder, made if it does not exist. An index that is there answers until the commit, and its last
        version is kept besides the new one.
    on_progress : callable, optional
        Called with (images done, images in all).

    Returns
    -------
    (lance.LanceDataset, Passport)
        The new version.

    Raises
    ------
    IndexStoreError
        If no image could be indexed, the folder holds something else, another process writes it, or the disk refuses.
    """
    lance, dataset = import_lance(), str(path / DATASET)
    with _only_writer(path):
        try:
            if _is_damaged(path):
                shutil.rmtree(dataset)
            encoder.save(path / encoder_folder(encoder.fingerprint))
            rows = _Rows(images, encoder, on_progress)
            fragments = _write_fragments(lance, dataset, rows)
            if not rows.indexed:
                raise IndexStoreError(
                    f"{images.name}: none of {len(images):,} images could be indexed; the first: {rows.first_reason}"
                )
            passport = _passport(images, encoder, rows)
            # The one step that makes the new index visible, whole.
            operation = lance.LanceOperation.Overwrite(rows.schema.with_metadata(passport.to_metadata()), fragments)
            return lance.LanceDataset.commit(dataset, operation), passport
        finally:
            _sweep(path)


class _Rows:
    """The rows of a new index, made batch by batch: one an image in the collection's order, those that failed too."""

    def __init__(self, images: Collection, encoder: Encoder, on_progress: Callable[[int, int], None] | None) -> None:
        self.images = images
        self.encoder = encoder
        self.schema = _schema(encoder.name, encoder.dimension_)
        self.indexed = 0
        self.failed = 0
        self.first_reason = ""
        self._on_progress = on_progress

    def __iter__(self) -> Iterator[Any]:
        for batch in self.images.batches(_BATCH):
            yield self._batch(batch)
            if self._on_progress is not None:
                self._on_progress(self.indexed + self.failed, len(self.images))

    def _batch(self, batch: Batch) -> Any:
        import pyarrow as pa

        descriptors = np.ascontiguousarray(self.encoder.encode(batch.images), np.float32)
        problems = {position: (stage, reason) for position, stage, reason in batch.failures}
        lengths = np.linalg.norm(descriptors.astype(np.float64), axis=1)
        usable = (lengths >= SHORTEST) & (lengths <= LONGEST)  # NaN is neither
        for i in np.flatnonzero(~usable).tolist():
            position = int(batch.positions[i])
            problems[position] = ("encode", f"{self.images.ids[position]}: {_what_is_wrong(lengths[i])}")
        pictures = dict(zip(batch.positions.tolist(), batch.images, strict=True))
        positions = sorted({*pictures, *problems})
        self.indexed += len(positions) - len(problems)
        self.failed += len(problems)
        if problems and not self.first_reason:
            self.first_reason = problems[min(problems)][1]

        matrix = np.zeros((len(positions), self.encoder.dimension_), np.float32)
        matrix[np.searchsorted(positions, batch.positions[usable])] = descriptors[usable]
        bad = np.array([p in problems for p in positions])
        ids = [self.images.ids[p] for p in positions]
        labels = [None if self.images.labels is None else str(self.images.labels[p]) for p in positions]
        columns = {
            "id": pa.array(ids, pa.string()),
            "position": pa.array(positions, pa.int64()),
            "label": pa.array(labels, pa.string()),
            "thumbnail": pa.array(
                [to_png(pictures[p], THUMBNAIL_SIDE) if p in pictures else None for p in positions], pa.binary()
            ),
            "outcome": pa.array(np.where(bad, "failed", "indexed").tolist(), pa.string()),
            "stage": pa.array([problems[p][0] if p in problems else None for p in positions], pa.string()),
            "reason": pa.array([problems[p][1] if p in problems else None for p in positions], pa.string()),
            "facts_crc32": pa.array(
                [facts_crc32(*row) for row in zip(ids, positions, labels, strict=True)], pa.uint32()
            ),
            self.encoder.name: pa.FixedSizeListArray.from_arrays(
                pa.array(matrix.reshape(-1)), self.encoder.dimension_, mask=pa.array(bad) if problems else None
            ),
            f"{self.encoder.name}_crc32": pa.array(np.array(descriptor_crc32(matrix), np.uint32), mask=bad),
        }
        return pa.record_batch([columns[f.name] for f in self.schema], schema=self.schema)


def _what_is_wrong(length: float) -> str:
    if length < SHORTEST:
        return "its descriptor is all zeros, as of a blank image, so nothing is like it"
    return "its descriptor holds NaN, infinity or values too large to compare"


def _schema(column: str, dimension: int) -> Any:
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("position", pa.int64(), nullable=False),
            pa.field("label", pa.string()),
            pa.field("thumbnail", pa.binary()),
            pa.field("outcome", pa.string(), nullable=False),
            pa.field("stage", pa.string()),
            pa.field("reason", pa.string()),
            pa.field("facts_crc32", pa.uint32(), nullable=False),
            pa.field(column, pa.list_(pa.float32(), dimension)),
            pa.field(f"{column}_crc32", pa.uint32()),
        ]
    )


def _write_fragments(lance: Any, dataset: str, rows: _Rows) -> Any:
    """Write data files that no version names yet.

    Lance pulls its batches, on a thread of its own. It pulls them from a queue here, so that reading and encoding, their
    errors and Ctrl-C stay on the thread that asked for the index, while the batch before is being written.
    """
    queue: Queue[Any] = Queue(maxsize=2)

    def put(batch: Any) -> None:
        while not writing.done():  # a writer that failed takes nothing more
            with suppress(Full):
                queue.put(batch, timeout=0.1)
                return

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(
            lance.fragment.write_fragments, iter(queue.get, None), dataset, schema=rows.schema, mode="overwrite"
        )
        try:
            for batch in rows:
                put(batch)
                if writing.done():
                    break
        finally:
            put(None)
        return writing.result()


def _passport(images: Collection, encoder: Encoder, rows: _Rows) -> Passport:
    from importlib.metadata import version

    from lookalike import __version__

    return Passport(
        format=FORMAT,
        collection=images.name,
        encoder=encoder.name,
        params=encoder.params,
        fingerprint=encoder.fingerprint,
        distance=encoder.distance,
        dimension=encoder.dimension_,
        shape=list(encoder.shape_),
        resized=images.resized,
        count=rows.indexed,
        failed=rows.failed,
        versions={"lookalike": __version__, "pylance": version("pylance"), "numpy": np.__version__},
    )


# Before and after -------------------------------------------------------------------------------------------------


def check_target(path: Path) -> None:
    """Refuse a folder that an index can't be written to without harm.

    Parameters
    ----------
    path : Path
        Where the index is to be.

    Raises
    ------
    IndexStoreError
        If it is a file, holds other things, or holds an index that a newer version wrote.
    """
    if path.exists() and not path.is_dir():
        raise IndexStoreError(f"{path}: a file; an index is a folder, so pick another name")
    # What a killed run leaves is an encoder, perhaps a dataset without a version, and the lock.
    others = [p.name for p in path.glob("*") if p.name not in (DATASET, _LOCK) and not p.name.startswith("encoder-")]
    if others and not _has_version(path):
        raise IndexStoreError(
            f"{path}: a folder that holds other things ({min(others)}); pick an empty or a new one for the index"
        )
    _is_damaged(path)


def _is_damaged(path: Path) -> bool:
    """Tell whether what is there is an index of ours that can't be opened any more; refuse what isn't ours."""
    try:
        if _has_version(path):
            read_passport(path, open_dataset(path))
    except DamagedIndexError:
        return True
    return False


def _has_version(path: Path) -> bool:
    return any((path / DATASET / "_versions").glob("*.manifest"))


@contextmanager
def _only_writer(path: Path) -> Iterator[None]:
    """Keep other writers away; the lock goes with the process, however that ends."""
    made = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / _LOCK).open("wb")
    except OSError as e:
        raise _unwritable(path, e) from e
    with lock:
        if not _lock(lock.fileno()):
            raise IndexStoreError(f"{path}: another process is writing this index; wait until it has ended")
        try:
            yield
        except OSError as e:
            raise _unwritable(path, e) from e
        finally:
            if made and not _has_version(path):
                shutil.rmtree(path, ignore_errors=True)


def _lock(file: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held by another
        return False
    return True


def _unwritable(path: Path, error: OSError) -> IndexStoreError:
    reason = error.strerror or first_line(error)
    return IndexStoreError(f"{path}: the index can't be written: {reason}; free space or pick another folder")


def _sweep(path: Path) -> None:
    """Drop versions before the last but one, files that no version names, and encoders likewise."""
    if not _has_version(path):
        shutil.rmtree(path / DATASET, ignore_errors=True)
    try:
        dataset = open_dataset(path) if _has_version(path) else None
        named = set()
        if dataset is not None:
            dataset.cleanup_old_versions(retain_versions=2, delete_unverified=True, error_if_tagged_old_versions=False)
            for entry in dataset.versions():
                named.add(read_passport(path, open_dataset(path, entry["version"])).encoder_folder)
    except Exception:
        return  # tidying never fails an index that was written; the next run tidies again
    for folder in path.glob("encoder-*"):
        if folder.name not in named:
            shutil.rmtree(folder, ignore_errors=True)
