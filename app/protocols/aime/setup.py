"""Adding the protocol to the app."""

from __future__ import annotations

from flask import Flask
from flask_smorest import Api
from werkzeug.routing import BaseConverter, ValidationError

from app import extensions
from app.protocols.aime import pages
from app.protocols.aime.clients import routes as clients
from app.protocols.aime.endpoints.config import read_endpoints
from app.protocols.aime.endpoints.served import ENDPOINTS
from app.protocols.aime.endpoints.spec import Endpoints
from app.protocols.aime.openapi import describe
from app.protocols.aime.workers import routes as workers
from app.protocols.aime.workers.sweeper import SWEEPER, WebSweeper
from jobs.models.registry import ModelRegistry
from jobs.settings import Settings


def register(app: Flask, api: Api, settings: Settings, models: ModelRegistry) -> None:
    """Serve every endpoint of ``ENDPOINTS_DIR``.

    Raises:
        BadSetting: names file, line and key.
    """
    # A service of one slot shows nothing but that slot.
    found = Endpoints() if settings.web.service_slot else read_endpoints(settings, models)
    extensions.of(app).adapters[ENDPOINTS] = found
    extensions.of(app).adapters[SWEEPER] = WebSweeper(extensions.of(app))
    app.url_map.converters["endpoint"] = _converter(found)
    for blueprint in (clients.blueprint, workers.blueprint, pages.blueprint):
        app.register_blueprint(blueprint)
    describe(api, found)


def _converter(endpoints: Endpoints) -> type[BaseConverter]:
    """A part of a path that is the name of an endpoint; other paths stay what they are."""

    class Name(BaseConverter):
        def to_python(self, value: str) -> str:
            if value not in endpoints.by_name:
                raise ValidationError
            return value

    return Name
