"""No command removes, changes or replaces a file that lookalike didn't make, whatever lies where it is told to write.

One test over every command and option that writes. What a person has is laid out first: pictures, an index of other
pictures, and files of all sorts of names, those that lookalike itself uses among them. Afterwards all of it must be there
as it was: bytes, kind, link, rights and time.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest

from faults import Faults
from lookalike import build_index, create_encoder, open_index
from lookalike.cli.main import run
from lookalike.encoders.serialize import CHECKPOINT
from lookalike.errors import LookalikeError
from lookalike.imaging.encode import save_image
from program import one_sentence
from program import run as in_a_process

#: Names that a person's files may bear, and that look like ours.
NAMES = (
    "thesis.txt", "VID-202401311230.mp4", "trip-20240131-123.jpg", "IMG-0123456789ab.png", "weights-0123456789ab.npz",
    "encoder-mine/notes.txt", "encoder-0123456789abcdef/encoder.json", "graph-mine.mapped", "graph-0badf00d0badf00d.mapped",
    "map-of-town.mapped", "vectors-0badf00d.mapped", "ivf-1.mapped", "rerank-auto-pixels.mapped", "writing.lock",
    f"keypoints-1-1/ab/{'ab' * 32}-0.npz", ".manifest.json.0badf00d.part", ".notes.txt.0badf00d.part", "previous.json",
    "manifest.json", "rebuilding.json", "inventory.txt", "images.lance/data/holiday.lance", "images.lance/notes.txt",
    "images.lance/_versions/18446744073709551614.manifest", "scores/2024.json", "encoder.json", "checkpoint.npz",
    "model.keras", "scores.json", "report.html", "out.csv", "out.npy", "out.parquet", "a.png", "sub/b.png", "tutorial/x",
)  # fmt: skip
OLD = 1_500_000_000


def put(path, content=b"years of work"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (OLD, OLD))


def look(folder):
    """Everything below a folder but what lookalike is allowed to write to."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        status = path.lstat()
        if path.is_symlink():
            found[path] = ("link", os.readlink(path))
        elif path.is_dir():
            found[path] = ("folder",)
        elif path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[path] = ("file", digest, status.st_mtime_ns, status.st_mode, status.st_ino)
        else:
            found[path] = (stat.S_IFMT(status.st_mode),)
    return found


def check_untouched(before, folder, command):
    after = look(folder)
    lost = [str(path) for path in before if path not in after]
    changed = [str(path) for path in before if path in after and after[path] != before[path]]
    assert not lost, f"{command}: removed {lost}"
    assert not changed, f"{command}: changed {changed}"


@pytest.fixture(scope="module")
def world(tmp_path_factory, trained_network):
    """Pictures, two indexes, a list, a trained network, and folders of a person's files."""
    root = tmp_path_factory.mktemp("around") / "world"
    root.mkdir()
    rng = np.random.default_rng(0)
    for name in (
        "photos/a.png",
        "photos/sub/b.png",
        "photos/sub/c.png",
        "others/d.png",
        "others/e.png",
        "photos/x.png",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        save_image(rng.integers(0, 256, (28, 28), np.uint8), root / name)
        os.utime(root / name, (OLD, OLD))
    build_index(root / "photos", create_encoder("pixels"), root / "index")
    build_index(root / "others", create_encoder("pixels"), root / "other-index")
    rows = "".join(f"{root / 'photos' / name},{label}\n" for name, label in (("a.png", "x"), ("x.png", "y")))
    put(root / "photos.csv", f"path,label\n{rows}".encode())
    ids = ["a.png", "x.png", "sub/b.png", "sub/c.png"]
    put(root / "truth.json", json.dumps({one: [two for two in ids if two != one] for one in ids}).encode())
    build_index(root / "photos.csv", create_encoder("pixels"), root / "list-index")
    for name in NAMES:
        put(root / "theirs" / name, name.encode())
    for n in range(9):
        save_image(rng.integers(0, 256, (28, 28), np.uint8), root / f"others/{n}.png")
    put(root / "elsewhere" / "secret.txt")
    put(root / "elsewhere" / "data" / "secret.lance")
    shutil.copytree(trained_network, root / "network", ignore=shutil.ignore_patterns(CHECKPOINT))
    (root / "to-theirs").symlink_to("theirs")
    (root / "to-photo.png").symlink_to("photos/a.png")
    (root / "dangling.png").symlink_to("elsewhere/made.png")
    os.mkfifo(root / "pipe.png")
    return root


@pytest.fixture
def here(world, tmp_path_factory, monkeypatch):
    """The world as it was made, to stand in. It lies where it lay, for an index knows what it is of."""
    kept = world.with_name("kept")
    if not kept.exists():
        shutil.copytree(world, kept, symlinks=True, ignore=lambda *_: ["pipe.png"])
    for path in world.parent.iterdir():
        if path != kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(kept, world, symlinks=True)
    os.mkfifo(world / "pipe.png")
    monkeypatch.chdir(world)
    return world


#: Folders that a person may name by mistake: (name, whether it is theirs).
FOLDERS = ("photos", ".", "theirs", "to-theirs", "elsewhere", "network", "theirs/images.lance", "photos.csv")
FILES = ("photos/a.png", "to-photo.png", "dangling.png", "pipe.png", "theirs/thesis.txt", "photos.csv", "theirs")


def writing(target):
    """Every command that writes to a folder, told to write there."""
    return {
        "index": ["index", "photos", "-o", target, "-e", "pixels"],
        "index --rebuild": ["index", "photos", "-o", target, "-e", "pixels", "--rebuild"],
        "index --replace-collection": ["index", "photos", "-o", target, "-e", "pixels", "--replace-collection"],
        "train": ["train", "photos", "-o", target, "--epochs", "1"],
        "train --restart": ["train", "photos", "-o", target, "--epochs", "1", "--restart"],
        "train --resume": ["train", "photos", "-o", target, "--epochs", "1", "--resume"],
        "demo": ["demo", "-o", target, "--seconds", "1", "--queries", "1"],
        "rollback": ["rollback", "-i", target],
        "map": ["map", "-i", target],
    }


def to_file(target):
    """Every command that writes a file, told to write there."""
    return {
        "export": ["export", "-i", "index", "-o", target],
        "search": ["search", "photos/x.png", "-i", "index", "-o", target],
        "search --save-query": ["search", "photos/x.png", "-i", "index", "--save-query", target],
        "explain": ["explain", "a.png", "x.png", "-i", "index", "-o", target],
        "map": ["map", "-i", "index", "-o", target],
        "info --health": ["info", "-i", "index", "--health", "-o", target],
        "score --run": ["score", "-i", "index", "--truth", "truth.json", "--leave-one-out", "--run", target],
        "score --qrels": ["score", "-i", "index", "--truth", "truth.json", "--leave-one-out", "--qrels", target],
        "score --plot": ["score", "-i", "index", "--truth", "truth.json", "--leave-one-out", "--plot", target],
        "compare": ["compare", "others", "--encoders", "pixels", "--figure", target],
        "compare --robustness-figure": ["compare", "others", "--encoders", "pixels", "--robustness", "--families", "turn",
                                    "--sample", "8", "--robustness-figure", target],
        "denoise": ["denoise", "photos/x.png", "-e", "network", "-o", target],
        "denoise --figure": ["denoise", "photos/x.png", "-e", "network", "-o", "new/x.png", "--figure", target],
    }  # fmt: skip


@pytest.mark.parametrize("target", FOLDERS)
@pytest.mark.parametrize("command", writing(""))
def test_a_folder_that_is_not_ours_is_left_as_it_is(here, capsys, command, target):
    ours = command.startswith("train") and target == "network"  # a network that lookalike trained is trained anew
    before = {path: value for path, value in look(here).items() if not (ours and path.is_relative_to(here / target))}
    code = run(writing(target)[command])
    check_untouched(before, here, f"{command} to {target}")
    err = capsys.readouterr().err
    assert code in (1, 2) or ours, err
    if code:
        assert "Traceback" not in err
        one_sentence(err)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", ["index", "index --rebuild", "train --restart", "demo"])
def test_whatever_its_one_file_is_called(here, command, name):
    put(here / "alone" / name, b"mine")
    before = look(here)
    assert run(writing("alone")[command]) in (1, 2)
    check_untouched(before, here, f"{command} beside {name}")


@pytest.mark.parametrize("target", FILES)
@pytest.mark.parametrize("command", to_file(""))
def test_a_file_that_exists_is_not_overwritten(here, capsys, command, target):
    before = look(here)
    code = run(to_file(target)[command])
    check_untouched(before, here, f"{command} to {target}")
    if command != "denoise" or target != "theirs":  # a folder is where it writes to
        assert code in (1, 2)
        one_sentence(capsys.readouterr().err)
    assert not (here / "elsewhere" / "made.png").exists(), "nothing is made behind a link"


@pytest.mark.parametrize("target", ["photos/x.png", "to-photo.png", "dangling.png", "pipe.png"])
@pytest.mark.parametrize("command", ["search", "search --save-query", "denoise"])
def test_what_is_read_is_never_overwritten_even_where_that_is_allowed(here, command, target):
    before = look(here)
    assert run([*to_file(target)[command], "--overwrite"]) in (1, 2)
    check_untouched(before, here, f"{command} --overwrite to {target}")


@pytest.mark.parametrize("command", to_file(""))
def test_each_of_these_commands_does_write_where_nothing_lies(here, capsys, command):
    """Or what follows from refusals alone would be proven of nothing."""
    ending = {"export": ".npy", "search --save-query": ".json", "score --run": ".txt", "score --qrels": ".txt"}
    target = f"new/made{ending.get(command, '.png')}"
    assert run(to_file(target)[command]) == 0, capsys.readouterr().err
    assert (here / target).stat().st_size


def test_overwriting_is_done_where_it_is_asked_for(here):
    for command, target in (("search", "out.png"), ("export", "out.npy"), ("denoise", "one.png")):
        assert run(to_file(target)[command]) == 0
        made = (here / target).read_bytes()
        assert run(to_file(target)[command]) == 2
        assert run([*to_file(target)[command], "--overwrite"]) == 0
        assert (here / target).read_bytes() == made


def test_export_leaves_the_list_that_the_index_was_made_of(here, capsys):
    before = look(here)
    for more in ([], ["--overwrite"]):
        assert run(["export", "-i", "list-index", "-o", "photos.npy", *more]) == 2
        assert "photos.csv" in capsys.readouterr().err
    check_untouched(before, here, "export")
    assert not (here / "photos.npy").exists()


@pytest.mark.parametrize("source", ["photos", "photos.csv", "evil.csv", "evil.zip"])
@pytest.mark.parametrize("target", ["photos", "theirs", "out", "to-theirs", "."])
def test_denoise_writes_below_its_folder_and_over_nothing(here, source, target):
    import zipfile

    put(here / "evil.csv", f"path\n../world/elsewhere/../photos/a.png\n{here}/photos/x.png\n".encode())
    with zipfile.ZipFile(here / "evil.zip", "w") as archive:
        for name in ("../../evil.png", "/tmp/evil-of-lookalike.png", "theirs/a.png", "con.png", "A.png", "a.png"):
            archive.writestr(name, (here / "photos/a.png").read_bytes())
    around = look(here.parent)
    inside = set(here.parent.rglob("*"))
    run(["denoise", source, "-e", "network", "-o", target])
    check_untouched(around, here.parent, f"denoise {source} -o {target}")
    made = set(here.parent.rglob("*")) - inside
    assert all(path.is_relative_to((here / target).resolve()) for path in made), made
    assert not Path("/tmp/evil-of-lookalike.png").exists()


def test_links_inside_an_index_are_refused(here, capsys):
    """An index may come from a stranger: nothing is followed out of it."""
    lance = "images.lance"
    (encoder,) = (path.name for path in (here / "index").glob("encoder-*"))
    links = {
        "writing.lock": "../elsewhere/secret.txt", "keypoints-1-1": "../elsewhere", lance: "../elsewhere",
        f"{lance}/data": "../../elsewhere/data", f"{lance}/_versions": "../../elsewhere", encoder: "../elsewhere",
        "manifest.json": "../other-index/manifest.json", "inventory.txt": "../elsewhere/secret.txt",
        "scores": "../elsewhere", "dangling.mapped": "../elsewhere/made.mapped",
    }  # fmt: skip
    for name, target in links.items():
        shutil.rmtree(here / "from", ignore_errors=True)
        shutil.copytree(here / "index", here / "from")
        there = here / "from" / name
        if there.is_dir():
            shutil.rmtree(there)
        else:
            there.unlink(missing_ok=True)
        there.symlink_to(target, target_is_directory=True)
        before = look(here)
        for command in (
            ["index", "photos", "-o", "from"], ["index", "photos", "-o", "from", "--rebuild"], ["rollback", "-i", "from"],
            ["search", "photos/a.png", "-i", "from"], ["map", "-i", "from"], ["search", "photos/a.png", "-i", "from", "--rerank", "diffusion"],
        ):  # fmt: skip
            assert run(command) == 1, (name, command)
            assert "a link inside an index" in one_sentence(capsys.readouterr().err), (name, command)
            check_untouched(before, here, f"{command} with {name} a link")
    assert not (here / "elsewhere" / "made.mapped").exists()


def test_the_lock_is_not_written_to_where_it_is_a_persons_file(here, capsys):
    put(here / "index" / "writing.lock", b"export PATH=... " * 30)
    before = look(here)
    assert run(["index", "photos", "-o", "index"]) == 1
    assert "didn't make" in one_sentence(capsys.readouterr().err)
    check_untouched(before, here, "index")


def test_what_is_put_into_an_index_meanwhile_stays(here):
    for name in NAMES:
        if not (here / "index" / name).exists() and name not in ("writing.lock", "rebuilding.json"):
            put(here / "index" / name, name.encode())
    mine = {path for path in (here / "index").rglob("*") if path.is_file() and path.stat().st_mtime == OLD}
    assert len(mine) > 20
    before = {path: value for path, value in look(here).items() if path in mine}
    save_image(np.zeros((9, 9), np.uint8), here / "photos" / "new.png")
    for command in (
        ["index", "photos", "-o", "index"], ["index", "photos", "-o", "index", "-e", "hog", "--only"],
        ["index", "photos", "-o", "index", "--graph"], ["index", "photos", "-o", "index", "--no-graph"],
        ["map", "-i", "index"], ["score", "--truth", "truth.json", "--leave-one-out", "--keep", "-i", "index"],
        ["search", "photos/a.png", "-i", "index", "--rerank", "diffusion"], ["verify", "-i", "index", "--deep"],
        ["rollback", "-i", "index"], ["index", "photos", "-o", "index", "--rebuild"],
    ):  # fmt: skip
        run(command)
        check_untouched(before, here, " ".join(command))


# Disks that fail ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    return Faults.compiled(tmp_path_factory.mktemp("faults"))


def contents(index):
    opened = open_index(index)
    held = {c.encoder for c in opened.manifest.columns}
    return held, opened.ids, [opened.with_encoder(name).descriptors.tolist() for name in sorted(held)]


@pytest.mark.parametrize("call", ["open", "read", "create", "write", "rename"])
def test_an_error_for_a_moment_costs_nothing(here, faults, call):
    """An index with two encoders, one of them held nowhere else: whichever call fails, both stay, and all files."""
    index = here / "index"
    assert run(["index", "photos", "-o", "index", "-e", "network"]) == 0
    shutil.rmtree(here / "network")
    right = contents(index)
    before = {path: value for path, value in look(here).items() if not path.is_relative_to(index)}
    for step, n in enumerate((1, 2, 4, 8, 16, 32, 64, 128)):
        log = here.parent / "calls.txt"
        log.unlink(missing_ok=True)
        error = (errno.EMFILE, errno.EACCES, errno.EIO, errno.ESTALE)[step % 4]
        environment = faults.environment(index, call, n, error, log=log)
        done = in_a_process("index", here / "photos", "-o", index, "--workers", 1, env=environment, cwd="/")
        check_untouched(before, here, f"{call} {n}")
        assert done.returncode in (0, 1), done.stderr
        if done.returncode:
            assert "--rebuild" not in one_sentence(done.stderr), (call, n)
        assert contents(index) == right, (call, n, done.stderr)
        if not log.exists() or len(log.read_text().splitlines()) < n:
            break


def test_a_dataset_of_a_newer_lance_stays(here, monkeypatch, capsys):
    import lance

    def refusing(*_args, **_options):
        raise OSError("LanceError(NotSupported): this dataset uses feature flags of a newer version")

    before = {p: v for p, v in look(here).items() if p.name not in ("inventory.txt", "writing.lock")}
    monkeypatch.setattr(lance, "dataset", refusing)
    for more in ([], ["--rebuild"]):
        assert run(["index", "photos", "-o", "index", *more]) == 1
        assert "upgrade" in one_sentence(capsys.readouterr().err)
        check_untouched(before, here, "index")
    with pytest.raises(LookalikeError, match="upgrade"):
        build_index(here / "photos", "pixels", here / "index")
