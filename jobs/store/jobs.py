"""The job store: every change of a job is one method and one atomic Lua call.

The scripts are in ``jobs/store/lua``. Each checks the old state and the attempt number before it writes, so a worker of
an older attempt can change nothing. A script that binds a job to a slot also sends the message to the slot's queue.
This module has the calls of callers and operators; those of workers are in :mod:`jobs.store.runs`,
:mod:`jobs.store.checkpoints`, :mod:`jobs.store.slots` and :mod:`jobs.store.file_index`. :mod:`jobs.store.queries`
reads for display.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, cast

from jobs.errors import (
    Conflict,
    DuplicateJob,
    FramemillError,
    IdempotencyMismatch,
    JobNotFound,
    QueueFull,
    RateLimited,
    ServiceBusy,
    Unavailable,
)
from jobs.forecast import Forecast
from jobs.record import Job
from jobs.settings import Settings
from jobs.states import JobState
from jobs.store import keys
from jobs.store.checkpoints import CheckpointStore
from jobs.store.file_index import FileIndex
from jobs.store.runs import RunStore
from jobs.store.slots import SlotStore
from jobs.submission import Accepted, Submission

#: Prefix of the Redis keys of records; the result backend's ``task_keyprefix``.
RECORD_PREFIX = keys.JOB
#: How soon after its start a run says whether it can be paused, seconds; usually a few hundredths.
KNOWN_WITHIN_S = 2.0
#: How many forecasts are made in one call, so that it does not hold Redis for long.
FORECASTS_PER_CALL = 20


@dataclass(frozen=True)
class Capacity:
    """The load of a service (all slots, or one) at one moment, and its spare capacity."""

    #: Number of further jobs that would start at once; less than 1 when the service is busy.
    spare: int
    #: Jobs that have a slot or are being delivered.
    active: list[str]
    #: Number of jobs that wait for a slot.
    waiting: int


class JobStore(RunStore, CheckpointStore, SlotStore, FileIndex):
    """The records in Redis; see :class:`~jobs.store.scripts.Scripts` for what applies to all methods."""

    def check_writable(self) -> None:
        """Check that Redis accepts writes, also those that need memory. Raises: Unavailable: the reason."""
        self.call(lambda client: client.set(keys.PROBE, 1, px=1))

    def read(self, job_id: str) -> dict[str, str]:
        """Return the hash of a record. Raises: JobNotFound."""
        values = self.call(lambda client: cast("dict[str, str]", client.hgetall(keys.JOB + job_id)))
        if not values:
            raise JobNotFound(f"job {job_id[:64]!r} does not exist")
        return values

    def get(self, job_id: str) -> Job:
        """Return a job. Raises: JobNotFound."""
        return Job.from_hash(job_id, self.read(job_id))

    def submit(self, job_id: str, submission: Submission) -> Accepted:
        """Accept a job; from then on it is never lost.

        Raises:
            DuplicateJob: the id is in use.
            IdempotencyMismatch: the idempotency key was used for another request.
            QueueFull: too many jobs wait in all, of the model or of the key, or the key submits too fast.
            ServiceBusy: it would have to wait, which the submission excludes.
            Unavailable: an input was removed in the meantime; the request must be sent again with the input.
        """
        submission = submission.completed(self.settings)
        caller = submission.caller
        outcome, *reply = self.script(
            "submit", id=job_id, max_waiting=self.settings.scheduling.max_waiting, key_max_waiting=caller.max_waiting,
            key_max_per_minute=caller.max_per_minute, idempotency_key=submission.idempotency_key,
            fingerprint=submission.fingerprint, reuse_key=submission.reuse_key,
            start_within_ms=int(submission.start_within_s * 1000), only_if_idle=int(submission.only_if_idle),
            only_slot=submission.pin or "",
            fields={**submission.to_record(), "line": _line(submission, self.settings), **_indexed(submission)},
        )  # fmt: skip
        if outcome in ("repeat", "reuse"):
            return Accepted(reply[0], reused=outcome == "reuse")
        if outcome != "ok":
            raise _refusal(outcome, reply, job_id, self.settings)
        created_at_ms, slot, forecast, preempted = reply
        job = submission.to_job(job_id, created_at_ms=int(created_at_ms), slot=slot or None)
        return Accepted(job_id, job, Forecast.from_reply(forecast), preempted=tuple(preempted))

    def forecast(self, *job_ids: str) -> list[Forecast]:
        """Return the forecasts of jobs, at a cost that does not depend on the number of waiting jobs."""
        parts = [job_ids[i : i + FORECASTS_PER_CALL] for i in range(0, len(job_ids), FORECASTS_PER_CALL)]
        return [Forecast.from_reply(reply) for part in parts for reply in self.script("forecast", ids=part)]

    def capacity(self, slot: str = "", model: str = "") -> Capacity:
        """Return the load and spare capacity of a service.

        Args:
            slot: its only slot; '' for all slots.
            model: the model of the next job; '' for any model.
        """
        return Capacity(*self.script("capacity", only_slot=slot, model=model))

    def cancel(self, job_id: str) -> tuple[bool, str | None]:
        """Cancel a job in any state.

        Returns:
            Whether the job was cancelled by this call (False: it was over already), and the slot whose worker must
            stop (None if no worker runs it).

        Raises:
            JobNotFound.
        """
        outcome, slot = self.script("cancel", id=job_id)
        if outcome == "unknown":
            raise JobNotFound(f"job {job_id[:64]!r} does not exist")
        return outcome == "changed", slot or None

    def purge(self, job_id: str) -> str:
        """Delete a job that is over: its record, and soon afterwards its files.

        Returns:
            ``deleted``; ``held``: it will be deleted when its worker has stopped; ``live``: it is not over; ``gone``:
            it was deleted before.

        Raises:
            JobNotFound.
        """
        outcome = str(self.script("delete_job", id=job_id))
        if outcome == "unknown":
            raise JobNotFound(f"job {job_id[:64]!r} does not exist")
        return outcome

    def deleted_key(self, job_id: str) -> str | None:
        """Return the API key of a deleted job; None for any other id."""
        return self.call(lambda client: cast("str | None", client.get(keys.DELETED + job_id)))

    def move_to_front(self, job_id: str) -> None:
        """Move a waiting job to the front of the queue.

        Raises:
            JobNotFound.
            Conflict: it does not wait.
        """
        outcome = str(self.script("move_to_front", id=job_id))
        if outcome == "unknown":
            raise JobNotFound(f"job {job_id[:64]!r} does not exist")
        if outcome != "moved":
            raise Conflict(
                f"the job is {outcome} and has a slot already" if outcome == "queued" else f"the job is {outcome}"
            )

    def bury(self, job_id: str) -> None:
        """Remove a job from the dead-letter list."""
        self.call(lambda client: client.zrem(keys.DEAD, job_id))

    def pause(self, job_id: str) -> JobState:
        """Set a job aside until it is resumed. It holds no slot meanwhile, and keeps its place.

        Returns:
            ``PAUSED``; ``RUNNING``: it will be paused after its present step.

        Raises:
            JobNotFound.
            Conflict: its state or its run does not allow it.
        """
        deadline = time.monotonic() + KNOWN_WITHIN_S
        while (reply := self.script("pause_job", id=job_id))[0] == "starting" and time.monotonic() < deadline:
            time.sleep(0.02)
        outcome, is_accepted, why = [*reply, 0, ""][:3]
        if outcome == "unknown":
            raise JobNotFound(f"job {job_id[:64]!r} does not exist")
        if outcome == JobState.PAUSED or is_accepted:
            return JobState(outcome)
        if outcome == JobState.RUNNING:
            raise Conflict(f"the job is running and cannot be paused: {why or 'its worker does not make checkpoints'}")
        if outcome == "starting":
            raise Conflict("the job has just started, and cannot be paused yet")
        raise Conflict(f"the job is {outcome}, and cannot be paused")

    def resume(self, job_id: str) -> bool:
        """Let a paused job wait again, at its old place.

        Returns:
            Whether this call resumed it; False: it was not paused.

        Raises:
            JobNotFound.
            Conflict: it is over.
        """
        outcome, result = self.script("resume_job", id=job_id)
        if outcome == "unknown":
            raise JobNotFound(f"job {job_id[:64]!r} does not exist")
        if outcome == "over":
            raise Conflict(f"the job is {result}, and cannot be resumed")
        return bool(result)

    def pause_slots(self, slot: str = keys.ALL, *, resume: bool = False, yields: bool = False) -> None:
        """Stop binding jobs to a slot (or to all slots), or resume.

        ``yields``: the slot is to give up the memory of its device, too, until it is resumed.
        """
        self.script("pause_slots", slot=slot, pause=int(not resume), yields=int(yields))
        if resume:
            self.fill_slots()


def _indexed(submission: Submission) -> dict[str, int]:
    """Return the fields by which the record of a video is found, see :mod:`jobs.store.keys`."""
    return {"video": 1} if submission.request.kind.is_video and not submission.command else {}


def _line(submission: Submission, settings: Settings) -> str:
    """Return the line in which a job waits, see :mod:`jobs.store.keys`."""
    if not submission.pin:
        return submission.job_class
    takes_turns = settings.scheduling.class_weights.get(submission.job_class, 1) or submission.command
    return (keys.PIN if takes_turns else keys.LATE_PIN) + submission.pin


def _refusal(outcome: str, details: list[Any], job_id: str, settings: Settings) -> FramemillError:
    """Return the error of a submission that was not accepted."""
    if outcome == "duplicate":
        return DuplicateJob(f"a job with the id {job_id!r} exists")
    if outcome == "mismatch":
        return IdempotencyMismatch(f"this Idempotency-Key was used for another request, job {details[0]}")
    if outcome == "busy":
        return ServiceBusy()
    if outcome == "input_gone":
        return Unavailable("an input image of this job is no longer stored; send the request with it again")
    if outcome == "full":
        limit = settings.scheduling.max_waiting
        return QueueFull(f"{details[0]} jobs are waiting, the limit is {limit}", limit=limit)
    if outcome == "model_full":
        message = f"too many jobs are waiting for this: its queue has a max length of {details[0]}"
        return QueueFull(message, limit=int(details[0]))
    if outcome == "key_full":
        return QueueFull(f"{details[0]} jobs of this key are waiting, its limit is reached", limit=int(details[0]))
    return RateLimited(retry_after_s=max(1, int(details[0])))
