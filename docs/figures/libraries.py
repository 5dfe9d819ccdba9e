"""Figures of docs/decisions.md: every row of the study, part by part."""

from __future__ import annotations

from tables import Column, Table, cell, significant, table_of

LIBRARIES = {
    "libraries": Table(
        "libraries",
        "part",
        [
            (row["setting"], {name: row[name] for name in ("run", "setting", "side", "metric")})
            for row in table_of("libraries").rows
        ],
        [
            Column("side", {}, cell("side")),
            Column("measured", {}, cell("metric")),
            Column("value", {}, significant(4)),
            Column("n", {}, cell("n")),
            Column("how", {}, cell("note")),
        ],
    )
}
