"""One attempt on a back end: submit, watch, fetch. Stops there when the job is stopped here."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from jobs.backends import Backend
from jobs.errors import FramemillError, JobCancelled, RunTimeout
from jobs.requests import GenerationRequest
from jobs.settings import Settings
from workers.executors.remote import BackendAway, BackendBusy, Progress, RemoteExecutor, RemoteFile
from workers.report import Reporter

logger = logging.getLogger(__name__)

#: Pause between two looks at a job, seconds, and how long a stop may take to be noticed.
POLL_S, STOP_CHECK_S = 0.4, 0.05
#: A server that has just finished a job may call itself busy for so long, seconds.
BUSY_PATIENCE_S = 3.0


class LostRun(FramemillError):
    """A run that the back end had begun and that is out of reach now; it counts as one that was lost."""

    code = "backend_lost"


def namespace_of(settings: Settings, slot: str) -> str:
    """How ids of this slot's runs begin on the back end: the same after a restart, another for every installation."""
    own = f"{settings.store_url}|{settings.node}|{slot}"
    return "fm" + hashlib.sha256(own.encode()).hexdigest()[:8]


def run(
    executor: RemoteExecutor, backend: Backend, request: GenerationRequest, inputs: Mapping[str, bytes],
    reporter: Reporter, *, run_id: str, folder: Path,
) -> list[RemoteFile]:  # fmt: skip
    """Compute one request on a back end.

    Args:
        executor, backend: where.
        request, inputs: what, and the content of the keys it names.
        reporter: told of steps; says when to stop.
        run_id: unique to this attempt.
        folder: where the fetched files go.

    Raises:
        JobCancelled, RunTimeout: stopped here, and there.
        BackendAway: it never began; the attempt need not count.
        LostRun: it began, and the back end is out of reach since ``lost_after_s``.
        ExecutionError: the back end failed or refused it.
    """
    reporter.stage("starting")
    try:
        _submit(executor, request, inputs, reporter, run_id)
        reporter.stage("denoising")
        _watch(executor, backend, reporter)
        return _patiently(backend, reporter, lambda: executor.fetch(folder))
    except (JobCancelled, RunTimeout):
        with suppress(FramemillError):
            executor.stop()
        raise


def _submit(
    executor: RemoteExecutor, request: GenerationRequest, inputs: Mapping[str, bytes], reporter: Reporter, run_id: str
) -> None:  # fmt: skip
    deadline = time.monotonic() + BUSY_PATIENCE_S
    while True:
        try:
            return executor.submit(request, inputs, run_id)
        except BackendBusy:
            if time.monotonic() > deadline:
                raise
        _sleep(reporter, POLL_S)


def _watch(executor: RemoteExecutor, backend: Backend, reporter: Reporter) -> None:
    while True:
        _sleep(reporter, POLL_S)
        progress: Progress = _patiently(backend, reporter, executor.poll)
        if progress.done:
            return
        if progress.steps:
            reporter.expect(progress.steps)
        if progress.step:
            reporter.step(progress.step)


def _patiently(backend: Backend, reporter: Reporter, call):  # type: ignore[no-untyped-def]
    """The answer of ``call``, tried again while the back end is away. Raises: LostRun."""
    deadline = time.monotonic() + backend.lost_after_s
    while True:
        try:
            return call()
        except BackendAway as exc:
            if time.monotonic() > deadline:
                raise LostRun(f"{backend.name} {exc.message}") from exc
            logger.warning("back end away during a run", extra={"backend": backend.name, "error": exc.message})
        _sleep(reporter, POLL_S)


def _sleep(reporter: Reporter, seconds: float) -> None:
    """Let time pass. Raises: JobCancelled, RunTimeout: soon after the job was stopped."""
    deadline = time.monotonic() + seconds
    reporter.check()
    while (left_s := deadline - time.monotonic()) > 0:
        time.sleep(min(STOP_CHECK_S, left_s))
        reporter.check()
