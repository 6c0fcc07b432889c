"""Workers that pull jobs over HTTP, as slots: waiting for a job, taking it, its progress and its end."""

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

from app.extensions import hub, settings, store
from app.protocols.aime.endpoints.spec import MODEL_PREFIX, Endpoint
from jobs.record import Job
from jobs.store import queries

#: Jobs that one worker may have at once.
MAX_SLOTS = 64
#: The long poll ends after this share of what the worker waits for an answer, 54 of 60 s: at 60 s a job that is handed
#: over just then would be lost.
POLL_SHARE = 0.9

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
#: What a worker says about its model, and how it is called in answers.
MODEL_FACTS = ("label", "quantization", "size", "family", "type", "repo_name")
_FACTS = ("gpu_name", "num_gpus", "framework", "framework_version", "pytorch_version", "worker_version")


@dataclass(frozen=True)
class Worker:
    """A worker as it names itself in a call."""

    name: str
    job_type: str
    #: How it is called in the list of slots; further slots of it end in ``~1``, ``~2`` …
    base: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, job_type: str, endpoints: list[Endpoint], sent: Mapping[str, Any]) -> Worker:
        digest = hashlib.sha256(f"{job_type} {name}".encode()).hexdigest()[:6]
        base = f"http.{job_type}.{_UNSAFE.sub('-', name)[:40].strip('-')}-{digest}"
        about = {key: sent.get(key) for key in _FACTS}
        about |= {"name": name, "interface_version": sent.get("version"), "max_batch_size": batch_of(sent)}
        about["model"] = {key: sent.get(f"model_{key}") or "Unknown" for key in MODEL_FACTS}
        facts = {
            "node": _UNSAFE.sub("-", name.partition("#")[0])[:40],
            "device": "http",
            "device_name": str(sent.get("gpu_name") or "")[:100],
            "models": json.dumps([MODEL_PREFIX + job_type]),
            "away_lease_ms": int(2000 * endpoints[0].request_timeout),
            "about": json.dumps(about),
        }
        return cls(name, job_type, base, facts)

    @property
    def owner(self) -> str:
        """As the holder of its slots."""
        return f"{self.base}:0:"

    def owns(self, slot: str | None) -> bool:
        return slot is not None and slot.partition("~")[0] == self.base


def batch_of(sent: Mapping[str, Any]) -> int:
    """How many jobs a worker takes at once."""
    value = sent.get("max_job_batch")
    return min(MAX_SLOTS, value) if type(value) is int and value > 0 else 1


def next_jobs(worker: Worker, most: int, wait_s: float, is_gone: Callable[[], bool]) -> list[Job]:
    """Wait for a job, and take what else waits just then.

    Args:
        worker: who asks.
        most: jobs it would take.
        wait_s: longest wait.
        is_gone: whether it has hung up.

    Returns:
        The jobs, started; none when there were none.

    Raises:
        Unavailable.
    """
    first = _wait(worker, most, time.monotonic() + wait_s, is_gone)
    jobs = [first] if first else []
    while jobs and len(jobs) < most:
        slot, job_id, attempt = store().pull(worker.base, worker.owner, worker.facts, most=MAX_SLOTS, batch=most)
        job = _start(worker, slot, job_id, attempt) if job_id else None
        if job is None:
            if slot and not job_id:
                store().leave(slot, worker.owner)
            break
        jobs.append(job)
    if jobs and is_gone():
        for job in jobs:  # nobody would get the answer: they are not counted as runs
            store().leave(job.slot or "", worker.owner)
        return []
    return jobs


def _wait(worker: Worker, most: int, deadline: float, is_gone: Callable[[], bool]) -> Job | None:
    with hub().listen(slot=worker.base) as listener:  # first, so that no binding is missed
        slot, job_id, attempt = store().pull(worker.base, worker.owner, worker.facts, most=MAX_SLOTS, batch=most)
        if job_id and (job := _start(worker, slot, job_id, attempt)):
            return job
        next_beat = time.monotonic() + settings().leases.heartbeat_s
        while True:
            now = time.monotonic()
            over = now >= deadline or is_gone()
            try:
                event = None if over else listener.get(min(deadline, next_beat) - now)
            except queue.Empty:
                event = None
            if event is not None:
                own = event.fields["state"] == "queued" and event.fields.get("slot") == slot
                if own and (job := _start(worker, slot, event.job_id, int(event.fields["attempt"]))):
                    return job
                if not own and now < next_beat:  # of another of its slots
                    continue
            next_beat = time.monotonic() + settings().leases.heartbeat_s
            if not slot:  # all its slots are taken
                if over:
                    return None
                continue
            beat = store().heartbeat(slot, worker.owner, {"open": "" if over else "1"})
            if beat.job_id and (job := _start(worker, slot, beat.job_id, beat.attempt)):
                return job
            if over:
                return None
            if not beat.held:  # it was given up while Redis or this process was away
                slot, job_id, attempt = store().pull(
                    worker.base, worker.owner, worker.facts, most=MAX_SLOTS, batch=most
                )
                if job_id and (job := _start(worker, slot, job_id, attempt)):
                    return job


def _start(worker: Worker, slot: str, job_id: str, attempt: int) -> Job | None:
    device = str(worker.facts["device_name"] or "http")
    return store().start(job_id, attempt, slot=slot, owner=worker.owner, device=device, run=secrets.token_hex(8))


def renew(job: Job) -> float | None:
    """The worker of a running job lives. Seconds that the job is past its run limit, or was ended; None: it may run."""
    slot = job.slot or ""
    beat = store().heartbeat(slot, _owner_of(slot), {})
    return beat.overdue_s if beat.job_id == job.job_id else None


def is_held(job: Job, attempt: int) -> bool:
    """Whether its slot still works on this attempt, though the job may be over."""
    return queries.holds(store(), job.slot or "", job.job_id, attempt)


def restart(worker: Worker) -> None:
    """The worker has been started: what it had is lost."""
    for slot in slots_of(worker):
        if slot != worker.base:
            store().register(slot, worker.owner, {**worker.facts, "pulls": "1"})
            store().leave(slot, worker.owner)
    store().register(worker.base, worker.owner, {**worker.facts, "pulls": "1"})


def slots_of(worker: Worker) -> list[str]:
    """The slots that a worker has at present."""
    return [slot for slot in queries.slot_names(store()) if worker.owns(slot)]


def _owner_of(slot: str) -> str:
    return f"{slot.partition('~')[0]}:0:"
