"""Connections that are slow, many, unread or nonsense, over real sockets: what becomes of them, and of everybody else."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import socket
import threading
from contextlib import suppress

import pytest

pytest.importorskip("uvicorn", reason="the extra serve isn't installed")

from lookalike.server import connections, listening
from lookalike.server.connections import Server, configured
from lookalike.server.guard import Guard
from lookalike.server.listening import ListeningSocket
from lookalike.server.outgoing import PIECE
from lookalike.server.rules import Rules

pytestmark = pytest.mark.slow  # servers

LARGE = 64 * 2**20


class Served:
    """An application behind the guard, on a port of its own."""

    def __init__(self, app, rules=None, limit=64, hard=None, **options):
        self.guard = Guard(app, rules or Rules())
        self.socket = ListeningSocket(socket.AF_INET)
        self.socket.limit = hard or limit + listening.MARGIN
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(256)
        self.port = self.socket.getsockname()[1]
        self.server = Server(configured(self.guard, limit=limit, **options), on_stop=self.guard.stop)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)
        self.thread.start()
        wait_until(lambda: self.server.started)

    def connected(self, sent=b""):
        made = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        made.sendall(sent)
        return made

    def get(self, path="/api/info", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        found = response.status, response.read()
        connection.close()
        return found

    @property
    def connections(self):
        return list(self.server.server_state.connections)

    def stop(self):
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()


def wait_until(true, seconds=20.0):
    ends = threading.Event()
    timer = threading.Timer(seconds, ends.set)
    timer.start()
    while not true():
        assert not ends.wait(0.01), "it never came"
    timer.cancel()


def left_of(connection):
    """Return all that a connection still brings until its end."""
    found = b""
    with suppress(ConnectionError):
        while part := connection.recv(1 << 16):
            found += part
    connection.close()
    return found


async def hello(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def large(scope, receive, send):
    if scope["path"] != "/api/original":
        await hello(scope, receive, send)
        return
    headers = [(b"content-length", str(LARGE).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"x" * LARGE})


HEAD = b"GET /api/info HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.fixture
def made(request):
    """Makes servers, and ends them."""
    all_of = []

    def make(*args, **options):
        all_of.append(Served(*args, **options))
        return all_of[-1]

    yield make
    for one in all_of:
        one.stop()


# Too slow -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [b"", b"G", b"GET / HT", HEAD, HEAD + b"X-A: ", HEAD + b"\r\n" + HEAD, HEAD + b"Content-Length: 9\r\n\r\n1234"],
    ids=["nothing", "a letter", "half a line", "half a head", "half a header", "half a second head", "half of an unwanted body"],
)  # fmt: skip
def test_a_head_that_does_not_end_ends_its_connection(made, monkeypatch, sent):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr("lookalike.server.incoming.REFUSED_SECONDS", 0.2)
    served = made(hello)
    slow = served.connected(sent)
    said = left_of(slow)  # comes to its end, or the socket's own 20 s raise
    assert said.count(b"HTTP/1.1 408") == (0 if b"\r\n\r\n" in sent and b"Content-Length" in sent else 1)
    assert b"content-security-policy" in said
    assert served.get() == (200, b"hello")


def test_a_head_that_trickles_ends_too(made, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    served = made(hello)
    slow = served.connected(HEAD + b"X-A: ")
    slow.settimeout(0.05)
    said = b""
    for _ in range(1000):
        try:
            slow.sendall(b"a")
            if not (part := slow.recv(4096)):
                break
            said += part
        except TimeoutError:
            continue
        except ConnectionError:
            break
    else:
        pytest.fail("it may go on for ever")
    assert b" 408 " in said


def test_an_answer_that_nobody_reads_is_held_in_pieces_and_then_not_at_all(made, monkeypatch):
    monkeypatch.setattr(connections, "STALL_SECONDS", 1.0)
    served = made(large, rules=Rules(held_bytes=2 * LARGE))
    unread = [served.connected(b"GET /api/original HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") for _ in range(2)]
    wait_until(lambda: served.guard.in_flight == 2)
    third = served.get("/api/original")  # what is held is counted, and not unlimited
    assert third[0] == 429, third[1][:100]
    assert b"nobody has read yet" in third[1]
    assert max(one.transport.get_write_buffer_size() for one in served.connections) <= 3 * PIECE
    assert served.get() == (200, b"hello")
    wait_until(lambda: served.guard.in_flight == 0)
    for one in unread:
        assert len(left_of(one)) < LARGE
    assert served.guard._sent.held == 0


def test_who_reads_gets_all(made):
    served = made(large)
    status, body = served.get("/api/original")
    assert (status, len(body)) == (200, LARGE)
    assert served.guard._sent.held == 0


# Too many -------------------------------------------------------------------------------------------------------------


def test_connections_that_ask_for_nothing_make_room_for_those_that_do(made):
    served = made(hello, limit=8)
    idle = [served.connected(sent) for sent in (b"", b"GET", HEAD) for _ in range(10)]
    assert [served.get() for _ in range(5)] == [(200, b"hello")] * 5
    wait_until(lambda: len(served.connections) <= 9)
    for one in idle:
        one.close()


def test_there_are_never_more_than_the_listening_socket_may_accept(made):
    go_on = threading.Event()

    async def waits(scope, receive, send):
        while scope["type"] == "http" and not go_on.is_set():
            await asyncio.sleep(0.01)
        await hello(scope, receive, send)

    served = made(waits, limit=4, hard=6)
    asking = [served.connected(HEAD + b"Connection: close\r\n\r\n") for _ in range(4)]
    wait_until(lambda: served.guard.in_flight == 4)
    for one in [served.connected(HEAD + b"\r\n") for _ in range(10)]:
        assert left_of(one) == b""  # closed at once; nobody who is being answered pays for it
    wait_until(lambda: len(served.connections) == 4)
    go_on.set()
    assert all(left_of(one).endswith(b"hello") for one in asking)


def test_a_listening_socket_counts_all_that_it_has_accepted_whatever_becomes_of_them():
    with ListeningSocket(socket.AF_INET) as sock:
        sock.limit = 3
        sock.bind(("127.0.0.1", 0))
        sock.listen(1)
        clients = [socket.create_connection(sock.getsockname(), timeout=20) for _ in range(6)]
        accepted = [sock.accept()[0] for _ in range(3)]
        for _ in range(2):
            with pytest.raises(ConnectionAbortedError):
                sock.accept()
        assert left_of(clients[3]) == left_of(clients[4]) == b""
        accepted.pop().close()
        accepted.append(sock.accept()[0])
        for one in (*accepted, *clients):
            one.close()


def test_a_burst_of_clients_may_wait_to_be_accepted_however_few_are_accepted_in_one_go():
    with ListeningSocket(socket.AF_INET) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(4)  # what uvicorn asks for; the system would let no more than five clients wait
        clients = [socket.create_connection(sock.getsockname(), timeout=1) for _ in range(40)]
        for client in clients:
            client.close()


def test_few_files_that_may_be_open_mean_few_connections(monkeypatch):
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    assert listening.max_connections() == 96
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert listening.max_connections() == listening.MAX_CONNECTIONS


# Nonsense -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost : b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (HEAD + b"X: " + b"a" * 140_000 + b"\r\n\r\n", 400),
        (HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
        (
            b"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (HEAD + b"Content-Length: 5\r\n\r\nhello", 400),
        (HEAD + b"Origin: http://a\r\nOrigin: http://127.0.0.1\r\n\r\n", 400),
        (HEAD + b"Origin: http://[\r\nConnection: close\r\n\r\n", 403),
        (HEAD + b"Origin: \xff\xfe\r\nConnection: close\r\n\r\n", 403),
        (HEAD + b"Origin: http://127.0.0.1/path\r\nConnection: close\r\n\r\n", 403),
        (HEAD + b"Upgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n", 200),
    ],
)
def test_what_is_no_clear_request_is_refused_with_our_headers_and_no_line_of_a_log(made, caplog, sent, status):
    served = made(hello)
    with caplog.at_level(logging.WARNING):
        said = left_of(served.connected(sent))
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), said
    assert b"content-security-policy: default-src 'none'" in head
    assert status == 200 or json.loads(body)["error"]
    wait_until(lambda: served.guard.in_flight == 0)
    assert not caplog.records


@pytest.mark.parametrize("length", [b"Content-Length: 999999999\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_the_body_of_a_refused_request_is_not_read_without_end(made, length):
    served = made(hello, rules=Rules(token="a-token-of-some-length"))
    sender = served.connected(b"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\n" + length + b"\r\n")
    piece = b"x" * 2**16 if b"Content" in length else b"10000\r\n" + b"x" * 2**16 + b"\r\n"
    sent = 0
    with suppress(ConnectionError):
        while sent < 200 * 2**20:
            sender.sendall(piece)
            sent += len(piece)
    assert sent < 50 * 2**20  # what lies in the kernel's buffers is its own
    sender.close()


def test_who_sends_a_short_body_that_is_refused_gets_to_read_why(made):
    served = made(hello, rules=Rules(token="a-token-of-some-length"))
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    for _ in range(2):  # over one connection
        connection.request("POST", "/api/search", b"x" * 500_000)
        response = connection.getresponse()
        assert (response.status, b"a token is needed" in response.read()) == (401, True)
        assert response.getheader("connection") is None
    connection.close()


def test_who_asks_whether_to_send_is_told_before(made):
    served = made(hello, rules=Rules(token="a-token-of-some-length"))
    sent = b"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
    assert left_of(served.connected(sent)).startswith(b"HTTP/1.1 401 ")


# Ends -----------------------------------------------------------------------------------------------------------------


def test_what_is_done_for_a_client_ends_with_it(made):
    begun, ended = threading.Event(), threading.Event()

    async def waits(scope, receive, send):
        if scope["path"] != "/api/search":
            await hello(scope, receive, send)
            return
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    served = made(waits)
    asking = served.connected(b"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{}")
    assert begun.wait(20)
    asking.close()
    assert ended.wait(20)
    wait_until(lambda: served.guard.in_flight == 0)
    assert served.guard._held.held == 0


def test_a_server_ends_whatever_its_clients_and_threads_do(caplog):
    begun, never = threading.Event(), threading.Event()

    async def app(scope, receive, send):
        if scope["path"] == "/api/events":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"event", "more_body": True})
            await asyncio.sleep(3600)
        elif scope["path"] == "/api/search":
            import anyio.to_thread

            begun.set()
            await anyio.to_thread.run_sync(lambda: never.wait(60))
        else:
            await large(scope, receive, send)

    with caplog.at_level(logging.WARNING):
        served = Served(app)
        held = [
            served.connected(b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
            served.connected(b"GET /api/original HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
            served.connected(b"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"),
            served.connected(HEAD),
        ]
        assert begun.wait(20)
        assert held[0].recv(4096)
        served.server.handle_exit(15, None)
        served.thread.join(20)
        assert not served.thread.is_alive()
    never.set()
    assert not [record for record in caplog.records if record.exc_info or "Traceback" in record.getMessage()]
    for one in held:
        one.close()


def test_a_handshake_that_does_not_end_ends_its_connection(made, monkeypatch, tmp_path):
    import shutil
    import ssl
    import subprocess

    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make a certificate")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    served = made(hello, tls=(certificate, key))
    slow = served.connected(b"\x16\x03\x01")
    assert left_of(slow) == b""
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    with context.wrap_socket(served.connected()) as secure:
        secure.sendall(HEAD + b"Connection: close\r\n\r\n")
        assert secure.recv(4096).startswith(b"HTTP/1.1 200 ")
