"""The commands that ask an index: search, explain, score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lookalike.cli.main import (
    AsJson,
    DistanceName,
    IndexPath,
    Overwrite,
    Resize,
    Seed,
    app,
    figure_name,
    open_,
    print_json,
)
from lookalike.errors import UsageError
from lookalike.progress import say
from lookalike.search.rerank import RERANKERS
from lookalike.terminal import one_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lookalike.api import Index
    from lookalike.reports.evaluate import Comparison, IndexScore
    from lookalike.search.engine import Result
    from lookalike.search.page import Response
    from lookalike.search.request import Example

Rerank = Annotated[
    str | None,
    typer.Option(
        "--rerank",
        help=f"Re-rank the answers: {', '.join(RERANKERS.table)}.",
    ),
]


@app.command()
def search(
    query: Annotated[
        list[str] | None,
        typer.Argument(
            help="An image file, perhaps with a crop: photo.jpg[x,y,width,height]; mnist:test[7], digits.npy[0]; - is standard "
            "input. Several are one query together; one folder of images, or mnist:test[0:10], is as many queries."
        ),
    ] = None,
    index_path: IndexPath = None,
    k: Annotated[int | None, typer.Option("-k", help="How many answers. Default: 10.")] = None,
    distance: DistanceName = None,
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", "-e", help="One of the index's encoders. Default: the last that was completed."),
    ] = None,
    resize: Resize = False,
    rerank: Rerank = None,
    denoise: Annotated[
        str | None,
        typer.Option("--denoise", help="Take noise out first: 'auto', by the collection; or an autoencoder's folder."),
    ] = None,
    exact: Annotated[
        bool | None,
        typer.Option(
            "--exact/--approximate", help="Compare with every image, or look into a few lists. Default: as info says."
        ),
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="Search by words, where the encoder can read.")] = None,
    weight: Annotated[
        list[float] | None, typer.Option("--weight", help="Weight of an image of the query; once for each, in order.")
    ] = None,
    like: Annotated[
        list[str] | None, typer.Option("--like", help="Id or path of an indexed image to come nearer to.")
    ] = None,
    dislike: Annotated[list[str] | None, typer.Option("--dislike", help="Id or path of one to go away from.")] = None,
    words: Annotated[
        str | None, typer.Option("--words", help="Only images with these words in caption, name, metadata or label.")
    ] = None,
    where: Annotated[
        str | None, typer.Option("--where", help="Only these: \"width > 1000 and label = 'cat'\" (docs/searching.md).")
    ] = None,
    within: Annotated[float | None, typer.Option("--within", help="The largest distance that counts.")] = None,
    group: Annotated[
        float | None, typer.Option("--group", help="Fold answers that are this near to a better one into it.")
    ] = None,
    offset: Annotated[int | None, typer.Option("--offset", help="Leave out so many of the first answers.")] = None,
    saved: Annotated[
        Path | None,
        typer.Option("--query", help="Ask what was saved; options given beside it go before it. - is standard input."),
    ] = None,
    save_query: Annotated[Path | None, typer.Option("--save-query", help="Save the query as JSON.")] = None,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", "-o", callback=figure_name, help="Draw query and answers to a .png, .svg or .pdf."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Find the images nearest to a query image, or to all that a query is made of."""
    import numpy as np

    from lookalike import open_collection, progress
    from lookalike.index.reader import id_of
    from lookalike.outputs import check_outputs
    from lookalike.search import engine as searching
    from lookalike.search import page
    from lookalike.search.request import Query

    check_outputs(picture, save_query, overwrite=overwrite, inputs=query or [])
    how = "auto" if exact is None else "exact" if exact else "approximate"
    given: dict[str, Any] = {
        "likes": tuple(like or ()), "dislikes": tuple(dislike or ()), "text": text, "words": words, "where": where, "k": k,
        "offset": offset, "within": within, "group": group, "distance": distance, "rerank": rerank, "denoise": denoise,
        "resize": resize or None, "images": tuple(_examples(query or [], weight or [])),
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value not in (None, ())}
    if saved is None and not set(given) & {"images", "likes", "dislikes", "text", "words", "where"}:
        raise UsageError(
            "name one query: an image, or words with --text; or --like, --words, --where, or a saved one with --query"
        )
    alone = (
        saved is None
        and save_query is None
        and set(given) <= {"images", "k", "distance", "resize", "rerank", "denoise"}
        and not weight
    )
    one = query[0] if query and len(query) == 1 and given["images"][0].crop is None else None
    if one is not None and given["images"][0].path is not None:
        opened = open_(index_path, encoder, one)
        queries = open_collection(one, limits=opened.limits)
        if len(queries) != 1 and not alone:
            raise UsageError(
                f"{one}: holds {len(queries):,} images, each a query; name one of them beside other options"
            )
        if len(queries) != 1:
            results = searching.search(
                opened, queries, 10 if k is None else k, distance=distance, resize=resize, rerank=rerank, denoise=denoise,
                how=how, on_note=progress.say,
            )  # fmt: skip
            answered = [i for i, result in enumerate(results) if result.error is None]
            _draw(opened, [queries.read(i) for i in answered], [results[i] for i in answered], picture, overwrite)
            _show(results, as_json)
            return
    asked = Query(**given) if saved is None else Query.load(saved).but(**given)
    if picture is not None and not asked.images:
        raise UsageError("--picture shows a query image; leave it out of a search without one")
    first = next((example.path for example in asked.images if example.path is not None), None)
    opened = open_(index_path, encoder or asked.encoder, first)
    if like or dislike:  # as a person types them: paths from here
        asked = asked.but(
            likes=tuple(id_of(opened, name) for name in asked.likes),
            dislikes=tuple(id_of(opened, name) for name in asked.dislikes),
        )
    if save_query is not None:
        (asked if encoder is None else asked.but(encoder=encoder)).save(save_query, overwrite=overwrite)
    response = page.answer(opened, asked.but(encoder=None), how=how, on_note=progress.say)
    if picture is not None:
        from lookalike.reports.figures import as_tiles

        beside = as_tiles(page.shown(opened, asked))
        _draw(opened, [np.concatenate(beside, axis=1)], [response], picture, overwrite)
    _show([response], as_json)


def _examples(paths: list[str], weights: list[float]) -> list[Example]:
    from lookalike.search.request import Example

    if weights and len(weights) != len(paths):
        raise UsageError(f"{len(weights)} weights for {len(paths)} images; give --weight once for each image, in order")
    return [Example.parse(path, weight) for path, weight in zip(paths, weights or [1.0] * len(paths), strict=True)]


def _draw(
    opened: Index,
    shown: list[NDArray[np.uint8]],
    results: Sequence[Result | Response],
    picture: Path | None,
    overwrite: bool,
) -> None:
    if picture is None or not any(r.matches for r in results):
        return
    import numpy as np

    from lookalike.reports import figures

    # One size for all that are drawn together; the query as it is, not as the encoder was given it.
    denoised = [None if r.denoised is None else np.concatenate(list(r.denoised.images), axis=1) for r in results]
    groups = [
        [image, *([] if clean is None else [clean]), *opened.thumbnails([m.row for m in r.matches])]
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
    for error in filter(None, (getattr(result, "error", None) for result in results)):
        say(f"left out: {one_line(error)}")
    if as_json:
        print_json({"results": [r.to_json() for r in results]})
        return
    for result in results:
        if getattr(result, "error", None) is not None:
            continue
        print(one_line(result.query) + (f" ({result.denoised.to_text()})" if result.denoised else ""))
        for m in result.matches:
            known = "" if math.isnan(m.distance) else f"  distance {m.distance:.4f}  similarity {m.similarity:.4f}"
            label = "" if m.label is None else f"  label {one_line(m.label)}"
            inliers = "" if m.inliers is None else f"  inliers {m.inliers}"
            chance = "" if m.chance is None else f"  {m.chance.in_short}"
            group = f"  and {len(m.group):,} nearly equal" if m.group else ""
            print(f"{m.rank:>5}  {one_line(m.id)}{known}{label}{inliers}{chance}{group}")
            if m.rank == getattr(result, "gap_after", None):
                print("       ----")
        if says := getattr(result, "says", ""):
            print(says)


@app.command()
def explain(
    query: Annotated[
        str,
        typer.Argument(
            help="An image of the index by its id, or a file, perhaps with a crop: photo.jpg[x,y,width,height]."
        ),
    ],
    match: Annotated[str, typer.Argument(help="An image of the index by its id, as search lists it, or by its path.")],
    index_path: IndexPath = None,
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", "-e", help="One of the index's encoders. Default: the last that was completed."),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            "-o",
            callback=figure_name,
            help="Draw both with the heat of what counts, to a .png, .svg or .pdf.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Say why two images are alike: which parts of each account for it, and each encoder's share."""
    from lookalike.index.reader import id_of
    from lookalike.outputs import check_outputs
    from lookalike.search import explain

    check_outputs(picture, overwrite=overwrite, inputs=[query])
    opened = open_(index_path, encoder, query)
    pair = explain.read_pair(opened, query, id_of(opened, match))
    found = explain.explain(opened, *pair)
    if picture is not None:
        from lookalike.reports import contact_sheet, figures

        figures.save(contact_sheet.explained(*pair, found), picture, overwrite=overwrite)
    if as_json:
        print_json({"query": query, "match": match, **found.to_json()})
    else:
        print(found.says)


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
        int | None,
        typer.Option("--queries", min=1, max=10**9, help="Take so many of them, drawn by the seed. Default: all."),
    ] = None,
    distance: DistanceName = None,
    resize: Resize = False,
    seed: Seed = 0,
    rerank: Rerank = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", callback=figure_name, help="Draw the curve of LRAP by n to a .png, .svg or .pdf."),
    ] = None,
    run: Annotated[Path | None, typer.Option("--run", help="Write the first 1,000 answers each as a TREC run.")] = None,
    qrels: Annotated[Path | None, typer.Option("--qrels", help="Write the right answers as TREC's qrels.")] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the report with the index, for the Scores tab of the page.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Rank the whole index for every query, and print how good the rankings are by labels or ground truth."""
    from lookalike import open_index, progress
    from lookalike.metrics import ranking
    from lookalike.outputs import check_outputs
    from lookalike.reports import evaluate

    check_outputs(plot, run, qrels, overwrite=overwrite, inputs=[p for p in (queries, truth) if p])
    opened = open_(index_path, encoder)
    chosen = {"truth": truth, "leave_one_out": leave_one_out, "count": count, "resize": resize, "seed": seed}
    compared = None
    if against is not None:
        is_index = (Path(against) / "manifest.json").is_file()
        other = open_index(against) if is_index else opened.with_encoder(against)
        with progress.counting("scoring") as show:
            compared = evaluate.compare_indexes(
                opened, other, queries, distance=distance, on_progress=show, on_note=progress.say, **chosen  # type: ignore[arg-type]
            )  # fmt: skip
        reports = [compared.first, compared.second]
    else:
        asked = evaluate.questions(opened, queries, **chosen, distance=distance, on_note=progress.say)  # type: ignore[arg-type]
        found = []
        for method in [None] if rerank is None else [None, rerank]:
            with progress.counting("scoring" if method is None else f"scoring {method}") as show:
                found.append(
                    evaluate.rank(
                        opened, asked, distance=distance, rerank=method, on_progress=show, on_note=progress.say
                    )
                )
        reports = [
            evaluate.report_of(opened, one, distance, seed, method)
            for one, method in zip(found, (None, rerank), strict=False)
        ]
        if rerank is not None:
            compared = evaluate.Comparison(
                reports[0], reports[1], ranking.compare_paired(found[0], found[1], seed=seed)
            )
        evaluate.export_trec(opened, asked, run=run, qrels=qrels, distance=distance, overwrite=overwrite)
    if plot is not None:
        from lookalike.reports import figures

        titles = [r.title for r in reports] if len({r.title for r in reports}) == len(reports) else ["first", "second"]
        curves = {title: r.lrap for title, r in zip(titles, reports, strict=True)}
        bands = {title: r.lrap_intervals for title, r in zip(titles, reports, strict=True)}
        figures.save(figures.score_curves(curves, bands), plot, overwrite=overwrite)
    _tell(reports, compared, as_json=as_json, indexes=1 if against is None else 2)
    if keep:  # last: what took minutes to work out has been told, whatever the disk says
        indexes = (opened, opened if against is None else other)
        _keep(indexes, reports, "its own images" if leave_one_out else queries or "the test set")


def _tell(reports: list[IndexScore], compared: Comparison | None, *, as_json: bool, indexes: int) -> None:
    """Print what was scored: one index, two of them beside each other, or one with and without a re-ranking."""
    if as_json:
        if compared is None:
            print_json(reports[0].to_json())
        elif indexes == 2:
            print_json(compared.to_json())
        else:
            differences = compared.to_json()["differences"]
            print_json(reports[0].to_json() | {"reranked": reports[1].to_json(), "differences": differences})
        return
    print("\n\n".join(report.to_text() for report in reports))
    if compared is not None:
        print()
        for name in ("P@1", "R-precision", "mAP"):
            print(compared.sentence(name))


def _keep(indexes: tuple[Index, Index], reports: list[IndexScore], queries: str) -> None:
    from lookalike.reports.saved_scores import save_report

    for index, report in zip(indexes, reports, strict=False):
        save_report(index, report, queries)
