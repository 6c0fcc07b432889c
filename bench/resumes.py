"""``python -m bench.resumes [--rounds 5]``: how long a job stands still when its run is killed or its worker stops.

The shipped image model runs with many steps, a checkpoint every 0.2 s, and files in a store that both hosts share. The
time goes from the kill, or from the signal, to the first step that no earlier run computed. A killed child is replaced
by its worker, which imports torch and loads the model again; on the other host the model is in memory.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.common import machine, short_folder, table
from jobs.settings import PROJECT_ROOT
from tests.support.harness import Stack, running, wait_for

FIELDS: dict[str, Any] = {"model": "demo-image", "prompt": "a red circle", "seed": 7, "steps": 100}
OTHER_HOST, HERE = "nodeb", "gpu0"
THERE = f"{OTHER_HOST}.gpu0"
SETTINGS = {"CHECKPOINT_STORE": "objects", "MAX_ATTEMPTS": 99, "DRAIN_GRACE_S": 20}
#: Rounds of each way to end a run.
ROUNDS = 5


def _begun(stack: Stack) -> str:
    """Submit a job, and wait until it has a checkpoint."""
    job_id = stack.submit(**FIELDS, checkpoint_interval_s=0.2)
    wait_for(lambda: stack.store.get(job_id).checkpoint, "a checkpoint")
    return job_id


def _stood_still(stack: Stack, job_id: str, end: Callable[[], None]) -> tuple[float, int]:
    """End the job's run; return the seconds to its next new step, and the steps that were computed twice."""
    before = stack.store.get(job_id)
    at = time.monotonic()
    end()
    reached = before.step or 0
    while True:
        job = stack.store.get(job_id)
        if job.attempt == before.attempt:
            reached = max(reached, job.step or 0)
        elif (job.step or 0) > (job.resumed_from_step or 0) > 0:
            return time.monotonic() - at, max(0, reached - (job.resumed_from_step or 0))
        time.sleep(0.005)


def _killed(stack: Stack, job_id: str) -> tuple[float, int]:
    found = _stood_still(stack, job_id, lambda: os.kill(stack.child(HERE), signal.SIGKILL))
    stack.wait(job_id)
    return found


def _moved(stack: Stack, job_id: str) -> tuple[float, int]:
    process = stack.processes.pop(HERE)
    stack.store.pause_slots(THERE, resume=True)
    found = _stood_still(stack, job_id, process.terminate)
    stack.wait(job_id)
    process.wait(60)
    return found


def _measure(folder: Path, rounds: int) -> list[tuple[str, Any, Any, Any]]:
    """Return a row for each way to end a run: median and longest time, and most steps computed twice."""
    rows = []
    with running(folder, PROJECT_ROOT / "models.toml", HERE, "io", **SETTINGS) as stack:
        stack.wait(stack.submit(**FIELDS))
        found = [_killed(stack, _begun(stack)) for _ in range(rounds)]
        rows.append(("child killed, same host", found))
        there = {"NODE_NAME": OTHER_HOST, "SPOOL_DIR": str(folder / "other")}
        stack.worker(THERE, **there)
        stack.run("io there", "celery", "-A", "tasks", "worker", "-Q", "io", "-n", f"io@{OTHER_HOST}", **there)
        wait_for(lambda: THERE in stack.get("/readyz").json()["slots"], "the slot of the other host")
        stack.wait(stack.submit(**FIELDS, slot=THERE))  # loads the model
        found = []
        for _ in range(rounds):
            stack.store.pause_slots(THERE)
            found.append(_moved(stack, _begun(stack)))
            stack.worker(HERE)
            wait_for(lambda: HERE in stack.get("/readyz").json()["slots"], "the slot of this host")
        rows.append(("worker stops, another host goes on", found))
    return [_row(way, found) for way, found in rows]


def _row(way: str, found: list[tuple[float, int]]) -> tuple[str, Any, Any, Any]:
    times_s, again = zip(*found, strict=True)
    return way, f"{statistics.median(times_s):.2f}", f"{max(times_s):.2f}", max(again)


def report(rounds: int) -> str:
    with short_folder() as folder:
        return table(("run ended by", "median s", "longest s", "steps again"), _measure(folder, rounds))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of each way (default {ROUNDS})")
    options = parser.parse_args()
    print(machine())
    print(report(options.rounds))
