"""Held requests of AUTOMATIC1111's API: progress, interrupt, skip, repeats after a lost connection, ids."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from jobs.callers import ANYBODY
from jobs.store.held_requests import HeldRequest, HeldRequests
from tests.support.a1111_client import (
    BODY,
    ENDLESS,
    Impatient,
    Waiting,
    get,
    jobs,
    pixels,
    post,
    raw,
    seeds,
    until_idle,
    until_running,
)
from tests.support.api import wait_for
from tests.support.served_app import ServedApp
from tests.support.service import Service

#: Runs long enough to be observed, and ends soon.
LONG = {**BODY, "steps": 150}
IDLE = {"progress": 0.0, "eta_relative": 0.0, "current_image": None, "textinfo": None}


@pytest.fixture(scope="module")
def app(serve: Callable[..., ServedApp]) -> ServedApp:
    app = serve()
    app.worker("tiny-image")
    return app


@pytest.fixture(autouse=True)
def _fast(app: ServedApp) -> None:
    app.workers[0].step_s = 0.01


@pytest.fixture(autouse=True)
def _idle(app: ServedApp) -> Iterator[None]:
    """Leave the shared app idle after each test."""
    yield
    requests.delete(app.url("/v1/tasks/all/running"), timeout=90)
    until_idle(app)


def state(app: ServedApp) -> dict[str, Any]:
    return dict(get(app, "progress")["state"])


def test_interrupt_answers_with_what_there_is(app: ServedApp) -> None:
    waiting = Waiting(app, {**LONG, "n_iter": 3, "seed": 40})
    seen = []

    def second_runs() -> Any:
        found = get(app, "progress")
        seen.append(found["progress"])
        if found["state"]["job_no"] == 1:
            app.workers[0].step_s = 0.1  # it does not end before the next calls
        return found["state"]["job_no"] == 1 and found["state"]["sampling_step"] > 3 and found["current_image"]

    wait_for(second_runs, "the second batch")
    now = state(app)
    assert (now["job_count"], now["job_no"], now["sampling_steps"]) == (3, 1, 150)
    assert seen == sorted(seen)
    assert 0.01 + 1 / 3 < seen[-1] < 0.01 + 2 / 3
    assert get(app, "progress", params={"skip_current_image": "true"})["current_image"] is None
    assert post(app, "interrupt").json() == {}
    answer = waiting.end()
    assert len(pixels(answer)) == 2
    assert seeds(answer) == [40, 41]
    # Batches that were accepted in the same millisecond are listed in any order.
    assert sorted(job["state"] for job in jobs(app)[:3]) == ["cancelled", "cancelled", "succeeded"]
    again = get(app, "progress")
    assert {name: again[name] for name in IDLE} == IDLE
    assert again["state"]["job_count"] == 0


def test_skip_stops_one_batch_only(app: ServedApp) -> None:
    waiting = Waiting(app, {**LONG, "n_iter": 2, "seed": 50})
    app.workers[0].step_s = 0.1
    wait_for(lambda: state(app)["sampling_step"] > 3 and get(app, "progress")["current_image"], "a first picture")
    assert post(app, "skip").json() is None
    app.workers[0].step_s = 0.0
    answer = waiting.end()
    assert len(pixels(answer)) == 2
    by_seed = sorted(jobs(app)[:2], key=lambda job: job["request"]["seed"])  # both may be of one millisecond
    assert [job["state"] for job in by_seed] == ["cancelled", "succeeded"]


def test_interrupt_leaves_calls_that_wait_and_does_nothing_when_idle(app: ServedApp) -> None:
    assert post(app, "interrupt").json() == {}
    first = Waiting(app, ENDLESS)
    until_running(app)
    second = Waiting(app, {**BODY, "seed": 60})
    wait_for(lambda: jobs(app, "queued"), "the second call")
    post(app, "interrupt")
    assert seeds(first.end()) in ([7], [])
    assert seeds(second.end()) == [60]


def test_a_repeat_after_a_timeout_is_given_the_same_job(app: ServedApp) -> None:
    body = {**LONG, "seed": -1, "prompt": "a timeout"}
    before = len(jobs(app))
    app.workers[0].step_s = 0.05
    client = Impatient(app, body)
    until_running(app)
    client.hang_up()
    app.workers[0].step_s = 0.0
    first = raw(app, body)
    assert len(jobs(app)) == before + 1
    assert seeds(first) == [jobs(app)[0]["request"]["seed"]]
    second = raw(app, body)  # that response was delivered
    assert len(jobs(app)) == before + 2
    assert seeds(second) != seeds(first)


def test_a_repeat_long_after_the_end_is_given_the_same_job(app: ServedApp) -> None:
    body = {**BODY, "seed": -1, "prompt": "an end"}
    blocker = app.endless()
    client = Impatient(app, body)
    (job,) = wait_for(lambda: jobs(app, "queued"), "the job")
    client.hang_up()
    app.cancel(blocker)
    app.wait(job["id"])
    assert seeds(raw(app, body)) == [job["request"]["seed"]]
    assert seeds(raw(app, body)) != [job["request"]["seed"]]


def test_equal_bodies_at_the_same_time_are_two_requests(app: ServedApp) -> None:
    before = len(jobs(app))
    body = {**BODY, "seed": -1, "prompt": "twice", "steps": 30}
    calls = [Waiting(app, body) for _ in range(3)]
    answers = [call.end() for call in calls]
    assert len({seeds(answer)[0] for answer in answers}) == 3
    assert len(jobs(app)) == before + 3


def test_what_was_interrupted_is_not_given_to_a_repeat(app: ServedApp) -> None:
    body = {**ENDLESS, "seed": -1, "prompt": "given up"}
    client = Impatient(app, body)
    until_running(app)
    client.hang_up()  # as SillyTavern does when its user stops
    post(app, "interrupt")
    until_idle(app)
    repeat = Waiting(app, body)
    until_running(app)
    post(app, "interrupt")
    assert repeat.end().status_code == 200


def test_a_chosen_id_is_always_the_same_job(app: ServedApp) -> None:
    body = {**LONG, "seed": -1, "force_task_id": "task(mine)"}
    before = len(jobs(app))
    calls = [Waiting(app, body) for _ in range(2)]

    def known() -> dict[str, Any]:
        return dict(requests.post(app.url("/internal/progress"), json={"id_task": "task(mine)"}, timeout=90).json())

    active = wait_for(lambda: (found := known())["active"] and found["live_preview"] and found, "the task to run")
    assert active["live_preview"].startswith("data:image/")
    assert 0 < active["progress"] < 1
    other = post(app, "txt2img", {**body, "steps": 3})
    assert (other.status_code, set(other.json())) == (409, {"error", "detail", "body", "errors"})
    assert len({call.end().json()["images"][0] for call in calls}) == 1
    assert len(jobs(app)) == before + 1
    assert (known()["completed"], known()["active"], known()["queued"]) == (True, False, False)
    # Some clients use one id for all their requests, one after the other.
    another = post(app, "txt2img", {**body, "steps": 3})
    assert another.json()["parameters"]["steps"] == 3
    assert len(jobs(app)) == before + 2


@pytest.mark.parametrize(
    ("fields", "is_random"),
    [({"seed": -1}, True), ({"seed": 7}, False), ({}, True), ({"seed": 7, "subseed_strength": 0.5}, True),
     ({"seed": 7, "subseed": 3, "subseed_strength": 0.5}, False)],
)  # fmt: skip
def test_a_chosen_id_is_new_work_if_the_seed_is_random(
    app: ServedApp, fields: dict[str, Any], is_random: bool
) -> None:  # fmt: skip
    """An example with an id is pasted again and again, and nobody wants the picture of the first time."""
    body = {**BODY, **fields, "prompt": str(fields), "force_task_id": f"example {fields}"}
    if "seed" not in fields:
        del body["seed"]
    before = len(jobs(app))
    answers = [post(app, "txt2img", body) for _ in range(2)]
    seeds = {tuple(json.loads(answer.json()["info"])[name] for name in ("seed", "subseed")) for answer in answers}
    assert len(jobs(app)) == before + 1 + is_random
    assert len(seeds) == 1 + is_random


def test_a_chosen_id_is_tried_again_after_a_stop(app: ServedApp) -> None:
    body = {**ENDLESS, "force_task_id": "again"}
    for _ in range(2):
        call = Waiting(app, body)
        until_running(app)
        post(app, "interrupt")
        assert call.end().status_code == 200


def test_waiting_tasks_are_listed(app: ServedApp) -> None:
    app.endless()
    call = Waiting(app, {**BODY, "force_task_id": "later"})
    listed = wait_for(
        lambda: (found := requests.get(app.url("/internal/pending-tasks"), timeout=90).json())["size"] and found,
        "the waiting task",
    )
    assert listed == {"size": 1, "tasks": ["later"]}
    found = requests.post(app.url("/internal/progress"), json={"id_task": "later"}, timeout=90).json()
    assert (found["queued"], found["textinfo"]) == (True, "In queue: 1/1")
    requests.post(app.url("/v1/admin/pause"), json={}, timeout=90)
    found = requests.post(app.url("/internal/progress"), json={"id_task": "later"}, timeout=90).json()
    assert found["textinfo"] == "In queue: 1/1. Waiting for resume of the queue"
    assert get(app, "progress")["textinfo"] == "Waiting for resume of the queue"
    requests.post(app.url("/v1/admin/resume"), json={}, timeout=90)
    assert (get(app, "progress")["progress"], state(app)["job_count"]) == (0.0, 1)
    requests.delete(app.url("/v1/tasks/all/running"), timeout=90)
    assert call.end().json()["images"] == []


def test_a_request_whose_job_is_being_submitted_is_queued(service: Service) -> None:
    """It is listed from the moment it is opened."""
    name = ANYBODY.key_id
    opened = HeldRequest(name, "early", ("job",), 1, holder="a connection")
    HeldRequests(service.store, name).open(opened, "digest", forced=False, random=False)
    assert service.json("/internal/pending-tasks") == {"size": 1, "tasks": ["early"]}
    found = service.post("/internal/progress", json={"id_task": "early"}).get_json()
    assert (found["queued"], found["completed"], found["textinfo"]) == (True, False, "In queue: 1/1")


def test_what_was_delivered_is_done_anew_on_the_same_connection(app: ServedApp) -> None:
    body = {**BODY, "seed": -1, "prompt": "again"}
    with requests.Session() as session:
        found = [seeds(session.post(app.url("/sdapi/v1/txt2img"), json=body, timeout=60))[0] for _ in range(5)]
    assert len(set(found)) == 5


def test_a_random_subseed_goes_on_over_the_batches(app: ServedApp) -> None:
    sent = {**BODY, "n_iter": 2, "subseed_strength": 0.3}
    info = [json.loads(post(app, "txt2img", sent).json()["info"]) for _ in range(2)]
    assert [one["all_seeds"] for one in info] == [[7, 7]] * 2
    assert all(one["all_subseeds"] == [one["subseed"], one["subseed"] + 1] for one in info)
    assert info[0]["subseed"] != info[1]["subseed"]
    newest = jobs(app)[:2]  # both were submitted at once
    assert sorted(job["request"]["variation"]["seed"] for job in newest) == info[1]["all_subseeds"]


def test_a_paused_request_is_held_and_says_what_it_waits_for(app: ServedApp) -> None:
    waiting = Waiting(app, {**LONG, "seed": 41})
    wait_for(lambda: state(app)["sampling_step"] > 20, "some steps")
    (job,) = jobs(app, "running")
    app.pause(job["id"])
    paused = get(app, "progress")
    assert paused["textinfo"] == "Waiting for resume of the job"
    step = paused["state"]["sampling_step"]
    assert step > 20
    assert paused["progress"] == pytest.approx(0.01 + step / 150)
    app.workers[0].step_s = 0.0
    app.resume(job["id"])
    assert len(waiting.end().json()["images"]) == 1
