"""The demo page of each endpoint, and the files that configuration files publish at addresses of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePath

from flask import Blueprint, Response, abort, render_template_string, request, send_file, send_from_directory
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter
from werkzeug.security import safe_join

from app.access import browser
from app.protocols.aime.endpoints import templates
from app.protocols.aime.endpoints.served import endpoints
from app.protocols.aime.endpoints.spec import Endpoints, Page

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


@blueprint.get("/<aime_page:address>")
@browser.page
def published(address: str) -> Response:
    """Return a file that a configuration file publishes at this address."""
    page, path = _find(address)
    response = Response(templates.render(page)) if page.template_folders else send_file(path)
    response.headers["Content-Security-Policy"] = OPERATOR_POLICY
    response.headers["X-Frame-Options"] = "SAMEORIGIN"
    return response


def converter(served: Endpoints) -> type[BaseConverter]:
    """Return a URL converter that matches the addresses of published files, and what is below published folders."""
    below = {address: "" if page.path.is_file() else "/.+" for address, page in served.pages.items()}

    class Address(BaseConverter):
        part_isolating = False
        regex = "|".join(f"{re.escape(address)}{below[address]}/?" for address in below) or "(?!)"

    return Address


def _find(address: str) -> tuple[Page, Path]:
    """Return the page with this address, and its file. Raises: NotFound."""
    pages, address = endpoints().pages, address.rstrip("/")
    page = pages.get(address)
    if page is not None and page.path.is_file():
        return page, page.path
    for folder in filter(pages.__contains__, _parents(address)):
        path = _file_below(pages[folder].path, address.removeprefix(f"{folder}/"))
        if path is not None:
            return pages[folder], path
    raise NotFound


def _parents(address: str) -> Iterator[str]:
    """Yield the addresses above this one, the longest first."""
    while "/" in address:
        address = address.rpartition("/")[0]
        yield address


def _file_below(folder: Path, name: str) -> Path | None:
    """Return a file of a published folder. Hidden files and configuration files, which have keys, are not published."""
    joined = safe_join(str(folder), name)
    if joined is None or "\0" in joined:
        return None
    path = Path(joined).resolve()
    is_secret = path.suffix == ".cfg" or any(part.startswith(".") for part in PurePath(name).parts)
    return path if path.is_file() and path.is_relative_to(folder) and not is_secret else None
