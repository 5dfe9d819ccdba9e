"""One query for everything: which answers, in what order, on which page, and what is said of them."""

import json
import shutil
from unittest.mock import ANY

import numpy as np
import pytest

import lookalike
from lookalike import Query, build_index, open_collection, open_index
from lookalike.encoders.registry import TABLE
from lookalike.errors import CollectionError, EncoderError, IndexStoreError, LookalikeError, UsageError
from lookalike.imaging.encode import save_image, to_png
from lookalike.search.calibration import PValue, gap_after
from lookalike.search.example import Example
from lookalike.search.likeness import LEVELS
from quadrants import ENTRY, Quadrants, pictures

#: Quadrants' descriptor is the four pixels: rows 0 and 3 point the same way.
ROWS = ((3, 4, 0, 0), (4, 3, 0, 0), (0, 0, 5, 0), (6, 8, 0, 0))


@pytest.fixture(autouse=True)
def table(monkeypatch):
    monkeypatch.setitem(TABLE, "quadrants", ENTRY)


@pytest.fixture
def index(tmp_path):
    return build_index(open_collection(pictures(*ROWS), labels=["a", "b", "c", "a"]), "quadrants", tmp_path / "index")


@pytest.fixture(scope="module")
def digits_index(tmp_path_factory):
    return build_index("mnist:train[0:600]", "hog", tmp_path_factory.mktemp("digits") / "index")


@pytest.fixture
def photos(tmp_path):
    """Six pictures of a red ramp in two folders, with captions and times."""
    for i in range(6):
        folder = tmp_path / "photos" / ("cats" if i < 3 else "dogs")
        folder.mkdir(parents=True, exist_ok=True)
        ramp = np.zeros((8 + i, 16, 3), np.uint8)
        ramp[..., 0] = np.linspace(0, 255 - 20 * i, 16)
        ramp[: i + 1, :, 1] = 120
        save_image(ramp, folder / f"p{i}.png")
        (folder / f"p{i}.txt").write_text(f"a ramp, the {['first', 'second', 'third'][i % 3]} of its kind")
    return build_index(tmp_path / "photos", "pixels")


def example(image):
    return Example(data=to_png(image))


def ids(response):
    return [m.id for m in response.matches]


# The same as a plain search -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("distance", [None, "euclidean"])
def test_one_image_is_answered_as_a_plain_search_answers_it(digits_index, distance):
    image = open_collection("mnist:test[5]").array()[0]
    response = digits_index.ask({"images": [{"path": "mnist:test[5]"}], "k": 30, "distance": distance})
    plain = digits_index.search(image, 30, distance=distance)
    assert [(m.rank, m.id, m.distance, m.similarity, m.label, m.row) for m in response.matches] == [
        (m.rank, m.id, m.distance, m.similarity, m.label, m.row) for m in plain
    ]
    assert (response.total, response.offset, response.next) == (600, 0, 30)


def test_the_json_is_the_documented_one(index):
    response = index.ask({"images": [{"id": "0"}], "k": 2})
    assert json.loads(json.dumps(response.to_json())) == {
        "search": "exact",
        "query": "id 0",
        "matches": [
            {
                "rank": 1,
                "id": "0",
                "distance": 0.0,
                "similarity": 1.0,
                "label": "a",
                "width": 2,
                "height": 2,
                "hash": ANY,
                "likeness": "same picture",
                "p_value": pytest.approx(1 / 6),
            },
            {
                "rank": 2,
                "id": "3",
                "distance": 0.0,
                "similarity": 1.0,
                "label": "a",
                "width": 2,
                "height": 2,
                "hash": ANY,
                "likeness": "same picture",
                "p_value": pytest.approx(1 / 6),
            },
        ],
        "total": 4,
        "offset": 0,
        "next": 2,
        "gap_after": None,
        "nothing_like_it": False,
        "message": "There are too few images to tell whether some stand out; about 17% of random pairs here are as close as "
        "the nearest.",
    }


def test_in_a_second_order_no_gap_is_claimed(digits_index):
    response = digits_index.ask({"images": [{"id": "7"}], "k": 3, "rerank": "query-expansion"})
    nearest = digits_index.ask({"images": [{"id": "7"}], "k": 2}).matches[1]
    assert response.gap_after is None
    assert response.message.startswith("Re-ranked answers are not checked for a gap; ")
    told = PValue(nearest.p_value.share, nearest.p_value.is_bound).clause("as close as the nearest")
    assert told in response.message


@pytest.mark.slow
def test_every_way_to_name_one_image_is_the_same_query(digits_index, tmp_path):
    image = open_collection("mnist:train[7]").array()[0]
    save_image(image, tmp_path / "seven.png")
    expected = [(m.id, m.distance) for m in digits_index.search(image, 5)]
    for named in (
        {"path": str(tmp_path / "seven.png")}, {"path": "mnist:train[7]"}, {"id": "7"}, {"data": example(image).to_json()["data"]},
        {"id": "7", "crop": [0, 0, 28, 28]}, {"path": "mnist:train[7]", "crop": [0, 0, 28, 28]},
    ):  # fmt: skip
        found = digits_index.ask({"images": [named], "k": 5}).matches
        assert [m.id for m in found] == [name for name, _ in expected]
        assert [m.distance for m in found] == pytest.approx([far for _, far in expected], abs=1e-6)


def test_a_saved_query_is_answered_the_same(digits_index, tmp_path):
    query = Query(images=(Example("mnist:test[5]", crop=(2, 2, 24, 24)),), dislikes=("3",), where="label != 4", k=7)
    query.save(tmp_path / "q.json")
    assert digits_index.ask(Query.load(tmp_path / "q.json")) == digits_index.ask(query)


# Likes, filters, words ------------------------------------------------------------------------------------------------


def test_what_is_disliked_is_not_answered_and_pushes_its_kind_away(digits_index):
    shown = {"images": [{"path": "mnist:test[8]"}], "k": 600}  # a five that looks like a six
    before = digits_index.ask(shown)
    disliked = before.matches[0].id
    after = digits_index.ask(shown | {"dislikes": [disliked]})
    assert disliked not in ids(after)
    assert after.total == 599
    near = digits_index.search(digits_index.thumbnails([int(disliked)])[0], 11)[1:]
    ranks = {name: rank for rank, name in enumerate(ids(before))}, {name: rank for rank, name in enumerate(ids(after))}
    assert sum(ranks[1][m.id] - ranks[0][m.id] for m in near) > 0


def test_likes_pull_their_kind_near(digits_index):
    labels = digits_index.labels
    likes = [str(i) for i in np.flatnonzero(labels == "6")[:3]]
    query = {"images": [{"path": "mnist:test[8]"}], "k": 40}
    sixes = [sum(m.label == "6" for m in digits_index.ask(query | more).matches) for more in ({}, {"likes": likes})]
    assert sixes[1] > sixes[0]


def test_a_filter_leaves_the_order_and_the_distances(digits_index):
    query = {"images": [{"path": "mnist:test[5]"}]}
    whole = digits_index.ask(query | {"k": 600})
    some = digits_index.ask(query | {"k": 600, "where": "label in (1, 7)"})
    expected = [(m.id, m.distance) for m in whole.matches if m.label in ("1", "7")]
    assert [(m.id, m.distance) for m in some.matches] == expected
    assert some.total == len(expected) < 200
    assert [m.rank for m in some.matches] == list(range(1, len(expected) + 1))


def test_facts_of_files_can_be_asked_for(photos):
    assert ids(photos.ask({"where": "height > 10 and label = 'dogs'"})) == ["dogs/p3.png", "dogs/p4.png", "dogs/p5.png"]
    assert ids(photos.ask({"where": "caption like '%first%'"})) == ["cats/p0.png", "dogs/p3.png"]
    assert ids(photos.ask({"where": "mtime > '2001-01-01' and size < 100000 and id like '%/p5.png'"})) == [
        "dogs/p5.png"
    ]


def test_words_alone_are_ranked_by_how_well_they_fit_and_have_no_distance(photos):
    response = photos.ask({"words": "first ramp"})
    assert ids(response) == ["cats/p0.png", "dogs/p3.png"]
    match = response.matches[0].to_json()
    assert (match["distance"], match["similarity"], "p_value" in match) == (None, None, False)
    assert match["score"] > 0
    assert response.message == "Words 'first ramp': 2 of 6 images."


def test_words_beside_an_image_filter_its_answers(photos):
    response = photos.ask({"images": [{"id": "dogs/p3.png"}], "words": "first"})
    assert ids(response) == ["dogs/p3.png", "cats/p0.png"]
    assert response.matches[0].score is None


def test_a_filter_alone_lists_in_the_order_of_the_collection(digits_index):
    response = digits_index.ask({"where": "label = 7", "k": 3, "offset": 3})
    expected = np.flatnonzero(digits_index.labels == "7")
    assert [m.row for m in response.matches] == expected[3:6].tolist()
    assert [m.rank for m in response.matches] == [4, 5, 6]
    assert (response.total, response.next) == (len(expected), 6)


# Thresholds, pages, groups --------------------------------------------------------------------------------------------


def test_a_threshold_cuts_exactly(digits_index):
    whole = digits_index.ask({"images": [{"path": "mnist:test[5]"}], "k": 600}).matches
    edge = whole[6].distance
    some = digits_index.ask({"images": [{"path": "mnist:test[5]"}], "k": 600, "within": edge})
    assert ids(some) == [m.id for m in whole if m.distance <= edge]
    assert some.total == 7
    assert some.next is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "more", [{}, {"group": 0.12}, {"where": "label != 1"}, {"within": 0.4}, {"group": 0.12, "within": 0.4}]
)
def test_pages_put_together_are_the_whole(digits_index, more):
    query = {"images": [{"path": "mnist:test[5]"}]} | more
    whole = digits_index.ask(query | {"k": 600})
    assert whole.next is None
    put_together, offset = [], 0
    while offset is not None:
        page = digits_index.ask(query | {"k": 47, "offset": offset})
        assert (page.total, page.gap_after, page.nothing_like_it) == (
            whole.total,
            whole.gap_after,
            whole.nothing_like_it,
        )
        put_together += page.matches
        offset = page.next
    assert put_together == whole.matches


def test_answers_near_a_better_one_are_folded_into_it(tmp_path):
    points = [(0, 10, 0, 0), (0, 11, 0, 0), (0, 20, 0, 0), (0, 12, 0, 0), (0, 21, 0, 0)]
    index = build_index(pictures(*points), "quadrants", tmp_path / "index")
    query = Query(images=(example(pictures((0, 9, 0, 0))[0]),), distance="euclidean", group=1.5)
    response = index.ask(query)
    assert [(m.rank, m.id, m.group) for m in response.matches] == [(1, "0", ("1",)), (2, "3", ()), (3, "2", ("4",))]
    assert response.matches[0].to_json()["group"] == ["1"]
    assert (response.total, response.next) == (5, None)
    assert [(m.id, m.group) for m in index.ask(query.but(k=1, offset=1)).matches] == [("3", ())]


@pytest.mark.slow
def test_a_group_is_whole_on_a_page_that_ends_before_its_last(digits_index):
    query = {"images": [{"path": "mnist:test[5]"}], "group": 0.2}
    (first,) = digits_index.ask(query | {"k": 1}).matches
    assert first == digits_index.ask(query | {"k": 600}).matches[0]
    assert first.group


def test_more_than_there_are_is_all_of_them_and_said(index):
    response = index.ask({"images": [{"id": "0"}], "k": 10, "where": "label != 'c'"})
    assert ids(response) == ["0", "3", "1"]
    assert response.message.endswith("; these are all 3 there are, of 10 asked for.")


def test_beyond_the_last_page_there_is_nothing_and_it_is_said(index):
    response = index.ask({"images": [{"id": "0"}], "offset": 4})
    assert (response.matches, response.next, response.total) == ([], None, 4)
    assert response.message.startswith("No answer stands at offset 4, as there are 4; ")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"where": "label = 'z'"}, "Filter \"label = 'z'\": no image."),
        ({"images": [{"id": "0"}], "where": "label = 'z'"}, "Filter \"label = 'z'\": no image."),
        ({"images": [{"id": "0"}], "words": "zebra"}, "Words 'zebra': no image."),
        ({"images": [{"id": "2"}], "where": "label = 'a'", "within": 0.1}, "Filter \"label = 'a'\", within a distance of 0.1: no image."),
        ({"likes": ["0"], "dislikes": ["1", "2", "3"], "where": "label = 'b'"}, "Filter \"label = 'b'\": no image."),
    ],
)  # fmt: skip
def test_an_empty_answer_says_why(index, query, message):
    response = index.ask(query)
    assert (response.matches, response.total, response.next, response.nothing_like_it) == ([], 0, None, True)
    assert response.message == message


# What it means --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_image_and_its_copy_stand_out(digits_index, tmp_path):
    digits = open_collection("mnist:train[0:300]").array()
    index = build_index(np.concatenate([digits, digits[7:8]]), "hog", tmp_path / "index")
    response = index.ask({"images": [{"path": "mnist:train[7]"}], "k": 5})
    assert sorted(ids(response)[:2]) == ["300", "7"]
    assert response.gap_after == 2
    assert response.message.startswith(
        "The first 2 answers stand out from the rest; about 1 in 45,000 random pairs here is"
    )
    # Asked by its own id it is not its own answer: only the copy stands out, and that is second.
    assert index.ask({"images": [{"id": "7"}]}).gap_after == 2
    # A digit like others has no gap, and something like it.
    plain = digits_index.ask({"images": [{"path": "mnist:test[5]"}]})
    assert (plain.gap_after, plain.nothing_like_it) == (None, False)


def test_no_gap_is_told_where_views_of_own_images_do_not_stand_out(tmp_path):
    """One kind of images and a pair apart: the pair stands out by numbers, but so little does any view that it may mean nothing."""
    rng = np.random.default_rng(0)
    alike = np.clip(120 + rng.normal(0, 3, (60, 16, 16)), 0, 255).astype(np.uint8)
    apart = np.broadcast_to(np.arange(0, 256, 16, dtype=np.uint8), (2, 16, 16)).copy()
    apart[1] = np.clip(apart[0] + rng.normal(0, 8, (16, 16)), 0, 255)
    index = build_index(np.concatenate([alike, apart]), "pixels", tmp_path / "index")
    near = [match.distance for match in index.search(apart[0], k=50)]
    assert gap_after(np.array(near)) == 2
    response = index.ask(Query(images=(Example(id="60"),)))  # its own copy would stand out anywhere
    assert response.gap_after is None
    assert response.message.startswith("Whether the first answers stand out can't be told here; ")


def test_a_photo_among_digits_has_nothing_like_it(digits_index, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    response = digits_index.ask(Query(images=(example(noise),)))
    assert response.nothing_like_it
    assert (
        response.message == "Nothing like it here: the nearest is farther than 99% of the images here are from theirs."
    )


@pytest.mark.slow
def test_paintings_that_are_not_there(shared, tmp_path):
    museum = shared("museum-2022")
    right = json.loads((museum / "qsd1_w1" / "gt_corresps.json").read_text())[:8]
    names = sorted(p.name for p in (museum / "BBDD").glob("*.jpg"))[::5]
    names = sorted({*names, *(f"bbdd_{n:05}.jpg" for (n,) in right)})
    (tmp_path / "some").mkdir()
    for name in names:
        shutil.copy(museum / "BBDD" / name, tmp_path / "some" / name)
    index = build_index(tmp_path / "some", "neural", tmp_path / "index")
    found = []
    for i, (number,) in enumerate(right):
        image = Example(str(museum / "qsd1_w1" / f"{i:05}.jpg"))
        there = index.ask(Query(images=(image,)))
        gone = index.ask(Query(images=(image,), where=f"id != 'bbdd_{number:05}.jpg'"))
        found.append((there.gap_after == 1, there.nothing_like_it, gone.gap_after == 1))
    stands_out, nothing, stands_out_wrongly = np.array(found).sum(axis=0)
    assert stands_out >= 6
    assert nothing <= 1
    assert stands_out_wrongly <= 1


# What can't be asked --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        ({"images": [{"id": "9"}]}, UsageError, r"9: no image of .*index has that id; lookalike files lists all"),
        ({"images": [{"id": "0"}], "likes": ["x"]}, UsageError, r"x: no image of .*index has that id"),
        ({"images": [{"id": "0"}], "dislikes": ["x"]}, UsageError, r"x: no image of .*index has that id"),
        ({"dislikes": ["0"]}, UsageError, r"only dislikes say what is not wanted"),
        ({"images": [{"id": "0"}, {"id": "1", "weight": -1}]}, UsageError, r"weights of the query add up to 0"),
        ({"images": [{"id": "0"}], "where": "widht > 3"}, UsageError, r"filter, character 1: unknown column 'widht'"),
        ({"images": [{"id": "0"}], "distance": "cosin"}, UsageError, r"unknown distance 'cosin'"),
        ({"images": [{"id": "0"}], "encoder": "hog"}, IndexStoreError, r"made by the encoder quadrants"),
        ({"images": [{"path": "missing.png"}]}, CollectionError, r"missing\.png: no such file"),
        ({"images": [{"data": "bm90IGFuIGltYWdl"}]}, CollectionError, r"an image of 12 bytes: "),
        ({"images": [{"id": "0", "crop": [1, 1, 2, 1]}]}, UsageError, r"id 0\[1,1,2,1\]: the crop reaches to 3, 2"),
        ({"text": "a bus"}, UsageError, r"the encoder quadrants can't read words"),
        ({"words": "!"}, UsageError, r"hold no word to look for"),
        ({"images": [{"id": "0"}], "limit": 3}, UsageError, r"unknown key of a query 'limit'"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_sentence(index, query, error, message):
    with pytest.raises(error, match=message) as caught:
        index.ask(query)
    assert "\n" not in str(caught.value)


def test_another_size_is_refused_unless_resized(index):
    large = example(np.kron(pictures((3, 4, 0, 0))[0], np.ones((2, 2), np.uint8)))
    with pytest.raises(EncoderError, match=r"4 x 4 pixels, but .* images of 2 x 2; add --resize"):
        index.ask(Query(images=(large,)))
    assert ids(index.ask(Query(images=(large,), resize=True))) == ["0", "3", "1", "2"]


def test_a_blank_image_and_nan_are_refused(index, tmp_path):
    with pytest.raises(UsageError, match="an image: blank for the encoder quadrants"):
        index.ask(Query(images=(example(np.zeros((2, 2), np.uint8)),)))
    holed = build_index(pictures(*ROWS), Quadrants(hole=9), tmp_path / "holed")
    with pytest.raises(UsageError, match="NaN"):
        holed.ask(Query(images=(example(pictures((9, 1, 1, 1))[0]),)))


def test_a_crop_of_an_image_whose_file_is_gone_is_refused(photos, tmp_path):
    # Small pictures are stored whole, so that only a large one needs its file.
    save_image(np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8), tmp_path / "photos" / "large.png")
    index = build_index(tmp_path / "photos", "pixels")
    assert ids(index.ask({"images": [{"id": "large.png", "crop": [0, 0, 200, 150]}], "k": 1})) == ["large.png"]
    (tmp_path / "photos" / "large.png").unlink()
    with pytest.raises(CollectionError, match=r"large\.png: can't be cropped, as its file isn't there any more"):
        open_index(index.path).ask({"images": [{"id": "large.png", "crop": [0, 0, 20, 20]}]})
    assert ids(index.ask({"images": [{"id": "cats/p0.png", "crop": [0, 0, 16, 8]}], "k": 1})) == ["cats/p0.png"]


def test_an_index_rewritten_meanwhile_answers_its_own_state_or_says_so(tmp_path):
    first = np.stack([np.full((2, 2), v, np.uint8) for v in (1, 2, 3)])
    build_index(pictures(*ROWS), "quadrants", tmp_path / "index")
    opened = open_index(tmp_path / "index")
    before = opened.ask({"images": [{"id": "1"}], "k": 2})
    for images in (first, first[:2], pictures(*ROWS)[::-1]):
        build_index(images, "quadrants", tmp_path / "index")
    for query in ({"images": [{"id": "1"}], "k": 2}, {"images": [{"id": "1"}], "k": 2, "where": "width = 2"}):
        again = _asked(opened, query)
        assert again in (ids(before), "the index was written since it was opened; open it again")


def _asked(index, query):
    """Return the ids that are answered, or the end of the message."""
    try:
        return ids(index.ask(query))
    except LookalikeError as e:
        return str(e).partition(": ")[2]


def test_an_index_opened_anew_forgets_what_was_made_of_the_old(tmp_path):
    build_index(pictures(*ROWS), "quadrants", tmp_path / "index")
    assert lookalike.open_index(tmp_path / "index").ask({"where": "width = 2"}).total == 4
    build_index(pictures(*ROWS[:2]), "quadrants", tmp_path / "index")
    assert lookalike.open_index(tmp_path / "index").ask({"where": "width = 2"}).total == 2


def test_noise_is_taken_out_of_images_and_of_nothing_else(index):
    with pytest.raises(
        UsageError, match="denoise takes the noise out of the query's images, and there is none; leave it out"
    ):
        index.ask({"words": "first", "denoise": "auto"})


# How alike -------------------------------------------------------------------------------------------------------------


def test_likeness_is_in_words_and_never_rises(digits_index):
    response = digits_index.ask({"images": [{"id": "5"}], "k": 600})
    words = [m.likeness for m in response.matches]
    assert words[0] == "same picture"
    assert words[-1] == "the rest"
    assert words == sorted(words, key=LEVELS.index)


def test_what_is_left_out_is_no_answer_and_counts_for_nothing(digits_index):
    plain = digits_index.ask({"images": [{"id": "5"}], "k": 20})
    without = digits_index.ask({"images": [{"id": "5"}], "k": 19, "without": ["5"]})
    assert ids(without) == ids(plain)[1:]
    assert without.total == plain.total - 1


def test_there_is_no_verdict_on_an_image_that_is_not_alone(photos):
    alone = photos.ask({"images": [{"id": "cats/p0.png"}], "likes": ["dogs/p5.png"], "words": "third"})
    assert not alone.nothing_like_it
