"""What this process remembers of the workers that it serves, which saves reads while they work.

Nothing is decided by it: every script checks the attempt that it is told, and what it refuses is read again.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from app import extensions
from jobs.record import Job
from jobs.requests.custom import EndpointRequest
from jobs.states import JobState

#: Name of the memory among the adapters of the app.
MEMORY = "aime.memory"
#: Runs that are remembered; the oldest ones are forgotten first.
MAX_RUNS = 4096
#: A worker's description is read again after this long, seconds: another process may have changed it.
DESCRIPTION_S = 10.0
#: Descriptions that are remembered.
MAX_WORKERS = 1024


@dataclass(frozen=True)
class Run:
    """An attempt of a job that a worker names, and what the job's record says about it."""

    job_id: str
    attempt: int
    model: str
    protocol: str
    slot: str
    started_at_ms: int
    #: Of the job. It is remembered as running, and may have changed since.
    state: JobState
    #: Whether the job was in this attempt.
    is_latest: bool = True
    #: The job as the run began, without its inputs; None for a run that was not remembered.
    job: Job | None = None

    @classmethod
    def of(cls, job: Job, attempt: int) -> Run:
        """Return the attempt of a job with this number."""
        return cls(
            job.job_id, attempt, job.request.model, job.protocol, job.slot or "", job.started_at_ms or 0, job.state,
            job.attempt == attempt,
        )  # fmt: skip

    @property
    def is_running(self) -> bool:
        """Whether this attempt was running."""
        return self.state is JobState.RUNNING and self.is_latest


def _without_inputs(job: Job) -> Job:
    """Return a job of an endpoint without what may be large."""
    assert isinstance(job.request, EndpointRequest)
    return replace(job, request=EndpointRequest(model=job.request.model, endpoint=job.request.endpoint))


class Memory:
    """Runs that this process has handed over, and the descriptions of their workers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: OrderedDict[tuple[str, int], Run] = OrderedDict()
        self._renewed_at: dict[tuple[str, int], float] = {}
        self._workers: OrderedDict[str, tuple[float, Mapping[str, Any]]] = OrderedDict()

    def add_run(self, job: Job) -> None:
        """Remember a job that a worker has started."""
        with self._lock:
            self._runs[job.job_id, job.attempt] = replace(Run.of(job, job.attempt), job=_without_inputs(job))
            self._renewed_at[job.job_id, job.attempt] = time.monotonic()
            if len(self._runs) > MAX_RUNS:
                oldest, _ = self._runs.popitem(last=False)
                self._renewed_at.pop(oldest, None)

    def run(self, job_id: str, attempt: int) -> Run | None:
        """Return a run that was remembered, or None."""
        return self._runs.get((job_id, attempt))

    def drop_run(self, run: Run) -> None:
        """Forget a run that has ended."""
        with self._lock:
            self._runs.pop((run.job_id, run.attempt), None)
            self._renewed_at.pop((run.job_id, run.attempt), None)

    def renewal_due(self, run: Run, interval_s: float) -> bool:
        """Return whether the lease of a run is to be renewed, which then counts as done."""
        now, name = time.monotonic(), (run.job_id, run.attempt)
        with self._lock:
            if now < self._renewed_at.get(name, 0.0) + interval_s:
                return False
            if name in self._runs:
                self._renewed_at[name] = now
        return True

    def add_worker(self, base: str, about: Mapping[str, Any]) -> None:
        """Remember the description of the worker whose first slot has this name."""
        with self._lock:
            self._workers[base] = time.monotonic() + DESCRIPTION_S, about
            self._workers.move_to_end(base)
            if len(self._workers) > MAX_WORKERS:
                self._workers.popitem(last=False)

    def worker(self, base: str) -> Mapping[str, Any] | None:
        """Return the description of a worker, or None if it must be read."""
        valid_until, about = self._workers.get(base, (0.0, None))
        return about if time.monotonic() < valid_until else None


def memory() -> Memory:
    """Return the memory of the current app."""
    found: Memory = extensions.current().adapters[MEMORY]
    return found
