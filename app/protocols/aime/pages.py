"""The demo page of each endpoint, and the pages that its configuration file lists."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, abort, render_template_string, request, send_file, send_from_directory
from jinja2.sandbox import SandboxedEnvironment

from app.access import browser
from app.protocols.aime.endpoints.served import endpoints
from app.protocols.aime.endpoints.spec import Endpoint

blueprint = Blueprint("aime_demo", __name__)

ASSETS = Path(__file__).parent / "assets"
FILES = ("demo.js", "demo.css")
#: Content-Security-Policy of the demo page, which shows results and previews from data: URLs.
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
#: The same of pages that an operator wrote, which may have scripts within them and libraries from elsewhere.
OPERATOR_POLICY = (
    "default-src 'self' https: data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'self'"
)


@blueprint.get("/<endpoint:name>/demo")
@browser.page
def page(name: str) -> Response:
    """Return the demo page: a form with the inputs of the endpoint."""
    text = (ASSETS / "demo.html").read_text(encoding="utf-8")
    endpoint = endpoints().by_name[name]
    response = Response(render_template_string(text, base=request.script_root, endpoint=endpoint))
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


@blueprint.get("/api/demo/<name>")
def asset(name: str) -> Response:
    """Return a script or style sheet of the demo page."""
    if name not in FILES:
        abort(404)
    return send_from_directory(ASSETS, name, max_age=3600)


@blueprint.get("/<endpoint:name>/pages/<path:slug>")
@browser.page
def configured_page(name: str, slug: str) -> Response:
    """Return a page that the endpoint's configuration file lists."""
    endpoint = endpoints().by_name[name]
    path, is_template = endpoint.pages.get(slug.strip("/"), (None, False))
    if path is None:
        abort(404)
    response = _rendered(path, endpoint) if is_template else send_file(path)
    response.headers["Content-Security-Policy"] = OPERATOR_POLICY
    response.headers["X-Frame-Options"] = "SAMEORIGIN"
    return response


def _rendered(path: Path, endpoint: Endpoint) -> Response:
    template = SandboxedEnvironment(autoescape=True).from_string(path.read_text(encoding="utf-8"))
    values = {"endpoint_title": endpoint.title, "endpoint_name": endpoint.name, "endpoint_demo_url": endpoint.demo_url}
    return Response(template.render(**values))
