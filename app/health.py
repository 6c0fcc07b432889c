"""Probes: ``/healthz`` (the process responds) and ``/readyz`` (a job submitted now would be computed and delivered)."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify
from marshmallow import fields

from app.extensions import store
from app.openapi.answers import Answer, doc, texts
from app.openapi.blueprint import OF_PAGES, Blueprint
from jobs.errors import Unavailable
from jobs.store import queries

blueprint = Blueprint("health", __name__, tag="Health and metrics", security=(), common=OF_PAGES)


class HealthAnswer(Answer):
    """The process responds."""

    status = fields.String(**doc(enum=["ok"]))


class ReadyAnswer(Answer):
    """Whether a job submitted now would be computed and delivered."""

    status = fields.String(**doc(enum=["ready", "not ready"]))
    missing = texts("What is missing.")
    slots = texts("Slots with a worker.")
    delivery = texts("Hosts with a delivery worker.")



@blueprint.route("/health", endpoint="health")
@blueprint.route("/healthz")
@blueprint.response(200, HealthAnswer, description="The web process responds.")
def healthz() -> Response:
    """Liveness of the web process; says nothing about Redis or the workers."""
    return jsonify({"status": "ok"})


@blueprint.route("/readyz")
@blueprint.response(
    200, ReadyAnswer, description="Redis responds, and a GPU worker and a delivery worker are running."
)
@blueprint.alt_response(503, schema=ReadyAnswer, description="Not ready; `missing` says why.")
def readyz() -> tuple[Response, int]:
    """Readiness: whether a job submitted now would be computed and delivered."""
    missing: list[str] = []
    facts: dict[str, Any] = {"slots": [], "delivery": []}
    try:
        fleet = queries.fleet(store())
    except Unavailable:
        missing.append("Redis does not answer")
    else:
        facts["slots"] = [slot.name for slot in fleet.slots if not slot.suspect]
        facts["delivery"] = fleet.delivery_nodes
        missing += [f"jobs wait for model {name}, which no running worker has" for name in fleet.stuck_models]
        if not facts["slots"]:
            missing.append("no GPU worker is running (celery -A tasks worker -Q gpu0)")
        if not facts["delivery"]:
            missing.append("no delivery worker is running (celery -A tasks worker -Q io)")
    status = "ready" if not missing else "not ready"
    return jsonify({"status": status, "missing": missing, **facts}), 503 if missing else 200
