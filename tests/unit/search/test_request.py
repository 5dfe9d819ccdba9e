"""A query and its JSON: what is read, what is written, and what is refused before any index is asked."""

import base64
import json
import math

import pytest

from lookalike.errors import UsageError
from lookalike.search.example import Example
from lookalike.search.request import Query

WHOLE = {
    "images": [
        {"path": "photo.jpg", "crop": [1, 2, 30, 40], "weight": 2.0},
        {"id": "cats/1.jpg"},
        {"data": base64.b64encode(b"bytes of a file").decode()},
    ],
    "likes": ["a.jpg"],
    "dislikes": ["b.jpg"],
    "text": "a red bus",
    "words": "bus OR tram",
    "where": "width > 1000",
    "k": 20,
    "offset": 40,
    "within": 0.4,
    "group": 0.02,
    "encoder": "hog",
    "distance": "euclidean",
    "rerank": "diffusion",
    "denoise": "auto",
    "resize": True,
}


def test_the_json_comes_back_as_it_was_given(tmp_path):
    query = Query.from_json(WHOLE)
    assert query.images[2].data == b"bytes of a file"
    assert query.to_json() == WHOLE
    assert Query.from_json(json.loads(json.dumps(query.to_json()))) == query
    query.save(tmp_path / "saved.json")
    assert Query.load(tmp_path / "saved.json") == query


def test_what_is_left_out_or_null_is_the_default():
    query = Query.from_json({"images": ["a.jpg"], "k": None, "where": None, "likes": None, "resize": None})
    assert query == Query(images=(Example("a.jpg"),))
    assert query.to_json() == {"images": [{"path": "a.jpg"}]}
    assert Query.from_json(query) is query


def test_a_data_address_of_a_page_is_taken():
    query = Query.from_json({"images": [{"data": "data:image/png;base64,AQI="}]})
    assert query.images[0].data == b"\x01\x02"


def test_a_crop_stands_behind_a_path_unless_a_file_is_called_so(tmp_path):
    assert Example.parse("a b.jpg[1, 2,30,40]", 0.5) == Example("a b.jpg", crop=(1, 2, 30, 40), weight=0.5)
    assert Example.parse("mnist:test[7]") == Example("mnist:test[7]")
    assert Example.parse("mnist:test[7][0,0,14,14]") == Example("mnist:test[7]", crop=(0, 0, 14, 14))
    odd = tmp_path / "odd[1,2,3,4]"
    odd.write_bytes(b"")
    assert Example.parse(str(odd)) == Example(str(odd))
    for short in ("[1,2,3]", "[1,2,3,4.5]"):
        with pytest.raises(UsageError, match=r"a crop is four whole numbers in pixels: .*4\]\[x,y,width,height\]"):
            Example.parse(f"{odd}{short}")


def test_the_title_is_what_a_person_calls_it():
    assert Query.from_json(WHOLE).title == (
        "photo.jpg[1,2,30,40], id cats/1.jpg, an image, like a.jpg, not like b.jpg, a red bus, words: bus OR tram, "
        "where width > 1000"
    )


IMAGE = {"images": [{"path": "a.jpg"}]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], r"a query must be a JSON object with some of the keys images, likes"),
        (IMAGE | {"limit": 3}, r"unknown key of a query 'limit'.*; known: denoise, dislikes, distance"),
        ({"images": [{"file": "a"}]}, r"unknown key of an entry of images 'file'.*known: crop, data, id, path, weight"),
        ({"images": [{}]}, r"exactly one of path, id and data; this one has none of them"),
        ({"images": [{"path": "a", "id": "b"}]}, r"exactly one of path, id and data; this one has path and id"),
        ({"images": [{"data": "!"}]}, r"data must be a file's bytes in base64; got \"!\""),
        ({"images": [{"path": "a", "crop": [1, 2, 3]}]}, r"crop must be four whole numbers, .* got \[1, 2, 3\]"),
        ({"images": [{"path": "a", "crop": [0, 0, 0, 9]}]}, r"a\[0,0,0,9\]: a crop is x, y, width, height in pixels"),
        ({"images": [{"path": "a", "crop": [-1, 0, 5, 9]}]}, r"with x and y of 0 or more"),
        ({"images": [{"path": "a", "weight": "1"}]}, r"weight must be a number; got \"1\""),
        ({"images": [{"path": "a", "weight": math.nan}]}, r"a: its weight is nan; give a number"),
        ({"images": "a.jpg"}, r"images must be a list; got \"a.jpg\""),
        ({"likes": [3]}, r"likes must hold ids, which are strings; got 3"),
        ({}, r"an empty query; give at least one of images, likes, text, words and where"),
        ({"dislikes": ["a"]}, r"only dislikes say what is not wanted, and not what is; add an image"),
        ({"dislikes": ["a"], "where": "width > 1"}, r"dislikes need something to be weighed against"),
        ({"likes": ["a"], "dislikes": ["a"]}, r"a is both liked and disliked"),
        (IMAGE | {"text": " "}, r"text is empty; leave it out"),
        (IMAGE | {"where": 3}, r"where must be a string; got 3"),
        (IMAGE | {"k": 0}, r"k is 0; ask for at least 1"),
        (IMAGE | {"k": 100_001}, r"k is 100,001; ask for at most 100,000, and for more by offset"),
        ({"where": "width > 1", "within": 0.3}, r"within is a distance, and only images, likes and text have one"),
        (IMAGE | {"k": 2.5}, r"k must be a whole number; got 2.5"),
        (IMAGE | {"k": True}, r"k must be a whole number; got true"),
        (IMAGE | {"offset": -1}, r"offset is -1; it counts the answers to leave out"),
        (IMAGE | {"within": -0.1}, r"within is -0.1; give a distance of 0 or more"),
        (IMAGE | {"group": math.nan}, r"group is nan; give a distance of 0 or more"),
        (IMAGE | {"resize": "yes"}, r"resize is \"yes\"; it must be true or false"),
    ],
)
def test_a_wrong_query_says_in_one_sentence_what_is_wrong(value, message):
    with pytest.raises(UsageError, match=message) as caught:
        Query.from_json(value)
    assert "\n" not in str(caught.value)


def test_a_saved_query_that_cannot_be_used_is_named(tmp_path):
    file = tmp_path / "saved.json"
    with pytest.raises(UsageError, match=r"saved\.json: the query can't be read: No such file"):
        Query.load(file)
    file.write_text("{")
    with pytest.raises(UsageError, match=r"saved\.json: isn't JSON"):
        Query.load(file)
    file.write_text('{"k": 3}')
    with pytest.raises(UsageError, match=r"saved\.json: an empty query"):
        Query.load(file)
    with pytest.raises(UsageError, match=r"the query can't be saved"):
        Query(text="a").save(file / "saved.json")


def test_a_path_stays_as_it_is_and_an_id_is_spelt_out():
    assert Example(path="half \udcff.png").path == "half \udcff.png"
    assert Example(id="half \udcff.png").id.isprintable()
