"""The service over a real socket: every path, its refusals, an index that changes under it, and the client."""

from __future__ import annotations

import base64
import http.client
import http.server
import json
import math
import re
import threading
import time
import zipfile
from io import BytesIO
from urllib.parse import quote

import numpy as np
import pytest

import lookalike
from lookalike import build_index
from lookalike.cli.main import run
from lookalike.client.http import ServerError
from lookalike.client.remote import RemoteIndex
from lookalike.errors import CollectionError, ImageError, UsageError
from lookalike.imaging.decode import decode as read_bytes
from lookalike.imaging.encode import to_png
from lookalike.index.map import make_map
from lookalike.search.explain import explain
from lookalike.search.restore import restore_queries
from lookalike.server.address import address_of
from lookalike.transforms.noise import add_noise

uvicorn = pytest.importorskip("uvicorn", reason="the extra serve isn't installed")

from lookalike.server.error_responses import status_of  # noqa: E402
from lookalike.server.live import LiveIndex  # noqa: E402
from lookalike.server.rules import Rules  # noqa: E402
from served import Site, events, first, write_digits  # noqa: E402

COUNT = 120
pytestmark = pytest.mark.slow  # a server


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("photos") / "photos", COUNT)


@pytest.fixture(scope="module")
def site(folder):
    build_index(folder, "hog", folder / ".lookalike")
    made = Site(folder / ".lookalike")
    yield made
    made.stop()


# What it answers ------------------------------------------------------------------------------------------------------


def test_an_image_of_the_index_finds_itself_first(site):
    name = first(site)
    found = site.post("/api/search", {"images": [{"id": name}], "k": 5})
    assert [m["rank"] for m in found["matches"]] == [1, 2, 3, 4, 5]
    assert found["matches"][0]["id"] == name
    assert found["matches"][0]["distance"] == 0
    assert (found["matches"][0]["width"], found["matches"][0]["height"]) == (56, 56)
    assert (found["total"], found["next"]) == (COUNT, 5)
    rest = site.post("/api/search", {"images": [{"id": name}], "k": 5, "offset": 5})
    assert rest["matches"][0]["rank"] == 6


def test_answers_bring_their_first_pictures_along_where_that_is_asked_for(site):
    name = first(site)
    found = site.post("/api/search?pictures=3", {"images": [{"id": name}], "k": 5})["matches"]
    assert [m["picture"] is None for m in found] == [False, False, False, True, True]
    for match in found[:3]:
        kind, _, data = match["picture"].partition(",")
        _, headers, file = site.ask("GET", f"/api/thumbnail?id={quote(match['id'])}")
        assert (kind, base64.b64decode(data)) == (f"data:{headers['content-type']};base64", file)
    few = site.post("/api/search?pictures=100", {"where": f"id = '{name}'"})["matches"]
    assert [bool(m["picture"]) for m in few] == [True]
    assert site.post("/api/search?pictures=9", {"where": "width > 9000"})["matches"] == []
    assert "error" in site.post("/api/search?pictures=101", {"likes": [name]}, 422)


def test_what_is_searched_by_as_a_file_can_be_asked_by_again(site, folder):
    name = first(site)
    body = (
        b'--x\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n'
        + (folder / name).read_bytes()
        + b'\r\n--x\r\nContent-Disposition: form-data; name="query"\r\n\r\n{"k": 4}\r\n--x--\r\n'
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    status, _, said = site.ask("POST", "/api/search/upload", body, headers)
    found = json.loads(said)
    assert status == 200
    (upload,) = found["uploads"]
    again = site.post("/api/search", {"images": [{"upload": upload}], "k": 4})
    assert again["matches"] == found["matches"]
    assert again["uploads"] is None


def test_it_says_why_an_answer_is_one(site, folder):
    name = first(site)
    match = site.post("/api/search", {"images": [{"id": name}], "k": 2})["matches"][1]
    found = site.post("/api/explain", {"image": {"id": name}, "match": match["id"], "encoder": None})
    assert found["method"] == "exact"
    assert found["similarity"] == pytest.approx(match["similarity"], abs=0.02)
    assert found["shares"] == {"hog": 1}
    for side in ("query", "match"):
        kind, _, data = found[side].partition(",")
        assert kind == "data:image/png;base64"
        assert read_bytes(base64.b64decode(data), side).shape == (224, 224, 3)
    sent = base64.b64encode((folder / name).read_bytes()).decode()
    again = site.post("/api/explain", {"image": {"data": sent}, "match": match["id"]})
    assert again["query"] == found["query"]


def test_what_can_t_be_explained_is_refused(site):
    name = first(site)
    assert "error" in site.post("/api/explain", {"image": {"id": name}, "match": "nowhere.png"}, 404)
    assert "error" in site.post("/api/explain", {"image": {"id": name}}, 422)
    blank = base64.b64encode(to_png(np.zeros((56, 56), np.uint8))).decode()
    said = site.post("/api/explain", {"image": {"data": blank}, "match": name}, 422)
    assert "the query: hog finds nothing in it" in said["error"]
    unknown = site.post("/api/explain", {"image": {"id": name}, "match": name, "encoder": "sifting"}, 400)
    assert "sifting" in unknown["error"]


def test_an_upload_is_answered_like_the_file_it_is(site, folder):
    name = first(site)
    data = (folder / name).read_bytes()
    body = (
        b'--x\r\nContent-Disposition: form-data; name="image"; filename="../../etc/passwd"\r\n\r\n'
        + data
        + b"\r\n--x--\r\n"
    )
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    status, _, said = site.ask("POST", "/api/uploads", body, form)
    assert status == 200
    kept = json.loads(said)
    assert (kept["width"], kept["height"]) == (56, 56)
    found = site.post("/api/search", {"images": [{"upload": kept["upload"]}], "k": 2})
    assert found["matches"][0]["id"] == name
    assert found["matches"][0]["distance"] == pytest.approx(0, abs=1e-6)
    status, headers, _ = site.ask("GET", f"/api/upload?id={kept['upload']}")
    assert (status, headers["x-image-size"]) == (200, "56x56")
    direct = body.replace(b'name="image"', b'name="images"').replace(
        b"--x--\r\n", b'--x\r\nContent-Disposition: form-data; name="query"\r\n\r\n{"k": 2}\r\n--x--\r\n'
    )
    status, _, said = site.ask("POST", "/api/search/upload", direct, form)
    assert status == 200
    assert [m["id"] for m in json.loads(said)["matches"]] == [m["id"] for m in found["matches"]]


def test_a_crop_of_an_upload_is_what_it_says(site, folder):
    import base64

    image = lookalike.open_collection(folder / first(site)).read(0)
    padded = np.zeros((120, 200), np.uint8)
    padded[30:86, 100:156] = image
    data = base64.b64encode(to_png(padded)).decode()
    found = site.post("/api/search", {"images": [{"data": data, "crop": [100, 30, 56, 56]}], "k": 1})
    assert found["matches"][0]["id"] == first(site)
    said = site.post("/api/search", {"images": [{"data": data, "crop": [190, 30, 56, 56]}]}, 400)
    assert "isn't inside its 200 x 120 pixels" in said["error"]


def test_words_filters_likes_and_dislikes(site):
    label = site.get("/api/image?id=" + first(site).replace(" ", "%20"))["label"]
    found = site.post("/api/search", {"where": f"label = '{label}'", "k": 100})
    assert found["matches"]
    assert {m["label"] for m in found["matches"]} == {label}
    name = first(site)
    steered = site.post("/api/search", {"likes": [name], "dislikes": [found["matches"][1]["id"]], "k": 3})
    assert found["matches"][1]["id"] not in [m["id"] for m in steered["matches"]]


def test_images_thumbnails_pictures_and_originals(site, folder):
    name = first(site)
    at = name.replace(" ", "%20")
    status, headers, data = site.ask("GET", f"/api/thumbnail?id={at}")
    assert (status, headers["content-type"], data[:4]) == (200, "image/png", b"\x89PNG")
    assert site.ask("GET", f"/api/thumbnail?id={at}", headers={"If-None-Match": headers["etag"]})[0] == 304
    assert site.ask("GET", f"/api/picture?id={at}&side=32")[0] == 200
    status, headers, data = site.ask("GET", f"/api/original?id={at}")
    assert data == (folder / name).read_bytes()
    assert headers["content-disposition"].startswith("attachment")
    status, _, data = site.ask("POST", "/api/download", {"ids": [name]})
    with zipfile.ZipFile(BytesIO(data)) as zipped:
        assert zipped.namelist() == [name]
        assert zipped.read(name) == (folder / name).read_bytes()


def test_what_it_says_of_itself(site):
    info = site.get("/api/info")
    assert (info["images"], info["default"], info["complete"]) == (COUNT, "hog", True)
    files = site.get("/api/files?outcome=left%20out")
    assert [f["path"] for f in files["files"]] == ["broken.jpg"]
    assert site.get("/api/ready") == {"status": "ready"}
    assert "width" in site.get("/api/suggest?q=wid")["columns"]
    site.post("/api/search", {"images": [{"id": first(site), "crop": [0, 0, 40, 40]}]})
    text = site.ask("GET", "/metrics")[2].decode()
    assert f"lookalike_images {COUNT}.0" in text
    assert re.search(r'lookalike_stage_seconds_count\{stage="encode"\}', text)
    status, headers, page = site.ask("GET", "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"http://" not in page.replace(b"http://www.w3.org", b"")
    schema = site.get("/api/openapi.json")
    assert {"/api/search", "/api/uploads", "/api/original"} <= set(schema["paths"])


def test_events_begin_with_the_index_as_it_is(site):
    told = next(events(site))
    assert (told["images"], told["complete"], told["run"]) == (COUNT, True, None)
    assert (told["committed"], told["gone"], told["trouble"]) == (COUNT, False, None)
    assert told["outcomes"]["indexed"] == COUNT


def test_an_index_that_was_replaced_is_forgotten(site, folder):
    import gc
    import weakref

    from lookalike.search.page import answer
    from lookalike.search.request import Query

    live = LiveIndex(folder / ".lookalike")
    held = []
    for _ in range(3):
        index = live.current()
        answer(index, Query.from_json({"images": [{"id": index.ids[0]}], "k": 2}))
        index.encoder.encode(np.full((1, *index.manifest.view.shape), 9, np.uint8))
        held.append(weakref.ref(index))
        del index
        live.reload()
    for _ in range(100):  # the threads that gathered its queries end
        gc.collect()
        if not any(one() for one in held):
            break
        time.sleep(0.05)
    assert [one() for one in held] == [None] * 3


def test_noise_is_added_and_taken_away_again(site):
    import base64

    from PIL import Image

    asked = {"image": {"id": first(site)}, "noise": 0.5, "k": 5}
    made = site.post("/api/denoise", asked)
    assert made == site.post("/api/denoise", asked)  # the same seed, the same noise
    clean = Image.open(BytesIO(site.ask("GET", f"/api/picture?id={first(site).replace(' ', '%20')}")[2]))

    def error(name):
        assert len(made[name]["matches"]) == 5
        picture = Image.open(BytesIO(base64.b64decode(made[name]["picture"].removeprefix("data:image/png;base64,"))))
        return np.mean((np.array(picture, float) - np.array(clean.resize(picture.size).convert(picture.mode))) ** 2)

    assert error("denoised") < error("noisy") / 2
    assert made["denoised"]["matches"][0]["label"] == first(site).partition("/")[0]
    assert "noise about" in made["message"]
    for wrong in ({"noise": 1.5}, {"noise": -1}, {"k": 0}, {"seed": -1}):
        site.post("/api/denoise", asked | wrong, 422)
    assert "no such" in site.post("/api/denoise", {"image": {"id": "no such"}}, 404)["error"]


def test_kept_score_reports_are_listed_and_others_left_out(site, folder):
    from lookalike.cli.main import run

    assert site.get("/api/reports")["reports"] == []
    for encoder in ("hog", "hog"):  # the second takes the first's place
        assert run(["score", "-i", str(folder / ".lookalike"), "--leave-one-out", "--keep", "-e", encoder]) == 0
    (folder / ".lookalike" / "scores" / "a.json").write_text("{")
    (folder / ".lookalike" / "scores" / "b.json").write_text('{"title": 3}')
    (folder / ".lookalike" / "scores" / "c.json").write_text(
        '{"title": "", "when": "", "queries": 1, "database": 1, "metrics": {"mAP": "x"}, "intervals": {}, "lrap": []}'
    )
    (report,) = site.get("/api/reports")["reports"]
    assert (report["queries"], report["database"], report["current"]) == (COUNT, COUNT, True)
    assert "its own images" in report["title"]
    low, high = report["intervals"]["mAP"]
    assert low <= report["metrics"]["mAP"] <= high


# What it refuses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "identity",
    ["../secret.png", "..%2fsecret.png", "%2e%2e/secret.png", "/etc/passwd", "%2fetc%2fpasswd", "x%00.png", "", "photos2/../a",
     "broken.jpg", ".lookalike/manifest.json", "..%5csecret.png"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["thumbnail", "picture", "original", "image"])
def test_only_indexed_images_are_served(site, path, identity):
    status, _, body = site.ask("GET", f"/api/{path}?id={identity}")
    assert status == 404
    assert "ids are those of search results" in json.loads(body)["error"]


@pytest.mark.parametrize(
    "path", ["/../secret.png", "/%2e%2e/secret.png", "/..%2f..%2fetc/passwd", "/web/../server/guard.py", "/%00", "/style.css/..%2f..%2findex.py"]
)  # fmt: skip
def test_no_path_leads_out_of_the_page(site, path):
    assert site.ask("GET", path)[0] == 404


def test_a_symlink_put_in_place_of_an_image_is_not_followed(site, folder):
    name = site.get("/api/images?offset=5&limit=1")["images"][0]["id"]
    kept = (folder / name).read_bytes()
    (folder / name).unlink()
    (folder / name).symlink_to(folder.parent / "secret.png")
    try:
        status, _, body = site.ask("GET", f"/api/original?id={name.replace(' ', '%20')}")
        assert status in (404, 409)
        assert b"PNG" not in body
    finally:
        (folder / name).unlink()
        (folder / name).write_bytes(kept)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 400, "an empty query"),
        ({"images": [{}]}, 400, "needs exactly one of id, upload, data and url; this one has none of them"),
        ({"images": [{"id": "a", "data": "AA"}]}, 400, "this one has id and data"),
        ({"images": [{"id": "no such"}]}, 404, "no such"),
        ({"images": [{"path": "/etc/passwd"}]}, 422, "images.0.path: unknown key; /api/openapi.json lists"),
        ({"images": [{"upload": "0" * 32}]}, 404, "isn't kept any more; send it again"),
        ({"images": [{"url": "http://127.0.0.1/"}]}, 400, "fetches no URLs"),
        ({"images": [{"data": "!!"}]}, 400, "base64"),
        ({"images": [{"data": ""}]}, 422, "the file is empty"),
        ({"images": [{"data": "bm8gaW1hZ2U="}]}, 415, "not an image"),
        ({"k": 0}, 422, "k: "),
        ({"k": "ten"}, 422, "k: "),
        ({"images": [{"id": "x", "crop": [1, 2]}]}, 422, "crop"),
        ({"where": "label ="}, 400, "filter"),
        ({"likes": [3]}, 422, "likes"),
        ([], 422, "the body"),
        (b"{", 422, "JSON"),
        (b'{"k": NaN}', 422, "k"),
    ],
)
def test_a_wrong_query_is_said_to_be(site, body, status, said):
    got, headers, answer = site.ask("POST", "/api/search", body, {"Content-Type": "application/json"})
    assert got == status, answer
    assert headers["content-type"] == "application/json"
    assert said in json.loads(answer)["error"]
    assert "Traceback" not in answer.decode()


def test_a_bomb_and_an_image_of_no_size_are_refused(site):
    import base64

    from PIL import Image

    bomb = BytesIO()
    Image.new("1", (12_000, 12_000)).save(bomb, "PNG")
    assert len(bomb.getvalue()) < 100_000
    small = to_png(np.zeros((9, 9), np.uint8))
    without_size = small[:16] + bytes(8) + small[24:]
    for data, expected in ((bomb.getvalue(), {413}), (without_size, {415, 422})):
        got, _, said = site.ask("POST", "/api/search", {"images": [{"data": base64.b64encode(data).decode()}]})
        assert got in expected, said


def test_other_methods_and_paths_are_refused_with_a_sentence(site):
    assert site.ask("GET", "/api/search")[0] == 405
    status, _, body = site.ask("GET", "/api/nothing")
    assert (status, "error" in json.loads(body)) == (404, True)
    assert site.ask("GET", "/api/info", headers={"Host": "evil.example"})[0] == 421


# An index that changes ------------------------------------------------------------------------------------------------


def test_a_newer_version_is_answered_from_without_a_stop(tmp_path):
    path = tmp_path / "digits"
    build_index("mnist:test[0:30]", "pixels", path)
    site = Site(path)
    try:
        assert site.get("/api/info")["images"] == 30
        failed, stop = [], threading.Event()

        def keep_asking():
            while not stop.is_set():
                status, _, said = site.ask("POST", "/api/search", {"images": [{"id": "3"}], "k": 3})
                if status != 200:
                    failed.append(said)

        asker = threading.Thread(target=keep_asking)
        asker.start()
        build_index("mnist:test[0:60]", "pixels", path)
        ends = time.monotonic() + 20
        while site.get("/api/info")["images"] != 60 and time.monotonic() < ends:
            time.sleep(0.1)
        stop.set()
        asker.join()
        assert site.get("/api/info")["images"] == 60
        assert not failed
        # Gone, what was opened still answers, and the server says so.
        path.rename(tmp_path / "elsewhere")
        time.sleep(0.6)
        assert "has been removed" in site.get("/api/ready", 503)["error"]
        assert site.get("/api/info")["images"] == 60
    finally:
        site.stop()


def test_requests_that_come_together_share_a_pass(site):
    bodies = [
        {"images": [{"id": i["id"], "crop": [0, 0, 56, 56]}], "k": 3}
        for i in site.get("/api/images?limit=40")["images"]
    ]
    alone = [site.post("/api/search", body)["matches"] for body in bodies]
    found = [None] * len(bodies)

    def ask(i):
        found[i] = site.post("/api/search", bodies[i])["matches"]

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for mine, theirs in zip(found, alone, strict=True):
        assert [m["id"] for m in mine] == [m["id"] for m in theirs]
    batchers = site.live.current().batchers
    assert batchers["encode"].calls > batchers["encode"].batches


# The client -----------------------------------------------------------------------------------------------------------


def test_the_client_answers_as_a_local_index(site, folder):
    local = lookalike.open_index(folder / ".lookalike")
    with lookalike.connect(site.url) as remote:
        assert len(remote) == COUNT
        name = local.ids[7]
        here, there = local.search(folder / name, k=5), remote.search(folder / name, k=5)
        assert [(m.rank, m.id, m.label) for m in there] == [(m.rank, m.id, m.label) for m in here]
        assert [m.distance for m in there] == pytest.approx([m.distance for m in here], abs=1e-6)
        answer = remote.ask({"where": "width = 56", "k": 2})
        assert math.isnan(answer.matches[0].distance)
        assert answer.total == COUNT
        descriptor = remote.encode(folder / name)
        assert descriptor == pytest.approx(local.descriptors[7], abs=1e-6)
        assert [f["path"] for f in remote.files("left out")] == ["broken.jpg"]
        assert remote.original(name) == (folder / name).read_bytes()
        assert remote.facts(name)["width"] == 56
        with pytest.raises(ServerError, match="ids are those of search results") as told:
            remote.facts("none")
        assert told.value.status == 404
    with pytest.raises(ServerError, match="doesn't answer"):
        lookalike.connect("http://127.0.0.1:9").info()
    with pytest.raises(UsageError, match="not a server's address"):
        lookalike.connect("127.0.0.1:8321")


#: Of a local index what no other machine could use: its files, its arrays whole, and what is made of them.
LOCAL_ONLY = {
    "path", "manifest", "encoder", "descriptors", "database", "nearest", "searching", "marks", "keys", "cached", "why", "limits", "row_of", "descriptors_of", "fact_table",
    "ids_of", "rows_with", "outcomes",
}  # fmt: skip
#: By id, one at a time, where a local index takes rows.
BY_ID = {"thumbnails": "thumbnail", "thumbnail_bytes": "thumbnail"}


def test_only_what_the_caller_can_mend_is_the_callers_fault():
    assert status_of(CollectionError("photos: its worker process ended while it started")) == 503
    assert status_of(UsageError("k is 0")) == 400
    assert status_of(ImageError("cat.jpg: truncated", "truncated")) == 422


def test_the_client_has_every_call_of_a_local_index():
    public = {name for name in dir(lookalike.Index) if not name.startswith("_")}
    assert {BY_ID.get(name, name) for name in public - LOCAL_ONLY} <= set(dir(RemoteIndex))
    assert not public & LOCAL_ONLY & set(dir(RemoteIndex))


def test_the_client_denoises_explains_and_lists_as_a_local_index_does(site, folder):
    local = lookalike.open_index(folder / ".lookalike")
    name, other = local.ids[7], local.ids[8]
    with lookalike.connect(site.url) as remote:
        assert remote.ids == local.ids
        assert (remote.labels == local.labels).all()
        assert remote.failures() == local.failures()
        assert list(remote.files()) == local.files()
        stored = local.facts(range(COUNT))
        assert remote.tags([name, other]) == local.tags([name, other]) == [[], []]  # no shipped network made this index
        assert list(remote.images()) == [{k: facts[k] for k in remote.facts(name)} for facts in stored]
        assert (remote.picture(name) == lookalike.open_collection(folder / name).read(0)).all()
        assert max(remote.picture(name, side=16).shape) == 16
        with zipfile.ZipFile(BytesIO(remote.download([name, other]))) as zipped:
            assert zipped.read(name) == (folder / name).read_bytes()

        for options in ({"rerank": "diffusion"}, {"denoise": "auto"}, {"distance": "euclidean"}):
            here, there = (index.search(folder / name, k=5, **options) for index in (local, remote))
            assert [m.id for m in there] == [m.id for m in here]
            assert [m.distance for m in there] == pytest.approx([m.distance for m in here], abs=1e-6)
        query = {"images": [{"path": str(folder / name)}], "denoise": "auto", "k": 2}
        assert remote.ask(query).denoised.to_json() == local.ask({**query, "resize": True}).denoised.to_json()

        noisy = add_noise(lookalike.open_collection(folder / name).read(0)[None], 0.4)
        cleaned = remote.denoise(noisy[0], k=3)
        assert (cleaned.noisy == noisy[0]).all()
        assert (cleaned.denoised == restore_queries(local, noisy, "auto").images[0]).all()
        assert [m.rank for m in cleaned.denoised_matches] == [m.rank for m in cleaned.noisy_matches] == [1, 2, 3]
        assert "enoised by" in cleaned.message
        assert (remote.denoise({"id": name}, noise=0.4).noisy == noisy[0]).all()

        there = remote.explain({"id": name}, other)
        here = explain(local, *(lookalike.open_collection(folder / one).read(0) for one in (name, other)))
        assert (there.encoder, there.distance, there.method) == (here.encoder, here.distance, here.method)
        assert (there.shares, there.points, there.message) == (here.shares, here.points, here.message)
        assert there.similarity == pytest.approx(here.similarity)
        for mine, theirs in ((there.query_map, here.query_map), (there.match_map, here.match_map)):
            assert mine == pytest.approx(theirs, abs=1e-6)
        assert remote.encode({"id": name}) == pytest.approx(local.descriptors[7], abs=1e-6)

        with pytest.raises(ServerError, match="other denoisers are folders"):
            remote.search(folder / name, denoise="a/folder")


def test_the_client_looks_through_another_encoder_and_reads_map_and_reports(tmp_path):
    path = tmp_path / "digits.lookalike"
    for encoder in ("hog", "pixels"):
        build_index("mnist:test[0:60]", encoder, path)
    local = lookalike.open_index(path, encoder="hog")
    made = make_map(local)
    served = Site(path)
    try:
        with lookalike.connect(served.url) as default:
            assert default.ready()
            assert default.reports() == []
            assert default.info()["default"] == "pixels"
            with pytest.raises(ServerError, match="no map by pixels") as told:
                default.map()
            assert told.value.status == 404
            remote = default.with_encoder("hog")
            assert (remote.map().positions == made.positions).all()
            assert (remote.map().clusters == made.clusters).all()
            assert remote.encode("mnist:test[7]") == pytest.approx(local.descriptors[7], abs=1e-6)
            assert remote.explain("mnist:test[7]", "8").encoder == "hog"
            for query in ("mnist:test[70]", {"id": "7"}):
                assert [m.id for m in remote.search(query)] != [m.id for m in default.search(query)]
            assert [m.id for m in remote.search("mnist:test[70]")] == [m.id for m in local.search("mnist:test[70]")]
            with pytest.raises(ServerError, match="no encoder 'none'; it has"):
                default.with_encoder("none").search("mnist:test[7]")
            assert run(["score", "mnist:test[60:80]", "--keep", "-i", str(path)]) == 0
            assert default.reports()[0]["queries"] == 20
            remote.close()
    finally:
        served.stop()
    assert not lookalike.connect(served.url).ready()


@pytest.mark.parametrize("token", ["a+b & c%d;é of any kind", "%41%41%41%41%41%41%41", "blanks at its ends   "])
def test_the_client_takes_any_token_from_the_address_that_is_printed(folder, site, token):
    guarded = Site(folder / ".lookalike", Rules(token=token))
    try:
        printed = address_of("127.0.0.1", guarded.port, token)
        assert len(lookalike.connect(printed)) == COUNT
        assert len(lookalike.connect(guarded.url, token)) == COUNT
    finally:
        guarded.stop()


@pytest.mark.parametrize(
    "url", ["http://[", "http://[::1", "http://host:port/", "http://host:99999/", "ftp://host/", "host:8321", ""]
)
def test_what_is_no_address_of_a_server_is_said(url):
    with pytest.raises(UsageError, match="not a server's address"):
        lookalike.connect(url)


def test_what_a_server_says_commands_no_terminal():
    class Hostile(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps({"error": "a\x1b[31m\x07\u202eb" + "x" * 10_000}).encode()
            self.send_response(404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(ServerError, match="x1b") as told:
            lookalike.connect(f"http://127.0.0.1:{server.server_port}").info()
        server.shutdown()
    assert told.value.status == 404
    assert str(told.value).isprintable()
    assert len(str(told.value)) < 5000


def test_the_client_sends_its_token(folder, site):
    guarded = Site(folder / ".lookalike", Rules(token="a-token-of-some-length"))
    try:
        with pytest.raises(ServerError, match="a token is needed"):
            lookalike.connect(guarded.url).info()
        assert len(lookalike.connect(guarded.url, "a-token-of-some-length")) == COUNT
        assert len(lookalike.connect(f"{guarded.url}/?token=a-token-of-some-length")) == COUNT
    finally:
        guarded.stop()
