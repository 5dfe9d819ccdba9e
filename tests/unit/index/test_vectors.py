"""What an index leaves beside its dataset for the next search: right or made again, and never a wrong answer."""

import json

import numpy as np
import pytest

from lookalike import build_index, open_index
from lookalike.cli.main import run
from lookalike.collections.open import open_collection
from lookalike.encoders.registry import TABLE
from lookalike.errors import IndexStoreError, UsageError
from lookalike.index import vectors
from lookalike.index.artifacts import RESTORER
from lookalike.index.integrity import verify
from lookalike.index.rollback import rollback
from lookalike.search.engine import search
from quadrants import ENTRY


@pytest.fixture(autouse=True)
def table(monkeypatch):
    monkeypatch.setitem(TABLE, "quadrants", ENTRY)
    monkeypatch.setattr(vectors, "MIN_BYTES", 1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "index"


def some_pictures(n, seed=0):
    return np.random.default_rng(seed).integers(1, 256, (n, 2, 2), np.uint8)


def kept(path, kind="vectors"):
    return sorted(p.name for p in path.glob(f"{kind}-*.mapped"))


def answers(index, k=20, **how):
    return [[(m.id, m.distance) for m in r.matches] for r in search(index, some_pictures(5, 9), k, **how)]


def test_the_first_search_leaves_descriptors_that_the_next_one_maps(path):
    expected = answers(build_index(some_pictures(300), "quadrants", path))
    assert len(kept(path)) == 1
    index = open_index(path)
    assert answers(index) == expected
    assert isinstance(index.descriptors.base, np.ndarray)  # mapped
    assert not index.descriptors.flags.writeable
    np.testing.assert_array_equal(index.descriptors, some_pictures(300).reshape(300, 4))
    assert answers(open_index(path), distance="euclidean") != expected
    assert not verify(open_index(path))


@pytest.mark.parametrize("method", ["query-expansion", "alpha-query-expansion", "diffusion", "k-reciprocal"])
def test_mapped_descriptors_are_reranked_as_those_in_memory_are(path, method, monkeypatch):
    index = build_index(some_pictures(300), "quadrants", path)
    monkeypatch.setattr(vectors, "MIN_BYTES", 2**40)
    expected = answers(index, rerank=method)
    monkeypatch.setattr(vectors, "MIN_BYTES", 1)
    answers(open_index(path))  # leaves the mapped file
    assert kept(path)
    assert answers(open_index(path), rerank=method) == expected


@pytest.mark.slow
def test_whatever_byte_is_changed_the_answers_are_right(path):
    expected = answers(build_index(some_pictures(3000), "quadrants", path))
    (name,) = kept(path)
    whole = (path / name).read_bytes()
    for at in [9, 40, 4 * 4096 + 5, 4 * 4096 + 40_000, len(whole) - 2]:
        (path / name).write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        assert [p for p in verify(open_index(path)) if f"{name} isn't what was written" in p]
        assert answers(open_index(path)) == expected
        assert (path / name).read_bytes() == whole  # made again
    (path / name).write_bytes(whole[:5000])
    assert answers(open_index(path)) == expected


@pytest.mark.slow
def test_another_state_has_another_file_and_what_nobody_names_goes(path):
    states = {}
    for n in (300, 310, 305):
        index = build_index(some_pictures(n), "quadrants", path)
        states[n] = answers(index)
        assert len(kept(path)) <= 2
        assert answers(open_index(path)) == states[n]
    rollback(path)
    assert answers(open_index(path)) == states[310]
    rollback(path)
    assert answers(open_index(path)) == states[305]


def test_encoders_of_one_index_have_a_file_each(path):
    build_index(some_pictures(50), "quadrants", path)
    first = answers(open_index(path))
    build_index(some_pictures(50), "pixels", path)
    second = answers(open_index(path))
    assert len(kept(path)) == 2
    assert answers(open_index(path, encoder="quadrants")) == first
    assert answers(open_index(path)) == second


def test_where_nothing_can_be_written_search_works(path, monkeypatch):
    def refuses(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(vectors, "writing_mapped", refuses)
    index = build_index(some_pictures(50), "quadrants", path)
    assert answers(index)
    assert not kept(path)


@pytest.mark.slow
def test_an_index_that_is_rewritten_meanwhile_answers_as_it_was_or_says_so(path):
    build_index(some_pictures(300), "quadrants", path)
    index = open_index(path)
    expected = answers(index)
    for n in (310, 320, 330):  # two states are kept
        build_index(some_pictures(n, n), "quadrants", path)
        rows, far, _ = index.nearest(some_pictures(5, 9).reshape(5, 4).astype(np.float32), 20)
        assert [f for row in expected for _, f in row] == far.reshape(-1).tolist()
        assert [i for row in expected for i, _ in row] == [str(r) for r in rows.reshape(-1)]
    with pytest.raises(IndexStoreError, match="was written since it was opened; open it again"):
        search(index, some_pictures(1, 9), 5)


# Lists ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_lists_answer_and_say_so(path, capsys):
    index = build_index(some_pictures(3000), "quadrants", path, approximate=True)
    assert len(kept(path, "ivf")) == 1
    exact = answers(index, 10, how="exact")
    for opened in (index, open_index(path)):
        (result, *_) = search(opened, some_pictures(5, 9), 10)
        assert (result.how, result.to_json()["search"]) == ("approximate", "approximate")
        found = answers(opened, 10, how="approximate")
        same = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, exact, strict=True)])
        assert same > 0.9
        assert answers(opened, 10) == found
    told = open_index(path).searching()
    assert (told["auto"], told["floor"], told["meter"][0]["k"]) == ("approximate", 0.99, 10)
    assert run(["info", "-i", str(path)]) == 0
    assert "search          approximate (recall@10 is at least 0.99, measured" in capsys.readouterr().out
    assert run(["info", "-i", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["search"] == json.loads(json.dumps(told))
    assert not verify(open_index(path))


def test_auto_is_exact_where_there_are_no_lists_or_they_cant_say(path):
    index = build_index(some_pictures(400), "quadrants", path)
    assert not kept(path, "ivf")
    assert index.searching()["auto"] == "exact"
    assert "MB of descriptors, under the 268 MB" in index.searching()["why"]
    asked = some_pictures(5, 9).reshape(5, 4).astype(np.float32)
    index = build_index(some_pictures(400), "quadrants", path, approximate=True)
    assert index.nearest(asked, 10)[2] == "approximate"
    assert index.nearest(asked, 10, distance="euclidean")[2] == "exact"  # the lists are by cosine
    assert index.nearest(asked, 200)[2] == "exact"  # more than the meter vouches for
    assert index.nearest(asked, 10, how="exact")[2] == "exact"
    rows, _, how = index.nearest(asked, 3, rows=[5, 9, 11])
    assert (sorted(rows[0].tolist()), how) == ([5, 9, 11], "exact")


def test_large_collections_get_lists_unasked(path, monkeypatch):
    monkeypatch.setattr(vectors, "CROSSOVER_BYTES", 100)
    notes = []
    build_index(some_pictures(400), "quadrants", path, on_note=notes.append)
    assert notes == ["putting 400 descriptors into lists for approximate search"]
    assert len(kept(path, "ivf")) == 1
    build_index(some_pictures(400), "quadrants", path, approximate=False)
    assert not kept(path, "ivf")


@pytest.mark.slow
def test_lists_are_kept_true_to_the_collection(path):
    build_index(some_pictures(1000), "quadrants", path, approximate=True)
    first = kept(path, "ivf")
    build_index(some_pictures(1000), "quadrants", path)
    assert kept(path, "ivf") == first  # nothing to do
    more = np.concatenate([some_pictures(900), some_pictures(200, 3)])
    index = build_index(more, "quadrants", path)  # some changed, some new: unasked, since there were lists
    assert index.searching()["auto"] == "approximate"
    rows, far, how = index.nearest(more[950:960].reshape(10, 4).astype(np.float32), 1)
    assert (how, far.max()) == ("approximate", 0)
    assert (more[rows[:, 0]] == more[950:960]).all()
    rollback(path)
    assert open_index(path).searching()["auto"] == "approximate"


@pytest.mark.slow
def test_stale_or_damaged_lists_are_left_for_exact_search(path):
    build_index(some_pictures(3000), "quadrants", path, approximate=True)
    exact = answers(open_index(path), 10, how="exact")
    (name,) = kept(path, "ivf")
    whole = (path / name).read_bytes()
    (path / name).write_bytes(whole[: 4 * 4096 + 9] + b"\x07" + whole[4 * 4096 + 10 :])  # in the first block
    assert answers(open_index(path), 10) == exact
    with pytest.raises(
        (IndexStoreError, UsageError), match=r"make them (again )?with: lookalike index .* --approximate"
    ):
        answers(open_index(path), 10, how="approximate")
    assert any(name in problem for problem in verify(open_index(path)))
    build_index(some_pictures(3000), "quadrants", path)  # made again
    assert (path / name).read_bytes() == whole
    (path / name).rename(path / "ivf-0123456789abcdef.mapped")  # of another state
    assert answers(open_index(path), 10) == exact
    assert "sealed" not in str(verify(open_index(path)))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            {"how": "approximate"},
            "holds no lists for approximate search by cosine that fit its last run; make them with: ",
        ),
        ({"how": "fast"}, "unknown way to search 'fast'; known: approximate, auto, exact"),
    ],
)
def test_what_cant_be_done_is_said_in_a_sentence(path, how, message):
    index = build_index(some_pictures(50), "quadrants", path)
    with pytest.raises(UsageError, match=message):
        answers(index, 5, **how)


def test_approximate_answers_that_nobody_vouches_for_are_refused(path):
    index = build_index(some_pictures(500), "quadrants", path, approximate=True)
    asked = np.ones((1, 4), np.float32)
    with pytest.raises(UsageError, match="its recall meter doesn't vouch for 300 approximate answers; ask for fewer"):
        index.nearest(asked, 300, how="approximate")
    with pytest.raises(
        UsageError, match="a search among some rows only is exact; leave out --approximate or the filter"
    ):
        index.nearest(asked, 3, how="approximate", rows=[1, 2, 3])
    with pytest.raises(UsageError, match="k is 501 but the index holds 500 images"):
        index.nearest(asked, 501)
    with pytest.raises(UsageError, match="query 0 .* NaN or infinity"):
        index.nearest(np.full((1, 4), np.nan, np.float32), 5)


@pytest.mark.slow
def test_the_command_line_chooses(path, capsys, tmp_path):
    assert run(["index", "mnist:test[0:200]", "-e", "pixels", "-o", str(path), "--approximate"]) == 0
    for option, how in ((["--exact"], "exact"), (["--approximate"], "approximate"), ([], "approximate")):
        capsys.readouterr()
        if how == "approximate" and open_index(path).searching()["auto"] == "exact":
            continue
        assert run(["search", "mnist:test[7]", "-i", str(path), "-k", "3", "--json", *option]) == 0
        (result,) = json.loads(capsys.readouterr().out)["results"]
        assert (result["search"], result["matches"][0]["id"]) == (how, "7")
    assert len(open_collection("mnist:test[7]")) == 1


# What is learnt -------------------------------------------------------------------------------------------------------


def learnt_by(index, terms, value, calls):
    def learn():
        calls.append(value)
        return {"value": value}, {"table": np.array([value, value])}

    facts, arrays = RESTORER.cached(index.path, index.manifest, terms, learn)
    return facts["value"], arrays["table"].tolist()


@pytest.mark.slow
def test_what_is_learnt_is_kept_until_the_content_or_the_terms_change(path):
    calls = []
    index = build_index(some_pictures(30), "quadrants", path)
    assert learnt_by(index, {"seed": 0}, 1, calls) == (1, [1, 1])
    assert learnt_by(open_index(path), {"seed": 0}, 2, calls) == (1, [1, 1])
    assert learnt_by(open_index(path), {"seed": 7}, 3, calls) == (3, [3, 3])
    assert verify(open_index(path)) == []
    changed = build_index(some_pictures(31), "quadrants", path)
    assert learnt_by(changed, {"seed": 7}, 4, calls) == (4, [4, 4])
    assert calls == [1, 3, 4]
    build_index(some_pictures(32), "quadrants", path)
    build_index(some_pictures(33), "quadrants", path)
    assert kept(path, "restorer") == []


def test_what_is_learnt_is_learnt_anew_where_a_byte_has_changed_and_verify_says_so(path):
    index = build_index(some_pictures(30), "quadrants", path)
    assert learnt_by(index, {}, 1, []) == (1, [1, 1])
    (name,) = kept(path, "restorer")
    data = bytearray((path / name).read_bytes())
    data[16384] ^= 1  # in the array
    (path / name).write_bytes(bytes(data))
    assert verify(open_index(path)) == [
        f"{name} isn't what was written; it is only a copy: delete it, and the next query that needs it makes it again"
    ]
    assert learnt_by(open_index(path), {}, 2, []) == (2, [2, 2])
    assert verify(open_index(path)) == []


def test_what_is_learnt_is_used_where_it_cannot_be_kept(path, monkeypatch):
    index = build_index(some_pictures(30), "quadrants", path)
    calls = []

    def refuses(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("lookalike.index.artifacts.writing_mapped", refuses)
    for value in (1, 2):
        assert learnt_by(index, {}, value, calls) == (value, [value, value])
    assert calls == [1, 2]
