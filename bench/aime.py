"""Measure no-op jobs through an endpoint of the AIME protocol; each request waits for its result.

``python -m bench.aime [--rounds 3] [--seconds 5]``. Workers over HTTP run in separate processes: one opens a
connection for each call like the published worker, the other keeps its connection. The same jobs also run on a Celery
worker.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests

from bench import processes
from bench.common import (
    SHIPPED,
    Client,
    Sample,
    clean_environment,
    closed_loop,
    machine,
    median_sample,
    noop_models,
    short_folder,
    table,
)
from jobs.settings import PROJECT_ROOT
from tests.support.harness import Stack, wait_for

CLIENTS = (1, 16)
_ENDPOINT = """
[ENDPOINT]
name = "{name}"
{by}
[INPUTS]
prompt = {{ type = "string" }}
[OUTPUTS]
seed = {{ type = "integer" }}
"""
#: Endpoint → what computes its jobs.
SIDES = {
    "fresh": "HTTP worker, one connection per call",
    "kept": "HTTP worker, kept connection",
    "own": "Celery worker",
}


def work(url: str, job_type: str) -> None:
    """Run a worker that computes nothing until it is killed, with a new connection for each call or a kept one."""
    port = int(url.rpartition(":")[2])
    about = {"auth": job_type, "job_type": job_type, "version": "1", "max_job_batch": 1}
    kept = Client(port)

    def post(path: str, body: dict[str, Any]) -> Any:
        if job_type == "fresh":
            return requests.post(url + path, json=body, timeout=60).json()
        return kept.send("POST", path, body)[1]

    while True:
        for data in post("/worker_job_request", about).get("job_data", ()):
            post("/worker_job_result", {**about, "job_id": data["job_id"], "seed": 1})


@contextlib.contextmanager
def serving() -> Iterator[tuple[Stack, dict[str, dict[str, int]]]]:
    """Yield a stack with the endpoints and their workers, and the processes of each side by role."""
    clean_environment()
    with short_folder() as folder:
        ends = folder / "endpoints"
        for name in SIDES:
            by = f'[WORKER]\njob_type = "{name}"' if name != "own" else '[MODEL]\nname = "noop"'
            (ends / name).mkdir(parents=True)
            (ends / name / "aime_api_endpoint.cfg").write_text(_ENDPOINT.format(name=name, by=by))
        stack = Stack(folder / "d", _models(folder), **{**SHIPPED, "ENDPOINTS_DIR": str(ends)})
        workers = []
        try:
            stack.up("gpu0", "io")
            for name in ("fresh", "kept"):
                command = [sys.executable, "-m", "bench.aime", "--work", stack.url(""), "--type", name]
                workers.append(subprocess.Popen(command, cwd=PROJECT_ROOT))
            assert stack.redis.pid
            server = {"web": stack.processes["web"].pid, "redis": stack.redis.pid}
            pids = [worker.pid for worker in workers] + [stack.processes["gpu0"].pid]
            wait_for(lambda: all(_served(stack, name) for name in SIDES), "the workers")
            yield stack, {name: {**server, "worker": pid} for name, pid in zip(SIDES, pids, strict=True)}
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
            stack.close()


def _models(folder: Path) -> Path:
    (folder / "d").mkdir(exist_ok=True)
    return noop_models(folder)


def _served(stack: Stack, name: str) -> bool:
    return bool(stack.get(f"/api/endpoints/{name}").json()["workers"])


def calls(port: int, name: str) -> Callable[[], Callable[[], None]]:
    """Return a function that makes one client per thread."""

    def make() -> Callable[[], None]:
        client = Client(port)

        def call() -> None:
            status, answer = client.send("POST", f"/{name}", {"prompt": "a red circle"})
            assert status == 200, answer
            assert answer["success"], answer

        return call

    return make


def measure(rounds: int, seconds: float) -> str:
    samples: dict[tuple[str, int], list[Sample]] = {}
    used: dict[tuple[str, int], list[dict[str, float]]] = {}
    with serving() as (stack, roots):
        for name in SIDES:
            closed_loop(calls(stack.port, name), 2, 1.0)
        for _ in range(rounds):
            for clients in CLIENTS:
                for name in SIDES:
                    pids = {role: processes.tree(pid) for role, pid in roots[name].items()}
                    before = {role: processes.cpu_ms(members) for role, members in pids.items()}
                    sample = closed_loop(calls(stack.port, name), clients, seconds)
                    spent = {role: processes.cpu_ms(members) - before[role] for role, members in pids.items()}
                    samples.setdefault((name, clients), []).append(sample)
                    used.setdefault((name, clients), []).append({r: ms / sample.count for r, ms in spent.items()})
    rows = []
    for clients in CLIENTS:
        for name, side in SIDES.items():
            middle = median_sample(samples[name, clients])
            last = used[name, clients][-1]
            cpu = ", ".join(f"{role} {ms:.2f}" for role, ms in last.items())
            rows.append([side, clients, middle.per_s, middle.p50_ms, middle.p99_ms, cpu])
    return table(("no-op job", "clients", "jobs/s", "p50 ms", "p99 ms", "CPU ms per job"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one round")
    parser.add_argument("--work", help="run as a worker of the server at this address")
    parser.add_argument("--type", default="fresh", help="kind of worker")
    options = parser.parse_args()
    if options.work:
        work(options.work, options.type)
    print(machine())
    print(measure(options.rounds, options.seconds))


if __name__ == "__main__":
    main()
