"""Where a run gets checkpoints from and where it leaves them: files of this host."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

from jobs.errors import RunInterrupted, Unavailable
from jobs.files import checkpoints
from jobs.record import Job
from jobs.store.jobs import JobStore
from workers.checkpoints.contract import Snapshot
from workers.reporting.reporter import Reporter

logger = logging.getLogger(__name__)


class RunKeeper:
    """The checkpoints of one attempt; see :class:`~workers.checkpoints.contract.Keeper`.

    Args:
        store: the job store.
        job: the job, as its run began.
        attempt: its attempt number.
        reporter: of the attempt.
    """

    def __init__(self, store: JobStore, job: Job, attempt: int, reporter: Reporter) -> None:
        self._store, self._job, self._attempt, self._reporter = store, job, attempt, reporter
        self._has_resumed = False
        reporter.can_resume()

    @property
    def wants_draft(self) -> bool:
        return False

    def candidates(self) -> Iterator[Path]:
        yield from checkpoints.found(self._store.settings, self._job.job_id)
        if not self._has_resumed and self._job.step:
            self._begin_at(0)

    def resumed(self, step: int) -> None:
        self._has_resumed = True
        self._begin_at(step)

    def refused(self, why: str) -> None:
        text = f"a checkpoint could not be used: {why}"
        logger.warning(text, extra={"job_id": self._job.job_id, "attempt": self._attempt})
        self._store.until_written(lambda: self._store.warn_of_run(self._job.job_id, self._attempt, text))

    def unable(self, why: str) -> None:
        self._reporter.cannot_resume(why)

    def is_due(self, step: int) -> bool:
        return self._reporter.interrupted

    def keep(self, snapshot: Snapshot) -> None:
        begun, job_id = time.monotonic(), self._job.job_id
        checkpoints.write(self._store.settings, job_id, self._attempt, snapshot.step, snapshot.write)
        self._store.until_written(
            lambda: self._store.keep_checkpoint(
                job_id, self._attempt, step=snapshot.step, age_s=time.monotonic() - begun,
                node=self._store.settings.node,
            )
        )  # fmt: skip
        if self._reporter.interrupted:
            raise RunInterrupted(snapshot.step)

    def _begin_at(self, step: int) -> None:
        self._reporter.resume(step)
        try:
            self._store.resume_run(self._job.job_id, self._attempt, step)
        except Unavailable:
            logger.warning("not noted where the run goes on", extra={"job_id": self._job.job_id, "step": step})
