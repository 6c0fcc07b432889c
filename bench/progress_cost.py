"""Measure what reporting every step costs a job: the same work with and without the reporter, in turn."""

from __future__ import annotations

import hashlib
import statistics
import time

from bench.common import noop_stack
from jobs.record import new_job_id
from jobs.submission import Submission
from tests.support.harness import Stack

STEPS = 50
#: Work of one step: number of hashes of 16 KiB, about 20 ms.
HASHES = 2000
_BLOCK = bytes(16 * 1024)


def _step() -> None:
    for _ in range(HASHES):
        hashlib.sha256(_BLOCK).digest()


def _job(stack: Stack | None) -> tuple[float, float]:
    """Return wall and CPU seconds of one job of ``STEPS`` steps; without a stack, progress is not reported."""
    from bench.queue import REQUEST
    from workers.reporting.reporter import Reporter

    if stack is None:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(STEPS):
            _step()
        return time.perf_counter() - wall, time.process_time() - cpu
    job_id = new_job_id()
    stack.store.submit(job_id, Submission(request=REQUEST))
    attempt = 1
    stack.store.start(job_id, attempt, slot="gpu0", owner="nobody:1:1", device="cuda:0", run=job_id)
    wall, cpu = time.perf_counter(), time.process_time()
    with Reporter(stack.store, job_id, attempt, STEPS) as reporter:
        reporter.stage("denoising")
        for done in range(STEPS):
            _step()
            reporter.step(done + 1)
    spent = time.perf_counter() - wall, time.process_time() - cpu
    stack.store.finish_run(job_id, attempt, slot="gpu0", node="", run_s=1.0)
    return spent


def progress_cost(pairs: int) -> list[tuple[str, str, str]]:
    """Return the rows of the table. The CPU time includes the reporter's thread."""
    with noop_stack(SLOT_LEASE_S=1_000_000) as stack:
        stack.store.register("gpu0", "nobody:1:1", {"models": '["noop"]', "node": "nobody"})
        _job(stack)
        with_, without = [], []
        for _ in range(pairs):
            with_.append(_job(stack))
            without.append(_job(None))
    cpu = [a[1] / b[1] - 1 for a, b in zip(with_, without, strict=True)]
    wall = [a[0] / b[0] - 1 for a, b in zip(with_, without, strict=True)]
    step_ms = 1000 * statistics.median(b[1] for b in without) / STEPS
    what = f"cost of progress, {STEPS} steps of {step_ms:.0f} ms"
    return [(what, f"CPU {100 * statistics.median(cpu):+.1f} %, wall {100 * statistics.median(wall):+.1f} %", "≤ 1 %")]
