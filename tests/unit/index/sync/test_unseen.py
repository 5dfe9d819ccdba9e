"""Folders that can't be seen now: of disks that aren't there, and of folders that were never emptied."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lookalike.index.sync.unseen import folders_away, unseen_folders

LISTED = 1000.0


@pytest.fixture
def source(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    return str(tmp_path)


def seen(source, mounts=(), empty=(), unlisted=()):
    """What is looked at of a collection as it is now."""
    return SimpleNamespace(source=source, mounts=list(mounts), empty=dict(empty), unlisted=list(unlisted))


def known(source, *mounts):
    return SimpleNamespace(source=source, mounts=list(mounts), listed=LISTED)


def test_a_disk_that_lies_there_no_more_is_away(source):
    before = known(source, "disk")
    assert folders_away(seen(source), before) == ["disk"]
    assert folders_away(seen(source, ["disk"]), before) == []
    assert folders_away(seen(source, ["disk"], {"disk": 0}), before) == ["disk"]  # its mount point is empty
    assert folders_away(seen(source), None) == []
    assert folders_away(seen(source + "/none"), before) == []  # nothing can be told of what isn't there


def test_a_link_that_is_gone_was_removed_by_a_person_and_one_that_leads_nowhere_is_away(source):
    assert folders_away(seen(source), known(source, "link/")) == ["link/"]
    assert folders_away(seen(source), known(source, "removed/")) == []


def test_the_whole_collection_is_away_only_where_it_was(source):
    assert folders_away(seen(source), known(source, "")) == [""]
    for other in ("/a", source + "2"):  # before ours and after it, as text goes
        assert folders_away(seen(source), known(other, "")) == []
        assert folders_away(seen(source), known(other, "disk")) == ["disk"]
    assert unseen_folders(seen(source), known(source, "")) == ("",)


def test_an_empty_folder_that_has_not_changed_since_was_not_emptied(source):
    second = 10**9
    for changed, unseen in ((0, ("a/",)), (LISTED - 2.5, ("a/",)), (LISTED - 2, ()), (LISTED + 1, ())):
        assert unseen_folders(seen(source, empty={"a": int(changed * second)}), known(source)) == unseen
    assert unseen_folders(seen(source, empty={"a": 0}), None) == ()
    assert unseen_folders(seen(source, unlisted=["b", ""]), None) in (("b/", ""), ("", "b/"))
