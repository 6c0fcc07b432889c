"""Measure latencies: step events at listeners, cancellation, preemption, gaps between jobs, recovery, cost of progress.

``python -m bench.latency [--short] [--only preempting]``. Jobs that compute nothing replace the model where only the
server is measured.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import common
from bench.chaos import tiny_models
from bench.common import Client, noop_stack, quantile, short_folder, table
from bench.listeners import Listeners
from bench.progress_cost import progress_cost
from jobs.store import keys
from tests.support.harness import ENDLESS_STEPS, Stack, running, wait_for

#: Duration of a step of the jobs that are cancelled, and of those with listeners.
STEP_MS = 50
LISTENED_STEP_MS = 500

Row = tuple[str, str, str]
HEADS = ("what", "measured", "target")


def spread(values_ms: Sequence[float], unit: str = "ms") -> str:
    p50, p95, p99 = (quantile(values_ms, share) for share in (0.5, 0.95, 0.99))
    return f"p50 {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f} {unit} (n={len(values_ms)})"


def event_ms(stack: Stack, job_id: str, state: str, *, first: bool = False) -> float:
    """Return when a job entered a state, the last or first time, by the event log, in milliseconds since 1970."""
    entries: Any = stack.store.client.xrevrange(keys.EVENTS, count=500)
    for entry_id, entry in reversed(entries) if first else entries:
        if f'"{job_id}"' in entry["event"] and f'"state":"{state}"' in entry["event"]:
            return float(entry_id.split("-")[0])
    raise AssertionError(f"no event {state} of {job_id}")


# ---- step event → listener


def listening(counts: Sequence[int], seconds: float) -> list[Row]:
    """Measure ``counts`` listeners on one running job, and one listener beside 1,000 that wait for another job."""
    rows = []
    with noop_stack("gpu0", "io", NOOP_STEP_MS=LISTENED_STEP_MS) as stack:
        running_id = stack.submit(model="noop", steps=ENDLESS_STEPS)
        idle_id = stack.submit(model="noop", steps=1)
        stack.wait_until(running_id, lambda view: view["progress"]["step"] > 0, "its first step")
        for count in counts:
            with Listeners(stack.port, running_id, count) as listeners:
                delays_ms = listeners.collect(seconds)
            rows.append((f"step event → SSE client, {count:,} on one job", spread(delays_ms), "p95 ≤ 50 ms"))
        with Listeners(stack.port, idle_id, max(counts)), Listeners(stack.port, running_id, 1) as listener:
            delays_ms = listener.collect(seconds)
        rows.append((f"… one client beside {max(counts):,} idle ones", spread(delays_ms), "p95 ≤ 50 ms"))
        stack.cancel(idle_id)
        stack.cancel(running_id)
    return rows


# ---- cancel


def cancelling(waiting: int, runs: int) -> list[Row]:
    with noop_stack("gpu0", "io", NOOP_STEP_MS=STEP_MS) as stack:
        client = Client(stack.port)

        def cancel(job_id: str) -> float:
            start = time.perf_counter()
            status, answer = client.send("POST", f"/v1/jobs/{job_id}/cancel")
            assert (status, answer["state"]) == (200, "cancelled")
            return 1000 * (time.perf_counter() - start)

        blocker = stack.submit(model="noop", steps=ENDLESS_STEPS)
        ids = [stack.submit(model="noop") for _ in range(waiting)]
        waiting_ms = [cancel(job_id) for job_id in reversed(ids)]
        cancel(blocker)
        answer_ms, next_ms = [], []
        current = stack.submit(model="noop", steps=ENDLESS_STEPS)
        for _ in range(runs):
            following = stack.submit(model="noop", steps=ENDLESS_STEPS)
            stack.wait_until(current, lambda view: view["progress"]["step"] > 1, "some steps")
            asked_at_ms = time.time() * 1000
            answer_ms.append(cancel(current))
            stack.wait_until(following, lambda view: view["state"] == "running", "its start")
            next_ms.append(event_ms(stack, following, "running") - asked_at_ms)
            current = following
        cancel(current)
    return [
        ("cancel of a waiting job, request → answer", spread(waiting_ms), "p99 ≤ 100 ms"),
        ("cancel of a running job, request → answer", spread(answer_ms), f"≤ 1 step ({STEP_MS} ms) + 100 ms"),
        ("… request → next job runs", spread(next_ms), f"≤ 1 step ({STEP_MS} ms) + 350 ms"),
    ]


# ---- a job takes the slot of another


def preempting(runs: int) -> list[Row]:
    """Measure premium jobs that find two endless general runs on two slots."""
    step_ms = LISTENED_STEP_MS // 2
    with noop_stack("gpu0", "gpu1", "io", NOOP_STEP_MS=step_ms, PREEMPT_AFTER_S=1, PREEMPT_MAX=1_000_000) as stack:
        runs_ids = [stack.submit(model="noop", steps=ENDLESS_STEPS) for _ in range(2)]
        start_ms = []
        for _ in range(runs):
            for job_id in runs_ids:
                stack.wait_until(job_id, lambda view: view["state"] == "running" and view["eta_s"], "its steps")
            urgent = stack.submit(model="noop", steps=1, **{"class": "premium"})
            stack.wait(urgent)
            start_ms.append(event_ms(stack, urgent, "running") - event_ms(stack, urgent, "queued", first=True))
        stack.cancel_all()
    return [
        ("premium job beside two general runs, request → runs", spread(start_ms), f"≤ 1 step ({step_ms} ms) + 250 ms")
    ]


# ---- gap between jobs of one model


def gaps(models: Path, count: int) -> list[Row]:
    """Measure the time from the end of one computation to the start of the next, for jobs that wait for one slot."""
    rows = []
    with short_folder() as folder, running(folder, models, "gpu0", "io", **common.SHIPPED) as stack:
        for model, what in (("noop", "jobs that compute nothing"), ("tiny-image", "tiny pipeline")):
            stack.wait(stack.submit(model=model, steps=1))
            stack.store.pause_slots()
            ids = [stack.submit(model=model, steps=2) for _ in range(count)]
            client = Client(stack.port)
            assert client.send("POST", "/v1/admin/resume", {})[0] == 200
            for job_id in ids:
                stack.wait(job_id)
            records = sorted((stack.store.read(job_id) for job_id in ids), key=lambda record: int(record["started_at"]))
            pairs = list(itertools.pairwise(records))
            server_ms = [float(b["started_at"]) - float(a["computed_at"]) for a, b in pairs]
            worker_ms = [float(b["computed_at"]) - 1000 * float(b["run_s"]) - float(a["computed_at"]) for a, b in pairs]
            rows.append((f"GPU gap, {what}: computed_at → started_at", spread(server_ms), ""))
            rows.append(("… end of one run → start of the next in the child", spread(worker_ms), "p95 ≤ 20 ms"))
    return rows


# ---- recovery


def recovering(models: Path, runs: int) -> list[Row]:
    """Measure the time from kill -9 during a step until the same job steps again, with default lease and heartbeat."""
    child_s, restarted_s, other_s = [], [], []
    with short_folder() as folder, running(folder, models, "gpu0", "io", MAX_ATTEMPTS=50, **common.SHIPPED) as stack:
        job_id = stack.endless(model="tiny-image")
        for _ in range(runs):
            child_s.append(_again(stack, job_id, lambda: os.kill(stack.child("gpu0"), signal.SIGKILL)))
            restarted_s.append(_again(stack, job_id, lambda: _restart(stack)))
        stack.worker("gpu1")
        wait_for(lambda: stack.store.client.sismember(keys.SLOTS, "gpu1"), "the second slot")
        other_s.append(_again(stack, job_id, lambda: stack.kill("gpu0")))
        stack.cancel(job_id)
    return [
        ("kill -9 of the child → the job steps again", _seconds(child_s), "≤ 20 s"),
        ("kill -9 of the worker, started again at once → steps", _seconds(restarted_s), "≤ 20 s"),
        ("kill -9 of the worker, not started again → steps on another slot", _seconds(other_s), "≤ 20 s"),
    ]


def _restart(stack: Stack) -> None:
    stack.kill("gpu0")
    stack.worker("gpu0")


def _again(stack: Stack, job_id: str, kill: Callable[[], Any]) -> float:
    attempt = stack.status(job_id)["attempt"]
    start = time.monotonic()
    kill()
    stack.wait_until(job_id, lambda view: view["attempt"] > attempt and view["progress"]["step"] > 0, "its next run")
    return time.monotonic() - start


def _seconds(values_s: Sequence[float]) -> str:
    return f"median {quantile(values_s, 0.5):.1f} s, longest {max(values_s):.1f} s (n={len(values_s)})"


def report(*, short: bool) -> str:
    common.clean_environment()
    rows = listening((1, 100, 1000), 5 if short else 15)
    rows += cancelling(50 if short else 300, 10 if short else 50)
    rows += preempting(10 if short else 50)
    with short_folder() as folder:
        models = tiny_models(folder)
        models.write_text(models.read_text() + common.NOOP_MODELS)
        rows += gaps(models, 20 if short else 60)
        rows += recovering(models, 1 if short else 3)
    rows += progress_cost(4 if short else 12)
    return table(HEADS, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", choices=["preempting"])
    options = parser.parse_args()
    print(common.machine())
    print(table(HEADS, preempting(50)) if options.only else report(short=options.short))


if __name__ == "__main__":
    main()
