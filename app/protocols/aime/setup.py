"""Register the protocol with the app."""

from __future__ import annotations

import re
from collections.abc import Iterable

from flask import Flask
from werkzeug.routing import BaseConverter

from app import extensions
from app.access import unrouted
from app.openapi.document import Api
from app.protocols.aime import pages
from app.protocols.aime.clients import routes as clients
from app.protocols.aime.endpoints.config import load_endpoints
from app.protocols.aime.endpoints.own_paths import OwnPaths
from app.protocols.aime.endpoints.served import ENDPOINTS
from app.protocols.aime.endpoints.spec import Endpoints
from app.protocols.aime.openapi import describe_endpoints
from app.protocols.aime.openapi_workers import describe_workers
from app.protocols.aime.unrouted import owner_of
from app.protocols.aime.workers import routes as workers
from app.protocols.aime.workers.memory import MEMORY, Memory
from app.protocols.aime.workers.sweeper import SWEEPER, WebSweeper
from jobs.models.registry import ModelRegistry
from jobs.settings import Settings


def register(app: Flask, api: Api, settings: Settings, models: ModelRegistry) -> None:
    """Serve every endpoint of ``ENDPOINTS_DIR``. All other protocols have been registered.

    Raises:
        BadSetting: names file, line and key.
    """
    # A service of a single slot serves the protocol of that slot alone.
    served = Endpoints() if settings.web.service_slot else load_endpoints(settings, models, OwnPaths(app))
    extensions.of(app).adapters[ENDPOINTS] = served
    extensions.of(app).adapters[SWEEPER] = WebSweeper(extensions.of(app))
    extensions.of(app).adapters[MEMORY] = Memory()
    app.url_map.converters["endpoint"] = _converter(served.by_name)
    app.url_map.converters["aime_page"] = pages.converter(served)
    for blueprint in (clients.blueprint, workers.blueprint, pages.blueprint):
        app.register_blueprint(blueprint)
    unrouted.register(app, owner_of(served))
    api.describe(lambda: describe_endpoints(api, served))
    api.describe(lambda: describe_workers(api))


def _converter(names: Iterable[str]) -> type[BaseConverter]:
    """Return a URL converter that matches the names of endpoints only, so that other paths reach their own routes."""

    class Name(BaseConverter):
        regex = "|".join(map(re.escape, names)) or "(?!)"

    return Name
