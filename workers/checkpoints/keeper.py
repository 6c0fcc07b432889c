"""Where a run gets checkpoints from and where it leaves them: files of this host, and the object store."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from jobs.errors import FramemillError, RunInterrupted, Unavailable
from jobs.files import checkpoint_objects, checkpoints
from jobs.files.checkpoints import CheckpointFile
from jobs.objects.base import ObjectStore
from jobs.record import Job
from jobs.store.jobs import JobStore
from workers.checkpoints.contract import Snapshot
from workers.reporting.reporter import Reporter

logger = logging.getLogger(__name__)

#: Largest share of a run's time in which checkpoints are being stored: after one that took long, the next comes later.
WRITING_SHARE = 0.1
#: A run is worth checkpoints if it is expected to take this many intervals.
LEAST_INTERVALS = 2


def warn_of_missed_pause(job: Job, reporter: Reporter) -> None:
    """Add a warning to a job whose run has ended before the step at which it was to be paused."""
    if job.pause_at_step and not job.is_past_pause and reporter.is_resumable:
        reporter.warn(f"not paused at step {job.pause_at_step}: the run had fewer steps")


class RunKeeper:
    """The checkpoints of one attempt; see :class:`~workers.checkpoints.contract.Keeper`.

    Args:
        store: the job store.
        job: the job, as its run began.
        attempt: its attempt number.
        reporter: of the attempt.
        interval_s: seconds between two checkpoints; 0: only when the run is interrupted.
        open_objects: returns the object store; called if checkpoints go there.
    """

    def __init__(
        self, store: JobStore, job: Job, attempt: int, reporter: Reporter, interval_s: float,
        open_objects: Callable[[], ObjectStore],
    ) -> None:  # fmt: skip
        self._store, self._job, self._attempt, self._reporter = store, job, attempt, reporter
        self._settings, self._interval_s = store.settings, interval_s
        self._objects = open_objects() if store.settings.checkpoints.store == "objects" else None
        self._began = time.monotonic()
        self._next_at = self._began + interval_s if interval_s else math.inf
        self._writing: threading.Thread | None = None
        self._is_unable = self._has_failed = False
        self._has_begun = False
        #: The step after which the job is to be paused; 0: none, or it was paused there before.
        self._pause_at = 0 if job.is_past_pause else job.pause_at_step or 0
        self._pauses = False
        reporter.can_resume()

    @property
    def wants_draft(self) -> bool:
        return self._pauses and self._reporter.may_show

    @property
    def max_bytes(self) -> int:
        return self._settings.checkpoints.max_bytes

    def candidates(self) -> Iterator[Path]:
        """Yield the files to go on from, latest step first; after the last one, the run begins anew."""
        if self._attempt > 1:
            yield from self._files()
        if self._job.checkpoint and not self._has_begun:
            self._begin_at(0)

    def _files(self) -> Iterator[Path]:
        here = checkpoints.found(self._settings, self._job.job_id)
        elsewhere = self._listed(besides=here)
        if not here and not elsewhere and (checkpoint := self._job.checkpoint):
            self._warn(f"the run began anew: its checkpoint is on the host {checkpoint['node']}")
        for file in sorted([*here, *elsewhere], key=lambda file: file.step, reverse=True):
            if file in here or self._fetched(file):
                yield file.path(self._settings)

    def _listed(self, besides: list[CheckpointFile]) -> list[CheckpointFile]:
        """Return those of the object store that are not on this host."""
        try:
            listed = checkpoint_objects.listed(self._objects, self._job.job_id) if self._objects else []
        except FramemillError as exc:
            if besides:
                logger.warning("checkpoints not listed: %s", exc.message, extra=self._about)
            else:
                self.refused(exc.message)
            return []
        return [file for file in listed if file not in besides]

    def _fetched(self, file: CheckpointFile) -> bool:
        assert self._objects is not None
        try:
            checkpoint_objects.fetch(self._settings, self._objects, file)
        except (OSError, FramemillError) as exc:
            self.refused(exc.message if isinstance(exc, FramemillError) else str(exc))
            return False
        return True

    def resumed(self, step: int) -> None:
        logger.info("run resumed", extra={**self._about, "step": step})
        self._begin_at(step)

    def _begin_at(self, step: int) -> None:
        self._has_begun = True
        self._reporter.resume(step)
        try:
            self._store.resume_run(self._job.job_id, self._attempt, step)
        except Unavailable as exc:  # shown only
            logger.warning("not noted where the run goes on: %s", exc.message, extra=self._about)

    def refused(self, why: str) -> None:
        self._has_begun = False
        self._warn(f"a checkpoint could not be used: {why}")

    def _warn(self, text: str) -> None:
        logger.warning(text, extra=self._about)
        try:
            self._store.warn_of_run(self._job.job_id, self._attempt, text)
        except Unavailable as exc:
            logger.warning("a warning was not noted: %s", exc.message, extra=self._about)

    def unable(self, why: str) -> None:
        logger.info("run without checkpoints", extra={**self._about, "why": why})
        self._is_unable = True
        self._reporter.cannot_resume(why)
        if self._job.checkpoint and not self._has_begun:
            self._begin_at(0)
        if self._pause_at:
            self._reporter.warn(f"not paused at step {self._pause_at}: {why}")

    def is_due(self, step: int) -> bool:
        if self._is_unable:
            return False
        self._pauses = 0 < self._pause_at <= step
        if self._stops:
            return True
        now = time.monotonic()
        if now < self._next_at or (self._writing is not None and self._writing.is_alive()):
            return False
        expected_s = now - self._began + (self._reporter.eta_s or 0)
        return expected_s >= LEAST_INTERVALS * self._interval_s

    @property
    def _stops(self) -> bool:
        """Whether the run is to end after its present step."""
        return self._pauses or self._reporter.interrupted

    def keep(self, snapshot: Snapshot) -> None:
        taken_at = time.monotonic()
        self._next_at = taken_at + self._interval_s if self._interval_s else math.inf
        if not self._stops:
            self._writing = threading.Thread(
                target=self._write, args=(snapshot, taken_at), name="checkpoint", daemon=True
            )
            self._writing.start()
            return
        if self._writing is not None:
            self._writing.join()
        if self._write(snapshot, taken_at):
            raise RunInterrupted(snapshot.step, pauses=self._pauses)
        self.unable("its checkpoint could not be stored")

    def _write(self, snapshot: Snapshot, taken_at: float) -> bool:
        """Store a checkpoint. Returns whether it is stored; a failure does not end the run."""
        file = CheckpointFile(self._job.job_id, self._attempt, snapshot.step)
        try:
            checkpoints.write(self._settings, file, snapshot.write)
            key = self._uploaded(file)
            is_current = self._note(file, key, taken_at)
        except Exception as exc:
            self._note_failure(exc)
            return False
        self._remove_needless(file, is_current=is_current)
        took_s = time.monotonic() - taken_at
        logger.debug("checkpoint stored", extra={**self._about, "step": file.step, "took_s": round(took_s, 3)})
        self._next_at = max(self._next_at, taken_at + took_s / WRITING_SHARE if self._interval_s else math.inf)
        return is_current

    def _remove_needless(self, newest: CheckpointFile, *, is_current: bool) -> None:
        """Remove older checkpoints than the newest one, or that one if the run was over before it was stored."""
        try:
            if is_current:
                checkpoints.remove_older(self._settings, newest)
                if self._objects is not None:
                    checkpoint_objects.remove_older(self._objects, newest)
            else:
                checkpoints.remove_file(self._settings, newest)
                if self._objects is not None:
                    self._objects.delete(newest.key)
        except (OSError, FramemillError) as exc:  # they are removed with the job
            logger.info("older checkpoints not removed: %s", exc, extra=self._about)

    def _uploaded(self, file: CheckpointFile) -> str:
        """Store a checkpoint in the object store, too. Returns its key there; '' if it is on this host only."""
        if self._objects is None:
            return ""
        try:
            self._objects.put_file(file.key, file.path(self._settings), checkpoint_objects.MEDIA_TYPE)
        except FramemillError as exc:  # the file of this host is better than none
            self._note_failure(exc)
            return ""
        return file.key

    def _note(self, file: CheckpointFile, key: str, taken_at: float) -> bool:
        def note() -> bool:
            age_s = time.monotonic() - taken_at
            return self._store.keep_checkpoint(
                file.job_id, file.attempt, step=file.step, age_s=age_s, node=self._settings.node, key=key
            )

        return self._store.until_written(note, check=self._reporter.check) if self._stops else note()

    def _note_failure(self, exc: Exception) -> None:
        why = exc.message if isinstance(exc, FramemillError) else str(exc)
        if not self._has_failed:
            logger.warning("a checkpoint could not be stored: %s", why, extra=self._about)
        self._has_failed = True

    @property
    def _about(self) -> dict[str, object]:
        return {"job_id": self._job.job_id, "attempt": self._attempt}
