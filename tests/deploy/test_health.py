"""``python -m stack.health`` beside living, killed, frozen and stopping processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.settings import PROJECT_ROOT
from jobs.store import queries
from stack import ports
from tests.support import drawn_models
from tests.support.harness import PATIENCE_S, Stack, wait_for

Start = Callable[..., Stack]


@pytest.fixture(scope="module")
def stack(drawn_models_file: Path) -> Iterator[Stack]:
    """Yield a stack whose processes all run again at the end of each test."""
    with drawn_models.stack_in_new_folder(drawn_models_file, "gpu0", "io") as one:
        yield one


def started(stack: Stack, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start the command beside a stack."""
    return subprocess.Popen(
        [sys.executable, "-m", "stack.health", *arguments],
        cwd=PROJECT_ROOT,
        env={**os.environ, **stack.environment, "PORT": str(stack.port), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def check(stack: Stack, *arguments: str, **environment: str) -> tuple[int, str]:
    """Return exit code and output of a check."""
    process = started(stack, *arguments, **environment)
    output, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, output.strip()


def test_living_processes_are_healthy_and_others_are_not(stack: Stack) -> None:
    for arguments in (["web"], ["worker", "gpu0"], ["io"]):
        assert check(stack, *arguments) == (0, ""), arguments
    assert check(stack, "worker", "gpu1") == (1, "Error: no worker renews the lease of gpu1")
    code, output = check(stack, "worker", "gpu0", NODE_NAME="nodeb")
    assert (code, output.partition(" by host ")[0]) == (1, "Error: gpu0 is served")
    assert check(stack, "io", NODE_NAME="nodeb")[0] == 1
    code, output = check(stack, "flower", FLOWER_PORT="9")
    assert code == 1
    assert "http://127.0.0.1:9 does not answer" in output


@pytest.mark.parametrize(("name", "arguments"), [("gpu0", ["worker", "gpu0"]), ("io", ["io"]), ("web", ["web"])])
def test_a_killed_process_is_noticed(stack: Stack, name: str, arguments: list[str]) -> None:
    process = stack.processes.pop(name)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(PATIENCE_S)
    wait_for(lambda: check(stack, *arguments)[0] == 1, "the check to fail")
    if name == "web":
        stack.web()
    else:
        stack.worker(name)
    wait_for(lambda: check(stack, *arguments)[0] == 0, "the check to succeed")


def test_a_frozen_worker_is_noticed_and_is_healthy_when_it_goes_on(stack: Stack) -> None:
    frozen = stack.processes["gpu0"]
    frozen.send_signal(signal.SIGSTOP)
    try:
        wait_for(lambda: check(stack, "worker", "gpu0")[0] == 1, "the check to fail")
    finally:
        frozen.send_signal(signal.SIGCONT)
    wait_for(lambda: check(stack, "worker", "gpu0")[0] == 0, "the check to succeed")


def test_workers_count_as_healthy_while_redis_is_away(stack: Stack) -> None:
    stack.redis.stop()
    for arguments in (["worker", "gpu0"], ["io"], ["worker", "gpu7"]):
        code, output = check(stack, *arguments)
        assert (code, output.partition(":")[0]) == (0, "unknown"), arguments
    assert check(stack, "web") == (0, "")
    stack.redis.start()
    wait_for(lambda: check(stack, "worker", "gpu0") == (0, ""), "the worker to find Redis")


def test_flower_is_found_below_the_path_of_its_proxy(stack: Stack) -> None:
    port = str(ports.next_free("127.0.0.1", stack.port + 1))
    prefix = {"FLOWER_URL_PREFIX": "/framemill/flower/", "FLOWER_BASIC_AUTH": "me:pw", "FLOWER_PORT": port}
    stack.run("flower", "celery", "-A", "tasks", "flower", "--address=127.0.0.1", **prefix)
    wait_for(lambda: check(stack, "flower", **prefix)[0] == 0, "the check to succeed")
    code, output = check(stack, "flower", FLOWER_PORT=port)
    assert code == 1
    assert "/healthcheck answers 404" in output
    stack.kill("flower")


def test_a_wrong_setting_is_named(stack: Stack) -> None:
    code, output = check(stack, "io", HEARTBEAT_S="0")
    assert (code, output) == (1, "Error: HEARTBEAT_S must be more than 0 (got 0)")


def test_the_last_outputs_of_a_host_are_awaited(start: Start) -> None:
    """As a pod ends: the worker gets SIGTERM, and the delivery worker is told to wait at the same time.

    The job takes longer than a lease lasts, so a worker that did not renew it while it stops would lose the run. It
    has no checkpoint, because there is no room for one.
    """
    stack = start("gpu0", "io", DRAIN_GRACE_S=PATIENCE_S, CHECKPOINTS_MAX_BYTES=1)
    running = stack.submit(steps=1000)
    waiting = stack.submit(steps=1)
    stack.wait_until(running, lambda view: view["progress"]["step"] > 0, "its first step")
    hook = started(stack, "delivered", "gpu0")
    stack.processes["gpu0"].terminate()

    output, _ = hook.communicate(timeout=PATIENCE_S)

    assert (hook.returncode, output) == (0, "")
    states = {name: stack.status(job_id)["state"] for name, job_id in (("running", running), ("waiting", waiting))}
    assert states == {"running": "succeeded", "waiting": "queued"}
    assert stack.status(running)["attempt"] == 1
    assert stack.processes["gpu0"].wait(PATIENCE_S) == 0


def test_frames_that_wait_for_delivery_keep_their_host(stack: Stack) -> None:
    node = stack.settings.node
    delivery = stack.processes["io"]
    os.killpg(delivery.pid, signal.SIGSTOP)
    try:
        job_id = stack.submit(steps=1)
        stack.wait_until(job_id, lambda view: view["state"] == "delivering", "the end of its run")
        found: list[Any] = [queries.undelivered(stack.store, name) for name in (node, "nodeb")]
    finally:
        os.killpg(delivery.pid, signal.SIGCONT)
    assert found == [[job_id], []]
    stack.wait(job_id)
    assert queries.undelivered(stack.store, node) == []
