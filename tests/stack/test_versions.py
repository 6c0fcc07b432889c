"""Processes of different versions on one Redis: they understand each other, or refuse with a reason."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.record import RECORD_VERSION
from jobs.settings import PROJECT_ROOT
from jobs.slots.slot import ALL_SLOTS
from jobs.store import keys
from jobs.store.layout import LAYOUT
from tests.support import drawn_models
from tests.support.harness import Stack, wait_for

#: The oldest commit whose processes work beside those of today; see "Upgrade" in docs/operating/upgrading.md.
OLDEST_BESIDE = "768ff0a76b8f2f415e7f32dc2eba98f9215268f0"


@pytest.fixture
def stack(drawn_models_file: Path) -> Iterator[Stack]:
    with drawn_models.stack_in_new_folder(drawn_models_file, "gpu0", "io") as stack:
        yield stack


def test_an_older_worker_hands_a_newer_job_back_and_says_why(stack: Stack) -> None:
    stack.store.pause_slots(ALL_SLOTS, resume=False)
    job_id = stack.submit(steps=2)
    redis, name = stack.store.client, keys.JOB + job_id
    request = {**json.loads(str(redis.hget(name, "request"))), "a_newer_field": 1}
    redis.hset(name, mapping={"version": RECORD_VERSION + 1, "request": json.dumps(request)})
    stack.store.pause_slots(ALL_SLOTS, resume=True)
    wait_for(lambda: redis.hget(name, "handed_back"), "the job to be handed back")
    assert redis.hget(name, "handed_back") == "the worker is older than the job: upgrade it"
    assert int(redis.hget(name, "starts") or 0) <= 1  # a run that is about to be handed back counts for a moment
    assert stack.status(job_id)["state"] in ("queued", "running")
    assert stack.get("/v1/jobs").json()["jobs"][0]["id"] == job_id
    redis.hset(name, mapping={"version": RECORD_VERSION})  # as if a newer worker came
    assert stack.wait(job_id)["state"] == "succeeded"


def test_no_process_starts_on_data_of_a_newer_version(stack: Stack) -> None:
    stack.store.client.set(keys.LAYOUT, LAYOUT + 1)
    worker = ("celery", "-A", "tasks", "worker", "-Q", "gpu1", "-n", "gpu1@%h")
    for command in (("gunicorn", "app:create_app()"), worker):
        line = stack.start_refused(*command)
        assert "the jobs in Redis were written by a newer Framemill" in line, line
        assert "restore a backup" in line


@pytest.fixture(scope="module")
def older() -> Iterator[Path]:
    """A checkout of the oldest version that may work beside this one."""
    archive = subprocess.run(
        ["git", "archive", OLDEST_BESIDE], cwd=PROJECT_ROOT, capture_output=True, check=False, timeout=60
    )
    if archive.returncode:
        pytest.skip("the history of this checkout does not reach back to that version")
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("older_part", ["workers", "web"])
def test_older_and_newer_processes_work_together(drawn_models_file: Path, older: Path, older_part: str) -> None:
    with drawn_models.stack_in_new_folder(drawn_models_file) as stack:
        for queue in ("gpu0", "io"):
            stack.worker(queue, root=older if older_part == "workers" else PROJECT_ROOT)
        stack.kill("web")
        stack.web(root=older if older_part == "web" else PROJECT_ROOT)
        wait_for(lambda: stack.get("/readyz").status_code == 200, "the stack to be ready")
        ids = [stack.submit(steps=2) for _ in range(10)]
        assert {stack.wait(job_id)["state"] for job_id in ids} == {"succeeded"}
        assert all(stack.get(f"/v1/jobs/{job_id}/result").status_code == 200 for job_id in ids)
        stopped = stack.submit(steps=100_000)
        stack.wait_until(stopped, lambda view: view["progress"]["step"] > 1, "some steps")
        stack.cancel(stopped)
        assert stack.wait(stopped)["state"] == "cancelled"
        assert stack.wait(stack.submit(steps=2))["state"] == "succeeded"
