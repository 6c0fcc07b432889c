"""Two GPU workers: each runs one job at a time, idle ones are used at once, pins are respected."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from jobs.store import keys
from jobs.store.connecting.client import connect
from tests.support import drawn_models
from tests.support.harness import Stack, wait_for


@pytest.fixture(scope="module")
def pair(drawn_models_file: Path) -> Iterator[Stack]:
    options = {"AFFINITY_PLACES": 0}
    with drawn_models.stack_in_new_folder(drawn_models_file, "gpu0", "gpu1", "io", **options) as stack:
        yield stack


def test_two_slots_share_the_work_and_never_run_two_jobs_each(pair: Stack) -> None:
    client = connect(pair.settings)
    newest = client.xrevrange(keys.EVENTS, count=1)
    since = f"({newest[0][0]}" if newest else "-"
    ids = [pair.submit(steps=20) for _ in range(12)]
    assert [pair.wait(job_id)["state"] for job_id in ids] == ["succeeded"] * 12

    running: dict[str, str] = {}
    used: set[str] = set()
    for _, entry in client.xrange(keys.EVENTS, min=since):
        event = json.loads(entry["event"])
        job, slot = event["task_id"], event.get("slot")
        if event["state"] == "running":
            assert running.setdefault(slot, job) == job, f"{slot} runs {job} beside {running[slot]}"
            used.add(slot)
        else:
            running = {name: other for name, other in running.items() if other != job}
    assert used == {"gpu0", "gpu1"}


def test_workers_sample_their_devices_and_drain(pair: Stack) -> None:
    def samples() -> list[list[dict[str, float]]]:
        return [slot["samples"] for slot in pair.get("/v1/fleet/history").json()["slots"]]

    wait_for(lambda: len(samples()) == 2 and all(samples()), "a sample of each")
    assert all(sample["memory_used_bytes"] > 0 for found in samples() for sample in found)
    job_id = pair.submit(slot="gpu0", steps=20)
    wait_for(lambda: pair.status(job_id)["state"] == "running", "the run")
    drained = requests.post(pair.url("/v1/admin/slots/gpu0/drain?wait=60"), timeout=70).json()
    assert drained == {"slot": "gpu0", "drained": True, "job_id": None}
    waiting = pair.submit(slot="gpu0")
    assert pair.status(waiting)["position"] == 1
    resumed = requests.post(pair.url("/v1/admin/resume"), json={"slot": "gpu0"}, timeout=60)
    assert resumed.json() == {"paused": []}
    assert pair.wait(waiting)["state"] == "succeeded"


def test_a_pinned_job_waits_for_its_slot_and_others_pass_it(pair: Stack) -> None:
    blocker = pair.endless(slot="gpu1")
    pinned = pair.submit(steps=1, slot="gpu1")
    free = pair.submit(steps=1)
    assert pair.wait(free)["slot"] == "gpu0"
    view = pair.status(pinned)
    assert (view["state"], view["position"]) == ("queued", 1)
    pair.cancel(blocker)
    assert pair.wait(pinned)["slot"] == "gpu1"


def test_an_unknown_slot_is_refused(pair: Stack) -> None:
    response = pair.post(model="tiny-image", prompt="x", slot="gpu7")
    assert response.status_code == 422
    [problem] = response.json()["error"]["fields"]
    assert problem["field"] == "slot"
    assert "gpu0, gpu1" in problem["rule"]


def test_a_stop_on_one_slot_leaves_the_other_alone(pair: Stack) -> None:
    first, second = pair.endless(slot="gpu0"), pair.endless(slot="gpu1")
    pair.cancel(first)
    step = pair.status(second)["progress"]["step"]
    pair.wait_until(second, lambda view: view["progress"]["step"] > step, "a later step")
    pair.cancel(second)


def test_a_second_worker_for_the_same_slot_is_refused(pair: Stack) -> None:
    first = pair.processes["gpu0"]
    second = pair.worker("gpu0")
    assert second.wait(150) != 0
    assert f"served by the worker with process id {first.pid}" in pair.log("gpu0")
    pair.processes["gpu0"] = first
    assert pair.wait(pair.submit(steps=1, slot="gpu0"))["state"] == "succeeded"


@pytest.mark.parametrize(
    ("options", "message"),
    [(("-c", "2"), "start the worker with -c 1"), (("-P", "threads"), "needs the prefork pool")],
)
def test_a_worker_that_could_not_keep_the_rules_does_not_start(
    pair: Stack, options: tuple[str, ...], message: str
) -> None:
    process = pair.worker("gpu5", *options)
    assert process.wait(150) != 0
    assert message in pair.log("gpu5")
    del pair.processes["gpu5"]


def test_first_in_first_out(pair: Stack) -> None:
    blockers = [pair.endless(slot="gpu0"), pair.endless(slot="gpu1")]
    ids = [pair.submit(steps=1, model=model) for model in ("tiny-image", "tiny-video") * 3]
    assert [pair.status(job_id)["position"] for job_id in ids] == [1, 2, 3, 4, 5, 6]
    pair.cancel(blockers[0])
    starts = [pair.wait(job_id)["started_at"] for job_id in ids]
    assert starts == sorted(starts)
    pair.cancel(blockers[1])


def test_where_a_job_is_can_be_asked_all_the_time(pair: Stack) -> None:
    """The ETA appears once a similar job was measured."""
    pair.wait(pair.submit(steps=2))
    blockers = [pair.endless(slot="gpu0"), pair.endless(slot="gpu1")]
    job_id = pair.submit(steps=2)
    view = pair.status(job_id)
    assert (view["state"], view["position"]) == ("queued", 1)
    assert view["eta_s"] > 0
    for blocker in blockers:
        pair.cancel(blocker)
    assert pair.wait(job_id)["eta_s"] is None
    wait_for(lambda: pair.queue()["idle"], "the service to be idle")


def test_a_worker_on_another_host_joins_by_its_name_and_delivers_there(pair: Stack) -> None:
    """Two hosts by name: frames stay on the host that computed them, so its own ``io`` worker delivers them."""
    stack = pair
    stack.worker("nodeb.gpu0", NODE_NAME="nodeb")
    io = ("celery", "-A", "tasks", "worker", "-Q", "io", "-n", "io@nodeb", "--without-gossip", "--without-mingle")
    wait_for(lambda: "nodeb.gpu0" in stack.get("/readyz").json()["slots"], "the other host's slot")
    job_id = stack.submit(steps=1, slot="nodeb.gpu0")
    stack.wait_until(job_id, lambda view: view["state"] == "delivering", "its computation")
    assert stack.wait(stack.submit(steps=1, slot="gpu0"))["slot"] == "gpu0"
    assert stack.status(job_id)["state"] == "delivering"
    stack.run("io-nodeb", *io, NODE_NAME="nodeb")
    view = stack.wait(job_id)
    assert (view["state"], view["slot"], view["attempt"]) == ("succeeded", "nodeb.gpu0", 1)
    for name in ("nodeb.gpu0", "io-nodeb"):
        stack.kill(name, signal.SIGTERM)


def test_frames_on_a_host_that_never_returns_are_computed_again(start: Callable[..., Stack]) -> None:
    stack = start("gpu0", "io", NODE_GRACE_S=1)
    stack.worker("nodeb.gpu0", NODE_NAME="nodeb")
    wait_for(lambda: "nodeb.gpu0" in stack.get("/readyz").json()["slots"], "the other host's slot")
    blocker = stack.endless(slot="gpu0")
    job_id = stack.submit(steps=1)
    stack.wait_until(job_id, lambda view: view["state"] == "delivering", "its computation")
    stack.kill("nodeb.gpu0")
    stack.cancel(blocker)
    view = stack.wait(job_id)
    assert (view["state"], view["slot"], view["attempt"]) == ("succeeded", "gpu0", 2)
