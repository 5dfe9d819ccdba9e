"""The socket that a server listens on, and the address that it prints."""

from __future__ import annotations

import socket

import pytest

from lookalike.errors import UsageError
from lookalike.server.address import address_of, is_local
from lookalike.server.listening import PortError, listen_on


def test_a_port_that_is_taken_is_said_and_the_next_offered():
    with listen_on("127.0.0.1", None) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortError, match=rf"port {port} is taken; \d+ is free: --port \d+"):
            listen_on("127.0.0.1", port)
        with listen_on("127.0.0.1", None) as another:
            assert another.getsockname()[1] != port
    with pytest.raises(UsageError, match="it must be 0 to 65535"):
        listen_on("127.0.0.1", 70_000)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("192.168.1.5", False),
        ("example.org", False),
    ],
)
def test_which_addresses_need_a_token(host, local):
    assert is_local(host) is local


def test_the_address_that_is_printed():
    assert address_of("127.0.0.1", 1, None) == "http://127.0.0.1:1/"
    assert address_of("::1", 1, "t", secure=True) == "https://[::1]:1/?token=t"
    assert address_of("0.0.0.0", 1, "t") == f"http://{socket.gethostname()}:1/?token=t"


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_that_is_none_is_refused(port):
    with pytest.raises(UsageError, match=f"the port is {port}; it must be 0 to 65535"):
        listen_on("127.0.0.1", port)


def test_the_last_port_will_do():
    try:
        with listen_on("127.0.0.1", 65_535) as listening:
            assert listening.getsockname()[1] == 65_535
    except PortError as e:  # somebody has it
        pytest.skip(str(e))


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_address_of_ipv6_is_listened_on(host):
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        listening = listen_on(host, 0)
    except PortError as e:
        pytest.skip(str(e))
    with listening:
        assert listening.family == socket.AF_INET6
    with listen_on("127.0.0.1", 0) as listening:
        assert listening.family == socket.AF_INET


@pytest.mark.parametrize("host", ["", " ", "a\0b", "192.0.2.1"])
def test_what_is_no_host_of_this_machine_is_refused(host):
    with pytest.raises((UsageError, PortError), match="--host"):
        listen_on(host, 0)
