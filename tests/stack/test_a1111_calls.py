"""Calls of AUTOMATIC1111's API while they wait: progress, interrupt, skip, repeats after a lost connection, ids."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

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
from tests.support.harness import Stack, wait_for

#: Long enough to be seen running, and over soon.
LONG = {**BODY, "steps": 150}
IDLE = {"progress": 0.0, "eta_relative": 0.0, "current_image": None, "textinfo": None}


@pytest.fixture(autouse=True)
def _idle(stack: Stack) -> Iterator[None]:
    """Each test leaves the shared stack idle."""
    yield
    requests.delete(stack.url("/v1/tasks/all/running"), timeout=30)
    until_idle(stack)


def state(stack: Stack) -> dict[str, Any]:
    return dict(get(stack, "progress")["state"])


def test_interrupt_answers_with_what_there_is(stack: Stack) -> None:
    waiting = Waiting(stack, {**LONG, "n_iter": 3, "seed": 40})
    seen = []

    def second_runs() -> Any:
        found = get(stack, "progress")
        seen.append(found["progress"])
        return found["state"]["job_no"] == 1 and found["state"]["sampling_step"] > 3 and found["current_image"]

    wait_for(second_runs, "the second batch")
    now = state(stack)
    assert (now["job_count"], now["job_no"], now["sampling_steps"]) == (3, 1, 150)
    assert seen == sorted(seen)
    assert 0.01 + 1 / 3 < seen[-1] < 0.01 + 2 / 3
    assert get(stack, "progress", params={"skip_current_image": "true"})["current_image"] is None
    assert post(stack, "interrupt").json() == {}
    answer = waiting.end()
    assert len(pixels(answer)) == 2
    assert seeds(answer) == [40, 41]
    assert [job["state"] for job in jobs(stack)[:3]] == ["cancelled", "cancelled", "succeeded"]
    again = get(stack, "progress")
    assert {name: again[name] for name in IDLE} == IDLE
    assert again["state"]["job_count"] == 0


def test_skip_stops_one_batch_only(stack: Stack) -> None:
    waiting = Waiting(stack, {**LONG, "n_iter": 2, "seed": 50})
    wait_for(lambda: state(stack)["sampling_step"] > 3 and get(stack, "progress")["current_image"], "a first picture")
    assert post(stack, "skip").json() is None
    answer = waiting.end()
    assert len(pixels(answer)) == 2
    assert [job["state"] for job in jobs(stack)[:2]] == ["succeeded", "cancelled"]


def test_interrupt_leaves_calls_that_wait_and_does_nothing_when_idle(stack: Stack) -> None:
    assert post(stack, "interrupt").json() == {}
    first = Waiting(stack, ENDLESS)
    until_running(stack)
    second = Waiting(stack, {**BODY, "seed": 60})
    wait_for(lambda: jobs(stack, "queued"), "the second call")
    post(stack, "interrupt")
    assert seeds(first.end()) in ([7], [])
    assert seeds(second.end()) == [60]


def test_a_repeat_after_a_timeout_is_given_the_same_job(stack: Stack) -> None:
    body = {**LONG, "seed": -1, "prompt": "a timeout"}
    before = len(jobs(stack))
    client = Impatient(stack, body)
    until_running(stack)
    client.hang_up()
    first = raw(stack, body)
    assert len(jobs(stack)) == before + 1
    assert seeds(first) == [jobs(stack)[0]["request"]["seed"]]
    second = raw(stack, body)  # that answer was delivered
    assert len(jobs(stack)) == before + 2
    assert seeds(second) != seeds(first)


def test_a_repeat_long_after_the_end_is_given_the_same_job(stack: Stack) -> None:
    body = {**BODY, "seed": -1, "prompt": "an end"}
    blocker = stack.endless()
    client = Impatient(stack, body)
    (job,) = wait_for(lambda: jobs(stack, "queued"), "the job")
    client.hang_up()
    stack.cancel(blocker)
    stack.wait(job["id"])
    assert seeds(raw(stack, body)) == [job["request"]["seed"]]
    assert seeds(raw(stack, body)) != [job["request"]["seed"]]


def test_equal_bodies_at_the_same_time_are_two_requests(stack: Stack) -> None:
    before = len(jobs(stack))
    body = {**LONG, "seed": -1, "prompt": "twice"}
    calls = [Waiting(stack, body) for _ in range(3)]
    answers = [call.end() for call in calls]
    assert len({seeds(answer)[0] for answer in answers}) == 3
    assert len(jobs(stack)) == before + 3


def test_what_was_interrupted_is_not_given_to_a_repeat(stack: Stack) -> None:
    body = {**ENDLESS, "seed": -1, "prompt": "given up"}
    client = Impatient(stack, body)
    until_running(stack)
    client.hang_up()  # as SillyTavern does when its user stops
    post(stack, "interrupt")
    until_idle(stack)
    repeat = Waiting(stack, body)
    until_running(stack)
    post(stack, "interrupt")
    assert repeat.end().status_code == 200


def test_a_chosen_id_is_always_the_same_job(stack: Stack) -> None:
    body = {**LONG, "seed": -1, "force_task_id": "task(mine)"}
    before = len(jobs(stack))
    calls = [Waiting(stack, body) for _ in range(2)]

    def known() -> dict[str, Any]:
        return dict(requests.post(stack.url("/internal/progress"), json={"id_task": "task(mine)"}, timeout=30).json())

    active = wait_for(lambda: (found := known())["active"] and found["live_preview"] and found, "the task to run")
    assert active["live_preview"].startswith("data:image/")
    assert 0 < active["progress"] < 1
    other = post(stack, "txt2img", {**body, "steps": 3})
    assert (other.status_code, set(other.json())) == (409, {"error", "detail", "body", "errors"})
    answers = [call.end() for call in calls] + [post(stack, "txt2img", body)]
    assert len({answer.json()["images"][0] for answer in answers}) == 1
    assert len(jobs(stack)) == before + 1
    assert (known()["completed"], known()["active"], known()["queued"]) == (True, False, False)
    # Some clients have one id for all they send, one after the other.
    another = post(stack, "txt2img", {**body, "steps": 3})
    assert another.json()["parameters"]["steps"] == 3
    assert len(jobs(stack)) == before + 2


def test_a_chosen_id_is_tried_again_after_a_stop(stack: Stack) -> None:
    body = {**ENDLESS, "force_task_id": "again"}
    for _ in range(2):
        call = Waiting(stack, body)
        until_running(stack)
        post(stack, "interrupt")
        assert call.end().status_code == 200


def test_waiting_tasks_are_listed(stack: Stack) -> None:
    stack.endless()
    call = Waiting(stack, {**BODY, "force_task_id": "later"})
    listed = wait_for(
        lambda: (found := requests.get(stack.url("/internal/pending-tasks"), timeout=30).json())["size"] and found,
        "the waiting task",
    )
    assert listed == {"size": 1, "tasks": ["later"]}
    found = requests.post(stack.url("/internal/progress"), json={"id_task": "later"}, timeout=30).json()
    assert (found["queued"], found["textinfo"]) == (True, "In queue: 1/1")
    assert (get(stack, "progress")["progress"], state(stack)["job_count"]) == (0.0, 1)
    requests.delete(stack.url("/v1/tasks/all/running"), timeout=30)
    assert call.end().json()["images"] == []


def test_a_web_process_may_die_between_submit_and_answer(start: Callable[..., Stack]) -> None:
    stack = start("gpu0", "gpu1", "io", WEB_PROCESSES=2)
    body = {**ENDLESS, "n_iter": 2, "seed": -1}
    call = Waiting(stack, body)
    until_running(stack, 2)  # batches run on both slots
    for pid in children(stack):
        os.kill(pid, signal.SIGKILL)
    call.broken()
    wait_for(lambda: answers(stack), "new web processes")
    repeats = [Waiting(stack, body)]
    time.sleep(4)  # longer than any claim: nothing else may have been begun meanwhile
    assert len(jobs(stack)) == 2
    wait_for(lambda: get(stack, "progress")["current_image"], "a preview")
    post(stack, "interrupt")
    answer = repeats[0].end()
    assert len(jobs(stack)) == 2
    first = min(job["request"]["seed"] for job in jobs(stack))
    assert seeds(answer)
    assert set(seeds(answer)) <= {first, first + 1}


def children(stack: Stack) -> list[int]:
    parent = stack.processes["web"].pid
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def answers(stack: Stack) -> bool:
    try:
        return stack.get("/healthz").status_code == 200
    except requests.ConnectionError:
        return False


def test_what_was_delivered_is_done_anew_on_the_same_connection(stack: Stack) -> None:
    body = {**BODY, "seed": -1, "prompt": "again"}
    with requests.Session() as session:
        found = [seeds(session.post(stack.url("/sdapi/v1/txt2img"), json=body, timeout=60))[0] for _ in range(5)]
    assert len(set(found)) == 5


def test_a_random_subseed_goes_on_over_the_batches(stack: Stack) -> None:
    sent = {**BODY, "n_iter": 2, "subseed_strength": 0.3}
    info = [json.loads(post(stack, "txt2img", sent).json()["info"]) for _ in range(2)]
    assert [one["all_seeds"] for one in info] == [[7, 7]] * 2
    assert all(one["all_subseeds"] == [one["subseed"], one["subseed"] + 1] for one in info)
    assert info[0]["subseed"] != info[1]["subseed"]
    assert [job["request"]["variation"]["seed"] for job in jobs(stack)[:2]] == info[1]["all_subseeds"][::-1]
