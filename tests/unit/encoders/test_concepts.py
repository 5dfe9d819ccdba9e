"""Words <-> classes: what names which, in the plural too, and what is looked for in place of a word without a class."""

import tomllib

import pytest

from lookalike.encoders.concepts import NOTICE, Concepts, concepts
from paths import ROOT


@pytest.mark.parametrize(
    ("word", "classes"),
    [
        ("school bus", {779}),
        ("school buses", {779}),
        ("bus", {654, 779, 874}),
        ("wolves", {269, 270, 271, 272}),
        ("mice", {673}),
        ("strawberries", {949}),
        ("dog", set(range(151, 269))),
        ("jack o lantern", {607}),
    ],
)
def test_a_word_means_the_classes_below_it(word, classes):
    assert concepts().meaning(word).classes == classes
    assert concepts().meaning(word).instead == ()


def test_of_several_meanings_the_usual_one_comes_first():
    cat = concepts().meaning("cat")
    assert cat.usual == set(range(281, 288))
    assert cat.classes == set(range(281, 294))  # big cats, too


def test_a_word_without_a_class_has_the_nearest_that_has_one():
    beach = concepts().meaning("beaches")
    assert beach.instead[0] == "shore"
    assert beach.classes == concepts().meaning("shore").classes


@pytest.mark.parametrize("word", ["happiness", "xyzzy", "", "s", "es", "woman", "physical entity"])
def test_what_is_no_kind_of_thing_a_class_shows_means_nothing(word):
    assert concepts().meaning(word) is None


def test_every_class_is_found_by_a_name():
    assert set().union(*(concept.classes for concept in concepts().all if len(concept.classes) == 1)) == set(
        range(1000)
    )


def test_the_most_special_concepts_come_first():
    sizes = [len(concept.classes) for concept in concepts().all]
    assert sizes == sorted(sizes)


def test_a_file_is_read_line_by_line():
    made = Concepts("s\tpony|small horse\t3\ns\thorse\t3-5,9\no\tfilly\t1 0\nn\tstable\t1 0\np\tfoals\tpony\n")
    assert made.meaning("horses").classes == {3, 4, 5, 9}
    assert made.meaning("small horse").classes == made.meaning("foals").classes == {3}
    assert made.meaning("filly").usual == {3, 4, 5, 9}
    assert made.meaning("stable").instead == ("horse", "pony")


def test_its_notices_go_with_it():
    text = " ".join(NOTICE.read_text(encoding="utf-8").split())
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in text
    assert "MIT License" in text
    files = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["license-files"]
    assert "src/lookalike/encoders/concepts.NOTICE" in files
