"""One attempt of one job in the GPU child: start, load, compute, spool; every way it can end."""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import re
import secrets
import time
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from jobs import spool
from jobs.errors import ExecutionError, FramemillError, JobCancelled, OutOfMemory, Unavailable
from jobs.models import ModelRegistry
from jobs.moderation import hides_outputs
from jobs.objects import ObjectStore, open_store
from jobs.record import Job
from jobs.requests import GenerationRequest
from jobs.slots import device_label
from tasks.celery_app import OWNER_VARIABLE, SLOT_VARIABLE, backends, settings, store
from workers.executors.remote import HandBack
from workers.inputs import read_input
from workers.report import Reporter

logger = logging.getLogger(__name__)


#: File names that a library's message may hold.
_PATH = re.compile(r"(/[^\s/'\"]+){2,}")


@dataclass
class Outcome:
    """How an attempt ended."""

    ended: str
    #: Frames wait for their delivery.
    computed: bool = False
    #: Nothing had to be delivered, the job is over.
    succeeded: bool = False
    failure: str = ""


@cache
def _models() -> ModelRegistry:
    return ModelRegistry.from_file(settings().models_file)


@cache
def _objects() -> ObjectStore:
    return open_store(settings())


@cache
def _pipelines() -> Any:
    from workers.pipelines import PipelineCache  # imports torch

    return PipelineCache(settings())


def run(job_id: str, attempt: int) -> Outcome:
    """Compute an attempt. Never raises for what a job can do wrong; always gives the slot back."""
    slot, owner = os.environ[SLOT_VARIABLE], os.environ[OWNER_VARIABLE]
    run_token = f"{os.getpid()}:{secrets.token_hex(4)}"
    records = store()
    job = records.until_written(
        lambda: records.start(job_id, attempt, slot=slot, owner=owner, device=device_label(slot), run=run_token)
    )
    if job is None:
        return Outcome("refused")
    begun = time.monotonic()
    try:
        with Reporter(
            records,
            job_id,
            attempt,
            job.request.steps,
            max_run_s=job.max_run_s,
            preview=job.preview,
            hidden=hides_outputs(settings(), moderate=job.moderate),
        ) as reporter:
            run_s, node = _compute(job, attempt, slot, owner, reporter)
    except JobCancelled:
        records.until_written(lambda: records.release(job_id, attempt, slot=slot))
        ended = Outcome("cancelled")
    except HandBack as exc:
        back = partial(records.hand_back, job_id, attempt, slot=slot, counted=exc.counted, why=str(exc))
        state, _ = records.until_written(back)
        ended = Outcome("handed back", failure=f"worker_lost: {exc}" if state == "failed" else "")
    except Exception as exc:
        ended = _failed(job_id, attempt, slot, exc)
    else:
        blocked = spool.full(settings()) if node else ""
        owned, _ = records.until_written(
            lambda: records.compute(job_id, attempt, slot=slot, node=node, run_s=run_s, blocked=blocked)
        )
        ended = Outcome("computed" if owned else "stale", computed=owned and bool(node), succeeded=owned and not node)
    logger.info(
        "run ended",
        extra={
            "job_id": job_id, "attempt": attempt, "ended": ended.ended, "model": job.request.model,
            "kind": job.request.kind, "steps": job.request.steps, "run_s": round(time.monotonic() - begun, 3),
            "error": ended.failure or "-",
        },
    )  # fmt: skip
    return ended


def _compute(job: Job, attempt: int, slot: str, owner: str, reporter: Reporter) -> tuple[float, str]:
    """Load, denoise, decode, spool.

    Returns:
        Seconds without loading, and the host whose spool holds the frames ('' when there are none).
    """
    if backend := backends().get(slot):
        remote = importlib.import_module("workers.executors.remote.running")
        return remote.compute(job, attempt, backend, reporter, settings(), _inputs), settings().node
    spec = _models().get(job.request.model)
    if spec.executor == "noop":
        begun = time.monotonic()
        importlib.import_module("workers.executors.noop").run(job.request, reporter)
        return time.monotonic() - begun, ""
    from workers.executors import diffusers as executor
    from workers.preview import Previews
    from workers.spool import write

    cache_ = _pipelines()
    reporter.stage("loading")
    loads = cache_.loads
    pipeline = cache_.get(spec, job.request.kind)
    if cache_.loads != loads:
        facts = {"loads": cache_.loads, "resident": ",".join(cache_.resident), "device_name": cache_.device_name}
        with contextlib.suppress(Unavailable):  # only for show; the run goes on without Redis
            store().heartbeat(slot, owner, facts)
    begun = time.monotonic()
    objects = _objects() if job.request.image else None
    previews = Previews(pipeline, job.request, reporter, spec.preview_decoder or None)
    frames = executor.run(pipeline, job.request, reporter, objects, spec.arguments, previews)
    reporter.check()
    write(settings(), job.job_id, attempt, frames, reporter.check)
    return time.monotonic() - begun, settings().node


def _inputs(request: GenerationRequest) -> dict[str, bytes]:
    """The content of the request's input files by their keys."""
    return {key: read_input(_objects(), key) for key in request.inputs}


def _failed(job_id: str, attempt: int, slot: str, exc: Exception) -> Outcome:
    code, message = _explain(exc)
    logger.error("run failed", exc_info=not isinstance(exc, FramemillError), extra={"job_id": job_id, "code": code})
    if code == OutOfMemory.code:
        exc.__traceback__ = None  # its frames hold the tensors of the run
        gc.collect()
        _pipelines().free()
    owned, _ = store().until_written(lambda: store().fail(job_id, attempt, code=code, message=message, slot=slot))
    return Outcome("failed", failure=f"{code}: {message}" if owned else "")


def _explain(exc: Exception) -> tuple[str, str]:
    """Code and message for the caller. Unknown exceptions show their type only; the log has the rest."""
    if isinstance(exc, FramemillError):
        return exc.code, exc.message
    if type(exc).__name__ == "OutOfMemoryError" or isinstance(exc, MemoryError):
        return OutOfMemory.code, "the device has too little memory for this request"
    message = f"the model raised {type(exc).__name__}"
    if isinstance(exc, ValueError):  # pipelines refuse arguments with it, and say why
        message += ": " + _PATH.sub("…", str(exc).partition("\n")[0])[:300]
    return ExecutionError.code, message
