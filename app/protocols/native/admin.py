"""Operation: API keys, pauses and dead letters. Every route needs an admin's key."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from flask import Response, jsonify, request
from marshmallow import INCLUDE, Schema, validate

from app.access import auth
from app.bodies.json_output import json_body, json_response
from app.extensions import settings, store
from app.fields import Flag, Items, Text, Whole, body_of
from app.openapi.blueprint import Blueprint
from app.protocols.native.wire import fleet_answers as answers
from app.protocols.native.wire import schemas
from jobs.callers import ANYBODY, Caller, Role
from jobs.errors import Forbidden, InvalidRequest, Problem
from jobs.files import disks
from jobs.job_view import iso
from jobs.outbound import webhook as webhooks
from jobs.outbound.webhook import EVENTS
from jobs.settings import CLASSES
from jobs.slots.slot import ALL_SLOTS
from jobs.store import queries
from jobs.store.credentials.api_keys import HOW_TO_MAKE_A_KEY, MAX_PARSED, KeyRing
from jobs.store.outgoing.webhook_outbox import KeyWebhook, WebhookOutbox

blueprint = Blueprint("admin", __name__, url_prefix="/v1/admin", tag="Framemill: keys and operation")
auth.protect(blueprint)


#: Most models and paths of a key.
MAX_NAMED = 1000


class KeySchema(Schema):
    """A new API key."""

    service = Text(required=True)
    role = Text(load_default="client", validate=validate.OneOf([*Role]))
    job_class = Text(load_default="general", data_key="class", validate=validate.OneOf(CLASSES))
    retention = Text(load_default="")
    max_waiting = Whole(load_default=0)
    max_running = Whole(load_default=0)
    max_per_minute = Whole(load_default=0)
    models = Items(Text(), MAX_NAMED, load_default=list)
    endpoints = Items(Text(), MAX_NAMED, load_default=list)
    may_skip_moderation = Flag(load_default=False)
    webhook_url = Text(allow_none=True, load_default=None)
    webhook_events = schemas.TextList(EVENTS, allow_none=True, load_default=None)


class PauseSchema(Schema):
    """The slot to pause or resume; without it, the whole queue."""

    slot = Text(allow_none=True, load_default=None)


_KEY, _PAUSE = KeySchema(unknown=INCLUDE), PauseSchema(unknown=INCLUDE)


def _key_view(caller: Caller, webhook: KeyWebhook | None) -> dict[str, Any]:
    view = {**vars(caller), "service": caller.key_id, "class": caller.job_class}
    view["webhook"] = webhook and webhook_view(webhook)
    return {name: value for name, value in view.items() if name not in ("key_id", "job_class")}


@lru_cache(maxsize=MAX_PARSED)
def _key_body(caller: Caller, webhook: KeyWebhook | None) -> bytes:
    return json_body(_key_view(caller, webhook)).strip()


def webhook_view(configured: KeyWebhook) -> dict[str, Any]:
    """Return the webhook of a key. ``gone_at``: when the receiver answered 410 and was given up."""
    webhook = configured.webhook
    return {"url": webhook.url, "events": list(webhook.events), "gone_at": iso(configured.gone_at_ms)}


@blueprint.route("/keys", methods=["GET"])
@blueprint.response(200, answers.KeysAnswer, description="Every key without its secret.")
def get_keys() -> Response:
    """List API keys."""
    auth.admin()
    configured = WebhookOutbox(store()).of_all_keys()
    views = [_key_body(caller, configured.get(caller.key_id)) for caller in KeyRing(store()).all()]
    return json_response(b'{"keys":[' + b",".join(views) + b"]}\n")


@blueprint.route("/keys", methods=["POST"])
@blueprint.body(KeySchema, {"service": "shop", "role": "client", "max_waiting": 20})
@blueprint.response(200, answers.NewKeyAnswer, description="The key with its secret, which is shown only this once.")
@blueprint.error(409, "The service has a key.")
@blueprint.error(403, "The key is no admin's, or the server has no keys yet.")
def create_key() -> Response:
    """Create an API key."""
    if auth.admin() == ANYBODY:
        raise Forbidden(f"without API keys this server makes none over HTTP: {HOW_TO_MAKE_A_KEY}")
    values = schemas.strict(_KEY, body_of(request))
    url, events = values.pop("webhook_url"), values.pop("webhook_events")
    lists: dict[str, Any] = {name: tuple(values.pop(name)) for name in ("models", "endpoints")}
    caller = Caller(key_id=values.pop("service"), role=Role(values.pop("role")), **values, **lists)
    if events is not None and not url:
        raise InvalidRequest(Problem("webhook_events", "needs a webhook_url"))
    webhook = webhooks.checked(url, events, settings()) if url else None
    secret = KeyRing(store()).create(caller)
    auth.keys_changed()
    shown = KeyWebhook(caller.key_id, webhook) if webhook else None
    view = {**_key_view(caller, shown), "secret": secret}
    if webhook:
        view["webhook_secret"] = WebhookOutbox(store()).configure(caller.key_id, webhook, renew=True)
    return jsonify(view)


@blueprint.route("/keys/<service>", methods=["DELETE"])
@blueprint.response(
    200, answers.RevokedKeyAnswer, description="Requests with this key are refused from now on. Its jobs stay."
)
@blueprint.error(404, "There is no key for this service.")
@blueprint.error(409, "It is the last key of an admin, or the last key.")
def revoke_key(service: str) -> Response:
    """Revoke an API key."""
    auth.admin()
    KeyRing(store()).revoke(service)
    auth.keys_changed()
    return jsonify({"service": service, "revoked": True})


@blueprint.route("/pause", methods=["POST"])
@blueprint.body(PauseSchema, {})
@blueprint.response(200, answers.PausedAnswer, description="Everything that is paused now.")
def pause_slots() -> Response:
    """Stop assigning jobs to one slot (without `slot`: to all). Running jobs continue."""
    return _pause(resume=False)


@blueprint.route("/resume", methods=["POST"])
@blueprint.body(PauseSchema, {})
@blueprint.response(200, answers.PausedAnswer, description="Everything that is paused now.")
def resume_slots() -> Response:
    """End a pause."""
    return _pause(resume=True)


def _pause(*, resume: bool) -> Response:
    auth.admin()
    slot = schemas.strict(_PAUSE, body_of(request))["slot"] or ALL_SLOTS
    known = {ALL_SLOTS, *queries.slot_names(store()), *queries.paused(store())}
    if slot not in known:
        raise InvalidRequest(Problem("slot", f"must be one of {', '.join(sorted(known))}", slot))
    store().pause_slots(slot, resume=resume)
    return jsonify({"paused": queries.paused(store())})


@blueprint.route("/dead", methods=["GET"])
@blueprint.response(
    200,
    answers.DeadLettersAnswer,
    description="Jobs that failed because their workers died too often, newest first.",
)
def get_dead_letters() -> Response:
    """List dead letters; `POST /v1/jobs/{id}/retry` submits one again."""
    auth.admin()
    jobs = queries.dead(store())
    return jsonify({"dead": [{"id": job.job_id, "model": job.request.model, "error": job.error} for job in jobs]})


@blueprint.route("/storage", methods=["GET"])
@blueprint.response(200, answers.StorageAnswer, description="The bucket or the folder, the retention, and the disks.")
def get_storage() -> Response:
    """Show where files are stored, how many, how long they are kept, and the space on the disks of this host."""
    auth.admin()
    retention, bucket, counted = settings().retention, settings().s3.bucket, store().file_counts()
    free, total = disks.free_bytes(settings()), disks.total_bytes(settings())
    return jsonify(
        {
            "bucket": bucket or None,
            "retention": {"default": retention.default_class, "days": retention.days, "hours": retention.hours},
            "stored": counted
            and {
                "inputs": vars(counted.inputs),
                "outputs": vars(counted.outputs),
                "checkpoints": vars(counted.checkpoints),
                "counted_at": iso(counted.ended_at_ms),
            },
            "disks": [{"name": name, "free_bytes": free[name], "total_bytes": total[name]} for name in sorted(free)],
        }
    )
