"""The command ``explain``: which parts of two images account for their similarity."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lookalike.cli.find_index import open_named
from lookalike.cli.format import print_json
from lookalike.cli.options import AsJson, EncoderName, IndexPath, Overwrite, figure_name


def explain(
    query: Annotated[
        str,
        typer.Argument(
            help="An image of the index, by its id; or a file, optionally with a crop: photo.jpg[x,y,width,height]."
        ),
    ],
    match: Annotated[str, typer.Argument(help="An image of the index, by its id as search prints it, or by its path.")],
    index_path: IndexPath = None,
    encoder: EncoderName = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            "-o",
            callback=figure_name,
            help="Draw both images with a heatmap of what counts, to a .png, .svg or .pdf file.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Explain why two images are similar: the parts of each that account for it, and each encoder's share."""
    from lookalike.index.reader import id_of
    from lookalike.outputs import check_outputs
    from lookalike.search.explain import explain as explain_pair
    from lookalike.search.explain import read_pair

    check_outputs(picture, overwrite=overwrite, inputs=[query])
    index = open_named(index_path, encoder, query)
    pair = read_pair(index, query, id_of(index, match))
    explanation = explain_pair(index, *pair)
    if picture is not None:
        from lookalike.reports import contact_sheet, figures

        figures.save(contact_sheet.explained(*pair, explanation), picture, overwrite=overwrite)
    if as_json:
        print_json({"query": query, "match": match, **explanation.to_json()})
    else:
        print(explanation.message)
