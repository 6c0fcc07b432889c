"""The thread that reports runs: it is kept for the next run, and calls nothing after the end of a run."""

from __future__ import annotations

import math
import threading

import pytest

from workers.reporting.pacer import Pacer

PATIENCE_S = 60


def test_a_function_is_called_at_the_intervals_that_it_returns() -> None:
    third = threading.Event()
    calls: list[int] = []

    def call() -> float:
        calls.append(threading.get_ident())
        if len(calls) == 3:
            third.set()
            return math.inf
        return 0.0

    pacer = Pacer.begin(call, 0.0)
    assert third.wait(PATIENCE_S)
    pacer.end()
    assert len(calls) == 3
    assert set(calls) != {threading.get_ident()}


def test_the_next_run_has_the_same_thread_without_waiting_for_the_last_delay() -> None:
    threads: list[int] = []
    called = threading.Event()

    def call() -> float:
        threads.append(threading.get_ident())
        called.set()
        return 3600.0

    for _ in range(3):  # each would wait an hour for the thread that the run before has left
        called.clear()
        pacer = Pacer.begin(call, 0.0)
        assert called.wait(PATIENCE_S)
        pacer.end()
    assert len(threads) == 3
    assert len(set(threads)) == 1


def test_the_end_of_a_run_waits_for_the_present_call_and_allows_no_further_one() -> None:
    inside, go_on = threading.Event(), threading.Event()
    ended: list[bool] = []

    def call() -> float:
        inside.set()
        assert go_on.wait(PATIENCE_S)
        ended.append(True)
        return 0.0

    pacer = Pacer.begin(call, 0.0)
    assert inside.wait(PATIENCE_S)
    threading.Timer(0.05, go_on.set).start()
    pacer.end()
    calls = len(ended)
    assert calls == 1
    follower = threading.Event()
    other = Pacer.begin(lambda: (follower.set(), math.inf)[1], 0.0)
    assert follower.wait(PATIENCE_S)
    other.end()
    assert len(ended) == calls


def test_runs_at_the_same_time_have_threads_of_their_own() -> None:
    both = threading.Barrier(2, timeout=PATIENCE_S)
    met = [threading.Event(), threading.Event()]

    def call(index: int) -> float:
        both.wait()
        met[index].set()
        return math.inf

    pacers = [Pacer.begin(lambda index=index: call(index), 0.0) for index in range(2)]  # type: ignore[misc]
    assert all(event.wait(PATIENCE_S) for event in met)
    for pacer in pacers:
        pacer.end()


def test_a_function_that_fails_is_not_called_again_and_leaves_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    failed, called = threading.Event(), threading.Event()
    calls: list[int] = []

    def broken() -> float:
        calls.append(threading.get_ident())
        failed.set()
        raise ZeroDivisionError

    pacer = Pacer.begin(broken, 0.0)
    assert failed.wait(PATIENCE_S)
    pacer.end()
    other = Pacer.begin(lambda: (calls.append(threading.get_ident()), called.set(), math.inf)[2], 0.0)
    assert called.wait(PATIENCE_S)
    other.end()
    assert len(calls) == 2
    assert len(set(calls)) == 1
    assert "a run goes on without reports" in caplog.text
