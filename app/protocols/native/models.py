"""Models: what can be generated, where each lies in memory, and (for admins) load, unload, pin and check."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from typing import Any

from flask import Response, jsonify, request
from flask_smorest import Blueprint
from marshmallow import INCLUDE, Schema

from app import auth, inputs
from app.extensions import dispatcher, models, objects, settings, store
from app.fields import Text, body_of
from app.fields import load as checked
from app.protocols.native import views
from jobs import model_commands as commands
from jobs.errors import Conflict, InvalidRequest, Problem, Unavailable
from jobs.models.spec import ModelSpec
from jobs.record import new_job_id
from jobs.slots.residency import Place
from jobs.slots.slot import Slot
from jobs.store import pins, queries
from jobs.store.queries import Fleet
from jobs.view import links

blueprint = Blueprint("models", __name__, url_prefix="/v1/models", description="Models, and what lies in memory")
auth.protect(blueprint)


class SlotSchema(Schema):
    """Where to do it."""

    slot = Text(allow_none=True, load_default=None)


_SLOT = SlotSchema(unknown=INCLUDE)


@blueprint.route("", methods=["GET"])
@blueprint.response(200, description="Models with kinds, defaults, limits and where they lie in memory.")
def listmodels() -> Response:
    """What can be generated."""
    fleet = None
    with suppress(Unavailable):  # what the models file says is known without Redis
        fleet = queries.fleet(store())
    return jsonify({"models": [views.model_view(spec, fleet) for spec in models()]})


@blueprint.route("/<name>/load", methods=["POST"])
@blueprint.response(202, description="What will happen on each slot, with the job that does it; 200: nothing to do.")
@blueprint.alt_response(409, description="No running worker has the model, or it has nothing to load.")
def load(name: str) -> tuple[Response, int]:
    """Have a model loaded on one slot (`slot`) or on all that may run it."""
    return _order("load", name)


@blueprint.route("/<name>/unload", methods=["POST"])
@blueprint.response(202, description="What will happen on each slot, with the job that does it; 200: nothing to do.")
@blueprint.alt_response(409, description="It is pinned, or no running worker has the model.")
def unload(name: str) -> tuple[Response, int]:
    """Have a model taken out of all memory, between two jobs."""
    return _order("unload", name)


@blueprint.route("/<name>/check", methods=["POST"])
@blueprint.response(202, description="The job that does it; its `report` has the figures.")
@blueprint.alt_response(409, description="No running worker has the model, or it has nothing to load.")
def check(name: str) -> tuple[Response, int]:
    """Load a model and run it once, on one slot (`slot`; else one that has it in memory, or the first)."""
    return _order("check", name)


@blueprint.route("/<name>/pin", methods=["POST"])
@blueprint.response(202, description="Pinned on each slot, with the job that loads it; 200: it is in memory.")
@blueprint.alt_response(409, description="No running worker has the model, or it has nothing to load.")
def pin(name: str) -> tuple[Response, int]:
    """Keep a model in memory from now on, restarts included: it is loaded and not put out to make room."""
    auth.admin()
    spec, _, slots = _target(name)
    for slot in slots:
        pins.set_pin(store(), slot.name, spec.name, pinned=True)
    return _order("load", name)


@blueprint.route("/<name>/unpin", methods=["POST"])
@blueprint.response(200, description="Unpinned; it stays in memory until room is needed.")
def unpin(name: str) -> tuple[Response, int]:
    """End a pin, also one by `keep` in the models file."""
    auth.admin()
    spec, _, slots = _target(name)
    for slot in slots:
        pins.set_pin(store(), slot.name, spec.name, pinned=False)
    return _answer(spec, "unpin", [{"slot": slot.name, "will": "stay until room is needed"} for slot in slots])


def _order(command: str, name: str) -> tuple[Response, int]:
    auth.admin()
    spec, fleet, slots = _target(name)
    if command == "check" and len(slots) > 1:
        slots = [next((slot for slot in slots if _place(slot, spec)), slots[0])]
    if command == "unload" and (pinned := [slot.name for slot in slots if pins.is_pinned(fleet.pins, slot.name, spec)]):
        raise Conflict(f"model {spec.name} is pinned on {', '.join(pinned)}: unpin it first")
    image = None
    if command == "check" and all("image" in kind.inputs for kind in spec.kinds):
        image = inputs.store_image(_grey_png(), settings=settings(), objects=objects(), records=store())
    done = []
    for slot in slots:
        will = _will(command, _place(slot, spec))
        entry: dict[str, Any] = {"slot": slot.name, "will": will}
        if not will.startswith("nothing"):
            submission = commands.submission(command, models(), spec, slot.name, image=image, caller=auth.caller())
            job, forecast = dispatcher().submit(submission, new_job_id(), chosen_by_client=False)
            entry |= {"task_id": job.job_id, "position": forecast.position, "links": links(job.job_id)}
        done.append(entry)
    return _answer(spec, command, done)


def _answer(spec: ModelSpec, command: str, slots: list[dict[str, Any]]) -> tuple[Response, int]:
    queued = any("task_id" in slot for slot in slots)
    return jsonify({"model": spec.name, "command": command, "slots": slots}), 202 if queued else 200


def _will(command: str, place: Place | None) -> str:
    if command == "check":
        return "run it once" if place else "load it and run it once"
    if command == "unload":
        return "unload it" if place else "nothing: it is not in memory"
    if place is None:
        return "load it"
    return "bring it back from RAM" if place is Place.PARKED else "nothing: it is in memory"


def _place(slot: Slot, spec: ModelSpec) -> Place | None:
    return next((held.place for held in slot.held if held.model == spec.name), None)


def _target(name: str) -> tuple[ModelSpec, Fleet, list[Slot]]:
    """The model, and the living slots that are meant. Raises: ModelNotFound, Conflict, InvalidRequest."""
    spec = models().get(name)
    values, unknown = checked(_SLOT, body_of(request))
    if unknown:
        raise InvalidRequest(*(Problem(field, "unknown field") for field in unknown))
    if spec.executor != "diffusers":
        raise Conflict(f"model {name} has no weights: there is nothing to load")
    fleet = queries.fleet(store())
    fitting = [slot for slot in fleet.slots if name in slot.models and not slot.suspect]
    wanted = values["slot"]
    if wanted is not None and wanted not in [slot.name for slot in fitting]:
        names = ", ".join(slot.name for slot in fitting) or "none is there now"
        raise InvalidRequest(Problem("slot", f"must be a slot that runs {name}: {names}", wanted))
    if not fitting:
        raise Conflict(f"no running worker has model {name}")
    return spec, fleet, [slot for slot in fitting if wanted in (None, slot.name)]


def _grey_png(side_px: int = 64) -> bytes:
    """An input image for the check of a model that needs one."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\x80\x80\x80" * side_px) * side_px
    header = struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
