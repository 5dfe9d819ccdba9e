"""Hugging Face's hub, played by a server on this machine: the part of its protocol that a download needs."""

import hashlib
import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar


class Hub(BaseHTTPRequestHandler):
    """Files of repositories; large ones are named by their SHA-256, as the hub does with all that it keeps apart."""

    repositories: ClassVar[dict[str, dict[str, bytes]]] = {}
    #: Each request: its path and the name that the asking program gives itself.
    asked: ClassVar[list[tuple[str, str]]] = []
    #: Names of files whose connection breaks in the middle, and those that arrive with another last byte.
    broken: ClassVar[set[str]] = set()
    altered: ClassVar[set[str]] = set()

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        self.asked.append((self.path, self.headers.get("User-Agent", "")))
        repository, _, rest = self.path.lstrip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        files = self.repositories.get(repository)
        content = (files or {}).get(name)
        begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if content is not None and body and begin and name in self.broken:
            self.send_error(503)
            return
        self.send_response(404 if content is None else 206 if begin else 200)
        self.send_header("X-Repo-Commit", revision if len(revision) == 40 else "c" * 40)
        if content is None:
            self.send_header("X-Error-Code", "RepoNotFound" if files is None else "EntryNotFound")
            content = b""
        else:
            digest = hashlib.sha256 if name.endswith(".onnx") else hashlib.sha1
            self.send_header("ETag", f'"{digest(content).hexdigest()}"')
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        if body:
            if name in self.altered:
                content = content[:-1] + bytes([content[-1] ^ 1])
            self.wfile.write(content[begin : len(content) // 2 if name in self.broken else None])

    def log_message(self, *args):
        pass


@contextmanager
def played_hub():
    """Serve :class:`Hub`, emptied, and yield its address."""
    Hub.repositories = {}
    for told in (Hub.asked, Hub.broken, Hub.altered):
        told.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def environment_of(address, cache):
    """Return the environment of a program that takes an address for the hub, with a cache of its own."""
    environment = os.environ | {"HF_ENDPOINT": address, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    for key in list(environment):
        if key.lower().endswith("_proxy") or key in ("HF_TOKEN", "HF_HUB_DISABLE_TELEMETRY"):
            del environment[key]
    return environment
