"""Which addresses are asked for images, and what comes of those that are."""

from __future__ import annotations

import contextlib
import http.server
import ipaddress
import socket
import threading
import time

import pytest

from lookalike.errors import ImageError, UsageError
from lookalike.server.admission import BusyError
from lookalike.server.fetching import Fetcher, is_public

PRIVATE = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "100.127.255.255", "192.0.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fc00::1", "fd12:3456::1", "ff02::1", "2001:db8::1", "fec0::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "2002:0a00:0001::1", "64:ff9b::7f00:1", "64:ff9b::a00:1",
    # Registered for something special, reachable from everywhere or not, and what leads to an IPv4 address.
    "192.0.0.8", "192.0.0.9", "192.0.0.170", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.175.48.1", "198.51.100.1",
    "203.0.113.1", "198.19.255.255", "233.252.0.1", "::ffff:8.8.8.8", "::8.8.8.8", "64:ff9b::808:808", "64:ff9b:1::1",
    "100::1", "100:0:0:1::1", "2001::1", "2001:1::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:30::1", "2001:1ff::1",
    "2002:808:808::1", "2620:4f:8000::1", "3fff::1", "3fff:fff::1", "5f00::1", "4000::1", "febf::1", "fdff::1",
    "2606:4700::5efe:a00:1", "2606:4700::200:5efe:808:808", "2606:4700::300:5efe:808:808",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_within_are_not_public(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "2a00:1450:4001::200e", "2001:200::1", "192.0.1.1"]
)
def test_addresses_outside_are(address):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "[::1]", "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]", "[fe80::1%25lo]", "169.254.169.254", "10.0.0.1", "[fd00::1]", "100.64.0.1",
    ],
)  # fmt: skip
def test_however_it_is_written_a_private_address_is_refused(host):
    with pytest.raises((UsageError, ImageError), match=r"private network|no such host|not a web address"):
        Fetcher(seconds=2).fetch(f"http://{host}/a.png")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://example.org/a", "gopher://127.0.0.1/", "http://user:pass@example.org/", "//x/a.png",
        "a.png", "http://", "http://example.org:99999/", "http://example.org:http/", "data:image/png;base64,AA",
    ],
)  # fmt: skip
def test_what_is_no_plain_web_address_is_refused(url):
    with pytest.raises(UsageError, match="not a web address"):
        Fetcher().fetch(url)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["a head that trickles", "a body that trickles", "nothing", "redirects without haste"])
def test_one_deadline_ends_it_all(what):
    listening, ended = socket.create_server(("127.0.0.1", 0)), threading.Event()
    address = f"http://127.0.0.1:{listening.getsockname()[1]}/"

    def trickle():
        while not ended.is_set():
            asked, _ = listening.accept()
            with asked, contextlib.suppress(OSError):
                asked.recv(4096)
                if what == "redirects without haste":
                    ended.wait(0.3)
                    asked.sendall(f"HTTP/1.1 302 Found\r\nLocation: {address}\r\nContent-Length: 0\r\n\r\n".encode())
                    continue
                asked.sendall(
                    {"nothing": b"", "a head that trickles": b"HTTP/1.1 200 OK\r\nX: "}.get(
                        what, b"HTTP/1.1 200 OK\r\n\r\n"
                    )
                )
                while what != "nothing" and not ended.wait(0.05):
                    asked.sendall(b"x")
                ended.wait(20)

    thread = threading.Thread(target=trickle, daemon=True)
    thread.start()
    with pytest.raises(ImageError, match="no answer within 0.5 s"):
        Fetcher(seconds=0.5, allowed=anywhere).fetch(address)
    for fetching in [one for one in threading.enumerate() if one.name == "lookalike-fetch"]:
        fetching.join(10)  # its connection was cut
        assert not fetching.is_alive()
    ended.set()
    with contextlib.suppress(OSError), socket.create_connection(listening.getsockname(), timeout=5):
        pass
    listening.close()


def test_a_name_server_that_does_not_answer_is_waited_for_no_longer(monkeypatch):
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(20) and [])
    with pytest.raises(ImageError, match="no answer within 0.2 s"):
        Fetcher(seconds=0.2).fetch("http://example.org/a.png")
    answered.set()


def test_what_nobody_wants_any_more_is_not_fetched(site):
    def gone():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        Fetcher(allowed=anywhere).fetch(f"{site}/slow", wanted=gone)


def test_so_many_are_fetched_at_a_time(monkeypatch):
    monkeypatch.setattr("lookalike.server.fetching._slots", threading.BoundedSemaphore(1))
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(20) and [])
    with pytest.raises(ImageError):
        Fetcher(seconds=0.1).fetch("http://example.org/a.png")
    with pytest.raises(BusyError, match="images are being fetched"):
        Fetcher(seconds=0.1).fetch("http://example.org/a.png")
    answered.set()


def resolving(monkeypatch, *addresses):
    """Let every name have these addresses; return what was asked."""
    asked = []

    def look_up(name, port, **_):
        asked.append(name)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


@pytest.mark.parametrize("addresses", [("127.0.0.1", "127.0.0.2"), ("127.0.0.2", "127.0.0.1")])
def test_one_address_within_is_enough_to_refuse_a_name(site, monkeypatch, addresses):
    resolving(monkeypatch, *addresses)
    outside = Fetcher(allowed=lambda address: str(address) == "127.0.0.1")
    with pytest.raises(UsageError, match="leads into a private network; images are fetched from public hosts only"):
        outside.fetch(site.replace("127.0.0.1", "pictures.example"))


def test_a_name_without_an_address_is_refused(monkeypatch):
    resolving(monkeypatch)
    with pytest.raises(UsageError, match="private network"):
        Fetcher(allowed=anywhere).fetch("http://pictures.example/a.png")


def test_the_checked_address_itself_is_asked_and_by_its_name(site, monkeypatch):
    asked = resolving(monkeypatch, "127.0.0.1")
    there = site.replace("127.0.0.1", "pictures.example")
    assert Fetcher(allowed=anywhere).fetch(f"{there}/host?a=1") == f"{there[7:]} /host?a=1".encode()
    assert asked == ["pictures.example"]


def test_http_and_https_have_ports_of_their_own(monkeypatch):
    ports = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, port, **__: ports.append(port) or [])
    for url in ("http://a.example/", "https://a.example/", "https://a.example:8443/"):
        with pytest.raises(UsageError):
            Fetcher().fetch(url)
    assert ports == [80, 443, 8443]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(2)
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path[4:])
            self.end_headers()
            return
        if self.path == "/loop":
            self.send_response(301)
            self.send_header("Location", "/loop")
            self.end_headers()
            return
        if self.path.startswith("/host"):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"{self.headers['Host']} {self.path}".encode())
            return
        status = 404 if self.path == "/none" else 200
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"x" * (2000 if self.path == "/large" else 10))

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def anywhere(_):
    return True


def test_a_body_is_fetched_and_a_redirect_followed(site):
    fetcher = Fetcher(allowed=anywhere)
    assert fetcher.fetch(f"{site}/a.png") == b"x" * 10
    assert fetcher.fetch(f"{site}/to/{site}/a.png") == b"x" * 10


def test_each_redirect_is_checked(site):
    asked = []

    def only_first(address):
        asked.append(address)
        return len(asked) == 1

    with pytest.raises(UsageError, match="private network"):
        Fetcher(allowed=only_first).fetch(f"{site}/to/{site}/a.png")
    with pytest.raises(UsageError, match="not a web address"):
        Fetcher(allowed=anywhere).fetch(f"{site}/to/file:///etc/passwd")


@pytest.mark.parametrize(
    ("path", "said"),
    [("/none", "answered 404"), ("/loop", "redirected more than"), ("/large", "it is over"), ("/slow", "be fetched")],
)
def test_what_does_not_end_well_is_said(site, path, said):
    with pytest.raises(ImageError, match=said):
        Fetcher(max_bytes=1000, seconds=0.5, allowed=anywhere).fetch(site + path)
