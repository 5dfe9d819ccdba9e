"""The command ``demo``: everything once, on MNIST."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lookalike.cli.options import Seed


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for everything that it writes.")] = Path(
        "demo"
    ),
    full: Annotated[
        bool, typer.Option("--full", help="Train both presets for 20 epochs, and use all 10,000 queries.")
    ] = False,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Time limit of all trainings together.")] = 90,
    queries: Annotated[
        int, typer.Option("--queries", min=1, help="Number of test digits to search for, of 10,000.")
    ] = 1000,
    seed: Seed = 0,
) -> None:
    """Run the whole program on MNIST: train, index 60,000 digits, search and score test queries, and write report.html."""
    from lookalike.reports.demo import run_demo

    report = run_demo(output, seconds=None if full else seconds, queries=None if full else queries, seed=seed)
    print(report.resolve())
