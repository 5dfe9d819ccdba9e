"""Which provider computes networks, at every door that names it, with stand-ins for what this machine doesn't have."""

import json
import shutil
import zlib

import numpy as np
import pytest

import lookalike
from lookalike import build_index, open_index
from lookalike.cli.main import run
from lookalike.encoders.onnx.runtime import VARIABLE
from lookalike.imaging.encode import save_image
from lookalike.index.integrity import verify
from lookalike.index.manifest import read_manifest
from providers import CPU, CUDA, played
from served import Site

ENCODER = "neural:model=fast"


@pytest.fixture
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return played(monkeypatch)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in "abc":
        put(folder, name)
    return folder


def put(folder, name):
    rng = np.random.default_rng(ord(name))
    save_image(rng.integers(0, 256, (24, 32, 3), np.uint8), folder / f"{name}.png")


def build(photos, **options):
    """Build or update the index of some photos; return it, and the notes on providers."""
    notes = []
    index = build_index(photos, options.pop("encoder", ENCODER), photos / ".lookalike", on_note=notes.append, **options)
    assert verify(index) == []
    return index, [note for note in notes if "new descriptors are made by" in note]


def provider(index):
    return index.manifest.view.provider


def test_the_index_says_which_made_it(here, photos):
    here.there = [CUDA, CPU]
    index, notes = build(photos)
    assert (provider(index), notes) == ("cuda", [])
    assert json.loads((photos / ".lookalike/manifest.json").read_text())["manifest"]["columns"][0]["provider"] == "cuda"
    assert provider(build_index(photos, "hog", photos / ".lookalike")) is None
    assert [column.provider for column in open_index(photos / ".lookalike").manifest.columns] == ["cuda", None]


def test_it_is_searched_by_any_other(here, photos):
    here.there = [CUDA, CPU]
    made, _ = build(photos)
    here.there = [CPU]
    index = open_index(photos / ".lookalike")
    (match, *_) = index.search(photos / "b.png", k=1)
    assert match.id == "b.png"
    assert match.distance == pytest.approx(0, abs=1e-5)
    assert index.encoder.provider == "cpu"
    assert index.manifest.fingerprint == made.manifest.fingerprint


def test_an_update_by_another_is_the_same_index_and_is_noted(here, photos):
    here.there = [CUDA, CPU]
    made, _ = build(photos)
    here.there = [CPU]
    put(photos, "d")
    index, (note,) = build(photos)
    assert note == (
        "neural: new descriptors are made by cpu, those before by cuda; they differ by rounding, and --rebuild makes all "
        "of them anew"
    )
    assert len(index.manifest.columns) == 1
    assert (provider(index), index.manifest.fingerprint, len(index)) == ("cpu", made.manifest.fingerprint, 4)
    put(photos, "e")
    assert build(photos)[1] == []


def test_where_nothing_is_encoded_nothing_is_said_or_changed(here, photos):
    here.there = [CUDA, CPU]
    build(photos)
    here.there = [CPU]
    shutil.copy(photos / "a.png", photos / "copy.png")
    (photos / "c.png").rename(photos / "z.png")
    here.asked.clear()
    index, notes = build(photos, encoder=None)
    assert (provider(index), notes, here.asked) == ("cuda", [], [])


def test_a_rebuilding_makes_all_anew_and_needs_no_note(here, photos):
    here.there = [CUDA, CPU]
    build(photos)
    here.there = [CPU]
    index, notes = build(photos, rebuild=True)
    assert (provider(index), notes) == ("cpu", [])


def test_an_index_from_before_says_nothing_and_is_updated(here, photos):
    build(photos)
    file = photos / ".lookalike/manifest.json"
    stated = json.loads(file.read_text())["manifest"]
    del stated["columns"][0]["provider"]
    check = zlib.crc32(json.dumps(stated, sort_keys=True).encode())
    file.write_text(json.dumps({"crc32": check, "manifest": stated}))
    assert read_manifest(file.parent).view.provider is None
    put(photos, "d")
    index, notes = build(photos)
    assert (provider(index), notes) == ("cpu", [])


# The doors ------------------------------------------------------------------------------------------------------------


def call(capsys, *arguments, code=0):
    found = run([str(a) for a in arguments])
    out, err = capsys.readouterr()
    assert found == code, err
    return out if code == 0 else err


def test_the_option_of_index_and_what_info_says(here, photos, capsys, monkeypatch):
    here.there = [CUDA, CPU]
    call(capsys, "index", "photos", "-e", ENCODER, "--provider", "cpu")
    assert ", made by cpu\n" in call(capsys, "info", "-i", "photos")
    call(capsys, "index", "photos", "--rebuild", "--provider", "cuda")
    assert ", made by cuda\n" in call(capsys, "info", "-i", "photos")
    monkeypatch.setenv(VARIABLE, "cpu")
    call(capsys, "index", "photos", "--rebuild")
    facts = json.loads(call(capsys, "info", "-i", "photos", "--json"))
    assert (facts["provider"], facts["encoders"][0]["provider"]) == ("cpu", "cpu")
    call(capsys, "index", "photos", "--rebuild", "--provider", "auto")  # the option goes before the variable
    assert json.loads(call(capsys, "info", "-i", "photos", "--json"))["provider"] == "cuda"


def test_info_of_an_encoder_without_networks(here, photos, capsys):
    call(capsys, "index", "photos", "-e", "hog")
    said = call(capsys, "info", "-i", "photos")
    assert "made by" not in said
    assert "provider        none\n" in said


@pytest.mark.parametrize("command", ["index photos -e hog", "compare photos", "serve photos"])
def test_one_that_is_not_there_is_refused_before_any_work(here, photos, capsys, monkeypatch, command):
    said = call(capsys, *command.split(), "--provider", "cuda", code=2)
    assert said.startswith("lookalike: provider cuda: the installed ONNX Runtime has cpu; ")
    assert said.count("\n") == 1
    assert "unknown provider 'gpu'" in call(capsys, *command.split(), "--provider", "gpu", code=2)
    monkeypatch.setenv(VARIABLE, "coreml")
    assert "provider coreml: " in call(capsys, *command.split(), code=2)
    assert not (photos / ".lookalike").exists()


def test_other_commands_go_by_the_variable(here, photos, capsys, monkeypatch):
    build(photos)
    monkeypatch.setenv(VARIABLE, "cuda")
    said = call(capsys, "search", "photos/a.png", "-i", "photos", code=2)
    assert "provider cuda: the installed ONNX Runtime has cpu; " in said
    here.there, here.left_out = [CUDA, CPU], {CUDA}
    said = call(capsys, "search", "photos/a.png", "-i", "photos", code=2)
    assert "its libraries or its device are missing" in said
    here.left_out = set()
    assert "a.png" in call(capsys, "search", "photos/a.png", "-i", "photos", "-k", "1")


def test_an_index_is_not_called_damaged_for_a_provider_that_is_not_there(here, photos, capsys):
    build(photos)
    put(photos, "d")
    here.there, here.left_out = [CUDA, CPU], {CUDA}
    said = call(capsys, "index", "photos", "--provider", "cuda", code=2)
    assert "provider cuda: ONNX Runtime can't open the model by it" in said
    assert "damaged" not in said
    call(capsys, "index", "photos", "--provider", "cpu")
    assert len(open_index(photos / ".lookalike")) == 4


def test_the_service_says_it_too(here, photos):
    here.there = [CUDA, CPU]
    build(photos)
    site = Site(photos / ".lookalike")
    try:
        assert [column["provider"] for column in site.get("/api/info")["encoders"]] == ["cuda"]
    finally:
        site.stop()


def test_a_program_chooses_by_a_function(here, photos):
    here.there = [CUDA, CPU]
    lookalike.use_provider("cpu")
    assert provider(build(photos)[0]) == "cpu"
    lookalike.use_provider("auto")
    assert provider(build(photos, rebuild=True)[0]) == "cuda"
