"""The parts of an array, read by several threads: each once, errors reach the caller, and nobody waits for a late thread."""

import threading

import pytest

from lookalike.neighbors.distances import base
from lookalike.neighbors.distances.base import read_in_parts


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch):
    monkeypatch.setattr(base, "usable_cores", lambda: 4)


@pytest.mark.parametrize("count", [0, 1, 7, 300])
@pytest.mark.parametrize("least", [1, 4, 1000])
def test_each_part_is_read_once(count, least):
    seen = []
    read_in_parts(range(0, 10 * count, 10), least, lambda starts: seen.extend(list(starts)))
    assert sorted(seen) == list(range(0, 10 * count, 10))


def test_several_threads_read_and_all_that_they_began_is_done():
    meet, ended = threading.Barrier(4, timeout=60), []

    def read(starts):
        for start in starts:
            if start < 4:
                meet.wait()  # all four have a part
            ended.append(start)

    read_in_parts(range(8), 1, read)
    assert sorted(ended) == list(range(8))


def test_an_error_of_any_thread_reaches_the_caller():
    caller, told = threading.get_ident(), threading.Event()

    def read(starts):
        for _ in starts:
            if threading.get_ident() != caller:
                told.set()
                raise ValueError("of a helper")
            told.wait(60)

    with pytest.raises(ValueError, match="of a helper"):
        read_in_parts(range(8), 1, read)
    with pytest.raises(ZeroDivisionError):
        read_in_parts(range(8), 1, lambda starts: [1 / 0 for _ in starts])


def test_a_thread_that_begins_late_is_not_waited_for(monkeypatch):
    late = []
    monkeypatch.setattr(base, "start_new_thread", lambda work, _: late.append(work))
    seen = []
    read_in_parts(range(8), 1, lambda starts: seen.append(list(starts)))
    for work in late:
        work()  # now it begins: nothing is left, and it doesn't even look
    assert seen == [list(range(8))]
    assert len(late) == 3
