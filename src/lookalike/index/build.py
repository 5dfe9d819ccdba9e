"""A collection and an encoder -> an index, created or updated: what is to be done is decided here, :mod:`lookalike.index.sync` does it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from lookalike.atomic import claimed
from lookalike.collections.collection import Collection
from lookalike.collections.open import is_built_in
from lookalike.encoders.base import Encoder
from lookalike.errors import IndexStoreError
from lookalike.index.choice import Choice
from lookalike.index.columns import columns_of
from lookalike.index.graph import refresh_graphs
from lookalike.index.lance_store import LanceStore, give_memory_back
from lookalike.index.learn_post import learn_post
from lookalike.index.lock import only_writer
from lookalike.index.manifest import (
    MANIFEST,
    PREVIOUS,
    REBUILDING,
    Column,
    DamagedIndexError,
    Manifest,
    read_manifest,
)
from lookalike.index.reader import IndexReader
from lookalike.index.store import Store, place_of
from lookalike.index.sweep import save_encoder, sweep
from lookalike.index.sync import Rules, Summary, Sync, Target
from lookalike.index.sync.executor import Executor
from lookalike.index.vectors import keep_lists
from lookalike.object_store import is_address

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class IndexOptions:
    """What a run that writes an index is to do; each field as of :func:`lookalike.build_index`."""

    adapt: bool | str | None = None
    aim: str | None = None
    only: bool = False
    retry: bool = False
    rebuild: bool = False
    replace_collection: bool = False
    drop_unseen: bool = False
    graph: bool | None = None
    workers: int | None = None
    approximate: bool | None = None


#: The encoders of a run, saved -> what reads its files.
MakeExecutor: TypeAlias = Callable[[list[tuple[Column, Path]]], Executor]


def update_index(
    images: Collection,
    encoder: str | Path | Encoder | None,
    path: Path,
    options: IndexOptions,
    *,
    make_executor: MakeExecutor | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    on_written: Callable[[IndexReader], None] | None = None,
) -> tuple[IndexReader, Summary]:
    """Make an index, or update it; the work of :func:`lookalike.build_index`.

    Parameters
    ----------
    images : Collection
        Opened by :func:`lookalike.index.reopen.open_to_index`.
    encoder : str, Path, Encoder or None
        As of :func:`lookalike.build_index`.
    path : Path
        The index's folder, found fit by :func:`lookalike.index.lock.check_target`.
    options : IndexOptions
        What to do.
    make_executor : callable, optional
        Called with the columns of the run and the folders of their encoders: what reads files in place of this machine's
        sandbox.
    on_progress, on_note : callable, optional
        As of :func:`lookalike.build_index`.
    on_written : callable, optional
        Called with the index once it is written and others may write again, as a part of the run.

    Returns
    -------
    (IndexReader, Summary)
        The index, open, and what the run did.

    Raises
    ------
    CollectionError, EncoderError, IndexStoreError
        As of :func:`lookalike.build_index`.
    """
    begun = time.monotonic()
    note = on_note or _log.info
    with only_writer(path) as notes:

        def report(done: int, total: int) -> None:
            notes.note(done, total)
            if on_progress is not None:
                on_progress(done, total)

        try:
            stated, manifest, store = _stored(path, options.rebuild, note)
            if stated is not None and not options.replace_collection:
                _check_collection(path, stated, images, store)
            choice = Choice.of(options, stated, encoder, note)
            columns, default = columns_of(images, encoder, stated, path, choice, note, rebuild=options.rebuild)
            for column, fitted in columns:
                if stated is None or column not in stated.columns:
                    save_encoder(path, fitted)
            if manifest is None:  # from the first commit on, whoever opens it finds what is there
                columns = [(replace(column, count=0, complete=True), fitted) for column, fitted in columns]
            goes_on = manifest is not None and manifest is not stated  # an interrupted rebuilding
            each = manifest is not None and manifest.reading.get("each", False) != images.options.each
            rules = Rules(
                retry=options.retry,
                rebuild=(options.rebuild and not goes_on) or each,
                drop_unseen=options.drop_unseen,
            )
            run = Sync(
                Target(images, columns, default, options.only),
                store,
                manifest,
                rules,
                executor=make_executor and make_executor([(c, path / c.encoder_folder) for c, _ in columns]),
                workers=options.workers,
                on_progress=report,
            )
            manifest = run.run()
            if stated is not None and not rules.rebuild:
                _note_other_providers(stated, manifest, note)
            manifest = learn_post(path, store, manifest, note)
            give_memory_back()  # lists take some, too
            index = IndexReader(path, manifest)
            keep_lists(path, manifest, options.approximate, lambda: (index.descriptors, index.keys), note)
        except BaseException:
            sweep(path)
            raise
    refresh_graphs(path, wanted=options.graph, on_note=on_note)
    if on_written is not None:
        on_written(index)
    return index, run.summary(time.monotonic() - begun, manifest)


def _note_other_providers(before: Manifest, after: Manifest, note: Callable[[str], None]) -> None:
    """Say where an encoder's new descriptors were computed by another provider than those that stay."""
    known = {column.column: column.provider for column in before.columns}
    for column in after.columns:
        was = known.get(column.column)
        if was is not None and column.provider != was:
            note(
                f"{column.encoder}: new descriptors are made by {column.provider}, those before by {was}; they differ by "
                "rounding, and --rebuild makes all of them anew"
            )


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
        return None, None, LanceStore(path, None)
    stated: Manifest | None = None
    try:
        stated = read_manifest(path)
        return stated, stated, LanceStore(path, stated)
    except DamagedIndexError as e:
        if not rebuild:
            raise
        note(f"{e}; it is kept until the new one is complete")
    if stated is None:
        with suppress(IndexStoreError):
            stated = read_manifest(path, PREVIOUS)
    if (path / REBUILDING).exists():
        with suppress(DamagedIndexError):
            begun = read_manifest(path, REBUILDING)
            return stated or begun, begun, LanceStore(path, begun, aside=True)
    return stated, None, LanceStore(path, None, aside=True)


def _check_collection(path: Path, manifest: Manifest, images: Collection, store: Store) -> None:
    if manifest.source == images.source:
        return
    here = place_of(path, images)
    # A folder that was moved takes its index along: then that lies where it lay before.
    moved = here == ".lookalike" if manifest.place is None else here != "" and here == manifest.place
    if not moved or (Path(manifest.source).exists() and not _is_a_copy(store, images)):
        known = is_built_in(manifest.source) or is_address(manifest.source)
        was = "" if known or Path(manifest.source).exists() else ", which isn't there any more"
        raise IndexStoreError(
            f"{path}: holds the index of {manifest.collection} ({manifest.source}{was}), not of {images.source}; if that "
            "was only renamed or moved, --replace-collection keeps all pictures that are the same; otherwise it gives "
            "that index up, so pick another folder with -o"
        )


def _is_a_copy(store: Store, images: Collection) -> bool:
    """Tell whether a collection holds most of an index's files, under the same names: who copies one copies its index."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if "id" not in store.columns or images.entries is None:
        return True
    table = store.read(["id", "size", "outcome", "frame"])
    known = table.filter(pc.and_(pc.equal(table["outcome"], "indexed"), pc.equal(table["frame"], 0)))
    place = pc.index_in(images.entries.column("id"), value_set=known["id"].combine_chunks().cast(pa.large_string()))
    sizes = known["size"].take(place)  # of the files that both have, by the collection's order
    same = pc.sum(pc.equal(sizes, images.entries.column("size"))).as_py() or 0
    return bool(2 * same >= known.num_rows)
