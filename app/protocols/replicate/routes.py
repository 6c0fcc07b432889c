"""The routes of this protocol. Those of models and files stand beside the native API's and LightX2V's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.routing import BaseConverter

from app.access import addresses, auth, links
from app.extensions import store
from app.fields import body_of
from app.openapi import answers as bodies
from app.openapi.blueprint import FORM, Blueprint, View
from app.openapi.document import Api
from app.openapi.parameters import IDEMPOTENCY_KEY
from app.protocols.replicate import answers, errors, files, models, predictions, schemas, stream
from jobs.errors import ModelNotFound, ObjectNotFound
from jobs.prediction_view import version_of
from jobs.store.client_state import UploadedFiles

blueprint = Blueprint(
    "replicate", __name__, url_prefix="/v1", tag="Replicate", prefix="replicate_", error=answers.ReplicateErrorAnswer
)
auth.protect(blueprint)
errors.register(blueprint)

_EXAMPLE = {"input": {"prompt": "a red circle", "num_inference_steps": 4, "seed": 7}}
_HEADERS = [
    {"in": "header", "name": "Prefer", "schema": {"type": "string"},
     "description": f"`wait`, or `wait=` seconds (at most {predictions.MAX_WAIT_S:g}): respond when it is over."},
    {"in": "header", "name": "Cancel-After", "schema": {"type": "string"},
     "description": f"Time in which it must start, and that it may run, such as `90s`; at least "
                    f"{predictions.MIN_DEADLINE_S} seconds."},
    IDEMPOTENCY_KEY,
]  # fmt: skip
_CURSOR = {"in": "query", "name": "cursor", "description": "Part of `next` of the page before.", "schema": bodies.TEXT}
_MODEL = "/models/<owner>/<replicate_model:name>"


class ModelName(BaseConverter):
    """The name of a model. Commands of the native API have the same path: ``/v1/models/{name}/load``."""

    regex = r"(?!(?:load|unload|pin|unpin|check|profile)(?:/|$))[^/]+"


def register(app: Flask, api: Api) -> None:
    """Add the routes to the app."""
    app.url_map.converters["replicate_model"] = ModelName
    api.register_blueprint(blueprint)


def _creates(schema: type[schemas.ReplicatePredictionSchema], example: Mapping[str, Any]) -> Callable[[View], View]:
    """Document the routes that create predictions."""

    def document(view: View) -> View:
        for decorator in (
            blueprint.doc(parameters=_HEADERS),
            blueprint.body(schema, example),
            blueprint.response(201, answers.ReplicatePredictionAnswer, description="The prediction was accepted."),
            blueprint.error(404, "There is no such model or version."),
            blueprint.error(409, "The `Idempotency-Key` was used for another request."),
            blueprint.error(429, "Too many jobs are waiting; `Retry-After` has the seconds to wait."),
        ):
            view = decorator(view)
        return view

    return document


@blueprint.route("/predictions", methods=["POST"])
@_creates(schemas.ReplicateVersionSchema, {"version": version_of("demo-image"), **_EXAMPLE})
def create_prediction() -> tuple[Response, int]:
    """Create a prediction of a version."""
    return jsonify(predictions.create_of_version(body_of(request))), 201


@blueprint.route(f"{_MODEL}/predictions", methods=["POST"])
@_creates(schemas.ReplicatePredictionSchema, _EXAMPLE)
def create_model_prediction(owner: str, name: str) -> tuple[Response, int]:
    """Create a prediction of a model."""
    return jsonify(predictions.create_of_model(body_of(request), owner, name)), 201


@blueprint.route("/predictions", methods=["GET"])
@blueprint.doc(parameters=[_CURSOR])
@blueprint.response(200, answers.ReplicatePredictionsAnswer, description="One page, newest first.")
@blueprint.error(422, "The cursor is wrong.")
def list_predictions() -> Response:
    """List predictions, and jobs of all other protocols."""
    return jsonify(predictions.page())


@blueprint.route("/predictions/<prediction_id>", methods=["GET"])
@blueprint.response(200, answers.ReplicatePredictionAnswer, description="The prediction.")
@blueprint.error(404, "Unknown id.")
def get_prediction(prediction_id: str) -> Response:
    """Read a prediction."""
    return jsonify(predictions.view(auth.visible_job(prediction_id)))


@blueprint.route("/predictions/<prediction_id>/cancel", methods=["POST"])
@blueprint.response(200, answers.ReplicatePredictionAnswer, description="The prediction.")
@blueprint.error(404, "Unknown id.")
def cancel_prediction(prediction_id: str) -> Response:
    """Stop a prediction; one that is over stays as it is."""
    return jsonify(predictions.cancel(prediction_id))


@blueprint.route("/predictions/<prediction_id>/stream", methods=["GET"])
@blueprint.doc(parameters=links.PARAMETERS, security=links.SECURITY)
@blueprint.response(
    200, bodies.EVENTS, content_type=bodies.EVENT_STREAM,
    description="Server-sent events `logs`, `output`, `error` and `done`.",
)  # fmt: skip
@blueprint.error(404, "Unknown id.")
@links.followed_by_links
def stream_prediction(prediction_id: str) -> Response:
    """Follow a prediction until it is over."""
    return stream.stream(prediction_id)


@blueprint.route(_MODEL, methods=["GET"])
@blueprint.response(200, answers.ReplicateModelAnswer, description="The model, with the schema of its input.")
@blueprint.error(404, "There is no such model.")
def get_model(owner: str, name: str) -> Response:
    """Describe a model; any owner will do."""
    return jsonify(models.model_view(owner, models.of_path(owner, name), addresses.base_url()))


@blueprint.route(f"{_MODEL}/versions", methods=["GET"])
@blueprint.response(200, answers.ReplicateModelVersionsAnswer, description="Its only version.")
@blueprint.error(404, "There is no such model.")
def list_versions(owner: str, name: str) -> Response:
    """List the versions of a model."""
    return jsonify({"previous": None, "next": None, "results": [models.version_view(models.of_path(owner, name))]})


@blueprint.route(f"{_MODEL}/versions/<version_id>", methods=["GET"])
@blueprint.response(200, answers.ReplicateModelVersionAnswer, description="The version.")
@blueprint.error(404, "There is no such model or version.")
def get_version(owner: str, name: str, version_id: str) -> Response:
    """Describe a version of a model."""
    spec = models.of_path(owner, name)
    if version_id != version_of(spec.name):
        raise ModelNotFound(f"model {spec.name} has no version {version_id[:80]!r}")
    return jsonify(models.version_view(spec))


@blueprint.route("/files", methods=["POST"])
@blueprint.body(schemas.ReplicateFileSchema, {"metadata": "{}"}, FORM)
@blueprint.response(201, answers.ReplicateFileAnswer, description="The file; its address may be an input.")
def create_file() -> tuple[Response, int]:
    """Upload an image."""
    file_id, record = files.upload()
    return jsonify(files.view(file_id, record, addresses.base_url())), 201


@blueprint.route("/files", methods=["GET"])
@blueprint.response(200, answers.ReplicateFilesAnswer, description="The files.")
def list_files() -> Response:
    """List the files that were uploaded with this key and have not expired."""
    found = UploadedFiles(store(), auth.caller().key_id).all()
    newest_first = sorted(found, key=lambda file_id: -found[file_id]["created_at_ms"])
    shown = [files.view(file_id, found[file_id], addresses.base_url()) for file_id in newest_first]
    return jsonify({"previous": None, "next": None, "results": shown})


@blueprint.route("/files/<file_id>", methods=["GET"])
@blueprint.response(200, answers.ReplicateFileAnswer, description="The file.")
@blueprint.error(404, "Unknown id, or the file has expired.")
def get_file(file_id: str) -> Response:
    """Describe an uploaded file."""
    return jsonify(files.view(file_id, files.get(file_id), addresses.base_url()))


@blueprint.route("/files/<file_id>", methods=["DELETE"])
@blueprint.alt_response(204, description="The file can no longer be an input.")
@blueprint.error(404, "Unknown id, or the file has expired.")
def delete_file(file_id: str) -> tuple[str, int]:
    """Delete an uploaded file. Jobs that use it keep it."""
    if not UploadedFiles(store(), auth.caller().key_id).remove(file_id):
        raise ObjectNotFound(f"file {file_id[:40]!r} does not exist, or has expired")
    return "", 204
