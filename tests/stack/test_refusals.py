"""Redis that refuses writes, with real workers: none ends, no run is counted, and every job succeeds afterwards."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.store import keys
from tests.support import drawn_models
from tests.support.harness import Stack, wait_for
from tests.support.refusing_redis import memory_full, unsaved

NUMBER = 6
#: Steps of a job that is still running when Redis begins to refuse.
STEPS = 150


@pytest.fixture(scope="module")
def stack(drawn_models_file: Path) -> Iterator[Stack]:
    options = {"RESEND_AFTER_S": 1, "DELIVERY_LEASE_S": 3, "MAX_ATTEMPTS": 1}
    with drawn_models.stack_in_new_folder(drawn_models_file, "gpu0", "io", **options) as stack:
        yield stack


def begin(stack: Stack) -> list[str]:
    """Submit jobs; the first one runs."""
    jobs = [stack.submit(steps=STEPS if number == 0 else 2) for number in range(NUMBER)]
    stack.wait_until(jobs[0], lambda view: view["progress"]["step"] > 0, "its steps")
    return jobs


def check(stack: Stack, jobs: list[str]) -> None:
    """Check that all jobs succeed in their first attempt; one lost worker would have been enough to fail them."""
    views = [stack.wait(job_id) for job_id in jobs]
    assert [(view["state"], view["attempt"]) for view in views] == [("succeeded", 1)] * len(jobs), views
    for name, process in stack.processes.items():
        assert process.poll() is None, f"{name} ended:\n{stack.log(name)}"


def refused(stack: Stack, why: str) -> None:
    answer = stack.post(model="tiny-image", prompt="x")
    assert (answer.status_code, answer.json()["detail"]) == (503, f"the job store refuses writes: {why}")
    assert "Retry-After" in answer.headers


def test_a_full_memory_refuses_new_jobs_while_accepted_ones_are_computed(stack: Stack) -> None:
    jobs = begin(stack)
    with memory_full(stack.store.client):
        refused(stack, "its memory is full (maxmemory)")
        for job_id in jobs:
            stack.wait_until(job_id, lambda view: view["state"] in ("delivering", "succeeded"), "its computation")
        refused(stack, "its memory is full (maxmemory)")
    check(stack, [*jobs, stack.submit(steps=1)])


def test_workers_wait_while_redis_cannot_save_its_data(stack: Stack) -> None:
    jobs, redis = begin(stack), stack.store.client
    with unsaved(redis):
        refused(stack, "it cannot save its data to its disk")
        lapsed = lambda: redis.time()[0] - redis.zscore(keys.LEASES, "gpu0") / 1000 > 2  # noqa: E731
        wait_for(lapsed, "the lease of the slot, which cannot be renewed, to lapse")
        assert stack.status(jobs[0])["state"] == "running"
    check(stack, [*jobs, stack.submit(steps=1)])


def test_a_worker_waits_to_receive_and_can_be_stopped_meanwhile(stack: Stack) -> None:
    with memory_full(stack.store.client):
        stack.kill("io", signal.SIGTERM)
        before = len(stack.log("io"))  # kombu logs a traceback where a worker that was connected is refused
        for _ in range(2):
            seen = len(stack.log("io"))
            stack.worker("io")
            wait_for(lambda start=seen: "no messages are received: " in stack.log("io")[start:], "the worker to wait")
            stack.kill("io", signal.SIGTERM)
        stack.worker("io")
        assert "Traceback" not in stack.log("io")[before:]
    check(stack, [stack.submit(steps=1)])
