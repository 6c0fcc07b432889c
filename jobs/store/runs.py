"""What workers write about runs and deliveries: each call is one atomic script."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from jobs.record import Job, Output
from jobs.store import keys
from jobs.store.measuring import families, runs
from jobs.store.scripts import Scripts

#: Longest error message and longest reason that are kept.
MAX_MESSAGE_CHARS = 2000
MAX_REASON_CHARS = 500
#: How many ends of jobs are taken at a time.
MAX_ENDS = 100


class StepReply(IntEnum):
    """Whether a run goes on after the step that it reported."""

    STOP = 0
    GO_ON = 1
    #: Go on and draw previews: somebody asks for them at the moment.
    SHOW = 2
    #: Stop after the present step: store a checkpoint and give the slot back.
    INTERRUPT = 3


class RunStore(Scripts):
    """The worker's side of a job; part of :class:`jobs.store.jobs.JobStore`."""

    def start(
        self, job_id: str, attempt: int, *, slot: str, owner: str, device: str, run: str,
        facts: Mapping[str, Any] | None = None,
    ) -> Job | None:  # fmt: skip
        """queued → running.

        Args:
            job_id, attempt, slot: the binding.
            owner: who holds the slot.
            device: where the run computes, for people.
            run: unique to this execution: a repeated call with the same value gets the job again.
            facts: of the slot, as in :meth:`~jobs.store.slots.SlotStore.set_facts`. A slot that was given up and
                registered again has lost them.

        Returns:
            The job; None when this attempt may not run (it was cancelled or bound again, or its message came twice).
        """
        record = self.script(
            "start_run", id=job_id, attempt=attempt, slot=slot, owner=owner, device=device, run=run, facts=facts or {}
        )
        if not record:
            return None
        job = Job.from_hash(job_id, json.loads(record))
        runs.started(self.measures, job)
        return job

    def join(self, job_id: str, attempt: int, *, slot: str, most: int) -> list[Job]:
        """Let waiting jobs that differ in texts and seed only share the run of a slot's job, before it computes.

        Args:
            job_id, attempt, slot: the binding of a running job.
            most: number of jobs that may share the run, with this one.

        Returns:
            The other jobs, which are running now. Each ends by itself (:meth:`finish_run`, :meth:`fail`,
            :meth:`release`), before this one does.
        """
        reply = self.script("join_run", id=job_id, attempt=attempt, slot=slot, most=most)
        jobs = [Job.from_hash(other, json.loads(record)) for other, record in zip(reply[::2], reply[1::2], strict=True)]
        for job in jobs:
            runs.started(self.measures, job)
            self.measures.count(families.SHARED, job.request.model)
        return jobs

    def split(self, job_id: str, attempt: int, *, slot: str) -> None:
        """Put the jobs that share a run back into the queue; the run goes on without them."""
        self.script("split_batch", id=job_id, attempt=attempt, slot=slot)

    def progress(
        self, job_id: str, attempt: int, stage: str, step: int, steps: int, eta_s: float | None,
        stage_percent: int | None = None, *, resumable: bool = False, not_resumable: str = "",
    ) -> StepReply:  # fmt: skip
        """Write the progress of a run. ``STOP``: the attempt is over.

        ``resumable``: the run can be interrupted now and go on later; ``not_resumable``: why it cannot, if it is known.
        """
        reply = self.script(
            "report_progress", id=job_id, attempt=attempt, stage=stage, step=step, steps=steps,
            eta_s="" if eta_s is None else f"{eta_s:.2f}", stage_percent="" if stage_percent is None else stage_percent,
            resumable="1" if resumable else "", not_resumable=not_resumable[:MAX_REASON_CHARS],
        )  # fmt: skip
        return StepReply(reply)

    def preview(self, job_id: str, attempt: int, step: int, content: bytes, media_type: str) -> bool:
        """Replace the preview of a run by a picture after ``step`` steps. False: the attempt is over."""
        stored = self.script(
            "store_preview", id=job_id, attempt=attempt, step=step, media_type=media_type,
            content=base64.b64encode(content),
        )  # fmt: skip
        return bool(stored)

    def finish_run(
        self, job_id: str, attempt: int, *, slot: str, node: str, run_s: float, blocked: str = "",
        report: Mapping[str, Any] | None = None,
    ) -> bool:  # fmt: skip
        """running → delivering, or → succeeded when nothing is to be delivered. Frees the slot in any case.

        Args:
            job_id, attempt, slot: the binding.
            node: the host whose spool holds the frames; '' when nothing is to be delivered.
            run_s: duration of the run without loading the model, seconds.
            blocked: why the slot takes no new job for now; ''.
            report: the result of a model command.

        Returns:
            Whether the attempt was current.
        """
        return self._finish_run(
            job_id, attempt, slot=slot, node=node, run_s=run_s, blocked=blocked, report=_json(report) if report else ""
        )

    def complete(
        self, job_id: str, attempt: int, *, slot: str, run_s: float, outputs: list[Output], result: Mapping[str, Any]
    ) -> bool:
        """running → succeeded with outputs that are stored already and further results. Frees the slot in any case.

        Returns:
            Whether the attempt was current; the outputs of any other attempt are removed.
        """
        return self._finish_run(
            job_id, attempt, slot=slot, run_s=run_s, outputs=_listed(outputs), result=_json(result)
        )

    def _finish_run(
        self, job_id: str, attempt: int, *, slot: str, run_s: float, node: str = "", blocked: str = "",
        report: str = "", outputs: str = "", result: str = "",
    ) -> bool:  # fmt: skip
        current, model, eta_error_s, stopped_ms = self.script(
            "finish_run", id=job_id, attempt=attempt, slot=slot, node=node, run_s=f"{run_s:.4f}", blocked=blocked,
            report=report, outputs=outputs, result=result,
        )  # fmt: skip
        if model:
            self.measures.observe(families.RUN, model, seconds=run_s)
        if eta_error_s:
            self.measures.observe(families.ETA_ERROR, model, seconds=float(eta_error_s))
        runs.ended(self.measures, "computed" if model else "", stopped_ms)
        return bool(current)

    def keep_worker_progress(self, job_id: str, data: Mapping[str, Any], lasts_s: float) -> None:
        """Keep what a worker over HTTP reported last about its run, until the run ends or ``lasts_s`` have passed."""
        self.call(lambda client: client.set(keys.PROGRESS + job_id, _json(data), px=int(lasts_s * 1000)))

    def worker_progress(self, job_id: str) -> dict[str, Any]:
        """What :meth:`keep_worker_progress` kept last; empty when there is nothing."""
        text = self.call(lambda client: client.get(keys.PROGRESS + job_id))
        return worker_progress_from(str(text or ""))

    def release(self, job_id: str, attempt: int, *, slot: str) -> None:
        """Free a slot that has stopped working on an attempt that is over."""
        runs.ended(self.measures, "", self.script("release_slot", id=job_id, attempt=attempt, slot=slot))

    def fail(
        self, job_id: str, attempt: int, *, code: str, message: str, slot: str = "", cause: str = ""
    ) -> bool:  # fmt: skip
        """running or delivering → failed. Frees the slot in any case.

        Args:
            job_id, attempt: the binding.
            code, message: the error; every caller may read it.
            slot: the slot that it ran on; '' for a delivery.
            cause: what a library said about it; only admins are shown it.

        Returns:
            Whether the attempt was current.
        """
        current, stopped_ms = self.script(
            "fail_run", id=job_id, attempt=attempt, slot=slot, code=code, message=message[:MAX_MESSAGE_CHARS],
            cause=cause[:MAX_MESSAGE_CHARS],
        )  # fmt: skip
        runs.ended(self.measures, "failed" if current and slot else "", stopped_ms)
        return bool(current)

    def lose(self, job_id: str, attempt: int) -> str:
        """The process of this attempt died: back to the queue, or failed after ``MAX_ATTEMPTS`` runs.

        Returns:
            The job's state now; '' for an unknown job.
        """
        state, stopped_ms = self.script("lose_run", id=job_id, attempt=attempt)
        runs.ended(self.measures, "", stopped_ms)
        return str(state)

    def hand_back(self, job_id: str, attempt: int, *, slot: str, counted: bool, why: str) -> str:
        """The slot's back end cannot run this attempt: back to the queue; the slot is blocked until it is well.

        Args:
            job_id, attempt, slot: the binding.
            counted: whether this run counts towards ``MAX_ATTEMPTS``.
            why: shown with the slot, and with the job if it fails in the end.

        Returns:
            The job's state now; '' if it was over before, or is unknown.
        """
        state = self.script(
            "hand_back", id=job_id, attempt=attempt, slot=slot, counted=int(counted), why=why[:MAX_REASON_CHARS]
        )
        runs.ended(self.measures, "handed_back" if state in ("queued", "failed") else "")
        return str(state)

    # ---- delivery

    def claim(self, job_id: str, attempt: int, owner: str) -> int:
        """Begin or renew a delivery.

        Returns:
            The number of this delivery, from 1; 0 when it must not be made now: another process makes it, the job is
            over, or the object store is away and another delivery of this host tries it.
        """
        return int(self.script("claim_delivery", id=job_id, attempt=attempt, owner=owner))

    def defer(self, job_id: str, attempt: int, owner: str, wait_s: float, *, away: bool, why: str = "") -> int:
        """Give a delivery up for now; the sweep sends it again after ``wait_s``.

        Args:
            job_id, attempt: the job.
            owner: who claimed the delivery.
            wait_s: pause before the next attempt, seconds.
            away: the object store does not answer. Until it does, one delivery of the host tries it at a time.
            why: what the delivery waits for; callers are shown it.

        Returns:
            How many deliveries of this attempt failed for another reason.
        """
        failures = self.script(
            "defer_delivery", id=job_id, attempt=attempt, owner=owner, wait_ms=int(wait_s * 1000), away=int(away),
            why=why[:MAX_REASON_CHARS],
        )
        return int(failures)

    def deliver(self, job_id: str, attempt: int, owner: str, outputs: list[Output]) -> bool:
        """delivering → succeeded. False: the delivery is not current; its outputs are removed."""
        published, model, took_ms = self.script(
            "finish_delivery", id=job_id, attempt=attempt, owner=owner, outputs=_listed(outputs)
        )
        if model:
            self.measures.observe(families.DELIVERY, model, seconds=took_ms / 1000)
        return bool(published)

    def take_ends(self) -> list[tuple[str, str]]:
        """Take the ends of jobs that no process has reported yet, some at a time: the caller reports them.

        Returns:
            Ids and final states, in their order. A record may have been deleted since.
        """
        ends = self.call(lambda client: client.rpop(keys.ENDS, MAX_ENDS)) or []
        return [(job_id, state) for job_id, state in map(str.split, ends)]

    def recompute(self, job_id: str, attempt: int) -> None:
        """delivering → queued, or → failed after ``MAX_ATTEMPTS`` runs: the frames are gone."""
        self.script("recompute_run", id=job_id, attempt=attempt)


def worker_progress_from(text: str) -> dict[str, Any]:
    """Read what :meth:`RunStore.keep_worker_progress` has written; '' is nothing."""
    return json.loads(text) if text else {}


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _listed(outputs: list[Output]) -> str:
    return json.dumps([output.to_dict() for output in outputs], separators=(",", ":"))
