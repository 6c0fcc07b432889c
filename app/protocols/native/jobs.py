"""Submit, list, follow, cancel, pause, repeat and delete jobs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import Response, jsonify, request

from app import attachments, waiting
from app.access import addresses, auth, links
from app.bodies.json_output import json_body, json_response
from app.extensions import current_jobs, dispatcher, objects, store
from app.fields import body_of, load_all
from app.openapi import answers as bodies
from app.openapi.blueprint import FORM, JSON, Blueprint
from app.openapi.parameters import IDEMPOTENCY_KEY, LAST_EVENT_ID, PREFER, WAIT
from app.problems import Problems
from app.protocols.native import previews, streams, webhooks
from app.protocols.native.wire import answers, job_list, schemas
from app.submit import accept, forecast_of, prepare
from jobs.callers import ANYBODY
from jobs.errors import Conflict, Problem
from jobs.forecast import OVER, Forecast
from jobs.job_view import JOBS_PATH, job_path, job_view
from jobs.record import Job, new_job_id
from jobs.requests.custom import EndpointRequest
from jobs.requests.hires_variation_prior import random_seed
from jobs.store import listing
from jobs.submission import Submission
from jobs.suggestions import misspelt
from tasks.dispatch import Submitted

blueprint = Blueprint("jobs", __name__, url_prefix=JOBS_PATH, tag="Framemill: jobs")
auth.protect(blueprint)

_EXAMPLE = {"prompt": "a red circle", "seed": 7}
_LOCATION = {"Location": {"description": "The address of the job.", "schema": bodies.TEXT}}


def view(job: Job, forecast: Forecast | None = None) -> dict[str, Any]:
    """Return a job as JSON; its position is looked up unless it is given. For all who may see the job."""
    return job_view(job, forecast or forecast_of(job), objects(), auth.signer(), addresses.prefix())


def view_for_caller(job: Job, forecast: Forecast | None = None) -> dict[str, Any]:
    """Return a job as JSON, for an admin with its key and the cause of a failure, which may name paths of the host."""
    shown = view(job, forecast)
    if auth.caller().is_admin and auth.caller() != ANYBODY:
        shown["key"] = job.key_id
    if job.error and job.cause and auth.caller().is_admin:
        shown["error"] = {**job.error, "cause": job.cause}
    return shown


@blueprint.route("", methods=["POST"])
@blueprint.doc(parameters=[WAIT, PREFER, IDEMPOTENCY_KEY])
@blueprint.body(schemas.SubmitSchema, _EXAMPLE, JSON, FORM)
@blueprint.response(
    201, answers.JobAnswer, description="The job was accepted and will not be lost.", headers=_LOCATION
)  # fmt: skip
@blueprint.alt_response(
    200,
    schema=answers.JobAnswer,
    description="The job of an earlier request: with the same `Idempotency-Key`, or (`reused`) an equal one.",
    headers=_LOCATION,
)
@blueprint.error(409, "The id, or the `Idempotency-Key` with another request, was used before.")
@blueprint.error(422, "Fields are wrong, each with its rule; nothing was queued.")
@blueprint.error(429, "Too many jobs are waiting; `Retry-After` has the seconds to wait.")
def submit_job() -> tuple[Response, int]:
    """Submit a job. With `?wait=` or `Prefer: wait=` (seconds), respond when it has finished or the time has passed."""
    body, uploads = attachments.uploads_of(body_of(request, repeated=attachments.REPEATED))
    wait_s = waiting.requested_wait_s()
    values, unknown, wrong = load_all(schemas.SUBMIT, body)
    problems = Problems(wrong)
    pictures = attachments.take(values, uploads)
    attachments.assume(values, problems.fields)
    unknown = [name for name in unknown if name not in uploads]
    meant = {name: misspelt(name, schemas.SUBMIT_NAMES) for name in unknown}
    problems.add(Problem(name, f"is unknown; did you mean {known}?") for name, known in meant.items() if known)
    warnings = [f"unknown field {name!r} was ignored" for name in unknown]
    warnings += [f"unused file {name!r} was ignored" for name in sorted(uploads.keys() - pictures.used)]
    webhook: Any = None
    with problems.collected():
        webhook = webhooks.requested(values, auth.caller())
    refused = problems.names | {known for known in meant.values() if known}
    with problems.collected():
        prepared = prepare(
            values, pictures, warnings, refused=refused, preview=bool(values.get("preview")), webhook=webhook
        )
    problems.check()
    return _created(accept(prepared, wait_s))


def _created(submitted: Submitted) -> tuple[Response, int]:
    view = view_for_caller(submitted.job, submitted.forecast)
    response = jsonify({**view, "reused": True} if submitted.reused else view)
    response.headers["Location"] = job_path(submitted.job.job_id, addresses.prefix())
    return response, 200 if submitted.repeated else 201


@blueprint.route("", methods=["GET"])
@blueprint.doc(parameters=job_list.PARAMETERS)
@blueprint.response(200, answers.JobPageAnswer, description="One page, newest first.")
@blueprint.error(403, "`key` needs an admin's key.")
@blueprint.error(422, "A parameter is wrong; the error names it.")
def get_jobs() -> Response:
    """List jobs."""
    wanted, limit, after = job_list.requested(request)
    page = listing.page(store(), wanted, limit=limit, after=after)
    open_ids = [job.job_id for job in page.jobs if not job.state.is_terminal]
    forecasts = dict(zip(open_ids, store().forecast(*open_ids), strict=True))
    views = [view_for_caller(job, forecasts.get(job.job_id, OVER)) for job in page.jobs]
    return jsonify({"jobs": views, "total": page.total, "next": page.next})


@blueprint.route("/cancel", methods=["POST"])
@blueprint.body(schemas.CancelAllSchema, {"waiting": True})
@blueprint.response(200, answers.CancelledJobsAnswer, description="The jobs that this call stopped.")
def cancel_jobs() -> Response:
    """Stop all of your jobs that are being computed; with `waiting`, also waiting, paused and computed ones."""
    body = schemas.strict(schemas.CANCEL_ALL, body_of(request))
    return jsonify({"cancelled": dispatcher().cancel_all(auth.caller(), waiting=body["waiting"])})


@blueprint.route("/<job_id>", methods=["GET"])
@blueprint.doc(parameters=[WAIT, PREFER])
@blueprint.response(200, answers.JobAnswer, description="The job.")
@blueprint.error(404, "Unknown id.")
@blueprint.error(422, "A parameter is wrong; the error names it.")
def get_job(job_id: str) -> Response:
    """Read a job: state, progress, position, seconds left, error, outputs.

    With `?wait=` (seconds), respond when its state changes or the time has passed.
    """
    job, wait_s = auth.visible_job(job_id), waiting.requested_wait_s()
    job = waiting.wait(job, wait_s)
    forecast, caller = forecast_of(job), auth.caller()
    reader = ("native", forecast, caller.is_admin, auth.signer(), addresses.prefix())
    return json_response(current_jobs().body(job, reader, lambda: json_body(view_for_caller(job, forecast))))


@blueprint.route("/<job_id>/events", methods=["GET"])
@blueprint.doc(parameters=[previews.PARAMETER, LAST_EVENT_ID, *links.PARAMETERS], security=links.SECURITY)
@blueprint.response(
    200,
    bodies.EVENTS,
    content_type=bodies.EVENT_STREAM,
    description="Server-sent events until the job has finished; `Last-Event-ID` replays.",
)
@blueprint.error(404, "Unknown id.")
@blueprint.error(422, "A parameter is wrong; the error names it.")
@links.followed_by_links
def get_job_events(job_id: str) -> Response:
    """Follow a job. `preview=1` makes previews meanwhile, `preview=data` also sends them within the events."""
    return streams.stream(view, job_id=auth.visible_job(job_id).job_id, preview=previews.requested_mode())


@blueprint.route("/<job_id>/cancel", methods=["POST"])
@blueprint.response(200, answers.CancelledJobAnswer, description="The job.")
@blueprint.error(404, "Unknown id.")
def cancel_job(job_id: str) -> Response:
    """Stop a job: a waiting job never runs, a running one ends within a step."""
    auth.visible_job(job_id)
    job, changed = dispatcher().cancel(job_id)
    return jsonify({**view(job), "cancelled": changed})


@blueprint.route("/<job_id>/pause", methods=["POST"])
@blueprint.response(200, answers.JobAnswer, description="The job.")
@blueprint.error(404, "Unknown id.")
@blueprint.error(409, "It cannot be paused; the message says why.")
def pause_job(job_id: str) -> Response:
    """Set a job aside: it holds no slot, and keeps its place in the queue. A running job stops at its next step."""
    auth.visible_job(job_id)
    return jsonify(view_for_caller(dispatcher().pause(job_id)))


@blueprint.route("/<job_id>/resume", methods=["POST"])
@blueprint.response(200, answers.JobAnswer, description="The job.")
@blueprint.error(404, "Unknown id.")
@blueprint.error(409, "It is over.")
def resume_job(job_id: str) -> Response:
    """Let a paused job wait again, at its old place in the queue. A job that is not paused goes on."""
    auth.visible_job(job_id)
    store().resume(job_id)
    return jsonify(view_for_caller(store().get(job_id)))


@blueprint.route("/<job_id>", methods=["DELETE"])
@blueprint.response(200, answers.DeletedJobAnswer, description="The job is deleted, or will be in a moment.")
@blueprint.error(404, "Unknown id.")
def delete_job(job_id: str) -> Response:
    """Delete a job: its record, its outputs, and its inputs unless another job needs them. It is stopped first."""
    key_id = store().deleted_key(job_id)
    if key_id is not None and auth.caller().owns(key_id):
        outcome = "gone"
    else:
        outcome = dispatcher().delete(auth.visible_job(job_id).job_id)
    return jsonify({"id": job_id, "deleted": outcome != "held", "changed": outcome != "gone"})


@blueprint.route("/<job_id>/front", methods=["POST"])
@blueprint.response(200, answers.JobAnswer, description="The job; the next free slot takes it.")
@blueprint.error(404, "Unknown id.")
@blueprint.error(409, "It is not waiting.")
def move_job_to_front(job_id: str) -> Response:
    """Move a waiting job to the front of the queue; needs an admin's key."""
    auth.admin()
    store().move_to_front(job_id)
    return jsonify(view(store().get(job_id)))


@blueprint.route("/<job_id>/retry", methods=["POST"])
@blueprint.response(201, answers.JobAnswer, description="The new job.", headers=_LOCATION)
@blueprint.error(404, "Unknown id.")
@blueprint.error(409, "It has not finished, or it succeeded.")
@blueprint.error(429, "Too many jobs are waiting; `Retry-After` has the seconds to wait.")
def retry_job(job_id: str) -> tuple[Response, int]:
    """Submit a failed, cancelled or expired job again, as a new job."""
    auth.check_model(auth.visible_job(job_id).request.model)
    return _created(dispatcher().resend(job_id, auth.caller()))


@blueprint.route("/<job_id>/repeat", methods=["POST"])
@blueprint.body(schemas.RepeatSchema, {"seed": -1})
@blueprint.response(201, answers.JobAnswer, description="The new job.", headers=_LOCATION)
@blueprint.error(404, "Unknown id.")
@blueprint.error(409, "It is a model command, or a job of an endpoint.")
@blueprint.error(429, "Too many jobs are waiting; `Retry-After` has the seconds to wait.")
def repeat_job(job_id: str) -> tuple[Response, int]:
    """Submit a job of any state again, as a new job, with another `seed` if one is given."""
    old = auth.visible_job(job_id)
    seed = schemas.strict(schemas.REPEAT, body_of(request))["seed"]
    auth.check_model(old.request.model)
    if old.command or isinstance(old.request, EndpointRequest):
        raise Conflict("only jobs that a model computes can be repeated")
    seed = old.request.seed if seed is None else random_seed() if seed < 0 else seed
    again = Submission.again(old, auth.caller())
    submission = replace(again, request=replace(old.request, seed=seed), retry_of=None)
    return _created(dispatcher().submit(submission, new_job_id(), chosen_by_client=False))
