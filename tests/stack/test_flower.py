"""Flower and Celery's own tools beside a stack: they show the same as the API, and can stop jobs properly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from jobs.settings import PROJECT_ROOT
from stack import ports
from tests.support.harness import BIN, Stack, wait_for

#: States in the API, in Flower (which uses events and knows no custom states) and in ``AsyncResult``.
WORDS = {
    "queued": ("PENDING", "QUEUED"),
    "running": ("STARTED", "PROGRESS"),
    "delivering": ("STARTED", "PROGRESS"),
    "succeeded": ("SUCCESS", "SUCCESS"),
    "failed": ("FAILURE", "FAILURE"),
    "cancelled": ("REVOKED", "REVOKED"),
}


class Flower:
    """Flower's HTTP API."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.port = ports.next_free("127.0.0.1", 20_000 + 41 * os.getpid() % 4_000)
        options = ("--address=127.0.0.1", f"--port={self.port}")
        stack.run("flower", "celery", "-A", "tasks", "flower", *options, FLOWER_UNAUTHENTICATED_API="1")
        # Flower enables the workers' events some seconds after its start.
        wait_for(self._sees_jobs, "Flower to see jobs")

    def get(self, path: str) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=60)

    def post(self, path: str) -> requests.Response:
        return requests.post(f"http://127.0.0.1:{self.port}{path}", timeout=60)

    def workers(self) -> list[str]:
        """Return the workers on its page."""
        return [worker["hostname"] for worker in self.get("/workers?json=1").json()["data"]]

    def task(self, job_id: str) -> dict[str, Any]:
        response = self.get(f"/api/task/info/{job_id}")
        return dict(response.json()) if response.ok else {"state": None}

    def _sees_jobs(self) -> bool:
        job_id = self.stack.submit(steps=1)
        self.stack.wait(job_id)
        try:
            wait_for(lambda: self.task(job_id)["state"] == "SUCCESS" and self.task(job_id)["started"], "both", 0.5)
        except (AssertionError, requests.ConnectionError):
            return False
        return True

    def agree(self, job_id: str, state: str) -> dict[str, Any]:
        """Wait until the API, Flower and Celery's result show ``state``; return what Flower knows."""
        in_flower, in_celery = WORDS[state]
        self.stack.wait_until(job_id, lambda view: view["state"] == state, state)
        wait_for(lambda: self.task(job_id)["state"] == in_flower, f"Flower to show {in_flower}")
        assert self.get(f"/api/task/result/{job_id}").json()["state"] == in_celery
        return self.task(job_id)


@pytest.fixture(scope="module")
def flower(stack: Stack) -> Iterator[Flower]:
    yield Flower(stack)
    stack.kill("flower", signal.SIGTERM)


@pytest.fixture(autouse=True)
def _idle_afterwards(stack: Stack) -> Iterator[None]:
    yield
    stack.cancel_all()


@pytest.fixture
def no_delivery(stack: Stack) -> Iterator[Callable[[], None]]:
    """Suspend the delivery worker until the test calls this."""
    stack.processes["io"].send_signal(signal.SIGSTOP)
    yield lambda: stack.processes["io"].send_signal(signal.SIGCONT)
    stack.processes["io"].send_signal(signal.SIGCONT)


def _run(stack: Stack, *command: str) -> str:
    """Return what a command beside the stack prints."""
    environment = {**os.environ, **stack.environment}
    done = subprocess.run(
        [BIN / command[0], *command[1:]], cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _slot(stack: Stack) -> tuple[int, int]:
    """Return the process id of the GPU child and the number of models that it has loaded."""
    return stack.child("gpu0"), stack.fleet()["slots"][0]["loads"]


def test_a_job_is_a_success_when_it_is_delivered_and_not_before(
    stack: Stack, flower: Flower, no_delivery: Callable[[], None]
) -> None:
    job_id = stack.submit(steps=2)
    flower.agree(job_id, "delivering")
    no_delivery()
    task = flower.agree(job_id, "succeeded")
    assert (task["name"], task["uuid"], task["retries"]) == ("tasks.generate", job_id, 0)
    assert task["worker"].startswith("gpu0@")
    assert flower.get("/api/tasks").json()[job_id]["name"] == "tasks.generate"
    [output] = flower.get(f"/api/task/result/{job_id}").json()["result"]["outputs"]
    assert output["sha256"] == stack.status(job_id)["outputs"][0]["sha256"]
    assert {name.partition("@")[0] for name in flower.workers()} == {"gpu0", "io"}


def test_a_failure_has_its_reason(stack: Stack, flower: Flower) -> None:
    job_id = stack.submit(model="broken")
    task = flower.agree(job_id, "failed")
    reason = stack.status(job_id)["error"]["message"]
    assert task["exception"] == f"model_load_failed: {reason}"
    assert reason in flower.get(f"/api/task/result/{job_id}").json()["result"]


@pytest.mark.parametrize("query", ["", "?terminate=true", "?terminate=true&signal=SIGKILL"])
def test_a_revoke_stops_a_running_job_and_keeps_the_model(stack: Stack, flower: Flower, query: str) -> None:
    job_id = stack.endless()
    before = _slot(stack)
    assert flower.post(f"/api/task/revoke/{job_id}{query}").ok
    flower.agree(job_id, "cancelled")
    assert stack.wait(stack.submit(steps=1))["state"] == "succeeded"
    assert _slot(stack) == before


def test_a_revoked_waiting_job_never_runs(stack: Stack, flower: Flower) -> None:
    running = stack.endless()
    job_id = stack.submit(steps=1)
    flower.agree(job_id, "queued")
    assert flower.post(f"/api/task/revoke/{job_id}").ok
    flower.agree(job_id, "cancelled")
    flower.agree(running, "running")
    stack.cancel(running)
    assert stack.wait(stack.submit(steps=1))["state"] == "succeeded"
    assert (stack.status(job_id)["state"], stack.status(job_id)["attempt"]) == ("cancelled", 0)


def test_a_job_revoked_while_it_is_delivered_is_not_published(
    stack: Stack, flower: Flower, no_delivery: Callable[[], None]
) -> None:
    job_id = stack.submit(steps=1)
    flower.agree(job_id, "delivering")
    assert flower.post(f"/api/task/revoke/{job_id}").ok
    flower.agree(job_id, "cancelled")
    no_delivery()
    assert stack.wait(stack.submit(steps=1))["state"] == "succeeded"
    assert (stack.status(job_id)["state"], stack.status(job_id)["outputs"]) == ("cancelled", [])


@pytest.mark.parametrize("command", [("revoke",), ("terminate", "SIGKILL")])
def test_the_command_line_stops_running_and_waiting_jobs(stack: Stack, command: tuple[str, ...]) -> None:
    ids = [stack.endless(), stack.submit(steps=1)]
    before = _slot(stack)
    assert "cancelled" in _run(stack, "celery", "-A", "tasks", "control", *command, *ids)
    assert [stack.wait(job_id)["state"] for job_id in ids] == ["cancelled"] * 2
    assert stack.wait(stack.submit(steps=1))["state"] == "succeeded"
    assert _slot(stack) == before


def test_an_abort_stops_the_job_and_keeps_its_record(stack: Stack, flower: Flower) -> None:
    job_id = stack.endless()
    assert flower.post(f"/api/task/abort/{job_id}").ok
    flower.agree(job_id, "cancelled")


def test_a_revoked_id_that_is_no_job_stays_free(stack: Stack, flower: Flower) -> None:
    assert flower.post("/api/task/revoke/not-yet").ok
    wait_for(lambda: "revoked: not-yet" in stack.log("gpu0"), "the worker to hear of it")
    assert stack.get("/v1/jobs/not-yet").status_code == 404
    assert stack.wait(stack.submit(id="not-yet", steps=1))["state"] == "succeeded"


def test_a_slot_keeps_its_one_process(stack: Stack, flower: Flower) -> None:
    before = _slot(stack)
    [worker] = [name for name in flower.workers() if name.startswith("gpu0@")]
    for change in ("grow", "shrink"):
        refused = flower.post(f"/api/worker/pool/{change}/{worker}?n=1")
        assert (refused.status_code, "one process" in refused.text) == (403, True)
    assert _slot(stack) == before


def test_the_running_job_is_found_by_inspect(stack: Stack) -> None:
    job_id = stack.endless()
    active = json.loads(_run(stack, "celery", "-A", "tasks", "inspect", "active", "--json"))
    assert sorted(task["id"] for tasks in active.values() for task in tasks) == [job_id]


def test_celery_clients_read_the_record(stack: Stack) -> None:
    ids = [stack.submit(steps=1), stack.submit(model="broken"), stack.submit(steps=1), "never-submitted"]
    code = (
        "import json, sys; from celery.result import ResultSet; from tasks import app;"
        "good, bad, other, unknown = map(app.AsyncResult, sys.argv[1:]);"
        "sets = ResultSet([good, other], app=app).get(timeout=30);"
        "error = repr(bad.get(timeout=30, propagate=False));"
        "print(json.dumps([[s['attempt'] for s in sets], error, [r.state for r in (good, bad, other, unknown)]]))"
    )
    attempts, error, states = json.loads(_run(stack, "python", "-c", code, *ids))
    assert attempts == [1, 1]
    assert error.startswith("JobError(")
    assert states == ["SUCCESS", "FAILURE", "SUCCESS", "PENDING"]


def test_a_killed_process_is_a_retry_and_then_a_success(stack: Stack, flower: Flower) -> None:
    job_id = stack.submit(steps=600)
    stack.wait_until(job_id, lambda view: view["progress"]["step"] > 0, "its first step")
    os.kill(stack.child("gpu0"), signal.SIGKILL)
    task = flower.agree(job_id, "succeeded")
    assert task["sent"] < task["retried"] < task["started"] < task["succeeded"]
    assert task["retries"] == 1
