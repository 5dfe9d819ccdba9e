"""The command ``search``: one query of any make, or a folder of query images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lookalike.cli.find_index import open_named
from lookalike.cli.format import print_json, result_lines
from lookalike.cli.options import (
    AsJson,
    DistanceName,
    EncoderName,
    IndexPath,
    Overwrite,
    Rerank,
    Resize,
    figure_name,
    option,
    takes,
)
from lookalike.errors import UsageError
from lookalike.progress import say
from lookalike.terminal import one_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lookalike.api import Index
    from lookalike.collections.open import Collection
    from lookalike.search.engine import Result
    from lookalike.search.example import Example
    from lookalike.search.request import Query
    from lookalike.search.response import Response

#: Any of these makes a query; the other options only refine one.
_SEARCHED_BY = {"images", "likes", "dislikes", "text", "words", "where"}
#: All that can be said of a folder of queries.
_OF_MANY = {"images", "k", "distance", "resize", "rerank", "denoise"}


@dataclass(frozen=True)
class SearchOptions:
    """What ``lookalike search`` takes."""

    query: Annotated[
        list[str] | None,
        typer.Argument(
            help="An image file, optionally with a crop: photo.jpg[x,y,width,height]; mnist:test[7], digits.npy[0]; - is "
            "standard input. Several images are one query together. One folder of images, or mnist:test[0:10], is one query "
            "per image."
        ),
    ] = None
    index_path: IndexPath = None
    k: int | None = option("Number of results. Default: 10.", "-k")
    distance: DistanceName = None
    encoder: EncoderName = None
    resize: Resize = False
    rerank: Rerank = None
    denoise: str | None = option(
        "Remove noise from the query first: 'auto' learns how from the collection; or an autoencoder's folder."
    )
    exact: bool | None = option(
        "Compare with every image, or only with those in a few IVF lists. Default: as 'lookalike info' says.",
        "--exact/--approximate",
    )
    text: str | None = option("Search by a description in words, if the encoder has a text model.")
    weight: list[float] | None = option("Weight of a query image. Repeat it once for each image, in order.")
    like: list[str] | None = option("Move the query towards this indexed image: its id or path. May be repeated.")
    dislike: list[str] | None = option("Move the query away from this indexed image: its id or path. May be repeated.")
    words: str | None = option(
        "Only images with these words in caption, file name, metadata or label, or of what the network sees in them."
    )
    where: str | None = option(
        "Only images that pass this filter: \"width > 1000 and label = 'cat'\" (docs/searching.md)."
    )
    include_self: bool = option("Keep a query image that is one of the index among its own results.", default=False)
    within: float | None = option("Only images within this distance of the query.")
    group: float | None = option("Group near-duplicates: results within this distance of a better one join it.")
    offset: int | None = option("Skip this many of the first results.")
    saved: Path | None = option("Run a saved query; other options override it. - is standard input.", "--query")
    save_query: Path | None = option("Save the query as JSON.")
    picture: Path | None = option(
        "Draw the query and its results to a .png, .svg or .pdf file.", "--picture", "-o", callback=figure_name
    )
    overwrite: Overwrite = False
    as_json: AsJson = False

    @property
    def how(self) -> str:
        """Exact or approximate search, as the library names it."""
        return "auto" if self.exact is None else "exact" if self.exact else "approximate"

    def given(self) -> dict[str, Any]:
        """Return the fields of a query that the command line names, and no others."""
        fields: dict[str, Any] = {
            "likes": tuple(self.like or ()), "dislikes": tuple(self.dislike or ()), "text": self.text, "words": self.words,
            "where": self.where, "k": self.k, "offset": self.offset, "within": self.within, "group": self.group,
            "distance": self.distance, "rerank": self.rerank, "denoise": self.denoise, "resize": self.resize or None,
            "images": tuple(_examples(self.query or [], self.weight or [])),
        }  # fmt: skip
        return {name: value for name, value in fields.items() if value not in (None, ())}


@takes(SearchOptions)
def search(options: SearchOptions) -> None:
    """Find the images most similar to a query image, or to several images, words and filters together."""
    from lookalike.outputs import check_outputs

    check_outputs(options.picture, options.save_query, overwrite=options.overwrite, inputs=options.query or [])
    given = options.given()
    if options.saved is None and not set(given) & _SEARCHED_BY:
        raise UsageError(
            "give one query: an image, or words with --text; or --like, --words, --where, or a saved one with --query"
        )
    name = _one_name(options, given)
    index = None
    if name is not None:
        from lookalike import open_collection

        index = open_named(options.index_path, options.encoder, name)
        queries = open_collection(name, limits=index.limits)
        if len(queries) != 1:
            _check_many(options, given, name, len(queries))
            _search_each(index, queries, options)
            return
    _search_one(index, options, given)


def _one_name(options: SearchOptions, given: dict[str, Any]) -> str | None:
    """Return the only image that was named, if it may turn out to be a folder of them."""
    if not options.query or len(options.query) != 1:
        return None
    example = given["images"][0]
    return options.query[0] if example.crop is None and example.path is not None else None


def _check_many(options: SearchOptions, given: dict[str, Any], name: str, n: int) -> None:
    one_query = options.saved is not None or options.save_query is not None or options.weight
    if one_query or not set(given) <= _OF_MANY:
        raise UsageError(f"{name}: contains {n:,} images, each a query; with these options, name one of them")


def _search_each(index: Index, queries: Collection, options: SearchOptions) -> None:
    """Answer each image of a collection by itself."""
    from lookalike.search import engine

    results = engine.search(
        index,
        queries,
        10 if options.k is None else options.k,
        distance=options.distance,
        resize=options.resize,
        rerank=options.rerank,
        denoise=options.denoise,
        how=options.how,
        on_note=say,
    )
    if options.picture is not None:
        answered = [i for i, result in enumerate(results) if result.error is None]
        shown = [queries.read(i) for i in answered]
        _draw(index, shown, [results[i] for i in answered], options.picture, options.overwrite)
    _show(results, options.as_json)


def _search_one(index: Index | None, options: SearchOptions, given: dict[str, Any]) -> None:
    """Answer one query, whatever it is made of."""
    from lookalike.index.reader import id_of, own_row
    from lookalike.search import page
    from lookalike.search.request import Query

    query: Query = Query(**given) if options.saved is None else Query.load(options.saved).but(**given)
    if options.picture is not None and not query.images:
        raise UsageError("--picture shows the query image; leave it out of a search without one")
    if index is None or options.saved is not None:  # a saved query may name another encoder
        first = next((example.path for example in query.images if example.path is not None), None)
        index = open_named(options.index_path, options.encoder or query.encoder, first)
    if options.like or options.dislike:  # as a person types them: paths from here
        query = query.but(
            likes=tuple(id_of(index, name) for name in query.likes),
            dislikes=tuple(id_of(index, name) for name in query.dislikes),
        )
    if not options.include_self:
        named = (row for e in query.images if e.path is not None for row in [own_row(index, str(e.path))])
        own = {index.ids[row] for row in named if row is not None} | {e.id for e in query.images if e.id is not None}
        query = query.but(without=tuple(dict.fromkeys((*query.without, *sorted(own)))))
    if options.save_query is not None:
        saved = query if options.encoder is None else query.but(encoder=options.encoder)
        saved.save(options.save_query, overwrite=options.overwrite)
    response = page.answer(index, query.but(encoder=None), how=options.how, on_note=say)
    if options.picture is not None:
        import numpy as np

        from lookalike.reports.figures import as_tiles
        from lookalike.search.compose import show_example

        shown = np.concatenate(as_tiles([show_example(index, image) for image in query.images]), axis=1)
        _draw(index, [shown], [response], options.picture, options.overwrite)
    _show([response], options.as_json)


def _examples(paths: list[str], weights: list[float]) -> Iterator[Example]:
    from lookalike.search.example import Example

    if weights and len(weights) != len(paths):
        raise UsageError(f"{len(weights)} weights for {len(paths)} images; give --weight once for each image, in order")
    for path, weight in zip(paths, weights or [1.0] * len(paths), strict=True):
        yield Example.parse(path, weight)


def _draw(
    index: Index,
    shown: list[NDArray[np.uint8]],
    results: Sequence[Result | Response],
    picture: Path,
    overwrite: bool,
) -> None:
    if not any(r.matches for r in results):
        return
    import numpy as np

    from lookalike.reports import figures

    # One size for all that are drawn together; the query as it is, not as the encoder was given it.
    denoised = [None if r.denoised is None else np.concatenate(list(r.denoised.images), axis=1) for r in results]
    groups = [
        [image, *([] if clean is None else [clean]), *index.thumbnails([m.row for m in r.matches])]
        for image, clean, r in zip(shown, denoised, results, strict=True)
    ]
    tiles = figures.as_tiles([image for group in groups for image in group])
    lines, start = [], 0
    for group in groups:
        lines.append(tiles[start : start + len(group)])
        start += len(group)
    captions = [[f"{m.distance:.3f}" for m in r.matches] for r in results]
    first = 1 if any(clean is None for clean in denoised) else 2
    figure = figures.retrieved(
        np.stack([line[0] for line in lines]),
        [line[first:] for line in lines],
        captions=captions,
        denoised=None if first == 1 else np.stack([line[1] for line in lines]),
    )
    figures.save(figure, picture, overwrite=overwrite)


def _show(results: Sequence[Result | Response], as_json: bool) -> None:
    errors = [getattr(result, "error", None) for result in results]
    for error in filter(None, errors):
        say(f"left out: {one_line(error)}")
    if as_json:
        print_json({"results": [result.to_json() for result in results]})
        return
    for result, error in zip(results, errors, strict=True):
        if error is None:
            print("\n".join(result_lines(result)))
