"""Archives read in place: the same files as unpacked, and none that harms the reader."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from archives import pack
from lookalike.collections import archive
from lookalike.collections.archive import is_archive, list_archive, read_member
from lookalike.errors import CollectionError, ImageError

KINDS = [".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"]
RNG = np.random.default_rng(5)


def noise(size):
    return RNG.integers(0, 256, size, np.uint8).tobytes()


FILES = {"b.png": noise(3000), "a/x.jpg": noise(70_000), "a/é.png": noise(10), "empty.png": b""}


def content(entry, limit=1 << 30):
    return read_member(entry.source, limit, entry.id)


def refused(path):
    with pytest.raises(CollectionError) as caught:
        list_archive(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def failure(entry, limit=1 << 30):
    with pytest.raises(ImageError) as caught:
        content(entry, limit)
    assert str(caught.value).startswith(f"{entry.id}: ")
    return caught.value.outcome


# What is in it --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_members_are_entries_with_the_bytes_that_were_packed(tmp_path, kind):
    path = pack(tmp_path / f"photos{kind}", FILES)
    assert is_archive(path)
    entries = list_archive(path)
    assert [entry.id for entry in entries] == list(FILES), "in the order of the archive"
    assert [entry.size for entry in entries] == [len(data) for data in FILES.values()]
    assert [entry.label for entry in entries] == [None, "a", "a", None]
    assert {entry.mtime_ns for entry in entries} == {path.stat().st_mtime_ns}
    for order in (entries, entries[::-1]):
        assert [content(entry) for entry in order] == [FILES[entry.id] for entry in order]


@pytest.mark.parametrize("kind", [".zip", ".tar"])
def test_hidden_members_are_left_out_unless_wanted_and_folders_always(tmp_path, kind):
    members = [(name, b"x") for name in ("a.png", ".b.png", "__MACOSX/._a.png", ".git/c.png")]
    path = pack(tmp_path / f"photos{kind}", members)
    assert [entry.id for entry in list_archive(path)] == ["a.png"]
    assert [entry.id for entry in list_archive(path, hidden=True)] == [name for name, _ in members]


@pytest.mark.parametrize("kind", [".zip", ".tar.gz"])
def test_of_one_name_the_last_member_counts_however_it_is_written(tmp_path, kind):
    members = [("a.png", b"first"), ("b.png", b"b"), ("./a.png", b"second"), ("c//d.png", b"d")]
    entries = list_archive(pack(tmp_path / f"photos{kind}", members))
    assert [entry.id for entry in entries] == ["b.png", "a.png", "c/d.png"]
    assert [content(entry) for entry in entries] == [b"b", b"second", b"d"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_one_name_in_a_zip_the_last_counts(tmp_path):
    [entry] = list_archive(pack(tmp_path / "photos.zip", [("a.png", b"first"), ("a.png", b"second")]))
    assert content(entry) == b"second"


def test_a_name_that_is_no_utf_8_becomes_escapes(tmp_path):
    path = tmp_path / "photos.tar"
    with tarfile.open(path, "w", encoding="latin-1", format=tarfile.GNU_FORMAT) as t:
        info = tarfile.TarInfo("café.png")
        info.size = 3
        t.addfile(info, io.BytesIO(b"abc"))
    [entry] = list_archive(path)
    assert entry.id == "caf\\udce9.png"
    assert content(entry) == b"abc"


@pytest.mark.parametrize("kind", [".zip", ".tar.gz"])
def test_sidecar_texts_are_captions(tmp_path, kind):
    path = pack(tmp_path / f"p{kind}", {"a/cat.txt": b"a cat", "a/cat.jpg": b"x", "b/cat.jpg": b"y", "notes.txt": b""})
    found = {entry.id: entry for entry in list_archive(path)}
    assert found["a/cat.txt"].outcome == "caption"
    assert found["a/cat.jpg"].caption == (found["a/cat.txt"].source[2], f"5:{path.stat().st_mtime_ns}")
    assert found["b/cat.jpg"].caption is None
    assert found["notes.txt"].outcome is None


def test_links_and_devices_in_a_tar_are_unsupported(tmp_path):
    links = []
    for i, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE)):
        links.append(tarfile.TarInfo(f"{i}.png"))
        links[-1].type, links[-1].linkname = kind, "a.png"
    entries = list_archive(pack(tmp_path / "photos.tar", {"a.png": b"x"}, links))
    assert [entry.outcome for entry in entries] == [None] + ["unsupported"] * 4
    assert entries[1].reason.startswith(f"{tmp_path}/photos.tar/0.png: a link in an archive")


def test_links_in_a_zip_are_unsupported_and_encrypted_members_unreadable(tmp_path):
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as z:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        z.writestr(link, "secret.png")
        z.writestr("secret.png", b"x")
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 8] |= 1  # the flag of encryption, in the directory
    path.write_bytes(data)
    assert [(entry.id, entry.outcome) for entry in list_archive(path)] == [
        ("link.png", "unsupported"),
        ("secret.png", "unreadable"),
    ]


# What harms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_over_the_limit_is_a_bomb_by_its_stated_size(tmp_path, kind):
    path = pack(tmp_path / f"photos{kind}", {"a.png": bytes(5_000_000), "b.png": b"small"})
    bomb, small = list_archive(path)
    assert failure(bomb, limit=4_999_999) == "bomb"
    assert len(content(bomb, limit=5_000_000)) == 5_000_000
    assert content(small, limit=5) == b"small"
    assert read_member(bomb.source, 32, "a", cut=True) == bytes(32)


def test_a_tar_that_inflates_beyond_reason_is_refused_at_once(tmp_path, monkeypatch):
    """A header that states a terabyte, and zeros that hardly take room."""
    monkeypatch.setattr("lookalike.collections.tar_stream._BOMB_BYTES", 1 << 24)
    path = tmp_path / "bomb.tar.gz"
    header = tarfile.TarInfo("a.png")
    header.size = 1 << 40
    with gzip.open(path, "wb") as f:
        f.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(64):
            f.write(bytes(1 << 20))
    assert "inflates more than 100-fold" in refused(path)


def test_a_tar_header_that_wants_much_memory_is_refused(tmp_path):
    path = tmp_path / "header.tar"
    header = tarfile.TarInfo("long")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 32
    path.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    assert "a header of 4,294,967,296 bytes" in refused(path)


@pytest.mark.parametrize("size", [-512, -1024, 2**70])
def test_a_tar_whose_member_has_an_impossible_size_is_refused(tmp_path, size):
    """Below zero the next member would be the one before, again and again."""
    path = tmp_path / "loop.tar"
    first, second = tarfile.TarInfo("a.png"), tarfile.TarInfo("b.png")
    block = bytearray(second.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = bytes([0xFF if size < 0 else 0x80]) + (size % 2**88).to_bytes(11, "big")
    block[148:156] = b"        "
    block[148:156] = f"{sum(block[:512]):06o}\0 ".encode()
    path.write_bytes(first.tobuf(tarfile.GNU_FORMAT) + bytes(block) + bytes(1024))
    assert "a size of" in refused(path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_archive_is_refused_or_its_members_are(tmp_path, kind):
    """Cut or changed anywhere: an error of ours or the bytes as they were; only a plain tar has no checksums."""
    path = pack(tmp_path / f"photos{kind}", FILES)
    whole, rng = path.read_bytes(), np.random.default_rng(3)
    for length in [0, 1, 100, *rng.integers(1, len(whole) - 20_000, 10).tolist()]:
        path.write_bytes(whole[:length])
        refused(path)
    seen = set()
    for _ in range(60):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 3):
            data[at] ^= 1 << rng.integers(0, 8)
        path.write_bytes(data)
        try:
            for entry in list_archive(path):
                try:
                    seen.add(content(entry) == FILES.get(entry.id, b"renamed by the damage"))
                except ImageError as e:
                    seen.add(e.outcome)
        except CollectionError:
            seen.add("refused")
    if kind == ".zip":
        assert "damaged" in seen
        assert False not in seen
    elif kind != ".tar":
        assert "refused" in seen
        assert seen <= {"refused", True}


def test_a_tar_that_goes_wrong_in_its_middle_is_not_taken_for_a_short_one(tmp_path):
    path = pack(tmp_path / "photos.tar", FILES)
    data = bytearray(path.read_bytes())
    data[data.index(b"a/x.jpg")] ^= 1
    path.write_bytes(data)
    assert "no member begins at byte 3,584" in refused(path)


def test_what_is_no_archive_is_refused(tmp_path):
    for name in ("a.zip", "a.tar", "a.tar.gz"):
        (tmp_path / name).write_text("a text under a wrong name " * 100)
        assert "a damaged archive or none at all" in refused(tmp_path / name)
    assert "No such file" in refused(tmp_path / "nowhere.zip")


@pytest.mark.parametrize("kind", [".zip", ".tar"])
def test_an_archive_that_changed_since_gives_no_wrong_bytes(tmp_path, kind):
    path = pack(tmp_path / f"photos{kind}", {"a.png": b"old", "b.png": b"other"})
    first, second = list_archive(path)
    assert content(first) == b"old"
    pack(path, {"c.png": b"new!", "b.png": b"newer"})
    os.utime(path, ns=(1, first.mtime_ns + 1))
    assert failure(first) == ("gone" if kind == ".zip" else "unreadable")
    if kind == ".zip":
        assert content(second) == b"newer"
    path.unlink()
    assert failure(first) == "gone"


def test_a_compressed_tar_is_inflated_once_when_read_in_order(tmp_path, monkeypatch):
    """Counted in the bytes that are inflated."""
    path = pack(tmp_path / "photos.tar.gz", {f"{i}.png": noise(50_000) for i in range(40)})
    inflated = []

    class Counting(gzip.GzipFile):
        def read(self, size=-1):
            data = super().read(size)
            inflated.append(len(data))
            return data

    monkeypatch.setattr(gzip, "open", lambda raw: Counting(fileobj=raw))
    entries = list_archive(path)
    assert sum(inflated) < 2_100_000
    inflated.clear()
    for entry in entries:
        content(entry)
    assert 2_000_000 <= sum(inflated) < 2_100_000
    content(entries[0])
    assert sum(inflated) < 2_200_000


def test_a_member_of_a_zip_that_lies_about_its_size_is_damaged(tmp_path):
    path = pack(tmp_path / "photos.zip", {"a.png": bytes(1000)})
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<I", 1000), struct.pack("<I", 10)))
    [entry] = list_archive(path)
    assert entry.size == 10
    assert failure(entry) == "damaged"


def test_the_ending_says_what_an_archive_is():
    assert all(is_archive(Path(f"A{kind.upper()}")) for kind in KINDS)
    assert not any(is_archive(Path(name)) for name in ("a.gz", "zip", "a.tar.png", "a.idx.gz"))


# Names and kinds by what they are -------------------------------------------------------------------------------------


class _Unflagged(zipfile.ZipInfo):
    """A name in UTF-8 of which the flag says nothing, as macOS's Archive Utility writes."""

    def _encodeFilenameFlags(self):  # noqa: N802
        return self.filename.encode("utf-8"), self.flag_bits & ~0x800


class _Old(zipfile.ZipInfo):
    """A name as DOS wrote it."""

    def _encodeFilenameFlags(self):  # noqa: N802
        return self.filename.encode("cp437"), self.flag_bits & ~0x800


def test_names_in_utf_8_that_nothing_tells_are_read_all_the_same(tmp_path):
    names = ["Gru\u0308\u00dfe/Mu\u0308ller.png", "Gru\u0308\u00dfe/日本.png", "a.png"]
    with zipfile.ZipFile(tmp_path / "mac.zip", "w") as z:
        for name in names:
            z.writestr(_Unflagged(name), name.encode())
    entries = list_archive(tmp_path / "mac.zip")
    assert [e.id for e in entries] == ["Gr\u00fc\u00dfe/M\u00fcller.png", "Gr\u00fc\u00dfe/日本.png", "a.png"]
    assert [content(e).decode() for e in entries] == names


def test_a_name_in_the_field_of_info_zip_and_one_in_cp437(tmp_path):
    import zlib

    plain, extra = zipfile.ZipInfo("gr_n.png"), "grün.png".encode()
    plain.extra = struct.pack("<HHBI", 0x7075, 5 + len(extra), 1, zlib.crc32(b"gr_n.png")) + extra
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as z:
        z.writestr(plain, b"1")
        z.writestr(_Old("grün2.png"), b"2")
    assert [e.id for e in list_archive(tmp_path / "a.zip")] == ["grün.png", "grün2.png"]


@pytest.mark.parametrize("system", [0, 3])
def test_backslashes_between_folders_are_folders(tmp_path, system):
    with zipfile.ZipFile(tmp_path / "net.zip", "w") as z:
        for name in ("trip\\2019\\a.png", "trip\\.hidden\\c.png"):
            info = zipfile.ZipInfo(name)
            info.create_system = system
            z.writestr(info, name.encode())
    (entry,) = list_archive(tmp_path / "net.zip")
    assert (entry.id, entry.label, content(entry)) == ("trip/2019/a.png", "trip/2019", b"trip\\2019\\a.png")


@pytest.mark.parametrize("name", ["book.cbz", "noname", "photos.dat", "photos.tbz2", "photos.txz", "x.cbt"])
@pytest.mark.parametrize("kind", [".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_an_archive_is_told_by_its_content(tmp_path, kind, name):
    pack(tmp_path / f"a{kind}", FILES).rename(tmp_path / name)
    assert is_archive(tmp_path / name)
    assert {e.id: content(e) for e in list_archive(tmp_path / name)} == FILES


def test_what_is_compressed_or_zipped_and_no_archive_of_images_is_none(tmp_path, digits):
    (tmp_path / "idx.gz").write_bytes(gzip.compress(b"\0\0\x08\x03" + bytes(600)))
    np.savez(tmp_path / "a.npz", images=digits[0])
    (tmp_path / "text").write_text("text")
    assert not any(is_archive(tmp_path / name) for name in ("idx.gz", "a.npz", "text"))


def test_half_a_japanese_letter_is_no_folder(tmp_path):
    """In the code page of Windows there its second byte may be a backslash: the rest would be a hidden file's name."""
    name = "ソ.jpg".encode("cp932")
    assert b"\\" in name
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("##.jpg", b"...")
        archive.writestr("x\\y.jpg", b"...")
    packed = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(packed.replace(b"##.jpg", name))
    entries = list_archive(tmp_path / "a.zip")
    assert [entry.id for entry in entries] == [name.decode("cp437"), "x/y.jpg"]
    assert read_member(entries[0].source, 10, "x") == b"..."


@pytest.mark.parametrize("kind", [".zip", ".tar", ".tar.gz"])
def test_what_the_system_refuses_is_no_damage(tmp_path, kind):
    """With no descriptor left, every opening fails, as on a disk that stumbles: what is known of the member stays."""
    resource = pytest.importorskip("resource")
    path = tmp_path / f"a{kind}"
    pack(path, FILES)
    source = next(entry.source for entry in list_archive(path) if entry.id == "b.png")
    archive._opened.cache_clear()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(ImageError) as caught:
            read_member(source, 10_000, "b.png")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.outcome == "unreadable"
    assert read_member(source, 10_000, "b.png") == FILES["b.png"]


@pytest.mark.parametrize(("name", "start", "what"), [
    ("a.tar", b"\x28\xb5\x2f\xfd" + b"z" * 600, "Zstandard"),
    ("a.zip", b"7z\xbc\xaf\x27\x1c" + b"z" * 600, "7z"),
    ("a.cbz", b"Rar!\x1a\x07\x01\0" + b"z" * 600, "RAR"),
    ("a.zip", b"\xff\xd8\xff\xe0\0\x10JFIF\0" + b"z" * 600, "an image, not an archive"),
])  # fmt: skip
def test_a_whole_file_of_another_kind_is_not_called_damaged(tmp_path, name, start, what):
    (tmp_path / name).write_bytes(start)
    message = refused(tmp_path / name)
    assert what in message
    assert "damaged" not in message


def test_an_old_tar_is_told_by_its_content_whatever_its_name(tmp_path):
    """Those from before POSIX have no mark, only the sum of their header."""
    header = bytearray(512)
    header[:5], header[100:107], header[124:135] = b"b.png", b"0000644", b"%011o" % 3
    header[136:147], header[148:156] = b"00000000000", b" " * 8
    header[148:155] = b"%06o\0" % sum(header)
    for ending in (".tar", ".zip", ".dat"):
        path = tmp_path / f"old{ending}"
        path.write_bytes(bytes(header) + b"...".ljust(512, b"\0") + bytes(1024))
        assert is_archive(path)
        assert [entry.id for entry in list_archive(path)] == ["b.png"]
