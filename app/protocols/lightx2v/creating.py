"""Creating tasks: from the request to the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Request, Response, jsonify, request

from app import auth, errors
from app import submit as submitting
from app.extensions import settings
from app.fields import body_of
from app.protocols.lightx2v import mapping, schemas, states, views
from jobs.errors import DuplicateJob, InvalidRequest, MalformedBody, Problem, QueueFull, ServiceBusy
from jobs.forecast import Forecast
from jobs.record import Job


def is_single() -> bool:
    """Whether this service behaves as LightX2V's documents describe: one task at a time, no queue."""
    return settings().lightx2v_profile == "single"


def is_own(request: Request) -> bool:
    """Whether a submit on the shared path is LightX2V's: by a field that only LightX2V has."""
    if is_single():
        return True
    if request.form or request.files:
        return not schemas.OWN.isdisjoint({*request.form, *request.files}) or "image_file" in request.files
    try:
        body = body_of(request)
    except MalformedBody:
        return False  # and is refused as such
    return not schemas.OWN.isdisjoint(body)


def create(*, video: bool, old: bool = False, form: bool = False, needs_file: bool = False) -> Response:
    """Create a task out of the request; ``old``: for clients of the older versions."""
    sent = body_of(request)
    if needs_file and "image_file" not in request.files:
        raise InvalidRequest(Problem("image_file", "this part of the form is required"))
    try:
        job, forecast = submit(sent, video=video, old=old, form=form)
    except QueueFull as exc:
        return full(exc)
    except DuplicateJob as exc:
        return used(exc)
    return jsonify(answer(job, forecast))


def submit(
    sent: Mapping[str, Any], *, video: bool, old: bool = False, form: bool = False
) -> tuple[Job, Forecast | None]:  # fmt: skip
    """Accept a task.

    Raises:
        InvalidRequest: in the words of the client.
        ServiceBusy: only of a service without a queue.
        DuplicateJob, QueueFull, Unavailable.
    """
    task = mapping.read(sent, video=video, form=form)
    single = is_single()
    if single and submitting.capacity().spare <= 0:  # before any image is fetched; the script decides
        raise ServiceBusy()
    try:
        prepared = submitting.prepare(
            task.values, task.pictures, task.warnings, path=task.path, only_if_idle=single,
            protocol=states.OLD_PROTOCOL if old else states.PROTOCOL,
        )  # fmt: skip
    except InvalidRequest as exc:
        raise task.renamed(exc) from exc
    try:
        return submitting.accept(prepared)
    except DuplicateJob as exc:
        if single and submitting.capacity().spare <= 0:
            raise ServiceBusy() from exc
        raise DuplicateJob(f"Task ID {prepared.job_id} already exists") from exc


def answer(job: Job, forecast: Forecast | None = None) -> dict[str, Any]:
    """The answer to a new task, with what the native one has beside it."""
    single = is_single()
    forecast = forecast or submitting.forecast_of(job)
    return {
        **views.created(job, single=single),
        "status": states.word(job.state, job.protocol, single=single),
        "state": job.state,
        "model": job.request.model,
        "position": forecast.position,
        "eta_s": None if forecast.eta_s is None else round(forecast.eta_s, 2),
        "warnings": job.warnings,
    }


def full(exc: QueueFull) -> Response:
    """A full queue, in LightX2V's words."""
    limit = auth.caller().max_waiting or settings().max_waiting
    response = errors.render(exc.code, f"Task queue is full (max {limit} tasks)", 503)
    response.headers["Retry-After"] = str(exc.retry_after_s)
    return response


def used(exc: DuplicateJob) -> Response:
    """A used id: 400 where there is no queue, as in the older versions."""
    return errors.render(exc.code, exc.message, 400 if is_single() else 409)
