"""The slots, the queue, and the events of all jobs; an admin drains slots."""

from __future__ import annotations

import json
import time

from flask import Response, current_app, jsonify

from app import fleet, waiting
from app.access import auth
from app.bodies.json_output import json_body, json_response
from app.extensions import current, settings, store
from app.openapi.answers import EVENT_STREAM, EVENTS
from app.openapi.blueprint import Blueprint
from app.openapi.parameters import LAST_EVENT_ID, PREFER, WAIT
from app.protocols.native import jobs, streams
from app.protocols.native.wire import fleet_answers as answers
from app.protocols.native.wire import views
from jobs.errors import Conflict, NotFound
from jobs.slots.slot import is_gpu
from jobs.states import JobState
from jobs.store import queries
from jobs.store.statistics import slot_history

blueprint = Blueprint("fleet", __name__, url_prefix="/v1", tag="Framemill: fleet and queue")
auth.protect(blueprint)

#: Interval between two looks at a slot whose job is over and whose worker still stops, seconds.
_LOOK_S = 0.1


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


@blueprint.route("/admin/slots/<slot>/drain", methods=["POST"])
@blueprint.doc(parameters=[WAIT, PREFER])
@blueprint.response(200, answers.DrainAnswer, description="Whether the slot is drained, or the job that it still runs.")
@blueprint.error(404, "There is no such slot.")
@blueprint.error(422, "A parameter is wrong; the error names it.")
def drain_slot(slot: str) -> Response:
    """Pause a slot: it takes no new job and finishes the one that it runs. `POST /v1/admin/resume` ends this.

    With `?wait=` (seconds), respond when it has no job any more or the time has passed.
    """
    auth.admin()
    wait_s = waiting.requested_wait_s()
    if slot not in {*queries.slot_names(store()), *queries.paused(store())}:
        raise NotFound(f"there is no slot {slot[:64]!r}")
    store().pause_slots(slot, resume=False)
    job_id = _job_after(slot, wait_s)
    return jsonify({"slot": slot, "drained": job_id is None, "job_id": job_id})


@blueprint.route("/admin/slots/<slot>/yield", methods=["POST"])
@blueprint.doc(parameters=[WAIT, PREFER])
@blueprint.response(
    200, answers.YieldAnswer, description="Whether the memory is free, or the job that the slot still runs."
)
@blueprint.error(404, "There is no such slot with a worker.")
@blueprint.error(409, "The slot is a back end: it has no memory of its own.")
@blueprint.error(422, "A parameter is wrong; the error names it.")
def yield_slot(slot: str) -> Response:
    """Pause a slot, and give up the memory of its device when it has no job: no process of its worker holds any.

    `POST /v1/admin/resume` ends this. With `?wait=` (seconds), respond when the memory is free or the time has passed.
    """
    auth.admin()
    deadline = time.monotonic() + waiting.requested_wait_s()
    if slot not in queries.slot_names(store()):
        raise NotFound(f"there is no slot {slot[:64]!r} with a worker")
    if not is_gpu(slot):
        raise Conflict(f"{slot} is a back end: it has no memory of its own")
    store().pause_slots(slot, yields=True)
    job_id = _job_after(slot, deadline - time.monotonic())
    while not (state := queries.slot(store(), slot)) or not state.yielded:
        if job_id or time.monotonic() > deadline:
            break
        time.sleep(_LOOK_S)
    facts = state.device_facts if state else {}
    return jsonify(
        {
            "slot": slot,
            "yielded": bool(state and state.yielded),
            "job_id": job_id,
            "memory_used_bytes": facts.get("memory_used_bytes"),
            "memory_total_bytes": facts.get("memory_total_bytes"),
        }
    )


def _job_after(name: str, wait_s: float) -> str | None:
    """Return the job that a slot still runs after at most ``wait_s`` seconds; None as soon as it runs none."""
    deadline = time.monotonic() + wait_s
    while (slot := queries.slot(store(), name)) and slot.job_id:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return slot.job_id
        job = queries.find(store(), slot.job_id)
        if job and job.state in (JobState.QUEUED, JobState.RUNNING):
            waiting.wait(job, left_s)
        else:
            time.sleep(min(_LOOK_S, left_s))
    return None
