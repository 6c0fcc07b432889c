"""What operators do over HTTP: keys, pause, front of the queue, dead letters. Needs an admin's key."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request
from flask_smorest import Blueprint
from marshmallow import INCLUDE, Schema, fields, validate

from app import auth
from app.extensions import dispatcher, settings, store
from app.fields import Text, Whole, body_of, load
from app.protocols.native import schemas
from jobs.callers import CLASSES, Caller, Role
from jobs.errors import InvalidRequest, Problem
from jobs.outbound import webhook as webhooks
from jobs.slots.slot import ALL_SLOTS
from jobs.store import queries
from jobs.store.api_keys import KeyRing
from jobs.store.webhook_outbox import KeyWebhook, Outbox
from jobs.view import iso

blueprint = Blueprint("admin", __name__, url_prefix="/v1/admin", description="Operation; needs an admin's key")
auth.protect(blueprint)


class KeySchema(Schema):
    """A key to be made."""

    service = Text(required=True)
    role = Text(load_default="client", validate=validate.OneOf([*Role]))
    job_class = Text(load_default="general", data_key="class", validate=validate.OneOf(CLASSES))
    retention = Text(load_default="")
    max_waiting = Whole(load_default=0)
    max_running = Whole(load_default=0)
    max_per_minute = Whole(load_default=0)
    models = fields.List(Text(), load_default=list)
    endpoints = fields.List(Text(), load_default=list)
    may_skip_moderation = fields.Boolean(load_default=False)
    webhook_url = Text(allow_none=True, load_default=None)
    webhook_events = schemas.TextList(allow_none=True, load_default=None)


class PauseSchema(Schema):
    """What to pause."""

    slot = Text(allow_none=True, load_default=None)


_KEY, _PAUSE = KeySchema(unknown=INCLUDE), PauseSchema(unknown=INCLUDE)


def body(schema: Schema) -> dict[str, Any]:
    """An operator's request: a field nobody knows is a mistake. Raises: InvalidRequest, MalformedBody."""
    values, unknown = load(schema, body_of(request))
    if unknown:
        raise InvalidRequest(*(Problem(name, "unknown field") for name in unknown))
    return values


def _key_view(caller: Caller, webhook: KeyWebhook | None) -> dict[str, Any]:
    view = {**vars(caller), "service": caller.key_id, "class": caller.job_class}
    view["webhook"] = webhook and webhook_view(webhook)
    return {name: value for name, value in view.items() if name not in ("key_id", "job_class")}


def webhook_view(found: KeyWebhook) -> dict[str, Any]:
    """Where the events of a key's jobs go; ``gone_at``: since when the receiver wants none."""
    return {"url": found.webhook.url, "events": list(found.webhook.events), "gone_at": iso(found.gone_at_ms)}


@blueprint.route("/keys", methods=["GET"])
@blueprint.response(200, description="Every key, without its secret.")
def list_keys() -> Response:
    """List API keys."""
    auth.admin()
    outbox = Outbox(store())
    return jsonify({"keys": [_key_view(caller, outbox.of_key(caller.key_id)) for caller in KeyRing(store()).all()]})


@blueprint.route("/keys", methods=["POST"])
@blueprint.response(200, description="The key with its secret, which is shown this once.")
def create_key() -> Response:
    """Make an API key."""
    auth.admin()
    values = body(_KEY)
    url, events = values.pop("webhook_url"), values.pop("webhook_events")
    lists: dict[str, Any] = {name: tuple(values.pop(name)) for name in ("models", "endpoints")}
    caller = Caller(key_id=values.pop("service"), role=Role(values.pop("role")), **values, **lists)
    ring = KeyRing(store())
    if ring.is_empty() and not caller.is_admin:
        raise InvalidRequest(Problem("role", "the first key must be an admin's: with it the server stops being open"))
    webhook = webhooks.checked(url, events, settings()) if url else None
    secret = ring.create(caller)
    auth.keys_changed()
    shown = KeyWebhook(caller.key_id, webhook) if webhook else None
    answer = {**_key_view(caller, shown), "secret": secret}
    if webhook:
        answer["webhook_secret"] = Outbox(store()).configure(caller.key_id, webhook, renew=True)
    return jsonify(answer)


@blueprint.route("/keys/<service>", methods=["DELETE"])
@blueprint.response(200, description="Revoked; requests with it are refused from now on. Its jobs stay.")
def revoke_key(service: str) -> Response:
    """Revoke an API key."""
    auth.admin()
    KeyRing(store()).revoke(service)
    auth.keys_changed()
    return jsonify({"service": service, "revoked": True})


@blueprint.route("/pause", methods=["POST"])
@blueprint.response(200, description="What is paused now.")
def pause() -> Response:
    """Give one slot (or, without `slot`, the whole queue) no more jobs; running ones go on."""
    return _pause(resume=False)


@blueprint.route("/resume", methods=["POST"])
@blueprint.response(200, description="What is paused now.")
def resume() -> Response:
    """End a pause."""
    return _pause(resume=True)


def _pause(*, resume: bool) -> Response:
    auth.admin()
    slot = body(_PAUSE)["slot"] or ALL_SLOTS
    fleet = queries.fleet(store())
    known = {ALL_SLOTS, *(slot.name for slot in fleet.slots), *fleet.paused}
    if slot not in known:
        raise InvalidRequest(Problem("slot", f"must be one of {', '.join(sorted(known))}", slot))
    dispatcher().pause(slot, resume=resume)
    return jsonify({"paused": queries.fleet(store()).paused})


@blueprint.route("/dead", methods=["GET"])
@blueprint.response(200, description="Jobs that were given up because their workers died, newest first.")
def dead() -> Response:
    """List dead letters; `POST /v1/tasks/{id}/retry` sends one again."""
    auth.admin()
    found = queries.dead(store())
    return jsonify({"dead": [{"task_id": job.job_id, "model": job.request.model, "error": job.error} for job in found]})
