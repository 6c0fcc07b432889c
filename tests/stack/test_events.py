"""Following jobs: server-sent events with replay, long poll, and waiting in the submitting call."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.support.harness import Stack, wait_for

Message = tuple[str, str, dict[str, Any]]


def messages(stack: Stack, path: str, since: str = "") -> Iterator[Message]:
    """(id, event, data) of a stream until it ends."""
    headers = {"Last-Event-ID": since} if since else {}
    with requests.get(stack.url(path), headers=headers, stream=True, timeout=30) as response:
        assert response.status_code == 200, response.text
        assert response.headers["Content-Type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in response.iter_lines(decode_unicode=True):
            if line.startswith(":"):
                continue
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            else:
                if "event" in fields:
                    yield fields["id"], fields["event"], json.loads(fields["data"])
                fields = {}


def test_a_job_is_followed_to_its_end(stack: Stack) -> None:
    job_id = stack.submit(steps=60)
    seen = list(messages(stack, f"/v1/jobs/{job_id}/events"))
    assert seen[0][1] == "status"  # a late listener gets the present state first
    assert seen[-1][1] == "end"
    assert seen[-1][2]["state"] == "succeeded"
    assert seen[-1][2]["outputs"][0]["media_type"] == "image/png"
    steps = [data["progress"]["step"] for _, event, data in seen if event == "progress"]
    assert steps == sorted(steps)
    assert steps[-1] == 60
    ids = [tuple(map(int, event_id.split("-"))) for event_id, *_ in seen]
    assert ids == sorted(ids)


def test_a_finished_job_answers_at_once(stack: Stack) -> None:
    job_id = stack.submit(steps=1)
    stack.wait(job_id)
    [(_, event, data)] = messages(stack, f"/v1/jobs/{job_id}/events")
    assert (event, data["state"]) == ("status", "succeeded")


def test_what_was_missed_is_replayed(stack: Stack) -> None:
    job_id = stack.endless()
    stream = messages(stack, f"/v1/jobs/{job_id}/events")
    seen = [next(stream) for _ in range(4)]
    stream.close()
    stack.cancel(job_id)
    rest = list(messages(stack, f"/v1/jobs/{job_id}/events", since=seen[1][0]))
    assert [message[0] for message in rest[:2]] == [message[0] for message in seen[2:]]
    assert rest[-1][1:] == ("end", stack.get(f"/v1/jobs/{job_id}").json())
    assert list(messages(stack, f"/v1/jobs/{job_id}/events", since=rest[-1][0])) == []


def test_an_id_too_old_to_replay_gets_the_present_state(stack: Stack) -> None:
    job_id = stack.submit(steps=1)
    stack.wait(job_id)
    [(_, event, _)] = messages(stack, f"/v1/jobs/{job_id}/events", since="1-0")
    assert event == "status"


def test_a_wrong_id_is_refused(stack: Stack) -> None:
    job_id = stack.submit(steps=1)
    response = stack.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "yesterday"})
    assert (response.status_code, response.json()["error"]["fields"][0]["field"]) == (422, "Last-Event-ID")
    assert stack.get("/v1/jobs/nobody/events").status_code == 404
    stack.wait(job_id)


def test_all_jobs_are_followed_at_once(stack: Stack) -> None:
    seen: list[Message] = []
    ids: list[str] = []

    def follow() -> None:
        for message in messages(stack, "/v1/events"):
            seen.append(message)
            if ids and {data["id"] for _, event, data in seen if event == "end"} >= set(ids):
                return

    follower = threading.Thread(target=follow)
    follower.start()
    time.sleep(0.5)  # nothing tells that a stream of silence has begun
    ids += [stack.submit(steps=1) for _ in range(3)]
    follower.join(30)
    assert not follower.is_alive()


def test_a_web_restart_loses_no_event(start) -> None:  # type: ignore[no-untyped-def]
    stack = start("gpu0", "io")
    job_id = stack.endless()
    stream = messages(stack, f"/v1/jobs/{job_id}/events")
    last = next(stream)[0]
    stack.kill("web")
    stack.web()
    stack.cancel(job_id)
    rest = list(messages(stack, f"/v1/jobs/{job_id}/events", since=last))
    steps = [data["progress"]["step"] for _, event, data in rest if event == "progress"]
    assert steps == sorted(steps)
    assert rest[-1][1] == "end"


def test_a_long_poll_answers_when_the_state_changes(stack: Stack) -> None:
    blocker = stack.endless()
    job_id = stack.submit(steps=1)
    threading.Timer(0.5, lambda: stack.cancel(blocker)).start()
    view = requests.get(stack.url(f"/v1/jobs/{job_id}?wait=30"), timeout=40).json()
    assert view["state"] != "queued"
    stack.wait(job_id)
    begun = time.monotonic()
    assert stack.get(f"/v1/jobs/{job_id}?wait=30").json()["state"] == "succeeded"
    assert time.monotonic() - begun < 5  # over: nothing to wait for


def test_a_long_poll_ends_in_time(stack: Stack) -> None:
    job_id = stack.endless()
    begun = time.monotonic()
    assert stack.get(f"/v1/jobs/{job_id}?wait=1").json()["state"] == "running"
    assert time.monotonic() - begun >= 1
    stack.cancel(job_id)


@pytest.mark.parametrize("how", ["query", "header"])
def test_submit_can_wait_for_the_end(stack: Stack, how: str) -> None:
    path, headers = ("?wait=30", {}) if how == "query" else ("", {"Prefer": "respond-async, wait=30"})
    sent = {"model": "tiny-image", "steps": 1}
    view = requests.post(stack.url("/v1/jobs" + path), json=sent, headers=headers, timeout=40).json()
    assert view["state"] == "succeeded"
    assert stack.get(view["outputs"][0]["url"]).status_code == 200


@pytest.mark.parametrize("wait", ["-1", "soon", "nan", "inf"])
def test_a_wrong_wait_is_refused(stack: Stack, wait: str) -> None:
    response = requests.post(stack.url(f"/v1/jobs?wait={wait}"), json={"model": "tiny-image"}, timeout=10)
    assert (response.status_code, response.json()["error"]["fields"][0]["field"]) == (422, "wait")


def test_many_listeners_share_one_connection_to_redis(stack: Stack) -> None:
    job_id = stack.endless()
    path = stack.url(f"/v1/jobs/{job_id}/events")
    before = len(stack.store.client.client_list())
    streams = [requests.get(path, stream=True, timeout=30) for _ in range(30)]
    try:
        for stream in streams:
            assert next(stream.iter_content(20)).startswith(b"id: ")
        assert len(stack.store.client.client_list()) <= before + 3
    finally:
        for stream in streams:
            stream.close()
        stack.cancel(job_id)
    wait_for(lambda: stack.queue()["idle"], "the slot to be free")
