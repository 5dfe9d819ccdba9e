"""What programs call: an index is built, opened, asked and scored by the names of this file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.collection import Collection
from lookalike.collections.open import Source
from lookalike.encoders.base import Encoder
from lookalike.errors import LookalikeError, UsageError
from lookalike.index.manifest import read_manifest
from lookalike.index.reader import IndexReader
from lookalike.index.vectors import CROSSOVER_BYTES
from lookalike.object_store import as_typed

if TYPE_CHECKING:
    from lookalike.index.sync import Summary
    from lookalike.search.engine import Match
    from lookalike.search.request import Query
    from lookalike.search.response import Response


class Index(IndexReader):
    """A stored collection: search it, ask it, look at it. Made by :func:`lookalike.build_index` and :func:`open_index`.

    Attributes
    ----------
    path : Path
        Its folder.
    manifest : Manifest
        What it was made of, looked at through one of its encoders.
    """

    def search(
        self,
        query: Source,
        k: int = 10,
        *,
        distance: str | None = None,
        resize: bool = False,
        rerank: str | None = None,
        denoise: str | Path | None = None,
        how: str = "auto",
    ) -> list[Match]:
        """Find the images nearest to one query image; see :func:`lookalike.search.engine.search` for many.

        Parameters
        ----------
        query : str, Path, ndarray, PIL.Image.Image, bytes, file object or Collection
            One image: a file, ``mnist:test[7]``, an array (h, w) or (h, w, 3), a Pillow image, a file's bytes, an open file.
        k : int
            How many, at least 1; where there are fewer images, all of them.
        distance : {"cosine", "euclidean"}, optional
            By default the encoder's own.
        resize : bool
            Bring an image of another size to the index's.
        rerank : str, optional
            A second, better order without labels: ``diffusion``, ``geometric``, ``auto``, ...; see docs/ranking.md.
        denoise : str or Path, optional
            ``"auto"``, or a trained autoencoder's folder: take the noise out of the query first.
        how : {"auto", "exact", "approximate"}
            As of :meth:`nearest`.

        Returns
        -------
        list of Match
            The nearest first; equal distances by position.

        Raises
        ------
        UsageError
            If the query holds several images, or ``k`` is out of range.
        """
        from lookalike.search.engine import search

        results = search(self, query, k, distance=distance, resize=resize, rerank=rerank, denoise=denoise, how=how)
        if len(results) != 1:
            raise UsageError(
                f"one query image expected, {len(results)} given; use lookalike.search.engine.search for many"
            )
        return results[0].matches

    def ask(self, query: Query | Mapping[str, Any]) -> Response:
        """Answer one query made of images, crops, likes, dislikes, words and a filter, and say what the answers mean.

        Parameters
        ----------
        query : Query or mapping
            The documented JSON (docs/searching.md), as it is or as :class:`lookalike.Query` holds it.

        Returns
        -------
        Response
            A page of matches, and what is to be said of them.

        Raises
        ------
        UsageError
            If something in the query can't be used.
        CollectionError, EncoderError
            If an image can't be read or is of another size.
        """
        from lookalike.search.page import answer

        return answer(self, query)

    def tags(self, ids: Sequence[str]) -> list[list[tuple[str, float]]]:
        """Say what the shipped networks see in photos: words of WordNet. They are guesses.

        Parameters
        ----------
        ids : sequence of str
            Of images of the index.

        Returns
        -------
        list of list of (str, float)
            Of each image up to three words, the surest first, each with the share of the networks' answer that it has, 0.7 to 1;
            none where they aren't sure enough, or no shipped network is among the encoders.

        Raises
        ------
        UsageError
            If there is no such image.
        """
        from lookalike.search.compose import row_of
        from lookalike.search.learnt import tags_of

        rows = [row_of(self, name) for name in ids]
        tags = tags_of(self)
        return [[] for _ in rows] if tags is None else tags.of(rows)


def open_index(path: str | Path, *, encoder: str | Path | Encoder | None = None) -> Index:
    """Open an index; only its manifest is read until something is asked of it.

    Parameters
    ----------
    path : str or Path
        The folder that :func:`lookalike.build_index` made, or its ``s3://`` address, of which a copy is brought up to date.
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
    from lookalike.index.bucket import index_to_read

    path = index_to_read(path)
    index = Index(path, read_manifest(path))
    return index if encoder is None else index.with_encoder(encoder)


def build_index(
    collection: str | Path | NDArray[np.generic] | Collection,
    encoder: str | Path | Encoder | None = None,
    path: str | Path | None = None,
    *,
    adapt: bool | str | None = None,
    aim: str | None = None,
    only: bool = False,
    retry: bool = False,
    rebuild: bool = False,
    replace_collection: bool = False,
    drop_unseen: bool = False,
    graph: bool | None = None,
    workers: int | None = None,
    approximate: bool | None = None,
    on: str = "local",
    on_progress: Callable[[int, int], None] | None = None,
    on_summary: Callable[[Summary], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Index:
    """Create an index, or update it: only new, changed, renamed and deleted files cost work.

    What is committed on the way can be searched at once. After Ctrl-C, a crash or a power cut the same call goes on. An
    encoder that the index doesn't hold is added beside the others; it answers from the moment its descriptors are complete.

    Parameters
    ----------
    collection : str, Path, ndarray or Collection
        What :func:`lookalike.open_collection` takes.
    encoder : str, Path or Encoder, optional
        An encoder's name with parameters (``"hog:cells=6"``), a well-known model that was fetched (``"siglip2"``, see
        :func:`lookalike.create_encoder`), the folder of a saved one, ``"best"`` (several are tried, the
        verdict picks one), or the encoder itself, which is fitted on the collection if it isn't yet. By default the
        index's own; for a new index the default encoder (:mod:`lookalike.selection.defaults`).
    path : str or Path, optional
        The index's folder, or an address: ``s3://bucket/index``. By default ``.lookalike`` in the collection's folder, else ``NAME.lookalike``.
    adapt : bool or str, optional
        Judge post-processings without labels: the default one is used, or one that is surely better; or the name of one
        (:mod:`lookalike.selection.recipes`), which is used whatever the judge says. By default what the index has; for a new
        index without ``encoder``, the default post-processing.
    aim : {"nearest", "category", "both"}, optional
        What ``adapt`` and ``"best"`` choose for: the nearest images (the default), all images of the same category, or both.
        What an index was chosen for otherwise is chosen again.
    only : bool
        Drop the index's other encoders. Otherwise only an older one of the same name is dropped.
    retry : bool
        Try unchanged files again that failed before.
    rebuild : bool
        Read and encode every image again. Only this replaces a damaged index, once the new one is complete.
    replace_collection : bool
        Allow another collection than the index held: images in both are kept, the others are dropped.
    drop_unseen : bool
        Also drop images that can't be seen now: on a disk that is away, behind a broken link, in a closed folder.
    graph : bool, optional
        Keep the neighbour graph that diffusion uses. By default it is kept where there is one.
    workers : int, optional
        Number of processes that decode; by default one a core.
    approximate : bool, optional
        Keep an inverted file for approximate search. By default it is kept where there is one, and made of 268 MB of
        descriptors and more.
    on : str
        What reads and encodes: ``local``, this machine; ``ray:local``, Ray on this machine; ``ray://HOST:10001``, a cluster.
    on_progress : callable, optional
        Called with (files done, files in all).
    on_summary : callable, optional
        Called once at the end with a :class:`lookalike.index.sync.run.Summary`.
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
    from lookalike.cluster.on_ray import check_on, running_on
    from lookalike.index.bucket import index_to_write, shown_place
    from lookalike.index.build import IndexOptions, update_index
    from lookalike.index.lock import check_target
    from lookalike.index.reopen import default_path, open_to_index

    if path is None:
        if isinstance(collection, (Collection, np.ndarray)):
            raise UsageError("say where the index goes: build_index(collection, encoder, path)")
        path = as_typed(default_path(collection))
    check_on(on)
    options = IndexOptions(
        adapt=adapt,
        aim=aim,
        only=only,
        retry=retry,
        rebuild=rebuild,
        replace_collection=replace_collection,
        drop_unseen=drop_unseen,
        graph=graph,
        workers=workers,
        approximate=approximate,
    )
    with index_to_write(path) as folder, running_on(on) as make_executor:
        check_target(folder)
        images = open_to_index(collection, folder)
        if images.entries is None and make_executor is not None:
            raise UsageError(
                f"--on {on}: {images.name} is an array in this machine's memory; a cluster reads files and objects"
            )
        index, summary = update_index(
            images,
            encoder,
            folder,
            options,
            make_executor=make_executor,
            on_progress=on_progress,
            on_note=on_note,
            on_written=partial(_learn_early, on_note=on_note),
        )
    if on_summary is not None:
        on_summary(replace(summary, path=shown_place(path)))
    return Index(index.path, index.manifest)


def _learn_early(index: IndexReader, on_note: Callable[[str], None] | None) -> None:
    """Learn now what the first search of a large index would wait for; of a small one that is a moment."""
    from lookalike.search.learnt import prepare

    view = index.manifest.view
    if view.count * view.dimension * np.dtype(view.dtype).itemsize >= CROSSOVER_BYTES:
        with suppress(LookalikeError, OSError):  # the search that meets the same trouble tells it
            prepare(index, on_note)
