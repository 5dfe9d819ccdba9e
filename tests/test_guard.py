"""Who may ask the server: each rule of the guard, by requests as ASGI hands them over."""

from __future__ import annotations

import asyncio
import json

import pytest

from lookalike.server.guard import COOKIE, Guard, Rules

TOKEN = "correct-horse-battery"


async def echo(scope, receive, send):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body or b"hello"})


def ask(guard, path="/api/info", method="GET", headers=(), body=(b"",), query=b"", wait=0.0, client="10.0.0.7"):
    """Send one request; return status, headers and body."""
    raw = [(n.lower().encode(), v.encode()) for n, v in headers]
    if not any(n == b"host" for n, _ in raw):
        raw.append((b"host", b"127.0.0.1:8321"))
    scope = {
        "type": "http", "method": method, "path": path, "headers": raw, "query_string": query, "scheme": "http",
        "client": (client, 1),
    }  # fmt: skip
    parts = list(body)
    sent = []

    async def receive():
        await asyncio.sleep(wait)
        if not parts:
            await asyncio.sleep(3600)
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts) or wait > 0}

    async def send(message):
        sent.append(message)

    asyncio.run(guard(scope, receive, send))
    start = sent[0]
    return (
        start["status"],
        {n.decode(): v.decode() for n, v in start["headers"]},
        b"".join(m.get("body", b"") for m in sent[1:]),
    )


def error(answer):
    return json.loads(answer[2])["error"]


def test_every_answer_has_the_headers_that_keep_pages_apart():
    for answer in (ask(Guard(echo, Rules())), ask(Guard(echo, Rules()), headers=[("host", "evil.example")])):
        _, headers, _ = answer
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8321", 200), ("localhost", 200), ("LOCALHOST:80", 200), ("[::1]:8321", 200), ("localhost.", 200),
        ("evil.example", 421), ("127.0.0.1.evil.example", 421), ("", 421), ("127.0.0.1@evil.example", 421),
        ("evil.example:127", 421),
    ],
)  # fmt: skip
def test_only_its_own_names_are_answered_to(host, status):
    assert ask(Guard(echo, Rules()), headers=[("host", host)])[0] == status


def test_two_host_headers_are_refused():
    assert ask(Guard(echo, Rules()), headers=[("host", "localhost"), ("host", "evil.example")])[0] == 421


def test_pages_of_other_sites_may_not_ask():
    guard = Guard(echo, Rules())
    assert ask(guard, method="POST", headers=[("origin", "https://evil.example")])[0] == 403
    assert ask(guard, method="POST", headers=[("origin", "null")])[0] == 403
    assert ask(guard, headers=[("sec-fetch-site", "cross-site")])[0] == 403
    assert ask(guard, method="POST", headers=[("origin", "http://127.0.0.1:8321")])[0] == 200
    # A link to the page is no attack; a link to what it holds might be an image on a foreign page.
    link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]
    assert ask(guard, path="/", headers=link)[0] == 200
    assert ask(guard, path="/api/original", headers=link)[0] == 403


def test_a_named_origin_may_ask_and_is_told_so():
    guard = Guard(echo, Rules(origins=frozenset({"https://shop.example"}), token=TOKEN))
    origin = ("origin", "https://shop.example")
    status, headers, _ = ask(
        guard, method="OPTIONS", headers=[origin, ("access-control-request-headers", "authorization")]
    )
    assert status == 204
    assert headers["access-control-allow-origin"] == "https://shop.example"
    status, headers, _ = ask(guard, method="POST", headers=[origin, ("authorization", f"Bearer {TOKEN}")])
    assert (status, headers["access-control-allow-origin"]) == (200, "https://shop.example")
    assert "access-control-allow-credentials" not in headers  # the cookie is for our own page only
    status, headers, _ = ask(guard, headers=[("authorization", f"Bearer {TOKEN}")])
    assert "access-control-allow-origin" not in headers


def test_without_the_token_nothing_is_told():
    guard = Guard(echo, Rules(token=TOKEN))
    for headers in (
        [],
        [("authorization", "Bearer wrong")],
        [("authorization", f"Basic {TOKEN}")],
        [("cookie", f"{COOKIE}=no")],
    ):
        answer = ask(guard, headers=headers)
        assert answer[0] == 401
        assert answer[1]["www-authenticate"] == "Bearer"
        assert "Authorization: Bearer" in error(answer)
    assert ask(guard, path="/api/health")[0] == 200
    assert ask(guard, headers=[("authorization", f"bearer {TOKEN}")])[0] == 200
    assert ask(guard, headers=[("cookie", f"a=b; {COOKIE}={TOKEN}")])[0] == 200


def test_the_page_moves_the_token_from_the_address_into_a_cookie():
    guard = Guard(echo, Rules(token=TOKEN))
    status, headers, _ = ask(guard, path="/", query=f"token={TOKEN}".encode())
    assert (status, headers["location"]) == (303, "/")
    for part in (f"{COOKIE}={TOKEN}", "HttpOnly", "SameSite=Strict"):
        assert part in headers["set-cookie"]
    assert ask(guard, path="/", query=b"token=wrong")[0] == 401
    assert ask(guard, path="/api/info", query=f"token={TOKEN}".encode())[0] == 401


def test_a_body_over_the_limit_is_refused_whether_it_says_so_or_not():
    guard = Guard(echo, Rules(body_bytes=10))
    assert ask(guard, method="POST", body=[b"12345", b"67890"])[2] == b"1234567890"
    answer = ask(guard, method="POST", headers=[("content-length", "11")])
    assert (answer[0], answer[1]["connection"]) == (413, "close")
    assert ask(guard, method="POST", headers=[("content-length", "-1")])[0] == 413
    assert ask(guard, method="POST", body=[b"123456", b"123456"])[0] == 413


def test_a_body_that_trickles_is_cut_off():
    answer = ask(Guard(echo, Rules(body_seconds=0.05)), method="POST", body=[b"1"] * 50, wait=0.01)
    assert answer[0] == 408
    assert "didn't come within" in error(answer)


def test_who_asks_too_often_waits():
    now = [0.0]
    guard = Guard(echo, Rules(rate=2, burst=3), clock=lambda: now[0])
    assert [ask(guard, method="POST")[0] for _ in range(4)] == [200, 200, 200, 429]
    assert ask(guard, method="POST", client="10.0.0.8")[0] == 200  # another client has its own
    assert ask(guard)[0] == 200  # what costs nothing isn't counted
    now[0] = 0.5
    answer = ask(guard, method="POST")
    assert answer[0] == 200
    answer = ask(guard, method="POST")
    assert (answer[0], answer[1]["retry-after"]) == (429, "1")


def test_too_many_at_a_time_are_told_to_come_again():
    guard = Guard(echo, Rules(in_flight=0))
    answer = ask(guard)
    assert (answer[0], answer[1]["retry-after"]) == (429, "1")
    assert guard.in_flight == 0


def test_what_is_in_flight_is_forgotten_when_the_application_fails():
    async def fail(scope, receive, send):
        raise RuntimeError

    guard = Guard(fail, Rules())
    with pytest.raises(RuntimeError):
        ask(guard)
    assert guard.in_flight == 0
