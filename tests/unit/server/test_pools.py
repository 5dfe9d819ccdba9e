"""Costly work of the service: learnt once for all who wait, apart from what isn't costly, and no more than it can do."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest

pytest.importorskip("uvicorn", reason="the extra serve isn't installed")

from lookalike.errors import UsageError
from lookalike.server import pools
from lookalike.server.admission import BusyError
from lookalike.server.pools import Pools, still_wanted


def an_index():
    return SimpleNamespace(learnt=set(), preparing=threading.Lock())


class Learns:
    """Work that waits until it may go on, and counts."""

    def __init__(self):
        self.begun, self.go_on, self.calls = threading.Event(), threading.Event(), 0

    def __call__(self):
        self.calls += 1
        self.begun.set()
        assert self.go_on.wait(20)
        return self.calls


async def until(event):
    while not event.is_set():
        await asyncio.sleep(0.005)


def test_what_is_learnt_is_learnt_once_and_all_who_wait_get_their_answers():
    async def run():
        made, index, learns = Pools(), an_index(), Learns()
        all_of = [
            asyncio.ensure_future(made.learnt(index, "auto", learns, first="learning", pool="costly"))
            for _ in range(20)
        ]
        await until(learns.begun)
        await asyncio.sleep(0.05)
        assert learns.calls == 1
        assert await made.run("queries", lambda: "a search") == "a search"  # which doesn't wait behind it
        assert await made.run("costly", lambda: "explained") == "explained"
        learns.go_on.set()
        assert len(await asyncio.gather(*all_of)) == 20
        assert learns.calls == 20
        assert index.learnt == {"auto"}

    asyncio.run(run())


def test_too_many_that_wait_are_told_to_come_again(monkeypatch):
    monkeypatch.setattr(pools, "MAX_WAITING", 3)

    async def run():
        made, index, learns = Pools(), an_index(), Learns()
        where = {"first": "learning", "pool": "costly"}
        waiting = [asyncio.ensure_future(made.learnt(index, "auto", learns, **where)) for _ in range(4)]
        await until(learns.begun)
        with pytest.raises(BusyError, match="3 requests wait for what is being learnt") as told:
            await made.learnt(index, "auto", learns, **where)
        assert told.value.seconds == 10
        plain = await asyncio.gather(*(made.learnt(index, "plain", lambda: 1) for _ in range(20)))
        assert plain == [1] * 20  # those who search wait for something else
        learns.go_on.set()
        await asyncio.gather(*waiting)
        assert await made.learnt(index, "auto", learns) == 5

    asyncio.run(run())


def test_what_is_learnt_goes_on_when_who_asked_first_has_gone():
    async def run():
        made, index, learns = Pools(), an_index(), Learns()
        first = asyncio.ensure_future(made.learnt(index, "auto", learns, first="learning"))
        await until(learns.begun)
        ran = threading.Event()
        second = asyncio.ensure_future(made.learnt(index, "auto", lambda: ran.set() or "the second", first="learning"))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0.05)
        assert not ran.is_set()  # it waits for the same
        learns.go_on.set()
        assert await second == "the second"
        assert (learns.calls, index.learnt) == (1, {"auto"})

    asyncio.run(run())


def test_a_question_that_fails_leaves_learning_to_the_next():
    async def run():
        made, index = Pools(), an_index()

        def wrong():
            raise UsageError("no such distance")

        asked = [
            asyncio.ensure_future(made.learnt(index, "auto", work)) for work in (wrong, lambda: 1, wrong, lambda: 2)
        ]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [str(one) for one in found] == ["no such distance", "1", "no such distance", "2"]
        assert not made._learning

    asyncio.run(run())


def test_costly_questions_are_few_at_a_time(monkeypatch):
    monkeypatch.setattr(pools, "MAX_COSTLY_QUEUE", 2)

    async def run():
        made, learns = Pools(), Learns()
        asked = [asyncio.ensure_future(made.run("costly", learns)) for _ in range(pools.MAX_COSTLY + 2)]
        await until(learns.begun)
        with pytest.raises(BusyError, match="costly requests are being answered; try again later"):
            await made.run("costly", learns)
        assert await made.run("queries", lambda: 1) == 1
        learns.go_on.set()
        await asyncio.gather(*asked)

    asyncio.run(run())


def test_a_thread_ends_between_two_steps_when_nobody_wants_its_answer():
    import anyio

    begun, go_on, steps = threading.Event(), threading.Event(), []

    def work():
        for step in range(10):
            still_wanted()
            steps.append(step)
            begun.set()
            assert go_on.wait(20)

    async def run():
        made = Pools()
        with anyio.CancelScope() as scope:

            async def leave():
                await until(begun)
                scope.cancel()
                go_on.set()

            leaving = asyncio.ensure_future(leave())
            await made.run("queries", work)
        assert scope.cancelled_caught
        await leaving

    asyncio.run(run())
    assert steps == [0]
    still_wanted()  # elsewhere it says nothing
