"""What may be typed for `lookalike serve`, and what each is refused with."""

from __future__ import annotations

import pytest

from lookalike.errors import UsageError
from lookalike.server.options import (
    MIN_TOKEN,
    check_certificate,
    check_proxy,
    check_token,
    checked_name,
    checked_origin,
    checked_prefix,
)


def test_a_token_that_can_be_guessed_is_refused():
    check_token("x" * MIN_TOKEN)
    for token in ("x" * (MIN_TOKEN - 1), " " * 20 + "x" * (MIN_TOKEN - 1)):
        with pytest.raises(UsageError, match="the token has 15 characters and could be guessed; give at least 16"):
            check_token(token)
    with pytest.raises(UsageError, match="the token is empty"):
        check_token("")


@pytest.mark.parametrize(
    ("name", "host"), [("Photos.Example.", "photos.example"), (" localhost ", "localhost"), ("[::1]", "[::1]")]
)
def test_a_name_is_compared_as_browsers_send_it(name, host):
    assert checked_name(name) == host


@pytest.mark.parametrize(
    "name", ["", ".", "https://a", "a/b", "a@b", "a?b", "a#b", "a, b", "a:80", "::1", "[::1", "::1]"]
)
def test_what_is_more_than_a_name_is_refused(name):
    with pytest.raises(UsageError, match="expected a host name without https:// and port: photos.example"):
        checked_name(name)


@pytest.mark.parametrize("origin", ["https://Shop.example/", "http://shop.example:8080", "https://[::1]:1"])
def test_an_origin_is_compared_as_browsers_send_it(origin):
    assert checked_origin(origin) == origin.lower().rstrip("/")


@pytest.mark.parametrize(
    "origin",
    [
        "shop.example",
        "ftp://shop.example",
        "https://",
        "https://a/b",
        "https://a?b",
        "https://a#b",
        "http://[",
        "",
        "null",
    ],
)
def test_what_is_no_origin_is_refused(origin):
    with pytest.raises(UsageError, match="expected the origin of a site: https://shop.example"):
        checked_origin(origin)


@pytest.mark.parametrize(
    ("prefix", "path"),
    [("", ""), ("/", ""), ("photos", "/photos"), ("/my/photos/", "/my/photos"), ("a-b._~1", "/a-b._~1")],
)
def test_a_prefix_begins_with_a_slash_and_ends_with_none(prefix, path):
    assert checked_prefix(prefix) == path


@pytest.mark.parametrize("prefix", ["a b", "a//b", "../a", "a/./b", "a%20b", "ä", "a?b"])
def test_a_prefix_that_an_address_cannot_hold_is_refused(prefix):
    with pytest.raises(UsageError, match="expected a path of plain letters"):
        checked_prefix(prefix)


def test_proxies_are_addresses_or_networks():
    for proxy in ("127.0.0.1", "10.0.0.0/8", "::1", "fd00::/8"):
        check_proxy(proxy)
    for proxy in ("proxy.example", "10.0.0.1/8", "*", ""):
        with pytest.raises(UsageError, match="not the address or network of a proxy"):
            check_proxy(proxy)


def test_a_certificate_and_its_key_are_looked_at_before_anything_is_served(tmp_path):
    there, missing = tmp_path / "a.pem", tmp_path / "b.pem"
    there.write_text("no certificate")
    for pair in ((there, missing), (missing, there), (there, tmp_path)):
        with pytest.raises(UsageError, match="no such file; --certificate and --key are a PEM certificate and its key"):
            check_certificate(*pair)
    with pytest.raises(UsageError, match="not a PEM certificate and its key: "):
        check_certificate(there, there)
