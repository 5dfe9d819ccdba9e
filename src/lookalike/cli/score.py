"""The command ``score``: how good an index's rankings are, by labels or other right answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lookalike.cli.find_index import open_named
from lookalike.cli.format import print_json
from lookalike.cli.options import (
    AsJson,
    DistanceName,
    EncoderName,
    IndexPath,
    Overwrite,
    Rerank,
    Resize,
    Seed,
    figure_name,
    option,
    takes,
)

if TYPE_CHECKING:
    from lookalike.api import Index
    from lookalike.reports.evaluate import Comparison, IndexScore


@dataclass(frozen=True)
class ScoreOptions:
    """What ``lookalike score`` takes."""

    queries: Annotated[str | None, typer.Argument(help="Query images. Default: mnist:test for an index of mnist.")] = (
        None
    )
    index_path: IndexPath = None
    encoder: EncoderName = None
    truth: Path | None = option(
        "The right answers, if they aren't the images' labels: a .json or .csv file, or TREC qrels."
    )
    leave_one_out: bool = option("Query each image of the index against all others.", default=False)
    against: str | None = option("Compare with another index of the same images, or with another encoder of this one.")
    count: int | None = option(
        "Number of queries, drawn at random by --seed. Default: all.", "--queries", min=1, max=10**9
    )
    distance: DistanceName = None
    resize: Resize = False
    seed: Seed = 0
    rerank: Rerank = None
    plot: Path | None = option("Draw LRAP by n to a .png, .svg or .pdf file.", callback=figure_name)
    run: Path | None = option("Write the first 1,000 results of each query as a TREC run.")
    qrels: Path | None = option("Write the right answers as TREC qrels.")
    keep: bool = option("Save the report in the index, for the Scores tab of the page.", default=False)
    overwrite: Overwrite = False
    as_json: AsJson = False

    def of_queries(self) -> dict[str, Any]:
        """Return which queries are scored, as the functions of :mod:`lookalike.reports.evaluate` take it."""
        return {
            "truth": self.truth,
            "leave_one_out": self.leave_one_out,
            "count": self.count,
            "resize": self.resize,
            "seed": self.seed,
        }


@takes(ScoreOptions)
def score(options: ScoreOptions) -> None:
    """Rank the whole index for every query, and print how good the rankings are by labels or other right answers."""
    from lookalike.outputs import check_outputs

    inputs = [path for path in (options.queries, options.truth) if path]
    check_outputs(options.plot, options.run, options.qrels, overwrite=options.overwrite, inputs=inputs)
    index = open_named(options.index_path, options.encoder)
    comparison: Comparison | None
    if options.against is not None:
        other = _other_index(index, options.against)
        reports, comparison = _compare(index, other, options)
    else:
        other = index
        reports, comparison = _score(index, options)
    if options.plot is not None:
        _plot(reports, options.plot, options.overwrite)
    _show(reports, comparison, as_json=options.as_json, two_indexes=options.against is not None)
    if options.keep:  # last: what took minutes to compute has been printed, whatever the disk does
        _keep((index, other), reports, "its own images" if options.leave_one_out else options.queries or "the test set")


def _other_index(index: Index, name: str) -> Index:
    from lookalike import open_index

    return open_index(name) if (Path(name) / "manifest.json").is_file() else index.with_encoder(name)


def _compare(index: Index, other: Index, options: ScoreOptions) -> tuple[list[IndexScore], Comparison]:
    """Score two indexes by the same queries."""
    from lookalike import progress
    from lookalike.reports import evaluate

    with progress.counting("scoring") as show:
        comparison = evaluate.compare_indexes(
            index,
            other,
            options.queries,
            distance=options.distance,
            on_progress=show,
            on_note=progress.say,
            **options.of_queries(),
        )
    return [comparison.first, comparison.second], comparison


def _score(index: Index, options: ScoreOptions) -> tuple[list[IndexScore], Comparison | None]:
    """Score one index; with a re-ranking, also without it."""
    from lookalike import progress
    from lookalike.metrics.scores import compare_paired
    from lookalike.reports import evaluate
    from lookalike.reports.query_set import questions

    queries = questions(index, options.queries, **options.of_queries(), distance=options.distance, on_note=progress.say)
    methods = [None] if options.rerank is None else [None, options.rerank]
    rankings = []
    for method in methods:
        with progress.counting("scoring" if method is None else f"scoring {method}") as show:
            rankings.append(
                evaluate.rank(
                    index, queries, distance=options.distance, rerank=method, on_progress=show, on_note=progress.say
                )
            )
    reports = [
        evaluate.report_of(index, ranked, options.distance, options.seed, method)
        for ranked, method in zip(rankings, methods, strict=True)
    ]
    comparison = None
    if options.rerank is not None:
        paired = compare_paired(rankings[0], rankings[1], seed=options.seed)
        comparison = evaluate.Comparison(reports[0], reports[1], paired)
    evaluate.export_trec(
        index, queries, run=options.run, qrels=options.qrels, distance=options.distance, overwrite=options.overwrite
    )
    return reports, comparison


def _plot(reports: list[IndexScore], plot: Path, overwrite: bool) -> None:
    from lookalike.reports import figures, line_charts

    titles = [r.title for r in reports] if len({r.title for r in reports}) == len(reports) else ["first", "second"]
    curves = {title: r.lrap for title, r in zip(titles, reports, strict=True)}
    bands = {title: r.lrap_intervals for title, r in zip(titles, reports, strict=True)}
    figures.save(line_charts.score_curves(curves, bands), plot, overwrite=overwrite)


def _show(reports: list[IndexScore], comparison: Comparison | None, *, as_json: bool, two_indexes: bool) -> None:
    """Print the scores of one index, of two beside each other, or of one with and without a re-ranking."""
    if as_json:
        if comparison is None:
            print_json(reports[0].to_json())
        elif two_indexes:
            print_json(comparison.to_json())
        else:
            differences = comparison.to_json()["differences"]
            print_json(reports[0].to_json() | {"reranked": reports[1].to_json(), "differences": differences})
        return
    print("\n\n".join(report.to_text() for report in reports))
    if comparison is not None:
        print()
        for name in ("P@1", "R-precision", "mAP"):
            print(comparison.sentence(name))


def _keep(indexes: tuple[Index, Index], reports: list[IndexScore], queries: str) -> None:
    from lookalike.reports.saved_scores import save_report

    for index, report in zip(indexes, reports, strict=False):
        save_report(index, report, queries)
