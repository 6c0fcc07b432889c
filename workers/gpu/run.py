"""One attempt of one job in the GPU child: start, load, compute, spool; every way it can end."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import secrets
import time
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from jobs.errors import FramemillError, JobCancelled, Unavailable
from jobs.files import spool
from jobs.models.backends import registry_of
from jobs.models.registry import ModelRegistry
from jobs.models.spec import Kind, ModelSpec
from jobs.moderation import hides_outputs
from jobs.objects import ObjectStore, open_store
from jobs.record import Job
from jobs.requests.generation import GenerationRequest
from jobs.slots.residency import held_facts
from jobs.slots.slot import device_label
from jobs.store.pins import Pins, all_pins, is_pinned
from tasks.runtime import OWNER_VARIABLE, SLOT_VARIABLE, backends, settings, store
from workers.diffusion.inputs import read_input
from workers.gpu import failures
from workers.gpu.report import Reporter
from workers.remote import HandBack

logger = logging.getLogger(__name__)


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
    return registry_of(settings())


@cache
def _objects() -> ObjectStore:
    return open_store(settings())


@cache
def _pipelines() -> Any:
    from workers.pipelines.cache import PipelineCache  # imports torch

    return PipelineCache(settings(), _pinned, _note)


#: Pins as they were last heard.
_pins: Pins = {}


def _pinned() -> set[str]:
    """Models that stay in this slot's memory."""
    slot = os.environ[SLOT_VARIABLE]
    with contextlib.suppress(Unavailable):
        heard = all_pins(store())
        _pins.clear()
        _pins.update(heard)
    return {spec.name for spec in _models() if is_pinned(_pins, slot, spec)}


#: What this process holds, as its slot was told last.
_facts: dict[str, Any] = {}


def _note() -> None:
    """Tell the slot what this process holds."""
    cache_ = _pipelines()
    _facts.update({"loads": cache_.loads, "ooms": cache_.ooms, "device_name": cache_.device_name})
    _facts.update(held_facts(cache_.held()))
    with contextlib.suppress(Unavailable):  # only for show and for choosing jobs; the run goes on without Redis
        store().set_facts(os.environ[SLOT_VARIABLE], os.environ[OWNER_VARIABLE], _facts)


def run(job_id: str, attempt: int) -> Outcome:
    """Compute an attempt. Never raises for what a job can do wrong; always gives the slot back."""
    slot, owner = os.environ[SLOT_VARIABLE], os.environ[OWNER_VARIABLE]
    run_token = f"{os.getpid()}:{secrets.token_hex(4)}"
    records = store()
    job = records.until_written(
        lambda: records.start(
            job_id, attempt, slot=slot, owner=owner, device=device_label(slot), run=run_token, facts=_facts
        )
    )
    if job is None:
        return Outcome("refused")
    begun = time.monotonic()
    try:
        with Reporter(
            records,
            job_id,
            attempt,
            job.request.total_steps,
            max_run_s=job.max_run_s,
            preview=job.preview,
            hidden=hides_outputs(settings(), moderate=job.moderate),
        ) as reporter:
            run_s, node, report = _compute(job, attempt, reporter)
    except JobCancelled:
        records.until_written(lambda: records.release(job_id, attempt, slot=slot))
        ended = Outcome("cancelled")
    except HandBack as exc:
        back = partial(records.hand_back, job_id, attempt, slot=slot, counted=exc.counted, why=str(exc))
        state, _ = records.until_written(back)
        ended = Outcome("handed back", failure=f"worker_lost: {exc}" if state == "failed" else "")
    except Exception as exc:
        if failures.is_poison(exc):
            _end_process(job_id, attempt, exc)
        ended = _failed(job_id, attempt, slot, exc)
    else:
        blocked = spool.full(settings()) if node else ""
        owned, _ = records.until_written(
            lambda: records.finish_run(
                job_id, attempt, slot=slot, node=node, run_s=run_s, blocked=blocked, report=report
            )
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


def _compute(job: Job, attempt: int, reporter: Reporter) -> tuple[float, str, dict[str, Any] | None]:
    """Load, denoise, decode, spool; or carry out a command.

    Returns:
        Seconds without loading, the host whose spool holds the frames ('' when there are none), and what a command
        found.
    """
    if backend := backends().get(os.environ[SLOT_VARIABLE]):
        remote = importlib.import_module("workers.remote.running")
        return remote.compute(job, attempt, backend, reporter, settings(), _inputs), settings().node, None
    spec = _models().get(job.request.model)
    begun = time.monotonic()
    if spec.executor == "noop":
        importlib.import_module("workers.gpu.noop").run(job.request, reporter)
        return time.monotonic() - begun, "", None
    if spec.executor == "drawing" or settings().test_mode:
        return _draw(job, attempt, reporter), settings().node, None
    if job.command:
        from workers.gpu import model_commands as commands

        report = commands.run(job, spec, _pipelines(), reporter, lambda: _frames_or_alone(job, spec, reporter)[0])
        return time.monotonic() - begun, "", report
    from workers.gpu.spool import write

    frames, run_s = _frames_or_alone(job, spec, reporter)
    begun = time.monotonic()
    reporter.check()
    write(settings(), job.job_id, attempt, frames, reporter.check)
    return run_s + time.monotonic() - begun, settings().node, None


def _frames_or_alone(job: Job, spec: ModelSpec, reporter: Reporter) -> tuple[Any, float]:
    """As :func:`_frames`; when memory is short, once more with no other model in it."""
    try:
        return _frames(job, spec, reporter)
    except Exception as exc:
        if not failures.is_out_of_memory(exc):
            raise
        logger.warning("out of memory, once more alone", extra={"job_id": job.job_id, "error": repr(exc)[:300]})
        failures.let_go(exc)
    reporter.check()
    _pipelines().alone(spec.name)
    try:
        return _frames(job, spec, reporter)
    except Exception as exc:
        if not failures.is_out_of_memory(exc):
            raise
        failures.let_go(exc)
    _pipelines().free()
    raise failures.too_little_memory(job.request, spec)


def _frames(job: Job, spec: ModelSpec, reporter: Reporter) -> tuple[Any, float]:
    """The frames of one request, and the seconds it took without loading."""
    from workers.diffusion import executor as executor
    from workers.diffusion.preview import Previews
    from workers.gpu import faults

    reporter.stage("loading")
    pipeline = _pipelines().get(spec, job.request.kind, reporter.loading)
    prior = _pipelines().prior(spec, reporter.loading)
    begun = time.monotonic()
    objects = _objects() if job.request.inputs else None
    second = partial(_pipelines().get, spec, Kind.IMG2IMG, reporter.loading)
    previews = Previews(pipeline, job.request, reporter, spec.preview_decoder)
    with faults.armed(pipeline, spec.name):
        frames = executor.run(pipeline, spec, job.request, reporter, objects, previews, prior, second)
    return frames, time.monotonic() - begun


def _end_process(job_id: str, attempt: int, exc: Exception) -> None:
    """The device is lost to this process, and only to it: the parent starts another, and runs the job again."""
    logger.critical("device lost, the process ends", exc_info=exc, extra={"job_id": job_id, "attempt": attempt})
    logging.shutdown()
    os._exit(os.EX_SOFTWARE)


def _inputs(request: GenerationRequest) -> dict[str, bytes]:
    """The content of the request's input files by their keys."""
    return {key: read_input(_objects(), key) for key in request.inputs}


def _draw(job: Job, attempt: int, reporter: Reporter) -> float:
    """Seconds that it took."""
    from workers.gpu import drawing
    from workers.gpu.spool import write

    begun = time.monotonic()
    frames = drawing.run(job.request, reporter)
    write(settings(), job.job_id, attempt, frames, reporter.check)
    return time.monotonic() - begun


def _failed(job_id: str, attempt: int, slot: str, exc: Exception) -> Outcome:
    code, message = failures.explain(exc)
    logger.error("run failed", exc_info=not isinstance(exc, FramemillError), extra={"job_id": job_id, "code": code})
    failures.let_go(exc)
    owned, _ = store().until_written(lambda: store().fail(job_id, attempt, code=code, message=message, slot=slot))
    return Outcome("failed", failure=f"{code}: {message}" if owned else "")
