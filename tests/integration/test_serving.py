"""The command that serves: how it begins, what it prints, and how it ends."""

from __future__ import annotations

import http.client
import http.server
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

import lookalike
from lookalike import build_index
from lookalike.cli.main import run
from lookalike.server.listening import listen_on

uvicorn = pytest.importorskip("uvicorn", reason="the extra serve isn't installed")

from served import Site, first, write_digits  # noqa: E402

COUNT = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("photos") / "photos", COUNT)


@pytest.fixture(scope="module")
def site(folder):
    build_index(folder, "hog", folder / ".lookalike")
    made = Site(folder / ".lookalike")
    yield made
    made.stop()


def started(*arguments, **options):
    """Start the command; return its process and the address that it prints."""
    command = [sys.executable, "-m", "lookalike", "serve", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    return process, process.stdout.readline().strip()


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_told_to_stop_whatever_its_clients_hold(folder, site, kind):
    process, address = started("-i", folder / ".lookalike")
    try:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        remote = lookalike.connect(address)
        assert len(remote) == COUNT  # it answers when it has printed its address
        port = int(address.rstrip("/").rpartition(":")[2])
        held = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        held[0].sendall(b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert held[0].recv(1)
        held[1].sendall(b"GET /api/info HTTP/1.1\r\nHo")
        process.send_signal(kind)
        assert process.wait(15) == 0  # this is how it ends
        assert process.stderr.read() == "Ctrl-C stops it.\n"
        assert process.stdout.read() == ""
        for one in held:
            one.close()
    finally:
        process.kill()


def test_the_command_ends_while_something_is_being_learnt(folder, site, tmp_path):
    code = """
import sys, threading
from lookalike.server import service
service.answer = lambda *_, **__: (print("begun", file=sys.stderr, flush=True), threading.Event().wait())
from lookalike.cli.main import run
sys.exit(run(sys.argv[1:]))
"""
    command = [sys.executable, "-c", code, "serve", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        port = int(process.stdout.readline().strip().rstrip("/").rpartition(":")[2])
        body = b'{"where": "width > 1"}'
        asking = socket.create_connection(("127.0.0.1", port))
        head = f"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        asking.sendall(head.encode() + body)
        assert process.stderr.readline() == "Ctrl-C stops it.\n"
        assert process.stderr.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        assert process.stderr.read() == ""
        asking.close()
    finally:
        process.kill()


@pytest.mark.parametrize("how", ["a folder", "its index", "-i a folder", "from within", "from within, by name"])
def test_the_index_is_found_as_people_name_it(folder, site, how):
    arguments, here = {
        "a folder": ([folder], None),
        "its index": ([folder / ".lookalike"], None),
        "-i a folder": (["-i", folder], None),
        "from within": ([], folder),
        "from within, by name": (["."], folder),
    }[how]
    process, address = started(*arguments, cwd=here)
    try:
        assert len(lookalike.connect(address)) == COUNT
    finally:
        process.kill()
        process.communicate()


def test_it_waits_for_a_first_run_and_then_serves(folder, site, tmp_path):
    from lookalike.index.lock import only_writer

    made, photos = tmp_path / "made", tmp_path / "photos"
    build_index(folder, "pixels", made)
    photos.mkdir()
    path = photos / ".lookalike"
    with only_writer(path) as notes:
        notes.note(12, 3000)
        command = [sys.executable, "-m", "lookalike", "serve", str(photos)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            said = process.stderr.readline()
            assert "its first run is under way (12 of 3,000 files were looked at); waiting" in said
            for file in made.iterdir():  # as the run would: the manifest last
                if file.name not in ("manifest.json", "writing.lock"):
                    file.rename(path / file.name)
            (made / "manifest.json").rename(path / "manifest.json")
            address = process.stdout.readline().strip()
            assert len(lookalike.connect(address)) == COUNT
            process.send_signal(signal.SIGINT)
            assert process.wait(15) == 0
        finally:
            process.kill()
            process.communicate()


def test_a_first_run_that_ends_without_anything_is_waited_for_no_longer(tmp_path):
    from lookalike.index.lock import only_writer

    path = tmp_path / ".lookalike"
    with only_writer(path) as notes:
        notes.note(1, 2)
        command = [sys.executable, "-m", "lookalike", "serve", str(path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert "waiting" in process.stderr.readline()
    try:
        assert process.wait(30) == 1
        assert "ended before it committed anything; run it again" in process.stderr.read()
    finally:
        process.kill()


def test_it_serves_where_an_event_loop_runs_already(folder, site):
    code = """
import asyncio, os, signal, sys, threading
import lookalike
from lookalike.server.serve import serve

def ready(address):
    print(len(lookalike.connect(address)), flush=True)
    os.kill(os.getpid(), signal.SIGINT)

async def cell():
    serve(sys.argv[1], on_ready=ready)
    return "done"

print(asyncio.run(cell()))
thread = threading.Thread(target=lambda: serve(sys.argv[1], on_ready=lambda address: print(len(lookalike.connect(address)), flush=True)), daemon=True)
thread.start()
thread.join(3)
print(thread.is_alive())
"""
    command = [sys.executable, "-c", code, str(folder / ".lookalike")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.split(), done.stderr) == ([str(COUNT), "done", str(COUNT), "True"], "")


def test_the_browser_is_given_a_code_instead_of_the_token(folder, site, tmp_path):
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > "{opened}.part"\nmv "{opened}.part" "{opened}"\n')
    browser.chmod(0o755)
    environment = {**os.environ, "BROWSER": str(browser), "LOOKALIKE_TOKEN": "a token of some length"}
    process, address = started(folder, "--open", env=environment)
    try:
        assert address.endswith("?token=a%20token%20of%20some%20length")
        ends = time.monotonic() + 15
        while not opened.exists():
            assert time.monotonic() < ends
            time.sleep(0.02)
        url = opened.read_text()
        assert "token" not in url
        assert url.startswith(address.partition("?")[0] + "?code=")
        connection = http.client.HTTPConnection("127.0.0.1", int(url.split(":")[2].partition("/")[0]), timeout=20)
        statuses = []
        for _ in range(2):
            connection.request("GET", url[url.index("?") - 1 :])
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
        assert statuses == [303, 401]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("closed", [1, 2])
def test_it_serves_without_standard_output_or_error(folder, site, closed):
    with listen_on("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    code = f"import os, sys; os.close({closed}); os.execv(sys.executable, [sys.executable, '-m', 'lookalike', *sys.argv[1:]])"
    command = [sys.executable, "-c", code, "serve", str(folder), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert b"Ctrl-C" in process.stderr.readline() if closed == 1 else b"http" in process.stdout.readline()
        assert len(lookalike.connect(f"http://127.0.0.1:{port}")) == COUNT
        process.send_signal(signal.SIGTERM)
        process.wait(15)
    finally:
        process.kill()
        process.communicate()


def test_a_wrong_form_is_no_line_of_its_output(folder, site):
    command = [sys.executable, "-m", "lookalike", "serve", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().strip()
        for form in (b"{}", b"--x\n\n", b"--x\r\nContent-Disposition: form-data; name=\xff\r\n", b"--x--\r\nmore"):
            wrong = urllib.request.Request(
                f"{address}api/uploads", form, {"Content-Type": "multipart/form-data; boundary=x"}
            )
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(wrong, timeout=60)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=15)[1] == "Ctrl-C stops it.\n"
    finally:
        process.kill()


def test_who_reads_its_output_may_go(folder, site):
    command = [sys.executable, "-m", "lookalike", "serve", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().strip()
        process.stdout.close()
        process.stderr.close()
        assert len(lookalike.connect(address)) == COUNT
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0", "--token", "short"], "the token has 5 characters"),
        (["--certificate", "a.pem"], "--certificate and --key go together"),
        (["--port", "70000"], "it must be 0 to 65535"),
        (["-i", "none.lookalike"], "none.lookalike"),
        (["--token", ""], "--token is empty"),
        (["--token", " " * 20], "the token has 0 characters"),
        (["--proxy", "proxy.example"], "not the address or network of a proxy"),
        (["--proxy", "*"], "not the address or network of a proxy"),
        (["--prefix", "/a/../b"], "expected a path of plain letters"),
        (["--prefix", "/\udcff"], "expected a path of plain letters"),
        (["--host", "\udcff"], "not the name or address of this machine"),
        (["--host", ""], "not the name or address of this machine"),
        (["--host", "a..b"], "can't listen on"),
        (["--origin", "shop.example"], "expected the origin of a site"),
        (["--host-name", "https://photos.example"], "without https:// and port"),
        (["--rate", "inf"], "the rate is inf"),
        (["--certificate", "none.pem", "--key", "none.key"], "none.pem: no such file"),
        (["photos"], "both name the index to serve"),
    ],
)
def test_wrong_calls(folder, site, arguments, said, capsys):

    index = [] if "-i" in arguments else ["-i", str(folder / ".lookalike")]
    assert run(["serve", *index, *arguments]) in (1, 2)
    assert said in capsys.readouterr().err


def test_descriptors_and_memory_do_not_grow_with_requests(site):
    """Files and threads that are left behind by a request would end a server within a day."""

    def state():
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc here")
    body = {"images": [{"id": first(site)}], "k": 3}
    for _ in range(20):
        site.post("/api/search", body)
    files, _ = state()
    for _ in range(100):
        site.post("/api/search", body)
    assert state()[0] <= files + 5
