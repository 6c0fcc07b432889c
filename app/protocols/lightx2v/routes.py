"""Registers LightX2V's routes."""

from __future__ import annotations

from app.openapi.document import Api
from app.protocols.lightx2v import answers, create, first_version, service, tasks


def register(api: Api) -> None:
    """Add the routes."""
    listed = answers.LightX2VListedAnswer
    api.describe(lambda: api.spec.components.schema("LightX2VListedAnswer", schema=listed))
    for module in (create, service, tasks, first_version):
        api.register_blueprint(module.blueprint)
