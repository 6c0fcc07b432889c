"""Estimate a job before it is submitted: what is wrong with it, its place in the queue, and how long it takes."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request
from marshmallow import fields

from app import attachments
from app.access import auth
from app.extensions import models, settings, store
from app.fields import body_of, load_all
from app.openapi.answers import Answer, ProblemAnswer, doc, texts
from app.openapi.blueprint import JSON, Blueprint
from app.problems import Problems
from app.protocols.native.wire import schemas
from app.submit import check_pause, start_time
from jobs.job_view import JOBS_PATH
from jobs.models.spec import Kind
from jobs.requests import generation
from jobs.requests.generation import GenerationRequest
from jobs.store import queries

blueprint = Blueprint("estimate", __name__, url_prefix=JOBS_PATH, tag="Framemill: jobs")
auth.protect(blueprint)

_EXAMPLE = {"prompt": "a red circle", "steps": 20}


class EstimateAnswer(Answer):
    """What would happen to a job that is submitted now."""

    problems = fields.List(fields.Nested(ProblemAnswer), **doc("Wrong fields: the job would be refused."))
    warnings = texts("Values that would be changed.")
    starts_at_once = fields.Boolean(**doc("Whether a slot is free for it; null if fields are wrong.", null=True))
    position = fields.Integer(**doc("Its place in the queue at most; 0 if it starts at once.", null=True))
    run_s = fields.Float(**doc("Seconds that it computes; null: no such job was measured yet.", null=True))
    eta_s = fields.Float(**doc("Seconds until it is computed, those in the queue included.", null=True))


@blueprint.route("/estimate", methods=["POST"])
@blueprint.body(schemas.SubmitSchema, _EXAMPLE, JSON)
@blueprint.response(200, EstimateAnswer, description="What is wrong with the fields, or when the job would be done.")
def estimate_job() -> Response:
    """Check the fields of a job and estimate its time, without submitting it. Pictures may be left out."""
    body = body_of(request)
    values, _, wrong = load_all(schemas.SUBMIT, body)
    problems = Problems(wrong)
    given = attachments.take(values, {})
    kind = values.get("kind")
    if kind in set(Kind):
        # An estimate needs no picture, only that there is one.
        attachments.assume(values, {name for name in Kind(kind).inputs if not values.get(name)})
    elif not values.get("model") and not kind and given.contents.keys() <= {"image"}:
        values["kind"] = settings().lightx2v.bare_kind(with_image="image" in given.contents)
    resolved, warnings = None, list[str]()
    with problems.collected():
        resolved, warnings = generation.resolve(models(), values, settings())
        auth.check_model(resolved.model)
    if resolved:
        with problems.collected():
            check_pause(values.get("pause_at_step"), resolved, models().get(resolved.model), values.get("quality"))
        with problems.collected():
            start_time(values.get("not_before_ms"))
    times = _times(resolved, values.get("slot")) if resolved and not problems else _UNKNOWN
    return jsonify({"problems": [one.to_dict() for one in problems.besides(())], "warnings": warnings, **times})


_UNKNOWN: dict[str, Any] = {"starts_at_once": None, "position": None, "run_s": None, "eta_s": None}


def _times(resolved: GenerationRequest, slot: str | None) -> dict[str, Any]:
    """Return when the job would start and end, as if all jobs that wait now went before it."""
    only_slot = settings().web.service_slot or slot or ""
    rate = queries.rate_of(store(), resolved.model)
    run_s = None if rate is None else rate * resolved.work
    if store().capacity(only_slot, resolved.model).spare > 0:
        return {"starts_at_once": True, "position": 0, "run_s": run_s, "eta_s": run_s}
    fleet = queries.fleet(store(), only_slot)
    slots = [one for one in fleet.slots if resolved.model in one.models and not one.suspect]
    busy = [one.job_id for one in slots if one.job_id]
    waits_s = _waiting_s()
    eta_s = None
    if run_s is not None and waits_s is not None and slots and not fleet.paused:
        free_in_s = min((forecast.eta_s or 0 for forecast in store().forecast(*busy)), default=0)
        eta_s = free_in_s + waits_s / len(slots) + run_s
    position = sum(fleet.waiting_models.values()) + 1
    return {"starts_at_once": False, "position": position, "run_s": run_s, "eta_s": eta_s}


def _waiting_s() -> float | None:
    """Return the GPU seconds of all waiting jobs; None if one of their models was not measured yet."""
    waiting = {model: work for model, work in queries.waiting_work(store()).items() if work}
    rates = {model: queries.rate_of(store(), model) for model in waiting}
    if None in rates.values():
        return None
    return sum(work * (rates[model] or 0) for model, work in waiting.items())
