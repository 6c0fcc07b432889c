"""A process that dies while jobs share a run: each runs again and is published once."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.store import keys
from tests.support import tiny
from tests.support.harness import Stack, running, wait_for
from tests.support.shared_runs import profile

pytestmark = pytest.mark.timeout(300)

#: Several seconds, in which the process is killed.
LONG_STEPS = 300


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    models_file = tiny.copy(tmp_path_factory.mktemp("tiny"))
    profile(models_file, "tiny-image")
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    with running(folder, models_file, "gpu0", "io", SLOT_LEASE_S=120) as shared:
        yield shared
    shutil.rmtree(folder, ignore_errors=True)


def publications(stack: Stack, job_id: str) -> list[Path]:
    return sorted((stack.settings.paths.objects_dir / "outputs" / job_id).glob("*/*.png"))


def begun_together(stack: Stack) -> list[str]:
    """Let two jobs share a run; return them when it computes."""
    with stack.paused():
        ids = [stack.submit(prompt=f"number {number}", seed=number, steps=LONG_STEPS) for number in range(2)]
    for job_id in ids:
        stack.wait_until(job_id, lambda view: view["progress"]["step"] > 3, "some steps")
    assert [stack.status(job_id)["batch_size"] for job_id in ids] == [2, 2]
    return ids


def check_ends(stack: Stack, ids: list[str], attempt: int) -> None:
    views = [stack.wait(job_id) for job_id in ids]
    ends = [(view["state"], view["attempt"], view["batch_size"]) for view in views]
    assert ends == [("succeeded", attempt, None)] * 2
    assert [len(publications(stack, job_id)) for job_id in ids] == [1, 1]
    wait_for(lambda: not stack.store.client.hget(keys.SLOT + "gpu0", "job"), "the slot to be free")


def test_a_killed_child_loses_and_repeats_no_job(stack: Stack) -> None:
    ids = begun_together(stack)
    os.kill(stack.child("gpu0"), signal.SIGKILL)
    check_ends(stack, ids, attempt=2)


def test_a_killed_worker_loses_and_repeats_no_job(stack: Stack) -> None:
    ids = begun_together(stack)
    stack.kill("gpu0")
    stack.worker("gpu0")
    check_ends(stack, ids, attempt=2)


def test_a_worker_that_is_told_to_exit_hands_both_over(stack: Stack) -> None:
    ids = begun_together(stack)
    stack.kill("gpu0", signal.SIGTERM)
    stack.worker("gpu0")
    check_ends(stack, ids, attempt=1)
