"""Workers that pull jobs over HTTP. Each job that a worker can compute at once is a slot with a lease of its own."""

from __future__ import annotations

import hashlib
import json
import queue
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.events.hub import Listener
from app.extensions import hub, settings, store
from app.protocols.aime.endpoints.spec import MODEL_PREFIX, Endpoint
from app.protocols.aime.workers.memory import Run, memory
from jobs.record import Job
from jobs.store import queries
from jobs.store.client_state import WorkerFacts
from jobs.store.events import Event
from jobs.store.slots import Pulled

#: Longest text in which a worker describes itself, characters.
MAX_FACT_CHARS = 200
#: Name of a worker that sends none.
UNNAMED = "worker"
#: Maximum number of slots of one worker, which is the largest batch that it may ask for.
MAX_SLOTS = 1024
#: Interval at which the connection of a waiting worker is checked, seconds.
CONNECTION_CHECK_S = 0.5
#: Share of the worker's own timeout after which a long poll ends (54 of 60 s): a job that is handed over when the
#: worker stops waiting would be lost.
POLL_SHARE = 0.9

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
#: Facts that a worker sends about its model as ``model_<name>``, and the names they have in responses.
MODEL_FACTS = ("label", "quantization", "size", "family", "type", "repo_name")
_FACTS = ("gpu_name", "num_gpus", "framework", "framework_version", "pytorch_version", "worker_version")


@dataclass(frozen=True)
class Worker:
    """A worker as it introduces itself in a call."""

    name: str
    job_type: str
    #: Name of its first slot; the names of further slots end in ``~1``, ``~2``, ….
    base: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    #: Its description.
    about: Mapping[str, Any] = field(default_factory=dict)
    #: Whether it has introduced itself before.
    is_known: bool = True

    @classmethod
    def of(
        cls, name: str, checked_by: str, endpoint: Endpoint, fields: Mapping[str, Any], known: Mapping[str, Any] | None
    ) -> Worker:  # fmt: skip
        """Return the worker of a call.

        Args:
            name: how the worker calls itself.
            checked_by: the key that vouches for it: workers of other keys never share its slots, whatever their name.
            endpoint: the first endpoint of the jobs that it computes.
            fields: the fields of the call.
            known: its description so far, of which stays what the call does not name; None for a new worker.
        """
        about = {"name": name, **_described(fields, known or {})}
        facts = {
            "node": _UNSAFE.sub("-", name.partition("#")[0])[:40],
            "device": "http",
            "device_name": str(about["gpu_name"] or "")[:100],
            "models": json.dumps([MODEL_PREFIX + endpoint.job_type]),
            "away_lease_ms": int(2000 * endpoint.request_timeout),
        }
        base = base_of(name, checked_by, endpoint.job_type)
        return cls(name, endpoint.job_type, base, facts, about, known is not None)

    @property
    def owner(self) -> str:
        """The owner of its slots' leases."""
        return f"{self.base}:0:"

    @property
    def device(self) -> str:
        """Where it computes, for people."""
        return str(self.facts["device_name"] or "http")


def base_of(name: str, checked_by: str, job_type: str) -> str:
    """Return the name of the first slot of a worker that a key vouches for."""
    digest = hashlib.sha256(f"{checked_by} {job_type} {name}".encode()).hexdigest()[:12]
    return f"http.{job_type}.{_UNSAFE.sub('-', name)[:40].strip('-')}-{digest}"


def _described(fields: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return a worker's description: what the call names, else what is known."""
    about = {key: _fact(fields.get(key)) or known.get(key) for key in _FACTS}
    about["interface_version"] = _fact(fields.get("version")) or known.get("interface_version")
    # A login names the whole batch of the worker. A request may ask for the rest of a batch that is being computed.
    largest = _whole(fields.get("max_batch_size"))
    about["max_batch_size"] = largest or max(batch_size_of(fields), known.get("max_batch_size") or 1)
    model = known.get("model") or {}
    about["model"] = {
        key: _fact(fields.get(f"model_{key}")) or model.get(key) or "Unknown" for key in MODEL_FACTS
    }  # fmt: skip
    return about


def batch_size_of(fields: Mapping[str, Any]) -> int:
    """Return the number of jobs that a worker asks for at once."""
    return _whole(fields.get("max_job_batch")) or 1


def _whole(value: Any) -> int:
    """Return the size of a batch, at most ``MAX_SLOTS``; 0 if it is none."""
    return min(MAX_SLOTS, value) if type(value) is int and value > 0 else 0


def _fact(value: Any) -> Any:
    """Return what a worker says about itself: a number or a short text."""
    return value if value is None or isinstance(value, int | float) else str(value)[:MAX_FACT_CHARS]


def next_jobs(worker: Worker, batch: int, wait_s: float, has_hung_up: Callable[[], bool]) -> list[Job]:
    """Wait for a job, and take further jobs that are waiting at that moment.

    Args:
        worker: the caller.
        batch: maximum number of jobs.
        wait_s: longest wait for the first job, seconds.
        has_hung_up: returns whether the worker has closed its connection.

    Returns:
        The started jobs; empty if there was none.

    Raises:
        Unavailable: Redis does not respond.
    """
    first = LongPoll(worker, time.monotonic() + wait_s, has_hung_up).run()
    jobs = [first] if first else []
    while jobs and len(jobs) < batch:
        pulled = _pull(worker, after=jobs[-1].slot or "")
        if pulled.job is None:
            if pulled.slot:
                store().leave(pulled.slot, worker.owner)
            break
        jobs.append(pulled.job)
    if jobs and has_hung_up():
        for job in jobs:  # nobody receives the response: these attempts are not counted
            store().leave(job.slot or "", worker.owner)
        return []
    return jobs


class LongPoll:
    """One wait of a worker for a job. The slot is open to new jobs and its lease is renewed until the wait ends.

    The slot of a worker that has hung up is removed at once, so that nobody counts on it.
    """

    def __init__(self, worker: Worker, deadline: float, has_hung_up: Callable[[], bool]) -> None:
        self._worker, self._deadline, self._has_hung_up = worker, deadline, has_hung_up
        self._slot = ""
        self._next_heartbeat = 0.0

    def run(self) -> Job | None:
        """Return a started job, or None when the wait has ended without one."""
        with hub().listen(slot=self._worker.base) as listener:  # before the pull: no binding is missed
            if job := self._acquire_slot():
                return job
            while True:
                is_gone = self._has_hung_up()
                is_over = is_gone or time.monotonic() >= self._deadline
                event = None if is_over else self._next_event(listener)
                if event is not None:
                    is_own = event.fields["state"] == "queued" and event.fields.get("slot") == self._slot
                    if is_own and (job := self._start_bound(event)):
                        return job
                    if not is_own and time.monotonic() < self._next_heartbeat:  # of another slot of the worker
                        continue
                elif not is_over and time.monotonic() < self._next_heartbeat:
                    continue
                if job := self._heartbeat(is_over):
                    return job
                if is_gone and self._slot:
                    store().leave(self._slot, self._worker.owner)
                if is_over:
                    return None

    def _next_event(self, listener: Listener) -> Event | None:
        """Return the next event, or None when something else is due. Missed events make a heartbeat due."""
        due = min(self._deadline, self._next_heartbeat, time.monotonic() + CONNECTION_CHECK_S)
        try:
            event = listener.get(due - time.monotonic())
        except queue.Empty:
            return None
        if event is None:
            self._next_heartbeat = 0.0
        return event

    def _acquire_slot(self) -> Job | None:
        pulled = _pull(self._worker)
        self._slot = pulled.slot
        self._schedule_heartbeat()
        return pulled.job

    def _start_bound(self, event: Event) -> Job | None:
        return _start(self._worker, event.job_id, int(event.fields["attempt"]), self._slot)

    def _heartbeat(self, is_over: bool) -> Job | None:
        """Renew the lease of the slot; return a job that was bound to it, started."""
        self._schedule_heartbeat()
        if not self._slot:
            return None
        beat = store().heartbeat(self._slot, self._worker.owner, {"open": "" if is_over else "1"})
        if beat.job_id and (job := _start(self._worker, beat.job_id, beat.attempt, self._slot)):
            return job
        if not is_over and not beat.held:  # the lease lapsed while Redis or this process was away
            return self._acquire_slot()
        return None

    def _schedule_heartbeat(self) -> None:
        self._next_heartbeat = time.monotonic() + settings().leases.heartbeat_s


def renew(run: Run) -> float | None:
    """Renew the lease of a run.

    Returns:
        None while the job may run; otherwise the seconds since it was ended or exceeded its run limit.
    """
    beat = store().heartbeat(run.slot, _owner_of(run.slot), {})
    return beat.overdue_s if beat.job_id == run.job_id else None


def is_held(run: Run) -> bool:
    """Return whether the slot still works on this attempt, even if the job has finished."""
    return queries.holds(store(), run.slot, run.job_id, run.attempt)


def introduced(name: str, checked_by: str, endpoint: Endpoint, fields: Mapping[str, Any]) -> Worker:
    """Return the worker of a call, and remember how it described itself. Raises: Unavailable."""
    name = name or UNNAMED
    base = base_of(name, checked_by, endpoint.job_type)
    known = memory().worker(base)
    if known is not None:
        worker = Worker.of(name, checked_by, endpoint, fields, known)
        if worker.about == known:
            return worker
    described = WorkerFacts(store(), base)
    known = described.read()
    worker = Worker.of(name, checked_by, endpoint, fields, known)
    if worker.about != known and (worker.is_known or "version" in fields):
        described.write(worker.about)
        known = worker.about
    if known is not None:
        memory().add_worker(base, known)
    return worker


def holds(slot: str | None, name: str, checked_by: str, endpoint: Endpoint) -> bool:
    """Return whether a slot belongs to the worker of this name; '' for a call without one. Raises: Unavailable."""
    base = (slot or "").partition("~")[0]
    if not name:  # the oldest packages send no name with their progress: the key decides
        name = str((WorkerFacts(store(), base).read() or {}).get("name") or UNNAMED)
    return base == base_of(name, checked_by, endpoint.job_type)


def log_in(worker: Worker) -> None:
    """Register a worker that has started.

    Its jobs are left alone: another worker of the same name may be computing them.
    """
    slot = queries.slot(store(), worker.base)
    if slot is None:
        store().register(worker.base, worker.owner, {**worker.facts, "pulls": "1"})
    if slot is None or not slot.job_id:
        store().heartbeat(worker.base, worker.owner, worker.facts)


def _pull(worker: Worker, after: str = "") -> Pulled:
    """Open one of the worker's slots, and start the job that it gets at once.

    Args:
        worker: the worker.
        after: a slot of it; it and the ones before it are taken.
    """
    first = int(after.partition("~")[2] or 0) + 1 if after else 0
    pulled = store().pull(
        worker.base, worker.owner, worker.facts, most=MAX_SLOTS, first=first, device=worker.device,
        run=secrets.token_hex(8),
    )  # fmt: skip
    if pulled.job is not None:
        memory().add_run(pulled.job)
    return pulled


def _start(worker: Worker, job_id: str, attempt: int, slot: str) -> Job | None:
    """Start an attempt that is bound to a slot of the worker; None if it may not start any more."""
    job = store().start(
        job_id, attempt, slot=slot, owner=worker.owner, device=worker.device, run=secrets.token_hex(8)
    )  # fmt: skip
    if job is not None:
        memory().add_run(job)
    return job


def _owner_of(slot: str) -> str:
    return f"{slot.partition('~')[0]}:0:"
