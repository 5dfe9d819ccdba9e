"""The commands: what they print, where, and with which exit code."""

import csv
import gzip
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lookalike
from image_files import read_image
from lookalike import build_index, open_index
from lookalike.cli.main import run
from lookalike.encoders.onnx.known_models import KNOWN
from lookalike.encoders.registry import TABLE
from lookalike.imaging.encode import save_image
from made_up_judge import judging
from quadrants import ENTRY, Quadrants, pictures

COMMANDS = (
    "demo", "train", "denoise", "index", "rollback", "search", "score", "compare",
    "info", "files", "why", "verify", "export", "encoders",
)  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test runs in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(TABLE, "quadrants", ENTRY)
    return tmp_path


@pytest.fixture
def photos(here):
    """Two folders of grey images that differ, and one file that is damaged."""
    rng = np.random.default_rng(0)
    for name in ("cats/a.png", "cats/b.png", "dogs/c.png", "dogs/d.png", "dogs/e.png"):
        Path("photos", name).parent.mkdir(parents=True, exist_ok=True)
        save_image(rng.integers(1, 256, (16, 16), np.uint8), Path("photos", name))
    Path("photos/dogs/broken.png").write_bytes(Path("photos/dogs/e.png").read_bytes()[:100])
    return here / "photos"


def write_idx(folder, images, labels):
    """Write MNIST's own format, images gzipped and labels not."""
    n, height, width = images.shape
    header = struct.pack(">IIII", 0x803, n, height, width)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes()))
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, n) + bytes(labels))
    return "train-images-idx3-ubyte.gz"


def call(capsys, *arguments):
    """Run a command that succeeds; return what it prints."""
    code = run([str(a) for a in arguments])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def refuse(capsys, code, *arguments):
    """Run a command that fails with this code; return the one line it says."""
    found = run([str(a) for a in arguments])
    out, err = capsys.readouterr()
    assert (found, out) == (code, ""), err
    return sentence(err)


def sentence(err):
    """Check that it is one line of one or two sentences, and no traceback; return it."""
    assert err.startswith("lookalike: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1, err
    text = err.strip().removeprefix("lookalike: ")
    assert "Traceback" not in text
    assert 1 <= len([part for part in re.split(r"(?<=[.!?]) (?=[A-Z])", text) if part]) <= 2, text
    return text


# Every command works --------------------------------------------------------------------------------------------------


def test_help_lists_every_command(capsys):
    out = call(capsys, "--help")
    for name in COMMANDS:
        assert re.search(rf"^ +{name} ", out, re.MULTILINE), name
        shown = call(capsys, name, "--help")
        assert f"lookalike {name}" in shown or f"{name} [OPTIONS]" in shown
        assert shown == call(capsys, name, "-h")


def test_no_command_at_all_shows_the_help_and_was_wrong(capsys):
    assert run([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Usage: ")


def test_what_is_to_be_typed_can_be_typed(here, capsys):
    folder = here / "my scans"
    folder.mkdir()
    save_image(np.full((16, 16), 9, np.uint8), folder / "one.png")
    (folder / "broken.png").write_bytes(b"")
    out = call(capsys, "index", "my scans", "-e", "pixels")
    assert out.startswith("my scans/.lookalike: 1 image indexed, 1 left out (1 empty: ")
    typed = re.search(r"\(1 empty: lookalike (.*)\); ", out)[1]
    assert call(capsys, *shlex.split(typed)).startswith("broken.png\tempty")
    said = refuse(capsys, 1, "search", folder / "one.png", "-i", "my scans/.lookalike", "-e", "color")
    call(capsys, *shlex.split(said.partition("add it: lookalike ")[2]))
    assert "one.png" in call(capsys, "search", folder / "one.png", "-i", "my scans/.lookalike", "-e", "color")
    text = call(capsys, "info", "-i", "my scans/.lookalike")
    columns = "path_column none, label_column none, links yes"
    reading = rf"^reading +include none, exclude none, hidden no, each no, {columns}, limits \(pixels "
    assert re.search(reading, text, re.MULTILINE)
    assert re.search(r"^shape +\d+ x \d+( x 3)?$", text, re.MULTILINE)
    assert not re.search(r"[{}]|\[|None|True|False", text)


def test_version(capsys):
    assert call(capsys, "--version") == f"lookalike {lookalike.__version__}\n"


def test_a_query_of_the_collection_is_no_answer_to_itself(photos, capsys):
    call(capsys, "index", "photos", "--encoder", "pixels")
    (result,) = json.loads(call(capsys, "search", "photos/dogs/c.png", "-i", "photos", "--json"))["results"]
    assert "dogs/c.png" not in [match["id"] for match in result["matches"]]
    assert len(result["matches"]) == 4


def test_a_folder_from_index_to_answer(photos, capsys):
    out = call(capsys, "index", "photos", "--encoder", "pixels")
    assert out.startswith(
        "photos/.lookalike: 5 images indexed, 1 left out (1 truncated: lookalike files --broken -i photos/.lookalike); "
    )
    assert "pixels 256-d" in out
    index = ("-i", "photos/.lookalike")

    found = json.loads(call(capsys, "search", "photos/dogs/c.png", *index, "-k", 3, "--json", "--include-self"))
    (result,) = found["results"]
    assert result["query"] == "photos/dogs/c.png"
    assert [m["rank"] for m in result["matches"]] == [1, 2, 3]
    assert result["matches"][0] == {
        "rank": 1,
        "id": "dogs/c.png",
        "distance": 0.0,
        "similarity": 1.0,
        "width": 16,
        "height": 16,
        "hash": hashlib.sha256(Path("photos/dogs/c.png").read_bytes()).hexdigest(),
        "likeness": "same picture",
        "label": "dogs",
        "p_value": 0.1,
        "p_value_is_bound": True,
    }
    lines = call(capsys, "search", "photos/dogs/c.png", *index, "-k", 3, "--include-self").splitlines()
    assert lines[0] == "photos/dogs/c.png"
    shown = ["1", "dogs/c.png", "distance", "0.0000", "similarity", "1.0000", "label", "dogs", "10%", "of", "pairs"]
    assert lines[1].split() == shown
    assert len(lines) == 5
    assert lines[-1].startswith("There are too few images to tell whether some stand out; ")

    listed = json.loads(call(capsys, "files", *index, "--json"))
    assert [f["path"] for f in listed] == [f"cats/{n}.png" for n in "ab"] + [
        "dogs/broken.png",
        "dogs/c.png",
        "dogs/d.png",
        "dogs/e.png",
    ]
    assert listed[0] == {"path": "cats/a.png", "outcome": "indexed", "stage": None, "reason": None}
    (broken,) = json.loads(call(capsys, "files", "--broken", *index, "--json"))
    assert (broken["path"], broken["outcome"], broken["stage"]) == ("dogs/broken.png", "truncated", "decode")
    text = call(capsys, "files", "--broken", *index)
    assert text.startswith("dogs/broken.png\ttruncated (decode): photos/dogs/broken.png: ")
    assert len(call(capsys, "files", *index).splitlines()) == 6

    facts = json.loads(call(capsys, "info", *index, "--json"))
    assert (facts["encoder"], facts["count"], facts["failed"], facts["shape"]) == ("pixels", 5, 1, [16, 16])
    assert re.search(r"^encoder +pixels$", call(capsys, "info", *index), re.MULTILINE)


def test_an_index_is_looked_at_from_all_sides(photos, capsys):
    call(capsys, "index", "photos", "-e", "pixels")
    index = ("-i", "photos/.lookalike")
    rows = list(csv.DictReader(io.StringIO(call(capsys, "files", *index, "--csv"))))
    assert [row["outcome"] for row in rows] == ["indexed", "indexed", "truncated", "indexed", "indexed", "indexed"]
    assert list(csv.DictReader(io.StringIO(call(capsys, "files", "--broken", *index, "--csv")))) == [rows[2]]

    story = call(capsys, "why", "photos/dogs/broken.png")  # the index of the folder above is found
    assert story.startswith("dogs/broken.png: truncated at the stage 'decode'\n  photos/dogs/broken.png: ")
    told = json.loads(call(capsys, "why", "cats/a.png", *index, "--json"))
    assert (told["outcome"], told["width"], told["label"], told["encoders"]) == ("indexed", 16, "cats", ["pixels"])
    assert told["now"] is None
    save_image(np.zeros((9, 9), np.uint8), "photos/cats/a.png", overwrite=True)
    assert "changed since it was indexed" in call(capsys, "why", "photos/cats/a.png")
    Path("photos/cats/.secret.png").write_bytes(Path("photos/cats/b.png").read_bytes())
    assert "its name or folder is hidden" in refuse(capsys, 2, "why", "photos/cats/.secret.png")
    assert "no such file in photos" in refuse(capsys, 2, "why", "cats/z.png", *index)

    assert call(capsys, "verify", *index) == "photos/.lookalike: sound; 6 files, 5 descriptors of pixels\n"
    assert json.loads(call(capsys, "verify", *index, "--json")) == {"ok": True, "problems": [], "rows": 6}
    assert run(["verify", *index, "--deep"]) == 1
    assert capsys.readouterr().out == "a file has changed since it was indexed; index again: cats/a.png\n"

    assert call(capsys, "export", "-o", "out/all.parquet", *index).startswith("out/all.parquet: 5 rows, pixels 256-d")
    assert call(capsys, "export", "-o", "out/all.npy", *index).startswith("out/all.npy and out/all.csv: 5 rows")
    assert np.load("out/all.npy").shape == (5, 256)
    assert "ends in .parquet, or in .npy" in refuse(capsys, 2, "export", "-o", "all.txt", *index)


def test_the_same_command_again_and_back(photos, capsys):
    index = ("-i", "photos/.lookalike")
    call(capsys, "index", "photos", "-e", "pixels")
    assert "holds no state before its last run" in refuse(capsys, 1, "rollback", *index)
    Path("photos/cats/a.png").rename("photos/dogs/a.png")
    Path("photos/cats/b.png").unlink()
    save_image(np.full((16, 16), 9, np.uint8), "photos/new.png")
    Path("photos/dogs/twin.png").write_bytes(Path("photos/dogs/c.png").read_bytes())
    stated = json.loads(call(capsys, "index", "photos", "--json"))
    assert {k: stated[k] for k in ("indexed", "unchanged", "renamed", "duplicates", "failed", "removed")} == {
        "indexed": 1, "unchanged": 3, "renamed": 1, "duplicates": 1, "failed": 1, "removed": 1,
    }  # fmt: skip
    assert stated["outcomes"] == {"duplicate": 1, "indexed": 5, "truncated": 1}
    out = call(capsys, "index", "photos")
    assert out.startswith("photos/.lookalike: 0 images indexed, 6 unchanged, 1 left out (1 truncated: lookalike files")
    assert "back at 6 files" in call(capsys, "rollback", *index)
    assert [f["path"] for f in json.loads(call(capsys, "files", *index, "--json"))][:2] == ["cats/a.png", "cats/b.png"]
    assert json.loads(call(capsys, "rollback", *index, "--json"))["rows"] == 7


def test_how_files_are_read_stays_with_the_index(photos, capsys):
    index = ("-i", "photos/.lookalike")
    call(capsys, "index", "photos", "-e", "pixels", "--include", "cats/*", "--max-pixels", "1000", "--seconds", 5)
    assert len(json.loads(call(capsys, "files", *index, "--json"))) == 2
    save_image(np.full((50, 50), 9, np.uint8), "photos/cats/large.png")
    assert json.loads(call(capsys, "index", "photos", "--json"))["outcomes"] == {"bomb": 1, "indexed": 2}
    stated = json.loads(call(capsys, "index", "photos", "--max-pixels", "1M", "--retry", "--json"))
    assert stated["outcomes"] == {"indexed": 3}
    stated = json.loads(call(capsys, "index", "photos", "--include", "*", "--json"))
    assert stated["outcomes"] == {"indexed": 6, "truncated": 1}
    for arguments, said in (
        (("--memory", "much"), "--memory much: expected an amount such as 500MB, 2GB or 100M"),
        (("--frames", "all"), "--frames all: expected first or each"),
    ):
        assert said in refuse(capsys, 2, "index", "photos", *arguments)


def test_several_encoders_in_one_index(photos, capsys):
    index = ("-i", "photos/.lookalike")
    call(capsys, "index", "photos", "-e", "pixels")
    assert "hog 392-d" in call(capsys, "index", "photos", "-e", "hog", "--size", 32)
    assert "dogs/c.png" in call(capsys, "search", "photos/dogs/c.png", *index, "-k", 1, "-e", "pixels")
    facts = json.loads(call(capsys, "info", *index, "--json"))
    assert (facts["encoder"], facts["shape"], len(facts["encoders"])) == ("hog", [32, 32], 2)
    assert json.loads(call(capsys, "info", *index, "-e", "pixels", "--json"))["shape"] == [16, 16]
    assert "made by the encoder pixels" in refuse(capsys, 1, "search", "photos/dogs/c.png", *index, "-e", "quadrants")
    call(capsys, "index", "photos", "-e", "pixels", "--only")
    assert [e["encoder"] for e in json.loads(call(capsys, "info", *index, "--json"))["encoders"]] == ["pixels"]


def index_of(words, output="i.lk", collection="mnist:test[0:80]"):
    """Index by the command, and return what the index says of its encoder."""
    assert run(["index", collection, "-e", "hog", "-o", output, *words]) == 0
    return open_index(output).manifest.view


def test_adapt_and_adapt_auto_are_the_same(here, monkeypatch):
    judging(monkeypatch, P1={"recipe pca": 0.5})
    for n, words in enumerate((["--adapt"], ["--adapt", "auto"], ["--adapt=auto"])):
        view = index_of(words, f"{n}.lk")
        assert (view.post, view.aim) == ("pca", "nearest")
    assert run(["index", "--adapt", "mnist:test[0:80]", "-e", "hog", "-o", "first.lk"]) == 0
    assert open_index("first.lk").manifest.view.post == "pca"
    (here / "auto").mkdir()
    assert run(["index", "--adapt", "auto"]) == 1  # a folder of that name is what is to be indexed, and it is empty


@pytest.mark.parametrize(
    "words", [["--adapt", "mutual-neighbours-twice"], ["--adapt=mutual-neighbours-twice"]], ids=" ".join
)
def test_a_recipe_can_be_asked_for_by_name(here, words):
    view = index_of(words)
    assert (view.post, view.aim, view.verdict) == ("mutual neighbours twice", None, None)


def test_the_default_post_processing_has_a_name_too(here):
    view = index_of(["--adapt", "mutual-neighbours"])
    assert (view.post, view.learnt_from) == ("mutual neighbours", 80)


def test_a_folder_that_is_called_like_a_recipe_is_the_collection(here, monkeypatch):
    judging(monkeypatch, P1={"recipe centred": 0.5})
    Path("pca").mkdir()
    for n, image in enumerate(lookalike.open_collection("mnist:test[0:10]").array()):
        save_image(image, f"pca/{n}.png")
    assert run(["index", "--adapt", "pca", "-e", "pixels", "-o", "i.lk"]) == 0
    manifest = open_index("i.lk").manifest
    assert (manifest.collection, manifest.rows, manifest.view.aim) == ("pca", 10, "nearest")
    assert run(["index", "pca", "--adapt=pca", "-e", "pixels", "-o", "i.lk"]) == 0
    assert open_index("i.lk").manifest.view.post == "pca"


def test_an_unknown_recipe_is_refused_with_the_known_ones(here, capsys):
    said = refuse(capsys, 2, "index", "mnist:test[0:80]", "--adapt=nonsense")
    assert "unknown recipe 'nonsense'" in said
    assert "mutual-neighbours" in said
    assert "nonsense" in refuse(capsys, 2, "index", "mnist:test[0:80]", "--adapt", "nonsense")


def test_another_aim_takes_effect_over_what_was_chosen_before(here, capsys, monkeypatch):
    judging(monkeypatch, P1={"recipe pca": 0.5, "recipe centred": 0.1}, mAP={"recipe centred": 0.5})
    assert index_of(["--adapt"]).post == "pca"
    assert run(["index", "mnist:test[0:80]", "-o", "i.lk", "--adapt", "--aim", "category"]) == 0
    view = open_index("i.lk").manifest.view
    assert (view.post, view.aim) == ("centred", "category")
    capsys.readouterr()
    facts = json.loads(call(capsys, "info", "-i", "i.lk", "--json"))
    assert (facts["aim"], facts["verdict"]) == ("category", view.verdict)
    assert view.verdict in call(capsys, "info", "-i", "i.lk")
    capsys.readouterr()
    assert run(["index", "mnist:test[0:80]", "-o", "i.lk", "--aim", "category"]) == 0
    assert "--aim changes nothing here" in capsys.readouterr().err
    assert "unknown aim 'few'" in refuse(capsys, 2, "index", "mnist:test[0:80]", "-o", "i.lk", "--aim", "few")


def test_an_index_of_another_collection_is_not_given_up_unasked(photos, capsys):
    call(capsys, "index", "photos", "-e", "pixels", "-o", "i.lookalike")
    Path("others").mkdir()
    save_image(np.full((16, 16), 9, np.uint8), "others/one.png")
    text = refuse(capsys, 1, "index", "others", "-o", "i.lookalike")
    assert "holds the index of photos" in text
    assert "--replace-collection" in text
    call(capsys, "index", "others", "-o", "i.lookalike", "--replace-collection")
    assert [f["path"] for f in json.loads(call(capsys, "files", "--json"))] == ["one.png"]


def test_compare_tells_which_encoder_is_best_here(capsys):
    command = ("compare", "mnist:test[0:60]", "--encoders", "pixels, hog:deskew=true,cells=7", "--sample", 50)
    stated = json.loads(call(capsys, *command, "--json"))
    assert stated["images"] == 50
    assert {row["encoder"] for row in stated["rows"]} == {"pixels", "hog (deskew=True)"}
    assert set(stated["picks"]) == {"nearest", "category", "both"}
    out = call(capsys, *command)
    assert out.count("No label was read") == 3
    for sentence in stated["sentences"].values():
        assert sentence in out
    assert "unknown encoder 'hgo'" in refuse(capsys, 2, "compare", "mnist:test[0:20]", "--encoders", "hgo")
    damaging = ("compare", "mnist:test[0:30]", "--encoders", "pixels,hog", "--robustness", "--families", "turn,noise")
    curves = json.loads(call(capsys, *damaging, "--json"))["robustness"]
    assert {"pixels", "hog"} <= set(curves)
    for of_encoder in curves.values():
        assert set(of_encoder) == {"turn", "noise"}
        assert of_encoder["turn"][0]["first_hit"] == 1
        assert of_encoder["turn"][-1]["first_hit"] < 1
    pytest.importorskip("matplotlib")
    drawn = ("--figure", "costs.png", "--robustness-figure", "curves.png")
    assert "noise: share of augmented images" in call(capsys, *damaging, *drawn)
    assert Image.open("curves.png").width > 300
    assert Image.open("costs.png").width > 300
    assert "belong to --robustness" in refuse(capsys, 2, "compare", "mnist:test[0:60]", "--families", "turn")


def test_a_noisy_query_is_denoised_and_shown(capsys):
    from lookalike.transforms.noise import add_noise

    call(capsys, "index", "mnist:test[0:60]", "-e", "hog", "-o", "i.lookalike")
    np.save("noisy.npy", add_noise(lookalike.open_collection("mnist:test[0:2]").array(), 0.4, 1))
    asking = ("search", "noisy.npy", "-i", "i.lookalike", "-k", 2, "--denoise", "auto")
    (first, _) = json.loads(call(capsys, *asking, "--json"))["results"]
    assert first["denoised"]["noise"] > 0.2
    pytest.importorskip("matplotlib")
    assert "denoised by" in call(capsys, *asking, "-o", "shown.png")
    assert Image.open("shown.png").width > 300
    assert "takes the noise out of the query" in refuse(
        capsys, 2, "search", "-i", "i.lookalike", "--text", "a", "--denoise", "auto"
    )


def test_a_query_is_an_image_or_words(capsys):
    call(capsys, "index", "mnist:test[0:20]", "-o", "i.lookalike")
    assert "give one query" in refuse(capsys, 2, "search")
    assert "can't read words" in refuse(capsys, 2, "search", "mnist:test[3]", "--text", "a three")
    assert "can't read words" in refuse(capsys, 2, "search", "--text", "a three")


def as_one_who_may_not(command):
    """Run a command without root's right to write where the folders' modes say no."""
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *command]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or (os.geteuid() == 0 and not shutil.which("setpriv")),
    reason="nothing is closed to root here, and no setpriv that closes it",
)
def test_a_score_that_can_t_be_kept_is_told_all_the_same(here):
    build_index("mnist:test[0:30]", "pixels", "digits.lookalike")
    folders = [Path("digits.lookalike"), *(p for p in Path("digits.lookalike").rglob("*") if p.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    command = [sys.executable, "-m", "lookalike", "score", "mnist:test[30:40]", "-i", "digits.lookalike", "--keep"]
    try:
        done = as_one_who_may_not(command)
        told = as_one_who_may_not([*command, "--json"])
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert done.returncode == told.returncode == 2
    assert "mAP@R" in done.stdout
    assert json.loads(told.stdout)["queries"] == 10
    assert re.fullmatch(
        r"lookalike: digits\.lookalike/scores/\S+\.json: the report can't be kept: Permission denied; leave out --keep\n",
        done.stderr,
    )
    assert not Path("digits.lookalike/scores").exists()


def test_an_idx_file_from_index_to_score(here, digits, capsys):
    images, labels = digits
    (here / "idx").mkdir()
    name = write_idx(here, images[:150], [int(label) for label in labels[:150]])
    (here / "asked").mkdir()
    write_idx(here / "asked", images[150:], [int(label) for label in labels[150:]])
    stated = json.loads(call(capsys, "index", name, "--deskew", "-o", "digits.lookalike", "--json"))
    assert stated["seconds"] > 0
    assert stated["images_per_second"] > 0
    assert {k: v for k, v in stated.items() if not k.endswith(("seconds", "second"))} == {
        "indexed": 150,
        "unchanged": 0,
        "renamed": 0,
        "duplicates": 0,
        "failed": 0,
        "removed": 0,
        "unseen": 0,
        "outcomes": {"indexed": 150},
        "encoder": "hog",
        "dimension": 392,
        "path": "digits.lookalike",
    }
    report = json.loads(call(capsys, "score", f"asked/{name}", "--json"))  # the only index here is found
    assert (report["queries"], report["database"], report["encoder"]) == (50, 150, "hog, deskewed")
    assert report["metrics"]["P@1"] > 0.7
    assert [n for n, _ in report["lrap"]] == [10, 20, 50, 100, 150]
    drawn = json.loads(call(capsys, "score", f"asked/{name}", "--queries", 20, "--seed", 3, "--json"))
    assert (drawn["queries"], drawn["seed"]) == (20, 3)
    text = call(capsys, "score", f"asked/{name}", "--distance", "euclidean")
    assert "hog, deskewed, euclidean: 50 queries against 150 images" in text
    answers = json.loads(call(capsys, "search", f"{name}[0:10]", "-k", 1, "--json"))
    assert [r["matches"][0]["id"] for r in answers["results"]] == [str(i) for i in range(10)]


def test_mnist_by_name_makes_an_index_here(capsys):
    call(capsys, "index", "mnist:test[0:40]", "-e", "pixels", "--size", "14x20")
    assert Path("mnist-test.lookalike").is_dir()
    facts = json.loads(call(capsys, "info", "--json"))
    assert (facts["collection"], facts["shape"]) == ("mnist:test[0:40]", [20, 14])
    found = json.loads(call(capsys, "search", "mnist:test[7]", "-k", 1, "--json"))["results"][0]
    assert (found["query"], found["matches"][0]["id"], found["matches"][0]["label"]) == ("mnist:test[7]", "7", "9")


def test_figures(capsys):
    pytest.importorskip("matplotlib")
    call(capsys, "index", "mnist:test[0:40]", "-e", "pixels", "-o", "i.lookalike")
    call(capsys, "search", "mnist:test[40:43]", "-k", 4, "--picture", "found.png")
    call(capsys, "score", "mnist:test[40:60]", "--plot", "figures/curve.svg")
    assert Image.open("found.png").width > 300
    assert "LRAP" in Path("figures/curve.svg").read_text()
    assert "known: .pdf, .png, .svg" in refuse(capsys, 2, "search", "mnist:test[40]", "--picture", "found.gif")
    # Before the work: neither index nor folder is there to be looked at.
    for command in (
        ("explain", "mnist:test[40]", "3", "-o"), ("score", "--plot"), ("compare", "nowhere", "--figure"),
        ("compare", "nowhere", "--robustness-figure"), ("info", "--health", "-o"), ("map", "-o"),
        ("denoise", "nowhere", "-e", "nowhere", "-o", "out", "--figure"),
    ):  # fmt: skip
        assert "found.gif: '.gif' names no kind of figure" in refuse(capsys, 2, *command, "found.gif")


def test_a_figure_of_photos_of_many_shapes(here, capsys):
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(1)
    Path("photos").mkdir()
    for n, shape in enumerate(((300, 200, 3), (60, 400, 3), (50, 50), (1, 9, 3))):
        save_image(rng.integers(1, 256, shape, np.uint8), f"photos/{n}.png")
    call(capsys, "index", "photos", "-e", "pixels")
    call(capsys, "search", "photos", "-i", "photos/.lookalike", "-k", 3, "--picture", "found.png")
    assert Image.open("found.png").height > 300


def test_the_encoders_are_listed(capsys):
    rows = json.loads(call(capsys, "encoders", "--json"))
    assert [row["name"] for row in rows] == [*sorted(TABLE), *KNOWN]
    by_name = {row["name"]: row for row in rows}
    assert by_name["autoencoder"]["extra"] == "train"
    assert by_name["hog"]["extra"] is None
    assert (by_name["dinov2"]["extra"], by_name["dinov2"]["text"]) == ("hub", "")
    assert by_name["clip"]["license"] is None
    assert all(row["sources"] and row["read_on"] for row in rows[len(TABLE) :])
    assert by_name["quadrants"]["about"] == "Mean of each quarter of a grey image: of a 2 x 2 image, its pixels."
    text = call(capsys, "encoders")
    assert re.search(r"^autoencoder +.*\(training needs lookalike\[train\]\)$", text, re.MULTILINE)
    assert re.search(r"^sift +.*\(needs lookalike\[local\]\)$", text, re.MULTILINE)  # to be used at all
    assert "`" not in text
    assert re.search(r"^siglip2 +.*; words; hf:onnx-community/.* 785 MB; licence Apache-2\.0\)", text, re.MULTILINE)
    assert re.search(r"^clip +.*; a licence that no page states\)\. Not checked: no page", text, re.MULTILINE)


def test_an_index_by_another_encoder_is_refused(capsys):
    build_index(pictures((1, 2, 3, 4)), "quadrants", "i.lookalike")
    np.save("q.npy", pictures((1, 2, 3, 4)))
    assert "id" in call(capsys, "search", "q.npy", "-k", 1, "-e", "quadrants", "--json")
    text = refuse(capsys, 1, "search", "q.npy", "-k", 1, "-e", "hog")
    assert "made by the encoder quadrants" in text


# Training and denoising -----------------------------------------------------------------------------------------------


@pytest.fixture
def trained(trained_network):
    return trained_network


def test_a_trained_encoder_indexes_and_is_not_overwritten(trained, capsys):
    out = call(capsys, "index", "mnist:test[0:30]", "-e", trained, "-o", "i.lookalike")
    assert "autoencoder 128-d" in out
    assert call(capsys, "search", "mnist:test[3]", "-k", 1, "-e", trained).splitlines()[1].split()[:2] == ["1", "3"]
    again = ("train", "mnist:train[0:64]", "-o", trained, "--preset", "article", "--epochs", "1")
    assert "add --resume to continue it, or --restart to start from scratch" in refuse(capsys, 2, *again)
    assert "exclude each other" in refuse(capsys, 2, *again, "--resume", "--restart")


def test_denoise_with_noise_added(trained, capsys):
    report = json.loads(
        call(capsys, "denoise", "mnist:test[0:12]", "-e", trained, "-o", "out", "--noise", 0.5, "--json")
    )
    assert (report["images"], report["failed"], report["output"]) == (12, 0, "out")
    for name in ("noisy", "denoised"):
        assert set(report[name]) == {"mse", "psnr", "ssim"}
    assert sorted(p.name for p in Path("out").iterdir()) == sorted(f"{i}.png" for i in range(12))
    assert read_image("out/3.png").shape == (28, 28)
    text = call(capsys, "denoise", "mnist:test[0:12]", "-e", trained, "-o", "out.npy", "--noise", 0.5)
    assert text.splitlines()[0] == "out.npy: 12 images denoised"
    assert f"MSE {report['noisy']['mse']:.5f}" in text.splitlines()[1]
    written = np.load("out.npy")
    assert (written[3] == read_image("out/3.png")).all()


def test_denoise_against_clean_originals(trained, digits, capsys):
    images, _ = digits
    np.save("clean.npy", images[:5])
    np.save("few.npy", images[:4])
    arguments = ("-e", trained, "-o", "out.npy", "--clean")
    report = json.loads(call(capsys, "denoise", "clean.npy", *arguments, "clean.npy", "--json"))
    assert report["noisy"] == {"mse": 0.0, "psnr": None, "ssim": 1.0}
    assert report["denoised"]["mse"] > 0
    made = Path("out.npy").read_bytes()
    assert "out.npy: exists already" in refuse(capsys, 2, "denoise", "clean.npy", *arguments, "clean.npy")
    assert Path("out.npy").read_bytes() == made
    arguments = ("--overwrite", *arguments)
    assert "PSNR infinite" in call(capsys, "denoise", "clean.npy", *arguments, "clean.npy")
    assert "4 clean images for 5" in refuse(capsys, 2, "denoise", "clean.npy", *arguments, "few.npy")
    assert "exclude each other" in refuse(capsys, 2, "denoise", "clean.npy", *arguments, "clean.npy", "--noise", 1)


def test_denoise_a_folder_with_a_damaged_file_and_names_that_meet(trained, digits, capsys):
    images, _ = digits
    for i, name in enumerate(("x/a.png", "x/b.png", "x/sub/a.png")):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        save_image(images[i], name)
    Path("x/a1.png").write_bytes(Path("x/a.png").read_bytes()[:80])
    assert run(["denoise", "x", "-e", str(trained), "-o", "y", "--json"]) == 0
    out, err = capsys.readouterr()
    assert (json.loads(out)["images"], json.loads(out)["failed"]) == (3, 1)
    assert err.startswith("left out: x/a1.png: ")
    assert sorted(p.relative_to("y").as_posix() for p in Path("y").rglob("*.png")) == ["a.png", "b.png", "sub/a.png"]
    alone = run(["denoise", "x/b.png", "-e", str(trained), "-o", "b.png"])
    assert alone == 0
    assert (read_image("b.png") == read_image("y/b.png")).all()
    save_image(images[0], "x/a.bmp")
    assert run(["denoise", "x", "-e", str(trained), "-o", "z"]) == 0
    assert {p.name for p in Path("z").iterdir()} == {"a.bmp.png", "a.png", "b.png", "sub"}


def test_denoise_other_sizes_and_colours(trained, capsys):
    colour = np.random.default_rng(0).integers(0, 256, (2, 30, 40, 3), np.uint8)
    np.save("large.npy", colour)
    arguments = ("denoise", "large.npy", "-e", trained, "-o", "out.npy")
    assert "takes images of 28 x 28 grey, these are 40 x 30" in refuse(capsys, 1, *arguments)
    call(capsys, *arguments, "--resize")
    assert np.load("out.npy").shape == (2, 28, 28)


def test_denoise_refusals(trained, capsys):
    Quadrants().fit(pictures((1, 2, 3, 4))).save("flat")
    np.save("q.npy", pictures((1, 2, 3, 4), (1, 2, 3, 5)))
    text = refuse(capsys, 2, "denoise", "q.npy", "-e", "flat", "-o", "out")
    assert "'quadrants' can't denoise; use an autoencoder that 'lookalike train' made" in text
    text = refuse(capsys, 2, "denoise", "mnist:test[0:2]", "-e", trained, "-o", "one.png")
    assert "one file for 2 images" in text
    assert "there is no folder of that name" in refuse(
        capsys, 2, "denoise", "mnist:test[0]", "-e", "nowhere", "-o", "out.png"
    )
    Path("all").mkdir()
    Path("all/x.png").write_bytes(b"nothing")
    assert "none of 1 images can be read" in refuse(capsys, 1, "denoise", "all", "-e", trained, "-o", "out")


# Calls that are wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["search"], "give one query: an image, or words with --text"),
        (["index", "mnist", "--nope"], "No such option: --nope"),
        (["train", "mnist"], "Missing option '--output'"),
        (["search", "x.png", "-k"], "requires an argument"),
        (["search", "x.png", "-k", "ten"], "Invalid value for '-k'"),
        (["demo", "--seconds", "0"], "Invalid value for '--seconds'"),
        (["score", "--queries", "0"], "Invalid value for '--queries'"),
        (["denoise", "x", "-e", "e", "-o", "o", "--noise", "-1"], "Invalid value for '--noise'"),
        (["index", "mnist", "extra"], "unexpected extra argument"),
        (["index", "mnits"], "unknown collection 'mnits' (did you mean 'mnist'?)"),
        (["index", "mnist:tets"], "unknown part of mnist 'tets'"),
        (["index", "mnist:test", "--size", "0"], "--size 0: expected a side in pixels"),
        (["index", "mnist:test", "--size", "²"], "--size ²: expected"),
        (["index", "mnist:test", "--size", "3x4x5"], "--size 3x4x5: expected"),
        (["index", "mnist", "-e", "autoencoder"], "an autoencoder is trained first: lookalike train mnist"),
        (["index", "mnist", "-e", "pixels", "--deskew"], "--deskew belongs to the encoder 'hog'"),
        (["search", "mnist:test[0]"], "no index in this folder; name one with --index"),
    ],
)
def test_a_wrong_call_is_exit_2_and_a_sentence(arguments, said, capsys, here):
    assert said in refuse(capsys, 2, *arguments)
    assert not list(here.iterdir())


def test_a_training_that_cannot_be(capsys, here):
    for option, value, said in (
        ("--preset", "big", "unknown preset 'big'; known: article, deep, tutorial"),
        ("--epochs", "0", "epochs is 0; it must be at least 1"),
    ):
        assert run(["train", "mnist:test[0:9]", "-o", "t", option, value]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert said in sentence(err.splitlines(keepends=True)[-1])
    assert not list(here.iterdir())


def test_no_command_shows_the_help(capsys):
    assert run([]) == 2
    out, err = capsys.readouterr()
    assert "Commands" in out + err
    assert "lookalike:  " not in err


def test_of_several_indexes_one_must_be_named(capsys):
    np.save("q.npy", pictures((1, 2, 3, 4)))
    for name in ("a.lookalike", "b.lookalike"):
        build_index(pictures((1, 2, 3, 4)), "quadrants", name)
    text = refuse(capsys, 2, "search", "q.npy", "-k", 1)
    assert text == "2 indexes in this folder (a.lookalike, b.lookalike); name one with --index"
    assert "id" in call(capsys, "search", "q.npy", "-k", 1, "-i", "b.lookalike", "--json")


def test_k_out_of_range(capsys):
    build_index(pictures((1, 2, 3, 4)), "quadrants", "i.lookalike")
    np.save("q.npy", pictures((1, 2, 3, 4)))
    assert refuse(capsys, 2, "search", "q.npy", "-k", 0) == "k is 0; ask for at least 1"
    assert "these are all 1 there are, of 2 asked for" in call(capsys, "search", "q.npy", "-k", 2)
    np.save("two.npy", pictures((1, 2, 3, 4), (1, 2, 3, 5)))
    assert [len(r["matches"]) for r in asked(capsys, "two.npy", "-k", 2)] == [1, 1]


# One query of many parts ----------------------------------------------------------------------------------------------


def asked(capsys, *arguments):
    return json.loads(call(capsys, "search", *arguments, "--json"))["results"]


def test_images_named_together_are_one_query_and_a_collection_is_many(capsys):
    call(capsys, "index", "mnist:train[0:100]", "-o", "i.lookalike")
    together = asked(capsys, "mnist:train[3]", "mnist:train[5][0,0,20,28]", "--weight", 3, "--weight", 1, "-k", 2)
    assert [r["query"] for r in together] == ["mnist:train[3], mnist:train[5][0,0,20,28]"]
    assert together[0]["matches"][0]["id"] == "3"
    assert together[0]["next"] == 2
    assert len(asked(capsys, "mnist:train[3:6]", "-k", 2)) == 3
    assert "each a query" in refuse(capsys, 2, "search", "mnist:train[3:6]", "--where", "width > 3")
    assert "1 weights for 2 images" in refuse(capsys, 2, "search", "mnist:train[3]", "mnist:train[4]", "--weight", 1)
    call(capsys, "search", "mnist:train[3]", "mnist:train[5]", "--like", "7", "-k", 3, "-o", "together.png")
    assert Path("together.png").stat().st_size > 1000


def test_a_query_is_saved_and_asked_again(capsys):
    call(capsys, "index", "mnist:train[0:100]", "-o", "i.lookalike")
    arguments = (
        "mnist:test[3]",
        "--like",
        "7",
        "--dislike",
        "8",
        "--where",
        "label != 3",
        "--within",
        0.9,
        "--group",
        0.05,
    )
    first = asked(capsys, *arguments, "-k", 4, "--offset", 2, "--save-query", "q.json")
    assert json.loads(Path("q.json").read_text())["dislikes"] == ["8"]
    assert asked(capsys, "--query", "q.json") == first
    (second,) = asked(capsys, "--query", "q.json", "--offset", 6)
    assert [m["rank"] for m in second["matches"]] == [7, 8, 9, 10]
    assert lookalike.open_index("i.lookalike").ask(json.loads(Path("q.json").read_text())).to_json() == first[0]


def test_a_filter_alone_lists_and_a_wrong_one_says_where(capsys):
    call(capsys, "index", "mnist:train[0:100]", "-o", "i.lookalike")
    lines = call(capsys, "search", "--where", "label = 7", "-k", 2).splitlines()
    assert [line.split() for line in lines[1:3]] == [["1", "15", "label", "7"], ["2", "29", "label", "7"]]
    assert "no image" in call(capsys, "search", "mnist:test[0]", "--where", "label = 'cat'")
    assert "filter, character 7: expected" in refuse(capsys, 2, "search", "--where", "label 7")
    assert "only dislikes say" in refuse(capsys, 2, "search", "--dislike", "3")
    assert "the crop reaches to 30, 28" in refuse(capsys, 2, "search", "mnist:test[3][10,0,20,28]")
    assert "shows the query image" in refuse(capsys, 2, "search", "--words", "7", "-o", "x.png")


# Work that fails ------------------------------------------------------------------------------------------------------


def test_what_fails_is_exit_1_and_a_sentence(capsys, here):
    np.save("q.npy", pictures((1, 2, 3, 4)))
    np.save("large.npy", np.full((1, 8, 8), 3, np.uint8))
    build_index(pictures((1, 2, 3, 4)), "quadrants", "i.lookalike")
    Path("folder").mkdir()
    Path("folder/file.txt").write_text("mine")
    Path("bad.png").write_bytes(b"not a picture")
    for arguments, said in (
        (("search", "missing.png"), "missing.png: no such file or folder"),
        (("search", "bad.png", "-k", 1), "bad.png: "),
        (("search", "large.npy", "-k", 1), "8 x 8 pixels, but i.lookalike holds images of 2 x 2; add --resize"),
        (("search", "q.npy", "-i", "nowhere"), "nowhere: does not exist; make an index with"),
        (("info", "-i", "folder"), "folder: is not an index"),
        (("index", "q.npy", "-o", "folder"), "folder: a folder that holds other things (file.txt)"),
        (("index", "q.npy", "-o", "q.npy"), "q.npy: a file; an index is a folder"),
        (("index", "folder"), "folder: no images in this folder"),
        (("index", "q.npy", "-e", "folder"), "folder: without encoder.json"),
    ):
        assert said in refuse(capsys, 1, *arguments), arguments
    assert sorted(p.name for p in here.iterdir()) == ["bad.png", "folder", "i.lookalike", "large.npy", "q.npy"]
    shutil.rmtree(next(Path("i.lookalike").glob("encoder-*")))
    assert "the index is damaged" in refuse(capsys, 1, "search", "q.npy", "-k", 1)


def test_a_fault_of_ours_is_said_to_be_one(capsys, monkeypatch):
    monkeypatch.setattr("lookalike.encoders.registry.describe", lambda name: 1 / 0)
    text = refuse(capsys, 1, "encoders")
    assert (
        text
        == "unexpected: ZeroDivisionError: division by zero. This is a bug in lookalike; please report it with the output of --debug"
    )
    with pytest.raises(ZeroDivisionError):
        run(["encoders", "--debug"])
    for code, error, said in (
        (1, MemoryError(), "there is not enough memory"),
        (1, PermissionError(13, "Permission denied", "x"), "x: Permission denied"),
        (130, KeyboardInterrupt(), "interrupted; run the same command to continue"),
    ):

        def fail(name, error=error):
            raise error

        monkeypatch.setattr("lookalike.encoders.registry.describe", fail)
        assert said in refuse(capsys, code, "encoders")


# As a program of its own ----------------------------------------------------------------------------------------------


def lookalike_program(*arguments, **options):
    """Run ``python -m lookalike`` as a person would."""
    command = [sys.executable, "-m", "lookalike", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_data_goes_to_standard_output_and_words_to_standard_error():
    build_index("mnist:test[0:50]", "pixels", "i.lookalike")
    done = lookalike_program("search", "mnist:test[3:5]", "-k", 2, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert [r["matches"][0]["id"] for r in json.loads(done.stdout)["results"]] == ["3", "4"]
    done = lookalike_program("search", "mnist:test[3:5]", "-k", 0)
    assert (done.returncode, done.stdout) == (2, "")
    assert "ask for at least 1" in sentence(done.stderr)
    done = lookalike_program("search", "missing.png")
    assert (done.returncode, done.stdout) == (1, "")
    assert "missing.png" in sentence(done.stderr)
    done = lookalike_program("search", "missing.png", "--debug")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" in done.stderr
    assert "lookalike.errors.CollectionError: missing.png" in done.stderr


def test_names_that_the_terminal_cannot_show_are_spelt_out(here):
    build_index(np.full((1, 4, 4), 9, np.uint8), "pixels", "i.lookalike")
    save_image(np.full((4, 4), 9, np.uint8), here / "Mädchen.png")
    plain = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = lookalike_program("search", "Mädchen.png", "-k", 1, env=plain)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("M\\xe4dchen.png\n")
    done = lookalike_program("search", "Mädchen.png", "-k", 1, "--json", env=plain)
    assert json.loads(done.stdout)["results"][0]["query"] == "Mädchen.png"


def test_a_reader_that_goes_away_is_no_fault(here):
    build_index(np.arange(1, 4001, dtype=np.uint16).view(np.uint8).reshape(2000, 2, 2) | 1, "quadrants", "i.lookalike")
    process = subprocess.Popen(
        [sys.executable, "-m", "lookalike", "files"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "0\n"
    process.stdout.close()
    assert process.stderr.read() == ""
    process.wait()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_output_that_cannot_be_written_is_an_error():
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "lookalike", "encoders"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=buffered)
    assert done.returncode == 1
    assert "No space left on device" in sentence(done.stderr)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C can't be sent to one process there")
@pytest.mark.parametrize("there_is_one", [True, False])
def test_ctrl_c_while_indexing_keeps_what_was_done(there_is_one, here, capsys):
    held = 0
    if there_is_one:
        build_index("mnist[0:20]", "pixels", "i.lookalike")
    command = ["index", "mnist[0:30000]", "-e", "pixels", "-o", "i.lookalike"]
    before = set(Path("i.lookalike").glob("images.lance/data/*"))
    process = subprocess.Popen(
        [sys.executable, "-m", "lookalike", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not set(Path("i.lookalike").glob("images.lance/data/*")) - before:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert sentence(err.splitlines(keepends=True)[-1]) == "interrupted; run the same command to continue"
    assert "Traceback" not in err
    if Path("i.lookalike/manifest.json").exists():
        assert call(capsys, "verify").startswith("i.lookalike: sound; ")
        held = lookalike.open_index("i.lookalike").manifest.rows
    stated = json.loads(call(capsys, *command, "--json"))
    assert stated["indexed"] + stated["unchanged"] == 30_000
    assert stated["unchanged"] >= held
    assert stated["unchanged"] > 20


def test_only_training_imports_keras(here):
    """All commands in one process, then look at what was loaded."""
    code = """
import sys
from lookalike.cli.main import run
for line in sys.argv[1:]:
    assert run(line.split()) == 0, line
heavy = {"keras", "tensorflow", "jax", "torch"} & {name.partition(".")[0] for name in sys.modules}
assert not heavy, heavy
"""
    lines = [
        "index mnist:test[0:60] -o i.lookalike",
        "search mnist:test[61] -k 3",
        "score mnist:test[60:90]",
        "info",
        "files",
        "encoders",
    ]
    done = subprocess.run([sys.executable, "-c", code, *lines], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
