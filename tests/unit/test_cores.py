"""Threads of matrix products: held to one, and given back."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from lookalike.cores import one_thread_of_blas, product_threads, usable_cores
from lookalike.neighbors.tiling import candidates


@pytest.fixture(autouse=True)
def two_threads():
    with threadpool_limits(2, user_api="blas"):
        yield


def threads():
    return {
        pool["num_threads"]
        for pool in threadpool_info()
        if pool["user_api"] == "blas" and "faiss" not in pool["filepath"]
    }


def test_one_within_another_gives_the_threads_back_at_the_end():
    with one_thread_of_blas():
        with one_thread_of_blas():
            assert threads() == {1}
        assert threads() == {1}
    assert threads() == {2}


def test_they_come_back_after_an_error():
    with pytest.raises(KeyError), one_thread_of_blas():
        raise KeyError
    assert threads() == {2}


def test_the_last_of_several_users_gives_them_back():
    entered, leave = threading.Event(), threading.Event()

    def other():
        with one_thread_of_blas():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with one_thread_of_blas():
        thread.start()
        assert entered.wait(10)
    assert threads() == {1}  # the other is still at work
    leave.set()
    thread.join()
    assert threads() == {2}


def test_who_comes_later_is_held_though_the_threads_were_raised_meanwhile():
    with one_thread_of_blas(), threadpool_limits(2, user_api="blas"):
        assert threads() == {2}
        with one_thread_of_blas():
            assert threads() == {1}


def test_a_limit_that_a_person_set_counts_for_our_threads_too():
    assert product_threads() == min(2, usable_cores())
    with one_thread_of_blas():
        assert product_threads() == min(2, usable_cores())
    with threadpool_limits(1, user_api="blas"), one_thread_of_blas():
        assert product_threads() == 1


def test_answers_that_nobody_fetches_hold_nothing():
    found = candidates(
        np.ones((8, 2), np.float32),
        np.zeros(8),
        1,
        16,
        lambda start, stop, across, out: out.fill(0),
        lambda *pairs: pairs,
    )
    next(found)
    assert threads() == {2}


def test_the_library_that_scipy_brings_is_held_too():
    code = """
import sys
import numpy
from threadpoolctl import threadpool_info
from lookalike.cores import one_thread_of_blas

with one_thread_of_blas():
    assert "scipy.linalg" not in sys.modules
with one_thread_of_blas(with_scipy=True):
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas" and "faiss" not in pool["filepath"]]
    assert "scipy.linalg" in sys.modules
    assert {pool["num_threads"] for pool in pools} == {1}, pools
"""
    subprocess.run([sys.executable, "-c", code], check=True)
