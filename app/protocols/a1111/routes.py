"""The routes of AUTOMATIC1111's API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Blueprint as PlainBlueprint
from flask import Flask, Response, jsonify, request
from marshmallow import INCLUDE, Schema

from app.fields import body_of
from app.openapi.answers import EMPTY, NOTHING
from app.openapi.blueprint import Blueprint, View
from app.openapi.document import Api
from app.openapi.parameters import ON_DISCONNECT
from app.protocols.a1111 import access, answers, bodies, controlnet, extras, generation, lists, options, progress
from jobs.models.spec import Kind

blueprint = Blueprint(
    "a1111",
    __name__,
    tag="AUTOMATIC1111, also below /a1111",
    prefix="a1111_",
    error=answers.A1111ErrorAnswer,
    security=("bearer", "basic"),
)
access.protect(blueprint)
root_blueprint = PlainBlueprint("a1111-root", __name__)

_API = "/sdapi/v1"
#: A white PNG of 16 × 16 pixels in base64, for examples.
_PICTURE = "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAAAAAA6mKC9AAAAD0lEQVR42mP4jwYYRrYAAID5/wGR6yAaAAAAAElFTkSuQmCC"
_SKIP_IMAGE = {
    "in": "query",
    "name": "skip_current_image",
    "description": "Whether to leave out `current_image`.",
    "schema": {"type": "boolean", "default": False},
}


def register(app: Flask, api: Api) -> None:
    """Add the routes to the app."""
    api.register_blueprint(blueprint)
    app.register_blueprint(root_blueprint)
    access.mount(app)


def _problems(text: str) -> Callable[[View], View]:
    """Document the error of refused fields."""
    schema = {"oneOf": [answers.A1111ProblemsAnswer, answers.A1111ErrorAnswer]}
    decorator: Callable[[View], View] = blueprint.alt_response(422, schema=schema, description=text)
    return decorator


def _generates(view: View) -> View:
    """Document the responses of txt2img and img2img."""
    for decorator in (
        blueprint.doc(parameters=[ON_DISCONNECT]),
        blueprint.response(200, answers.A1111ImagesAnswer, description="The images and how they were made."),
        blueprint.error(408, "Never read: the client has closed its connection."),
        blueprint.error(409, "`force_task_id` was used for another request."),
        _problems("A field is wrong; nothing was queued."),
        blueprint.error(429, "Too many jobs are waiting; `Retry-After` has the seconds to wait."),
        blueprint.error(500, "An image cannot be read, or a job failed; `errors` says why."),
    ):
        view = decorator(view)
    return view


@root_blueprint.get(f"{access.MOUNT}/")
def root() -> Response:
    """Return the response of an instance without a web page; Devoid Generator compares these bytes."""
    return Response('{"detail":"Not Found"}', 404, mimetype="application/json")


@blueprint.route(f"{_API}/txt2img", methods=["POST"])
@blueprint.body(bodies.TXT2IMG_SCHEMA, {"prompt": "a red circle", "steps": 4, "seed": 7})
@_generates
def txt2img() -> Response:
    """Generate images from a prompt; the response is sent when they are finished."""
    return generation.generate(Kind.TEXT2IMG)


@blueprint.route(f"{_API}/img2img", methods=["POST"])
@blueprint.body(bodies.IMG2IMG_SCHEMA, {"prompt": "a red circle", "steps": 4, "init_images": [_PICTURE]})
@_generates
@blueprint.error(404, "`init_images` is missing.")
def img2img() -> Response:
    """Generate images from an image, with `mask` in a part of it; the response is sent when they are finished."""
    return generation.generate(Kind.IMG2IMG)


@blueprint.route(f"{_API}/progress", methods=["GET"])
@blueprint.doc(parameters=[_SKIP_IMAGE])
@blueprint.response(200, answers.A1111ProgressAnswer, description="The progress.")
@_problems("The parameter is neither true nor false.")
def get_progress() -> Response:
    """Return the progress of the oldest request of this key."""
    return jsonify(progress.progress_body(with_picture=not progress.skips_picture()))


@blueprint.route(f"{_API}/interrupt", methods=["POST"])
@blueprint.response(200, EMPTY, description="An empty object.")
def interrupt() -> Response:
    """Stop the running requests of this key; their responses contain the finished images."""
    progress.interrupt()
    return jsonify({})


@blueprint.route(f"{_API}/skip", methods=["POST"])
@blueprint.response(200, NOTHING, description="null.")
def skip() -> Response:
    """Stop the running batch; the other batches of the request continue."""
    progress.skip()
    return jsonify(None)


@blueprint.route(f"{_API}/options", methods=["GET"])
@blueprint.response(200, options.A1111OptionsAnswer, description="Every option of this key.")
def get_options() -> Response:
    """Return the options of this key, among them `sd_model_checkpoint`."""
    return jsonify(options.current_options())


@blueprint.route(f"{_API}/options", methods=["POST"])
@blueprint.body(options.A1111OptionsSchema(unknown=INCLUDE), {"samples_format": "webp"})
@blueprint.response(200, NOTHING, description="null.")
@_problems("A value is wrong.")
@blueprint.error(500, "There is no such checkpoint.")
def set_options() -> Response:
    """Change the options of this key."""
    options.change_options(body_of(request))
    return jsonify(None)


@blueprint.route(f"{_API}/png-info", methods=["POST"])
@blueprint.body(extras.A1111PngInfoSchema, {"image": _PICTURE})
@blueprint.response(200, answers.A1111PngInfoAnswer, description="What the file says.")
@_problems("The image is missing.")
@blueprint.error(500, "The image cannot be read.")
def png_info() -> Response:
    """Return the infotext of an image."""
    return jsonify(extras.png_info())


@blueprint.route(f"{_API}/extra-single-image", methods=["POST"])
@blueprint.body(extras.A1111ExtrasSchema, {"image": _PICTURE, "upscaler_1": "Lanczos", "upscaling_resize": 2})
@blueprint.response(200, answers.A1111ImageAnswer, description="The enlarged image.")
@_problems("A field is wrong.")
@blueprint.error(500, "The image cannot be read.")
def extra_single_image() -> Response:
    """Enlarge an image without a model."""
    return extras.enlarge_single()


@blueprint.route(f"{_API}/extra-batch-images", methods=["POST"])
@blueprint.body(
    extras.A1111ExtrasSchema,
    {"imageList": [{"data": _PICTURE, "name": "a.png"}], "upscaler_1": "Lanczos", "upscaling_resize": 2},
)
@blueprint.response(200, answers.A1111ImageListAnswer, description="The enlarged images.")
@_problems("A field is wrong.")
@blueprint.error(500, "An image cannot be read.")
def extra_batch_images() -> Response:
    """Enlarge images without a model."""
    return extras.enlarge_batch()


@blueprint.route(f"{_API}/interrogate", methods=["POST"])
@blueprint.body(extras.A1111InterrogateSchema, {"image": _PICTURE})
@_problems("A field is wrong.")
@blueprint.error(404, "The image is missing, or there is no model that describes images.")
def interrogate() -> Response:
    """Describe an image: not supported by any model here."""
    extras.interrogate()


@blueprint.route("/controlnet/detect", methods=["POST"])
@blueprint.body(controlnet.A1111DetectSchema(unknown=INCLUDE), {"controlnet_module": "canny"})
@_problems("Always: images are preprocessed with the request that uses them.")
def controlnet_detect() -> Response:
    """Preprocess images: not supported, it is done with the request that uses them."""
    controlnet.detect()


@blueprint.route("/internal/progress", methods=["POST"])
@blueprint.body(progress.A1111TaskSchema, {"id_task": "task(1)"})
@blueprint.response(200, answers.A1111TaskProgressAnswer, description="The progress.")
@_problems("A field is wrong.")
def internal_progress() -> Response:
    """Return the progress of the request whose `force_task_id` is `id_task`."""
    return jsonify(progress.task_progress(body_of(request)))


@blueprint.route("/internal/pending-tasks", methods=["GET"])
@blueprint.response(200, answers.A1111PendingAnswer, description="Their ids.")
def internal_pending() -> Response:
    """List the requests of this key that have not started."""
    return jsonify(progress.pending_tasks())


def _plain(
    method: str, path: str, summary: str, make_body: Callable[[], Any], answer: Schema | Mapping[str, Any],
    api: str = _API,
) -> None:  # fmt: skip
    """Add a route without a request body.

    Args:
        method: the HTTP method.
        path: the path below the API's.
        summary: what it does.
        make_body: returns the body of its response.
        answer: schema of that body.
        api: the API's path.
    """

    def view() -> Response:
        return jsonify(make_body())

    name = f"{api.removeprefix(_API).strip('/')}_{path}".strip("_").replace("-", "_")
    view.__doc__, view.__name__ = summary, f"{method.lower()}_{name}"
    described = blueprint.response(200, answer, description="See the summary.")(view)
    blueprint.route(f"{api}/{path}", methods=[method])(described)


_plain("GET", "sd-models", "The models that this key may use.", lists.models, answers.A1111ModelAnswer(many=True))
_plain("GET", "samplers", "The samplers that at least one model supports.", lists.samplers,
       answers.A1111SamplerAnswer(many=True))  # fmt: skip
_plain("GET", "schedulers", "The noise schedules that at least one model supports.", lists.noise_schedules,
       answers.A1111ScheduleAnswer(many=True))  # fmt: skip
_plain("GET", "upscalers", "The upscalers of images.", lists.upscalers, answers.A1111UpscalerAnswer(many=True))
_plain("GET", "latent-upscale-modes", "The upscalers of latents.", lambda: [{"name": "Latent"}],
       answers.A1111LatentUpscalerAnswer(many=True))  # fmt: skip
_plain("GET", "loras", "The LoRAs that at least one model has.", lists.loras, answers.A1111LoraAnswer(many=True))
_plain("GET", "memory", "RAM of this machine and memory of the GPUs.", lists.memory, answers.A1111MemoryAnswer())
_plain("GET", "embeddings", "Embeddings: none.", lambda: {"loaded": {}, "skipped": {}}, answers.A1111EmbeddingsAnswer())
_plain("GET", "cmd-flags", "Options of the original's command: none.", dict, EMPTY)
_plain("GET", "scripts", "Scripts: that of the ControlNet extension, if a model has controls.", controlnet.scripts,
       answers.A1111ScriptsAnswer())  # fmt: skip
for _path, _view, _answer in (
    ("version", controlnet.version, controlnet.A1111ControlVersionAnswer),
    ("model_list", controlnet.models, controlnet.A1111ControlModelsAnswer),
    ("module_list", controlnet.modules, controlnet.A1111ControlModulesAnswer),
    ("control_types", controlnet.types, controlnet.A1111ControlTypesAnswer),
    ("settings", controlnet.settings, controlnet.A1111ControlSettingsAnswer),
):
    _plain("GET", _path, f"ControlNet extension: {_path.replace('_', ' ')}.", _view, _answer(), "/controlnet")
for _path in ("sd-vae", "hypernetworks", "face-restorers", "realesrgan-models", "prompt-styles", "script-info",
              "extensions"):  # fmt: skip
    _plain("GET", _path, f"{_path}: none.", list, {"type": "array", "items": {}, "maxItems": 0})
for _path in ("refresh-checkpoints", "refresh-vae", "refresh-embeddings", "refresh-loras"):
    _plain("POST", _path, "No effect: lists are always up to date.", lambda: None, NOTHING)
for _path in ("unload-checkpoint", "reload-checkpoint"):
    _plain("POST", _path, "No effect: the server decides which models stay loaded.", dict, EMPTY)
