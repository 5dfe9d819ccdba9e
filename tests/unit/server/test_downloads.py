"""Files in one archive that is made while it is sent, and the names they get in it."""

from __future__ import annotations

import zipfile
from io import BytesIO

import pytest

from lookalike.outputs import output_names
from lookalike.server.downloads import zip_stream


@pytest.mark.parametrize(
    ("identity", "name"),
    [
        ("cats/tom.jpg", "cats/tom.jpg"),
        ("../../etc/passwd", "etc/passwd"),
        ("..\\..\\windows\\a.png", "windows/a.png"),
        ("/abs/a.png", "abs/a.png"),
        ("C:\\a.png", "C_/a.png"),
        ("\\\\host\\share\\a.png", "host/share/a.png"),
        ("a/..\\../b.png", "a/b.png"),
        ("nul", "_nul"),
        ("COM1.png", "_COM1.png"),
        ("a. /b.. ", "a/b"),
        ("...", "_"),
        ("a\x00b\x1b[31m.png", "a_b_[31m.png"),
        ("photo.png:stream", "photo.png_stream"),
        ("\u202egnp.exe", "_gnp.exe"),
        ("half \ud800.png", "half _.png"),
        ("", "_"),
        ("./.", "_"),
        ("album.zip#2", "album.zip#2"),
    ],
)
def test_no_name_leads_out_of_the_folder_it_is_unpacked_in(identity, name):
    assert output_names([identity], "") == [name]


def test_names_differ_where_case_makes_no_difference_too():
    names = output_names(["a/x.png", "A/X.PNG", "/a/x.png", "a\\x.png", "b", "B", ".hidden", ".HIDDEN"], "")
    assert names == ["a/x.png", "A/X-2.PNG", "a/x-3.png", "a/x-4.png", "b", "B-2", ".hidden", ".HIDDEN-2"]


def test_each_file_is_read_when_those_before_it_have_been_taken(tmp_path):
    read = []

    def file_of(identity):
        read.append(identity)
        return identity.encode() * 100_000

    pieces = zip_stream(["a", "b", "c"], file_of)
    whole = next(pieces)
    assert read == ["a"]
    whole += b"".join(pieces)
    with zipfile.ZipFile(BytesIO(whole)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a", "b", "c"]
        assert archive.read("b") == b"b" * 100_000
        archive.extractall(tmp_path)
