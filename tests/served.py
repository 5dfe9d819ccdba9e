"""A server of an index in a thread, asked over a real socket."""

from __future__ import annotations

import http.client
import json
import threading
import time

import numpy as np

from lookalike import open_collection
from lookalike.imaging.encode import to_png
from lookalike.server.app import make_app
from lookalike.server.connections import Server, configured
from lookalike.server.listening import listen_on
from lookalike.server.live import LiveIndex
from lookalike.server.prometheus import Metrics
from lookalike.server.rules import Rules


class Site:
    """A server on a port of its own, in a thread."""

    def __init__(self, index, rules=None, proxies=(), port=0, **options):
        metrics = Metrics()
        self.live = LiveIndex(index, metrics.stage)
        app = make_app(self.live, rules or Rules(), metrics=metrics, **options)
        self.socket = listen_on("127.0.0.1", port)  # any free one: another process may take the next of ours
        self.port = self.socket.getsockname()[1]
        self.guard = app
        self.server = Server(configured(app, proxies=proxies), on_stop=app.stop)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{self.port}"

    def ask(self, method, path, body=None, headers=None):
        """Send a request as it stands; return status, headers, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        if body is not None and "Content-Length" not in headers:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, content

    def get(self, path, status=200):
        got, _, body = self.ask("GET", path)
        assert got == status, body
        return json.loads(body)

    def post(self, path, body, status=200):
        got, _, said = self.ask("POST", path, body)
        assert got == status, said
        return json.loads(said)

    def stop(self):
        self.server.should_exit = True
        self.thread.join(10)
        self.guard.close()
        self.socket.close()


def write_digits(photos, count):
    """Write a folder of digits by label, each 56 pixels wide, with one file that is no image, and a secret beside it."""
    images = open_collection(f"mnist:test[0:{count}]")
    for i, image in enumerate(images.array()):
        place = photos / str(images.labels[i])
        place.mkdir(parents=True, exist_ok=True)
        (place / f"digit {i:03}.png").write_bytes(to_png(image.repeat(2, 0).repeat(2, 1)))
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (photos.parent / "secret.png").write_bytes(to_png(np.zeros((8, 8), np.uint8)))
    return photos


def first(site):
    return site.get("/api/images?limit=1")["images"][0]["id"]


def events(site):
    """Yield what the service tells of its index, as it comes."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)
    connection.request("GET", "/api/events")
    response = connection.getresponse()
    assert response.getheader("content-type").startswith("text/event-stream")
    try:
        while line := response.readline():
            if line.startswith(b"data:"):
                yield json.loads(line[5:])
    finally:
        connection.close()
