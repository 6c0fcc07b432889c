"""The logs of a complete stack: one form for all processes, a line for each request and each job, and no secrets."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from stack import ports
from tests.support import drawn_models
from tests.support.harness import Stack, wait_for

SECRET, PROMPT = "fm-secret-of-a-client", "a private wish"
#: Who is logged as the caller of a server without keys.
NOBODY = "-"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    models_file = drawn_models.write(tmp_path_factory.mktemp("models"))
    with drawn_models.stack_in_new_folder(models_file, "gpu0", "io", LOG_FORMAT="auto", MAX_ATTEMPTS=1) as stack:
        yield stack


def lines(stack: Stack, *names: str) -> list[dict[str, Any]]:
    """Return the lines of some processes, those of text that Celery prints at its start aside."""
    texts = [line for name in names for line in stack.log(name).splitlines() if line.startswith("{")]
    return [json.loads(line) for line in texts]


def requests_of(stack: Stack, **values: Any) -> list[dict[str, Any]]:
    """Return the lines of requests with these values."""
    found = [line for line in lines(stack, "web") if line["logger"] == "app.requests"]
    return [line for line in found if values.items() <= line.items()]


def only(find: Callable[[], list[dict[str, Any]]], what: str) -> dict[str, Any]:
    """Wait for a line, and return it; there is one of them."""
    found = wait_for(find, what)
    assert len(found) == 1, found
    return dict(found[0])


def end_of(stack: Stack, job_id: str) -> dict[str, Any]:
    """Return the only line about the end of a job."""
    names = tuple(name for name in ("web", "gpu0", "io") if name in stack.processes)
    return only(
        lambda: [one for one in lines(stack, *names) if one["message"] == "job ended" and one["job_id"] == job_id],
        f"the end of {job_id} in the logs",
    )


def test_a_submission_is_one_line_and_so_is_its_job(stack: Stack) -> None:
    sent = requests.post(
        stack.url(f"/v1/jobs?key={SECRET}"), timeout=60,
        json={
            "model": "tiny-image", "prompt": PROMPT, "negative_prompt": PROMPT,
            "webhook": {"url": f"http://127.0.0.1:9/{SECRET}"},
        },
        headers={"X-Request-Id": "from-the-proxy-1", "X-Other": SECRET, "Referer": f"http://x/?{SECRET}"},
    )  # fmt: skip
    assert (sent.status_code, sent.headers["X-Request-Id"]) == (201, "from-the-proxy-1"), sent.text
    job_id = sent.json()["id"]
    line = only(lambda: requests_of(stack, request_id="from-the-proxy-1"), "the line of the request")
    assert line.pop("duration_ms") > 0
    assert {name: line[name] for name in sorted(line.keys() - {"time", "pid"})} == {
        "bytes": len(sent.content), "job_id": job_id, "key": NOBODY, "level": "INFO", "logger": "app.requests",
        "message": "request", "method": "POST", "request_id": "from-the-proxy-1", "route": "/v1/jobs", "status": 201,
    }  # fmt: skip
    view = stack.wait(job_id)
    end = end_of(stack, job_id)
    assert {name: end[name] for name in end.keys() - {"time", "pid", "wait_s", "load_s", "run_s", "deliver_s"}} == {
        "level": "INFO", "logger": "tasks.jobs", "message": "job ended", "job_id": job_id, "outcome": "succeeded",
        "key": NOBODY, "model": "tiny-image", "kind": view["kind"], "protocol": "native", "slot": "gpu0", "attempts": 1,
    }  # fmt: skip
    assert end["run_s"] > 0
    assert min(end["wait_s"], end["load_s"], end["deliver_s"]) >= 0
    for name in stack.processes:
        assert SECRET not in stack.log(name)
        assert PROMPT not in stack.log(name)


@pytest.mark.parametrize("given", ["", "two words", "a\tb", "x" * 129, "-starts-with-a-mark", "ä", '"quoted"'])
def test_a_request_without_a_sane_id_gets_one(stack: Stack, given: str) -> None:
    got = requests.post(
        stack.url("/v1/jobs"), json={}, timeout=90, headers={"X-Request-Id": given.encode()} if given else {}
    )
    made = got.headers["X-Request-Id"]
    assert made
    assert made != given
    assert only(lambda: requests_of(stack, request_id=made), "the line")["status"] == got.status_code >= 400


def test_polls_and_probes_are_not_logged_but_what_fails_is(stack: Stack) -> None:
    job_id = stack.submit()
    stack.wait(job_id)
    for path in ("/healthz", "/readyz", f"/v1/jobs/{job_id}", "/v1/queue"):
        assert stack.get(path).status_code == 200
    missing = stack.get(f"/v1/jobs/none-{SECRET}")
    nowhere = stack.get(f"/nothing/{SECRET}")
    line = only(lambda: requests_of(stack, request_id=nowhere.headers["X-Request-Id"]), "the line")
    assert "route" not in line
    line = only(lambda: requests_of(stack, request_id=missing.headers["X-Request-Id"]), "the line")
    assert (line["route"], line["status"]) == ("/v1/jobs/<job_id>", 404)
    assert not requests_of(stack, method="GET", status=200)


def test_a_stopped_job_says_so_once(stack: Stack) -> None:
    job_id = stack.endless()
    stack.cancel(job_id)
    end = end_of(stack, job_id)
    assert (end["outcome"], end.get("error")) == ("cancelled", None)
    cancelled = only(lambda: requests_of(stack, route="/v1/jobs/<job_id>/cancel"), "the line of the request")
    assert cancelled["job_id"] == job_id


def test_a_lost_job_says_why(stack: Stack) -> None:
    job_id = stack.endless()
    os.kill(stack.child("gpu0"), signal.SIGKILL)
    assert stack.wait(job_id)["state"] == "failed"
    end = end_of(stack, job_id)
    assert (end["outcome"], end["error"], end["attempts"]) == ("failed", "worker_lost", 1)


def test_a_job_that_expires_or_is_revoked_has_its_line(stack: Stack) -> None:
    running, waiting, late = stack.endless(), stack.submit(), stack.submit(start_within_s=0.5)
    assert end_of(stack, late)["outcome"] == "expired"
    for job_id in (waiting, running):
        assert stack.run("revoke", "celery", "-A", "tasks", "control", "revoke", job_id).wait(150) == 0
        del stack.processes["revoke"]
        assert end_of(stack, job_id)["outcome"] == "cancelled"


def test_a_worker_that_dies_is_reported_by_another_process(stack: Stack) -> None:
    job_id, child = stack.endless(), stack.child("gpu0")
    stack.kill("gpu0")
    os.kill(child, signal.SIGKILL)
    end = end_of(stack, job_id)
    assert (end["outcome"], end["error"]) == ("failed", "worker_lost")
    stack.worker("gpu0")


def test_no_end_was_reported_twice(stack: Stack) -> None:
    ends = [one["job_id"] for one in lines(stack, "web", "gpu0", "io") if one["message"] == "job ended"]
    assert len(set(ends)) == len(ends) > 4


def test_lines_of_gunicorn_celery_and_flower_have_the_same_form(stack: Stack) -> None:
    options = ("--address=127.0.0.1", f"--port={ports.next_free('127.0.0.1', 24_000)}", "--logging=info")
    stack.run("flower", "celery", "-A", "tasks", "flower", *options)
    loggers = {
        "web": {"gunicorn.error"}, "gpu0": {"celery.apps.worker"}, "io": {"celery.apps.worker"},
        "flower": {"flower.command"},
    }  # fmt: skip

    def seen(name: str) -> set[str]:
        return {line["logger"] for line in lines(stack, name)}

    for name, expected in loggers.items():
        wait_for(lambda name=name, expected=expected: expected <= seen(name), f"the lines of {name}")
    for line in stack.log("web").splitlines() + stack.log("flower").splitlines():
        assert {"time", "level", "logger", "message", "pid"} <= json.loads(line).keys()


def test_all_requests_can_be_logged_or_none(start: Callable[..., Stack]) -> None:
    stack = start(LOG_FORMAT="json", LOG_REQUESTS="all")
    assert stack.get("/healthz").status_code == 200
    assert wait_for(lambda: requests_of(stack, route="/healthz"), "the line of a probe")
    stack.kill("web")
    stack.environment["LOG_REQUESTS"] = "none"
    stack.web()
    begun = len(stack.log("web"))
    stack.submit()
    stack.kill("web", signal.SIGTERM)
    assert not [line for line in stack.log("web")[begun:].splitlines() if json.loads(line)["logger"] == "app.requests"]
