"""Links inside an index: nothing is read or written through one."""

from __future__ import annotations

import json

import pytest

from lookalike.errors import IndexStoreError
from lookalike.index.lock import only_writer
from lookalike.index.manifest import MANIFEST, OLDER_MANIFEST, read_manifest
from lookalike.index.plain_files import refuse_links


@pytest.fixture
def path(tmp_path):
    (tmp_path / "index" / "encoders" / "hog").mkdir(parents=True)
    (tmp_path / "index" / MANIFEST).write_text("{}")
    return tmp_path / "index"


@pytest.fixture(params=["a.json", "encoders/hog/b.json"])
def linked(path, request):
    (path.parent / "elsewhere").write_text("mine")
    (path / request.param).symlink_to(path.parent / "elsewhere")
    return path


def test_an_index_without_links_may_itself_be_reached_by_one(path):
    (path.parent / "link").symlink_to(path)
    refuse_links(path.parent / "link")
    refuse_links(path / "not there")


@pytest.mark.parametrize("door", [refuse_links, read_manifest, lambda path: only_writer(path).__enter__()])
def test_a_link_inside_is_refused_at_every_door(linked, door):
    before = sorted(linked.rglob("*"))
    with pytest.raises(IndexStoreError, match="a link inside an index, which lookalike never makes; it isn't followed"):
        door(linked)
    assert (linked.parent / "elsewhere").read_text() == "mine"
    assert sorted(linked.rglob("*")) == before


def test_where_an_older_index_lies_nothing_is_written(tmp_path):
    (tmp_path / OLDER_MANIFEST).write_text(json.dumps({}))
    with pytest.raises(IndexStoreError, match="an index of format 1"), only_writer(tmp_path):
        pass
    assert [file.name for file in tmp_path.iterdir()] == [OLDER_MANIFEST]
