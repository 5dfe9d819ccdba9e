"""The commands that ask an index: search, score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lookalike.cli import AsJson, DistanceName, IndexPath, Resize, Seed, app, open_, print_json
from lookalike.errors import UsageError

if TYPE_CHECKING:
    from lookalike.search import Result

Rerank = Annotated[
    str | None,
    typer.Option(
        "--rerank",
        help="A second, better order: expansion, alpha-expansion, diffusion, reciprocal, geometric, views, or auto.",
    ),
]


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
    rerank: Rerank = None,
    text: Annotated[str | None, typer.Option("--text", help="Search by words, where the encoder can read.")] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", "-o", help="Draw query and answers to a .png, .svg or .pdf.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the images nearest to a query image."""
    from lookalike import open_collection, progress
    from lookalike import search as searching

    if (query is None) == (text is None):
        raise UsageError("name one query: an image, or words with --text")
    opened = open_(index_path, encoder)
    if text is not None:
        if picture is not None:
            raise UsageError("--picture shows a query image; leave it out of a search by words")
        _show(searching.search_text(opened, [text], k), as_json)
        return
    queries = open_collection(query or "")
    results = searching.search(
        opened, queries, k, distance=distance, resize=resize, rerank=rerank, on_note=progress.say
    )
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
            inliers = "" if m.inliers is None else f"  inliers {m.inliers}"
            print(f"{m.rank:>5}  {m.id}  distance {m.distance:.4f}  similarity {m.similarity:.4f}{label}{inliers}")


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
    rerank: Rerank = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the curve of LRAP by n to a .png, .svg or .pdf.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Rank the whole index for every labelled query, and print how good the rankings are."""
    from lookalike import evaluation, progress

    opened = open_(index_path, None)
    reports = []
    for method in [None] if rerank is None else [None, rerank]:
        with progress.counting("scoring" if method is None else f"scoring {method}") as show:
            reports.append(
                evaluation.score(
                    opened, queries, count=count, distance=distance, resize=resize, seed=seed, rerank=method,
                    on_progress=show, on_note=progress.say,
                )
            )  # fmt: skip
    if plot is not None:
        from lookalike import plots

        curves = {r.title if rerank else r.encoder: r for r in reports}
        plots.save(
            plots.score_curves(
                {title: r.lrap for title, r in curves.items()}, {title: r.lrap_intervals for title, r in curves.items()}
            ),
            plot,
        )
    if as_json:
        print_json(reports[0].to_json() | ({} if rerank is None else {"reranked": reports[1].to_json()}))
    else:
        print("\n\n".join(report.to_text() for report in reports))
