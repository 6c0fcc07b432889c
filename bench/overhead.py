"""Compare a no-op job over HTTP with the same in a bare Flask + Celery app and in raw Celery.

``python -m bench.overhead [--rounds 5] [--seconds 4]``. All run on one machine with interleaved rounds. Each has
its own Redis with the same settings (AOF, everysec), one web process and one prefork worker with one child.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bench import processes
from bench.common import Client, Sample, closed_loop, machine, median_sample, noop_stack, short_folder, table
from jobs.settings import PROJECT_ROOT, Settings
from stack import ports
from stack.embedded_redis.server import EmbeddedRedis
from tests.support.harness import wait_for

#: The body that clients send; the bare app gets the same one.
JOB = {"model": "noop", "prompt": "a red circle", "steps": 1}
#: Runs a module as a command, before anything of it has looked for hiredis: Celery waits for a result with less CPU
#: time without it.
_RUN = "import runpy, sys; sys.modules['hiredis'] = None; runpy.run_module({!r}, run_name='__main__', alter_sys=True)"
#: Target: share of the bare app's rate.
TARGET = 0.9

Call = Callable[[], None]


@dataclass
class Side:
    """One of the compared servers."""

    name: str
    #: Numbers of clients that it is measured with.
    clients: tuple[int, ...]
    #: Returns the function that a thread calls.
    make: Callable[[], Call]
    #: Root processes by role, for their CPU time.
    roots: dict[str, int]
    samples: dict[int, list[Sample]] = field(default_factory=dict)
    #: CPU milliseconds per job by role, by number of clients.
    cpu_ms: dict[int, list[dict[str, float]]] = field(default_factory=dict)

    def round(self, clients: int, seconds: float) -> None:
        pids = {role: processes.tree(pid) for role, pid in self.roots.items()}
        before = {role: processes.cpu_ms(members) for role, members in pids.items()}
        sample = closed_loop(self.make, clients, seconds)
        used = {role: processes.cpu_ms(members) - before[role] for role, members in pids.items()}
        self.samples.setdefault(clients, []).append(sample)
        self.cpu_ms.setdefault(clients, []).append({role: ms / sample.count for role, ms in used.items()})

    def middle_cpu_ms(self, clients: int) -> dict[str, float]:
        rounds = self.cpu_ms[clients]
        return {role: statistics.median(used[role] for used in rounds) for role in rounds[0]}


@contextlib.contextmanager
def bare_app() -> Iterator[tuple[int, dict[str, int]]]:
    """Run the bare app with its worker and Redis; yield its port and its processes."""
    with short_folder() as folder, EmbeddedRedis(Settings.of(data_dir=folder)) as redis:
        port = ports.next_free("127.0.0.1", 30_000 + os.getpid() % 10_000)
        os.environ["BARE_REDIS_SOCKET"] = str(redis.socket)
        commands = {
            "web": ("gunicorn", "-k", "gevent", "--keep-alive", "75", "-b", f"127.0.0.1:{port}", "bench.bare_app:app"),
            "worker": (
                "celery", "-A", "bench.bare_app:celery", "worker", "-c", "1", "--without-gossip", "--without-mingle",
            ),
        }  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT)}
        with (folder / "log").open("wb") as log:
            started = {
                role: subprocess.Popen(
                    [sys.executable, "-c", _RUN.format(name), *more],
                    cwd=folder, env=environment, stdout=log, stderr=log,
                )
                for role, (name, *more) in commands.items()
            }
        try:
            wait_for(lambda: _works(port), "the bare app")
            assert redis.pid
            yield port, {**{role: process.pid for role, process in started.items()}, "redis": redis.pid}
        finally:
            for process in started.values():
                process.terminate()
            for process in started.values():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5)
                process.kill()
                process.wait()


def _works(port: int) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return Client(port).send("POST", "/jobs", JOB)[0] == 200
    return False


def over_http(port: int, path: str, state: str) -> Callable[[], Call]:
    """Return a function that makes one client per thread, which submits a job and waits for its end in one request."""

    def make() -> Call:
        client = Client(port)

        def call() -> None:
            status, answer = client.send("POST", path, JOB)
            assert (status // 100, answer["state"]) == (2, state), (status, answer)

        return call

    return make


def raw_celery() -> Call:
    """Call ``delay().get()`` in this process, without HTTP."""
    from bench import bare_app as module

    return lambda: module.noop.delay(JOB).get(timeout=30) and None


def measure(rounds: int, seconds: float, many: int = 16) -> list[Side]:
    """Run interleaved rounds with one client and with ``many``."""
    with noop_stack("gpu0", "io") as stack, bare_app() as (bare_port, bare_roots):
        assert stack.redis.pid
        roots = {"web": stack.processes["web"].pid, "worker": stack.processes["gpu0"].pid, "redis": stack.redis.pid}
        framemill = over_http(stack.port, "/v1/jobs?wait=30", "succeeded")
        sides = [
            Side("Framemill", (1, many), framemill, roots),
            Side("bare app", (1, many), over_http(bare_port, "/jobs", "SUCCESS"), bare_roots),
            Side("raw Celery", (1,), raw_celery, {role: bare_roots[role] for role in ("worker", "redis")}),
        ]
        for side in sides:
            closed_loop(side.make, 4, 1.0)
        for number in range(rounds):
            for clients in (1, many):
                for side in sides[:: 1 if number % 2 else -1]:
                    if clients in side.clients:
                        side.round(clients, seconds)
    return sides


def ratio(side: Side, baseline: Side, clients: int) -> float:
    """Return the rate of one side as a share of the other's: the median over rounds."""
    pairs = zip(side.samples[clients], baseline.samples[clients], strict=True)
    return statistics.median(a.per_s / b.per_s for a, b in pairs)


def report(sides: list[Side]) -> str:
    framemill, bare = sides[:2]
    rows: list[list[Any]] = []
    for clients in framemill.clients:
        for side in sides:
            if clients not in side.clients:
                continue
            middle, used = median_sample(side.samples[clients]), side.middle_cpu_ms(clients)
            share = f"**{ratio(framemill, bare, clients):.2f}** (target {TARGET})" if side is framemill else ""
            cpu = ", ".join(f"{role} {ms:.2f}" for role, ms in used.items())
            rows.append([side.name, clients, middle.per_s, middle.p50_ms, middle.p99_ms, share, cpu])
    return table(("no-op job", "clients", "jobs/s", "p50 ms", "p99 ms", "of the bare app", "CPU ms per job"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one round")
    options = parser.parse_args()
    print(machine())
    print(report(measure(options.rounds, options.seconds)))


if __name__ == "__main__":
    main()
