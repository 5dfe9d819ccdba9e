"""Words: how they are divided, which images hold them, and BM25 worked out by hand."""

import math

import pytest

from lookalike.errors import UsageError
from lookalike.words import Words, words_of


def fact(name, caption=None, label=None, metadata=None):
    return {"id": name, "caption": caption, "label": label, "metadata": metadata}


FACTS = [
    fact("bus.jpg", "a red bus"),
    fact("buses/2.jpg", "Two red, red trams", "buses"),
    fact("MARIÀ_Fortuny-1863.png", metadata={"year": 1863, "place": None}),
    fact("x"),
]


def rows(asked):
    return [i for i, score in enumerate(Words(FACTS).scores(asked)) if score > 0]


def test_words_are_without_case_accents_and_signs():
    assert words_of("MARIÀ_Fortuny-1863.png") == ["maria", "fortuny", "1863", "png"]
    assert words_of("Straße, 東京 2") == ["strasse", "東京", "2"]
    assert words_of("--- ___") == []


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("bus", [0]),
        ("BUS*", [0, 1]),
        ("red", [0, 1]),
        ("red bus", [0]),
        ("red -trams", [0]),
        ("-red jpg", []),
        ("maría 1863", [2]),
        ("nowhere", []),
        ("fortuny-1863", [2]),
        ("x", [3]),
    ],
)
def test_all_words_must_be_there(asked, found):
    assert rows(asked) == found


def test_the_score_is_bm25():
    # words: bus jpg a red bus (5) | buses 2 jpg two red red trams buses (8) | maria fortuny 1863 png 1863 (5) | x (1)
    mean = (5 + 8 + 5 + 1) / 4

    def term(count, length, holding):
        rarity = math.log(1 + (4 - holding + 0.5) / (holding + 0.5))
        return rarity * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length / mean))

    scores = Words(FACTS).scores("red jpg")
    assert scores[0] == pytest.approx(term(1, 5, 2) + term(1, 5, 2))
    assert scores[1] == pytest.approx(term(2, 8, 2) + term(1, 8, 2))
    assert scores[2:].tolist() == [0, 0]


def test_no_word_at_all_is_refused():
    with pytest.raises(UsageError, match=r"words '\?!' hold no word to look for"):
        Words(FACTS).scores("?!")
    with pytest.raises(UsageError, match="no word to look for"):
        Words(FACTS).scores("-red")


def test_of_no_images_none_is_found():
    assert Words([]).scores("red").tolist() == []
