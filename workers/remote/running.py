"""One attempt on a back end: submit, watch, fetch. Stops there when the job is stopped here."""

from __future__ import annotations

import base64
import hashlib
import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from functools import partial
from typing import TypeVar

from jobs.errors import BackendFailed, JobCancelled, RunTimeout
from jobs.models.backends import Backend
from jobs.record import Job
from jobs.requests.generation import GenerationRequest
from jobs.settings import Settings
from workers.delivery import spooled_files
from workers.delivery.encode import images
from workers.gpu.report import Reporter
from workers.remote import BackendAway, BackendBusy, HandBack, RemoteExecutor, TaskGone, connect, namespace_of

T = TypeVar("T")
#: Content of the object-store keys that a request names.
Inputs = Callable[[GenerationRequest], Mapping[str, bytes]]


class TooLong(HandBack):
    """The run took longer than its back end may."""


logger = logging.getLogger(__name__)

#: Pause between two looks at a job, seconds, and how long a stop may take to be noticed.
POLL_S, STOP_CHECK_S = 0.4, 0.05
#: A server that has just finished a job may call itself busy for so long, seconds.
BUSY_PATIENCE_S = 3.0


def compute(job: Job, attempt: int, backend: Backend, reporter: Reporter, settings: Settings, inputs: Inputs) -> float:
    """Have a back end compute an attempt; its files are in the spool afterwards. Returns the seconds it took.

    Raises:
        JobCancelled, RunTimeout: stopped here, and there.
        HandBack: the back end is away or busy.
        ExecutionError: the back end failed or refused it.
    """
    begun = time.monotonic()
    deadline = begun + (backend.run_timeout_s or math.inf)
    run_id = hashlib.sha256(f"{job.job_id}.{attempt}".encode()).hexdigest()[:16]
    with (
        closing(connect(backend, namespace_of(settings, backend.name))) as executor,
        spooled_files.folder(settings, job.job_id, attempt) as folder,
    ):
        try:
            _submit(executor, backend, job.request, inputs(job.request), reporter, run_id)
            reporter.stage("denoising")
            _watch(executor, backend, reporter, deadline)
            fetched = _patiently(backend, reporter, lambda: executor.fetch(folder))
        except (JobCancelled, RunTimeout, TooLong):
            with suppress(BackendAway):
                executor.stop()
            raise
        try:
            files = [spooled_files.described(file.path, file.media_type) for file in fetched]
        except BackendFailed as exc:  # half a file; the job is not to blame
            raise HandBack(f"{backend.name}: {exc.message}", counted=True) from exc
        spooled_files.keep(settings, job.job_id, attempt, folder, files)
    return time.monotonic() - begun


def _submit(
    executor: RemoteExecutor, backend: Backend, request: GenerationRequest, inputs: Mapping[str, bytes],
    reporter: Reporter, run_id: str,
) -> None:  # fmt: skip
    deadline = time.monotonic() + BUSY_PATIENCE_S
    while True:
        try:
            return executor.submit(request, inputs, run_id)
        except BackendAway as exc:
            if not isinstance(exc, BackendBusy) or time.monotonic() > deadline:
                raise HandBack(f"{backend.name} {exc}", counted=False) from exc
        _sleep(reporter, POLL_S)


def _watch(executor: RemoteExecutor, backend: Backend, reporter: Reporter, deadline: float) -> None:
    while True:
        _sleep(reporter, POLL_S)
        poll = partial(executor.poll, preview=reporter.preview_due())
        progress = _patiently(backend, reporter, poll)
        if progress.done:
            return
        if time.monotonic() > deadline:
            raise TooLong(f"{backend.name} took longer than {backend.run_timeout_s:g} s", counted=True)
        if progress.preview:
            reporter.preview(progress.step or 0, partial(_draw, progress.preview))
        if progress.steps:
            reporter.expect(progress.steps)
        if progress.step:
            reporter.step(progress.step)


def _draw(picture: str) -> tuple[bytes, str]:
    """A back end's own preview (base64) as ours are. Runs in the reporter's thread."""
    return images.small_jpeg(base64.b64decode(picture.partition(",")[2] or picture)), "image/jpeg"


def _patiently(backend: Backend, reporter: Reporter, call: Callable[[], T]) -> T:
    """The answer of ``call``, tried again while the back end is away. Raises: HandBack: for too long."""
    deadline = time.monotonic() + backend.lost_after_s
    while True:
        try:
            return call()
        except BackendAway as exc:
            if isinstance(exc, TaskGone) or time.monotonic() > deadline:
                raise HandBack(f"{backend.name} {exc}", counted=True) from exc
            logger.warning("back end away during a run", extra={"backend": backend.name, "error": str(exc)})
        _sleep(reporter, POLL_S)


def _sleep(reporter: Reporter, seconds: float) -> None:
    """Let time pass. Raises: JobCancelled, RunTimeout: soon after the job was stopped."""
    deadline = time.monotonic() + seconds
    reporter.check()
    while (left_s := deadline - time.monotonic()) > 0:
        time.sleep(min(STOP_CHECK_S, left_s))
        reporter.check()
