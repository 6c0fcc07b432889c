"""Measure submit, job with position, lists and cancel while 10 to 100,000 jobs wait.

``python -m bench.queue [--depths 10 10000 100000] [--samples 300]``. Each depth has its own Redis and web server with a
paused queue of jobs of several keys. The requests go to them in turn, so that all run under the same load.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.common import Client, machine, noop_stack, quantile, table
from jobs.callers import Caller
from jobs.models.spec import Kind
from jobs.record import Output, new_job_id
from jobs.requests.generation import GenerationRequest
from jobs.submission import Submission
from tests.support.harness import Stack

DEPTHS = (10, 10_000, 100_000)
#: The keys that own the waiting jobs.
CALLERS = [Caller(key_id=f"service-{number}") for number in range(20)]
#: Target: slowdown compared with the shortest queue.
TARGET = 1.5
MAX_RECORD_BYTES = 2048
FINISHED = 1000
#: Jobs per page of a list; the shortest queue fills a page too.
PAGE = 5

REQUEST = GenerationRequest(
    model="noop", kind=Kind.TEXT2IMG, prompt="a red circle on a blue ground, soft light, studio photograph",
    negative_prompt="", seed=1234567890, steps=30, guidance_scale=5.0, width=1024, height=1024,
)  # fmt: skip


class Queue:
    """A stack with ``depth`` waiting jobs."""

    def __init__(self, stack: Stack, depth: int) -> None:
        self.stack, self.depth = stack, depth
        self.client = Client(stack.port)
        stack.store.register("gpu0", "nobody:1:1", {"models": '["noop"]', "node": "nobody"})
        stack.store.pause_slots()
        before = self.memory_bytes()
        with ThreadPoolExecutor(4) as pool:
            self.ids = list(pool.map(self._submit, range(depth)))
        self.bytes_per_job = (self.memory_bytes() - before) / depth

    def memory_bytes(self) -> int:
        return int(self.stack.store.client.info("memory")["used_memory"])

    def _submit(self, number: int) -> str:
        caller = CALLERS[number % len(CALLERS)]
        return self.stack.store.submit(new_job_id(), Submission(request=REQUEST, caller=caller)).job_id

    def send(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = self.client.send(method, path, body)
        assert status in (200, 201), answer
        return answer

    def any_id(self) -> str:
        """Return a job of the newer half, so that a full page follows it."""
        return random.choice(self.ids[len(self.ids) // 2 :])


def _submit(queue: Queue) -> None:
    queue.ids.append(queue.send("POST", "/v1/jobs", {"model": "noop", "prompt": "x"})["id"])


def _cancel(queue: Queue) -> None:
    queue.send("POST", f"/v1/jobs/{queue.ids.pop()}/cancel")


#: The measured requests. Submit and cancel alternate, so the depth stays constant.
REQUESTS: dict[str, Callable[[Queue], Any]] = {
    "submit": _submit,
    "status with position": lambda queue: queue.send("GET", f"/v1/jobs/{queue.any_id()}"),
    "list, first page": lambda queue: queue.send("GET", f"/v1/jobs?limit={PAGE}"),
    "list, a page in the middle": lambda queue: queue.send("GET", f"/v1/jobs?limit={PAGE}&after={queue.any_id()}"),
    "fleet": lambda queue: queue.send("GET", "/v1/fleet"),
    "queue": lambda queue: queue.send("GET", "/v1/queue"),
    "cancel": _cancel,
}


def finished_bytes() -> float:
    """Return the Redis memory of a job that succeeded with one output, indexes included."""
    with noop_stack(EVENT_LOG_LENGTH=100) as stack:
        store, info = stack.store, stack.store.client
        store.register("gpu0", "nobody:1:1", {"models": '["noop"]', "node": "nobody"})
        used = lambda: int(info.info("memory")["used_memory"])  # noqa: E731
        for number in range(FINISHED + 100):
            if number == 100:  # the event log is full from here on
                before = used()
            job_id, attempt = new_job_id(), 1
            store.submit(job_id, Submission(request=REQUEST, caller=CALLERS[0]))
            store.start(job_id, attempt, slot="gpu0", owner="nobody:1:1", device="cuda:0", run=str(number))
            store.finish_run(job_id, attempt, slot="gpu0", node="nobody", run_s=1.0)
            store.claim(job_id, attempt, "io")
            key = f"outputs/{job_id}/{attempt}/0.png"
            store.deliver(job_id, attempt, "io", [Output(key, "image/png", 1_234_567, "0" * 64, 1024, 1024)])
        return (used() - before) / FINISHED


def measure(depths: tuple[int, ...], samples: int) -> tuple[list[Queue], dict[tuple[str, int], list[float]]]:
    """Return the queues, and milliseconds by request and depth."""
    durations_ms: dict[tuple[str, int], list[float]] = {}
    with contextlib.ExitStack() as stacks:
        limits = {"MAX_WAITING": 2 * max(depths), "EVENT_LOG_LENGTH": 100, "SLOT_LEASE_S": 1_000_000}
        queues = [Queue(stacks.enter_context(noop_stack(**limits)), depth) for depth in depths]
        for number in range(samples + 10):
            for name, request in REQUESTS.items():
                for queue in queues[:: 1 if number % 2 else -1]:
                    start = time.perf_counter()
                    request(queue)
                    if number >= 10:
                        durations_ms.setdefault((name, queue.depth), []).append(1000 * (time.perf_counter() - start))
    return queues, durations_ms


def report(depths: tuple[int, ...], samples: int) -> str:
    queues, durations_ms = measure(depths, samples)
    rows = []
    for name in REQUESTS:
        cells: list[Any] = [name]
        for depth in depths:
            p50, p99 = (quantile(durations_ms[name, depth], share) for share in (0.5, 0.99))
            cells.append(f"{p50:.1f} / {p99:.1f}")
        shares = [
            quantile(durations_ms[name, depths[-1]], share) / quantile(durations_ms[name, depths[0]], share)
            for share in (0.5, 0.99)
        ]
        rows.append([*cells, f"{shares[0]:.2f} / **{shares[1]:.2f}**"])
    head = ("p50 / p99 ms", *(f"{depth:,} waiting" for depth in depths), f"last : first (target p99 ≤ {TARGET})")
    sizes = [
        ("waiting", queues[-1].bytes_per_job, ""),
        ("finished, one output", finished_bytes(), f"≤ {MAX_RECORD_BYTES}"),
    ]
    return "\n\n".join([table(head, rows), table(("Redis memory per job", "bytes", "target"), sizes)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depths", type=int, nargs="+", default=list(DEPTHS))
    parser.add_argument("--samples", type=int, default=300)
    options = parser.parse_args()
    print(machine())
    print(report(tuple(options.depths), options.samples))


if __name__ == "__main__":
    main()
