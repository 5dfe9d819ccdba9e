"""The commands that report on an index, check it or export it: info, files, why, verify, export, map, encoders."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from lookalike.cli.find_index import open_named
from lookalike.cli.format import in_words, print_json, print_json_list, search_line
from lookalike.cli.options import AsJson, EncoderName, IndexPath, Overwrite, figure_name, option, takes
from lookalike.errors import UsageError
from lookalike.terminal import one_line

_FILES_AT_ONCE = 8192
#: What the manifest says of the encoder that the index is looked at through.
_VIEW = (
    "encoder",
    "params",
    "fingerprint",
    "distance",
    "dimension",
    "post",
    "shape",
    "resized",
    "count",
    "provider",
    "aim",
    "verdict",
)


@dataclass(frozen=True)
class InfoOptions:
    """What ``lookalike info`` takes."""

    index_path: IndexPath = None
    encoder: EncoderName = None
    health: bool = option(
        "Report hub images (in the top 10 of unusually many others), near-duplicates, blank images and outliers.",
        default=False,
    )
    picture: Path | None = option(
        "With --health: draw these images to a .png, .svg or .pdf file.", "--picture", "-o", callback=figure_name
    )
    overwrite: Overwrite = False
    as_json: AsJson = False


@takes(InfoOptions)
def info(options: InfoOptions) -> None:
    """Print an index's manifest: its collection, encoders and settings; with --health, images to check."""
    if options.picture is not None and not options.health:
        raise UsageError("--picture draws what --health reports; give both")
    from lookalike.outputs import check_outputs

    check_outputs(options.picture, overwrite=options.overwrite)
    opened = open_named(options.index_path, options.encoder)
    manifest = opened.manifest
    stated = manifest.to_json()
    encoders = [{k: v for k, v in c.items() if k != "column"} for c in stated.pop("columns")]
    for hidden in ("default", "next_key", "keys_crc32", "files"):
        del stated[hidden]
    view = {name: getattr(manifest.view, name) for name in _VIEW} | {"failed": manifest.failed}
    facts = {**stated, **view, "encoders": encoders, "path": str(opened.path), "search": opened.searching()}
    report = None
    if options.health:
        from lookalike.reports.health import check_health

        report = check_health(opened)
        facts["health"] = report.to_json()
        if options.picture is not None:
            from lookalike.reports import contact_sheet, figures

            sheet = contact_sheet.contact_sheet(opened, report)
            figures.save(sheet, options.picture, overwrite=options.overwrite)
    if options.as_json:
        print_json(facts)
        return
    if report is not None:
        print("\n".join(map(one_line, report.lines())))
        return
    del facts["encoders"]
    facts["search"] = search_line(facts["search"])
    for name, value in facts.items():
        print(f"{name:<15} {in_words(value)}")
    for column in encoders:
        state = "" if column["complete"] else ", not complete: run the same lookalike index again"
        post = f", {column['post']}" if column["post"] else ""
        made_by = f", made by {column['provider']}" if column["provider"] else ""
        print(
            f"{'encoder':<15} {column['encoder']}{post} {column['dimension']}-d, {column['count']:,} images ({column['fingerprint']}){made_by}{state}"
        )
        if column["verdict"]:
            print(f"{'':<15} {column['verdict']}")
    if not manifest.complete:
        print(f"{'':<15} the last run was interrupted; run the same lookalike index to continue")


def files(
    index_path: IndexPath = None,
    broken: Annotated[bool, typer.Option("--broken", help="Only files that were left out.")] = False,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the list as CSV, with a header.")] = False,
) -> None:
    """List every file of an index with its outcome; files that were left out with stage and reason."""
    opened = open_named(index_path, None)
    rows = opened.rows_with("left out" if broken else None)
    # A list of a million files as objects would take half a gigabyte.
    pieces = (opened.files(rows[start : start + _FILES_AT_ONCE]) for start in range(0, len(rows), _FILES_AT_ONCE))
    if as_json:
        print_json_list(row for piece in pieces for row in piece)
    elif as_csv:
        import csv
        import sys

        from lookalike.index.schema import OF_FILE

        table = csv.DictWriter(sys.stdout, ["path", *OF_FILE])
        table.writeheader()
        for piece in pieces:
            table.writerows(piece)
    else:
        for row in (row for piece in pieces for row in piece):
            why = "" if row["outcome"] == "indexed" else f"\t{row['outcome']} ({row['stage']}): {row['reason']}"
            print(one_line(row["path"]) + one_line(why))


def why(
    file: Annotated[
        str, typer.Argument(help="A file of the collection: its path, or its name as lookalike files lists it.")
    ],
    index_path: IndexPath = None,
    as_json: AsJson = False,
) -> None:
    """Print the outcome of one file, and its reason."""
    from lookalike.index.reader import index_of
    from lookalike.index.reopen import changed_since

    opened = open_named(index_path or index_of(file), None, file)
    facts = opened.why(file)
    facts["now"] = changed_since(opened, facts)
    tags = opened.tags([facts["path"]])[0] if opened.row_of(facts["path"]) is not None else []
    if as_json:
        facts["tags"] = [{"word": word, "share": round(share, 4)} for word, share in tags]
        print_json(facts)
        return
    stage = f" at the stage '{facts['stage']}'" if facts["stage"] else ""
    print(f"{one_line(facts['path'])}: {facts['outcome']}{stage}")
    for name in ("reason", "now"):
        if facts[name]:
            print(f"  {one_line(facts[name])}")
    for name, value in facts.items():
        if value not in (None, []) and name not in ("path", "outcome", "stage", "reason", "now", "frame", "mtime_ns"):
            print(f"  {name:<9} {one_line(', '.join(value) if isinstance(value, list) else str(value))}")
    if tags:
        print(f"  {'looks like':<9} {', '.join(f'{word} ({share:.0%})' for word, share in tags)}")


def verify(
    index_path: IndexPath = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also compare every file's content with what was indexed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check an index byte by byte, and list every problem: ids, counts, hashes, descriptors, thumbnails, encoders."""
    from lookalike import progress
    from lookalike.index.integrity import verify as check

    opened = open_named(index_path, None)
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


def export(
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="A .parquet file, or an .npy file (with the metadata in a .csv beside it)."
        ),
    ],
    index_path: IndexPath = None,
    encoder: EncoderName = None,
    overwrite: Overwrite = False,
) -> None:
    """Write descriptors and metadata to a file for other programs."""
    from lookalike.index.export import export as write

    opened = open_named(index_path, encoder)
    written = write(opened, output, overwrite=overwrite)
    print(
        f"{' and '.join(map(str, written))}: {len(opened):,} rows, {opened.manifest.encoder} {opened.manifest.dimension}-d"
    )


@dataclass(frozen=True)
class MapOptions:
    """What ``lookalike map`` takes."""

    index_path: IndexPath = None
    output: Path | None = option(
        "Also draw the map to a .png, .svg or .pdf file.", "--output", "-o", callback=figure_name
    )
    encoder: EncoderName = None
    seed: int | None = option("Random seed. Default: 0.", min=0)
    rebuild: bool = option("Ignore the earlier map: same index, same seed, same map.", default=False)
    overwrite: Overwrite = False
    as_json: AsJson = False


@takes(MapOptions)
def map_(options: MapOptions) -> None:
    """Compute a 2-D map of the collection, similar images close together, for the Map tab of the page."""
    import time

    import numpy as np

    from lookalike import progress
    from lookalike.index.map import make_map as make
    from lookalike.outputs import check_outputs

    check_outputs(options.output, overwrite=options.overwrite)
    opened = open_named(options.index_path, options.encoder)
    started = time.monotonic()
    with progress.counting("looking for neighbours") as neighbours, progress.counting("laying out") as layout_progress:
        shown = {"neighbours": neighbours, "laying out": layout_progress}
        layout = make(
            opened,
            seed=options.seed,
            rebuild=options.rebuild,
            on_note=progress.say,
            on_progress=lambda what, *done: shown[what](*done),
        )
    seconds = time.monotonic() - started
    if options.output is not None:
        from lookalike.reports.charts import map_chart
        from lookalike.reports.figures import save

        chosen = layout.spread_out()
        save(map_chart(layout, chosen, opened.thumbnails(chosen)), options.output, overwrite=options.overwrite)
    clusters = np.bincount(layout.clusters).tolist()
    if options.as_json:
        picture = None if options.output is None else str(options.output)
        about = {"index": str(opened.path), "encoder": opened.manifest.view.column, "images": len(opened)}
        print_json({**about, "clusters": clusters, "seconds": round(seconds, 1), "picture": picture})
        return
    print(
        f"{opened.path}: a map of {len(opened):,} images by {opened.manifest.encoder}, {len(clusters)} density clusters; "
        f"show it: lookalike serve -i {shlex.quote(str(opened.path))}"
    )
    if options.output is not None:
        print(options.output)


def encoders(as_json: AsJson = False) -> None:
    """List the encoders, with a sentence about each, and the well-known models that can be fetched by name."""
    from lookalike.encoders.onnx.known_models import KNOWN, READ_ON
    from lookalike.encoders.registry import TABLE, describe, installed_encoders

    names = sorted(TABLE | installed_encoders())
    rows = [
        {"name": name, "extra": TABLE.get(name, ("", ""))[1] or None, "about": describe(name).replace("``", "")}
        for name in names
    ]
    if as_json:
        fetched = [
            {"name": name, "extra": "hub", "about": known.good_for, **asdict(known), "read_on": READ_ON}
            for name, known in KNOWN.items()
        ]
        print_json(rows + fetched)
        return
    for row in rows:
        for_what = "training needs" if row["extra"] == "train" else "needs"  # others are needed to use it at all
        extra = f" ({for_what} lookalike[{row['extra']}])" if row["extra"] else ""
        print(f"{row['name']:<12} {row['about']}{extra}")
    print(
        f"\nFetched from huggingface.co when first named (needs lookalike[hub]); by pages read on {READ_ON}, not tried here:"
    )
    for name, known in KNOWN.items():
        words = "words" if known.text else "no words"
        print(f"{name:<12} {known.good_for}; {words}; {known}{known.unchecked and f'. Not checked: {known.unchecked}'}")
