"""The routes for images and models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Response, jsonify
from marshmallow import Schema

from app.access import auth
from app.extensions import models
from app.openapi.answers import EVENT_STREAM
from app.openapi.blueprint import FORM, JSON, View
from app.openapi.parameters import IDEMPOTENCY_KEY, ON_DISCONNECT
from app.payloads import openai_models
from app.protocols.openai.images import requests as images
from app.protocols.openai.wire import answers, schemas
from app.protocols.openai.wire.blueprints import new_blueprint
from jobs.errors import ModelNotFound
from jobs.models.spec import Kind

#: A white PNG of 16 × 16 pixels in base64, for examples.
_PICTURE = "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAAAAAA6mKC9AAAAD0lEQVR42mP4jwYYRrYAAID5/wGR6yAaAAAAAElFTkSuQmCC"
_TEXT = {"prompt": "a red circle"}
_EVENTS: dict[str, Any] = {"description": "Events with `event` and `data` (JSON)."}
_REQUEST_ID = {"X-Request-Id": {"description": "Id of the first job.", "schema": {"type": "string"}}}


blueprint = new_blueprint("openai")


def _makes_images(*bodies: tuple[str, type[Schema], Mapping[str, Any] | None]) -> Callable[[View], View]:
    """Document a route that makes images; ``bodies``: media types with schemas and examples."""
    content = {
        JSON: {"schema": answers.OpenAIImagesAnswer},
        EVENT_STREAM: {"schema": _EVENTS},
    }
    text = "The images; with `stream`, events: previews, and each image."

    def document(view: View) -> View:
        for decorator in (
            blueprint.doc(parameters=[IDEMPOTENCY_KEY, ON_DISCONNECT]),
            *(blueprint.body(schema, example, name) for name, schema, example in bodies),
            blueprint.alt_response(
                200, {"description": text, "content": content, "headers": _REQUEST_ID, "content_type": None}
            ),
            blueprint.error(404, "There is no such model."),
            blueprint.error(429, "Too many jobs are waiting; `Retry-After` has the seconds to wait."),
            blueprint.error(500, "A job failed; `code` and `message` say why."),
        ):
            view = decorator(view)
        return view

    return document


@blueprint.route("/v1/images/generations", methods=["POST"])
@_makes_images((JSON, schemas.OpenAIImageSchema, _TEXT), (FORM, schemas.OpenAIImageSchema, _TEXT))
def create_images() -> Response:
    """Generate images from a prompt."""
    return images.respond(images.GENERATIONS)


@blueprint.route("/v1/images/edits", methods=["POST"])
@_makes_images(
    (FORM, schemas.OpenAIImageEditForm, None), (JSON, schemas.OpenAIImageEditSchema, {**_TEXT, "image": _PICTURE})
)
def edit_images() -> Response:
    """Change an image, with `mask` in a part of it."""
    return images.respond(images.EDITS)


@blueprint.route("/v1/images/variations", methods=["POST"])
@_makes_images((FORM, schemas.OpenAIVariationForm, None))
def vary_images() -> Response:
    """Vary an image without a prompt."""
    return images.respond(images.VARIATIONS)


@blueprint.route("/v1/models/<name>", methods=["GET"])
@blueprint.response(200, openai_models.ModelEntryAnswer, description="The model.")
@blueprint.error(404, "There is no such model.")
def get_model(name: str) -> Response:
    """Return a model, also by one of its aliases."""
    spec = models().called(name, Kind.TEXT2IMG)
    if auth.caller().models and spec.name not in auth.caller().models:
        raise ModelNotFound(f"model {name!r} does not exist")
    return jsonify(openai_models.entry(name))
