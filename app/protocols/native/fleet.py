"""The slots, the queue, and the events of all jobs."""

from __future__ import annotations

import json

from flask import Response, current_app, jsonify

from app import fleet
from app.access import auth
from app.bodies.json_output import json_body, json_response
from app.extensions import current, settings, store
from app.openapi.answers import EVENT_STREAM, EVENTS
from app.openapi.blueprint import Blueprint
from app.openapi.parameters import LAST_EVENT_ID
from app.protocols.native import fleet_answers as answers
from app.protocols.native import jobs, streams, views
from jobs.store import slot_history

blueprint = Blueprint("fleet", __name__, url_prefix="/v1", tag="Framemill: fleet and queue")
auth.protect(blueprint)


@blueprint.route("/fleet", methods=["GET"])
@blueprint.response(
    200, answers.FleetAnswer, description="Every slot: what it does and what is in its memory; the delivery workers."
)
def get_fleet() -> Response:
    """Show the slots and the delivery workers."""
    if auth.caller().is_admin:  # all admins are shown the same
        return json_response(current().reads.get("fleet page", _fleet_body))
    return json_response(_fleet_body())


def _fleet_body() -> bytes:
    state, version = fleet.now(settings().web.service_slot), current_app.config["API_VERSION"]
    visible = auth.visible_ids([slot.job_id for slot in state.slots if slot.job_id])
    return json_body(views.fleet_view(state, version, set(visible)))


@blueprint.route("/fleet/history", methods=["GET"])
@blueprint.response(
    200, answers.FleetHistoryAnswer, description="One sample a minute of the device of each slot, oldest first."
)
def get_fleet_history() -> Response:
    """Show how memory, load and temperature of the slots were in the last hour. It may be a second old."""
    return json_response(current().reads.recent("fleet history", _history_body))


def _history_body() -> bytes:
    slots = (  # the samples are JSON already
        f'{{"name":{json.dumps(name)},"samples":[{",".join(samples)}]}}'
        for name, samples in slot_history.of_all(store()).items()
    )
    return f'{{"interval_s":{slot_history.INTERVAL_S},"slots":[{",".join(slots)}]}}\n'.encode()


@blueprint.route("/queue", methods=["GET"])
@blueprint.response(
    200, answers.QueueAnswer, description="Jobs by state, waiting jobs by model and class, limits, pauses, ETA errors."
)
def get_queue() -> Response:
    """Show how many jobs wait and run, and for what."""
    service_slot = settings().web.service_slot
    state, capacity = fleet.now(service_slot), store().capacity(service_slot)
    active = auth.visible_ids(capacity.active)
    return jsonify(views.queue_view(state, capacity, settings().scheduling.max_waiting, active))


@blueprint.route("/events", methods=["GET"])
@blueprint.doc(parameters=[LAST_EVENT_ID])
@blueprint.response(
    200, EVENTS, content_type=EVENT_STREAM, description="Server-sent events without end; `Last-Event-ID` replays."
)
@blueprint.error(422, "`Last-Event-ID` is not an id of this stream.")
def get_events() -> Response:
    """Follow all of your jobs (with an admin's key: all jobs)."""
    return streams.stream(jobs.view, key_id=auth.caller().scope)
