"""Following jobs on a running service; ``tests/http/test_native_events.py`` tests the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import requests

from tests.support.harness import Stack

Message = tuple[str, str, dict[str, Any]]


def messages(stack: Stack, path: str, since: str = "") -> Iterator[Message]:
    """Return the messages (id, event, data) of a stream until it ends."""
    headers = {"Last-Event-ID": since} if since else {}
    with requests.get(stack.url(path), headers=headers, stream=True, timeout=90) as response:
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
    with stack.paused():  # until somebody listens
        stream = messages(stack, f"/v1/jobs/{stack.submit(steps=60)}/events")
        seen = [next(stream)]
    seen += stream
    assert seen[0][1] == "status"  # a late listener gets the current state first
    assert seen[-1][1] == "end"
    assert seen[-1][2]["state"] == "succeeded"
    assert seen[-1][2]["outputs"][0]["media_type"] == "image/png"
    steps = [data["progress"]["step"] for _, event, data in seen if event == "progress"]
    assert steps == sorted(steps)
    assert steps[-1] == 60
    ids = [tuple(map(int, event_id.split("-"))) for event_id, *_ in seen]
    assert ids == sorted(ids)


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
