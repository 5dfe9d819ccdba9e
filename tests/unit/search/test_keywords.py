"""Words: how they are divided, which images hold them, and BM25 worked out by hand."""

import math

import pytest

from lookalike import build_index, open_index
from lookalike.errors import UsageError
from lookalike.search.keywords import Words, words_of


def fact(name, caption=None, label=None, metadata=None):
    return {"id": name, "caption": caption, "label": label, "metadata": metadata}


FACTS = [
    fact("bus.jpg", "a red bus"),
    fact("buses/2.jpg", "Two red, red trams", "buses"),
    fact("MARIÀ_Fortuny-1863.png", metadata={"year": 1863, "place": None}),
    fact("x"),
]


def rows(asked):
    return [i for i, score in enumerate(Words.of(FACTS).scores(asked)) if score > 0]


def test_words_are_without_case_accents_and_signs():
    assert words_of("MARIÀ_Fortuny-1863.png") == ["maria", "fortuny", "1863", "png"]
    assert words_of("Straße, 東京 2") == ["strasse", "東京", "2"]
    assert words_of("--- ___") == []


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("bus", [0, 1]),  # and in the plural
        ("BUS*", [0, 1]),
        ("red", [0, 1]),
        ("red bus", [0, 1]),
        ("red -trams", [0]),
        ("-red jpg", []),
        ("maría 1863", [2]),
        ("nowhere", []),
        ("fortuny-1863", [2]),
        ("x", [3]),
        ("bu", []),  # too short to stand for another
        ("fortu", [2]),  # begins one
        ("fotruny", [2]),  # one slip of the finger
        ("fotuny", [2]),
        ("1864", []),  # another number is another thing
        ("red -bux", [0, 1]),  # what is left out must be there as it is
    ],
)
def test_all_words_must_be_there(asked, found):
    assert rows(asked) == found


def test_what_stands_for_a_word_that_is_not_there_is_told():
    assert Words.of(FACTS).forgiven("fortunx red maria") == {"fortunx": ["fortuny"]}


def test_the_score_is_bm25():
    # words: bus jpg a red bus (5) | buses 2 jpg two red red trams buses (8) | maria fortuny 1863 png 1863 (5) | x (1)
    mean = (5 + 8 + 5 + 1) / 4

    def term(count, length, holding):
        rarity = math.log(1 + (4 - holding + 0.5) / (holding + 0.5))
        return rarity * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length / mean))

    scores = Words.of(FACTS).scores("red jpg")
    assert scores[0] == pytest.approx(term(1, 5, 2) + term(1, 5, 2))
    assert scores[1] == pytest.approx(term(2, 8, 2) + term(1, 8, 2))
    assert scores[2:].tolist() == [0, 0]


def test_no_word_at_all_is_refused():
    with pytest.raises(UsageError, match=r"words '\?!' hold no word to look for"):
        Words.of(FACTS).scores("?!")
    with pytest.raises(UsageError, match="no word to look for"):
        Words.of(FACTS).scores("-red")


def test_of_no_images_none_is_found():
    assert Words.of([]).scores("red").tolist() == []


LANGUAGES = {
    "ja": "窓辺で眠る黒い猫の写真", "zh": "一只红色的公共汽车停在街上", "ko": "창가에서 자는 고양이가 있다",
    "th": "ม้าสีดำกำลังกินหญ้า", "th2": "มากินข้าว", "lo": "ແມວນອນຢູ່", "km": "ឆ្មាដេកលើកៅអី", "my": "ကြောင်အိပ်နေသည်", "hi": "हिन्दी में बिल्ली",
    "mixed": "2024年の猫photo",
}  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("猫", {"ja", "mixed"}),
        ("黒い猫", {"ja"}),
        ("黒猫", set()),
        ("猫 -写真", {"mixed"}),
        ("猫　photo", {"mixed"}),
        ("ﾌｫﾄ", set()),
        ("红色", {"zh"}),
        ("公共汽车", {"zh"}),
        ("汽车 街上", {"zh"}),
        ("汽公", set()),
        ("고양이", {"ko"}),
        ("고양*", {"ko"}),
        ("ม้า", {"th"}),
        ("มา", {"th2"}),
        ("กิน", {"th", "th2"}),
        ("ແມວ", {"lo"}),
        ("ឆ្មា", {"km"}),
        ("ကြောင်", {"my"}),
        ("बिल्ली", {"hi"}),
        ("बिल्ल", {"hi"}),  # no such word, but the beginning of one
        ("2024", {"mixed"}),
        ("年", {"mixed"}),
    ],
)
def test_words_are_found_in_scripts_without_blanks(asked, found):
    facts = [{"id": name, "caption": text, "label": None, "metadata": None} for name, text in LANGUAGES.items()]
    scores = Words.of(facts).scores(asked)
    assert {fact["id"] for fact, score in zip(facts, scores, strict=True) if score > 0} == found


def test_what_is_looked_for_is_bounded():
    words = Words.of([{"id": "a", "caption": None, "label": None, "metadata": None}])
    with pytest.raises(UsageError, match=r"words of 400,000 characters; at most 2,000"):
        words.scores("ab " * 133_333 + "c")
    with pytest.raises(UsageError, match="over 100 words to look for"):
        words.scores("a," * 900)
    assert words.scores("a " * 100).tolist() == words.scores("a " * 100 + "  ").tolist()


def test_the_words_of_an_index_are_indexed_once_and_kept(tmp_path, digits, monkeypatch):
    path = build_index(digits[0][:12], "pixels", tmp_path / "index").path
    first = open_index(path).ask({"words": "1*"})
    (kept,) = path.glob("words-*.mapped")
    monkeypatch.setattr("lookalike.search.learnt.index_words", lambda _: pytest.fail("indexed again"))
    assert [match.id for match in first.matches] == ["1", "10", "11"]
    assert open_index(path).ask({"words": "1*"}) == first
    monkeypatch.undo()
    data = bytearray(kept.read_bytes())
    data[-5] ^= 1
    kept.write_bytes(bytes(data))
    assert open_index(path).ask({"words": "1*"}) == first  # made again
    grown = build_index(digits[0][:13], "pixels", path)
    assert [match.id for match in grown.ask({"words": "1*"}).matches] == ["1", "10", "11", "12"]


def test_an_index_that_cannot_be_written_is_searched_all_the_same(tmp_path, digits, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError(30, "Read-only file system")

    index = build_index(digits[0][:12], "pixels", tmp_path / "index")
    monkeypatch.setattr("lookalike.index.artifacts.writing_mapped", refuse)
    assert index.ask({"words": "11"}).total == 1
    assert not list(index.path.glob("words-*"))
