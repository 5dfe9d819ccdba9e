"""An open index and an encoder are pickled, copied and shared by threads, after use too; what is made, is made once."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lookalike import build_index, create_encoder, open_index
from lookalike.api import Index
from lookalike.client.http import ServerError
from lookalike.errors import ImageError, IndexStoreError, UsageError
from lookalike.index.manifest import DamagedIndexError, UnreadableIndexError
from lookalike.search import learnt
from lookalike.search.engine import search
from lookalike.search.filters import FilterError
from lookalike.search.rerank import RERANKERS

#: ``auto`` is chosen by trying these, which asks for more images than there are here.
METHODS = [name for name in RERANKERS if name != "auto"]


def picture(seed):
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((96, 96), Image.Resampling.BICUBIC)
    return np.asarray(coarse) // 2 + rng.integers(0, 100, (96, 96, 3), np.uint8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared") / "photos"
    folder.mkdir()
    for i in range(24):
        Image.fromarray(picture(i)).save(folder / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def used(photos):
    """An index that has been asked in many ways."""
    index = build_index(photos, "neural", photos / ".lookalike")
    query = {"images": [{"path": str(photos / "03.png")}], "where": "width > 5", "words": "png", "k": 3}
    index.ask(query)
    index.search(photos / "03.png", 3, rerank="geometric")
    return index


def answered(index, photos):
    return [m.id for m in index.search(photos / "03.png", 3)]


def in_a_process(data, path, pipe):
    index = pickle.loads(data)
    pipe.send([m.id for m in index.search(path, 3)])


@pytest.mark.parametrize("made", ["pickled", "copied", "deep-copied"])
def test_an_index_that_was_used_is_copied(made, used, photos):
    make = {"pickled": lambda i: pickle.loads(pickle.dumps(i)), "copied": copy.copy, "deep-copied": copy.deepcopy}[made]
    other = make(used)
    assert other is not used
    assert answered(other, photos) == answered(used, photos)
    assert other.ask({"images": [{"id": "03.png"}], "k": 2}) == used.ask({"images": [{"id": "03.png"}], "k": 2})
    assert len(pickle.dumps(used)) < 20_000, "what it is, not what was made of it"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_an_index_goes_to_another_process(method, used, photos):
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    process = context.Process(target=in_a_process, args=(pickle.dumps(used), str(photos / "03.png"), theirs))
    process.start()
    assert ours.poll(120)
    assert ours.recv() == answered(used, photos)
    process.join()


@pytest.mark.parametrize(
    "error",
    [
        UsageError("a"),
        ImageError("a picture: cut short", "truncated"),
        FilterError("width >", 7, "expected a number"),
        DamagedIndexError(Path("here"), "cut"),
        UnreadableIndexError(Path("here"), "away"),
        ServerError("busy", 429),
    ],
)
def test_an_error_goes_to_another_process(error):
    """A pool of processes waits for ever for an error that can't be made again."""
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert (type(again), str(again), again.args, vars(again)) == (type(error), str(error), error.args, vars(error))


def in_a_fork(index, path, pipe):
    for one in (index, pickle.loads(pickle.dumps(index))):
        try:
            pipe.send([m.id for m in one.search(path, 3)])
        except IndexStoreError as e:
            pipe.send(str(e))


@pytest.mark.filterwarnings("ignore:lance is not fork-safe")  # that is what is tried here
def test_a_process_that_was_forked_is_told_to_be_spawned(used, photos):
    """Lance would wait for ever there, or end the process, in every second one."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    answered(used, photos)
    process = context.Process(target=in_a_fork, args=(used, str(photos / "03.png"), theirs))
    process.start()
    for _ in range(2):
        assert ours.poll(120)
        assert "get_context('spawn')" in ours.recv()
    process.join()
    assert process.exitcode == 0
    assert answered(used, photos)[0] == "03.png"


@pytest.mark.parametrize("name", ["pixels", "hog", "color", "sift", "neural", "itq", "neural+color"])
def test_every_encoder_that_was_used_is_copied(name):
    images = np.stack([picture(i) for i in range(40)])
    encoder = create_encoder(name)
    if encoder.preferred_shape is not None:
        images = np.stack([np.asarray(Image.fromarray(i).resize(encoder.preferred_shape[1::-1])) for i in images])
    encoder.fit(images)
    before = encoder.encode(images[:5])
    for other in (pickle.loads(pickle.dumps(encoder)), copy.copy(encoder), copy.deepcopy(encoder)):
        assert np.array_equal(other.encode(images[:5]), before)
        assert other.fingerprint == encoder.fingerprint


def refusal(work, kind):
    """Return what an error of a kind says, nothing where there is none."""
    try:
        work()
    except kind as e:
        return str(e)
    return ""


def at_once(count, work):
    ready = threading.Barrier(count)

    def one(i):
        ready.wait()
        return work(i)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_what_threads_ask_for_at_once_is_made_once(used):
    index, made, begun = Index(used.path, used.manifest), [], threading.Event()

    def make():
        made.append(threading.get_ident())
        begun.set()
        return object()

    found = at_once(8, lambda _: index.cached("thing", make))
    assert len(made) == 1
    assert len({id(one) for one in found}) == 1
    assert index.cached("other", make) is not found[0]


def test_others_wait_for_who_makes_it_and_other_things_go_on(used):
    index, inside, let_go = Index(used.path, used.manifest), threading.Event(), threading.Event()

    def slowly():
        inside.set()
        assert let_go.wait(60)
        return "made"

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(index.cached, "slow", slowly)
        assert inside.wait(60)
        assert index.cached("quick", lambda: "quick") == "quick"
        second = pool.submit(index.cached, "slow", lambda: "made again")
        let_go.set()
        assert (first.result(60), second.result(60)) == ("made", "made")


def test_what_fails_is_tried_again(used):
    index, tries = Index(used.path, used.manifest), []

    def make():
        tries.append(1)
        if len(tries) == 1:
            raise OSError("a bad moment")
        return len(tries)

    with pytest.raises(OSError, match="a bad moment"):
        index.cached("thing", make)
    assert index.cached("thing", make) == 2


def test_first_queries_of_many_threads_learn_once(photos, used, monkeypatch):
    counted = {"estimate_rejection_rates": 0, "Words": 0, "DistanceCalibration": 0}
    for name in counted:
        real = getattr(learnt, name)

        def counting(*arguments, _real=real, _name=name, **options):
            counted[_name] += 1
            return _real(*arguments, **options)

        monkeypatch.setattr(learnt, name, counting)
    index = open_index(used.path)
    query = {"images": [{"path": str(photos / "03.png")}], "words": "png", "k": 3}
    found = at_once(8, lambda _: index.ask(query).to_json())
    assert all(one == found[0] for one in found)
    assert max(counted.values()) == 1, counted


def test_an_index_that_was_replaced_twice_says_to_open_it_again(photos, tmp_path):
    path = tmp_path / "index"
    build_index(photos, "pixels", path)
    opened = [open_index(path) for _ in range(3)]
    opened[1].search(photos / "03.png", 1)
    for seed in (100, 200):
        other = tmp_path / f"other {seed}"
        other.mkdir()
        for i in range(9):
            Image.fromarray(picture(seed + i)).save(other / f"{i}.png")
        build_index(other, "hog", path, replace_collection=True)
    for folder in path.glob("encoder-*"):  # as a sweep leaves it
        if folder.name != open_index(path).manifest.view.encoder_folder:
            shutil.rmtree(folder)
    for index in opened:
        for ask in (
            lambda i: i.ids,
            lambda i: i.search(photos / "03.png", 1, distance="euclidean"),
            lambda i: i.thumbnails([0]),
            lambda i: i.facts([5]),
            lambda i: i.files(),
            lambda i: i.encoder,
            lambda i: i.ask({"where": "width > 1"}),
        ):
            for one in (Index(index.path, index.manifest), index):
                said = refusal(lambda ask=ask, one=one: ask(one), IndexStoreError)
                assert said == "" or said.endswith("the index was written since it was opened; open it again")


# Every re-ranking by every distance -----------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", [None, "cosine", "euclidean", "inner product"])
@pytest.mark.parametrize("method", [*METHODS, "query-expansion:augment=3", "multi-view:by=mean", "none"])
def test_every_re_ranking_works_by_every_distance_or_says_why_not(method, distance, used, photos):
    made = []
    said = refusal(
        lambda: made.extend(search(used, photos / "03.png", 24, rerank=method, distance=distance)), UsageError
    )
    if said:
        assert "goes by the encoder's own distance" in said
        assert method in ("diffusion", "k-reciprocal")
        assert distance not in (None, used.manifest.distance)
        return
    (found,) = made
    assert sorted(m.row for m in found.matches) == list(range(24))
    assert all(np.isfinite(m.distance) for m in found.matches)
    asked = {"images": [{"path": str(photos / "03.png")}], "k": 24, "rerank": method, "distance": distance}
    assert [m.row for m in used.ask(asked).matches] == [m.row for m in found.matches]
    if method == "geometric":  # what shows the same thing comes first, whatever the distance
        assert found.matches[0].id == "03.png"
        assert found.matches[0].inliers > 50
        plain = [m.row for m in used.search(photos / "03.png", 24, distance=distance) if m.id != "03.png"]
        assert [m.row for m in found.matches[1:]] == plain


@pytest.mark.parametrize("method", METHODS)
def test_every_re_ranking_is_scored_by_the_inner_product(method, used, photos, tmp_path):
    from lookalike import score

    truth = tmp_path / "truth.csv"
    truth.write_text("query,relevant\n03,03.png\n")
    made = []
    said = refusal(
        lambda: made.append(score(used, photos / "03.png", truth=truth, rerank=method, distance="inner product")),
        UsageError,
    )
    if said:
        assert "goes by the encoder's own distance" in said
        return
    (found,) = made
    assert 0 < found.metrics["mAP"] <= 1
    assert method != "geometric" or found.metrics["P@1"] == 1.0


def test_packed_codes_are_re_ranked_or_it_is_said_why_not(photos, tmp_path):
    index = build_index(photos, "itq", tmp_path / "codes")
    for method in METHODS:
        (found,) = search(index, photos / "03.png", 24, rerank=method)
        assert found.matches[0].id == "03.png", method
