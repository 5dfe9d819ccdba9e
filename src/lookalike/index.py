"""Descriptors + facts + passport <-> one Lance dataset. How it is stored: docs/storage.md."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike import encoders
from lookalike.collection import Collection, open_collection
from lookalike.distances import DISTANCES, Database
from lookalike.encoders import Encoder
from lookalike.errors import EncoderError, IndexStoreError, UsageError, unknown_name
from lookalike.images import from_png, to_png

if TYPE_CHECKING:
    from lookalike.search import Match

FORMAT = 1
#: The folder's one Lance dataset, and the key of the passport in its schema's metadata.
DATASET = "images.lance"
PASSPORT = "lookalike.passport"
THUMBNAIL_SIDE = 128

_BATCH = 1024
_LEARN_FROM = 60_000  # an encoder named, not loaded, is fitted on at most so many images, evenly spread


@dataclass(frozen=True)
class Passport:
    """What an index was made of; a query or an encoder that doesn't fit is refused by it.

    Attributes
    ----------
    format : int
        Of the index itself; a newer one is refused.
    collection : str
        As the user named it.
    encoder : str
        The encoder's name.
    params : dict
        The encoder's parameters.
    fingerprint : str
        Of the encoder and its weights.
    distance : str
        The encoder's own distance.
    dimension : int
        Length of a descriptor.
    shape : list of int
        Shape of the images the encoder was given.
    resized : bool
        Whether images of other sizes were brought to that shape.
    count : int
        Images with a descriptor.
    failed : int
        Images without.
    versions : dict
        Of lookalike, lance and numpy.
    """

    format: int
    collection: str
    encoder: str
    params: dict[str, Any]
    fingerprint: str
    distance: str
    dimension: int
    shape: list[int]
    resized: bool
    count: int
    failed: int
    versions: dict[str, str]


@dataclass(frozen=True)
class Summary:
    """What ``build_index`` did, as ``lookalike index --json`` prints it."""

    indexed: int
    failed: int
    seconds: float
    images_per_second: float
    encoder: str
    dimension: int
    path: str


def default_path(source: str | Path) -> Path:
    """Return where the index of a collection lies unless one says otherwise.

    Parameters
    ----------
    source : str or Path
        What :func:`lookalike.open_collection` takes.

    Returns
    -------
    Path
        ``FOLDER/.lookalike`` for a folder, else ``NAME.lookalike``: beside a file, and here for a built-in name.

    Examples
    --------
    >>> default_path("mnist:test").as_posix()
    'mnist.lookalike'
    """
    path = Path(source)
    if path.is_dir():
        return path / ".lookalike"
    if path.exists():
        return path.with_name(path.name + ".lookalike")
    return Path(str(source).partition("[")[0].partition(":")[0] + ".lookalike")


def build_index(
    collection: str | Path | NDArray[np.generic] | Collection,
    encoder: str | Path | Encoder = "hog",
    path: str | Path | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    on_summary: Callable[[Summary], None] | None = None,
) -> Index:
    """Encode a collection and store it; an index that was there stays whole until the new one is complete.

    Parameters
    ----------
    collection : str, Path, ndarray or Collection
        What :func:`lookalike.open_collection` takes.
    encoder : str, Path or Encoder
        A name, the folder of a trained one, or the encoder itself; fitted on the collection if it isn't yet.
    path : str or Path, optional
        The index's folder; by default :func:`default_path`.
    on_progress : callable, optional
        Called with (images done, images in all).
    on_summary : callable, optional
        Called once at the end.

    Returns
    -------
    Index
        The new index, open.

    Raises
    ------
    CollectionError, EncoderError
        If the images can't be read or the encoder doesn't fit them.
    IndexStoreError
        If no image could be indexed, the folder holds something else, or the disk refuses.
    """
    begun = time.monotonic()
    if path is None:
        if isinstance(collection, (Collection, np.ndarray)):
            raise UsageError("say where the index goes: build_index(collection, encoder, path)")
        path = default_path(collection)
    images, path = open_collection(collection), Path(path)
    _check_target(path)
    encoder = _ready(encoder, images)
    counts = {"indexed": 0, "failed": 0}
    first_reason = ""
    column = encoder.name
    schema = _schema(column, encoder.dimension_)

    def batches() -> Iterator[Any]:
        nonlocal first_reason
        for batch in images.batches(_BATCH):
            rows = _rows(images, batch.positions, batch.images, batch.failures, encoder, schema)
            done = sum(counts.values()) + rows.num_rows
            reasons = [r for r in rows["reason"].to_pylist() if r is not None]
            first_reason = first_reason or next(iter(reasons), "")
            failed = len(reasons)
            counts["failed"] += failed
            counts["indexed"] += rows.num_rows - failed
            if on_progress is not None:
                on_progress(done, len(images))
            yield rows

    lance = _lance()
    try:
        folder = path / f"encoder-{encoder.fingerprint}"
        encoder.save(folder)
        dataset = str(path / DATASET)
        fragments = lance.fragment.write_fragments(batches(), dataset, schema=schema)
        if not counts["indexed"]:
            raise IndexStoreError(f"{images.name}: none of {len(images):,} images could be indexed; first {first_reason}")
        passport = _passport(images, encoder, counts)
        metadata = {PASSPORT: json.dumps(asdict(passport))}
        # The one step that makes the new index visible, whole.
        operation = lance.LanceOperation.Overwrite(schema.with_metadata(metadata), fragments)
        lance.LanceDataset.commit(dataset, operation)
    except OSError as e:
        raise IndexStoreError(f"{path}: the index can't be written: {_first_line(e)}; free space or pick another folder") from e
    _clean(lance, path, keep=folder)
    index = Index(path, passport)
    if on_summary is not None:
        seconds = time.monotonic() - begun
        done = counts["indexed"] + counts["failed"]
        on_summary(Summary(**counts, seconds=round(seconds, 3), images_per_second=round(done / seconds, 1),
                           encoder=encoder.name, dimension=encoder.dimension_, path=str(path)))  # fmt: skip
    return index


def open_index(path: str | Path, *, encoder: str | Path | Encoder | None = None) -> Index:
    """Open an index; only its passport is read until something is asked of it.

    Parameters
    ----------
    path : str or Path
        The folder ``build_index`` made.
    encoder : str, Path or Encoder, optional
        Refuse the index if it was made by another.

    Returns
    -------
    Index
        Open for searching.

    Raises
    ------
    IndexStoreError
        If there is none, it is damaged, a newer version wrote it, or another encoder made it.
    """
    path = Path(path)
    if not (path / DATASET).is_dir():
        what = "is not an index (it lacks " + DATASET + ")" if path.exists() else "does not exist"
        raise IndexStoreError(f"{path}: {what}; make one with: lookalike index COLLECTION -o {path}")
    try:
        metadata = _lance().dataset(str(path / DATASET)).schema.metadata or {}
        stated = json.loads(metadata[PASSPORT.encode()])
        if stated["format"] > FORMAT:
            raise IndexStoreError(
                f"{path}: an index of format {stated['format']}, this version reads up to {FORMAT}; upgrade lookalike"
            )
        passport = Passport(**{f.name: stated[f.name] for f in fields(Passport)})
    except IndexStoreError:
        raise
    except Exception as e:  # lance raises ValueError, OSError and its own kinds on damaged files
        raise IndexStoreError(f"{path}: the index can't be opened ({_first_line(e)}); {_rebuild_hint(path)}") from e
    index = Index(path, passport)
    if encoder is not None:
        index.check_encoder(encoder)
    return index


class Index:
    """A stored collection: search it, look at it, score it. Made by :func:`build_index` and :func:`open_index`.

    Attributes
    ----------
    path : Path
        Its folder.
    passport : Passport
        What it was made of.
    """

    def __init__(self, path: Path, passport: Passport) -> None:
        self.path = path
        self.passport = passport
        self._databases: dict[str, Database] = {}

    def __len__(self) -> int:
        return self.passport.count

    def __repr__(self) -> str:
        p = self.passport
        return f"Index({str(self.path)!r}: {p.count:,} images, {p.encoder} {p.dimension}-d, {p.distance})"

    def search(
        self,
        query: str | Path | NDArray[np.generic] | Collection,
        k: int = 10,
        *,
        distance: str | None = None,
        resize: bool = False,
    ) -> list[Match]:
        """Find the images nearest to one query image; see :func:`lookalike.search.search` for many.

        Parameters
        ----------
        query : str, Path, ndarray or Collection
            One image: a file, ``mnist:test[7]``, an array (h, w) or (h, w, 3).
        k : int
            How many.
        distance : {"cosine", "euclidean"}, optional
            By default the encoder's own.
        resize : bool
            Bring an image of another size to the index's.

        Returns
        -------
        list of Match
            The nearest first; equal distances by position.

        Raises
        ------
        UsageError
            If the query holds several images, or ``k`` is out of range.
        """
        from lookalike.search import search

        results = search(self, query, k, distance=distance, resize=resize)
        if len(results) != 1:
            raise UsageError(f"one query image expected, {len(results)} given; use lookalike.search.search for many")
        return results[0].matches

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder that made the index, from the index's own folder."""
        folder = self.path / f"encoder-{self.passport.fingerprint}"
        try:
            encoder = encoders.load(folder)
        except EncoderError as e:
            raise IndexStoreError(f"{self.path}: its encoder can't be loaded: {e}; {_rebuild_hint(self.path)}") from e
        if encoder.fingerprint != self.passport.fingerprint:
            raise IndexStoreError(f"{folder}: not the encoder that made this index; {_rebuild_hint(self.path)}")
        return encoder

    def check_encoder(self, encoder: str | Path | Encoder) -> None:
        """Refuse an encoder that didn't make this index.

        Parameters
        ----------
        encoder : str, Path or Encoder
            A name, a folder, or the encoder itself.

        Raises
        ------
        IndexStoreError
            If its name or its fingerprint is another.
        """
        ours = f"{self.passport.encoder} ({self.passport.fingerprint})"
        if isinstance(encoder, str) and encoder in encoders.TABLE:
            given, same = encoder, encoder == self.passport.encoder
        else:
            loaded = encoder if isinstance(encoder, Encoder) else encoders.load(encoder)
            given, same = f"{loaded.name} ({loaded.fingerprint})", loaded.fingerprint == self.passport.fingerprint
        if not same:
            raise IndexStoreError(
                f"{self.path}: made by the encoder {ours}, not by {given}; their descriptors can't be compared. "
                f"Leave out --encoder, or index again: lookalike index {self.passport.collection} --encoder ..."
            )

    @cached_property
    def _facts(self) -> Any:
        return self._read(["id", "position", "label"])

    @property
    def ids(self) -> list[str]:
        """One an indexed image, in the order of the descriptors."""
        found: list[str] = self._facts["id"].to_pylist()
        return found

    @property
    def labels(self) -> NDArray[np.str_] | None:
        """One an indexed image, or None if the collection had none."""
        column = self._facts["label"]
        return None if column.null_count == len(column) else np.array(column.to_pylist(), np.str_)

    @cached_property
    def descriptors(self) -> NDArray[np.float32]:
        """The descriptors as the encoder gave them, float32, shape (count, dimension); read-only."""
        column = self._read([self.passport.encoder])[self.passport.encoder]
        out = np.empty((len(column), self.passport.dimension), np.float32)
        start = 0
        for chunk in column.chunks:
            out[start : start + len(chunk)] = chunk.flatten().to_numpy().reshape(len(chunk), -1)
            start += len(chunk)
        out.flags.writeable = False
        return out

    def database(self, distance: str | None = None) -> Database:
        """Return the descriptors made ready for a distance; made once, then kept.

        Parameters
        ----------
        distance : {"cosine", "euclidean"}, optional
            By default the encoder's own.

        Returns
        -------
        Database
            To search or to score.
        """
        distance = distance or self.passport.distance
        if distance not in DISTANCES:
            raise unknown_name("distance", distance, DISTANCES)
        if distance not in self._databases:
            self._databases[distance] = Database(self.descriptors, distance)
        return self._databases[distance]

    def facts(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return what is stored of some indexed images.

        Parameters
        ----------
        rows : sequence of int
            Rows of ``descriptors``.

        Returns
        -------
        list of dict
            Keys ``id``, ``position``, ``label`` (str or None).
        """
        found: list[dict[str, Any]] = self._facts.take(list(rows)).to_pylist()
        return found

    def thumbnails(self, rows: Sequence[int]) -> list[NDArray[np.uint8]]:
        """Return the stored pictures of some indexed images, none of whose sides is over 128 pixels.

        Parameters
        ----------
        rows : sequence of int
            Rows of ``descriptors``.

        Returns
        -------
        list of ndarray of uint8
            Of shape (h, w) or (h, w, 3).
        """
        positions = [f["position"] for f in self.facts(rows)]
        table = self._dataset.take(positions, columns=["thumbnail"])
        return [from_png(png) for png in table["thumbnail"].to_pylist()]

    def failures(self) -> list[dict[str, str]]:
        """Return the images that have no descriptor.

        Returns
        -------
        list of dict
            Keys ``path``, ``outcome``, ``stage``, ``reason``.
        """
        table = self._read(["id", "outcome", "stage", "reason"], "outcome != 'indexed'")
        return [{"path": row.pop("id"), **row} for row in table.to_pylist()]

    @cached_property
    def _dataset(self) -> Any:
        return _lance().dataset(str(self.path / DATASET))

    def _read(self, columns: list[str], where: str = "outcome = 'indexed'") -> Any:
        try:
            if self.passport.failed == 0 and where == "outcome = 'indexed'":
                table = self._dataset.to_table(columns=columns)
            else:
                table = self._dataset.to_table(columns=columns, filter=where)
        except Exception as e:  # as in open_index
            raise IndexStoreError(f"{self.path}: damaged ({_first_line(e)}); {_rebuild_hint(self.path)}") from e
        return table.combine_chunks() if len(columns) > 1 else table


def _ready(encoder: str | Path | Encoder, images: Collection) -> Encoder:
    if not isinstance(encoder, Encoder):
        named = isinstance(encoder, str) and encoder in encoders.TABLE
        encoder = encoders.create(str(encoder)) if named else encoders.load(encoder)
    if not encoder.is_fitted:
        step = max(1, -(-len(images) // _LEARN_FROM))
        sample = images.take(range(0, len(images), step)) if step > 1 else images
        encoder.fit(sample.array())
    encoder.check_images(np.empty((0, *images.shape), np.uint8))
    return encoder


def _rows(
    collection: Collection,
    positions: NDArray[np.int64],
    images: NDArray[np.uint8],
    failures: Sequence[tuple[int, str, str]],
    encoder: Encoder,
    schema: Any,
) -> Any:
    """Return one record batch: a row for each image, those that failed among them in their places."""
    import pyarrow as pa

    descriptors = encoder.encode(images)
    finite = np.isfinite(descriptors).all(axis=1)
    usable = finite & descriptors.any(axis=1)
    reasons = {p: ("failed", stage, reason) for p, stage, reason in failures}
    for i in np.flatnonzero(~usable).tolist():
        why = "its descriptor is all zeros: a blank image is like nothing" if finite[i] else "its descriptor holds NaN"
        reasons[int(positions[i])] = ("failed", "encode", f"{collection.ids[int(positions[i])]}: {why}")
    place = {int(p): i for i, p in enumerate(positions)}
    every = sorted({*place, *reasons})
    outcomes = [reasons.get(p, ("indexed", None, None)) for p in every]
    values = np.zeros((len(every), encoder.dimension_), np.float32)
    missing = np.array([p in reasons for p in every])
    values[~missing] = descriptors[usable]
    labels = collection.labels
    facts = [
        pa.array([collection.ids[p] for p in every], pa.string()),
        pa.array(every, pa.int64()),
        pa.array([None if labels is None else str(labels[p]) for p in every], pa.string()),
        pa.array([to_png(images[place[p]], THUMBNAIL_SIDE) if p in place else None for p in every], pa.binary()),
        *(pa.array([o[i] for o in outcomes], pa.string()) for i in range(3)),
    ]
    flat = pa.array(values.reshape(-1))
    mask = pa.array(missing) if missing.any() else None
    return pa.record_batch([*facts, pa.FixedSizeListArray.from_arrays(flat, encoder.dimension_, mask=mask)], schema=schema)


def _schema(column: str, dimension: int) -> Any:
    import pyarrow as pa

    text = pa.string()
    return pa.schema(
        [
            pa.field("id", text, nullable=False),
            pa.field("position", pa.int64(), nullable=False),
            ("label", text),
            ("thumbnail", pa.binary()),
            pa.field("outcome", text, nullable=False),
            ("stage", text),
            ("reason", text),
            (column, pa.list_(pa.float32(), dimension)),
        ]
    )


def _passport(images: Collection, encoder: Encoder, counts: dict[str, int]) -> Passport:
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
        count=counts["indexed"],
        failed=counts["failed"],
        versions={"lookalike": _our_version(), "pylance": version("pylance"), "numpy": np.__version__},
    )


def _our_version() -> str:
    from lookalike import __version__

    return __version__


def _check_target(path: Path) -> None:
    if path.is_file():
        raise IndexStoreError(f"{path}: a file; an index is a folder, pick another name")
    if path.is_dir() and any(path.iterdir()) and not (path / DATASET).exists() and not _leftover(path):
        raise IndexStoreError(f"{path}: a folder that holds other things; pick an empty or a new one for the index")


def _leftover(path: Path) -> bool:
    """Tell whether a folder holds only what a killed run leaves: an encoder without its dataset."""
    return all(p.name.startswith("encoder-") for p in path.iterdir())


def _clean(lance: Any, path: Path, keep: Path) -> None:
    """Drop versions of the dataset before the last but one, and encoders that no version left names."""
    dataset = lance.dataset(str(path / DATASET))
    dataset.cleanup_old_versions(retain_versions=2, error_if_tagged_old_versions=False)
    named = {keep.name}
    for entry in dataset.versions():
        metadata = lance.dataset(str(path / DATASET), version=entry["version"]).schema.metadata or {}
        if PASSPORT.encode() in metadata:
            named.add(f"encoder-{json.loads(metadata[PASSPORT.encode()])['fingerprint']}")
    for folder in path.glob("encoder-*"):
        if folder.name not in named:
            shutil.rmtree(folder, ignore_errors=True)


def _lance() -> Any:
    os.environ.setdefault("LANCE_LOG", "error")  # its notes on new datasets are not for our users
    import lance
    import lance.fragment

    return lance


def _rebuild_hint(path: Path) -> str:
    return f"make it again with: lookalike index COLLECTION -o {path}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


__all__ = ["Index", "Passport", "Summary", "build_index", "default_path", "open_index"]
