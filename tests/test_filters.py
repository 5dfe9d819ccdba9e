"""Filters: what each rule of the grammar is true of, by hand and as SQLite sees it, and where a wrong one is wrong."""

import itertools
import random
import sqlite3

import pytest

from lookalike.errors import UsageError
from lookalike.filters import DEEPEST, LONGEST, FilterError, parse

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
