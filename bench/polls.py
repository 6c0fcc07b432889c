"""Measure what polls and waiting requests cost: ``python -m bench.polls [--rounds 3] [--seconds 2]``.

A poll asks for a job that has not changed. 16 clients on kept connections send one poll after the other; the CPU time
of the web process and of Redis, and the commands that Redis runs (also those within scripts), are divided by the number
of polls. The floor is a Flask route that answers a constant, with the same gunicorn and worker. No worker process runs:
the benchmark plays the workers, so nothing happens but the polls.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bench import processes
from bench.common import Client, closed_loop, machine, noop_stack, short_folder, table
from jobs.objects.factory import open_store
from jobs.record import Output
from jobs.settings import PROJECT_ROOT
from jobs.slots.slot import owner_name
from stack import ports
from tests.support.harness import BIN, Stack, wait_for
from tests.support.pictures import PNG

CLIENTS = 16
PROMPT = "a red circle on a wooden table, in the light of the evening, " * 5
TASKS = {"running": "task(running)", "waiting": "task(waiting)"}
OWNER = owner_name("bench")


@dataclass(frozen=True)
class Poll:
    """One request that is measured."""

    name: str
    state: str
    path: str
    method: str = "GET"
    body: Any = field(default=None, compare=False)
    #: The floor has its own server.
    is_floor: bool = False


@dataclass
class Costs:
    """What one poll of a kind costs, a value for each round."""

    web_ms: list[float] = field(default_factory=list)
    redis_ms: list[float] = field(default_factory=list)
    commands: list[float] = field(default_factory=list)
    scripts: list[float] = field(default_factory=list)


class Jobs:
    """A finished, a running and a waiting job, whose workers are played here."""

    def __init__(self, stack: Stack) -> None:
        self._stack, self._store = stack, stack.store
        self._held: list[http.client.HTTPConnection] = []
        facts = {"models": json.dumps(["noop"]), "resident": "noop"}
        assert self._store.register("gpu0", OWNER, facts) is None
        self.ids = {"finished": stack.submit(model="noop", prompt=PROMPT)}
        self._finish(self.ids["finished"])
        for state, task in TASKS.items():
            self._hold({"prompt": PROMPT, "steps": 20, "force_task_id": task})
            self.ids[state] = self._newest()
        attempt = self._start(self.ids["running"])
        assert self._store.progress(self.ids["running"], attempt, "denoising", 3, 20, 12.5)

    def _hold(self, body: dict[str, Any]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._stack.port)
        connection.request("POST", "/sdapi/v1/txt2img", json.dumps(body), {"Content-Type": "application/json"})
        self._held.append(connection)

    def _newest(self) -> str:
        def new() -> Any:
            ids = [job["id"] for job in self._stack.get("/v1/jobs").json()["jobs"]]
            return next((job_id for job_id in ids if job_id not in self.ids.values()), None)

        return str(wait_for(new, "the held request's job"))

    def _start(self, job_id: str) -> int:
        attempt = self._store.get(job_id).attempt
        assert self._store.start(job_id, attempt, slot="gpu0", owner=OWNER, device="cpu", run="run")
        return attempt

    def _finish(self, job_id: str) -> None:
        attempt = self._start(job_id)
        assert self._store.finish_run(job_id, attempt, slot="gpu0", node="bench", run_s=1)
        number = self._store.claim(job_id, attempt, "io")
        key = f"outputs/{job_id}/{attempt}.{number}/0.png"
        open_store(self._stack.settings).put_bytes(key, PNG, "image/png")
        output = Output(key, "image/png", len(PNG), hashlib.sha256(PNG).hexdigest(), 40, 30)
        assert self._store.deliver(job_id, attempt, "io", [output])

    def polls(self) -> list[Poll]:
        """Return the polls that are measured."""
        polls = []
        for state, job_id in self.ids.items():
            polls.append(Poll("GET /v1/jobs/{id}", state, f"/v1/jobs/{job_id}"))
            polls.append(Poll("LightX2V status", state, f"/v1/tasks/{job_id}/status"))
            if state == "finished":
                polls.append(Poll("LightX2V result", state, f"/v1/tasks/{job_id}/result"))
        progress = "/sdapi/v1/progress?skip_current_image=true"
        polls.append(Poll("A1111 progress", "running", progress))
        for state, task in TASKS.items():
            body = {"id_task": task, "live_preview": False}
            polls.append(Poll("A1111 internal/progress", state, "/internal/progress", "POST", body))
        return [*polls, Poll("A1111 options", "-", "/sdapi/v1/options")]


@contextlib.contextmanager
def bare_route() -> Iterator[tuple[int, int]]:
    """Serve :mod:`bench.bare_route`; yield its port and its process."""
    with short_folder() as folder, (folder / "log").open("wb") as log:
        port = ports.next_free("127.0.0.1", 30_000 + os.getpid() % 10_000)
        environment = {**os.environ, "DATA_DIR": str(folder), "PORT": str(port)}
        command = [str(BIN / "gunicorn"), "bench.bare_route:app"]
        process = subprocess.Popen(command, cwd=PROJECT_ROOT, env=environment, stdout=log, stderr=log)
        try:
            wait_for(lambda: _listens(port), "the bare route")
            yield port, process.pid
        finally:
            process.terminate()
            process.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def polling(port: int, poll: Poll) -> Callable[[], Callable[[], None]]:
    """Return a function that makes one client per thread, which sends one poll."""

    def make() -> Callable[[], None]:
        client = Client(port)

        def call() -> None:
            status, _ = client.fetch(poll.method, poll.path, poll.body)
            assert status == 200, (poll, status)

        return call

    return make


class Meter:
    """CPU time and commands of one server."""

    def __init__(self, web_pid: int, stack: Stack) -> None:
        assert stack.redis.pid
        self._web, self._redis_pid, self._redis = processes.tree(web_pid), [stack.redis.pid], stack.store.client

    def read(self) -> tuple[float, float, float, float]:
        """Return CPU milliseconds of web and Redis, and the numbers of commands and of scripts."""
        stats: Any = self._redis.info("commandstats")
        calls = {name: one["calls"] for name, one in stats.items() if name not in ("cmdstat_info", "cmdstat_hello")}
        scripts = calls.get("cmdstat_evalsha", 0)
        return processes.cpu_ms(self._web), processes.cpu_ms(self._redis_pid), sum(calls.values()), scripts


def measure(rounds: int, seconds: float) -> dict[Poll, Costs]:
    """Run interleaved rounds of all polls."""
    costs: dict[Poll, Costs] = {}
    with noop_stack() as stack, bare_route() as (bare_port, bare_pid):
        polls = [Poll("bare Flask route", "-", "/constant", is_floor=True), *Jobs(stack).polls()]
        web = stack.processes["web"].pid
        meters = {True: Meter(bare_pid, stack), False: Meter(web, stack)}
        sides = {True: bare_port, False: stack.port}
        for poll in polls:
            closed_loop(polling(sides[poll.is_floor], poll), 4, 0.3)
        for _ in range(rounds):
            for poll in polls:
                meter, one = meters[poll.is_floor], costs.setdefault(poll, Costs())
                before = meter.read()
                count = closed_loop(polling(sides[poll.is_floor], poll), CLIENTS, seconds).count
                used = [(b - a) / count for a, b in zip(before, meter.read(), strict=True)]
                for values, value in zip(vars(one).values(), used, strict=True):
                    values.append(value)
    return costs


def measure_waiting(waiters: int, seconds: float) -> list[list[Any]]:
    """Return what requests cost that wait while nothing happens."""
    rows = []
    with noop_stack() as stack:
        job_id = Jobs(stack).ids["waiting"]
        bodies = (json.dumps({"prompt": f"{PROMPT} {number}", "steps": 20}) for number in range(waiters))
        kinds: dict[str, Callable[[], tuple[str, str, str | None]]] = {
            "nothing (the server alone, with two held requests)": lambda: ("", "", None),
            "GET /v1/jobs/{id}?wait=60": lambda: ("GET", f"/v1/jobs/{job_id}?wait=60", None),
            "A1111 txt2img": lambda: ("POST", "/sdapi/v1/txt2img", next(bodies)),
        }
        meter = Meter(stack.processes["web"].pid, stack)
        for name, make in kinds.items():
            waiting = []
            for _ in range(waiters):
                method, path, body = make()
                if method:
                    waiting.append(http.client.HTTPConnection("127.0.0.1", stack.port))
                    waiting[-1].request(method, path, body, {"Content-Type": "application/json"} if body else {})
            time.sleep(3)
            before = meter.read()
            time.sleep(seconds)
            web_ms, redis_ms, commands, _ = (b - a for a, b in zip(before, meter.read(), strict=True))
            rows.append([name, len(waiting), web_ms / seconds / 10, redis_ms / seconds / 10, commands / seconds])
            for connection in waiting:
                connection.close()
    return rows


def report(costs: dict[Poll, Costs]) -> str:
    rows = []
    for poll, one in costs.items():
        web_ms, redis_ms, commands, scripts = (statistics.median(values) for values in vars(one).values())
        rows.append([poll.name, poll.state, web_ms, redis_ms, web_ms + redis_ms, commands, scripts])
    head = ("poll", "job", "web ms", "Redis ms", "CPU ms in all", "commands", "of these scripts")
    return table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one round")
    parser.add_argument("--waiters", type=int, default=200, help="number of waiting requests; 0: none")
    options = parser.parse_args()
    print(machine())
    print(report(measure(options.rounds, options.seconds)))
    if options.waiters:
        head = ("waiting requests", "number", "web CPU %", "Redis CPU %", "commands a second")
        print(table(head, measure_waiting(options.waiters, 10.0)))


if __name__ == "__main__":
    main()
