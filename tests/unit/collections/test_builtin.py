"""MNIST's files: those of the checkout, and those fetched once from a mirror; the mirrors here are local servers."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import shutil
import struct
import threading
from contextlib import contextmanager

import pytest

from lookalike import open_collection
from lookalike.collections import builtin
from lookalike.collections.builtin import MNIST_FILES, MNIST_MIRRORS, mnist_files
from lookalike.errors import CollectionError, UsageError
from paths import ROOT

CHECKOUT = ROOT / "datasets" / "mnist"
IMAGES, LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"
NOWHERE = "http://127.0.0.1:9/"  # nothing listens on the port called discard


@contextmanager
def mirror(files, answer=200, cut=None):
    """Serve files at an address; ``cut`` closes each connection after so many bytes. Yields (address, requests)."""
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.removeprefix("/")
            requests.append(name)
            if answer != 200 or name not in files:
                self.send_error(answer if answer != 200 else 404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(files[name])))
            self.end_headers()
            self.wfile.write(files[name][:cut])

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", requests
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def small():
    """Two test digits as the four original files would hold them."""
    images = struct.pack(">4I", 0x803, 2, 28, 28) + bytes(range(256)) * 6 + bytes(32)
    labels = struct.pack(">2I", 0x801, 2) + bytes([7, 2])
    return {IMAGES: gzip.compress(images, mtime=0), LABELS: gzip.compress(labels, mtime=0)}


@pytest.fixture
def cache(tmp_path, monkeypatch, small):
    """Keep the files in an empty folder, and take the small ones for the right ones."""
    monkeypatch.setenv("LOOKALIKE_DATA", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name, content in small.items():
        monkeypatch.setitem(builtin.MNIST_FILES, name, (hashlib.sha256(content).hexdigest(), "none"))
    return tmp_path / "mnist"


def left_in(cache):
    return sorted(p.name for p in cache.iterdir()) if cache.is_dir() else []


# In a checkout --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("part", "stem"), [("train", "train"), ("test", "t10k")])
def test_a_checkout_has_the_files(monkeypatch, part, stem):
    monkeypatch.delenv("LOOKALIKE_DATA", raising=False)
    names = f"{stem}-images-idx3-ubyte.gz", f"{stem}-labels-idx1-ubyte.gz"
    assert mnist_files(part, mirrors=[]) == tuple(CHECKOUT / name for name in names)


@pytest.mark.parametrize("name", MNIST_FILES)
def test_the_committed_files_are_the_original_ones(name):
    """Unzipped, by the table of their README; and zipped, so that a copy of them is known wherever it is put."""
    assert hashlib.sha256((CHECKOUT / name).read_bytes()).hexdigest() == MNIST_FILES[name][1]
    rows = [line.split("|") for line in (CHECKOUT / "README.md").read_text().splitlines() if "-ubyte" in line]
    stated = {row[1].strip(): row[2].strip() for row in rows}
    raw = gzip.decompress((CHECKOUT / name).read_bytes())
    assert hashlib.sha256(raw).hexdigest() == stated[name.removesuffix(".gz")]


def test_an_unknown_part_is_refused_with_those_known():
    with pytest.raises(UsageError, match="unknown part of mnist 'tset' .*known: test, train"):
        mnist_files("tset")


def test_the_mirrors_are_addresses_of_folders():
    assert all(m.startswith("https://") and m.endswith("/") for m in MNIST_MIRRORS)


# From an installed wheel ----------------------------------------------------------------------------------------------


def test_files_are_fetched_once(cache, small, capsys):
    with mirror(small) as (address, requests):
        found = mnist_files("test", mirrors=[address])
        assert requests == [IMAGES, LABELS]
        assert found == (cache / IMAGES, cache / LABELS)
        assert {p.name: p.read_bytes() for p in found} == small
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.splitlines() == [f"fetching {address}{name} (once)" for name in (IMAGES, LABELS)]
        assert mnist_files("test", mirrors=[address]) == found
        assert len(requests) == 2
    assert mnist_files("test", mirrors=[address]) == found  # and without a network
    assert capsys.readouterr().err == ""


def test_the_fetched_files_are_the_collection(cache, small):
    with mirror(small) as (address, _):
        mnist_files("test", mirrors=[address])
    digits = open_collection("mnist:test")
    assert digits.shape == (28, 28)
    assert list(digits.labels) == ["7", "2"]


def test_the_progress_counts_to_the_end(cache, small):
    with mirror(small) as (address, _):
        shown = []
        bar = builtin._Bar(lambda done, total: shown.append((done, total)))
        import pooch

        fetch = pooch.HTTPDownloader(progressbar=bar, chunk_size=100)
        fetch(address + IMAGES, str(cache.parent / "file"), None)
    size = len(small[IMAGES])
    assert shown[0] == (100, size)
    assert shown[-1] == (size, size)
    assert all(done <= total == size for done, total in shown)


def test_another_file_than_the_right_one_is_not_kept(cache, small):
    wrong = dict.fromkeys(small, b"<html>Log in to this network</html>")
    with mirror(wrong) as (first, asked_first), mirror(small) as (second, asked_second):
        images, labels = mnist_files("test", mirrors=[first, second])
    assert asked_first == asked_second == [IMAGES, LABELS]
    assert images.read_bytes() == small[IMAGES]
    assert labels.read_bytes() == small[LABELS]
    assert left_in(cache) == [IMAGES, LABELS]


def test_a_mirror_that_is_down_or_has_no_such_file_is_passed_over(cache, small):
    with mirror({}, answer=503) as (busy, _), mirror({}) as (empty, _), mirror(small) as (good, _):
        images, _ = mnist_files("test", mirrors=[NOWHERE, busy, empty, good])
    assert images.read_bytes() == small[IMAGES]


def test_half_a_download_leaves_nothing(cache, small):
    with mirror(small, cut=20) as (address, _), pytest.raises(CollectionError, match=f"mnist: {IMAGES}"):
        mnist_files("test", mirrors=[address])
    assert left_in(cache) == []


def test_a_file_that_was_damaged_later_is_fetched_again(cache, small):
    with mirror(small) as (address, requests):
        mnist_files("test", mirrors=[address])
        (cache / IMAGES).write_bytes(small[IMAGES][:-1])
        mnist_files("test", mirrors=[address])
    assert requests == [IMAGES, LABELS, IMAGES]
    assert (cache / IMAGES).read_bytes() == small[IMAGES]


def test_when_all_mirrors_fail_the_message_says_where_the_file_goes(cache, small):
    wrong = dict.fromkeys(small, b"another file")
    with mirror(wrong) as (address, _), pytest.raises(CollectionError) as caught:
        mnist_files("test", mirrors=[NOWHERE, address])
    message = str(caught.value)
    assert message.startswith(f"mnist: {IMAGES} is not in {cache} and could not be fetched (")
    assert f"{address}: the file it gave has another SHA-256" in message
    assert NOWHERE in message
    assert message.endswith("put the file there by hand, or try again with a network")
    assert "\n" not in message


def test_a_file_put_there_by_hand_is_taken(cache, small):
    cache.mkdir()
    for name, content in small.items():
        (cache / name).write_bytes(content)
    assert mnist_files("test", mirrors=[NOWHERE]) == (cache / IMAGES, cache / LABELS)


def test_a_copy_of_the_committed_files_is_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("LOOKALIKE_DATA", str(tmp_path))
    shutil.copytree(CHECKOUT, tmp_path / "mnist")
    assert mnist_files("test", mirrors=[NOWHERE]) == (tmp_path / "mnist" / IMAGES, tmp_path / "mnist" / LABELS)


def test_a_folder_that_cannot_be_made_is_said(tmp_path, monkeypatch, small):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LOOKALIKE_DATA", str(tmp_path / "file"))
    with mirror(small) as (address, requests), pytest.raises(CollectionError, match="could not be fetched"):
        mnist_files("test", mirrors=[address])
    assert requests == []
