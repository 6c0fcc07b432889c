"""Messages in the queues of workers that make no sense: they are dropped, and the workers go on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import drawn_models
from tests.support.harness import Stack, wait_for


@pytest.fixture(scope="module")
def stack(drawn_models_file: Path) -> Iterator[Stack]:
    with drawn_models.stack_in_new_folder(drawn_models_file, "gpu0", "io") as stack:
        yield stack


def message(**parts: Any) -> str:
    """A message of a job, with other parts."""
    headers = {"lang": "py", "task": "tasks.generate", "id": "x", "retries": 0, "timelimit": [None, None]}
    properties = {"delivery_info": {"exchange": "", "routing_key": "gpu0"}, "priority": 0, "delivery_tag": "x.1"}
    whole = {
        "body": json.dumps([["x", 1], {}, {}]), "content-encoding": "utf-8", "content-type": "application/json",
        "headers": {**headers, **parts.pop("of_headers", {})}, "properties": properties,
    }  # fmt: skip
    return json.dumps({**whole, **parts})


MESSAGES = (
    "no json", "", "null", "[]", "5", "{}", '{"body":"x"}', "\xff", message(body="x"), message(body="null"),
    message(body=json.dumps([["x"], {}, {}])), message(body=json.dumps([["x", "y"], {}, {}])), message(body=5),
    message(body=json.dumps([["x", 1], {"a": 1}, {}])), message(body=json.dumps([["x", 10**400], {}, {}])),
    message(headers=None), message(headers=5), message(of_headers={"task": "no.such"}), message(properties={}),
    message(of_headers={"id": ["x"]}), message(of_headers={"eta": "soon"}), message(of_headers={"retries": "many"}),
    message(of_headers={"timelimit": "long"}), message(of_headers={"expires": "soon"}), message(body="\ud800"),
    message(properties={"delivery_tag": "t", "delivery_info": 5}), message(**{"content-type": 5}),
    message(**{"content-type": "application/x-python-serialize"}), message(**{"content-encoding": "none"}),
)  # fmt: skip


def test_workers_go_on_after_messages_that_make_no_sense(stack: Stack) -> None:
    client, own = stack.store.client, stack.settings.delivery_queue
    for content in MESSAGES:
        for queue in ("gpu0", "io", own):
            client.lpush(queue, content.encode("utf-8", "surrogatepass"))
    wait_for(lambda: not any(client.llen(queue) for queue in ("gpu0", "io", own)), "all messages to be read")
    assert stack.wait(stack.submit())["state"] == "succeeded"
    assert all(process.poll() is None for process in stack.processes.values())
    assert "was dropped" in stack.log("gpu0")
    assert "was dropped" in stack.log("io")


def test_messages_of_jobs_are_not_dropped(stack: Stack) -> None:
    def dropped() -> list[int]:
        return [stack.log(name).count("was dropped") for name in ("gpu0", "io")]

    before = dropped()
    for model in ("tiny-image", "tiny-video"):
        view = stack.wait(stack.submit(model=model))
        assert (view["state"], view["attempt"]) == ("succeeded", 1)
    assert dropped() == before


def test_remote_control_still_reaches_the_workers(stack: Stack) -> None:
    job_id = stack.endless()
    assert stack.cancel(job_id).status_code == 200
    assert stack.wait(stack.submit())["state"] == "succeeded"
