"""Every process of a fleet is restarted twice while jobs run: none is lost, and a restart costs no more than a step."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from bench.resumed_jobs import computed_steps, events_of
from jobs.store.queries import find
from tests.support import drawn_models
from tests.support.harness import Stack, wait_for

JOBS = 240
#: Steps of a job; every fifth one takes two seconds, so that the slots are busy when they are restarted.
STEPS, MANY_STEPS = 4, 250
ROUNDS = 2
WORKERS = ("gpu0", "gpu1", "io")


@pytest.fixture
def stack(drawn_models_file: Path) -> Iterator[Stack]:
    # Runs have as long as they take to end. They need a step, because they can be interrupted.
    settings = {"DRAIN_GRACE_S": 60, "EVENT_LOG_LENGTH": 1_000_000}
    with drawn_models.stack_in_new_folder(drawn_models_file, *WORKERS, **settings) as stack:
        yield stack


def steps_of(number: int) -> int:
    return STEPS if number % 5 else MANY_STEPS


class Caller(threading.Thread):
    """Submits jobs as a careful client does: a request that failed is repeated with the same idempotency key."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(name="caller", daemon=True)
        self._stack = stack
        self.job_ids: list[str] = []
        self.hurry = threading.Event()

    def run(self) -> None:
        for number in range(JOBS):
            self.job_ids.append(wait_for(lambda number=number: self._submit(number), "the job to be accepted"))
            self.hurry.wait(0.25)  # so that jobs arrive during all restarts

    def _submit(self, number: int) -> str:
        body: dict[str, Any] = {"model": "tiny-image", "prompt": str(number), "steps": steps_of(number)}
        try:
            answer = requests.post(
                self._stack.url("/v1/jobs"), json=body, headers={"Idempotency-Key": str(number)}, timeout=10
            )
        except requests.RequestException:
            return ""
        return str(answer.json()["id"]) if answer.status_code in (200, 201) else ""


def restart(stack: Stack, name: str) -> None:
    stack.kill(name, signal.SIGTERM)
    if name == "web":
        stack.web()
    else:
        stack.worker(name)
        wait_for(lambda: stack.get("/readyz").status_code == 200, f"{name} to be ready")


@pytest.mark.timeout(600)
def test_no_job_is_lost_and_a_restart_costs_a_step(stack: Stack) -> None:
    caller = Caller(stack)
    caller.start()
    for _ in range(ROUNDS):
        for name in (*WORKERS, "web"):
            restart(stack, name)
    caller.hurry.set()
    caller.join(300)
    assert len(set(caller.job_ids)) == JOBS
    jobs = [wait_for(lambda job_id=job_id: _ended(stack, job_id), f"{job_id} to end") for job_id in caller.job_ids]
    assert Counter(str(job.state) for job in jobs) == {"succeeded": JOBS}
    assert [job.job_id for job in jobs if job.starts != 1] == []
    computed, interrupted = computed_steps(events_of(stack))
    assert 1 <= interrupted <= ROUNDS * 2
    assert computed <= sum(map(steps_of, range(JOBS))) + interrupted
    assert {job.resumed_from_step is not None for job in jobs} == {True, False}


def _ended(stack: Stack, job_id: str):  # type: ignore[no-untyped-def]
    job = find(stack.store, job_id)
    return job if job and job.state.is_terminal else None
