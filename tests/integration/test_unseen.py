"""What can't be seen isn't gone: rows of pictures on a disk that isn't there stay, and no other collection is given up."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import asdict

import numpy as np
import pytest

from lookalike import build_index, open_collection, open_index
from lookalike.errors import IndexStoreError
from lookalike.imaging.encode import save_image
from lookalike.index.integrity import verify


def paint(folder, *names):
    for name in names:
        rng = np.random.default_rng(list(name.encode()))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save_image(rng.integers(0, 256, (8, 8), np.uint8), folder / name)


def index(source, path, **options):
    summaries = []
    build_index(source, "pixels", path, on_summary=summaries.append, workers=1, **options)
    return {
        k: v
        for k, v in asdict(summaries[0]).items()
        if v and k in ("indexed", "unchanged", "removed", "unseen", "failed", "renamed")
    }


@pytest.fixture
def photos(tmp_path):
    paint(tmp_path / "photos", "a.png", "b.png")
    paint(tmp_path / "disk/nas", "c.png", "deep/d.png", "e.png")
    return tmp_path / "photos"


@pytest.mark.parametrize("target", ["folder", "file"])
def test_rows_behind_a_link_to_an_unplugged_disk_stay(photos, tmp_path, target):
    if target == "folder":
        (photos / "nas").symlink_to("../disk/nas")
        there, behind = 5, 3
    else:
        (photos / "nas.png").symlink_to("../disk/nas/c.png")
        there, behind = 3, 1
    path = tmp_path / "i"
    assert index(photos, path) == {"indexed": there}
    ids = open_index(path).ids
    (tmp_path / "disk").rename(tmp_path / "away")
    for _ in range(2):
        found = index(photos, path)
        assert found["unseen"] == behind
        assert "removed" not in found
        assert open_index(path).ids == ids
    (tmp_path / "away").rename(tmp_path / "disk")
    assert index(photos, path) == {"unchanged": there}, "nothing is encoded anew"
    (tmp_path / "disk").rename(tmp_path / "away")
    found = index(photos, path, drop_unseen=True)
    assert len(open_index(path)) == 2, "let go where a person says so"


def test_a_link_that_was_taken_away_is_gone(photos, tmp_path):
    (photos / "nas").symlink_to("../disk/nas")
    path = tmp_path / "i"
    index(photos, path)
    (photos / "nas").unlink()
    assert index(photos, path) == {"unchanged": 2, "removed": 3}


def test_rows_below_a_mount_point_without_its_disk_stay(tmp_path):
    """An empty folder that is older than the index lost nothing since: its files lie on what was mounted there."""
    photos, path = tmp_path / "photos", tmp_path / "i"
    paint(photos, "a.png")
    (photos / "nas").mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", photos / "nas"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting needs root")
    try:
        paint(photos, "nas/b.png", "nas/deep/c.png")
        assert index(photos, path) == {"indexed": 3}
    finally:
        subprocess.run(["umount", photos / "nas"], check=True)
    for _ in range(2):
        assert index(photos, path) == {"unchanged": 1, "unseen": 2}
    (photos / "nas").rmdir()
    assert index(photos, path) == {"unchanged": 1, "unseen": 2}, "some systems take the mount point away as well"
    (photos / "nas").mkdir()
    paint(photos, "nas/new.png")
    assert index(photos, path) == {"indexed": 1, "unchanged": 1, "unseen": 2}, "what lies in the mount point is new"
    assert index(photos, path, drop_unseen=True) == {"unchanged": 2, "removed": 2}
    (photos / "nas/new.png").unlink()
    assert index(photos, path) == {"unchanged": 1, "removed": 1}, "and then it is a folder like others"


@pytest.fixture
def disk(tmp_path):
    """A disk that is there, and can be taken out."""
    folder = tmp_path / "media"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    yield folder
    subprocess.run(["umount", folder], capture_output=True, check=False)


@pytest.mark.parametrize("left", [None, "NOT MOUNTED.txt", "other.png"])
def test_rows_behind_a_link_to_a_mount_point_without_its_disk_stay(photos, tmp_path, disk, left):
    """The mount point stays, and may have been made a moment ago, or hold a note of a person's."""
    path = tmp_path / "i"
    paint(disk, "c.png", "deep/d.png")
    (photos / "link").symlink_to(disk)
    assert index(photos, path) == {"indexed": 4}
    subprocess.run(["umount", disk], check=True)
    if left is not None:
        paint(tmp_path, "other.png")
        shutil.copy(tmp_path / "other.png", disk / left)
    os.utime(disk)
    for _ in range(2):
        found = index(photos, path)
        assert (found["unseen"], "removed" in found) == (2, False)
    (photos / "link").unlink()
    assert index(photos, path)["removed"] >= 2, "who removes the link means it"


@pytest.mark.parametrize("left", ["NOT MOUNTED.txt", "other.png"])
def test_rows_of_a_collection_whose_own_disk_is_out_stay(tmp_path, disk, left):
    path = tmp_path / "i"
    paint(disk, "c.png", "deep/d.png")
    assert index(disk, path) == {"indexed": 2}
    subprocess.run(["umount", disk], check=True)
    paint(tmp_path, "other.png")
    shutil.copy(tmp_path / "other.png", disk / left)
    for _ in range(2):
        found = index(disk, path)
        assert (found["unseen"], "removed" in found) == (2, False)


def test_an_empty_folder_older_than_the_index_was_not_emptied(tmp_path):
    photos, path, kept = tmp_path / "photos", tmp_path / "i", tmp_path / "kept"
    paint(photos, "a.png", "nas/b.png")
    assert index(photos, path) == {"indexed": 2}
    (photos / "nas").rename(kept)
    (photos / "nas").mkdir()
    os.utime(photos / "nas", (1_600_000_000, 1_600_000_000))  # as the folder below a mount is
    assert index(photos, path) == {"unchanged": 1, "unseen": 1}
    (photos / "nas").rmdir()
    kept.rename(photos / "nas")
    assert index(photos, path) == {"unchanged": 2}
    (photos / "nas/b.png").unlink()  # a person empties it
    assert index(photos, path) == {"unchanged": 1, "removed": 1}


def test_a_file_that_cannot_be_read_now_keeps_its_row(photos, tmp_path, monkeypatch):
    """Root reads all, so the refusal is made: the file is listed, and every open of it fails."""
    path = tmp_path / "i"
    assert index(photos, path) == {"indexed": 2}
    os.utime(photos / "a.png", (1, 1))
    (photos / "a.png").unlink()
    os.mkfifo(photos / "tmp")
    (photos / "a.png").symlink_to("a.png")  # leads to itself: listed, and can't be opened
    assert index(photos, path)["unseen"] == 1
    assert open_index(path).ids == ["a.png", "b.png"]


def test_another_collection_is_never_given_up_unasked(tmp_path):
    paint(tmp_path / "nas", "a.png", "b.png", "c.png")
    paint(tmp_path / "home", "scans/d.png")
    for place in ("home/idx", "home/.lookalike"):
        path = tmp_path / place
        assert index(tmp_path / "nas", path) == {"indexed": 3}
        with pytest.raises(IndexStoreError, match=r"holds the index of .*nas.*--replace-collection keeps"):
            index(tmp_path / "home", path)
        assert len(open_index(path)) == 3
        assert index(tmp_path / "home", path, replace_collection=True) == {"indexed": 1, "removed": 3}
        shutil.rmtree(path)


@pytest.mark.parametrize("inside", [".lookalike", "sub/my.lookalike"])
def test_an_index_goes_along_with_its_folder_where_it_lay_in_it(tmp_path, inside):
    paint(tmp_path / "p", "a.png", "sub/b.png")
    index(tmp_path / "p", tmp_path / "p" / inside)
    (tmp_path / "p").rename(tmp_path / "q")
    assert index(tmp_path / "q", tmp_path / "q" / inside) == {"unchanged": 2}
    shutil.copytree(tmp_path / "q", tmp_path / "copy")
    assert index(tmp_path / "copy", tmp_path / "copy" / inside) == {"unchanged": 2}
    shutil.copytree(tmp_path / "q" / inside, tmp_path / "copy" / "elsewhere.lookalike")
    with pytest.raises(IndexStoreError, match="holds the index of"):
        index(tmp_path / "copy", tmp_path / "copy" / "elsewhere.lookalike")


def test_a_renamed_folder_with_its_index_elsewhere_is_told_how_to_keep_all(tmp_path):
    paint(tmp_path / "p", "a.png", "b.png")
    index(tmp_path / "p", tmp_path / "i")
    (tmp_path / "p").rename(tmp_path / "q")
    with pytest.raises(IndexStoreError, match=r"which isn't there any more.*--replace-collection keeps all pictures"):
        index(tmp_path / "q", tmp_path / "i")
    assert index(tmp_path / "q", tmp_path / "i", replace_collection=True) == {"unchanged": 2}


def test_a_list_whose_files_lie_on_an_unplugged_disk_keeps_them(tmp_path):
    paint(tmp_path / "disk", "a.png", "b.png")
    paint(tmp_path, "c.png")
    (tmp_path / "list.txt").write_text("disk/a.png\ndisk/b.png\nc.png\n")
    index(tmp_path / "list.txt", tmp_path / "i")
    (tmp_path / "disk").rename(tmp_path / "away")
    assert index(tmp_path / "list.txt", tmp_path / "i") == {"unchanged": 1, "unseen": 2}
    (tmp_path / "disk").mkdir()  # the folder is there, and the files aren't: they are gone
    assert index(tmp_path / "list.txt", tmp_path / "i")["failed"] == 2


def test_ids_are_unique_whatever_frames_and_names_there_are(tmp_path):
    from PIL import Image

    frames = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (8, 8, 3), np.uint8)) for n in range(3)]
    (tmp_path / "p").mkdir()
    frames[0].save(tmp_path / "p" / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    frames[1].save(tmp_path / "p" / "a.webp#1", format="PNG")
    frames[2].save(tmp_path / "p" / "b#2", format="PNG")
    images = open_collection(tmp_path / "p", each=True)
    for _ in range(2):
        index(images, tmp_path / "i")
        opened = open_index(tmp_path / "i")
        assert sorted(opened.ids) == ["a.webp", "a.webp#1", "a.webp#1~", "a.webp#2", "b#2"]
        assert verify(opened) == []


def test_verify_says_what_became_of_a_file(photos, tmp_path):
    path = tmp_path / "i"
    paint(photos, "c.png", "d.png")
    index(photos, path)
    a, b, c = (photos / f"{name}.png" for name in "abc")
    before = a.stat()
    a.write_bytes(a.read_bytes()[:-1] + b"\0")
    os.utime(a, ns=(before.st_mtime_ns, before.st_mtime_ns))
    b.unlink()
    c.write_bytes(b"other")
    told = verify(open_index(path), deep=True)
    assert any("isn't where it was indexed; index again" in line and line.endswith("b.png") for line in told)
    assert any("has changed since it was indexed" in line and line.endswith("c.png") for line in told)
    assert any("only index --rebuild reads it again" in line and line.endswith("a.png") for line in told)
    index(photos, path)
    (path / "previous.json").write_bytes((path / "previous.json").read_bytes()[:-40])
    assert any(line.startswith("previous.json, for rollback") for line in verify(open_index(path)))


def test_an_index_that_is_put_into_another_collection_is_not_given_up(tmp_path):
    """It lies there as it lay at home; but its own collection is there still, and this one has other pictures."""
    home, other = tmp_path / "home", tmp_path / "other"
    paint(home, "a.png", "b.png", "c.png")
    paint(other, "x.png", "y.png")
    index(home, home / ".lookalike")
    (home / ".lookalike").rename(other / ".lookalike")
    with pytest.raises(IndexStoreError, match="--replace-collection"):
        index(other, other / ".lookalike")
    (other / ".lookalike").rename(home / ".lookalike")
    assert index(home, home / ".lookalike") == {"unchanged": 3}
    shutil.copytree(home, tmp_path / "copy")
    (tmp_path / "copy/c.png").unlink()
    assert index(tmp_path / "copy", tmp_path / "copy/.lookalike") == {"unchanged": 2, "removed": 1}, "a copy of it all"


@pytest.mark.parametrize("known", [True, False])
def test_a_caption_that_cannot_be_read_now_is_read_by_the_next_run(tmp_path, monkeypatch, known):
    """Root reads all, so the refusal is made: every opening of the text fails, as on a disk that stumbles."""
    photos, path = tmp_path / "photos", tmp_path / "i"
    paint(photos, "a.png", "b.png")
    text = photos / "a.txt"
    if known:
        text.write_text("a red boat")
        assert index(photos, path) == {"indexed": 2}
    text.write_text("a blue boat")
    with monkeypatch.context() as patch:
        really = os.open

        def refusing(name, *rest, **more):
            if os.fspath(name) == str(text):
                raise OSError(5, "Input/output error")
            return really(name, *rest, **more)

        patch.setattr(os, "open", refusing)
        index(photos, path)
    assert open_index(path).why("a.png")["caption"] == ("a red boat" if known else None)
    assert index(photos, path) == {"unchanged": 2}
    assert open_index(path).why("a.png")["caption"] == "a blue boat"
