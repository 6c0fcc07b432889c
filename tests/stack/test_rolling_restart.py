"""Every process of a fleet is restarted twice while jobs run: none is lost, none is computed twice."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from jobs.store.queries import find
from tests.support import drawn_models
from tests.support.harness import Stack, wait_for

JOBS, STEPS = 300, 4
WORKERS = ("gpu0", "gpu1", "io")


@pytest.fixture
def stack(drawn_models_file: Path) -> Iterator[Stack]:
    # A job takes less than the grace of a drain, so each worker finishes what it computes.
    with drawn_models.stack_in_new_folder(drawn_models_file, *WORKERS, DRAIN_GRACE_S=60) as stack:
        yield stack


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
        body = {"model": "tiny-image", "prompt": str(number), "steps": STEPS}
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
def test_no_job_is_lost_or_computed_twice(stack: Stack) -> None:
    caller = Caller(stack)
    caller.start()
    for _ in range(2):
        for name in (*WORKERS, "web"):
            restart(stack, name)
    caller.hurry.set()
    caller.join(300)
    assert len(set(caller.job_ids)) == JOBS
    jobs = [wait_for(lambda job_id=job_id: _ended(stack, job_id), f"{job_id} to end") for job_id in caller.job_ids]
    assert Counter(str(job.state) for job in jobs) == {"succeeded": JOBS}
    assert [job.job_id for job in jobs if job.starts != 1] == []


def _ended(stack: Stack, job_id: str):  # type: ignore[no-untyped-def]
    job = find(stack.store, job_id)
    return job if job and job.state.is_terminal else None
