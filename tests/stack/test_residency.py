"""Models loaded at start, pins and model commands while the process of a slot dies, on a running service."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.harness import Stack, running, wait_for
from tests.support.model_memory import arm, carried_out, left, order, places, slot, use, weights_bytes, write_models

#: Step of an endless run in which the device is lost: about a second after its start.
FAULTY_STEP = 200


@pytest.fixture(scope="module")
def tight(models_file: Path) -> Iterator[Stack]:
    """A stack with memory for one model; w and x are to be loaded when a process starts."""
    models = {"w": "warm = true\nkeep = true", "b": "", "x": "warm = true"}
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    file, settings = write_models(folder, models, models_file)
    settings["MODEL_MEMORY_BYTES"] = int(1.5 * weights_bytes(models_file))
    with running(folder, file, "gpu0", "io", **settings) as stack:
        yield stack
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.timeout(600)  # two processes import torch, one after the other
def test_warm_and_pinned_models(tight: Stack) -> None:
    stack = tight
    wait_for(lambda: places(stack) == {"w": "device"}, "the warm model", 200)
    broken = wait_for(lambda: stack.get("/v1/jobs?state=failed").json()["jobs"], "the one without room", 200)[0]
    assert (broken["model"], broken["command"], broken["error"]["code"]) == ("x", "load", "out_of_memory")

    refused = carried_out(stack, "b", "load")
    assert (refused["state"], refused["error"]["code"]) == ("failed", "out_of_memory")
    assert "unpin one of w" in refused["error"]["message"]
    assert places(stack) == {"w": "device"}
    use(stack, "b")  # nothing else helps: a job may evict it, a load may not
    assert places(stack) == {"b": "device"}

    os.kill(stack.child("gpu0"), signal.SIGKILL)
    wait_for(lambda: places(stack) == {"w": "device"}, "the warm model in the new process", 200)
    assert order(stack, "w", "unpin").json()["slots"][0]["will"] == "stay until the space is needed"
    assert slot(stack)["held"][0]["pinned"] is False
    assert carried_out(stack, "b", "pin")["state"] == "succeeded"
    assert places(stack) == {"b": "device"}
    unload = order(stack, "b", "unload")
    assert (unload.status_code, unload.json()["error"]["code"]) == (409, "conflict")
    assert len(stack.get("/v1/jobs?state=failed").json()["jobs"]) == 2  # x was tried once


def test_a_command_outlives_a_lost_device(tight: Stack) -> None:
    """The device is lost in a run, and its process ends while a command waits. The run is repeated after it."""
    child = tight.child("gpu0")
    faults = arm(tight, "b", "poison", times=1, step=FAULTY_STEP)
    running_job = tight.endless(model="b")
    check = order(tight, "w", "check").json()["slots"][0]["job_id"]
    assert tight.status(check)["state"] == "queued"
    assert tight.wait(check)["state"] == "succeeded"  # before the requeued job, because it is pinned to this slot
    assert tight.child("gpu0") != child
    view = tight.wait_until(running_job, lambda view: view["progress"]["step"] > 0, "its second run")
    assert (view["state"], view["attempt"], left(faults)) == ("running", 2, 0), view
    assert tight.cancel(running_job).json()["state"] == "cancelled"
