"""The route of this protocol."""

from __future__ import annotations

from flask import Response

from app.access import auth
from app.openapi.blueprint import Blueprint
from app.openapi.document import Api
from app.openapi.parameters import ON_DISCONNECT
from app.protocols.huggingface import answers, errors, generation, schemas

blueprint = Blueprint(
    "huggingface",
    __name__,
    url_prefix="/hf",
    tag="Hugging Face",
    prefix="huggingface_",
    error=answers.HuggingFaceErrorAnswer,
)
auth.protect(blueprint)
errors.register(blueprint)

_EXAMPLE = {"inputs": "a red circle", "parameters": {"num_inference_steps": 4, "seed": 7}}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_HEADERS = [
    {"in": "header", "name": "X-Wait-For-Model", "schema": {"type": "boolean", "default": False},
     "description": "Whether to wait if no slot can run the model now, instead of a response with 503."},
    {"in": "header", "name": "Accept", "schema": {"type": "string"},
     "description": "Media types of the output: `image/png`, `image/webp`, `image/jpeg`; `video/mp4`, `video/webm`, "
                    "`image/gif`. The server's setting decides between others."},
]  # fmt: skip


def register(api: Api) -> None:
    """Add the route to the app."""
    api.register_blueprint(blueprint)


@blueprint.route("/<path:model>", methods=["POST"])
@blueprint.doc(parameters=[*_HEADERS, ON_DISCONNECT], requestBody={"content": {"application/octet-stream": _BINARY}})
@blueprint.body(schemas.HuggingFaceSchema, _EXAMPLE)
@blueprint.file(200, "The picture or video.", "image/*", "video/*", X_Request_Id="The id of the job.",
                X_HF_Warning="What was changed or ignored, after a word and a semicolon.")  # fmt: skip
@blueprint.error(404, "There is no such model; or its output was removed already.")
@blueprint.error(409, "The job was cancelled meanwhile.")
@blueprint.error(429, "Too many jobs are waiting; `Retry-After` has the seconds to wait.")
@blueprint.error(500, "The job failed.")
@blueprint.error(503, "No slot can run the model now, with `estimated_time`; or Redis does not respond.")
@blueprint.error(504, "The job did not start within its time limit.")
def generate(model: str) -> Response:
    """Generate a picture or a video, or change the picture that is the whole body; responds when it is finished."""
    return generation.generate(model)
