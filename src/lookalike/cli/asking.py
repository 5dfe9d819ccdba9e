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
    if text is not None:
        if picture is not None:
            raise UsageError("--picture shows a query image; leave it out of a search by words")
        _show(searching.search_text(opened, [text], k), as_json)
        return
    queries = open_collection(query or "")
    results = searching.search(opened, queries, k, distance=distance, resize=resize)
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
        str | None, typer.Argument(help="Query images. Default: mnist:test for an index of mnist.")
    ] = None,
    index_path: IndexPath = None,
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", "-e", help="One of the index's encoders. Default: the last that was completed."),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option("--truth", help="The right answers, where labels don't say them: .json, .csv or TREC's .qrels."),
    ] = None,
    leave_one_out: Annotated[
        bool, typer.Option("--leave-one-out", help="Ask by each of the index's own images against all others.")
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(
            "--against", help="Another index of the same images, or another encoder of this one, to compare with."
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--queries", min=1, help="Take so many of them, drawn by the seed. Default: all.")
    ] = None,
    distance: DistanceName = None,
    resize: Resize = False,
    seed: Seed = 0,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the curve of LRAP by n to a .png, .svg or .pdf.")
    ] = None,
    run: Annotated[Path | None, typer.Option("--run", help="Write the first 1,000 answers each as a TREC run.")] = None,
    qrels: Annotated[Path | None, typer.Option("--qrels", help="Write the right answers as TREC's qrels.")] = None,
    as_json: AsJson = False,
) -> None:
    """Rank the whole index for every query, and print how good the rankings are by labels or ground truth."""
    from lookalike import evaluation, open_index, progress

    opened = open_(index_path, encoder)
    chosen = {"truth": truth, "leave_one_out": leave_one_out, "count": count, "resize": resize, "seed": seed}
    compared = None
    with progress.counting("scoring") as show:
        if against is not None:
            is_index = Path(against).is_dir() and (Path(against) / "passport.json").is_file()
            other = open_index(against) if is_index else opened.through(against)
            compared = evaluation.compare_indexes(
                opened,
                other,
                queries,
                distance=distance,
                on_progress=show,
                **chosen,  # type: ignore[arg-type]
            )
            reports = [compared.first, compared.second]
        else:
            asked = evaluation.questions(opened, queries, **chosen)  # type: ignore[arg-type]
            found = evaluation.rank(opened, asked, distance=distance, on_progress=show)
            reports = [evaluation.report_of(opened, found, distance, seed)]
            evaluation.export_trec(opened, asked, run=run, qrels=qrels, distance=distance)
    if plot is not None:
        from lookalike import plots

        titles = (
            [r.encoder for r in reports] if len({r.encoder for r in reports}) == len(reports) else ["first", "second"]
        )
        curves = {title: r.lrap for title, r in zip(titles, reports, strict=False)}
        bands = {title: r.lrap_intervals for title, r in zip(titles, reports, strict=False)}
        plots.save(plots.score_curves(curves, bands), plot)
    if as_json:
        print_json((compared or reports[0]).to_json())
        return
    print("\n\n".join(report.to_text() for report in reports))
    if compared is not None:
        print()
        for name in ("P@1", "R-precision", "mAP"):
            print(compared.sentence(name))
