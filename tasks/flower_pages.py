"""Jobs on Flower's pages: what a job makes and what came of it, in place of the arguments of its message.

Flower keeps what Celery's events say, which is a job's id and an attempt number. The rest is read from the record when
a page is rendered.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from jobs.errors import JobNotFound, Unavailable
from jobs.files.spool import size_text
from jobs.job_view import job_path
from jobs.record import Job, Output
from jobs.states import JobState
from jobs.store.jobs import JobStore
from tasks.transport import DELIVER

logger = logging.getLogger(__name__)

#: Columns of the page of tasks, unless ``FLOWER_TASKS_COLUMNS`` names others.
COLUMNS = "name,uuid,state,args,result,received,runtime,worker"
#: Records are not asked for again until this time has passed since Redis did not answer, seconds.
PAUSE_S = 5.0
#: Fields of a request that the arguments have.
_IN_ARGUMENTS = ("model", "kind", "width", "height", "steps", "frames", "num_images")
#: The job's id in the arguments of a delivery.
_ID = re.compile(r"'([A-Za-z0-9_-]+)'")
#: Fields whose texts a caller does not write freely.
_NAMES = ("scheduler", "resize", "output_format", "endpoint")


def formatter(store: JobStore, *, prompts: bool) -> Callable[[Any], Any]:
    """Return a function that completes a task of Flower's from its job's record.

    Args:
        store: has the records.
        prompts: whether prompts, and other texts that callers write, are shown.
    """
    asked_again_at = 0.0

    def formatted(task: Any) -> Any:
        nonlocal asked_again_at
        if time.monotonic() < asked_again_at:
            return task
        try:
            job = store.get(task.uuid)
        except JobNotFound:  # a delivery, or a job whose record has expired
            if task.name == DELIVER and (found := _ID.search(task.args or "")):
                task.args = f"files of job {found[1]}"
            return task
        except Unavailable as exc:
            asked_again_at = time.monotonic() + PAUSE_S
            logger.warning("jobs are shown without their requests: %s", exc.message)
            return task
        task.args = arguments_text(job)
        task.kwargs = more_text(job, prompts=prompts)
        task.result = result_text(job)
        return task

    return formatted


def arguments_text(job: Job) -> str:
    """Return what a job makes: ``text2video, film, 832×480, 81 frames, 20 steps``."""
    request = job.request
    parts = [str(request.kind), request.model]
    if request.width:  # inputs of an endpoint name no size
        frames = f"{request.frames} frames" if request.frames > 1 else ""
        images = f"{request.num_images} images" if request.num_images > 1 else ""
        parts += [f"{request.width}×{request.height}", frames, images, f"{request.steps} steps"]
    return ", ".join(filter(None, parts))


def more_text(job: Job, *, prompts: bool) -> str:
    """Return the other fields of a job's request: ``seed=7, guidance_scale=5.0, scheduler=Euler``."""
    values = job.request.shown()
    parts = (_part(name, value, prompts=prompts) for name, value in values.items() if name not in _IN_ARGUMENTS)
    return ", ".join(filter(None, parts))


def _part(name: str, value: Any, *, prompts: bool) -> str:
    """Return one field; '' if it is empty, or may contain what a caller wrote and must not be shown."""
    if not value and name not in ("seed", "strength"):
        return ""
    if prompts or name in _NAMES or isinstance(value, int | float):
        return f"{name}={value!r}" if isinstance(value, str) and name not in _NAMES else f"{name}={value}"
    if isinstance(value, Mapping):
        numbers = {key: one for key, one in value.items() if isinstance(one, int | float)}
        return f"{name}={numbers}" if numbers else ""
    return ""


def result_text(job: Job) -> str:
    """Return what came of a job, or how far it is."""
    if job.state is JobState.SUCCEEDED:
        if job.removed_at_ms:
            return "removed"
        return (
            "; ".join(
                f"{_output_text(output)} at {job_path(job.job_id)}/result?index={index}"
                for index, output in enumerate(job.outputs)
            )
            or "no outputs"
        )
    if job.state is JobState.FAILED:
        error = job.error or {}
        return f"{error.get('code', 'job_failed')}: {error.get('message', '')}"
    if job.state is JobState.RUNNING:
        return f"{job.stage or 'starting'}, step {job.step or 0} of {job.steps}"
    if job.state is JobState.PAUSED:
        return f"paused at step {job.step or 0} of {job.steps}"
    return str(job.state)


def _output_text(output: Output) -> str:
    frames = f", {output.frames} frames" if output.frames > 1 else ""
    return f"{output.media_type} {output.width}×{output.height}{frames}, {size_text(output.bytes)}"
