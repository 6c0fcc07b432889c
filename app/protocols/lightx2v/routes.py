"""Registers LightX2V's routes."""

from __future__ import annotations

from flask_smorest import Api

from app.protocols.lightx2v import create, schemas, service, tasks


def register(api: Api) -> None:
    """Add the routes and the schema of a task."""
    api.spec.components.schema("LightX2VTask", schema=schemas.LightX2VTaskSchema)
    for module in (create, service, tasks):
        api.register_blueprint(module.blueprint)
