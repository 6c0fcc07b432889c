"""Maximum run time: a run is ended within a step, or by force."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import drawn_models
from tests.support.harness import Stack

DEFAULT_S = 0.5


@pytest.fixture(scope="module")
def limited(drawn_models_file: Path) -> Iterator[Stack]:
    """A stack whose settings limit every run."""
    settings = {"CANCEL_GRACE_S": 1, "MAX_RUN_S": DEFAULT_S}
    with drawn_models.stack_in_new_folder(drawn_models_file, "gpu0", "io", **settings) as stack:
        yield stack


def test_a_job_past_its_run_limit_fails_and_the_model_stays(stack: Stack) -> None:
    child = stack.child("gpu0")
    stack.wait(stack.submit(steps=1))
    view = stack.wait(stack.submit(steps=100_000, max_run_s=0.5))
    assert (view["state"], view["error"]["code"], view["attempt"]) == ("failed", "run_timeout", 1)
    assert "0.5 s" in view["error"]["message"]
    assert stack.child("gpu0") == child
    assert stack.wait(stack.submit(steps=1, max_run_s=60))["state"] == "succeeded"


def test_a_run_that_does_not_heed_its_limit_is_killed(limited: Stack) -> None:
    stack = limited
    stack.wait(stack.submit(steps=1))
    job_id = stack.submit(steps=100_000, max_run_s=5)
    stack.wait_until(job_id, lambda view: view["progress"]["step"] > 0, "its first step")
    os.kill(stack.child("gpu0"), signal.SIGSTOP)
    view = stack.wait(job_id)
    assert (view["state"], view["error"]["code"], view["attempt"]) == ("failed", "run_timeout", 1)
    assert stack.wait(stack.submit(steps=1, max_run_s=60))["state"] == "succeeded"


def test_the_settings_give_the_default(limited: Stack) -> None:
    stack = limited
    assert stack.wait(stack.submit(steps=100_000))["error"]["code"] == "run_timeout"
    assert stack.wait(stack.submit(steps=1, max_run_s=0))["state"] == "succeeded"
