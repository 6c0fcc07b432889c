"""Registers the native API: ``/v1/jobs``, ``/v1/models``, ``/v1/fleet``, ``/v1/queue``, ``/v1/events``, ``/v1/admin``.

Each module beside this one has the routes of one topic over :mod:`app.submit`, ``jobs`` and ``tasks.dispatch``.
"""

from __future__ import annotations

from flask_smorest import Api

from app.protocols.native import admin, fleet, jobs, models, outputs, previews, schemas, webhooks


def register(api: Api) -> None:
    """Add the routes and the schema of a submission."""
    api.spec.components.schema("Submit", schema=schemas.SubmitSchema)
    api.spec.components.schema("CancelAll", schema=schemas.CancelAllSchema)
    for module in (jobs, outputs, previews, models, fleet, admin, webhooks):
        api.register_blueprint(module.blueprint)
