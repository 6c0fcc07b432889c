"""Jobs that are paused and resumed by their caller through the complete stack."""

from __future__ import annotations

import io
import signal
from collections.abc import Callable
from typing import Any

import pytest
import requests
from PIL import Image

from jobs.files import checkpoints
from tests.stack.test_events import messages
from tests.support.harness import Stack, wait_for

Start = Callable[..., Stack]
SAME = {"prompt": "a blue square", "seed": 11, "steps": 30, "embed_metadata": False}


def call(stack: Stack, job_id: str, what: str) -> dict[str, Any]:
    response = requests.post(stack.url(f"/v1/jobs/{job_id}/{what}"), timeout=90)
    assert response.status_code == 200, response.text
    return dict(response.json())


def paused(stack: Stack, job_id: str) -> dict[str, Any]:
    return dict(stack.wait_until(job_id, lambda view: view["state"] == "paused", "the pause"))


def digest(stack: Stack, job_id: str) -> str:
    view = stack.wait_until(job_id, lambda view: view["state"] == "succeeded", "the result")
    return str(view["outputs"][0]["sha256"])


def test_a_running_job_is_paused_and_goes_on_where_it_stopped(start: Start) -> None:
    stack = start("gpu0", "io", NOOP_STEP_MS=100)
    job_id = stack.submit(**SAME, preview=True)
    stream = messages(stack, f"/v1/jobs/{job_id}/events")
    next(stream)
    stack.wait_until(job_id, lambda view: view["progress"]["step"] >= 3 and view["preview"], "a preview")
    asked = call(stack, job_id, "pause")
    assert (asked["state"], asked["pausing"]) in {("running", True), ("paused", False)}
    view = paused(stack, job_id)
    step = view["progress"]["step"]
    assert 3 <= step < 30
    assert (view["slot"], view["position"], view["waiting_for"]) == (None, None, "resume of the job")
    assert view["preview"]["step"] <= step
    assert stack.get(view["preview"]["url"]).status_code == 200
    assert [file.step for file in checkpoints.found(stack.settings, job_id)] == [step]
    # The slot is free for others, and the paused job stays where it is.
    other = stack.submit(steps=1)
    stack.wait_until(other, lambda view: view["state"] == "succeeded", "another job")
    assert stack.status(job_id)["progress"]["step"] == step

    assert call(stack, job_id, "resume")["state"] in ("queued", "running")
    whole = stack.submit(**SAME)
    assert digest(stack, job_id) == digest(stack, whole)
    done = stack.status(job_id)
    assert (done["resumed_from_step"], done["attempt"], done["warnings"]) == (step, 1, [])
    states = [data["state"] for _, _, data in stream]
    changes = [state for state, before in zip(states, [None, *states], strict=False) if state != before]
    assert changes[-6:] == ["running", "paused", "queued", "running", "delivering", "succeeded"]
    wait_for(lambda: not checkpoints.found(stack.settings, job_id), "the checkpoint to go")


def test_a_job_is_paused_at_its_step_with_a_draft(start: Start) -> None:
    stack = start("gpu0", "io", NOOP_STEP_MS=20)
    whole = stack.submit(**SAME)
    job_id = stack.submit(**SAME, pause_at_step=12)
    view = paused(stack, job_id)
    assert (view["progress"]["step"], view["pause_at_step"], view["preview"]["step"]) == (12, 12, 12)
    draft = stack.get(view["preview"]["url"])
    assert draft.headers["Content-Type"] == "image/jpeg"
    call(stack, job_id, "resume")
    assert digest(stack, job_id) == digest(stack, whole)
    assert stack.status(job_id)["resumed_from_step"] == 12


@pytest.mark.parametrize("model", ["tiny-image", "tiny-video"])
def test_a_pipeline_is_paused_at_its_step_with_a_draft_of_its_decoder(stack: Stack, model: str) -> None:
    same = {**SAME, "model": model, "steps": 6, "height": 32, "width": 64}
    whole = stack.submit(**same)
    job_id = stack.submit(**same, pause_at_step=4)
    view = paused(stack, job_id)
    assert (view["progress"]["step"], view["preview"]["step"], view["warnings"]) == (4, 4, [])
    draft = Image.open(io.BytesIO(stack.get(view["preview"]["url"]).content))
    assert draft.size == (64, 32)
    low, high = draft.convert("L").getextrema()
    assert high - low > 20, "it shows something"
    call(stack, job_id, "resume")
    assert digest(stack, job_id) == digest(stack, whole)
    assert stack.status(job_id)["resumed_from_step"] == 4


def test_a_paused_job_does_not_need_its_worker(start: Start) -> None:
    stack = start("gpu0", "io", NOOP_STEP_MS=20)
    job_id = stack.submit(**SAME, pause_at_step=5)
    paused(stack, job_id)
    stack.kill("gpu0", signal.SIGKILL)
    stack.worker("gpu0")
    assert stack.status(job_id)["state"] == "paused"
    call(stack, job_id, "resume")
    digest(stack, job_id)
    assert stack.status(job_id)["resumed_from_step"] == 5


def test_a_pause_that_is_taken_back_in_time_changes_nothing(start: Start) -> None:
    stack = start("gpu0", "io", NOOP_STEP_MS=2000)
    job_id = stack.submit(**{**SAME, "steps": 3})
    stack.wait_until(job_id, lambda view: view["progress"]["step"] == 1, "the first step")
    assert call(stack, job_id, "pause")["pausing"] is True
    assert call(stack, job_id, "resume")["pausing"] is False
    digest(stack, job_id)
    assert stack.status(job_id)["attempt"] == 1
