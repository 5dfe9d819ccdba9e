"""The command line as people type it: where they stand, what they hand over, and how they leave."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lookalike import build_index, open_index
from lookalike.cli.main import run
from lookalike.terminal import PlainStream, printable
from paths import ROOT
from program import lookalike
from program import run as program

PROGRAM = [sys.executable, "-m", "lookalike"]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder with subfolders, indexed as README does it; the current folder is the one that holds it."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("one.png", "two.png", "cats/1.png", "cats/2.png", "dogs/1.png"):
        path = Path("photos", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(1, 256, (16, 16), np.uint8)).save(path)
    assert run(["index", "photos", "-e", "pixels"]) == 0
    return tmp_path / "photos"


def said(capsys, *arguments, code=0):
    capsys.readouterr()
    assert run([str(a) for a in arguments]) == code
    return capsys.readouterr()


# Where one stands -----------------------------------------------------------------------------------------------------


def test_in_the_collection_s_folder_every_command_finds_its_index(photos, monkeypatch, capsys):
    monkeypatch.chdir(photos)
    for command in ("info", "files", "verify", "export -o all.parquet", "search one.png", "why one.png",
                    "explain one.png two.png", "rollback", "score --leave-one-out --truth truth.csv"):  # fmt: skip
        Path("truth.csv").write_text("query,relevant\none.png,two.png\ntwo.png,one.png\ncats/1.png,cats/2.png\n"
                                     "cats/2.png,cats/1.png\ndogs/1.png,one.png\n")  # fmt: skip
        found = said(capsys, *command.split(), code=1 if command == "rollback" else 0)
        assert "no index" not in found.err
        assert "indexes in this folder" not in found.err


def test_from_a_subfolder_the_index_above_is_taken_and_said(photos, monkeypatch, capsys):
    monkeypatch.chdir(photos / "cats")
    found = said(capsys, "search", "1.png", "--include-self", "-k", 1)
    assert f"index: {photos / '.lookalike'}\n" in found.err
    assert " cats/1.png " in found.out
    assert json.loads(said(capsys, "why", "1.png", "--json").out)["path"] == "cats/1.png"


def test_from_outside_a_query_s_own_collection_is_asked(photos, monkeypatch, capsys):
    monkeypatch.chdir(photos.parent)
    found = said(capsys, "search", "photos/two.png", "--include-self", "-k", 1)
    assert " two.png " in found.out
    assert f"index: {photos / '.lookalike'}\n" in found.err


@pytest.mark.parametrize("named", ["photos", "photos/", "photos/.lookalike", "./photos"])
def test_the_collection_s_name_stands_for_its_index(named, photos, capsys):
    assert "two.png" in said(capsys, "search", "photos/two.png", "--include-self", "-i", named, "-k", 1).out
    assert "5 descriptors" in said(capsys, "verify", "-i", named).out


def test_the_index_beside_a_file_is_found_by_the_file_s_name(photos, capsys):
    array = np.random.default_rng(1).integers(0, 255, (6, 8, 8), np.uint8)
    np.save("all.npy", array)
    assert run(["index", "all.npy", "-e", "pixels"]) == 0
    assert "6 descriptors" in said(capsys, "verify", "-i", "all.npy").out
    assert "3" in said(capsys, "search", "all.npy[3]", "--include-self", "-i", "all.npy", "-k", 1).out


def test_a_folder_that_is_only_named_like_an_index_is_none(photos, monkeypatch, capsys):
    monkeypatch.chdir(photos)
    Path("notes.lookalike").mkdir()
    assert "collection" in said(capsys, "info").out


def test_what_comes_next_is_told_and_can_be_typed(photos, monkeypatch, capsys):
    (photos.parent / "my photos").mkdir()
    (photos / "one.png").rename(photos.parent / "my photos" / "one.png")
    told = said(capsys, "index", "my photos", "-e", "pixels").err
    search = re.search(r"next: lookalike (search IMAGE -i .*?); its page: lookalike (serve -i .*)\n", told)
    words = ["my photos/one.png" if word == "IMAGE" else word for word in shlex.split(search[1])]
    assert "one.png" in said(capsys, *words).out
    assert shlex.split(search[2]) == ["serve", "-i", "my photos/.lookalike"]
    assert "next" not in said(capsys, "index", "my photos", "--json").err


# What a person calls an image -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("here", "typed"),
    [
        (".", "photos/cats/1.png"),
        (".", "./photos/cats/1.png"),
        ("photos", "cats/1.png"),
        ("photos", "./cats/1.png"),
        ("photos/cats", "1.png"),
        ("photos/dogs", "../cats/1.png"),
        ("photos", "{}/cats/1.png"),
    ],
)
def test_an_id_is_typed_as_a_path(here, typed, photos, monkeypatch, capsys):
    monkeypatch.chdir(photos.parent / here)
    typed = typed.format(photos)
    for arguments in (("--like", typed), (typed, "--like", typed, "--dislike", photos / "one.png")):
        found = json.loads(said(capsys, "search", *arguments, "--include-self", "-i", photos, "-k", 2, "--json").out)[
            "results"
        ][0]
        assert found["matches"][0]["id"] == "cats/1.png"
    assert json.loads(said(capsys, "why", typed, "-i", photos, "--json").out)["path"] == "cats/1.png"
    assert said(capsys, "explain", typed, typed, "-i", photos).out.startswith("Similarity 1.000")


def test_an_id_of_a_file_that_has_gone_is_still_understood(photos, monkeypatch, capsys):
    (photos / "two.png").unlink()
    assert "two.png: indexed" in said(capsys, "why", photos / "two.png").out
    assert said(capsys, "search", "--like", "photos/two.png", "-i", "photos").out.startswith("like two.png")


# What is handed over --------------------------------------------------------------------------------------------------


def test_an_image_on_standard_input(photos):
    data = (photos / "cats" / "2.png").read_bytes()
    done = subprocess.run(
        [*PROGRAM, "search", "-", "-i", "photos", "-k", "1", "--json"], input=data, capture_output=True, check=True
    )
    assert json.loads(done.stdout)["results"][0]["matches"][0]["id"] == "cats/2.png"
    done = subprocess.run(
        [*PROGRAM, "search", "-", "-i", "photos"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr


def test_a_saved_query_is_read_from_standard_input_and_from_no_device(photos):
    asked = json.dumps({"images": [{"path": "photos/one.png"}], "k": 1})
    done = program("search", "--query", "-", "--include-self", "-i", "photos", "--json", input=asked)
    assert json.loads(done.stdout)["results"][0]["matches"][0]["id"] == "one.png"
    os.mkfifo("pipe")
    for name in ("/dev/zero", "pipe", "photos"):
        done = program("search", "--query", name, "-i", "photos", timeout=60)
        assert done.returncode == 2
        assert "isn't a file; save the query in one" in done.stderr
        done = program("search", "photos/one.png", "--save-query", name, "-i", "photos", timeout=60)
        assert done.returncode == 2
        assert "lies there" in done.stderr
    assert Path("pipe").is_fifo()


def test_one_bad_file_in_a_folder_of_queries_costs_itself(photos, capsys):
    queries = photos.parent / "queries"
    queries.mkdir()
    for name in ("one.png", "two.png"):
        (queries / name).write_bytes((photos / name).read_bytes())
    (queries / "bad.png").write_bytes((photos / "one.png").read_bytes()[:60])
    Image.new("L", (16, 16)).save(queries / "black.png")
    found = said(capsys, "search", "queries", "-i", "photos", "-k", 1, "--json")
    results = {r["query"]: r for r in json.loads(found.out)["results"]}
    assert [m["id"] for q in ("one", "two") for m in results[f"queries/{q}.png"]["matches"]] == ["one.png", "two.png"]
    assert "bad.png" in results["queries/bad.png"]["error"]
    assert "blank" in results["queries/black.png"]["error"]
    assert "error" not in results["queries/one.png"]
    assert "left out: queries/bad.png" in found.err
    assert "two.png" in said(capsys, "search", "queries", "-i", "photos", "-k", 1, "-o", "all.png").out
    for name in ("one.png", "two.png"):
        (queries / name).unlink()
    assert "bad.png" in said(capsys, "search", "queries", "-i", "photos", code=1).err


def test_one_bad_query_is_left_out_of_a_score(photos, tmp_path, capsys):
    queries = tmp_path / "queries" / "cats"
    queries.mkdir(parents=True)
    (queries.parent / "dogs").mkdir()
    for name in ("cats/1.png", "cats/2.png", "dogs/1.png"):
        (queries.parent / name).write_bytes((photos / name).read_bytes())
    (queries / "bad.png").write_bytes((photos / "one.png").read_bytes()[:60])
    Path("truth.csv").write_text("query,relevant\nbad,one.png\n1,cats/1.png\n2,cats/2.png\n")
    found = said(capsys, "score", "queries", "-i", "photos", "--truth", "truth.csv", "--json")
    assert json.loads(found.out)["queries"] == 3
    assert "1 of 4 queries can't be asked and are left out; the first: queries/cats/bad.png" in found.err


# Numbers and names ----------------------------------------------------------------------------------------------------

MANY = "9" * 400


@pytest.mark.parametrize(
    "arguments",
    [
        f"search photos/one.png -k {MANY}",
        f"search photos/one.png -k {'9' * 5000}",
        f"search photos/one.png --offset {MANY}",
        f"search photos/one.png --within {MANY}",
        "search photos/one.png --within nan",
        f"search photos/one.png --weight {MANY}",
        f"search photos/one.png --group {MANY}",
        f"search --where width>{MANY}",
        f"search --words {'word' * 100_000}",
        f"search --words {'a,' * 20_000}",
        f"index photos -o new --size {MANY}",
        f"index photos -o new --size {'9' * 5000}",
        "index photos -o new --size 99999x3",
        f"index photos -o new --memory {MANY}",
        f"index photos -o new --max-bytes {MANY}",
        f"index photos -o new --max-pixels {'9' * 5000}",
        f"index photos -o new --max-bytes {MANY}MB",
        "index photos -o new --memory 1.5iB",
        f"index photos -o new -e hog:cells={MANY}",
        f"index photos -o new -e hog:cells={'9' * 5000}",
        "index photos -o new -e hog:cells=1e308",
        f"index photos -o new -e hog:bins={MANY}",
        f"index photos -o new -e local:points={MANY}",
    ],
)
def test_a_number_beyond_reason_is_refused_in_a_sentence(arguments, photos, capsys):
    code = run([*arguments.split(), *(["-i", "photos"] if arguments.startswith("search") else [])])
    err = capsys.readouterr().err
    last = err.splitlines()[-1]
    if code == 0:
        pytest.fail(f"taken: {arguments[:80]}")
    assert code in (1, 2)
    assert last.startswith("lookalike: "), err[:2000]
    assert "unexpected" not in last, last[:500]
    assert len(last) < 1000, last[:1000]
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1.5GiB", 3 * 2**29),
        ("1.5GB", 1_500_000_000),
        ("1.5g", 1_500_000_000),
        ("512MiB", 2**29),
        ("7 kib", 7168),
        ("100M", 10**8),
        ("9", 9),
    ],
)
def test_binary_units_are_binary(text, amount):
    from lookalike.cli.index import _amount

    assert _amount("--memory", text) == amount


# What is shown --------------------------------------------------------------------------------------------------------

#: Colours, a bell, a title, the second set of control characters, the other direction, another line.
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202a-\u202e\u2066-\u2069]")
ACTIVE = ("\x1b[31m", "\x07", "\x1b]0;mine\x07", "\x9b31m", "\u202e", "\u2066", "\u2028", "\x7f", "\r")


def test_a_name_is_shown_and_never_obeyed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, active in enumerate(ACTIVE):
        Image.new("L", (16, 16), 20 + i).save(folder / f"{i}{active}.png")
        (folder / f"{i}{active}.txt").write_text(f"a caption {active} of it")
    (folder / "broken\x1b[2J.png").write_bytes(b"")
    evil = "0\x1b[31m.png"
    for command in (
        ("index", "photos", "-e", "pixels"),
        ("files", "-i", "photos"),
        ("files", "--csv", "-i", "photos"),
        ("search", folder / evil, "-i", "photos"),
        ("search", "--words", "caption", "-i", "photos"),
        ("search", "--words", f"caption {evil}", "-i", "photos"),
        ("search", "--like", evil, "-i", "photos"),
        ("search", "--where", f"label = '{evil}'", "-i", "photos"),
        ("why", folder / evil, "-i", "photos"),
        ("why", "none\x1b[31m", "-i", "photos"),
        ("info", "--health", "-i", "photos"),
        ("search", f"none{evil}", "-i", "photos"),
        (f"none{evil}",),
        ("search", "--rerank", evil, folder / evil, "-i", "photos"),
        ("index", f"none{evil}"),
        ("search", "--none\x1b[31m"),
    ):
        done = subprocess.run([*PROGRAM, *map(str, command)], capture_output=True, check=False)
        shown = (done.stdout + done.stderr).decode().replace("\r\n", "\n")
        assert shown, command
        assert not OBEYED.search(shown), (command, shown)


def test_what_is_no_letter_of_a_line_is_spelt_out():
    assert printable("plain\ttext\nümläut 猫 😀") == "plain\ttext\nümläut 猫 😀"
    for active in ACTIVE:
        assert printable(f"a{active}b").isprintable()
    under = io.StringIO()
    PlainStream(under).write("\rindexing 3 of 9")
    assert under.getvalue() == "\rindexing 3 of 9"


# How one leaves -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", ">&- 2>/dev/full"])
@pytest.mark.parametrize(
    "command", ["info -i photos", "index photos", "search photos/one.png -i photos --json", "--help"]
)
def test_closed_streams_end_nothing(command, closed, photos):
    shell = f"{shlex.join(PROGRAM)} {command} {closed}"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "unexpected" not in done.stderr
    assert "5 descriptors" in lookalike("verify", "-i", "photos")


@pytest.mark.parametrize(
    "command", ["files -i photos", "info -i photos", "--help", "encoders", "search photos/one.png -i photos"]
)
def test_a_reader_that_leaves_ends_it_quietly(command, photos):
    shell = f"{shlex.join(PROGRAM)} {command} | true"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_who_reads_the_words_may_leave_while_the_work_goes_on(photos, tmp_path):
    Image.new("L", (16, 16), 7).save(photos / "new.png")
    shell = f"({shlex.join(PROGRAM)} index photos; echo $? > code) 2>&1 >/dev/null | true"
    subprocess.run(["sh", "-c", shell], check=True)
    assert Path("code").read_text() == "0\n"
    assert "new.png" in open_index("photos/.lookalike").ids


HELD = """
import sys, signal, os, threading
when = sys.argv[1]
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == when:
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(0.05)
sys.meta_path.insert(0, Interrupt())
sys.argv = ["lookalike", *sys.argv[2:]]
from lookalike.__main__ import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C can't be sent to one process there")
@pytest.mark.parametrize("when", ["lookalike.terminal", "lookalike.cli.main", "typer", "lookalike.cli.serve", "lookalike.index.reader",
                                  "numpy", "lance", "pyarrow.compute", "lookalike.search.page"])  # fmt: skip
def test_ctrl_c_at_any_moment_is_130_and_no_traceback(when, photos):
    command = [sys.executable, "-c", HELD, when, "search", "photos/one.png", "-i", "photos", "--where", "width > 3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, ""), done.stderr
    assert done.stderr == "lookalike: interrupted; run the same command to continue\n"


def test_ctrl_c_that_is_ignored_stays_ignored(photos):
    """As of a program that runs on after its terminal was closed."""
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); exec(sys.argv.pop(1))"
    command = [sys.executable, "-c", code, HELD, "lookalike.search.page", "search", "photos/one.png", "-i", "photos"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# README's layout ------------------------------------------------------------------------------------------------------


def test_the_readme_s_folder_commands_run(photos, capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = next(b for b in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) if "lookalike index photos" in b)
    Image.fromarray(np.random.default_rng(5).integers(1, 255, (300, 300, 3), np.uint8)).save("photos/one.png")
    for line in block.splitlines():
        words = shlex.split(line, comments=True)
        if words and words[0] == "lookalike" and not {"serve", "--watch", "--adapt"} & set(words):
            assert run(words[1:]) == 0, (line, capsys.readouterr().err)


def test_names_that_are_no_utf_8(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"caf\xe9.png")
    Path("photos").mkdir()
    Image.new("L", (16, 16), 9).save(Path("photos", name))
    Image.new("L", (16, 16), 99).save(Path("photos", "b.png"))
    assert run(["index", "photos", "-e", "pixels"]) == 0
    found = said(
        capsys,
        "search",
        f"photos/{name}",
        "--like",
        f"photos/{name}",
        "-i",
        "photos",
        "--save-query",
        "q.json",
        "--json",
        "--include-self",
    )
    assert json.loads(found.out)["results"][0]["matches"][0]["id"] == r"caf\udce9.png"
    again = said(capsys, "search", "--query", "q.json", "-i", "photos", "--json", "--include-self")
    assert json.loads(again.out) == json.loads(found.out)
    build_index("photos", "pixels", "photos/.lookalike")


@pytest.mark.parametrize("typed", ["NFC", "NFD"])
@pytest.mark.parametrize("stored", ["NFC", "NFD"])
def test_accents_are_found_however_they_are_stored_and_typed(tmp_path, monkeypatch, capsys, stored, typed):
    """macOS writes e and an accent where a keyboard types one character."""
    from unicodedata import normalize

    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for n, name in enumerate(("Müller é.png", "b.png", "c.png")):
        Image.new("L", (16, 16), 40 * n + 9).save(Path("photos", normalize(stored, name)))
    Path("photos", normalize(stored, "Müller é.txt")).write_text(normalize(stored, "Ein Café"))
    m = normalize(typed, "Müller é.png")
    Path("truth.json").write_text(json.dumps({"b.png": [m], "c.png": [m], m: ["b.png"]}))
    assert run(["index", "photos", "-e", "pixels"]) == 0
    name, word = normalize(typed, "Müller é.png"), normalize(typed, "Café")
    for arguments in (
        ["why", name], ["why", f"photos/{name}"], ["search", "--like", name], ["search", "--like", f"photos/{name}"],
        ["search", "--words", word], ["search", "--where", f"id = '{name}'"], ["search", "--where", f"caption like '%{word}'"],
        ["explain", name, "b.png"], ["explain", "b.png", name], ["score", "--truth", "truth.json", "--leave-one-out"],
    ):  # fmt: skip
        assert run([*arguments, "-i", "photos", "--json"]) == 0, (arguments, capsys.readouterr().err)
        if arguments[0] == "search" and "--like" not in arguments:
            (result,) = json.loads(capsys.readouterr().out)["results"]
            assert [m["id"] for m in result["matches"]] == [normalize("NFC", name)], arguments
        capsys.readouterr()
