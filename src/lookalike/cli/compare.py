"""The command ``compare``: which encoder is best on a collection, measured without labels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lookalike.cli.format import print_json
from lookalike.cli.options import AsJson, Overwrite, Seed, Source, figure_name

if TYPE_CHECKING:
    from lookalike.selection.verdict import Verdict


def compare(
    collection: Source,
    encoders: Annotated[
        str | None,
        typer.Option(
            "--encoders", help="Encoders, separated by commas: pixels,hog,neural. Default: all that need no training."
        ),
    ] = None,
    sample: Annotated[int, typer.Option("--sample", min=8, max=10**9, help="Number of images to measure on.")] = 2000,
    robust: Annotated[
        bool,
        typer.Option(
            "--robustness",
            help="Also augment images more and more, and measure how often they still find their originals.",
        ),
    ] = False,
    families: Annotated[
        str | None,
        typer.Option("--families", help="Augmentation families for --robustness: turn,noise,crop. Default: all."),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(
            "--figure", callback=figure_name, help="Draw quality against cost and size to a .png, .svg or .pdf file."
        ),
    ] = None,
    robustness_figure: Annotated[
        Path | None,
        typer.Option(
            "--robustness-figure",
            callback=figure_name,
            help="Draw the curves of --robustness to a .png, .svg or .pdf file.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Measure without labels which encoder is best on these images, and which post-processing."""
    from lookalike import progress
    from lookalike.errors import UsageError
    from lookalike.selection.compare import TRIED
    from lookalike.selection.compare import compare as compare_encoders

    if (families or robustness_figure) and not robust:
        raise UsageError("--families and --robustness-figure belong to --robustness; add it, or leave them out")
    from lookalike.outputs import check_outputs

    check_outputs(figure, robustness_figure, overwrite=overwrite, inputs=[collection])
    # A comma stands between two encoders, or between two parameters of one.
    names = TRIED if encoders is None else re.split(r"\s*,\s*(?![a-z_]+=)", encoders.strip())
    with progress.counting("comparing") as show:
        verdict = compare_encoders(collection, names, sample=sample, seed=seed, on_progress=show)
    if figure is not None:
        from lookalike.reports import charts, figures

        figures.save(charts.cost_chart(verdict), figure, overwrite=overwrite)
    curves = _curves(collection, verdict, families, sample, seed, robustness_figure, overwrite) if robust else None
    if as_json:
        print_json(verdict.to_json() | ({} if curves is None else {"robustness": curves}))
        return
    print(verdict.table())
    for aim in verdict.picks:
        print()
        print(verdict.sentence(aim))
    wide = max(map(len, curves or ()), default=0)
    for family in next(iter(curves.values())) if curves else ():
        print(f"\n{family}: share of augmented images that find their original first, and LRAP@10 of their own answers")
        for title, of_encoder in (curves or {}).items():
            points = "  ".join(
                f"{point['amount']:g}: {point['first_hit']:.2f} {point['lrap_10_own']:.2f}"
                for point in of_encoder[family]
            )
            print(f"  {title:<{wide}} {points}")


def _curves(
    collection: str,
    verdict: Verdict,
    families: str | None,
    sample: int,
    seed: int,
    figure: Path | None,
    overwrite: bool,
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Augment images for every encoder as it is, and for the verdict's picks."""
    from lookalike import progress
    from lookalike.selection.compare import augmentation_curves
    from lookalike.transforms.augmentations import FAMILIES

    asked = None if families is None else [name.strip() for name in families.split(",")]
    with progress.counting("augmenting") as show:
        of_encoders = augmentation_curves(
            collection, verdict.candidates, asked, sample=sample, seed=seed, on_progress=show
        )
    if figure is not None:
        from lookalike.reports import charts, figures

        figures.save(
            charts.robustness_curves(of_encoders, {name: family.unit for name, family in FAMILIES.items()}),
            figure,
            overwrite=overwrite,
        )
    return {
        title: {family: [p.to_json() for p in curve] for family, curve in of_encoder.items()}
        for title, of_encoder in of_encoders.items()
    }
