"""Drain slots: no new job, and the running one ends by itself. Needs an admin's key."""

from __future__ import annotations

import time

from flask import Response, jsonify

from app import waiting
from app.access import auth
from app.extensions import store
from app.openapi.blueprint import Blueprint
from app.openapi.parameters import PREFER, WAIT
from app.protocols.native import fleet_answers as answers
from jobs.errors import NotFound
from jobs.states import JobState
from jobs.store import queries

blueprint = Blueprint("slots", __name__, url_prefix="/v1/admin/slots", tag="Framemill: keys and operation")
auth.protect(blueprint)

#: Interval between two looks at a slot whose job is over and whose worker still stops, seconds.
_LOOK_S = 0.1


@blueprint.route("/<slot>/drain", methods=["POST"])
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
    store().pause(slot, resume=False)
    job_id = _job_after(slot, wait_s)
    return jsonify({"slot": slot, "drained": job_id is None, "job_id": job_id})


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
