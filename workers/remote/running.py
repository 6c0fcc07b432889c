"""Run one attempt on a back end: submit, wait, fetch. A job that is stopped here is stopped there."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from jobs.errors import BackendFailed, RunCancelled, RunTimeout
from jobs.models.backends import Backend
from jobs.record import Job
from jobs.requests.generation import GenerationRequest
from jobs.settings import Settings
from workers.remote.base import (
    BackendAway,
    BackendBusy,
    HandBack,
    RemoteExecutor,
    RemoteFile,
    RemoteProgress,
    TaskGone,
)
from workers.remote.connecting import connect, namespace_of
from workers.remote.look import Look
from workers.remote.pictures import draw_preview
from workers.reporting.reporter import Reporter
from workers.spool import encoded_files

T = TypeVar("T")
#: Returns the content of the object-store keys that a request names.
ReadInputs = Callable[[GenerationRequest], Mapping[str, bytes]]

logger = logging.getLogger(__name__)

#: Pause between two looks at the progress of a job, and longest delay until a stop is noticed, seconds.
LOOK_S, STOP_CHECK_S = 0.4, 0.05
#: First pause before a busy server is asked again, seconds; each further one is twice as long, up to ``LOOK_S``.
FIRST_PAUSE_S = 0.02
#: Most steps that are believed.
MAX_STEPS = 1_000_000_000
#: How long a server may still report itself busy after it has finished a job, seconds.
BUSY_PATIENCE_S = 3.0


class RunTooLong(HandBack):
    """The run took longer than the ``run_timeout_s`` of its back end."""


def compute(
    job: Job, attempt: int, backend: Backend, reporter: Reporter, settings: Settings, read_inputs: ReadInputs
) -> float:  # fmt: skip
    """Have a back end compute an attempt. The outputs are in the spool afterwards.

    Returns:
        The duration, seconds.

    Raises:
        RunCancelled, RunTimeout: stopped here, and there.
        HandBack: the back end is away or busy.
        ExecutionError: the back end failed or refused the job.
    """
    begun = time.monotonic()
    run_id = hashlib.sha256(f"{job.job_id}.{attempt}".encode()).hexdigest()[:16]
    with (
        closing(connect(backend, namespace_of(settings, backend.name))) as executor,
        encoded_files.folder(settings, job.job_id, attempt) as folder,
    ):
        run = _Run(backend, executor, reporter)
        files = run.outputs(job.request, read_inputs(job.request), run_id, folder)
        try:
            encoded = [encoded_files.inspect(file.path, file.media_type) for file in files]
        except BackendFailed as exc:  # an incomplete file is not the job's fault
            raise HandBack(f"{backend.name}: {exc.message}", counted=True) from exc
        encoded_files.keep(settings, job.job_id, attempt, folder, encoded)
    return time.monotonic() - begun


class _Run:
    """One job on one back end."""

    def __init__(self, backend: Backend, executor: RemoteExecutor, reporter: Reporter) -> None:
        self._backend, self._executor, self._reporter = backend, executor, reporter
        self._deadline = time.monotonic() + (backend.run_timeout_s or math.inf)
        #: When the back end was first found away, and not found since; monotonic seconds.
        self._away_since: float | None = None

    def outputs(
        self, request: GenerationRequest, inputs: Mapping[str, bytes], run_id: str, folder: Path
    ) -> list[RemoteFile]:  # fmt: skip
        """Submit the job, wait for it, and fetch its outputs into ``folder``."""
        try:
            self._submit(request, inputs, run_id)
            self._reporter.stage("denoising")
            self._watch()
            return self._retry(lambda: self._executor.fetch(folder))
        except (RunCancelled, RunTimeout, RunTooLong):
            with suppress(BackendAway):
                self._executor.stop()
            raise

    def _submit(self, request: GenerationRequest, inputs: Mapping[str, bytes], run_id: str) -> None:
        deadline, pause_s = time.monotonic() + BUSY_PATIENCE_S, FIRST_PAUSE_S
        while True:
            try:
                return self._executor.submit(request, inputs, run_id)
            except BackendAway as exc:
                if not isinstance(exc, BackendBusy) or time.monotonic() > deadline:
                    raise HandBack(f"{self._backend.name} {exc}", counted=False) from exc
            self._sleep(pause_s)
            pause_s = min(2 * pause_s, LOOK_S)

    def _watch(self) -> None:
        """Wait until the job is done there, and report progress and previews meanwhile."""
        look: Look | None = None
        next_look_at = time.monotonic() + LOOK_S
        while True:
            if self._executor.wait(STOP_CHECK_S):
                progress = self._retry(self._executor.poll)
                if progress.done:
                    return
                self._report(progress)
            self._reporter.check()
            if time.monotonic() > self._deadline:
                limit = f"{self._backend.run_timeout_s:g} s"
                raise RunTooLong(f"{self._backend.name} took longer than {limit}", counted=True)
            if look is not None and look.is_over:
                self._note(look)
                look, next_look_at = None, time.monotonic() + LOOK_S
            elif look is None and self._executor.tells_progress and time.monotonic() >= next_look_at:
                look = Look(partial(self._executor.poll, preview=self._reporter.preview_due()))

    def _note(self, look: Look) -> None:
        """Report what a look has found. Raises: HandBack: the back end has been away for ``lost_after_s``."""
        try:
            progress = look.progress()
        except BackendAway as exc:
            self._away(exc)
        else:
            self._away_since = None
            self._report(progress)

    def _report(self, progress: RemoteProgress) -> None:
        if progress.preview:
            self._reporter.preview(progress.step or 0, partial(draw_preview, progress.preview))
        if progress.steps:
            self._reporter.expect(min(progress.steps, MAX_STEPS))
        if progress.step:
            self._reporter.step(min(progress.step, MAX_STEPS))

    def _retry(self, call: Callable[[], T]) -> T:
        """Repeat ``call`` while the back end is away. Raises: HandBack: it was away for ``lost_after_s``."""
        while True:
            try:
                result = call()
            except BackendAway as exc:
                self._away(exc)
            else:
                self._away_since = None
                return result
            self._sleep(LOOK_S)

    def _away(self, exc: BackendAway) -> None:
        """Note that the back end is away. Raises: HandBack: for ``lost_after_s``, or it has lost the job."""
        now = time.monotonic()
        self._away_since = now if self._away_since is None else self._away_since
        if isinstance(exc, TaskGone) or now > self._away_since + self._backend.lost_after_s:
            raise HandBack(f"{self._backend.name} {exc}", counted=True) from exc
        logger.warning("back end away during a run", extra={"backend": self._backend.name, "error": str(exc)})

    def _sleep(self, seconds: float) -> None:
        """Sleep. Raises: RunCancelled, RunTimeout: within ``STOP_CHECK_S`` after the job was stopped."""
        deadline = time.monotonic() + seconds
        self._reporter.check()
        while (left_s := deadline - time.monotonic()) > 0:
            time.sleep(min(STOP_CHECK_S, left_s))
            self._reporter.check()
