"""Who may ask the server: each rule of the guard, by requests as ASGI hands them over."""

from __future__ import annotations

import asyncio
import json

import pytest

from lookalike.server.admission import BusyError, ByteBudget, Slots
from lookalike.server.guard import Guard
from lookalike.server.rules import COOKIE, Rules

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
    raw = [(n.lower().encode(), v.encode() if isinstance(v, str) else v) for n, v in headers]
    if not any(n == b"host" for n, _ in raw):
        raw.append((b"host", b"127.0.0.1:8321"))
    scope = {  # the texts are no constants, as a server reads them
        "type": "http", "method": bytes(method, "ascii").decode(), "path": bytes(path, "ascii").decode(), "headers": raw, "query_string": query, "scheme": "http",
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
    guard.scope = scope
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
    assert "content-length" not in headers  # HTTP allows none here
    assert headers["access-control-allow-origin"] == "https://shop.example"
    assert ask(guard, method="OPTIONS")[0] == 401
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
    assert (status, headers["location"]) == (303, "./")
    for part in (f"{COOKIE}={TOKEN}", "HttpOnly", "SameSite=Strict"):
        assert part in headers["set-cookie"]
    assert ask(guard, path="/", query=b"token=wrong")[0] == 401
    assert ask(guard, path="/api/info", query=f"token={TOKEN}".encode())[0] == 401


def test_a_body_over_the_limit_is_refused_whether_it_says_so_or_not():
    guard = Guard(echo, Rules(body_bytes=10))
    assert ask(guard, method="POST", body=[b"12345", b"67890"])[2] == b"1234567890"
    assert ask(guard, method="POST", headers=[("content-length", "10")], body=[b"1234567890"])[0] == 200
    answer = ask(guard, method="POST", headers=[("content-length", "11")])
    assert (answer[0], answer[1]["connection"]) == (413, "close")
    over = ask(Guard(echo, Rules()), method="POST", headers=[("content-length", str(2**25 + 1))])
    assert error(over) == "the request is over 32 MB; send a smaller image"
    assert ask(guard, method="POST", headers=[("content-length", "-1")])[0] == 413
    assert ask(guard, method="POST", body=[b"123456", b"123456"])[0] == 413


def test_a_client_that_goes_amid_its_body_is_answered_by_nobody():
    seen = []

    async def gone(scope, receive, send):
        seen.append(await receive())

    async def run():
        parts = [{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}]

        async def receive():
            return parts.pop(0)

        guard = Guard(gone, Rules())
        headers = [(b"host", b"127.0.0.1"), (b"transfer-encoding", b"chunked")]
        scope = {"type": "http", "method": "POST", "path": "/api/search", "headers": headers, "client": ("::1", 1)}
        await asyncio.wait_for(guard(scope, receive, None), 10)
        assert (guard.in_flight, guard._held.held) == (0, 0)

    asyncio.run(run())
    assert all(message["type"] == "http.disconnect" or not message.get("more_body") for message in seen)


def test_who_asks_before_it_sends_is_refused_without_a_body():
    guard = Guard(echo, Rules(token=TOKEN))
    expecting = [("expect", "100-continue"), ("content-length", "5")]
    answer = ask(guard, method="POST", headers=expecting, body=[b"never"], wait=100.0)
    assert (answer[0], answer[1]["connection"]) == (401, "close")


def test_a_refused_body_is_read_in_part_and_then_its_connection_ends():
    guard = Guard(echo, Rules(token=TOKEN))
    length = [("transfer-encoding", "chunked")]
    for parts, close in (([b"x" * 2**18] * 3, None), ([b"x" * 2**18] * 9, "close")):
        left = list(parts)
        answer = ask(guard, method="POST", headers=length, body=left)
        assert (answer[0], answer[1].get("connection")) == (401, close)


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


def test_who_asks_too_often_is_told_how_long_to_wait_and_never_nothing():
    for rate, wait in ((100, "1"), (2, "1"), (0.1, "10")):
        guard = Guard(echo, Rules(rate=rate, burst=1), clock=lambda: 0.0)
        ask(guard, method="POST")
        answer = ask(guard, method="POST")
        assert (answer[0], answer[1]["retry-after"]) == (429, wait)
        assert error(answer) == f"more than {rate:g} requests a second; wait {wait} s"


def test_a_bucket_holds_no_more_than_a_burst():
    now = [0.0]
    guard = Guard(echo, Rules(rate=1, burst=2), clock=lambda: now[0])
    ask(guard, method="POST")
    now[0] = 1000.0
    assert [ask(guard, method="POST")[0] for _ in range(3)] == [200, 200, 429]


def test_streams_of_events_are_few_and_have_no_end():
    guard = Guard(echo, Rules(streams=0, seconds=0.0))
    answer = ask(guard, path="/api/events")
    assert (answer[0], answer[1]["retry-after"]) == (429, "30")
    assert ask(Guard(echo, Rules(in_flight=0, seconds=0.0)), path="/api/events")[0] == 200


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


# Sign-in --------------------------------------------------------------------------------------------------------------

TOKENS = [
    "a+b & c%d;e=f,g 1234", "ümlaut-and-日本語-token", 'quoted "token" \\ of some length', "%41%42 that is percent, not AB",
    "'; DROP TABLE tokens; --", "tab\tand newline\n inside", "  blanks around it, kept  ", "emoji 🦊🦊🦊🦊🦊🦊🦊🦊🦊🦊",
    "bytes that are no text: \udcff\udcfe", "<script>alert(1)</script>", "path/with/../and?query#hash",
]  # fmt: skip


def signed_in(guard, query):
    """Open the printed address; return the cookie as a browser would send it back."""
    status, headers, _ = ask(guard, path="/", query=query.encode())
    assert status == 303
    name, _, rest = headers["set-cookie"].partition("=")
    return f"{name}={rest.partition(';')[0]}"


@pytest.mark.parametrize("token", TOKENS)
def test_any_token_signs_in_by_the_address_that_is_printed(token):
    from lookalike.client.http import _for_a_header
    from lookalike.server.address import address_of

    guard = Guard(echo, Rules(token=token, port=8321))
    address = address_of("127.0.0.1", 8321, token)
    assert address.isascii()
    assert not set(address) & set(' \n\t"<>')
    cookie = signed_in(guard, address.partition("?")[2])
    assert ask(guard, headers=[("cookie", cookie)])[0] == 200
    assert ask(guard, headers=[("authorization", f"Bearer {_for_a_header(token)}")])[0] == 200
    plain = token.encode("utf-8", "surrogateescape")
    if token == token.strip() and token.isprintable():
        assert ask(guard, headers=[("authorization", b"Bearer " + plain)])[0] == 200
    for wrong in (token[:-1], token.upper() + "x", token + "\x00"):
        assert ask(guard, headers=[("authorization", f"Bearer {_for_a_header(wrong)}")])[0] == 401


def test_an_address_of_too_many_parts_signs_nobody_in():
    guard = Guard(echo, Rules(token=TOKEN))
    assert ask(guard, path="/", query=b"&".join(b"a=1" for _ in range(30)) + f"&token={TOKEN}".encode())[0] == 401


def test_the_cookie_is_for_tls_alone_where_that_is_spoken():
    for secure in (True, False):
        _, headers, _ = ask(Guard(echo, Rules(token=TOKEN, secure=secure)), path="/", query=f"token={TOKEN}".encode())
        assert headers["set-cookie"].endswith("; Secure") is secure


def test_two_servers_of_one_host_and_prefixes_keep_their_cookies_apart():
    one, two = (Guard(echo, Rules(token=f"token number {n} of two", port=8320 + n)) for n in (1, 2))
    cookies = [signed_in(guard, f"token=token+number+{n}+of+two") for n, guard in ((1, one), (2, two))]
    assert cookies[0].partition("=")[0] != cookies[1].partition("=")[0]
    both = [("cookie", "; ".join(cookies))]
    assert [ask(guard, headers=both)[0] for guard in (one, two)] == [200, 200]
    # Of one name but for different paths, as of two machines behind one proxy, a browser sends both.
    twice = [("cookie", f"{COOKIE}-8321=another; {cookies[0]}")]
    assert ask(one, headers=twice)[0] == 200
    _, headers, _ = ask(one, path="/", query=b"token=token+number+1+of+two")
    assert "path=" not in headers["set-cookie"].lower()  # a browser takes that of the address, prefix and all


@pytest.mark.parametrize(
    "others",
    [
        'prefs={"theme":"dark"}', "a=b;;; ;c", "=", "x=\\", 'q="unclosed', "name with blanks=1", "[]=1; $Version=1", b"bin=\xff\xfe",
        "ünïcode=ä", f"{COOKIE}-83211=no; x{COOKIE}-8321=no; {COOKIE}=no", "a" * 5000 + "=1", "token, with, commas=1",
    ],
)  # fmt: skip
def test_other_applications_cookies_change_nothing(others):
    guard = Guard(echo, Rules(token=TOKEN, port=8321))
    mine = f"{COOKIE}-8321={TOKEN}"
    if isinstance(others, str):
        others = others.encode()
    for cookie in (
        others + b"; " + mine.encode(),
        mine.encode() + b"; " + others,
        b"x=1;" + mine.encode() + b";" + others,
    ):
        assert ask(guard, headers=[("cookie", cookie)])[0] == 200
    assert ask(guard, headers=[("cookie", others), ("cookie", mine)])[0] == 200
    assert ask(guard, headers=[("cookie", others)])[0] == 401


def test_a_code_signs_in_once():
    now = [0.0]
    guard = Guard(echo, Rules(token=TOKEN, port=1), clock=lambda: now[0])
    code, late = guard.one_time_code(), guard.one_time_code()
    assert TOKEN not in code
    cookie = signed_in(guard, f"code={code}")
    assert ask(guard, headers=[("cookie", cookie)])[0] == 200
    assert ask(guard, path="/", query=f"code={code}".encode())[0] == 401
    now[0] = 61.0
    assert ask(guard, path="/", query=f"code={late}".encode())[0] == 401
    assert ask(guard, headers=[("authorization", f"Bearer {guard.one_time_code()}")])[0] == 401


def test_a_path_prefix_is_answered_with_and_without():
    async def where(scope, receive, send):
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    guard = Guard(where, Rules(prefix="/my/photos"))
    for path, seen in (
        ("/my/photos/", "/"), ("/my/photos/api/info", "/api/info"), ("/api/info", "/api/info"), ("/my/photosx", "/my/photosx"),
    ):  # fmt: skip
        assert ask(guard, path=path)[2].decode() == seen
    status, headers, _ = ask(guard, path="/my/photos", query=b"token=x")
    assert (status, headers["location"]) == (307, "photos/?token=x")
    assert ask(Guard(where, Rules()), path="/my/photos/api/info")[2] == b"/my/photos/api/info"


# What can be read in two ways -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    ["http://[", "http://[::1", "http://]", "://", "http://127.0.0.1:8321@evil.example", "ftp://127.0.0.1:8321", "127.0.0.1:8321",
     "http://127.0.0.1:8321/", "http://127.0.0.1:8321?a", "", " ", "null", "http://127.0.0.1:99999999", b"\xff\xfe", "x" * 60_000],
)  # fmt: skip
def test_an_origin_that_is_none_is_a_foreign_one(origin):
    answer = ask(Guard(echo, Rules(token=TOKEN)), method="POST", headers=[("origin", origin)])
    assert answer[0] == 403
    assert answer[1]["x-content-type-options"] == "nosniff"
    assert len(answer[2]) < 500


@pytest.mark.parametrize("name", ["Origin", "Authorization", "Content-Length", "Transfer-Encoding", "Sec-Fetch-Site"])
def test_two_of_a_header_that_is_single_are_refused(name):
    value = {"Origin": "http://127.0.0.1:8321", "Content-Length": "0", "Transfer-Encoding": "chunked"}.get(
        name, "same-origin"
    )
    answer = ask(Guard(echo, Rules()), method="POST", headers=[(name, value), (name, value)])
    assert (answer[0], answer[1]["connection"]) == (400, "close")


@pytest.mark.parametrize("length", ["-1", "+5", "5 ", "0x5", "५", "1e3", "9" * 400, "", "5, 5"])
def test_a_length_that_is_no_plain_number_is_refused(length):
    assert ask(Guard(echo, Rules()), method="POST", headers=[("content-length", length)])[0] in (413, 400)


def test_a_length_that_is_refused_is_told_in_part():
    answer = ask(Guard(echo, Rules()), method="POST", headers=[("content-length", "x" * 100)])
    assert error(answer) == f"the Content-Length is '{'x' * 40}'; expected a number of bytes"


def test_a_body_where_none_belongs_is_refused():
    for method in ("GET", "HEAD"):
        for header in (("content-length", "5"), ("transfer-encoding", "chunked")):
            assert ask(Guard(echo, Rules()), method=method, headers=[header], body=[b"hello"])[0] == 400
    assert ask(Guard(echo, Rules()), headers=[("content-length", "0")])[0] == 200
    both = [("content-length", "5"), ("transfer-encoding", "chunked")]
    assert ask(Guard(echo, Rules()), method="POST", headers=both, body=[b"hello"])[0] == 400


# How much -------------------------------------------------------------------------------------------------------------


def together(guard, requests):
    """Send requests that come at the same time; return their statuses, in the order in which they were answered."""
    ended = []

    async def one(path, method, parts):
        async def receive():
            if not parts:
                await asyncio.sleep(3600)
            part = parts.pop(0)
            if callable(part):
                part = await part()
            return {"type": "http.request", "body": part, "more_body": bool(parts)}

        async def send(message):
            if message["type"] == "http.response.start":
                ended.append((path, message["status"]))

        headers = [(b"host", b"127.0.0.1"), *([(b"transfer-encoding", b"chunked")] if method == "POST" else [])]
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": headers,
            "scheme": "http",
            "client": ("::1", 1),
        }
        await guard(scope, receive, send)

    async def run():
        await asyncio.gather(*(one(*request) for request in requests))

    asyncio.run(run())
    return ended


async def never():
    await asyncio.sleep(3600)


@pytest.mark.slow
def test_slow_bodies_take_no_place_of_those_that_ask_for_pages():
    guard = Guard(echo, Rules(in_flight=8, bodies=8, body_seconds=0.2))
    slow = [("/api/search", "POST", [never]) for _ in range(20)]
    statuses = together(guard, [*slow, ("/api/info", "GET", [b""])])
    assert ("/api/info", 200) in statuses[:17]
    assert [status for _, status in statuses].count(429) == 16  # four were taken on: half of all
    assert [status for _, status in statuses[17:]] == [408] * 4
    assert (guard.in_flight, guard._held.held) == (0, 0)


@pytest.mark.slow
def test_few_bodies_are_received_at_a_time():
    guard = Guard(echo, Rules(bodies=2, body_seconds=0.2))
    statuses = together(guard, [("/api/search", "POST", [never]) for _ in range(6)])
    assert sorted(status for _, status in statuses) == [408] * 4 + [429] * 2  # two wait for the slots of the first two
    assert (guard.in_flight, guard._held.held) == (0, 0)


def test_bodies_are_counted_together_while_they_come():
    guard = Guard(echo, Rules(held_bytes=1000))
    full = asyncio.Event()

    async def waits():
        await full.wait()
        return b"b" * 100

    async def frees():
        full.set()
        return b"c" * 500

    statuses = together(guard, [("/api/search", "POST", [b"a" * 600, waits]), ("/api/search", "POST", [frees, b""])])
    assert statuses == [("/api/search", 429), ("/api/search", 200)]
    assert guard._held.held == 0


def test_files_are_sent_to_few_at_a_time_and_counted_in_the_rate():
    guard = Guard(echo, Rules(rate=1, burst=2), clock=lambda: 0.0)
    assert [ask(guard, path="/api/original")[0] for _ in range(3)] == [200, 200, 429]
    assert ask(guard, path="/api/thumbnail")[0] == 200


def test_an_answer_that_takes_too_long_is_broken_off():
    async def never(scope, receive, send):
        await asyncio.sleep(3600)

    answer = ask(Guard(never, Rules(seconds=0.05)))
    assert (answer[0], answer[1]["retry-after"]) == (503, "30")
    assert "no answer within" in error(answer)


def test_rates_are_kept_of_so_many_clients_and_a_household_is_one():
    guard = Guard(echo, Rules(rate=1, burst=1), clock=lambda: 0.0)
    assert ask(guard, method="POST", client="2001:db8::1")[0] == 200
    assert ask(guard, method="POST", client="2001:db8::2:3:4:5")[0] == 429
    assert ask(guard, method="POST", client="2001:db8:0:1::1")[0] == 200
    for n in range(10_050):
        guard._check_rate(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")
    guard._check_rate("x" * 60_000)
    assert len(guard._buckets) == 10_000
    assert list(guard._buckets)[-1] == "x" * 64
    assert "2001:db8::/64" not in guard._buckets  # the one that asked longest ago is forgotten first


@pytest.mark.parametrize(
    ("client", "headers", "rules", "remote"),
    [
        ("127.0.0.1", [], Rules(), False),
        ("::1", [], Rules(), False),
        ("10.0.0.7", [], Rules(), True),
        ("127.0.0.1", [("x-forwarded-for", "10.0.0.7")], Rules(), True),
        ("127.0.0.1", [("forwarded", "for=10.0.0.7")], Rules(), True),
        ("127.0.0.1", [("authorization", f"Bearer {TOKEN}")], Rules(token=TOKEN), True),
    ],
)
def test_who_may_be_another_machine(client, headers, rules, remote):
    guard = Guard(echo, rules)
    assert ask(guard, client=client, headers=headers)[0] == 200
    assert guard.scope["lookalike.remote"] is remote


def test_bytes_that_are_held_are_bounded_and_given_back():
    held = ByteBudget(3 * 2**20, "answers")
    held.take(2 * 2**20)
    held.take(2**20)
    with pytest.raises(BusyError, match="3 MB of answers are held already; try again later") as told:
        held.take(1)
    assert told.value.seconds == 2
    held.give_back(1)
    held.take(1)
    held.take_anyway(5)
    assert held.held == 3 * 2**20 + 5


def test_a_large_answer_that_cannot_be_held_is_refused_and_a_small_one_is_not():
    async def sends(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * int(scope["query_string"])})

    guard = Guard(sends, Rules(held_bytes=2**20))
    assert ask(guard, query=str(2**20).encode())[0] == 200
    assert ask(guard, query=str(2**20 + 1).encode())[0] == 429
    assert guard._sent.held == 0


def test_places_are_given_to_so_many_and_waited_for_by_so_many():
    async def run():
        slots = Slots("cooks are in the kitchen", 1, queue=1, seconds=30)
        done, order = asyncio.Event(), []

        async def cook(name):
            async with slots:
                order.append(name)
                await done.wait()

        first, second = asyncio.ensure_future(cook("first")), asyncio.ensure_future(cook("second"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="2 cooks are in the kitchen; try again later"):
            await cook("third")
        done.set()
        await asyncio.gather(first, second)
        assert order == ["first", "second"]
        assert (slots.inside, slots.waiting) == (0, 0)
        async with slots:  # a place that was waited for in vain is free again
            slots.seconds = 0.01
            with pytest.raises(BusyError):
                await cook("late")
        async with slots:
            pass

    asyncio.run(run())
