"""Registers the native API: ``/v1/jobs``, ``/v1/models``, ``/v1/fleet``, ``/v1/queue``, ``/v1/events``, ``/v1/admin``.

Each module beside this one has the routes of one topic over :mod:`app.submit`, ``jobs`` and ``tasks.dispatch``.
"""

from __future__ import annotations

from app.openapi.document import Api
from app.protocols.native import admin, draining, estimate, fleet, inputs, jobs, models, outputs, previews, webhooks


def register(api: Api) -> None:
    """Add the routes."""
    for module in (jobs, estimate, inputs, outputs, previews, models, fleet, admin, draining, webhooks):
        api.register_blueprint(module.blueprint)
