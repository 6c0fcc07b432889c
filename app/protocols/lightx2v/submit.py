"""Submit a task, and refuse one as LightX2V does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response

from app import errors
from app import submit as core
from app.protocols.lightx2v import mapping, states
from app.protocols.lightx2v.profile import capacity, is_single
from jobs.errors import DuplicateJob, FramemillError, QueueFull, RateLimited, ServiceBusy
from tasks.dispatch import Submitted

#: Errors of :func:`submit_task` for which :func:`refusal_response` has LightX2V's response.
REFUSALS = (QueueFull, DuplicateJob, ServiceBusy)


def submit_task(
    body: Mapping[str, Any], *, video: bool, old: bool = False, form: bool = False, uploads: bool = False
) -> Submitted:  # fmt: skip
    """Accept a task.

    Args:
        body: the fields of the request.
        video: whether the task is a video, else an image.
        old: whether the request came by a route of the older versions, whose clients do not know ``cancelled``.
        form: whether it came by one of the ``/form`` routes, which set a seed.
        uploads: whether its output may be uploaded to a link.

    Raises:
        InvalidRequest: names the fields as the client does.
        ServiceBusy: the profile is ``single``, and the service has a task.
        DuplicateJob, QueueFull, Unavailable.
    """
    task = mapping.map_task(body, video=video, form=form, uploads=uploads)
    single = is_single()
    # Before an image is downloaded; the script that accepts jobs checks again.
    if single and not task.problems and capacity().spare <= 0:
        raise ServiceBusy()
    with task.problems.collected(task.renamed):
        prepared = core.prepare(
            task.values, task.pictures, task.warnings, refused=task.refused, path=task.path, sent=dict(task.sent),
            only_if_idle=single, protocol=states.OLD_PROTOCOL if old else states.PROTOCOL,
        )  # fmt: skip
    task.problems.check()
    try:
        return core.accept(prepared)
    except DuplicateJob as exc:
        if single and capacity().spare <= 0:
            raise ServiceBusy() from exc
        raise DuplicateJob(f"Task ID {prepared.job_id} already exists") from exc


def refusal_response(exc: FramemillError) -> Response:
    """Return LightX2V's response to one of :data:`REFUSALS`."""
    if isinstance(exc, RateLimited):
        raise exc  # another limit than that of the queue, which clients of LightX2V do not know
    if isinstance(exc, QueueFull):
        response = errors.render(exc.code, f"Task queue is full (max {exc.limit} tasks)", 503)
        response.headers["Retry-After"] = str(exc.retry_after_s)
        return response
    if isinstance(exc, ServiceBusy):
        return errors.render(exc.code, exc.message, 400)
    return errors.render(exc.code, exc.message, 400 if is_single() else 409)
