"""Whichever process dies, the job is completed, and published once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from jobs.files import checkpoints
from jobs.store import keys
from jobs.store.connecting.client import connect
from tests.support import drawn_models
from tests.support.harness import ENDLESS_STEPS, Stack, wait_for

#: Long enough to be killed in the middle, short enough to run again: about 3 s of steps.
LONG_STEPS = 400

Start = Callable[..., Stack]


@pytest.fixture(scope="module")
def shared(drawn_models_file: Path) -> Iterator[Stack]:
    """A stack for tests that restart what they kill."""
    settings = {"MAX_ATTEMPTS": 2, "DELIVERY_LEASE_S": 2}
    with drawn_models.stack_in_new_folder(drawn_models_file, "gpu0", "io", **settings) as stack:
        yield stack


def publications(stack: Stack, job_id: str) -> list[str]:
    """Return every stored output of a job, of any attempt."""
    folder = stack.settings.paths.objects_dir / "outputs" / job_id
    return sorted(str(path.relative_to(folder)) for path in folder.glob("*/*.png"))


def test_a_killed_child_runs_the_job_again(shared: Stack) -> None:
    stack = shared
    job_id = stack.submit(steps=LONG_STEPS)
    stack.wait_until(job_id, lambda view: view["progress"]["step"] > 5, "some steps")
    os.kill(stack.child("gpu0"), signal.SIGKILL)
    view = stack.wait(job_id)
    assert (view["state"], view["attempt"]) == ("succeeded", 2), view
    assert len(publications(stack, job_id)) == 1


def test_a_job_that_kills_every_worker_is_given_up(shared: Stack) -> None:
    stack = shared
    job_id = stack.submit(steps=ENDLESS_STEPS)
    for attempt in (1, 2):
        stack.wait_until(
            job_id, lambda view, n=attempt: view["attempt"] == n and view["progress"]["step"] > 0, "its run"
        )
        os.kill(stack.child("gpu0"), signal.SIGKILL)
    view = stack.wait(job_id)
    assert (view["state"], view["error"]["code"]) == ("failed", "worker_lost")
    assert connect(stack.settings).zrange(keys.DEAD, 0, -1) == [job_id]
    assert [dead["id"] for dead in stack.get("/v1/admin/dead").json()["dead"]] == [job_id]
    assert stack.wait(stack.submit(steps=1))["state"] == "succeeded"


def test_a_killed_worker_is_replaced(shared: Stack) -> None:
    stack = shared
    job_id = stack.submit(steps=LONG_STEPS)
    stack.wait_until(job_id, lambda view: view["progress"]["step"] > 5, "some steps")
    child = stack.child("gpu0")
    stack.kill("gpu0")
    wait_for(lambda: not os.path.exists(f"/proc/{child}"), "the orphan to die with its parent", 5)
    wait_for(lambda: stack.status(job_id)["state"] == "queued", "the job to be queued again")
    assert stack.get("/readyz").status_code == 503
    stack.worker("gpu0")
    view = stack.wait(job_id)
    assert (view["state"], view["attempt"]) == ("succeeded", 2), view
    assert len(publications(stack, job_id)) == 1


def test_a_restarted_worker_takes_its_slot_back_before_the_lease_lapses(start: Start) -> None:
    stack = start("gpu0", "io", SLOT_LEASE_S=600)
    job_id = stack.submit(steps=LONG_STEPS)
    stack.wait_until(job_id, lambda view: view["progress"]["step"] > 5, "some steps")
    stack.kill("gpu0")
    stack.worker("gpu0")
    assert stack.wait(job_id)["state"] == "succeeded"


@pytest.mark.parametrize("how", ["killed", "restarted"])
def test_a_restart_of_redis_in_the_middle_of_a_job(shared: Stack, how: str) -> None:
    stack = shared
    job_id = stack.submit(steps=LONG_STEPS)
    waiting = stack.submit(steps=1)
    stack.wait_until(job_id, lambda view: view["progress"]["step"] > 5, "some steps")
    if how == "killed":
        assert stack.redis.pid
        os.kill(stack.redis.pid, signal.SIGKILL)
        wait_for(lambda: stack.redis.exit_status() is not None, "Redis to be gone")
    stack.redis.stop()
    refused = stack.post(model="tiny-image", prompt="x")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
    assert "Retry-After" in refused.headers
    stack.redis.start()
    view = stack.wait(job_id)
    assert (view["state"], view["attempt"]) == ("succeeded", 1), view
    assert stack.wait(waiting)["state"] == "succeeded"
    assert stack.wait(stack.submit(steps=1))["state"] == "succeeded"
    assert len(publications(stack, job_id)) == 1


def test_a_message_that_got_lost_is_sent_again(shared: Stack) -> None:
    stack = shared
    client = connect(stack.settings)
    stack.kill("gpu0", signal.SIGTERM)
    wait_for(lambda: not stack.fleet()["slots"], "the slot to be left")
    # The worker of the slot never received the message: the job was bound, and the queue was emptied.
    stack.store.register("gpu0", "elsewhere:1:1", {"models": '["tiny-image"]', "node": "elsewhere"})
    job_id = stack.submit(steps=1)
    assert client.llen("gpu0") == 1
    client.delete("gpu0")
    wait_for(lambda: client.llen("gpu0") >= 1, "the message to be sent again")
    wait_for(lambda: stack.status(job_id)["slot"] is None, "the silent slot to be given up")
    stack.worker("gpu0")
    view = stack.wait(job_id)
    assert (view["state"], view["attempt"]) == ("succeeded", 1), view


def test_a_killed_delivery_worker_delivers_later(shared: Stack) -> None:
    stack = shared
    stack.kill("io")
    job_id = stack.submit(steps=1)
    view = stack.wait_until(job_id, lambda view: view["state"] == "delivering", "its computation")
    assert view["outputs"] == []
    another = stack.submit(steps=1)  # the GPU continues meanwhile
    stack.wait_until(another, lambda view: view["state"] == "delivering", "its computation")
    stack.worker("io")
    for job in (job_id, another):
        view = stack.wait(job)
        assert (view["state"], view["attempt"]) == ("succeeded", 1), view


def test_lost_frames_are_computed_again(shared: Stack) -> None:
    stack = shared
    stack.kill("io")
    job_id = stack.submit(steps=1)
    stack.wait_until(job_id, lambda view: view["state"] == "delivering", "its computation")
    roots = [root for root in (stack.settings.spool_memory, stack.settings.spool_disk) if root]
    lost = [frames for root in roots for frames in root.glob(f"{job_id}.*/frames.npy")]
    assert lost
    for frames in lost:
        frames.unlink()
    stack.worker("io")
    view = stack.wait(job_id)
    assert (view["state"], view["attempt"]) == ("succeeded", 2), view


def test_a_worker_told_to_exit_hands_its_job_back_and_the_next_run_goes_on(shared: Stack) -> None:
    stack = shared
    job_id = stack.endless()
    process = stack.processes.pop("gpu0")
    process.terminate()
    assert process.wait(150) == 0, stack.log("gpu0")
    view = stack.status(job_id)
    assert (view["state"], view["attempt"], view["position"]) == ("queued", 0, 1)
    kept = view["progress"]["step"]
    assert kept > 0
    stack.worker("gpu0")
    view = stack.wait_until(job_id, lambda view: view["progress"]["step"] > kept, "its second run")
    assert (view["attempt"], view["resumed_from_step"], view["warnings"]) == (1, kept, [])
    folder = checkpoints.folder_of(stack.settings, job_id)
    assert folder.is_dir()
    stack.cancel(job_id)
    wait_for(lambda: not folder.exists(), "its checkpoint to be removed")


def test_a_worker_without_checkpoints_told_to_exit_has_the_grace(shared: Stack) -> None:
    """Here its process does not answer."""
    stack = shared
    job_id = stack.endless()
    os.kill(stack.child("gpu0"), signal.SIGSTOP)
    asked = time.monotonic()
    process = stack.processes.pop("gpu0")
    process.terminate()
    stack.wait_until(job_id, lambda view: view["state"] == "queued", "the job to be handed back")
    assert time.monotonic() - asked >= stack.settings.leases.drain_grace_s
    assert process.wait(60) == 0
    assert f"job handed back job_id={job_id}" in stack.log("gpu0")
    stack.worker("gpu0")
    stack.wait_until(job_id, lambda view: view["state"] == "running", "its second run")
    stack.cancel(job_id)


def told_to_exit(stack: Stack, queue: str) -> int:
    """Tell a worker to exit, and return its exit code."""
    process = stack.processes.pop(queue)
    process.terminate()
    return process.wait(60)


def test_a_worker_told_to_exit_in_a_call_that_does_not_end_exits(shared: Stack) -> None:
    stack = shared
    job_id = stack.endless()
    os.kill(stack.child("gpu0"), signal.SIGSTOP)  # as if it were in a long decode
    assert told_to_exit(stack, "gpu0") == 0, stack.log("gpu0")
    view = stack.status(job_id)
    assert (view["state"], view["attempt"]) == ("queued", 0)

    # The same, and Redis goes away before the child can write that its run has ended.
    stack.worker("gpu0")
    stack.wait_until(job_id, lambda view: view["progress"]["step"] > 0, "its second run")
    child = stack.child("gpu0")
    os.kill(child, signal.SIGSTOP)
    process = stack.processes["gpu0"]
    process.terminate()
    stack.wait_until(job_id, lambda view: view["state"] == "queued", "the job to be handed back")
    stack.redis.stop()
    os.kill(child, signal.SIGCONT)
    assert process.wait(60) == 0, stack.log("gpu0")

    # Workers that find no Redis when they start.
    stack.kill("io")
    for queue in ("gpu0", "io"):
        stack.worker(queue)
        stack.child(queue)  # once it has one, it waits for Redis, or is about to and has no handler yet
        assert told_to_exit(stack, queue) in (0, -signal.SIGTERM), stack.log(queue)
    stack.redis.start()
    stack.worker("gpu0")
    stack.worker("io")
    stack.cancel(job_id)


def test_a_worker_told_to_exit_while_redis_is_away_exits(shared: Stack) -> None:
    stack = shared
    os.kill(stack.child("io"), signal.SIGSTOP)
    delivered = stack.submit()
    stack.wait_until(delivered, lambda view: view["state"] == "delivering", "the delivery")
    job_id = stack.endless()
    stack.redis.stop()
    assert [told_to_exit(stack, queue) for queue in ("io", "gpu0")] == [0, 0]
    stack.redis.start()
    stack.worker("gpu0")
    stack.worker("io")
    view = stack.wait_until(
        job_id, lambda view: view["attempt"] == 2 and view["progress"]["step"] > 0, "its second run"
    )
    assert view["state"] == "running"
    stack.cancel(job_id)
    assert stack.wait(delivered)["state"] == "succeeded"


def test_a_web_process_that_dies_changes_nothing(shared: Stack) -> None:
    stack = shared
    job_id = stack.submit(steps=LONG_STEPS)
    web = stack.processes.pop("web")
    os.killpg(web.pid, signal.SIGKILL)
    web.wait()
    stack.web()
    assert stack.wait(job_id)["state"] == "succeeded"


def test_a_process_that_hangs_is_killed_and_the_next_job_runs(shared: Stack) -> None:
    stack = shared  # CANCEL_GRACE_S is longer than the time in which the parent notices a run without a process
    job_id = stack.endless()
    child = stack.child("gpu0")
    os.kill(child, signal.SIGSTOP)  # hangs, like a kernel that never returns
    following = stack.submit(steps=1)
    assert stack.cancel(job_id).json()["state"] == "cancelled"
    assert stack.wait(following)["state"] == "succeeded"
    assert stack.child("gpu0") != child
    assert stack.status(job_id)["state"] == "cancelled"


def test_nothing_is_left_behind_in_redis_by_finished_jobs(start: Start) -> None:
    stack = start("gpu0", "io", RESULT_TTL_S=1, RETENTION="hours", RETENTION_HOURS="0.0003")
    ids = [stack.submit(steps=1) for _ in range(3)]
    client: redis.Redis = connect(stack.settings)
    wait_for(lambda: client.zcard(keys.JOBS) == 0 and client.hget(keys.COUNTERS, "succeeded") == "3", "expiry")
    assert not [key for key in client.scan_iter() if any(job_id in key for job_id in ids)]
    assert stack.get(f"/v1/jobs/{ids[0]}").status_code == 404
