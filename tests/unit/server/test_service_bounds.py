"""What a stranger may send to the service, put into its index, or take away under it, and what comes of it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import threading
import time
import weakref
import zipfile
from io import BytesIO
from urllib.parse import quote

import numpy as np
import pytest

import lookalike
from lookalike import build_index, open_index
from lookalike.errors import IndexStoreError
from lookalike.imaging.encode import to_png
from lookalike.index.reader import IndexReader

pytest.importorskip("uvicorn", reason="the extra serve isn't installed")

from lookalike.server import live as live_module
from lookalike.server import service, uploads
from lookalike.server.live import LiveIndex
from lookalike.server.routes import files as file_routes
from lookalike.server.rules import Rules
from lookalike.server.uploads import Decoder
from served import Site, events, first

pytestmark = pytest.mark.slow  # servers

COUNT = 60
TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    photos = tmp_path_factory.mktemp("bounds") / "some photos"
    photos.mkdir()
    for i, image in enumerate(lookalike.open_collection(f"mnist:test[0:{COUNT}]").array()):
        (photos / f"{i:03}.png").write_bytes(to_png(image.repeat(3, 0).repeat(3, 1)))
    for encoder in ("pixels", "hog"):
        build_index(photos, encoder, photos / ".lookalike")
    return photos


@pytest.fixture(scope="module")
def site(folder):
    made = Site(folder / ".lookalike")
    yield made
    made.stop()


@pytest.fixture
def copy(folder, tmp_path):
    """A collection with its index that a test may spoil."""
    made = tmp_path / "photos"
    shutil.copytree(folder, made, ignore=lambda *_: [".lookalike"])  # an index that is copied reads where it was made
    for encoder in ("pixels", "hog"):
        build_index(made, encoder, made / ".lookalike")
    return made


def sent(value):
    """Return a picture as a query holds it: grey that rises towards a corner."""
    image = (np.add.outer(np.arange(28), np.arange(28)) * value // 60).astype(np.uint8)
    return base64.b64encode(to_png(image)).decode()


# Nothing that is sent is a fault of ours ------------------------------------------------------------------------------

LONG = "9" * 400
DEEP = "[" * 100_000
HALF = '"\\ud800"'
ODD_QUERIES = [
    f'{{"images": [{{"id": "000.png", "weight": {LONG}}}]}}',
    f'{{"images": [{{"id": "000.png", "weight": -{LONG}}}]}}',
    '{"images": [{"id": "000.png", "weight": 1e400}]}',
    '{"images": [{"id": "000.png", "weight": NaN}]}',
    '{"images": [{"id": "000.png", "weight": -Infinity}]}',
    '{"images": [{"id": "000.png", "weight": 1e-400}]}',
    '{"images": [{"id": "000.png", "weight": 1e30}, {"id": "001.png", "weight": 1e-30}]}',
    f'{{"images": [{{"id": "000.png", "crop": [0, 0, {LONG}, 1]}}]}}',
    f'{{"images": [{{"id": "000.png", "crop": [-{LONG}, 0, 1, 1]}}]}}',
    f'{{"images": [{{"data": "{sent(9)}", "crop": [0, 0, 2147483648, 2147483648]}}]}}',
    *(f'{{"likes": ["000.png"], "{name}": {value}}}' for name in ("within", "group") for value in (LONG, "1e400", "NaN", "1e30", "-0.0", "9007199254740992")),
    *(f'{{"likes": ["000.png"], "{name}": {value}}}' for name in ("k", "offset") for value in (LONG, "1e400", "NaN", "9007199254740991", "true", "1.5")),
    *(f'{{"likes": ["000.png"], "{name}": {HALF}}}' for name in ("text", "words", "where", "encoder", "distance", "rerank", "denoise")),
    *(f'{{"likes": ["000.png"], "where": "{text}"}}' for text in ("id = \'\\ud800\'", "width = " + LONG, "width in (" + "1," * 4000 + "1)", "(" * 4000 + "width = 1" + ")" * 4000, "not " * 2400 + "width = 1", "width = 1e999", "id like \'" + "%" * 5000 + "\'")),
    *(f'{{"images": [{{"{name}": {HALF}}}]}}' for name in ("id", "upload", "data", "url")),
    f'{{"likes": [{HALF}]}}', f'{{"dislikes": [{HALF}], "likes": ["000.png"]}}', f'{{{HALF}: 1}}', f'{{"images": [{{{HALF}: 1}}]}}',
    f'{{"likes": ["{"x" * 40_000}"]}}', f'{{"words": "{"word " * 100_000}"}}', f'{{"encoder": "{"e" * 100_000}", "likes": ["000.png"]}}',
    DEEP, '{"a":' * 50_000, f'{{"images": {DEEP}', f'{{"likes": [{DEEP}', "9" * 5000, HALF, "null", "[]", "\x00", "\ufeff{}",
    '{"words": "a\\u0000b"}', '{"likes": ["000.png\\u0000"]}', '{"where": "\\u0000"}', '{"words": "\\ufffe\\uffff"}',
]  # fmt: skip


@pytest.mark.parametrize("body", ODD_QUERIES, ids=[f"{i}: {q[:60]}" for i, q in enumerate(ODD_QUERIES)])
def test_no_query_is_a_fault_of_ours(site, body):
    doors = {"/api/search": body}
    try:
        query = json.loads(body)
    except (ValueError, RecursionError):
        query = None
    if isinstance(query, dict) and isinstance(query.get("images"), list) and query["images"]:
        image = body[body.index("[") + 1 : body.rindex("]")]
        doors |= {
            "/api/encode": f'{{"image": {image}}}',
            "/api/explain": f'{{"image": {image}, "match": "001.png"}}',
            "/api/denoise": f'{{"image": {image}, "k": 2}}',
        }
    for path, said in doors.items():
        raw = said.encode("utf-8", "surrogatepass")
        status, headers, answer = site.ask("POST", path, raw, {"Content-Type": "application/json"})
        assert status in (200, 400, 404, 413, 415, 422), (path, status, answer[:300])
        assert "content-security-policy" in headers
        value = json.loads(answer, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        if status != 200:
            assert len(value["error"]) <= 2000
    form = (
        b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n' + to_png(np.eye(28, dtype=np.uint8) * 255)
        + b'\r\n--x\r\nContent-Disposition: form-data; name="query"\r\n\r\n' + body.encode("utf-8", "surrogatepass") + b"\r\n--x--\r\n"
    )  # fmt: skip
    status, _, answer = site.ask(
        "POST", "/api/search/upload", form, {"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert status in (200, 400, 404, 413, 415, 422), (status, answer[:300])
    json.loads(answer)


ODD_GETS = [
    f"/api/images?offset={LONG}", "/api/images?limit=-1", "/api/images?limit=1e3", f"/api/images?offset={2**62}&spread=true",
    f"/api/files?offset={LONG}", "/api/files?outcome=%ff%fe", f"/api/files?outcome={'x' * 30_000}", "/api/files?outcome=%00",
    "/api/picture?id=000.png&side=99999", f"/api/picture?id=000.png&side={LONG}", "/api/picture?id=%ed%a0%80", "/api/image?id=%ff",
    "/api/thumbnail?id=%00", "/api/original?id=%ed%a0%80", f"/api/upload?id={'a' * 60_000}", "/api/suggest?q=%ff%00%1b%5b31m",
    "/api/map?encoder=%ed%a0%80", "/api/map?encoder=" + "e" * 60_000, "/%ed%a0%80", "/%00", "/" + "a/" * 30_000, "//", "/api/%2e%2e/",
    "/?token=%ff&token=2", "/?code=%ff", "/?" + "a=1&" * 10_000, "/api/openapi.json/", "/metrics?x=%00", "/.%00./", "/con", "/" + "%2e%2e/" * 300,
]  # fmt: skip


@pytest.mark.parametrize("path", ODD_GETS, ids=[path[:40] for path in ODD_GETS])
def test_no_address_is_a_fault_of_ours(site, path):
    status, headers, answer = site.ask("GET", path)
    assert status < 500, answer[:300]
    assert "content-security-policy" in headers
    if path.startswith("/api/") and status != 200:
        assert json.loads(answer)["error"]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=" + "b" * 300, b"--b\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\n" * 5000),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n\xff\r\n--x--\r\n',
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n\r\n' * 2000 + b"--x--\r\n",
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="images"\r\n\r\nno file\r\n--x--\r\n',
        ),
        ("application/json; charset=utf-16", b"\xff\xfe{"),
        ("text/plain", b"{}"),
        ("", b"{}"),
        ("\xff", b"{}"),
    ],
)
@pytest.mark.parametrize("path", ["/api/search/upload", "/api/uploads", "/api/search"])
def test_no_form_is_a_fault_of_ours(site, path, kind, body):
    status, _, answer = site.ask("POST", path, body, {"Content-Type": kind})
    assert 400 <= status < 500, answer[:300]
    assert json.loads(answer)["error"]


def test_ids_that_are_not_there_are_said_to_be_not_there(site):
    for query in ({"images": [{"id": "no"}]}, {"likes": ["no"]}, {"likes": ["000.png"], "dislikes": ["no"]}, {"images": [{"id": "no", "crop": [0, 0, 1, 1]}]}):  # fmt: skip
        assert "'no'" in site.post("/api/search", query, 404)["error"]
    for path, body in (
        ("encode", {"image": {"id": "no"}}), ("denoise", {"image": {"id": "no"}}), ("download", {"ids": ["no"]}),
        ("explain", {"image": {"id": "000.png"}, "match": "no"}),
    ):  # fmt: skip
        assert "'no'" in site.post(f"/api/{path}", body, 404)["error"]


# What one request costs -----------------------------------------------------------------------------------------------


def test_a_query_of_many_images_holds_a_few_of_them_at_a_time(site, monkeypatch):
    alive, most, decode = weakref.WeakSet(), [0], Decoder.decode

    class Pixels(np.ndarray):
        pass

    def watched(self, *args, **options):
        shown = decode(self, *args, **options)
        pixels = np.array(shown.pixels).view(Pixels)
        alive.add(_Tag(pixels))
        most[0] = max(most[0], len(alive))
        return uploads.Upload(pixels, shown.width, shown.height)

    class _Tag:
        def __init__(self, pixels):
            pixels.tag = self  # lives as long as they do

        __hash__ = object.__hash__

    monkeypatch.setattr(Decoder, "decode", watched)
    query = {"images": [{"data": sent(n), "weight": 1 + n % 3} for n in range(1, 101)], "k": 3, "distance": "euclidean"}
    many = site.post("/api/search", query)
    assert most[0] <= 3
    crops = {"images": [{"id": f"{n:03}.png", "crop": [0, 0, 40, 40]} for n in range(50)], "k": 3}
    site.post("/api/search", crops)
    assert most[0] <= 3
    monkeypatch.setattr(service, "BATCH_SIZE", 1)
    again = site.post("/api/search", query)
    assert [m["id"] for m in again["matches"]] == [m["id"] for m in many["matches"]]


def test_a_query_of_many_images_answers_as_the_index_itself_does(site, folder):
    local = lookalike.open_index(folder / ".lookalike")
    for query in (
        {"images": [{"id": "003.png", "crop": [10, 10, 50, 60]}, {"id": "004.png", "weight": 0.5}], "k": 8},
        {
            "images": [
                {"data": sent(70)},
                {"id": "004.png"},
                {"id": "009.png", "crop": [0, 0, 30, 30], "weight": -0.2},
            ],
            "k": 8,
        },
        {"images": [{"id": "003.png", "crop": [10, 10, 50, 60]}], "rerank": "diffusion", "k": 5},
        {"images": [{"data": sent(40)}, {"id": "004.png", "crop": [5, 5, 60, 60]}], "denoise": "auto", "k": 5},
    ):
        there, here = site.post("/api/search", query), local.ask({**query, "resize": True}).to_json()
        assert [m["id"] for m in there["matches"]] == [m["id"] for m in here["matches"]]
        if "denoise" not in query:  # there a crop of the index's is a picture like any other
            for name in ("query", "total", "gap_after", "message", "nothing_like_it"):
                assert there[name] == here[name], name


def test_all_images_of_a_request_together_have_so_many_pixels_whatever_door(site, monkeypatch):
    monkeypatch.setattr(uploads, "TOGETHER_PIXELS", 15 * 28 * 28)
    images = [{"data": sent(n)} for n in range(1, 21)]
    assert "megapixels; send fewer" in site.post("/api/search", {"images": images}, 413)["error"]
    crops = [{"id": f"{n:03}.png", "crop": [0, 0, 9, 9]} for n in range(20)]
    assert "megapixels; send fewer" in site.post("/api/search", {"images": crops}, 413)["error"]
    part = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
    form = b"".join(part + base64.b64decode(image["data"]) + b"\r\n" for image in images) + b"--x--\r\n"
    assert site.ask("POST", "/api/search/upload", form, {"Content-Type": "multipart/form-data; boundary=x"})[0] == 413
    assert site.post("/api/search", {"images": images[:15], "distance": "euclidean"})["matches"]


def test_so_many_images_are_denoised_together(site, monkeypatch):
    monkeypatch.setattr(service, "MAX_DENOISED_BYTES", 5 * 84 * 84)
    query = {"images": [{"data": sent(n)} for n in range(1, 9)], "denoise": "auto"}
    assert "too many to denoise in one query" in site.post("/api/search", query, 413)["error"]


def test_a_query_ends_with_its_client(site, monkeypatch):
    begun, go_on, count, decode = threading.Event(), threading.Event(), [0], Decoder.decode

    def counted(self, *args, **options):
        count[0] += 1
        begun.set()
        assert go_on.wait(20)
        return decode(self, *args, **options)

    monkeypatch.setattr(Decoder, "decode", counted)
    body = json.dumps({"images": [{"data": sent(n)} for n in range(1, 101)]}).encode()
    head = f"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    asking = socket.create_connection(("127.0.0.1", site.port))
    asking.sendall(head.encode() + body)
    assert begun.wait(20)
    in_flight = site.guard.in_flight
    asking.close()
    gone(site, in_flight)
    go_on.set()
    until(lambda: site.guard.in_flight == 0)
    assert count[0] < 10


def gone(site, in_flight):
    """Wait until the server has seen that its client has gone: the work is in a thread, and goes on until it asks."""
    until(lambda: not [c for c in site.server.server_state.connections if not c.between])


def until(true):
    ends = time.monotonic() + 20
    while not true():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.01)


def test_pages_facts_and_searches_do_not_wait_for_what_is_learnt(site, monkeypatch):
    begun, go_on, calls, answer = threading.Event(), threading.Event(), [], service.answer

    def slow(index, query, **options):
        if query.rerank is not None:
            calls.append(query.rerank)
            begun.set()
            assert go_on.wait(30)
        return answer(index, query, **options)

    monkeypatch.setattr(service, "answer", slow)
    # What the questions before had learnt was kept in the index, which is opened anew for that.
    until(lambda: site.live.current() and site.live._stat() == site.live._stamp)
    site.live.current().learnt.clear()
    statuses, lock = [], threading.Lock()

    def ask():
        status, headers, said = site.ask(
            "POST", "/api/search", {"likes": ["000.png"], "rerank": "k-reciprocal", "k": 3}
        )
        with lock:
            statuses.append((status, headers.get("retry-after") or said))

    asking = [threading.Thread(target=ask) for _ in range(60)]
    for thread in asking:
        thread.start()
    assert begun.wait(20)
    until(lambda: len(statuses) == 60 - 1 - 32)  # one learns, 32 wait, and the rest is refused
    assert set(statuses) == {(429, "10")}
    assert calls == ["k-reciprocal"]
    assert site.post("/api/search", {"likes": ["001.png"], "k": 3})["matches"]
    assert site.get("/api/info")["images"] == COUNT
    assert site.ask("GET", "/api/thumbnail?id=000.png")[0] == 200
    assert site.ask("GET", "/style.css")[0] == 200
    go_on.set()
    for thread in asking:
        thread.join()
    assert sum(status == 200 for status, _ in statuses) == 33, statuses[-5:]


def test_files_are_paged_without_looking_at_all_of_them_each_time(folder, monkeypatch):
    looked_at, files = [], IndexReader.files

    def counted(self, rows=None):
        looked_at.append(COUNT if rows is None else len(rows))
        return files(self, rows)

    monkeypatch.setattr(IndexReader, "files", counted)
    made = Site(folder / ".lookalike")
    try:
        with lookalike.connect(made.url) as remote:
            pages = [made.get(f"/api/files?offset={offset}&limit=7") for offset in range(0, COUNT, 7)]
            assert [row["path"] for page in pages for row in page["files"]] == [row["path"] for row in remote.files()]
            assert made.get("/api/files?outcome=left%20out")["total"] == 0
            assert made.get("/api/files?outcome=indexed")["total"] == COUNT
            assert made.get("/api/files?outcome=nonsense")["files"] == []
        assert max(looked_at[: len(pages)]) == 7
    finally:
        made.stop()


def test_a_download_is_bounded_and_goes_nowhere_else(site, folder, monkeypatch):
    status, headers, data = site.ask("POST", "/api/download", {"ids": ["000.png", "000.png", "001.png"]})
    assert (status, headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(BytesIO(data)) as archive:
        assert archive.namelist() == ["000.png", "001.png"]
        assert archive.read("001.png") == (folder / "001.png").read_bytes()
    monkeypatch.setattr(file_routes, "MAX_BYTES", 100)
    assert "choose fewer" in site.post("/api/download", {"ids": ["000.png"]}, 413)["error"]


def test_a_download_whose_file_changes_on_the_way_is_cut_short(copy, caplog):
    made = Site(copy / ".lookalike")
    try:
        read, seen = made.guard.app.app.state.service, []
        originals = read.originals()

        class Changing:
            index = originals.index
            row = staticmethod(originals.row)

            @staticmethod
            def read(identity):
                seen.append(identity)
                if len(seen) == 4:  # the second of the second time, when the first has been sent
                    (copy / identity).write_bytes(b"another")
                return originals.read(identity)

        read._originals = Changing()
        with pytest.raises(Exception, match="IncompleteRead|incomplete"):
            made.ask("POST", "/api/download", {"ids": ["000.png", "001.png"]})
        assert not [record for record in caplog.records if record.exc_info]
    finally:
        made.stop()


def test_who_is_believed_to_ask_for_somebody_else(folder):
    for proxies, statuses in (((), [200, 429]), (("127.0.0.1",), [200, 200]), (("10.0.0.0/8",), [200, 429])):
        made = Site(folder / ".lookalike", Rules(rate=0.001, burst=1), proxies=proxies)
        try:
            found = [
                made.ask("POST", "/api/search", {"where": "width > 0"}, {"X-Forwarded-For": f"192.0.2.{n}"})[0]
                for n in (1, 2)
            ]
            assert found == statuses, proxies
        finally:
            made.stop()


# What others put into an index, or take out of it ---------------------------------------------------------------------


def test_score_reports_that_are_no_plain_files_are_not_opened(copy):
    scores = copy / ".lookalike" / "scores"
    scores.mkdir()
    os.mkfifo(scores / "a.json")
    (scores / "d.json").mkdir()
    (scores / "e.json").write_bytes(b" " * 3_000_000)
    (scores / "f.json").write_text("[" * 100_000)
    good = {
        "title": "t",
        "when": "2024",
        "queries": 1,
        "database": 1,
        "metrics": {"mAP": 1e400},
        "intervals": {},
        "lrap": [],
    }
    (scores / "g.json").write_text(json.dumps(good))
    made = Site(copy / ".lookalike")
    (scores / "b.json").symlink_to("/dev/zero")  # put there meanwhile: with a link in it an index isn't opened
    (scores / "c.json").symlink_to("/etc/passwd")
    try:
        for _ in range(3):
            status, _, body = made.ask("GET", "/api/reports")
            assert status == 200
            (report,) = json.loads(body, parse_constant=pytest.fail)["reports"]
            assert report["title"] == "t"
        scores.rename(copy / "elsewhere")
        scores.symlink_to(copy / "elsewhere")
        assert made.get("/api/reports")["reports"] == []
    finally:
        made.stop()


@pytest.mark.parametrize("case", ["infinite", "fifo", "link", "huge"])
def test_a_strangers_note_of_a_run_neither_holds_the_events_nor_breaks_them(copy, case):
    lock = copy / ".lookalike" / "writing.lock"
    lock.unlink(missing_ok=True)
    note = {
        "done": 1,
        "total": 2,
        "rate": float("inf"),
        "at": time.time(),
        "process": os.getpid(),
        "machine": socket.gethostname(),
    }
    if case == "infinite":
        lock.write_bytes(b" " + json.dumps(note).encode())
    elif case == "huge":
        lock.write_bytes(b" " + json.dumps(note).replace("Infinity", "9" * 90).encode())
    elif case == "fifo":
        os.mkfifo(lock)
    else:
        lock.symlink_to("/dev/zero")
        with pytest.raises(IndexStoreError, match="a link inside an index"):
            open_index(copy / ".lookalike")
        return
    made = Site(copy / ".lookalike")
    try:
        told = next(events(made))
        assert told["images"] == COUNT
        json.dumps(told, allow_nan=False)
    finally:
        made.stop()


@pytest.mark.parametrize("kind", ["one image", "an array"])
def test_another_picture_is_never_served_as_the_original(tmp_path, kind):
    pictures = np.arange(4 * 28 * 28, dtype=np.uint8).reshape(4, 28, 28)
    source = tmp_path / ("one.png" if kind == "one image" else "all.npy")

    def write(images):
        if kind == "one image":
            source.write_bytes(to_png(images[0]))
        else:
            np.save(source, images)

    write(pictures)
    build_index(source, "pixels", tmp_path / "made.lookalike")
    made = Site(tmp_path / "made.lookalike")
    try:
        name = quote(first(made), safe="")
        assert made.ask("GET", f"/api/original?id={name}")[0] == 200
    finally:
        made.stop()
    write(255 - pictures)
    made = Site(tmp_path / "made.lookalike")
    try:
        status, _, body = made.ask("GET", f"/api/original?id={name}")
        assert status == 409, body[:200]
        assert "changed since it was indexed" in json.loads(body)["error"]
        assert made.ask("POST", "/api/download", {"ids": [first(made)]})[0] == 409
        assert made.ask("GET", f"/api/picture?id={name}")[0] == 200  # its thumbnail
    finally:
        made.stop()


def test_it_is_ready_only_while_its_data_can_be_read(copy, monkeypatch):
    monkeypatch.setattr(live_module, "TRUST_SECONDS", 0.0)
    made = Site(copy / ".lookalike")
    try:
        assert made.get("/api/ready") == {"status": "ready"}
        kept = {}
        for file in (copy / ".lookalike" / "images.lance" / "data").iterdir():
            kept[file] = file.read_bytes()
            with file.open("r+b") as opened:  # in place, as a disk does it
                opened.write(bytes(len(kept[file])))
        assert "error" in made.get("/api/ready", 503)
        for file, data in kept.items():
            with file.open("r+b") as opened:
                opened.write(data)
        assert made.get("/api/ready") == {"status": "ready"}
        for file, data in kept.items():  # what Lance has read of it already, it doesn't read again
            with file.open("r+b") as opened:
                opened.write(data[:-1] + bytes([data[-1] ^ 1]))
        assert "error" in made.get("/api/ready", 503)
        for file, data in kept.items():
            with file.open("r+b") as opened:
                opened.write(data)
        assert made.get("/api/ready") == {"status": "ready"}
        manifest = copy / ".lookalike" / "manifest.json"
        manifest.write_bytes(manifest.read_bytes()[:-9])
        made.get("/api/ready", 503)
    finally:
        made.stop()


def test_a_view_of_an_old_version_is_never_kept_for_the_new_one(copy, monkeypatch):
    path = copy / ".lookalike"
    live = LiveIndex(path)
    plain = live_module.SharedIndex

    class Slow(plain):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            if self.manifest.chosen and not swapped:
                swapped.append(self)
                for name in ("000.png", "001.png"):
                    (copy / name).unlink()
                build_index(copy, None, path)
                monkeypatch.setattr(live_module, "SharedIndex", plain)
                live.reload()

    swapped = []
    monkeypatch.setattr(live_module, "SharedIndex", Slow)
    old = live.current("pixels")
    assert (len(old), bool(swapped)) == (COUNT, True)
    assert len(live.current("pixels")) == len(live.current()) == COUNT - 2


def test_a_damaged_index_is_not_opened_again_by_every_request(copy, monkeypatch):
    made = Site(copy / ".lookalike")
    try:
        opened, warm = [], LiveIndex._warm

        def counted(self):
            opened.append(1)
            return warm(self)

        monkeypatch.setattr(LiveIndex, "_warm", counted)
        for file in (copy / ".lookalike" / "images.lance" / "data").iterdir():
            with file.open("r+b") as spoilt:
                spoilt.write(bytes(file.stat().st_size))
        for _ in range(10):
            status, _, body = made.ask("GET", "/api/thumbnail?id=000.png")
            assert (status, "error" in json.loads(body)) == (503, True)
        assert len(opened) <= 3
    finally:
        made.stop()


def test_another_machine_reads_nothing_of_where_things_lie_here(copy):
    path = copy / ".lookalike"
    local, guarded = Site(path), Site(path, Rules(token=TOKEN))
    try:
        assert str(path) in local.get("/api/map", 404)["error"]  # a command to copy
        sign = {"Authorization": f"Bearer {TOKEN}"}
        shutil.move(copy / "003.png", copy.parent / "elsewhere.png")
        (copy / "broken.png").symlink_to(copy / "nowhere.png")
        build_index(copy, None, path)
        until(lambda: guarded.live.current().manifest.dataset_version == guarded.live.newest().dataset_version)
        answers = [
            guarded.ask("GET", f"/api/{name}", headers=sign)
            for name in ("map", "original?id=003.png", "files", "info", "reports", "files?outcome=left%20out")
        ]
        answers.append(guarded.ask("POST", "/api/search", {"text": "a cat"}, sign))
        path.rename(copy / "gone")
        time.sleep(0.6)
        answers.append(guarded.ask("GET", "/api/ready", headers=sign))
        answers.append(guarded.ask("POST", "/api/search", {"likes": ["000.png"], "encoder": "no"}, sign))
        for status, _, body in answers:
            assert str(copy.parent).encode() not in body, (status, body)
        assert {status for status, _, _ in answers} >= {200, 400, 404, 503}
    finally:
        local.stop()
        guarded.stop()


def test_a_large_file_is_taken_where_no_folder_for_temporary_files_is(folder, monkeypatch, tmp_path):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    noise = to_png(np.random.default_rng(0).integers(0, 256, (1300, 1300), np.uint8))
    assert len(noise) > 2**20
    made = Site(folder / ".lookalike")
    try:
        part = b'--x\r\nContent-Disposition: form-data; name="%s"; filename="a.png"\r\n\r\n' + noise + b"\r\n--x--\r\n"
        for path, name in (("uploads", b"image"), ("search/upload", b"images")):
            kind = {"Content-Type": "multipart/form-data; boundary=x"}
            status, _, said = made.ask("POST", f"/api/{path}", part.replace(b"%s", name, 1), kind)
            assert status == 200, said
    finally:
        made.stop()
