"""The schema of what is stored of an image: each column has the type of its row, but for metadata, which is stored as JSON."""

from __future__ import annotations

from typing import Any, get_args

import pytest

pytest.importorskip("fastapi", reason="the extra serve isn't installed")

from lookalike.index.schema import FACT_COLUMNS
from lookalike.server.schemas import FactsModel


def test_columns_have_the_types_of_their_rows():
    fields = FactsModel.model_fields
    shown = [column for column in FACT_COLUMNS if column.name in fields]
    assert {"id", "width", "caption", "metadata"} <= {column.name for column in shown}
    for column in shown:
        if column.name == "metadata":
            assert fields[column.name].annotation == dict[str, Any] | None
        elif column.name not in FactsModel.__base__.__annotations__:
            assert fields[column.name].annotation == column.type
            assert fields[column.name].is_required() == (type(None) not in get_args(column.type))
