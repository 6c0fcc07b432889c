"""Creates the Flask app."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from flask import Flask, Response, request

from app import docs_page, errors, extensions, methods
from app.access import browser, forwarded
from app.bodies.json_output import FiniteJSONProvider
from app.console import pages as console_pages
from app.console import session
from app.openapi.document import Api, register_document
from app.probes import front_page, health, metrics
from app.protocols import native
from app.protocols.a1111 import routes as a1111
from app.protocols.aime import setup as aime
from app.protocols.devoid import routes as devoid
from app.protocols.huggingface import routes as huggingface
from app.protocols.lightx2v import routes as lightx2v
from app.protocols.mcp import routes as mcp
from app.protocols.openai import setup as openai
from app.protocols.replicate import routes as replicate
from app.server import overload, request_log, request_trace
from jobs import moderation
from jobs.models.backends import read_backends, registry_of
from jobs.models.registry import ModelRegistry
from jobs.process import tracing
from jobs.process.log import configure
from jobs.requests import enhancing
from jobs.settings import Settings
from jobs.startup import check_key_names
from jobs.store.credentials.api_keys import KeyRing
from jobs.store.measuring.families import REQUEST

#: Version of the installed package.
__version__ = version("framemill")


class App(Flask):
    """Flask for views that are ordinary functions."""

    def full_dispatch_request(self) -> Response:
        """Answer the current request, and measure how long it took until the response begins."""
        began = time.perf_counter()
        response = super().full_dispatch_request()
        # A method that no route has is whatever the client wrote. A WebSocket lasts as long as its client likes.
        rule = request.url_rule
        method, route = (request.method, rule.rule) if rule else ("", "")
        if rule is None or not rule.websocket:
            labels = (method, route, f"{response.status_code // 100}xx")
            extensions.of(self).store.measures.observe(REQUEST, *labels, seconds=time.perf_counter() - began)
        return response

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function. Flask itself looks ten times per request whether it is a coroutine."""
        return func


def create_app(settings: Settings | None = None) -> Flask:
    """Create an app with its own store, models and events.

    Args:
        settings: None: read from the environment.

    Raises:
        BadSetting: a setting or the models file is wrong.
    """
    settings = settings or Settings.from_env()
    configure(settings.process.log_level, settings.process.log_format)
    moderation.verify(settings)
    enhancing.verify(settings)
    registry = registry_of(settings)
    app = App("framemill", static_folder=None)
    app.url_map.strict_slashes = False  # paths with and without a trailing slash are served, without a redirect
    app.url_map.merge_slashes = False
    app.json = FiniteJSONProvider(app)
    app.config.update(
        MAX_CONTENT_LENGTH=settings.web.max_request_bytes,
        MAX_FORM_MEMORY_SIZE=settings.web.max_request_bytes,
    )
    trace = request_trace.trace_of_request if tracing.is_on() else None
    offered = _offered(registry, settings)
    store = extensions.install(app, settings, offered, note_job=request_log.note_job, trace=trace).store
    entries, services = settings.access.key_entries, settings.devoid.service_entries
    check_key_names(settings)
    if entries or services:
        store.until_written(lambda: KeyRing(store).seed(entries))
        store.until_written(lambda: KeyRing(store).seed_services(services))
    overload.register(app)
    request_log.register(app)
    browser.register(app, settings)
    api = Api(app, __version__)
    native.register(api)
    lightx2v.register(api)
    devoid.register(app, api)
    a1111.register(app, api)
    huggingface.register(api)
    mcp.register(api)
    replicate.register(app, api)
    openai.register(api)
    api.register_blueprint(session.blueprint)
    app.register_blueprint(console_pages.blueprint)
    api.register_blueprint(front_page.blueprint)
    api.register_blueprint(health.blueprint)
    api.register_blueprint(metrics.blueprint)
    register_document(app, api)
    docs_page.register_docs(app)
    aime.register(app, api, settings, registry)  # endpoints and their pages have the names that the others leave
    methods.register(app)
    errors.register(app)
    forwarded.register(app, settings)  # outermost: what proxies say counts for all others
    return app


def _offered(registry: ModelRegistry, settings: Settings) -> ModelRegistry:
    """Return the models of this service: all, or those that its only slot may run. Raises: BadSetting."""
    service_slot = settings.web.service_slot
    if not service_slot:
        return registry
    backend = read_backends(settings.paths.backends_file).get(service_slot)
    return ModelRegistry(backend.offered(registry) if backend else registry.for_slot(service_slot))
