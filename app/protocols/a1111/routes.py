"""The routes of AUTOMATIC1111's API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint as PlainBlueprint
from flask import Flask, Response, jsonify, request
from flask_smorest import Api, Blueprint

from app.fields import body_of
from app.protocols.a1111 import access, bodies, extras, generating, lists, options, progress
from app.protocols.a1111.access import Failed
from jobs.errors import InvalidRequest, Problem
from jobs.models.spec import Kind

blueprint = Blueprint("a1111", __name__, description="AUTOMATIC1111's API; all of it also below /a1111")
access.protect(blueprint)
root_blueprint = PlainBlueprint("a1111-root", __name__)

_API = "/sdapi/v1"
_OBJECT = {"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}}}


def register(app: Flask, api: Api) -> None:
    api.spec.components.schema("A1111Txt2Img", schema=bodies.schema(bodies.TXT2IMG))
    api.spec.components.schema("A1111Img2Img", schema=bodies.schema(bodies.IMG2IMG))
    api.register_blueprint(blueprint)
    app.register_blueprint(root_blueprint)
    access.mount(app)


def _body(name: str) -> dict[str, Any]:
    """A request with a body of this schema."""
    return {"requestBody": {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}}}


@root_blueprint.get(f"{access.MOUNT}/")
def root() -> Response:
    """What clients take for the root of an instance without a page: a Devoid Generator compares these bytes."""
    return Response('{"detail":"Not Found"}', 404, mimetype="application/json")


@blueprint.route(f"{_API}/txt2img", methods=["POST"])
@blueprint.doc(**_body("A1111Txt2Img"))
@blueprint.response(200, description="`images` (base64), `parameters` and `info`.")
@blueprint.alt_response(422, description="A field is wrong; nothing was queued.")
@blueprint.alt_response(429, description="The queue is full.")
def txt2img() -> Response:
    """Make images from a prompt; answered when they are there."""
    return generating.generate(Kind.TEXT2IMG)


@blueprint.route(f"{_API}/img2img", methods=["POST"])
@blueprint.doc(**_body("A1111Img2Img"))
@blueprint.response(200, description="`images` (base64), `parameters` and `info`.")
@blueprint.alt_response(404, description="`init_images` is missing.")
@blueprint.alt_response(422, description="A field is wrong; nothing was queued.")
@blueprint.alt_response(429, description="The queue is full.")
def img2img() -> Response:
    """Make images from an image; with `mask` only a part of it. Answered when they are there."""
    return generating.generate(Kind.IMG2IMG)


@blueprint.route(f"{_API}/progress", methods=["GET"])
@blueprint.response(200, description="`progress` (0 to 1), `eta_relative` (seconds), `state`, `current_image`.")
def get_progress() -> Response:
    """How far the oldest call of this key is."""
    skipped = request.args.get("skip_current_image", "").lower() in ("1", "true", "yes", "on")
    return jsonify(progress.state(with_picture=not skipped))


@blueprint.route(f"{_API}/interrupt", methods=["POST"])
@blueprint.response(200, description="An empty object.")
def interrupt() -> Response:
    """Stop the calls of this key that run; they are answered with what there is."""
    progress.interrupt()
    return jsonify({})


@blueprint.route(f"{_API}/skip", methods=["POST"])
@blueprint.response(200, description="null.")
def skip() -> Response:
    """Stop the batch that runs; the call's other batches go on."""
    progress.skip()
    return jsonify(None)


@blueprint.route(f"{_API}/options", methods=["GET"])
@blueprint.response(200, description="Every setting of this key.")
def get_options() -> Response:
    """The settings, `sd_model_checkpoint` among them."""
    return jsonify(options.chosen())


@blueprint.route(f"{_API}/options", methods=["POST"])
@blueprint.doc(**_OBJECT)
@blueprint.response(200, description="null.")
@blueprint.alt_response(500, description="There is no such checkpoint.")
def set_options() -> Response:
    """Change settings of this key."""
    options.change(body_of(request))
    return jsonify(None)


@blueprint.route(f"{_API}/png-info", methods=["POST"])
@blueprint.doc(**_OBJECT)
@blueprint.response(200, description="`info`, `items` and `parameters`.")
def png_info() -> Response:
    """How an image was made, by what its file says."""
    return jsonify(extras.png_info())


@blueprint.route(f"{_API}/extra-single-image", methods=["POST"])
@blueprint.doc(**_OBJECT)
@blueprint.response(200, description="`image` and `html_info`.")
def extra_single_image() -> Response:
    """Enlarge an image without a model."""
    return jsonify(extras.single())


@blueprint.route(f"{_API}/extra-batch-images", methods=["POST"])
@blueprint.doc(**_OBJECT)
@blueprint.response(200, description="`images` and `html_info`.")
def extra_batch_images() -> Response:
    """Enlarge images without a model."""
    return jsonify(extras.batch())


@blueprint.route(f"{_API}/interrogate", methods=["POST"])
@blueprint.doc(**_OBJECT)
@blueprint.response(200, description="Never: there is no such model here.")
@blueprint.alt_response(404, description="The image is missing, or there is no model that describes images.")
def interrogate() -> Response:
    """Describe an image: no model here does."""
    image = body_of(request).get("image")
    if image is not None and not isinstance(image, str):
        raise InvalidRequest(Problem("image", "must be text"))
    raise Failed(404, "Model not found" if image else "Image not found")


@blueprint.route("/internal/progress", methods=["POST"])
@blueprint.doc(**_OBJECT)
@blueprint.response(200, description="`active`, `queued`, `completed`, `progress`, `eta`, `live_preview`.")
def internal_progress() -> Response:
    """How far the call with the `force_task_id` in `id_task` is."""
    return jsonify(progress.task(body_of(request)))


@blueprint.route("/internal/pending-tasks", methods=["GET"])
@blueprint.response(200, description="`size` and `tasks`.")
def internal_pending() -> Response:
    """The calls of this key that have not begun."""
    return jsonify(progress.pending())


def _plain(method: str, path: str, summary: str, read: Callable[[], Any]) -> None:
    """A route without a body that answers with what ``read`` gives."""

    def view() -> Response:
        return jsonify(read())

    view.__doc__, view.__name__ = summary, f"{method.lower()}_{path.replace('-', '_')}"
    described = blueprint.response(200, description="See the summary.")(view)
    blueprint.route(f"{_API}/{path}", methods=[method])(described)


_plain("GET", "sd-models", "The models that this key may use.", lists.models)
_plain("GET", "samplers", "The samplers that at least one model takes.", lists.samplers)
_plain("GET", "schedulers", "The noise schedules that at least one model takes.", lists.noise_schedules)
_plain("GET", "upscalers", "Ways of enlarging an image.", lists.upscalers)
_plain("GET", "latent-upscale-modes", "Ways of enlarging latents.", lambda: [{"name": "Latent"}])
_plain("GET", "loras", "The LoRAs that at least one model has.", lists.loras)
_plain("GET", "memory", "RAM of this machine and memory of the GPUs.", lists.memory)
_plain("GET", "embeddings", "Embeddings: none.", lambda: {"loaded": {}, "skipped": {}})
_plain("GET", "cmd-flags", "Options of the original's command: none.", dict)
_plain("GET", "scripts", "Scripts: none.", lambda: {"txt2img": [], "img2img": []})
for _path in ("sd-vae", "hypernetworks", "face-restorers", "realesrgan-models", "prompt-styles", "script-info",
              "extensions"):  # fmt: skip
    _plain("GET", _path, f"{_path}: none.", list)
for _path in ("refresh-checkpoints", "refresh-vae", "refresh-embeddings", "refresh-loras"):
    _plain("POST", _path, "Nothing to do: lists are always new.", lambda: None)
for _path in ("unload-checkpoint", "reload-checkpoint"):
    _plain("POST", _path, "Nothing to do: the server decides what lies in memory.", dict)
