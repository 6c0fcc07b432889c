"""All that is written about jobs: one method, one atomic Lua call.

The scripts are in ``jobs/store/lua``; each checks the old state and the attempt number before it writes, so a
worker of an older attempt can change nothing. A script that binds a job to a slot also puts the message into the
slot's queue; methods that free or find a slot return these bindings. What callers ask for is here; the rest is in
:mod:`jobs.store.runs`, :mod:`jobs.store.slots` and :mod:`jobs.store.file_index`. Reading for display is in
:mod:`jobs.store.queries`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

from jobs.errors import (
    Conflict,
    DuplicateJob,
    FramemillError,
    IdempotencyMismatch,
    JobNotFound,
    QueueFull,
    ServiceBusy,
    Unavailable,
)
from jobs.forecast import Forecast
from jobs.record import Job
from jobs.settings import Settings
from jobs.slots.slot import Binding, bindings_of
from jobs.store import keys
from jobs.store.file_index import FileIndex
from jobs.store.runs import RunStore
from jobs.store.slots import SlotStore
from jobs.submission import Accepted, Submission

#: Prefix of the Redis keys of records; the result backend's ``task_keyprefix``.
RECORD_PREFIX = keys.JOB


@dataclass(frozen=True)
class Room:
    """What a service (all slots, or one) works on at one moment."""

    #: Number of further jobs that would start at once; less than 1: busy.
    more: int
    #: Jobs that have a slot or are being delivered.
    active: list[str]
    #: Number of jobs that wait for a slot.
    waiting: int


class JobStore(RunStore, SlotStore, FileIndex):
    """The records, on Redis: see :class:`~jobs.store.scripts.Scripts` for what holds of all its methods."""

    def read(self, job_id: str) -> dict[str, str]:
        """The raw record. Raises: JobNotFound."""
        values = self.call(lambda client: cast("dict[str, str]", client.hgetall(keys.JOB + job_id)))
        if not values:
            raise JobNotFound(f"there is no job {job_id[:64]!r}")
        return values

    def get(self, job_id: str) -> Job:
        """Raises: JobNotFound."""
        return Job.from_hash(job_id, self.read(job_id))

    def submit(self, job_id: str, submission: Submission) -> Accepted:
        """Accept a job: from here on it is never lost.

        Raises:
            DuplicateJob: the id is taken.
            IdempotencyMismatch: the idempotency key was used for another request.
            QueueFull: too many jobs wait, in all or of this key, or the key submits too fast.
            ServiceBusy: it would have to wait, and must not.
            Unavailable: an input was removed before the job came; with the input sent again it is accepted.
        """
        caller, request = submission.caller, submission.request
        fields = {
            "key": caller.key_id,
            "class": submission.job_class or caller.job_class,
            "model": request.model,
            "work": request.work,
            "request": json.dumps(request.to_dict(), separators=(",", ":"), ensure_ascii=False),
            "steps": request.total_steps,
            "protocol": submission.protocol,
            "retention": submission.retention or caller.retention or self.settings.retention,
        }
        fields["lane"] = (
            keys.PIN + submission.pin if submission.pin else f"{fields['class']}|{caller.key_id}|{request.model}"
        )
        if submission.pin:
            fields["pin"] = submission.pin
        if submission.priority:
            fields["priority"] = submission.priority
        if submission.max_run_s:
            fields["max_run_ms"] = int(submission.max_run_s * 1000)
        if submission.preview:
            fields["preview"] = 1
        if submission.model_max_waiting is not None:
            fields["model_max_waiting"] = submission.model_max_waiting
        if submission.max_silence_s:
            fields["max_silence_ms"] = int(submission.max_silence_s * 1000)
        if submission.retry_of:
            fields["retry_of"] = submission.retry_of
        if submission.command:
            fields["command"] = submission.command
        if submission.path:
            fields["path"] = submission.path
        if request.inputs:
            fields["inputs"] = " ".join(request.inputs)
        if submission.webhook is not None:
            fields["webhook"] = submission.webhook.to_json() if submission.webhook else ""
        if not submission.moderate:
            fields["unmoderated"] = 1
        if submission.alias:
            fields["alias"] = submission.alias
        if submission.mail:
            fields |= submission.mail.to_fields()
        if submission.warnings:
            fields["warnings"] = json.dumps(submission.warnings)
        status, *answer = self.script(
            "submit", id=job_id, max_waiting=self.settings.max_waiting, key_max_waiting=caller.max_waiting,
            key_max_per_minute=caller.max_per_minute, idempotency_key=submission.idempotency_key,
            fingerprint=submission.fingerprint, start_within_ms=int(submission.start_within_s * 1000),
            only_if_idle=int(submission.only_if_idle), only_slot=submission.pin or "", fields=fields,
        )  # fmt: skip
        if status == "repeat":
            return Accepted(answer[0], repeated=True)
        if status != "ok":
            raise _refusal(status, answer, job_id, self.settings)
        bindings, created_at, expected, path = answer
        return Accepted(job_id, bindings_of(bindings), int(created_at), Forecast.from_reply(expected), path=path)

    def forecast(self, *job_ids: str) -> list[Forecast]:
        """Where jobs stand; the cost of one does not depend on how many wait."""
        return [Forecast.from_reply(reply) for reply in self.script("forecast", ids=job_ids)] if job_ids else []

    def room(self, slot: str = "", model: str = "") -> Room:
        """What a service works on, and whether it has room for a job more.

        Args:
            slot: its only slot; '' for all.
            model: what the next job needs; '' for any.
        """
        return Room(*self.script("capacity", only_slot=slot, model=model))

    def cancel(self, job_id: str) -> tuple[bool, str | None, list[Binding]]:
        """End a job from outside, whatever it does.

        Returns:
            Whether anything changed (False: it was over already), the slot whose worker must be told to stop
            (None if no worker runs it), and new bindings.

        Raises:
            JobNotFound: unknown id.
        """
        outcome, slot, bindings = self.script("cancel", id=job_id)
        if outcome == "unknown":
            raise JobNotFound(f"there is no job {job_id[:64]!r}")
        return outcome == "changed", slot or None, bindings_of(bindings)

    def purge(self, job_id: str) -> str:
        """Delete a job that is over: its record at once (or when its worker has stopped), its files soon after.

        Returns:
            ``deleted``, ``held`` (as soon as its worker has stopped), ``live`` (it is not over) or ``gone`` (it was
            deleted before).

        Raises:
            JobNotFound: unknown id.
        """
        outcome = str(self.script("delete_job", id=job_id))
        if outcome == "unknown":
            raise JobNotFound(f"there is no job {job_id[:64]!r}")
        return outcome

    def deleted_key(self, job_id: str) -> str | None:
        """The API key of a job that was deleted; None for any other id."""
        return self.call(lambda client: cast("str | None", client.get(keys.DELETED + job_id)))

    def move_to_front(self, job_id: str) -> list[Binding]:
        """Let a waiting job go before all others.

        Raises:
            JobNotFound: unknown id.
            Conflict: it does not wait.
        """
        outcome, bindings = self.script("move_to_front", id=job_id)
        if outcome == "unknown":
            raise JobNotFound(f"there is no job {job_id[:64]!r}")
        if outcome != "moved":
            raise Conflict(
                f"the job is {outcome} and has a slot already" if outcome == "queued" else f"the job is {outcome}"
            )
        return bindings_of(bindings)

    def bury(self, job_id: str) -> None:
        """Take a job off the dead-letter list."""
        self.call(lambda client: client.zrem(keys.DEAD, job_id))

    def pause(self, slot: str = keys.ALL, *, resume: bool = False) -> list[Binding]:
        """Give a slot (or all) no more jobs, or again."""
        return bindings_of(self.script("pause_slots", slot=slot, pause=int(not resume)))


def _refusal(status: str, answer: list[Any], job_id: str, settings: Settings) -> FramemillError:
    if status == "duplicate":
        return DuplicateJob(f"a job with the id {job_id!r} exists")
    if status == "mismatch":
        return IdempotencyMismatch(f"this Idempotency-Key was used for another request, job {answer[0]}")
    if status == "busy":
        return ServiceBusy()
    if status == "input_gone":
        return Unavailable("an input image of this job is no longer stored; send the request with it again")
    if status == "full":
        return QueueFull(f"{answer[0]} jobs are waiting, the limit is {settings.max_waiting}")
    if status == "model_full":
        return QueueFull(f"too many jobs are waiting for this: its queue has a max length of {answer[0]}")
    if status == "key_full":
        return QueueFull(f"{answer[0]} jobs of this key are waiting, its limit is reached")
    return QueueFull("this key submits more jobs per minute than it may", retry_after_s=max(1, int(answer[0])))
