"""What is written about a run and its delivery, by the workers: each call one atomic script."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from jobs.record import Job, Output
from jobs.slots.slot import Binding, bindings_of
from jobs.store import keys
from jobs.store.scripts import Scripts, flat


class Answer(IntEnum):
    """What a run is told when it reports a step."""

    STOP = 0
    GO_ON = 1
    #: Go on; somebody asks for previews at the moment.
    SHOW = 2


class RunCalls(Scripts):
    """The worker's side of a job; part of :class:`jobs.store.jobs.JobStore`."""

    def start(
        self, job_id: str, attempt: int, *, slot: str, owner: str, device: str, run: str,
        facts: Mapping[str, Any] | None = None,
    ) -> Job | None:  # fmt: skip
        """queued → running. None: this attempt may not run (cancelled, re-bound, delivered twice).

        ``run`` is unique to this execution: a repeat of the same call gets the job again. ``facts`` are as in
        :meth:`note`: a slot that was given up and taken again learns so what its process holds.
        """
        record = self.script(
            "start_run", id=job_id, attempt=attempt, slot=slot, owner=owner, device=device, run=run, facts=facts or {}
        )
        return Job.from_hash(job_id, dict(zip(record[::2], record[1::2], strict=True))) if record else None

    def progress(
        self, job_id: str, attempt: int, stage: str, step: int, steps: int, eta_s: float | None,
        stage_percent: int | None = None,
    ) -> Answer:  # fmt: skip
        """Note a step. ``STOP``: the attempt is over."""
        eta = "" if eta_s is None else f"{eta_s:.2f}"
        percent = "" if stage_percent is None else stage_percent
        return Answer(self.script(
            "report_progress", id=job_id, attempt=attempt, stage=stage, step=step, steps=steps, eta_s=eta,
            stage_percent=percent,
        ))  # fmt: skip

    def preview(self, job_id: str, attempt: int, step: int, content: bytes, media_type: str) -> bool:
        """Show a picture of a run after ``step`` steps, instead of the one before. False: the attempt is over."""
        return bool(self.script(
            "store_preview", id=job_id, attempt=attempt, step=step, media_type=media_type,
            content=base64.b64encode(content),
        ))

    def compute(
        self, job_id: str, attempt: int, *, slot: str, node: str, run_s: float, blocked: str = "",
        report: Mapping[str, Any] | None = None,
    ) -> tuple[bool, list[Binding]]:  # fmt: skip
        """running → delivering: the frames lie in the spool of ``node`` ('': nothing to deliver, → succeeded).

        Frees the slot in any case; it gets no new job while it is ``blocked`` (why, for people). ``report`` is what
        a command found.
        """
        found = json.dumps(report, separators=(",", ":")) if report else ""
        owned, bindings = self.script("compute", job_id, attempt, slot, node, f"{run_s:.4f}", blocked, found)
        return bool(owned), bindings_of(bindings)

    def complete(
        self, job_id: str, attempt: int, *, slot: str, run_s: float, outputs: list[Output], result: Mapping[str, Any]
    ) -> bool:
        """running → succeeded, with outputs that are stored already and further results.

        Frees the slot in any case. False: the attempt is over; these outputs will be removed.
        """
        listed = json.dumps([output.to_dict() for output in outputs], separators=(",", ":"))
        text = json.dumps(result, separators=(",", ":"), ensure_ascii=False)
        return bool(self.script("compute", job_id, attempt, slot, "", f"{run_s:.4f}", "", "", listed, text)[0])

    def note_progress(self, job_id: str, data: Mapping[str, Any], lasts_s: float) -> None:
        """Keep what a worker over HTTP says about its run, for those who look; it goes with the run."""
        text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
        self.call(lambda client: client.set(keys.PROGRESS + job_id, text, px=int(lasts_s * 1000)))

    def noted_progress(self, job_id: str) -> dict[str, Any]:
        """What was noted last; empty before the first time."""
        text = self.call(lambda client: client.get(keys.PROGRESS + job_id))
        return json.loads(str(text)) if text else {}

    def release(self, job_id: str, attempt: int, *, slot: str) -> list[Binding]:
        """The slot has stopped working on an attempt that is over."""
        return bindings_of(self.script("release", job_id, attempt, slot))

    def fail(self, job_id: str, attempt: int, *, code: str, message: str, slot: str = "") -> tuple[bool, list[Binding]]:
        """running or delivering → failed. Frees the slot in any case."""
        owned, bindings = self.script("fail", job_id, attempt, slot, code, message[:2000])
        return bool(owned), bindings_of(bindings)

    def lose(self, job_id: str, attempt: int) -> tuple[str, list[Binding]]:
        """The process of this attempt died: back to the queue, or failed after ``MAX_ATTEMPTS`` runs.

        Returns:
            The state the job is in now, and bindings.
        """
        state, bindings = self.script("lose", job_id, attempt)
        return str(state), bindings_of(bindings)

    def hand_back(self, job_id: str, attempt: int, *, slot: str, counted: bool, why: str) -> tuple[str, list[Binding]]:
        """The slot's back end could not do this attempt: back to the queue; the slot gets nothing until it is well.

        Args:
            job_id, attempt, slot: what was to be done where.
            counted: whether it was a run that counts towards ``MAX_ATTEMPTS``.
            why: shown with the slot, and with the job if it fails in the end.

        Returns:
            The state the job is in now, and bindings.
        """
        state, bindings = self.script("hand_back", job_id, attempt, slot, int(counted), why[:500])
        return str(state), bindings_of(bindings)

    # ---- delivery

    def claim(self, job_id: str, attempt: int, owner: str) -> int:
        """Begin or renew a delivery: its number, from 1; 0 when it is not to be made (now).

        Another one holds it, the job is over, or the object store is away and another delivery tries it.
        """
        return int(self.script("claim", job_id, attempt, owner))

    def defer(self, job_id: str, attempt: int, owner: str, wait_s: float, *, away: bool) -> int:
        """Give a delivery up for now; the sweep sends it again after ``wait_s``.

        ``away``: the object store does not answer. Until it does, only one delivery of the host tries it at a time.

        Returns:
            How many deliveries of this attempt have failed for another reason.
        """
        return int(self.script("defer", job_id, attempt, owner, int(wait_s * 1000), int(away)))

    def deliver(self, job_id: str, attempt: int, owner: str, outputs: list[Output]) -> bool:
        """delivering → succeeded. False: stale; the outputs are not published and should be removed."""
        listed = json.dumps([output.to_dict() for output in outputs], separators=(",", ":"))
        return bool(self.script("deliver", job_id, attempt, owner, listed))

    def recompute(self, job_id: str, attempt: int) -> list[Binding]:
        """delivering → queued (or failed): the frames are gone."""
        return bindings_of(self.script("recompute", job_id, attempt)[1])
