"""One more column of the rows: every door shows it, though none of them is changed."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys

import pytest

from lookalike.imaging.encode import to_png
from lookalike.index.schema import DOORS, FACT_COLUMNS
from paths import ROOT, TESTS

#: The schema with a line more, whose default fills the column; then one of everything that shows columns.
PROGRAM = """
import importlib.util, json, sys
from contextlib import redirect_stdout
from io import StringIO

import numpy as np

spec = importlib.util.find_spec("lookalike.index.schema")
line = '    camera: Annotated[str | None, About("Made up.")] = "a pinhole"\\n'
source = spec.loader.get_source(spec.name)
assert source.count("    outcome: Annotated[") == 1
module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
exec(compile(source.replace("    outcome: Annotated[", line + "    outcome: Annotated["), spec.origin, "exec"), vars(module))

from lookalike import open_index
from lookalike.cli.main import run
from served import Site

photos, = sys.argv[1:]

def command(*arguments):
    with redirect_stdout(StringIO()) as out:
        assert run(list(arguments)) == 0, arguments
    return out.getvalue()

command("index", photos, "-e", "pixels", "--size", "8")
site = Site(f"{photos}/.lookalike")
index = open_index(photos + "/.lookalike")
query = {"images": [{"id": "a.png"}], "k": 1}
shown = {
    "search": json.loads(command("search", f"{photos}/a.png", "--json", "--include-self", "-i", photos))["results"][0]["matches"][0],
    "ask": index.ask(query).matches[0].to_json(),
    "words": index.ask({"words": "a"}).matches[0].to_json(),
    "/api/search": site.post("/api/search", query)["matches"][0],
    "files": json.loads(command("files", "--json", "-i", photos))[0],
    "/api/files": site.get("/api/files")["files"][0],
    "why": json.loads(command("why", f"{photos}/a.png", "--json", "-i", photos)),
    "facts": index.facts([0])[0],
    "/api/image": site.get("/api/image?id=a.png"),
    "/api/images": site.get("/api/images")["images"][0],
}
text = command("why", f"{photos}/a.png", "-i", photos)
shown["why in words"] = {"camera": "a pinhole" if "  camera    a pinhole" in text else text}
shown["OpenAPI"] = {
    "camera": "a pinhole" if all(
        "camera" in site.get("/api/openapi.json")["components"]["schemas"][name]["properties"]
        for name in ("MatchModel", "FactsModel", "FileModel")
    ) else "missing"
}
shown["a filter"] = {"camera": index.ask({"where": "camera = 'a pinhole'"}).total == 1 and "a pinhole"}
shown["suggestions"] = {"camera": site.get("/api/suggest?q=cam")["columns"] == ["camera"] and "a pinhole"}
command("export", "-i", photos, "-o", f"{photos}/../out.npy")
command("export", "-i", photos, "-o", f"{photos}/../out.parquet")
with open(f"{photos}/../files.csv", "w") as file:
    file.write(command("files", "--csv", "-i", photos))
site.stop()
print(json.dumps(shown))
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What each door shows of one image, where the rows have a column ``camera`` more."""
    pytest.importorskip("uvicorn", reason="the extra serve isn't installed")
    import numpy as np
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("columns")
    (folder / "photos").mkdir()
    (folder / "photos" / "a.png").write_bytes(to_png(np.arange(64, dtype=np.uint8).reshape(8, 8)))
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder / "photos")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(TESTS)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    doors = json.loads(ran.stdout)
    doors["export to Parquet"] = pq.read_table(folder / "out.parquet").to_pylist()[0]
    for name, file in (("export to CSV", "out.csv"), ("files --csv", "files.csv")):
        with (folder / file).open(newline="", encoding="utf-8") as f:
            doors[name] = next(csv.DictReader(f))
    return doors


def test_every_door_shows_a_new_column(shown):
    assert {name: door.get("camera") for name, door in shown.items()} == dict.fromkeys(shown, "a pinhole")
    assert len(shown) == 17


def test_each_column_is_described_and_shown_where_there_is_such_a_place():
    for column in FACT_COLUMNS:
        assert column.about.text.endswith("."), column.name
        assert set(column.about.doors) <= set(DOORS), column.name


def test_each_column_is_in_the_page_about_the_stored_form():
    text = (ROOT / "docs" / "storage.md").read_text(encoding="utf-8")
    table = text.partition("## Columns of")[2].partition("\n## ")[0]
    named = {
        name for line in table.splitlines() if line.startswith("|") for name in line.split("|")[1].split("`")[1::2]
    }
    assert {column.name for column in FACT_COLUMNS} <= named
