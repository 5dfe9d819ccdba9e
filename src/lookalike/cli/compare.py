"""The command ``compare``: which encoder is best on a collection, measured without labels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookalike.cli.format import print_json
from lookalike.cli.options import AsJson, Overwrite, Provider, Seed, Source, Yes, fetches, figure_name, option, takes

if TYPE_CHECKING:
    from lookalike.selection.verdict import Verdict


@dataclass(frozen=True)
class CompareOptions:
    """What ``lookalike compare`` takes."""

    collection: Source
    encoders: str | None = option(
        "Encoders, separated by commas: pixels,hog,neural. Default: all that need no training."
    )
    sample: int = option("Number of images to measure on.", default=400, min=8, max=10**9)
    robustness: bool = option(
        "Also augment images more and more, and measure how often they still find their originals.", default=False
    )
    families: str | None = option("Augmentation families for --robustness: turn,noise,crop. Default: all.")
    figure: Path | None = option(
        "Draw quality against cost and size to a .png, .svg or .pdf file.", callback=figure_name
    )
    robustness_figure: Path | None = option(
        "Draw the curves of --robustness to a .png, .svg or .pdf file.", callback=figure_name
    )
    provider: Provider = None
    overwrite: Overwrite = False
    seed: Seed = 0
    yes: Yes = False
    as_json: AsJson = False


@takes(CompareOptions)
@fetches
def compare(options: CompareOptions) -> None:
    """Measure without labels which encoder is best on these images, and which post-processing."""
    from lookalike import progress
    from lookalike.errors import UsageError
    from lookalike.selection.compare import TRIED
    from lookalike.selection.compare import compare as compare_encoders

    if (options.families or options.robustness_figure) and not options.robustness:
        raise UsageError("--families and --robustness-figure belong to --robustness; add it, or leave them out")
    from lookalike.outputs import check_outputs

    check_outputs(options.figure, options.robustness_figure, overwrite=options.overwrite, inputs=[options.collection])
    # A comma stands between two encoders, or between two parameters of one.
    names = TRIED if options.encoders is None else re.split(r"\s*,\s*(?![a-z_]+=)", options.encoders.strip())
    with progress.counting("comparing") as show:
        verdict = compare_encoders(
            options.collection, names, sample=options.sample, seed=options.seed, on_progress=show
        )
    if options.figure is not None:
        from lookalike.reports import charts, figures

        figures.save(charts.cost_chart(verdict), options.figure, overwrite=options.overwrite)
    curves = _curves(options, verdict) if options.robustness else None
    if options.as_json:
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


def _curves(options: CompareOptions, verdict: Verdict) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Augment images for every encoder as it is, and for the verdict's picks."""
    from lookalike import progress
    from lookalike.selection.compare import augmentation_curves
    from lookalike.transforms.augmentations import FAMILIES

    families = None if options.families is None else [name.strip() for name in options.families.split(",")]
    with progress.counting("augmenting") as show:
        of_encoders = augmentation_curves(
            options.collection,
            verdict.candidates,
            families,
            sample=options.sample,
            seed=options.seed,
            on_progress=show,
        )
    if options.robustness_figure is not None:
        from lookalike.reports import charts, figures

        units = {name: family.unit for name, family in FAMILIES.items()}
        chart = charts.robustness_curves(of_encoders, units)
        figures.save(chart, options.robustness_figure, overwrite=options.overwrite)
    return {
        title: {family: [p.to_json() for p in curve] for family, curve in of_encoder.items()}
        for title, of_encoder in of_encoders.items()
    }
