"""Every limit of the server is the one that docs/serving.md tells."""

from __future__ import annotations

import pytest

from lookalike.server.admission import Slots
from lookalike.server.connections import CUT_SECONDS, HEAD_SECONDS, IDLE_SECONDS, STALL_SECONDS, configured
from lookalike.server.downloads import MAX_BYTES as ZIP_BYTES
from lookalike.server.fetching import MAX_FETCHES, Fetcher
from lookalike.server.guard import Guard
from lookalike.server.listening import MARGIN, MAX_CONNECTIONS, max_connections
from lookalike.server.outgoing import PIECE, SMALL
from lookalike.server.pools import (
    COSTLY_SECONDS,
    LIGHT_THREADS,
    MAX_COSTLY,
    MAX_COSTLY_QUEUE,
    MAX_LEARNING,
    MAX_LEARNING_QUEUE,
    MAX_QUERIES,
    MAX_WAITING,
    Pools,
)
from lookalike.server.rules import Rules
from lookalike.server.service import BATCH_SIZE, MAX_DENOISED_BYTES
from lookalike.server.upload_cache import MAX_BYTES, MAX_FILES
from lookalike.server.uploads import LIMITS, TOGETHER_PIXELS, TOGETHER_SECONDS
from paths import ROOT

MB, GB = 2**20, 2**30
RULES = Rules()
QUEUED = Slots("things", 1)
TOLD = [
    f"| {MAX_CONNECTIONS}, or half of the files",
    f"| {HEAD_SECONDS:g} s; {HEAD_SECONDS:g} s; {IDLE_SECONDS} s |",
    f"in pieces of {PIECE / 1024:g} KiB; less than that taken in {STALL_SECONDS:g} s ends",
    f"| {RULES.in_flight}; {RULES.in_flight / 2:g}; {RULES.bodies}, and {RULES.bodies} that wait |",
    f"all answers over {SMALL / MB:g} MiB held | {RULES.held_bytes / MB:g} MiB each |",
    f"| {RULES.files}, and {4 * RULES.files} that wait for up to {QUEUED.seconds:g} s |",
    f"| streams of events | {RULES.streams} |",
    f"| {LIGHT_THREADS} threads of their own",
    f"| searches | {MAX_QUERIES} |",
    f"| {MAX_COSTLY}, and {MAX_COSTLY_QUEUE} that wait for up to a minute |",
    f"| {MAX_LEARNING} things, and {MAX_LEARNING_QUEUE} that wait; each once, for all clients; {MAX_WAITING} requests wait",
    f"no more than {BATCH_SIZE} held as pixels; {TOGETHER_SECONDS:g} s together; {MAX_DENOISED_BYTES / MB:g} MiB of pixels",
    f"| URLs being fetched | {MAX_FETCHES} |",
    f"has {Fetcher().seconds:g} seconds. Without",
    f"answers after at most {CUT_SECONDS:g} s",
    f"{RULES.burst} at once; of IPv6",
    f"a body over {RULES.body_bytes / MB:g} MiB; an image over {LIMITS.pixels / 1e6:g} megapixels",
    f"over {TOGETHER_PIXELS / 1e6:g} megapixels together; a ZIP over {ZIP_BYTES / GB:g} GiB",
    f"a body that takes over {RULES.body_seconds:g} seconds, a request's head that takes over {HEAD_SECONDS:g} |",
    f"no answer within {RULES.seconds:g} seconds",
    f"takes over {LIMITS.seconds:g} seconds or {LIMITS.memory / GB:g} GiB to decode",
    f"the latest {MAX_BYTES / MB:g} MiB, at most {MAX_FILES:,}.",
]


@pytest.fixture(scope="module")
def page():
    path = ROOT / "docs" / "serving.md"
    if not path.exists():
        pytest.skip("the docs aren't here")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("told", TOLD)
def test_a_limit_is_what_the_page_says(page, told):
    assert told in page


def test_limits_that_follow_from_others():
    assert COSTLY_SECONDS == 60  # "a minute"
    assert LIMITS.bytes == Fetcher().max_bytes == RULES.body_bytes  # however an image comes
    slots = Guard(None, RULES)._slots
    found = {name: (one.limit, one.queue, one.retry_seconds) for name, one in slots.items()}
    assert found == {
        "all": (256, 0, 1),
        "asking": (128, 0, 1),
        "bodies": (32, 32, 1),
        "files": (16, 64, 1),
        "events": (100, 0, 30),
    }
    assert Guard(None, Rules(in_flight=1))._slots["asking"].limit == 1
    learning = Pools()._slots["learning"]
    assert (learning.limit, learning.queue, learning.retry_seconds) == (MAX_LEARNING, MAX_LEARNING_QUEUE, 10)
    assert learning.seconds > 1e5  # only a request's own deadline ends the wait


@pytest.mark.parametrize(
    ("files", "connections"),
    [(100_000, MAX_CONNECTIONS), (-1, MAX_CONNECTIONS), (264, 100), (265, 100), (266, 101), (64, 8)],
)
def test_connections_are_half_of_the_files_that_may_be_open(monkeypatch, files, connections):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, 1_000_000))
    assert MARGIN == 64
    assert max_connections() == connections


def test_a_head_that_is_held_is_no_longer_than_a_piece():
    assert configured(None).h11_max_incomplete_event_size == PIECE


def test_on_windows_a_select_takes_512(monkeypatch):
    monkeypatch.setattr("sys.platform", "win32")
    assert max_connections() + 2 * MARGIN == 512
