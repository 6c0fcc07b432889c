"""Interrupting runs, and what is noted of their checkpoints: each call is one atomic script."""

from __future__ import annotations

from jobs.states import Interrupt
from jobs.store.measuring import runs
from jobs.store.scripts import Scripts

#: Longest warning that is kept.
MAX_WARNING_CHARS = 500


class CheckpointStore(Scripts):
    """Part of :class:`jobs.store.jobs.JobStore`."""

    def interrupt(self, job_id: str, why: Interrupt) -> bool:
        """Ask the run of a job to give its slot back after its present step.

        Returns:
            Whether it will stop for this reason. Not if the job does not run, if its run cannot be resumed, or if it
            stops already for a stronger reason (pause before drain before preempt).
        """
        return bool(self.script("interrupt_job", id=job_id, why=why.value))

    def hand_over(self, job_id: str, attempt: int, *, slot: str, pauses: bool = False) -> str:
        """End an interrupted run whose checkpoint is stored, or that has computed nothing. Frees the slot.

        The run does not count towards ``MAX_ATTEMPTS``. The job is paused if that was the reason, or with ``pauses``.

        Returns:
            The job's state now; '' for an unknown job.
        """
        state, stopped_ms = self.script(
            "interrupted_run", id=job_id, attempt=attempt, slot=slot, pauses=int(pauses)
        )
        runs.ended(self.measures, "interrupted" if state else "", stopped_ms)
        return str(state)

    def keep_checkpoint(self, job_id: str, attempt: int, *, step: int, age_s: float, node: str, key: str = "") -> bool:
        """Note that a checkpoint of a run is stored.

        Args:
            job_id, attempt: the run.
            step: its finished steps.
            age_s: time since the end of that step, seconds.
            node: the host that has the file.
            key: its name in the object store; '' when it is not there.

        Returns:
            Whether the attempt is current.
        """
        current = self.script(
            "keep_checkpoint", id=job_id, attempt=attempt, step=step, age_ms=int(age_s * 1000), node=node, key=key
        )
        return bool(current)

    def resume_run(self, job_id: str, attempt: int, step: int) -> None:
        """Note that a run goes on after this step, or begins anew (0) because no checkpoint fits."""
        self.script("resume_run", id=job_id, attempt=attempt, step=step)

    def warn_of_run(self, job_id: str, attempt: int, text: str) -> None:
        """Add a warning about a run to its job."""
        self.script("warn_of_run", id=job_id, attempt=attempt, text=text[:MAX_WARNING_CHARS])
