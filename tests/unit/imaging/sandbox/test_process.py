"""What is said of a worker's end, and what of its answers is believed."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest

from lookalike.imaging.sandbox.process import MAX_HEADER, ProtocolError, amount, cause_of_end, parse_header
from lookalike.imaging.sandbox.worker import _Alarm, allowed_growth, resident_bytes

MB = 2**20


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (None, "it hangs in the system and can't be ended"),
        (0, "exit code 0"),
        (3, "exit code 3"),
        (-signal.SIGSEGV, "signal SIGSEGV"),
        (-signal.SIGABRT, "signal SIGABRT"),
        (-500, "signal 500"),
    ],
)
def test_why_a_worker_ended(status, said):
    assert cause_of_end(status) == said


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_who_is_killed_may_have_been_so_for_want_of_memory():
    assert cause_of_end(-signal.SIGKILL) == "signal SIGKILL, as when the machine is out of memory"
    assert cause_of_end(-signal.SIGALRM) == "signal SIGALRM"


@pytest.mark.parametrize(
    ("size", "said"),
    [(2**30, "1 GB"), (2**30 - 2**20, "1.02e+03 MB"), (3 * 2**29, "1.5 GB"), (512 * MB, "512 MB"), (MB, "1 MB")],
)
def test_amounts_are_in_mb_and_from_one_on_in_gb(size, said):
    assert amount(size) == said


def test_a_header_is_taken_that_has_its_form():
    assert parse_header(json.dumps(["done", {"a": 1}, [3, 0]]).encode()) == ("done", {"a": 1}, [3, 0])


@pytest.mark.parametrize(
    "told", [b"", b"{}", b"[]", b"[1, {}, []]", b'["done", [], []]', b'["done", {}, {}]', b'["done", {}, [-1]]', b'["done", {}, [true]]',
             b'["done", {}, [1.0]]', b'["done", {}]', b"\xff", b"[" * 100_000],
)  # fmt: skip
def test_any_other_header_is_refused(told):
    with pytest.raises(ProtocolError, match="its answer makes no sense"):
        parse_header(told)
    assert MAX_HEADER == 4 * MB


def test_how_much_a_worker_may_grow():
    assert allowed_growth(1024 * MB) == 256 * MB
    assert allowed_growth(256 * MB) == allowed_growth(0) == 64 * MB


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_memory_of_a_process_is_told_or_nothing():
    assert resident_bytes("self") > 10 * MB
    assert resident_bytes(os.getpid()) > 10 * MB
    assert resident_bytes("none") == 0


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_an_alarm_is_set_for_times_that_the_system_can_count():
    before = signal.getsignal(signal.SIGALRM)
    try:
        assert _Alarm(5.0)._seconds == 5.0
        assert _Alarm(1e8)._seconds == 0
    finally:
        signal.signal(signal.SIGALRM, before)
