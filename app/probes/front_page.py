"""``/``: the console for browsers, and what this server is for programs."""

from __future__ import annotations

from importlib.metadata import version

from flask import Response, jsonify, request
from marshmallow import fields

from app.access import addresses, browser
from app.console import pages
from app.openapi.answers import TEXT, Answer, doc
from app.openapi.blueprint import OF_PAGES, Blueprint

blueprint = Blueprint("front-page", __name__, tag="Health and metrics", security=(), common=OF_PAGES)


#: The line of a Devoid Generator, which its protocol sends to its own clients.
_DEVOID = {
    "type": "object", "required": ["RestAPI", "website"], "additionalProperties": False,
    "properties": {"RestAPI": {"type": "string"}, "website": {"type": "string"}},
}  # fmt: skip


class ServerAnswer(Answer):
    """What this server is, and the paths to begin with."""

    name = fields.String(**doc(enum=["Framemill"]))
    version = fields.String(**doc())
    docs = fields.String(**doc("The page of the API."))
    openapi = fields.String(**doc("Its description."))
    jobs = fields.String(**doc())
    models = fields.String(**doc())
    health = fields.String(**doc())


@blueprint.route("/", methods=["GET"])
@blueprint.response(
    200,
    {"oneOf": [ServerAnswer, _DEVOID]},
    description="For programs: what this server is. For clients of Devoid (header `service`): Devoid's line.",
)
@blueprint.alt_response(
    200, schema=TEXT, content_type="text/html", description="For browsers (`Accept: text/html`): the console."
)
@blueprint.alt_response(304, description="The browser has this page, as `If-None-Match` says.")
@browser.page
def get_server() -> Response:
    """Show what this server is. A browser gets the console; a client of Devoid gets Devoid's line."""
    response: Response
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        response = pages.page()
    else:
        base = addresses.prefix()
        paths = {"docs": "/docs", "openapi": "/openapi.json", "jobs": "/v1/jobs", "models": "/v1/models",
                 "health": "/healthz"}  # fmt: skip
        response = jsonify(
            {"name": "Framemill", "version": version("framemill"), **{key: base + path for key, path in paths.items()}}
        )
    response.vary.update(["Accept", "service"])
    return response
