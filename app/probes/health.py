"""Probes: ``/healthz`` (the process responds) and ``/readyz`` (a job submitted now would be computed and delivered)."""

from __future__ import annotations

from dataclasses import asdict

from flask import Response, jsonify
from marshmallow import fields

from app.openapi.answers import Answer, doc, texts
from app.openapi.blueprint import OF_PAGES, Blueprint
from app.probes import readiness

blueprint = Blueprint("health", __name__, tag="Health and metrics", security=(), common=OF_PAGES)


class HealthAnswer(Answer):
    """The process responds."""

    status = fields.String(**doc(enum=["ok"]))


class ReadyAnswer(Answer):
    """Whether a job submitted now would be computed and delivered."""

    status = fields.String(**doc(enum=["ready", "not ready"]))
    missing = texts("Why a job submitted now would not be computed and delivered.")
    warnings = texts("What does not stop jobs yet, such as a disk that is almost full.")
    slots = texts("Slots with a worker.")
    delivery = texts("Hosts with a delivery worker.")


@blueprint.route("/health", endpoint="health")
@blueprint.route("/healthz")
@blueprint.response(200, HealthAnswer, description="The web process responds.")
def healthz() -> Response:
    """Liveness of the web process; says nothing about Redis or the workers."""
    return jsonify({"status": "ok"})


@blueprint.route("/readyz")
@blueprint.response(200, ReadyAnswer, description="Jobs can be accepted, computed and delivered.")
@blueprint.alt_response(503, schema=ReadyAnswer, description="Not ready; `missing` says why.")
def readyz() -> tuple[Response, int]:
    """Readiness: whether a job submitted now would be computed and delivered."""
    now = readiness.of_this_server()
    status = "not ready" if now.missing else "ready"
    return jsonify({"status": status, **asdict(now)}), 503 if now.missing else 200
