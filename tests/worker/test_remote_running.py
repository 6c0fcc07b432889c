"""How a run waits for its back end: its end is noticed by what announces it, and looks do not delay it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.models.backends import Backend
from workers.remote import pace, running
from workers.remote.base import BackendAway, HandBack, RemoteProgress, TaskGone
from workers.remote.lightx2v import LightX2VExecutor

#: Longest wait for another thread, seconds.
PATIENCE_S = 60.0


class Reporter:
    """Counts checks and keeps reported steps; ``on_check`` is called by each check."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.on_check: Callable[[], None] = lambda: None

    def check(self) -> None:
        self.on_check()

    def preview_due(self) -> bool:
        return False

    def expect(self, steps: int) -> None:
        pass

    def step(self, done: int) -> None:
        self.steps.append(done)


class Executor:
    """A blocking back end. ``over``: its answer has arrived; ``look``: what a look at the progress does."""

    tells_progress = True

    def __init__(self) -> None:
        self.over = threading.Event()
        self.look: Callable[[], RemoteProgress] = RemoteProgress
        self.waits_s: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.waits_s.append(seconds)
        return self.over.wait(seconds)

    def poll(self, *, preview: bool = False) -> RemoteProgress:
        return RemoteProgress(done=True) if self.over.is_set() else self.look()


def backend(**options: Any) -> Backend:
    return Backend(name="far", type="automatic1111", endpoint="http://127.0.0.1:1", models={"m": ""}, **options)


def run_of(executor: Executor, reporter: Reporter, **options: Any) -> Any:
    return running._Run(backend(**options), executor, reporter)  # type: ignore[arg-type]


@pytest.fixture
def _no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(seconds: float) -> None:
        raise AssertionError(f"the run sleeps for {seconds} s while its result may arrive")

    monkeypatch.setattr(running.time, "sleep", refuse)


@pytest.mark.usefixtures("_no_sleep")
def test_the_answer_itself_ends_the_wait() -> None:
    executor, reporter = Executor(), Reporter()
    threading.Timer(0.1, executor.over.set).start()
    executor.look = lambda: pytest.fail("nobody needs to look at the progress of so short a job")
    run_of(executor, reporter)._watch()
    assert max(executor.waits_s) <= running.STOP_CHECK_S
    assert reporter.steps == []


@pytest.mark.usefixtures("_no_sleep")
def test_a_look_that_is_not_answered_delays_neither_the_result_nor_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "LOOK_S", 0.0)
    executor, reporter, released = Executor(), Reporter(), threading.Event()
    looks: list[int] = []

    def silent() -> RemoteProgress:
        looks.append(1)
        executor.over.set()  # the result arrives while the look is under way
        released.wait(PATIENCE_S)
        return RemoteProgress(step=1, steps=2)

    executor.look = silent
    run_of(executor, reporter)._watch()
    assert (len(looks), released.is_set(), reporter.steps) == (1, False, [])

    class Stopped(Exception):
        pass

    def stop() -> None:
        if len(looks) == 2:
            raise Stopped

    executor.look = lambda: (looks.append(1), released.wait(PATIENCE_S), RemoteProgress())[2]  # type: ignore[func-returns-value]
    executor.over.clear()
    reporter.on_check = stop
    with pytest.raises(Stopped):
        run_of(executor, reporter)._watch()
    released.set()


@pytest.mark.usefixtures("_no_sleep")
def test_looks_report_steps_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "LOOK_S", 0.0)
    executor, reporter = Executor(), Reporter()
    steps = iter(range(1, 4))

    def next_step() -> RemoteProgress:
        step = next(steps)
        if step == 3:
            executor.over.set()
        return RemoteProgress(step=step, steps=3)

    executor.look = next_step
    run_of(executor, reporter)._watch()
    assert reporter.steps in ([1, 2], [1, 2, 3])


@pytest.mark.parametrize(("failure", "lost_after_s"), [(BackendAway("is silent"), 0.0), (TaskGone("lost it"), 3600.0)])
def test_a_back_end_that_stays_away_loses_the_job(
    monkeypatch: pytest.MonkeyPatch, failure: Exception, lost_after_s: float
) -> None:
    monkeypatch.setattr(running, "LOOK_S", 0.0)
    executor, reporter = Executor(), Reporter()

    def fail() -> RemoteProgress:
        raise failure

    executor.look = fail
    with pytest.raises(HandBack) as caught:
        run_of(executor, reporter, lost_after_s=lost_after_s)._watch()
    assert caught.value.counted


@pytest.mark.parametrize(("length_s", "most_polls"), [(0.5, 25), (10.0, 90), (600.0, 1600)])
def test_the_end_of_a_task_is_noticed_within_a_small_share_of_its_length(
    monkeypatch: pytest.MonkeyPatch, length_s: float, most_polls: int
) -> None:
    now_s = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: now_s, sleep=sleep))
    executor, polls = LightX2VExecutor(backend(), "fm"), 0

    def call(method: str, path: str, **_: Any) -> tuple[int, Any]:
        nonlocal polls
        polls += 1
        return 200, {"status": "completed" if now_s >= length_s else "processing"}

    monkeypatch.setattr(executor, "_server", SimpleNamespace(call=call, close=lambda: None))
    while not (executor.wait(running.STOP_CHECK_S) and executor.poll().done):
        pass
    assert polls <= most_polls
    assert now_s - length_s <= max(0.025, 0.06 * length_s)
