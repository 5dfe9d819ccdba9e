"""A collection and an encoder -> an index, made or made true again: what is to be done is settled here, sync.py does it."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.atomic import claimed
from lookalike.collections.open import Collection, is_built_in, open_collection
from lookalike.encoders import base
from lookalike.encoders.base import Encoder
from lookalike.errors import CollectionError, EncoderError, IndexStoreError, UsageError, unknown_name
from lookalike.imaging.decode import Limits
from lookalike.index.graph import refresh_graphs
from lookalike.index.manifest import (
    MANIFEST,
    PREVIOUS,
    REBUILDING,
    Column,
    DamagedIndexError,
    Manifest,
    UnreadableIndexError,
    read_manifest,
)
from lookalike.index.reader import Index
from lookalike.index.schema import FACTS
from lookalike.index.store import Store, check_target, only_writer, save_encoder, sweep
from lookalike.index.sync import Summary, Sync, place_of
from lookalike.index.vectors import keep_lists
from lookalike.selection.adapt import AIMS
from lookalike.selection.adapt import adapt as learn_to_overlook
from lookalike.selection.compare import compare, encoder_named, shown_to
from lookalike.selection.defaults import default_encoder, default_postprocessing

_LEARN_FROM, _LEARN_BYTES = 60_000, 2**28  # an encoder that learns is fitted on no more images, evenly spread


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
    >>> default_path("mnist").as_posix(), default_path("mnist:test[0:100]").as_posix()
    ('mnist.lookalike', 'mnist-test.lookalike')
    """
    path = Path(source)
    built_in = re.match(r"mnist(:|\[|$)", str(source))  # open_collection takes the name before a folder of that name
    if built_in or not path.exists():
        path = Path(re.sub(r"\[[\d:]*\]$", "", str(source)))
    if path.is_dir() and not built_in:
        return path / ".lookalike"
    return path.with_name(path.name.replace(":", "-") + ".lookalike")


def build_index(
    collection: str | Path | NDArray[np.generic] | Collection,
    encoder: str | Path | Encoder | None = None,
    path: str | Path | None = None,
    *,
    adapt: bool | None = None,
    aim: str = "few",
    only: bool = False,
    retry: bool = False,
    rebuild: bool = False,
    replace_collection: bool = False,
    drop_unseen: bool = False,
    graph: bool | None = None,
    workers: int | None = None,
    approximate: bool | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    on_summary: Callable[[Summary], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Index:
    """Make an index true to a collection: only what is new, changed, renamed or gone costs work.

    What is committed on the way can be searched at once; after Ctrl-C, a crash or a power cut the same call goes on.
    With an encoder that the index doesn't hold, its descriptors are made beside the others, and it answers from the
    moment they are complete.

    Parameters
    ----------
    collection : str, Path, ndarray or Collection
        What :func:`lookalike.open_collection` takes.
    encoder : str, Path or Encoder, optional
        What :func:`lookalike.selection.compare.encoder_named` takes, or the encoder itself; fitted on the collection if it isn't
        yet. ``best`` tries several and takes what the verdict picks. By default what the index holds, and for a new
        one what :mod:`lookalike.selection.defaults` says.
    path : str or Path, optional
        The index's folder; by default :func:`default_path`.
    adapt : bool, optional
        Learn from damaged copies which differences to overlook, and keep that only where the self-test says that it
        helps. None goes by what the index holds; for a new one it is False, but an encoder that nobody named is adapted
        in a way that does no harm (:func:`lookalike.selection.defaults.default_postprocessing`).
    aim : {"few", "kind", "both"}
        What the self-test goes by, for ``adapt`` and ``best``: the closest few, everything of its kind, or both.
    only : bool
        Drop the index's other encoders. Without it only an older one of the same name goes.
    retry : bool
        Try files again that failed before although they haven't changed.
    rebuild : bool
        Read and encode every image anew, whatever is stored. A damaged index is only ever replaced by this, once the
        new one is complete.
    replace_collection : bool
        Allow that the index held another collection: what isn't in the new one goes, pictures in both are kept.
    drop_unseen : bool
        Drop what can't be seen now as well: pictures on a disk that isn't there, behind a broken link, in a closed
        folder. Without it they stay.
    graph : bool, optional
        Keep the neighbour graph that re-ranking by diffusion goes by. None keeps it where there is one already.
    workers : int, optional
        Processes that decode; by default one a core.
    approximate : bool, optional
        Keep lists for approximate search. None keeps them where there are some, and from
        ``vectors.CROSSOVER_BYTES`` on.
    on_progress : callable, optional
        Called with (files done, files in all).
    on_summary : callable, optional
        Called once at the end.
    on_note : callable, optional
        Called with a sentence before a step that takes long and isn't counted.

    Returns
    -------
    Index
        Open.

    Raises
    ------
    CollectionError, EncoderError
        If the images can't be read or the encoder doesn't fit them.
    IndexStoreError
        If no image could be indexed, the folder holds something else, another process writes, or the disk refuses.
    """
    begun = time.monotonic()
    if path is None:
        if isinstance(collection, (Collection, np.ndarray)):
            raise UsageError("say where the index goes: build_index(collection, encoder, path)")
        path = default_path(collection)
    path = Path(path)
    check_target(path)
    images = open_to_index(collection, path)
    with only_writer(path) as notes:

        def told(done: int, total: int) -> None:
            notes.note(done, total)
            if on_progress is not None:
                on_progress(done, total)

        try:
            said, manifest, store = _stored(path, rebuild, on_note or (lambda _: None))
            if said is not None and not replace_collection:
                _check_collection(path, said, images, store)
            columns, default = _columns(images, encoder, said, path, rebuild, adapt, aim, on_note or (lambda _: None))
            for column, fitted in columns:
                if said is None or column not in said.columns:
                    save_encoder(path, fitted)
            if manifest is None:  # from the first commit on, whoever opens it finds what is there
                columns = [(dataclasses.replace(column, count=0, complete=True), fitted) for column, fitted in columns]
            elif manifest is not said:  # an interrupted rebuilding, gone on with
                rebuild = False
            each = manifest is not None and manifest.reading.get("each", False) != images.options.each
            run = Sync(
                images,
                store,
                manifest,
                columns,
                default,
                only=only,
                retry=retry,
                rebuild=rebuild or each,
                drop_unseen=drop_unseen,
                workers=workers,
                on_progress=told,
            )
            manifest = run.run()
            index = Index(path, manifest)
            keep_lists(
                path, manifest, approximate, lambda: (index.descriptors, index.keys), on_note or (lambda _: None)
            )
        except BaseException:
            sweep(path)
            raise
    if graph is not None or manifest.graphs:
        refresh_graphs(path, wanted=graph, on_note=on_note)
        index = Index(path, read_manifest(path))
    if on_summary is not None:
        on_summary(run.summary(time.monotonic() - begun))
    return index


def open_to_index(
    source: str | Path | NDArray[np.generic] | Collection,
    path: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    hidden: bool | None = None,
    each: bool | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    links: bool | None = None,
    limits: dict[str, float | None] | None = None,
) -> Collection:
    """Open a collection the way its index read it, but for what is said otherwise.

    Parameters
    ----------
    source : str, Path, ndarray or Collection
        What :func:`lookalike.open_collection` takes; an opened collection comes back as it is.
    path : str or Path
        The index's folder, which needn't exist.
    size : int or (int, int), optional
        As of :func:`lookalike.open_collection`.
    include, exclude : sequence of str, optional
        Patterns; None goes by the index.
    hidden, each, links : bool, optional
        None goes by the index.
    path_column, label_column : str, optional
        None goes by the index.
    limits : dict, optional
        Fields of :class:`lookalike.imaging.decode.Limits`; None in it goes by the index.

    Returns
    -------
    Collection
        To be handed to :func:`build_index`.

    Raises
    ------
    CollectionError, UsageError
        As of :func:`lookalike.open_collection`.
    """
    if isinstance(source, Collection):
        return source
    stored: dict[str, Any] = {}
    try:
        stored = read_manifest(Path(path)).reading
    except UnreadableIndexError:  # or patterns that a person once gave would be forgotten for a moment's fault
        raise
    except IndexStoreError:
        pass
    asked = {"include": include, "exclude": exclude, "hidden": hidden, "each": each, "links": links}
    asked |= {"path_column": path_column, "label_column": label_column}
    options = stored | {name: value for name, value in asked.items() if value is not None}
    cost = stored.get("limits", {}) | {name: value for name, value in (limits or {}).items() if value is not None}
    return open_collection(source, size=size, **options | {"limits": Limits(**cost)})


def collection_now(index: Index) -> Collection | None:
    """Open the collection of an index as it is now.

    Parameters
    ----------
    index : Index
        Any.

    Returns
    -------
    Collection or None
        None where it was in memory, or can't be opened any more. A folder that was moved with its index inside is found.
    """
    source = index.manifest.source
    if not is_built_in(source):
        if index.path.name == ".lookalike" and not Path(source).exists():
            source = str(index.path.resolve().parent)
        if not Path(source).exists():
            return None
    with suppress(CollectionError):
        return open_to_index(source, index.path)
    return None


def changed_since(index: Index, told: dict[str, Any]) -> str | None:
    """Say how a file differs from what was indexed.

    Parameters
    ----------
    index : Index
        Any.
    told : dict
        What :meth:`lookalike.index.reader.Index.why` says of the file.

    Returns
    -------
    str or None
        A few words; None where nothing has changed, or it is no file.
    """
    images = collection_now(index)
    if images is None or images.entries is None:
        return None
    entry = next((e for e in images.entries if told["path"] in (e.id, f"{e.id}#{told['frame']}")), None)
    if entry is None:
        return "no longer there; index again"
    same = (entry.size, entry.mtime_ns) == (told["size"], told["mtime_ns"])
    return None if same else "changed since it was indexed; index again"


def _stored(path: Path, rebuild: bool, note: Callable[[str], None]) -> tuple[Manifest | None, Manifest | None, Store]:
    """Open what is there.

    Returns
    -------
    (Manifest or None, Manifest or None, Store)
        What is said of the index, the rows that the run begins from, and where they are. The two manifests are one, but
        for a damaged index, which is made anew beside itself: there the second is that of an interrupted rebuilding.
    """
    if not (path / MANIFEST).exists() and MANIFEST not in claimed(path):
        sweep(path)  # of what a killed run has left
        return None, None, Store(path, None)
    said: Manifest | None = None
    try:
        said = read_manifest(path)
        return said, said, Store(path, said)
    except DamagedIndexError as e:
        if not rebuild:
            raise
        note(f"{e}; it is kept until the new one is complete")
    if said is None:
        with suppress(IndexStoreError):
            said = read_manifest(path, PREVIOUS)
    if (path / REBUILDING).exists():
        with suppress(DamagedIndexError):
            begun = read_manifest(path, REBUILDING)
            return said or begun, begun, Store(path, begun, aside=True)
    return said, None, Store(path, None, aside=True)


def _check_collection(path: Path, manifest: Manifest, images: Collection, store: Store) -> None:
    if manifest.source == images.source:
        return
    here = place_of(path, images)
    # A folder that was moved takes its index along: then that lies where it lay before.
    moved = here == ".lookalike" if manifest.place is None else here != "" and here == manifest.place
    if not moved or (Path(manifest.source).exists() and not _is_a_copy(store, images)):
        was = "" if is_built_in(manifest.source) or Path(manifest.source).exists() else ", which isn't there any more"
        raise IndexStoreError(
            f"{path}: holds the index of {manifest.collection} ({manifest.source}{was}), not of {images.source}; if that "
            "was only renamed or moved, --replace-collection keeps all pictures that are the same; otherwise it gives "
            "that index up, so pick another folder with -o"
        )


def _is_a_copy(store: Store, images: Collection) -> bool:
    """Tell whether a collection holds most of an index's files, under the same names: who copies one copies its index."""
    if "id" not in store.columns or images.entries is None:
        return True
    table = store.read(["id", "size", "outcome", "frame"])
    rows = zip(*(table[name].to_pylist() for name in ("id", "size", "outcome", "frame")), strict=True)
    known = {(identity, size) for identity, size, outcome, frame in rows if outcome == "indexed" and not frame}
    return 2 * len(known.intersection((entry.id, entry.size) for entry in images.entries)) >= len(known)


def _columns(
    images: Collection,
    encoder: str | Path | Encoder | None,
    manifest: Manifest | None,
    path: Path,
    rebuild: bool,
    adapt: bool | None,
    aim: str,
    note: Callable[[str], None],
) -> tuple[list[tuple[Column, Encoder]], str]:
    """Return the encoders that every image goes through, and the name of the column that will answer."""
    loaded = {} if manifest is None else _loaded(manifest, path, rebuild)
    complete = [pair for pair in loaded.values() if pair[0].complete]
    shape = images.shape if manifest is None or images.entries is None or images.is_sized else None
    if encoder is None and manifest is not None:
        same_shape = shape is None or list(shape) == manifest.shape
        if manifest.default in loaded and same_shape and adapt in (None, manifest.view.post is not None):
            return complete, manifest.default
        encoder = base.create(manifest.encoder, **manifest.params)
        if encoder.learns:
            raise EncoderError(
                f"{path}: the encoder {manifest.encoder} must be given, since it takes other images now or can't be loaded "
                "any more: --encoder FOLDER"
            )
    post = None
    if encoder is None:
        encoder, post = _usual(images, adapt, note)
    asked = encoder if isinstance(encoder, Encoder) else _asked(encoder, images, aim, note)
    for column, fitted in loaded.values():
        if _is_same(column, asked, shape, adapt):
            return [*(pair for pair in complete if pair[0] != column), (column, fitted)], column.column
    ready = _ready(asked, images)
    if adapt:
        note(f"learning from damaged copies what {ready.name} is to overlook, which takes up to two minutes")
        ready, found = learn_to_overlook(ready, _sample(shown_to(ready, images)), aim=aim)
        post = found.chosen
    taken = set(FACTS) | {c.column for c in manifest.columns} if manifest else set(FACTS)
    name = next(n for n in (ready.name, *(f"{ready.name}_{i}" for i in range(2, len(taken) + 3))) if n not in taken)
    column = Column(
        column=name,
        encoder=ready.name,
        params=ready.params,
        fingerprint=ready.fingerprint,
        distance=ready.distance,
        dimension=ready.dimension_,
        dtype=np.dtype(ready.dtype).name,
        post=post,
        shape=list(ready.shape_),
        resized=images.resized,
        complete=manifest is None,
    )
    return [*complete, (column, ready)], name


def _loaded(manifest: Manifest, path: Path, rebuild: bool) -> dict[str, tuple[Column, Encoder]]:
    """Load the encoders of an index by their columns; one that can't be is left out of an index that is made anew."""
    found = {}
    for column in manifest.columns:
        try:
            found[column.column] = (column, base.load(path / column.encoder_folder))
        except EncoderError as e:
            if not rebuild:
                raise DamagedIndexError(path, f"its encoder can't be loaded: {e}") from e
        except OSError as e:
            raise UnreadableIndexError(path, f"its encoder can't be read: {e.strerror or e}") from e
    return found


def _usual(images: Collection, adapt: bool | None, note: Callable[[str], None]) -> tuple[str | Encoder, str | None]:
    """Return the encoder for somebody who names none, and the name of its post-processing, if that was to be chosen."""
    name = default_encoder(images)
    if name is None:  # no image can be read: that is what is to be said, later
        return "hog", None
    found = default_postprocessing(name, images) if adapt is None else None
    how = "" if found is None else f", {found[1]}"
    bare = "" if found is None else "; --no-adapt takes it as it is"
    note(f"encoder: {name}{how}, which suits what these images look like{bare}; --encoder best measures others")
    return found or (name, None)


def _asked(name: str | Path, images: Collection, aim: str, note: Callable[[str], None]) -> Encoder:
    if str(name) == "best":
        if aim not in AIMS:
            raise unknown_name("aim", aim, AIMS)
        note("trying encoders on a sample, which takes a few minutes: lookalike compare shows what comes out")
        return compare(images).encoders[aim]
    return encoder_named(name)


def _is_same(column: Column, encoder: Encoder, shape: tuple[int, ...] | None, adapt: bool | None) -> bool:
    """Tell whether a column is what an encoder makes; one that isn't fitted yet counts by its name and parameters."""
    if encoder.is_fitted:
        return column.fingerprint == encoder.fingerprint
    alike = (column.encoder, column.params) == (encoder.name, encoder.params)
    return alike and (shape is None or list(shape) == column.shape) and adapt in (None, column.post is not None)


def _ready(encoder: Encoder, images: Collection) -> Encoder:
    shown = shown_to(encoder, images)
    if not encoder.is_fitted:
        encoder.fit(_sample(shown) if encoder.learns else np.zeros((1, *shown.shape), np.uint8))
    encoder.check_images(np.empty((0, *shown.shape), np.uint8))
    return encoder


def _sample(images: Collection) -> NDArray[np.uint8]:
    most = max(1, min(_LEARN_FROM, _LEARN_BYTES // int(np.prod(images.shape))))
    return images.evenly(most).array()
