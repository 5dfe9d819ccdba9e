"""The commands that look at an index and what made it: info, files, why, verify, export, map, encoders."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from lookalike.cli.main import AsJson, IndexPath, Overwrite, app, figure_name, open_, print_json
from lookalike.errors import UsageError
from lookalike.terminal import one_line

EncoderName = Annotated[
    str | None,
    typer.Option("--encoder", "-e", help="One of the index's encoders. Default: the last that was completed."),
]
_VIEW = ("encoder", "params", "fingerprint", "distance", "dimension", "post", "shape", "resized", "count", "failed")


@app.command()
def info(
    index_path: IndexPath = None,
    encoder: EncoderName = None,
    health: Annotated[
        bool, typer.Option("--health", help="Look for images that answer everything, near-equal, blank and odd ones.")
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", "-o", callback=figure_name, help="With --health: draw them to a .png, .svg or .pdf."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Show an index's manifest: what it holds and what made it; with --health what to look at in it."""
    if picture is not None and not health:
        raise UsageError("--picture shows what --health finds; give both")
    from lookalike.outputs import check_outputs

    check_outputs(picture, overwrite=overwrite)
    opened = open_(index_path, encoder)
    manifest = opened.manifest
    stated = manifest.to_json()
    held = [{k: v for k, v in c.items() if k != "column"} for c in stated.pop("columns")]
    for hidden in ("default", "next_key", "keys_crc32", "files"):
        del stated[hidden]
    view = {name: getattr(manifest, name) for name in _VIEW}
    facts = {**stated, **view, "encoders": held, "path": str(opened.path), "search": opened.searching()}
    found = None
    if health:
        from lookalike.reports.health import check_health

        found = check_health(opened)
        facts["health"] = found.to_json()
        if picture is not None:
            from lookalike.reports import contact_sheet, figures

            figures.save(contact_sheet.contact_sheet(opened, found), picture, overwrite=overwrite)
    if as_json:
        print_json(facts)
        return
    if found is not None:
        print("\n".join(map(one_line, found.lines())))
        return
    del facts["encoders"]
    facts["search"] = _searching(facts["search"])
    for name, value in facts.items():
        print(f"{name:<15} {_in_words(value)}")
    for one in held:
        state = "" if one["complete"] else ", not complete: run the same lookalike index again"
        post = f", {one['post']}" if one["post"] else ""
        print(
            f"{'encoder':<15} {one['encoder']}{post} {one['dimension']}-d, {one['count']:,} images ({one['fingerprint']}){state}"
        )
    if not manifest.complete:
        print(f"{'':<15} the last run did not end; the same lookalike index goes on")


def _in_words(value: object) -> str:
    """Write what a manifest holds as a person reads it: no brackets of JSON, and yes, no and none for what they are."""
    if value is None or value in ([], {}):
        return "none"
    match value:
        case bool():
            return "yes" if value else "no"
        case dict():
            told = ((k, f"({_in_words(v)})" if isinstance(v, dict) and v else _in_words(v)) for k, v in value.items())
            return ", ".join(f"{k} {text}" for k, text in told)
        case list() if all(isinstance(v, int) for v in value):
            return " x ".join(map(str, value))
        case list():
            return " ".join(map(_in_words, value))
    return str(value)


def _searching(found: dict[str, Any]) -> str:
    """Say in a line how searches are done, and what the recall meter found."""
    told = f"{found['auto']} ({found['why']})"
    for one in found.get("meter", []):
        low, high = one["low"], one["high"]
        short = "" if one["met"] else f", below {found['floor']}: exact"
        told += (
            f"; recall@{one['k']} {one['recall']:.3f} ({low:.3f} to {high:.3f}, {one['queries']} queries) in {one['probes']:,} "
            f"of {found['lists']:,} lists{short}"
        )
    return told


@app.command()
def files(
    index_path: IndexPath = None,
    broken: Annotated[bool, typer.Option("--broken", help="Only those that were left out.")] = False,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values, with a header.")] = False,
) -> None:
    """List every file of an index with its outcome; those left out with stage and reason."""
    opened = open_(index_path, None)
    rows = opened.failures() if broken else opened.files()
    if as_json:
        print_json(rows)
    elif as_csv:
        import csv
        import sys

        table = csv.DictWriter(sys.stdout, ["path", "outcome", "stage", "reason"])
        table.writeheader()
        table.writerows(rows)
    else:
        for row in rows:
            why = "" if row["outcome"] == "indexed" else f"\t{row['outcome']} ({row['stage']}): {row['reason']}"
            print(one_line(row["path"]) + one_line(why))


@app.command()
def why(
    file: Annotated[str, typer.Argument(help="A file of the collection: its path, or as lookalike files lists it.")],
    index_path: IndexPath = None,
    as_json: AsJson = False,
) -> None:
    """Say what became of one file, and why."""
    from lookalike.index.reader import index_of
    from lookalike.index.reopen import changed_since

    opened = open_(index_path or index_of(file), None, file)
    found = opened.why(file)
    found["now"] = changed_since(opened, found)
    if as_json:
        print_json(found)
        return
    stage = f" at the stage '{found['stage']}'" if found["stage"] else ""
    print(f"{one_line(found['path'])}: {found['outcome']}{stage}")
    for name in ("reason", "now"):
        if found[name]:
            print(f"  {one_line(found[name])}")
    told = ("path", "outcome", "stage", "reason", "now", "frame", "mtime_ns")
    known = {k: v for k, v in found.items() if v not in (None, []) and k not in told}
    for name, value in known.items():
        print(f"  {name:<9} {one_line(', '.join(value) if isinstance(value, list) else str(value))}")


@app.command()
def verify(
    index_path: IndexPath = None,
    deep: Annotated[bool, typer.Option("--deep", help="Also compare every file with what was indexed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check an index to its last byte: ids, counts, hashes, descriptors, thumbnails, encoders."""
    from lookalike import progress
    from lookalike.index.integrity import verify as check

    opened = open_(index_path, None)
    with progress.counting("checking") as show:
        problems = check(opened, deep=deep, on_progress=show)
    if as_json:
        print_json({"ok": not problems, "problems": problems, "rows": opened.manifest.rows})
    elif problems:
        print("\n".join(problems))
    else:
        print(
            f"{opened.path}: sound; {opened.manifest.rows:,} files, {len(opened):,} descriptors of {opened.manifest.encoder}"
        )
    if problems:
        raise typer.Exit(1)


@app.command()
def export(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A .parquet file, or an .npy file (facts go to a .csv beside it).")
    ],
    index_path: IndexPath = None,
    encoder: EncoderName = None,
    overwrite: Overwrite = False,
) -> None:
    """Write descriptors and facts for other programs."""
    from lookalike.index.export import export as write

    opened = open_(index_path, encoder)
    written = write(opened, output, overwrite=overwrite)
    print(
        f"{' and '.join(map(str, written))}: {len(opened):,} rows, {opened.manifest.encoder} {opened.manifest.dimension}-d"
    )


@app.command(name="map")
def make_map(
    index_path: IndexPath = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", callback=figure_name, help="Also draw it: a .png, .svg or .pdf file."),
    ] = None,
    encoder: EncoderName = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of what is drawn at random. Default: 0.")] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Make it from nothing: same index, same seed, same map.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Lay the collection out in the plane, like near like, once; the page's map tab shows it."""
    import time

    import numpy as np

    from lookalike import progress
    from lookalike.index.map import make_map as make
    from lookalike.outputs import check_outputs

    check_outputs(output, overwrite=overwrite)
    opened = open_(index_path, encoder)
    started = time.monotonic()
    with progress.counting("looking for neighbours") as neighbours, progress.counting("laying out") as laying:
        shown = {"neighbours": neighbours, "laying out": laying}
        layout = make(
            opened, seed=seed, anew=anew, on_note=progress.say, on_progress=lambda what, *done: shown[what](*done)
        )
    seconds = time.monotonic() - started
    if output is not None:
        from lookalike.reports.charts import map_chart
        from lookalike.reports.figures import save

        chosen = layout.spread_out()
        save(map_chart(layout, chosen, opened.thumbnails(chosen)), output, overwrite=overwrite)
    hills = np.bincount(layout.hills).tolist()
    if as_json:
        picture = None if output is None else str(output)
        held = {"index": str(opened.path), "encoder": opened.manifest.view.column, "images": len(opened)}
        print_json({**held, "hills": hills, "seconds": round(seconds, 1), "picture": picture})
        return
    print(
        f"{opened.path}: a map of {len(opened):,} images by {opened.manifest.encoder}, {len(hills)} hills; "
        f"look at it: lookalike serve -i {shlex.quote(str(opened.path))}"
    )
    if output is not None:
        print(output)


@app.command()
def encoders(as_json: AsJson = False) -> None:
    """List the encoders and what each is."""
    from lookalike.encoders.base import TABLE, describe, installed_encoders

    names = sorted(TABLE | installed_encoders())
    rows = [
        {"name": name, "extra": TABLE.get(name, ("", ""))[1] or None, "about": describe(name).replace("``", "")}
        for name in names
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        for_what = "training needs" if row["extra"] == "train" else "needs"  # others are needed to use it at all
        extra = f" ({for_what} lookalike[{row['extra']}])" if row["extra"] else ""
        print(f"{row['name']:<12} {row['about']}{extra}")
