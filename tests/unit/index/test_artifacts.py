"""What is kept beside an index: one mechanism, and one suite over all kinds of it.

A new kind needs nothing here but a line in ``ARTIFACTS``.
"""

from dataclasses import replace

import numpy as np
import pytest

from lookalike import build_index, open_index
from lookalike.atomic import claimed
from lookalike.index.artifacts import (
    ARTIFACTS,
    GRAPH,
    MAP,
    Artifact,
    is_artifact,
    names_of_artifacts,
    unsound_artifacts,
)
from lookalike.index.sweep import names_of, sweep
from paths import ROOT

FILES = [kind for kind in ARTIFACTS if kind.is_file]
every_file = pytest.mark.parametrize("kind", FILES, ids=lambda kind: kind.name)


@pytest.fixture
def index(tmp_path, digits):
    return build_index(digits[0][:12], "pixels", tmp_path / "index")


def keep(kind, index, distance=None):
    arrays = {"numbers": np.arange(5)}
    learnt = kind.cached(index.path, index.manifest, {"seed": 1}, lambda: ({"sum": 10}, arrays), distance=distance)
    return learnt, kind.file(index.path, index.manifest, distance)


@every_file
def test_it_is_learnt_once_and_then_read(kind, index):
    distance = "inner product" if kind.by_distance else None
    (facts, arrays), file = keep(kind, index, distance)
    assert file.name.startswith(f"{kind.name}-")
    assert is_artifact(file.name)
    again = kind.cached(index.path, index.manifest, {"seed": 1}, lambda: pytest.fail("learnt twice"), distance=distance)
    assert (again[0], again[1]["numbers"].tolist()) == (facts, arrays["numbers"].tolist())
    anew = kind.cached(
        index.path, index.manifest, {"seed": 2}, lambda: ({}, {"numbers": np.arange(2)}), distance=distance
    )
    assert anew[1]["numbers"].tolist() == [0, 1]  # under other terms


@every_file
def test_another_version_of_it_or_of_what_it_needs_is_another_file(kind, index):
    name = kind.file_name(index.manifest)
    assert replace(kind, version=kind.version + 1).file_name(index.manifest) != name
    assert replace(kind, uses=(*kind.uses, 7)).file_name(index.manifest) != name
    needed = Artifact("other", "", needs=(Artifact("first", "", version=2),))
    assert replace(kind, needs=(*kind.needs, needed)).file_name(index.manifest) != name
    deeper = Artifact("other", "", needs=(Artifact("first", "", version=3),))
    names = {replace(kind, needs=(*kind.needs, one)).file_name(index.manifest) for one in (needed, deeper)}
    assert len(names) == 2


@pytest.mark.slow
@every_file
def test_it_goes_with_the_encoder_and_with_the_content_that_it_follows(kind, index, digits):
    _, file = keep(kind, index)
    grown = build_index(digits[0][:13], "pixels", index.path)
    assert (kind.file_name(grown.manifest) == file.name) == (kind.follows == "encoder")
    other = build_index(digits[0][:13], "hog", index.path, only=True)
    assert kind.file_name(other.manifest) != file.name


@every_file
def test_a_changed_byte_is_found_and_it_is_learnt_again(kind, index):
    distance = "cosine" if kind.by_distance else None
    _, file = keep(kind, index, distance)
    assert unsound_artifacts(index.path, index.manifest) == []
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(bytes(data))
    (problem,) = unsound_artifacts(index.path, index.manifest)
    assert problem == f"{file.name} isn't what was written; it is only a copy: delete it, and {kind.remade_by}"
    (facts, _), _ = keep(kind, index, distance)
    assert facts == {"sum": 10}
    assert unsound_artifacts(index.path, index.manifest) == []


@pytest.mark.slow
@every_file
def test_the_sweep_keeps_what_the_manifests_name_and_drops_the_rest(kind, index):
    distance = "cosine" if kind.by_distance else None
    _, file = keep(kind, index, distance)
    stale = file.with_name(replace(kind, version=99).file_name(index.manifest, distance))
    file_of_a_person = index.path / f"{kind.name}-of-mine.mapped"
    stale.write_bytes(file.read_bytes())
    file_of_a_person.write_bytes(b"not lookalike's")
    from lookalike.atomic import adopt

    adopt(index.path, stale.name)
    assert file.name in names_of([index.manifest])
    sweep(index.path)
    assert file.exists()
    assert not stale.exists()
    assert file_of_a_person.exists()


@every_file
def test_what_is_made_is_in_the_inventory(kind, index):
    _, file = keep(kind, index)
    assert file.name in claimed(index.path)


def test_a_disk_that_refuses_is_no_error(index, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lookalike.index.artifacts.writing_mapped", refuse)
    (facts, _), file = keep(GRAPH, index)
    assert facts == {"sum": 10}
    assert not file.exists()
    assert GRAPH.keep(index.path, index.manifest, {}, {"numbers": np.arange(3)}) is False


def test_of_an_encoder_that_is_being_added_nothing_is_named_that_follows_its_content(index):
    column = replace(index.manifest.columns[0], column="half", complete=False)
    half = replace(index.manifest, columns=[*index.manifest.columns, column])
    names = names_of_artifacts(half)
    view = replace(half, chosen="half")
    assert MAP.file_name(view) in names
    assert GRAPH.file_name(view) not in names


def test_no_two_kinds_share_names():
    names = [kind.name for kind in ARTIFACTS]
    assert len(set(names)) == len(names)
    assert not [(a, b) for a in names for b in names if a != b and a.startswith(f"{b}-")]


@pytest.mark.parametrize("kind", ARTIFACTS, ids=lambda kind: kind.name)
def test_the_docs_list_it(kind):
    page = (ROOT / "docs" / "storage.md").read_text(encoding="utf-8")
    assert f"| `{kind.pattern}` | {kind.about} |" in page


def test_what_a_search_leaves_is_what_is_listed(index):
    opened = open_index(index.path)
    opened.ask({"images": [{"id": "3"}]})
    known = {kind.name for kind in FILES}
    left = {file.name.split("-")[0] for file in index.path.glob("*.mapped")}
    assert left
    assert left <= known
