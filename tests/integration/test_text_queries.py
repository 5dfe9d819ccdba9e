"""A query in words, through every door: an encoder with two towers, small enough to say what must come out."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lookalike import build_index, create_encoder
from lookalike.cli.main import run
from lookalike.errors import UsageError
from lookalike.imaging.encode import save_image
from small_models import PLAIN, mean_colour, text_model, tokenizer_json, write

COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0), "yellow": (255, 255, 0)}


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Pictures of one colour each, known by their mean colour; words mean the same three numbers."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "photos").mkdir()
    for name, colour in COLOURS.items():
        image = np.full((8, 8, 3), colour, np.uint8)
        save_image(image, folder / "photos" / f"{name}.png")
    model = write(
        folder / "model", mean_colour(), PLAIN, text_model__onnx=text_model(), tokenizer__json=tokenizer_json()
    )
    return build_index(folder / "photos", create_encoder("neural", model=model))


def ids(found):
    return [match["id"] for match in found["matches"]]


@pytest.mark.parametrize(
    ("text", "first"), [("red", ["red.png"]), ("blue", ["blue.png"]), ("red green", ["yellow.png"])]
)
def test_words_find_the_picture_that_they_say(index, text, first):
    response = index.ask({"text": text, "k": 4})
    assert [match.id for match in response.matches[:1]] == first
    assert response.matches[0].distance == pytest.approx(0, abs=1e-6)
    # Words have no chance and no doubt: their distances to pictures aren't those between pictures.
    assert response.matches[0].p_value is None
    assert not response.nothing_like_it


def test_words_and_a_picture_are_one_query(index):
    together = index.ask({"text": "green", "images": [{"id": "red.png"}], "k": 1})
    assert [match.id for match in together.matches] == ["yellow.png"]
    filtered = index.ask({"text": "red", "where": "id != 'red.png'", "k": 1})
    assert [match.id for match in filtered.matches] == ["yellow.png"]


def test_the_command_line_and_a_saved_query_take_words(index, tmp_path, capsys):
    saved = tmp_path / "query.json"
    asked = ["search", "--text", "green", "-i", str(index.path), "-k", "2", "--json"]
    assert run([*asked, "--save-query", str(saved)]) == 0
    (found,) = json.loads(capsys.readouterr().out)["results"]
    assert ids(found)[0] == "green.png"
    assert json.loads(saved.read_text())["text"] == "green"
    assert run(["search", "--query", str(saved), "-i", str(index.path), "--json"]) == 0
    (again,) = json.loads(capsys.readouterr().out)["results"]
    assert again == found


def test_a_server_takes_words(index):
    pytest.importorskip("uvicorn", reason="the extra serve isn't installed")
    from served import Site

    site = Site(index.path)
    try:
        found = site.post("/api/search", {"text": "blue", "k": 1})
        assert ids(found) == ["blue.png"]
        assert found["matches"][0]["distance"] == pytest.approx(0, abs=1e-6)
        refused = site.post("/api/search", {"text": "blue", "rerank": "geometric"}, status=400)
        assert "text, likes and" in json.dumps(refused)
    finally:
        site.stop()


def test_words_that_cannot_be_used_are_refused_in_a_sentence(index, tmp_path, capsys):
    with pytest.raises(UsageError, match="looks at the query's picture, and there is none: text"):
        index.ask({"text": "red", "rerank": "geometric"})
    assert run(["search", "--text", " ", "-i", str(index.path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    plain = build_index(index.path.parent, "color", tmp_path / "plain")
    assert run(["search", "--text", "red", "-i", str(plain.path)]) == 2
    assert "the encoder color can't read words; index with a model that has a text tower" in capsys.readouterr().err
