"""The dispatcher: submits, stops and announces jobs. It is the only user of Celery in the web process."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from celery import Celery

from jobs import moderation
from jobs.callers import Caller
from jobs.errors import Conflict, DuplicateJob, JobNotFound, Unavailable
from jobs.forecast import Forecast
from jobs.record import Job, new_job_id
from jobs.settings import Settings
from jobs.slots.slot import Redelivery
from jobs.states import Interrupt, JobState
from jobs.store import queries
from jobs.store.jobs import JobStore
from jobs.store.runs import MAX_ENDS
from jobs.submission import Submission
from tasks.announcing import AWAY, Announcer
from tasks.celery_app import CHECK_RUNS, DELIVER, GENERATE, STOP_SIGNAL
from tasks.job_end import report_end

logger = logging.getLogger(__name__)

#: Header of a delivery's message: the Celery worker that computed the job.
COMPUTED_BY = "computed_by"


@dataclass(frozen=True)
class Submitted:
    """The outcome of a submission."""

    job: Job
    #: Where the job stands.
    forecast: Forecast
    #: True: the job of an earlier request with the same idempotency key.
    repeated: bool = False
    #: True: the job of an equal request, whose outputs are used again.
    reused: bool = False


class Dispatcher:
    """Sends, stops and announces jobs through one store and one Celery app.

    Args:
        settings, store, celery: of the process.
        events_delay_s: see :class:`~tasks.announcing.Announcer`.
        note_job: called with the id of each job that is submitted.
        trace: returns the ``traceparent`` of the request that submits a job, or ''; None: there are no traces.
    """

    def __init__(
        self, settings: Settings, store: JobStore, celery: Celery, *, events_delay_s: float = 0.0,
        note_job: Callable[[str], None] = lambda job_id: None, trace: Callable[[], str] | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings
        self._note_job, self._trace = note_job, trace
        self.store = store
        self.celery = celery
        self._announcer = Announcer(store, celery, events_delay_s)

    def submit(self, submission: Submission, job_id: str, *, chosen_by_client: bool) -> Submitted:
        """Accept a job and, if a slot is free, send it.

        Returns:
            The job as it was accepted, or the job of an earlier request with the same idempotency key.

        Raises:
            DuplicateJob, IdempotencyMismatch: the client's own id or idempotency key was used before.
            ModerationRefused: moderation refuses the prompt.
            QueueFull, ServiceBusy, Unavailable: not accepted.
        """
        moderation.check_prompts(submission.request, self.settings, moderate=submission.moderate)
        if self._trace is not None:
            submission = replace(submission, trace=self._trace())
        try:
            accepted = self.store.submit(job_id, submission)
        except DuplicateJob:
            if chosen_by_client:
                raise
            return self._known(job_id, repeated=False)  # a generated id: the first try arrived, its reply was lost
        self._note_job(accepted.job_id)
        if accepted.job is None:
            return replace(self._known(accepted.job_id, repeated=True), reused=accepted.reused)
        if accepted.preempted:
            self.check_runs(*accepted.preempted)
        queue = submission.pin or "waiting room"
        self.announce("task-sent", job_id, name=GENERATE, args=f"('{job_id}',)", kwargs="{}", queue=queue)
        return Submitted(accepted.job, accepted.forecast)

    def _known(self, job_id: str, *, repeated: bool) -> Submitted:
        """Return the outcome for a job that exists already."""
        return Submitted(self.store.get(job_id), self.store.forecast(job_id)[0], repeated)

    def send_delivery(self, delivery: Redelivery) -> None:
        """Send a delivery to the ``io`` workers of the host whose spool has the frames."""
        headers = {COMPUTED_BY: self._worker()}
        args, queue = (delivery.job_id, delivery.attempt), f"io@{delivery.node}"
        try:
            self.celery.send_task(DELIVER, args, queue=queue, retry=False, ignore_result=True, headers=headers)
        except AWAY as exc:
            logger.warning("delivery not sent, the sweep will", extra={"job_id": delivery.job_id, "error": repr(exc)})

    def sweep(self, *, after_outage: bool = False) -> None:
        """Recover the jobs of dead workers, unless another process did so within the last heartbeat.

        Args:
            after_outage: see :meth:`jobs.store.slots.SlotStore.sweep`.

        Raises:
            Unavailable.
        """
        swept = self.store.sweep(after_outage=after_outage)
        if swept is None:
            return
        self.report_ends()
        for slot in swept.lost_slots:
            logger.warning("slot lost: its lease lapsed", extra={"slot": slot})
        if swept.preempted:
            self.check_runs(*swept.preempted)
        for delivery in swept.redeliveries:
            self.send_delivery(delivery)

    def report_ends(self, *, announced: str = "") -> None:
        """Report the ends of jobs that nobody has reported: in the log, in traces, and as Celery events.

        An end is taken from a list before it is reported, so each has one line, whichever process comes first: the one
        that has caused it, or the next sweep. A process that is killed between the two has taken the line with it.

        Args:
            announced: a job whose end the caller announces itself.
        """
        while True:
            try:
                ends = self.store.take_ends()
            except Unavailable:
                return  # the next sweep takes them
            for job_id, state in ends:
                report_end(self.store, job_id, state)
                if job_id != announced and state != "cancelled":
                    self.announce("task-expired" if state == "expired" else "task-failed", job_id, exception=state)
            if len(ends) < MAX_ENDS:
                return

    def cancel(self, job_id: str) -> tuple[Job, bool]:
        """Stop one job in any stage.

        The record is final when this returns. The revocation only makes a running worker check it.

        Returns:
            The job as it is now, and whether this call changed it.

        Raises:
            JobNotFound, Unavailable.
        """
        changed, slot = self.store.cancel(job_id)
        if changed and slot:
            self._revoke(job_id)
        elif changed:
            self.announce("task-revoked", job_id, terminated=False, signum=None, expired=False)
        if changed:
            self.report_ends()
        return self.store.get(job_id), changed

    def _revoke(self, job_id: str) -> None:
        try:
            self.celery.control.revoke(job_id, terminate=True, signal=STOP_SIGNAL.name)
        except AWAY as exc:
            # The run stops anyway: its next report finds the final record.
            logger.warning("revocation not sent", extra={"job_id": job_id, "error": repr(exc)})

    def pause(self, job_id: str) -> Job:
        """Set a job aside until it is resumed; a running one after its present step.

        Returns:
            The job as it is now.

        Raises:
            JobNotFound, Unavailable.
            Conflict: it cannot be paused.
        """
        if self.store.pause(job_id) is JobState.RUNNING:
            self.check_runs(job_id)
        return self.store.get(job_id)

    def interrupt(self, job_id: str, why: Interrupt) -> bool:
        """Ask the run of a job to give its slot back after its present step; see ``JobStore.interrupt``."""
        accepted = self.store.interrupt(job_id, why)
        if accepted:
            self.check_runs(job_id)
        return accepted

    def check_runs(self, *job_ids: str) -> None:
        """Have the runs of interrupted jobs learn of it before their present step ends."""
        try:
            self.celery.control.broadcast(CHECK_RUNS, arguments={"job_ids": list(job_ids)})
        except AWAY as exc:
            # They learn of it with their next report, one step later at most.
            logger.warning("runs not told of their interruption", extra={"jobs": job_ids, "error": repr(exc)})

    def cancel_all(self, caller: Caller, *, waiting: bool = False) -> list[str]:
        """Stop the caller's jobs (an admin's: all jobs) that are bound to a slot.

        A service of one slot stops the jobs of that slot only.

        Args:
            caller: who asks.
            waiting: also stop jobs that wait, are paused or are being delivered.

        Returns:
            The ids of the jobs that this call stopped.
        """
        service_slot = self.settings.web.service_slot
        ids = self.store.capacity(service_slot).active
        if waiting:
            ids += queries.ids_in_state(self.store, JobState.QUEUED, JobState.PAUSED, key_id=caller.scope)
        jobs = filter(None, (queries.find(self.store, job_id) for job_id in dict.fromkeys(ids)))
        selected = [
            job.job_id
            for job in jobs
            if caller.owns(job.key_id)
            and (not service_slot or service_slot in (job.slot, job.pin))
            and (waiting or job.state is not JobState.DELIVERING)
        ]
        return [job_id for job_id in selected if self.cancel(job_id)[1]]

    def delete(self, job_id: str) -> str:
        """Delete a job with its files; an unfinished job is stopped first.

        Returns:
            ``deleted``, ``held`` (it is deleted as soon as its worker has stopped) or ``gone`` (it was deleted before).

        Raises:
            JobNotFound, Unavailable.
        """
        outcome = self.store.purge(job_id)
        if outcome == "live":
            with suppress(JobNotFound):  # another request deletes it at the same time
                self.cancel(job_id)
            outcome = self.store.purge(job_id)
        return outcome

    def resend(self, job_id: str, caller: Caller) -> Submitted:
        """Submit a job that did not succeed again, as a new job. A final state never changes.

        Raises:
            JobNotFound, QueueFull, Unavailable.
            Conflict: the job has not finished, or it succeeded.
        """
        old = self.store.get(job_id)
        if not old.state.is_terminal or old.state is JobState.SUCCEEDED:
            raise Conflict(f"the job is {old.state}; only a failed, cancelled or expired one can be sent again")
        submitted = self.submit(Submission.again(old, caller), new_job_id(), chosen_by_client=False)
        self.store.bury(job_id)
        return submitted

    def announce(self, event: str, job_id: str, *, worker: str = "", **fields: Any) -> None:
        """Send a Celery event, for Flower, that no worker sends: the job was queued, or cancelled while it waited.

        ``worker`` names the worker that computed the job if the message of the present task does not.
        """
        if self._announcer.is_watched():
            hostname = self._worker(worker) or f"api@{self.settings.node}"
            # The name is included because this may be the first event of the job that a listener receives.
            self._announcer.send(hostname, event, uuid=job_id, **{"name": GENERATE, **fields})

    def _worker(self, known: str = "") -> str | None:
        """Return the worker that an event of this process belongs to: the one that computed the job, else this one."""
        task = self.celery.current_worker_task
        if task is None:
            return None
        return str(task.request.get(COMPUTED_BY) or known or task.request.hostname)
