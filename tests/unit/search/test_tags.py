"""Tags: which words find what the networks see, which are shown, and which are not."""

import numpy as np
import pytest

from lookalike import build_index, open_collection, open_index
from lookalike.search.keywords import Words, terms_of
from lookalike.search.learnt import tags_of
from lookalike.search.tags import EVERYDAY, FITS, FITS_BESIDE, KEPT, RARER, Tags, note_on, rarity, shown_concepts

SCHOOL_BUS, MINIBUS, TABBY, LION, SEASHORE = 779, 654, 281, 291, 978


def seen(*images):
    """Tags of images, of each class -> share."""
    classes, shares = np.zeros((len(images), KEPT), np.uint16), np.zeros((len(images), KEPT), np.uint16)
    for row, image in enumerate(images):
        for place, (number, share) in enumerate(image.items()):
            classes[row, place], shares[row, place] = number, round(share * 65535)
    return {"classes": classes, "shares": shares}


IMAGES = ({SCHOOL_BUS: 0.75, MINIBUS: 0.15}, {TABBY: 0.9}, {LION: 0.8}, {SEASHORE: 0.65}, {SCHOOL_BUS: FITS / 2})
TAGS = Tags(seen(*IMAGES))
WORDS = Words.of(
    [{"id": f"{i}.jpg", "caption": c, "label": None, "metadata": None} for i, c in enumerate(["", "", "", "a bus", ""])]
)


def found(asked, tags=TAGS):
    scores = WORDS.scores(asked, tags)
    return np.argsort(-scores, kind="stable")[: int((scores > 0).sum())].tolist()


def test_a_word_is_worth_the_sum_of_the_classes_below_it():
    shares, _ = TAGS.shares("bus")
    assert shares == pytest.approx([0.9, 0, 0, 0, FITS / 2], abs=1e-4)
    assert TAGS.shares("xyzzy") is None


def test_what_a_word_means_more_rarely_counts_less():
    shares, _ = TAGS.shares("cat")
    assert shares == pytest.approx([0, 0.9, RARER * 0.8, 0, 0], abs=1e-4)


@pytest.mark.parametrize(
    ("asked", "answers"),
    [
        ("bus", [3, 0]),  # what somebody wrote comes before what is seen
        ("school bus", [0]),  # one name, not two words
        ("cats", [1, 2]),
        ("animal -cat", [2]),  # a lion is a cat, but not mostly
        ("animal -bus", [1, 2]),
        ("beach", [3]),
        ("bu*", [3]),  # the beginning of a word names nothing that can be seen
        ("bus 3", [3]),
        ("bus xyzzy", []),
    ],
)
def test_words_find_what_is_written_or_seen(asked, answers):
    assert found(asked) == answers


def test_beside_an_image_a_word_must_be_seen_more_surely():
    tags = Tags(seen({TABBY: 0.05}, {TABBY: 0.2}, {}, {}, {}))
    assert found("cat", tags) == [1, 0]
    assert (WORDS.scores("cat", tags, FITS_BESIDE) > 0).tolist() == [False, True, False, False, False]


def test_without_tags_only_what_is_written_is_found():
    assert found("bus", None) == [3]
    assert found("cat", None) == []


def test_a_name_of_several_words_is_one_term():
    assert [term.words for term in terms_of("red school bus", TAGS)] == [["red"], ["school", "bus"]]
    assert [term.words for term in terms_of("red school bus")] == [["red"], ["school"], ["bus"]]
    assert [term.words for term in terms_of("school -bus", TAGS)] == [["school"], ["bus"]]
    assert [term.words for term in terms_of("school bus*", TAGS)] == [["school"], ["bus"]]


def test_a_word_that_all_images_fit_weighs_little():
    assert rarity(np.full(100, 0.9)) < 0.2
    assert rarity(np.array([0.9, *[0] * 99])) > 2


def test_shown_are_the_most_special_words_that_are_sure_enough():
    shown = Tags(seen({SCHOOL_BUS: 0.75, MINIBUS: 0.15}, {SCHOOL_BUS: 0.5, MINIBUS: 0.4}, {TABBY: 0.4, LION: 0.1})).of(
        [0, 1, 2]
    )
    assert [[word for word, _ in tags] for tags in shown] == [["school bus"], ["bus"], []]
    assert shown[1][0][1] == pytest.approx(0.9, abs=1e-4)


@pytest.mark.parametrize(("images", "shown"), [(59, ["school bus"]), (60, [])])
def test_what_a_large_part_of_a_collection_has_says_nothing_of_one(images, shown):
    tags = Tags(seen(*[{SCHOOL_BUS: 0.8}] * images))
    assert [word for word, _ in tags.of([0])[0]] == shown


def test_an_index_in_another_order_has_its_own_rows():
    tags = Tags(seen(*IMAGES[:2]), np.array([1, -1, 0]))
    assert tags.shares("cat")[0] == pytest.approx([0.9, 0, 0], abs=1e-4)
    assert [[word for word, _ in found] for found in tags.of([0, 1, 2])] == [["tabby"], [], ["school bus"]]


def test_every_word_for_daily_life_is_a_concept():
    names = {concept.words[0] for concept in shown_concepts()}
    assert names >= EVERYDAY
    assert "dog" in names
    assert not {"matter", "structure", "ungulate", "attribute"} & names


def test_it_says_what_was_looked_for():
    assert note_on(["xyzzy"]) == ""
    assert "guess" in note_on(["bus"])
    assert "it has no class 'beach', and took 'shore'" in note_on(["beach", "bus"])


def test_an_index_without_a_shipped_network_has_none(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16), np.uint8)
    index = build_index(images, "pixels", tmp_path / "index")
    assert tags_of(index) is None
    assert index.tags([index.ids[0]]) == [[]]
    assert not index.ask({"words": "bus"}).matches


def test_the_corel_collection_is_found_by_words(shared, tmp_path):
    """The real thing: nobody wrote anything, and kinds come first."""
    kinds = {"bus": "buses", "elephants": "elephants", "horse": "horses", "beach": "beaches"}
    photos = open_collection(shared("corel1k"), include=[f"{kind}/*" for kind in kinds.values()])
    index = build_index(photos, "neural:model=fast", tmp_path / "index")
    for word, kind in kinds.items():
        response = index.ask({"words": word, "k": 10})
        assert [match.id.split("/")[0] for match in response.matches] == [kind] * 10
    assert list((tmp_path / "index").glob("tags-*"))
    again = open_index(tmp_path / "index").ask({"words": "bus", "k": 10})
    assert [match.id for match in again.matches] == [match.id for match in index.ask({"words": "bus", "k": 10}).matches]
    first = index.ask({"words": "bus"}).matches[0].id
    assert any("bus" in word for word, _ in index.tags([first])[0])
