"""Framemill's own REST API: ``/v1/jobs``, ``/v1/models``, ``/v1/fleet``, ``/v1/queue``, ``/v1/events``, ``/v1/admin``.

Each module beside this one has the routes of one topic over :mod:`app.submit`, ``jobs`` and ``tasks.dispatch``; the
others have schemas of requests and views of responses.
"""

from __future__ import annotations

from app.openapi.document import Api
from app.protocols.native import admin, estimate, fleet, inputs, jobs, models, outputs, previews, usage, webhooks


def register(api: Api) -> None:
    """Add the routes."""
    for module in (jobs, estimate, inputs, outputs, previews, models, fleet, usage, admin, webhooks):
        api.register_blueprint(module.blueprint)
