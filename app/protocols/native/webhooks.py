"""Webhooks: set those of a key, and show and repeat the deliveries of a job."""

from __future__ import annotations

from typing import Any, Literal

from flask import Response, jsonify, request
from marshmallow import INCLUDE, Schema, validate

from app.access import auth
from app.extensions import settings, store
from app.fields import Flag, Text, TextSchema, Whole, body_of, load, query_of
from app.openapi.blueprint import Blueprint
from app.protocols.native import admin
from app.protocols.native.wire import answers, fleet_answers, schemas
from jobs.callers import Caller
from jobs.errors import Conflict, InvalidRequest, KeyNotFound, Problem
from jobs.job_view import iso
from jobs.outbound import webhook as webhooks
from jobs.outbound.webhook import EVENTS, Webhook
from jobs.record import Job
from jobs.store.credentials.api_keys import KeyRing
from jobs.store.outgoing.webhook_outbox import MAX_INDEXED, Delivery, KeyWebhook, TriedDelivery, WebhookOutbox

blueprint = Blueprint("webhooks", __name__, url_prefix="/v1", tag="Framemill: webhooks")
auth.protect(blueprint)


class KeyWebhookSchema(Schema):
    """Webhook of a key's jobs."""

    url = Text(allow_none=True, load_default=None)
    events = schemas.TextList(EVENTS, allow_none=True, load_default=None)
    new_secret = Flag(load_default=False)


class ResendSchema(Schema):
    """Which deliveries to repeat."""

    event = Text(allow_none=True, load_default=None, validate=validate.OneOf(EVENTS))


class NewestSchema(TextSchema):
    """Which of the newest deliveries."""

    class Meta:
        unknown = INCLUDE

    failed = Flag(load_default=False)
    limit = Whole(load_default=100, validate=validate.Range(1, MAX_INDEXED, error="must be {min} to {max}"))


_KEY_WEBHOOK, _RESEND, _NEWEST = KeyWebhookSchema(unknown=INCLUDE), ResendSchema(unknown=INCLUDE), NewestSchema()
_NEWEST_PARAMETERS = [
    {"in": "query", "name": "failed", "description": "Only those that were not delivered and have no further try.",
     "schema": {"type": "boolean", "default": False}},
    {"in": "query", "name": "limit", "description": "How many.",
     "schema": {"type": "integer", "minimum": 1, "maximum": MAX_INDEXED, "default": 100}},
]  # fmt: skip


def requested(values: dict[str, Any], caller: Caller) -> Webhook | Literal[False] | None:
    """Return the webhook of a submission: None is the key's webhook, False is no webhook. Raises: InvalidRequest."""
    url, events = values.get("webhook_url"), values.get("webhook_events")
    if url is None:
        if events is not None:
            raise InvalidRequest(Problem("webhook_events", "needs a webhook_url"))
        return None
    if not url:
        return False
    webhook = webhooks.checked(url, events, settings())
    if not WebhookOutbox(store()).secrets(caller.key_id):
        rule = "needs a secret that signs: the setting WEBHOOK_SECRET, or a webhook secret of this key"
        raise InvalidRequest(Problem("webhook_url", rule))
    return webhook


@blueprint.route("/jobs/<job_id>/webhooks", methods=["GET"])
@blueprint.response(
    200,
    answers.DeliveriesAnswer,
    description="The receiver, and for each event its tries and the time of the next one.",
)
@blueprint.error(404, "Unknown id.")
def get_deliveries(job_id: str) -> Response:
    """Show the webhook deliveries of a job."""
    return jsonify(_log_view(auth.visible_job(job_id)))


@blueprint.route("/jobs/<job_id>/webhooks/resend", methods=["POST"])
@blueprint.body(ResendSchema, {"event": "job.succeeded"})
@blueprint.response(200, answers.DeliveriesAnswer, description="The deliveries; the events are sent again now.")
@blueprint.error(404, "Unknown id.")
@blueprint.error(409, "There is no delivery to repeat.")
def resend_deliveries(job_id: str) -> Response:
    """Send all events of a job again, or one (`event`), under the same `webhook-id`."""
    job = auth.visible_job(job_id)
    if not WebhookOutbox(store()).resend(job_id, schemas.strict(_RESEND, body_of(request))["event"] or ""):
        raise Conflict("this job has no webhook deliveries")
    return jsonify(_log_view(job))


@blueprint.route("/admin/webhooks", methods=["GET"])
@blueprint.doc(parameters=_NEWEST_PARAMETERS)
@blueprint.response(200, answers.NewestDeliveriesAnswer, description="The deliveries that were tried last.")
@blueprint.error(422, "A parameter is wrong; the error names it.")
def get_newest_deliveries() -> Response:
    """List the newest webhook deliveries of all jobs; needs an admin's key."""
    auth.admin()
    query, _ = load(_NEWEST, query_of(request))
    newest = WebhookOutbox(store()).newest(query["limit"], given_up=query["failed"])
    return jsonify({"deliveries": [_tried_view(one) for one in newest]})


@blueprint.route("/admin/keys/<service>/webhook", methods=["PUT"])
@blueprint.body(KeyWebhookSchema, {"url": "https://example.com/hook", "events": ["job.succeeded"]})
@blueprint.response(200, fleet_answers.ServiceWebhookAnswer, description="The webhook.")
@blueprint.error(404, "There is no key for this service.")
def put_key_webhook(service: str) -> Response:
    """Set the webhook of a key's jobs (`url`, `events`), or renew its secret; needs an admin's key."""
    auth.admin()
    values, outbox = schemas.strict(_KEY_WEBHOOK, body_of(request)), WebhookOutbox(store())
    known = outbox.of_key(service)
    if values["url"] is None:
        if values["events"] is not None:
            raise InvalidRequest(Problem("events", "needs a url"))
        webhook = known.webhook if known else None
    else:
        webhook = webhooks.checked(values["url"], values["events"], settings(), fields=("url", "events"))
    secret = outbox.configure(service, webhook, renew=values["new_secret"])
    shown = webhook and admin.webhook_view(KeyWebhook(service, webhook))
    return jsonify({"service": service, "webhook": shown, **({"secret": secret} if secret else {})})


@blueprint.route("/admin/keys/<service>/webhook", methods=["DELETE"])
@blueprint.response(
    200,
    fleet_answers.ServiceWebhookAnswer,
    description="Later jobs have no webhook unless they name one; the secret is deleted.",
)
@blueprint.error(404, "There is no key for this service.")
def delete_key_webhook(service: str) -> Response:
    """Remove the webhook of a key and its secret; needs an admin's key."""
    auth.admin()
    if service not in {caller.key_id for caller in KeyRing(store()).all()}:
        raise KeyNotFound(f"there is no key for {service[:64]!r}")
    WebhookOutbox(store()).remove(service)
    return jsonify({"service": service, "webhook": None})


def _log_view(job: Job) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "url": job.webhook and job.webhook.url,
        "events": list(job.webhook.events) if job.webhook else [],
        "deliveries": [_delivery_view(delivery) for delivery in WebhookOutbox(store()).log(job.job_id)],
    }


def _delivery_view(delivery: Delivery) -> dict[str, Any]:
    return {
        "webhook_id": delivery.message_id,
        "event": delivery.event,
        "state": delivery.state,
        "written_at": iso(delivery.written_at),
        "next_try_at": iso(delivery.next_at),
        "tries": [{**one, "at": iso(one["at"])} for one in delivery.tries],
    }


def _tried_view(tried: TriedDelivery) -> dict[str, Any]:
    delivery = tried.delivery
    last = delivery.tries[-1] if delivery.tries else {}
    return {
        "job_id": delivery.job_id,
        "key": tried.key_id,
        "event": delivery.event,
        "receiver": tried.receiver,
        "state": delivery.state,
        "attempts": len(delivery.tries),
        "status": last.get("status"),
        "error": last.get("error") or None,
        "tried_at": iso(last.get("at")),
        "next_try_at": iso(delivery.next_at),
    }
