"""Real pipelines whose process is killed or stopped in the middle of a run go on, and make the same picture."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.files import checkpoint_objects, checkpoints
from tests.support.harness import Stack, running, wait_for
from tests.support.s3_server import S3Server

#: Steps of a run of some seconds, and the seconds between its checkpoints.
STEPS, INTERVAL_S = 400, 0.2
FIELDS: dict[str, Any] = {
    "seed": 7, "steps": STEPS, "scheduler": "Euler a", "checkpoint_interval_s": INTERVAL_S, "embed_metadata": False,
}  # fmt: skip
OTHER_HOST = "nodeb"


@pytest.fixture(scope="module")
def stack(models_file: Path, s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose checkpoints go to a bucket."""
    folder = tmp_path_factory.mktemp("fm")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, s3.environment[name])
        settings = {**s3.environment, "CHECKPOINT_STORE": "objects", "MAX_ATTEMPTS": 5, "DRAIN_GRACE_S": 20}
        with running(folder, _with_schedulers(models_file, folder), "gpu0", "io", **settings) as stack:
            yield stack


def _with_schedulers(models_file: Path, folder: Path) -> Path:
    """Write a copy of the models file whose image model offers schedulers that draw noise in each step."""
    text = models_file.read_text().replace("./", f"{models_file.parent}/")
    path = folder / "models.toml"
    path.write_text(text.replace("[tiny-image]\n", '[tiny-image]\nschedulers = "diffusion"\n'))
    return path


@pytest.fixture(scope="module")
def calm(stack: Stack) -> str:
    """Return the digest of what a run makes that nobody disturbs."""
    view = stack.wait(stack.submit(**FIELDS))
    assert (view["state"], view["attempt"], view["resumed_from_step"]) == ("succeeded", 1, None)
    return str(view["outputs"][0]["sha256"])


def begun(stack: Stack) -> str:
    """Submit the job, and wait until it has a checkpoint."""
    job_id = stack.submit(**FIELDS)
    wait_for(lambda: stack.store.get(job_id).checkpoint, "a checkpoint")
    return job_id


def check_end(stack: Stack, job_id: str, calm: str, *, attempts: int, resumed_from: int = 1) -> None:
    """Check that a job went on after this step at the earliest, ended, and left nothing behind."""
    view = stack.wait(job_id)
    assert (view["state"], view["attempt"], view["warnings"]) == ("succeeded", attempts, []), view
    assert resumed_from <= view["resumed_from_step"] < STEPS
    assert view["outputs"][0]["sha256"] == calm
    assert stack.store.get(job_id).checkpoint is None
    wait_for(lambda: not checkpoints.folder_of(stack.settings, job_id).exists(), "its files to be removed")


def test_a_killed_child(stack: Stack, calm: str) -> None:
    job_id = begun(stack)
    os.kill(stack.child("gpu0"), signal.SIGKILL)
    check_end(stack, job_id, calm, attempts=2)


def test_a_killed_worker(stack: Stack, calm: str) -> None:
    job_id = begun(stack)
    stack.kill("gpu0")
    stack.worker("gpu0")
    check_end(stack, job_id, calm, attempts=2)


def test_a_stopped_worker_hands_its_job_back_within_a_step(stack: Stack, calm: str) -> None:
    job_id = stack.submit(**{**FIELDS, "checkpoint_interval_s": 0})
    stack.wait_until(job_id, lambda view: view["progress"]["step"] > 5, "some steps")
    process = stack.processes.pop("gpu0")
    asked = time.monotonic()
    process.terminate()
    view = stack.wait_until(job_id, lambda view: view["state"] == "queued", "the job to be handed back")
    assert time.monotonic() - asked < 2
    assert process.wait(150) == 0
    step = view["progress"]["step"]
    assert (step > 0, view["attempt"], view["position"]) == (True, 0, 1)
    stack.worker("gpu0")
    check_end(stack, job_id, calm, attempts=1, resumed_from=step)


def test_another_host_goes_on(stack: Stack, calm: str, tmp_path: Path, s3: S3Server) -> None:
    slot = f"{OTHER_HOST}.gpu0"
    stack.worker(slot, NODE_NAME=OTHER_HOST, SPOOL_DIR=str(tmp_path))
    wait_for(lambda: slot in stack.get("/readyz").json()["slots"], "the slot of the other host")
    stack.store.pause_slots("gpu0")
    job_id = begun(stack)
    stack.kill(slot)
    stack.store.pause_slots("gpu0", resume=True)
    kept = (stack.store.get(job_id).checkpoint or {})["step"]
    assert list(tmp_path.glob(f"checkpoints/{job_id}/*"))
    assert checkpoints.found(stack.settings, job_id) == []
    check_end(stack, job_id, calm, attempts=2, resumed_from=kept)
    wait_for(lambda: not checkpoint_objects.listed(s3.store, job_id), "the objects to be removed")


def test_a_checkpoint_of_another_model_is_not_used_and_the_job_says_so(stack: Stack, calm: str) -> None:
    job_id = begun(stack)
    stack.kill("gpu0")
    file = stack.settings.paths.models_file
    text = file.read_text()
    file.write_text(text.replace("[tiny-image]\n", '[tiny-image]\ndtype = "bfloat16"\n'))
    try:
        stack.worker("gpu0")
        view = stack.wait(job_id)
    finally:
        file.write_text(text)
    assert (view["state"], view["attempt"], view["resumed_from_step"]) == ("succeeded", 2, None)
    assert "a checkpoint could not be used" in view["warnings"][0]
    assert view["outputs"][0]["sha256"] != calm
