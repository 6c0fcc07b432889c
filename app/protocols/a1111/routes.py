"""The routes of AUTOMATIC1111's API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint as PlainBlueprint
from flask import Flask, Response, jsonify, request
from flask_smorest import Api, Blueprint

from app.fields import body_of
from app.protocols.a1111 import access, bodies, extras, generation, lists, options, progress
from app.protocols.a1111.access import A1111Error
from jobs.errors import InvalidRequest, Problem
from jobs.models.spec import Kind

blueprint = Blueprint("a1111", __name__, description="AUTOMATIC1111's API; all of it also below /a1111")
access.protect(blueprint)
root_blueprint = PlainBlueprint("a1111-root", __name__)

_API = "/sdapi/v1"
_OBJECT = {"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}}}


def register(app: Flask, api: Api) -> None:
    """Add the routes to the app."""
    api.spec.components.schema("A1111Txt2Img", schema=bodies.schema(bodies.TXT2IMG))
    api.spec.components.schema("A1111Img2Img", schema=bodies.schema(bodies.IMG2IMG))
    api.register_blueprint(blueprint)
    app.register_blueprint(root_blueprint)
    access.mount(app)


def _body(name: str) -> dict[str, Any]:
    """Describe a request with a body of this schema."""
    return {"requestBody": {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}}}


@root_blueprint.get(f"{access.MOUNT}/")
def root() -> Response:
    """Return the response of an instance without a web page; Devoid Generator compares these bytes."""
    return Response('{"detail":"Not Found"}', 404, mimetype="application/json")


@blueprint.route(f"{_API}/txt2img", methods=["POST"])
@blueprint.doc(**_body("A1111Txt2Img"))
@blueprint.response(200, description="`images` (base64), `parameters` and `info`.")
@blueprint.alt_response(422, description="A field is wrong; nothing was queued.")
@blueprint.alt_response(429, description="The queue is full.")
def txt2img() -> Response:
    """Generate images from a prompt; the response is sent when they are finished."""
    return generation.generate(Kind.TEXT2IMG)


@blueprint.route(f"{_API}/img2img", methods=["POST"])
@blueprint.doc(**_body("A1111Img2Img"))
@blueprint.response(200, description="`images` (base64), `parameters` and `info`.")
@blueprint.alt_response(404, description="`init_images` is missing.")
@blueprint.alt_response(422, description="A field is wrong; nothing was queued.")
@blueprint.alt_response(429, description="The queue is full.")
def img2img() -> Response:
    """Generate images from an image, with `mask` in a part of it; the response is sent when they are finished."""
    return generation.generate(Kind.IMG2IMG)


@blueprint.route(f"{_API}/progress", methods=["GET"])
@blueprint.response(200, description="`progress` (0 to 1), `eta_relative` (seconds), `state`, `current_image`.")
def get_progress() -> Response:
    """Return the progress of the oldest request of this key."""
    skipped = request.args.get("skip_current_image", "").lower() in ("1", "true", "yes", "on")
    return jsonify(progress.progress_body(with_picture=not skipped))


@blueprint.route(f"{_API}/interrupt", methods=["POST"])
@blueprint.response(200, description="An empty object.")
def interrupt() -> Response:
    """Stop the running requests of this key; their responses contain the finished images."""
    progress.interrupt()
    return jsonify({})


@blueprint.route(f"{_API}/skip", methods=["POST"])
@blueprint.response(200, description="null.")
def skip() -> Response:
    """Stop the running batch; the other batches of the request continue."""
    progress.skip()
    return jsonify(None)


@blueprint.route(f"{_API}/options", methods=["GET"])
@blueprint.response(200, description="Every setting of this key.")
def get_options() -> Response:
    """Return the options of this key, among them `sd_model_checkpoint`."""
    return jsonify(options.current_options())


@blueprint.route(f"{_API}/options", methods=["POST"])
@blueprint.doc(**_OBJECT)
@blueprint.response(200, description="null.")
@blueprint.alt_response(500, description="There is no such checkpoint.")
def set_options() -> Response:
    """Change the options of this key."""
    options.change_options(body_of(request))
    return jsonify(None)


@blueprint.route(f"{_API}/png-info", methods=["POST"])
@blueprint.doc(**_OBJECT)
@blueprint.response(200, description="`info`, `items` and `parameters`.")
def png_info() -> Response:
    """Return the infotext of an image."""
    return jsonify(extras.png_info())


@blueprint.route(f"{_API}/extra-single-image", methods=["POST"])
@blueprint.doc(**_OBJECT)
@blueprint.response(200, description="`image` and `html_info`.")
def extra_single_image() -> Response:
    """Enlarge an image without a model."""
    return jsonify(extras.enlarge_single())


@blueprint.route(f"{_API}/extra-batch-images", methods=["POST"])
@blueprint.doc(**_OBJECT)
@blueprint.response(200, description="`images` and `html_info`.")
def extra_batch_images() -> Response:
    """Enlarge images without a model."""
    return jsonify(extras.enlarge_batch())


@blueprint.route(f"{_API}/interrogate", methods=["POST"])
@blueprint.doc(**_OBJECT)
@blueprint.response(200, description="Never: there is no such model here.")
@blueprint.alt_response(404, description="The image is missing, or there is no model that describes images.")
def interrogate() -> Response:
    """Describe an image: not supported by any model here."""
    image = body_of(request).get("image")
    if image is not None and not isinstance(image, str):
        raise InvalidRequest(Problem("image", "must be text"))
    raise A1111Error(404, "Model not found" if image else "Image not found")


@blueprint.route("/internal/progress", methods=["POST"])
@blueprint.doc(**_OBJECT)
@blueprint.response(200, description="`active`, `queued`, `completed`, `progress`, `eta`, `live_preview`.")
def internal_progress() -> Response:
    """Return the progress of the request whose `force_task_id` is `id_task`."""
    return jsonify(progress.task_progress(body_of(request)))


@blueprint.route("/internal/pending-tasks", methods=["GET"])
@blueprint.response(200, description="`size` and `tasks`.")
def internal_pending() -> Response:
    """List the requests of this key that have not started."""
    return jsonify(progress.pending_tasks())


def _plain(method: str, path: str, summary: str, make_body: Callable[[], Any]) -> None:
    """Add a route without a request body; ``make_body`` returns the body of its response."""

    def view() -> Response:
        return jsonify(make_body())

    view.__doc__, view.__name__ = summary, f"{method.lower()}_{path.replace('-', '_')}"
    described = blueprint.response(200, description="See the summary.")(view)
    blueprint.route(f"{_API}/{path}", methods=[method])(described)


_plain("GET", "sd-models", "The models that this key may use.", lists.models)
_plain("GET", "samplers", "The samplers that at least one model supports.", lists.samplers)
_plain("GET", "schedulers", "The noise schedules that at least one model supports.", lists.noise_schedules)
_plain("GET", "upscalers", "The upscalers of images.", lists.upscalers)
_plain("GET", "latent-upscale-modes", "The upscalers of latents.", lambda: [{"name": "Latent"}])
_plain("GET", "loras", "The LoRAs that at least one model has.", lists.loras)
_plain("GET", "memory", "RAM of this machine and memory of the GPUs.", lists.memory)
_plain("GET", "embeddings", "Embeddings: none.", lambda: {"loaded": {}, "skipped": {}})
_plain("GET", "cmd-flags", "Options of the original's command: none.", dict)
_plain("GET", "scripts", "Scripts: none.", lambda: {"txt2img": [], "img2img": []})
for _path in ("sd-vae", "hypernetworks", "face-restorers", "realesrgan-models", "prompt-styles", "script-info",
              "extensions"):  # fmt: skip
    _plain("GET", _path, f"{_path}: none.", list)
for _path in ("refresh-checkpoints", "refresh-vae", "refresh-embeddings", "refresh-loras"):
    _plain("POST", _path, "No effect: lists are always up to date.", lambda: None)
for _path in ("unload-checkpoint", "reload-checkpoint"):
    _plain("POST", _path, "No effect: the server decides which models stay loaded.", dict)
