"""Re-ranking: each method against what one works out by hand, who may be asked what, and what is refused."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lookalike import build_index, open_collection, open_index
from lookalike.cli.main import run
from lookalike.encoders.local import detect_sift
from lookalike.encoders.registry import TABLE
from lookalike.errors import UsageError
from lookalike.reports.evaluate import score
from lookalike.search.engine import search
from lookalike.search.rerank import RERANKERS
from lookalike.search.rerank.auto import select_rerank, significant_winner
from lookalike.search.rerank.base import RerankRequest
from lookalike.search.rerank.geometric import recognised
from lookalike.search.rerank.multi_view import views_of
from lookalike.search.rerank.registry import create_reranker, rerank
from quadrants import ENTRY, pictures
from shapes import scene

ROWS = ((3, 4, 0, 0), (4, 3, 0, 0), (0, 0, 5, 0), (6, 8, 0, 0), (0, 0, 3, 4), (1, 0, 0, 7))


@pytest.fixture
def index(tmp_path, monkeypatch):
    monkeypatch.setitem(TABLE, "quadrants", ENTRY)
    return build_index(pictures(*ROWS), "quadrants", tmp_path / "index")


@pytest.fixture(scope="module")
def digits_index(tmp_path_factory):
    return build_index("mnist:train[0:600]", "hog", tmp_path_factory.mktemp("digits") / "index", graph=True)


@pytest.fixture(scope="module")
def asked(digits_index):
    images = open_collection("mnist:test[0:40]")
    return RerankRequest(digits_index.encoder.encode(images.array()), images.read)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes") / "scenes"
    folder.mkdir()
    for seed in range(14):
        scene(seed).save(folder / f"{seed:02d}.png")
    return build_index(folder, "color")


# By hand --------------------------------------------------------------------------------------------------------------


def test_expansion_asks_again_with_the_mean(index):
    query = np.array([[3, 4, 0, 0]], np.float32)
    unit = index.descriptors / np.linalg.norm(index.descriptors, axis=1, keepdims=True)
    made = create_reranker("query-expansion:k=3", index)
    moved = query[0] / 5 + unit[[0, 3, 1]].sum(axis=0)
    expected = 1 - unit @ moved / np.linalg.norm(moved)
    assert np.allclose(made.values(RerankRequest(query))[0][0], expected, atol=1e-6)
    weighed = create_reranker("alpha-query-expansion:k=3,alpha=2", index)
    moved = query[0] / 5 + unit[0] + unit[3] + 0.96**2 * unit[1]
    expected = 1 - unit @ moved / np.linalg.norm(moved)
    assert np.allclose(weighed.values(RerankRequest(query))[0][0], expected, atol=1e-6)


def test_augmented_images_have_moved_towards_their_neighbours(index):
    made = create_reranker("alpha-query-expansion:k=1,alpha=1,augment=1", index)
    unit = index.descriptors / np.linalg.norm(index.descriptors, axis=1, keepdims=True)
    moved = unit[1] + 0.96 * unit[0]  # its nearest is 0 or 3, which point the same way
    assert np.allclose(made.moved._descriptors[1], moved, atol=1e-5)


def test_the_views_are_turned_mirrored_and_cut():
    picture = np.arange(6, dtype=np.uint8).reshape(2, 3)
    turned = views_of(picture, ["turns"])
    assert [v.tolist() for v in turned] == [[[2, 5], [1, 4], [0, 3]], [[5, 4, 3], [2, 1, 0]], [[3, 0], [4, 1], [5, 2]]]
    assert len(views_of(picture, ["crops"])) == 6


def test_a_turned_query_is_found_by_its_views(index):
    lying = np.rot90(pictures((3, 4, 0, 0))[0])
    assert index.search(lying, 1)[0].row != 0
    found = index.search(lying, 1, rerank="multi-view:kinds=turns")[0]
    assert found.row == 0
    assert found.distance > 0  # as it is without re-ranking


def sets_by_hand(table, k):
    """k-reciprocal sets of a table whose first row is the query, the database seeing only itself."""
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    away = np.maximum(1 - unit.astype(np.float64) @ unit.T.astype(np.float64), 0)
    inner = away[1:, 1:].copy()
    np.fill_diagonal(inner, -1)
    order = np.argsort(inner, axis=1, kind="stable")

    def of(i, size):
        return {j for j in order[i, : size + 1].tolist() if i in order[j, : size + 1].tolist()}

    reach = np.sort(inner, axis=1)[:, k]
    near = np.argsort(away[0, 1:], kind="stable")[:k].tolist()
    mine = {j for j in near if away[0, 1 + j] <= reach[j] + 1e-9}

    def grown(some):
        out = set(some)
        for j in some:
            half = of(j, max(1, round(k / 2)))
            if len(half & some) >= 2 / 3 * len(half):
                out |= half
        return out

    unit_of = float(np.median(reach)) or 1.0

    def weighed(members, distances):
        row = np.zeros(len(inner))
        for j in members:
            row[j] = np.exp(-distances[j] / unit_of)
        return row / max(row.sum(), 1e-12)

    inner[inner < 0] = 0
    query = weighed(grown(mine), away[0, 1:])
    own = np.stack([weighed(grown(of(i, k)), inner[i]) for i in range(len(inner))])
    return query, own, order, near, away[0, 1:]


@pytest.mark.slow
def test_reciprocal_is_what_the_paper_says_and_no_query_sees_another(digits_index, asked):
    k, few, plain = 6, 3, 0.3
    made = create_reranker(f"k-reciprocal:k={k},few={few},plain={plain}", digits_index)
    values = made.values(asked)[0]
    for i in (0, 11):
        table = np.concatenate([asked.descriptors[i : i + 1], digits_index.descriptors])
        query, own, order, near, away = sets_by_hand(table, k)
        query = (query + own[near[: few - 1]].sum(axis=0)) / few
        mixed = np.stack([own[order[j, :few]].mean(axis=0) for j in range(len(own))])
        shared = np.minimum(query, mixed).sum(axis=1)
        expected = (1 - plain) * (1 - shared / (2 - shared)) + plain * away / away.max()
        assert np.allclose(values[i], expected, atol=2e-4)
    alone = [made.values(asked.part(i, i + 1))[0][0] for i in range(len(asked))]
    assert np.allclose(values, alone, atol=1e-5)


@pytest.mark.parametrize(
    "method", ["query-expansion", "alpha-query-expansion:augment=5", "diffusion", "k-reciprocal", "multi-view", "none"]
)
def test_a_query_is_answered_the_same_alone_and_among_others(digits_index, asked, method):
    many = rerank(digits_index, method, asked.descriptors, 5, picture=asked.picture)
    for i in (0, 17):
        part = asked.part(i, i + 1)
        (alone,) = rerank(digits_index, method, part.descriptors, 5, picture=part.picture)
        assert alone.rows.tolist() == many[i].rows.tolist()
        assert np.allclose(alone.distances, many[i].distances, atol=1e-6)


def test_diffusion_finds_more_of_the_kind(digits_index):
    plain = score(digits_index, "mnist:test[0:200]")
    ranked = score(digits_index, "mnist:test[0:200]", rerank="diffusion")
    assert ranked.metrics["mAP"] > plain.metrics["mAP"] + 0.05
    assert ranked.rerank == "diffusion"
    assert score(digits_index, "mnist:test[0:200]", rerank="none").metrics == plain.metrics


def test_only_some_rows_may_answer(digits_index, asked):
    among = np.array([500, 3, 77, 12])
    (found, *_) = rerank(digits_index, "diffusion", asked.descriptors[:1], 3, among=among)
    assert set(found.rows.tolist()) < set(among.tolist())
    with pytest.raises(UsageError, match="1 to 4"):
        rerank(digits_index, "diffusion", asked.descriptors[:1], 5, among=among)


@pytest.mark.slow
def test_packed_codes_are_re_ranked(tmp_path):
    index = build_index("mnist:train[0:120]", "itq", tmp_path / "codes")
    images = open_collection("mnist:test[0:3]")
    for method in ("query-expansion", "alpha-query-expansion:augment=3", "diffusion", "k-reciprocal"):
        found = search(index, images, 4, rerank=method)
        assert all(len({m.row for m in result.matches}) == 4 for result in found)
    assert index.search("mnist:train[5]", 1, rerank="diffusion")[0].row == 5


@pytest.mark.slow
@pytest.mark.parametrize("method", ["query-expansion", "diffusion", "k-reciprocal"])
def test_two_images_are_enough(tmp_path, method):
    index = build_index("mnist:train[0:2]", "hog", tmp_path / "two")
    assert [m.row for m in index.search("mnist:train[1]", 2, rerank=method)] == [1, 0]


# Geometry -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_turned_part_of_a_picture_is_verified_first_and_says_its_inliers(scenes):
    part = scene(5).crop((40, 30, 260, 220)).rotate(70, Image.Resampling.BICUBIC, expand=True)
    first, second = search(scenes, np.asarray(part), 2, rerank="geometric")[0].matches
    assert first.id == "05.png"
    assert first.inliers > 20 > second.inliers
    assert first.to_json()["inliers"] == first.inliers
    assert "inliers" not in search(scenes, np.asarray(part), 1)[0].matches[0].to_json()


@pytest.mark.slow
def test_a_verified_answer_is_no_answer_to_be_doubted(scenes, tmp_path):
    part = scene(5).crop((40, 30, 260, 220)).rotate(70, Image.Resampling.BICUBIC, expand=True)
    part.save(tmp_path / "part.png")
    found = scenes.ask({"images": [{"path": str(tmp_path / "part.png")}], "k": 3, "rerank": "geometric"})
    assert found.matches[0].id == "05.png"
    assert found.matches[0].inliers > 20
    assert not found.nothing_like_it
    assert found.message == "The first answer shows the query's own details in the same arrangement."
    for key in ("group", "within"):
        with pytest.raises(UsageError, match=f"{key} goes by distance, and re-ranked answers don't"):
            scenes.ask({"images": [{"path": str(tmp_path / "part.png")}], "rerank": "geometric", key: 0.1})
    with pytest.raises(UsageError, match="re-ranking needs an image, a like or text"):
        scenes.ask({"where": "width > 3", "rerank": "diffusion"})


@pytest.mark.slow
def test_keypoints_are_kept_and_a_damaged_file_of_them_is_made_again(scenes):
    query = np.asarray(scene(3))
    before = search(scenes, query, 3, rerank="geometric")[0].matches
    files = sorted(scenes.path.glob("keypoints-*/*/*.npz"))
    assert len(files) == 14
    files[0].write_bytes(files[0].read_bytes()[:-50])
    assert search(open_index(scenes.path), query, 3, rerank="geometric")[0].matches == before


@pytest.mark.slow
def test_keypoints_of_another_picture_are_never_kept_under_a_hash(tmp_path):
    """A file that is changed and changed back is found again; while it is another, its thumbnail stands in."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    for seed in range(3):
        scene(seed).save(folder / f"{seed}.png")
    index = build_index(folder, "color")
    query = np.asarray(scene(1))
    right = (folder / "1.png").read_bytes()
    scene(77).save(folder / "1.png")  # of the same size
    meanwhile = {m.id: m.inliers for m in search(open_index(index.path), query, 3, rerank="geometric")[0].matches}
    (folder / "1.png").write_bytes(right)
    again = {m.id: m.inliers for m in search(open_index(index.path), query, 3, rerank="geometric")[0].matches}
    assert again["1.png"] > 100
    assert meanwhile["1.png"] < again["1.png"]
    (digest,) = [facts["hash"] for facts in index.facts(range(3)) if facts["id"] == "1.png"]
    assert list(index.path.glob(f"keypoints-*/*/{digest}-0.npz"))


@pytest.mark.slow
def test_keypoints_that_are_none_are_made_again(scenes):
    query = np.asarray(scene(3))
    before = search(scenes, query, 3, rerank="geometric")[0].matches
    files = sorted(scenes.path.glob("keypoints-*/*/*.npz"))
    strange = [
        {"places": np.zeros((5, 4), np.float64), "descriptors": np.zeros((5, 128), np.uint8)},
        {"places": np.zeros((5, 4), np.float16), "descriptors": np.zeros((4, 128), np.uint8)},
        {"places": np.full((5, 4), np.nan, np.float16), "descriptors": np.zeros((5, 128), np.uint8)},
        {"places": np.zeros(5, np.float16), "descriptors": np.zeros((5, 128), np.uint8)},
        {"places": np.zeros((0, 4), np.float16)},
    ]
    for arrays in strange:
        for file in files[:4]:
            np.savez(file, **arrays)
        assert search(open_index(scenes.path), query, 3, rerank="geometric")[0].matches == before
    np.savez_compressed(files[0], places=np.zeros((2**21, 4), np.float16), descriptors=np.zeros((2**21, 128), np.uint8))
    assert files[0].stat().st_size < 2**22, "a bomb"
    assert search(open_index(scenes.path), query, 3, rerank="geometric")[0].matches == before


@pytest.mark.slow
def test_keypoints_go_with_the_last_state_that_holds_their_picture(tmp_path):
    folder = tmp_path / "scenes"
    folder.mkdir()
    for seed in range(3):
        scene(seed).save(folder / f"{seed}.png")
    index = build_index(folder, "color")
    search(index, np.asarray(scene(0)), 1, rerank="geometric")
    gone = index.facts([1])[0]["hash"]

    def held():
        return sorted(file.name for file in index.path.glob("keypoints-*/*/*.npz"))

    before = held()
    assert len(before) == 3
    (folder / "1.png").unlink()
    build_index(folder)
    assert held() == before  # one can still go back to where it was
    (folder / "2.png").rename(folder / "two.png")
    build_index(folder)
    assert held() == [name for name in before if not name.startswith(gone)]


@pytest.mark.slow
def test_what_is_not_there_is_said_where_the_check_would_have_found_it(scenes, tmp_path):
    part = scene(5).crop((40, 30, 260, 220)).rotate(70, Image.Resampling.BICUBIC, expand=True)
    part.save(tmp_path / "part.png")
    query = {"images": [{"path": str(tmp_path / "part.png")}], "k": 3, "rerank": "geometric"}
    there, gone = scenes.ask(query), scenes.ask(query | {"where": "id != '05.png'"})
    assert there.matches[0].id == "05.png"
    assert (there.nothing_like_it, gone.nothing_like_it) == (False, True)
    assert gone.message.startswith(
        "Nothing here shows the same thing: none of the 13 pictures looked at has the query's details in the same arrangement, "
        "by which "
    )
    assert recognised(scenes) >= 0.9
    # What was not looked at to the end is no witness, nor is a check that overlooks pictures in a scene.
    assert not scenes.ask(query | {"where": "id != '05.png'", "rerank": "geometric:depth=1"}).nothing_like_it
    blurred = tmp_path / "blurred"
    blurred.mkdir()
    for seed in range(14):
        scene(seed).filter(ImageFilter.GaussianBlur(12)).save(blurred / f"{seed:02d}.png")
    index = build_index(blurred, "color")
    assert recognised(index) < 0.9
    assert "Nothing here shows" not in index.ask(query).message


@pytest.mark.slow
def test_the_picture_that_has_gone_is_judged_by_its_thumbnail(tmp_path):
    folder = tmp_path / "scenes"
    folder.mkdir()
    for seed in range(3):
        scene(seed).save(folder / f"{seed}.png")
    index = build_index(folder, "color")
    (folder / "1.png").unlink()
    assert search(index, np.asarray(scene(1)), 1, rerank="geometric")[0].matches[0].inliers > 7


# Chosen by the self-test ----------------------------------------------------------------------------------------------


def test_too_few_images_to_choose_by(scenes):
    with pytest.raises(UsageError, match="14 images are too few"):
        search(scenes, np.asarray(scene(1)), 1, rerank="auto")


@pytest.mark.slow
def test_auto_is_shown_and_kept(digits_index):
    notes = []
    choice = select_rerank(digits_index, on_note=notes.append, tried=("diffusion", "alpha-query-expansion"))
    assert notes[-1] == choice.sentence()
    again = []
    assert select_rerank(digits_index, on_note=again.append) == choice
    assert again == [choice.sentence()]
    assert set(choice.figures) == {"none", "diffusion", "alpha-query-expansion"}


@pytest.mark.slow
def test_a_check_of_details_is_chosen_where_the_encoder_overlooks_pictures_in_a_scene(tmp_path):
    folder = tmp_path / "scenes"
    folder.mkdir()
    for seed in range(48):
        scene(seed).save(folder / f"{seed:02d}.png")
    choice = select_rerank(build_index(folder, "color"), tried=("geometric", "alpha-query-expansion"))
    assert choice.method == "geometric"
    assert choice.figures["none"]["first hit"] < 0.8 < choice.figures["geometric"]["first hit"]


def test_one_that_gives_everybody_the_same_answers_is_not_chosen():
    rng = np.random.default_rng(0)
    first = np.ones(80)
    kind = {"plain": rng.normal(0.5, 0.1, 80), "good": rng.normal(0.6, 0.1, 80), "collapsed": np.zeros(80)}
    results = {
        n: {"first hit": first, "category precision@5%": k}
        for n, k in zip(("none", "good", "flat"), kind.values(), strict=True)
    }
    assert significant_winner(results) == "good"
    # One that was tried on fewer is compared on those.
    looked = {"first hit": np.ones(20), "category precision@5%": kind["plain"][:20]}
    dull = {"first hit": np.r_[np.ones(10), np.zeros(10), np.ones(60)], "category precision@5%": np.zeros(80)}
    assert significant_winner({"none": dull, "looked": looked | {"category precision@5%": np.zeros(20)}}) == "looked"
    results["good"]["first hit"] = (rng.random(80) < 0.8).astype(float)
    assert significant_winner(results) == "none"


# Refused --------------------------------------------------------------------------------------------------------------


def test_an_unknown_method_lists_the_known(index):
    with pytest.raises(
        UsageError, match="unknown re-ranking 'difusion' .*'diffusion'.*known: alpha-query-expansion, auto, "
    ) as e:
        index.search(pictures((1, 0, 0, 0))[0], 1, rerank="difusion")
    assert all(name in str(e.value) for name in RERANKERS)


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("diffusion:beta=1", "unknown parameter of diffusion 'beta'"),
        ("diffusion:alpha=much", "give a number"),
        ("diffusion:alpha=1", "alpha is 1; it must be 0 to 0.999"),
        ("query-expansion:k=0", "k is 0; it must be 1 to"),
        ("k-reciprocal:k=2.5", "give a whole number"),
        ("multi-view:kinds=upside", "unknown kind of views 'upside'"),
        ("multi-view:by=max", "unknown way to join views 'max'"),
    ],
)
def test_a_wrong_parameter_is_one_sentence(index, method, said):
    with pytest.raises(UsageError, match=said):
        create_reranker(method, index)


@pytest.mark.parametrize("first", [0, 1, 3])
def test_the_first_plain_answers_stay_first(digits_index, first):
    asked = open_collection("mnist:test[0:60]")
    plain = [[m.row for m in result.matches] for result in search(digits_index, asked, 5)]
    ranked = [[m.row for m in r.matches] for r in search(digits_index, asked, 5, rerank=f"diffusion:first={first}")]
    assert [rows[:first] for rows in ranked] == [rows[:first] for rows in plain]
    assert [rows[first] for rows in ranked] != [rows[first] for rows in plain]  # and no more than these


def test_of_some_images_the_first_of_these_stays_first(digits_index):
    asked = digits_index.encoder.encode(open_collection("mnist:test[0:1]").array())
    among = np.arange(7, len(digits_index), 3)
    (plain,) = digits_index.database().distances(asked)
    (found,) = rerank(digits_index, "diffusion", asked, 3, among=among)
    assert found.rows[0] == among[plain[among].argmin()]


def test_diffusion_keeps_to_the_encoders_own_distance(index):
    with pytest.raises(UsageError, match="the encoder's own distance, cosine"):
        create_reranker("diffusion", index, distance="euclidean")


def test_words_have_no_picture(index):
    with pytest.raises(UsageError, match="looks at the query's picture"):
        rerank(index, "multi-view", np.ones((1, 4), np.float32), 1)


def test_opencv_missing_says_what_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)  # as if it weren't installed
    with pytest.raises(UsageError, match=r"the geometric check needs .* pip install 'lookalike\[local\]'"):
        detect_sift(np.zeros((9, 9), np.uint8), 1)


# The commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_score_shows_plain_and_re_ranked_side_by_side(digits_index, capsys):
    command = ["score", "mnist:test[0:30]", "-i", str(digits_index.path), "--rerank", "diffusion"]
    assert run([*command, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["rerank"] is None
    assert made["reranked"]["rerank"] == "diffusion"
    assert made["reranked"]["metrics"]["mAP"] != made["metrics"]["mAP"]
    assert run(command) == 0
    assert "re-ranked by diffusion" in capsys.readouterr().out


def test_an_unknown_method_is_a_wrong_call(digits_index, capsys):
    assert run(["search", "mnist:test[0]", "-i", str(digits_index.path), "--rerank", "magic"]) == 2
    assert "unknown re-ranking 'magic'" in capsys.readouterr().err
