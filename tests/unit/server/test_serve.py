"""Serving an index from a program: what is refused before anything is opened, what is printed, and how it ends."""

from __future__ import annotations

import http.client
import signal
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="the extra serve isn't installed")

from lookalike import build_index
from lookalike.errors import IndexStoreError, UsageError
from lookalike.index.lock import only_writer
from lookalike.index.manifest import MANIFEST
from lookalike.server.connections import Server
from lookalike.server.serve import serve

pytestmark = pytest.mark.slow  # servers

TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "index"
    build_index(np.random.default_rng(0).integers(1, 256, (12, 4, 4), np.uint8), "pixels", path)
    return path


def status(address, path, token=None):
    asked = urllib.request.Request(address.partition("?")[0].rstrip("/") + path)
    if token:
        asked.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as e:
        return e.code


def served(index, ask=lambda _: None, **options):
    """Serve until it has been asked; return the address that was printed, the one to open, and what asking gave."""
    told = {}

    def ready(address):
        told["ready"] = address

    def opened(address):
        told["open"] = address
        told["answer"] = ask(told["ready"])
        signal.raise_signal(signal.SIGINT)  # as Ctrl-C does

    serve(index, port=0, on_ready=ready, on_open=opened, **options)
    return told["ready"], told["open"], told["answer"]


def test_it_serves_until_ctrl_c_and_leaves_no_handler_behind(index):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    ready, opened, answers = served(
        index, lambda at: [status(at, path) for path in ("/api/info", "/api/health", "/none")]
    )
    assert ready == opened
    assert ready.startswith("http://127.0.0.1:")
    assert answers == [200, 200, 404]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert not [one for one in threading.enumerate() if one.name == "lookalike-serve"]


def test_with_a_token_nobody_reads_without_it(index):
    ready, opened, answers = served(
        index, lambda at: [status(at, "/api/info"), status(at, "/api/info", TOKEN)], token=TOKEN
    )
    assert ready.endswith(f"/?token={TOKEN}")
    assert "?code=" in opened  # another process of this machine might see what a browser is called with
    assert TOKEN not in opened
    assert answers == [401, 200]


def test_a_cookie_is_for_tls_alone_where_that_is_spoken(index):
    def cookie(at):
        host, _, path = at.removeprefix("http://").partition("/")
        connection = http.client.HTTPConnection(host, timeout=20)
        connection.request("GET", f"/{path}")
        return connection.getresponse().getheader("set-cookie")

    assert "Secure" not in served(index, cookie, token=TOKEN)[2]  # a browser would never send it back


def test_other_machines_are_asked_for_a_token_that_nobody_gave(index, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "localhost")  # no look-up of this machine's own name
    ready, _, answer = served(index, lambda at: at.partition("?token=")[2], host="0.0.0.0")
    assert len(answer) >= 32
    assert ready.startswith("http://")


def test_a_prefix_is_part_of_the_address(index):
    ready, _, answers = served(index, lambda at: status(at, "/api/info"), prefix="photos")
    assert ready.endswith("/photos/")
    assert answers == 200


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"token": "short"}, "could be guessed"),
        ({"token": ""}, "the token is empty"),
        ({"rate": -1.0}, "the rate is -1.0; expected requests per second, or 0 for no limit"),
        ({"rate": float("nan")}, "the rate is nan"),
        ({"rate": float("inf")}, "the rate is inf"),
        ({"prefix": "a b"}, "expected a path"),
        ({"proxies": ["x"]}, "not the address or network of a proxy"),
        ({"tls": ("a.pem", "b.pem")}, "no such file"),
        ({"host_names": ["a/b"]}, "expected a host name"),
        ({"origins": ["shop.example"]}, "expected the origin of a site"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_opened(tmp_path, options, said):
    with pytest.raises(UsageError, match=said):
        serve(tmp_path / "none", port=0, **options)


def test_where_no_index_is_nothing_is_served(tmp_path):
    with pytest.raises(IndexStoreError, match="does not exist"):
        serve(tmp_path / "none", port=0)


def test_what_breaks_the_server_is_raised_where_it_is_waited_for(index, monkeypatch):
    def broken(self, sockets=None):
        raise RuntimeError("no loop")

    monkeypatch.setattr(Server, "run", broken)
    with pytest.raises(RuntimeError, match="no loop"):
        serve(index, port=0)


def test_a_first_run_is_waited_for_and_that_is_told_once(index, tmp_path):
    path, notes = tmp_path / "index", []
    held, go = threading.Event(), threading.Event()

    def run():
        with only_writer(path) as told:
            told.note(3, 9)
            held.set()
            assert go.wait(20)

    thread = threading.Thread(target=run)
    thread.start()
    assert held.wait(20)

    def note(sentence):
        notes.append(sentence)
        threading.Timer(0.6, go.set).start()  # it looks more than once meanwhile

    with pytest.raises(IndexStoreError, match="the run that created it ended before it committed anything"):
        serve(path, port=0, on_note=note)
    thread.join()
    said = "its first run is under way (3 of 9 files were looked at); waiting until there is something to show"
    assert notes == [f"{path}: {said}"]
    assert not (path / MANIFEST).exists()
