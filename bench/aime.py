"""Measure endpoints of the AIME protocol beside a server that costs what the AIME API server costs.

``python -m bench.aime [--rounds 5] [--seconds 4] [--peer URL --peer-pid PID]``. The rounds of both servers alternate.
The same workers serve both: one opens a connection for each call like the published worker, the other keeps its
connection. Clients wait for their results, or poll every 300 ms like the published clients. Without ``--peer``, the
other server is the stand-in of :mod:`bench.aime_peer`; its docstring says how it was calibrated.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from bench import aime_peer, processes
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
from stack import ports
from tests.support.harness import Stack, wait_for

CLIENTS = (1, 16)
#: Pause of the published clients between two polls, seconds.
POLL_S = 0.3
WORKER_KEY, CLIENT_KEY = "worker-secret", "client-secret-of-bench"
#: Of the worker: a connection for each call, a kept one. The jobs of the last type are never finished.
FRESH, KEPT, HELD = "fresh", "kept", "held"
OURS, PEER = "Framemill", "peer"
_ENDPOINT = """
[ENDPOINT]
name = "{name}"
version = 1
job_inactivity_timeout = 3600
[WORKER]
job_type = "{name}"
auth_key = "{worker_key}"
[CLIENTS]
authorization_keys = {{ bench = "{client_key}" }}
[INPUTS]
prompt = {{ type = "string" }}
[PROGRESS.OUTPUTS]
text = {{ type = "string" }}
[OUTPUTS]
seed = {{ type = "integer" }}
"""


@dataclass
class Server:
    """One of the servers that are compared."""

    name: str
    url: str
    #: Role → process id of its root.
    roots: dict[str, int]
    #: Its Redis, if it has one.
    redis: Any = None
    #: The job that is being polled.
    held_job: str = ""
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def start_workers(self) -> None:
        """Start its workers, and wait until they work."""
        for kind in (FRESH, KEPT):
            command = [sys.executable, "-m", "bench.aime", "--work", self.url, "--type", kind]
            self.workers.append(subprocess.Popen(command, cwd=PROJECT_ROOT))
        client = Client(self.port)
        for kind in (FRESH, KEPT):
            assert submit(client, kind)["success"]
        for kind, worker in zip((FRESH, KEPT), self.workers, strict=True):
            self.roots[f"worker {kind}"] = worker.pid

    def hold_job(self) -> None:
        """Take a job as a worker does, and report progress; it is not finished."""
        client = Client(self.port)
        self.held_job = str(submit(client, HELD, wait=False)["job_id"])
        (data,) = client.send("POST", "/worker_job_request", about(HELD))[1]["job_data"]
        report = {**about(HELD), "job_id": data["job_id"], "progress": 40, "progress_data": {"text": "half"}}
        client.send("POST", "/worker_job_progress", [report])

    def commands(self) -> int:
        """Return how many commands its Redis has executed, those of scripts included."""
        stats = self.redis.info("commandstats") if self.redis else {}
        return sum(int(value["calls"]) for value in stats.values())


@dataclass
class Round:
    """What one round of one server cost."""

    sample: Sample
    #: Role → CPU time per call, milliseconds.
    cpu_ms: dict[str, float]
    commands: float


def about(kind: str) -> dict[str, Any]:
    """Return how a worker introduces itself."""
    return {"auth": kind, "job_type": kind, "auth_key": WORKER_KEY, "version": "1", "max_job_batch": 1}


def submit(client: Client, kind: str, *, wait: bool = True) -> dict[str, Any]:
    prompt = f"a red circle {time.perf_counter_ns()}"  # Framemill has to ask whether an equal body is a repeat
    body = {"prompt": prompt, "key": CLIENT_KEY, "wait_for_result": wait}
    status, answer = client.send("POST", f"/{kind}", body)
    assert status == 200, answer
    return dict(answer)


def work(url: str, kind: str) -> None:
    """Run a worker that computes nothing until it is killed, with a new connection for each call or a kept one."""
    kept = Client(int(url.rpartition(":")[2]))

    def post(path: str, body: dict[str, Any]) -> Any:
        if kind == FRESH:
            return requests.post(url + path, json=body, timeout=60).json()
        return kept.send("POST", path, body)[1]

    while True:
        for data in post("/worker_job_request", about(kind)).get("job_data", ()):
            post("/worker_job_result", {**about(kind), "job_id": data["job_id"], "seed": 1})


def waiting_client(server: Server, kind: str) -> Callable[[], None]:
    """Return the call of a client that waits for its result."""
    client = Client(server.port)
    return lambda: _check(submit(client, kind))


def polling_client(server: Server, kind: str) -> Callable[[], None]:
    """Return the call of a client that polls for its result."""
    client = Client(server.port)

    def call() -> None:
        path = _poll_path(kind, submit(client, kind, wait=False)["job_id"])
        while client.send("GET", path)[1]["job_state"] != "done":
            time.sleep(POLL_S)

    return call


def poll(server: Server, _kind: str) -> Callable[[], None]:
    """Return a single poll of a job that is being computed, with a connection of its own."""
    path = _poll_path(HELD, server.held_job)

    def call() -> None:
        with contextlib.closing(Client(server.port)) as client:
            status, answer = client.send("GET", path)
            assert (status, answer["progress"]["progress"]) == (200, 40), answer

    return call


def _poll_path(kind: str, job_id: str) -> str:
    return f"/{kind}/progress?job_id={quote(job_id, safe='')}&key={CLIENT_KEY}"


def _check(answer: dict[str, Any]) -> None:
    assert (answer["success"], answer["seed"]) == (True, 1), answer


#: Name of a case → the kind of worker and the calls of its clients.
CASES = {
    "waits, worker connects for each call": (FRESH, waiting_client),
    "waits, worker keeps its connection": (KEPT, waiting_client),
    "polls every 300 ms, worker keeps its connection": (KEPT, polling_client),
    "one poll of a running job": (HELD, poll),
}


@contextlib.contextmanager
def ours() -> Iterator[Server]:
    """Yield a stack with the endpoints."""
    clean_environment()
    with short_folder() as folder:
        ends = folder / "endpoints"
        write_endpoints(ends)
        (folder / "d").mkdir()
        stack = Stack(folder / "d", noop_models(folder), **{**SHIPPED, "ENDPOINTS_DIR": str(ends)})
        try:
            stack.up()
            assert stack.redis.pid
            roots = {"web": stack.processes["web"].pid, "redis": stack.redis.pid}
            yield Server(OURS, stack.url(""), roots, stack.store.client)
        finally:
            stack.close()


@contextlib.contextmanager
def stand_in() -> Iterator[Server]:
    """Yield the server that stands for the original."""
    port = ports.next_free("127.0.0.1", 24_000)
    process = subprocess.Popen([sys.executable, "-m", "bench.aime_peer", "--port", str(port)], cwd=PROJECT_ROOT)
    try:
        wait_for(lambda: ports.refusal("127.0.0.1", port) is not None, "the stand-in")
        yield Server(PEER, f"http://127.0.0.1:{port}", {"web": process.pid})
    finally:
        process.kill()
        process.wait()


def write_endpoints(folder: Path) -> None:
    """Write an endpoint for each kind of worker; the AIME API server reads these files as well."""
    for name in (FRESH, KEPT, HELD):
        (folder / name).mkdir(parents=True)
        text = _ENDPOINT.format(name=name, worker_key=WORKER_KEY, client_key=CLIENT_KEY)
        (folder / name / "aime_api_endpoint.cfg").write_text(text)


def measure(server: Server, case: str, clients: int, seconds: float) -> Round:
    kind, make = CASES[case]
    if kind == HELD:
        server.hold_job()
    roots = {role: pid for role, pid in server.roots.items() if role in ("web", "redis", f"worker {kind}")}
    pids = {role.partition(" ")[0]: processes.tree(pid) for role, pid in roots.items()}
    before = {role: processes.cpu_ms(members) for role, members in pids.items()}
    commands = server.commands()
    sample = closed_loop(lambda: make(server, kind), clients, seconds)
    commands = server.commands() - commands
    spent = {role: processes.cpu_ms(members) - before[role] for role, members in pids.items()}
    return Round(sample, {role: ms / sample.count for role, ms in spent.items()}, commands / sample.count)


def compare(peer: contextlib.AbstractContextManager[Server], rounds: int, seconds: float, only: str) -> str:
    cases = [(case, clients) for case in CASES if only in case for clients in CLIENTS]
    seen: dict[tuple[str, int, str], list[Round]] = {}
    with ours() as first, peer as second:
        servers = (first, second)
        try:
            for server in servers:
                server.start_workers()
            for number in range(rounds + 1):
                for case, clients in cases:
                    for server in servers if number % 2 else servers[::-1]:
                        one = measure(server, case, clients, seconds if number else 1.0)
                        if number:  # the first round warms up
                            seen.setdefault((case, clients, server.name), []).append(one)
        finally:
            for worker in first.workers + second.workers:
                worker.kill()
                worker.wait()
    return table(
        ("case", "clients", "calls/s", "peer's", "ratio", "p50 ms", "peer's", "CPU ms per call", "peer's", "Redis"),
        [_row(case, clients, seen[case, clients, OURS], seen[case, clients, PEER]) for case, clients in cases],
    )


def _row(case: str, clients: int, mine: list[Round], theirs: list[Round]) -> list[Any]:
    ratio = statistics.median(a.sample.per_s / b.sample.per_s for a, b in zip(mine, theirs, strict=True))
    own, other = (median_sample([one.sample for one in rounds]) for rounds in (mine, theirs))
    commands = statistics.median(one.commands for one in mine)
    return [case, clients, own.per_s, other.per_s, ratio, own.p50_ms, other.p50_ms, _cpu(mine), _cpu(theirs), commands]


def _cpu(rounds: list[Round]) -> str:
    medians = {role: statistics.median(one.cpu_ms[role] for one in rounds) for role in rounds[0].cpu_ms}
    return ", ".join(f"{role} {ms:.2f}" for role, ms in medians.items())


@contextlib.contextmanager
def _given(url: str, pid: int) -> Iterator[Server]:
    yield Server(PEER, url, {"web": pid})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one round")
    parser.add_argument("--only", default="", help="cases whose names contain this")
    parser.add_argument("--peer", help="address of an AIME API server that has the endpoints of --write")
    parser.add_argument("--peer-pid", type=int, help="its process")
    parser.add_argument("--write", type=Path, help="write the endpoints into this folder, and stop")
    parser.add_argument("--work", help="run as a worker of the server at this address")
    parser.add_argument("--type", default=FRESH, help="kind of worker")
    options = parser.parse_args()
    if options.work:
        work(options.work, options.type)
    if options.write:
        write_endpoints(options.write)
        return
    print(machine())
    peer = _given(options.peer, options.peer_pid) if options.peer else stand_in()
    print(compare(peer, options.rounds, options.seconds, options.only))
    if not options.peer:
        print(aime_peer.CALIBRATION)


if __name__ == "__main__":
    main()
