"""A folder's files: each once, in one order, whatever lies in it."""

from __future__ import annotations

import os
import shutil
import socket
from contextlib import contextmanager

import pytest

from lookalike.collections.columns import Entry
from lookalike.collections.folder import captions_of, file_entry, scan
from lookalike.collections.patterns import chosen
from lookalike.errors import CollectionError

needs_links = pytest.mark.skipif(os.name == "nt", reason="Windows makes links for administrators only")


def make(folder, *names, data=b"..."):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def ids(folder, **options):
    return [entry.id for entry in scan(folder, **options).entries]


def outcomes(folder, **options):
    return {entry.id: entry.outcome for entry in scan(folder, **options).entries}


def reason(folder, name):
    [entry] = [entry for entry in scan(folder).entries if entry.id == name]
    assert entry.reason.startswith(f"{folder}/{name}: ")
    return entry.reason.removeprefix(f"{folder}/{name}: ")


# What is found --------------------------------------------------------------------------------------------------------


def test_every_file_is_an_entry_sorted_by_its_path(tmp_path):
    make(tmp_path, "b.png", "a/z.jpg", "a.png", "a/b/c.gif", "Z.png", "notes.md", "é.png")
    assert ids(tmp_path) == ["Z.png", "a.png", "a/b/c.gif", "a/z.jpg", "b.png", "notes.md", "é.png"]
    assert ids(tmp_path) == sorted(ids(tmp_path))


def test_an_entry_says_where_how_large_and_when(tmp_path):
    make(tmp_path, "red/a.png", data=b"12345")
    os.utime(tmp_path / "red" / "a.png", ns=(1, 1_700_000_000_123_456_789))
    [entry] = scan(tmp_path).entries
    path = str(tmp_path / "red" / "a.png")
    assert entry == Entry("red/a.png", ("file", path), 5, 1_700_000_000_123_456_789, "red")


def test_the_label_is_the_whole_path_of_the_folder(tmp_path):
    make(tmp_path, "a.png", "red/b.png", "red/dark/c.png")
    assert [entry.label for entry in scan(tmp_path).entries] == [None, "red", "red/dark"]


def test_a_relative_folder_gives_paths_that_hold_elsewhere(tmp_path, monkeypatch):
    make(tmp_path, "photos/a.png")
    monkeypatch.chdir(tmp_path)
    [entry] = scan("photos").entries
    assert entry.source == ("file", str(tmp_path / "photos" / "a.png"))


def test_the_same_name_in_two_folders_is_two_entries(tmp_path):
    make(tmp_path, "x/a.png", "y/a.png")
    assert ids(tmp_path) == ["x/a.png", "y/a.png"]


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(CollectionError, match="nowhere: can't be listed: No such file"):
        scan(tmp_path / "nowhere")


# Names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_names_of_all_kinds_are_kept_apart(tmp_path):
    names = ["new\nline.png", "tab\t.png", "東京/塔.png", "x" * 251 + ".png", " .png", "*?[].png", "back\\slash.png"]
    make(tmp_path, *names)
    assert ids(tmp_path) == sorted(names)
    assert all(os.path.isfile(entry.source[1]) for entry in scan(tmp_path).entries)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_bytes_that_are_no_utf_8_become_escapes_that_are_unique(tmp_path):
    """A file may be called just as another's escapes read."""
    try:
        make(tmp_path, os.fsdecode(b"caf\xe9.png"), "caf\\udce9.png", os.fsdecode(b"\xff/a.png"))
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    entries = {entry.id: entry for entry in scan(tmp_path).entries}
    assert list(entries) == ["\\udcff/a.png", "caf\\udce9.png", "caf\\udce9.png~"]
    assert entries["\\udcff/a.png"].label == "\\udcff"
    assert entries["caf\\udce9.png"].source[1].endswith("caf\\udce9.png"), (
        "the name that needs no escapes keeps its own"
    )
    assert all(os.path.isfile(entry.source[1]) for entry in entries.values())


@contextmanager
def deep(folder, name, levels):
    """Make folders in each other, deeper than a path can say."""
    try:
        at = os.open(folder, os.O_RDONLY)
        for _ in range(levels):
            os.mkdir(name, dir_fd=at)
            inner = os.open(name, os.O_RDONLY, dir_fd=at)
            os.close(os.open("a.png", os.O_WRONLY | os.O_CREAT, dir_fd=inner))
            os.close(at)
            at = inner
        os.close(at)
        yield
    finally:
        here = os.getcwd()
        os.chdir(folder)  # shutil.rmtree would call itself as deep
        for _ in range(levels):
            os.chdir(name)
        for _ in range(levels):
            os.unlink("a.png")
            os.chdir("..")
            os.rmdir(name)
        os.chdir(here)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="paths are shorter there")
def test_a_thousand_folders_in_each_other_are_searched(tmp_path):
    with deep(tmp_path, "d", 1000):
        found = scan(tmp_path)
    assert len(found.entries) == 1000
    assert found.entries[-1].id == "d/" * 1000 + "a.png"
    assert found.unlisted == {}


@pytest.mark.skipif(os.name == "nt", reason="paths are shorter there")
def test_what_lies_deeper_than_a_path_can_say_is_told(tmp_path):
    with deep(tmp_path, "d" * 250, 20):
        found = scan(tmp_path)
    assert 10 < len(found.entries) < 20
    [(folder, why)] = found.unlisted.items()
    assert folder == "/".join(["d" * 250] * (len(found.entries) + 1))
    assert why == "its path is longer than the system opens"


# What is left out -----------------------------------------------------------------------------------------------------


def test_hidden_files_and_folders_are_counted_and_left_out_unless_wanted(tmp_path):
    make(tmp_path, "seen.png", ".a.png", ".b/x.png", ".b/y.png", "sub/.c.png")
    assert ids(tmp_path) == ["seen.png"]
    assert ids(tmp_path, hidden=True) == [".a.png", ".b/x.png", ".b/y.png", "seen.png", "sub/.c.png"]
    assert ids(tmp_path / ".b") == ["x.png", "y.png"], "a hidden folder that is asked for is searched"


def test_indexes_are_never_searched(tmp_path):
    make(
        tmp_path,
        "a.png",
        ".lookalike/t.png",
        "b.lookalike/t.png",
        "c/images.lance/t.png",
        "c/manifest.json",
        "d/manifest.json",
        "d/inventory.txt",
        "d/t.png",
    )
    assert ids(tmp_path) == ids(tmp_path, hidden=True) == ["a.png"]
    with pytest.raises(CollectionError, match="an index, not images"):
        scan(tmp_path / "c")


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (["*.png"], [], ["a.png", "sub/b.png", "sub/deep/c.png"]),
        (["a.*"], [], ["a.jpg", "a.png"]),
        (["sub/*"], [], ["sub/b.jpg", "sub/b.png", "sub/deep/c.png"]),
        (["sub/b.*", "a.png"], [], ["a.png", "sub/b.jpg", "sub/b.png"]),
        ([], ["*.jpg"], ["a.png", "sub/b.png", "sub/deep/c.png"]),
        ([], ["sub"], ["a.jpg", "a.png"]),
        ([], ["sub/"], ["a.jpg", "a.png"]),
        ([], ["deep"], ["a.jpg", "a.png", "sub/b.jpg", "sub/b.png"]),
        ([], ["sub/deep"], ["a.jpg", "a.png", "sub/b.jpg", "sub/b.png"]),
        ([], ["sub/[ab].*"], ["a.jpg", "a.png", "sub/deep/c.png"]),
        ([], ["su"], ["a.jpg", "a.png", "sub/b.jpg", "sub/b.png", "sub/deep/c.png"]),
        (["*.png"], ["sub/deep", "a.*"], ["sub/b.png"]),
        (["*.PNG"], [], []),
    ],
)
def test_patterns_choose_the_same_of_a_folder_and_of_any_entries(tmp_path, include, exclude, expected):
    make(tmp_path, "a.png", "a.jpg", "sub/b.png", "sub/b.jpg", "sub/deep/c.png")
    assert ids(tmp_path, include=include, exclude=exclude) == expected
    assert [entry.id for entry in chosen(scan(tmp_path).entries, include, exclude)] == expected


# Links and things that are no files ------------------------------------------------------------------------------------


@needs_links
def test_links_to_files_are_followed(tmp_path):
    make(tmp_path, "outside/real.png", data=b"12345")
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "link.png").symlink_to("../outside/real.png")
    (photos / "again.png").symlink_to("link.png")
    assert [(e.id, e.size, e.outcome) for e in scan(photos).entries] == [("again.png", 5, None), ("link.png", 5, None)]


@needs_links
def test_links_that_lead_nowhere_are_unreadable(tmp_path):
    (tmp_path / "dangling.png").symlink_to("gone.png")
    (tmp_path / "itself.png").symlink_to("itself.png")
    (tmp_path / "to.png").symlink_to("fro.png")
    (tmp_path / "fro.png").symlink_to("to.png")
    assert set(outcomes(tmp_path).values()) == {"unreadable"}
    assert len(outcomes(tmp_path)) == 4
    assert reason(tmp_path, "dangling.png") == "a link to a file that doesn't exist; mend or remove it"
    assert reason(tmp_path, "to.png") == "a link that leads back to itself"


@needs_links
def test_a_folder_is_searched_once_under_its_own_name(tmp_path):
    """The link comes first by its name, and is still the one that yields."""
    make(tmp_path, "z/a.png")
    (tmp_path / "a-link").symlink_to("z")
    (tmp_path / "b-link").symlink_to("a-link")
    assert outcomes(tmp_path) == {"a-link": "unreadable", "b-link": "unreadable", "z/a.png": None}
    assert reason(tmp_path, "a-link") == "a link to 'z'; searched once"


@needs_links
def test_a_folder_outside_is_searched_under_its_first_link(tmp_path):
    make(tmp_path, "outside/deep/x.png", "photos/own.png")
    photos = tmp_path / "photos"
    for name in ("m", "k"):
        (photos / name).symlink_to(tmp_path / "outside")
    assert outcomes(photos) == {"k/deep/x.png": None, "m": "unreadable", "own.png": None}
    assert reason(photos, "m") == "a link to 'k'; searched once"


@needs_links
@pytest.mark.parametrize("target", [".", "..", "../..", "/", "sub"])
def test_loops_end(tmp_path, target):
    root = tmp_path / "photos"
    make(root, "sub/a.png")
    (root / "sub" / "loop").symlink_to(root / "sub" if target == "sub" else target)
    assert outcomes(root) == {"sub/a.png": None, "sub/loop": "unreadable"}


@needs_links
def test_a_folder_that_is_given_as_a_link_is_searched(tmp_path):
    make(tmp_path, "real/a.png")
    (tmp_path / "link").symlink_to("real")
    assert ids(tmp_path / "link") == ["a.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_pipes_sockets_and_devices_are_unsupported_and_not_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "null.png").symlink_to("/dev/null")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        assert set(outcomes(tmp_path).values()) == {"unsupported"}
        assert reason(tmp_path, "pipe.png").startswith("a named pipe, not a file")
        assert reason(tmp_path, "null.png").startswith("a device, not a file")
        assert reason(tmp_path, "socket.png").startswith("a socket, not a file")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is closed to root")
def test_a_folder_that_is_closed_is_told_not_taken_for_empty(tmp_path):
    make(tmp_path, "a.png", "closed/b.png")
    (tmp_path / "closed").chmod(0)
    try:
        found = scan(tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o700)
    assert [entry.id for entry in found.entries] == ["a.png"]
    assert found.unlisted == {"closed": "no permission to read it"}


# Sidecar texts --------------------------------------------------------------------------------------------------------


def test_a_text_beside_an_image_is_its_caption_not_a_file_of_its_own(tmp_path):
    make(tmp_path, "cat.jpg", "dog.png", "notes.txt", "sub/cat.txt")
    make(tmp_path, "cat.txt", "dog.png.txt", data=b"a text")
    found = {entry.id: entry for entry in scan(tmp_path).entries}
    assert {name: entry.outcome for name, entry in found.items()} == {
        "cat.jpg": None,
        "cat.txt": "caption",
        "dog.png": None,
        "dog.png.txt": "caption",
        "notes.txt": None,
        "sub/cat.txt": None,
    }
    changed = (tmp_path / "cat.txt").stat().st_mtime_ns
    assert found["cat.jpg"].caption == (str(tmp_path / "cat.txt"), f"6:{changed}")
    assert found["dog.png"].caption[0] == str(tmp_path / "dog.png.txt")
    assert found["notes.txt"].caption is None


def test_a_caption_counts_even_where_only_images_are_included(tmp_path):
    make(tmp_path, "cat.jpg", "cat.txt")
    [entry] = scan(tmp_path, include=["*.jpg"]).entries
    assert entry.caption[0] == str(tmp_path / "cat.txt")
    [entry] = scan(tmp_path, exclude=["*.txt"]).entries
    assert entry.caption is None


def test_one_text_may_go_with_several_images():
    assert captions_of(["a.jpg", "a.PNG", "a.TXT", "b.txt", "c.mp4", "c.txt"]) == {"a.jpg": "a.TXT", "a.PNG": "a.TXT"}


# One file by its path -------------------------------------------------------------------------------------------------


def test_a_file_by_its_path_says_what_is_wrong_with_it(tmp_path):
    make(tmp_path, "a.png", data=b"12345")
    (tmp_path / "folder").mkdir()
    assert file_entry("a", str(tmp_path / "a.png"), "list/a", label="x") == Entry(
        "a", ("file", str(tmp_path / "a.png")), 5, (tmp_path / "a.png").stat().st_mtime_ns, "x"
    )
    missing = file_entry("b", str(tmp_path / "b.png"), "list/b")
    assert (missing.outcome, missing.reason) == ("gone", "list/b: no such file; put it back, or leave it out")
    assert file_entry("f", str(tmp_path / "folder"), "f").outcome == "unsupported"
    assert file_entry("n", str(tmp_path / "a.png" / "inner.png"), "n").outcome == "gone"
    assert file_entry("0", "a\0b", "0").outcome == "gone"
    assert file_entry("l", "x" * 5000, "l").outcome == "unreadable"


@needs_links
def test_a_dangling_link_by_its_path_is_unreadable_not_gone(tmp_path):
    (tmp_path / "link.png").symlink_to("gone.png")
    assert file_entry("l", str(tmp_path / "link.png"), "l").outcome == "unreadable"


@needs_links
def test_a_scan_leaves_no_file_open(tmp_path):
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc on this system")
    make(tmp_path, *(f"{i}/a.png" for i in range(50)))
    (tmp_path / "loop").symlink_to(".")
    before = len(os.listdir("/proc/self/fd"))
    scan(tmp_path)
    shutil.rmtree(tmp_path / "0")
    scan(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


# What is elsewhere, and what can't be told ----------------------------------------------------------------------------


@needs_links
def test_a_text_behind_a_link_out_of_the_collection_is_no_caption(tmp_path):
    photos = tmp_path / "photos"
    make(photos, "a.png", "b.png", "texts/b.txt")
    make(tmp_path, "id_rsa", "b/c.txt", "b/c.png")
    (photos / "a.txt").symlink_to(tmp_path / "id_rsa")
    (photos / "b.txt").symlink_to("texts/b.txt")
    (photos / "linked").symlink_to(tmp_path / "b")
    captions = {entry.id: entry.caption for entry in scan(photos).entries}
    assert captions["a.png"] is None
    assert captions["b.png"] is not None, "one that stays inside is"
    assert captions["linked/c.png"] is not None, "a folder that was linked in brings its own"


@needs_links
def test_links_out_of_the_collection_can_be_left_alone(tmp_path):
    photos = tmp_path / "photos"
    make(photos, "a.png", "sub/b.png")
    make(tmp_path, "out/c.png")
    (photos / "out").symlink_to(tmp_path / "out")
    (photos / "c.png").symlink_to(tmp_path / "out" / "c.png")
    (photos / "in.png").symlink_to("sub/b.png")
    assert ids(photos) == ["a.png", "c.png", "in.png", "out/c.png", "sub/b.png"]
    found = outcomes(photos, links=False)
    assert found == {"a.png": None, "c.png": "unsupported", "in.png": None, "out": "unsupported", "sub/b.png": None}


@pytest.mark.parametrize("name", ["manifest.json", "inventory.txt", "images.lance/data/x.lance"])
def test_a_persons_file_of_one_of_our_names_hides_no_pictures(tmp_path, name):
    make(tmp_path, "a.png", f"sub/{name}", "sub/b.png")
    assert {"a.png", "sub/b.png"} <= set(ids(tmp_path))


@pytest.mark.parametrize("year", [1, 1600, 2300, 9999])
def test_dates_that_no_index_holds_are_the_closest_that_it_does(tmp_path, year):
    import datetime

    make(tmp_path, "a.png")
    seconds = int(datetime.datetime(year, 1, 1, tzinfo=datetime.UTC).timestamp())
    try:
        os.utime(tmp_path / "a.png", (seconds, seconds))
    except (OSError, OverflowError):
        pytest.skip("this file system holds no such date")
    [entry] = scan(tmp_path).entries
    assert -(2**63) <= entry.mtime_ns < 2**63


def test_names_are_in_one_form_and_patterns_match_both(tmp_path):
    import unicodedata

    decomposed = unicodedata.normalize("NFD", "Müller.png")
    make(tmp_path, decomposed, "x.png")
    [one] = [e for e in scan(tmp_path).entries if e.id != "x.png"]
    assert one.id == unicodedata.normalize("NFC", "Müller.png")
    assert one.source == ("file", str(tmp_path / decomposed)), "it is opened by its own bytes"
    for form in ("NFC", "NFD"):
        assert ids(tmp_path, exclude=[unicodedata.normalize(form, "Müller*")]) == ["x.png"]
    make(tmp_path, unicodedata.normalize("NFC", "Müller.png"))
    assert len(set(ids(tmp_path))) == 3, "two files are two, though they look the same"


def test_empty_folders_and_mounts_are_told(tmp_path):
    make(tmp_path, "a.png", "sub/b.png")
    (tmp_path / "none").mkdir()
    os.utime(tmp_path / "none", ns=(5, 7))
    found = scan(tmp_path)
    assert (found.empty, found.mounts) == ({"none": 7}, [])
