"""A pod of a pool, with the commands, variables, probes and hooks of the chart: it computes, ends and comes again."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import Any

from jobs.settings import PROJECT_ROOT
from tests.deploy.conftest import FULL
from tests.support import deployment
from tests.support.api import PATIENCE_S, wait_for
from tests.support.harness import BIN, Stack

SLOT = "mill-gpu-0.gpu0"


class Pod:
    """The containers of the first pod of the pool ``gpu``, beside a web server and Redis."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        values: dict[str, Any] = {"longestJobS": int(PATIENCE_S), "pools": FULL["pools"]}
        [pod] = [one for one in deployment.rendered(values) if one["metadata"]["name"] == "mill-gpu"
                 and one["kind"] == "StatefulSet"]  # fmt: skip
        self.containers = {one["name"]: one for one in pod["spec"]["template"]["spec"]["containers"]}
        found = {one.where.rpartition("/")[2]: one for one, _ in deployment.chart_processes(values)
                 if one.where.startswith("chart, mill-gpu/")}  # fmt: skip
        self.processes = {name: found[name] for name in ("worker", "io")}

    def start(self) -> None:
        for name, process in self.processes.items():
            program, *arguments = process.argv
            self.stack.run(name, program, *arguments, **self.environment(name))
        for name in self.processes:
            wait_for(lambda name=name: self.probe(name) == 0, f"the start of {name}")

    def environment(self, name: str) -> dict[str, str]:
        """Return the variables of a container but those that say where files are."""
        return {name: value for name, value in self.processes[name].environment.items() if name != "MODELS_FILE"}

    def command(self, name: str, argv: list[str]) -> subprocess.Popen[bytes]:
        """Start a command in a container."""
        path = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        environment = {**os.environ, **self.stack.environment, **self.environment(name), **path}
        return subprocess.Popen(argv, cwd=PROJECT_ROOT, env=environment)

    def probe(self, name: str) -> int:
        """Return the exit code of the liveness probe."""
        return self.command(name, self.containers[name]["livenessProbe"]["exec"]["command"]).wait(PATIENCE_S)

    def end(self) -> None:
        """End as the kubelet ends a pod: SIGTERM to containers without a hook at once, to the others after it."""
        assert "lifecycle" not in self.containers["worker"]
        hook = self.command("io", self.containers["io"]["lifecycle"]["preStop"]["exec"]["command"])
        self.stack.processes["worker"].terminate()
        assert hook.wait(PATIENCE_S) == 0
        self.stack.processes["io"].terminate()
        for name in self.processes:
            assert self.stack.processes[name].wait(PATIENCE_S) == 0, name


def test_a_pod_computes_ends_after_a_step_and_goes_on_when_it_comes_again(start: Callable[..., Stack]) -> None:
    stack = start()
    pod = Pod(stack)
    pod.start()
    assert stack.get("/readyz").json()["slots"] == [SLOT]
    running, waiting = stack.submit(steps=400), stack.submit(steps=1)
    stack.wait_until(running, lambda view: view["progress"]["step"] > 0, "its first step")

    pod.end()

    assert [stack.status(job_id)["state"] for job_id in (running, waiting)] == ["queued", "queued"]
    assert (pod.probe("worker"), pod.probe("io")) == (1, 1)
    pod.start()
    views = [stack.wait(job_id) for job_id in (running, waiting)]
    assert [(view["state"], view["slot"]) for view in views] == [("succeeded", SLOT)] * 2
    assert views[0]["resumed_from_step"] > 0
    pod.end()
