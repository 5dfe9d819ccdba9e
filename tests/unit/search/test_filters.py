"""Filters: what each rule of the grammar is true of, by hand and as SQLite sees it, and where a wrong one is wrong."""

import itertools
import random
import sqlite3

import pytest

from lookalike.errors import UsageError
from lookalike.search.filters import DEEPEST, LONGEST, FilterError, parse

FACTS = [
    {"id": "cats/1.jpg", "label": "cat", "caption": "A cat's nap", "width": 640, "height": 480, "size": 1000},
    {"id": "cats/2.jpg", "label": "cat", "caption": None, "width": 2000, "height": 1000, "size": 5000},
    {"id": "dogs/1.jpg", "label": "dog", "caption": "50% off", "width": 2000, "height": 1500, "size": 9000},
    {"id": "7.png", "label": "7", "caption": "seven", "width": 28, "height": 28, "size": 300},
    {"id": "loose.png", "label": None, "caption": None, "width": 1200, "height": 900, "size": 700},
]
METADATA = [{"year": "1999", "Artist name": "Ann"}, {"year": "2004"}, None, {"year": "unknown"}, {"year": 2010}]
FACTS = [
    fact | {"frame": i % 2, "position": None, "mtime_ns": 1_600_000_000_000_000_000 + i * 10**9, "metadata": metadata}
    for i, (fact, metadata) in enumerate(zip(FACTS, METADATA, strict=True))
]


def rows(text):
    return [i for i, found in enumerate(parse(text).true_of(FACTS)) if found]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("width > 1000 and label = 'cat'", [1]),
        ("width>=2000", [1, 2]),
        ("width < 640 or label='dog'", [2, 3]),
        ("label = 'cat' or label = 'dog' and height > 1000", [0, 1, 2]),  # and binds closer
        ("(label = 'cat' or label = 'dog') and height > 1000", [2]),
        ("not label = 'cat'", [2, 3]),  # of 4 it isn't known
        ("label != 'cat'", [2, 3]),
        ("label <> 'cat' OR label IS NULL", [2, 3, 4]),
        ("label is not null AND NOT (width > 1000)", [0, 3]),
        ("label in ('cat', '7')", [0, 1, 3]),
        ("label not in ('cat', '7')", [2]),
        ("width in (28, 640)", [0, 3]),
        ("id like 'CATS/%'", [0, 1]),
        ("id not like '%.jpg'", [3, 4]),
        ("id like '_.png'", [3]),
        ("caption = 'A cat''s nap'", [0]),
        ("caption like '50\\% %'", [2]),
        ("label = 7", [3]),
        ("year > 2000", [1, 4]),  # text that reads as a number is compared as one
        ("metadata.year = '1999'", [0]),
        ("year is null", [2]),
        ("\"Artist name\" = 'Ann'", [0]),
        ("frame = 1", [1, 3]),
        ("position is null", [0, 1, 2, 3, 4]),
        ("mtime > '2020-09-13 12:26:41'", [2, 3, 4]),
        ("mtime <= 1600000001", [0, 1]),
        ("mtime < '2020-09-13T14:26:41+02:00'", [0]),
        ("width > 1e9", []),
        ("WIDTH > -.5", [0, 1, 2, 3, 4]),
    ],
)
def test_what_a_filter_is_true_of(text, found):
    assert rows(text) == found


def test_random_filters_are_true_of_what_sqlite_says():
    base = sqlite3.connect(":memory:")
    base.execute("create table t (i integer, label text, width real, height real)")
    values = list(itertools.product(["cat", "dog", None], [10, 20, None], [10, 30, None]))
    base.executemany("insert into t values (?, ?, ?, ?)", [(i, *v) for i, v in enumerate(values)])
    facts = [
        {"id": str(i), "label": label, "width": width, "height": height, "metadata": None}
        for i, (label, width, height) in enumerate(values)
    ]
    random_ = random.Random(1)

    def write(depth):
        kind = random_.choice(["and", "or", "not", "test", "test"] if depth else ["test"])
        if kind == "test":
            return random_.choice(
                ["label = 'cat'", "label in ('dog', 'cow')", "label not in ('cat')", "width > 10", "height <= width1",
                 "height is null", "label is not null", "label like 'c%'", "width != 20", "height not in (30, 40)"]
            ).replace("width1", "20")  # fmt: skip
        if kind == "not":
            return f"not ({write(depth - 1)})"
        return f"({write(depth - 1)}) {kind} {write(depth - 1)}"

    for _ in range(200):
        text = write(4)
        expected = [row[0] for row in base.execute(f"select i from t where {text} order by i")]
        assert [i for i, found in enumerate(parse(text).true_of(facts)) if found] == expected, text


@pytest.mark.parametrize(
    ("text", "message", "position"),
    [
        ("width >> 1000", r"expected a number or a 'text', found '>'; see \^ in: width >\^> 1000", 7),
        ("width > cat", r"expected a number or a 'text' \(text needs single quotes: 'cat'\), found 'cat'", 8),
        ("label = \"cat\"", r"text needs single quotes: 'cat'", 8),
        ("width 1000", r"expected =, !=, <, <=, >, >=, in, like or is, found '1000'", 6),
        ("width > 1000 and", r"expected the name of a column, found the end", 16),
        ("width > 1000 label = 'a'", r"expected and, or, or the end, found 'label'", 13),
        ("(width > 1000", r"expected \), found the end", 13),
        ("label = 'cat", r"the quote ' is never closed", 8),
        ("width > 10px", r"'10px' is no number, column, quoted text or sign", 8),
        ("width > 5; drop table t", r"'; ?drop'|';' is no number", 9),
        ("width = 'wide'", r"width is a number; compare it with one", 8),
        ("width like '1%'", r"width is a number, and like is for text", 0),
        ("label like 5", r"expected a 'pattern' in single quotes, found '5'", 11),
        ("label in 'cat'", r"expected \(, found 'cat'|expected \(, found \"'cat'\"", 9),
        ("label not = 'a'", r"expected like or in, found '='", 10),
        ("mtime > 'yesterday'", r"mtime needs a date such as '2024-01-31 18:30'", 8),
        ("and", r"expected the name of a column, found 'and'", 0),
        ("widht > 5", r"unknown column 'widht' \(did you mean 'width'\?\); known: Artist name, caption, .*year", 0),
        ("(" * (DEEPEST + 1) + "width > 1", f"nested more than {DEEPEST} deep", DEEPEST),
        ("not " * 2000 + "width > 1", f"nested more than {DEEPEST} deep", 4 * DEEPEST),
        (" " * LONGEST + "width > 1", r"a filter of 10,009 characters; at most 10,000 are read", LONGEST),
    ],
)  # fmt: skip
def test_a_malformed_filter_says_what_is_wrong_and_where(text, message, position):
    with pytest.raises(FilterError, match=message) as caught:
        rows(text)
    assert caught.value.position == position
    assert str(caught.value).startswith(f"filter, character {position + 1}: ")
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UsageError)


def test_a_filter_of_nothing_is_true_of_nothing():
    assert parse("width > 5").true_of([]).tolist() == []


# Types ----------------------------------------------------------------------------------------------------------------

TYPED = [
    {
        "taken": "2024-05-15T12:30:00",
        "favourite": True,
        "flag": "True",
        "price": 1.5,
        "big": 2**53 + 1,
        "caption": "own a",
    },
    {"taken": "2024-05-15 18:30:00", "favourite": False, "flag": "no", "price": "2", "big": 2**53, "caption": "own b"},
    {"taken": "2024:05:16 00:00:01", "favourite": None, "flag": "yes", "price": None, "big": str(2**53 + 1)},
    {
        "taken": "2024-05-15T23:30:00-02:00",
        "favourite": True,
        "flag": "FALSE",
        "price": -1,
        "big": None,
        "width": 5,
        "id": 9,
    },
    {"taken": "unknown", "favourite": 0, "flag": "1", "price": "free", "big": -(2**53) - 1, "width": "7", "id": "x"},
]
TYPED_FACTS = [
    {"id": str(i), "label": None, "caption": "ours", "width": 100, "height": 10, "size": 1, "frame": 0, "position": i,
     "mtime_ns": 0, "metadata": metadata}
    for i, metadata in enumerate(TYPED)
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("taken > '2024-05-15 18:00'", [1, 2, 3]),
        ("taken > '2024-05-15T18:00:00'", [1, 2, 3]),
        ("taken <= '2024-05-15 18:30'", [0, 1]),
        ("taken < '2024-05-15'", []),
        ("taken >= '2024-05-16'", [2, 3]),
        ("taken = '2024-05-15'", [0, 1]),
        ("taken = '2024-05-16'", [2, 3]),
        ("taken = '2024-05-15 12:30'", [0]),
        ("taken != '2024-05-15'", [2, 3, 4]),
        ("taken in ('2024-05-16', '2024-05-15 12:30', 'unknown')", [0, 2, 3, 4]),
        ("taken not in ('2024-05-15')", [2, 3, 4]),
        ("taken = '2024-05-15 22:30-03:00'", [3]),
        ("taken > '2024:05:15 18:00:00'", [1, 2, 3]),
        ("taken like '2024-05-15%'", [0, 1, 3]),
        ("favourite = true", [0, 3]),
        ("favourite = TRUE", [0, 3]),
        ("favourite = false", [1, 4]),
        ("favourite != true", [1, 4]),
        ("not favourite = true", [1, 4]),
        ("favourite = 1", [0, 3]),
        ("favourite = 'True'", [0, 3]),
        ("favourite in (true)", [0, 3]),
        ("favourite is null", [2]),
        ("flag = true", [0, 2, 4]),
        ("flag = false", [1, 3]),
        ("flag = 'True'", [0]),
        ("price > 1", [0, 1]),
        ("price in (2, 1.5, 'free')", [0, 1, 4]),
        ("price not in (2)", [0, 3]),
        ("big = 9007199254740993", [0, 2]),
        ("big in (9007199254740992, 1)", [1]),
        ("big > 9007199254740992", [0, 2]),
        ("big >= -9007199254740992", [0, 1, 2]),
        ("caption = 'ours'", [0, 1, 2, 3, 4]),
        ("metadata.caption = 'own a'", [0]),
        ("metadata.caption is null", [2, 3, 4]),
        ("metadata.width > 5", [4]),
        ("metadata.id = 9 or metadata.id = 'x'", [3, 4]),
        ("width = 100 and metadata.width < 6", [3]),
    ],
)
def test_the_types_of_a_list_survive_to_the_filter(text, found):
    assert [i for i, true in enumerate(parse(text).true_of(TYPED_FACTS)) if true] == found


@pytest.mark.parametrize("repeated", ["width in ({})", "width not in ({})", "not width in ({})"])
def test_a_long_list_is_no_deep_filter(repeated):
    values = ",".join(["1"] * 4900)
    assert len(rows(repeated.format(values))) in (0, len(FACTS))
    assert len(rows(repeated.format(",".join(["28"] * 3000)))) in (1, len(FACTS) - 1)


@pytest.mark.parametrize("word", [" or ", " and "])
def test_a_long_chain_is_no_deep_filter(word):
    assert rows(word.join(["width=28"] * 700)) == [3]
    assert rows(word.join(["not(width=29)"] * 550)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "text",
    [
        "width > " + "9" * 400,
        "width in (1, " + "9" * 400 + ")",
        "width > 1e999",
        "year = -" + "9" * 5000,
        "mtime > 1e400",
    ],
)
def test_a_number_of_very_many_digits_is_refused(text):
    with pytest.raises(FilterError, match="a number of more than 300 digits"):
        rows(text)


@pytest.mark.parametrize("text", ["label = '\ud800'", '"\ud800" = 1', "id like '\udcff%'", "\ud800"])
def test_half_a_character_is_no_fault_of_ours(text):
    try:
        assert rows(text) == []
    except FilterError as e:
        str(e).encode()


def test_values_that_are_no_numbers_are_unknown():
    facts = [
        TYPED_FACTS[0] | {"metadata": {"x": value}} for value in (float("nan"), float("inf"), "nan", 10**400, 1, "1e3")
    ]
    assert parse("x > 0").true_of(facts).tolist() == [False, False, False, False, True, True]
    assert parse(f"x = 1{'0' * 250}").true_of(facts).tolist() == [False] * 6


@pytest.mark.parametrize("sign", ["<", "<=", ">", ">="])
def test_a_long_number_beside_what_is_no_number_is_unknown(sign):
    assert rows(f"id {sign} {2**60} or caption {sign} 1e300") == []


def test_a_date_beside_a_number_too_large_for_one_is_unknown():
    facts = [TYPED_FACTS[0] | {"metadata": {"x": value}} for value in (10**400, "2024-05-15")]
    assert parse("x >= '2024-05-15'").true_of(facts).tolist() == [False, True]
    assert parse("x in ('2024-05-15', '2024-05-16')").true_of(facts).tolist() == [False, True]


def test_of_a_long_filter_what_stands_about_the_fault_is_shown():
    def shown(text, at):
        return str(FilterError(text, at, "no")).removeprefix(f"filter, character {at + 1}: no; see ^ in: ")

    short = "x" * 99
    assert shown(short, 50) == "x" * 50 + "^" + "x" * 49
    assert shown("abc", 0) == "^abc"
    long = "".join(chr(ord("a") + i % 26) for i in range(300))
    assert shown(long, 100) == f"...{long[50:100]}^{long[100:145]}..."
    assert shown(long, 50) == f"{long[:50]}^{long[50:95]}..."
