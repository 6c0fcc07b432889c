"""A job on its way into the store: the submission, the record made from it, and the accepted job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jobs.callers import ANYBODY, Caller
from jobs.forecast import Forecast
from jobs.record import Job, JobOptions
from jobs.record_fields import INTEGER, encode, storage_of, stored
from jobs.settings import Settings
from jobs.states import JobState

#: Fields that callers set, by the names of a submission.
CALLER_OPTIONS = tuple(name for name, storage in storage_of(JobOptions).items() if storage.set_by_caller)


@dataclass(frozen=True)
class Subscriber:
    """The subscriber queue that receives the messages about a job, and the correlation data they carry."""

    #: Name of the queue (:mod:`jobs.store.outgoing.subscriber_queue`).
    queue: str
    #: Correlation data of every message.
    correlation: Mapping[str, Any]
    #: Further correlation data of the last message.
    final_correlation: Mapping[str, Any]
    #: Whether success is announced once the output is stored; False: once it is computed.
    synced: bool = True

    def to_record(self) -> dict[str, Any]:
        """Return its fields of the record."""
        fields = {
            "mailbox": self.queue, "ticket": _compact(self.correlation), "echo": _compact(self.final_correlation),
        }  # fmt: skip
        return fields if self.synced else {**fields, "unsynced": "1"}


@dataclass(frozen=True, kw_only=True)
class Submission(JobOptions):
    """A job to be accepted."""

    caller: Caller = ANYBODY
    #: The job expires unless it starts within this time, in seconds; 0: no deadline. Counts from ``not_before_ms``.
    start_within_s: float = 0
    #: A repeat with the same key within a day is answered with the first job; '' for none.
    idempotency_key: str = ""
    #: Digest of the request, which tells a repeat from another request with the same idempotency key.
    fingerprint: str = ""
    #: Digest of the request: a job of the same key that has it, and was not in vain, is the answer; '' for none.
    reuse_key: str = ""
    #: Whether it is refused unless it starts at once.
    only_if_idle: bool = False
    #: Number of jobs of its model that may wait; None: any number.
    model_max_waiting: int | None = field(default=None, metadata=stored("model_max_waiting", INTEGER))
    #: Receives messages about the job.
    subscriber: Subscriber | None = None

    @classmethod
    def again(cls, job: Job, caller: Caller) -> Submission:
        """Return the submission that runs a job once more, as a new job of the same key."""
        kept = {name: getattr(job, name) for name, storage in storage_of(JobOptions).items() if storage.kept_by_retry}
        kept["webhook"] = job.webhook or False  # not the key's webhook, which may be another one by now
        return cls(**kept, retry_of=job.job_id, caller=replace(caller, key_id=job.key_id))

    def completed(self, settings: Settings) -> Submission:
        """Return it with the caller's and the server's defaults."""
        return replace(
            self,
            job_class=self.job_class or self.caller.job_class,
            retention=self.retention or self.caller.retention or settings.retention.default_class,
        )

    @property
    def needed_version(self) -> int:
        """Version of the oldest workers that know all that the job asks for."""
        return max(self.request.version, 1 if self.pause_at_step is None else 2)

    def to_record(self) -> dict[str, Any]:
        """Return the fields of the record: the stored ones, and those that only the scripts read."""
        request = self.request
        scheduling = {
            "key": self.caller.key_id,
            "model": request.model,
            "work": request.work,
            "steps": request.total_steps,
            "inputs": " ".join(request.inputs),
            "version": self.needed_version if self.needed_version > 1 else "",
        }
        subscription = self.subscriber.to_record() if self.subscriber else {}
        return {**encode(self), **{name: value for name, value in scheduling.items() if value != ""}, **subscription}

    def to_job(self, job_id: str, *, created_at_ms: int, slot: str | None) -> Job:
        """Return the job as it was accepted.

        Args:
            job_id: its id.
            created_at_ms: when it was accepted, milliseconds since 1970.
            slot: the slot it was bound to at once, or None.
        """
        options = {name: getattr(self, name) for name in storage_of(JobOptions)}
        options["webhook"] = self.webhook or None
        return Job(
            **options, job_id=job_id, state=JobState.QUEUED, key_id=self.caller.key_id, created_at_ms=created_at_ms,
            slot=slot, attempt=1 if slot else 0, steps=self.request.total_steps,
        )  # fmt: skip


@dataclass(frozen=True)
class Accepted:
    """The store's answer to a submission."""

    job_id: str
    #: The accepted job; None for a repeat, which is answered with the job ``job_id`` of the first submission.
    job: Job | None = None
    forecast: Forecast = Forecast(None)
    #: Whether that is the job of an equal request, whose outputs are used again.
    reused: bool = False
    #: Jobs whose runs were interrupted for it.
    preempted: tuple[str, ...] = ()


def _compact(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))
