"""Models: what they can generate and where they are loaded; for admins also load, unload, pin and check."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from flask import Response, jsonify, request
from marshmallow import INCLUDE, Schema, fields, validate

from app.access import addresses, auth
from app.extensions import dispatcher, models, objects, store
from app.fields import Text, Whole, body_of
from app.fleet import now as fleet_now
from app.media import check_files
from app.openapi.blueprint import Blueprint, View
from app.payloads import openai_models
from app.protocols.native.wire import fleet_answers as answers
from app.protocols.native.wire import views
from app.protocols.native.wire.schemas import strict
from jobs import model_commands as commands
from jobs.errors import Conflict, InvalidRequest, Problem, Unavailable
from jobs.job_view import links
from jobs.models.spec import Kind, ModelSpec
from jobs.record import new_job_id
from jobs.slots.residency import Place
from jobs.slots.slot import Slot
from jobs.store import pins
from jobs.store.queries import Fleet
from jobs.submission import Submission

blueprint = Blueprint("models", __name__, url_prefix="/v1/models", tag="Framemill: models")
auth.protect(blueprint)


class SlotSchema(Schema):
    """The slot of a model command; without it, every slot that may run the model."""

    slot = Text(allow_none=True, load_default=None)


class CheckSchema(SlotSchema):
    """The slot of a check, and the kind of job that it computes; without them, one that suits."""

    kind = Text(allow_none=True, load_default=None)


_SIZE = re.compile(r"^[1-9][0-9]{1,4}x[1-9][0-9]{1,4}$")


def _list_of(each: fields.Field[Any]) -> fields.List:
    rule = f"must have at most {commands.MOST_ENTRIES} entries"
    return fields.List(each, load_default=list, validate=validate.Length(max=commands.MOST_ENTRIES, error=rule))


class ProfileSchema(SlotSchema):
    """The slot of a profile, and the sizes and numbers of jobs that it measures; without them, those that suit."""

    sizes = _list_of(Text(validate=validate.Regexp(_SIZE, error="must be a size such as 1024x768")))
    batches = _list_of(
        Whole(validate=validate.Range(1, commands.MOST_JOBS, error="must be between {min} and {max}"))
    )


_SLOT, _CHECK, _PROFILE = (schema(unknown=INCLUDE) for schema in (SlotSchema, CheckSchema, ProfileSchema))


def _command(status: int, text: str, conflict: str = "", schema: type[Schema] = SlotSchema) -> Callable[[View], View]:
    """Document a model command.

    Args:
        status: of a command that submits jobs (202), or does not (200).
        text: description of that response.
        conflict: when it responds with 409 instead.
        schema: of its body.
    """

    def document(view: View) -> View:
        decorators = [
            blueprint.body(schema, {}),
            blueprint.response(status, answers.ModelCommandAnswer, description=text),
            blueprint.error(404, "There is no such model."),
            blueprint.error(409, conflict or "No running worker has the model, or the model has no weights."),
        ]
        if status == 202:
            nothing = "There is nothing to do."
            decorators += [
                blueprint.alt_response(200, schema=answers.ModelCommandAnswer, description=nothing),
                blueprint.error(429, "Too many jobs are waiting; `Retry-After` has the seconds to wait."),
            ]
        for decorator in decorators:
            view = decorator(view)
        return view

    return document


@blueprint.route("", methods=["GET"])
@blueprint.response(
    200,
    answers.ModelsAnswer,
    description="Models with kinds, defaults, limits, and the slots that have them in memory.",
)
def get_models() -> Response:
    """List the models; `object` and `data` are for clients of OpenAI's API."""
    fleet = None
    with suppress(Unavailable):  # the models file is known without Redis
        fleet = fleet_now()
    shown = [views.model_view(spec, fleet) for spec in models()]
    return jsonify({"models": shown, "object": "list", "data": openai_models.all_entries()})


@blueprint.route("/<name>/load", methods=["POST"])
@_command(202, "For each slot, what will happen and the job that does it.")
def load_model(name: str) -> tuple[Response, int]:
    """Load a model on one slot (`slot`), or on every slot that may run it."""
    return _run("load", name)


@blueprint.route("/<name>/unload", methods=["POST"])
@_command(202, "For each slot, what will happen and the job that does it.", "The model is pinned, or no worker has it.")
def unload_model(name: str) -> tuple[Response, int]:
    """Remove a model from memory, between two jobs."""
    return _run("unload", name)


@blueprint.route("/<name>/check", methods=["POST"])
@_command(202, "The job that does it; its `report` has the measurements.", schema=CheckSchema)
def run_check(name: str) -> tuple[Response, int]:
    """Load a model and run one `kind` once on one slot (`slot`; default: one that has it in memory, else the first)."""
    return _run("check", name)


@blueprint.route("/<name>/profile", methods=["POST"])
@_command(202, "The job that does it; its `report` has the measurements.", schema=ProfileSchema)
def run_profile(name: str) -> tuple[Response, int]:
    """Measure how many jobs of a model pay to be computed together, and write its table on the host of the slot."""
    auth.admin()
    spec, _, slots = _target(name)
    wanted, slot = strict(_PROFILE, body_of(request)), _suitable(slots, spec)
    sizes = [(int(width), int(height)) for width, height in (size.split("x") for size in wanted["sizes"])]
    submission = commands.profile_submission(
        models(), spec, slot.name, sizes=sizes, batches=wanted["batches"], caller=auth.caller()
    )
    return _response(spec, "profile", [{"slot": slot.name, "will": "measure it", **_submitted(submission)}])


@blueprint.route("/<name>/pin", methods=["POST"])
@_command(202, "Pinned on each slot, with the job that loads it.")
def pin_model(name: str) -> tuple[Response, int]:
    """Pin a model: load it and keep it in memory from now on, also after a restart."""
    auth.admin()
    spec, _, slots = _target(name)
    for slot in slots:
        pins.set_pin(store(), slot.name, spec.name, pinned=True)
    return _run("load", name)


@blueprint.route("/<name>/unpin", methods=["POST"])
@_command(200, "Unpinned; the model stays in memory until the space is needed.")
def unpin_model(name: str) -> tuple[Response, int]:
    """Unpin a model, also one that `keep` in the models file pins."""
    auth.admin()
    spec, _, slots = _target(name)
    for slot in slots:
        pins.set_pin(store(), slot.name, spec.name, pinned=False)
    return _response(spec, "unpin", [{"slot": slot.name, "will": "stay until the space is needed"} for slot in slots])


def _run(command: str, name: str) -> tuple[Response, int]:
    """Submit the jobs of a model command, one for each slot where something changes. Raises: Conflict."""
    auth.admin()
    spec, fleet, slots = _target(name)
    if command == "check" and len(slots) > 1:
        slots = [_suitable(slots, spec)]
    if command == "unload" and (pinned := [slot.name for slot in slots if pins.is_pinned(fleet.pins, slot.name, spec)]):
        raise Conflict(f"model {spec.name} is pinned on {', '.join(pinned)}: unpin it first")
    kind = _kind(spec) if command == "check" else commands.default_kind(spec)
    files = check_files.stored_for(spec, kind, objects(), store()) if command == "check" else {}
    return _response(spec, command, [_entry(command, spec, slot, kind, files) for slot in slots])


def _kind(spec: ModelSpec) -> Kind:
    """Return the kind that a check computes. Raises: InvalidRequest: the model does not offer it."""
    requested = strict(_CHECK, body_of(request))["kind"]
    if requested is None:
        return commands.default_kind(spec)
    if requested not in spec.kinds:
        rule = f"must be one of {', '.join(spec.kinds)} for model {spec.name}"
        raise InvalidRequest(Problem("kind", rule, requested))
    return Kind(requested)


def _entry(command: str, spec: ModelSpec, slot: Slot, kind: Kind, files: dict[str, str]) -> dict[str, Any]:
    """Return what the command does on a slot, and submit the job that does it, if any."""
    will = _will(command, _place(slot, spec))
    entry: dict[str, Any] = {"slot": slot.name, "will": will}
    if not will.startswith("nothing"):
        submission = commands.submission(
            command, models(), spec, slot.name, kind=kind, files=files, caller=auth.caller()
        )
        entry |= _submitted(submission)
    return entry


def _submitted(submission: Submission) -> dict[str, Any]:
    """Submit the job of a command; return what is shown of it."""
    submitted = dispatcher().submit(submission, new_job_id(), chosen_by_client=False)
    job_id = submitted.job.job_id
    shown = links(job_id, auth.signer(), addresses.prefix())
    return {"job_id": job_id, "position": submitted.forecast.position, "links": shown}


def _suitable(slots: list[Slot], spec: ModelSpec) -> Slot:
    """Return a slot that has the model in memory, else the first one."""
    return next((slot for slot in slots if _place(slot, spec)), slots[0])


def _response(spec: ModelSpec, command: str, entries: list[dict[str, Any]]) -> tuple[Response, int]:
    queued = any("job_id" in entry for entry in entries)
    return jsonify({"model": spec.name, "command": command, "slots": entries}), 202 if queued else 200


def _will(command: str, place: Place | None) -> str:
    """Return what a command does on a slot that has the model in this place (None: not in memory)."""
    if command == "check":
        return "run it once" if place else "load it and run it once"
    if command == "unload":
        return "unload it" if place else "nothing: it is not in memory"
    if place is None:
        return "load it"
    return "bring it back from RAM" if place is Place.PARKED else "nothing: it is in memory"


def _place(slot: Slot, spec: ModelSpec) -> Place | None:
    return next((held.place for held in slot.loaded_models if held.model == spec.name), None)


def _target(name: str) -> tuple[ModelSpec, Fleet, list[Slot]]:
    """Return the model, the fleet, and the slots that the command is for.

    Raises:
        ModelNotFound, Conflict, InvalidRequest.
    """
    spec = models().get(name)
    schema = {"check": _CHECK, "profile": _PROFILE}.get(request.path.rpartition("/")[2], _SLOT)
    requested_slot = strict(schema, body_of(request))["slot"]
    if not spec.loadable:
        raise Conflict(f"model {name} has no weights to load")
    fleet = fleet_now()
    slots = [slot for slot in fleet.slots if name in slot.models and not slot.suspect]
    if requested_slot is not None and requested_slot not in [slot.name for slot in slots]:
        names = ", ".join(slot.name for slot in slots) or "none is available now"
        raise InvalidRequest(Problem("slot", f"must be a slot that runs {name}: {names}", requested_slot))
    if not slots:
        raise Conflict(f"no running worker has model {name}")
    return spec, fleet, [slot for slot in slots if requested_slot in (None, slot.name)]
