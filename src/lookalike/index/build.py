"""A collection and an encoder -> an index, created or updated: what is to be done is decided here, :mod:`lookalike.index.sync` does it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lookalike.atomic import claimed
from lookalike.collections.collection import Collection
from lookalike.collections.open import is_built_in
from lookalike.encoders.base import Encoder
from lookalike.encoders.neural import RETIRED
from lookalike.encoders.onnx.known_models import KNOWN, title_of
from lookalike.encoders.registry import create as create_encoder
from lookalike.encoders.serialize import load as load_encoder
from lookalike.errors import EncoderError, IndexStoreError
from lookalike.index.choice import Choice, adapted, best_encoder, fits, learning_sample, same_choice
from lookalike.index.graph import refresh_graphs
from lookalike.index.lance_store import LanceStore, give_memory_back
from lookalike.index.learn_post import is_due, is_reduced_by_few, learn_post
from lookalike.index.lock import only_writer
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
from lookalike.index.reader import IndexReader
from lookalike.index.schema import FACTS
from lookalike.index.store import Store, place_of
from lookalike.index.sweep import save_encoder, sweep
from lookalike.index.sync import Rules, Summary, Sync, Target
from lookalike.index.vectors import keep_lists
from lookalike.selection.compare import encoder_named
from lookalike.selection.defaults import default_encoder, shown_to
from lookalike.selection.recipes import DEFAULT, Recipe

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


def update_index(
    images: Collection,
    encoder: str | Path | Encoder | None,
    path: Path,
    options: IndexOptions,
    *,
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
            columns, default = _columns(images, encoder, stated, path, options, note)
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
        was = "" if is_built_in(manifest.source) or Path(manifest.source).exists() else ", which isn't there any more"
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


def _columns(
    images: Collection,
    encoder: str | Path | Encoder | None,
    manifest: Manifest | None,
    path: Path,
    options: IndexOptions,
    note: Callable[[str], None],
) -> tuple[list[tuple[Column, Encoder]], str]:
    """Return the encoders that every image goes through, and the name of the column that will answer."""
    loaded = {} if manifest is None else _loaded(manifest, path, options.rebuild)
    complete = [pair for pair in loaded.values() if pair[0].complete]
    shape = images.shape if manifest is None or images.entries is None or images.is_sized else None
    choice = Choice.of(options, manifest, encoder, note)
    learnt_from, aim, verdict, post = None, None, None, None
    if encoder is None and manifest is not None:
        same_shape = shape is None or list(shape) == manifest.shape
        kept = loaded.get(manifest.default)
        new = max(0, len(images) - sum(manifest.outcomes.values()))  # files that are known to be broken stay so
        again = kept is not None and is_due(kept[0], kept[0].count + new) and is_reduced_by_few(*kept)
        if kept is not None and same_shape and not again and fits(kept[0], choice):
            if manifest.view.params.get("model") in RETIRED:
                note(
                    f"{path}: its encoder, {manifest.view.params['model']}, is that of an older lookalike; index again into "
                    "a new folder (-o) to get the present default"
                )
            return complete, manifest.default
        encoder = create_encoder(manifest.encoder, **manifest.view.params)
        is_default = kept is not None and kept[0].learnt_from is not None
        learnt_from = 0 if choice.adapt is None and is_default else None
        if choice.adapt is None and kept is not None:
            aim, verdict = kept[0].aim, kept[0].verdict
        if encoder.learns:
            raise EncoderError(
                f"{path}: the encoder {manifest.encoder} must be given, since it takes other images now or can't be loaded "
                "any more: --encoder FOLDER"
            )
    elif encoder is None:
        encoder = _default(images, note)
        learnt_from = 0 if choice.adapt is None else None
    is_best, wanted = str(encoder) == "best", choice
    if is_best:
        asked, recipe, verdict = best_encoder(images, choice.aim, note)
        aim, (learnt_from, post) = choice.aim, _learnt(recipe)
        wanted = Choice(True, recipe, aim)
    else:
        asked = encoder if isinstance(encoder, Encoder) else encoder_named(encoder)
    for column, fitted in loaded.values():
        pending = is_best or learnt_from in (None, column.learnt_from)
        if pending and _is_same(column, asked, shape) and fits(column, wanted):
            why = replace(column, aim=aim, verdict=verdict) if is_best else column
            return [*(pair for pair in complete if pair[0] != column), (why, fitted)], column.column
    ready = _ready(asked, images)
    if choice.adapt:
        ready, recipe, verdict = adapted(ready, images, choice, note)
        aim = None if verdict is None else choice.aim
        kept_one = None if options.rebuild else same_choice(loaded, ready, replace(choice, recipe=recipe))
        if kept_one is not None:  # chosen for another aim before, and the same came out
            column = replace(kept_one[0], aim=aim, verdict=verdict)
            return [*(pair for pair in complete if pair[0] != kept_one[0]), (column, kept_one[1])], column.column
        learnt_from, post = _learnt(recipe)
    taken = set(FACTS) | {c.column for c in manifest.columns} if manifest else set(FACTS)
    first = title_of(ready.name, ready.params)
    name = next(n for n in (first, *(f"{first}_{i}" for i in range(2, len(taken) + 3))) if n not in taken)
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
        learnt_from=learnt_from,
        aim=aim,
        verdict=verdict,
    )
    return [*complete, (column, ready)], name


def _learnt(recipe: Recipe) -> tuple[int | None, str | None]:
    """Return what a column says of a post-processing: the default is learnt from the index itself, and again when it has doubled."""
    return (0, None) if recipe == DEFAULT else (None, recipe.name)


def _loaded(manifest: Manifest, path: Path, rebuild: bool) -> dict[str, tuple[Column, Encoder]]:
    """Load the encoders of an index by their columns; one that can't be is left out of an index that is made anew."""
    encoders = {}
    for column in manifest.columns:
        try:
            encoders[column.column] = (column, load_encoder(path / column.encoder_folder))
        except EncoderError as e:
            if not rebuild:
                raise DamagedIndexError(path, f"its encoder can't be loaded: {e}") from e
        except OSError as e:
            raise UnreadableIndexError(path, f"its encoder can't be read: {e.strerror or e}") from e
    return encoders


def _default(images: Collection, note: Callable[[str], None]) -> Encoder:
    """Return the encoder for somebody who names none."""
    encoder = default_encoder(images)
    if encoder is None:  # no image can be read: that is what is to be said, later
        return create_encoder("hog")
    named = ", ".join([encoder.name, *(f"{k}={v}".lower() for k, v in encoder.params.items() if v is True)])
    note(f"encoder: {named}, which suits what these images look like; --encoder best measures others")
    if encoder.name == "neural":
        note(f"well-known models can be fetched by name: -e {', '.join(KNOWN)} (see: lookalike encoders)")
    return encoder


def _is_same(column: Column, encoder: Encoder, shape: tuple[int, ...] | None) -> bool:
    """Tell whether a column is what an encoder makes; one that isn't fitted yet counts by its name and parameters."""
    if encoder.is_fitted:
        return column.fingerprint == encoder.fingerprint
    alike = (column.encoder, column.params) == (encoder.name, encoder.params)
    return alike and (shape is None or list(shape) == column.shape)


def _ready(encoder: Encoder, images: Collection) -> Encoder:
    shown = shown_to(encoder, images)
    if not encoder.is_fitted:
        encoder.fit(learning_sample(shown) if encoder.learns else np.zeros((1, *shown.shape), np.uint8))
    encoder.check_images(np.empty((0, *shown.shape), np.uint8))
    return encoder
