"""The map over HTTP: its positions, clusters and labels, and what is refused."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from lookalike import build_index, open_index
from lookalike.index.map import make_map, map_version
from shapes import write_halves

pytest.importorskip("uvicorn", reason="the extra serve isn't installed")

from served import Site

pytestmark = pytest.mark.slow  # servers


@pytest.fixture
def photos(tmp_path):
    write_halves(tmp_path / "photos", range(60))
    return tmp_path / "photos"


@pytest.fixture
def site(photos):
    made = Site(build_index(photos, "pixels").path)
    yield made
    made.stop()


def test_the_service_gives_positions_clusters_labels_and_ids(site, photos):
    index = open_index(photos / ".lookalike")
    said = site.get("/api/map", 404)
    assert f"lookalike map -i {index.path} -e pixels" in said["error"]
    layout = make_map(index)  # while it serves
    said = site.get("/api/map?encoder=pixels")

    def array(name, dtype):
        return np.frombuffer(base64.b64decode(said[name]), dtype)

    assert said["count"] == 60
    assert (array("positions", "<f4").reshape(-1, 2) == layout.positions).all()
    assert (array("clusters", "<u2") == layout.clusters).all()
    assert [said["label_names"][at] for at in array("labels", "<u2")] == index.labels.tolist()
    body = {"version": said["version"], "encoder": "pixels", "rows": [5, 0, 59]}
    assert site.post("/api/map/ids", body)["ids"] == [index.ids[5], index.ids[0], index.ids[59]]


def test_wrong_rows_and_an_old_map_are_refused(site, photos):
    version = map_version(open_index(photos / ".lookalike"))
    assert "0 to 59" in site.post("/api/map/ids", {"version": version, "rows": [60]}, 400)["error"]
    for rows in ([], [-1], ["a"], [1.5], None):
        site.post("/api/map/ids", {"version": version, "rows": rows}, 422)
    assert "load it again" in site.post("/api/map/ids", {"version": "old", "rows": [0]}, 409)["error"]
    assert "no encoder 'hog'" in site.get("/api/map?encoder=hog", 400)["error"]
