"""The commands that ask an index: search, score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lookalike.cli import AsJson, DistanceName, IndexPath, Resize, Seed, app, open_, print_json
from lookalike.errors import UsageError

if TYPE_CHECKING:
    from lookalike.search import Result


@app.command()
def search(
    query: Annotated[
        str | None, typer.Argument(help="An image file, a folder of them, mnist:test[7], digits.npy[0:10].")
    ] = None,
    index_path: IndexPath = None,
    k: Annotated[int, typer.Option("-k", help="How many answers.")] = 10,
    distance: DistanceName = None,
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", "-e", help="One of the index's encoders. Default: the last that was completed."),
    ] = None,
    resize: Resize = False,
    exact: Annotated[
        bool | None,
        typer.Option(
            "--exact/--approximate", help="Compare with every image, or look into a few lists. Default: as info says."
        ),
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="Search by words, where the encoder can read.")] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", "-o", help="Draw query and answers to a .png, .svg or .pdf.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the images nearest to a query image."""
    from lookalike import open_collection
    from lookalike import search as searching

    if (query is None) == (text is None):
        raise UsageError("name one query: an image, or words with --text")
    opened = open_(index_path, encoder)
    how = "auto" if exact is None else "exact" if exact else "approximate"
    if text is not None:
        if picture is not None:
            raise UsageError("--picture shows a query image; leave it out of a search by words")
        _show(searching.search_text(opened, [text], k, how=how), as_json)
        return
    queries = open_collection(query or "")
    results = searching.search(opened, queries, k, distance=distance, resize=resize, how=how)
    if picture is not None:
        from lookalike import plots

        # One size for all that are drawn together; the query as it is, not as the encoder was given it.
        groups = [[queries.read(i), *opened.thumbnails([m.row for m in r.matches])] for i, r in enumerate(results)]
        tiles = plots.as_tiles([image for group in groups for image in group])
        lines = tiles.reshape(len(groups), -1, *tiles.shape[1:])
        captions = [[f"{m.distance:.3f}" for m in r.matches] for r in results]
        plots.save(plots.retrieved(lines[:, 0], list(lines[:, 1:]), captions=captions), picture)
    _show(results, as_json)


def _show(results: list[Result], as_json: bool) -> None:
    if as_json:
        print_json({"results": [r.to_json() for r in results]})
        return
    for result in results:
        print(result.query)
        for m in result.matches:
            label = "" if m.label is None else f"  label {m.label}"
            print(f"{m.rank:>5}  {m.id}  distance {m.distance:.4f}  similarity {m.similarity:.4f}{label}")


@app.command()
def score(
    queries: Annotated[
        str | None, typer.Argument(help="Labelled query images. Default: mnist:test for an index of mnist.")
    ] = None,
    index_path: IndexPath = None,
    count: Annotated[
        int | None, typer.Option("--queries", min=1, help="Take so many of them, drawn by the seed. Default: all.")
    ] = None,
    distance: DistanceName = None,
    resize: Resize = False,
    seed: Seed = 0,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the curve of LRAP by n to a .png, .svg or .pdf.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Rank the whole index for every labelled query, and print how good the rankings are."""
    from lookalike import evaluation, progress

    opened = open_(index_path, None)
    with progress.counting("scoring") as show:
        report = evaluation.score(
            opened, queries, count=count, distance=distance, resize=resize, seed=seed, on_progress=show
        )
    if plot is not None:
        from lookalike import plots

        plots.save(plots.score_curves({report.encoder: report.lrap}, {report.encoder: report.lrap_intervals}), plot)
    if as_json:
        print_json(report.to_json())
    else:
        print(report.to_text())
