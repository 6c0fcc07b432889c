"""Stop: within a step, only this job, with the model still loaded; waiting jobs at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.harness import ENDLESS_STEPS, PATIENCE_S, Stack, wait_for


def slot(stack: Stack, name: str = "gpu0") -> dict[str, Any]:
    slots = stack.fleet()["slots"]
    return next(dict(slot) for slot in slots if slot["name"] == name)


@pytest.mark.parametrize("model", ["tiny-image", "tiny-video"])
def test_a_running_job_ends_within_a_step_and_the_model_stays(stack: Stack, model: str) -> None:
    stack.wait(stack.submit(model=model, steps=1))  # loaded from now on
    loads, child = slot(stack)["loads"], stack.child("gpu0")
    job_id = stack.endless(model=model)
    following = stack.submit(model=model, steps=2)

    answer = stack.cancel(job_id).json()

    assert (answer["cancelled"], answer["state"]) == (True, "cancelled")
    stopped = stack.status(job_id)
    assert (stopped["state"], stopped["outputs"]) == ("cancelled", [])
    assert stack.wait(following)["state"] == "succeeded"
    assert stack.status(job_id) == stopped  # no late report, no late success
    assert 0 < stopped["progress"]["step"] < ENDLESS_STEPS
    assert (slot(stack)["loads"], stack.child("gpu0")) == (loads, child)
    assert stack.get(f"/v1/jobs/{job_id}/result").status_code == 409


def test_after_a_stop_the_same_seed_gives_the_same_pixels(stack: Stack) -> None:
    def pixels() -> bytes:
        job_id = stack.submit(steps=3, seed=11)
        return bytes(stack.get(stack.wait(job_id)["links"]["result"]).content.split(b"IDAT")[1])

    before = pixels()
    stack.cancel(stack.endless())
    assert pixels() == before


def test_a_stop_while_the_model_loads(stack: Stack) -> None:
    """No step has begun: the check after loading ends the run."""
    job_id = stack.submit(steps=ENDLESS_STEPS)
    wait_for(lambda: stack.status(job_id)["state"] == "running", "the start")
    stack.cancel(job_id)
    assert stack.wait(stack.submit(steps=1))["state"] == "succeeded"


def test_the_stop_of_one_job_never_hits_the_next(stack: Stack) -> None:
    """Late signals find another job running, whose record says that it continues."""
    first = stack.endless()
    second = stack.submit(steps=600)
    stack.cancel(first)
    wait_for(lambda: stack.status(second)["progress"]["step"] > 0, "the second job's first step")
    for _ in range(5):
        stack.cancel(first)
    revoke = stack.run("revoke", "celery", "-A", "tasks", "control", "revoke", first)
    assert revoke.wait(PATIENCE_S) == 0, stack.log("revoke")
    del stack.processes["revoke"]
    assert stack.wait(second)["state"] == "succeeded"


def test_the_next_job_starts_at_once(start: Callable[..., Stack]) -> None:
    """Not with the next heartbeat or sweep, which come after minutes here. The benchmark measures the target."""
    stack = start("gpu0", "io", HEARTBEAT_S=300, SLOT_LEASE_S=900)
    job_id = stack.endless()
    following = stack.submit(steps=1)
    stack.cancel(job_id)
    assert stack.wait(following)["state"] == "succeeded"
